"""Write files atomically and durably, so that a killed run leaves no partial file."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from pathlib import Path

from ..errors import Incomplete


def write(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace ``path`` by ``data`` in one step, on disk before this returns.

    ``mode`` is the file's, whatever the umask. Raises `Incomplete` if the disk refuses, and leaves ``path`` unchanged.
    """
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        Path(temporary).replace(path)
        sync_directory(path.parent)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                Path(temporary).unlink(missing_ok=True)
        raise Incomplete(
            f"{path} could not be written: {error.strerror}.", "Free space or choose another directory."
        ) from error


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
