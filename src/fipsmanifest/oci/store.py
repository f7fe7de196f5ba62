"""The files of an image archive by their paths in it, in a directory or in a tar."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from ..archive import directory
from ..archive.member import Content, Member
from ..archive.paths import resolve, shown
from ..archive.tar import FileStream, members
from ..archive.tarsparse import SparseContent
from ..errors import Refused

_log = logging.getLogger(__name__)


class Store(Protocol):
    """The files of an archive by their paths in it (``/index.json``)."""

    name: str

    def has(self, path: str) -> bool:
        """Return whether there is such a file."""

    def open(self, path: str) -> AbstractContextManager[Content]:
        """Return the file, to be read inside ``with``. Raises `Refused` where there is no such file."""

    def require_single(self, path: str) -> None:
        """Raise `Refused` where readers of the archive may find different files at ``path``."""

    def others(self, paths: Collection[str]) -> Iterator[Member]:
        """Yield each file but those at ``paths``, links followed, with its content. Raises as reading the archive."""


class DirectoryStore:
    """An archive that was unpacked into a directory."""

    def __init__(self, root: Path) -> None:
        self.name = root.name
        self._root = root

    def has(self, path: str) -> bool:
        """Return whether there is such a file."""
        return (self._root / path.lstrip("/")).is_file()

    @contextmanager
    def open(self, path: str) -> Iterator[Content]:
        """Return the file. Raises `Refused` if it is missing, or is outside of the archive by a link."""
        place = self._root / path.lstrip("/")
        try:
            descriptor = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise missing(self.name, path) from error
        with os.fdopen(descriptor, "rb") as file:
            inside = place.resolve().is_relative_to(self._root.resolve())
            if not inside or not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise missing(self.name, path)
            yield file

    def require_single(self, path: str) -> None:
        """Do nothing: a directory has one file of a name."""

    def others(self, paths: Collection[str]) -> Iterator[Member]:
        """Yield each file but those at ``paths``. Raises as `directory.members`, and `Refused` for a link out."""
        root = self._root.resolve()
        known = {(root / path.lstrip("/")).resolve() for path in paths}
        for member in directory.members(root):
            place = Path(os.path.realpath(root / member.path.lstrip("/")))
            if not place.is_relative_to(root):
                raise Refused(
                    f"{self.name}: {shown(member.path)} leads out of the archive, to {shown(str(place))}.",
                    "Copy what it leads to into the archive, or take the link out.",
                    reason="unsafe-path",
                )
            if member.type == "file" and place not in known:
                yield member


class TarStore:
    """An archive in a plain tar: its members are indexed once and read in place.

    Sparse files are not parts of it, since their bytes are not in one place; `others` has them.
    """

    def __init__(self, path: Path, name: str) -> None:
        """Read the headers of the tar at ``path``. Raises `Refused` as `tar.members` does."""
        self.name = name
        self._path = path
        self._places: dict[str, tuple[int, int]] = {}
        self._links: dict[str, str] = {}
        self._once: set[str] = set()
        self._twice: set[str] = set()
        self._hard: set[str] = set()
        _log.debug("reading the headers of %s", path)
        with path.open("rb") as file:
            stream = FileStream(file)
            for member in members(stream, root="/", archive=name):
                if member.type != "directory":
                    (self._twice if member.path in self._once else self._once).add(member.path)
                self._places.pop(member.path, None)
                self._links.pop(member.path, None)
                if member.type == "file" and not isinstance(member.content, SparseContent):
                    self._places[member.path] = (stream.position, member.size)
                elif member.type == "symlink" and member.target is not None:
                    self._links[member.path] = member.target
                elif member.type == "hardlink" and member.target in self._places:
                    self._hard.add(member.path)
                    self._places[member.path] = self._places[member.target]

    def has(self, path: str) -> bool:
        """Return whether there is such a file."""
        return self._place(path) is not None

    @contextmanager
    def open(self, path: str) -> Iterator[Content]:
        """Return the file. Raises `Refused` where it is missing."""
        place = self._place(path)
        if place is None:
            raise missing(self.name, path)
        with self._path.open("rb") as file:
            file.seek(place[0])
            yield _Part(file, place[1])

    def require_single(self, path: str) -> None:
        """Raise `Refused` where several members have the name ``path``, or a link has.

        Of several, unpackers leave the last, and skopeo and podman read the first (``docker-archive:``); those follow
        no hard links.
        """
        if path in self._twice:
            why = "has several members with the name"
        elif path in self._hard or resolve(path, self._links, self.name) != path:
            why = "has a link with the name"
        else:
            return
        raise Refused(
            f"{self.name} {why} {shown(path.lstrip('/'))}, which tools read differently.",
            "Do not use this archive; ask those who made it.",
            reason="ambiguous-image",
        )

    def others(self, paths: Collection[str]) -> Iterator[Member]:
        """Yield each file but those at ``paths``, whatever its name: replaced ones may still be reachable by links.

        Raises as `tar.members`.
        """
        known = {self._place(path) for path in paths}
        with self._path.open("rb") as file:
            stream = FileStream(file)
            for member in members(stream, root="/", archive=self.name):
                if member.type == "file" and (stream.position, member.size) not in known:
                    yield member

    def _place(self, path: str) -> tuple[int, int] | None:
        # Old ``docker save`` keeps a layer that several images share once, and links to it.
        return self._places.get(resolve(path, self._links, self.name))


class TransportStore:
    """An archive of skopeo's ``dir:``, by the paths that an OCI layout has (containers/image, ``directory``).

    Its one manifest is ``manifest.json``, those of an index are ``HEX.manifest.json``, and all else is ``HEX``.
    """

    def __init__(self, store: Store, digest: str) -> None:
        """Read from ``store``, whose ``manifest.json`` has ``digest``."""
        self.name = store.name
        self._store = store
        self._first = digest

    def has(self, path: str) -> bool:
        """Return whether there is such a file."""
        return self._store.has(self._place(path))

    def open(self, path: str) -> AbstractContextManager[Content]:
        """Return the file. Raises `Refused` where it is missing."""
        return self._store.open(self._place(path))

    def require_single(self, path: str) -> None:
        """Raise as that of the store."""
        self._store.require_single(self._place(path))

    def others(self, paths: Collection[str]) -> Iterator[Member]:
        """Yield each file but those at ``paths``. Raises as that of the store."""
        return self._store.others([self._place(path) for path in paths])

    def _place(self, path: str) -> str:
        digest = path.removeprefix("/blobs/sha256/")
        if digest == path:
            return path
        if digest == self._first:
            return "/manifest.json"
        manifest = f"/{digest}.manifest.json"
        return manifest if self._store.has(manifest) else f"/{digest}"


class _Part:
    """A stretch of a file."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._left = size

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data


def missing(archive: str, path: str) -> Refused:
    """Return the error for a file that an archive names and does not have."""
    return Refused(
        f"{archive} has no {shown(path.lstrip('/'))}, which it names.",
        "Do not use this archive; ask those who made it.",
        reason="malformed-image",
    )
