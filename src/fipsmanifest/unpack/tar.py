"""Stream the members of a tar archive: ustar, GNU and pax forms (POSIX.1-2017, pax; GNU tar manual, "Tar Internals").

Headers are decoded by the standard library's `tarfile.TarInfo.frombuf`; going from one to the next is done here,
because `tarfile.open` reads an extended header of any size into memory, keeps every member, and takes a damaged
header for the end.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from ..errors import Incomplete, Refused
from .decompress import reader
from .limits import DEFAULT, Limits
from .member import Member, MemberType
from .paths import check_link, normalise, shown

_BLOCK = 512
#: Fields of a header (POSIX.1-2017, pax, "ustar Interchange Format").
_CHECKSUM, _MAGIC = slice(148, 156), slice(257, 262)
_ZEROS = bytes(_BLOCK)

#: The longest extended header that is read, bytes: the bound of Go's archive/tar (maxSpecialFileSize).
_MAX_EXTENDED = 1 << 20

#: Bytes passed over at a time.
_SKIP = 1 << 20

#: Room that a `Reader` may be ahead of what was asked of it, so that this module's errors, which name the member, win.
_AHEAD = 4 << 20

_TYPES: dict[bytes, MemberType] = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.CONTTYPE: "file",
    tarfile.LNKTYPE: "hardlink",
    tarfile.SYMTYPE: "symlink",
    tarfile.DIRTYPE: "directory",
}
_REFUSED_TYPES = {
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.FIFOTYPE: "a FIFO",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}

_ADVICE = "Do not use this archive; ask those who publish it."


class Stream(Protocol):
    """Expanded bytes."""

    def read(self, size: int, /) -> bytes:
        """Give ``size`` bytes, fewer only at the end."""


class FileStream:
    """A plain tar on this disk, in which what is not read costs nothing."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = os.fstat(file.fileno()).st_size
        self.position = file.tell()

    def read(self, size: int, /) -> bytes:
        """Give ``size`` bytes, fewer only at the end."""
        data = self._file.read(size)
        self.position += len(data)
        return data

    def skip(self, size: int) -> int:
        """Pass over up to ``size`` bytes, fewer only at the end; give how many."""
        size = min(size, self._size - self.position)
        self.position = self._file.seek(self.position + size)
        return size


class _Content:
    """A member's bytes."""

    def __init__(self, stream: Stream, size: int, archive: str, name: str) -> None:
        self._stream = stream
        self._left = size
        self._archive = archive
        self._name = name

    def read(self, size: int = -1, /) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        data = self._stream.read(wanted) if wanted else b""
        self._left -= len(data)
        if len(data) < wanted:
            raise Refused(f"{self._archive} ends in the middle of {shown(self._name)}.", _ADVICE)
        return data

    def skip(self) -> None:
        if isinstance(self._stream, FileStream):
            self._left -= self._stream.skip(self._left)
        while self._left:
            self.read(_SKIP)


@dataclass
class _Extended:
    """What extended headers say of the member that follows them."""

    path: str | None = None
    target: str | None = None
    size: int | None = None
    sparse: bool = False


def members(stream: Stream, *, root: str, archive: str, limits: Limits = DEFAULT) -> Iterator[Member]:
    """Give the members of a tar in their order; where a path comes twice, the later one is what an unpacker leaves.

    ``stream`` is read to its end, ``root`` is where on a node the archive is unpacked, ``archive`` what errors call
    it. Raises `Refused`, naming the member, for a name or link that leads out of the root, anything but files, links
    and directories, too many members, more bytes than ``limits`` allow, and a tar that is damaged or cut.
    """
    expanded = 0
    for seen, (info, extended) in enumerate(_headers(stream, archive)):
        name = info.name if extended.path is None else extended.path
        if seen >= limits.members:
            raise Refused(f"{archive} has more than {limits.members} members, the next is {shown(name)}.", _ADVICE)
        kind = _type(info, extended, archive, name)
        size = (info.size if extended.size is None else extended.size) if kind == "file" else 0
        expanded += _BLOCK + size
        if size < 0 or expanded > limits.expanded:
            raise Refused(f"{archive}: {shown(name)} takes it beyond {limits.expanded} bytes.", _ADVICE)
        path = normalise(name, root, archive)
        target = None
        if kind in ("symlink", "hardlink"):
            target = info.linkname if extended.target is None else extended.target
            if kind == "hardlink":
                target = normalise(target, root, archive)
            else:
                check_link(path, target, archive)
        content = _Content(stream, size, archive, name)
        mode = info.mode & 0o7777
        yield Member(path, kind, mode, size, target, content=content if kind == "file" else None)
        content.skip()
        _Content(stream, -size % _BLOCK, archive, name).skip()


def tarball_members(path: Path, *, root: str = "/", archive: str = "", limits: Limits = DEFAULT) -> Iterator[Member]:
    """Give the members of a tar file, compressed or not, as `members` does.

    Raises besides `Refused` for an archive without a single file or link, and `Incomplete` where the file cannot be
    read.
    """
    archive = archive or path.name
    found = False
    try:
        raw = path.open("rb")
    except OSError as error:
        raise Incomplete(f"{path} cannot be read: {error.strerror}.", "Check the path and its permissions.") from error
    with raw:
        stream = reader(raw, limit=limits.expanded + _AHEAD, name=archive)
        for member in members(stream, root=root, archive=archive, limits=limits):
            found = found or member.type != "directory"
            yield member
    if not found:
        raise Refused(f"{archive} has no files in it.", "Check that the address is the right one.")


def is_header(block: bytes) -> bool:
    """Say whether a file that begins with ``block`` (512 bytes) is a tar, to the most lenient of unpackers.

    By its magic or its checksum alone: `members` may well refuse what else is in it.
    """
    if len(block) != _BLOCK:
        return False
    if block[_MAGIC] == b"ustar":
        return True
    field = block[_CHECKSUM]
    # GNU tar reads octal digits as far as they go (``from_header``); libarchive and Go read base 256, too.
    if octal := re.match(rb"\0?\s*([0-7]+)", field):
        said = int(octal[1], 8)
    elif field[0] == 0x80:
        said = int.from_bytes(field[1:], "big")
    else:
        return False
    rest = block[: _CHECKSUM.start] + b" " * 8 + block[_CHECKSUM.stop :]
    # Some of the first tars took bytes for signed.
    return said in (sum(rest), sum(memoryview(rest).cast("b")))


def _decode(block: bytes) -> tarfile.TarInfo | None:
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return None


def _headers(stream: Stream, archive: str) -> Iterator[tuple[tarfile.TarInfo, _Extended]]:
    """Give each member's header with what the extended headers before it say; leaves the stream at its content."""
    extended = _Extended()
    count = 0
    first = True
    while True:
        block = stream.read(_BLOCK)
        if block == _ZEROS:
            _end(stream, archive)
            return
        if not block and not first:
            # Several builders leave the two zero blocks out, and every unpacker accepts that.
            return
        info = _decode(block)
        if info is None:
            what = "is not a tar archive" if first and not is_header(block) else "is damaged: a header is not valid"
            raise Refused(f"{archive} {what}.", "Fetch it again; if it stays so, ask those who publish it.")
        first = False
        if info.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE):
            count += 1
            if count > 8:
                raise Refused(f"{archive}: {shown(info.name)} has too many extended headers.", _ADVICE)
            _extend(extended, info, _extended_data(stream, info, archive), archive)
            continue
        yield info, extended
        extended, count = _Extended(), 0


def _end(stream: Stream, archive: str) -> None:
    """Read what follows the first zero block, so that checksums and digests of the whole are seen."""
    if stream.read(_BLOCK).strip(b"\0"):
        raise Refused(f"{archive} has data after a lone zero block.", _ADVICE)
    while stream.read(_SKIP):
        pass


def _type(info: tarfile.TarInfo, extended: _Extended, archive: str, name: str) -> MemberType:
    kind = None if extended.sparse else _TYPES.get(info.type)
    if kind is None:
        what = (
            "a sparse file" if extended.sparse else _REFUSED_TYPES.get(info.type, f"of the unknown type {info.type!r}")
        )
        raise Refused(f"{archive}: {shown(name)} is {what}, which is not accepted.", _ADVICE)
    return kind


def _extended_data(stream: Stream, info: tarfile.TarInfo, archive: str) -> bytes:
    if not 0 <= info.size <= _MAX_EXTENDED:
        raise Refused(f"{archive}: the extended header {shown(info.name)} has {info.size} bytes.", _ADVICE)
    data = stream.read(info.size + -info.size % _BLOCK)
    if len(data) < info.size:
        raise Refused(f"{archive} ends in the middle of the extended header {shown(info.name)}.", _ADVICE)
    return data[: info.size]


def _extend(extended: _Extended, info: tarfile.TarInfo, data: bytes, archive: str) -> None:
    if info.type == tarfile.GNUTYPE_LONGNAME:
        extended.path = os.fsdecode(data.split(b"\0", 1)[0])
    elif info.type == tarfile.GNUTYPE_LONGLINK:
        extended.target = os.fsdecode(data.split(b"\0", 1)[0])
    else:
        records = _pax_records(data, archive, info.name)
        if info.type == tarfile.XGLTYPE:
            if records.keys() & {b"path", b"linkpath", b"size"}:
                raise Refused(f"{archive}: a global header names or sizes every member after it.", _ADVICE)
            return
        _extend_by_pax(extended, records, archive, info.name)


def _extend_by_pax(extended: _Extended, records: dict[bytes, bytes], archive: str, name: str) -> None:
    extended.sparse = any(key.startswith(b"GNU.sparse.") for key in records)
    if b"path" in records:
        extended.path = os.fsdecode(records[b"path"])
    if b"linkpath" in records:
        extended.target = os.fsdecode(records[b"linkpath"])
    if b"size" in records:
        if not records[b"size"].isdigit() or len(records[b"size"]) > 20:
            raise Refused(f"{archive}: the extended header {shown(name)} has a size that is no number.", _ADVICE)
        extended.size = int(records[b"size"])


def _pax_records(data: bytes, archive: str, name: str) -> dict[bytes, bytes]:
    """Give the records ``LENGTH KEY=VALUE\\n`` of a pax header (POSIX.1-2017, pax, "pax Extended Header")."""
    records: dict[bytes, bytes] = {}
    position = 0
    while position < len(data):
        digits, space, _ = data[position : position + 9].partition(b" ")
        length = int(digits) if space and digits.isdigit() else 0
        record = data[position : position + length]
        key, equals, value = record[len(digits) + 1 :].partition(b"=")
        if len(record) < length or not equals or not key or value[-1:] != b"\n":
            raise Refused(f"{archive}: the extended header {shown(name)} is damaged.", _ADVICE)
        records[key] = value[:-1]
        position += length
    return records
