"""Decode the header blocks of tar archives, where every common unpacker decodes them alike.

The reference readers are GNU tar, Go's archive/tar (containerd, umoci, docker) and libarchive (bsdtar). They agree on
what writers produce and differ on the rest: which magic makes the prefix part of the name, how far a number extends,
which of two names applies. A header on which they may differ is refused, not interpreted.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Literal

BLOCK = 512

Format = Literal["v7", "ustar", "gnu"]

# Fields of a header (POSIX.1-2017, pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format").
_NAME, _MODE, _SIZE = slice(0, 100), slice(100, 108), slice(124, 136)
_OWNER_AND_TIME = (slice(108, 116), slice(116, 124), slice(136, 148))
_CHECKSUM, _TYPE, _TARGET = slice(148, 156), slice(156, 157), slice(157, 257)
_MAGIC, _PREFIX = slice(257, 265), slice(345, 500)
# Of GNU's own format, which has these in the place of the prefix.
_GNU_TIMES = (slice(345, 357), slice(357, 369))
_GNU_SPARSE, _GNU_EXTENDED, _GNU_REAL_SIZE = slice(386, 482), 482, slice(483, 495)
_GNU_SPARSE_ALL = slice(386, 495)
#: In an extension of that map: as many entries as fit, and whether another extension follows.
_GNU_SPARSE_MORE, _GNU_EXTENDED_MORE = slice(0, 504), 504
#: Schily's star ends its headers so, and Go then reads a shorter prefix (archive/tar, ``headerSTAR``).
_STAR_TRAILER, _STAR_PREFIX = slice(508, 512), 131
#: By these two times GNU tar recognises star's format (list.c, ``decode_header``).
_STAR_TIMES = (slice(476, 488), slice(488, 500))

_USTAR_MAGIC, _GNU_MAGIC = b"ustar\0", b"ustar  \0"
#: Numbers are below it: Go and GNU tar take no larger ones.
_INT64 = 1 << 63
_OCTAL = re.compile(rb" *([0-7]*)[ \0]*")

SPARSE_TYPE = b"S"


class Malformed(ValueError):
    """A block that is not a valid header; the text completes "... is damaged: ..."."""


class Ambiguous(ValueError):
    """A member that unpackers read differently; the text completes "... is ambiguous: ...".

    They may not agree on where the next one begins either.
    """


class AmbiguousName(Ambiguous):
    """A member whose name, link target or attributes unpackers read differently, but not where the next one begins."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a sparse file that is stored."""

    offset: int
    """Where it is in the expanded file, bytes."""
    length: int
    """Bytes; 0 only for the last, which then marks the end of the file."""


@dataclass(frozen=True, slots=True)
class Header:
    """The fields of a header that decide what is unpacked."""

    name: str
    """Prefix and name, as `os.fsdecode` gives them."""
    type: bytes
    """The type flag, one byte."""
    mode: int
    """Permission bits with setuid, setgid and sticky."""
    size: int
    """Bytes that are stored behind the header, without padding."""
    target: str
    """The link's target; empty for most members that are not links."""
    format: Format
    """What the magic says."""
    pax: bool
    """Whether GNU tar applies pax sparse records to it, as the others do: ustar, and without star's times."""
    problem: AmbiguousName | None
    """Why the name is ambiguous, if it is."""
    block: bytes
    """The block itself."""


def decode(block: bytes) -> Header:
    """Decode a header block of `BLOCK` bytes.

    Raises `Malformed` for one without a valid checksum or with an invalid number, `Ambiguous` for one whose content
    GNU tar, Go's archive/tar and libarchive do not read alike. An ambiguous name is the header's `problem`.
    """
    if len(block) != BLOCK or not _checksum_is_valid(block):
        raise Malformed("a header is not valid")
    for field in _OWNER_AND_TIME:
        number(block[field], signed=True)
    magic = block[_MAGIC]
    name = text(block[_NAME])
    form: Format = "v7"
    problem = None
    if magic.startswith(_USTAR_MAGIC):
        form = "ustar"
        prefix = block[_PREFIX].partition(b"\0")[0]
        if len(prefix) >= _STAR_PREFIX and block[_STAR_TRAILER] == b"tar\0":
            problem = AmbiguousName("its prefix is longer than one of star's format")
        name = f"{os.fsdecode(prefix)}/{name}" if prefix else name
    elif magic == _GNU_MAGIC:
        form = "gnu"
        if block[_TYPE] != SPARSE_TYPE and block[_GNU_SPARSE_ALL].strip(b"\0"):
            # libarchive expands it whatever the type is.
            raise Ambiguous("it has a sparse map, and is not a sparse file")
        if not _has_gnu_times(block):
            # Go takes what is not a time for a prefix, because its own writer once wrote such (golang.org/issue/12594).
            problem = AmbiguousName("it has a prefix, and GNU tar's magic, which does not have one")
    elif magic.startswith(b"ustar") and block[_PREFIX.start]:
        problem = AmbiguousName(f"it has a prefix, and the magic {magic!r}, which is neither ustar's nor GNU tar's")
    size = block[_SIZE]
    if size.strip(b" \0") == b"" and size.strip(b"\0"):
        raise Malformed("a header has a blank size")
    return Header(
        name,
        block[_TYPE],
        number(block[_MODE]) & 0o7777,
        number(size),
        text(block[_TARGET]),
        form,
        form == "ustar" and not _has_star_times(block),
        problem,
        block,
    )


def number(field: bytes, *, signed: bool = False) -> int:
    """Return a numeric field: octal digits padded with blanks and NULs, or base 256 behind 0x80.

    With ``signed`` also a negative one in base 256. Raises `Malformed` for anything else, such as digits that only
    some unpackers read to their end.
    """
    if field[0] == 0x80 or (field[0] == 0xFF and signed):
        value = int.from_bytes(field[1:], "big") - (field[0] & 1) * (1 << 8 * (len(field) - 1))
        if -_INT64 <= value < _INT64:
            return value
    elif octal := _OCTAL.fullmatch(field):
        return int(octal[1] or b"0", 8)
    raise Malformed(f"a header is not valid, {field!r} is not a number")


def text(field: bytes) -> str:
    """Return a text field up to its first NUL."""
    return os.fsdecode(field.partition(b"\0")[0])


def sparse_map(block: bytes, *, first: bool) -> tuple[list[Segment], bool]:
    """Return the sparse map of a header in GNU's old format (``first``) or of an extension of it, and if more follows.

    Raises `Ambiguous` where the map could end in more than one place, `Malformed` for what is not a number.
    """
    entries, extended = (
        (block[_GNU_SPARSE], block[_GNU_EXTENDED]) if first else (block[_GNU_SPARSE_MORE], block[_GNU_EXTENDED_MORE])
    )
    found = []
    for at in range(0, len(entries), 24):
        entry = entries[at : at + 24]
        # GNU tar ends the map at an entry without a length, the others at one without an offset.
        if not entry[0] or not entry[12]:
            if entries[at:].strip(b"\0") or extended:
                raise Ambiguous("its sparse map goes on behind its end")
            break
        found.append(Segment(number(entry[:12]), number(entry[12:])))
    return found, bool(extended)


def sparse_size(block: bytes) -> int:
    """Return the expanded size, bytes, of a sparse file in GNU's old format. Raises `Malformed`."""
    return number(block[_GNU_REAL_SIZE])


def is_header(block: bytes) -> bool:
    """Return whether a file that begins with ``block`` (512 bytes) is a tar, to the most lenient of unpackers.

    By its magic or its checksum alone: `decode` may refuse the rest of it.
    """
    if len(block) != BLOCK:
        return False
    if block[_MAGIC].startswith(b"ustar"):
        return True
    field = block[_CHECKSUM]
    # GNU tar reads octal digits as far as they go (``from_header``), Go passes over blanks and NULs before them.
    if octal := re.match(rb"[\s\0]*([0-7]+)", field):
        stated = int(octal[1], 8)
    elif field[0] == 0x80:
        stated = int.from_bytes(field[1:], "big")
    else:
        return False
    return _is_sum(stated, block)


def _checksum_is_valid(block: bytes) -> bool:
    octal = _OCTAL.fullmatch(block[_CHECKSUM])
    return octal is not None and octal[1] != b"" and _is_sum(int(octal[1], 8), block)


def _is_sum(stated: int, block: bytes) -> bool:
    """Return whether it is one of the sums that unpackers accept: some of the first tars took bytes for signed."""
    rest = block[: _CHECKSUM.start] + b" " * 8 + block[_CHECKSUM.stop :]
    return stated == sum(rest) or stated == sum(memoryview(rest).cast("b"))


def _has_gnu_times(block: bytes) -> bool:
    try:
        for field in _GNU_TIMES:
            if block[field.start]:
                number(block[field], signed=True)
    except Malformed:
        return False
    return True


def _has_star_times(block: bytes) -> bool:
    return all(block[field.start] in b"01234567" and block[field.stop - 1] == 0x20 for field in _STAR_TIMES)
