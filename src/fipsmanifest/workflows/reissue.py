"""Publish a manifest again under the next serial, with the same content, a new signature and a reason.

A manifest that a revoked key signed is accepted only if the user names that key. The node tool that carries the key is
then replaced as well, since the new manifest must not name it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ..errors import Incomplete, NotTrusted, UsageError
from ..generate.tool import ToolFile
from ..model.identity import ManifestId, ReleaseId
from ..model.manifest import canonical
from ..progress import SILENT, Progress
from ..publish import layout
from ..publish.bucket import Bucket
from ..publish.consumer import Consumer, StoredManifest, as_retired, is_of_el, require_unexpired
from ..publish.plan import Plan
from ..publish.publisher import publish
from ..publish.request import ManifestToPublish, PublishRequest, ToolToPublish
from ..publish.snapshot import published_manifest, read_snapshot, withdrawn_from
from ..trust.document import parse_json
from ..trust.keys import Trust
from ..trust.text import utc_now, visible, write_time
from .signing import Signer, plan_unsigned

#: As in a definition.
_LONGEST_REASON = 1000

#: The keys that a reissue changes.
_RENEWED = frozenset({"serial", "reason", "created", "tool"})


@dataclass(frozen=True, slots=True)
class Accepted:
    """A revoked key whose published manifest is accepted once, and the tool that replaces the one it signed."""

    fingerprint: str
    """The revoked key, as the trust directory lists it."""
    tool: ToolFile
    """Built from today's trust directory."""


@dataclass(frozen=True, slots=True)
class Reissued:
    """The result of a reissue."""

    id: ManifestId
    """The manifest with the new serial."""
    plan: Plan
    """The last plan; in a dry run, the planned actions."""
    written: tuple[str, ...]
    """The keys that were written; empty for a dry run."""


def find_release(bucket: Bucket, kubernetes: str, el: int, name: str | None = None) -> ReleaseId:
    """Return the published release for an EL, and for ``name`` if given.

    Raises `Incomplete` if there is none, `UsageError` if there are several and ``name`` is None.
    """
    layout.pointer(ReleaseId(kubernetes, name or "any"))
    keys = (layout.read_key(entry.key) for entry in bucket.list(layout.manifests(kubernetes)))
    names = sorted({key.name for key in keys if isinstance(key, ManifestId) and is_of_el(key.name, el)})
    if name is not None:
        names = [known for known in names if known == name]
    if not names:
        raise Incomplete(
            f"No manifest of {kubernetes} for EL {el}{f' named {name}' if name else ''} is in {bucket.describe()}.",
            f"Publish it first: fipsmanifest release {kubernetes}.",
            reason="not-found",
        )
    if len(names) > 1:
        raise UsageError(
            f"{kubernetes} has several manifests for EL {el} in {bucket.describe()}: {', '.join(names)}.",
            "Choose one with --name.",
        )
    return ReleaseId(kubernetes, names[0])


def reissue(
    release: ReleaseId,
    reason: str,
    bucket: Bucket,
    signer: Signer,
    progress: Progress = SILENT,
    *,
    accepted: Accepted | None = None,
    single_writer: bool = False,
    dry_run: bool = False,
    now: datetime | None = None,
) -> Reissued:
    """Publish the newest serial of a release again under the next serial, created at ``now``.

    ``accepted`` allows a manifest that a revoked key signed, and publishes the current tool with it. ``dry_run`` signs
    and writes nothing. Raises `Incomplete` if nothing is published yet, `NotTrusted` if the published manifest does not
    verify, `Refused` if it has expired, `UsageError` if the accepted key is not listed as revoked, or the reason is
    invalid.
    """
    if not (reason.strip() and reason.isprintable() and len(reason) <= _LONGEST_REASON):
        raise UsageError(
            f"--reason must be one printable line of at most {_LONGEST_REASON} characters.",
            "State why the manifest is issued again; consumers read it.",
        )
    trust = signer.trust
    reader = signer.consumer if accepted is None else Consumer.trusting(_accepting(trust, accepted.fingerprint))
    found = published_manifest(bucket, release, reader)
    if found is None:
        raise Incomplete(
            f"{layout.pointer(release)} has no serial in {bucket.describe()}.",
            f"Publish it first: fipsmanifest release {release.kubernetes}.",
        )
    data, before = found
    moment = now or utc_now()
    require_unexpired(before.document, moment)
    tool = accepted.tool if accepted is not None else None
    if accepted is not None:
        progress.note(_describe_acceptance(accepted.fingerprint, before, data))
    content, withdrawn = parse_json(before.payload), withdrawn_from(bucket)
    if tool is not None:
        content["tool"] = {"version": tool.version, "sha256": tool.sha256}
    serial, payload, signed = before.document.serial, before.payload, data
    below = _beside(release, serial, -1, withdrawn)
    if content != before.content or not _is_made(
        before, below, release, reason, bucket, reader, signer, dry_run=dry_run
    ):
        serial = _beside(release, serial, +1, withdrawn)
        if serial > before.document.serial + 1:
            # The index is not signed: who can write to the bucket can take the newest serial away for a withdrawn one.
            progress.note(_describe_withdrawal(before.document.serial, serial))
        payload = canonical({**content, "serial": serial, "reason": reason, "created": write_time(moment)})
        signed = payload if dry_run else signer.manifest(payload)
    manifest = ManifestToPublish(release.issue(serial), signed)
    if dry_run:
        unsigned = {payload: parse_json(payload)} if signed == payload else {}
        published = read_snapshot(bucket, signer.consumer, [manifest.key], tool.version if tool else None)
        return Reissued(manifest.id, plan_unsigned([manifest], unsigned, tool, signer.consumer, published), ())
    request = _signed_for_cosign(manifest, tool, signer)
    done = publish(request, bucket, signer.consumer, progress, single_writer=single_writer)
    return Reissued(manifest.id, done.plan, tuple(action.key for action in done.written))


def _describe_acceptance(revoked: str, manifest: StoredManifest, data: bytes) -> str:
    """Return a sentence about the use of a revoked key for the newest serial, whose signed file is ``data``."""
    serial = manifest.document.serial
    if manifest.fingerprint != revoked:
        return (
            f"Serial {serial} is signed by {manifest.fingerprint}; the revoked key {revoked} is not used, and the "
            "current tool replaces the one that the serial names."
        )
    return (
        f"The revoked key {revoked} is accepted once: serial {serial}, signed "
        f"{manifest.signed_at:%Y-%m-%d %H:%M:%S %Z}, SHA-256 of the signed file {hashlib.sha256(data).hexdigest()}."
    )


def _describe_withdrawal(before: int, serial: int) -> str:
    """Return a sentence about the serials between the one that is issued again and its new serial."""
    gone = f"Serial {serial - 1} was" if serial == before + 2 else f"Serials {before + 1} to {serial - 1} were"
    return (
        f"{gone} withdrawn, as index.json says, which is not signed: serial {serial} has the content of serial "
        f"{before}. If that is not so, find out who removed it."
    )


def _signed_for_cosign(manifest: ManifestToPublish, tool: ToolFile | None, signer: Signer) -> PublishRequest:
    """Return the request, with Sigstore bundles if the signer makes them; those that are published stay."""
    sign = (lambda _: None) if signer.cosign_key is None else signer.cosign_key.sign
    with_it = None
    if tool is not None:
        with_it = ToolToPublish(tool.version, tool.data, signer.tool(tool.data), sign(tool.data))
    return PublishRequest((replace(manifest, sigstore=sign(manifest.signed)),), with_it)


def _is_made(
    newest: StoredManifest,
    below: int,
    release: ReleaseId,
    reason: str,
    bucket: Bucket,
    reader: Consumer,
    signer: Signer,
    *,
    dry_run: bool,
) -> bool:
    """Return whether the newest serial is this reissue, from an earlier run that was killed and is to be completed.

    It then has the same reason, the same content as the serial before it, and a signature of the current key. A dry run
    signs nothing, and assumes that any active key is the current one.
    """
    if below < 1 or newest.document.reason != reason:
        return False
    try:
        found = published_manifest(bucket, release.issue(below), reader)
    except NotTrusted:
        return False
    if found is None or _kept(found[1]) != _kept(newest):
        return False
    if dry_run:
        return any(key.fingerprint == newest.fingerprint and key.status == "active" for key in signer.trust.keys)
    return reader.manifest(signer.manifest(newest.payload)).fingerprint == newest.fingerprint


def _beside(release: ReleaseId, serial: int, step: int, withdrawn: frozenset[str]) -> int:
    """Return the serial after this one (``step`` 1), or before it (-1), that was not withdrawn; 0 before the first."""
    serial += step
    while serial and layout.manifest(release.issue(serial)) in withdrawn:
        serial += step
    return serial


def _kept(manifest: StoredManifest) -> dict[str, Any]:
    """Return the content that a reissue does not change; the tool is compared separately."""
    return {key: value for key, value in manifest.content.items() if key not in _RENEWED}


def _accepting(trust: Trust, fingerprint: str) -> Trust:
    """Return ``trust`` with one revoked key as retired. Raises `UsageError` if that key is not revoked."""
    if fingerprint not in {key.fingerprint for key in trust.keys if key.status == "revoked"}:
        raise UsageError(
            f"{visible(fingerprint)} is not listed as revoked in {trust.origin}.",
            "Name the full fingerprint of a revoked key from `fipsmanifest keys list`.",
        )
    return as_retired(trust, fingerprint)
