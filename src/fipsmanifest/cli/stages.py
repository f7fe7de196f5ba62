"""``fipsmanifest collect``, ``generate``, ``sign`` and ``publish``: the single stages over the work directory."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import Conflict, UsageError
from ..generate.tool import build_tool
from ..publish import bundles, layout, publisher
from ..publish import probe as probing
from ..publish.address import open_bucket
from ..publish.consumer import Consumer
from ..publish.public import read_back, require_address
from ..publish.request import ManifestToPublish, PublishRequest, ToolToPublish
from ..sign.cosign import public_keys
from ..state import lock as locks
from ..state.workspace import Workspace, read
from ..trust.store import load_trust
from ..workflows import stages
from ..workflows.signing import prepare_manifest, prepare_tool
from . import completion, cosign, options, output, progressbars
from .release import DryRun, SingleWriter, plan_form, print_plan
from .select import chosen
from .site import opened


def collect(
    ctx: typer.Context,
    version: options.Version,
    el: options.El = None,
    mirror: options.Mirror = None,
    lock: options.LockFile = None,
    first_lock: options.FirstLock = False,
    definitions: options.Definitions = options.DEFINITIONS,
    keys: options.Keys = options.KEYS,
    work: options.Work = options.WORK,
    cache: options.Cache = None,
    ca_bundle: options.CaBundle = None,
    allow_http: options.AllowHttp = False,
    json: options.Json = False,
) -> None:
    """Download and authenticate the artifacts that the definitions name."""
    listed: list[dict[str, Any]] = []
    with opened(ctx, work, keys, cache, mirror=mirror, ca_bundle=ca_bundle, allow_http=allow_http) as site:
        for path, definition in chosen(definitions, version, el):
            rule = stages.LockRule(lock or locks.path_beside(path), first=first_lock)
            for artifact in stages.collect(definition, path.parent, site, rule):
                listed.append(
                    {
                        "definition": str(definition.id.release),
                        "kind": artifact.kind,
                        "name": artifact.name,
                        "address": artifact.address,
                        "sha256": artifact.sha256,
                        "size": artifact.size,
                        "signed_by": artifact.signed_by,
                        "path": str(artifact.path),
                    }
                )
    if json:
        output.write_json({"schema": "fipsmanifest/collect/v1", "artifacts": listed})
        return
    output.table(
        ["definition", "kind", "name", "sha256", "signed by"],
        [[i["definition"], i["kind"], i["name"], i["sha256"], i["signed_by"] or "-"] for i in listed],
    )


def generate(
    ctx: typer.Context,
    version: options.Version,
    el: options.El = None,
    definitions: options.Definitions = options.DEFINITIONS,
    keys: options.Keys = options.KEYS,
    work: options.Work = options.WORK,
    cache: options.Cache = None,
    modules: options.Modules = None,
    references: options.References = None,
    json: options.Json = False,
) -> None:
    """Inspect the collected artifacts and write the manifests.

    Ends with 5 if a component does not meet its requirement.
    """
    listed = []
    with opened(ctx, work, keys, cache, modules=modules, references=references) as site:
        tool, inspector = build_tool(keys), site.inspector()
        for _, definition in chosen(definitions, version, el):
            inspected = stages.inspect_collected(definition, site, inspector)
            payload = stages.generate(definition, inspected, site, tool)
            listed.append(
                (str(definition.id.release), site.work.manifest(definition), hashlib.sha256(payload).hexdigest())
            )
    _print_files("fipsmanifest/generate/v1", listed, json=json)


def sign(
    version: options.Version,
    el: options.El = None,
    signing_key: options.SigningKey = None,
    cosign_key: options.CosignKey = None,
    definitions: options.Definitions = options.DEFINITIONS,
    keys: options.Keys = options.KEYS,
    work: options.Work = options.WORK,
    json: options.Json = False,
) -> None:
    """Sign the generated manifests and the node tool, and verify the signatures.

    With --cosign-key, a Sigstore bundle is written beside each signed file, for 'cosign verify-blob'.
    """
    workspace = Workspace(work)
    signer = cosign.signer(keys, signing_key, cosign_key)
    listed = []
    for _, definition in chosen(definitions, version, el):
        payload = read(workspace.manifest(definition), f"fipsmanifest generate {version}")
        signed = prepare_manifest(definition, payload, workspace, signer)
        digest = hashlib.sha256(signed.signed).hexdigest()
        of = str(definition.id.release)
        listed.append((of, workspace.signed(definition), digest))
        listed += _bundle(of, workspace.sigstore(definition), signed.sigstore)
    tool = build_tool(keys)
    signed_tool = prepare_tool(tool, workspace, signer)
    listed.append((f"tool {tool.version}", workspace.tool / layout.TOOL, tool.sha256))
    listed += _bundle(f"tool {tool.version}", workspace.tool / layout.sigstore(layout.TOOL), signed_tool.sigstore)
    _print_files("fipsmanifest/sign/v1", listed, json=json)


def _bundle(of: str, path: Path, data: bytes | None) -> list[tuple[str, Path, str]]:
    return [] if data is None else [(f"{of} for cosign", path, hashlib.sha256(data).hexdigest())]


def publish(
    ctx: typer.Context,
    version: Annotated[
        str | None,
        typer.Argument(
            metavar="VERSION",
            help="Kubernetes version, for example v1.21.3.",
            show_default=False,
            autocompletion=completion.versions,
        ),
    ] = None,
    el: options.El = None,
    to: options.To = None,
    endpoint_url: options.EndpointUrl = None,
    dry_run: DryRun = False,
    probe: Annotated[
        bool, typer.Option("--probe", help="Only test which conditional writes the store enforces, with a test object.")
    ] = False,
    withdraw: Annotated[
        list[str] | None,
        typer.Option(
            "--withdraw",
            metavar="KEY",
            help="Instead of a version: record that this missing object was removed on purpose. Repeatable.",
        ),
    ] = None,
    public_url: options.PublicUrl = None,
    single_writer: SingleWriter = False,
    definitions: options.Definitions = options.DEFINITIONS,
    keys: options.Keys = options.KEYS,
    work: options.Work = options.WORK,
    json: options.Json = False,
) -> None:
    """Publish the signed manifests and the node tool.

    Plans first, then writes the objects that never change, reads them back, and moves the pointers and the index last.
    """
    if to is None:
        raise UsageError("--to is missing: it names the bucket.", "Add --to s3://NAME[/PREFIX] or --to DIRECTORY.")
    bucket = open_bucket(to, endpoint_url=endpoint_url)
    if probe:
        names = ("version", "el", "dry_run", "withdraw", "public_url", "single_writer", "definitions", "keys", "work")
        as_given = {name: "VERSION" if name == "version" else "--" + name.replace("_", "-") for name in names}
        options.refuse_ignored(ctx, as_given, "with --probe: nothing is published")
        _probe(bucket, json=json)
        return
    if dry_run:
        ignored = {"public_url": "--public-url", "single_writer": "--single-writer"}
        options.refuse_ignored(ctx, ignored, "with --dry-run: nothing is published")
    if public_url is not None:
        require_address(public_url)
    consumer = Consumer.trusting(load_trust(str(keys)), public_keys(keys))
    if withdraw:
        ignored = {"version": "VERSION", "el": "--el", "definitions": "--definitions", "work": "--work"}
        options.refuse_ignored(ctx, ignored, "with --withdraw: only the index is written")
        what = PublishRequest(withdrawn=tuple(withdraw))
    elif version is not None:
        what = _signed(version, el, definitions, work, consumer)
    else:
        raise UsageError("The argument VERSION is missing.", "Add the Kubernetes version, for example v1.21.3.")
    written: list[str] = []
    if dry_run:
        plan = publisher.plan_publication(what, bucket, consumer)
    else:
        with progressbars.progress(options.session_of(ctx)) as progress:
            publication = publisher.publish(what, bucket, consumer, progress, single_writer=single_writer)
            if public_url is not None:
                read_back(publication.plan, bucket, public_url, progress)
        plan, written = publication.plan, [action.key for action in publication.written]
    if json:
        output.write_json(
            {
                "schema": "fipsmanifest/publish/v1",
                "published_to": None if dry_run else plan.address,
                "plan": plan_form(plan),
                "conflicts": [action.detail for action in plan.conflicts],
                "written": written,
            }
        )
    else:
        print_plan(plan)
    if dry_run:
        plan.require_no_conflict()


def _signed(version: str, el: list[int] | None, definitions: Path, work: Path, consumer: Consumer) -> PublishRequest:
    """Return what ``sign`` stored in the work directory."""
    workspace, again = Workspace(work), f"fipsmanifest sign {version}"
    manifests = tuple(
        ManifestToPublish(
            definition.id,
            signed := read(workspace.signed(definition), again),
            _kept_bundle(workspace.sigstore(definition), signed, consumer),
        )
        for _, definition in chosen(definitions, version, el)
    )
    data, sidecar, signature = (read(workspace.tool / f"dkp-fips-tool{end}", again) for end in ("", ".sha256", ".asc"))
    bundle = _kept_bundle(workspace.tool / layout.sigstore(layout.TOOL), data, consumer)
    return PublishRequest(manifests, ToolToPublish(layout.read_sidecar(sidecar).version, data, signature, bundle))


def _kept_bundle(path: Path, signed: bytes, consumer: Consumer) -> bytes | None:
    """Return the Sigstore bundle that ``sign`` wrote, if any. Raises `NotTrusted` if it does not hold."""
    if not path.is_file():
        return None
    data = path.read_bytes()
    bundles.check(data, hashlib.sha256(signed).hexdigest(), consumer)
    return data


def _probe(bucket: probing.Scratch, *, json: bool) -> None:
    found = probing.probe(bucket)
    if json:
        output.write_json({"schema": "fipsmanifest/probe/v1", **found.document()})
    else:
        words = {True: "enforced", False: "NOT enforced", None: "not tested"}
        rows = [[words[answer.holds], answer.name, answer.meaning] for answer in found.answers]
        output.table(["store", "name", "meaning"], rows)
    if found.failing:
        raise Conflict(
            f"{found.address} does not enforce {', '.join(answer.name for answer in found.failing)}: two publishers "
            "could overwrite each other.",
            "Use another store, or publish with --single-writer if there is no other publisher.",
            reason="no-conditions",
        )


def _print_files(schema: str, listed: list[tuple[str, Any, str]], *, json: bool) -> None:
    if json:
        files = [{"of": name, "path": str(path), "sha256": digest} for name, path, digest in listed]
        output.write_json({"schema": schema, "files": files})
        return
    output.table(["of", "sha256", "path"], [[name, digest, str(path)] for name, path, digest in listed])
