"""``fipsmanifest reissue``."""

from __future__ import annotations

from typing import Annotated

import typer

from . import options, output
from .release import SingleWriter
from .select import one_definition


def reissue(
    ctx: typer.Context,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Kubernetes version, such as v1.21.3.")],
    el: Annotated[int, typer.Option("--el", metavar="N", help="Enterprise Linux release.")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; consumers will read it.")],
    to: Annotated[
        str, typer.Option("--to", envvar="FIPSMANIFEST_TO", metavar="BUCKET", help="s3://name[/prefix], or a folder.")
    ],
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
    definitions: options.Definitions = options.DEFINITIONS,
    keys: options.Keys = options.KEYS,
    json: options.Json = False,
) -> None:
    """Publish the newest manifest again under the next serial, signed with today's key; nothing is collected.

    Where a revoked key signed it, --accept-revoked reads it all the same and publishes today's node tool with it.
    """
    from ..node.trust import load_trust
    from ..publication import Signer
    from ..publish.address import open_bucket
    from ..reissue import Accepted
    from ..reissue import reissue as again
    from ..sign.gpg import passphrase_from_environment
    from ..tool import build_tool

    definition = one_definition(definitions, version, el)
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
    with output.progress(options.session_of(ctx)) as progress:
        made = again(definition, reason, bucket, signer, progress, accepted=accepted, single_writer=single_writer)
    if json:
        output.write_json(
            {
                "schema": "fipsmanifest/reissue/v1",
                "kubernetes": definition.kubernetes,
                "el": definition.el,
                "serial": made.serial,
                "reason": reason,
                "published_to": made.address,
                "accepted_revoked": accepted.fingerprint if accepted else None,
                "written": list(made.written),
            }
        )
    else:
        output.write(f"{definition.kubernetes} EL {definition.el} is now serial {made.serial} in {made.address}.")
