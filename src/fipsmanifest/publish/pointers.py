"""Plan the pointers: they only ever move to a higher serial or a newer tool. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace

from ..errors import NotTrusted
from . import index, layout
from .action import Action, Kind, Step, foreign, lost, same
from .bucket import Stored
from .consumer import Consumer, read_manifest, tool_signer
from .pointer_state import NewestSerial, State, manifest_pointer, tool_versions
from .request import ManifestToPublish
from .snapshot import Snapshot, published_tool_signer

_TOOL_POINTER_STEPS = dict(
    zip(layout.TOOL_SUFFIXES, (Step.TOOL_SIGNATURE_POINTER, Step.TOOL_SIDECAR_POINTER, Step.TOOL_POINTER), strict=True)
)


def tool_pointers_behind(there: Snapshot, consumer: Consumer) -> list[Action]:
    """Plan the move of the tool's pointers that another publisher did not complete. A conflict does not stop this run,
    which publishes no tool."""
    if not there.published.tools:
        return []
    version = there.published.tools[0].version
    files = [same(key, Step.TOOL_FILES, stored) for key, stored in _stored_tool(version, there)]
    if len(files) < len(layout.TOOL_SUFFIXES):
        return []
    actions = list(tool_pointers(version, files, there, consumer))
    if any(action.kind is Kind.CONFLICT for action in actions):
        return []
    return [action for action in actions if action.kind is not Kind.SAME]


def _stored_tool(version: str, there: Snapshot) -> list[tuple[str, Stored]]:
    keys = [layout.tool(version, suffix) for suffix in layout.TOOL_SUFFIXES]
    return [(key, there.objects[key]) for key in keys if key in there.objects]


def tool_pointers(version: str, files: list[Action], there: Snapshot, consumer: Consumer) -> Iterator[Action]:
    """Plan the tool's pointers, which only ever move to a newer version.

    An incomplete move of another publisher to a still newer version is completed.
    """
    versions = _published_tools(there)
    versions[version] = {_suffix(action.key): action.data for action in files}
    at: dict[str, str] = {version: version}
    for tool in there.published.tools[:1]:
        whole = len(_stored_tool(tool.version, there)) == len(layout.TOOL_SUFFIXES)
        if whole and published_tool_signer(tool.version, there, consumer) is not None:
            at[tool.version] = tool.version
    for suffix in layout.TOOL_SUFFIXES:
        pointer = there.objects.get(layout.tool(None, suffix))
        if pointer is not None:
            found = list(tool_versions(suffix, pointer.data, versions, consumer))
            if not found:
                yield foreign(layout.tool(None, suffix), _TOOL_POINTER_STEPS[suffix], pointer, there.address)
                continue
            at[suffix] = max(found, key=layout.version_order)
    target = max(at.values(), key=layout.version_order)
    files_there = versions[target]
    complete = len(files_there) == len(layout.TOOL_SUFFIXES)
    if target != version and not (complete and tool_signer(files_there[""], files_there[".asc"], consumer, target)):
        key = layout.tool(target)
        sentence = f"{key} in {there.address} is newer than {version}, has a pointer, and does not verify."
        yield Action(Kind.CONFLICT, key, Step.TOOL_POINTER, b"", None, sentence)
        return
    for suffix in layout.TOOL_SUFFIXES:
        key, step = layout.tool(None, suffix), _TOOL_POINTER_STEPS[suffix]
        pointer = there.objects.get(key)
        if pointer is None:
            yield Action(Kind.CREATE, key, step, files_there[suffix], None, f"-> {target}")
        elif pointer.data == files_there[suffix]:
            yield same(key, step, pointer, target)
        elif suffix in at:
            detail = f"{at[suffix]} -> {target}" if at[suffix] != target else f"another signature of {target}"
            yield Action(Kind.MOVE, key, step, files_there[suffix], pointer.token, detail)


def _published_tools(there: Snapshot) -> dict[str, dict[str, bytes]]:
    """Return the files of the tool versions that were read, by version and suffix."""
    found: dict[str, dict[str, bytes]] = {}
    for key, stored in there.objects.items():
        parsed = layout.read_key(key)
        if isinstance(parsed, layout.ToolKey) and parsed.version is not None:
            found.setdefault(parsed.version, {})[parsed.suffix] = stored.data
    return found


def manifest_pointers(
    asked: Mapping[str, tuple[ManifestToPublish, Action]],
    contents: index.PublishedContents,
    there: Snapshot,
    consumer: Consumer,
) -> Iterator[Action]:
    """Plan the pointers of all releases in the index.

    An incomplete move of another publisher is completed. A conflict there does not stop this run.
    """
    newest = index.newest(contents)
    for key, (manifest, file) in asked.items():
        record = newest.get(key)
        newer = _newer(record, there, consumer) if record is not None and record.serial > manifest.id.serial else None
        yield _manifest_pointer(newer or replace(manifest, signed=file.data), there, consumer)
    for key, record in newest.items():
        if key in there.entries and key not in there.objects:
            # The listing shows that it is up to date, or it could not be read.
            continue
        if key not in asked and (target := _newer(record, there, consumer)) is not None:
            action = _manifest_pointer(target, there, consumer)
            if action.kind in {Kind.CREATE, Kind.MOVE}:
                yield action


def _newer(record: index.PublishedManifest, there: Snapshot, consumer: Consumer) -> ManifestToPublish | None:
    """Return a published manifest whose object was read and verifies, else None."""
    stored = there.objects.get(record.key)
    if stored is None:
        return None
    found = ManifestToPublish(record.id, stored.data)
    try:
        read_manifest(stored.data, consumer, record.id)
    except NotTrusted:
        return None
    return found


def _manifest_pointer(manifest: ManifestToPublish, there: Snapshot, consumer: Consumer) -> Action:
    """Plan a manifest pointer, which only ever moves to a higher serial."""
    key, step = layout.pointer(manifest.id.release), Step.MANIFEST_POINTERS
    pointer = there.objects.get(key)
    if pointer is None:
        return Action(Kind.CREATE, key, step, manifest.signed, None, f"-> serial {manifest.id.serial}")

    def payload() -> bytes:
        return read_manifest(manifest.signed, consumer, manifest.id.release).payload

    sha256 = hashlib.sha256(manifest.signed).hexdigest()
    newest = NewestSerial(manifest.id, sha256, payload)
    found = manifest_pointer(pointer.data, newest, consumer, lambda: _stored_serials(manifest, there))
    serial, move = found.serial or 0, Action(Kind.MOVE, key, step, manifest.signed, pointer.token, "")
    if found.state is State.CURRENT:
        return same(key, step, pointer, f"serial {serial}")
    if found.state is State.RESIGNED:
        return replace(move, detail=f"another signature of serial {serial}")
    if found.state is State.BEHIND:
        return replace(move, detail=f"serial {serial} -> {manifest.id.serial}")
    if found.state is State.AHEAD:
        return _newer_pointer(pointer, manifest, serial, there)
    if found.state is State.REFUSED_COPY and serial < manifest.id.serial:
        # A reissue must be able to replace it.
        return replace(move, detail=f"serial {serial}, which is no longer trusted, -> {manifest.id.serial}")
    because = found.error.message if found.error else f"It differs from the published serial {serial}."
    return foreign(key, step, pointer, there.address, because)


def _newer_pointer(pointer: Stored, manifest: ManifestToPublish, serial: int, there: Snapshot) -> Action:
    """Keep the pointer to a higher serial, if that serial is stored or was withdrawn; else return a conflict."""
    key, step = layout.pointer(manifest.id.release), Step.MANIFEST_POINTERS
    target = layout.manifest(manifest.id.release.issue(serial))
    if target in there.published.withdrawn:
        return same(key, step, pointer, f"serial {serial}, which was withdrawn")
    if target in there.entries:
        return same(key, step, pointer, f"serial {serial}, which is newer")
    sentence = f"{key} in {there.address} is of serial {serial}, and {target} is missing."
    return lost(key, step, sentence, f"Put it back: {key} has the same bytes.")


def _stored_serials(manifest: ManifestToPublish, there: Snapshot) -> Iterator[tuple[int, bytes]]:
    """Yield the stored serials of a release that were read, and their bytes."""
    for serial in there.serials(manifest.id.release):
        stored = there.objects.get(layout.manifest(manifest.id.release.issue(serial)))
        if stored is not None:
            yield serial, stored.data


def _suffix(key: str) -> str:
    parsed = layout.read_key(key)
    return parsed.suffix if isinstance(parsed, layout.ToolKey) else ""
