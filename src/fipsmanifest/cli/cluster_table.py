"""The live table of ``check cluster`` on a terminal: how many nodes have answered, with what, and what fails."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress
from rich.table import Table
from rich.text import Text

from ..cluster.message import Answer
from ..progress import Task
from .output import printable

#: Components and reasons that are named in a row, those of most nodes first.
_NAMED = 4
_STYLES = {"valid": "green", "invalid": "red", "untrusted": "red", "incomplete": "yellow", "unknown": "yellow"}


class AnswerTable:
    """What is known so far; answers and notes may come from several threads."""

    def __init__(self, console: Console) -> None:
        self._console = console
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bars = RichProgress(*columns, console=console)
        self._lock = threading.Lock()
        self._answers: dict[str, tuple[str, frozenset[str]]] = {}

    def answered(self, node: str, answer: Answer) -> None:
        """Record the final answer of a node; a later one replaces it."""
        failing = frozenset(one.component for one in answer.findings if one.status == "fail" and one.component)
        with self._lock:
            self._answers[node] = (answer.verdict, frozenset((answer.reason,)) if answer.reason else failing)

    def task(self, name: str, total: int | None = None) -> Task:
        """Begin to count nodes."""
        return _Nodes(self._bars, name, total)

    def note(self, text: str) -> None:
        """Print a line above the table."""
        self._console.print(printable(text), markup=False, highlight=False, soft_wrap=True)

    def render(self) -> RenderableType:
        """Return the bar, and a row for each verdict that a node has."""
        with self._lock:
            answers = Counter(self._answers.values())
        verdicts: Counter[str] = Counter()
        named: dict[str, Counter[str]] = {}
        for (verdict, names), count in answers.items():
            verdicts[verdict] += count
            for name in names:
                named.setdefault(verdict, Counter())[name] += count
        rows = Table.grid(padding=(0, 2))
        for verdict in _STYLES:
            if verdicts[verdict]:
                most = [f"{name} {count}" for name, count in named.get(verdict, Counter()).most_common(_NAMED)]
                nodes = Text(str(verdicts[verdict]), justify="right")
                rows.add_row(Text(verdict, _STYLES[verdict]), nodes, Text(printable(", ".join(most))))
        return Group(self._bars, rows)


class _Nodes:
    """The bar."""

    def __init__(self, bars: RichProgress, name: str, total: int | None) -> None:
        self._bars, self._task = bars, bars.add_task(name, total=total)

    def advance(self, amount: int) -> None:
        self._bars.update(self._task, advance=amount)

    def total(self, amount: int) -> None:
        self._bars.update(self._task, total=amount)

    def done(self) -> None:
        self._bars.stop_task(self._task)


@contextmanager
def live_table() -> Iterator[AnswerTable]:
    """Show the table on standard error until the block ends; nothing of it is left then."""
    console = Console(stderr=True)
    table = AnswerTable(console)
    with Live(get_renderable=table.render, console=console, refresh_per_second=4, transient=True):
        yield table
