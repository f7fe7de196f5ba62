"""Tables that fit the terminal: the columns that are shown, and their widths."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

_GAP = 2
_ELLIPSIS = "..."

#: What can be recognised of a path or a fingerprint that is shortened in its middle.
_LEAST_OF_A_PATH = 12


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    heading: str
    """Its heading."""
    least: int
    """Its minimum width in characters; a longer cell is not shortened below it, but to fit the line in its middle."""
    rank: int = 0
    """The column of the highest rank is left out first; one of rank 0 is always shown."""
    middle: bool = False
    """Whether a cell is shortened in its middle, because paths differ at their ends."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns and their widths."""

    columns: tuple[Column, ...]
    """All of them."""
    widths: tuple[int, ...]
    """The width of each in characters; 0 for one that is left out."""

    def row(self, cells: Sequence[str]) -> str:
        """Return one line."""
        shown = [
            _shortened(cell, width, column).ljust(width)
            for cell, width, column in zip(cells, self.widths, self.columns, strict=True)
            if width
        ]
        return (" " * _GAP).join(shown).rstrip()

    def headings(self) -> str:
        """Return the line above the rows."""
        return self.row([column.heading for column in self.columns])


def terminal() -> int | None:
    """Return the width of the terminal on stdout in characters; None if stdout is a file or a pipe.

    COLUMNS overrides it, as for other programs.
    """
    if not sys.stdout.isatty() and "COLUMNS" not in os.environ:
        return None
    return shutil.get_terminal_size((80, 24)).columns


def layout(columns: Sequence[Column], widths: Sequence[int], limit: int | None) -> Layout:
    """Return the layout for cells of at most ``widths`` characters on a line of ``limit`` characters."""
    wanted = [max(width, len(column.heading)) for width, column in zip(widths, columns, strict=True)]
    if limit is None:
        return Layout(tuple(columns), tuple(wanted))
    least = [min(width, column.least) for width, column in zip(wanted, columns, strict=True)]
    kept = set(range(len(columns)))
    for index in sorted(kept, key=lambda index: -columns[index].rank):
        if columns[index].rank and _total([least[number] for number in kept]) > limit:
            kept.remove(index)
    final = [least[number] if number in kept else 0 for number in range(len(columns))]
    missing = max(_total([width for width in final if width]) - limit, 0)
    for index in kept:
        if columns[index].middle:
            less = min(max(final[index] - _LEAST_OF_A_PATH, 0), missing)
            final[index] -= less
            missing -= less
    spare = max(limit - _total([width for width in final if width]), 0)
    for index in sorted(kept, key=lambda index: columns[index].rank):
        more = min(wanted[index] - final[index], spare)
        final[index] += more
        spare -= more
    return Layout(tuple(columns), tuple(final))


def widest(found: Layout, room: int | None, heading: str) -> Layout:
    """Return the layout with the rest of the line given to one column, for rows that are not known yet."""
    if room is None:
        return found
    spare = max(room - _total([width for width in found.widths if width]), 0)
    widths = (
        width + spare if column.heading == heading else width
        for width, column in zip(found.widths, found.columns, strict=True)
    )
    return replace(found, widths=tuple(widths))


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _shortened(cell: str, width: int, column: Column) -> str:
    if len(cell) <= width:
        return cell
    if width <= len(_ELLIPSIS):
        return cell[:width]
    kept = width - len(_ELLIPSIS)
    behind = kept * 3 // 4 if column.middle else 0
    return cell[: kept - behind] + _ELLIPSIS + cell[len(cell) - behind :]
