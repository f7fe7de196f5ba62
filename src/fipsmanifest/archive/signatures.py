"""Formats that can hold programs and that this package does not open, recognised by their first and last bytes.

A gate must not pass a disk image because it was not inspected, so each is reported by name. The list follows the
magic(5) database of file(1) and the formats' own specifications; where a magic is short, the fields next to it must be
valid as well.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable

#: First bytes of a file that `format_of` needs: btrfs has its magic at 64 KiB (btrfs on-disk format, "Superblock").
HEAD = (64 << 10) + 128
#: Last bytes that it needs: the trailer of a DMG.
TAIL = 512

_AT_START = (
    (b"7z\xbc\xaf\x27\x1c", "7z archive"),
    (b"Rar!\x1a\x07", "RAR archive"),
    (b"MSCF\0\0\0\0", "Microsoft cabinet"),
    (b"ISc(", "InstallShield cabinet"),
    (b"xar!\0", "xar archive"),
    (b"MSWIM\0\0\0", "WIM image"),
    (b"\x04\x22\x4d\x18", "lz4 data"),
    (b"\x02\x21\x4c\x18", "lz4 data (legacy)"),
    (b"LZIP\x01", "lzip data"),
    (b"LRZI\0", "lrzip data"),
    (b"\x89LZO\0\r\n\x1a\n", "lzop data"),
    (b"\xff\x06\0\0sNaPpY", "snappy data"),
    (b"\x1f\x9e\x08", "gzip data of an old format"),
    (b"QFI\xfb", "qcow2 disk image"),
    (b"KDMV", "VMDK disk image"),
    (b"COWD", "VMDK disk image"),
    (b"# Disk DescriptorFile", "VMDK disk image"),
    (b"conectix", "VHD disk image"),
    (b"vhdxfile", "VHDX disk image"),
    (b"QED\0", "QED disk image"),
    (b"WithoutFreeSpace", "Parallels disk image"),
    (b"WithouFreSpacExt", "Parallels disk image"),
    # apk-tools 3, adb.h: compressed with deflate or zstd, at a level.
    (b"ADBc\x01", "apk package"),
    (b"ADBc\x02", "apk package"),
    (b"\x3a\xff\x26\xed\x01\0", "Android sparse image"),
    (b"hsqs", "squashfs file system"),
    (b"sqsh", "squashfs file system"),
    (b"\x45\x3d\xcd\x28", "cramfs file system"),
    (b"\x28\xcd\x3d\x45", "cramfs file system"),
    (b"-rom1fs-", "romfs file system"),
    (b"XFSB\0", "XFS file system"),
    (b"UBI#\x01", "UBI image"),
    (b"LUKS\xba\xbe", "LUKS encrypted volume"),
    (b"SKUL\xba\xbe", "LUKS encrypted volume"),
    (b"\x27\x05\x19\x56", "U-Boot image"),
    (b"\x31\x18\x10\x06", "UBIFS file system"),
    (b"\x85\x19\x03\x20", "JFFS2 file system"),
    (b"\x85\x19\x01\xe0", "JFFS2 file system"),
    (b"\x85\x19\x02\xe0", "JFFS2 file system"),
    (b"\x19\x85\x20\x03", "JFFS2 file system"),
    (b"\x19\x85\xe0\x01", "JFFS2 file system"),
    (b"\x19\x85\xe0\x02", "JFFS2 file system"),
    (b"!<thin>\n", "thin ar archive"),
    (b"zPQ\x01", "ZPAQ archive"),
    (b"zPQ\x02", "ZPAQ archive"),
    (b"7kSt\xa0\x31\x83\xd3\x8c\xb2\x28\xb0\xd3zPQ", "ZPAQ archive"),
    (b"BZ3v1", "bzip3 data"),
    (b"RZIP\x02", "rzip data"),
    (b"\0ZCK1", "zchunk data"),
    (b"DWARFS\x02", "DwarFS file system"),
    (b"\x37\xe4\x53\x96\xc9\xdb\xd6\x07", "zisofs data"),
    (b"pbzx\0", "pbzx data"),
    (b"bvx2", "LZFSE data"),
    (b"EVF\x09\x0d\x0a\xff\0", "EWF disk image"),
    (b"EVF2\x0d\x0a\x81\0", "EWF disk image"),
    (b"StuffIt (c)1997-", "StuffIt archive"),
    (b"Salted__", "data encrypted by openssl"),
    (b"age-encryption.org/", "data encrypted by age"),
)

_AT = (
    (3, b"NTFS    ", "NTFS file system"),
    (3, b"EXFAT   ", "exFAT file system"),
    (7, b"**ACE**", "ACE archive"),
    (20, b"\xdc\xa7\xc4\xfd", "zoo archive"),
    (24, b"\x6c\xea\0\0", "data of dump(8)"),
    (64, b"\x7f\x10\xda\xbe", "VDI disk image"),
    (512, b"EFI PART", "disk image (GPT)"),
    (4096, b"EFI PART", "disk image (GPT)"),
    (512, b"LABELONE", "LVM physical volume"),
    (1024, b"\xe2\xe1\xf5\xe0", "EROFS file system"),
    (1024, b"\x10\x20\xf5\xf2", "F2FS file system"),
    (1024, b"H+\0\x04", "HFS+ file system"),
    (1024, b"HX\0\x05", "HFS+ file system"),
    (4120, b"\xc6\x85\x73\xf6\x66\xce\x90\xa9", "bcachefs file system"),
    (32769, b"CD001", "ISO 9660 image"),
    (32769, b"NSR0", "UDF image"),
    (32769, b"BEA01", "UDF image"),
    (65588, b"ReIsErFs", "ReiserFS file system"),
    (65588, b"ReIsEr2Fs", "ReiserFS file system"),
    (65588, b"ReIsEr3Fs", "ReiserFS file system"),
    (65600, b"_BHRfS_M", "btrfs file system"),
)

#: Scripts that unpack what they carry: the comment that makeself and shar write near their start.
_SCRIPT = re.compile(rb"#!.{0,2048}?(generated using Makeself|This is a shell archive)", re.DOTALL)

#: Size and sum of the first header, and a method: LHA's own, LArc's and PMarc's (lha, ``header.doc``).
_LHA = re.compile(rb"..-(?:lh[0-9dx]|lz[45s]|pm[0-2s])-", re.DOTALL)

_ELF = b"\x7fELF"
_DMG = b"koly\0\0\0\x04"


def format_of(head: bytes, tail: bytes) -> str | None:
    """Return the name of the format of a file that begins with ``head`` and ends with ``tail``; None for any other.

    ``head`` is the first `HEAD` bytes, ``tail`` the last `TAIL`, both less where the file is shorter.
    """
    for magic, name in _AT_START:
        if head.startswith(magic):
            return name
    for offset, magic, name in _AT:
        if head.startswith(magic, offset):
            return name
    return next((name for test, name in _TESTS if test(head, tail)), None)


def _is_appimage(head: bytes, _: bytes) -> bool:
    # AppImage specification, type 1 and 2: "AI" and the type where ELF has padding.
    return head.startswith(_ELF) and head[8:10] == b"AI" and head[10:11] in (b"\1", b"\2")


def _is_compress(head: bytes, _: bytes) -> bool:
    # gzip's unlzw.c: up to 16 bits; of two bits that are always zero it warns, and goes on.
    return head.startswith(b"\x1f\x9d") and len(head) > 3 and head[2] & 0x1F <= 16


def _is_pack(head: bytes, _: bytes) -> bool:
    # gzip's unpack.c: behind the size, the length of the longest code.
    return head.startswith(b"\x1f\x1e") and len(head) > 6 and 1 <= head[6] <= 25


def _is_lzh(head: bytes, _: bytes) -> bool:
    # gzip's unlzh.c: a block's size, which is zero at the end alone, and the number of code lengths.
    return head.startswith(b"\x1f\xa0") and len(head) > 4 and head[2:4] != b"\0\0" and head[4] >> 3 <= 19


def _is_old_zstd(head: bytes, _: bytes) -> bool:
    # zstd_legacy.h: versions 0.1 to 0.7.
    return head[1:4] == b"\xb5\x2f\xfd" and head[0] in (0x1E, *range(0x22, 0x28))


def _is_apk(head: bytes, _: bytes) -> bool:
    """Check a package of apk-tools 3 (``adb_comp.c``): deflate of what has the magic of one as it is."""
    try:
        return head.startswith(b"ADBd") and zlib.decompressobj(-zlib.MAX_WBITS).decompress(head[4:], 4) == b"ADB."
    except zlib.error:
        return False


def _is_arj(head: bytes, _: bytes) -> bool:
    """Check an ARJ archive's main header: the mark, a size, and a checksum (unarj, ``technote.txt``)."""
    if not head.startswith(b"\x60\xea") or len(head) < 8:
        return False
    size = int.from_bytes(head[2:4], "little")
    header, checksum = head[4 : 4 + size], head[4 + size : 8 + size]
    return 30 <= size <= 2600 and len(checksum) == 4 and zlib.crc32(header) == int.from_bytes(checksum, "little")


def _is_lha(head: bytes, _: bytes) -> bool:
    return _LHA.match(head) is not None


def _is_zlib(head: bytes, _: bytes) -> bool:
    """Check for a zlib stream (RFC 1950) of a program or tar: its two first bytes alone are those of much else."""
    if len(head) < 2 or head[0] & 0x8F != 8 or (head[0] << 8 | head[1]) % 31 or head[1] & 0x20:
        return False
    try:
        start = zlib.decompressobj().decompress(head, 512)
    except zlib.error:
        return False
    return start.startswith(_ELF) or start[257:262] == b"ustar"


def _is_ext(head: bytes, _: bytes) -> bool:
    """Check an ext2, ext3 or ext4 superblock: magic, block size and revision (kernel documentation, ext4/super.rst)."""
    if len(head) < 2048 or head[1080:1082] != b"\x53\xef":
        return False
    inodes, blocks, block_size, revision = (
        struct.unpack_from("<I", head, 1024 + offset)[0] for offset in (0, 4, 0x18, 0x4C)
    )
    return bool(inodes and blocks and block_size <= 6 and revision <= 1)


def _is_partitioned(head: bytes, _: bytes) -> bool:
    """Check a partition table of the MBR: its mark and four entries, one of them at least in use, each plausible."""
    if len(head) < 512 or head[510:512] != b"\x55\xaa":
        return False
    used = 0
    for at in range(446, 510, 16):
        status, kind, start, sectors = head[at], head[at + 4], *struct.unpack_from("<II", head, at + 8)
        if status not in (0, 0x80) or bool(kind) != bool(sectors) or (kind and not start):
            return False
        used += bool(kind)
    return used > 0


def _is_fat(head: bytes, _: bytes) -> bool:
    # A boot sector begins with a jump (Microsoft FAT specification, 3.1).
    return head[:1] in (b"\xeb", b"\xe9") and (head[54:58] == b"FAT1" or head[82:87] == b"FAT32")


def _is_dmg(_: bytes, tail: bytes) -> bool:
    return tail[-512:].startswith(_DMG)


def _is_fixed_vhd(_: bytes, tail: bytes) -> bool:
    return tail[-512:].startswith(b"conectix")


def _is_script(head: bytes, _: bytes) -> bool:
    return _SCRIPT.match(head) is not None


_TESTS: tuple[tuple[Callable[[bytes, bytes], bool], str], ...] = (
    (_is_appimage, "AppImage"),
    (_is_compress, "data of compress(1)"),
    (_is_pack, "data of pack(1)"),
    (_is_lzh, "data of SCO's compress -H"),
    (_is_old_zstd, "zstd data of an old format"),
    (_is_apk, "apk package"),
    (_is_arj, "ARJ archive"),
    (_is_lha, "LHA archive"),
    (_is_zlib, "zlib data"),
    (_is_ext, "ext2/3/4 file system"),
    (_is_fat, "FAT file system"),
    (_is_partitioned, "disk image (MBR)"),
    (_is_dmg, "Apple disk image"),
    (_is_fixed_vhd, "VHD disk image"),
    (_is_script, "self-extracting shell archive"),
)
