"""A scan of files, directories, packages, tarballs and images, on all cores, with results in order."""

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
from ..progress import SILENT, Progress
from . import elf
from .inspector import Inspector
from .nested import ContainerInspector, LocatedFinding, Outcome, collect_outcomes, find_embedded

# It imports the definitions' models, which take long to load, and a scan pulls nothing itself.
if TYPE_CHECKING:
    from ..collect.image import Pulled

#: Files of a directory, and bytes in them, that a thread inspects at a time: more would leave a core idle at the end,
#: fewer cost more than the inspection of a small file.
_BATCH = 32
_BATCH_BYTES = 8 << 20
#: File systems of the kernel, whose files are not stored.
_KERNEL_DIRECTORIES = (Path("/proc"), Path("/sys"))
#: What an OCI layout (image-layout.md) or skopeo's ``dir:`` has.
_DOCUMENTS = frozenset({"index.json", "manifest.json"})
#: Tasks that are started ahead of the one whose result is taken.
_AHEAD = 64
_OVER_BUDGET = "Do not use it, or unpack it and inspect its parts, or raise --max-seconds or --max-expanded."
#: Links that the kernel follows on one path (path_resolution(7)).
_MAX_LINKS = 40
#: Seconds for threads to end after an interruption.
_GRACE = 1.0


@dataclass(frozen=True, slots=True)
class RemoteImage:
    """An image in a registry, to inspect."""

    reference: str
    """As given by the user; the container of its findings."""
    pull: Callable[[], Pulled]
    """Returns the image with all its parts in the cache; raises `Refused` or `Incomplete`."""


_Task = Callable[[], Sequence[Outcome]]


def scan(
    targets: Sequence[Path | RemoteImage],
    inspector: Inspector,
    cache: Cache,
    progress: Progress = SILENT,
    allowance: Allowance = DEFAULT_ALLOWANCE,
) -> Generator[Outcome, None, None]:
    """Yield the outcomes of ``targets`` in their order; for what cannot be inspected, yield the error.

    A link that is a target is followed, and so is one that leads out of all targets. ``allowance`` bounds what is
    opened for each target; a target that needs more is an error, and the others are inspected. Raises `UsageError` for
    a path that does not exist.
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
            # Everything that an exhausted budget stopped has the same error.
            if isinstance(outcome, OverBudget):
                if outcome in exhausted:
                    continue
                exhausted.append(outcome)
            yield outcome
    finally:
        # Tasks still run only after an interruption or an error. Readers then check the flag; a thread in a long
        # computation or a request to a server is not waited for.
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
    """Run tasks ahead of the consumer of their results, but at most `_AHEAD`, which bounds the use of memory."""
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
        case "directory":
            yield from _scan_directory(_Tree(target, named), containers)
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
    # A file that begins as a program can be run as one, even if it is also a tar, which begins with any name.
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
    """A directory that is scanned."""

    root: Path
    """As given by the user."""
    named: tuple[Path, ...]
    """The resolved paths of all targets."""

    def outside_target(self, link: Path) -> Path | None:
        """Return the target of a link in the directory, if it is not scanned otherwise; None for a dangling link.

        An absolute link is relative to the directory, as in a node's root, if that has such a path. Raises `OSError`.
        """
        if self._keeps(link.relative_to(self.root)):
            return None
        place = Path(os.path.realpath(link))
        if any(place.is_relative_to(scanned) for scanned in (*self.named, *_KERNEL_DIRECTORIES)):
            return None
        try:
            link.stat()
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return None
            raise
        return place

    def _keeps(self, below: Path) -> bool:
        """Return whether a link leads to something in the directory, without a ``..`` above it on any link's way.

        The name alone does not show that: ``up/../kubelet`` is above the directory if ``up`` is a link to ``.``.
        """
        reached: list[str] = []
        waiting = [*reversed(below.parts)]
        links = 0
        while waiting:
            part = waiting.pop()
            if part == "..":
                if not reached:
                    return False
                reached.pop()
                continue
            reached.append(part)
            place = self.root.joinpath(*reached)
            try:
                if not stat.S_ISLNK(place.lstat().st_mode):
                    continue
                target = str(place.readlink())
            except OSError:
                return False
            links += 1
            if links > _MAX_LINKS:
                return False
            reached = [] if target.startswith("/") else reached[:-1]
            waiting += [name for name in reversed(target.split("/")) if name not in ("", ".")]
        return True


def _scan_directory(tree: _Tree, containers: ContainerInspector) -> Iterator[_Task]:
    errors: list[OSError] = []
    batch: list[Path] = []
    size = 0
    for directory, names, files in os.walk(tree.root, onerror=errors.append):
        if not _DOCUMENTS.isdisjoint(files) and _is_image(Path(directory)):
            # Its configurations say what becomes of the programs in it.
            names.clear()
            yield partial(containers.open, Path(directory), directory)
            continue
        names.sort()
        links = [name for name in names if _is_link(Path(directory, name))]
        for name in sorted(files + links):
            batch.append(Path(directory, name))
            size += _size(batch[-1])
            if len(batch) == _BATCH or size >= _BATCH_BYTES:
                yield partial(_files, batch, tree, containers)
                batch, size = [], 0
    yield partial(_files, batch, tree, containers)
    yield lambda: [_read_error(error.filename, error) for error in errors]


def _is_image(directory: Path) -> bool:
    try:
        return kind_of(directory) == "image-archive"
    except FipsManifestError:  # reported when its index is inspected
        return False


def _is_link(path: Path) -> bool:
    try:
        return path.is_symlink()
    except OSError:  # of a path that is too long, which `os.walk` reports
        return False


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:  # reported when it is inspected
        return 0


def _read_error(place: Path | str, error: OSError) -> Incomplete:
    return Incomplete(f"{place} cannot be read: {error.strerror}.", "Run as root, or leave it out.", reason="not-read")


def _files(batch: list[Path], tree: _Tree, containers: ContainerInspector) -> Sequence[Outcome]:
    found: list[Outcome] = []
    for path in batch:
        try:
            mode = path.lstat().st_mode
            # Devices, FIFOs and sockets have no bytes that could be a program's.
            if stat.S_ISREG(mode) or stat.S_ISLNK(mode):
                found += _file(path, str(path), containers)
            # Containers in a directory are opened, too: a gate must not pass what was not inspected.
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
    """Inspect the target of a link as if it were given by the user, if it is a program or an archive."""
    mode = place.stat().st_mode
    if stat.S_ISDIR(mode):
        raise Incomplete(
            f"{link} leads out of {tree.root}, to the directory {place}, which is not inspected.",
            "Inspect that as well.",
        )
    return _archive(link, containers) if stat.S_ISREG(mode) else []


def _file(path: Path, name: str, containers: ContainerInspector) -> Sequence[Outcome]:
    embedded = Embedded()
    try:
        finding = containers.inspector.inspect_path(path, name, embedded.show)
    except UsageError as error:
        # It existed when its directory was read.
        raise Incomplete(
            f"{name} changed while it was read.", "Run it again when no process writes to it.", reason="not-read"
        ) from error
    containers.meter.advance(finding.size or 0)
    return [LocatedFinding(None, None, finding), *find_embedded(name, None, embedded, path)]
