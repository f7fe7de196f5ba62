"""A folder as a bucket: same layout, same rules, kept by the file system.

Every write happens under a lock on the folder itself, so that nothing but published objects ever stays in it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path, PurePath

from ..errors import Conflict, Incomplete
from ..state.durable import sync_folder
from .bucket import MAX_KEYS, MAX_OBJECT, Absent, Condition, Entry, Matches, NotAnObject, Stored, TooLarge, check_key

_LOCK_SECONDS = 60.0
_TEMPORARY = ".writing-"
_MOVE_OUT = "It is none of ours; move it away."

#: Whoever may enter the folder may read what is published, whatever the publisher's umask: it is for the world.
_PROGRAM, _DATA, _FOLDER = 0o755, 0o644, 0o755


class FolderBucket:
    """A `Bucket` in a folder, which the first write makes. Content types and cache control have no place here.

    What begins as a script does is executable, so that the node tool runs from where it was published.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def describe(self) -> str:
        """Give the folder's path."""
        return str(self._root)

    def get(self, key: str) -> Stored | None:
        """Read an object. Raises `NotAnObject` for one that is too large, no plain file, or behind a link."""
        path = self._path(key)
        try:
            # Opened without waiting: a pipe would let nobody in until somebody writes.
            flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(path, flags), "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise NotAnObject(f"{path} is no file.", _MOVE_OUT)
                data = file.read(MAX_OBJECT + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _unusable(path, "read", error) from error
        if len(data) > MAX_OBJECT:
            raise TooLarge(str(path))
        return Stored(data, hashlib.sha256(data).hexdigest())

    def put(self, key: str, data: bytes, *, only_if: Condition, content_type: str, cache_control: str) -> None:
        """Write an object where ``only_if`` holds, else raise `Conflict`."""
        del content_type, cache_control
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            with self._locked(_LOCK_SECONDS):
                self._write(key, data, only_if)
        except OSError as error:
            raise _unusable(self._root / key, "written", error) from error

    def list(self, prefix: str) -> Iterator[Entry]:
        """Name everything in the folder but folders and what is being written: links, pipes and hidden files, too. We
        never write those, and whoever looks at the bucket has to see them."""
        found: list[Entry] = []
        for path in self._files():
            key = path.relative_to(self._root).as_posix()
            if key.startswith(prefix):
                found.append(Entry(key, path.lstat().st_size, ""))
            if len(found) > MAX_KEYS:
                raise Incomplete(f"{self._root} holds more than {MAX_KEYS} files.", "Give the bucket's own folder.")
        yield from sorted(found, key=lambda entry: entry.key)

    def sweep(self) -> None:
        """Remove what killed writers left. Whoever is writing now has the lock, and sweeps as well."""
        try:
            if self._root.is_dir() and any(self._leftovers()):
                with contextlib.suppress(_Locked), self._locked(0):
                    self._remove_leftovers()
        except OSError as error:
            raise _unusable(self._root, "written", error) from error

    def remove(self, key: str) -> None:
        """Remove an object, as a probe does with its own; one that is not there is removed already."""
        path = self._path(key)
        try:
            if path.parent.is_dir():
                path.unlink(missing_ok=True)
                self._remove_empty(path.parent)
        except OSError as error:
            raise _unusable(path, "removed", error) from error

    def refuses_wrong_digest(self, key: str) -> None:
        """Say that a folder is given no digests."""

    def _remove_empty(self, folder: Path) -> None:
        """Remove the folders that only held what was removed, as if it had never been there."""
        while folder != self._root and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent

    def _files(self) -> Iterator[Path]:
        def failed(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError):
                raise _unusable(self._root, "listed", error) from error

        for folder, folders, names in os.walk(self._root, onerror=failed):
            at = Path(folder)
            # A link to a folder is among the folders, and is not gone into.
            names += [name for name in folders if (at / name).is_symlink()]
            yield from (at / name for name in names if at != self._root or not _is_temporary(name))

    def _path(self, key: str) -> Path:
        check_key(key)
        path = self._root / key
        # Listing goes into no link, so nothing is written or read behind one. The last part is looked at when opened.
        if os.path.realpath(path.parent) != str(Path(os.path.realpath(self._root), PurePath(key).parent)):
            raise NotAnObject(f"{path} lies behind a link.", "Put a folder in the place of the link.")
        return path

    def _write(self, key: str, data: bytes, only_if: Condition) -> None:
        path = self._path(key)
        self._remove_leftovers()
        if isinstance(only_if, Matches):
            there = self.get(key)
            if there is None or there.token != only_if.token:
                raise Conflict(f"{path} has changed since it was read.", "Run again.")
        self._make_folder(path.parent)
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
                    # Not listed and not read: whoever looks again would not see it then either.
                    what = "a folder where an object belongs" if stat.S_ISDIR(mode) else "no file"
                    raise NotAnObject(f"{path} is {what}.", _MOVE_OUT) from None
                raise Conflict(f"{path} exists already.", "Run again.") from None
            finally:
                temporary.unlink()
        else:
            temporary.replace(path)
        sync_folder(path.parent)

    def _make_folder(self, folder: Path) -> None:
        """Make ``folder`` so that its name survives a power cut; every folder on the way, since a killed run may have
        made one without syncing."""
        if folder != self._root:
            self._make_folder(folder.parent)
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
                folder.chmod(_FOLDER)
            sync_folder(folder.parent)

    def _leftovers(self) -> Iterator[Path]:
        for path in self._root.glob(f"{_TEMPORARY}*"):
            if _is_temporary(path.name) and not stat.S_ISDIR(path.lstat().st_mode):
                yield path

    def _remove_leftovers(self) -> None:
        """Remove what killed writers left: under the lock no one else is writing, so whoever did is dead."""
        for left in self._leftovers():
            left.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _locked(self, seconds: float) -> Iterator[None]:
        """Hold the lock on the folder. Raises `_Locked` where another one holds it for so many seconds."""
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
        return NotAnObject(f"{path} is a link.", _MOVE_OUT)
    if isinstance(error, IsADirectoryError):
        return NotAnObject(f"{path} is a folder where an object belongs.", _MOVE_OUT)
    if isinstance(error, NotADirectoryError | FileExistsError):
        return Incomplete(f"{path} could not be {done}: a file lies where a folder belongs.", _MOVE_OUT)
    return Incomplete(
        f"{path} could not be {done}: {error.strerror}.", "Check space and permissions, or choose another folder."
    )
