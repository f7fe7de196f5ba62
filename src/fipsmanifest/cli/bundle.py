"""``fipsmanifest bundle``."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import typer

from ..publish.address import open_bucket
from ..publish.consumer import Consumer
from ..sign.cosign import public_keys
from ..state import durable
from ..state.workspace import Workspace
from ..trust.store import load_trust
from ..workflows.bundle import from_bucket, from_work, pack
from . import options, output
from .select import one_definition
from .verbs import group

app = group("bundle")


@app.command()
def export(
    version: options.Version,
    el: options.OneEl,
    source: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="BUCKET", help="Export what this bucket contains.  [default: the work directory]"
        ),
    ] = None,
    endpoint_url: options.EndpointUrl = None,
    to: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Output file.  [default: fips-VERSION-NAME.tar]"),
    ] = None,
    definitions: options.Definitions = options.DEFINITIONS,
    keys: options.Keys = options.KEYS,
    work: options.Work = options.WORK,
    json: options.Json = False,
) -> None:
    """Verify tool, signatures and manifest, and write them with certificates and instructions into one tar file.

    It has their Sigstore bundles, too, if they were signed for cosign.
    """
    definition = one_definition(definitions, version, el)
    trust = load_trust(str(keys))
    if source is None:
        parts = from_work(definition, Workspace(work))
    else:
        bucket = open_bucket(source, endpoint_url=endpoint_url)
        parts = from_bucket(definition, bucket, Consumer.trusting(trust))
    made = pack(definition, parts, trust, public_keys(keys))
    for sentence in made.warnings:
        output.say(f"warning: {sentence}")
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
                "sigstore": list(made.sigstore),
                "warnings": list(made.warnings),
            }
        )
    else:
        # On stderr: stdout has only the line that sha256sum -c reads.
        output.say(
            f"{definition.kubernetes} EL {definition.el}, serial {made.serial}, "
            f"signed {made.signed_at:%Y-%m-%d} by {made.fingerprint}"
        )
        output.write(f"{digest}  {target}")
