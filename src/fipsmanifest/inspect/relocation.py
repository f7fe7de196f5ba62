"""A program's data as it is once the loader has relocated it: words by their addresses.

Programs that can be loaded anywhere hold addresses as relocations, whose addend is the address before the program is
moved (``R_X86_64_RELATIVE``, ``R_AARCH64_RELATIVE``: the processor supplements of the System V ABI); others hold them
as they are.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cached_property

from .elf import Elf
from .source import ByteSource, find

_RELATIVE = {"x86_64": 8, "aarch64": 1027}
_DT_RELA, _DT_RELASZ = 7, 8
_RELA_SIZE = 24
#: Kubernetes' largest, position-independent, has some 400,000.
_MOST_RELOCATION_BYTES = 64 << 20


class RelocatedData:
    """Words and addresses of one program, before it is moved."""

    def __init__(self, source: ByteSource, elf: Elf) -> None:
        self._source = source
        self._elf = elf
        self._word = "Q" if elf.facts.bits == 64 else "I"

    def word(self, address: int) -> int | None:
        """Return the word at ``address``; None where no segment has bytes of the file for it."""
        relocated = self._relocated(address)
        if relocated is not None:
            return relocated
        offset, size = self._elf.offset_of(address), struct.calcsize(self._word)
        data = self._source.read_at(offset, size) if offset is not None else b""
        return int.from_bytes(data, "little" if self._elf.little else "big") if len(data) == size else None

    def bytes_at(self, address: int, length: int) -> bytes:
        """Return up to ``length`` bytes from ``address``, as far as its segment has them."""
        for segment in self._elf.loads:
            if segment.address <= address < segment.address + segment.size:
                length = min(length, segment.address + segment.size - address)
                return self._source.read_at(segment.offset + address - segment.address, length)
        return b""

    def loaded(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes from a place in the file, with the addresses among them that the loader writes.

        C's linkers leave zeros where it writes, Go's own linker writes the same words itself.
        """
        data = self._source.read_at(offset, size)
        start = self.address_of(offset)
        if start is None or not self._relocations:
            return data
        written, entries = bytearray(data), struct.Struct(self._elf.order + "QQQ")
        whole = len(self._relocations) // _RELA_SIZE * _RELA_SIZE
        for address, info, addend in entries.iter_unpack(memoryview(self._relocations)[:whole]):
            if start <= address <= start + len(data) - 8 and info == _RELATIVE[self._elf.facts.machine]:
                struct.pack_into(self._elf.order + "Q", written, address - start, addend)
        return bytes(written)

    def executable(self, address: int) -> bool:
        """Return whether code at ``address`` can be executed."""
        return any(item.address <= address < item.address + item.size for item in self._elf.executable)

    def address_of(self, offset: int) -> int | None:
        """Return the address that a place in the file is mapped to."""
        for segment in self._elf.loads:
            if segment.offset <= offset < segment.end:
                return segment.address + offset - segment.offset
        return None

    def references(self, address: int) -> Iterator[int]:
        """Yield the addresses of words that hold ``address``."""
        packed = struct.pack(self._elf.order + self._word, address)
        data = [segment for segment in self._elf.loads if not segment.executable]
        for segment in sorted(data, key=lambda segment: not segment.writable):
            for at in find(self._source, segment.offset, segment.end, packed):
                if (at - segment.offset + segment.address) % len(packed) == 0:
                    yield segment.address + at - segment.offset
        for entry in _aligned(self._relocations, packed, 16):
            yield struct.unpack_from(self._elf.order + "Q", self._relocations, entry)[0]

    def _relocated(self, address: int) -> int | None:
        for entry in _aligned(self._relocations, struct.pack(self._elf.order + "Q", address), 0):
            _, info, addend = struct.unpack_from(self._elf.order + "QQQ", self._relocations, entry)
            if info == _RELATIVE[self._elf.facts.machine]:
                return int(addend)
        return None

    @cached_property
    def _relocations(self) -> bytes:
        """The table DT_RELA; empty where there is none."""
        if self._elf.facts.machine not in _RELATIVE:
            return b""
        dynamic = dict(self._elf.dynamic)
        return self.bytes_at(dynamic.get(_DT_RELA, 0), min(dynamic.get(_DT_RELASZ, 0), _MOST_RELOCATION_BYTES))


def _aligned(table: bytes, wanted: bytes, field: int) -> Iterator[int]:
    """Yield where entries of a table begin that have ``wanted`` in the field at that offset."""
    at = table.find(wanted)
    while at >= 0:
        if (at - field) % _RELA_SIZE == 0:
            yield at - field
        at = table.find(wanted, at + 1)
