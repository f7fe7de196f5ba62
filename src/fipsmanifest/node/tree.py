"""Reading a node's files under a root that is not ours: links stay inside, devices are never opened, reads end."""

import contextlib
import errno
import itertools
import os
import posixpath
import stat
import threading
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

# See `Digests.workers`.
if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

MAX_NAMES = 20000
"""Names in a directory that is read whole."""
_MAX_LINKS = 40
_CHUNK = 256 * 1024  # more than this is read no faster, and each thread has a buffer
_MAX_WORKERS = 8

# OpenSSL's own hash, where Python has it: see `HASH_PROVIDER`.
try:
    import _hashlib

    _sha256: "Callable[[], object]" = _hashlib.openssl_sha256
    _sha256()
    HASH_PROVIDER = "openssl"
except (ImportError, AttributeError, ValueError):
    # CPython falls back to its own code without a word; the report must say which one it was.
    from hashlib import sha256 as _sha256

    HASH_PROVIDER = "builtin"


class Digest(NamedTuple):
    """A regular file that was read to its end."""

    sha256: str
    """Hex."""
    size: int
    """Bytes."""


class Unstable(Exception):
    """The file changed while it was read, or reading it was given up."""


class NotRegular(Exception):
    """The path is a directory, FIFO, socket or device; the text says which."""


_UNANSWERING: Dict[bytes, bool] = {}
"""Mount points below which nothing is read -> whether something was asked for there.

State of the process: every reader of the node resolves its path here, and none may wait forever.
"""


def set_unanswering(places: Sequence[str]) -> None:
    """Let `resolve` raise `OSError` (ETIMEDOUT) at and below these mount points."""
    _UNANSWERING.clear()
    _UNANSWERING.update({os.fsencode(place): False for place in places})


def take_asked() -> List[str]:
    """Return the mount points that do not answer and were asked for since the last call."""
    found = [place for place, is_asked in _UNANSWERING.items() if is_asked]
    _UNANSWERING.update(dict.fromkeys(found, False))
    return [os.fsdecode(place) for place in found]


def _refuse_unanswering(place: bytes) -> None:
    place = os.path.join(os.path.abspath(place), b"")
    for one in _UNANSWERING:
        if place.startswith(os.path.join(one, b"")):
            _UNANSWERING[one] = True
            raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))


def resolve(
    root: str, path: str, follow_last: bool = True, passed: Optional[Dict[bytes, os.stat_result]] = None
) -> bytes:
    """Return the real place of a node's ``path`` under ``root``, following links as the node itself would.

    Absolute link targets begin at ``root`` again and ``..`` stops there, as after chroot(2). What lies on the way, the
    end included, is noted in ``passed``. Raise `OSError`: not there, no permission, ELOOP after 40 links, or ETIMEDOUT
    below a mount that does not answer.
    """
    base = os.fsencode(root)
    waiting = _parts(path.encode("utf-8", "surrogateescape"))
    if b"\0" in path.encode("utf-8", "surrogateescape"):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    reached: List[bytes] = []
    links = 0
    while waiting:
        part = waiting.pop()
        if part == b"..":
            del reached[-1:]
            continue
        here = os.path.join(base, *(reached + [part]))
        if _UNANSWERING:
            _refuse_unanswering(here)
        status = os.lstat(here)
        if passed is not None:
            passed[here] = status
        if stat.S_ISLNK(status.st_mode) and (waiting or follow_last):
            links += 1
            if links > _MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            target = os.readlink(here)
            if target.startswith(b"/"):
                reached = []
            waiting.extend(_parts(target))
            continue
        reached.append(part)
    return os.path.join(base, *reached)


def path_of(root: str, place: bytes) -> str:
    """Return the path that a place below ``root`` has on the node."""
    return posixpath.normpath("/" + os.path.relpath(os.fsdecode(place), root))


def leads_up(path: str) -> bool:
    """Return whether a path has two dots: what is before them may be a link, so its text alone is not enough."""
    return ".." in path.split("/")


def _parts(path: bytes) -> List[bytes]:
    """Split a path, last part first, to be popped in order."""
    return [part for part in reversed(path.split(b"/")) if part not in (b"", b".")]


def digest(path: bytes, max_size: int, follow: bool = False) -> Digest:
    """Hash a regular file with SHA-256, as `Digests.of` does, without remembering it."""
    return Digests().of(path, max_size, follow)


class Digests:
    """The files that were hashed in one run: one pass over each, by whatever path and for whichever check."""

    def __init__(self) -> None:
        self._known: Dict[Tuple[int, ...], Digest] = {}
        self._locks: Dict[Tuple[int, ...], threading.Lock] = {}
        self._given_up = threading.Event()
        self._is_abandoned = False

    @contextlib.contextmanager
    def workers(self) -> "Iterator[ThreadPoolExecutor]":
        """Return as many threads as there are cores for this process; left by an exception, none reads on."""
        # Here, because files are hashed after the first line of output, which this would delay.
        from concurrent.futures import ThreadPoolExecutor

        pool = ThreadPoolExecutor(min(_MAX_WORKERS, len(os.sched_getaffinity(0))))
        try:
            yield pool
        except BaseException:
            self._given_up.set()
            raise
        finally:
            pool.shutdown(wait=not self._is_abandoned)
            self._is_abandoned = False

    def abandon(self, future: "Future[Any]") -> None:
        """Do not wait for what a thread of `workers` does: the file that it reads does not answer."""
        future.cancel()
        self._is_abandoned = True

    def of(self, path: bytes, max_size: int, follow: bool = False) -> Digest:
        """Hash a regular file with SHA-256.

        A file over ``max_size`` bytes is not read and has an empty digest; ``follow`` is for the links of /proc alone.
        Raise `OSError`, `NotRegular`, and `Unstable` where size or time changed meanwhile.
        """
        descriptor = open_file(path, follow)
        try:
            before = os.fstat(descriptor)
            if before.st_size > max_size:
                return Digest("", before.st_size)
            identity = (before.st_dev, before.st_ino, before.st_size, before.st_mtime_ns, before.st_ctime_ns)
            # A file that two ask for at once is read by one of them.
            with self._locks.setdefault(identity, threading.Lock()):
                if identity not in self._known:
                    self._known[identity] = self._read(descriptor, before, max_size)
                return self._known[identity]
        finally:
            os.close(descriptor)

    def _read(self, descriptor: int, before: os.stat_result, max_size: int) -> Digest:
        sha256, buffer, count = _sha256(), memoryview(bytearray(_CHUNK)), 0
        update: "Callable[[memoryview], None]" = sha256.update  # type: ignore[attr-defined]
        while count <= max_size and not self._given_up.is_set():
            read = os.readv(descriptor, [buffer])
            if not read:
                break
            update(buffer[:read])
            count += read
        after = os.fstat(descriptor)
        if (before.st_size, before.st_mtime_ns, before.st_size) != (after.st_size, after.st_mtime_ns, count):
            raise Unstable()
        return Digest(sha256.hexdigest(), count)  # type: ignore[attr-defined]


def open_file(path: bytes, follow: bool = False) -> int:
    """Open a regular file to be read, and nothing else: to open a device may do something to it, a FIFO wakes a writer.

    ``follow`` is for the links of /proc alone. Gives the descriptor; raises `OSError` or `NotRegular`.
    """
    mode = (os.stat if follow else os.lstat)(path).st_mode
    if not stat.S_ISREG(mode):
        raise NotRegular(kind(mode))
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    # Something else may have come into its place meanwhile.
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise NotRegular(kind(mode))
    return descriptor


def read_small(root: str, path: str, limit: int = 64 * 1024, errors: str = "backslashreplace") -> str:
    """Read a short text file of the node; raises `OSError` or `NotRegular`, and cuts at ``limit`` bytes.

    ``errors`` says what becomes of bytes that are not UTF-8.
    """
    descriptor = open_file(resolve(root, path))
    try:
        # Files of /proc give a page at a time.
        parts, missing = [], limit
        while missing:
            part = os.read(descriptor, missing)
            if not part:
                break
            parts.append(part)
            missing -= len(part)
        return b"".join(parts).decode("utf-8", errors)
    finally:
        os.close(descriptor)


def list_names(root: str, directory: str, most: int = MAX_NAMES) -> List[str]:
    """Return the sorted names in a directory of the node. Raise `OSError`, with EFBIG for more than ``most`` names."""
    with os.scandir(resolve(root, directory)) as entries:
        names = [os.fsdecode(entry.name) for entry in itertools.islice(entries, most + 1)]
    if len(names) > most:
        raise OSError(errno.EFBIG, "more than {} files".format(most))
    return sorted(names)


def kind(mode: int) -> str:
    """Return the name of the type in a file mode."""
    for test, name in _KINDS:
        if test(mode):
            return name
    return "unknown"


_KINDS = (
    (stat.S_ISREG, "file"),
    (stat.S_ISLNK, "symlink"),
    (stat.S_ISDIR, "directory"),
    (stat.S_ISFIFO, "fifo"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISCHR, "character-device"),
    (stat.S_ISBLK, "block-device"),
)
