"""One pass over a program's code for the two things that nearly every verdict needs.

These are the places where a known module seems to begin, and whether Go's plain cryptography is linked in. Reading
the code is most of what they cost, so both are looked for in the same window.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .elf import PAGE, Elf, Segment
from .signals import MARKERS
from .source import ByteSource, find, windows
from .table import HEAD, Row

_PROBE = 16


@dataclass(frozen=True, slots=True)
class Sweep:
    """What one pass showed."""

    heads: tuple[int, ...]
    """File offsets in executable memory that begin like a known module."""
    standard: bool
    """The StandardCrypto marker is there; only x86_64 programs have any."""


def sweep(source: ByteSource, elf: Elf, rows: tuple[Row, ...]) -> Sweep:
    """Look through the executable segments once."""
    if elf.facts.machine != "x86_64":
        heads = {
            at
            for segment in elf.executable
            for row in rows
            for at in find(source, segment.offset, segment.end, row.head)
        }
        return Sweep(tuple(sorted(heads)), standard=False)
    pages: set[int] = set()
    standard = False
    for segment in elf.executable:
        for found in _windows(source, segment, {row.head[:_PROBE] for row in rows}):
            pages |= found.pages
            standard = standard or found.standard
    full = {row.head for row in rows}
    return Sweep(tuple(sorted(at for at in pages if source.read_at(at, HEAD) in full)), standard)


@dataclass(frozen=True, slots=True)
class _Found:
    pages: set[int]
    standard: bool


def _windows(source: ByteSource, segment: Segment, probes: set[bytes]) -> Iterator[_Found]:
    marker = MARKERS["standard"]
    for base, data in windows(source, segment.offset, segment.end, len(marker) - 1):
        # x86_64 modules start on a page.
        first = (segment.offset - segment.address - base) % PAGE
        pages = {base + at for at in range(first, len(data), PAGE) if data[at : at + _PROBE] in probes}
        yield _Found(pages, marker in data)
