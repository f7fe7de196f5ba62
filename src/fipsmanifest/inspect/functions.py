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
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .elf import Elf
from .function_table import FunctionTable
from .relocation import RelocatedData
from .source import Buffer, ByteSource, find

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
_A_FEW = 16
_MAX_NAME = 512
#: Bytes of names, and of records, that are read at once.
_NAMES_AT_ONCE, _AT_ONCE = 1 << 15, 1 << 20
#: Functions whose records are read at once.
_BLOCK = 1024
#: Places of one name that are considered; a linker writes each name once.
_MOST_PLACES = 4


class Function(NamedTuple):
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
    index = function_index(source, elf, table)
    first, last_end = table.names[0]
    names = frozenset(at + 1 - first for at in find(source, first, last_end, b"\0" + prefix))
    return index.of_names(names) if index is not None and names else []


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

    def __init__(
        self, source: ByteSource, table: FunctionTable, listed: _List, base: int = 0, moduledata: int | None = None
    ) -> None:
        self._source = source
        self._names = table.names[0]
        self._listed = listed
        self._base = base
        self.moduledata = moduledata
        """Address of ``runtime.firstmoduledata``; None up to Go 1.17, where the list can be read without it."""
        self._known: dict[int, str | None] = {}

    def between(self, start: int, end: int) -> list[Function] | None:
        """Return the functions that begin between two addresses, in their order.

        None where the list is not in that order there, or a record is not that of its function.
        """
        first, behind = self._number(start), self._number(end)
        records = list(self._listed.records(first, behind))
        if len(records) != behind - first or any(not own < after for _, own, after in records):
            return None
        return self._functions(records)

    def of_names(self, names: frozenset[int]) -> list[Function]:
        """Return the functions whose names are at offsets in the range of names, most of them of one package."""
        listed = self._listed
        # Most functions of a package are together; some names are only of inlined functions, which are anywhere.
        near = listed.near(sorted(names)[len(names) // 2])
        around = listed.records(near - _AROUND, near + _AROUND)
        found = [record for record in around if record[0] in names]
        edges = set(listed.records(near - _AROUND, near - _AROUND + _A_FEW))
        edges |= set(listed.records(near + _AROUND - _A_FEW, near + _AROUND))
        if 2 * len(found) < len(names) or edges.intersection(found):
            found = [record for record in listed.records(0, listed.count) if record[0] in names]
        return self._functions(found)

    def named(self, name: str) -> Function | None:
        """Return a function by its name; None where there is none."""
        first, last_end = self._names
        places = find(self._source, first, last_end, b"\0" + name.encode() + b"\0")
        for place, _ in zip(places, range(_MOST_PLACES), strict=False):
            number = self._listed.near(place + 1 - first)
            around = self._listed.records(number - _A_FEW, number + _A_FEW)
            found = [record for record in around if record[0] == place + 1 - first]
            functions = self._functions(found) or self.of_names(frozenset((place + 1 - first,)))
            if functions:
                return functions[0]
        return None

    def address_near(self, name: int) -> int:
        """Return the address of a function close to the one whose name is at a file offset."""
        number = min(self._listed.near(name - self._names[0]), self._listed.count - 1)
        return self._base + self._listed.entries[number]

    def _functions(self, records: Sequence[tuple[int, int, int]]) -> list[Function]:
        """Return functions with their names, of records as `_List.records` yields them."""
        first, behind = self._names
        found, text, low = [], b"", 0
        for name, own, end in records:
            # One read for many names, which are mostly together.
            if not 0 <= name - low <= len(text) - _MAX_NAME:
                low, text = name, self._source.read_at(first + name, min(_NAMES_AT_ONCE, behind - first - name))
            at = name - low
            end_of_name = text.find(b"\0", at, at + _MAX_NAME)
            named = text[at : end_of_name if end_of_name >= 0 else at + _MAX_NAME].decode("utf-8", "replace")
            found.append(Function(named, self._base + own, self._base + end))
        return found

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
            found = number < self._listed.count and self._base + self._listed.entries[number] == address
            name = self._listed.name(number) if found else None
            self._known[address] = None if name is None else self._name(name)
        return self._known[address]

    def _number(self, address: int) -> int:
        """Return the number of the first function that does not begin before an address."""
        return bisect_left(self._listed.entries, address - self._base, 0, self._listed.count)

    def _name(self, name: int) -> str:
        first, behind = self._names
        return _name(self._source.read_at(first + name, min(_MAX_NAME, behind - first - name)))


def function_index(source: ByteSource, elf: Elf, table: FunctionTable) -> FunctionIndex | None:
    """Return the functions of a program by their addresses; None where the table cannot be read as the runtime does."""
    listed = _read(source, elf, table)
    if listed is None or not listed.relative:
        return None if listed is None else FunctionIndex(source, table, listed)
    found = _moduledata(source, elf, table, listed)
    return FunctionIndex(source, table, listed, *found) if found is not None else None


@dataclass(frozen=True, slots=True)
class _List:
    """The list of functions."""

    source: ByteSource
    """The bytes that offsets of records are relative to are in it, from ``at`` on."""
    at: int
    """Where these bytes begin."""
    size: int
    """How many they are."""
    entries: Sequence[int]
    """The functions' entries in their order, and the end of the last one."""
    places: Sequence[int]
    """The offset of each function's record."""
    form: struct.Struct
    """How a record begins: the entry and the offset of the name."""
    relative: bool
    """Whether entries are relative to ``runtime.text``."""
    names_apart: bool
    """Whether the range of the names has nothing else."""

    @property
    def count(self) -> int:
        """The number of functions."""
        return len(self.places)

    @property
    def first(self) -> int:
        """The first function's entry."""
        return self.entries[0]

    def name(self, number: int) -> int | None:
        """Return the offset of a function's name in the range of names; None if its record has another entry."""
        place = self.places[number]
        if place > self.size - self.form.size:
            return None
        own, name = self.form.unpack(self.source.read_at(self.at + place, self.form.size))
        return int(name) if own == self.entries[number] else None

    def records(self, first: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Yield (offset of the name in the range of names, entry, next entry) of functions by their numbers.

        A function whose record does not have the entry of the list is skipped.
        """
        end = min(end, self.count)
        for number in range(max(first, 0), end, _BLOCK):
            yield from self._block(number, min(number + _BLOCK, end))

    def _block(self, first: int, end: int) -> Iterator[tuple[int, int, int]]:
        form = self.form
        places, last = self.places[first:end], self.size - form.size
        low, high = min(places), min(max(places), last)
        # The linker writes records in the order of functions.
        at_once = high - low <= _AT_ONCE
        block = self.source.read_at(self.at + low, high - low + form.size) if at_once else b""
        if at_once:
            last = low + len(block) - form.size
        for place, entry, next_entry in zip(
            places, self.entries[first:end], self.entries[first + 1 : end + 1], strict=True
        ):
            if place <= last:
                own, name = (
                    form.unpack_from(block, place - low)
                    if at_once
                    else form.unpack(self.source.read_at(self.at + place, form.size))
                )
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
    length = (2 * words[0] + 1) * struct.calcsize(entry)
    if not words[0] or not skip + length <= size <= _MAX_BYTES:
        return None
    relative, at = magic in _FROM_TEXT, table.offset + start
    if not relative:
        source, at = Buffer(RelocatedData(source, elf).loaded(at, size)), 0
    data = source.read_at(at + skip, length)
    if len(data) < length:
        return None
    listed = array("I" if struct.calcsize(entry) == 4 else "Q", data)
    if elf.little != (sys.byteorder == "little"):
        listed.byteswap()
    form = struct.Struct(f"{entry}I")
    return _List(source, at, size, listed[0::2], listed[1::2], form, relative, names_apart=places is not None)


def _end(elf: Elf, at: int) -> int:
    """Return the largest possible end of a table that begins at a file offset."""
    ends = [load.end for load in elf.loads if load.offset <= at < load.end]
    ends += [section.offset + section.size for section in elf.sections if section.offset == at and section.size]
    return min(ends, default=at)


def _name(text: bytes) -> str:
    return text.partition(b"\0")[0].decode("utf-8", "replace")


def _moduledata(source: ByteSource, elf: Elf, table: FunctionTable, listed: _List) -> tuple[int, int] | None:
    """Return the address that entries are relative to, and that of ``runtime.firstmoduledata``, which has it.

    None where it is not found, or where there are two: the runtime uses one of them, and which one is in its code. The
    runtime writes into it, so it is in memory that can be written.
    """
    memory = RelocatedData(source, elf)
    address = memory.address_of(table.offset or 0)
    if address is None:
        return None
    width = elf.facts.bits // 8
    found: dict[int, int] = {}
    for at, _ in zip(memory.references(address), range(_MAX_REFERENCES), strict=False):
        text, first = memory.word(at + _TEXT * width), memory.word(at + _MINPC * width)
        if text is not None and first == text + listed.first and memory.executable(text):
            found[at] = text
    if len(found) != 1:
        return None
    at, text = found.popitem()
    return text, at
