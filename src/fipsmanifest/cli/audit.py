"""``fipsmanifest audit``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import UsageError
from ..export import audits
from ..publish import audit as auditing
from ..publish.address import open_bucket
from ..publish.audit import Audit
from ..publish.consumer import Consumer
from ..sign.cosign import public_keys
from ..sign.listing import list_keys
from ..state import durable
from ..trust.store import load_trust
from ..workflows import certificates
from . import markdown, options, output, progressbars
from . import summary as summaries


def audit(
    ctx: typer.Context,
    bucket: Annotated[str, typer.Argument(metavar="BUCKET", help="The bucket: s3://NAME[/PREFIX], or a directory.")],
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
            help="How long to repeat the audit if all findings may be due to a publication in progress.",
        ),
    ] = 10.0,
    summary: Annotated[
        Path | None,
        typer.Option("--summary", metavar="FILE", help="Append the result to this file as Markdown, for a job's page."),
    ] = None,
    junit: Annotated[
        Path | None, typer.Option("--junit", metavar="FILE", help="Write the result to this file as JUnit XML.")
    ] = None,
    metrics: Annotated[
        Path | None,
        typer.Option(
            "--metrics", metavar="FILE", help="Write metrics to this file, for Prometheus' textfile collector."
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Verify everything that a bucket contains.

    Checks signatures, names, serials, pointers, the node tool with its SHA-256 file, and the index. A finding that may
    be due to a publication in progress is checked again before it is reported.

    The exit code is 3 if a published object must not be trusted, and 1 for any other finding. An object that a revoked
    key signed, and that a valid serial or version has replaced, is a note only.
    """
    # The metrics have the time of their audit, so that an old one is known.
    durable.discard(junit)
    if "://" not in bucket and not Path(bucket).is_dir():
        raise UsageError(f"{bucket} is not a directory.", "Name the bucket that was published to.")
    if summary is not None:
        summaries.require_file(summary)
    opened = open_bucket(bucket, endpoint_url=endpoint_url)
    trust = load_trust(str(keys))
    consumer = Consumer.trusting(trust, public_keys(keys))
    with progressbars.progress(options.session_of(ctx)) as progress:
        done = auditing.audit(opened, consumer, progress, patience=wait)
    # A key has an entry for each of its roles.
    expiring = dict.fromkeys(info.warning for info in list_keys(keys) if info.warning)
    warnings = [*trust.exposure(), *expiring]
    today = datetime.now(UTC).date()
    done = replace(done, newer=certificates.newer_dates())
    if json:
        output.write_json(_document(done, warnings, today))
    else:
        _print(done, warnings, today)
    if summary is not None:
        _append(summary, done, warnings, today)
    finished = datetime.now(UTC)
    if junit is not None:
        durable.write(junit, audits.to_junit(done, finished).encode())
    if metrics is not None:
        durable.write(metrics, audits.to_metrics(done, finished).encode())
    if done.exit_code:
        raise typer.Exit(done.exit_code)


def _document(done: Audit, warnings: list[str], today: date) -> dict[str, Any]:
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


def _print(done: Audit, warnings: list[str], today: date) -> None:
    # This is often piped to a job's page, and names in a bucket are untrusted.
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
    text = markdown.text
    lines = [f"## Audit of {text(done.address)}\n", f"{text(_counts(done))}.\n"]
    rows = [[finding.code, finding.key, f"{finding.message} {finding.advice}"] for finding in done.findings]
    rows += [["note", note.key, note.message] for note in done.notes]
    rows += [["warning", "-", warning] for warning in warnings]
    if rows:
        lines += [*markdown.table(["finding", "object", "meaning"], rows), ""]
    for item, status in done.certificates(today):
        since = f" since {item.historical_since}" if status == "historical" else ""
        lines.append(f"- {text(f'{item.standard} certificate {item.number} ({item.holder})')}: {status}{since}")
    summaries.write(path, [*lines, "", _CAVEAT])


_CAVEAT = "The signatures show who published these objects. They are not a certification."


def _counts(done: Audit) -> str:
    manifests, tools = _count(len(done.published.manifests), "manifest"), _count(len(done.published.tools), "tool")
    return f"{manifests} and {tools} verified, {_count(len(done.findings), 'finding')}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
