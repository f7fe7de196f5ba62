"""Publish a manifest again under the next serial: the same payload, today's signature, and why.

Where the key that signed it was revoked, what is published is believed once more only if its user says so, key by key.
The node tool that carries that key is then replaced as well: a manifest that names it would lead readers back to it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .definition import Definition
from .errors import Incomplete, NotTrusted, UsageError
from .manifest import canonical
from .node.document import parse_json
from .node.text import visible
from .node.trust import Trust
from .progress import SILENT, Progress
from .publication import Signer
from .publish.bucket import Bucket
from .publish.consumer import Consumer, SignedManifest, as_retired
from .publish.plan import Wanted, WantedManifest, WantedTool
from .publish.publisher import publish
from .publish.snapshot import published_manifest
from .tool import ToolFile

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
    """What was published."""

    serial: int
    """The new serial."""
    address: str
    """The bucket."""
    written: tuple[str, ...]
    """The keys that were written."""


def reissue(
    definition: Definition,
    reason: str,
    bucket: Bucket,
    signer: Signer,
    progress: Progress = SILENT,
    *,
    accepted: Accepted | None = None,
    single_writer: bool = False,
    now: datetime | None = None,
) -> Reissued:
    """Publish the newest serial of a release again with the next one; ``now`` dates it.

    ``accepted`` reads what a revoked key signed, and publishes today's tool with it. Raises `Incomplete` where nothing
    is published yet, `NotTrusted` where what is published does not verify, `UsageError` where the accepted key is not
    listed as revoked.
    """
    trust = signer.trust
    reader = Consumer.trusting(trust if accepted is None else _believing(trust, accepted.fingerprint))
    found = published_manifest(bucket, definition.kubernetes, definition.name, reader)
    if found is None:
        raise Incomplete(
            f"{definition.manifest_name} of {definition.kubernetes} is not in {bucket.describe()}.",
            f"Publish it first: fipsmanifest release {definition.kubernetes}.",
        )
    data, before = found
    document, tool = parse_json(before.payload), None
    if accepted is not None:
        progress.note(
            f"The revoked key {accepted.fingerprint} is believed this once: serial {before.document.serial}, signed "
            f"{before.signed_at:%Y-%m-%d %H:%M:%S %Z}, SHA-256 of the signed file {hashlib.sha256(data).hexdigest()}."
        )
        made = accepted.tool
        tool = WantedTool(made.version, made.data, signer.tool(made.data))
        document["tool"] = {"version": made.version, "sha256": made.sha256}
    serial, signed = before.document.serial, data
    if not (document == parse_json(before.payload) and _is_made(before, definition, reason, bucket, reader, signer)):
        serial += 1
        created = (now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")
        signed = signer.manifest(canonical({**document, "serial": serial, "reason": reason, "created": created}))
    manifest = WantedManifest(definition.kubernetes, definition.name, serial, signed)
    wanted, consumer = Wanted((manifest,), tool), Consumer.trusting(trust)
    publication = publish(wanted, bucket, consumer, progress, single_writer=single_writer)
    return Reissued(serial, bucket.describe(), tuple(action.key for action in publication.written))


def _is_made(
    newest: SignedManifest, definition: Definition, reason: str, bucket: Bucket, reader: Consumer, signer: Signer
) -> bool:
    """Tell whether the newest serial is this very reissue, made by a run that was killed and is now to be completed:
    it has the reason, says what the serial before it says, and is of the key that signs today."""
    serial = newest.document.serial
    if serial < 2 or newest.document.reason != reason:
        return False
    try:
        found = published_manifest(bucket, definition.kubernetes, definition.name, reader, serial - 1)
    except NotTrusted:
        return False
    if found is None or _kept(found[1]) != _kept(newest):
        return False
    return reader.manifest(signer.manifest(newest.payload)).fingerprint == newest.fingerprint


def _kept(manifest: SignedManifest) -> dict[str, Any]:
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
