"""``fipsmanifest export``."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from .. import __version__
from ..errors import UsageError
from ..export.documents import MAX_BYTES, Source
from ..export.formats import FORMATS, FormatName
from ..export.settings import Settings, Specification
from ..state import durable
from ..trust.store import load_trust
from ..workflows import exporting
from . import completion, options, output
from .reading import read_input


def export(
    ctx: typer.Context,
    format_name: Annotated[FormatName, typer.Argument(metavar="FORMAT", help="One of the formats below.")],
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="A manifest, or the result of 'check node', 'check cluster' or 'inspect' with --json; - for stdin.",
        ),
    ],
    written_to: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write to this file.  [default: standard output]"),
    ] = None,
    keys: options.Keys = options.KEYS,
    fingerprint: Annotated[
        str | None,
        typer.Option(
            envvar="FIPSMANIFEST_FINGERPRINT",
            metavar="FPR",
            help="Accept only this key.",
            autocompletion=completion.signing_keys,
        ),
    ] = None,
    unverified: Annotated[
        bool, typer.Option("--unverified", help="Do not verify a signed manifest; the export then says so.")
    ] = False,
    allow_expired: Annotated[
        bool,
        typer.Option("--allow-expired", envvar="FIPSMANIFEST_ALLOW_EXPIRED", help="Only warn where it has expired."),
    ] = False,
    resource_uri: Annotated[
        str | None,
        typer.Option("--resource-uri", metavar="URI", help="For in-toto and an inspection: what was inspected."),
    ] = None,
    spec_version: Annotated[
        Specification | None,
        typer.Option("--spec-version", metavar="V", help="For cyclonedx: 1.6 or 1.7.  [default: 1.6]"),
    ] = None,
    json: options.Json = False,
) -> None:
    """Write a manifest, a report or an inspection in a format of another tool.

    cyclonedx: CycloneDX 1.6 or 1.7 with cryptography (CBOM).  html: one page for people.  in-toto: a statement of a
    manifest; of a gate, an SLSA verification summary.  junit.  oscal: OSCAL 1.1.3 component-definition of a manifest,
    assessment-results of a report.  prometheus: for the textfile collector.  sarif: SARIF 2.1.0.

    A signed manifest is verified with --keys first. The same document gives the same bytes.

    An export is a view and judges nothing: it ends with 0 also where a check in it failed.
    """
    if json and written_to is None:
        raise UsageError("--json would be mixed with the export on standard output.", "Name a file with --output.")
    source = _read(ctx, file, keys, fingerprint, unverified=unverified, allow_expired=allow_expired)
    if resource_uri is not None and (format_name != "in-toto" or source.kind != "inspection"):
        raise UsageError("--resource-uri would be ignored.", "Use it only for in-toto and an inspection.")
    if spec_version is not None and format_name != "cyclonedx":
        raise UsageError("--spec-version would be ignored.", "Use it only for cyclonedx.")
    settings = Settings(__version__, resource_uri, spec_version or "1.6")
    data = FORMATS[format_name].render(source, settings).encode("utf-8", "backslashreplace")
    if written_to is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        return
    durable.write(written_to, data)
    if json:
        output.write_json(
            {
                "schema": "fipsmanifest/export/v1",
                "format": format_name,
                "output": str(written_to),
                "sha256": hashlib.sha256(data).hexdigest(),
                "source": {"kind": source.kind, "sha256": source.sha256, "signature": source.signature.state},
            }
        )


def _read(
    ctx: typer.Context, file: str, keys: Path, fingerprint: str | None, *, unverified: bool, allow_expired: bool
) -> Source:
    data = read_input(file, MAX_BYTES, "Name a manifest, a node report or an inspection.")
    name = "Standard input" if file == "-" else file
    verifying = {"keys": "--keys", "fingerprint": "--fingerprint", "allow_expired": "--allow-expired"}
    quiet = options.session_of(ctx).quiet
    if not exporting.is_signed(data):
        options.refuse_ignored(ctx, {"unverified": "--unverified"}, "for a document that is not signed")
        demanded = any(options.was_given(ctx, option) for option in verifying)
        source = exporting.read(data, name, demanded=demanded)
        if source.kind == "manifest" and not quiet:
            output.say(f"note: {output.one_line(name)} is not signed, and the export says so.")
        return source
    if unverified:
        options.refuse_ignored(ctx, verifying, "with --unverified")
        if not quiet:
            output.say(f"note: the signature of {output.one_line(name)} is not verified, and the export says so.")
        return exporting.read_unverified(data)
    source, warnings = exporting.read_verified(
        data, load_trust(str(keys)), fingerprint=fingerprint, allow_expired=allow_expired
    )
    for warning in warnings:
        output.say(f"warning: {output.one_line(warning)}")
    return source
