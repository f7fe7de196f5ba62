"""``fipsmanifest reissue``."""

from __future__ import annotations

from typing import Annotated

import typer

from ..generate.tool import build_tool
from ..publish.address import open_bucket
from ..workflows import reissue as workflow
from . import cosign, options, output, progressbars
from .release import SingleWriter, plan_form, print_plan
from .select import version_of


def reissue(
    ctx: typer.Context,
    version: options.Version,
    el: options.OneEl,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Reason for the new serial; it is shown to consumers.")
    ],
    to: Annotated[
        str,
        typer.Option(
            "--to", envvar="FIPSMANIFEST_TO", metavar="BUCKET", help="The bucket: s3://NAME[/PREFIX], or a directory."
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="Name of the manifest, if an EL has several: for example rhel-84."),
    ] = None,
    endpoint_url: options.EndpointUrl = None,
    signing_key: options.SigningKey = None,
    cosign_key: options.CosignKey = None,
    accept_revoked: Annotated[
        str | None,
        typer.Option(
            "--accept-revoked",
            metavar="FPR",
            help="Accept the published manifest although this revoked key signed it. Review the manifest first.",
        ),
    ] = None,
    single_writer: SingleWriter = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only plan: sign and write nothing.")] = False,
    keys: options.Keys = options.KEYS,
    json: options.Json = False,
) -> None:
    """Publish the newest manifest under the next serial, signed with today's key.

    The content is taken from the bucket: nothing is collected, and no definition is read.

    If a revoked key signed the published manifest, --accept-revoked accepts it, and publishes today's node tool.
    """
    if dry_run:
        ignored = {"single_writer": "--single-writer", "cosign_key": "--cosign-key"}
        options.refuse_ignored(ctx, ignored, "with --dry-run: nothing is published")
    signer = cosign.signer(keys, signing_key, None if dry_run else cosign_key)
    bucket = open_bucket(to, endpoint_url=endpoint_url)
    accepted = None
    if accept_revoked is not None:
        accepted = workflow.Accepted(accept_revoked.replace(" ", "").upper(), build_tool(keys))
        output.say(
            f"warning: The key {accepted.fingerprint} is revoked, and is accepted because of --accept-revoked. Its "
            "holder may have made the published manifest: review the content before anyone relies on the new serial."
        )
    release = workflow.find_release(bucket, version_of(version), el, name)
    with progressbars.progress(options.session_of(ctx)) as progress:
        made = workflow.reissue(
            release, reason, bucket, signer, progress, accepted=accepted, single_writer=single_writer, dry_run=dry_run
        )
    if json:
        output.write_json(
            {
                "schema": "fipsmanifest/reissue/v1",
                "kubernetes": release.kubernetes,
                "name": release.name,
                "el": el,
                "serial": made.id.serial,
                "reason": reason,
                "published_to": None if dry_run else made.plan.address,
                "accepted_revoked": accepted.fingerprint if accepted else None,
                "plan": plan_form(made.plan),
                "written": list(made.written),
            }
        )
    else:
        if dry_run:
            print_plan(made.plan)
        now = "would become" if dry_run else "is now"
        output.write(f"{release.kubernetes} EL {el} {now} serial {made.id.serial} in {made.plan.address}.")
    if dry_run:
        made.plan.require_no_conflict()
