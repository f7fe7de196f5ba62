"""cpio archives in the formats that cpio, bsdtar, rpm and the kernel read.

Formats: cpio(5), "New ASCII Format" (with and without checksums), "Portable ASCII Format" and "Old Binary Format";
rpm's ``lib/cpio.c`` for the ``07070X`` form of packages with large files, whose entries hold nothing but the number of
a file in the header.
"""

from __future__ import annotations

import re
import stat
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..errors import Refused
from .member import Content, Damaged
from .paths import shown

_NEW_ASCII, _CHECKSUMMED = b"070701", b"070702"
_STRIPPED = b"07070X"
_PORTABLE = b"070707"
#: 070707 as a 16-bit number, in either byte order.
_BINARY = {b"\xc7\x71": "<", b"\x71\xc7": ">"}
_TRAILER = b"TRAILER!!!"

#: Bytes that identify an archive: the longest header and part of the first name.
HEAD = 128

#: Linux's PATH_MAX; the name's length comes with its NUL.
_MAX_NAME = 4097

_ADVICE = "Fetch it again; if it stays so, do not use it and ask upstream."
_HEX = re.compile(rb"[0-9A-Fa-f]+\Z")
_OCTAL = re.compile(rb"[0-7]+\Z")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry's fields, as stored."""

    name: str
    """Empty in the short form."""
    number: int | None
    """In the short form: which file of the package it is, from 0; else None."""
    mode: int
    """Type and permission bits; 0 in the short form."""
    identity: tuple[int, int, int]
    """Device (major, minor) and inode: hard links share it."""
    links: int
    """How many entries share it; 1 in the short form, where the package's header says it."""
    size: int
    """Bytes of content; for the short form, what ``size_of`` returned."""
    content: Body
    """The bytes, valid until the next entry is asked for."""


@dataclass(frozen=True, slots=True)
class _Header:
    mode: int
    identity: tuple[int, int, int]
    links: int
    name: bytes
    size: int
    checksum: int | None
    alignment: int
    """Of what follows the content."""


def is_archive(head: bytes) -> bool:
    """Return whether a file that begins with ``head`` (`HEAD` bytes) is an archive of a form that tools unpack."""
    if head[:6] in (_NEW_ASCII, _CHECKSUMMED):
        return _HEX.match(head[6:110]) is not None
    if head[:6] == _PORTABLE:
        return _OCTAL.match(head[6:76]) is not None
    order = _BINARY.get(head[:2])
    if order is None or len(head) < 28:
        return False
    # A magic of two bytes alone is met by chance; the name must be as long as the header says as well.
    length = struct.unpack_from(f"{order}H", head, 20)[0]
    name = head[26 : 26 + length]
    return 2 <= length <= _MAX_NAME and b"\0" not in name[:-1] and (len(name) < length or name[-1:] == b"\0")


def entries(stream: Content, archive: str, size_of: Callable[[int], int] | None = None) -> Iterator[Entry]:
    """Yield the entries of ``stream``, up to the trailer.

    ``size_of`` returns the size of a file by its number: with it, the formats of packages are accepted (the new ASCII
    formats and the short form), without it all but the short form. The named entries must be of one format.
    ``archive`` is what errors call it. Raises `Refused` for anything that is not such an archive.
    """
    reader = _Reader(stream, archive)
    form = b""
    while True:
        magic = reader.exactly(2)
        if magic not in _BINARY:
            magic += reader.exactly(4)
        if size_of is not None and magic not in (_NEW_ASCII, _CHECKSUMMED, _STRIPPED):
            raise reader.malformed("an entry begins with something else")
        if magic == _STRIPPED and size_of is not None:
            number = int(reader.hexadecimal(8), 16)
            reader.pad(14)
            size = size_of(number)
            entry = Entry("", number, 0, (0, 0, number), 1, size, Body(reader, size, None, ""))
            alignment = 4
        else:
            header = reader.header(magic)
            if header.name == _TRAILER:
                if header.size:
                    raise reader.malformed("its trailer has content")
                return
            # rpm ends the short form with a trailer of the new ASCII format.
            if form and form != magic:
                raise reader.malformed("its entries are of different formats")
            form = magic
            text = header.name.decode("utf-8", "surrogateescape")
            body = Body(reader, header.size, header.checksum, text)
            entry = Entry(text, None, header.mode, header.identity, header.links, header.size, body)
            alignment = header.alignment
        yield entry
        entry.content.finish()
        reader.pad(entry.size, alignment)


class _Reader:
    def __init__(self, stream: Content, archive: str) -> None:
        self.stream = stream
        self._archive = archive

    def exactly(self, size: int) -> bytes:
        parts: list[bytes] = []
        while size and (part := self.stream.read(size)):
            parts.append(part)
            size -= len(part)
        if size:
            raise self.malformed("it ends too early")
        return b"".join(parts)

    def header(self, magic: bytes) -> _Header:
        """Decode a header behind its magic, and its name."""
        if magic in (_NEW_ASCII, _CHECKSUMMED):
            return self._new_ascii(magic)
        if magic == _PORTABLE:
            return self._portable()
        if magic in _BINARY:
            return self._binary(_BINARY[magic])
        raise self.malformed("an entry begins with something else")

    def _new_ascii(self, magic: bytes) -> _Header:
        digits = self.hexadecimal(8 * 13)
        fields = [int(digits[start : start + 8], 16) for start in range(0, 8 * 13, 8)]
        inode, mode, _, _, links, _, size, major, minor, _, _, name_size, checksum = fields
        name = self.name(name_size)
        self.pad(110 + name_size)
        # Only files have one (cpio(5)).
        known = checksum if magic == _CHECKSUMMED and stat.S_ISREG(mode) else None
        return _Header(mode, (major, minor, inode), links, name, size, known, 4)

    def _portable(self) -> _Header:
        digits = self.exactly(70)
        if not _OCTAL.match(digits):
            raise self.malformed("a number is not octal")
        widths = (6, 6, 6, 6, 6, 6, 6, 11, 6, 11)
        starts = [sum(widths[:number]) for number in range(len(widths))]
        fields = [int(digits[start : start + width], 8) for start, width in zip(starts, widths, strict=True)]
        device, inode, mode, _, _, links, _, _, name_size, size = fields
        return _Header(mode, (0, device, inode), links, self.name(name_size), size, None, 1)

    def _binary(self, order: str) -> _Header:
        device, inode, mode, _, _, links, _, _, _, name_size, high, low = struct.unpack(f"{order}12H", self.exactly(24))
        name = self.name(name_size)
        self.pad(name_size, 2)
        return _Header(mode, (0, device, inode), links, name, high << 16 | low, None, 2)

    def hexadecimal(self, size: int) -> bytes:
        digits = self.exactly(size)
        # int() would take signs, spaces and underscores too.
        if not _HEX.match(digits):
            raise self.malformed("a number is not hexadecimal")
        return digits

    def name(self, size: int) -> bytes:
        if not 1 <= size <= _MAX_NAME:
            raise self.malformed(f"a name of {size} bytes")
        name = self.exactly(size)
        if name[-1:] != b"\0" or b"\0" in name[:-1]:
            raise self.malformed("a name does not end where it says")
        return name[:-1]

    def pad(self, size: int, alignment: int = 4) -> None:
        self.exactly(-size % alignment)

    def malformed(self, why: str) -> Refused:
        return Refused(f"{self._archive} is not a valid cpio archive: {why}.", _ADVICE, reason="damaged-archive")


class Body:
    """An entry's bytes, with the checksum of the CRC format verified at their end."""

    def __init__(self, reader: _Reader, size: int, checksum: int | None, name: str) -> None:
        self._reader = reader
        self._left = size
        self._checksum = checksum if size else None
        self._name = name
        self._sum = 0

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes, none at the end.

        Raises `Damaged` for a wrong checksum, once, `Refused` where the archive is cut.
        """
        wanted = self._left if size < 0 else min(size, self._left)
        data = self._reader.stream.read(wanted) if wanted else b""
        if wanted and not data:
            raise self._reader.malformed("it ends too early")
        self._left -= len(data)
        if self._checksum is not None:
            self._sum = self._sum + sum(data) & 0xFFFFFFFF
            if not self._left and self._sum != self._checksum:
                error = self._reader.malformed(f"the checksum of {shown(self._name)} is wrong")
                raise Damaged(error.message, error.advice)
        return data

    def finish(self) -> None:
        """Skip what was not read; then its checksum is not compared."""
        self._checksum = None
        while self._left:
            self.read(min(self._left, 1 << 20))
