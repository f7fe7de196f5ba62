"""Tables that fit the terminal: which columns there is room for, and how wide each may be."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

_GAP = 2
_ELLIPSIS = "..."


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    heading: str
    """What stands above it."""
    least: int
    """Characters that it needs to be of use; a longer cell is shortened to no less."""
    rank: int = 0
    """The column of the highest rank is left out first; one of rank 0 never is."""
    middle: bool = False
    """A cell is shortened in its middle, as what tells one path from another is at its ends."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns that there is room for."""

    columns: tuple[Column, ...]
    """All of them."""
    widths: tuple[int, ...]
    """How wide each is; 0 for one that is left out."""

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
    """Return the columns of the terminal that results go to; None where they go to a file or another program.

    COLUMNS decides where it is set, as for other programs.
    """
    if not sys.stdout.isatty() and "COLUMNS" not in os.environ:
        return None
    return shutil.get_terminal_size((80, 24)).columns


def layout(columns: Sequence[Column], widths: Sequence[int], limit: int | None) -> Layout:
    """Choose columns and their widths for cells that are ``widths`` wide at most, on a line of ``limit`` characters."""
    wanted = [max(width, len(column.heading)) for width, column in zip(widths, columns, strict=True)]
    if limit is None:
        return Layout(tuple(columns), tuple(wanted))
    least = [min(width, column.least) for width, column in zip(wanted, columns, strict=True)]
    kept = set(range(len(columns)))
    for index in sorted(kept, key=lambda index: -columns[index].rank):
        if columns[index].rank and _total([least[number] for number in kept]) > limit:
            kept.remove(index)
    final = [least[number] if number in kept else 0 for number in range(len(columns))]
    spare = max(limit - _total([width for width in final if width]), 0)
    for index in sorted(kept, key=lambda index: columns[index].rank):
        more = min(wanted[index] - final[index], spare)
        final[index] += more
        spare -= more
    return Layout(tuple(columns), tuple(final))


def widest(found: Layout, room: int | None, heading: str) -> Layout:
    """Give a column all the room that is left, for rows that are not known yet."""
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
