"""A single pass over a program for the facts that nearly every verdict needs.

These are the places in its code where a known module seems to begin, which of Go's marker functions are linked in, and
how many build infos are in its data: a second one belongs to a program that is embedded in it. Most of the cost is
reading, so one pass searches for all of them, if possible while the file is hashed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby, islice

from .buildinfo import HEADER, MAGIC
from .elf import Elf
from .memory import merge_ranges
from .signals import MARKERS, Markers
from .source import ByteSource, windows
from .table import HEAD, Row

#: Go aligns functions on amd64 to 32 bytes, older releases to 16. Linkers align x86_64 modules to a page; a forger
#: could align one to 16 bytes, but no less: its instructions need aligned tables.
_FUNCTION_ALIGNMENT = 16
#: What crosses the border of two pieces is found in a piece of its own, made of this many bytes from each side.
_BORDER = HEAD - 1
#: The offset of a byte that all markers have in common (0xF4) and that is the rarest one at its place in code: in one
#: of two thousand functions or loops (measured). All x86_64 modules have 0x53 there, as one of a thousand in code.
_PROBE = 4
_PROBE_BYTE = MARKERS["standard"][_PROBE]
_MARKERS = tuple(MARKERS.values())
#: Code that has the byte much more often than real code is searched by a method whose time does not depend on it.
_OFTEN = 64
#: Go's linker aligns build info to 16 bytes, and embedded files too (measured). This byte of the magic, a colon, is the
#: rarest one at its place in data.
_DATA_ALIGNMENT = 16
_DATA_PROBE = 13
#: Sixteen bytes after it is the rest of a header, which is empty, or the high part of an address, which is zero on all
#: machines that are little endian.
_INFO_COLUMN = re.compile(re.escape(MAGIC[_DATA_PROBE : _DATA_PROBE + 1]) + rb"(?=\0|\Z)")
_INFO_SIZE = 16
#: Modules in data that are noted; they are evidence, and more add nothing.
_MOST_IN_DATA = 64
#: A program has one of each marker.
_MOST_MARKERS = 1 << 12


class Sweep:
    """The pass: pieces of the file are fed in their order."""

    def __init__(self, elf: Elf, rows: tuple[Row, ...], *, in_data: bool = True) -> None:
        """Search for the modules of ``rows``, which are those of the machine of ``elf``; ``in_data`` also in data."""
        #: Of each segment of code: its range in the file, and the offset that address 0 would have.
        self._code = [(segment.offset, segment.end, segment.offset - segment.address) for segment in elf.runnable]
        self._data = _data(elf)
        self._end = _end(elf)
        self._infos = 0
        self._x86 = elf.facts.machine == "x86_64"
        self._known = frozenset(row.head for row in rows)
        self._begins = tuple(_patterns(self._known, _PROBE))
        self._in_data = tuple(_patterns(self._known, _DATA_PROBE)) if in_data else ()
        self._heads: set[int] = set()
        self._data_heads: set[int] = set()
        self._markers: dict[str, set[int]] = {name: set() for name in MARKERS}
        self._before = b""
        self._next = 0

    @property
    def heads(self) -> tuple[int, ...]:
        """File offsets in executable memory that begin like a known module."""
        return tuple(sorted(self._heads))

    @property
    def data_heads(self) -> tuple[int, ...]:
        """File offsets in data, on 16 bytes, that begin like a known module; no more than a few."""
        return tuple(sorted(self._data_heads))

    @property
    def markers(self) -> Markers:
        """How often each marker was found where a function can begin; only x86_64 programs have markers."""
        return Markers(**{name: len(places) for name, places in self._markers.items()})

    @property
    def build_infos(self) -> int:
        """The number of headers of Go's build info in data, and in bytes after the program in its file."""
        return self._infos

    @property
    def fed(self) -> int:
        """File offset after the last piece."""
        return self._next

    def feed(self, offset: int, data: bytes | bytearray, length: int) -> None:
        """Search the first ``length`` bytes of ``data``, which are at ``offset`` of the file."""
        if offset != self._next:
            self._before = b""
        # Most borders are within data, where modules are searched in some programs only.
        if self._before and (self._in_data or any(start < offset < end for start, end, _ in self._code)):
            border, begin = self._before + data[: min(_BORDER, length)], offset - len(self._before)
            self._search(begin, border)
            # Build info is aligned, and so are pieces: no border divides it.
            if self._in_data:
                self._search_data(begin, border, len(border))
        self._search(offset, data, length)
        self._infos += self._search_data(offset, data, length) + self._infos_behind(offset, data, length)
        behind = bytes(data[max(length - _BORDER, 0) : length])
        self._before = behind if len(behind) == _BORDER else (self._before + behind)[-_BORDER:]
        self._next = offset + length

    def _search(self, offset: int, data: bytes | bytearray, length: int | None = None) -> None:
        length = len(data) if length is None else length
        for start, end, zero in self._code:
            if end <= offset or offset + length <= start:
                continue
            low, high = max(start - offset, 0), min(end - offset, length)
            if self._x86:
                self._functions(data, offset, low + (zero - offset - low) % _FUNCTION_ALIGNMENT, high)
            else:
                self._heads.update(offset + at for head in self._known for at in _find_all(data, head, low, high))

    def _infos_behind(self, offset: int, data: bytes | bytearray, length: int) -> int:
        """Count headers of build info after the program's end."""
        if offset + length <= self._end:
            return 0
        # With the last bytes of the previous piece, a header on the border is whole.
        before = self._before[-_INFO_SIZE + 1 :] if self._end < offset else b""
        return sum(1 for _ in HEADER.finditer(before + data[max(self._end - offset, 0) : length]))

    def _search_data(self, offset: int, data: bytes | bytearray, length: int) -> int:
        """Search data for modules and for headers of build info that are on 16 bytes, and count the latter."""
        infos = 0
        for start, end in self._data:
            low, high = max(start - offset, 0), min(end - offset, length)
            first = low + -(offset + low) % _DATA_ALIGNMENT
            if first >= high:
                continue
            column = data[first + _DATA_PROBE : high : _DATA_ALIGNMENT]
            infos += _aligned_infos(data, column, first, high)
            for pattern, heads in self._in_data:
                for match in pattern.finditer(column):
                    at = first + match.start() * _DATA_ALIGNMENT
                    if data.startswith(heads, at, high) and len(self._data_heads) < _MOST_IN_DATA:
                        self._data_heads.add(offset + at)
        return infos

    def _functions(self, data: bytes | bytearray, offset: int, first: int, end: int) -> None:
        """Search where functions can begin: at ``first``, and every sixteen bytes after it.

        It takes a slice of every sixteenth byte and searches that for one byte of each pattern. This reads each line of
        the processor's cache once and compares little, which is four times as fast as a search everywhere.
        """
        column = data[first + _PROBE : end : _FUNCTION_ALIGNMENT]
        for name, at in _markers(data, column, first, end):
            if len(self._markers[name]) < _MOST_MARKERS:
                self._markers[name].add(offset + at)
        for pattern, heads in self._begins:
            for match in pattern.finditer(column):
                at = first + match.start() * _FUNCTION_ALIGNMENT
                if data.startswith(heads, at, end):
                    self._heads.add(offset + at)


def _patterns(heads: frozenset[bytes], probe: int) -> Iterator[tuple[re.Pattern[bytes], tuple[bytes, ...]]]:
    """Yield a pattern for the probe bytes of modules' heads, and these heads, for those with the same first probe byte.

    Such a pattern begins with a single byte, which is found several times faster than one of several bytes.
    """
    columns = sorted((head[probe::_FUNCTION_ALIGNMENT], head) for head in heads)
    for _, group in groupby(columns, key=lambda item: item[0][:1]):
        alike = list(group)
        first = re.escape(alike[0][0][:1])
        others = b"|".join(re.escape(column[1:]) for column, _ in alike)
        yield re.compile(first + b"(?=" + others + b")", re.DOTALL), tuple(head for _, head in alike)


def sweep(source: ByteSource, elf: Elf, rows: tuple[Row, ...], *, in_data: bool = True) -> Sweep:
    """Read the parts of a file that are searched, and return the finished pass, as `Sweep` takes it."""
    found = Sweep(elf, rows, in_data=in_data)
    code = [(segment.offset, segment.end) for segment in elf.runnable]
    # Build info is aligned, so a range that begins aligned does not divide it.
    others = [(start // _DATA_ALIGNMENT * _DATA_ALIGNMENT, end) for start, end in _data(elf)]
    for start, end in merge_ranges(sorted([*code, *others, (_end(elf), source.size)])):
        for base, data in windows(source, start, end):
            found.feed(base, data, len(data))
    return found


def _data(elf: Elf) -> tuple[tuple[int, int], ...]:
    """Return the ranges of a program's data in its file."""
    return tuple(merge_ranges(sorted((load.offset, load.end) for load in elf.loads if not load.executable)))


def _end(elf: Elf) -> int:
    """Return the end of a program in its file: the offset after everything that its headers refer to."""
    ends = [segment.end for segment in elf.segments] + [section.offset + section.size for section in elf.sections]
    return max([*ends, elf.headers_end])


def _aligned_infos(data: bytes | bytearray, column: bytes | bytearray, first: int, high: int) -> int:
    """Count headers of build info at ``first`` or a multiple of sixteen bytes after it.

    ``column`` has their probe bytes.
    """
    found, most = 0, max(len(column) // _OFTEN, _OFTEN)
    for match in islice(_INFO_COLUMN.finditer(column), most):
        at = first + match.start() * _DATA_ALIGNMENT
        if data.startswith(MAGIC, at) and HEADER.match(data, at, high):
            found += 1
    return found


def _markers(data: bytes | bytearray, column: bytes | bytearray, first: int, end: int) -> Iterator[tuple[str, int]]:
    """Yield the names of markers at ``first`` or a multiple of sixteen bytes after it, and where they are.

    ``column`` has their probe bytes.
    """
    most = max(len(column) // _OFTEN, _OFTEN)
    for tried, number in enumerate(_find_all(column, _PROBE_BYTE, 0, len(column))):
        if tried == most:
            yield from _markers_everywhere(data, first, end)
            return
        at = first + number * _FUNCTION_ALIGNMENT
        if data.startswith(_MARKERS, at, end):
            yield next(name for name, marker in MARKERS.items() if data.startswith(marker, at, end)), at


def _markers_everywhere(data: bytes | bytearray, first: int, end: int) -> Iterator[tuple[str, int]]:
    for name, marker in MARKERS.items():
        for at in _find_all(data, marker, first, end):
            if (at - first) % _FUNCTION_ALIGNMENT == 0:
                yield name, at


def _find_all(data: bytes | bytearray, needle: bytes | int, start: int, end: int) -> Iterator[int]:
    at = data.find(needle, start, end)
    while at >= 0:
        yield at
        at = data.find(needle, at + 1, end)
