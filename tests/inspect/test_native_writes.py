"""What the loader writes, looked up by address: compared with tables that are read entry by entry, as a loader does."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fipsmanifest.inspect.elf import Elf
from fipsmanifest.inspect.native.writes import IN_PLACE, LoaderWrites, UnknownWrites

#: Of ``elf.h``.
DT_RELA, DT_RELASZ, DT_RELR, DT_RELRSZ, DT_JMPREL, DT_PLTRELSZ, DT_SYMTAB, DT_PLTREL = 7, 8, 36, 35, 23, 2, 6, 20
R_X86_64_64, R_X86_64_COPY, R_X86_64_RELATIVE, R_X86_64_TLSDESC = 1, 5, 8, 36
TABLE, SECOND, PACKED, SYMBOLS, BESIDE, END = 0x1000, 0x8000, 0x10000, 0x18000, 0x1C000, 0x20000
#: Where words are: close together and far apart, some of them with the same third byte.
WORDS = [at + 8 * number for at in (0x20F00, 0x30000, 0x130000, 0x1020F00) for number in range(40)]

Entry = tuple[int, int, int]


def writes(
    entries: list[Entry],
    calls: list[Entry] | None = None,
    packed: bytes = b"",
    *,
    symbols: bytes = b"",
    writable: bool = False,
    beside: bytes = b"",
    interpreter: bool = True,
) -> LoaderWrites:
    memory = bytearray(END)
    memory[BESIDE : BESIDE + len(beside)] = beside
    dynamic = []
    for at, data, place, size in (
        (TABLE, b"".join(struct.pack("<3Q", *one) for one in entries), DT_RELA, DT_RELASZ),
        (SECOND, b"".join(struct.pack("<3Q", *one) for one in calls or ()), DT_JMPREL, DT_PLTRELSZ),
        (PACKED, packed, DT_RELR, DT_RELRSZ),
    ):
        memory[at : at + len(data)] = data
        dynamic += [(place, at), (size, len(data))]
    memory[SYMBOLS : SYMBOLS + len(symbols)] = symbols
    load = SimpleNamespace(address=0, size=END, memory=END, writable=writable)
    elf = SimpleNamespace(
        dynamic=[*dynamic, (DT_SYMTAB, SYMBOLS), (DT_PLTREL, DT_RELA)],
        loads=[load],
        segments=[SimpleNamespace(kind="interpreter")] if interpreter else [],
        facts=SimpleNamespace(machine="x86_64", type="dyn"),
    )
    return LoaderWrites(cast(Elf, elf), lambda address, length: bytes(memory[address : address + length]))


def read_one_by_one(entries: list[Entry], packed: list[int]) -> dict[int, int | None]:
    """Words with the one value that is written there; None for several, or for what a symbol decides."""
    written: dict[int, list[int | None]] = {}
    for at, kind, value in entries:
        written.setdefault(at, []).append(value if kind == R_X86_64_RELATIVE else None)
        if kind == R_X86_64_TLSDESC:
            written.setdefault(at + 8, []).append(None)
    for at in packed:
        written.setdefault(at, []).append(IN_PLACE)
    return {at: values[0] if len(values) == 1 else None for at, values in written.items()}


def relr(words: list[int]) -> bytes:
    """A packed table (gABI, "Relative relocations"): the address of a word, then a bit for each of the next 63."""
    found, rest = [], sorted(words)
    while rest:
        start = rest.pop(0)
        found.append(start)
        start += 8
        while rest and rest[0] < start + 63 * 8:
            inside = [at for at in rest if at < start + 63 * 8]
            found.append(1 + sum(1 << (at - start) // 8 + 1 for at in inside))
            rest, start = rest[len(inside) :], start + 63 * 8
    return struct.pack(f"<{len(found)}Q", *found)


KINDS = st.sampled_from([R_X86_64_RELATIVE] * 5 + [R_X86_64_64, R_X86_64_TLSDESC])
ENTRIES = st.lists(st.tuples(st.sampled_from(WORDS), KINDS, st.integers(0, 1 << 40)), max_size=60)


@given(ENTRIES, ENTRIES, st.sets(st.sampled_from(WORDS), max_size=60))
def test_every_word_is_found_that_a_loader_writes_and_no_other(
    entries: list[Entry], calls: list[Entry], packed: set[int]
) -> None:
    found = writes(entries, calls, relr(sorted(packed)))
    expected = read_one_by_one([*entries, *calls], sorted(packed))
    for start in (0x20000, 0x30000, 0x130000, 0x1020000, 0x1030000):
        there = {at: value for at, value in expected.items() if start <= at < start + 0x1100}
        got: Mapping[int, int | None] = dict(found.within(start, start + 0x1100))
        # Where one word is written twice, neighbours may be unknown, too, and words that are not written at all.
        assert {at: got[at] for at in there if got[at] is not None} == {
            at: value for at, value in there.items() if got[at] is not None
        }
        if None not in there.values():
            assert all(at in there or value is None for at, value in got.items())
    if len({at for at, _, _ in (*entries, *calls)}) == len(entries) + len(calls):
        for at in WORDS:
            assert dict(found.within(at, at + 8)) == ({at: expected[at]} if at in expected else {})


def test_a_symbol_that_the_loader_copies_is_written_as_a_whole() -> None:
    symbol = struct.pack("<IBBHQQ", 0, 0, 0, 0, 0, 20)
    found = writes([(0x20000, 1 << 32 | R_X86_64_COPY, 0)], symbols=bytes(24) + symbol)
    assert dict(found.within(0x1FFF8, 0x20020)) == {0x20000: None, 0x20008: None, 0x20010: None}


@pytest.mark.parametrize("at", [1, 0x20004, 0x20F07])
def test_what_is_not_on_a_word_is_unknown(at: int) -> None:
    with pytest.raises(UnknownWrites):
        writes([(0x20000, R_X86_64_RELATIVE, 0), (at, R_X86_64_RELATIVE, 0)])


@pytest.mark.parametrize("words", [(0x30000, 0x20000), (0x20000, 0x20000), (0x20000, 7, 0x20008), (0x20004,)])
def test_a_packed_table_that_no_linker_writes_is_unknown(words: tuple[int, ...]) -> None:
    with pytest.raises(UnknownWrites):
        writes([], packed=struct.pack(f"<{len(words)}Q", *words))


def test_entries_that_the_loader_could_write_itself_are_unknown() -> None:
    entries: list[Any] = [(0x20000, R_X86_64_RELATIVE, 0)]
    assert dict(writes(entries).within(0x20000, 0x20008)) == {0x20000: 0}
    with pytest.raises(UnknownWrites):
        writes(entries, writable=True)


def test_a_static_program_may_have_its_dynamic_section_where_it_cannot_be_written() -> None:
    # musl's own start writes nothing into it, and lld puts it there with `-z rodynamic`.
    other = struct.pack("<8Q", DT_RELA, SECOND, DT_RELASZ, 24, 9, 24, 0, 0)
    with pytest.raises(UnknownWrites):
        writes([], beside=other, interpreter=False)
    # Here the program does not apply its relocations itself.
    assert writes([], beside=other).is_empty
    assert writes([], beside=struct.pack("<4Q", 9, 24, 0, 0), interpreter=False).is_empty
