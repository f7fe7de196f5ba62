"""The output of ``inspect``: JSON, Markdown, or a table, which grows while it is watched on a terminal.

A node has a hundred thousand files, so the findings are not kept in memory: they are spooled to disk until the text
before them is complete.
"""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import Any, Literal, Protocol

from ..errors import FipsManifestError
from ..inspect.gate import AppliedException, GateDecision, RefusedProgram, group_by_cause
from ..inspect.nested import LocatedFinding, UnopenedContainer
from ..inspect.serialization import module_to_json, to_json
from ..inspect.table import Certificate, Table
from ..inspect.verdict import describe_verdict
from ..model.artifact import SkippedPart
from ..model.finding import IN_PROCESS, CryptoFacts, DetectedModule, Verdict
from ..progress import Progress
from . import columns, markdown, output
from .columns import Column

_COLUMNS = (
    Column("verdict", 12),
    Column("file", 32, middle=True),
    Column("in", 20, rank=1, middle=True),
    Column("go", 22, rank=3),
    Column("module", 28, rank=2),
    Column("why", 84, rank=4),
)
_HEADINGS = tuple(column.heading for column in _COLUMNS)
#: Causes of a failure that a Markdown page lists.
_MOST_FAILURES = 50
#: The widths that most cells need; a live table does not know the later rows.
_USUAL_WIDTHS = (12, 32, 1, 22, 28, 84)


class Renderer(Protocol):
    """Writes the findings in one format."""

    def add(self, item: LocatedFinding) -> None:
        """Add a file, in the order of the scan."""

    def add_left_out(self, item: SkippedPart) -> None:
        """Add what was not inspected."""

    def add_unopened(self, item: UnopenedContainer) -> None:
        """Add an archive that was not opened."""

    def finish(self, errors: Sequence[FipsManifestError], decision: GateDecision | None) -> None:
        """Write the rest of the result."""


class JsonRenderer:
    """The one JSON document."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._files = output.LongList()
        self._modules: set[DetectedModule] = set()
        self._left_out: list[SkippedPart] = []
        self._unopened: list[UnopenedContainer] = []

    def add(self, item: LocatedFinding) -> None:
        """Add a file."""
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

    def add_left_out(self, item: SkippedPart) -> None:
        """Add what was not inspected."""
        self._left_out.append(item)

    def add_unopened(self, item: UnopenedContainer) -> None:
        """Add an archive that was not opened."""
        self._unopened.append(item)

    def document(self, errors: Sequence[FipsManifestError], decision: GateDecision | None) -> dict[str, Any]:
        """Return the document, once; its files are a `LongList`."""
        document: dict[str, Any] = {
            "schema": "fipsmanifest/inspect/v1",
            "files": self._files,
            # Of one id that is known from shipped and from own references, the latter: it claims no certificate.
            "modules": {
                module.id: _module(module, self._table)
                for module in sorted(self._modules, key=lambda module: (module.id, module.row == "local"))
            },
            "left_out": [asdict(item) for item in self._left_out],
            "unopened": [_unopened(item) for item in self._unopened],
            "errors": [_error(error) for error in errors],
        }
        if decision is not None:
            document["gate"] = {
                "require": "proven",
                "modules": sorted(decision.requirement.families),
                "standard": decision.requirement.standard,
                "forbid": sorted(decision.requirement.forbidden),
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
        return document

    def finish(self, errors: Sequence[FipsManifestError], decision: GateDecision | None) -> None:
        """Write the document."""
        output.write_json(self.document(errors, decision))


class MarkdownRenderer:
    """A table of programs, for release notes."""

    def __init__(self, table: Table) -> None:
        self._rows = output.SpooledText()
        self._modules = _Modules(table)
        self._left_out: list[str] = []

    def add(self, item: LocatedFinding) -> None:
        """Add a file."""
        if item.finding.crypto is not None:
            self._modules.add(item.finding.crypto)
            self._rows.write(json.dumps(_row(item)) + "\n")

    def add_left_out(self, item: SkippedPart) -> None:
        """Add what was not inspected."""
        self._left_out.append(_left_out_line(item))

    def add_unopened(self, item: UnopenedContainer) -> None:
        """Add an archive that was not opened."""
        self._left_out.append(_unopened_line(item))

    def finish(self, errors: Sequence[FipsManifestError], decision: GateDecision | None) -> None:
        """Write the table, what was accepted and why, and each cause of a failure: a page must not look complete."""
        markdown.write_table(_HEADINGS, map(json.loads, self._rows.lines()))
        accepted = [_accepted(exception) for exception in decision.accepted] if decision is not None else []
        for lines in (self._modules.lines(), self._left_out, accepted, _failures(errors)):
            if lines:
                output.write()
            for line in lines:
                output.write(f"- {markdown.text(line)}")


class TableRenderer:
    """A table of programs that fits the terminal, and the number of other files."""

    def __init__(self, table: Table) -> None:
        self._rows = output.SpooledText()
        self._modules = _Modules(table)
        self._causes = _Causes()
        self._beside = _Beside()
        self._widths = [len(heading) for heading in _HEADINGS]
        self._programs = self._others = 0
        self._left_out: list[str] = []

    def add(self, item: LocatedFinding) -> None:
        """Add a file."""
        if item.finding.crypto is None:
            self._others += 1
            return
        self._programs += 1
        self._modules.add(item.finding.crypto)
        self._causes.add(item.finding.crypto)
        self._beside.add(item.finding.crypto)
        row = [output.one_line(cell) for cell in _row(item)]
        self._widths = [max(pair) for pair in zip(self._widths, map(len, row), strict=True)]
        self._store_row(row)

    def add_left_out(self, item: SkippedPart) -> None:
        """Add what was not inspected."""
        self._left_out.append(_left_out_line(item))

    def add_unopened(self, item: UnopenedContainer) -> None:
        """Add an archive that was not opened."""
        self._left_out.append(_unopened_line(item))

    def finish(self, errors: Sequence[FipsManifestError], decision: GateDecision | None) -> None:
        """Write the table; errors are reported as those of all verbs."""
        found = self._layout()
        refused = _totals(decision)
        if refused:
            output.write(f"not passed: {refused}")
            output.write()
        if self._programs:
            self._write_rows(found)
            output.write()
            if found.widths[-1] < self._widths[-1]:
                for line in self._causes.lines(columns.terminal()):
                    output.write(line)
                output.write()
        for line in (*self._modules.lines(), *self._beside.lines(), *self._left_out):
            output.write(output.one_line(line))
        output.write(f"{_counted(self._programs, 'program')}, {_counted(self._others, 'other file')}.")
        if decision is None:
            return
        for exception in decision.accepted:
            output.write(output.one_line(_accepted(exception)))
        passed = "not passed" if errors else "passed"
        output.write(f"gate: {passed}; {decision.proven} proven, {len(decision.accepted)} accepted by exceptions.")

    def _layout(self) -> columns.Layout:
        return columns.layout(_COLUMNS, self._widths, columns.terminal())

    def _store_row(self, row: list[str]) -> None:
        self._rows.write(json.dumps(row) + "\n")

    def _write_rows(self, found: columns.Layout) -> None:
        output.write(found.headings())
        for row in map(json.loads, self._rows.lines()):
            output.write(found.row(row))


class LiveTableRenderer(TableRenderer):
    """A table whose rows appear as they are found, above the progress bar."""

    def __init__(self, table: Table, bars: Progress) -> None:
        super().__init__(table)
        self._bars = bars
        room = columns.terminal()
        self._fixed = columns.widest(columns.layout(_COLUMNS, _USUAL_WIDTHS, room), room, "file")

    def _layout(self) -> columns.Layout:
        return self._fixed

    def _store_row(self, row: list[str]) -> None:
        if self._programs == 1:
            self._bars.note(self._fixed.headings())
        self._bars.note(self._fixed.row(row))

    def _write_rows(self, found: columns.Layout) -> None:
        pass


class _Causes:
    """The reasons for verdicts, each once for all programs that have it."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, str], int] = {}

    def add(self, crypto: CryptoFacts) -> None:
        """Add a program's verdict."""
        key = (str(crypto.verdict), str(crypto.evidence.get("code", "")), describe_verdict(crypto))
        self._counts[key] = self._counts.get(key, 0) + 1

    def lines(self, room: int | None) -> list[str]:
        """Return the reasons, each on lines of ``room`` characters."""
        texts = [
            f"{verdict} ({code}), {_counted(count, 'program')}: {output.one_line(why)}"
            for (verdict, code, why), count in self._counts.items()
        ]
        width = max(room or 0, 40)
        return [line for text in texts for line in textwrap.wrap(text, width, subsequent_indent="  ")]


def _failures(errors: Sequence[FipsManifestError]) -> list[str]:
    """Return a line for each cause of a failure; containers that were not opened have lines of their own."""
    causes = group_by_cause([error for error in errors if error.reason != UnopenedContainer.reason])
    lines = ["error: " + error.message.splitlines()[0] for error in causes[:_MOST_FAILURES]]
    more = len(causes) - len(lines)
    return [*lines, f"and {more} more errors"] if more > 0 else lines


class _Beside:
    """The packages with cryptography beside the module, in all programs that are proven."""

    #: Packages that the line names.
    _NAMED = 5

    def __init__(self) -> None:
        self._programs = 0
        self._counts: Counter[str] = Counter()

    def add(self, crypto: CryptoFacts) -> None:
        """Add what is in a program."""
        names = crypto.evidence.get("beside_module")
        if crypto.verdict is Verdict.PROVEN and isinstance(names, list) and names:
            self._programs += 1
            self._counts.update(map(str, names))

    def lines(self) -> list[str]:
        """Return one line, or none."""
        if not self._programs:
            return []
        ordered = sorted(self._counts, key=lambda name: (-self._counts[name], name))
        more = len(ordered) - self._NAMED
        named = ", ".join(ordered[: self._NAMED]) + (f" and {more} more" if more > 0 else "")
        return [f"beside the module, in {_counted(self._programs, 'proven program')}: {named} (--json lists them)"]


def _totals(decision: GateDecision | None) -> str:
    """Return how many programs of each verdict do not pass; empty if all pass."""
    refused = [item.verdict for item in decision.refusals if isinstance(item, RefusedProgram)] if decision else []
    return ", ".join(f"{refused.count(verdict)} {verdict}" for verdict in dict.fromkeys(refused))


def _error(error: FipsManifestError) -> dict[str, Any]:
    """Return the JSON form of an error, with its program if it is about one."""
    form = output.form_of(error)
    if isinstance(error, RefusedProgram):
        form |= {"path": error.path, "container": error.container, "verdict": error.verdict}
    return form


class _Modules:
    """The modules of the listed programs: the certificates of each with their status today, or who claims it."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._seen: dict[str, DetectedModule] = {}

    def add(self, crypto: CryptoFacts) -> None:
        """Add the module of a program."""
        if crypto.module is not None and crypto.module.row is not None:
            self._seen[crypto.module.id] = crypto.module

    def lines(self) -> list[str]:
        """Return a line for each certificate, and for each module without one."""
        rows = [row for row in self._table.rows if row.id in self._seen]
        boring = [line for row in rows for line in _covered(row.id, row.row, row.certificates, row.claimed_by)]
        return [*boring, *(line for name in sorted(self._seen) for line in self._native(self._seen[name]))]

    def _native(self, module: DetectedModule) -> list[str]:
        row = next((row for row in self._table.native if row.source == module.digest), None)
        if module.family != "go-native" or module.row is None or row is None:
            return []
        if module.row == "shipped" and row.validation == "in-process":
            return [f"module {module.id}: {IN_PROCESS}"]
        claimed_by = self._table.references.claimed_by(module.digest) or ""
        return _covered(module.id, module.row, row.certificates, claimed_by)


def _covered(
    name: str, row: Literal["shipped", "local"], certificates: Sequence[Certificate], claimed_by: str
) -> list[str]:
    if row == "local":
        return [f"module {name}: local, claimed by {claimed_by}; no certificate is known"]
    return [
        f"module {name}: {item.standard} certificate {item.number} ({item.holder}), {item.standing(_today())}"
        for item in certificates
    ] or [f"module {name}: no certificate is known"]


def _module(seen: DetectedModule, table: Table) -> dict[str, Any]:
    entry = module_to_json(seen, table)
    known = {item.number: item for item in table.certificates}
    for certificate in entry.get("certificates", ()):
        certificate["status"] = known[certificate["number"]].status(_today())
    return entry


def _today() -> date:
    return datetime.now(UTC).date()


def _left_out_line(item: SkippedPart) -> str:
    return f"not inspected: {item.name} ({item.why})"


def _unopened_line(item: UnopenedContainer) -> str:
    where = item.path + (f" in {item.container}" if item.container else "")
    return f"not opened: {where} ({item.format}): {item.reason}"


def _unopened(item: UnopenedContainer) -> dict[str, str]:
    entry = {"path": item.path, "container": item.container, "format": item.format, "reason": item.reason}
    return {key: value for key, value in entry.items() if value is not None}


def _accepted(exception: AppliedException) -> str:
    where = exception.path + (f" in {exception.container}" if exception.container else "")
    return f"accepted: {where} is '{exception.verdict}': {exception.reason}"


def _row(item: LocatedFinding) -> list[str]:
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
    # A row is one line, also for a file name with line breaks.
    return [cell.replace("\n", "\\x0a") for cell in cells]


def _module_cell(module: DetectedModule) -> str:
    return f"{module.id} (local)" if module.row == "local" else module.id


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
