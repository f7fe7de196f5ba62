"""Cut a whole release: collect, inspect, generate, sign and publish every definition of a version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..generate.tool import ToolFile, build_tool
from ..model.definition import Definition
from ..model.diff import Difference, compare
from ..publish import layout
from ..publish.action import Action
from ..publish.bucket import Bucket
from ..publish.consumer import Consumer
from ..publish.plan import Plan, make_plan
from ..publish.public import read_back
from ..publish.publisher import publish
from ..publish.request import PublishRequest
from ..publish.snapshot import Snapshot, published_manifest, read_snapshot
from ..sign.cosign import public_keys
from ..state import lock as locks
from ..trust.document import parse_json
from ..trust.keys import Trust
from ..trust.text import utc_now
from . import signing, stages
from .signing import PreparedManifest, Signer
from .stages import Site


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a release is published, and how."""

    bucket: Bucket
    """The store."""
    public_url: str | None = None
    """The address that consumers read from; published objects are read back there."""
    single_writer: bool = False
    """There is no other publisher: a store without conditional writes is accepted."""


@dataclass(frozen=True, slots=True)
class Changes:
    """The differences between a manifest and the serial before it."""

    since: int
    """The highest lower serial that is published and verifies; 0 for none."""
    differences: tuple[Difference, ...]
    """Empty for the first."""


@dataclass(frozen=True, slots=True)
class ReleaseResult:
    """The result of a run."""

    generated: tuple[tuple[Definition, bytes], ...]
    """Each definition with the canonical bytes of its manifest."""
    signed: tuple[PreparedManifest, ...]
    """The signed manifests; empty after a dry run."""
    tool: ToolFile
    """The node tool that the manifests name."""
    plan: Plan | None
    """The plan that was carried out, or in a dry run would be; None without a destination."""
    written: tuple[Action, ...] | None
    """The objects that this run wrote; None if nothing was to be published."""

    @property
    def payloads(self) -> dict[str, bytes]:
        """The manifests by name: as signed, or as generated if not signed."""
        signed = {one.definition.name: one.payload for one in self.signed}
        return {definition.name: payload for definition, payload in self.generated} | signed


def cut_release(
    definitions: Sequence[tuple[Path, Definition]],
    site: Site,
    *,
    lock: Path | None = None,
    first_lock: bool = False,
    from_generated: bool = False,
    signer: Signer | None,
    destination: Destination | None = None,
) -> ReleaseResult:
    """Cut a release of definitions, each given with its file; ``lock`` names a lock file other than those beside them.

    ``from_generated`` takes the manifests that an earlier run generated, and reads no artifact. Without a ``signer`` it
    is a dry run, which signs nothing, pins nothing and writes to no bucket. Raises what the stages raise: `Refused` by
    policy or lock, `Conflict` with what is published, `Incomplete`, `NotTrusted`.
    """
    tool = build_tool(site.keys)
    inspector = None if from_generated else site.inspector()
    generated = []
    for path, definition in definitions:
        rule = stages.LockRule(lock or locks.path_beside(path), first=first_lock, write=signer is not None)
        if inspector is None:
            payload = stages.generated(definition, site, rule, tool)
        else:
            inspected = stages.collect_and_inspect(definition, path.parent, site, rule, inspector)
            payload = stages.generate(definition, inspected, site, tool)
        generated.append((definition, payload))
    consumer = signer.consumer if signer is not None else Consumer.trusting(site.trust(), public_keys(site.keys))
    published = _read_published(generated, tool, consumer, destination) if destination is not None else None
    if signer is None:
        plan = signing.plan_before_signing(generated, tool, consumer, published) if published is not None else None
        return ReleaseResult(tuple(generated), (), tool, plan, None)
    signed_tool = signing.prepare_tool(tool, site.work, signer, published)
    signed = tuple(signing.prepare_manifest(*one, site.work, signer, published) for one in generated)
    if published is None or destination is None:
        return ReleaseResult(tuple(generated), signed, tool, None, None)
    request = PublishRequest(tuple(one.to_publish for one in signed), signed_tool)
    publication = publish(
        request,
        destination.bucket,
        consumer,
        site.progress,
        plan=make_plan(request, published, consumer, utc_now()),
        single_writer=destination.single_writer,
    )
    if destination.public_url is not None:
        read_back(publication.plan, destination.bucket, destination.public_url, site.progress)
    return ReleaseResult(tuple(generated), signed, tool, publication.plan, publication.written)


def _read_published(
    generated: Sequence[tuple[Definition, bytes]], tool: ToolFile, consumer: Consumer, destination: Destination
) -> Snapshot:
    """Read the part of the bucket that signing and planning need, once."""
    keys = [layout.manifest(one.id) for one, _ in generated]
    return read_snapshot(destination.bucket, consumer, keys, tool.version)


def changes_since(result: ReleaseResult, bucket: Bucket, trust: Trust) -> dict[str, Changes]:
    """Compare each manifest of a result with the serial before it, by name. Raises as `published_manifest`."""
    if result.plan is None:
        return {}
    found: dict[str, Changes] = {}
    planned = {action.key for action in result.plan.actions}
    for record in result.plan.published.manifests:
        payload = result.payloads.get(record.name)
        if payload is None or record.key not in planned:
            continue
        before = None
        if record.since:
            consumer = Consumer.trusting(trust)
            before = published_manifest(bucket, record.id.release.issue(record.since), consumer)
        differences = compare(before[1].content, parse_json(payload)) if before else []
        shown = tuple(item for item in differences if item.is_shown)
        found[record.name] = Changes(record.since if before else 0, shown)
    return found
