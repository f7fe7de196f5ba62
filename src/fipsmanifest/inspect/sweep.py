"""One pass over a program's code for the two things that nearly every verdict needs.

These are the places where a known module seems to begin, and whether Go's plain cryptography is linked in. Reading
the code is most of what they cost, so both are looked for in the same window.
"""

from __future__ import annotations

from dataclasses import dataclass

from .elf import PAGE, Elf
from .signals import MARKERS
from .source import ByteSource, find, windows
from .table import HEAD, Row

#: Go aligns functions on amd64 to 32 bytes, older releases to 16; x86_64 modules start on a page.
_FUNCTION_ALIGNMENT = 16
#: A module's head or a marker on a window's border is whole in the next one.
_OVERLAP = HEAD - 1


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
    heads, standard = set(), False
    by_first_byte = {row.head[0] for row in rows}
    known = {row.head for row in rows}
    for segment in elf.executable:
        for base, data in windows(source, segment.offset, segment.end, _OVERLAP):
            # Where address 0 would stand, from the window's start.
            zero = segment.offset - segment.address - base
            first = zero % PAGE
            for number, byte in enumerate(data[first::PAGE]):
                if byte in by_first_byte and data[first + number * PAGE : first + number * PAGE + HEAD] in known:
                    heads.add(base + first + number * PAGE)
            standard = standard or _marked(data, MARKERS["standard"], zero % _FUNCTION_ALIGNMENT)
    return Sweep(tuple(sorted(heads)), standard)


def has_marker(source: ByteSource, elf: Elf, name: str) -> bool:
    """Look for one marker function where functions can begin; x86_64 only."""
    return any(
        _marked(data, MARKERS[name], (segment.offset - segment.address - base) % _FUNCTION_ALIGNMENT)
        for segment in elf.executable
        for base, data in windows(source, segment.offset, segment.end, _OVERLAP)
    )


def _marked(data: bytes, marker: bytes, first: int) -> bool:
    """Look for a marker at ``first`` and every sixteen bytes on, by two of its bytes in a slice of every sixteenth.

    That touches each byte once and compares few, which is more than twice as fast as looking everywhere.
    """
    column, pair = data[first::_FUNCTION_ALIGNMENT], marker[::_FUNCTION_ALIGNMENT]
    at = column.find(pair)
    while at >= 0 and not data.startswith(marker, first + at * _FUNCTION_ALIGNMENT):
        at = column.find(pair, at + 1)
    return at >= 0
