"""Look at anything: files, folders, packages, tarballs and image archives, on every core; what is found, in order."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .collect.artifact import Artifact, ImagePlatform
from .collect.cache import Cache
from .errors import FipsManifestError, Incomplete
from .inspect.finding import Finding
from .inspect.inspector import Inspector
from .progress import SILENT, Progress
from .unpack.layers import merge, read_layer
from .unpack.open import kind_of, members_of

#: Files of a folder that are handed to a thread at once: more would leave a core idle at the end, fewer cost more
#: than looking at a small file does.
_BATCH = 32


@dataclass(frozen=True, slots=True)
class Located:
    """A finding and where it was."""

    container: str | None
    """The package, tarball or image that the finding's path is in; None for a file on this disk."""
    architecture: str | None
    """The image platform's, RPM name; None where only the file itself says it."""
    finding: Finding


_Task = Callable[[], list[Located]]


def survey(
    paths: Sequence[Path], inspector: Inspector, cache: Cache, progress: Progress = SILENT
) -> Iterator[Located | FipsManifestError]:
    """Give what is in ``paths``, in their order; what cannot be looked at is given as its error, in its place.

    Raises `UsageError` for a path that is not there.
    """
    kinds = [(path, kind_of(path)) for path in paths]
    task = progress.task("inspect")
    try:
        with ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="inspect") as pool:
            for batch in pool.map(
                _attempt, [unit for path, kind in kinds for unit in _tasks(path, kind, inspector, cache)]
            ):
                yield from batch
                task.advance(sum(found.finding.size or 0 for found in batch if isinstance(found, Located)))
    finally:
        task.done()


def _attempt(task: _Task) -> list[Located | FipsManifestError]:
    try:
        return list(task())
    except FipsManifestError as error:
        return [error]


def _tasks(path: Path, kind: str, inspector: Inspector, cache: Cache) -> Iterator[_Task]:
    match kind:
        case "file":
            yield partial(_files, [(path, str(path))], inspector)
        case "folder":
            yield from _folder(path, inspector)
        case "image-archive":
            yield partial(_images, path, inspector, cache)
        case _:
            yield partial(_container, path, inspector)


def _folder(root: Path, inspector: Inspector) -> Iterator[_Task]:
    batch: list[tuple[Path, str]] = []
    for folder, names, files in os.walk(root, onerror=_unreadable):
        names.sort()
        links = [name for name in names if Path(folder, name).is_symlink()]
        for name in sorted(files + links):
            path = Path(folder, name)
            batch.append((path, str(path)))
            if len(batch) == _BATCH:
                yield partial(_files, batch, inspector)
                batch = []
    if batch:
        yield partial(_files, batch, inspector)


def _unreadable(error: OSError) -> None:
    raise Incomplete(
        f"{error.filename} cannot be read: {error.strerror}.", "Read it as root, or name less of it."
    ) from error


def _files(batch: list[tuple[Path, str]], inspector: Inspector) -> list[Located]:
    found = []
    for path, name in batch:
        mode = path.lstat().st_mode
        # Devices, FIFOs and sockets hold no bytes that could be a program's.
        if stat.S_ISREG(mode) or stat.S_ISLNK(mode):
            found.append(Located(None, None, inspector.inspect_path(path, name)))
    return found


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
            found += _platform(path, image, platform, inspector)
    return found


def _platform(path: Path, image: Artifact, platform: ImagePlatform, inspector: Inspector) -> list[Located]:
    layers = (
        read_layer(layer, diff_id, inspector.program, archive=image.name)
        for layer, diff_id in zip(platform.layers, platform.diff_ids, strict=True)
    )
    container = f"{path}: {image.name}"
    return [
        Located(container, platform.architecture, finding.at(place)) for place, finding in merge(layers, image.name)
    ]
