"""The functions of a Go program, by name and address, as the runtime's function table (``pclntab``) lists them.

Layout: Go's ``debug/gosym/pclntab.go`` and ``runtime/symtab.go``. Behind the header's words is a list of (entry,
offset) pairs, one for each function in the order of their addresses; at the offset is a record that begins with the
entry again and the offset of the function's name. From Go 1.18 on, entries count from ``runtime.text``, whose address
is in ``runtime.moduledata`` (``text``); the header's own copy of it is not relocated in position-independent programs,
and is zero from Go 1.26 on.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .elf import Elf
from .functab import FunctionTable
from .memory import Memory
from .source import ByteSource, find

#: Magic -> the word of the header (behind its first eight bytes) that has the offset of the list of functions; None in
#: the oldest form (Go 1.2 to 1.15), where the list follows the header and offsets count from it.
_WORDS: Mapping[int, int | None] = {0xFFFFFFF1: 7, 0xFFFFFFF0: 7, 0xFFFFFFFA: 6, 0xFFFFFFFB: None}
_HEADER_WORDS = 8
_FROM_TEXT = (0xFFFFFFF1, 0xFFFFFFF0)
_PREAMBLE = 8
#: ``runtime.moduledata``: a pointer to the table, six slices of three words each, ``findfunctab``, and then these words
#: (Go 1.18 and later).
_MINPC, _TEXT = 20, 22
#: Kubernetes' largest has a hundred thousand functions; this is room for any program.
_MOST_FUNCTIONS = 1 << 22
_MOST_REFERENCES = 64
_LONGEST_NAME = 512


@dataclass(frozen=True, slots=True)
class Function:
    """One function of a program."""

    name: str
    """With its package's import path (``crypto/sha256.Sum256``)."""
    start: int
    """Address of its first byte."""
    end: int
    """Address behind its last byte, padding included."""


def named(source: ByteSource, elf: Elf, table: FunctionTable, prefix: bytes) -> list[Function]:
    """Return the functions whose names begin with ``prefix``, in the order of their addresses.

    Empty where the table cannot be read as the runtime reads it: where its list does not fit into it, a name is not
    among its names, or the address that entries count from is unknown.
    """
    listed = _read(source, elf, table)
    base = _base(source, elf, table, listed) if listed is not None else None
    if listed is None or base is None:
        return []
    first, behind = table.names[0]
    wanted = frozenset(at + 1 - first for at in find(source, first, behind, b"\0" + prefix))
    return [
        Function(_name(source.read_at(first + name, _LONGEST_NAME)), base + entry, base + end)
        for name, entry, end in listed.records
        if name in wanted
    ]


def names(source: ByteSource, elf: Elf, table: FunctionTable) -> frozenset[str] | None:
    """Return the names of all functions, inlined ones included; None where the table cannot be read as `named` does."""
    listed = _read(source, elf, table)
    if listed is None:
        return None
    first, behind = table.names[0]
    text = source.read_at(first, behind - first)
    if listed.names_apart:
        return frozenset(map(_name, text.split(b"\0")))
    return frozenset(_name(text[start : start + _LONGEST_NAME]) for start, _, _ in listed.records)


@dataclass(frozen=True, slots=True)
class _List:
    """The list of functions."""

    records: tuple[tuple[int, int, int], ...]
    """For each function: the offset of its name from the first byte of all names, its entry, and the next one's."""
    relative: bool
    """Entries count from ``runtime.text``."""
    names_apart: bool
    """There is nothing else among the names."""


def _read(source: ByteSource, elf: Elf, table: FunctionTable) -> _List | None:
    """Read the list of a table; None where it does not fit, or a name is not where the header says that names are.

    The runtime does not ask the header, so one that leads elsewhere would hide names.
    """
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
    entry = "I" if magic in _FROM_TEXT else word
    count = 2 * words[0] + 1
    data = source.read_at(table.offset + start, _end(elf, table.offset) - table.offset - start)
    if not 0 < words[0] <= _MOST_FUNCTIONS or skip + struct.calcsize(f"={count}{entry}") > len(data):
        return None
    pairs = struct.unpack_from(f"{elf.order}{count}{entry}", data, skip)
    first, behind = table.names[0]
    records = tuple(_records(pairs, data, struct.Struct(f"{elf.order}{entry}I")))
    if not records or max(records)[0] >= behind - first:
        return None
    return _List(records, magic in _FROM_TEXT, places is not None)


def _records(pairs: tuple[int, ...], data: bytes, form: struct.Struct) -> Iterator[tuple[int, int, int]]:
    """Yield (name, entry, end) of each function whose record has the same entry as the list."""
    last = len(data) - form.size
    for entry, place, end in zip(pairs[:-1:2], pairs[1::2], pairs[2::2], strict=True):
        if place <= last:
            own, name = form.unpack_from(data, place)
            if own == entry:
                yield name, entry, end


def _end(elf: Elf, at: int) -> int:
    """Return where a table that begins at a place in the file ends at the latest."""
    ends = [load.end for load in elf.loads if load.offset <= at < load.end]
    ends += [section.offset + section.size for section in elf.sections if section.offset == at and section.size]
    return min(ends, default=at)


def _name(text: bytes) -> str:
    return text.partition(b"\0")[0].decode("utf-8", "replace")


def _base(source: ByteSource, elf: Elf, table: FunctionTable, listed: _List) -> int | None:
    """Return the address that entries count from, as ``runtime.moduledata`` has it."""
    if not listed.relative:
        return 0
    memory = Memory(source, elf)
    address = memory.address_of(table.offset or 0)
    if address is None:
        return None
    width = elf.facts.bits // 8
    for at, _ in zip(memory.references(address), range(_MOST_REFERENCES), strict=False):
        text, first = memory.word(at + _TEXT * width), memory.word(at + _MINPC * width)
        if text is not None and first == text + listed.records[0][1] and memory.executable(text):
            return text
    return None
