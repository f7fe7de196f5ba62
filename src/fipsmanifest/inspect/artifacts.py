"""The inspect stage: every file of every artifact, each byte decompressed and hashed once.

What was found in an artifact is kept by the artifact's digest, so that nothing is looked at twice: not in the next
run, not for the next EL, and not after a kill. The inspector's own fingerprint is part of the name, since another
version or table may see more.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock
from types import TracebackType
from typing import Any

from ..archive.layers import Entry, Whiteout, merge, read_layer
from ..archive.limits import DEFAULT_ALLOWANCE, Allowance, Budget, spend
from ..archive.member import Member
from ..archive.paths import shown
from ..errors import FipsManifestError, Refused, Several
from ..model import documents
from ..model.artifact import Artifact, Blob, ImagePlatform
from ..model.finding import Finding
from ..progress import SILENT, Progress, Task
from ..state import durable
from .inspector import Inspector
from .serialization import from_json, to_json


@dataclass(frozen=True, slots=True)
class InspectedArtifact:
    """An artifact, or one platform of an image, with what is in it."""

    artifact: Artifact
    """What was inspected."""
    architecture: str
    """RPM name."""
    platform: ImagePlatform | None
    """The platform, for images."""
    findings: tuple[Finding, ...]
    """Every file of a package or tarball; the ELF files of an image's final file system."""


#: What is kept of one unit: a package's or tarball's findings, or a layer's changes.
_Change = Entry[Finding] | Whiteout
_Read = Callable[[Task], list[_Change]]


@dataclass(frozen=True, slots=True)
class _Unit:
    """What is inspected on its own: a package, a tarball, or a layer of an image."""

    key: str
    name: str
    size: int
    """Bytes on disk."""
    read: _Read


class Inspection:
    """Inspects artifacts as they arrive, on every core; use it as a context manager.

    Each artifact may take its ``allowance`` of bytes, members and seconds, an image with all its layers.
    """

    def __init__(
        self,
        inspector: Inspector,
        folder: Path,
        progress: Progress = SILENT,
        allowance: Allowance = DEFAULT_ALLOWANCE,
    ) -> None:
        self._inspector = inspector
        self._folder = folder / inspector.fingerprint[:16]
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
        """Begin to inspect an artifact; may be called from any thread."""
        budget = Budget(artifact.name, self._allowance, self._stop)
        with self._lock:
            self._artifacts.append(artifact)
            for unit in _units(artifact, self._inspector):
                if unit.key not in self._running:
                    budget.grow(unit.size)
                    self._running[unit.key] = self._pool.submit(self._inspect, unit, budget)

    def result(self) -> tuple[InspectedArtifact, ...]:
        """Wait, and give what was found, in the order of kind and address.

        Raises what a single failure raises, or `Several`.
        """
        failures: list[FipsManifestError] = []
        for future in self._running.values():
            try:
                future.result()
            except FipsManifestError as error:
                # All layers that a used-up budget stopped have the same error.
                if error not in failures:
                    failures.append(error)
        if failures:
            raise failures[0] if len(failures) == 1 else Several(failures)
        ordered = sorted(self._artifacts, key=lambda artifact: (artifact.kind, artifact.address, artifact.name))
        return tuple(found for artifact in ordered for found in self._gather(artifact))

    def _gather(self, artifact: Artifact) -> Iterator[InspectedArtifact]:
        if artifact.kind != "image":
            changes = self._running[_key(artifact)].result()
            found = _last_of_each_path(
                [change.seen for change in changes if isinstance(change, Entry) and change.seen], artifact
            )
            yield InspectedArtifact(artifact, artifact.architecture or "noarch", None, found)
            return
        for platform in artifact.platforms:
            keys = map(_layer_key, platform.layers, platform.diff_ids)
            view = merge((self._running[key].result() for key in keys), artifact.name)
            findings = tuple(finding.at(path) for path, finding in view)
            yield InspectedArtifact(artifact, platform.architecture, platform, findings)

    def _inspect(self, unit: _Unit, budget: Budget) -> list[_Change]:
        kept = self._folder / f"{unit.key.replace(':', '-')}.json"
        known = _load_changes(kept)
        if known is not None:
            return known
        task = self._progress.task(f"inspect {unit.name}")
        try:
            with budget.active():
                changes = unit.read(task)
        finally:
            task.done()
        durable.write(kept, json.dumps([_to_json(change) for change in changes]).encode())
        return changes


def files_of(artifact: Artifact) -> tuple[str, ...]:
    """Give the SHA-256 (hex) of every file in the cache that inspecting ``artifact`` reads."""
    if artifact.kind != "image":
        return (artifact.sha256,)
    return tuple(layer.digest.removeprefix("sha256:") for platform in artifact.platforms for layer in platform.layers)


def _units(artifact: Artifact, inspector: Inspector) -> Iterator[_Unit]:
    from ..archive import rpm, tar

    def everything(members: Callable[[], Iterator[Member]]) -> _Read:
        def read(task: Task) -> list[_Change]:
            session = inspector.session()
            return [
                Entry(_without_content(member), _count_member(session.inspect(member), member, task))
                for member in members()
            ]

        return read

    match artifact.kind:
        case "rpm":
            packed = everything(lambda: rpm.members(artifact.path, artifact.name))
            yield _Unit(_key(artifact), artifact.name, artifact.size, packed)
        case "tarball":

            def unpacked() -> Iterator[Member]:
                return tar.tarball_members(artifact.path, root=artifact.unpack, archive=artifact.name)

            yield _Unit(_key(artifact), artifact.name, artifact.size, everything(unpacked))
        case "image":
            for platform in artifact.platforms:
                for layer, diff_id in zip(platform.layers, platform.diff_ids, strict=True):
                    read = _programs(artifact, layer, diff_id, inspector)
                    yield _Unit(_layer_key(layer, diff_id), artifact.name, layer.size, read)


def _last_of_each_path(findings: Sequence[Finding], artifact: Artifact) -> tuple[Finding, ...]:
    """Return the later of findings with one path, which unpacking leaves. Raises `Refused` for two different programs.

    A manifest can name only one of them, and an unpacker that stops or keeps old files leaves the other.
    """
    last: dict[str, Finding] = {}
    for finding in findings:
        before = last.get(finding.path)
        if before is not None and before.crypto is not None and before.sha256 != finding.sha256:
            raise Refused(
                f"{artifact.name} has {shown(finding.path)} twice, and the first is another program.",
                "Ask those who publish it for one with each file once.",
            )
        last[finding.path] = finding
    return tuple(last.values())


def _programs(artifact: Artifact, layer: Blob, diff_id: str, inspector: Inspector) -> _Read:
    """Read a layer's ELF files; the rest is covered by its digests and needs none of its own."""

    def read(task: Task) -> list[_Change]:
        def inspect_program(member: Member) -> Finding | None:
            return _count_member(inspector.program(member), member, task)

        return list(read_layer(layer, diff_id, inspect_program, archive=artifact.name))

    return read


def _count_member(finding: Finding | None, member: Member, task: Task) -> Finding | None:
    task.advance(member.size)
    spend(members=1)
    return finding


def _key(artifact: Artifact) -> str:
    root = artifact.unpack.strip("/").replace("/", "_")
    return f"{artifact.kind}-{artifact.sha256}" + (f"-{root}" if root else "")


def _layer_key(layer: Blob, diff_id: str) -> str:
    """Name a layer's changes; the diff_id is part of it, since reading the layer is what checks it."""
    return f"layer-{layer.digest}-{diff_id}"


def _without_content(member: Member) -> Member:
    return Member(member.path, member.type, member.mode, member.size, member.target, member.mark)


def _to_json(change: _Change) -> dict[str, Any]:
    if isinstance(change, Whiteout):
        return {"whiteout": change.path, "opaque": change.opaque}
    member = change.member
    return {
        "member": [member.path, member.type, member.mode, member.size, member.target, member.mark],
        "finding": to_json(change.seen, whole=True) if change.seen else None,
    }


def _load_changes(path: Path) -> list[_Change] | None:
    """Give what was kept, or None where there is nothing usable: then the artifact is simply inspected again."""
    try:
        return [_change(item) for item in documents.read_json(path.read_bytes())]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _change(item: dict[str, Any]) -> _Change:
    if "whiteout" in item:
        return Whiteout(item["whiteout"], opaque=item["opaque"])
    return Entry(Member(*item["member"]), from_json(item["finding"]) if item["finding"] else None)
