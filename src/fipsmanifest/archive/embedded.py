"""Programs and compressed data behind the start of a file that is something else: a script that carries its payload.

Such a file is not a container that unpackers know: it is a few lines that cut off their own end and run it. Whole
programs are found wherever they are; compressed data only behind a line of text and right behind a program, since other
data may hold it by chance or by design (fonts, images and databases do).
"""

from __future__ import annotations

import base64
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping

# The extra `fast`: there are no wheels of it for every C library and processor.
try:
    from ahocorasick_rs import BytesAhoCorasick
except ImportError:
    BytesAhoCorasick = None  # type: ignore[assignment,misc]

from . import encoded
from .decompress import begins_lzma, begins_zstd

#: The longest header that is compared; what is nearer to the end of a piece waits for the next one.
_REACH = 512

_ELF = b"\x7fELF"
_ELF_MAGIC = re.compile(_ELF)
_ELF_SEARCHER = None if BytesAhoCorasick is None else BytesAhoCorasick([_ELF])
#: Types that the kernel runs: ET_EXEC and ET_DYN.
_RUN = (2, 3)
#: e_machine (ELF gABI) of the machines that Go compiles for: 386, MIPS, PowerPC, S/390, ARM, x86_64, ARM64, RISC-V,
#: LoongArch.
_MACHINES = frozenset((3, 6, 8, 10, 20, 21, 22, 40, 62, 183, 243, 258))
#: Where e_phentsize is, which e_phnum follows, and its only value that the kernel takes: 32 and 64 bits.
_PROGRAM_HEADERS = ((42, 32), (54, 56))
_ELF_HEADER = 64
#: What no text of a script has so much of: blocks that compress to no less than a half, as what is compressed or
#: encrypted does in nearly any encoding. Measured: of 1,400 scripts that are longer, seven have one such block, and one
#: with more is a ZIP archive; source code compresses to 0.2 to 0.49. A Go program of a megabyte has 400 KiB.
_BLOCK, _DENSE = 8 << 10, (128 << 10) // (8 << 10)
#: The type of a section that is in memory alone.
_NOBITS = 8

_GZIP, _ZIP = b"\x1f\x8b\x08", b"PK\x03\x04"
_ZLIB = (b"x\x9c", b"x\xda", b"x\x01", b"x^")
_BASE64_ZLIB = (b"eJ", b"eN", b"eA", b"eF")
#: Compressed and packed data: magic, name, and what else the header must be. Magics that are common words are not here.
_PACKED = tuple(
    (magic, name, re.compile(re.escape(magic) + rest, re.DOTALL))
    for magic, name, rest in (
        (_GZIP, "gzip", b"[\0-\x1f]"),
        (b"\xfd7zXZ\0", "xz", b""),
        (b"\x28\xb5\x2f\xfd", "zstd", b""),
        # lz4 frame format: version 01, and a reserved bit of the descriptor.
        (b"\x04\x22\x4d\x18", "lz4", b"[\x40-\x7d]"),
        # Its older form, in blocks of up to 8 MiB.
        (b"\x02\x21\x4c\x18", "lz4", b"...\0"),
        # .lzma as its tools write it.
        (b"\x5d\0\0", "lzma", b""),
        (b"LZIP\x01", "lzip", b""),
        (b"\x89LZO\0\r\n\x1a\n", "lzop", b""),
        (b"7z\xbc\xaf\x27\x1c", "7z", b""),
        (b"Rar!\x1a\x07", "RAR", b""),
        (b"BZh", "bzip2", rb"[1-9](?:1AY&SY|\x17rE8P\x90)"),
        # RFC 4648: how every ELF header begins. Lines may be short (`base64 -w 40`).
        (b"f0VMRg", "base64", rb"[A-Za-z0-9+/\s]{58}"),
        # The same of gzip, xz, bzip2, zstd, ZIP, lz4, 7z and lzma: what `base64 -d | tar x` unpacks.
        (b"H4sI", "base64", rb"[A-Za-z0-9+/\s]{56}"),
        (b"/Td6WFoA", "base64", rb"[A-Za-z0-9+/\s]{52}"),
        (b"Qlpo", "base64", rb"[MNO][DTjz]FBWSZTW[A-Za-z0-9+/\s]{47}"),
        (b"KLUv/", "base64", rb"[A-Za-z0-9+/\s]{55}"),
        (b"UEsDB", "base64", rb"[A-Za-z0-9+/\s]{55}"),
        (b"BCJNG", "base64", rb"[A-Za-z0-9+/\s]{55}"),
        (b"N3q8ryc", "base64", rb"[A-Za-z0-9+/\s]{53}"),
        (b"XQAA", "base64", rb"[A-Za-z0-9+/\s]{56}"),
        # And of RPM and ar.
        (b"7avu2wMA", "base64", rb"[A-Za-z0-9+/\s]{52}"),
        (b"ITxhcmNoPgpk", "base64", rb"[A-Za-z0-9+/\s]{48}"),
        # RFC 1950: the window of 32 KiB, and each of the levels.
        *((head, "zlib", b"") for head in _ZLIB),
        *((head, "base64", rb"[A-Za-z0-9+/\s]{58}") for head in _BASE64_ZLIB),
        # APPNOTE 4.3.7 and 4.4: a version, flags, and a method that is in use.
        (_ZIP, "ZIP", rb"[\0-\x3f]\0..[\0\x08\x09\x0c\x0e\x5d\x5f\x63]\0"),
        # squashfs_fs.h: version 4.0.
        (b"hsqs", "squashfs", b".{24}\x04\0\0\0"),
    )
)
#: What the kernel runs as a script, and what shells run as one without ``#!``: bash where no NUL is in its first line,
#: or in the first 80 bytes of that (``general.c``, `check_binary_file`), and dash no more than bash.
_SCRIPT = re.compile(rb"#!|[^\0\n]{80}|[^\0\n]*\n")


class Embedded:
    """Searches a file that is neither program nor container for what it carries, given all of its bytes in order."""

    def __init__(self, behind: str | None = None, *, opened: int | None = None, text: bool = True) -> None:
        """Begin with a file's first bytes, or with what is ``behind`` a container of that kind in the same file.

        ``opened`` is the offset of content that is inspected by itself, as are ZIP archives then; -1 for none. A script
        that should be ``text`` may not have what is as dense as packed data.
        """
        self._text = text
        self._dense = 0
        self._behind = behind
        self._opened = opened
        self._offset = 0
        self._kept = b""
        self._program = False
        self._script = behind is not None
        self._runs = False
        self._ends: tuple[int, ...] = ()
        self._found: str | None = None

    def show(self, data: bytes | bytearray) -> None:
        """Inspect the bytes that follow those which were shown before; the first have the file's first line."""
        if self._behind is None and not self._offset and not self._kept:
            self._program = data.startswith(_ELF)
            self._ends = _ends_of_program(data) if self._program else ()
            self._runs = data.startswith(b"#!")
            self._script = is_script(data)
        if self._found is not None:
            return
        if self._runs and self._text:
            self._measure(data)
        if self._kept and len(data) > _REACH:
            # What begins in the bytes before, without a copy of all that follows.
            self._look(self._kept + data[:_REACH], len(self._kept))
            self._offset += len(self._kept)
            self._kept = b""
            if self._found is not None:
                return
        if self._kept:
            data = self._kept + data
        end = max(len(data) - _REACH, 0)
        self._look(data, end)
        self._offset += end
        self._kept = bytes(data[end:])

    def finish(self) -> str | None:
        """Return what a file with a program or packed data in it is called, at its end; None for any other."""
        if self._found is None:
            self._look(self._kept, len(self._kept))
        if self._found is None and self._dense >= _DENSE:
            return f"{self._host} with packed data in it"
        return self._found

    def _measure(self, data: bytes | bytearray) -> None:
        """Count the blocks that are as dense as packed data, up to `_DENSE`."""
        for at in range(0, len(data) - _BLOCK + 1, _BLOCK):
            if self._dense >= _DENSE:
                return
            self._dense += 2 * len(zlib.compress(data[at : at + _BLOCK], 1)) >= _BLOCK

    @property
    def _host(self) -> str:
        if self._behind is not None:
            return self._behind
        return "program" if self._program else "script" if self._script else "data"

    def _look(self, data: bytes | bytearray, end: int) -> None:
        """Search for what begins before ``end``, and not where the file itself does."""
        start = 0 if self._offset or self._behind else 1
        for at in _magics(data, start, end + len(_ELF) - 1):
            if self._offset + at != self._opened and _is_program(data[at : at + _ELF_HEADER]):
                self._found = f"{self._host} with a program in it"
                return
        for place in (place - self._offset for place in self._ends):
            if start <= place < end and (kind := _packed_behind(data, place)) is not None:
                self._found = kind
                return
        if not self._script:
            return
        if (encoding := self._encoded_program(data)) is not None:
            self._found = f"{self._host} with {encoding} data in it"
            return
        is_text = data.isascii()
        for magic, name, header in _PACKED:
            if (magic in _OF_SCRIPTS and not self._runs) or (magic == _ZIP and self._opened is not None):
                continue
            if magic in _ZLIB and is_text:
                continue
            at = data.find(magic, start, end + len(magic) - 1)
            while at >= 0:
                if self._offset + at != self._opened and header.match(data, at) and _confirms(magic, data, at):
                    self._found = f"{self._host} with {name} data in it"
                    return
                at = data.find(magic, at + 1, end + len(magic) - 1)

    def _encoded_program(self, data: bytes | bytearray) -> str | None:
        """Return how a program, or what holds one, is encoded as text in ``data``; None where there is none."""
        for encoding, start in encoded.programs(data, runs=self._runs):
            if _is_program(start) or _is_deflate_of_program(start):
                return encoding
            # A digest, which is shorter, may begin with any bytes.
            if encoding in encoded.DIGITS and len(start) == encoded.HEADER and _begins_packed(start):
                return encoding
        for start in encoded.uuencoded(data):
            if _begins_program(start) or _begins_packed(start):
                return "uuencoded"
        return None


def is_script(first: bytes | bytearray) -> bool:
    """Return whether the kernel or a shell runs a file as a script, by its first bytes."""
    return not first.startswith(_ELF) and _SCRIPT.match(first) is not None


def _magics(data: bytes | bytearray, start: int, end: int) -> Iterable[int]:
    """Return where the magic of ELF is in ``data[start:end]``.

    Measured: the extension takes 0.05 ns a byte that was just hashed, an expression 0.3 and `bytes.find` 0.5.
    """
    if _ELF_SEARCHER is None:
        return (match.start() for match in _ELF_MAGIC.finditer(data, start, end))
    found = _ELF_SEARCHER.find_matches_as_indexes(memoryview(data)[start:end])
    return (start + first for _, first, _ in found)


def _is_program(header: bytes | bytearray) -> bool:
    """Check what the kernel checks before it runs a program (``fs/binfmt_elf.c``), and no more."""
    if len(header) < _ELF_HEADER:
        return False
    for order in "<>":
        kind, machine = struct.unpack_from(order + "HH", header, 16)
        if kind in _RUN and machine in _MACHINES:
            for offset, wanted in _PROGRAM_HEADERS:
                size, number = struct.unpack_from(order + "HH", header, offset)
                if size == wanted and number:
                    return True
    return False


def _ends_of_program(data: bytes | bytearray) -> tuple[int, ...]:
    """Return where an ELF file ends by its headers, as self-extracting programs compute it; none if that is unclear.

    ``data`` has the file header (gABI, chapter 4). Most linkers put section headers last, and Go's puts sections last.
    """
    if len(data) < _ELF_HEADER or data[4] not in (1, 2) or data[5] not in (1, 2):
        return ()
    form, at = ("QQ", 32) if data[4] == 2 else ("II", 28)
    order = "<" if data[5] == 1 else ">"
    segments, sections = struct.unpack_from(order + form, data, at)
    sizes = struct.unpack_from(order + "HHHH", data, 54 if data[4] == 2 else 42)
    if not sections:
        # It ends with its last segment.
        place = (8, 32) if data[4] == 2 else (4, 16)
        return _last_end(
            data, order + form[0], range(segments, segments + sizes[0] * sizes[1], max(sizes[0], 1)), place
        )
    table, place = sections + sizes[2] * sizes[3], (24, 32) if data[4] == 2 else (16, 20)
    last = _last_end(data, order + form[0], range(sections, table, max(sizes[2], 1)), place, absent=_NOBITS)
    return tuple(sorted({int(table), *last}))


def _last_end(
    data: bytes | bytearray, word: str, entries: range, place: tuple[int, int], absent: int | None = None
) -> tuple[int, ...]:
    """Return where the last segment or section ends; none if ``data`` does not have all of their headers, ``entries``.

    ``place`` is where a header has the offset and the size in the file, each a ``word``; one of the type ``absent`` is
    not in the file.
    """
    ends = [0]
    for entry in entries:
        if entry + max(place[1] + 8, entries.step) > len(data):
            return ()
        if absent is None or struct.unpack_from(word[0] + "I", data, entry + 4)[0] != absent:
            ends.append(sum(struct.unpack_from(word, data, entry + at)[0] for at in place))
    return (max(ends),)


def _packed_behind(data: bytes | bytearray, at: int) -> str | None:
    """Return what a program is called that has packed data at ``at``, right behind its end; None for any other."""
    for magic, name, header in _PACKED:
        if data.startswith(magic, at) and header.match(data, at):
            return f"program with {name} data behind it" if _confirms(magic, data, at) else None
    return None


def _confirms(magic: bytes, data: bytes | bytearray, at: int) -> bool:
    check = _CONFIRM.get(magic)
    return check is None or check(data[at : at + _REACH])


def _is_gzip(data: bytes | bytearray) -> bool:
    """Check a magic of three bytes by what can be decompressed behind it, in up to `_REACH` bytes.

    Members that are empty or all zeros, such as the empty layer that tools for images have, hold nothing to run.
    """
    rest = bytes(data)
    while rest.startswith(_GZIP):
        stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
        try:
            content = stream.decompress(rest, 1 << 16)
        except zlib.error as error:
            # gunzip reports these when it has written all of the content.
            return str(error).endswith(("incorrect data check", "incorrect length check"))
        if not stream.eof or content.strip(b"\0"):
            return True
        # Python's reader passes over zeros between members.
        rest = stream.unused_data.lstrip(b"\0")
    # Another member may follow.
    return len(data) == _REACH and _GZIP.startswith(rest)


def _is_xz(data: bytes | bytearray) -> bool:
    """Check a magic by the sum over the header's flags (the .xz file format, 2.1.1.3)."""
    return zlib.crc32(data[6:8]) == int.from_bytes(data[8:12], "little")


def _is_base64_of_program(data: bytes | bytearray) -> bool:
    """Check base64 by what is compressed: configuration and source code hold it for other data, too."""
    text = re.match(rb"[A-Za-z0-9+/\s]*", data)
    letters = b"".join(text.group().split()) if text else b""
    start = base64.b64decode(letters[: len(letters) // 4 * 4])
    return begins_lzma(start) or _is_deflate_of_program(start)


def _is_deflate_of_program(data: bytes | bytearray) -> bool:
    """Check data of gzip or zlib by what is compressed."""
    try:
        start = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(data, _REACH)
    except zlib.error:
        return False
    return _begins_packed(start) or _begins_program(start)


def _begins_packed(start: bytes) -> bool:
    return any(start.startswith(magic) and header.match(start) for magic, _, header in _PACKED)


def _begins_program(start: bytes) -> bool:
    """Return whether it is the start of a program, a script, or an archive that has files as they are."""
    return start.startswith((_ELF, b"#!", b"07070")) or start[257:262] == b"ustar"


#: Base64 that only scripts are searched for: of some, the content cannot be seen from its start, and source code has it
#: for test data; that of zlib begins with letters that every text has.
_OF_SCRIPTS = frozenset(
    (b"/Td6WFoA", b"Qlpo", b"KLUv/", b"UEsDB", b"BCJNG", b"N3q8ryc", b"7avu2wMA", b"ITxhcmNoPgpk", *_BASE64_ZLIB)
)
#: What a magic that other data has as well is confirmed by.
_CONFIRM: Mapping[bytes, Callable[[bytes | bytearray], bool]] = {
    _GZIP: _is_gzip,
    b"\xfd7zXZ\0": _is_xz,
    b"\x28\xb5\x2f\xfd": lambda data: begins_zstd(bytes(data)),
    b"\x5d\0\0": lambda data: begins_lzma(bytes(data)),
    **dict.fromkeys((b"H4sI", b"XQAA"), _is_base64_of_program),
    **dict.fromkeys(_ZLIB, _is_deflate_of_program),
    **dict.fromkeys(_BASE64_ZLIB, _is_base64_of_program),
}
