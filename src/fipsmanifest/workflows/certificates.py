"""The table of certificates that can be newer than this program: use the kept one."""

from __future__ import annotations

from pathlib import Path

from ..errors import Incomplete
from ..inspect import table
from ..inspect.table import Table
from ..state import certificates as state


def load(modules: Path | None = None, references: Path | None = None) -> Table:
    """Read the table of modules as `table.load`, with the kept certificates if they are newer than the shipped ones.

    For verbs that report on the day. What is released and published does not depend on it: the same definition gives
    the same manifest on every machine. Raises `Incomplete` if the kept table cannot be read.
    """
    shipped = table.load(modules, references)
    try:
        path = state.kept_file()
    except Incomplete:
        return shipped  # Without a home directory nothing was kept.
    kept = state.read(path)
    if kept is None:
        return shipped
    # Here, because pydantic takes as long to import as a small program takes to inspect, and few machines keep a table.
    from .certificate_update import newest

    return newest(shipped, kept)


def newer_dates() -> tuple[tuple[int, str], ...]:
    """Return certificates by number with the day of their move to the historical list, if a newer table was kept."""
    found = load()
    if found.origin is None:
        return ()
    ends = ((item.number, item.historical_since or item.sunset) for item in found.certificates)
    return tuple((number, end.isoformat()) for number, end in ends if end is not None)
