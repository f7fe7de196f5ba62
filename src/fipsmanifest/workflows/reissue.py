"""Publish a manifest again under the next serial: the same payload, today's signature, and why.

Where the key that signed it was revoked, what is published is believed once more only if its user says so, key by key.
The node tool that carries that key is then replaced as well: a manifest that names it would lead readers back to it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..errors import Incomplete, NotTrusted, UsageError
from ..generate.tool import ToolFile
from ..model.manifest import canonical
from ..progress import SILENT, Progress
from ..publish import layout
from ..publish.bucket import Bucket
from ..publish.consumer import Consumer, VerifiedManifest, as_retired, is_of_el, require_unexpired
from ..publish.layout import ManifestKey
from ..publish.plan import Plan
from ..publish.publisher import publish
from ..publish.request import ManifestToPublish, PublishRequest, ToolToPublish
from ..publish.snapshot import published_manifest, read_snapshot, withdrawn_from
from ..trust.document import parse_json
from ..trust.store import Trust
from ..trust.text import utc_now, visible, write_time
from .signing import Signer, plan_unsigned

#: As in a definition.
_LONGEST_REASON = 1000

#: What a reissue says anew.
_RENEWED = frozenset({"serial", "reason", "created", "tool"})


@dataclass(frozen=True, slots=True)
class Accepted:
    """A revoked key whose published manifest is believed this once, and today's tool in place of the one it signed."""

    fingerprint: str
    """The revoked key, as the trust folder lists it."""
    tool: ToolFile
    """Built from today's trust folder."""


@dataclass(frozen=True, slots=True)
class Reissued:
    """What was published, or would be."""

    name: str
    """Which of the version's manifests: ``rhel8``."""
    serial: int
    """The new serial."""
    plan: Plan
    """The last plan; of a dry run, what would be done."""
    written: tuple[str, ...]
    """The keys that were written; empty for a dry run."""


def find_release(bucket: Bucket, kubernetes: str, el: int, name: str | None = None) -> ManifestKey:
    """Give the pointer of the release for an EL that is published in a bucket, or of the one with this name.

    Raises `Incomplete` where there is none, `UsageError` where there are several and none is named.
    """
    layout.manifest(kubernetes, name or "any")
    keys = (layout.read_key(entry.key) for entry in bucket.list(layout.manifests(kubernetes)))
    names = sorted({key.name for key in keys if isinstance(key, ManifestKey) and key.serial and is_of_el(key.name, el)})
    if name is not None:
        names = [known for known in names if known == name]
    if not names:
        raise Incomplete(
            f"No manifest of {kubernetes} for EL {el}{f' named {name}' if name else ''} is in {bucket.describe()}.",
            f"Publish it first: fipsmanifest release {kubernetes}.",
        )
    if len(names) > 1:
        raise UsageError(
            f"{kubernetes} has several manifests for EL {el} in {bucket.describe()}: {', '.join(names)}.",
            "Say which one with --name.",
        )
    return ManifestKey(kubernetes, names[0], None)


def reissue(
    release: ManifestKey,
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
    """Publish the newest serial of a release again with the next one; ``now`` dates it.

    ``accepted`` reads what a revoked key signed, and publishes today's tool with it. ``dry_run`` signs and writes
    nothing. Raises `Incomplete` where nothing is published yet, `NotTrusted` where what is published does not verify,
    `Refused` where it has expired, `UsageError` where the accepted key is not listed as revoked, or the reason is none.
    """
    if not (reason.strip() and reason.isprintable() and len(reason) <= _LONGEST_REASON):
        raise UsageError(
            f"--reason must be one printable line of at most {_LONGEST_REASON} characters.",
            "Say why the manifest is issued again; consumers read it.",
        )
    trust = signer.trust
    reader = Consumer.trusting(trust if accepted is None else _believing(trust, accepted.fingerprint))
    found = published_manifest(bucket, release.kubernetes, release.name, reader)
    if found is None:
        raise Incomplete(
            f"{layout.manifest(release.kubernetes, release.name)} has no serial in {bucket.describe()}.",
            f"Publish it first: fipsmanifest release {release.kubernetes}.",
        )
    data, before = found
    moment = now or utc_now()
    require_unexpired(before.document, moment)
    tool = accepted.tool if accepted is not None else None
    if accepted is not None and before.fingerprint != accepted.fingerprint:
        progress.note(
            f"Serial {before.document.serial} is signed by {before.fingerprint}; nothing that the revoked key "
            f"{accepted.fingerprint} signed is believed, and today's tool takes the place of the one it names."
        )
    elif accepted is not None:
        progress.note(
            f"The revoked key {accepted.fingerprint} is believed this once: serial {before.document.serial}, signed "
            f"{before.signed_at:%Y-%m-%d %H:%M:%S %Z}, SHA-256 of the signed file {hashlib.sha256(data).hexdigest()}."
        )
    content, withdrawn = parse_json(before.payload), withdrawn_from(bucket)
    if tool is not None:
        content["tool"] = {"version": tool.version, "sha256": tool.sha256}
    serial, payload, signed = before.document.serial, before.payload, data
    below = _beside(release, serial, -1, withdrawn)
    if content != before.content or not _is_made(
        before, below, release, reason, bucket, reader, signer, dry_run=dry_run
    ):
        serial = _beside(release, serial, +1, withdrawn)
        payload = canonical({**content, "serial": serial, "reason": reason, "created": write_time(moment)})
        signed = payload if dry_run else signer.manifest(payload)
    manifest = ManifestToPublish(release.kubernetes, release.name, serial, signed)
    if dry_run:
        unsigned = {payload: parse_json(payload)} if signed == payload else {}
        published = read_snapshot(bucket, Consumer.trusting(trust), [manifest.key], tool.version if tool else None)
        return Reissued(release.name, serial, plan_unsigned([manifest], unsigned, tool, trust, published), ())
    with_it = ToolToPublish(tool.version, tool.data, signer.tool(tool.data)) if tool is not None else None
    request = PublishRequest((manifest,), with_it)
    done = publish(request, bucket, Consumer.trusting(trust), progress, single_writer=single_writer)
    return Reissued(release.name, serial, done.plan, tuple(action.key for action in done.written))


def _is_made(
    newest: VerifiedManifest,
    below: int,
    release: ManifestKey,
    reason: str,
    bucket: Bucket,
    reader: Consumer,
    signer: Signer,
    *,
    dry_run: bool,
) -> bool:
    """Tell whether the newest serial is this very reissue, made by a run that was killed and is now to be completed:
    it has the reason, says what the serial before it says, and is of the key that signs today.

    A dry run signs nothing, and takes any key in force for the one that would sign.
    """
    if below < 1 or newest.document.reason != reason:
        return False
    try:
        found = published_manifest(bucket, release.kubernetes, release.name, reader, below)
    except NotTrusted:
        return False
    if found is None or _kept(found[1]) != _kept(newest):
        return False
    if dry_run:
        return any(key.fingerprint == newest.fingerprint and key.status == "active" for key in signer.trust.keys)
    return reader.manifest(signer.manifest(newest.payload)).fingerprint == newest.fingerprint


def _beside(release: ManifestKey, serial: int, step: int, withdrawn: frozenset[str]) -> int:
    """Give the serial after this one (``step`` 1), or before it (-1), that was not withdrawn; 0 before the first."""
    serial += step
    while serial and layout.manifest(release.kubernetes, release.name, serial) in withdrawn:
        serial += step
    return serial


def _kept(manifest: VerifiedManifest) -> dict[str, Any]:
    """Give what a reissue keeps: the tool may be replaced, and is compared where it is."""
    return {key: value for key, value in manifest.content.items() if key not in _RENEWED}


def _believing(trust: Trust, fingerprint: str) -> Trust:
    """Give the trust in which this one revoked key is believed. Raises `UsageError` where it is not revoked."""
    if fingerprint not in {key.fingerprint for key in trust.keys if key.status == "revoked"}:
        raise UsageError(
            f"{visible(fingerprint)} is not listed as revoked in {trust.origin}.",
            "See `fipsmanifest keys list`; name the full fingerprint, and only where it is needed.",
        )
    return as_retired(trust, fingerprint)
