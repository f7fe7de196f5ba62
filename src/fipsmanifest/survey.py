"""Look at anything: files, folders, packages, tarballs and images, on every core; what is found, in order."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .artifact import Artifact, ImagePlatform
from .collect.cache import Cache
from .errors import FipsManifestError, Incomplete, UsageError
from .inspect.finding import Finding
from .inspect.inspector import Inspector
from .progress import SILENT, Progress
from .unpack.layers import merge, read_layer
from .unpack.open import kind_of, may_hold_members, members_of

#: Files of a folder that are handed to a thread at once: more would leave a core idle at the end, fewer cost more
#: than looking at a small file does.
_BATCH = 32
#: Tasks begun before the results of the first are taken.
_AHEAD = 64


@dataclass(frozen=True, slots=True)
class Located:
    """A finding and where it was."""

    container: str | None
    """The package, tarball or image that the finding's path is in; None for a file on this disk."""
    architecture: str | None
    """The image platform's, RPM name; None where only the file itself says it."""
    finding: Finding


@dataclass(frozen=True, slots=True)
class RemoteImage:
    """An image in a registry, to look through."""

    reference: str
    """As the user named it; what its findings are said to be in."""
    pull: Callable[[], Artifact]
    """Gives it with all its parts in the cache; raises `Refused` or `Incomplete`."""


Outcome = Located | FipsManifestError
_Task = Callable[[], Sequence[Outcome]]


def survey(
    targets: Sequence[Path | RemoteImage], inspector: Inspector, cache: Cache, progress: Progress = SILENT
) -> Iterator[Outcome]:
    """Give what is in ``targets``, in their order; what cannot be looked at is given as its error, in its place.

    Links are followed where they are named, and nowhere else. Raises `UsageError` for a path that is not there.
    """
    kinds = [(target, _kind(target)) for target in targets]
    tasks = (task for target, kind in kinds for task in _tasks(target, kind, inspector, cache))
    meter = progress.task("inspect")
    pool = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="inspect")
    try:
        for outcomes in _in_order(pool, tasks):
            yield from outcomes
            meter.advance(sum(item.finding.size or 0 for item in outcomes if isinstance(item, Located)))
    finally:
        pool.shutdown(cancel_futures=True)
        meter.done()


def _in_order(pool: ThreadPoolExecutor, tasks: Iterator[_Task]) -> Iterator[Sequence[Outcome]]:
    """Run tasks ahead of who takes their results, but not so far that a large folder fills the memory."""
    running: deque[Future[Sequence[Outcome]]] = deque()
    for task in tasks:
        running.append(pool.submit(_attempt, task))
        if len(running) > _AHEAD:
            yield running.popleft().result()
    while running:
        yield running.popleft().result()


def _attempt(task: _Task) -> Sequence[Outcome]:
    try:
        return task()
    except FipsManifestError as error:
        return [error]


def _kind(target: Path | RemoteImage) -> str | Incomplete:
    try:
        return kind_of(target) if isinstance(target, Path) else "remote"
    except Incomplete as error:
        return error


def _tasks(target: Path | RemoteImage, kind: str | Incomplete, inspector: Inspector, cache: Cache) -> Iterator[_Task]:
    if isinstance(kind, Incomplete):
        yield lambda: [kind]
        return
    if isinstance(target, RemoteImage):
        yield partial(_remote, target, inspector)
        return
    match kind:
        case "file":
            yield partial(_named, target, inspector)
        case "folder":
            yield from _folder(target, inspector, cache)
        case "image-archive":
            yield partial(_images, target, inspector, cache)
        case _:
            yield partial(_container, target, inspector)


def _named(path: Path, inspector: Inspector) -> Sequence[Outcome]:
    try:
        place = path.resolve(strict=True)
    except OSError as error:
        raise _unreadable(path, error) from error
    return [_file(place, str(path), inspector)]


def _folder(root: Path, inspector: Inspector, cache: Cache) -> Iterator[_Task]:
    errors: list[OSError] = []
    batch: list[Path] = []
    for folder, names, files in os.walk(root, onerror=errors.append):
        names.sort()
        links = [name for name in names if Path(folder, name).is_symlink()]
        for name in sorted(files + links):
            batch.append(Path(folder, name))
            if len(batch) == _BATCH:
                yield partial(_files, batch, inspector, cache)
                batch = []
    yield partial(_files, batch, inspector, cache)
    yield lambda: [_unreadable(error.filename, error) for error in errors]


def _unreadable(place: Path | str, error: OSError) -> Incomplete:
    return Incomplete(f"{place} cannot be read: {error.strerror}.", "Read it as root, or name less of it.")


def _files(batch: list[Path], inspector: Inspector, cache: Cache) -> Sequence[Outcome]:
    found: list[Outcome] = []
    for path in batch:
        try:
            mode = path.lstat().st_mode
            # Devices, FIFOs and sockets hold no bytes that could be a program's.
            if stat.S_ISREG(mode) or stat.S_ISLNK(mode):
                found.append(_file(path, str(path), inspector))
            # What is packed in a folder is as much in it as the rest: a gate must not pass what it did not look at.
            if stat.S_ISREG(mode) and may_hold_members(path):
                found += _attempt(partial(_opened, path, inspector, cache))
        except OSError as error:
            found.append(_unreadable(path, error))
        except FipsManifestError as error:
            found.append(error)
    return found


def _opened(path: Path, inspector: Inspector, cache: Cache) -> Sequence[Outcome]:
    match kind_of(path):
        case "rpm" | "tar":
            return _container(path, inspector)
        case "image-archive":
            return _images(path, inspector, cache)
    return []


def _file(path: Path, name: str, inspector: Inspector) -> Located:
    try:
        return Located(None, None, inspector.inspect_path(path, name))
    except UsageError as error:
        # It was there when its folder was read.
        raise Incomplete(f"{name} changed while it was read.", "Run it again when nothing writes there.") from error


def _container(path: Path, inspector: Inspector) -> list[Located]:
    session = inspector.session()
    looked = [session.inspect(member) for member in members_of(path)]
    # Of a path that an archive holds twice, the later entry is what unpacking leaves.
    last = {finding.path: finding for finding in looked if finding is not None}
    return [Located(str(path), None, finding) for finding in last.values()]


def _images(path: Path, inspector: Inspector, cache: Cache) -> list[Located]:
    from .collect.imagearchive import images_in, open_archive

    found: list[Located] = []
    for image in images_in(open_archive(path, cache), cache, str(path)):
        for platform in image.platforms:
            found += _platform(f"{path}: {image.name}", image, platform, inspector)
    return found


def _remote(image: RemoteImage, inspector: Inspector) -> list[Located]:
    artifact = image.pull()
    return [
        located
        for platform in artifact.platforms
        for located in _platform(image.reference, artifact, platform, inspector)
    ]


def _platform(container: str, image: Artifact, platform: ImagePlatform, inspector: Inspector) -> list[Located]:
    layers = (
        read_layer(layer, diff_id, inspector.program, archive=image.name)
        for layer, diff_id in zip(platform.layers, platform.diff_ids, strict=True)
    )
    return [
        Located(container, platform.architecture, finding.at(place)) for place, finding in merge(layers, image.name)
    ]
