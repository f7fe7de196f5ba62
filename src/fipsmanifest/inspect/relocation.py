"""A program's data after relocation: words by their addresses.

Position-independent programs have addresses as relocations, whose addend is the address before the program is moved
(``R_X86_64_RELATIVE``, ``R_AARCH64_RELATIVE``: the processor supplements of the System V ABI). Other programs have
them directly.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from functools import cached_property
from itertools import chain

from .elf import Elf
from .relocation_tables import ENTRY, RELATIVE, WORD, RelocationTables
from .source import ByteSource, find

#: The byte of an address that few others in a table have: lower ones repeat, and higher ones are those of many words.
_TELLING_BYTE = 1
#: A linker writes one relocation for each word, and few words have the same address. A table of zeros has millions.
_MAX_EQUAL = 4096


class RelocatedData:
    """The data of one program, with its addresses before it is moved."""

    def __init__(self, source: ByteSource, elf: Elf) -> None:
        self._source = source
        self._elf = elf
        self._word = "Q" if elf.facts.bits == 64 else "I"
        self._tables = RelocationTables(elf, self.bytes_at)
        self._relative = RELATIVE.get(elf.facts.machine)

    def word(self, address: int) -> int | None:
        """Return the word at ``address`` as the loader leaves it.

        None if no segment has bytes of the file for it, or if the loader writes there what only it knows: the value of
        a symbol, one value after another, a part of the word, or anything from tables that are not certain.
        """
        offset, size = self._elf.offset_of(address), struct.calcsize(self._word)
        if offset is None or not self._tables.are_certain or self._is_written_in_part(address, size):
            return None
        written = set(self._written(address))
        if written:
            is_moved_too = any(True for _ in self._tables.packed.between(address, address + 1))
            return None if len(written) > 1 or is_moved_too else written.pop()
        data = self._source.read_at(offset, size)
        return int.from_bytes(data, "little" if self._elf.little else "big") if len(data) == size else None

    def bytes_at(self, address: int, length: int) -> bytes:
        """Return up to ``length`` bytes from ``address``, fewer at the end of its segment."""
        for segment in self._elf.loads:
            if segment.address <= address < segment.address + segment.size:
                length = min(length, segment.address + segment.size - address)
                return self._source.read_at(segment.offset + address - segment.address, length)
        return b""

    def loaded(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes from a file offset, with the addresses that the loader writes.

        Linkers of C leave zeros there; Go's own linker writes the same words itself.
        """
        data = self._source.read_at(offset, size)
        start = self.address_of(offset)
        table = self._relocations.data
        if start is None or not table:
            return data
        written, entries = bytearray(data), struct.Struct(self._elf.order + "QQQ")
        for address, info, addend in entries.iter_unpack(table):
            if start <= address <= start + len(data) - 8 and info == self._relative:
                struct.pack_into(self._elf.order + "Q", written, address - start, addend)
        return bytes(written)

    def executable(self, address: int) -> bool:
        """Return whether ``address`` is in an executable segment."""
        return any(item.address <= address < item.address + item.size for item in self._elf.executable)

    def address_of(self, offset: int) -> int | None:
        """Return the address of a file offset; None if no segment has it."""
        for segment in self._elf.loads:
            if segment.offset <= offset < segment.end:
                return segment.address + offset - segment.offset
        return None

    def references(self, address: int) -> Iterator[int]:
        """Yield the addresses of words in memory that can be written whose value is ``address``; some twice."""
        packed = struct.pack(self._elf.order + self._word, address)
        # The entries first, which are found faster than words in data.
        for entry in self._relocations.entries(packed, 16):
            yield struct.unpack_from(self._elf.order + "Q", self._relocations.data, entry)[0]
        for segment in (load for load in self._elf.loads if load.writable):
            for at in find(self._source, segment.offset, segment.end, packed):
                if (at - segment.offset + segment.address) % len(packed) == 0:
                    yield segment.address + at - segment.offset

    def _written(self, address: int) -> Iterator[int | None]:
        """Yield what each entry for ``address`` writes; None for what only the loader knows."""
        packed = struct.pack(self._elf.order + "Q", address)
        for table in (self._relocations, self._calls):
            for entry in table.entries(packed, 0):
                _, info, addend = struct.unpack_from(self._elf.order + "QQQ", table.data, entry)
                yield int(addend) if info == self._relative else None

    def _is_written_in_part(self, address: int, size: int) -> bool:
        """Return whether the loader writes bytes of a word by an entry for another address."""
        if any(start != address and start < address + size and address < end for start, end in self._irregular):
            return True
        # A word that is not on its own size has bytes of two that are, which most entries are for.
        first = address // WORD * WORD
        words = chain(*map(self._written, (first, first + WORD)), self._tables.packed.between(first, first + 2 * WORD))
        return first != address and any(True for _ in words)

    @cached_property
    def _irregular(self) -> list[tuple[int, int]]:
        """The ranges of memory that entries write which are not one word on its own size."""
        found: list[tuple[int, int]] = []
        for data in (self._relocations.data, self._calls.data):
            words = array("Q", data)
            kinds = words[1::3]
            if kinds.count(self._relative or 0) == len(kinds) and not any(byte % WORD for byte in set(data[::ENTRY])):
                continue
            for at, kind in zip(words[::3], kinds, strict=True):
                size = self._tables.size_of(kind)
                if size != WORD or at % WORD:
                    found.append((at, at + size))
        return found

    @cached_property
    def _relocations(self) -> _Table:
        return _Table(self._tables.rela)

    @cached_property
    def _calls(self) -> _Table:
        return _Table(self._tables.calls)


class _Table:
    """A table of relocations."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._columns: dict[int, bytes] = {}

    def entries(self, value: bytes, field: int) -> Iterator[int]:
        """Yield the offsets of entries with ``value`` in the field at an offset, `_MAX_EQUAL` at most.

        One byte of the field of all entries is searched first, which is the fastest.
        """
        place = field + _TELLING_BYTE
        if place not in self._columns:
            self._columns[place] = self.data[place::ENTRY]
        column, found = self._columns[place], 0
        number = column.find(value[_TELLING_BYTE])
        while number >= 0 and found < _MAX_EQUAL:
            if self.data.startswith(value, number * ENTRY + field):
                found += 1
                yield number * ENTRY
            number = column.find(value[_TELLING_BYTE], number + 1)
