"""Files that are either whole or not there: what a kill in the middle must not leave half written."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from pathlib import Path

from ..errors import Incomplete


def write(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace ``path`` by ``data`` in one step, on disk before this returns.

    ``mode`` is the file's, whatever the umask. Raises `Incomplete` where the disk refuses, and leaves ``path`` as
    it was.
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
        sync_folder(path.parent)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                Path(temporary).unlink(missing_ok=True)
        raise Incomplete(
            f"{path} could not be written: {error.strerror}.", "Free space or choose another folder."
        ) from error


def sync_folder(folder: Path) -> None:
    """Make a rename or a new name in ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def lock(descriptor: int, path: Path, advice: str) -> None:
    """Wait until nobody else has locked an open file or folder; closing it gives the lock back.

    Raises `Incomplete` where its file system has no locks, as network file systems have none for folders (flock(2)).
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        raise Incomplete(
            f"{path} cannot be locked, its file system does not let it ({error.strerror}).", advice
        ) from error
