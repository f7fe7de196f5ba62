"""Formats that are not opened, as the tools of each make them; and files that only look a little like one."""

from __future__ import annotations

import io
import struct
import subprocess
import tarfile
import zlib
from pathlib import Path

import pytest

from fipsmanifest.archive.open import format_of, kind_of
from fipsmanifest.errors import Refused
from tests.support.zips import Archive, Part


def at(offset: int, data: bytes, size: int = 70_000) -> bytes:
    return bytes(offset) + data + bytes(max(size - offset - len(data), 0))


#: inodes, blocks, and with the magic at 56 the rest zero: block size 0 (1 KiB), revision 0.
EXT = struct.pack("<II", 16, 64) + bytes(48) + b"\x53\xef" + bytes(70_000)
MBR = bytes(446) + b"\x80\0\0\0\x83\0\0\0" + struct.pack("<II", 2048, 4096) + bytes(48) + b"\x55\xaa" + bytes(512)

ARJ_HEADER = bytes((30, 11, 1, 2, 0, 0, 2, 0)) + bytes(22) + b"a.arj\0\0"

NOT_OPENED = {
    # file(1) 5.44 says the same of all of these but zchunk, DwarFS, zisofs and pbzx, whose magics are of their sources.
    "UBIFS file system": b"\x31\x18\x10\x06" + bytes(99),
    "JFFS2 file system": b"\x85\x19\x03\x20\x0c\0\0\0" + bytes(99),
    "thin ar archive": b"!<thin>\n" + b"kubelet/        0           0     0     100755  100       `\n",
    "ZPAQ archive": b"7kSt\xa0\x31\x83\xd3\x8c\xb2\x28\xb0\xd3zPQ\2\1" + bytes(99),
    "zchunk data": b"\0ZCK1" + bytes(99),
    "DwarFS file system": b"DWARFS\2\5" + bytes(99),
    "zisofs data": b"\x37\xe4\x53\x96\xc9\xdb\xd6\x07" + bytes(99),
    "pbzx data": b"pbzx\0\0\0\0\1" + bytes(99),
    "LZFSE data": b"bvx2" + bytes(99),
    "EWF disk image": b"EVF\x09\x0d\x0a\xff\0\1" + bytes(99),
    "StuffIt archive": b"StuffIt (c)1997-2002 Aladdin" + bytes(99),
    "ACE archive": b"\x37\x4a\x31\0\0\0\x90**ACE**" + bytes(99),
    "zoo archive": b"ZOO 2.10 Archive.\x1a\0\0\xdc\xa7\xc4\xfd" + bytes(99),
    "data of dump(8)": at(24, b"\x6c\xea\0\0", 2000),
    "HFS+ file system": at(1024, b"H+\0\4", 2000),
    "ReiserFS file system": at(65588, b"ReIsEr2Fs"),
    "ARJ archive": b"\x60\xea"
    + struct.pack("<H", len(ARJ_HEADER))
    + ARJ_HEADER
    + struct.pack("<I", zlib.crc32(ARJ_HEADER))
    + bytes(9),
    "LHA archive": b"\x24\xd5-lh5-" + bytes(99),
    "zlib data": zlib.compress(b"\x7fELF\2\1\1" + bytes(99)),
    "7z archive": b"7z\xbc\xaf\x27\x1c\0\4" + bytes(99),
    "RAR archive": b"Rar!\x1a\x07\1\0" + bytes(99),
    "Microsoft cabinet": b"MSCF\0\0\0\0" + bytes(99),
    "qcow2 disk image": b"QFI\xfb\0\0\0\3" + bytes(99),
    "Parallels disk image": b"WithouFreSpacExt\2\0\0\0" + bytes(99),
    "VMDK disk image": b"KDMV\1\0\0\0" + bytes(99),
    "VHD disk image": at(5000, b"conectix" + bytes(504), 5512),
    "VHDX disk image": b"vhdxfile" + bytes(99),
    "squashfs file system": b"hsqs" + bytes(99),
    "XFS file system": b"XFSB\0\0\x10\0" + bytes(99),
    "btrfs file system": at(65600, b"_BHRfS_M"),
    "ISO 9660 image": at(32769, b"CD001"),
    "disk image (GPT)": at(512, b"EFI PART"),
    "disk image (MBR)": MBR,
    "ext2/3/4 file system": bytes(1024) + EXT,
    "FAT file system": b"\xeb\x3c\x90mkfs.fat" + bytes(43) + b"FAT16   " + bytes(99),
    "AppImage": b"\x7fELF\2\1\1\0AI\2" + bytes(99),
    "Apple disk image": at(3000, b"koly\0\0\0\4" + bytes(504), 3512),
    "lzip data": b"LZIP\1" + bytes(99),
    "data of compress(1)": b"\x1f\x9d\x90" + b"abc",
    "zstd data of an old format": b"\x27\xb5\x2f\xfd" + bytes(9),
    "self-extracting shell archive": b"#!/bin/sh\n# This script was generated using Makeself 2.4.5\n" + bytes(9),
}


@pytest.mark.parametrize("name", NOT_OPENED)
def test_a_format_that_is_not_opened_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / "data.bin"
    path.write_bytes(NOT_OPENED[name])
    assert kind_of(path) == "unopened"
    assert format_of(path) == name


@pytest.mark.parametrize(
    "data", [b"ADBd" + zlib.compress(b"ADB.pckg" + bytes(999), wbits=-15), b"ADBc\2\3\x28\xb5\x2f\xfd" + bytes(9)]
)
def test_a_package_of_apk_3_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.apk").write_bytes(data)
    assert kind_of(tmp_path / "a.apk") == "unopened"
    assert format_of(tmp_path / "a.apk") == "apk package"


def test_lz4_is_named(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(subprocess.run(["lz4", "-c"], input=b"text", capture_output=True, check=True).stdout)
    assert format_of(path) == "lz4 data"


def bits(*values: tuple[int, int]) -> bytes:
    """Return numbers of so many bits, the highest first."""
    text = "".join(f"{value:0{width}b}" for value, width in values)
    return bytes(int(text[at : at + 8].ljust(8, "0"), 2) for at in range(0, len(text), 8))


def packed(content: bytes) -> bytes:
    """Return what pack(1) makes of content, with codes of 8 and 9 bits."""
    codes = ((byte + 1, 8) if byte < 255 else (0, 9) for byte in content)
    tree = bytes((9, 0, 0, 0, 0, 0, 0, 0, 255, 0, *range(256)))
    return b"\x1f\x1e" + len(content).to_bytes(4, "big") + tree + bits(*codes, (1, 9))


def lzh(content: bytes) -> bytes:
    """Return content as ``compress -H`` of SCO writes it: one block of 256 codes of 8 bits, and the end."""
    head = ((len(content), 16), (0, 5), (10, 5), (256, 9), (0, 4), (0, 4))
    return b"\x1f\xa0" + bits(*head, *((byte, 8) for byte in content), (0, 16), (0, 16))


def lzw(content: bytes, flags: int) -> bytes:
    """Return content as compress(1) writes it: codes of 9 bits, the lowest first."""
    number = sum(byte << 9 * place for place, byte in enumerate(content))
    return bytes((0x1F, 0x9D, flags)) + number.to_bytes(-(-9 * len(content) // 8), "little")


PROGRAM = b"\x7fELF\2\1\1" + bytes(range(100))


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (packed(PROGRAM), "data of pack(1)"),
        (lzh(PROGRAM), "data of SCO's compress -H"),
        (lzw(PROGRAM, 0x90), "data of compress(1)"),
        (lzw(PROGRAM, 0x85), "data of compress(1)"),
        (lzw(PROGRAM, 0xB0), "data of compress(1)"),
    ],
    ids=["pack", "lzh", "compress", "few bits", "unknown flags"],
)
def test_what_gzip_expands_is_named(tmp_path: Path, data: bytes, name: str) -> None:
    path = tmp_path / "data"
    path.write_bytes(data)
    # It warns of unknown flags, with 2.
    assert subprocess.run(["gzip", "-dc"], input=data, capture_output=True, check=False).stdout == PROGRAM
    assert format_of(path) == name
    assert kind_of(path) == "unopened"


@pytest.mark.parametrize(
    "data",
    [
        # A boot sector without a table of partitions, and one with impossible entries.
        bytes(510) + b"\x55\xaa",
        bytes(446) + b"\x17" * 64 + b"\x55\xaa",
        bytes(1080) + b"\x53\xef" + bytes(2000),
        b"text with EFI PART in it",
        b"PK is how this text begins",
        b"#!/bin/sh\necho hello\n",
        b"\x1f\x9d\xff",
        b"\x1f\x1e" + bytes(99),
        b"\x1f\xa0" + bytes(99),
        b"ADBd is a word",
        b"ADBcache: a text",
        b"MSCF, said the file",
        b"\x60\xea\x20\0" + bytes(99),
        b"a list: -lh, -lz, -pm-",
        zlib.compress(b"blob 5\0hello"),  # an object of git
        b"x\x9c, and more text",
        b"x" * 54 + b"FAT16",
        b"some text with PK\5\6 in it" + bytes(30),
    ],
)
def test_a_file_that_looks_a_little_like_one_is_a_file(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "data").write_bytes(data)
    assert kind_of(tmp_path / "data") == "file"


def test_an_archive_that_is_a_disk_image_as_well_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo("a")
        info.size = 40_000
        tar.addfile(info, io.BytesIO(bytes(40_000)))
    data = bytearray(buffer.getvalue())
    data[32769:32774] = b"CD001"
    (tmp_path / "both").write_bytes(data)
    with pytest.raises(Refused, match="a tar archive and, to other tools, something else as well: ISO 9660 image"):
        kind_of(tmp_path / "both")


def test_a_program_with_an_archive_behind_it_is_that_archive(tmp_path: Path) -> None:
    (tmp_path / "setup").write_bytes(b"\x7fELF" + bytes(9000) + Archive([Part()]).build())
    assert kind_of(tmp_path / "setup") == "zip"
