"""Finding BoringCrypto in an executable and proving it by its integrity digest.

BoringSSL's start-up self-test computes an HMAC over the module's code and compares it with a digest stored behind
it. The code has no relocations, so the same HMAC can be computed over the file. A module is looked for by the first
bytes of its text; where that fails and the file claims one, by its stored digest, by the symbols that bound it, and
by the instructions with which it takes the addresses of those bounds.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

from .bounds import candidate_bounds
from .calls import ENOUGH, ENOUGH_UNKNOWN, SELF_TEST, Extent, called_functions
from .elf import Elf, Segment, UnreadableElf
from .integrity import find_match, integrity_digest, match_at
from .source import ByteSource, find
from .table import HEAD, Row, Table

#: More than this is not a program but an attempt to keep us busy.
_MOST_CANDIDATES = 8
_MOST_SLIDES = 1
_MOST_STATED = 64
_LARGEST_MODULE = 16 << 20


@dataclass(frozen=True, slots=True)
class ModuleMatch:
    """What looks like a module in one place of a file."""

    offset: int
    """File offset of its text."""
    length: int
    """Bytes of text."""
    algorithm: str
    """``hmac-sha256`` or ``hmac-sha512``."""
    digest: str
    """The integrity digest computed over the text (hex)."""
    row: Row | None
    """The module that has this very digest."""
    resembles: Row | None
    """Without ``row``: the known module that it begins like."""
    stored_at: int | None
    """File offset at which that digest is stored, None where it is not: the module's own self-test would fail."""
    executable: bool
    """It lies in memory that can be executed."""
    writable: bool
    """It lies in memory that can be written."""
    overlaid: bool = False
    """Some loader maps other bytes over a part of it, or lets the program write there."""
    calls: int = 0
    """Distinct functions of it called from outside; counting ends where they are enough."""
    self_test: bool = False
    """Its power-on self-test is called from outside; for known modules only."""

    @property
    def wired(self) -> bool:
        """Tell whether the program uses it."""
        if self.row is None:
            return self.calls >= ENOUGH_UNKNOWN
        return self.calls >= ENOUGH and self.self_test


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A place to examine."""

    segment: Segment
    """Where it lies."""
    start: int
    """File offset at which the text would start."""
    length: int | None = None
    """Bytes of text, where something tells."""


def find_modules(
    source: ByteSource, elf: Elf, table: Table, heads: Iterable[int], *, thorough: bool = False
) -> list[ModuleMatch]:
    """Give the modules in executable memory; ``heads`` are the offsets at which one seems to begin (`sweep`).

    ``thorough`` says that the file claims one: where none is found, the slower ways are tried as well. Raises
    `UnreadableElf` where there are too many: one that was not looked at could be any.
    """
    rows = table.of(elf.facts.machine)
    candidates = _at_most_a_few(
        _Candidate(segment, at) for at in heads for segment in elf.runnable if segment.offset <= at < segment.end
    )
    if thorough and not candidates:
        candidates = _at_most_a_few(_without_head(source, elf, rows))
    slides = _MOST_SLIDES
    matches = []
    for candidate in candidates:
        match = _examine(source, candidate, rows, may_slide=slides > 0)
        if match.row is None:
            slides -= 1
        # How a changed module is mapped and called makes no difference.
        matches.append(_with_memory_facts(source, elf, match) if match.stored_at is not None else match)
    return matches


def find_in_data(source: ByteSource, elf: Elf, table: Table) -> list[ModuleMatch]:
    """Give known modules that stand where nothing can execute them, a few at most."""
    rows = table.of(elf.facts.machine)
    candidates = _distinct(
        _Candidate(segment, at)
        for segment in elf.loads
        if not segment.executable
        for row in rows
        for at in find(source, segment.offset, segment.end, row.head)
    )
    some = islice(candidates, _MOST_CANDIDATES)
    return [_examine(source, candidate, rows, may_slide=False) for candidate in some]


def _at_most_a_few(candidates: Iterable[_Candidate]) -> list[_Candidate]:
    """Give them all; raises `UnreadableElf` where they are too many for each to be examined."""
    found = list(islice(_distinct(candidates), _MOST_CANDIDATES + 1))
    if len(found) > _MOST_CANDIDATES:
        raise UnreadableElf("too-many-modules")
    return found


def _distinct(candidates: Iterable[_Candidate]) -> Iterator[_Candidate]:
    seen: set[int] = set()
    for candidate in candidates:
        if candidate.start not in seen:
            seen.add(candidate.start)
            yield candidate


def _without_head(source: ByteSource, elf: Elf, rows: tuple[Row, ...]) -> Iterator[_Candidate]:
    bounds = _bounding_symbols(source, elf)
    candidate = _candidate_between(elf, *bounds) if bounds is not None else None
    if candidate is not None:
        yield candidate
    yield from _from_own_bounds(source, elf)
    for segment in elf.runnable:
        for row in rows:
            for at in find(source, segment.offset, segment.end, row.head):
                yield _Candidate(segment, at)
            for at in find(source, segment.offset, segment.end, row.digest):
                if at - row.digest_offset >= segment.offset:
                    yield _Candidate(segment, at - row.digest_offset, row.text_length)


def _from_own_bounds(source: ByteSource, elf: Elf) -> Iterator[_Candidate]:
    """Give the stretches between stated bounds whose own digest holds."""
    for (start, length), _ in candidate_bounds(source, elf).most_common(_MOST_STATED):
        for segment in elf.runnable:
            if segment.offset <= start < segment.end and match_at(source, start, length, segment.end):
                yield _Candidate(segment, start, length)


def _candidate_between(elf: Elf, low: int, high: int) -> _Candidate | None:
    for segment in elf.executable:
        if segment.address <= low < high <= segment.address + segment.size and high - low <= _LARGEST_MODULE:
            return _Candidate(segment, segment.offset + low - segment.address, high - low)
    return None


def _bounding_symbols(source: ByteSource, elf: Elf) -> tuple[int, int] | None:
    """Give the values of the symbols that bound the module, where the file still has them."""
    symbols = elf.section(".symtab")
    strings = next((item for item in elf.sections if symbols and item.index == symbols.link), None)
    if symbols is None or strings is None or elf.facts.bits != 64:
        return None
    values = []
    for name in (b"BORINGSSL_bcm_text_start", b"BORINGSSL_bcm_text_end"):
        place = next(find(source, strings.offset, strings.offset + strings.size, b"\0" + name + b"\0"), None)
        if place is None:
            return None
        value = _symbol_value(source, elf, symbols.offset, symbols.size, place + 1 - strings.offset)
        if value is None:
            return None
        values.append(value)
    return values[0], values[1]


def _symbol_value(source: ByteSource, elf: Elf, start: int, size: int, name: int) -> int | None:
    """Find the Elf64_Sym whose st_name is ``name`` and give its st_value."""
    for at in find(source, start, start + size, struct.pack(elf.order + "I", name)):
        if (at - start) % 24 == 0:
            entry = source.read_at(at, 24)
            return int(struct.unpack_from(elf.order + "Q", entry, 8)[0]) if len(entry) == 24 else None
    return None


def _examine(source: ByteSource, candidate: _Candidate, rows: tuple[Row, ...], *, may_slide: bool) -> ModuleMatch:
    """Compute the integrity digest at one place and say what it shows."""
    segment, start = candidate.segment, candidate.start
    head = source.read_at(start, HEAD)
    alike = [row for row in rows if row.head == head or row.text_length == candidate.length]
    for row in alike:
        digest = integrity_digest(source, start, row.text_length, row.algorithm)
        # All of it in one segment: what another one maps behind this one's end may be other bytes.
        if digest == row.digest and start + row.digest_offset + len(row.digest) <= segment.end:
            stored = _stores_digest(source, start, row)
            return ModuleMatch(
                start,
                row.text_length,
                row.algorithm,
                digest.hex(),
                row,
                None,
                start + row.digest_offset if stored else None,
                segment.executable,
                segment.writable,
            )
    return _examine_unknown(source, candidate, alike[0] if alike else None, may_slide=may_slide)


def _stores_digest(source: ByteSource, start: int, row: Row) -> bool:
    """Tell whether a known module's digest stands where it belongs, for a text that begins at ``start``."""
    return source.read_at(start + row.digest_offset, len(row.digest)) == row.digest


def _examine_unknown(
    source: ByteSource, candidate: _Candidate, resembles: Row | None, *, may_slide: bool
) -> ModuleMatch:
    segment, start = candidate.segment, candidate.start
    length = candidate.length or (resembles.text_length if resembles else 0)
    own = match_at(source, start, length, segment.end) if length else None
    if own is None and may_slide and not (resembles and _stores_digest(source, start, resembles)):
        own = find_match(source, start, segment.end)
    if own is not None:
        length, algorithm, digest = own.length, own.algorithm, own.digest
        stored_at = start + own.digest_offset
    else:
        algorithm = resembles.algorithm if resembles else "hmac-sha256"
        digest, stored_at = integrity_digest(source, start, length, algorithm), None
    return ModuleMatch(
        start,
        length,
        algorithm,
        digest.hex(),
        None,
        resembles,
        stored_at,
        segment.executable,
        segment.writable,
    )


def _with_memory_facts(source: ByteSource, elf: Elf, match: ModuleMatch) -> ModuleMatch:
    """Add what depends on the addresses at which a module lies."""
    segment = next(segment for segment in elf.runnable if segment.offset <= match.offset and match.offset < segment.end)
    address = segment.address + match.offset - segment.offset
    row = match.row
    if row is None:
        extent = Extent(address, address + match.length, address, address + match.length)
        names = None
    else:
        first = address - row.object_before
        extent = Extent(address, address + row.text_length, first, first + row.object_length)
        names = {address + offset: name for name, offset in row.entry_points.items()}
    seen = called_functions(source, elf, extent, names)
    # All of it, and the digest that its self-test compares with, whoever loads it and on any size of pages.
    length = max(match.length, (match.stored_at or 0) - match.offset + len(match.digest) // 2)
    overlaid = not elf.memory.is_executable(address, match.offset, length)
    return replace(match, overlaid=overlaid, calls=len(seen), self_test=SELF_TEST in seen)
