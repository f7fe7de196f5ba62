"""Relocations: what the loader writes over a word, and bounded work for tables that no linker writes."""

from __future__ import annotations

import io
import struct
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile

from fipsmanifest.inspect import elf_reader
from fipsmanifest.inspect.analysis import analyze
from fipsmanifest.inspect.relocation import RelocatedData, _Table
from fipsmanifest.inspect.source import Buffer
from fipsmanifest.inspect.table import load
from tests.support import edits, programs


def entry(address: int, addend: int = 0) -> bytes:
    return struct.pack("<QQQ", address, 8, addend)


def test_only_the_named_field_of_an_entry_is_compared() -> None:
    table = entry(1, addend=7) + entry(7) + entry(2, addend=7)

    assert list(_Table(table).entries(struct.pack("<Q", 7), 0)) == [24]
    assert list(_Table(table).entries(struct.pack("<Q", 7), 16)) == [0, 48]


def test_bytes_across_two_fields_are_no_address() -> None:
    table = bytes(4) + struct.pack("<Q", 0x1122334455667788) + bytes(36)

    assert list(_Table(table).entries(struct.pack("<Q", 0x1122334455667788), 0)) == []


def test_a_table_of_one_byte_over_and_over_gives_a_bounded_number_of_entries() -> None:
    found = list(_Table(bytes(24 * 100_000)).entries(bytes(8), 0))

    assert 0 < len(found) < 10_000
    assert found[:2] == [0, 24]


#: Of ``elf.h``: the loader writes the addend, or the size of a symbol and the addend.
R_X86_64_RELATIVE, R_X86_64_SIZE64 = 8, 33


@pytest.mark.parametrize("kind", [R_X86_64_RELATIVE, R_X86_64_SIZE64])
def test_a_word_that_the_loader_writes_twice_is_not_what_the_first_entry_says(kind: int) -> None:
    """The last entry for a word is what it holds when the program runs (glibc, ``elf/do-rel.h``)."""
    data = programs.boring_pie().read_bytes()
    binary: Any = ELFFile(io.BytesIO(data))
    entries = [entry for entry in binary.get_section_by_name(".rela").iter_relocations() if entry["r_info"] == 8]
    wanted = {
        symbol["st_value"]
        for symbol in binary.get_section_by_name(".symtab").iter_symbols()
        if symbol.name.startswith("_cgo_") and "goboringcrypto" in symbol.name
    }
    slots = [entry for entry in entries if entry["r_addend"] in wanted]
    assert slots
    table = binary.get_section_by_name(".rela")
    last = table["sh_offset"] + table["sh_size"] - 24
    forged = data
    source = Buffer(data)
    assert RelocatedData(source, elf_reader.read(source)).word(slots[0]["r_offset"]) == slots[0]["r_addend"]
    forged = edits.put(data, last, struct.pack("<QQQ", slots[0]["r_offset"], kind, 0x1000))
    source = Buffer(forged)
    assert RelocatedData(source, elf_reader.read(source)).word(slots[0]["r_offset"]) is None


def test_wrappers_that_the_loader_leads_elsewhere_are_not_followed() -> None:
    data = programs.boring_pie().read_bytes()
    binary: Any = ELFFile(io.BytesIO(data))
    table = binary.get_section_by_name(".rela")
    names = {s.name: s["st_value"] for s in binary.get_section_by_name(".symtab").iter_symbols()}
    wanted = {value for name, value in names.items() if name.startswith("_cgo_") and "goboringcrypto" in name}
    entries = list(table.iter_relocations())
    slots = sorted({entry["r_offset"] for entry in entries if entry["r_addend"] in wanted})
    forged = data
    for number, slot in enumerate(slots):
        place = table["sh_offset"] + table["sh_size"] - 24 * (number + 1)
        forged = edits.put(forged, place, struct.pack("<QQQ", slot, R_X86_64_RELATIVE, names["main.main"]))
    assert str(analyze(Buffer(data), load()).crypto.verdict) == "proven"
    assert str(analyze(Buffer(forged), load()).crypto.verdict) != "proven"
