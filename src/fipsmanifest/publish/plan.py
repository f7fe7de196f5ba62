"""Plan a publication: compare the request with a snapshot of the bucket, and list the actions. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ..errors import Conflict, FipsManifestError, NotTrusted, Refused, Several, UsageError
from ..model.identity import ManifestId
from . import bundles, index, layout
from .action import Action, Kind, Step, foreign, lost, same
from .bucket import MAX_OBJECT
from .consumer import (
    Consumer,
    StoredManifest,
    VerifiedSignature,
    read_manifest,
    read_tool,
    require_unexpired,
    tool_signer,
)
from .describe import describe
from .page import is_ours, render
from .pointers import manifest_pointers, tool_pointers, tool_pointers_behind
from .request import ManifestToPublish, PublishRequest, ToolToPublish
from .snapshot import Snapshot, published_tool_signer


@dataclass(frozen=True, slots=True)
class Plan:
    """The actions of a publication, in order."""

    address: str
    """The bucket."""
    actions: tuple[Action, ...]
    """Sorted by step, then key; the signature comes first of a tool's files."""
    left_out: tuple[str, ...]
    """Sentences about stored objects with a manifest's or tool's key that are not valid; they stay, and are not in the
    index."""
    published: index.PublishedContents
    """The contents of the bucket after the plan was carried out, as in the index."""

    @property
    def conflicts(self) -> tuple[Action, ...]:
        """The actions that are conflicts."""
        return tuple(action for action in self.actions if action.kind is Kind.CONFLICT)

    @property
    def writes(self) -> tuple[Action, ...]:
        """The actions that write."""
        return tuple(action for action in self.actions if action.kind in {Kind.CREATE, Kind.MOVE})

    def document(self) -> dict[str, Any]:
        """Return the plan as JSON, without the objects' bytes."""
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
        """Raise `Conflict`, or `Several` of them, if the plan has conflicts."""
        errors: list[FipsManifestError] = [
            Conflict(
                action.detail, action.advice or _ADVICE.get(action.step, _POINTER_ADVICE), reason="published-differs"
            )
            for action in self.conflicts
        ]
        if len(errors) > 1:
            raise Several(errors)
        if errors:
            raise errors[0]


_ADVICE = {
    Step.TOOL_FILES: "Give the changed tool a new version; if trust.json was edited by hand, raise its edition.",
    Step.MANIFESTS: "Give the definition a new serial and a reason.",
}
_POINTER_ADVICE = "Find out who wrote it; if it is not intended, move it away by hand."


def make_plan(request: PublishRequest, there: Snapshot, consumer: Consumer, now: datetime) -> Plan:
    """Return the plan for a request.

    Raises `NotTrusted` if a requested object does not verify, and `Refused` if a manifest has expired at ``now``, names
    a tool that is not published, or makes the index too large. Conflicts are part of the plan.
    """
    actions: list[Action] = []
    asked: dict[str, tuple[ManifestToPublish, Action]] = {}
    manifests, tools = list(there.published.manifests), list(there.published.tools)
    signable: list[tuple[Action, bytes | None]] = []
    if request.tool is not None:
        files = list(_tool_files(request.tool, there, consumer))
        actions += files
        if all(action.kind is not Kind.CONFLICT for action in files):
            actions += tool_pointers(request.tool.version, files, there, consumer)
        # If the tool is a conflict, its record prevents an additional error about a missing tool.
        signature = next(action.data for action in files if action.key.endswith(".asc"))
        signer = consumer.tool(request.tool.data, signature).fingerprint
        tools.append(index.PublishedTool(request.tool.version, request.tool.sha256, len(request.tool.data), signer))
        signable += [(file, request.tool.sigstore) for file in files if file.key == layout.tool(request.tool.version)]
    else:
        actions += tool_pointers_behind(there, consumer)
    for manifest in request.manifests:
        signed = _check(manifest, consumer, now)
        file = _manifest_file(manifest, signed, there, consumer)
        actions.append(file)
        if file.kind is Kind.CONFLICT:
            continue
        if file.kind is Kind.CREATE:
            _require_tool(manifest, signed, tools)
            before = _before(manifest, there, consumer)
            manifests.append(describe(manifest.key, manifest.id.name, manifest.signed, signed, before))
        asked[layout.pointer(manifest.id.release)] = (manifest, file)
        signable.append((file, manifest.sigstore))
    signed_too = list(_bundle_files(signable, there, consumer))
    actions += (action for action, _ in signed_too)
    published = [*there.published.bundles, *(record for _, record in signed_too)]
    contents = index.contents(manifests, tools, _withdrawn(request, there), published)
    actions += manifest_pointers(asked, contents, there, consumer)
    actions += bundles.plan_pointers(contents, actions, there.objects, there.entries, there.address)
    planned = {action.key for action in actions}
    actions += (_gone(key, there) for key in there.gone if key not in planned and key not in contents.withdrawn)
    actions += _index(contents, there)
    return Plan(there.address, tuple(sorted(actions, key=_order)), there.left_out, contents)


def _bundle_files(
    signable: Iterable[tuple[Action, bytes | None]], there: Snapshot, consumer: Consumer
) -> Iterator[tuple[Action, index.PublishedBundle]]:
    """Plan the bundles of objects that never change, each given with the bundle that this publisher made of it."""
    for signed, ours in signable:
        if signed.kind is not Kind.CONFLICT and (found := bundles.plan_file(signed, ours, there.objects, consumer)):
            action, record = found
            yield _unless_spent(action, record, there) if action.kind is Kind.CREATE else action, record


def _withdrawn(request: PublishRequest, there: Snapshot) -> Iterator[str]:
    """Yield the keys of withdrawn objects. Raises `UsageError` for a requested key that is not missing."""
    yield from there.published.withdrawn
    for key in request.withdrawn:
        if key in there.entries:
            raise UsageError(
                f"{key} is in {there.address}.",
                "Only a missing object can be withdrawn; fipsmanifest never removes a published object.",
            )
        if key not in there.gone and key not in there.published.withdrawn:
            raise UsageError(
                f"{key} is not missing in {there.address}.", "Run `fipsmanifest audit` to list the missing objects."
            )
        yield key


def _gone(key: str, there: Snapshot) -> Action:
    steps = {ManifestId: Step.MANIFESTS, layout.SigstoreKey: Step.BUNDLES}
    step = steps.get(type(layout.read_key(key)), Step.TOOL_FILES)
    return lost(
        key,
        step,
        f"{key} was published in {there.address}, as {layout.INDEX_JSON} says, and is missing.",
        f"Put it back from a copy; if it was removed on purpose, withdraw it: fipsmanifest publish --withdraw {key}",
    )


def _unless_spent(create: Action, made: index.Published, there: Snapshot) -> Action:
    """Return ``create``, or a conflict if the object was withdrawn, or published with other content and is missing."""
    indexed = there.gone.get(create.key)
    if create.key in there.published.withdrawn:
        sentence = f"{create.key} was published in {there.address} and withdrawn: it cannot be published again."
    elif indexed is not None and not index.same_content(indexed, made):
        sentence = f"{create.key} was published in {there.address} with other content, and is missing."
    else:
        return create
    return replace(create, kind=Kind.CONFLICT, detail=sentence)


def _order(action: Action) -> tuple[Step, int, str]:
    """Return the sort key; a tool's signature comes before the tool, so that a killed run leaves no unsigned tool."""
    what = layout.read_key(action.key)
    place = layout.TOOL_SUFFIXES.index(what.suffix) if isinstance(what, layout.ToolKey) else 0
    return action.step, place, action.key


def _check(manifest: ManifestToPublish, consumer: Consumer, now: datetime) -> StoredManifest:
    signed = read_manifest(manifest.signed, consumer, manifest.id)
    if manifest.id.serial > 1 and not signed.document.reason:
        raise Refused(
            f"{manifest.key} has serial {manifest.id.serial} and no reason.", "Set 'reason' in the definition."
        )
    require_unexpired(signed.document, now)
    return signed


def _before(manifest: ManifestToPublish, there: Snapshot, consumer: Consumer) -> StoredManifest | None:
    """Return the published manifest with the highest lower serial that verifies, or None."""
    for serial in there.serials(manifest.id.release):
        earlier = manifest.id.release.issue(serial)
        stored = there.objects.get(layout.manifest(earlier))
        if serial < manifest.id.serial and stored is not None:
            try:
                return read_manifest(stored.data, consumer, earlier)
            except NotTrusted:
                continue
    return None


def _require_tool(manifest: ManifestToPublish, signed: StoredManifest, tools: list[index.PublishedTool]) -> None:
    named = signed.document.tool
    if not any((tool.version, tool.sha256) == (named.version, named.sha256) for tool in tools):
        raise Refused(
            f"{manifest.key} names the tool {named.version} with SHA-256 {named.sha256}, which is not published.",
            "Publish that tool, or generate the manifest again.",
        )


def _tool_files(tool: ToolToPublish, there: Snapshot, consumer: Consumer) -> Iterator[Action]:
    """Plan the three files that never change: the tool, its SHA-256 file and its signature."""
    ours = read_tool(tool.data, tool.signature, consumer, tool.version)
    record = index.PublishedTool(tool.version, tool.sha256, len(tool.data), ours.fingerprint)
    files = {"": tool.data, ".sha256": layout.sidecar(tool.version, tool.sha256), ".asc": tool.signature}
    for suffix, data in files.items():
        key = layout.tool(tool.version, suffix)
        stored = there.objects.get(key)
        if stored is None:
            create = Action(Kind.CREATE, key, Step.TOOL_FILES, data, None, f"{len(data)} bytes")
            yield _unless_spent(create, record, there)
        elif stored.data == data:
            yield same(key, Step.TOOL_FILES, stored)
        elif suffix == ".asc" and tool_signer(tool.data, stored.data, consumer, tool.version) is not None:
            yield same(key, Step.TOOL_FILES, stored, "another signature of the same tool")
        else:
            there_signed = published_tool_signer(tool.version, there, consumer)
            sentence = _differ(key, there, stored.data, there_signed, data, ours)
            yield Action(Kind.CONFLICT, key, Step.TOOL_FILES, data, stored.token, sentence)


def _manifest_file(manifest: ManifestToPublish, signed: StoredManifest, there: Snapshot, consumer: Consumer) -> Action:
    """Plan the file that never changes. A stored file is the same if it verifies and covers the same payload."""
    stored = there.objects.get(manifest.key)
    if stored is None:
        newest = max(there.serials(manifest.id.release), default=0)
        if newest > manifest.id.serial:
            sentence = f"Serial {newest} of {manifest.key} is published already; a new one must be higher."
            return Action(Kind.CONFLICT, manifest.key, Step.MANIFESTS, manifest.signed, None, sentence)
        record = describe(manifest.key, manifest.id.name, manifest.signed, signed, None)
        detail = f"{len(manifest.signed)} bytes"
        create = Action(Kind.CREATE, manifest.key, Step.MANIFESTS, manifest.signed, None, detail)
        return _unless_spent(create, record, there)
    published: StoredManifest | None = None
    try:
        published = read_manifest(stored.data, consumer, manifest.id)
        if published.payload == signed.payload:
            return same(manifest.key, Step.MANIFESTS, stored)
        because = ""
    except NotTrusted as error:
        because = f" The stored object does not verify: {error.message}"
    before = published.payload if published is not None else stored.data
    sentence = _differ(manifest.key, there, before, published, signed.payload, signed) + because
    return Action(Kind.CONFLICT, manifest.key, Step.MANIFESTS, manifest.signed, stored.token, sentence)


def _index(contents: index.PublishedContents, there: Snapshot) -> Iterator[Action]:
    """Plan the two index files, derived from the contents after the publication."""
    expected = (
        (layout.INDEX_JSON, Step.INDEX_JSON, index.write(contents)),
        (layout.INDEX_HTML, Step.INDEX_HTML, render(contents)),
    )
    for key, step, data in expected:
        if len(data) > MAX_OBJECT:
            raise Refused(
                f"{key} would have {len(data)} bytes; the limit is {MAX_OBJECT}.",
                "Publish to another bucket or prefix.",
            )
        stored = there.objects.get(key)
        if stored is None:
            yield Action(Kind.CREATE, key, step, data, None, f"{len(data)} bytes")
        elif stored.data == data:
            yield same(key, step, stored)
        elif is_ours(key, stored.data):
            yield Action(Kind.MOVE, key, step, data, stored.token, "brought up to date")
        else:
            yield foreign(key, step, stored, there.address)


def _differ(
    key: str, there: Snapshot, before: bytes, was: VerifiedSignature | None, after: bytes, ours: VerifiedSignature
) -> str:
    return (
        f"{key} in {there.address} has SHA-256 {_sha256(before)}{_signed_by(was)}; "
        f"the object to publish has SHA-256 {_sha256(after)}{_signed_by(ours)}."
    )


def _signed_by(signer: VerifiedSignature | None) -> str:
    # A dry run compares unsigned objects.
    if signer is None or not signer.fingerprint:
        return ""
    return f", signed {signer.signed_at:%Y-%m-%d %H:%M:%S %Z} by {signer.fingerprint}"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
