"""What a person or a program sees: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import FipsManifestError
from ..progress import SILENT, Progress, Task

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID


@dataclass
class Session:
    """How this run is to speak; the root options and ``--json`` set it."""

    debug: bool = False
    quiet: bool = False
    json: bool = False


#: Whether the one JSON document of this run has been written; an error after it has only its sentence and code.
_written = False


def printable(text: str) -> str:
    """Give ``text`` without anything that a terminal would obey; what comes from files and servers may be hostile."""
    return "".join(char if char.isprintable() or char == "\n" else f"\\x{ord(char):02x}" for char in text)


def one_line(text: str) -> str:
    """Keep what others wrote in its line: a line of its own could look like one of ours."""
    return printable(text).replace("\n", "\\n")


def write(line: str = "") -> None:
    """Write one line of the result."""
    sys.stdout.write(printable(line) + "\n")


def write_json(document: object) -> None:
    """Write the one JSON document of a run."""
    global _written
    _written = True
    sys.stdout.write(json.dumps(document, indent=2, sort_keys=True, ensure_ascii=True) + "\n")


def say(line: str) -> None:
    """Write one line of news to stderr."""
    sys.stderr.write(printable(line) + "\n")


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a table: aligned columns, no colours or boxes, so that it can be read, searched and pasted."""
    every = [list(map(one_line, row)) for row in rows]
    widths = [max(len(row[i]) for row in [list(headings), *every]) for i in range(len(headings))]
    for row in [list(headings), *every]:
        write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def markdown(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a Markdown table."""
    for cells in ([*headings], ["---"] * len(headings), *rows):
        write("| " + " | ".join(one_line(cell).replace("|", "\\|") for cell in cells) + " |")


def report(error: FipsManifestError, session: Session) -> None:
    """Tell an error: a sentence on what is wrong and one on what to do; as JSON too, where that was asked for."""
    if session.json and not _written:
        write_json({"error": {"code": error.exit_code, "message": error.message, "advice": error.advice}})
    say(f"error: {error.message}")
    if error.advice:
        say(f"       {error.advice}")
    if session.debug:
        import traceback

        sys.stderr.write("".join(traceback.format_exception(error)))


class _BarTask:
    def __init__(self, bars: Bars, task: TaskID) -> None:
        self._bars, self._task = bars, task

    def advance(self, amount: int) -> None:
        self._bars.advance(self._task, amount)

    def total(self, amount: int) -> None:
        self._bars.update(self._task, total=amount)

    def done(self) -> None:
        self._bars.remove_task(self._task)


class _Bars:
    def __init__(self, bars: Bars, console: Console) -> None:
        self._bars, self._console = bars, console

    def task(self, name: str, total: int | None = None) -> Task:
        return _BarTask(self._bars, self._bars.add_task(printable(name), total=total))

    def note(self, text: str) -> None:
        self._console.print(printable(text), markup=False, highlight=False)


class _Notes:
    """Where nobody watches bars: notes as lines."""

    def task(self, name: str, total: int | None = None) -> Task:
        return SILENT.task(name, total)

    def note(self, text: str) -> None:
        say(text)


@contextmanager
def progress(session: Session) -> Iterator[Progress]:
    """Show bars on a terminal, lines elsewhere, nothing with ``--quiet``."""
    if session.quiet:
        yield SILENT
        return
    if not sys.stderr.isatty():
        yield _Notes()
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as RichProgress

    console = Console(stderr=True)
    columns: tuple[Any, ...] = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=console, transient=True) as bars:
        yield _Bars(bars, console)
