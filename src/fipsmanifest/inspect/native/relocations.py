"""What the linker writes into the module's code: which bits, and the address that they lead to.

Kinds follow Go's ``cmd/internal/objabi/reloctype.go``; the arithmetic is that of ``cmd/link/internal/ld/data.go``,
``amd64/asm.go`` and ``arm64/asm.go``. Only the bits that hold an address count as the linker's: the rest of an
instruction is compared like any other code.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

_MASK64 = (1 << 64) - 1

#: ADRP and the instruction behind it, with the bits of their addresses cleared; ADR and NOP take their place where a C
#: linker relaxes them (ELF for the Arm 64-bit Architecture, "Relocation optimization").
ADRP_BITS = 0x60FFFFE0
"""The bits of a page in ADRP."""
IMM12 = 0x003FFC00
"""The bits of an offset in ADD, loads and stores."""
IMM26 = 0x03FFFFFF
"""The bits of a distance in B and BL."""
_ADR, _ADRP, _ADR_MASK = 0x10000000, 0x90000000, 0x9F000000
NOP = 0xD503201F
"""NOP, which takes the place of the first instruction then."""
_ADD_64 = 0x91000000
#: BR, and the registers that Go's linker has used for trampolines: X16, which calls may change, and X27 before.
_BR, _BR_REGISTERS = 0xD61F0000, (16, 27)
TRAMPOLINE = 12
"""Bytes of a trampoline."""
TRAMPOLINE_ENDS = tuple((_BR | register << 5).to_bytes(4, "little") for register in _BR_REGISTERS)
"""Its last instruction, one of these."""


class Kind(IntEnum):
    """How the linker writes an address into a symbol's bytes. The numbers are part of the reference's format."""

    RELATIVE = 1
    """x86_64, four bytes: the target's distance from the end of the field (R_CALL, R_PCREL)."""
    TLS_OFFSET = 2
    """x86_64, four bytes: an offset from the thread's base (R_TLS_LE)."""
    TLS_LOAD = 3
    """x86_64: a load of that offset, which linkers of programs turn into a constant (R_TLS_IE)."""
    BRANCH = 4
    """aarch64, four bytes: B or BL (R_CALLARM64)."""
    PAGE_ADD = 5
    """aarch64, eight bytes: ADRP and ADD (R_ADDRARM64)."""
    PAGE_8 = 6
    """aarch64, eight bytes: ADRP and a load or store of one byte (R_ARM64_PCREL_LDST8)."""
    PAGE_16 = 7
    """The same of two bytes."""
    PAGE_32 = 8
    """The same of four bytes."""
    PAGE_64 = 9
    """The same of eight bytes."""
    ADDRESS = 10
    """Eight bytes of data: the target's address (R_ADDR)."""
    ANY_4 = 11
    """Four bytes of data that are not compared."""
    ANY_8 = 12
    """Eight bytes of data that are not compared."""


#: Bytes that a kind occupies.
SIZES: Mapping[int, int] = {
    Kind.RELATIVE: 4,
    Kind.TLS_OFFSET: 4,
    Kind.TLS_LOAD: 4,
    Kind.BRANCH: 4,
    Kind.PAGE_ADD: 8,
    Kind.PAGE_8: 8,
    Kind.PAGE_16: 8,
    Kind.PAGE_32: 8,
    Kind.PAGE_64: 8,
    Kind.ADDRESS: 8,
    Kind.ANY_4: 4,
    Kind.ANY_8: 8,
}

#: All of whose bits are the linker's, in four bytes.
_FOUR_BYTES = frozenset(map(int, (Kind.RELATIVE, Kind.TLS_OFFSET, Kind.ANY_4)))
_RELATIVE = int(Kind.RELATIVE)
_ZERO = bytes(4)

SHIFTS: Mapping[int, int] = {Kind.PAGE_ADD: 0, Kind.PAGE_8: 0, Kind.PAGE_16: 1, Kind.PAGE_32: 2, Kind.PAGE_64: 3}
"""How far the offset of ADD, of a load or of a store is shifted."""

#: Bytes before the field of a `Kind.TLS_LOAD` that its instruction begins at: REX prefix, opcode, ModRM.
TLS_LOAD_BEFORE = 3


def mask(data: bytearray, at: int, kind: int) -> None:
    """Clear the bits of ``data`` that the linker writes for a relocation at ``at``; what it may rewrite is undone."""
    if kind in _FOUR_BYTES:
        data[at : at + 4] = _ZERO
    elif kind == Kind.BRANCH:
        _put(data, at, _word(data, at) & ~IMM26)
    elif kind in (Kind.ADDRESS, Kind.ANY_8):
        data[at : at + 8] = bytes(8)
    elif kind == Kind.TLS_LOAD:
        _mask_tls_load(data, at)
    else:
        _mask_pair(data, at, kind)


def target(data: bytes, at: int, kind: int, address: int) -> int | None:
    """Return the address that a relocation's field leads to, with its addend.

    ``data`` holds the symbol's bytes as linked, ``at`` is the field's offset in them, ``address`` the symbol's address.
    None where the field holds no address, or where the instructions are none that the linker writes.
    """
    place = address + at
    if kind == _RELATIVE:
        return (place + 4 + int.from_bytes(data[at : at + 4], "little", signed=True)) & _MASK64
    if kind == Kind.BRANCH:
        distance = _word(data, at) & IMM26
        return (place + 4 * (distance - ((distance & 0x02000000) << 1))) & _MASK64
    if kind in SHIFTS:
        return _pair_target(data, at, kind, place)
    return None


def trampoline_target(code: bytes, address: int) -> int | None:
    """Return where a trampoline of Go's linker leads; None for code that is none.

    On aarch64 a call that is too far for its instruction leads to one that is near: ``ADRP``, ``ADD`` and ``BR`` with
    one register (``cmd/link/internal/arm64/asm.go``, ``gentramp``).
    """
    if len(code) != TRAMPOLINE or code[8:] not in TRAMPOLINE_ENDS:
        return None
    register = _word(code, 8) >> 5 & 0x1F
    pair = _ADRP | register, _ADD_64 | register << 5 | register
    if (_word(code, 0) & ~ADRP_BITS, _word(code, 4) & ~IMM12) != pair:
        return None
    return _pair_target(code, 0, Kind.PAGE_ADD, address)


def _pair_target(data: bytes, at: int, kind: int, place: int) -> int | None:
    first, second = _word(data, at), _word(data, at + 4)
    if first == NOP and second & _ADR_MASK == _ADR:
        return (place + 4 + _immediate(second)) & _MASK64
    if first & _ADR_MASK != _ADRP:
        return None
    low = (second & IMM12) >> 10 << SHIFTS[kind]
    return ((place & ~0xFFF) + (_immediate(first) << 12) + low) & _MASK64


def _immediate(word: int) -> int:
    """Return the signed 21 bits of ADR or ADRP."""
    value = (word >> 5 & 0x7FFFF) << 2 | word >> 29 & 3
    return value - ((value & 0x100000) << 1)


def _mask_pair(data: bytearray, at: int, kind: int) -> None:
    first, second = _word(data, at), _word(data, at + 4)
    if kind == Kind.PAGE_ADD and first == NOP and second & _ADR_MASK == _ADR:
        # The form before a C linker relaxed it: both instructions name the same register.
        register = second & 0x1F
        first, second = _ADRP | register, _ADD_64 | register << 5 | register
    _put(data, at, first & ~ADRP_BITS)
    _put(data, at + 4, second & ~IMM12)


def _mask_tls_load(data: bytearray, at: int) -> None:
    """Clear the field, and turn ``MOVQ $offset, REG`` back into the ``MOVQ offset(IP), REG`` that it was made of."""
    data[at : at + 4] = b"\0\0\0\0"
    prefix, opcode, operand = data[at - TLS_LOAD_BEFORE : at]
    if opcode == 0xC7 and operand & 0xF8 == 0xC0 and prefix in (0x48, 0x49):
        data[at - TLS_LOAD_BEFORE : at] = bytes((0x4C if prefix == 0x49 else 0x48, 0x8B, 0x05 | (operand & 7) << 3))


def _word(data: bytes | bytearray, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def _put(data: bytearray, at: int, word: int) -> None:
    data[at : at + 4] = (word & 0xFFFFFFFF).to_bytes(4, "little")
