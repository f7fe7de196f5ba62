"""Functions of a reference as they are prepared for comparisons: compared with the plain arithmetic of relocations."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fipsmanifest.inspect.native.library import Library
from fipsmanifest.inspect.native.prepared import OTHER, UNKNOWN, Code, Preparation, _Relative, _Words
from fipsmanifest.inspect.native.records import Record, Relocation, Symbol, SymbolKind, digest_of
from fipsmanifest.inspect.native.relocations import Kind, target

ADDRESS = 0x1400000
#: Instructions that a C linker puts in the place of ADRP and ADD: NOP, and ADR X3.
RELAXED = struct.pack("<II", 0xD503201F, 0x10000003)


def prepared(record: Record) -> Code:
    symbols = {item.target: () for item in record.relocations}
    (code,) = Preparation({record.symbol.name: [record]}, symbols).named(record.symbol.name)
    return code


def record_of(data: bytes, relocations: tuple[Relocation, ...]) -> Record:
    return Record(Symbol("f", 1), SymbolKind.TEXT, len(data), digest_of(data, relocations), relocations)


def check(data: bytes, relocations: tuple[Relocation, ...]) -> Code:
    """Compare what is prepared with `digest_of` and `target`, for the bytes and for each change of a bit."""
    code = prepared(record_of(data, relocations))
    fields = code.match(data)
    assert fields is not None
    for number, value, item in zip(code.numbers, code.targets(fields, ADDRESS), relocations, strict=True):
        if item.kind is Kind.TLS_OFFSET:
            # Not an address: the field as it is.
            assert number != OTHER
            assert value == int.from_bytes(data[item.offset : item.offset + 4], "little", signed=True)
        elif item.kind is Kind.TLS_LOAD:
            assert (number, value) == (OTHER, UNKNOWN)
        elif number != OTHER and value >= 0:
            expected = target(data, item.offset, item.kind, ADDRESS)
            assert expected is not None
            assert value == expected - item.addend
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        equal = digest_of(bytes(changed), relocations) == code.record.digest
        assert (code.match(bytes(changed)) is not None) is equal, bit
    return code


@settings(max_examples=30)
@given(st.randoms(use_true_random=False), st.integers(0, 3))
def test_a_function_of_x86_64_is_split_as_its_relocations_say(source: random.Random, rest: int) -> None:
    data, relocations = bytearray(source.randbytes(source.randrange(12))), []
    for number in range(source.randrange(4)):
        kind = source.choice([Kind.RELATIVE, Kind.TLS_OFFSET])
        relocations.append(Relocation(len(data), kind, False, source.choice([0, 8, -4]), Symbol(f"t{number % 2}", 1)))
        data += source.randbytes(4 + source.randrange(6))
    assert isinstance(check(bytes(data) + bytes(rest), tuple(relocations)), _Relative)


#: ``MOVQ offset(IP), REG`` and the ``MOVQ $offset, REG`` that a linker makes of it, for AX and R9.
LOADS = [("488b05", "48c7c0"), ("4c8b0d", "49c7c1")]


@settings(max_examples=30)
@given(st.randoms(use_true_random=False), st.sampled_from(LOADS), st.booleans())
def test_a_load_of_a_thread_local_offset_equals_what_a_linker_makes_of_it(
    source: random.Random, forms: tuple[str, str], is_rewritten: bool
) -> None:
    before, after = source.randbytes(source.randrange(9)), source.randbytes(source.randrange(9))
    call, load = len(before) + 1, len(before) + 8
    relocations = (
        Relocation(call, Kind.RELATIVE, False, 0, Symbol("t", 1)),
        Relocation(load, Kind.TLS_LOAD, False, 0, Symbol("runtime.tlsg", 0)),
    )
    compiled, linked = (
        before + b"\xe8" + source.randbytes(4) + bytes.fromhex(form) + source.randbytes(4) + after for form in forms
    )
    record = record_of(compiled, relocations)
    assert isinstance(prepared(record), _Relative)
    assert record_of(linked, relocations).digest == record.digest
    check(linked if is_rewritten else compiled, relocations)


@settings(max_examples=30)
@given(st.randoms(use_true_random=False))
def test_a_function_of_aarch64_is_split_as_its_relocations_say(source: random.Random) -> None:
    data, relocations = bytearray(source.randbytes(4 * source.randrange(3))), []
    for _ in range(source.randrange(4)):
        kind = source.choice([Kind.BRANCH, Kind.PAGE_ADD, Kind.PAGE_16, Kind.PAGE_64])
        relocations.append(Relocation(len(data), kind, False, source.choice([0, 8, -4]), Symbol("t", 1)))
        if kind is Kind.BRANCH:
            data += struct.pack("<I", source.randrange(1 << 26) | 0x94000000)
        else:
            data += struct.pack("<II", 0x90000003 | source.getrandbits(32) & 0x60FFFFE0, 0x91000063)
        data += source.randbytes(4 * source.randrange(3))
    check(bytes(data), tuple(relocations))


def test_instructions_that_a_linker_relaxed_are_those_that_they_were() -> None:
    relocations = (Relocation(0, Kind.PAGE_ADD, False, 0, Symbol("t", 1)),)
    plain = struct.pack("<II", 0x90000003, 0x91000063)
    code = prepared(record_of(plain, relocations))
    assert isinstance(code, _Words)
    fields = code.match(RELAXED)
    assert fields is not None
    assert code.targets(fields, ADDRESS) == [UNKNOWN]
    assert code.match(struct.pack("<II", 0xD503201F, 0x10000004)) is None


@pytest.mark.parametrize(("architecture", "level", "form"), [("x86_64", "v1", _Relative), ("aarch64", "v8.0", _Words)])
def test_most_functions_have_a_form_that_is_compared_at_once(architecture: str, level: str, form: type[Code]) -> None:
    reference = Library().find(("go1.26.6", architecture, level, "", "v1.0.0-c2097c7c"))
    assert reference is not None
    codes = [code for name in reference.by_name for code in reference.prepared.named(name)]
    assert len(codes) > 1_000
    assert sum(isinstance(code, form) for code in codes) > 0.7 * len(codes)
