"""The runtime's table of functions (``pclntab``), for the names of a program's functions, which stripping leaves there.

The layout is that of Go's ``debug/gosym``: a magic for each version of the table, two zero bytes, the sizes of an
instruction and of a pointer, and then words, among them where the names begin and end.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from .elf import PAGE, Elf, Segment
from .memory import PAGES, merge_ranges
from .source import ByteSource, windows

#: Magic -> which word gives the offset of the names; the next one is that of what stands behind them. In the oldest
#: (Go 1.2 to 1.15) names stand among everything else.
_NAMES_WORD = {0xFFFFFFF1: 3, 0xFFFFFFF0: 3, 0xFFFFFFFA: 2, 0xFFFFFFFB: None}
#: Bytes that instructions are a multiple of, by machine (``internal/goarch``, ``PCQuantum``).
_QUANTUM = {"x86_64": 1, "aarch64": 4}
_QUANTA = (1, 2, 4)
_PREAMBLE = 8
#: A real program has one; what has more than this is an attempt to keep us busy.
_MOST_HEADERS = 3

#: Names of functions stand one after another, each ended by a zero byte.
_FUNCTION = rb"[A-Za-z0-9_/.-]{0,255}\.[A-Za-z_(]"
#: Files' names stand in the same form behind them; no function can be named so, as ``go`` is a keyword.
_FILE = rb"[A-Za-z0-9_/.-]{0,255}\.go\0"
_LONGEST = 256
_RUNTIME = b"\0runtime."


@dataclass(frozen=True, slots=True)
class NamedFunction:
    """A function's name in the table."""

    name: str
    """The part of it that was looked for."""
    offset: int
    """Where it stands in the file."""


@dataclass(frozen=True, slots=True)
class FunctionTable:
    """Where functions are named."""

    offset: int | None
    """File offset of the table; None where there is none that can be read and names functions of Go's runtime, which
    are in every program."""
    names: tuple[tuple[int, int], ...]
    """Stretches of the file in which to look for names: the table's own, or else all that is not code."""
    memory: tuple[tuple[int, int], ...]
    """All that is mapped, which is whole pages: the runtime has names from nowhere else, and does not ask the table's
    header where."""

    def first(
        self, source: ByteSource, prefixes: tuple[bytes, ...], but: re.Pattern[bytes] | None = None
    ) -> NamedFunction | None:
        """Find a function whose name begins with one of ``prefixes``, a zero byte before each, and not with ``but``."""
        return _first(source, self.names, prefixes, but)

    def first_anywhere(
        self, source: ByteSource, prefixes: tuple[bytes, ...], but: re.Pattern[bytes] | None = None
    ) -> NamedFunction | None:
        """Find the same wherever the runtime could have it from: for what no header may hide."""
        found = _first(source, self.names, prefixes, but) if self.offset is not None else None
        return found or _first(source, self.memory, prefixes, but)


def read(source: ByteSource, elf: Elf) -> FunctionTable:
    """Find the table of a Go program."""
    memory = tuple(_memory(source, elf))
    section = elf.section(".gopclntab") or elf.section(".data.rel.ro.gopclntab")
    places = [(section.offset, section.offset + section.size)] if section else []
    # A section is what a header says, a segment what is mapped.
    places = [place for place in places if any(start <= place[0] and place[1] <= end for start, end in memory)]
    segments = sorted(elf.loads, key=lambda segment: segment.executable)
    likely = (*places, *(pages(elf, segment) for segment in segments))
    seeming = ((at, end) for start, end in likely for at in headers(source, elf, start, end))
    for at, end in islice(seeming, _MOST_HEADERS):
        names = _names(source, elf, at, end)
        found = FunctionTable(at, (names,), memory) if names else None
        if found and found.first(source, (_RUNTIME,)):
            return found
    data = ((segment.offset, segment.end) for segment in elf.loads if not segment.executable)
    return FunctionTable(None, tuple(places or data), memory)


def _memory(source: ByteSource, elf: Elf) -> Iterator[tuple[int, int]]:
    """Yield the stretches of the file that any loader maps, each byte once."""
    for start, end in elf.memory.mapped() or merge_ranges(sorted((load.offset, load.end) for load in elf.loads)):
        yield start, min(end, source.size)


def pages(elf: Elf, segment: Segment) -> tuple[int, int]:
    """Return the stretch of the file, from its offset to its end, that is mapped with a segment: whole pages."""
    page = max(PAGES.get(elf.facts.machine, (PAGE,)))
    return segment.offset // page * page, -(-segment.end // page) * page


def headers(source: ByteSource, elf: Elf, start: int, end: int) -> Iterator[int]:
    """Yield the offsets at which such a table seems to begin."""
    kinds = [_header(elf.order, quantum, elf.facts.bits // 8) for quantum in _quanta(elf)]
    for base, data in windows(source, start, end, _LONGEST):
        for common, pattern in kinds:
            at = data.find(common)
            if at >= 0:
                yield from (base + match.start() for match in pattern.finditer(data, max(at - 4, 0)))


def _quanta(elf: Elf) -> tuple[int, ...]:
    """Return what the size of an instruction can be; the runtime checks it, and that of a pointer, as it starts."""
    known = _QUANTUM.get(elf.facts.machine)
    return (known,) if known else _QUANTA


@lru_cache(maxsize=64)
def _header(order: str, quantum: int, pointer: int) -> tuple[bytes, re.Pattern[bytes]]:
    """Return what the headers of all versions have in common, which is fast to look for, and what matches them."""
    magics = [struct.pack(order + "I", magic) for magic in _NAMES_WORD]
    rest = bytes((0, 0, quantum, pointer))
    common = magics[0][1:] + rest if order == "<" else magics[0][:3]
    return common, re.compile(b"(?:" + b"|".join(map(re.escape, magics)) + b")" + re.escape(rest), re.DOTALL)


def _names(source: ByteSource, elf: Elf, at: int, end: int) -> tuple[int, int] | None:
    """Give the stretch of a table's names, None where what its header says cannot be."""
    preamble = source.read_at(at, _PREAMBLE)
    word = _NAMES_WORD[struct.unpack_from(elf.order + "I", preamble)[0]]
    if word is None:
        return at, end
    form = elf.order + ("2Q" if preamble[7] == 8 else "2I")
    place = source.read_at(at + _PREAMBLE + word * preamble[7], struct.calcsize(form))
    if len(place) < struct.calcsize(form):
        return None
    first, behind = struct.unpack(form, place)
    return (at + first, at + behind) if 0 < first < behind <= end - at else None


def _first(
    source: ByteSource,
    stretches: tuple[tuple[int, int], ...],
    prefixes: tuple[bytes, ...],
    but: re.Pattern[bytes] | None,
) -> NamedFunction | None:
    found = (
        NamedFunction(prefix[1:].decode(), at + 1)
        for prefix in prefixes
        for start, end in stretches
        for at in _matches(source, start, end, prefix, _name(prefix, but))
    )
    return next(found, None)


@lru_cache(maxsize=64)
def _name(prefix: bytes, but: re.Pattern[bytes] | None) -> re.Pattern[bytes]:
    """Match a function's name that begins with ``prefix``, the zero byte before it, and not with ``but``."""
    other = b"(?!" + (but.pattern + b"|" if but else b"") + _FILE + b")"
    return re.compile(b"\0(?=" + re.escape(prefix[1:]) + b")" + other + _FUNCTION)


def _matches(source: ByteSource, start: int, end: int, first: bytes, pattern: re.Pattern[bytes]) -> Iterator[int]:
    """Give where ``pattern``, which begins with ``first``, matches.

    Looking for those bytes is fastest; once they are seen, the pattern decides, however often they stand there.
    """
    for base, data in windows(source, start, end, _LONGEST):
        at = data.find(first)
        if at >= 0:
            yield from (base + match.start() for match in pattern.finditer(data, at))
