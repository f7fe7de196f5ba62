"""``fipsmanifest audit``."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UsageError
from . import options, output

if TYPE_CHECKING:
    from ..publish.audit import Audit


def audit(
    ctx: typer.Context,
    bucket: Annotated[str, typer.Argument(metavar="BUCKET", help="s3://name[/prefix], or a folder.")],
    keys: options.Keys = options.KEYS,
    endpoint_url: options.EndpointUrl = None,
    wait: Annotated[
        float,
        typer.Option(
            "--wait",
            envvar="FIPSMANIFEST_WAIT",
            metavar="SECONDS",
            min=0,
            max=600,
            help="Look again as long where all that is found may be a publication under way.",
        ),
    ] = 10.0,
    json: options.Json = False,
) -> None:
    """Re-verify everything that is published: signatures, bindings, serials, tool, sidecar and index.

    Somebody may publish meanwhile: what looks like that is looked at again before it is reported.

    Ends with 3 where something must not be trusted, with 1 for anything else that is not as it should be. What a
    revoked key signed and a good serial or version has replaced is a note, and no failure.
    """
    from ..node.trust import load_trust
    from ..publish.address import open_bucket
    from ..publish.audit import audit as act
    from ..publish.consumer import Consumer
    from ..sign.listing import list_keys

    if "://" not in bucket and not Path(bucket).is_dir():
        raise UsageError(f"{bucket} is not a folder.", "Name the bucket that was published to.")
    opened, consumer = open_bucket(bucket, endpoint_url=endpoint_url), Consumer.trusting(load_trust(str(keys)))
    with output.progress(options.session_of(ctx)) as progress:
        done = act(opened, consumer, progress, patience=wait)
    # A key has an entry for each role that it signs in.
    warnings = list(dict.fromkeys(info.warning for info in list_keys(keys) if info.warning))
    today = datetime.now(UTC).date()
    if json:
        output.write_json(_form(done, warnings, today))
    else:
        _tell(done, warnings, today)
    if done.exit_code:
        raise typer.Exit(done.exit_code)


def _form(done: Audit, warnings: list[str], today: date) -> dict[str, Any]:
    return {
        "schema": "fipsmanifest/audit/v1",
        "bucket": done.address,
        "manifests": [
            {"key": item.key, "kubernetes": item.kubernetes, "serial": item.serial, "fingerprint": item.fingerprint}
            for item in done.published.manifests
        ],
        "tools": [{"version": item.version, "sha256": item.sha256} for item in done.published.tools],
        "findings": [
            {
                "key": item.key,
                "code": item.code,
                "message": item.message,
                "advice": item.advice,
                "exit_code": item.exit_code,
            }
            for item in done.findings
        ],
        "notes": [{"key": note.key, "replaced_by": note.replaced_by, "message": note.message} for note in done.notes],
        "certificates": [
            {
                "number": item.number,
                "standard": item.standard,
                "holder": item.holder,
                "historical_since": item.historical_since or None,
                "status": status,
            }
            for item, status in done.certificates(today)
        ],
        "warnings": warnings,
    }


def _tell(done: Audit, warnings: list[str], today: date) -> None:
    manifests, tools = _count(len(done.published.manifests), "manifest"), _count(len(done.published.tools), "tool")
    found = _count(len(done.findings), "finding")
    output.write(f"{done.address}: {manifests} and {tools} verified, {found}.")
    for finding in done.findings:
        output.write(output.one_line(f"  {finding.code}: {finding.message} {finding.advice}"))
    for note in done.notes:
        output.write(output.one_line(f"  note: {note.message}"))
    for warning in warnings:
        output.write(output.one_line(f"  warning: {warning}"))
    for item, status in done.certificates(today):
        since = f" since {item.historical_since}" if status == "historical" else ""
        output.write(f"{item.standard} certificate {item.number} ({item.holder}): {status}{since}")
    output.write("A manifest is evidence of what was published, and certifies nothing.")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
