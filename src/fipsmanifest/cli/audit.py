"""``fipsmanifest audit``."""

from __future__ import annotations

from collections.abc import Iterator
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
    summary: Annotated[
        Path | None, typer.Option("--summary", metavar="FILE", help="Append the result as Markdown, for a job's page.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Re-verify everything that is published: signatures, bindings, serials, tool, sidecar and index.

    Somebody may publish meanwhile: what looks like that is looked at again before it is reported.

    Ends with 3 where something must not be trusted, with 1 for anything else that is not as it should be. What a
    revoked key signed and a good serial or version has replaced is a note, and no failure.
    """
    from ..publish.address import open_bucket
    from ..publish.audit import audit as act
    from ..publish.consumer import Consumer
    from ..sign.listing import list_keys
    from ..trust.store import load_trust
    from . import summary as summaries

    if "://" not in bucket and not Path(bucket).is_dir():
        raise UsageError(f"{bucket} is not a folder.", "Name the bucket that was published to.")
    if summary is not None:
        summaries.require_file(summary)
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
    if summary is not None:
        _append(summary, done, warnings, today)
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
    # This is often piped to a job's page, and names in a bucket are anybody's.
    for line in _lines(done, warnings, today):
        output.write(output.inert(line))


def _lines(done: Audit, warnings: list[str], today: date) -> Iterator[str]:
    yield f"{done.address}: {_counts(done)}."
    yield from (f"  {finding.code}: {finding.message} {finding.advice}" for finding in done.findings)
    yield from (f"  note: {note.message}" for note in done.notes)
    yield from (f"  warning: {warning}" for warning in warnings)
    for item, status in done.certificates(today):
        since = f" since {item.historical_since}" if status == "historical" else ""
        yield f"{item.standard} certificate {item.number} ({item.holder}): {status}{since}"
    yield _CAVEAT


def _append(path: Path, done: Audit, warnings: list[str], today: date) -> None:
    """Append the result to ``path`` as Markdown."""
    from . import summary as summaries

    text = output.markdown_text
    lines = [f"## Audit of {text(done.address)}\n", f"{text(_counts(done))}.\n"]
    rows = [[finding.code, finding.key, f"{finding.message} {finding.advice}"] for finding in done.findings]
    rows += [["note", note.key, note.message] for note in done.notes]
    rows += [["warning", "-", warning] for warning in warnings]
    if rows:
        lines += [*output.markdown_table(["what", "object", "meaning"], rows), ""]
    for item, status in done.certificates(today):
        since = f" since {item.historical_since}" if status == "historical" else ""
        lines.append(f"- {text(f'{item.standard} certificate {item.number} ({item.holder})')}: {status}{since}")
    summaries.write(path, [*lines, "", _CAVEAT])


_CAVEAT = "A manifest is evidence of what was published, and certifies nothing."


def _counts(done: Audit) -> str:
    manifests, tools = _count(len(done.published.manifests), "manifest"), _count(len(done.published.tools), "tool")
    return f"{manifests} and {tools} verified, {_count(len(done.findings), 'finding')}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
