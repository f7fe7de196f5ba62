"""How ``inspect`` tells what it finds: JSON, Markdown, or a table, which grows before one's eyes on a terminal.

A node has a hundred thousand files, so nothing here holds what was found: it is put aside as it comes, on disk once it
is long, until what has to stand before it is known.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import FipsManifestError
from . import columns, output
from .columns import Column

if TYPE_CHECKING:
    from ..inspect.gate import AppliedException, GateDecision
    from ..inspect.nested import LocatedFinding, UnopenedContainer
    from ..inspect.table import Row, Table
    from ..model.artifact import SkippedPart
    from ..model.finding import CryptoFacts, DetectedModule
    from ..progress import Progress

_COLUMNS = (
    Column("verdict", 12),
    Column("file", 32, middle=True),
    Column("in", 20, rank=1, middle=True),
    Column("go", 22, rank=3),
    Column("module", 28, rank=2),
    Column("why", 84, rank=4),
)
_HEADINGS = tuple(column.heading for column in _COLUMNS)
#: What most cells need; a live table cannot know what is to come.
_USUAL_WIDTHS = (12, 32, 1, 22, 28, 84)


class Telling(Protocol):
    """One way to tell what is found."""

    def see(self, item: LocatedFinding) -> None:
        """Take one file, in the order of the survey."""

    def leave_out(self, item: SkippedPart) -> None:
        """Take what was not looked at."""

    def see_unopened(self, item: UnopenedContainer) -> None:
        """Take a container that was not opened."""

    def end(self, errors: Sequence[FipsManifestError], decision: GateDecision | None) -> None:
        """Tell the rest; there is nothing more to come."""


class AsJson:
    """The one JSON document."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._files = output.LongList()
        self._modules: set[DetectedModule] = set()
        self._left_out: list[SkippedPart] = []
        self._unopened: list[UnopenedContainer] = []

    def see(self, item: LocatedFinding) -> None:
        """Take one file."""
        from ..inspect.serialization import to_json
        from ..inspect.verdict import describe_verdict

        entry = to_json(item.finding)
        if item.container is not None:
            entry["container"] = item.container
        crypto = item.finding.crypto
        if crypto is not None:
            entry["sentence"] = describe_verdict(crypto)
            if crypto.module is not None:
                entry["module_digest"] = crypto.module.digest
                self._modules.add(crypto.module)
        self._files.add(entry)

    def leave_out(self, item: SkippedPart) -> None:
        """Take what was not looked at."""
        self._left_out.append(item)

    def see_unopened(self, item: UnopenedContainer) -> None:
        """Take a container that was not opened."""
        self._unopened.append(item)

    def end(self, errors: Sequence[FipsManifestError], decision: GateDecision | None) -> None:
        """Write it."""
        document: dict[str, Any] = {
            "schema": "fipsmanifest/inspect/v1",
            "files": self._files,
            "modules": {module.id: _module(module, self._table) for module in self._modules},
            "left_out": [asdict(item) for item in self._left_out],
            "unopened": [_unopened(item) for item in self._unopened],
            "errors": [_error(error) for error in errors],
        }
        if decision is not None:
            document["gate"] = {
                "require": "proven",
                "passed": not errors,
                "proven": decision.proven,
                "excepted": len(decision.accepted),
                "refused": len(decision.refusals),
                "excuses": [
                    {key: value for key, value in asdict(item).items() if value is not None}
                    for item in decision.accepted
                ],
                "unused_exceptions": [item.path for item in decision.unused],
            }
        output.write_json(document)


class AsMarkdown:
    """A table for a release note: programs only."""

    def __init__(self, table: Table) -> None:
        self._rows = output.Aside()
        self._modules = _Modules(table)
        self._left_out: list[str] = []

    def see(self, item: LocatedFinding) -> None:
        """Take one file."""
        if item.finding.crypto is not None:
            self._modules.see(item.finding.crypto)
            self._rows.write(json.dumps(_row(item)) + "\n")

    def leave_out(self, item: SkippedPart) -> None:
        """Take what was not looked at."""
        self._left_out.append(_not_looked_at(item))

    def see_unopened(self, item: UnopenedContainer) -> None:
        """Take a container that was not opened."""
        self._left_out.append(_not_opened(item))

    def end(self, errors: Sequence[FipsManifestError], decision: GateDecision | None) -> None:  # noqa: ARG002
        """Write it, with what was accepted and why; a release note has no place for errors."""
        output.markdown(_HEADINGS, map(json.loads, self._rows.lines()))
        accepted = [_accepted(excuse) for excuse in decision.accepted] if decision is not None else []
        for lines in (self._modules.lines(), self._left_out, accepted):
            if lines:
                output.write()
            for line in lines:
                output.write(f"- {output.markdown_text(line)}")


class AsTable:
    """Aligned columns, as many as the terminal has room for: programs only, and how many files there were."""

    def __init__(self, table: Table) -> None:
        self._rows = output.Aside()
        self._modules = _Modules(table)
        self._causes = _Causes()
        self._widths = [len(heading) for heading in _HEADINGS]
        self._programs = self._others = 0
        self._left_out: list[str] = []

    def see(self, item: LocatedFinding) -> None:
        """Take one file."""
        if item.finding.crypto is None:
            self._others += 1
            return
        self._programs += 1
        self._modules.see(item.finding.crypto)
        self._causes.see(item.finding.crypto)
        row = [output.one_line(cell) for cell in _row(item)]
        self._widths = [max(pair) for pair in zip(self._widths, map(len, row), strict=True)]
        self._tell(row)

    def leave_out(self, item: SkippedPart) -> None:
        """Take what was not looked at."""
        self._left_out.append(_not_looked_at(item))

    def see_unopened(self, item: UnopenedContainer) -> None:
        """Take a container that was not opened."""
        self._left_out.append(_not_opened(item))

    def end(self, errors: Sequence[FipsManifestError], decision: GateDecision | None) -> None:
        """Write it; errors are told where all verbs tell theirs."""
        found = self._layout()
        refused = _totals(decision)
        if refused:
            output.write(f"not passed: {refused}")
            output.write()
        if self._programs:
            self._tell_all(found)
            output.write()
            if found.widths[-1] < self._widths[-1]:
                for line in self._causes.lines(columns.terminal()):
                    output.write(line)
                output.write()
        for line in (*self._modules.lines(), *self._left_out):
            output.write(output.one_line(line))
        output.write(f"{_counted(self._programs, 'program')}, {_counted(self._others, 'other file')}.")
        if decision is None:
            return
        for excuse in decision.accepted:
            output.write(output.one_line(_accepted(excuse)))
        passed = "not passed" if errors else "passed"
        output.write(f"gate: {passed}; {decision.proven} proven, {len(decision.accepted)} accepted by exceptions.")

    def _layout(self) -> columns.Layout:
        return columns.layout(_COLUMNS, self._widths, columns.terminal())

    def _tell(self, row: list[str]) -> None:
        self._rows.write(json.dumps(row) + "\n")

    def _tell_all(self, found: columns.Layout) -> None:
        output.write(found.headings())
        for row in map(json.loads, self._rows.lines()):
            output.write(found.row(row))


class AsLiveTable(AsTable):
    """The same, each row as it is found, above the progress bar."""

    def __init__(self, table: Table, bars: Progress) -> None:
        super().__init__(table)
        self._bars = bars
        room = columns.terminal()
        self._fixed = columns.widest(columns.layout(_COLUMNS, _USUAL_WIDTHS, room), room, "file")

    def _layout(self) -> columns.Layout:
        return self._fixed

    def _tell(self, row: list[str]) -> None:
        if self._programs == 1:
            self._bars.note(self._fixed.headings())
        self._bars.note(self._fixed.row(row))

    def _tell_all(self, found: columns.Layout) -> None:
        pass


class _Causes:
    """Why each verdict was given, once for all programs of the same reason."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, str], int] = {}

    def see(self, crypto: CryptoFacts) -> None:
        """Take one program's verdict."""
        from ..inspect.verdict import describe_verdict

        key = (str(crypto.verdict), str(crypto.evidence.get("code", "")), describe_verdict(crypto))
        self._counts[key] = self._counts.get(key, 0) + 1

    def lines(self, room: int | None) -> list[str]:
        """Return the reasons, each on lines of ``room`` characters."""
        told = [
            f"{verdict} ({code}), {_counted(count, 'program')}: {output.one_line(why)}"
            for (verdict, code, why), count in self._counts.items()
        ]
        width = max(room or 0, 40)
        return [line for text in told for line in textwrap.wrap(text, width, subsequent_indent="  ")]


def _totals(decision: GateDecision | None) -> str:
    """Return how many programs of each verdict may not pass; empty where all may."""
    from ..inspect.gate import RefusedProgram

    refused = [item.verdict for item in decision.refusals if isinstance(item, RefusedProgram)] if decision else []
    return ", ".join(f"{refused.count(verdict)} {verdict}" for verdict in dict.fromkeys(refused))


def _error(error: FipsManifestError) -> dict[str, Any]:
    """Return the JSON of an error, with the program that it is about, where it is about one."""
    from ..inspect.gate import RefusedProgram

    form = output.error_form(error.exit_code, error.message, error.advice)
    if isinstance(error, RefusedProgram):
        form |= {"path": error.path, "container": error.container, "verdict": error.verdict}
    return form


class _Modules:
    """What a reader has to know of the modules in a table: what covers each today, or who vouches for it."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._seen: set[str] = set()

    def see(self, crypto: CryptoFacts) -> None:
        """Take the module that was found in a program."""
        if crypto.module is not None and crypto.module.row is not None:
            self._seen.add(crypto.module.id)

    def lines(self) -> list[str]:
        """Give a line for each certificate, and for each module that none covers."""
        rows = [row for row in self._table.rows if row.id in self._seen]
        return [line for row in rows for line in _covered(row, _today())]


def _covered(row: Row, today: date) -> list[str]:
    if row.row == "local":
        return [f"module {row.id}: local, claimed by {row.claimed_by}; no certificate is known here"]
    return [
        f"module {row.id}: {item.standard} certificate {item.number} ({item.holder}), {item.standing(today)}"
        for item in row.certificates
    ] or [f"module {row.id}: no certificate is known here"]


def _module(seen: DetectedModule, table: Table) -> dict[str, Any]:
    from ..inspect.serialization import module_to_json

    entry = module_to_json(seen, table)
    known = {item.number: item for item in table.certificates}
    for certificate in entry.get("certificates", ()):
        certificate["status"] = known[certificate["number"]].status(_today())
    return entry


def _today() -> date:
    return datetime.now(UTC).date()


def _not_looked_at(item: SkippedPart) -> str:
    return f"not looked at: {item.name} ({item.why})"


def _not_opened(item: UnopenedContainer) -> str:
    where = item.path + (f" in {item.container}" if item.container else "")
    return f"not opened: {where} ({item.format}): {item.reason}"


def _unopened(item: UnopenedContainer) -> dict[str, str]:
    entry = {"path": item.path, "container": item.container, "format": item.format, "reason": item.reason}
    return {key: value for key, value in entry.items() if value is not None}


def _accepted(excuse: AppliedException) -> str:
    where = excuse.path + (f" in {excuse.container}" if excuse.container else "")
    return f"accepted: {where} is '{excuse.verdict}': {excuse.reason}"


def _row(item: LocatedFinding) -> list[str]:
    from ..inspect.verdict import describe_verdict

    finding = item.finding
    crypto = finding.crypto
    cells = [
        str(crypto.verdict) if crypto else "-",
        finding.path,
        item.container or "-",
        finding.go.version if finding.go else "-",
        _module_cell(crypto.module) if crypto and crypto.module else "-",
        describe_verdict(crypto) if crypto else "",
    ]
    # A row is a line, whatever a file is called.
    return [cell.replace("\n", "\\x0a") for cell in cells]


def _module_cell(module: DetectedModule) -> str:
    return f"{module.id} (local)" if module.row == "local" else module.id


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
