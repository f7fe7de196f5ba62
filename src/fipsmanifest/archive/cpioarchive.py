"""The members of a cpio archive that is a file of its own, such as an initramfs.

The kernel unpacks all archives that follow one another in such a file, of which the last may be compressed
(kernel documentation, driver-api/early-userspace/buffer-format.rst); cpio and bsdtar stop at the end of the first. So
all of them are read.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from typing import BinaryIO

from ..errors import Refused
from . import cpio, decompress, signatures
from .limits import DEFAULT, Limits
from .member import Content, Item, Member, Rejected, Unread
from .paths import check_link, normalise, shown

_SPECIAL = (stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK)
#: Linux's PATH_MAX: a target cannot be longer.
_MAX_TARGET = 4095

_ADVICE = "Do not use this archive; ask those who publish it."


def read_members(file: Content, name: str, limits: Limits = DEFAULT) -> Iterator[Item]:
    """Yield the members of the archive that begins ``file``; a name that is there twice is yielded twice.

    Of hard links of which only one has the content, the others come after it. An entry that cannot be unpacked is
    `Rejected`. Raises `Refused` where unpackers may not agree on where the next entry begins, for a damaged archive and
    one with more members or bytes than ``limits`` allow.
    """
    stream = _Stream(decompress.plain(file, limit=limits.expanded, name=name))
    for count, item in enumerate(_archives(stream, name, limits, depth=0), 1):
        if count > limits.members:
            raise Refused(f"{name} has more than {limits.members} members.", _ADVICE, reason="too-large")
        yield item


def spans(file: BinaryIO, name: str) -> Iterator[tuple[int, int]]:
    """Yield where in ``file`` the content of each entry is, for all archives that are not compressed.

    Raises `Refused` for a damaged archive.
    """
    while data := file.read(1 << 16):
        rest = data.lstrip(b"\0")
        if not rest:
            continue
        start = file.seek(-len(rest), os.SEEK_CUR)
        if not cpio.is_archive(file.read(cpio.HEAD)):
            return
        file.seek(start)
        for entry in cpio.entries(file, name):
            yield file.tell(), file.tell() + entry.size


def _archives(stream: _Stream, name: str, limits: Limits, depth: int) -> Iterator[Item]:
    """Yield the members of all archives in ``stream``, and `Unread` for a part of it that is not an archive."""
    while head := stream.next_head():
        if cpio.is_archive(head):
            yield from _Links(name).members(stream)
            continue
        if decompress.compression_of(head) != "none" and not depth:
            expanded = _Stream(decompress.reader(stream, limit=limits.expanded, name=name))
            yield from _archives(expanded, name, limits, depth + 1)
            continue
        kind = signatures.format_of(head, b"") or "data of an unknown format"
        yield Unread("/", kind, "it follows the end of a cpio archive")
        return


class _Stream:
    """Bytes that can be read ahead."""

    def __init__(self, raw: Content) -> None:
        self._raw = raw
        self._back = b""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes, none at the end."""
        if not self._back:
            return self._raw.read(size)
        size = len(self._back) if size < 0 else size
        data, self._back = self._back[:size], self._back[size:]
        return data

    def next_head(self) -> bytes:
        """Skip zeros and return the bytes that follow, without reading them; none at the end."""
        data = self._back
        while not (data := data.lstrip(b"\0")):
            data = self._raw.read(1 << 16)
            if not data:
                self._back = b""
                return b""
        while len(data) < cpio.HEAD and (more := self._raw.read(1 << 12)):
            data += more
        self._back = data
        return data[: cpio.HEAD]


class _Links:
    """Turns the entries of one archive into members; keeps hard links without content until the content comes."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._kinds: dict[tuple[int, int, int], int] = {}
        self._waiting: dict[tuple[int, int, int], list[Member]] = {}
        self._content: dict[tuple[int, int, int], tuple[str, bytes]] = {}

    def members(self, stream: Content) -> Iterator[Item]:
        """Yield the members. Raises `Refused` for an entry that leaves it unclear where the next begins."""
        for entry in cpio.entries(stream, self._name):
            kind = stat.S_IFMT(entry.mode)
            if (kind in _SPECIAL and entry.size) or (
                entry.links > 1 and self._kinds.setdefault(entry.identity, kind) != kind
            ):
                # bsdtar makes a hard link of an entry with the inode of another one, whatever it is; and not all skip
                # the content of what cannot have any.
                raise Refused(
                    f"{self._name}: {shown(entry.name)} is of a type that cannot have content, or a hard link of "
                    "something of another type.",
                    _ADVICE,
                    reason="ambiguous-archive",
                )
            try:
                path = normalise(entry.name, "/", self._name)
            except Refused as error:
                if entry.links > 1 and kind == stat.S_IFREG:
                    # The other links may have their content here.
                    raise
                yield Rejected(error)
                continue
            yield from self._entry(entry, path, kind)
        for links in self._waiting.values():
            # cpio makes empty files of links whose content never comes.
            yield from (Member(link.path, "file", link.mode, 0, content=_Nothing()) for link in links)

    def _entry(self, entry: cpio.Entry, path: str, kind: int) -> Iterator[Item]:
        mode = stat.S_IMODE(entry.mode)
        if kind == stat.S_IFDIR:
            yield Member(path, "directory", mode, 0)
        elif kind == stat.S_IFREG and path != "/":
            yield from self._file(entry, path, mode)
        elif kind == stat.S_IFLNK:
            try:
                item: Item = self._symlink(entry, path, mode)
            except Refused as error:
                item = Rejected(error)
            yield item
        elif kind in _SPECIAL and entry.links <= 1:
            yield Member(path, "special", mode, 0)
        else:
            refusal = Refused(
                f"{self._name}: {shown(path)} has a type that is unknown or that cannot have links.",
                _ADVICE,
                reason="ambiguous-archive",
            )
            if entry.links > 1:
                raise refusal
            yield Rejected(refusal)

    def _file(self, entry: cpio.Entry, path: str, mode: int) -> Iterator[Member]:
        if entry.links > 1 and not entry.size:
            target, _ = self._content.get(entry.identity, (None, b""))
            link = Member(path, "hardlink", mode, 0, target)
            if target is not None:
                yield link
            else:
                self._waiting.setdefault(entry.identity, []).append(link)
            return
        content = _Hashed(entry.content)
        yield Member(path, "file", mode, entry.size, content=content)
        if entry.links > 1:
            # The old formats repeat the content for each link; cpio takes the first for all.
            first, digest = self._content.setdefault(entry.identity, (path, content.digest()))
            if digest != content.digest():
                raise Refused(
                    f"{self._name}: {shown(path)} is a hard link of {shown(first)} with other bytes.",
                    _ADVICE,
                    reason="ambiguous-archive",
                )
            for link in self._waiting.pop(entry.identity, ()):
                yield Member(link.path, "hardlink", link.mode, 0, path)

    def _symlink(self, entry: cpio.Entry, path: str, mode: int) -> Member:
        if entry.size > _MAX_TARGET:
            raise Refused(
                f"{self._name}: the link {shown(path)} has a target that is longer than a path can be.",
                _ADVICE,
                reason="unsafe-path",
            )
        data = b""
        while part := entry.content.read():
            data += part
        target = data.rstrip(b"\0").decode("utf-8", "surrogateescape")
        check_link(path, target, self._name)
        return Member(path, "symlink", mode, 0, target)


class _Hashed:
    """Content that is hashed while it is read."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self._hash = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes, none at the end."""
        data = self._content.read(size)
        self._hash.update(data)
        return data

    def digest(self) -> bytes:
        """Read what was not read, and return the digest of all."""
        while self.read(1 << 20):
            pass
        return self._hash.digest()


class _Nothing:
    def read(self, _: int = -1, /) -> bytes:
        return b""
