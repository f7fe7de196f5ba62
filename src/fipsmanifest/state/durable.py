"""Write every file outside the cache and buckets: atomically and durably, and never through another user's link.

A killed run leaves no partial file. A link that another user planted in a directory such as ``/tmp`` is not followed:
following it would change files that they cannot change themselves.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..errors import Incomplete
from ..trust.links import others_write, refuse_links

_log = logging.getLogger(__name__)


def write(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace ``path`` by ``data`` in one step, on disk before this returns.

    ``mode`` is the file's, whatever the umask. A link at ``path`` is replaced, and its target stays unchanged. Raises
    `Incomplete` if the disk refuses or another user's link is on the way, and leaves ``path`` unchanged. A device, a
    FIFO and ``/dev/stdout`` are written to: nothing else could be read from a file in their place.
    """
    temporary: str | None = None
    try:
        make_directory(path.parent)
        if _is_stream(path):
            with os.fdopen(open_to_change(path, os.O_WRONLY | os.O_APPEND), "wb") as stream:
                stream.write(data)
            return
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        Path(temporary).replace(path)
        sync_directory(path.parent)
        _log.debug("wrote %s: %d bytes", path, len(data))
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                Path(temporary).unlink(missing_ok=True)
        raise Incomplete(
            f"{path} could not be written: {error.strerror}.",
            "Free space or choose another directory.",
            reason="not-written",
        ) from error


def discard(path: Path | None) -> None:
    """Remove a report that an earlier run left, so that it is not taken for that of a run which ends without one.

    Anything but a regular file stays. So does what cannot be removed: `write` then says why.
    """
    if path is not None:
        with contextlib.suppress(OSError):
            refuse_links(str(path))
            if stat.S_ISREG(path.lstat().st_mode):
                path.unlink()
                _log.debug("removed %s", path)


def _is_stream(path: Path) -> bool:
    """Return whether a path is that of a device, FIFO or socket, or of an open file (``/dev/stdout``)."""
    parent = path.parent.resolve()
    if (parent == Path("/dev") and path.is_symlink()) or parent.is_relative_to("/proc"):
        return True
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def make_directory(path: Path) -> None:
    """Make a directory and those above it where they are missing. Raises `OSError`, for another user's link too."""
    refuse_links(str(path))
    path.mkdir(parents=True, exist_ok=True)


def open_to_change(path: Path, flags: int) -> int:
    """Open a file that is changed where it is, and make it where it is missing; return its descriptor.

    ``flags`` are those of `os.open` besides. Raises `OSError`, for another user's link too, for a file with a further
    name (a hard link) in a directory that others can write to, and for a FIFO without a reader.
    """
    refuse_links(str(path))
    # A link that is left is this user's own, or the system's (/dev/stdout), and leads where they want it to.
    follow = 0 if path.is_symlink() else os.O_NOFOLLOW
    descriptor = os.open(path, flags | follow | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) and found.st_nlink > 1 and others_write(path.resolve().parent.stat()):
        os.close(descriptor)
        raise OSError(errno.EMLINK, "it has another name as well (a hard link)", str(path))
    os.set_blocking(descriptor, True)
    return descriptor


def sync_directory(directory: Path) -> None:
    """Make a rename or a new name in ``directory`` survive a power failure."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def lock(descriptor: int, path: Path, advice: str) -> None:
    """Lock an open file or directory, waiting for other holders; closing it releases the lock.

    Raises `Incomplete` if the file system has no locks, as network file systems for directories (flock(2)).
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        raise Incomplete(
            f"{path} cannot be locked: its file system does not support it ({error.strerror}).", advice
        ) from error


@contextlib.contextmanager
def serialized(path: Path, advice: str) -> Iterator[None]:
    """Hold the lock beside ``path``, so that processes change the file one after the other.

    Raises `Incomplete` with ``advice`` if its directory cannot be written or locked.
    """
    try:
        make_directory(path.parent)
        descriptor = open_to_change(path.with_suffix(".lock"), os.O_RDWR)
    except OSError as error:
        raise Incomplete(f"{path.parent} cannot be written: {error.strerror}.", advice, reason="not-written") from error
    try:
        lock(descriptor, path.parent, advice)
        yield
    finally:
        os.close(descriptor)
