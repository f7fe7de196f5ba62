"""The summary of a release as Markdown, for a job's page: it is read before and after an approval."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import Incomplete, UsageError
from ..state import durable
from ..workflows.release import Changes
from . import markdown

#: A job's page is limited to 1 MiB (GitHub Actions, "Workflow commands"), and longer tables are not read.
_ROWS = 200
_CELL = 160


def require_file(path: Path) -> None:
    """Raise `UsageError` if the summary cannot be written, before anything else is done."""
    try:
        os.close(_opened(path))
    except OSError as error:
        raise UsageError(f"The summary {path} cannot be written: {error.strerror}.", "Name another file.") from error


def append(path: Path, report: Mapping[str, Any], found: Mapping[str, Changes]) -> None:
    """Append the summary to the file: other steps of the same job write there, too."""
    write(path, _lines(report, found))


def write(path: Path, lines: Iterable[str]) -> None:
    """Append lines of Markdown to the file. Raises `Incomplete` if they cannot be written."""
    text = "\n".join(lines) + "\n"
    try:
        with os.fdopen(_opened(path), "a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise Incomplete(f"The summary {path} could not be written: {error.strerror}.", "Check the disk.") from error


def _opened(path: Path) -> int:
    """Open the file; it may belong to the job's runner, which is not the user of a job in a container."""
    return durable.open_to_change(path, os.O_WRONLY | os.O_APPEND)


def _lines(report: Mapping[str, Any], found: Mapping[str, Changes]) -> Iterator[str]:
    version = report["manifests"][0]["kubernetes"]
    if report["published_to"]:
        count = len(report["written"])
        done = f"published to {report['published_to']}, {count} objects written"
    else:
        done = "planned, nothing signed or published" if "plan" in report else "made, not published"
    yield f"## Kubernetes {version}: {markdown.text(done)}\n"
    rows = [
        [str(i["el"]), i["name"], str(i["serial"]), i["sha256"], i.get("signature", "-")] for i in report["manifests"]
    ]
    yield from markdown.table(["EL", "name", "serial", "SHA-256 of the manifest", "signature"], rows)
    for entry in report["manifests"]:
        yield f"\n### EL{entry['el']} {entry['name']}, serial {entry['serial']}\n"
        yield from _note(entry)
        yield from _changes(found.get(entry["name"]))
    if "plan" in report:
        yield "\n### Objects\n"
        rows = [[item["action"], item["key"], item["detail"]] for item in report["plan"]]
        yield from markdown.table(["action", "object", "detail"], rows)


def _note(entry: Mapping[str, Any]) -> Iterator[str]:
    if "note" in entry:
        yield f"Note: {markdown.text(entry['note'])}.\n"


def _changes(found: Changes | None) -> Iterator[str]:
    if found is None:
        return
    if not found.since:
        yield "No earlier serial is published."
        return
    if not found.differences:
        yield f"No changes since serial {found.since}."
        return
    yield f"Changes since serial {found.since}:\n"
    rows = [
        [item.component or "-", item.change, item.subject, _short(item.before), _short(item.after)]
        for item in found.differences[:_ROWS]
    ]
    yield from markdown.table(["component", "change", "what", "before", "after"], rows)
    left = len(found.differences) - _ROWS
    if left > 0:
        yield f"\n{left} more differences: see 'fipsmanifest diff'."


def _short(text: str | None) -> str:
    return textwrap.shorten(text or "", _CELL, placeholder=" ...")
