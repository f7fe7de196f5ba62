"""The members of a directory on this disk, taken as a node's root."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from ..errors import Incomplete
from .member import Member
from .paths import shown


def members(root: Path, *, note: Callable[[str], object] = str) -> Iterator[Member]:
    """Yield the members below ``root`` directory by directory in the order of names, without following links.

    ``note`` is called with each device, FIFO and socket, which are skipped. A file that disappears or changes its type
    while the directory is read is an error. Raises `Incomplete` for what cannot be read.
    """
    waiting = [root]
    while waiting:
        place = waiting.pop()
        path = "/" if place == root else "/" + place.relative_to(root).as_posix()
        try:
            status = place.stat() if place == root else place.lstat()
            mode = stat.S_IMODE(status.st_mode)
            if stat.S_ISDIR(status.st_mode):
                # Backwards, because the last is taken first.
                waiting += sorted(place.iterdir(), key=lambda child: os.fsencode(child.name), reverse=True)
                yield Member(path, "directory", mode, 0)
            elif stat.S_ISLNK(status.st_mode):
                yield Member(path, "symlink", mode, 0, str(place.readlink()))
            elif stat.S_ISREG(status.st_mode):
                yield from file_member(place, path)
            else:
                note(f"{shown(path)} is neither file, link nor directory, and is passed over.")
        except OSError as error:
            raise Incomplete(
                f"{place} cannot be read: {error.strerror}.",
                "Read it as root, or name a part of the directory.",
                reason="not-read",
            ) from error


def file_member(place: Path, path: str, *, follow: bool = False) -> Iterator[Member]:
    """Yield the one regular file at ``place`` as the member ``path``; a link is followed only with ``follow``.

    Raises `Incomplete` where it is no longer a regular file, `OSError` where it cannot be opened.
    """
    # Between looking and opening, the name may have become a FIFO, which must not hold anything up.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(place, flags if follow else flags | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as content:
        status = os.fstat(content.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise Incomplete(
                f"{place} changed while it was read.", "Run it again when nothing writes there.", reason="not-read"
            )
        yield Member(path, "file", stat.S_IMODE(status.st_mode), status.st_size, content=_Content(content, place))


class _Content:
    """A file's bytes, with errors that name it."""

    def __init__(self, file: BinaryIO, place: Path) -> None:
        self._file = file
        self._place = place

    def read(self, size: int = -1, /) -> bytes:
        try:
            return self._file.read(size)
        except OSError as error:
            raise Incomplete(
                f"{self._place} cannot be read: {error.strerror}.", "Check the disk.", reason="not-read"
            ) from error
