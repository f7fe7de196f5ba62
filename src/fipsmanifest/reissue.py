"""Publish a manifest again under the next serial: the same payload, today's signature, and why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from .definition import Definition
from .errors import Incomplete
from .manifest import canonical
from .node.document import parse_json
from .progress import SILENT, Progress
from .publication import Signer
from .publish.bucket import Bucket
from .publish.consumer import Consumer
from .publish.plan import Wanted, WantedManifest
from .publish.publisher import publish
from .publish.snapshot import published_manifest


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
    single_writer: bool = False,
    now: datetime | None = None,
) -> Reissued:
    """Publish the newest serial of a release again with the next one; ``now`` dates it.

    Raises `Incomplete` where nothing is published yet, `NotTrusted` where what is published does not verify.
    """
    consumer = Consumer.trusting(signer.trust)
    found = published_manifest(bucket, definition.kubernetes, definition.name, consumer)
    if found is None:
        raise Incomplete(
            f"{definition.manifest_name} of {definition.kubernetes} is not in {bucket.describe()}.",
            f"Publish it first: fipsmanifest release {definition.kubernetes}.",
        )
    document = parse_json(found[1].payload)
    serial = found[1].document.serial + 1
    created = (now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")
    payload = canonical({**document, "serial": serial, "reason": reason, "created": created})
    wanted = WantedManifest(definition.kubernetes, definition.name, serial, signer.manifest(payload))
    publication = publish(Wanted((wanted,)), bucket, consumer, progress, single_writer=single_writer)
    return Reissued(serial, bucket.describe(), tuple(action.key for action in publication.written))
