"""``fipsmanifest release``."""

from __future__ import annotations

import hashlib
import json as parser
from pathlib import Path
from typing import Annotated, Any

import typer

from ..model.identity import ReleaseId
from ..publish import layout
from ..publish.address import open_bucket
from ..publish.plan import Plan
from ..publish.public import require_address
from ..state.workspace import Workspace
from ..workflows.release import Destination, ReleaseResult, changes_since, cut_release
from . import cosign, options, output
from . import summary as summaries
from .columns import Column
from .select import chosen
from .site import opened

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only plan: sign nothing, and write nothing to the bucket.")]
SingleWriter = Annotated[
    bool,
    typer.Option(
        "--single-writer",
        help="Accept a store without conditional writes. Use this only if there is no other publisher.",
    ),
]
Generated = Annotated[
    bool,
    typer.Option(
        "--generated",
        help="Use the manifests that an earlier run ('generate', or with --dry-run) stored in --work, after a check "
        "against definition and lock; collect and inspect nothing.",
    ),
]
Summary = Annotated[
    Path | None,
    typer.Option(
        "--summary",
        metavar="FILE",
        help="Append to this file, as Markdown, the result and the changes since the last serial.",
    ),
]


def release(
    ctx: typer.Context,
    version: options.Version,
    el: options.El = None,
    to: options.To = None,
    endpoint_url: options.EndpointUrl = None,
    public_url: options.PublicUrl = None,
    signing_key: options.SigningKey = None,
    cosign_key: options.CosignKey = None,
    mirror: options.Mirror = None,
    lock: options.LockFile = None,
    first_lock: options.FirstLock = False,
    dry_run: DryRun = False,
    single_writer: SingleWriter = False,
    definitions: options.Definitions = options.DEFINITIONS,
    keys: options.Keys = options.KEYS,
    work: options.Work = options.WORK,
    cache: options.Cache = None,
    modules: options.Modules = None,
    references: options.References = None,
    ca_bundle: options.CaBundle = None,
    allow_http: options.AllowHttp = False,
    generated: Generated = False,
    summary: Summary = None,
    json: options.Json = False,
) -> None:
    """Make a release: collect, inspect, generate, sign, and with --to publish.

    Includes every EL for which the version has a definition, or those given with --el. After an interruption, run it
    again: finished steps are reused, and objects that are published already are neither signed nor written again.
    """
    _refuse_ignored(ctx, published=to is not None, dry_run=dry_run, generated=generated)
    if public_url is not None:
        require_address(public_url)
    if summary is not None:
        summaries.require_file(summary)
    found = chosen(definitions, version, el)
    with opened(
        ctx,
        work,
        keys,
        cache,
        mirror=mirror,
        modules=modules,
        references=references,
        ca_bundle=ca_bundle,
        allow_http=allow_http,
    ) as site:
        # Bucket and key are needed last and opened first, so that errors are reported before anything is downloaded.
        destination = None
        if to is not None:
            destination = Destination(open_bucket(to, endpoint_url=endpoint_url), public_url, single_writer)
        signer = None
        if not dry_run:
            signer = cosign.signer(keys, signing_key, cosign_key)
        result = cut_release(
            found,
            site,
            lock=lock,
            first_lock=first_lock,
            from_generated=generated,
            signer=signer,
            destination=destination,
        )
    report = _report(result, site.work)
    if json:
        output.write_json(report)
    else:
        _print(report)
    if summary is not None:
        changes = changes_since(result, destination.bucket, site.trust()) if destination is not None else {}
        summaries.append(summary, report, changes)
    if dry_run and result.plan is not None:
        result.plan.require_no_conflict()


def _refuse_ignored(ctx: typer.Context, *, published: bool, dry_run: bool, generated: bool) -> None:
    if not published:
        because = "without --to: nothing is published"
        ignored = {"endpoint_url": "--endpoint-url", "public_url": "--public-url", "single_writer": "--single-writer"}
        options.refuse_ignored(ctx, ignored, because)
    if generated:
        ignored = {"mirror": "--mirror", "modules": "--modules", "ca_bundle": "--ca-bundle", "cache": "--cache"}
        ignored |= {"allow_http": "--allow-http", "references": "--references"}
        options.refuse_ignored(ctx, ignored, "with --generated: nothing is collected")
    if dry_run:
        ignored = {"signing_key": "--signing-key", "cosign_key": "--cosign-key"}
        ignored |= {"public_url": "--public-url", "single_writer": "--single-writer"}
        options.refuse_ignored(ctx, ignored, "with --dry-run: nothing is signed or published")


def plan_form(plan: Plan) -> list[dict[str, Any]]:
    """Return a plan as JSON."""
    return [
        {
            "action": action.kind.value,
            "key": action.key,
            "sha256": action.sha256 if action.final else None,
            "detail": action.detail,
        }
        for action in plan.actions
    ]


#: A conflict is an error, too, which has the whole sentence.
PLAN = (Column("action", 8), Column("object", 40, middle=True), Column("detail", 20, rank=1))


def print_plan(plan: Plan) -> None:
    """Print a plan as a table."""
    output.table(PLAN, [[action.kind.value, action.key, action.detail] for action in plan.actions])
    for sentence in plan.left_out:
        output.say(f"warning: {sentence}")


def _report(result: ReleaseResult, work: Workspace) -> dict[str, Any]:

    signed = {item.definition.name: item for item in result.signed}
    payloads = result.payloads
    listed = []
    for definition, _ in result.generated:
        payload = payloads[definition.name]
        entry: dict[str, Any] = {
            "name": definition.name,
            "kubernetes": definition.kubernetes,
            "el": definition.el,
            "serial": definition.serial,
            "path": str(work.manifest(definition)),
            "sha256": hashlib.sha256(payload).hexdigest(),
            "components": parser.loads(payload)["components"],
        }
        if (item := signed.get(definition.name)) is not None:
            entry |= {
                "signed": str(work.signed(definition)),
                "signed_sha256": hashlib.sha256(item.signed).hexdigest(),
                "signature": item.made,
                "sigstore": str(work.sigstore(definition)) if item.sigstore else None,
            }
            if item.note:
                entry["note"] = item.note
        listed.append(entry)
    plan, written = result.plan, result.written
    report: dict[str, Any] = {
        "schema": "fipsmanifest/release/v1",
        "manifests": listed,
        "tool": {"version": result.tool.version, "sha256": result.tool.sha256},
        "published_to": plan.address if plan is not None and written is not None else None,
    }
    if plan is not None:
        _note_newer(listed, plan)
        report["plan"] = plan_form(plan)
        report["conflicts"] = [action.detail for action in plan.conflicts]
    if plan is not None and written is not None:
        for entry in listed:
            release = _release(entry)
            keys = (layout.manifest(release.issue(entry["serial"])), layout.pointer(release))
            entry["addresses"] = [f"{plan.address}/{key}" for key in keys]
        report["written"] = [action.key for action in written]
    return report


def _note_newer(listed: list[dict[str, Any]], plan: Plan) -> None:
    """Add a note to each manifest whose pointer leads to a higher serial."""
    for entry in listed:
        serials = [one.serial for one in plan.published.manifests if one.id.release == _release(entry)]
        newest = max(serials, default=0)
        if newest > entry["serial"]:
            notes = (entry.get("note"), f"serial {newest} is published and is the current one")
            entry |= {"newest_serial": newest, "note": "; ".join(filter(None, notes))}


def _release(entry: dict[str, Any]) -> ReleaseId:
    return ReleaseId(entry["kubernetes"], entry["name"])


def _print(report: dict[str, Any]) -> None:
    for entry in report["manifests"]:
        output.write(f"{entry['kubernetes']} EL {entry['el']}  {entry['name']}  serial {entry['serial']}")
        for component in entry["components"]:
            reason = f"  ({component['reason']})" if "reason" in component else ""
            output.write(f"  {component['verdict']:<12} {component['name']} ({component['architecture']}){reason}")
        output.write(f"  manifest  {entry['path']}  sha256 {entry['sha256']}")
        if "signed" in entry:
            output.write(f"  signed    {entry['signed']}  ({entry['signature']})")
        if entry.get("sigstore"):
            output.write(f"  cosign    {entry['sigstore']}")
        if "note" in entry:
            output.write(f"  note      {entry['note']}")
    output.write(f"node tool {report['tool']['version']}  sha256 {report['tool']['sha256']}")
    if "plan" in report:
        output.write()
        output.table(PLAN, [[i["action"], i["key"], i["detail"]] for i in report["plan"]])
    if report["published_to"]:
        count = len(report["written"])
        output.write(f"Published to {report['published_to']}: {count} objects written.")
    elif "plan" not in report:
        output.write("Not published: --to was not given.")
