"""The files of an RPM, streamed out of its payload and matched with what its header says of each.

The header says what rpm will install (path, type, mode, link target, marks); the payload brings the bytes. Whatever
is in only one of them, or differs between them, is refused. The payload's digest authenticates the
bytes themselves; it is checked where the package is authenticated.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..errors import Incomplete, Refused
from . import cpio, decompress, paths, rpmheader
from .limits import DEFAULT, Limits
from .member import Mark, Member, MemberType, Rejected, strict

#: RPMFILE_* (rpmfiles.h).
_CONFIG, _DOC, _GHOST, _LICENSE, _README = 1 << 0, 1 << 1, 1 << 6, 1 << 7, 1 << 8

_TYPES: dict[int, MemberType] = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    **dict.fromkeys((stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK), "special"),
}
#: What has no content, whatever size the header gives it.
_EMPTY = ("directory", "special")

#: What a payload may be compressed with, by what the header says (rpm's ``rpmio.c``): zlib's reader passes through what
#: is not compressed, and liblzma's takes both of its formats.
_COMPRESSIONS: dict[str, tuple[decompress.Compression, ...]] = {
    "gzip": ("gzip", "none"),
    "bzip2": ("bzip2",),
    "xz": ("xz", "lzma"),
    "lzma": ("lzma", "xz"),
    "zstd": ("zstd",),
    "none": ("none",),
}

_ADVICE = "Fetch it again; if it stays so, do not use it and ask upstream."


@dataclass(frozen=True, slots=True)
class _File:
    """A row of the header's file table."""

    path: str
    type: MemberType
    mode: int
    size: int
    target: str | None
    mark: Mark | None
    links: tuple[int, ...]
    """Numbers of the files that are hard links of one another, this one among them; empty for one that has none."""

    def member(self, content: cpio.Entry | None) -> Member:
        """Return the row as a member, with the payload's bytes for a file."""
        body = content.content if content is not None and self.type == "file" else None
        return Member(
            path=self.path,
            type=self.type,
            mode=self.mode,
            size=self.size if body is not None else 0,
            target=self.target,
            mark=self.mark,
            content=body,
        )


def members(path: Path, name: str = "", limits: Limits = DEFAULT) -> Iterator[Member]:
    """Yield each file of the package at ``path`` as `entries` does; raises `Refused` for the first that is rejected."""
    return strict(entries(path, name, limits))


def entries(path: Path, name: str = "", limits: Limits = DEFAULT) -> Iterator[Member | Rejected]:
    """Yield each file of the package at ``path``; ghosts, which have no content, come first.

    Of several hard links to one file the last comes as the file, and the others right after it. What header and payload
    do not agree on is `Rejected`, where the next entry is certain. ``name`` is what errors call the package, otherwise
    its file's name. Raises `Refused` for anything else that no package should have, `Incomplete` where the file cannot
    be read.
    """
    name = name or path.name
    try:
        with path.open("rb") as file:
            yield from read_members(file, name, limits)
    except OSError as error:
        raise Incomplete(f"{path} cannot be read: {error.strerror}.", "Check the path.", reason="not-read") from error


def read_members(file: BinaryIO, name: str, limits: Limits = DEFAULT) -> Iterator[Member | Rejected]:
    """Yield each file of the package that begins at the position of ``file``, as `entries`."""
    header = rpmheader.read(file, name).header
    files: list[_File | None] = []
    for entry in _file_table(header, name, limits):
        files.append(None if isinstance(entry, Rejected) else entry)
        if isinstance(entry, Rejected):
            yield entry
        elif entry.mark == "ghost":
            yield entry.member(None)
    form = header.string(rpmheader.PAYLOAD_FORMAT) or "cpio"
    if form != "cpio":
        raise Refused(
            f"{name} has a payload of the format {paths.shown(form[:20])}.",
            "Only cpio can be read.",
            reason="unsupported-format",
        )
    payload = _payload(file, header.string(rpmheader.PAYLOAD_COMPRESSOR) or "gzip", name, limits)
    yield from _Payload(files, name, bool(header.integers(rpmheader.FILE_INODES))).members(payload)


def _payload(file: BinaryIO, compressor: str, name: str, limits: Limits) -> decompress.Reader:
    """Return the expanded payload. Raises `Refused` where it is not compressed as the header says.

    rpm believes the header, other unpackers the bytes.
    """
    expected = _COMPRESSIONS.get(compressor)
    if expected is None:
        raise Refused(
            f"{name} has a payload compressed with {paths.shown(compressor[:20])}.",
            "Known are gzip, bzip2, xz, lzma and zstd.",
            reason="unsupported-format",
        )
    payload = decompress.reader(file, limit=limits.expanded, name=name)
    if payload.compression not in expected:
        raise Refused(
            f"{name} has a payload compressed with {payload.compression}; its header says {compressor}.",
            _ADVICE,
            reason="damaged-archive",
        )
    return payload


class _Payload:
    """Matches the entries of a payload with the file table."""

    def __init__(self, files: Sequence[_File | None], name: str, has_inodes: bool) -> None:
        """Match with ``files`` of the package ``name``, by number; None for one that was rejected."""
        self._has_inodes = has_inodes
        self._files = files
        self._name = name
        self._numbers = {file.path: number for number, file in enumerate(files) if file is not None}
        self._seen: set[int] = set()
        self._waiting: dict[tuple[int, ...], list[_File]] = {}

    def members(self, payload: decompress.Reader) -> Iterator[Member | Rejected]:
        """Yield the member of each entry, as `Rejected` where payload and header differ."""
        for entry in cpio.entries(payload, self._name, self._size):
            try:
                file = self._match(entry)
                if file is None or self._waits(entry, file):
                    continue
                self._check_size(entry, file)
            except Refused as error:
                yield Rejected(error)
                continue
            yield file.member(entry)
            identity = file.links if entry.number is not None else entry.identity
            yield from (_link(link, file) for link in self._waiting.pop(identity, ()))
        # Padding may follow the trailer. Reading it has the decompressor check its own checksum.
        behind = False
        while data := payload.read(1 << 20):
            behind = behind or bool(data.strip(b"\0"))
        if behind:
            why = "has data behind the end of its payload"
            yield Rejected(Refused(f"{self._name} {why}.", _ADVICE, reason="ambiguous-archive"))
        unseen = (file for number, file in enumerate(self._files) if number not in self._seen)
        for file in (*(file for file in unseen if file is not None and file.mark != "ghost"), *self._left()):
            yield Rejected(self._wrong(file, "is in its header, but its payload has no content for it"))

    def _left(self) -> Iterator[_File]:
        """Yield the hard links whose content did not come."""
        return (link for links in self._waiting.values() for link in links)

    def _waits(self, entry: cpio.Entry, file: _File) -> bool:
        """Keep a hard link back until its content comes: both formats have that with the last of them only."""
        links, identity = (len(file.links), file.links) if entry.number is not None else (entry.links, entry.identity)
        if links <= 1 or file.type != "file":
            if file.links and entry.size and self._numbers[file.path] != file.links[-1]:
                # rpm takes the content of the last link for all of them, cpio takes this.
                raise self._wrong(file, "is a hard link in its header, and has content of its own")
            return False
        waiting = self._waiting.setdefault(identity, [])
        apart = self._has_inodes and not file.links
        if apart or any(link.links != file.links for link in waiting):
            raise self._wrong(file, "is a hard link in its payload, and of another file in its header")
        if len(waiting) == links - 1:
            return False
        if entry.size:
            raise self._wrong(file, "has content before the last of its hard links")
        waiting.append(file)
        return True

    def _size(self, number: int) -> int:
        file = self._files[number] if number < len(self._files) else None
        if file is None:
            # What has no size has no end either.
            raise Refused(
                f"{self._name} has a payload entry for file number {number}, which it does not have.",
                _ADVICE,
                reason="damaged-archive",
            )
        # rpmfiArchiveRead's rule: of hard links, only the last has content.
        return file.size if file.type not in _EMPTY and file.links[-1:] in ((), (number,)) else 0

    def _match(self, entry: cpio.Entry) -> _File | None:
        """Return the file that an entry is for; None for one that was rejected in the header."""
        path = None if entry.number is not None else paths.normalise(entry.name, "/", self._name)
        number = entry.number if path is None else self._numbers.get(path)
        if number is None:
            raise Refused(
                f"{self._name} has {paths.shown(entry.name)} in its payload, but not in its header.",
                _ADVICE,
                reason="damaged-archive",
            )
        file = self._files[number]
        if file is None:
            return None
        if number in self._seen:
            raise self._wrong(file, "is twice in its payload")
        self._seen.add(number)
        if file.mark == "ghost":
            raise self._wrong(file, "is a ghost, and has content in its payload")
        if entry.number is None and _TYPES.get(stat.S_IFMT(entry.mode)) != file.type:
            raise self._wrong(file, "is of one type in its header and of another in its payload")
        return file

    def _check_size(self, entry: cpio.Entry, file: _File) -> None:
        if file.type in _EMPTY:
            right = entry.size == 0
        elif file.type == "symlink":
            right = entry.size == file.size and _text(entry) == file.target
        else:
            right = entry.size == file.size
        if not right:
            raise self._wrong(file, "is not of the size or target that its header says")

    def _wrong(self, file: _File, why: str) -> Refused:
        return Refused(f"{self._name}: {paths.shown(file.path)} {why}.", _ADVICE, reason="damaged-archive")


def _link(link: _File, file: _File) -> Member:
    return Member(path=link.path, type="hardlink", mode=link.mode, size=0, target=file.path, mark=link.mark)


def _text(entry: cpio.Entry) -> str:
    parts: list[bytes] = []
    while entry.size <= 4096 and (part := entry.content.read()):
        parts.append(part)
    return b"".join(parts).decode("utf-8", "surrogateescape")


def _file_table(header: rpmheader.Header, name: str, limits: Limits) -> Iterator[_File | Rejected]:
    """Yield the header's files, as `Rejected` one that no package may have.

    Raises `Refused` where the columns do not fit together.
    """
    bases = header.strings(rpmheader.BASE_NAMES)
    directories = header.strings(rpmheader.DIRECTORY_NAMES)
    indexes = header.integers(rpmheader.DIRECTORY_INDEXES)
    modes = header.integers(rpmheader.FILE_MODES)
    flags = header.integers(rpmheader.FILE_FLAGS)
    targets = header.strings(rpmheader.FILE_LINK_TARGETS)
    sizes = header.integers(rpmheader.LONG_FILE_SIZES) or header.integers(rpmheader.FILE_SIZES)
    columns = (bases, indexes, modes, flags, targets, sizes)
    if len({len(column) for column in columns}) != 1 or any(index >= len(directories) for index in indexes):
        raise Refused(
            f"{name} is not a valid RPM: the columns of its file table do not fit together.",
            _ADVICE,
            reason="damaged-archive",
        )
    if len(bases) > limits.members:
        raise Refused(f"{name} has more than {limits.members} files.", _ADVICE, reason="too-large")
    links = _hard_links(header, modes, flags, name)
    paths_so_far: set[str] = set()
    rows = zip(bases, indexes, modes, flags, targets, sizes, strict=True)
    for number, (base, index, mode, flag, target, size) in enumerate(rows):
        try:
            file = _file(directories[index] + base, mode, size, target, flag, links.get(number, ()), name)
            if file.path in paths_so_far:
                why = f"its file table has a path twice, {paths.shown(file.path)}"
                raise Refused(f"{name} is not a valid RPM: {why}.", _ADVICE, reason="damaged-archive")
        except Refused as error:
            yield Rejected(error)
            continue
        paths_so_far.add(file.path)
        yield file


def _hard_links(
    header: rpmheader.Header, modes: tuple[int, ...], flags: tuple[int, ...], name: str
) -> dict[int, tuple[int, ...]]:
    """Return, by number, the files that the header says are hard links of one another.

    rpm's rule (``rpmfilesBuildNLink``): files that are no ghosts and have the same inode, which is not 0.
    """
    inodes = header.integers(rpmheader.FILE_INODES)
    if not inodes:
        return {}
    if len(inodes) != len(modes):
        raise Refused(
            f"{name} is not a valid RPM: the columns of its file table do not fit together.",
            _ADVICE,
            reason="damaged-archive",
        )
    groups: dict[int, list[int]] = {}
    for number, (inode, mode, flag) in enumerate(zip(inodes, modes, flags, strict=True)):
        if inode and stat.S_ISREG(mode) and not flag & _GHOST:
            groups.setdefault(inode, []).append(number)
    return {number: tuple(group) for group in groups.values() if len(group) > 1 for number in group}


def _file(listed: str, mode: int, size: int, target: str, flags: int, links: tuple[int, ...], name: str) -> _File:
    path = paths.normalise(listed, "/", name)
    kind = _TYPES.get(stat.S_IFMT(mode))
    if kind is None:
        raise Refused(f"{name}: {paths.shown(path)} is of an unknown type.", _ADVICE, reason="damaged-archive")
    if kind == "symlink":
        paths.check_link(path, target, name)
    # A ghost wins: whatever else it is, the package brings no bytes for it.
    marks: tuple[tuple[int, Mark], ...] = (
        (_GHOST, "ghost"),
        (_CONFIG, "config"),
        (_DOC | _LICENSE | _README, "doc"),
    )
    mark = next((mark for bits, mark in marks if flags & bits), None)
    return _File(path, kind, stat.S_IMODE(mode), size, target if kind == "symlink" else None, mark, links)
