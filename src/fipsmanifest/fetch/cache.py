"""The content-addressed store that runs and processes share: ``blobs/sha256/HEX`` and partial downloads.

A blob is renamed into place when it is whole and its digest is known, and hashed again before this process uses it
for the first time, so neither a kill, nor a power cut, nor a bad disk makes a wrong file right. Everything in it can be
fetched again; the directory may be deleted at any time when nothing runs.

A directory that other users can write to is refused: they could replace a file between its check and its use. No file
is opened, changed or created through a symbolic or hard link.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import hashlib
import io
import json
import logging
import os
import pwd
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..archive.member import Content
from ..errors import FipsManifestError, Incomplete, Refused
from ..model import documents

_log = logging.getLogger(__name__)

#: Bytes read, hashed and written at a time; hashlib gives up the interpreter's lock for them.
BLOCK = 1 << 20

#: Seconds after which a partial download of an interrupted run is removed.
_STALE = 7 * 24 * 3600

#: Bytes of the facts about a partial download: an address and a validator.
_MAX_FACTS = 64 << 10

#: Seconds between two attempts at a lock that another process holds.
_LOCK_POLL = 0.1


@dataclass(frozen=True, slots=True)
class CachedFile:
    """A file in the cache whose digest is known to this process."""

    path: Path
    """Its path."""
    sha256: str
    """Hex."""
    size: int
    """Bytes."""


def default_root() -> Path:
    """Return the directory that is used unless the user names another: ``$XDG_CACHE_HOME/fipsmanifest``."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG Base Directory Specification: relative paths are to be ignored.
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "fipsmanifest"


class Partial:
    """A partial download: its bytes so far, and what they were served as. `Cache.partial` makes it under a lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._facts = path.with_suffix(".json")

    @property
    def size(self) -> int:
        """Bytes so far; 0 where nothing was begun, or where the path is not a file of this user alone."""
        try:
            found = self.path.lstat()
        except FileNotFoundError:
            return 0
        return found.st_size if _is_own(found, to_change=True) else 0

    def facts(self) -> dict[str, str]:
        """Return what `begin` stored, empty where that is missing or damaged."""
        try:
            with _open_own(self._facts) as file:
                facts = documents.read_json(file.read(_MAX_FACTS))
        except (OSError, ValueError):
            return {}
        return {str(key): str(value) for key, value in facts.items()} if isinstance(facts, dict) else {}

    def begin(self, facts: dict[str, str]) -> None:
        """Start again with no bytes and store what they will be served as. Raises `Incomplete`."""
        with _disk(self.path):
            # In this order: facts must never describe bytes of an earlier answer.
            self.path.unlink(missing_ok=True)
            self._facts.unlink(missing_ok=True)
            for path, data in ((self._facts, json.dumps(facts).encode()), (self.path, b"")):
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)

    def append(self, chunks: Iterator[bytes]) -> None:
        """Append ``chunks`` to the bytes so far. A write that fails leaves nothing behind; raises `Incomplete`."""
        try:
            with _open_own(self.path, os.O_WRONLY | os.O_APPEND, to_change=True) as file:
                for chunk in chunks:
                    _write_all(file.fileno(), chunk)
        except OSError as error:
            self.discard()
            raise _disk_error(self.path, error) from error

    def discard(self) -> None:
        """Forget the bytes so far."""
        for path in (self.path, self._facts):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


class Cache:
    """The store. Safe for threads, and for processes that share its directory."""

    def __init__(self, root: Path) -> None:
        """Open the store at ``root`` and create it where it is missing.

        Raises `Incomplete` where that fails, and `Refused` for a directory that belongs to another user or that other
        users can write to.
        """
        self.root = root
        self._blobs = root / "blobs" / "sha256"
        self._partial = root / "partial"
        self._stop = threading.Event()
        self._verified: dict[str, tuple[int, ...]] = {}
        with _disk(root):
            root.parent.mkdir(parents=True, exist_ok=True)
            for directory in (root, self._blobs.parent, self._blobs, self._partial):
                directory.mkdir(mode=0o700, exist_ok=True)
                # The root itself may be a link to a larger disk; what is in it is made here.
                _check_private(directory, directory.stat() if directory == root else directory.lstat())
        self._sweep()

    def stop(self) -> None:
        """Make threads that wait for another process's download give up with `Incomplete`."""
        self._stop.set()

    def path(self, sha256: str) -> Path:
        """Return the path of the blob with that hex digest, whether it exists or not."""
        return self._blobs / sha256

    def get(self, sha256: str) -> CachedFile | None:
        """Return the blob with that hex digest, or None.

        Its bytes are hashed when this process first asks and whenever the file changed since; a damaged blob is
        removed. Raises `Incomplete` where the disk cannot be read.
        """
        path = self.path(sha256)
        try:
            state = _state(path)
            if self._verified.get(sha256) != state:
                if not _is_own(path.lstat()):
                    _log.debug("%s is a link or belongs to another user: removed", path)
                    path.unlink(missing_ok=True)
                    return None
                with _open_own(path) as file:
                    found = hashlib.file_digest(file, "sha256").hexdigest()
                if found != sha256:
                    _log.debug("%s is damaged: removed", path)
                    path.unlink(missing_ok=True)
                    return None
                self._verified[sha256] = state
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _disk_error(path, error) from error
        return CachedFile(path, sha256, state[1])

    @contextlib.contextmanager
    def partial(self, key: str) -> Iterator[Partial]:
        """Hold the one place in the world where ``key`` (a digest or an address) is being downloaded to.

        Waits while another thread or process holds it; after that, ask `get` again. Raises `Incomplete`.
        """
        name = hashlib.sha256(key.encode()).hexdigest()
        with self._locked(self._partial / f"{name}.lock"):
            yield Partial(self._partial / f"{name}.part")

    def adopt(self, partial: Partial, sha256: str) -> CachedFile:
        """Take a whole download, whose bytes were just hashed to ``sha256``, into the store."""
        kept = self._keep(partial.path, sha256)
        _log.debug("downloaded %s: %d bytes", kept.path, kept.size)
        partial.discard()
        return kept

    def add(self, content: Content, *, limit: int, name: str) -> CachedFile:
        """Copy ``content`` to its end into the store.

        Raises `Refused` where that is more than ``limit`` bytes (``name`` is what the message calls it), and
        `Incomplete` where the disk refuses; nothing is left then.
        """
        with _disk(self._partial):
            descriptor, temporary = tempfile.mkstemp(dir=self._partial, prefix="add-")
        path = Path(temporary)
        digest, size = hashlib.sha256(), 0
        try:
            with os.fdopen(descriptor, "wb", buffering=0) as file:
                while chunk := content.read(BLOCK):
                    size += len(chunk)
                    if size > limit:
                        raise Refused(
                            f"{name} is larger than {limit} bytes.",
                            "Nothing in a release is that large.",
                            reason="too-large",
                        )
                    digest.update(chunk)
                    with _disk(path):
                        _write_all(file.fileno(), chunk)
            kept = self._keep(path, digest.hexdigest())
            _log.debug("added %s as %s: %d bytes", name, kept.path, kept.size)
            return kept
        finally:
            path.unlink(missing_ok=True)

    def _keep(self, path: Path, sha256: str) -> CachedFile:
        target = self.path(sha256)
        with _disk(target):
            with _open_own(path, to_change=True) as file:
                os.fchmod(file.fileno(), 0o644)
            path.replace(target)
            state = _state(target)
        self._verified[sha256] = state
        return CachedFile(target, sha256, state[1])

    @contextlib.contextmanager
    def _locked(self, path: Path) -> Iterator[None]:
        while True:
            with _disk(path):
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                self._wait_for(descriptor, path)
                # The process that held it before removed the file: the lock is then on a file that no other process can
                # open.
                if _same_file(descriptor, path):
                    try:
                        yield
                    finally:
                        path.unlink(missing_ok=True)
                    return
            finally:
                os.close(descriptor)

    def _wait_for(self, descriptor: int, path: Path) -> None:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if self._stop.wait(_LOCK_POLL):
                    raise Incomplete(
                        "Stopped while another process was downloading the same file.", reason="stopped"
                    ) from None
            except OSError as error:
                raise _disk_error(path, error) from error
            else:
                return

    def _sweep(self) -> None:
        """Remove what interrupted runs left long ago."""
        for path in self._partial.iterdir():
            with contextlib.suppress(OSError):
                if time.time() - path.lstat().st_mtime > _STALE:
                    path.unlink()


def hash_into(path: Path, *updates: Callable[[bytes], None]) -> None:
    """Feed the bytes of ``path`` to ``updates`` (of hashes). Raises `Incomplete` where the disk cannot be read."""
    with _disk(path), _open_own(path) as file:
        while chunk := file.read(BLOCK):
            for update in updates:
                update(chunk)


def _is_own(found: os.stat_result, *, to_change: bool = False) -> bool:
    """Return whether this is a regular file of this user, and ``to_change``, that no second name leads to it."""
    own = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
    return own and not (to_change and found.st_nlink > 1)


def _open_own(path: Path, flags: int = os.O_RDONLY, *, to_change: bool = False) -> io.FileIO:
    """Open a file of the cache, never through a link. Raises `OSError`."""
    # O_NONBLOCK: opening a FIFO would wait for its other end.
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not _is_own(os.fstat(descriptor), to_change=to_change):
        os.close(descriptor)
        raise OSError(errno.EPERM, "It is not a file of this user alone")
    return io.FileIO(descriptor, "rb" if flags == os.O_RDONLY else "ab")


def _check_private(directory: Path, found: os.stat_result) -> None:
    """Raise `Refused` for a directory that another user owns or can write to, or that a link leads to."""
    if not stat.S_ISDIR(found.st_mode):
        why = "is not a directory"
    elif found.st_uid != os.geteuid():
        why = f"belongs to the user with the ID {found.st_uid}"
    elif found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and not _is_private_group(found.st_gid)):
        why = f"can be written to by other users (mode {stat.S_IMODE(found.st_mode):04o})"
    else:
        return
    raise Refused(
        f"The cache directory {directory} {why}.",
        f"Delete it, take the permission away with 'chmod -R go-w {directory}', or name another one with --cache.",
        reason="cache-directory",
    )


def _is_private_group(gid: int) -> bool:
    """Return whether only this user is in the group, as Red Hat and Debian give every user one (useradd(8))."""
    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    return user.pw_gid == gid and user.pw_name == group.gr_name and not set(group.gr_mem) - {user.pw_name}


def _state(path: Path) -> tuple[int, ...]:
    """Return what changes whenever a file's bytes do: no process can set a file's ctime."""
    found = path.lstat()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


@contextlib.contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _disk_error(path, error) from error


def _disk_error(path: Path, error: OSError) -> FipsManifestError:
    return Incomplete(
        f"The cache cannot use {path}: {error.strerror or error}.",
        "Free space, or name another directory with --cache.",
        reason="not-written",
    )
