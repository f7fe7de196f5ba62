"""Relocation tables that no linker writes take bounded work."""

from __future__ import annotations

import struct

from fipsmanifest.inspect.relocation import _aligned


def entry(address: int, addend: int = 0) -> bytes:
    return struct.pack("<QQQ", address, 8, addend)


def test_only_the_named_field_of_an_entry_is_compared() -> None:
    table = entry(1, addend=7) + entry(7) + entry(2, addend=7)

    assert list(_aligned(table, struct.pack("<Q", 7), 0)) == [24]
    assert list(_aligned(table, struct.pack("<Q", 7), 16)) == [0, 48]


def test_bytes_across_two_fields_are_no_address() -> None:
    table = bytes(4) + struct.pack("<Q", 0x1122334455667788) + bytes(36)

    assert list(_aligned(table, struct.pack("<Q", 0x1122334455667788), 0)) == []


def test_a_table_of_one_byte_over_and_over_gives_a_bounded_number_of_entries() -> None:
    found = list(_aligned(bytes(24 * 100_000), bytes(8), 0))

    assert 0 < len(found) < 10_000
    assert found[:2] == [0, 24]
