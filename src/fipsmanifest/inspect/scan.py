"""Look at anything: files, folders, packages, tarballs and images, on every core; what is found, in order."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..archive.embedded import Embedded
from ..archive.limits import DEFAULT_ALLOWANCE, Allowance, Budget, OverBudget
from ..archive.open import kind_of, may_hold_members
from ..errors import FipsManifestError, Incomplete, Refused, UsageError
from ..fetch.cache import Cache
from ..node.tree import resolve
from ..progress import SILENT, Progress
from . import elf
from .inspector import Inspector
from .nested import ContainerInspector, LocatedFinding, Outcome, collect_outcomes, find_embedded

if TYPE_CHECKING:
    from ..collect.image import Pulled

#: Files of a folder, and bytes in them, that are handed to a thread at once: more would leave a core idle at the end,
#: fewer cost more than looking at a small file does.
_BATCH = 32
_BATCH_BYTES = 8 << 20
#: What the kernel shows there is stored nowhere.
_KERNEL_DIRECTORIES = (Path("/proc"), Path("/sys"))
#: Tasks begun before the results of the first are taken.
_AHEAD = 64
_OVER_BUDGET = "Do not use it, or unpack it and inspect its parts, or raise --max-seconds or --max-expanded."
#: Seconds that threads have to end after an interruption.
_GRACE = 1.0


@dataclass(frozen=True, slots=True)
class RemoteImage:
    """An image in a registry, to look through."""

    reference: str
    """As the user named it; what its findings are said to be in."""
    pull: Callable[[], Pulled]
    """Gives it with all its parts in the cache; raises `Refused` or `Incomplete`."""


_Task = Callable[[], Sequence[Outcome]]


def scan(
    targets: Sequence[Path | RemoteImage],
    inspector: Inspector,
    cache: Cache,
    progress: Progress = SILENT,
    allowance: Allowance = DEFAULT_ALLOWANCE,
) -> Generator[Outcome, None, None]:
    """Yield what is in ``targets``, in their order; what cannot be inspected is yielded as its error, in its place.

    Links are followed where they are named, and where they lead out of all that is named. ``allowance`` bounds what is
    opened for each target; one that takes more is an error, and the others are inspected all the same. Raises
    `UsageError` for a path that is not there.
    """
    stop = threading.Event()
    jobs = [_Target(target, Budget(_name(target), allowance, stop, _OVER_BUDGET)) for target in targets]
    kinds = [_kind(target) for target in jobs]
    named = tuple(Path(os.path.realpath(target)) for target in targets if isinstance(target, Path))
    meter = progress.task("inspect")
    containers = ContainerInspector(inspector, cache, inspector.spool, meter)
    tasks = (
        partial(_run_within, target.budget, task)
        for target, kind in zip(jobs, kinds, strict=True)
        for task in _tasks(target.target, kind, named, containers)
    )
    pool = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="inspect")
    running: deque[Future[Sequence[Outcome]]] = deque()
    exhausted: list[OverBudget] = []
    try:
        for outcome in (outcome for outcomes in _in_order(pool, tasks, running) for outcome in outcomes):
            # Everything that a used-up budget stopped has the same error.
            if isinstance(outcome, OverBudget):
                if outcome in exhausted:
                    continue
                exhausted.append(outcome)
            yield outcome
    finally:
        # Nothing runs any more but after an interruption or an error. Then readers see the flag; a thread that is in a
        # long computation or waits for a server is not waited for.
        stop.set()
        pool.shutdown(wait=False, cancel_futures=True)
        wait(running, timeout=_GRACE)
        meter.done()


@dataclass(frozen=True, slots=True)
class _Target:
    target: Path | RemoteImage
    budget: Budget


def _name(target: Path | RemoteImage) -> str:
    return str(target) if isinstance(target, Path) else target.reference


def _run_within(budget: Budget, task: _Task) -> Sequence[Outcome]:
    return budget.run(collect_outcomes, task)


def _in_order(
    pool: ThreadPoolExecutor, tasks: Iterator[_Task], running: deque[Future[Sequence[Outcome]]]
) -> Iterator[Sequence[Outcome]]:
    """Run tasks ahead of who takes their results, but not so far that a large folder fills the memory."""
    for task in tasks:
        running.append(pool.submit(task))
        if len(running) > _AHEAD:
            yield running[0].result()
            running.popleft()
    while running:
        yield running[0].result()
        running.popleft()


def _kind(target: _Target) -> str | FipsManifestError:
    if not isinstance(target.target, Path):
        return "remote"
    try:
        with target.budget.active():
            return kind_of(target.target)
    except (Incomplete, Refused) as error:
        return error


def _tasks(
    target: Path | RemoteImage, kind: str | FipsManifestError, named: tuple[Path, ...], containers: ContainerInspector
) -> Iterator[_Task]:
    if isinstance(kind, FipsManifestError):
        yield lambda: [kind]
        return
    if isinstance(target, RemoteImage):
        yield partial(_remote, target, containers)
        return
    match kind:
        case "file":
            yield partial(_named_file, target, containers)
        case "unopened":
            yield partial(_named_file, target, containers)
            yield partial(containers.open, target, str(target))
        case "folder":
            yield from _directory(_Tree(target, named), containers)
        case _:
            yield partial(_archive, target, containers)


def _remote(image: RemoteImage, containers: ContainerInspector) -> Sequence[Outcome]:
    pulled = image.pull()
    return [*containers.platforms(pulled.image, image.reference), *pulled.left_out]


def _named_file(path: Path, containers: ContainerInspector) -> Sequence[Outcome]:
    try:
        place = path.resolve(strict=True)
    except OSError as error:
        raise _read_error(path, error) from error
    return _file(place, str(path), containers)


def _archive(path: Path, containers: ContainerInspector) -> Sequence[Outcome]:
    within = collect_outcomes(partial(containers.open, path, str(path)))
    # What begins as a program is run as one, whatever else it is: a tar begins with a name of its maker's choice.
    return [*collect_outcomes(partial(_named_file, path, containers)), *within] if _is_program(path) else within


def _is_program(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(elf.MAGIC)) == elf.MAGIC
    except IsADirectoryError:
        return False
    except OSError as error:
        raise _read_error(path, error) from error


@dataclass(frozen=True, slots=True)
class _Tree:
    """A folder that is looked through."""

    root: Path
    """As the user named it."""
    named: tuple[Path, ...]
    """Where all that the user named lies."""

    def outside_target(self, link: Path) -> Path | None:
        """Give where a link in the folder ends, if nobody looks there otherwise; None for one that ends nowhere.

        An absolute link means the folder's own, as a node's root, where that has such a path. Raises `OSError`.
        """
        below = link.relative_to(self.root)
        climbs = os.path.normpath(below.parent / link.readlink()).startswith("..")
        if not climbs and self._has(below):
            return None
        place = Path(os.path.realpath(link))
        if any(place.is_relative_to(looked_at) for looked_at in (*self.named, *_KERNEL_DIRECTORIES)):
            return None
        try:
            place.stat()
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return None
            raise
        return place

    def _has(self, below: Path) -> bool:
        try:
            resolve(str(self.root), str(below))
        except OSError:
            return False
        return True


def _directory(tree: _Tree, containers: ContainerInspector) -> Iterator[_Task]:
    errors: list[OSError] = []
    batch: list[Path] = []
    size = 0
    for folder, names, files in os.walk(tree.root, onerror=errors.append):
        names.sort()
        links = [name for name in names if Path(folder, name).is_symlink()]
        for name in sorted(files + links):
            batch.append(Path(folder, name))
            size += _size(batch[-1])
            if len(batch) == _BATCH or size >= _BATCH_BYTES:
                yield partial(_files, batch, tree, containers)
                batch, size = [], 0
    yield partial(_files, batch, tree, containers)
    yield lambda: [_read_error(error.filename, error) for error in errors]


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:  # told when it is looked at
        return 0


def _read_error(place: Path | str, error: OSError) -> Incomplete:
    return Incomplete(f"{place} cannot be read: {error.strerror}.", "Read it as root, or name less of it.")


def _files(batch: list[Path], tree: _Tree, containers: ContainerInspector) -> Sequence[Outcome]:
    found: list[Outcome] = []
    for path in batch:
        try:
            mode = path.lstat().st_mode
            # Devices, FIFOs and sockets hold no bytes that could be a program's.
            if stat.S_ISREG(mode) or stat.S_ISLNK(mode):
                found += _file(path, str(path), containers)
            # What is packed in a folder is as much in it as the rest: a gate must not pass what it did not look at.
            if stat.S_ISREG(mode) and may_hold_members(path):
                found += collect_outcomes(partial(containers.open, path, str(path)))
            if stat.S_ISLNK(mode) and (place := tree.outside_target(path)) is not None:
                found += _follow_link(path, place, tree, containers)
        except OSError as error:
            found.append(_read_error(path, error))
        except FipsManifestError as error:
            found.append(error)
    return found


def _follow_link(link: Path, place: Path, tree: _Tree, containers: ContainerInspector) -> Sequence[Outcome]:
    """Look at what a link leads to as if it were named, if it is a program or an archive."""
    mode = place.stat().st_mode
    if stat.S_ISDIR(mode):
        raise Incomplete(
            f"{link} leads out of {tree.root}, to the folder {place}, which is not looked at.", "Name that as well."
        )
    return _archive(link, containers) if stat.S_ISREG(mode) else []


def _file(path: Path, name: str, containers: ContainerInspector) -> Sequence[Outcome]:
    embedded = Embedded()
    try:
        finding = containers.inspector.inspect_path(path, name, embedded.show)
    except UsageError as error:
        # It was there when its folder was read.
        raise Incomplete(f"{name} changed while it was read.", "Run it again when nothing writes there.") from error
    containers.meter.advance(finding.size or 0)
    return [LocatedFinding(None, None, finding), *find_embedded(name, None, embedded, path)]
