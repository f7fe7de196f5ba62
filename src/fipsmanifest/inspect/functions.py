"""The functions of a Go program by name and address, from the runtime's function table (``pclntab``).

Layout: Go's ``debug/gosym/pclntab.go`` and ``runtime/symtab.go``. The header's words are followed by a list of (entry,
offset) pairs, one for each function in the order of their addresses; at the offset is a record that begins with the
entry again and the offset of the function's name. Up to Go 1.17 an entry is an address, which the loader relocates in
position-independent programs. From Go 1.18 on, entries are relative to ``runtime.text``, whose address is in
``runtime.moduledata`` (``text``); the header's own copy of it is not relocated in position-independent programs, and is
zero from Go 1.26 on.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .elf import Elf
from .function_table import FunctionTable
from .relocation import RelocatedData
from .source import ByteSource, find

#: Magic -> the word of the header (after its first eight bytes) that has the offset of the list of functions; None in
#: the oldest version (Go 1.2 to 1.15), where the list follows the header and offsets are relative to it.
_WORDS: Mapping[int, int | None] = {0xFFFFFFF1: 7, 0xFFFFFFF0: 7, 0xFFFFFFFA: 6, 0xFFFFFFFB: None}
_HEADER_WORDS = 8
_FROM_TEXT = (0xFFFFFFF1, 0xFFFFFFF0)
_PREAMBLE = 8
#: ``runtime.moduledata``: a pointer to the table, six slices of three words each, ``findfunctab``, and then these words
#: (Go 1.18 and later).
_MINPC, _TEXT = 20, 22
#: Kubernetes' largest tables have some 30 MB.
_MAX_BYTES = 256 << 20
_MAX_REFERENCES = 64
#: The linker keeps a package's functions together; the largest package that is searched for has three hundred.
_AROUND = 1024
_A_FEW = 64
_MAX_NAME = 512
#: Bytes of the names of one package that are read at once; more are read one by one.
_MAX_NAMES = 1 << 20


@dataclass(frozen=True, slots=True)
class Function:
    """One function of a program."""

    name: str
    """With its package's import path (``crypto/sha256.Sum256``)."""
    start: int
    """Address of its first byte."""
    end: int
    """Address after its last byte, including padding."""


def functions_with_prefix(source: ByteSource, elf: Elf, table: FunctionTable, prefix: bytes) -> list[Function]:
    """Return the functions whose names begin with ``prefix``, which is of one package, in the order of their addresses.

    Empty if the table cannot be read as the runtime reads it: if its list does not fit into it, or the address that
    entries are relative to is unknown.
    """
    listed = _read(source, elf, table)
    base = _base(source, elf, table, listed) if listed is not None else None
    first, last_end = table.names[0]
    names = frozenset(at + 1 - first for at in find(source, first, last_end, b"\0" + prefix))
    if listed is None or base is None or not names:
        return []
    # Most functions of a package are together; some names are only of inlined functions, which are anywhere.
    near = listed.near(sorted(names)[len(names) // 2])
    edges = set(listed.records(near - _AROUND, near - _AROUND + _A_FEW))
    edges |= set(listed.records(near + _AROUND - _A_FEW, near + _AROUND))
    found = [record for record in listed.records(near - _AROUND, near + _AROUND) if record[0] in names]
    if 2 * len(found) < len(names) or edges.intersection(found):
        found = [record for record in listed.records(0, listed.count) if record[0] in names]
    # One read for all names, which are mostly together.
    lowest = min((name for name, _, _ in found), default=0)
    size = max((name for name, _, _ in found), default=0) + _MAX_NAME - lowest
    text = source.read_at(first + lowest, size) if size <= _MAX_NAMES else b""
    return [
        Function(
            _name(text[name - lowest : name - lowest + _MAX_NAME] if text else source.read_at(first + name, _MAX_NAME)),
            base + entry,
            base + end,
        )
        for name, entry, end in found
    ]


def function_names(source: ByteSource, elf: Elf, table: FunctionTable) -> frozenset[str] | None:
    """Return the names of all functions, including inlined ones; None if the table cannot be read.

    That includes a table with a function whose name is outside the range in the header: the runtime ignores that range,
    so a wrong one would hide names.
    """
    listed = _read(source, elf, table)
    if listed is None:
        return None
    first, last_end = table.names[0]
    starts = {start for start, _, _ in listed.records(0, listed.count)}
    if not starts or max(starts) >= last_end - first or last_end - first > _MAX_BYTES:
        return None
    text = source.read_at(first, last_end - first)
    if listed.names_apart:
        return frozenset(map(_name, text.split(b"\0")))
    return frozenset(_name(text[start : start + _MAX_NAME]) for start in starts)


class FunctionIndex:
    """Functions by their addresses."""

    def __init__(self, source: ByteSource, table: FunctionTable, listed: _List, base: int) -> None:
        self._source = source
        self._names = table.names[0]
        self._listed = listed
        self._base = base
        self._known: dict[int, str | None] = {}

    def between(self, start: int, end: int) -> list[Function] | None:
        """Return the functions that begin between two addresses, in their order.

        None where the list is not in that order there, or a record is not that of its function.
        """
        first, behind = self._number(start), self._number(end)
        records = list(self._listed.records(first, behind))
        if len(records) != behind - first or any(not own < after for _, own, after in records):
            return None
        return [Function(self._name(name), self._base + own, self._base + after) for name, own, after in records]

    def name_around(self, address: int) -> str | None:
        """Return the name of the function whose code an address is in; None where it is in none."""
        number = self._number(address + 1) - 1
        record = next(self._listed.records(number, number + 1), None)
        inside = record is not None and self._base + record[1] <= address < self._base + record[2]
        return self._name(record[0]) if record is not None and inside else None

    def all(self) -> Iterator[tuple[int, int]]:
        """Yield (address of the first byte, offset of the name in the file) of each function, in their order."""
        first, _ = self._names
        for name, own, _ in self._listed.records(0, self._listed.count):
            yield self._base + own, first + name

    def name_at(self, address: int) -> str | None:
        """Return the name of the function that begins at an address; None where none does."""
        if address not in self._known:
            number = self._number(address)
            records = list(self._listed.records(number, number + 1))
            found = bool(records) and self._base + records[0][1] == address
            self._known[address] = self._name(records[0][0]) if found else None
        return self._known[address]

    def _number(self, address: int) -> int:
        """Return the number of the first function that does not begin before an address."""
        return bisect_left(range(self._listed.count), address - self._base, key=self._listed.entry_of)

    def _name(self, name: int) -> str:
        first, behind = self._names
        return _name(self._source.read_at(first + name, min(_MAX_NAME, behind - first - name)))


def function_index(source: ByteSource, elf: Elf, table: FunctionTable) -> FunctionIndex | None:
    """Return the functions of a program by their addresses; None where the table cannot be read as the runtime does."""
    listed = _read(source, elf, table)
    base = _base(source, elf, table, listed) if listed is not None else None
    return None if listed is None or base is None else FunctionIndex(source, table, listed, base)


@dataclass(frozen=True, slots=True)
class _List:
    """The list of functions."""

    data: bytes
    """The bytes that offsets are relative to."""
    skip: int
    """The offset of the list in ``data``."""
    count: int
    """The number of functions."""
    entry: str
    """The `struct` format of an entry or offset."""
    relative: bool
    """Whether entries are relative to ``runtime.text``."""
    names_apart: bool
    """Whether the range of the names has nothing else."""

    @property
    def first(self) -> int:
        """The first function's entry."""
        return int(struct.unpack_from(self.entry, self.data, self.skip)[0])

    def entry_of(self, number: int) -> int:
        """Return the entry of a function by its number."""
        step = 2 * struct.calcsize(self.entry)
        return int(struct.unpack_from(self.entry, self.data, self.skip + number * step)[0])

    def records(self, first: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Yield (offset of the name in the range of names, entry, next entry) of functions by their numbers.

        A function whose record does not have the entry of the list is skipped.
        """
        form, triple = struct.Struct(f"{self.entry}I"), struct.Struct(self.entry[0] + 3 * self.entry[1:])
        step, last = 2 * struct.calcsize(self.entry), len(self.data) - form.size
        for number in range(max(first, 0), min(end, self.count)):
            entry, place, next_entry = triple.unpack_from(self.data, self.skip + number * step)
            if place <= last:
                own, name = form.unpack_from(self.data, place)
                if own == entry:
                    yield name, entry, next_entry

    def near(self, name: int) -> int:
        """Return the number of a function close to the one with a name.

        The linker writes names in the order of functions (``cmd/link/internal/ld/pcln.go``), those of inlined
        functions with the first function that has them, so the last name of a few functions grows with their numbers.
        """
        low, high = 0, self.count
        while low < high:
            middle = (low + high) // 2
            if max((own for own, _, _ in self.records(middle, middle + _A_FEW)), default=0) < name:
                low = middle + 1
            else:
                high = middle
        return low


def _read(source: ByteSource, elf: Elf, table: FunctionTable) -> _List | None:
    """Read the list of a table; return None if it does not fit into the table."""
    if table.offset is None:
        return None
    preamble = source.read_at(table.offset, _PREAMBLE)
    magic, width = struct.unpack_from(elf.order + "I", preamble)[0], preamble[7]
    word, places = ("Q" if width == 8 else "I"), _WORDS[magic]
    header = source.read_at(table.offset + _PREAMBLE, _HEADER_WORDS * width)
    if len(header) < _HEADER_WORDS * width:
        return None
    words = struct.unpack(f"{elf.order}{_HEADER_WORDS}{word}", header)
    start, skip = (words[places], 0) if places else (0, _PREAMBLE + width)
    entry = elf.order + ("I" if magic in _FROM_TEXT else word)
    size = _end(elf, table.offset) - table.offset - start
    if not words[0] or not skip + (2 * words[0] + 1) * struct.calcsize(entry) <= size <= _MAX_BYTES:
        return None
    relative, at = magic in _FROM_TEXT, table.offset + start
    data = source.read_at(at, size) if relative else RelocatedData(source, elf).loaded(at, size)
    return _List(data, skip, words[0], entry, relative, names_apart=places is not None)


def _end(elf: Elf, at: int) -> int:
    """Return the largest possible end of a table that begins at a file offset."""
    ends = [load.end for load in elf.loads if load.offset <= at < load.end]
    ends += [section.offset + section.size for section in elf.sections if section.offset == at and section.size]
    return min(ends, default=at)


def _name(text: bytes) -> str:
    return text.partition(b"\0")[0].decode("utf-8", "replace")


def _base(source: ByteSource, elf: Elf, table: FunctionTable, listed: _List) -> int | None:
    """Return the address that entries are relative to, from ``runtime.moduledata``; None if it is not found."""
    if not listed.relative:
        return 0
    memory = RelocatedData(source, elf)
    address = memory.address_of(table.offset or 0)
    if address is None:
        return None
    width = elf.facts.bits // 8
    for at, _ in zip(memory.references(address), range(_MAX_REFERENCES), strict=False):
        text, first = memory.word(at + _TEXT * width), memory.word(at + _MINPC * width)
        if text is not None and first == text + listed.first and memory.executable(text):
            return text
    return None
