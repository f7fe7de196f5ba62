"""Relocations: what the loader writes over a word, and bounded work for tables that no linker writes."""

from __future__ import annotations

import io
import struct
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile

from fipsmanifest.inspect import elf_reader
from fipsmanifest.inspect.analysis import analyze
from fipsmanifest.inspect.native.loaded import LoadedData
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


#: Of ``elf.h``: the loader writes the addend, or the size of a symbol and the addend, or two words for a descriptor of
#: thread-local storage, or all of a symbol.
R_X86_64_RELATIVE, R_X86_64_SIZE64, R_X86_64_TLSDESC, R_X86_64_COPY = 8, 33, 36, 5


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


def with_last_entry(data: bytes, address: int, info: int, symbol_size: int) -> bytes:
    """Return a program whose last relocation is for ``address``, and whose first symbol has a size."""
    binary: Any = ELFFile(io.BytesIO(data))
    table, symbols = binary.get_section_by_name(".rela"), binary.get_section_by_name(".dynsym")
    last = table["sh_offset"] + table["sh_size"] - 24
    data = edits.put(data, symbols["sh_offset"] + 24 + 16, struct.pack("<Q", symbol_size))
    return edits.put(data, last, struct.pack("<QQQ", address, info, 0x1000))


def slot_of_a_wrapper(data: bytes) -> tuple[int, int]:
    """Return where the address of a generated C function is, and that address."""
    binary: Any = ELFFile(io.BytesIO(data))
    symbols = binary.get_section_by_name(".symtab").iter_symbols()
    wanted = {s["st_value"] for s in symbols if s.name.startswith("_cgo_") and "goboringcrypto" in s.name}
    entries = binary.get_section_by_name(".rela").iter_relocations()
    return next((entry["r_offset"], entry["r_addend"]) for entry in entries if entry["r_addend"] in wanted)


@pytest.mark.parametrize(
    ("before", "kind", "size", "changed"),
    [
        (4, R_X86_64_SIZE64, 0, True),
        (-4, R_X86_64_SIZE64, 0, True),
        (7, R_X86_64_RELATIVE, 0, True),
        (8, R_X86_64_SIZE64, 0, False),
        (-8, R_X86_64_SIZE64, 0, False),
        (8, R_X86_64_TLSDESC, 0, True),
        (16, R_X86_64_TLSDESC, 0, False),
        (16, R_X86_64_COPY, 17, True),
        (16, R_X86_64_COPY, 16, False),
        (1 << 20, R_X86_64_COPY, 1 << 21, True),
    ],
)
def test_a_word_of_which_the_loader_writes_a_part_by_another_entry_is_not_known(
    before: int, kind: int, size: int, changed: bool
) -> None:
    data = programs.boring_pie().read_bytes()
    slot, function = slot_of_a_wrapper(data)
    source = Buffer(with_last_entry(data, slot - before, 1 << 32 | kind, size))
    found = RelocatedData(source, elf_reader.read(source)).word(slot)
    assert found == (None if changed else function)


def test_a_word_across_two_that_the_loader_writes_is_not_known() -> None:
    data = programs.boring_pie().read_bytes()
    slot, _ = slot_of_a_wrapper(data)
    source = Buffer(data)
    memory = RelocatedData(source, elf_reader.read(source))
    assert memory.word(slot + 4) is None
    assert memory.word(slot - 4) is None


@pytest.mark.parametrize("size", [16, 1 << 16, 1 << 17])
def test_the_data_of_a_native_program_is_not_known_where_a_symbol_of_any_size_is_copied(size: int) -> None:
    data = programs.boring_pie().read_bytes()
    binary: Any = ELFFile(io.BytesIO(data))
    # Data without a relocation of its own, behind the table's header.
    place = binary.get_section_by_name(".data.rel.ro.gopclntab")["sh_addr"] + 0x1000
    source = Buffer(with_last_entry(data, place, 1 << 32 | R_X86_64_COPY, size))
    memory = LoadedData(source, elf_reader.read(source))
    assert memory.word(place + size - 8) is None


def test_words_of_tables_that_can_be_written_or_are_of_another_form_are_not_known() -> None:
    data = programs.boring_pie().read_bytes()
    slot, _ = slot_of_a_wrapper(data)
    binary: Any = ELFFile(io.BytesIO(data))
    place = binary.get_section_by_name(".dynamic")["sh_offset"]
    tags = list(binary.get_section_by_name(".dynamic").iter_tags())
    numbers = {tag.entry.d_tag: number for number, tag in enumerate(tags)}
    table = place + 16 * numbers["DT_RELA"]
    in_data = binary.get_section_by_name(".data")["sh_addr"]
    for forged in (
        edits.put(data, table + 8, struct.pack("<Q", in_data)),
        edits.put(data, place + 16 * numbers["DT_PLTREL"] + 8, struct.pack("<Q", 17)),
        # DT_DEBUG in the place of what tells the loader that there is a table: it reads none then.
        edits.put(data, place + 16 * numbers["DT_PLTREL"], struct.pack("<Q", 21)),
        edits.put(data, table, struct.pack("<Q", 21)),
        # Fixed addresses: not every loader applies what writes them.
        edits.put(data, 16, struct.pack("<H", 2)),
        # DT_REL in the place of an entry that is not needed.
        edits.put(data, place + 16 * numbers["DT_HASH"], struct.pack("<Q", 17)),
    ):
        source = Buffer(forged)
        assert RelocatedData(source, elf_reader.read(source)).word(slot) is None


@pytest.mark.parametrize(
    ("packed", "moved", "known"),
    [
        ([0], 1 << 20, True),  # another word
        ([0], 0, False),  # this one, which DT_RELA has too
        ([0], -4, False),  # a part of it
        ([0, 0], 1 << 20, False),  # a word twice
    ],
)
def test_a_packed_table_counts_for_the_words_that_it_moves(packed: list[int], moved: int, known: bool) -> None:
    """An even entry of DT_RELR is the address of a word, to which the loader adds (gABI, "Relative relocations")."""
    data = programs.boring_pie().read_bytes()
    slot, function = slot_of_a_wrapper(data)
    binary: Any = ELFFile(io.BytesIO(data))
    place = binary.get_section_by_name(".dynamic")["sh_offset"]
    numbers = {tag.entry.d_tag: n for n, tag in enumerate(binary.get_section_by_name(".dynamic").iter_tags())}
    # In the place of what the reader does not need: the hash table, and its entry.
    table = binary.get_section_by_name(".hash")
    words = struct.pack(f"<{len(packed)}Q", *(slot + moved + one for one in packed))
    data = edits.put(data, table["sh_offset"], words)
    data = edits.put(data, place + 16 * numbers["DT_HASH"], struct.pack("<2Q", 36, table["sh_addr"]))
    data = edits.put(data, place + 16 * numbers["DT_DEBUG"], struct.pack("<2Q", 35, len(words)))
    source = Buffer(data)

    found = RelocatedData(source, elf_reader.read(source)).word(slot)

    assert found == (function if known else None)


@pytest.mark.parametrize(("tag", "size"), [("DT_RELASZ", 1), ("DT_RELASZ", 24 << 30), ("DT_PLTRELSZ", -1)])
def test_a_table_that_is_not_whole_makes_every_word_unknown(tag: str, size: int) -> None:
    data = programs.boring_pie().read_bytes()
    slot, _ = slot_of_a_wrapper(data)
    binary: Any = ELFFile(io.BytesIO(data))
    entries = list(binary.get_section_by_name(".dynamic").iter_tags())
    number = next(n for n, entry in enumerate(entries) if entry.entry.d_tag == tag)
    place = binary.get_section_by_name(".dynamic")["sh_offset"] + 16 * number + 8
    source = Buffer(edits.put(data, place, struct.pack("<Q", entries[number].entry.d_val + size)))

    assert RelocatedData(source, elf_reader.read(source)).word(slot) is None


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
