"""The inspect stage: every file of every artifact, each byte decompressed and hashed once.

Findings are cached by the artifact's digest, so that nothing is inspected twice: in the next run, for the next EL, or
after a kill. The inspector's fingerprint is part of the file's path, because another version or table may find more.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from threading import Event, Lock
from types import TracebackType
from typing import TypeVar

from pydantic import TypeAdapter

from ..archive import rpm, tar
from ..archive.layers import Entry, Whiteout, merge, read_layer
from ..archive.limits import DEFAULT_ALLOWANCE, Allowance, Budget
from ..archive.member import Damaged, Mark, Member, MemberType, Rejected, Rejections
from ..archive.paths import shown
from ..errors import FipsManifestError, Refused, Several
from ..fetch.cache import Cache
from ..model import documents
from ..model.artifact import Artifact, Blob, ImagePlatform
from ..model.finding import Finding
from ..progress import SILENT, Progress, Task
from ..state import durable
from . import loader_files
from .image_environment import findings_in
from .inspector import Inspector
from .nested import ContainerInspector, carried_by_commands, carried_by_scriptlets
from .packed import PackedFile, packed_files


@dataclass(frozen=True, slots=True)
class InspectedArtifact:
    """An artifact, or one platform of an image, with its findings."""

    artifact: Artifact
    """The artifact that was inspected."""
    architecture: str
    """RPM name."""
    platform: ImagePlatform | None
    """The platform, for images."""
    findings: tuple[Finding, ...]
    """Every file of a package or tarball; the ELF files of an image's final file system."""
    packed: tuple[PackedFile, ...] = ()
    """What is packed in the files of the artifact."""


@dataclass(frozen=True, slots=True)
class _Contents:
    """The finding of a member, and what it contains."""

    finding: Finding | None
    packed: tuple[PackedFile, ...]
    loading: tuple[str, ...] = ()
    """Codes of what it has the loader load with all programs of its image."""

    def at(self, path: str) -> _Contents:
        """Return the same under another path."""
        packed = tuple(item.at(path) for item in self.packed)
        return _Contents(self.finding and self.finding.at(path), packed, self.loading)


#: The cached result of a unit is a list of these: the members of a package or tarball, or the changes of a layer.
_Change = Entry[_Contents] | Whiteout
#: Path, type, mode, size, target and mark of a member.
_MemberFields = tuple[str, MemberType, int, int, str | None, Mark | None]
_Read = Callable[[Task], list[_Change]]
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class _CachedEntry:
    """An entry in a file of the cache."""

    member: _MemberFields
    contents: _Contents | None


@dataclass(frozen=True, slots=True)
class _Unit:
    """The unit of inspection and of the cache: a package, a tarball, or a layer of an image."""

    key: str
    name: str
    size: int
    """Bytes on disk."""
    read: _Read


class Inspection:
    """Inspects artifacts as they arrive, on all cores. Use it as a context manager.

    `ContainerInspector` inspects what their files contain, as for ``inspect`` and its gate; ``cache`` stores the parts
    of nested images. ``allowance`` bounds bytes, members and seconds of each artifact, for an image with all its
    layers.
    """

    def __init__(
        self,
        inspector: Inspector,
        directory: Path,
        cache: Cache,
        progress: Progress = SILENT,
        allowance: Allowance = DEFAULT_ALLOWANCE,
    ) -> None:
        self._inspector = inspector
        self._directory = directory / inspector.fingerprint[:16]
        self._cache = cache
        self._progress = progress
        self._allowance = allowance
        self._stop = Event()
        self._pool = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="inspect")
        self._lock = Lock()
        self._running: dict[str, Future[list[_Change]]] = {}
        self._artifacts: list[Artifact] = []

    def __enter__(self) -> Inspection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._stop.set()
        self._pool.shutdown(wait=kind is None, cancel_futures=True)

    def add(self, artifact: Artifact) -> None:
        """Start to inspect an artifact. May be called from any thread."""
        budget = Budget(artifact.name, self._allowance, self._stop)
        with self._lock:
            self._artifacts.append(artifact)
            for unit in _units(artifact, self._inspector, self._cache):
                if unit.key not in self._running:
                    budget.grow(unit.size)
                    self._running[unit.key] = self._pool.submit(self._inspect, unit, budget)

    def result(self) -> tuple[InspectedArtifact, ...]:
        """Wait for the inspections and return their results, ordered by kind and address.

        Raises the error of an inspection, or `Several`.
        """
        ordered = sorted(self._artifacts, key=lambda artifact: (artifact.kind, artifact.address, artifact.name))
        _collect(future.result for future in self._running.values())
        return tuple(found for each in _collect(partial(self._gather, one) for one in ordered) for found in each)

    def _gather(self, artifact: Artifact) -> list[InspectedArtifact]:
        if artifact.kind != "image":
            changes = self._running[_key(artifact)].result()
            seen = [change.seen for change in changes if isinstance(change, Entry) and change.seen]
            findings = _last_of_each_path([item.finding for item in seen if item.finding], artifact)
            packed = tuple(packed for item in seen for packed in item.packed)
            return [InspectedArtifact(artifact, artifact.architecture or "noarch", None, findings, packed)]
        gathered = []
        rejections = Rejections(artifact.name)
        for platform in artifact.platforms:
            keys = map(_layer_key, platform.layers, platform.diff_ids)
            view = merge((self._running[key].result() for key in keys), artifact.name, rejections.add)
            seen = [contents.at(path) for path, contents in view]
            loading = (code for item in seen for code in item.loading)
            findings = tuple(findings_in(platform, loading, [item.finding for item in seen if item.finding]))
            carried = carried_by_commands(platform, artifact.name)
            packed = (
                *(packed for item in seen for packed in item.packed),
                *packed_files(carried, artifact.name, platform.config.digest),
            )
            gathered.append(InspectedArtifact(artifact, platform.architecture, platform, findings, packed))
        rejections.require_none()
        return gathered

    def _inspect(self, unit: _Unit, budget: Budget) -> list[_Change]:
        cached = self._directory / f"{unit.key.replace(':', '-')}.json"
        known = _load_changes(cached)
        if known is not None:
            return known
        task = self._progress.task(f"inspect {unit.name}")
        try:
            with budget.active():
                changes = unit.read(task)
        finally:
            task.done()
        durable.write(cached, _dump_changes(changes))
        return changes


def _collect(calls: Iterable[Callable[[], _Result]]) -> list[_Result]:
    """Return the results of ``calls``. Raises what one of them raises, or `Several`, after all of them."""
    results: list[_Result] = []
    failures: list[FipsManifestError] = []
    for call in calls:
        try:
            results.append(call())
        except FipsManifestError as error:
            for one in error.errors if isinstance(error, Several) else [error]:
                # All layers that an exhausted budget stopped have the same error.
                if one not in failures:
                    failures.append(one)
    if failures:
        raise failures[0] if len(failures) == 1 else Several(failures)
    return results


def files_of(artifact: Artifact) -> tuple[str, ...]:
    """Return the SHA-256 (hex) of each cached file that the inspection of ``artifact`` reads."""
    if artifact.kind != "image":
        return (artifact.sha256,)
    return tuple(layer.digest.removeprefix("sha256:") for platform in artifact.platforms for layer in platform.layers)


def _units(artifact: Artifact, inspector: Inspector, cache: Cache) -> Iterator[_Unit]:
    match artifact.kind:
        case "rpm":
            read = _all_members(artifact, lambda: rpm.entries(artifact.path, artifact.name), inspector, cache)
            yield _Unit(_key(artifact), artifact.name, artifact.size, read)
        case "tarball":

            def unpacked() -> Iterator[Member | Rejected]:
                return tar.tarball_entries(artifact.path, root=artifact.unpack, archive=artifact.name)

            read = _all_members(artifact, unpacked, inspector, cache)
            yield _Unit(_key(artifact), artifact.name, artifact.size, read)
        case "image":
            for platform in artifact.platforms:
                for layer, diff_id in zip(platform.layers, platform.diff_ids, strict=True):
                    read = _programs(artifact, layer, diff_id, inspector, cache)
                    yield _Unit(_layer_key(layer, diff_id), artifact.name, layer.size, read)


def _all_members(
    artifact: Artifact, members: Callable[[], Iterator[Member | Rejected]], inspector: Inspector, cache: Cache
) -> _Read:
    """Read every member of a package or tarball; a hard link has in it what its target has.

    The reader raises `Refused` for a member that is damaged or ambiguous, or `Several` of them.
    """

    def read(task: Task) -> list[_Change]:
        opener = ContainerInspector(inspector, cache, inspector.spool, task)
        session = inspector.session()
        rejections = Rejections(artifact.name)
        packed: dict[str, tuple[PackedFile, ...]] = {}
        changes: list[_Change] = []
        for member in members():
            if isinstance(member, Rejected):
                rejections.add(member.error)
                continue
            try:
                finding, outcomes = opener.inspect_member(member, session.inspect, artifact.name, 1)
            except Damaged as error:
                rejections.add(error)
                continue
            found = tuple(packed_files(outcomes, artifact.name, member.path))
            if member.type == "hardlink":
                found = tuple(item.at(member.path) for item in packed.get(member.target or "", ()))
            packed[member.path] = found
            changes.append(Entry(_without_content(member), _Contents(finding, found)))
        rejections.require_none()
        return changes + _of_scriptlets(artifact)

    return read


def _of_scriptlets(artifact: Artifact) -> list[_Change]:
    """Return what the scriptlets of a package carry, as an entry without a path; none for a tarball."""
    if artifact.kind != "rpm":
        return []
    carried = carried_by_scriptlets(artifact.path, artifact.name, artifact.name)
    packed = tuple(packed_files(carried, artifact.name, artifact.name))
    return [Entry(Member("", "special", 0, 0), _Contents(None, packed))] if packed else []


def _last_of_each_path(findings: Sequence[Finding], artifact: Artifact) -> tuple[Finding, ...]:
    """Return the last finding of each path, as unpacking does. Raises `Refused` for two different programs.

    A manifest can list only one of them, and an unpacker that stops or keeps old files leaves the other.
    """
    last: dict[str, Finding] = {}
    rejections = Rejections(artifact.name)
    for finding in findings:
        before = last.get(finding.path)
        if before is not None and before.crypto is not None and before.sha256 != finding.sha256:
            rejections.add(
                Refused(
                    f"{artifact.name} has {shown(finding.path)} twice, and the first is another program.",
                    "Ask its publisher for an archive that has each file once.",
                    reason="ambiguous-archive",
                )
            )
        last[finding.path] = finding
    rejections.require_none()
    return tuple(last.values())


def _programs(artifact: Artifact, layer: Blob, diff_id: str, inspector: Inspector, cache: Cache) -> _Read:
    """Return a reader of a layer's ELF files and of what its files contain; the digests cover all other files."""

    def read(task: Task) -> list[_Change]:
        opener = ContainerInspector(inspector, cache, inspector.spool, task)

        def inspect_programs(member: Member) -> _Contents | None:
            member, loading = loader_files.read(member)
            finding, outcomes = opener.inspect_member(member, inspector.program, artifact.name, 1)
            packed = tuple(packed_files(outcomes, artifact.name, member.path))
            return _Contents(finding, packed, loading) if finding or packed or loading else None

        rejections = Rejections(artifact.name)
        changes = read_layer(layer, diff_id, inspect_programs, archive=artifact.name, reject=rejections.add)
        rejections.require_none()
        return list(changes)

    return read


def _key(artifact: Artifact) -> str:
    root = artifact.unpack.strip("/").replace("/", "_")
    return f"{artifact.kind}-{artifact.sha256}" + (f"-{root}" if root else "")


def _layer_key(layer: Blob, diff_id: str) -> str:
    """Return the cache key of a layer; it includes the diff_id, which is checked when the layer is read."""
    return f"layer-{layer.digest}-{diff_id}"


def _without_content(member: Member) -> Member:
    return Member(*_fields(member))


@lru_cache(maxsize=1)
def _changes_adapter() -> TypeAdapter[list[_CachedEntry | Whiteout]]:
    # Made once, and only where an artifact is inspected.
    return TypeAdapter(list[_CachedEntry | Whiteout])


def _dump_changes(changes: Sequence[_Change]) -> bytes:
    cached = [
        change if isinstance(change, Whiteout) else _CachedEntry(_fields(change.member), change.seen)
        for change in changes
    ]
    # Paths may have bytes that are not UTF-8, as lone surrogates, which pydantic's own JSON does not allow.
    return json.dumps(_changes_adapter().dump_python(cached, mode="json")).encode()


def _load_changes(path: Path) -> list[_Change] | None:
    """Return cached changes; None if there are no valid ones, and the unit has to be inspected again."""
    try:
        cached = _changes_adapter().validate_python(documents.read_json(path.read_bytes()))
    except (OSError, ValueError):
        return None
    return [item if isinstance(item, Whiteout) else Entry(Member(*item.member), item.contents) for item in cached]


def _fields(member: Member) -> _MemberFields:
    return member.path, member.type, member.mode, member.size, member.target, member.mark
