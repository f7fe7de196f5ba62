"""Functions that code calls through slots that the dynamic linker fills in by name.

A shared library calls its own public functions this way, through its procedure linkage table. If the program that loads
it defines the same name, that function is called instead, so the file does not show which function is called (gABI,
chapter 5, "Dynamic Linking"; the processor supplements for x86-64 and AArch64 have the numbers).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from .boring import ModuleMatch
from .elf import Elf
from .source import ByteSource
from .table import Row

#: Relocations that put the address of a named function into a slot: GLOB_DAT and JUMP_SLOT.
_SLOTS = {"x86_64": (6, 7), "aarch64": (1025, 1026)}
_DT_PLTRELSZ, _DT_SYMTAB, _DT_RELA, _DT_RELASZ, _DT_JMPREL = 2, 6, 7, 8, 23
_RELA = "QQq"
_RELA_SIZE, _SYMBOL_SIZE = 24, 24
#: Large libraries have some hundred thousand; those of slots are few and come first.
_MAX_RELOCATIONS = 1 << 18
_MAX_SLOTS = 1 << 14


def requested_entry_points(source: ByteSource, elf: Elf, module: ModuleMatch) -> frozenset[str]:
    """Return the entry points of a known module that the file has slots for."""
    if module.row is None or elf.facts.bits != 64 or elf.facts.machine not in _SLOTS:
        return frozenset()
    entry_points = _entry_points(elf, module.offset, module.row)
    return frozenset(entry_points[value] for value in _slots(source, elf) if value in entry_points)


def _entry_points(elf: Elf, offset: int, row: Row) -> dict[int, str]:
    for segment in elf.executable:
        if segment.offset <= offset < segment.end:
            start = segment.address + offset - segment.offset
            return {start + place: name for name, place in row.entry_points.items()}
    return {}


def _slots(source: ByteSource, elf: Elf) -> Iterator[int]:
    """Yield the values that this file's own symbols would put into the slots."""
    dynamic = dict(elf.dynamic)
    symbols = elf.offset_of(dynamic.get(_DT_SYMTAB, 0))
    if symbols is None:
        return
    tables = ((_DT_JMPREL, _DT_PLTRELSZ), (_DT_RELA, _DT_RELASZ))
    slots = 0
    for place, size in tables:
        for info, addend in _relocations(source, elf, dynamic.get(place, 0), dynamic.get(size, 0)):
            if info & 0xFFFFFFFF not in _SLOTS[elf.facts.machine]:
                continue
            slots += 1
            if slots > _MAX_SLOTS:
                return
            symbol = source.read_at(symbols + (info >> 32) * _SYMBOL_SIZE, _SYMBOL_SIZE)
            if len(symbol) == _SYMBOL_SIZE:
                yield struct.unpack_from(elf.order + "Q", symbol, 8)[0] + addend


def _relocations(source: ByteSource, elf: Elf, address: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield info and addend of each Elf64_Rela of a table."""
    start = elf.offset_of(address)
    if start is None:
        return
    data = source.read_at(start, min(size, _MAX_RELOCATIONS * _RELA_SIZE))
    for _, info, addend in struct.iter_unpack(elf.order + _RELA, data[: len(data) // _RELA_SIZE * _RELA_SIZE]):
        yield info, addend
