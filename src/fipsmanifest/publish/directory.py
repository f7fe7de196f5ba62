"""A directory as a bucket, with the same layout and rules as in S3.

Every write holds a lock on the directory itself, so that it contains nothing but published objects afterwards.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import logging
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path, PurePath

from ..errors import Conflict, Incomplete
from ..state.durable import sync_directory
from .bucket import MAX_KEYS, MAX_OBJECT, Absent, Condition, Entry, Matches, NotAnObject, Stored, TooLarge, check_key

_log = logging.getLogger(__name__)

_LOCK_SECONDS = 60.0
_TEMPORARY = ".writing-"
_MOVE_OUT = "It was not written by fipsmanifest; move it away."

#: Published files are world-readable, independently of the publisher's umask.
_PROGRAM, _DATA, _DIRECTORY = 0o755, 0o644, 0o755


class DirectoryBucket:
    """A `Bucket` in a directory, which the first write creates. Content types and cache control are ignored.

    A file that begins with ``#!`` is executable, so that the node tool runs from the directory.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def describe(self) -> str:
        """Return the directory's path."""
        return str(self._root)

    def get(self, key: str) -> Stored | None:
        """Read an object. Raises `NotAnObject` for one that is too large, not a regular file, or behind a link."""
        path = self._path(key)
        try:
            # Opened without waiting: opening a pipe would block until it has a writer.
            flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(path, flags), "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise NotAnObject(f"{path} is not a regular file.", _MOVE_OUT)
                data = file.read(MAX_OBJECT + 1)
        except (FileNotFoundError, NotADirectoryError):
            _log.debug("read %s: does not exist", path)
            return None
        except OSError as error:
            raise _unusable(path, "read", error) from error
        if len(data) > MAX_OBJECT:
            raise TooLarge(str(path))
        _log.debug("read %s: %d bytes", path, len(data))
        return Stored(data, hashlib.sha256(data).hexdigest())

    def put(self, key: str, data: bytes, *, only_if: Condition, content_type: str, cache_control: str) -> None:
        """Write an object if ``only_if`` is met, else raise `Conflict`."""
        del content_type, cache_control
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            with self._locked(_LOCK_SECONDS):
                self._write(key, data, only_if)
            _log.debug("wrote %s: %d bytes, condition %s", self._root / key, len(data), only_if)
        except OSError as error:
            raise _unusable(self._root / key, "written", error) from error

    def list(self, prefix: str) -> Iterator[Entry]:
        """Yield all entries of the directory except directories and files being written.

        Links, pipes and hidden files are included: fipsmanifest never writes those, and an audit has to report them.
        """
        found: list[Entry] = []
        for path in self._files():
            key = path.relative_to(self._root).as_posix()
            if key.startswith(prefix):
                found.append(Entry(key, path.lstat().st_size, ""))
            if len(found) > MAX_KEYS:
                raise Incomplete(
                    f"{self._root} contains more than {MAX_KEYS} files.", "Name the bucket's own directory."
                )
        _log.debug("listed %s below %s: %d files", self._root, prefix, len(found))
        yield from sorted(found, key=lambda entry: entry.key)

    def sweep(self) -> None:
        """Remove the temporary files of killed writers. A writer that holds the lock now sweeps as well."""
        try:
            if self._root.is_dir() and any(self._leftovers()):
                with contextlib.suppress(_Locked), self._locked(0):
                    self._remove_leftovers()
        except OSError as error:
            raise _unusable(self._root, "written", error) from error

    def remove(self, key: str) -> None:
        """Remove an object, as a probe does with its own; one that does not exist is ignored."""
        path = self._path(key)
        try:
            if path.parent.is_dir():
                path.unlink(missing_ok=True)
                self._remove_empty(path.parent)
        except OSError as error:
            raise _unusable(path, "removed", error) from error

    def refuses_wrong_digest(self, key: str) -> None:
        """Return None: a directory does not check digests."""

    def _remove_empty(self, directory: Path) -> None:
        """Remove the directories that are empty after a removal."""
        while directory != self._root and not any(directory.iterdir()):
            directory.rmdir()
            directory = directory.parent

    def _files(self) -> Iterator[Path]:
        def failed(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError):
                raise _unusable(self._root, "listed", error) from error

        for directory, directories, names in os.walk(self._root, onerror=failed):
            at = Path(directory)
            # os.walk lists a link to a directory among the directories, and does not follow it.
            names += [name for name in directories if (at / name).is_symlink()]
            yield from (at / name for name in names if at != self._root or not _is_temporary(name))

    def _path(self, key: str) -> Path:
        check_key(key)
        path = self._root / key
        # Listing does not follow links, so reading and writing must not either. The last part is checked when opened.
        if os.path.realpath(path.parent) != str(Path(os.path.realpath(self._root), PurePath(key).parent)):
            raise NotAnObject(f"{path} is behind a symbolic link.", "Replace the link by a directory.")
        return path

    def _write(self, key: str, data: bytes, only_if: Condition) -> None:
        path = self._path(key)
        self._remove_leftovers()
        if isinstance(only_if, Matches):
            there = self.get(key)
            if there is None or there.token != only_if.token:
                raise Conflict(f"{path} has changed since it was read.", "Run again.", reason="changed-meanwhile")
        self._make_directory(path.parent)
        temporary = self._root / f"{_TEMPORARY}{os.getpid()}"
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), _PROGRAM if data.startswith(b"#!") else _DATA)
            os.fsync(file.fileno())
        if isinstance(only_if, Absent):
            try:
                os.link(temporary, path)
            except FileExistsError:
                mode = path.lstat().st_mode
                if not stat.S_ISREG(mode):
                    # It is neither listed nor read, so that planning again would not detect it either.
                    what = "a directory, not an object" if stat.S_ISDIR(mode) else "not a regular file"
                    raise NotAnObject(f"{path} is {what}.", _MOVE_OUT) from None
                raise Conflict(f"{path} exists already.", "Run again.", reason="changed-meanwhile") from None
            finally:
                temporary.unlink()
        else:
            temporary.replace(path)
        sync_directory(path.parent)

    def _make_directory(self, directory: Path) -> None:
        """Create ``directory`` and its parents so that their names survive a power failure.

        Every parent is synced, since a killed run may have created one without syncing it.
        """
        if directory != self._root:
            self._make_directory(directory.parent)
            with contextlib.suppress(FileExistsError):
                directory.mkdir()
                directory.chmod(_DIRECTORY)
            sync_directory(directory.parent)

    def _leftovers(self) -> Iterator[Path]:
        for path in self._root.glob(f"{_TEMPORARY}*"):
            if _is_temporary(path.name) and not stat.S_ISDIR(path.lstat().st_mode):
                yield path

    def _remove_leftovers(self) -> None:
        """Remove the temporary files of killed writers; the lock must be held, so that there is no other writer."""
        for left in self._leftovers():
            left.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _locked(self, seconds: float) -> Iterator[None]:
        """Hold the lock on the directory. Raises `_Locked` if another process holds it for longer than ``seconds``."""
        descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            deadline = time.monotonic() + seconds
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        raise _Locked(
                            f"{self._root} has been locked by another publisher for {seconds:.0f} s.",
                            "Wait for it to end and run again.",
                        ) from None
                    time.sleep(0.01)
                except OSError as error:
                    raise _unusable(self._root, "locked", error) from error
            yield
        finally:
            os.close(descriptor)


class _Locked(Incomplete):
    """Another publisher is writing."""


def _is_temporary(name: str) -> bool:
    return name.startswith(_TEMPORARY) and name.removeprefix(_TEMPORARY).isdecimal()


def _unusable(path: Path, done: str, error: OSError) -> Incomplete:
    if error.errno == errno.ELOOP:
        return NotAnObject(f"{path} is a symbolic link.", _MOVE_OUT)
    if isinstance(error, IsADirectoryError):
        return NotAnObject(f"{path} is a directory, not an object.", _MOVE_OUT)
    if isinstance(error, NotADirectoryError | FileExistsError):
        return Incomplete(f"{path} could not be {done}: a parent is a file, not a directory.", _MOVE_OUT)
    return Incomplete(
        f"{path} could not be {done}: {error.strerror}.",
        "Check space and permissions, or choose another directory.",
        reason="not-written",
    )
