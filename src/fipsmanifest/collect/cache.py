"""The content-addressed store that runs and processes share: ``blobs/sha256/HEX`` and what is still on its way.

A blob is renamed into place when it is whole and its digest is known, and hashed again before this process uses it
for the first time, so neither a kill, nor a power cut, nor a bad disk makes a wrong file right. Everything in it can be
fetched again; the folder may be deleted at any time when nothing runs.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .. import documents
from ..errors import FipsManifestError, Incomplete, Refused
from ..unpack.member import Content

#: Bytes read, hashed and written at a time; hashlib gives up the interpreter's lock for them.
BLOCK = 1 << 20

#: Seconds after which what an interrupted run left behind is no longer worth resuming.
_STALE = 7 * 24 * 3600

#: Seconds between two looks at a lock that another process holds.
_LOCK_POLL = 0.1


@dataclass(frozen=True, slots=True)
class CachedFile:
    """A file in the cache whose digest is known to this process."""

    path: Path
    """Where it lies."""
    sha256: str
    """Hex."""
    size: int
    """Bytes."""


def default_root() -> Path:
    """Give the folder that is used unless the user names another: ``$XDG_CACHE_HOME/fipsmanifest``."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG Base Directory Specification: relative paths are to be ignored.
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "fipsmanifest"


class Partial:
    """A download on its way: its bytes so far, and what they were served as. `Cache.partial` makes it under a lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._facts = path.with_suffix(".json")

    @property
    def size(self) -> int:
        """Bytes so far; 0 where nothing was begun."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def facts(self) -> dict[str, str]:
        """Give what `begin` wrote down, empty where that is missing or damaged."""
        try:
            facts = documents.read_json(self._facts.read_bytes())
        except (OSError, ValueError):
            return {}
        return {str(key): str(value) for key, value in facts.items()} if isinstance(facts, dict) else {}

    def begin(self, facts: dict[str, str]) -> None:
        """Start anew with no bytes, writing down what they will be served as."""
        with _disk(self.path):
            # In this order: facts must never describe bytes of an earlier answer.
            self.path.unlink(missing_ok=True)
            self._facts.write_text(json.dumps(facts), encoding="utf-8")
            self.path.touch()

    def append(self, chunks: Iterator[bytes]) -> None:
        """Write ``chunks`` behind the bytes so far. A disk that refuses leaves nothing behind; raises `Incomplete`."""
        try:
            with self.path.open("ab", buffering=0) as file:
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
    """The store. Safe for threads, and for processes that share its folder."""

    def __init__(self, root: Path) -> None:
        """Open the store at ``root``, making it where it is missing. Raises `Incomplete` where that cannot be."""
        self.root = root
        self._blobs = root / "blobs" / "sha256"
        self._partial = root / "partial"
        self._stop = threading.Event()
        self._verified: dict[str, tuple[int, ...]] = {}
        with _disk(root):
            self._blobs.mkdir(parents=True, exist_ok=True)
            self._partial.mkdir(parents=True, exist_ok=True)
        self._sweep()

    def stop(self) -> None:
        """Make threads that wait for another process's download give up with `Incomplete`."""
        self._stop.set()

    def path(self, sha256: str) -> Path:
        """Give where the blob with that hex digest lies, or would lie."""
        return self._blobs / sha256

    def get(self, sha256: str) -> CachedFile | None:
        """Give the blob with that hex digest, or None.

        Its bytes are hashed when this process first asks and whenever the file changed since; a damaged blob is
        removed. Raises `Incomplete` where the disk cannot be read.
        """
        path = self.path(sha256)
        try:
            state = _state(path)
            if self._verified.get(sha256) != state:
                with path.open("rb") as file:
                    found = hashlib.file_digest(file, "sha256").hexdigest()
                if found != sha256:
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
                        raise Refused(f"{name} is larger than {limit} bytes.", "Nothing in a release is that large.")
                    digest.update(chunk)
                    with _disk(path):
                        _write_all(file.fileno(), chunk)
            return self._keep(path, digest.hexdigest())
        finally:
            path.unlink(missing_ok=True)

    def _keep(self, path: Path, sha256: str) -> CachedFile:
        target = self.path(sha256)
        with _disk(target):
            path.replace(target)
            target.chmod(0o644)
            state = _state(target)
        self._verified[sha256] = state
        return CachedFile(target, sha256, state[1])

    @contextlib.contextmanager
    def _locked(self, path: Path) -> Iterator[None]:
        while True:
            with _disk(path):
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                self._wait_for(descriptor, path)
                # Whoever held it before has removed the file: the lock is then on a file that nobody else can open.
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
                    raise Incomplete("Stopped while another process was downloading the same file.") from None
            except OSError as error:
                raise _disk_error(path, error) from error
            else:
                return

    def _sweep(self) -> None:
        """Remove what interrupted runs left long ago."""
        for path in self._partial.iterdir():
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > _STALE:
                    path.unlink()


def hash_into(path: Path, *updates: Callable[[bytes], None]) -> None:
    """Feed the bytes of ``path`` to ``updates`` (of hashes). Raises `Incomplete` where the disk cannot be read."""
    with _disk(path), path.open("rb", buffering=0) as file:
        while chunk := file.read(BLOCK):
            for update in updates:
                update(chunk)


def _state(path: Path) -> tuple[int, ...]:
    """Give what changes whenever a file's bytes do: no process can set a file's ctime."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
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
        f"The cache cannot use {path}: {error.strerror or error}.", "Free space, or name another folder with --cache."
    )
