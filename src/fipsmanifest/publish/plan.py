"""What has to be done so that what is wanted is published: decided here, without touching anything. Pure.

The order of steps is what makes a kill at any point harmless: first what never changes, then what points at it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum
from typing import Any

from ..errors import Conflict, FipsManifestError, NotTrusted, Refused, Several, ValidationFailed
from . import index, layout
from .bucket import Stored
from .consumer import Consumer, SignedManifest, Signer, read_manifest
from .page import is_ours, render
from .snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class WantedManifest:
    """A signed manifest that is to be published."""

    kubernetes: str
    """``v1.21.3``."""
    name: str
    """``rhel8``."""
    serial: int
    """1, 2, ..."""
    signed: bytes
    """The cleartext-signed file."""

    @property
    def key(self) -> str:
        """Where it is to lie for good."""
        return layout.manifest(self.kubernetes, self.name, self.serial)


@dataclass(frozen=True, slots=True)
class WantedTool:
    """A node tool that is to be published."""

    version: str
    """``0.1.0``."""
    data: bytes
    """The single-file tool."""
    signature: bytes
    """Its armored detached signature."""

    @property
    def sha256(self) -> str:
        """The tool's digest, hex."""
        return _sha256(self.data)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be published; with neither, only the index is brought up to date."""

    manifests: tuple[WantedManifest, ...] = ()
    """One per name and version."""
    tool: WantedTool | None = None
    """None where the published tool stays as it is."""


class Kind(StrEnum):
    """What is to be done with an object."""

    CREATE = "create"
    """It is not there."""
    SAME = "same"
    """It is there and says the same; nothing is written."""
    MOVE = "move"
    """A pointer or the index is to say something newer."""
    CONFLICT = "conflict"
    """It is there and must not be overwritten."""


class Step(IntEnum):
    """Writes of one step may be made at once; a step begins when the one before has been read back."""

    TOOL_FILES = 1
    MANIFESTS = 2
    TOOL_SIGNATURE_POINTER = 3
    TOOL_SIDECAR_POINTER = 4
    TOOL_POINTER = 5
    MANIFEST_POINTERS = 6
    INDEX_JSON = 7
    INDEX_HTML = 8


_TOOL_POINTER_STEPS = dict(
    zip(layout.TOOL_SUFFIXES, (Step.TOOL_SIGNATURE_POINTER, Step.TOOL_SIDECAR_POINTER, Step.TOOL_POINTER), strict=True)
)


@dataclass(frozen=True, slots=True)
class Action:
    """What is to be done with one object."""

    kind: Kind
    """Only ``create`` and ``move`` write."""
    key: str
    """The object."""
    step: Step
    """When."""
    data: bytes
    """What is to be there afterwards, or is there (``same``)."""
    replaces: str | None
    """The token of the version that was read; None where there was none."""
    detail: str
    """One line for people: ``serial 1 -> 2``; the whole sentence of a conflict."""
    final: bool = True
    """Whether ``data`` is what will be written; False in the plan of what nobody signed yet."""

    @property
    def sha256(self) -> str:
        """Digest of ``data``, hex."""
        return _sha256(self.data)


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that has to be done, in order."""

    address: str
    """The bucket."""
    actions: tuple[Action, ...]
    """By step, then key."""
    left_out: tuple[str, ...]
    """What lies in the bucket where a manifest or tool should and is not one: left alone, and not in the index."""

    @property
    def conflicts(self) -> tuple[Action, ...]:
        """The actions that cannot be done."""
        return tuple(action for action in self.actions if action.kind is Kind.CONFLICT)

    @property
    def writes(self) -> tuple[Action, ...]:
        """The actions that write."""
        return tuple(action for action in self.actions if action.kind in {Kind.CREATE, Kind.MOVE})

    def document(self) -> dict[str, Any]:
        """Give the plan as JSON, without the objects' bytes."""
        return {
            "bucket": self.address,
            "actions": [
                {
                    "action": str(action.kind),
                    "key": action.key,
                    "step": action.step.name.lower().replace("_", "-"),
                    "sha256": action.sha256 if action.final else None,
                    "size": len(action.data) if action.final else None,
                    "detail": action.detail,
                }
                for action in self.actions
            ],
            "left_out": list(self.left_out),
        }

    def require_no_conflict(self) -> None:
        """Raise `Conflict`, or `Several` of them, where anything must not be overwritten."""
        errors: list[FipsManifestError] = [
            Conflict(action.detail, _ADVICE.get(action.step, _POINTER_ADVICE)) for action in self.conflicts
        ]
        if len(errors) > 1:
            raise Several(errors)
        if errors:
            raise errors[0]


_ADVICE = {
    Step.TOOL_FILES: "Give the changed tool a new version; if trust.json was edited by hand, raise its edition.",
    Step.MANIFESTS: "Give the definition a new serial and a reason.",
}
_POINTER_ADVICE = "Find out who wrote it; move it away by hand if it is not wanted."


def make_plan(wanted: Wanted, there: Snapshot, consumer: Consumer) -> Plan:
    """Decide what has to be done.

    Raises `NotTrusted` where something wanted does not verify itself, and `Refused` where a manifest names another
    tool than the one published with it. Conflicts are in the plan.
    """
    actions: list[Action] = []
    asked: dict[str, tuple[WantedManifest, Action]] = {}
    manifests, tools = list(there.published.manifests), list(there.published.tools)
    if wanted.tool is not None:
        files = list(_tool_files(wanted.tool, there, consumer))
        actions += files
        if all(action.kind is not Kind.CONFLICT for action in files):
            actions += _tool_pointers(wanted.tool.version, files, there, consumer)
        # Where the tool is a conflict, this only keeps that from being reported as a missing tool as well.
        signature = next(action.data for action in files if action.key.endswith(".asc"))
        signer = consumer.tool(wanted.tool.data, signature).fingerprint
        tools.append(index.PublishedTool(wanted.tool.version, wanted.tool.sha256, len(wanted.tool.data), signer))
    else:
        actions += _tool_pointers_behind(there, consumer)
    for manifest in wanted.manifests:
        signed = _check(manifest, consumer)
        file = _manifest_file(manifest, signed, there, consumer)
        actions.append(file)
        if file.kind is Kind.CONFLICT:
            continue
        if file.kind is Kind.CREATE:
            _require_tool(manifest, signed, tools)
            before = _before(manifest, there, consumer)
            manifests.append(index.describe(manifest.key, manifest.name, manifest.signed, signed, before))
        asked[layout.manifest(manifest.kubernetes, manifest.name)] = (manifest, file)
    contents = index.contents(manifests, tools)
    actions += _manifest_pointers(asked, contents, there, consumer)
    actions += _index(contents, there)
    return Plan(there.address, tuple(sorted(actions, key=lambda action: (action.step, action.key))), there.left_out)


def _check(manifest: WantedManifest, consumer: Consumer) -> SignedManifest:
    signed = read_manifest(
        manifest.signed, consumer, kubernetes=manifest.kubernetes, name=manifest.name, serial=manifest.serial
    )
    if manifest.serial > 1 and not signed.document.reason:
        raise Refused(
            f"{manifest.key} has serial {manifest.serial} and gives no reason for it.", "Give the definition a reason."
        )
    return signed


def _before(manifest: WantedManifest, there: Snapshot, consumer: Consumer) -> SignedManifest | None:
    """Give the highest lower serial that is published and verifies."""
    kubernetes, name = manifest.kubernetes, manifest.name
    for serial in there.serials(kubernetes, name):
        stored = there.objects.get(layout.manifest(kubernetes, name, serial))
        if serial < manifest.serial and stored is not None:
            try:
                return read_manifest(stored.data, consumer, kubernetes=kubernetes, name=name, serial=serial)
            except NotTrusted:
                continue
    return None


def _require_tool(manifest: WantedManifest, signed: SignedManifest, tools: list[index.PublishedTool]) -> None:
    named = signed.document.tool
    if not any((tool.version, tool.sha256) == (named.version, named.sha256) for tool in tools):
        raise Refused(
            f"{manifest.key} names the tool {named.version} with SHA-256 {named.sha256}, which is not published.",
            "Publish that tool, or generate the manifest again.",
        )


def _tool_files(tool: WantedTool, there: Snapshot, consumer: Consumer) -> Iterator[Action]:
    """Plan the three files that never change: the tool, its digest, its signature."""
    ours = consumer.tool(tool.data, tool.signature)
    wanted = {"": tool.data, ".sha256": layout.sidecar(tool.version, tool.sha256), ".asc": tool.signature}
    for suffix, data in wanted.items():
        key = layout.tool(tool.version, suffix)
        stored = there.objects.get(key)
        if stored is None:
            yield Action(Kind.CREATE, key, Step.TOOL_FILES, data, None, f"{len(data)} bytes")
        elif stored.data == data:
            yield _same(key, Step.TOOL_FILES, stored)
        elif suffix == ".asc" and _tool_signer(tool.data, stored.data, consumer) is not None:
            yield _same(key, Step.TOOL_FILES, stored, "another signature of the same tool")
        else:
            there_signed = _published_tool_signer(tool.version, there, consumer)
            sentence = _differ(key, there, stored.data, there_signed, data, ours)
            yield Action(Kind.CONFLICT, key, Step.TOOL_FILES, data, stored.token, sentence)


def _tool_pointers_behind(there: Snapshot, consumer: Consumer) -> list[Action]:
    """Plan the move of the tool's well-known address that another publisher did not come to; nothing of our own is in
    it, so that a conflict there does not stop this run."""
    if not there.published.tools:
        return []
    version = there.published.tools[0].version
    files = [_same(key, Step.TOOL_FILES, stored) for key, stored in _stored_tool(version, there)]
    if len(files) < len(layout.TOOL_SUFFIXES):
        return []
    actions = list(_tool_pointers(version, files, there, consumer))
    if any(action.kind is Kind.CONFLICT for action in actions):
        return []
    return [action for action in actions if action.kind is not Kind.SAME]


def _stored_tool(version: str, there: Snapshot) -> list[tuple[str, Stored]]:
    keys = [layout.tool(version, suffix) for suffix in layout.TOOL_SUFFIXES]
    return [(key, there.objects[key]) for key in keys if key in there.objects]


def _tool_pointers(version: str, files: list[Action], there: Snapshot, consumer: Consumer) -> Iterator[Action]:
    """Plan the well-known address, which only ever moves to a newer version.

    Where another publisher was stopped before or in the middle of a move to a still newer version, that move is
    completed.
    """
    versions = _published_tools(there)
    versions[version] = {_suffix(action.key): action.data for action in files}
    at: dict[str, str] = {version: version}
    for tool in there.published.tools[:1]:
        whole = len(_stored_tool(tool.version, there)) == len(layout.TOOL_SUFFIXES)
        if whole and _published_tool_signer(tool.version, there, consumer) is not None:
            at[tool.version] = tool.version
    for suffix in layout.TOOL_SUFFIXES:
        pointer = there.objects.get(layout.tool(None, suffix))
        if pointer is not None:
            found = [known for known, data in versions.items() if data.get(suffix) == pointer.data]
            if not found:
                yield _foreign(layout.tool(None, suffix), _TOOL_POINTER_STEPS[suffix], pointer, there)
                continue
            at[suffix] = max(found, key=layout.version_order)
    target = max(at.values(), key=layout.version_order)
    files_there = versions[target]
    complete = len(files_there) == len(layout.TOOL_SUFFIXES)
    if target != version and not (complete and _tool_signer(files_there[""], files_there[".asc"], consumer)):
        key = layout.tool(target)
        sentence = f"{key} in {there.address} is newer than {version}, is pointed at, and does not verify."
        yield Action(Kind.CONFLICT, key, Step.TOOL_POINTER, b"", None, sentence)
        return
    for suffix in layout.TOOL_SUFFIXES:
        key, step = layout.tool(None, suffix), _TOOL_POINTER_STEPS[suffix]
        pointer = there.objects.get(key)
        if pointer is None:
            yield Action(Kind.CREATE, key, step, files_there[suffix], None, f"-> {target}")
        elif pointer.data == files_there[suffix]:
            yield _same(key, step, pointer, target)
        elif suffix in at:
            detail = f"{at[suffix]} -> {target}"
            yield Action(Kind.MOVE, key, step, files_there[suffix], pointer.token, detail)


def _published_tools(there: Snapshot) -> dict[str, dict[str, bytes]]:
    """Give the files of the versions that were read, by version and suffix."""
    found: dict[str, dict[str, bytes]] = {}
    for key, stored in there.objects.items():
        parsed = layout.read_key(key)
        if isinstance(parsed, layout.ToolKey) and parsed.version is not None:
            found.setdefault(parsed.version, {})[parsed.suffix] = stored.data
    return found


def _manifest_file(manifest: WantedManifest, signed: SignedManifest, there: Snapshot, consumer: Consumer) -> Action:
    """Plan the file that never changes. The same means: it verifies, and signs the same bytes."""
    stored = there.objects.get(manifest.key)
    if stored is None:
        newest = max(there.serials(manifest.kubernetes, manifest.name), default=0)
        if newest > manifest.serial:
            sentence = f"Serial {newest} of {manifest.key} is published already; a new one must be higher."
            return Action(Kind.CONFLICT, manifest.key, Step.MANIFESTS, manifest.signed, None, sentence)
        detail = f"{len(manifest.signed)} bytes"
        return Action(Kind.CREATE, manifest.key, Step.MANIFESTS, manifest.signed, None, detail)
    published: SignedManifest | None = None
    try:
        published = read_manifest(
            stored.data, consumer, kubernetes=manifest.kubernetes, name=manifest.name, serial=manifest.serial
        )
        if published.payload == signed.payload:
            return _same(manifest.key, Step.MANIFESTS, stored)
        because = ""
    except NotTrusted as error:
        because = f" What is there does not verify: {error.message}"
    before = published.payload if published is not None else stored.data
    sentence = _differ(manifest.key, there, before, published, signed.payload, signed) + because
    return Action(Kind.CONFLICT, manifest.key, Step.MANIFESTS, manifest.signed, stored.token, sentence)


def _manifest_pointers(
    asked: Mapping[str, tuple[WantedManifest, Action]], contents: index.Contents, there: Snapshot, consumer: Consumer
) -> Iterator[Action]:
    """Plan the well-known addresses of everything that the index names.

    Where another publisher was stopped before it moved one, that move is completed. What stands in the way of that
    one is the other's conflict, which does not stop this run.
    """
    newest = index.newest(contents)
    for key, (manifest, file) in asked.items():
        record = newest.get(key)
        newer = _newer(record, there, consumer) if record is not None and record.serial > manifest.serial else None
        yield _manifest_pointer(newer or replace(manifest, signed=file.data), there, consumer)
    for key, record in newest.items():
        if key not in asked and (target := _newer(record, there, consumer)) is not None:
            action = _manifest_pointer(target, there, consumer)
            if action.kind in {Kind.CREATE, Kind.MOVE}:
                yield action


def _newer(record: index.PublishedManifest, there: Snapshot, consumer: Consumer) -> WantedManifest | None:
    """Give a published manifest that was read because its pointer may be behind; None for any other one."""
    stored = there.objects.get(record.key)
    if stored is None:
        return None
    found = WantedManifest(record.kubernetes, record.name, record.serial, stored.data)
    try:
        read_manifest(stored.data, consumer, kubernetes=found.kubernetes, name=found.name, serial=found.serial)
    except NotTrusted:
        return None
    return found


def _manifest_pointer(manifest: WantedManifest, there: Snapshot, consumer: Consumer) -> Action:
    """Plan the well-known address, which only ever moves to a higher serial."""
    key, step = layout.manifest(manifest.kubernetes, manifest.name), Step.MANIFEST_POINTERS
    pointer = there.objects.get(key)
    if pointer is None:
        return Action(Kind.CREATE, key, step, manifest.signed, None, f"-> serial {manifest.serial}")
    if pointer.data == manifest.signed:
        return _same(key, step, pointer, f"serial {manifest.serial}")
    try:
        signed = read_manifest(pointer.data, consumer, kubernetes=manifest.kubernetes, name=manifest.name)
        serial, trusted = signed.document.serial, ""
    except NotTrusted as error:
        # The copy of a serial whose key was revoked since: a reissue has to be able to take its place.
        copied = _serial_with(pointer.data, manifest, there)
        if copied is None or copied >= manifest.serial:
            return _foreign(key, step, pointer, there, error.message)
        serial, trusted = copied, ", which is trusted no more,"
    if serial > manifest.serial:
        return _same(key, step, pointer, f"serial {serial}, which is newer")
    if serial < manifest.serial:
        detail = f"serial {serial}{trusted} -> {manifest.serial}"
        return Action(Kind.MOVE, key, step, manifest.signed, pointer.token, detail)
    return _foreign(key, step, pointer, there, f"It is not the serial {serial} that is published.")


def _serial_with(data: bytes, manifest: WantedManifest, there: Snapshot) -> int | None:
    """Give the serial that lies in the bucket with exactly these bytes, or None."""
    for serial in there.serials(manifest.kubernetes, manifest.name):
        stored = there.objects.get(layout.manifest(manifest.kubernetes, manifest.name, serial))
        if stored is not None and stored.data == data:
            return serial
    return None


def _index(contents: index.Contents, there: Snapshot) -> Iterator[Action]:
    """Plan the two index files, derived from what will be there."""
    wanted = (
        (layout.INDEX_JSON, Step.INDEX_JSON, index.write(contents)),
        (layout.INDEX_HTML, Step.INDEX_HTML, render(contents)),
    )
    for key, step, data in wanted:
        stored = there.objects.get(key)
        if stored is None:
            yield Action(Kind.CREATE, key, step, data, None, f"{len(data)} bytes")
        elif stored.data == data:
            yield _same(key, step, stored)
        elif is_ours(key, stored.data):
            yield Action(Kind.MOVE, key, step, data, stored.token, "brought up to date")
        else:
            yield _foreign(key, step, stored, there)


def _same(key: str, step: Step, stored: Stored, detail: str = "") -> Action:
    return Action(Kind.SAME, key, step, stored.data, stored.token, detail)


def _foreign(key: str, step: Step, stored: Stored, there: Snapshot, because: str = "") -> Action:
    sentence = f"{key} in {there.address} is none of ours (SHA-256 {_sha256(stored.data)}). {because}".rstrip()
    return Action(Kind.CONFLICT, key, step, stored.data, stored.token, sentence)


def _differ(key: str, there: Snapshot, before: bytes, was: Signer | None, after: bytes, ours: Signer) -> str:
    return (
        f"{key} in {there.address} has SHA-256 {_sha256(before)}{_signed_by(was)}; "
        f"what would be published has SHA-256 {_sha256(after)}{_signed_by(ours)}."
    )


def _signed_by(signer: Signer | None) -> str:
    if signer is None:
        return ""
    return f", signed {signer.signed_at:%Y-%m-%d %H:%M:%S %Z} by {signer.fingerprint}"


def _tool_signer(data: bytes, signature: bytes, consumer: Consumer) -> Signer | None:
    try:
        return consumer.tool(data, signature)
    except (NotTrusted, ValidationFailed):
        return None


def _published_tool_signer(version: str, there: Snapshot, consumer: Consumer) -> Signer | None:
    data, signature = (there.objects.get(layout.tool(version, suffix)) for suffix in ("", ".asc"))
    return _tool_signer(data.data, signature.data, consumer) if data and signature else None


def _suffix(key: str) -> str:
    parsed = layout.read_key(key)
    return parsed.suffix if isinstance(parsed, layout.ToolKey) else ""


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
