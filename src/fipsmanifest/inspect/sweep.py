"""One pass over a program for what nearly every verdict needs.

These are the places in its code where a known module seems to begin, which of Go's marker functions are linked in, and
how many build infos are in its data: a second one is that of another program within it. Reading is most of what that
costs, so all is looked for at once, and while the file is hashed where it can be.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby

from .buildinfo import HEADER, MAGIC
from .elf import Elf
from .memory import merge_ranges
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
#: Go's linker puts build info on 16 bytes, and files that it embeds too (measured). This byte of the magic, a colon,
#: is the rarest one of data at its place.
_INFO_ALIGNMENT = 16
_INFO_TELLING = 13
_INFO_TELLING_BYTE = MAGIC[_INFO_TELLING]
_INFO_SIZE = 16


class Sweep:
    """What one pass shows; pieces of the file are to be shown to it in their order."""

    def __init__(self, elf: Elf, rows: tuple[Row, ...]) -> None:
        """Look through what can be executed of ``elf`` for the modules of ``rows``, those of its machine."""
        self._segments = elf.runnable
        self._data = _data(elf)
        self._end = _end(elf)
        self._infos = 0
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
    def build_infos(self) -> int:
        """How many headers of Go's build info are in data, which includes what follows the program in its file."""
        return self._infos

    @property
    def fed(self) -> int:
        """File offset up to which pieces were shown."""
        return self._next

    def feed(self, offset: int, data: bytes | bytearray, length: int) -> None:
        """Look at the first ``length`` bytes of ``data``, which stand at ``offset`` in the file."""
        if offset != self._next:
            self._before = b""
        if self._before:
            self._search(offset - len(self._before), self._before + data[: min(_BORDER, length)])
        self._search(offset, data, length)
        self._infos += self._build_infos(offset, data, length)
        behind = bytes(data[max(length - _BORDER, 0) : length])
        self._before = (self._before + behind)[-_BORDER:]
        self._next = offset + length

    def _search(self, offset: int, data: bytes | bytearray, length: int | None = None) -> None:
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

    def _build_infos(self, offset: int, data: bytes | bytearray, length: int) -> int:
        """Count headers of build info in data, where they are aligned, and behind the end, where they need not be."""
        found = sum(_aligned_infos(data, offset, max(a - offset, 0), min(b - offset, length)) for a, b in self._data)
        if offset + length > self._end:
            # One that begins in the piece before is whole with that piece's last bytes.
            before = self._before[-_INFO_SIZE + 1 :] if self._end < offset else b""
            found += sum(1 for _ in HEADER.finditer(before + data[max(self._end - offset, 0) : length]))
        return found

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
    code = [(segment.offset, segment.end) for segment in elf.runnable]
    # Nothing that is looked for is divided where a stretch begins.
    others = [(start // _INFO_ALIGNMENT * _INFO_ALIGNMENT, end) for start, end in _data(elf)]
    for start, end in merge_ranges(sorted([*code, *others, (_end(elf), source.size)])):
        for base, data in windows(source, start, end):
            found.feed(base, data, len(data))
    return found


def _data(elf: Elf) -> tuple[tuple[int, int], ...]:
    """Return where the data of a program is in its file."""
    return tuple(merge_ranges(sorted((load.offset, load.end) for load in elf.loads if not load.executable)))


def _end(elf: Elf) -> int:
    """Return where a program ends in its file: the offset behind everything that its headers name."""
    ends = [segment.end for segment in elf.segments] + [section.offset + section.size for section in elf.sections]
    return max([*ends, elf.headers_end])


def _aligned_infos(data: bytes | bytearray, offset: int, low: int, high: int) -> int:
    """Count headers of build info between two places of ``data``, which is at ``offset`` in the file."""
    first = low + -(offset + low) % _INFO_ALIGNMENT
    if first >= high:
        return 0
    column = data[first + _INFO_TELLING : high : _INFO_ALIGNMENT]
    found, left, number = 0, max(len(column) // _OFTEN, _OFTEN), column.find(_INFO_TELLING_BYTE)
    while number >= 0 and left:
        at, left = first + number * _INFO_ALIGNMENT, left - 1
        if data.startswith(MAGIC, at) and HEADER.match(data, at, high):
            found += 1
        number = column.find(_INFO_TELLING_BYTE, number + 1)
    return found


def _markers(data: bytes | bytearray, column: bytes | bytearray, first: int, end: int) -> Iterator[str]:
    """Name the markers that stand at ``first`` or a multiple of sixteen bytes on.

    ``column`` has what stands at their telling place.
    """
    most = max(len(column) // _OFTEN, _OFTEN)
    for tried, number in enumerate(_all(column, _TELLING_BYTE, 0, len(column))):
        if tried == most:
            yield from _markers_everywhere(data, first, end)
            return
        at = first + number * _FUNCTION_ALIGNMENT
        if data.startswith(_MARKERS, at, end):
            yield next(name for name, marker in MARKERS.items() if data.startswith(marker, at, end))


def _markers_everywhere(data: bytes | bytearray, first: int, end: int) -> Iterator[str]:
    for name, marker in MARKERS.items():
        if any((at - first) % _FUNCTION_ALIGNMENT == 0 for at in _all(data, marker, first, end)):
            yield name


def _all(data: bytes | bytearray, wanted: bytes | int, start: int, end: int) -> Iterator[int]:
    at = data.find(wanted, start, end)
    while at >= 0:
        yield at
        at = data.find(wanted, at + 1, end)
