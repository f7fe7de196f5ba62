"""Functions of a reference, prepared for the comparison with many programs.

What the linker writes into a function is at the same places in every program. They are worked out once for each record,
so that a function is split in one step into what is compared and the addresses that it leads to. `relocations` has the
arithmetic; here it is done for all fields of a function at once, where these have the usual forms.
"""

from __future__ import annotations

import hashlib
import struct
import sys
from array import array
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from operator import itemgetter
from threading import Lock
from typing import NamedTuple

from .records import DIGEST, Record, Relocation, Symbol, SymbolKind, digest_of
from .relocations import ADRP_BITS, IMM12, IMM26, NOP, SHIFTS, SIZES, Kind, mask

OTHER = 0
"""The number of a target that has to be checked wherever something leads to it."""
UNKNOWN = -1 << 81
"""What a field leads to where that is not known here: no sum of an address and a distance."""

_WHOLE = frozenset(map(int, (Kind.RELATIVE, Kind.TLS_OFFSET, Kind.TLS_LOAD)))
_ADDRESSES = frozenset(map(int, (Kind.RELATIVE, Kind.BRANCH, *SHIFTS)))
_TLS_OFFSET, _TLS_LOAD = int(Kind.TLS_OFFSET), int(Kind.TLS_LOAD)
_BRANCH = int(Kind.BRANCH)
_ADDRESS_WORDS = frozenset(map(int, (Kind.ADDRESS, Kind.ANY_8)))
_NOT_FOLLOWED = frozenset(map(int, (Kind.ANY_4, Kind.ANY_8)))
_SIGN = 0x02000000
_WORD = 4


class Target:
    """A symbol that relocations of a reference lead to: one object for each, which is found faster than a name."""

    def __init__(self, symbol: Symbol, number: int, records: Sequence[Record]) -> None:
        self.symbol = symbol
        self.number = number
        """Counted from one on."""
        self.records = records
        """What the reference has of it; empty for what is only named."""
        self.kind = int(records[0].kind) if records else 0
        """`SymbolKind` of the first of these, or 0."""


class Link(NamedTuple):
    """A relocation with its target."""

    offset: int
    """Offset in the symbol."""
    kind: int
    """`Kind`."""
    weak: bool
    """The target may be left out."""
    addend: int
    """Added to the target's address."""
    target: Target
    """What the address is of."""


def _chosen(numbers: Sequence[int], values: Sequence[int]) -> tuple[int, ...]:
    return tuple(values[number] for number in numbers)


class Code:
    """One function of a reference, with relocations of any form."""

    def __init__(self, record: Record, itself: Target, links: Sequence[Link]) -> None:
        self.record = record
        self.name = record.symbol.name
        self.itself = itself
        """It as a target."""
        self.size = record.size
        self.masked = sum(SIZES[item.kind] for item in record.relocations)
        """Bytes that the linker writes, in whole or in part."""
        self.links = links
        """Its relocations."""
        # What a linker may leave out can lead to two places.
        self.numbers = tuple(
            OTHER if item.weak or item.kind not in _ADDRESSES else item.target.number for item in links
        )
        """For each relocation the number of its target, or `OTHER`."""
        #: Bytes that have the digest: most programs of a toolchain have the same, which are compared faster.
        self._masked: bytes | None = None

    @cached_property
    def choose(self) -> Callable[[Sequence[int]], tuple[int, ...]]:
        """A function that returns, of one value for each target, those for the numbers."""
        # `itemgetter` returns a single item as it is.
        return itemgetter(*self.numbers) if len(self.numbers) > 1 else partial(_chosen, self.numbers)

    def match(self, data: bytes) -> Sequence[int] | None:
        """Return the fields of a function, if it is this one: for `targets` alone; None if it is another one."""
        return () if digest_of(data, self.record.relocations) == self.record.digest else None

    def _is_equal(self, masked: bytes) -> bool:
        """Return whether bytes of a function, without what the linker writes, are those of this one."""
        if masked != self._masked:
            if hashlib.sha256(masked).digest()[:DIGEST] != self.record.digest:
                return False
            self._masked = masked
        return True

    def targets(self, fields: Sequence[int], address: int) -> list[int]:  # noqa: ARG002 - the subclasses need both
        """Return for each relocation of a function at an address what it leads to, less the addend.

        `UNKNOWN` where that is not known here, negative where it is before the first address; for thread-local data its
        offset.
        """
        return [UNKNOWN] * len(self.numbers)


class _Relative(Code):
    """A function whose fields are all four bytes of x86_64; a linker may have rewritten the loads of some."""

    def __init__(self, record: Record, itself: Target, links: Sequence[Link]) -> None:
        super().__init__(record, itself, links)
        form, end = "<", 0
        for item in record.relocations:
            form += f"{item.offset - end}si"
            end = item.offset + _WORD
        self._form = struct.Struct(f"{form}{record.size - end}s")
        # A distance is that from the end of its field.
        self._from = tuple(item.offset + _WORD - item.addend for item in record.relocations)
        self._thread_local = tuple(place for place, item in enumerate(links) if item.kind == _TLS_OFFSET)
        self._loads = tuple((place, item.offset) for place, item in enumerate(links) if item.kind == _TLS_LOAD)
        # All thread-local data is the same variable, whose offset is in the field as it is.
        numbers = (item.target.number if item.kind == _TLS_OFFSET else OTHER for item in links)
        self.numbers = tuple(map(max, self.numbers, numbers))

    def match(self, data: bytes) -> Sequence[int] | None:
        parts = self._form.unpack(data)
        masked = b"\0\0\0\0".join(parts[0::2])
        if self._loads:
            restored = bytearray(masked)
            for _, offset in self._loads:
                mask(restored, offset, _TLS_LOAD)
            masked = bytes(restored)
        return parts[1::2] if self._is_equal(masked) else None

    def targets(self, fields: Sequence[int], address: int) -> list[int]:
        found = [address + start + distance for start, distance in zip(self._from, fields, strict=True)]
        for place in self._thread_local:
            found[place] = fields[place]
        for place, _ in self._loads:
            found[place] = UNKNOWN
        return found


class _Words(Code):
    """A function of aarch64: its fields are parts of instructions."""

    def __init__(self, record: Record, itself: Target, links: Sequence[Link]) -> None:
        super().__init__(record, itself, links)
        places = [(item.offset // _WORD, item) for item in record.relocations]
        self._branches = tuple(place for place, item in places if item.kind == _BRANCH)
        self._pairs = tuple(place for place, item in places if item.kind != _BRANCH)
        self._places = tuple((place, SHIFTS.get(item.kind, -1), item.addend) for place, item in places)

    def match(self, data: bytes) -> Sequence[int] | None:
        words = array("I", data)
        if sys.byteorder == "big":
            words.byteswap()
        if any(words[place] == NOP for place in self._pairs):
            # Relaxed by a C linker.
            return super().match(data)
        masked = words[:]
        for place in self._branches:
            masked[place] &= ~IMM26 & 0xFFFFFFFF
        for place in self._pairs:
            masked[place] &= ~ADRP_BITS & 0xFFFFFFFF
            masked[place + 1] &= ~IMM12 & 0xFFFFFFFF
        if sys.byteorder == "big":
            masked.byteswap()
        return words if self._is_equal(masked.tobytes()) else None

    def targets(self, fields: Sequence[int], address: int) -> list[int]:
        if not fields:
            return super().targets(fields, address)
        found = []
        for place, shift, addend in self._places:
            word, at = fields[place], address + _WORD * place
            if shift < 0:
                distance = word & IMM26
                found.append(at + _WORD * (distance - ((distance & _SIGN) << 1)) - addend)
            else:
                page = (word >> 5 & 0x7FFFF) << 2 | word >> 29 & 3
                low = (fields[place + 1] & IMM12) >> 10 << shift
                found.append((at & ~0xFFF) + (page - ((page & 0x100000) << 1) << 12) + low - addend)
        return found


class Datum:
    """Data of a reference."""

    def __init__(self, record: Record, links: Sequence[Link]) -> None:
        self.record = record
        self.size, self.kind = record.size, int(record.kind)
        fields = [(item.offset, item.kind) for item in record.relocations]
        self.words = frozenset(offset for offset, kind in fields if kind in _ADDRESS_WORDS)
        """Offsets of the words that the loader may write."""
        self.links = tuple(item for item in links if item.kind not in _NOT_FOLLOWED)
        """Its relocations, without those of bytes that are not compared."""
        mask = bytearray(b"\xff" * record.size)
        for offset, kind in fields:
            mask[offset : offset + SIZES[kind]] = bytes(SIZES[kind])
        self._mask = int.from_bytes(mask, "little")
        #: Bytes that have the digest, as in `Code`.
        self._masked: bytes | None = None

    def match(self, data: bytes) -> bool:
        """Return whether data is this."""
        if data == self._masked:
            # None of its bytes is the linker's.
            return True
        masked = data
        if self.record.relocations:
            masked = (int.from_bytes(data, "little") & self._mask).to_bytes(self.record.size, "little")
        if masked != self._masked:
            if hashlib.sha256(masked).digest()[:DIGEST] != self.record.digest:
                return False
            self._masked = masked
        return True


class Preparation:
    """The symbols of a reference, each prepared when it is first asked for.

    Threads may share one: two that prepare the same do the same, and a target has one number.
    """

    def __init__(self, by_name: Mapping[str, Sequence[Record]], by_symbol: Mapping[Symbol, Sequence[Record]]) -> None:
        self._by_name = by_name
        self._by_symbol = by_symbol
        self._lock = Lock()
        self._data: dict[Target, tuple[Datum, ...]] = {}
        self._codes: dict[str, tuple[Code, ...]] = {}
        self._targets: dict[Symbol, Target] = {}

    @property
    def count(self) -> int:
        """How many targets there are in what was asked for, which their numbers go up to."""
        return len(self._targets)

    @cached_property
    def readers(self) -> Sequence[Sequence[Record]]:
        """The functions of Go's runtime that read the default of GODEBUG."""
        return [records for records in self._by_symbol.values() if records[0].kind == SymbolKind.READER]

    def data(self, target: Target) -> Sequence[Datum]:
        """Return the data that a target can be."""
        found = self._data.get(target)
        if found is None:
            records = target.records
            found = self._data[target] = tuple(Datum(item, self._linked(item.relocations)) for item in records)
        return found

    def named(self, name: str) -> Sequence[Code]:
        """Return the functions with a name."""
        found = self._codes.get(name)
        if found is None:
            records = self._by_name.get(name, ())
            found = tuple(self._code(record) for record in records if record.kind == SymbolKind.TEXT)
            if found:
                # Only names of the reference, which are not many, are kept.
                self._codes[name] = found
        return found

    def _code(self, record: Record) -> Code:
        relocations = record.relocations
        kinds = {item.kind for item in relocations}
        apart, end = True, 0
        for item in relocations:
            apart, end = apart and end <= item.offset, item.offset + SIZES[item.kind]
        form: type[Code] = Code
        if apart and end <= record.size:
            if kinds <= _WHOLE:
                form = _Relative
            elif kinds <= _ADDRESSES and not any(at % _WORD for at in (record.size, *(i.offset for i in relocations))):
                form = _Words
        return form(record, self._target(record.symbol), self._linked(relocations))

    def _linked(self, relocations: Sequence[Relocation]) -> tuple[Link, ...]:
        return tuple(Link(*item[:-1], self._target(item.target)) for item in relocations)

    def _target(self, symbol: Symbol) -> Target:
        found = self._targets.get(symbol)
        if found is None:
            with self._lock:
                number = len(self._targets) + 1
                found = self._targets.setdefault(symbol, Target(symbol, number, self._by_symbol.get(symbol, ())))
        return found
