"""What a reference says of one symbol: its size, the digest of its bytes, and where the linker writes into them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

from .relocations import mask

DIGEST = 16
"""Bytes that are kept of the SHA-256 of a symbol's bytes."""
STATIC = 2
"""The ABI of a symbol that only its own file can name."""


class SymbolKind(IntEnum):
    """What a record describes. The numbers are part of the format."""

    TEXT = 1
    """Code of the module (STEXTFIPS)."""
    RODATA = 2
    """Constant data of the module (SRODATAFIPS)."""
    NOPTRDATA = 3
    """Variables of the module without pointers (SNOPTRDATAFIPS)."""
    DATA = 4
    """Other variables of the module (SDATAFIPS)."""
    CONSTANT = 5
    """Constant data outside the module that its code uses: strings, method tables, pointers to functions."""
    READER = 6
    """Code of Go's runtime that reads the default of GODEBUG."""
    FUNCTION = 7
    """Any other function that the module's code leads to: by its name alone, without bytes."""
    VARIABLE = 8
    """A variable that is zero at first, the module's or another (SBSS, SNOPTRBSS): by its size, without bytes."""
    TYPE = 9
    """The descriptor of a type, without what it refers to."""


class Symbol(NamedTuple):
    """What identifies a symbol in a program."""

    name: str
    """Its name; a function's is that of the function table."""
    abi: int
    """0 for assembly's calling convention and for data, 1 for compiled Go's, `STATIC` for a file's own."""
    scope: str = ""
    """The package of a symbol that is `STATIC`; else empty."""


class Relocation(NamedTuple):
    """One place in a symbol that the linker writes an address to."""

    offset: int
    """Offset in the symbol."""
    kind: int
    """`Kind`."""
    weak: bool
    """The target may be left out."""
    addend: int
    """Added to the target's address."""
    target: Symbol
    """What the address is of."""


class Record(NamedTuple):
    """One symbol as one toolchain compiles it."""

    symbol: Symbol
    """What identifies it."""
    kind: int
    """`SymbolKind`."""
    size: int
    """Bytes."""
    digest: bytes
    """`digest_of` its bytes."""
    relocations: tuple[Relocation, ...]
    """By their offsets."""


def digest_of(data: bytes, relocations: Sequence[Relocation]) -> bytes:
    """Return the digest of a symbol's bytes, those bits cleared that the linker writes."""
    if relocations:
        masked = bytearray(data)
        for item in relocations:
            mask(masked, item.offset, item.kind)
        data = bytes(masked)
    return hashlib.sha256(data).digest()[:DIGEST]
