"""One pass over a program's code for what nearly every verdict needs.

These are the places where a known module seems to begin, and which of Go's marker functions are linked in. Reading the
code is most of what that costs, so all is looked for at once, and while the file is hashed where it can be.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby

from .elf import Elf, Segment
from .signals import MARKERS
from .source import ByteSource, windows
from .table import HEAD, Row

#: Go aligns functions on amd64 to 32 bytes, older releases to 16. Linkers put x86_64 modules on a page, a forger could
#: put one on any 16 bytes: with less, its instructions would find their tables misaligned.
_FUNCTION_ALIGNMENT = 16
#: What stands on the border of two pieces is found in a piece of its own, made of this many bytes from either side.
_BORDER = HEAD - 1
#: All markers begin alike, and of what they have in common this is the byte (0xF4) that code has least at this place:
#: one function or loop in two thousand (measured). All x86_64 modules have 0x53 there, code one in a thousand.
_TELLING = 4
_TELLING_BYTE = MARKERS["standard"][_TELLING]
_MARKERS = tuple(MARKERS.values())
#: Code that has it much more often than real code does is searched in a way whose time does not depend on that.
_OFTEN = 64


class Sweep:
    """What one pass shows; pieces of the file are to be shown to it in their order."""

    def __init__(self, elf: Elf, rows: tuple[Row, ...]) -> None:
        """Look through what can be executed of ``elf`` for the modules of ``rows``, those of its machine."""
        self._segments = elf.runnable
        self._x86 = elf.facts.machine == "x86_64"
        self._known = frozenset(row.head for row in rows)
        self._begins = tuple(_patterns(self._known))
        self._heads: set[int] = set()
        self._seen: set[str] = set()
        self._before = b""
        self._next = 0

    @property
    def heads(self) -> tuple[int, ...]:
        """File offsets in executable memory that begin like a known module."""
        return tuple(sorted(self._heads))

    @property
    def standard(self) -> bool:
        """The StandardCrypto marker is there; only x86_64 programs have any."""
        return "standard" in self._seen

    @property
    def boring(self) -> bool:
        """The BoringCrypto marker is there; only x86_64 programs have any."""
        return "boring" in self._seen

    @property
    def shown(self) -> int:
        """File offset up to which pieces were shown."""
        return self._next

    def show(self, offset: int, data: bytes | bytearray, length: int) -> None:
        """Look at the first ``length`` bytes of ``data``, which stand at ``offset`` in the file."""
        if offset != self._next:
            self._before = b""
        if self._before:
            self._look(offset - len(self._before), self._before + data[: min(_BORDER, length)])
        self._look(offset, data, length)
        behind = bytes(data[max(length - _BORDER, 0) : length])
        self._before = (self._before + behind)[-_BORDER:]
        self._next = offset + length

    def _look(self, offset: int, data: bytes | bytearray, length: int | None = None) -> None:
        length = len(data) if length is None else length
        for segment in self._segments:
            low, high = max(segment.offset - offset, 0), min(segment.end - offset, length)
            if low >= high:
                continue
            if self._x86:
                # Where address 0 would stand.
                zero = segment.offset - segment.address - offset
                self._functions(data, offset, low + (zero - low) % _FUNCTION_ALIGNMENT, high)
            else:
                self._heads.update(offset + at for head in self._known for at in _all(data, head, low, high))

    def _functions(self, data: bytes | bytearray, offset: int, first: int, end: int) -> None:
        """Look where a function can begin: at ``first``, and every sixteen bytes on.

        By one byte of what is wanted in a slice of every sixteenth: that touches each line of the processor's cache
        once and compares little, which is four times as fast as looking everywhere.
        """
        column = data[first + _TELLING : end : _FUNCTION_ALIGNMENT]
        self._seen.update(_markers(data, column, first, end))
        for pattern, heads in self._begins:
            for match in pattern.finditer(column):
                at = first + match.start() * _FUNCTION_ALIGNMENT
                if data.startswith(heads, at, end):
                    self._heads.add(offset + at)


def _patterns(heads: frozenset[bytes]) -> Iterator[tuple[re.Pattern[bytes], tuple[bytes, ...]]]:
    """Give what the bytes at the telling places of modules' first bytes match, for those that have the first alike.

    So a pattern begins with one certain byte, which is looked for several times faster than with several.
    """
    columns = sorted((head[_TELLING::_FUNCTION_ALIGNMENT], head) for head in heads)
    for _, group in groupby(columns, key=lambda item: item[0][:1]):
        alike = list(group)
        first = re.escape(alike[0][0][:1])
        others = b"|".join(re.escape(column[1:]) for column, _ in alike)
        yield re.compile(first + b"(?=" + others + b")", re.DOTALL), tuple(head for _, head in alike)


def sweep(source: ByteSource, elf: Elf, rows: tuple[Row, ...]) -> Sweep:
    """Look through what can be executed of a file that is not being read for anything else."""
    found = Sweep(elf, rows)
    for start, end in _stretches(elf.runnable):
        for base, data in windows(source, start, end):
            found.show(base, data, len(data))
    return found


def _stretches(segments: tuple[Segment, ...]) -> Iterator[tuple[int, int]]:
    """Give the stretches of the file that segments cover, each byte once."""
    covered = 0
    for start, end in sorted((segment.offset, segment.end) for segment in segments):
        if end > covered:
            yield max(start, covered), end
            covered = end


def _markers(data: bytes | bytearray, column: bytes | bytearray, first: int, end: int) -> Iterator[str]:
    """Name the markers that stand at ``first`` or a multiple of sixteen bytes on.

    ``column`` has what stands at their telling place.
    """
    most = max(len(column) // _OFTEN, _OFTEN)
    for tried, number in enumerate(_all(column, _TELLING_BYTE, 0, len(column))):
        if tried == most:
            yield from _markers_anyhow(data, first, end)
            return
        at = first + number * _FUNCTION_ALIGNMENT
        if data.startswith(_MARKERS, at, end):
            yield next(name for name, marker in MARKERS.items() if data.startswith(marker, at, end))


def _markers_anyhow(data: bytes | bytearray, first: int, end: int) -> Iterator[str]:
    for name, marker in MARKERS.items():
        if any((at - first) % _FUNCTION_ALIGNMENT == 0 for at in _all(data, marker, first, end)):
            yield name


def _all(data: bytes | bytearray, wanted: bytes | int, start: int, end: int) -> Iterator[int]:
    at = data.find(wanted, start, end)
    while at >= 0:
        yield at
        at = data.find(wanted, at + 1, end)
