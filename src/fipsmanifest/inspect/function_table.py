"""The function table of Go's runtime (``pclntab``): where it is, and a search in its names of functions.

Stripping does not remove it. The layout is that of Go's ``debug/gosym``: a magic for each version of the table, two
zero bytes, the sizes of an instruction and of a pointer, and then words, among them the offsets of the names.
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

#: Magic -> the word that has the offset of the names; the next word has the offset of their end. In the oldest version
#: (Go 1.2 to 1.15), names are among other data.
_NAMES_WORD = {0xFFFFFFF1: 3, 0xFFFFFFF0: 3, 0xFFFFFFFA: 2, 0xFFFFFFFB: None}
#: Alignment of instructions in bytes, by machine (``internal/goarch``, ``PCQuantum``).
_QUANTUM = {"x86_64": 1, "aarch64": 4}
_QUANTA = (1, 2, 4)
_PREAMBLE = 8
#: Headers considered: bounds the time for files with many; a real program has one.
_MAX_HEADERS = 3

#: Names of functions follow one another, each ended by a zero byte.
_FUNCTION = rb"[A-Za-z0-9_/.-]{0,255}\.[A-Za-z_(]"
#: Names of files have the same form and follow them; a function cannot have such a name, because ``go`` is a keyword.
_FILE = rb"[A-Za-z0-9_/.-]{0,255}\.go\0"
_MAX_NAME = 256
_RUNTIME = b"\0runtime."


@dataclass(frozen=True, slots=True)
class NamedFunction:
    """The name of a function in the table."""

    name: str
    """The prefix that was searched for."""
    offset: int
    """Its file offset."""


@dataclass(frozen=True, slots=True)
class FunctionTable:
    """Where the names of functions are in a file."""

    offset: int | None
    """File offset of the table; None if no table can be read that has functions of Go's runtime, which every program
    has."""
    names: tuple[tuple[int, int], ...]
    """Ranges of the file that have the names: those of the table, or else everything that is not code."""
    memory: tuple[tuple[int, int], ...]
    """Ranges of the file that are mapped, in whole pages: the runtime can read names from all of these, regardless of
    the table's header."""

    @property
    def names_apart(self) -> bool:
        """Whether the table can be read, and its range of names has nothing else (Go 1.16 and later)."""
        return self.offset is not None and self.names[0][0] > self.offset

    def first(
        self, source: ByteSource, prefixes: tuple[bytes, ...], but: re.Pattern[bytes] | None = None
    ) -> NamedFunction | None:
        """Return a function whose name begins with one of ``prefixes`` (each after a zero byte) and not ``but``."""
        return _first(source, self.names, prefixes, but)

    def first_anywhere(
        self, source: ByteSource, prefixes: tuple[bytes, ...], but: re.Pattern[bytes] | None = None
    ) -> NamedFunction | None:
        """Return the same from all mapped memory, so that no header can hide it."""
        found = _first(source, self.names, prefixes, but) if self.offset is not None else None
        return found or _first(source, self.memory, prefixes, but)


def read(source: ByteSource, elf: Elf) -> FunctionTable:
    """Find the table of a Go program."""
    memory = tuple(_memory(source, elf))
    section = elf.section(".gopclntab") or elf.section(".data.rel.ro.gopclntab")
    places = [(section.offset, section.offset + section.size)] if section else []
    # Section headers are claims; only what is mapped counts.
    places = [place for place in places if any(start <= place[0] and place[1] <= end for start, end in memory)]
    segments = sorted(elf.loads, key=lambda segment: segment.executable)
    likely = (*places, *(pages(elf, segment) for segment in segments))
    candidates = ((at, end) for start, end in likely for at in headers(source, elf, start, end))
    for at, end in islice(candidates, _MAX_HEADERS):
        names = _names(source, elf, at, end)
        found = FunctionTable(at, (names,), memory) if names else None
        if found and found.first(source, (_RUNTIME,)):
            return found
    data = ((segment.offset, segment.end) for segment in elf.loads if not segment.executable)
    return FunctionTable(None, tuple(places or data), memory)


def _memory(source: ByteSource, elf: Elf) -> Iterator[tuple[int, int]]:
    """Yield the ranges of the file that any loader maps, each byte once."""
    for start, end in elf.memory.mapped() or merge_ranges(sorted((load.offset, load.end) for load in elf.loads)):
        yield start, min(end, source.size)


def pages(elf: Elf, segment: Segment) -> tuple[int, int]:
    """Return the range of the file (offset, end) that is mapped with a segment: whole pages."""
    page = max(PAGES.get(elf.facts.machine, (PAGE,)))
    return segment.offset // page * page, -(-segment.end // page) * page


def headers(source: ByteSource, elf: Elf, start: int, end: int) -> Iterator[int]:
    """Yield the file offsets at which a table seems to begin."""
    kinds = [_header(elf.order, quantum, elf.facts.bits // 8) for quantum in _quanta(elf)]
    for base, data in windows(source, start, end, _MAX_NAME):
        for common, pattern in kinds:
            at = data.find(common)
            if at >= 0:
                yield from (base + match.start() for match in pattern.finditer(data, max(at - 4, 0)))


def _quanta(elf: Elf) -> tuple[int, ...]:
    """Return valid sizes of an instruction; the runtime checks them and that of a pointer when it starts."""
    known = _QUANTUM.get(elf.facts.machine)
    return (known,) if known else _QUANTA


@lru_cache(maxsize=64)
def _header(order: str, quantum: int, pointer: int) -> tuple[bytes, re.Pattern[bytes]]:
    """Return bytes that the headers of all versions have in common, which are fast to find, and a pattern for them."""
    magics = [struct.pack(order + "I", magic) for magic in _NAMES_WORD]
    rest = bytes((0, 0, quantum, pointer))
    common = magics[0][1:] + rest if order == "<" else magics[0][:3]
    return common, re.compile(b"(?:" + b"|".join(map(re.escape, magics)) + b")" + re.escape(rest), re.DOTALL)


def _names(source: ByteSource, elf: Elf, at: int, end: int) -> tuple[int, int] | None:
    """Return the range of a table's names (offset, end); None if its header is not valid."""
    preamble = source.read_at(at, _PREAMBLE)
    word = _NAMES_WORD[struct.unpack_from(elf.order + "I", preamble)[0]]
    if word is None:
        return at, end
    form = elf.order + ("2Q" if preamble[7] == 8 else "2I")
    place = source.read_at(at + _PREAMBLE + word * preamble[7], struct.calcsize(form))
    if len(place) < struct.calcsize(form):
        return None
    first, last_end = struct.unpack(form, place)
    return (at + first, at + last_end) if 0 < first < last_end <= end - at else None


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
    """Return a pattern for a function's name that begins with ``prefix``, after a zero byte, and not with ``but``."""
    other = b"(?!" + (but.pattern + b"|" if but else b"") + _FILE + b")"
    return re.compile(b"\0(?=" + re.escape(prefix[1:]) + b")" + other + _FUNCTION)


def _matches(source: ByteSource, start: int, end: int, first: bytes, pattern: re.Pattern[bytes]) -> Iterator[int]:
    """Yield the file offsets at which ``pattern`` matches, which begins with ``first``.

    The search for these bytes is the fastest; from their first occurrence in a window on, the pattern searches.
    """
    for base, data in windows(source, start, end, _MAX_NAME):
        at = data.find(first)
        if at >= 0:
            yield from (base + match.start() for match in pattern.finditer(data, at))
