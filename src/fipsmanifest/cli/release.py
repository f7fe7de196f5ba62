"""``fipsmanifest release``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UsageError
from . import options, output
from .select import chosen
from .site import opened

if TYPE_CHECKING:
    from ..definition import Definition
    from ..publication import SignedManifest, Signer
    from ..publish.bucket import Bucket
    from ..publish.plan import Plan
    from ..publish.publisher import Publication
    from ..release import Site
    from ..tool import ToolFile
    from .summary import Changes

DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Collect, generate and plan; sign nothing, write nothing to the bucket.")
]
SingleWriter = Annotated[
    bool,
    typer.Option("--single-writer", help="Nobody else publishes: accept a store that ignores conditional writes."),
]


Generated = Annotated[
    bool,
    typer.Option(
        "--generated",
        help="Collect and inspect nothing: take the manifests that an earlier run, with --dry-run or 'generate', left "
        "in --work, and check them against definition and lock.",
    ),
]
Summary = Annotated[
    Path | None,
    typer.Option(
        "--summary", metavar="FILE", help="Append, as Markdown, what was done and what changed since the last serial."
    ),
]


def release(
    ctx: typer.Context,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Kubernetes version, such as v1.21.3.")],
    el: options.El = None,
    to: options.To = None,
    endpoint_url: options.EndpointUrl = None,
    public_url: options.PublicUrl = None,
    signing_key: options.SigningKey = None,
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
    ca_bundle: options.CaBundle = None,
    allow_http: options.AllowHttp = False,
    generated: Generated = False,
    summary: Summary = None,
    json: options.Json = False,
) -> None:
    """Cut a release: collect, inspect, generate, sign, and with --to publish.

    Every EL that the version has a definition for, unless --el names some. Run it again after an interruption, or
    tonight: it goes on where it was, and what is published already is neither signed nor sent again.
    """
    _refuse_ignored(ctx, published=to is not None, dry_run=dry_run, generated=generated)
    if public_url is not None:
        from ..publish.public import require_address

        require_address(public_url)
    if summary is not None:
        from . import summary as summaries

        summaries.require_file(summary)
    found = chosen(definitions, version, el)
    with opened(
        ctx, work, keys, cache, mirror=mirror, modules=modules, ca_bundle=ca_bundle, allow_http=allow_http
    ) as site:
        cut = _Cut(site, lock, first_lock=first_lock, dry_run=dry_run, generated=generated)
        cut.begin(to, endpoint_url, signing_key)
        payloads = {definition.name: (definition, cut.generate(path, definition)) for path, definition in found}
        plan = publication = None
        manifests: list[SignedManifest] = []
        if dry_run:
            plan = cut.plan(payloads)
        else:
            manifests, publication = cut.sign_and_publish(payloads, public_url, single_writer=single_writer)
            plan = publication.plan if publication else None
    report = _report(site, payloads, manifests, cut.tool, plan, publication)
    if json:
        output.write_json(report)
    else:
        _tell(report)
    if summary is not None:
        summaries.append(summary, report, cut.changes(plan, _bytes(payloads, manifests)))
    if dry_run and plan is not None:
        plan.require_no_conflict()


def _refuse_ignored(ctx: typer.Context, *, published: bool, dry_run: bool, generated: bool) -> None:
    if not published:
        because = "without --to, since nothing is published"
        ignored = {"endpoint_url": "--endpoint-url", "public_url": "--public-url", "single_writer": "--single-writer"}
        options.refuse_ignored(ctx, ignored, because)
    if generated:
        ignored = {"mirror": "--mirror", "modules": "--modules", "ca_bundle": "--ca-bundle", "cache": "--cache"}
        ignored["allow_http"] = "--allow-http"
        options.refuse_ignored(ctx, ignored, "with --generated, since nothing is collected")
    if dry_run:
        ignored = {"signing_key": "--signing-key", "public_url": "--public-url", "single_writer": "--single-writer"}
        options.refuse_ignored(ctx, ignored, "with --dry-run, since nothing is signed or published")


class _Cut:
    """One run of the whole way."""

    def __init__(self, site: Site, lock: Path | None, *, first_lock: bool, dry_run: bool, generated: bool) -> None:
        from ..tool import build_tool

        self._site = site
        self._lock = lock
        self._first_lock = first_lock
        self._dry_run = dry_run
        self._bucket: Bucket | None = None
        self.tool: ToolFile = build_tool(site.keys)
        self._inspector = None if generated else site.inspector()
        self._signer: Signer | None = None

    def begin(self, to: str | None, endpoint_url: str | None, signing_key: str | None) -> None:
        """Open what will be needed at the end, so that what is missing is said before anything is fetched."""
        from ..publication import Signer
        from ..sign.gpg import passphrase_from_environment

        if to is not None:
            from ..publish.address import open_bucket
            from ..publish.remembering import Remembering

            self._bucket = Remembering(open_bucket(to, endpoint_url=endpoint_url))
        if not self._dry_run:
            self._signer = Signer(self._site.trust(), signing_key, passphrase=passphrase_from_environment())

    def generate(self, path: Path, definition: Definition) -> bytes:
        """Return one definition's manifest: collect, inspect and generate it, or take the one that was generated."""
        from .. import lock as locks
        from .. import release as stages

        rule = stages.LockRule(self._lock or locks.path_beside(path), first=self._first_lock, write=not self._dry_run)
        if self._inspector is None:
            return stages.generated(definition, self._site, rule, self.tool)
        inspected = stages.collect_and_inspect(definition, path.parent, self._site, rule, self._inspector)
        return stages.generate(definition, inspected, self._site, self.tool)

    def plan(self, payloads: dict[str, tuple[Definition, bytes]]) -> Plan | None:
        """Say what publishing would do."""
        from ..publication import dry_plan

        if self._bucket is None:
            return None
        return dry_plan(payloads, self.tool, self._site.trust(), self._bucket)

    def changes(self, plan: Plan | None, payloads: dict[str, bytes]) -> dict[str, Changes]:
        """Say what differs from the serials before, where there is a bucket that holds them."""
        from .summary import changes

        if plan is None or self._bucket is None:
            return {}
        return changes(plan, payloads, self._bucket, self._site.trust())

    def sign_and_publish(
        self, payloads: dict[str, tuple[Definition, bytes]], public_url: str | None, *, single_writer: bool
    ) -> tuple[list[SignedManifest], Publication | None]:
        """Sign what is not published, and publish where there is a bucket."""
        from ..publication import sign_manifest, sign_tool, wanted
        from ..publish.consumer import Consumer
        from ..publish.public import read_back
        from ..publish.publisher import publish

        if self._signer is None:
            raise UsageError("A dry run signs nothing.")
        tool = sign_tool(self.tool, self._site.work, self._signer, self._bucket)
        manifests = [
            sign_manifest(definition, payload, self._site.work, self._signer, self._bucket)
            for definition, payload in payloads.values()
        ]
        if self._bucket is None:
            return manifests, None
        publication = publish(
            wanted(manifests, tool),
            self._bucket,
            Consumer.trusting(self._signer.trust),
            self._site.progress,
            single_writer=single_writer,
        )
        if public_url is not None:
            read_back(publication.plan, self._bucket, public_url, self._site.progress)
        return manifests, publication


def _bytes(payloads: dict[str, tuple[Definition, bytes]], manifests: list[SignedManifest]) -> dict[str, bytes]:
    """Give the manifests by name: what stands published, or was generated."""
    generated = {name: payload for name, (_, payload) in payloads.items()}
    return generated | {item.definition.name: item.payload for item in manifests}


def plan_form(plan: Plan) -> list[dict[str, Any]]:
    """Give a plan as JSON."""
    return [
        {
            "action": action.kind.value,
            "key": action.key,
            "sha256": action.sha256 if action.final else None,
            "detail": action.detail,
        }
        for action in plan.actions
    ]


def tell_plan(plan: Plan) -> None:
    """Show a plan to a person."""
    output.table(
        ["action", "object", "detail"], [[action.kind.value, action.key, action.detail] for action in plan.actions]
    )
    for sentence in plan.left_out:
        output.say(f"warning: {sentence}")


def _report(
    site: Site,
    payloads: dict[str, tuple[Definition, bytes]],
    manifests: list[SignedManifest],
    tool: ToolFile,
    plan: Plan | None,
    publication: Publication | None,
) -> dict[str, Any]:
    import hashlib
    import json as parser

    from ..publish import layout

    signed = {item.definition.name: item for item in manifests}
    listed = []
    for name, (definition, payload) in payloads.items():
        entry: dict[str, Any] = {
            "name": name,
            "kubernetes": definition.kubernetes,
            "el": definition.el,
            "serial": definition.serial,
            "path": str(site.work.manifest(definition)),
            "sha256": hashlib.sha256(payload).hexdigest(),
            "components": parser.loads(payload)["components"],
        }
        if name in signed:
            item = signed[name]
            entry |= {
                "sha256": hashlib.sha256(item.payload).hexdigest(),
                "components": parser.loads(item.payload)["components"],
                "signed": str(site.work.signed(definition)),
                "signed_sha256": hashlib.sha256(item.signed).hexdigest(),
                "signature": item.made,
            }
            if item.note:
                entry["note"] = item.note
        listed.append(entry)
    report: dict[str, Any] = {
        "schema": "fipsmanifest/release/v1",
        "manifests": listed,
        "tool": {"version": tool.version, "sha256": tool.sha256},
        "published_to": plan.address if plan and publication else None,
    }
    if plan is not None:
        _note_newer(listed, plan)
        report["plan"] = plan_form(plan)
        report["conflicts"] = [action.detail for action in plan.conflicts]
    if publication is not None:
        for entry in listed:
            pointer = layout.manifest(entry["kubernetes"], entry["name"])
            entry["addresses"] = [
                f"{publication.plan.address}/{key}"
                for key in (layout.manifest(entry["kubernetes"], entry["name"], entry["serial"]), pointer)
            ]
        report["written"] = [action.key for action in publication.written]
    return report


def _note_newer(listed: list[dict[str, Any]], plan: Plan) -> None:
    """Say of each manifest whether readers of its well-known address get a higher serial."""
    from ..publish import index, layout

    contents = next(action.data for action in plan.actions if action.key == layout.INDEX_JSON)
    for entry in listed:
        newest = max(
            (
                record.serial
                for record in index.read(contents).manifests
                if (record.kubernetes, record.name) == (entry["kubernetes"], entry["name"])
            ),
            default=0,
        )
        if newest > entry["serial"]:
            notes = (entry.get("note"), f"serial {newest} is published, and is what readers get")
            entry |= {"newest_serial": newest, "note": "; ".join(filter(None, notes))}


def _tell(report: dict[str, Any]) -> None:
    for entry in report["manifests"]:
        output.write(f"{entry['kubernetes']} EL {entry['el']}  {entry['name']}  serial {entry['serial']}")
        for component in entry["components"]:
            reason = f"  ({component['reason']})" if "reason" in component else ""
            output.write(f"  {component['verdict']:<12} {component['name']} ({component['architecture']}){reason}")
        output.write(f"  manifest  {entry['path']}  sha256 {entry['sha256']}")
        if "signed" in entry:
            output.write(f"  signed    {entry['signed']}  ({entry['signature']})")
        if "note" in entry:
            output.write(f"  note      {entry['note']}")
    output.write(f"node tool {report['tool']['version']}  sha256 {report['tool']['sha256']}")
    if "plan" in report:
        output.write()
        output.table(["action", "object", "detail"], [[i["action"], i["key"], i["detail"]] for i in report["plan"]])
    if report["published_to"]:
        count = len(report["written"])
        output.write(f"Published to {report['published_to']}: {count} objects written.")
    elif "plan" not in report:
        output.write("Nothing is published without --to.")
