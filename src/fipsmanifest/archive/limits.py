"""How much of an archive, and of all that is packed in one target, is read before it is refused as an attack."""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

from ..errors import Incomplete

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on one archive; the defaults are some ten times what Kubernetes packages and images need."""

    expanded: int = 16 << 30
    """Bytes after decompression, headers and padding included."""
    members: int = 500_000
    """Entries of any type."""
    names: int = 128 << 20
    """Bytes of all names and link targets together, which are kept in memory."""


DEFAULT = Limits()

#: Bytes of a block in ``st_blocks`` (stat(3type)).
_BLOCK = 512
#: Pieces of a sparse file that are counted.
_MOST_EXTENTS = 10_000


@dataclass(frozen=True, slots=True)
class Allowance:
    """Bounds on everything that is opened for one target of ``inspect``, however it is nested, or one artifact of a
    release.

    Bytes and seconds grow with the target's own size, so that a bundle of many gigabytes passes and a file of a few
    kilobytes cannot keep a machine busy. Releases of Kubernetes expand to less than ten times their size and take less
    than ten seconds for each 100 MB.
    """

    expanded: int = 4 << 30
    """Bytes that decompression may produce, counted again at each level of nesting."""
    expanded_per_byte: int = 200
    """And so many more for each byte of the target."""
    members: int = 2_000_000
    """Members of all containers together."""
    seconds: float = 600
    """Wall-clock time."""
    bytes_per_second: int = 1 << 20
    """And one second more for so many bytes of the target."""


DEFAULT_ALLOWANCE = Allowance()


class OverBudget(Incomplete):
    """A target takes more than its `Allowance`."""

    reason = "over-budget"


class Cancelled(Incomplete):
    """The command was interrupted."""

    reason = "stopped"


class Budget:
    """What is left of the `Allowance` of one target; shared by all threads and readers that work on it."""

    def __init__(
        self,
        name: str,
        allowance: Allowance = DEFAULT_ALLOWANCE,
        stop: threading.Event | None = None,
        advice: str = "Do not use it; ask those who publish it.",
    ) -> None:
        """Begin the budget of the target that errors call ``name``; readers give up once ``stop`` is set."""
        self._name = name
        self._advice = advice
        self._expanded, self._members = allowance.expanded, allowance.members
        self._allowance = allowance
        self._seconds = allowance.seconds
        self._stop = stop or threading.Event()
        self._lock = threading.Lock()
        self._started: float | None = None
        self._error: OverBudget | None = None

    def grow(self, size: int) -> None:
        """Allow what ``size`` more bytes of the target on disk may take."""
        with self._lock:
            self._expanded += size * self._allowance.expanded_per_byte
            self._extend(size)

    def extend(self, size: int) -> None:
        """Allow the time that reading ``size`` more bytes on disk may take."""
        with self._lock:
            self._extend(size)

    def _extend(self, size: int) -> None:
        self._seconds += size / self._allowance.bytes_per_second

    def spend(self, expanded: int = 0, members: int = 0) -> None:
        """Take bytes and members off the budget.

        Raises `OverBudget`, always the same one, when something is used up, `Cancelled` after an interruption.
        """
        if self._stop.is_set():
            raise Cancelled(f"{self._name}: interrupted.", "Run it again.")
        with self._lock:
            self._expanded -= expanded
            self._members -= members
            now = time.monotonic()
            self._started = now if self._started is None else self._started
            if self._error is None and (what := self._exceeded(now - self._started)):
                self._error = OverBudget(
                    f"{self._name} was not opened to its end: {what}.",
                    self._advice,
                )
            if self._error is not None:
                raise self._error

    def _exceeded(self, seconds: float) -> str:
        if self._expanded < 0:
            return "what is packed in it expands to more bytes than a file of its size may"
        if self._members < 0:
            return f"what is packed in it has more than {self._allowance.members} members"
        return f"it takes more than {self._seconds:.0f} seconds" if seconds > self._seconds else ""

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make this the budget of every decompression in this thread until the context ends."""
        token = _active.set(self)
        try:
            yield
        finally:
            _active.reset(token)

    def run(self, task: Callable[_Given, _Result], *given: _Given.args, **named: _Given.kwargs) -> _Result:
        """Return what ``task`` does with this budget active."""
        with self.active():
            return task(*given, **named)


#: The budget of the target that this thread works on. It is not a parameter because readers are nested in one another
#: through the cache and the image store, and one that forgot to pass it on would be a way around the bound.
_active: ContextVar[Budget | None] = ContextVar("budget", default=None)


def spend(expanded: int = 0, members: int = 0) -> None:
    """Take bytes and members off the active budget, if there is one. Raises as `Budget.spend`."""
    budget = _active.get()
    if budget is not None:
        budget.spend(expanded, members)


def grow(size: int) -> None:
    """Allow the active budget, if there is one, what ``size`` more bytes of its target may take."""
    budget = _active.get()
    if budget is not None:
        budget.grow(size)


def extend(size: int) -> None:
    """Allow the active budget, if there is one, the time that reading ``size`` more bytes on disk may take."""
    budget = _active.get()
    if budget is not None:
        budget.extend(size)


def size_of(path: Path) -> int:
    """Return the stored bytes of a file, or of all files in a directory; 0 if they cannot be read, which opening
    reports."""
    try:
        if not path.is_dir():
            with path.open("rb") as file:
                return stored_size(file.fileno())
        places = (place for place in path.rglob("*") if stat.S_ISREG(place.lstat().st_mode))
        return sum(size_of(place) for place in places)
    except OSError:
        return 0


def stored_size(descriptor: int) -> int:
    """Return the bytes of an open file that are stored: a hole of a sparse file may have any size. Raises `OSError`.

    A file system that does not know holes has none (lseek(2), SEEK_DATA); of many pieces, the first ones count.
    """
    status = os.fstat(descriptor)
    if status.st_blocks * _BLOCK >= status.st_size:
        return status.st_size
    position = os.lseek(descriptor, 0, os.SEEK_CUR)
    stored = end = 0
    try:
        for _ in range(_MOST_EXTENTS):
            start = os.lseek(descriptor, end, os.SEEK_DATA)
            end = os.lseek(descriptor, start, os.SEEK_HOLE)
            stored += end - start
    except OSError as error:
        if error.errno != errno.ENXIO:  # behind the last data
            return status.st_size
    finally:
        os.lseek(descriptor, position, os.SEEK_SET)
    return stored
