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

#: Magic -> the words of the header (behind its first eight bytes) that hold the offsets of the names and of the list of
#: functions; None in the oldest form (Go 1.2 to 1.15), where the list follows the header and offsets count from it.
_WORDS: Mapping[int, tuple[int, int] | None] = {
    0xFFFFFFF1: (3, 7),
    0xFFFFFFF0: (3, 7),
    0xFFFFFFFA: (2, 6),
    0xFFFFFFFB: None,
}
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
    if table.offset is None:
        return []
    listed = _List.read(source, elf, table)
    base = _base(source, elf, table, listed) if listed is not None else None
    if listed is None or base is None:
        return []
    first, behind = table.names[0]
    wanted = frozenset(at + 1 - first + listed.names for at in find(source, first, behind, b"\0" + prefix))
    found = []
    for name, entry, end in listed.records():
        if not listed.names <= name < listed.names + behind - first:
            # The runtime has names that the header does not lead to, so the header is not what it goes by.
            return []
        if name in wanted:
            found.append(Function(_name(source, table, listed, name), base + entry, base + end))
    return found


@dataclass(frozen=True, slots=True)
class _List:
    """The list of functions, with what is needed to read the records that it leads to."""

    pairs: tuple[int, ...]
    """Entry, offset, entry, offset, ..., and the end of the last function."""
    data: bytes
    """What offsets count from: the records are in it."""
    form: str
    """A record: the entry and the name's offset."""
    names: int
    """The offset, as records count it, of the first byte in which names are looked for."""
    relative: bool
    """Entries count from ``runtime.text``."""

    @classmethod
    def read(cls, source: ByteSource, elf: Elf, table: FunctionTable) -> _List | None:
        at = table.offset or 0
        preamble = source.read_at(at, _PREAMBLE)
        magic, width = struct.unpack_from(elf.order + "I", preamble)[0], preamble[7]
        if width not in (4, 8) or magic not in _WORDS:
            return None
        word = "Q" if width == 8 else "I"
        header = source.read_at(at + _PREAMBLE, 8 * width)
        if len(header) < 8 * width:
            return None
        words = struct.unpack(f"{elf.order}8{word}", header)
        places = _WORDS[magic]
        start, skip = (words[places[1]], 0) if places else (0, _PREAMBLE + width)
        entry = "I" if magic in _FROM_TEXT else word
        end = next((load.end for load in elf.loads if load.offset <= at < load.end), 0)
        section = elf.section(".gopclntab") or elf.section(".data.rel.ro.gopclntab")
        if section is not None and section.offset == at:
            end = min(end, at + section.size)
        length = struct.calcsize(f"={2 * words[0] + 1}{entry}") if words[0] <= _MOST_FUNCTIONS else end
        if not words[0] or at + start + skip + length > end:
            return None
        data = source.read_at(at + start, end - at - start)
        pairs = struct.unpack_from(f"{elf.order}{2 * words[0] + 1}{entry}", data, skip)
        names = 0 if places else table.names[0][0] - at
        return cls(pairs, data, elf.order + entry + "I", names, magic in _FROM_TEXT)

    def records(self) -> Iterator[tuple[int, int, int]]:
        """Yield (name's offset, entry, end) of each function whose record has the same entry as the list."""
        pairs, record = self.pairs, struct.Struct(self.form)
        last = len(self.data) - record.size
        for entry, place, end in zip(pairs[:-1:2], pairs[1::2], pairs[2::2], strict=True):
            if place <= last:
                own, name = record.unpack_from(self.data, place)
                if own == entry:
                    yield name, entry, end


def _name(source: ByteSource, table: FunctionTable, listed: _List, offset: int) -> str:
    text = source.read_at(table.names[0][0] + offset - listed.names, _LONGEST_NAME)
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
        if text is not None and first == text + listed.pairs[0] and memory.executable(text):
            return text
    return None
