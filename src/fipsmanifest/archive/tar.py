"""Stream the members of a tar archive (POSIX.1-2017, pax; GNU tar manual, "Tar Internals"): v7, ustar, GNU, pax.

What is yielded is what GNU tar, Go's archive/tar and libarchive unpack. A member that they read differently is
refused, with its name; so is the rest of the archive where they may not agree on where the next member begins.
`tarheader` decodes headers, `tarextended` long names and pax records, `tarsparse` sparse files. Each is read in bounded
memory; the standard library's ``tarfile`` neither agrees with those readers nor bounds what it reads.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from ..errors import Incomplete, Refused
from . import tarextended, tarsparse
from .decompress import reader
from .embedded import Embedded
from .limits import DEFAULT, Limits
from .member import Content, Member, MemberType, Rejected, strict
from .paths import check_link, normalise, shown
from .tarextended import Extended
from .tarheader import (
    BLOCK,
    SPARSE_TYPE,
    Ambiguous,
    AmbiguousName,
    Header,
    Malformed,
    Segment,
    decode,
    is_header,
    sparse_map,
    sparse_size,
    text,
)
from .tarsparse import SparseContent

__all__ = ["FileStream", "Stream", "entries", "is_header", "members", "tarball_entries", "tarball_members"]

_ZEROS = bytes(BLOCK)

#: The longest extended header that is read, bytes: the bound of Go's archive/tar (maxSpecialFileSize).
_MAX_EXTENDED = 1 << 20

#: Bytes passed over at a time.
_SKIP = 1 << 20

#: How far a `Reader` may read ahead, so that this module's errors, which name the member, are raised first.
_AHEAD = 4 << 20

#: The first tars had no type flag for a directory: its name ends with a slash.
_OLD_REGULAR = b"\0"
#: GNU tar's directory with a list of what it held, for incremental backups.
_DUMP_DIRECTORY = b"D"
#: Extended headers to some unpackers alone (Solaris pax and ACL headers, old long names of GNU tar), and a file that is
#: continued from another volume.
_OTHERS_EXTENDED = (b"X", b"A", b"N", b"M")
#: GNU tar's name for the whole archive, which unpacks to nothing.
_VOLUME_LABEL = b"V"

#: POSIX.1-2017, pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format".
_TYPES: dict[bytes, MemberType] = {
    b"0": "file",
    _OLD_REGULAR: "file",
    b"7": "file",
    SPARSE_TYPE: "file",
    b"1": "hardlink",
    b"2": "symlink",
    b"3": "special",
    b"4": "special",
    b"5": "directory",
    b"6": "special",
    _DUMP_DIRECTORY: "directory",
}
_ADVICE = "Do not use this archive; ask those who publish it."
_AGAIN = "Fetch it again; if it stays so, ask those who publish it."


class Stream(Protocol):
    """Expanded bytes."""

    def read(self, size: int, /) -> bytes:
        """Return ``size`` bytes, fewer only at the end."""


class FileStream:
    """A plain tar on this disk, in which what is not read costs nothing."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = os.fstat(file.fileno()).st_size
        self.position = file.tell()

    def read(self, size: int, /) -> bytes:
        """Return ``size`` bytes, fewer only at the end."""
        data = self._file.read(size)
        self.position += len(data)
        return data

    def skip(self, size: int) -> int:
        """Pass over up to ``size`` bytes, fewer only at the end, and return how many."""
        size = min(size, self._size - self.position)
        self.position = self._file.seek(self.position + size)
        return size


class _Content:
    """A member's bytes."""

    def __init__(self, stream: Stream, size: int, archive: str, name: str) -> None:
        self._stream = stream
        self._archive = archive
        self.left = size
        self.name = name

    def read(self, size: int = -1, /) -> bytes:
        wanted = self.left if size < 0 else min(size, self.left)
        data = self._stream.read(wanted) if wanted else b""
        self.left -= len(data)
        if len(data) < wanted:
            raise Refused(
                f"{self._archive} ends in the middle of {shown(self.name)}.", _ADVICE, reason="damaged-archive"
            )
        return data

    def skip(self) -> None:
        if isinstance(self._stream, FileStream):
            self.left -= self._stream.skip(self.left)
        while self.left:
            self.read(_SKIP)


@contextmanager
def _explained(archive: str, name: str) -> Iterator[None]:
    """Turn what a header is refused for into `Refused`, with the names of the archive and the member."""
    try:
        yield
    except Ambiguous as error:
        raise Refused(
            f"{archive}: {shown(name)} is ambiguous: {error}. Unpackers read such a member differently.",
            _ADVICE,
            reason="ambiguous-archive",
        ) from error
    except Malformed as error:
        raise Refused(f"{archive}: {shown(name)} is damaged: {error}.", _AGAIN, reason="damaged-archive") from error


def members(stream: Stream, *, root: str, archive: str, limits: Limits = DEFAULT) -> Iterator[Member]:
    """Yield the members of a tar in their order, each of a path that comes more than once; none of an empty stream.

    ``stream`` is read to its end, ``root`` is where on a node the archive is unpacked, ``archive`` what errors call
    it. Raises `Refused`, naming the member, for one that unpackers read differently, a name that leads out of the
    root, an unknown type, too many members, more bytes than ``limits`` allow, and a tar that is damaged or cut.
    """
    return strict(entries(stream, root=root, archive=archive, limits=limits))


def entries(stream: Stream, *, root: str, archive: str, limits: Limits = DEFAULT) -> Iterator[Member | Rejected]:
    """Yield the members of a tar as `members` does, and what that refuses as `Rejected`, if what follows is certain.

    Raises `Refused` where unpackers may not agree on where the next member begins, beyond the limits, and for a tar
    that is damaged or cut.
    """
    count = _Count(archive, limits)
    for header, extended in _headers(stream, count):
        name = header.name if extended.name is None or extended.problem else extended.name
        if header.type in _OTHERS_EXTENDED:
            raise _unknown_type(header, name, archive)
        with _explained(archive, name):
            stored = _extent(stream, header, extended, name, count)
        try:
            with _explained(archive, name):
                item: Member | Rejected = _member(header, extended, name, stored, root, count)
        except Refused as error:
            item = Rejected(error)
        yield item
        stored.content.skip()
        _Content(stream, -stored.size % BLOCK, archive, name).skip()


def tarball_members(path: Path, *, root: str = "/", archive: str = "", limits: Limits = DEFAULT) -> Iterator[Member]:
    """Yield the members of a tar file, compressed or not, as `members` does.

    Raises besides `Refused` for an archive without a single file or link, and `Incomplete` where the file cannot be
    read.
    """
    return strict(tarball_entries(path, root=root, archive=archive, limits=limits))


def tarball_entries(
    path: Path, *, root: str = "/", archive: str = "", limits: Limits = DEFAULT
) -> Iterator[Member | Rejected]:
    """Yield the members of a tar file, compressed or not, as `entries` does; raises as `tarball_members` besides."""
    archive = archive or path.name
    found = False
    try:
        raw = path.open("rb")
    except OSError as error:
        raise Incomplete(
            f"{path} cannot be read: {error.strerror}.", "Check the path and its permissions.", reason="not-read"
        ) from error
    with raw:
        stream = reader(raw, limit=limits.expanded + _AHEAD, name=archive)
        for item in entries(stream, root=root, archive=archive, limits=limits):
            found = found or isinstance(item, Rejected) or item.type in ("file", "symlink", "hardlink")
            yield item
    if not found:
        raise Refused(
            f"{archive} has no files in it.", "Check that the address is the right one.", reason="wrong-format"
        )


@dataclass(frozen=True, slots=True)
class _Stored:
    """What is stored of a member after its header."""

    kind: MemberType | None
    """None for an unknown type."""
    size: int
    """Bytes, without the sparse map of GNU's old format."""
    content: _Content
    segments: list[Segment] | None
    """The sparse map of GNU's old format."""


@dataclass(slots=True)
class _Count:
    """What was read of an archive, compared with its limits."""

    archive: str
    limits: Limits
    headers: int = 0
    expanded: int = 0
    names: int = 0

    def add(self, name: str, size: int) -> None:
        """Count a header and ``size`` bytes behind it. Raises `Refused` beyond the limits."""
        self.headers += 1
        if self.headers > self.limits.members:
            raise Refused(
                f"{self.archive} has more than {self.limits.members} members, the next is {shown(name)}.",
                _ADVICE,
                reason="too-large",
            )
        self.expand(name, BLOCK + size)
        self.name(name)

    def name(self, text: str) -> None:
        """Count a name or a link's target. Raises `Refused` beyond the limits."""
        self.names += len(text)
        if self.names > self.limits.names:
            raise Refused(
                f"{self.archive} has more than {self.limits.names} bytes of names.", _ADVICE, reason="too-large"
            )

    def expand(self, name: str, size: int) -> None:
        """Count ``size`` bytes more. Raises `Refused` beyond the limits."""
        self.expanded += size
        if self.expanded > self.limits.expanded:
            raise Refused(
                f"{self.archive}: {shown(name)} takes it beyond {self.limits.expanded} bytes.",
                _ADVICE,
                reason="too-large",
            )


def _headers(stream: Stream, count: _Count) -> Iterator[tuple[Header, Extended]]:
    """Yield each member's header with what precedes it, and leave the stream at the member's content."""
    archive = count.archive
    extended = Extended()
    first = True
    while (header := _next_header(stream, archive, first=first)) is not None:
        first = False
        if header.type not in (*tarextended.TYPES, _VOLUME_LABEL):
            yield header, extended
            extended = Extended()
            continue
        with _explained(archive, header.name):
            if header.type in (tarextended.PAX_GLOBAL, _VOLUME_LABEL) and extended.types:
                raise Ambiguous("the extended header before it may belong to it, or to the next member")
            if header.type == _VOLUME_LABEL and header.size:
                raise Ambiguous(f"it is a volume label and has {header.size} bytes of content")
            data = _extended_data(stream, header, count)
            if header.type == tarextended.PAX_GLOBAL:
                tarextended.check_global(data)
            elif header.type != _VOLUME_LABEL:
                extended.add(header, data)
    if extended.types:
        raise Refused(
            f"{archive} is damaged: no member follows its last extended header.", _AGAIN, reason="damaged-archive"
        )


def _next_header(stream: Stream, archive: str, *, first: bool) -> Header | None:
    """Return the next header; at the end of the archive None, after the rest of the stream was read."""
    block = stream.read(BLOCK)
    if block == _ZEROS:
        _end(stream, archive)
        return None
    if not block:
        # Several builders leave the two zero blocks out, and every unpacker accepts that.
        return None
    try:
        return decode(block)
    except Malformed as error:
        if first and not is_header(block):
            raise Refused(f"{archive} is not a tar archive.", _AGAIN, reason="wrong-format") from error
        raise Refused(f"{archive} is damaged: {error}.", _AGAIN, reason="damaged-archive") from error
    except Ambiguous:
        with _explained(archive, text(block[:100])):
            raise


def _end(stream: Stream, archive: str) -> None:
    """Read what follows the first zero block, so that checksums and digests of the whole are seen.

    Raises `Refused` for further members: ``tar --ignore-zeros`` unpacks them, and other unpackers do not. And for a
    program or packed data, which no unpacker shows: the first member's name may be a script that runs it.
    """
    embedded = Embedded("tar archive")
    if stream.read(BLOCK).strip(b"\0"):
        raise Refused(f"{archive} has data after a lone zero block.", _ADVICE, reason="ambiguous-archive")
    while data := stream.read(_SKIP):
        if data.strip(b"\0") and any(is_header(data[at : at + BLOCK]) for at in range(0, len(data), BLOCK)):
            raise Refused(f"{archive} has members after its end.", _ADVICE, reason="ambiguous-archive")
        embedded.show(data)
    kind = embedded.finish()
    if kind is not None:
        raise Refused(f"{archive} is also a {kind}, by the data after its end.", _ADVICE, reason="ambiguous-archive")


def _extent(stream: Stream, header: Header, extended: Extended, name: str, count: _Count) -> _Stored:
    """Return where a member's content ends, with a sparse map that precedes it read.

    Raises `Ambiguous` where unpackers may not agree on it.
    """
    kind = _TYPES.get(header.type)
    size = header.size if extended.size is None else extended.size
    problem = extended.problem or header.problem
    names = {name} if problem is None else extended.names | {header.name}
    if kind in ("file", None) and any(part.endswith("/") for text in names for part in text.split("\0")):
        if header.type == _OLD_REGULAR and problem is None:
            kind = "directory"
        elif size:
            # To some it is a directory, whose size does not count.
            raise Ambiguous(str(problem or "it is a file by its type, and a directory by its name"))
    if extended.sparse is not None and (header.type != b"0" or not header.pax):
        raise Ambiguous("it is a sparse file by its pax records alone")
    if header.type == SPARSE_TYPE and (header.format != "gnu" or tarextended.PAX in extended.types):
        raise Ambiguous("it is a sparse file in two formats")
    if kind not in ("file", None) and header.type != _DUMP_DIRECTORY:
        # Of the others' headers, no unpacker takes the size for that of content.
        if size and (kind == "hardlink" or extended.size is not None):
            raise Ambiguous(f"it is a {kind} and has {size} bytes of content")
        size = 0
    count.add(name, size)
    segments = _old_sparse_map(stream, header, count) if header.type == SPARSE_TYPE else None
    return _Stored(kind, size, _Content(stream, size, count.archive, name), segments)


def _member(header: Header, extended: Extended, name: str, stored: _Stored, root: str, count: _Count) -> Member:
    """Return the member whose content is ``stored``. Raises `AmbiguousName`, `Malformed` or `Refused` for a bad one."""
    archive, kind = count.archive, stored.kind
    if kind is None:
        raise _unknown_type(header, name, archive)
    problem = extended.problem or header.problem
    if problem is not None:
        raise problem
    if name.endswith("/") and kind == "file":
        raise AmbiguousName("it is a file by its type, and a directory by its name")
    path = _path(name, kind, root, archive)
    content, expanded = _expand(stored, header, extended, count) if kind == "file" else (None, 0)
    target = _target(header, extended, path, kind, root, archive) if kind in ("symlink", "hardlink") else None
    count.name(target or "")
    return Member(path, kind, header.mode, expanded, target, content=content)


def _unknown_type(header: Header, name: str, archive: str) -> Refused:
    return Refused(
        f"{archive}: {shown(name)} is of the unknown type {header.type!r}.", _ADVICE, reason="ambiguous-archive"
    )


def _path(name: str, kind: MemberType, root: str, archive: str) -> str:
    path = normalise(name, root, archive)
    if not name or (path == normalise("", root, archive) and kind != "directory"):
        raise Ambiguous(f"it is a {kind} without a name")
    return path


def _target(header: Header, extended: Extended, path: str, kind: MemberType, root: str, archive: str) -> str:
    target = header.target if extended.target is None else extended.target
    check_link(path, target, archive)
    return normalise(target, root, archive) if kind == "hardlink" else target


def _expand(stored: _Stored, header: Header, extended: Extended, count: _Count) -> tuple[Content, int]:
    """Return a file's content and its size, holes included."""
    segments: Sequence[Segment] | None
    content = stored.content
    if stored.segments is not None:
        size, segments = sparse_size(header.block), stored.segments
    elif extended.sparse is not None:
        size, segments = extended.sparse.size, extended.sparse.segments
        if segments is None:
            segments = tarsparse.read_map(content, content.left)
    else:
        return content, content.left
    tarsparse.check(segments, size, content.left)
    count.expand(content.name, size)
    return SparseContent(content, segments, size), size


def _old_sparse_map(stream: Stream, header: Header, count: _Count) -> list[Segment]:
    segments, more = sparse_map(header.block, first=True)
    while more:
        count.add(header.name, 0)
        block = stream.read(BLOCK)
        if len(block) < BLOCK:
            raise Malformed("its sparse map is cut")
        further, more = sparse_map(block, first=False)
        segments += further
    return segments


def _extended_data(stream: Stream, header: Header, count: _Count) -> bytes:
    if header.size > _MAX_EXTENDED:
        raise Malformed(f"it is an extended header of {header.size} bytes")
    count.add(header.name, header.size)
    data = stream.read(header.size + -header.size % BLOCK)
    if len(data) < header.size:
        raise Malformed("the archive ends in the middle of this extended header")
    return data[: header.size]
