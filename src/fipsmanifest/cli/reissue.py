"""``fipsmanifest reissue``."""

from __future__ import annotations

from typing import Annotated

import typer

from . import options, output
from .release import SingleWriter, plan_form, print_plan
from .select import version_of


def reissue(
    ctx: typer.Context,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Kubernetes version, such as v1.21.3.")],
    el: Annotated[int, typer.Option("--el", metavar="N", help="Enterprise Linux release.")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; consumers will read it.")],
    to: Annotated[
        str, typer.Option("--to", envvar="FIPSMANIFEST_TO", metavar="BUCKET", help="s3://name[/prefix], or a folder.")
    ],
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Which of several for one EL, such as rhel-84.")
    ] = None,
    endpoint_url: options.EndpointUrl = None,
    signing_key: options.SigningKey = None,
    accept_revoked: Annotated[
        str | None,
        typer.Option(
            "--accept-revoked",
            metavar="FPR",
            help="Believe this revoked key once more, for reading what is published now. Look at it first.",
        ),
    ] = None,
    single_writer: SingleWriter = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only plan; sign nothing, write nothing.")] = False,
    keys: options.Keys = options.KEYS,
    json: options.Json = False,
) -> None:
    """Publish the newest manifest again under the next serial, signed with today's key.

    What it needs is in the bucket: nothing is collected, and no definition is read.

    Where a revoked key signed it, --accept-revoked reads it all the same and publishes today's node tool with it.
    """
    from ..generate.tool import build_tool
    from ..publish.address import open_bucket
    from ..sign.gpg import passphrase_from_environment
    from ..trust.store import load_trust
    from ..workflows.reissue import Accepted, find_release
    from ..workflows.reissue import reissue as again
    from ..workflows.signing import Signer

    if dry_run:
        options.refuse_ignored(ctx, {"single_writer": "--single-writer"}, "with --dry-run, since nothing is published")
    signer = Signer(load_trust(str(keys)), signing_key, passphrase=passphrase_from_environment())
    bucket = open_bucket(to, endpoint_url=endpoint_url)
    accepted = None
    if accept_revoked is not None:
        accepted = Accepted(accept_revoked.replace(" ", "").upper(), build_tool(keys))
        output.say(
            f"warning: {accepted.fingerprint} is revoked, and is believed this once because --accept-revoked says so. "
            "Whoever holds it could have made what is published: compare it with what you know before anyone relies "
            "on the new serial."
        )
    release = find_release(bucket, version_of(version), el, name)
    with output.progress(options.session_of(ctx)) as progress:
        made = again(
            release, reason, bucket, signer, progress, accepted=accepted, single_writer=single_writer, dry_run=dry_run
        )
    if json:
        output.write_json(
            {
                "schema": "fipsmanifest/reissue/v1",
                "kubernetes": release.kubernetes,
                "name": release.name,
                "el": el,
                "serial": made.serial,
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
        output.write(f"{release.kubernetes} EL {el} {now} serial {made.serial} in {made.plan.address}.")
    if dry_run:
        made.plan.require_no_conflict()
