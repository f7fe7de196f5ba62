"""A search for BoringCrypto in an executable, which proves a module by its integrity digest.

BoringSSL's start-up self-test computes an HMAC over the module's code and compares it with a digest stored after it.
The code has no relocations, so the same HMAC can be computed over the file. A module is found by the first bytes of its
text; if that fails and the file claims one, by its stored digest, by the symbols that bound it, and by the instructions
that load the addresses of these bounds.
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

#: Bounds on the time for files that are made to be slow; real programs have one module.
_MAX_CANDIDATES = 8
_MAX_LENGTH_SEARCHES = 1
_MAX_STATED = 64
_MAX_MODULE = 16 << 20


@dataclass(frozen=True, slots=True)
class ModuleMatch:
    """A place in a file that seems to be a module."""

    offset: int
    """File offset of its text."""
    length: int
    """Bytes of text."""
    algorithm: str
    """``hmac-sha256`` or ``hmac-sha512``."""
    digest: str
    """The integrity digest computed over the text (hex)."""
    row: Row | None
    """The known module with this digest; None if there is none."""
    resembles: Row | None
    """Without ``row``: a known module that begins with the same bytes."""
    stored_at: int | None
    """File offset at which the digest is stored; None if it is not, which means that the self-test would fail."""
    executable: bool
    """Whether its memory is executable."""
    writable: bool
    """Whether its memory is writable."""
    overlaid: bool = False
    """Whether any loader maps other bytes over a part of it, or makes it writable."""
    calls: int = 0
    """Distinct functions that are called from outside; counting ends when they are enough."""
    self_test: bool = False
    """Whether its power-on self-test is called from outside; for known modules only."""

    @property
    def wired(self) -> bool:
        """Whether the program calls enough of it to use it."""
        if self.row is None:
            return self.calls >= ENOUGH_UNKNOWN
        return self.calls >= ENOUGH and self.self_test


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A place that may be a module."""

    segment: Segment
    """The segment that contains it."""
    start: int
    """File offset at which the text would start."""
    length: int | None = None
    """Bytes of text, if known."""


def find_modules(
    source: ByteSource, elf: Elf, table: Table, heads: Iterable[int], *, thorough: bool = False
) -> list[ModuleMatch]:
    """Return the modules in executable memory; ``heads`` are the file offsets at which one seems to begin (`sweep`).

    With ``thorough``, for files that claim a module, slower methods are used if ``heads`` has none. Raises
    `UnreadableElf` if there are more candidates than are examined.
    """
    rows = table.of(elf.facts.machine)
    candidates = _limited(
        _Candidate(segment, at) for at in heads for segment in elf.runnable if segment.offset <= at < segment.end
    )
    if thorough and not candidates:
        candidates = _limited(_without_head(source, elf, rows))
    searches = _MAX_LENGTH_SEARCHES
    matches = []
    for candidate in candidates:
        match = _examine(source, candidate, rows, may_search_length=searches > 0)
        if match.row is None:
            searches -= 1
        # Mapping and calls of a changed module do not matter.
        matches.append(_with_memory_facts(source, elf, match) if match.stored_at is not None else match)
    return matches


def find_in_data(
    source: ByteSource, elf: Elf, table: Table, heads: Iterable[int], *, thorough: bool = False
) -> list[ModuleMatch]:
    """Return known modules in memory that is not executable, at most a few.

    ``heads`` are the file offsets at which one seems to begin (`sweep`), on 16 bytes; with ``thorough``, for files that
    claim a module, they are searched for at every byte.
    """
    rows = table.of(elf.facts.machine)
    places = tuple(heads)
    candidates = _distinct(
        _Candidate(segment, at)
        for segment in elf.loads
        if not segment.executable
        for row in rows
        for at in (find(source, segment.offset, segment.end, row.head) if thorough else places)
        if segment.offset <= at <= segment.end - HEAD
    )
    some = islice(candidates, _MAX_CANDIDATES)
    return [_examine(source, candidate, rows, may_search_length=False) for candidate in some]


def _limited(candidates: Iterable[_Candidate]) -> list[_Candidate]:
    """Return distinct candidates. Raises `UnreadableElf` if there are too many to examine."""
    found = list(islice(_distinct(candidates), _MAX_CANDIDATES + 1))
    if len(found) > _MAX_CANDIDATES:
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
    """Yield the ranges between stated bounds whose own digest matches."""
    for (start, length), _ in candidate_bounds(source, elf).most_common(_MAX_STATED):
        for segment in elf.runnable:
            if segment.offset <= start < segment.end and match_at(source, start, length, segment.end):
                yield _Candidate(segment, start, length)


def _candidate_between(elf: Elf, low: int, high: int) -> _Candidate | None:
    for segment in elf.executable:
        if segment.address <= low < high <= segment.address + segment.size and high - low <= _MAX_MODULE:
            return _Candidate(segment, segment.offset + low - segment.address, high - low)
    return None


def _bounding_symbols(source: ByteSource, elf: Elf) -> tuple[int, int] | None:
    """Return the values of the symbols that bound the module; None if the file does not have them."""
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
    """Return the st_value of the Elf64_Sym whose st_name is ``name``; None if there is none."""
    for at in find(source, start, start + size, struct.pack(elf.order + "I", name)):
        if (at - start) % 24 == 0:
            entry = source.read_at(at, 24)
            return int(struct.unpack_from(elf.order + "Q", entry, 8)[0]) if len(entry) == 24 else None
    return None


def _examine(
    source: ByteSource, candidate: _Candidate, rows: tuple[Row, ...], *, may_search_length: bool
) -> ModuleMatch:
    """Compute the integrity digest at one place and compare it with known modules and the stored digest."""
    segment, start = candidate.segment, candidate.start
    head = source.read_at(start, HEAD)
    alike = [row for row in rows if row.head == head or row.text_length == candidate.length]
    for row in alike:
        digest = integrity_digest(source, start, row.text_length, row.algorithm)
        # All of it must be in one segment: after its end, another one may map other bytes.
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
    return _examine_unknown(source, candidate, alike[0] if alike else None, may_search_length=may_search_length)


def _stores_digest(source: ByteSource, start: int, row: Row) -> bool:
    """Return whether a known module's digest is stored at its place, for a text that begins at ``start``."""
    return source.read_at(start + row.digest_offset, len(row.digest)) == row.digest


def _examine_unknown(
    source: ByteSource, candidate: _Candidate, resembles: Row | None, *, may_search_length: bool
) -> ModuleMatch:
    segment, start = candidate.segment, candidate.start
    length = candidate.length or (resembles.text_length if resembles else 0)
    own = match_at(source, start, length, segment.end) if length else None
    if own is None and may_search_length and not (resembles and _stores_digest(source, start, resembles)):
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
    """Return a match with the facts that depend on its addresses: mapping and calls."""
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
    called = called_functions(source, elf, extent, names)
    # The text and the digest that its self-test compares, for all loaders and page sizes.
    length = max(match.length, (match.stored_at or 0) - match.offset + len(match.digest) // 2)
    overlaid = not elf.memory.is_executable(address, match.offset, length)
    return replace(match, overlaid=overlaid, calls=len(called), self_test=SELF_TEST in called)
