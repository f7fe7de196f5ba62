"""cpio archives as RPMs carry them: the new ASCII format, and rpm's own short form for packages with large files.

Formats: cpio(5), "New ASCII Format"; rpm's ``lib/cpio.c`` for the ``07070X`` form, whose entries hold nothing but the
number of a file in the header.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..errors import Refused
from .member import Content

_NEW_ASCII = (b"070701", b"070702")
_STRIPPED = b"07070X"
_TRAILER = b"TRAILER!!!"

#: Linux's PATH_MAX; the name's length comes with its NUL.
_MAX_NAME = 4097

_ADVICE = "Fetch it again; if it stays so, do not use it and ask upstream."
_HEX = re.compile(rb"[0-9A-Fa-f]+\Z")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry's fields, as they stand."""

    name: str
    """Empty in the short form."""
    number: int | None
    """In the short form: which file of the package it is, from 0; else None."""
    mode: int
    """Type and permission bits; 0 in the short form."""
    identity: tuple[int, int, int]
    """Device (major, minor) and inode: hard links share it."""
    links: int
    """How many entries share it."""
    size: int
    """Bytes of content; for the short form, what ``size_of`` told."""
    content: Content
    """The bytes, good until the next entry is asked for."""


def entries(stream: Content, archive: str, size_of: Callable[[int], int]) -> Iterator[Entry]:
    """Give the entries of ``stream``, to the trailer.

    ``size_of`` gives the size of a file by its number, for the short form. ``archive`` is what errors call it. Raises
    `Refused` for anything that is not such an archive.
    """
    reader = _Reader(stream, archive)
    while True:
        magic = reader.exactly(6)
        if magic == _STRIPPED:
            number = int(reader.hexadecimal(8), 16)
            reader.pad(14)
            size = size_of(number)
            content = _Body(reader, size)
            yield Entry("", number, 0, (0, 0, number), 1, size, content)
        elif magic in _NEW_ASCII:
            digits = reader.hexadecimal(8 * 13)
            fields = [int(digits[start : start + 8], 16) for start in range(0, 8 * 13, 8)]
            inode, mode, _, _, links, _, size, major, minor, _, _, name_size, _ = fields
            name = reader.name(name_size)
            if name == _TRAILER:
                return
            content = _Body(reader, size)
            text = name.decode("utf-8", "surrogateescape")
            yield Entry(text, None, mode, (major, minor, inode), links, size, content)
        else:
            raise reader.malformed("an entry begins with something else")
        content.finish()
        reader.pad(size)


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
        self.pad(110 + size)
        if name[-1:] != b"\0" or b"\0" in name[:-1]:
            raise self.malformed("a name does not end where it says")
        return name[:-1]

    def pad(self, size: int) -> None:
        self.exactly(-size % 4)

    def malformed(self, why: str) -> Refused:
        return Refused(f"{self._archive} has a payload that is not a valid cpio archive: {why}.", _ADVICE)


class _Body:
    def __init__(self, reader: _Reader, size: int) -> None:
        self._reader = reader
        self._left = size

    def read(self, size: int = -1, /) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        data = self._reader.stream.read(wanted) if wanted else b""
        if wanted and not data:
            raise self._reader.malformed("it ends too early")
        self._left -= len(data)
        return data

    def finish(self) -> None:
        """Pass over what was not read."""
        while self._left:
            self.read(min(self._left, 1 << 20))
