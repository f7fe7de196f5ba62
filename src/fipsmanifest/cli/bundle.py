"""``fipsmanifest bundle``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options, output
from .select import one_definition

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, suggest_commands=False, help="Carry a release across an air gap."
)


@app.command()
def export(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Kubernetes version, such as v1.21.3.")],
    el: Annotated[int, typer.Option("--el", metavar="N", help="Enterprise Linux release.")],
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="BUCKET", help="Take what is published there.  [default: the work folder]"),
    ] = None,
    endpoint_url: options.EndpointUrl = None,
    to: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to write it.  [default: fips-VERSION-NAME.tar]"),
    ] = None,
    definitions: options.Definitions = options.DEFINITIONS,
    keys: options.Keys = options.KEYS,
    work: options.Work = options.WORK,
    json: options.Json = False,
) -> None:
    """Write tool, signature, manifest, certificates and instructions into one tar; all of it verified before."""
    import hashlib

    from ..state import durable
    from ..state.workspace import Workspace
    from ..trust.store import load_trust
    from ..workflows.bundle import from_bucket, from_work, pack

    definition = one_definition(definitions, version, el)
    trust = load_trust(str(keys))
    if source is None:
        parts = from_work(definition, Workspace(work))
    else:
        from ..publish.address import open_bucket

        parts = from_bucket(definition, open_bucket(source, endpoint_url=endpoint_url))
    made = pack(definition, parts, trust)
    target = to or Path(f"fips-{definition.kubernetes}-{definition.name}.tar")
    durable.write(target, made.data)
    digest = hashlib.sha256(made.data).hexdigest()
    if json:
        output.write_json(
            {
                "schema": "fipsmanifest/bundle/v1",
                "path": str(target),
                "sha256": digest,
                "size": len(made.data),
                "kubernetes": definition.kubernetes,
                "el": definition.el,
                "serial": made.serial,
                "fingerprint": made.fingerprint,
            }
        )
    else:
        # Apart from the line that sha256sum -c takes.
        output.say(
            f"{definition.kubernetes} EL {definition.el}, serial {made.serial}, "
            f"signed {made.signed_at:%Y-%m-%d} by {made.fingerprint}"
        )
        output.write(f"{digest}  {target}")
