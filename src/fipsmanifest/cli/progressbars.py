"""Progress on stderr: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..progress import SILENT, Progress, Task
from . import output

# See `progress`.
if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID


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
        return _BarTask(self._bars, self._bars.add_task(output.printable(name), total=total))

    def note(self, text: str) -> None:
        self._console.print(output.printable(text), markup=False, highlight=False, soft_wrap=True)


class _Notes:
    """Progress without bars, if stderr is not a terminal: notes as lines."""

    def task(self, name: str, total: int | None = None) -> Task:
        return SILENT.task(name, total)

    def note(self, text: str) -> None:
        output.say(text)


def is_watched(session: output.Session) -> bool:
    """Return whether results and progress appear on the same terminal."""
    if session.quiet or not (sys.stdout.isatty() and sys.stderr.isatty()):
        return False
    return os.fstat(sys.stdout.fileno()).st_rdev == os.fstat(sys.stderr.fileno()).st_rdev


@contextmanager
def progress(session: output.Session) -> Iterator[Progress]:
    """Show bars on a terminal, lines elsewhere, nothing with ``--quiet``."""
    if session.quiet:
        yield SILENT
        return
    if not sys.stderr.isatty():
        yield _Notes()
        return
    # Here, because importing rich takes as long as importing typer, and only a terminal needs it.
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
