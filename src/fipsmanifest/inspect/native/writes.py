"""What the loader writes into a program's data (ELF, "Relocation"; gABI, "Relative relocations"), by address.

A large position-independent program has 400,000 such words, of which its module reads a few hundred. So a table is not
read entry by entry: entries for the same part of memory have the same third byte in their addresses, and a search for
that byte finds them. It finds all of them in a table of any order: C linkers sort it, Go's does not.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from itertools import islice, pairwise

from ..elf import Elf
from ..relocation import COPY, RELATIVE, TLSDESC

IN_PLACE = -1
"""What the loader writes is the address in the file, moved to where the program is."""

_DT_RELA, _DT_RELASZ, _DT_JMPREL, _DT_PLTRELSZ, _DT_RELR, _DT_RELRSZ = 7, 8, 23, 2, 36, 35
#: Tables in forms that are not read: DT_REL, and the packed ones of Android (DT_ANDROID_REL, DT_ANDROID_RELA,
#: DT_ANDROID_RELR).
_UNSUPPORTED = frozenset((17, 0x6000000F, 0x60000011, 0x6FFFE000))
_DT_SYMTAB, _DT_PLTREL = 6, 20
_SYMBOL, _SYMBOL_SIZE = 24, 16
_LARGEST_COPY = 1 << 16
_RELA = 24
_MOST_RELA, _MOST_RELR = 64 << 20, 8 << 20
#: Words that are written in another way than by ``R_*_RELATIVE``.
_MOST_OTHERS = 1 << 20
_WORD, _BITS = 8, 63
#: Entries that are compared at once with what nearly all of them are.
_BLOCK = 1 << 12
#: The first bytes of addresses on a word.
_ON_WORDS = bytes(range(0, 256, _WORD))
#: Bits of the first byte of an address.
_PAGE_BITS = 8


class UnknownWrites(Exception):
    """It cannot be determined what the loader writes."""


class LoaderWrites:
    """The words that the loader writes."""

    def __init__(self, elf: Elf, read: Callable[[int, int], bytes]) -> None:
        """Read the tables of a program; ``read`` returns bytes of its file by address and length.

        Raise `UnknownWrites` where a table has a form that is not read, cannot be read, or has entries that are not on
        a word.
        """
        self._elf = elf
        self._read = read
        if any(
            # DT_JMPREL is a table of the one form or the other, whatever DT_RELA is.
            tag in _UNSUPPORTED or (tag == _DT_PLTREL and value != _DT_RELA)
            for tag, value in elf.dynamic
        ):
            raise UnknownWrites
        dynamic = dict(elf.dynamic)
        self._symbols = dynamic.get(_DT_SYMTAB, 0)
        table = self._table(dynamic.get(_DT_RELA, 0), dynamic.get(_DT_RELASZ, 0), _RELA, _MOST_RELA)
        table += self._table(dynamic.get(_DT_JMPREL, 0), dynamic.get(_DT_PLTRELSZ, 0), _RELA, _MOST_RELA)
        if table[0::_RELA].translate(None, _ON_WORDS):
            raise UnknownWrites
        self._entries = array("Q", table)
        self._third_bytes = table[2::_RELA]
        self._parts: dict[int, _Part] = {}
        self._pages: dict[int, Mapping[int, int | None]] = {}
        #: Words of which only the loader knows what it writes there.
        self._others = frozenset(islice(self._not_relative(), _MOST_OTHERS))
        if len(self._others) == _MOST_OTHERS:
            raise UnknownWrites
        self._packed = _Packed(self._table(dynamic.get(_DT_RELR, 0), dynamic.get(_DT_RELRSZ, 0), _WORD, _MOST_RELR))

    @property
    def is_empty(self) -> bool:
        """Whether the loader writes nothing."""
        return not self._entries and self._packed.is_empty

    def within(self, start: int, end: int) -> Iterator[tuple[int, int | None]]:
        """Yield the words between two addresses that the loader writes, and what.

        That is an address, `IN_PLACE`, or None for what is known only to the loader.
        """
        for number in range(start >> _PAGE_BITS, (end - 1 >> _PAGE_BITS) + 1):
            page = self._pages.get(number)
            if page is None:
                page = self._pages[number] = self._page(number)
            if page:
                yield from ((at, value) for at, value in page.items() if start <= at < end)

    def _page(self, number: int) -> Mapping[int, int | None]:
        """Return what is written into one page: the words whose addresses differ in their first byte alone."""
        start, end = number << _PAGE_BITS, number + 1 << _PAGE_BITS
        third = number >> _PAGE_BITS & 0xFF
        part = self._parts.get(third)
        if part is None:
            part = self._parts[third] = _Part(self._entries, self._third_bytes, third)
        found: dict[int, int | None] = {}
        for at, value in part.on_page(number):
            # One value after another is not followed.
            found[at] = None if at in found else value
        for at in self._packed.between(start, end):
            found[at] = None if at in found else IN_PLACE
        if self._others:
            found |= dict.fromkeys(self._others.intersection(range(start, end, _WORD)))
        return found

    def _table(self, address: int, size: int, entry: int, most: int) -> bytes:
        """Return the bytes of a table. Raise `UnknownWrites` where they are not what the loader will read."""
        if not size:
            return b""
        data = self._read(address, size) if size <= most and size % entry == 0 else b""
        if len(data) < size:
            raise UnknownWrites
        # The loader could write other entries into a table that can be written, and read these then.
        writable = (load for load in self._elf.loads if load.writable)
        if any(load.address < address + size and address < load.address + load.memory for load in writable):
            raise UnknownWrites
        return data

    def _not_relative(self) -> Iterator[int]:
        """Yield the words that are written by entries other than ``R_*_RELATIVE``, of which there are few."""
        relative = RELATIVE[self._elf.facts.machine]
        kinds = self._entries[1::3]
        usual = array("Q", (relative,)) * _BLOCK
        for first in range(0, len(kinds), _BLOCK):
            block = kinds[first : first + _BLOCK]
            if block == usual[: len(block)]:
                continue
            for number, kind in enumerate(block, first):
                if kind != relative:
                    at = self._entries[3 * number]
                    yield from range(at, at + self._size_of(kind), _WORD)

    def _size_of(self, kind: int) -> int:
        """Return how many bytes the loader writes for an r_info, rounded up to words. Raise `UnknownWrites`."""
        machine = self._elf.facts.machine
        if kind & 0xFFFFFFFF == TLSDESC[machine]:
            return 16
        if kind & 0xFFFFFFFF != COPY[machine]:
            return _WORD
        symbol = self._symbols + (kind >> 32) * _SYMBOL
        # The size in the library that has the symbol can be another one; the loader copies the smaller of both.
        stated = self._read(symbol + _SYMBOL_SIZE, 8)
        size = int.from_bytes(stated, "little")
        if not stated or size > _LARGEST_COPY:
            raise UnknownWrites
        return max(size, _WORD)


class _Part:
    """The entries whose addresses have the same third byte."""

    def __init__(self, entries: array[int], third_bytes: bytes, third: int) -> None:
        """Take them from all ``entries``; ``third_bytes`` are those of their addresses."""
        self._addresses, self._values = array("Q"), array("Q")
        run = re.compile(re.escape(bytes((third,))) + b"*")
        # The search for a single byte is the fastest, and most such entries are one after another.
        first = third_bytes.find(third)
        while first >= 0:
            match = run.match(third_bytes, first)
            last = match.end() if match is not None else first + 1
            self._addresses += entries[3 * first : 3 * last : 3]
            self._values += entries[3 * first + 2 : 3 * last : 3]
            first = third_bytes.find(third, last)
        self._second_bytes = self._addresses.tobytes()[1::_WORD]

    def on_page(self, number: int) -> Iterator[tuple[int, int]]:
        """Yield (address, value) of the entries for one page."""
        at = self._second_bytes.find(number & 0xFF)
        while at >= 0:
            if self._addresses[at] >> _PAGE_BITS == number:
                yield self._addresses[at], self._values[at]
            at = self._second_bytes.find(number & 0xFF, at + 1)


class _Packed:
    """The words of a packed table (``DT_RELR``), to which the loader adds where it puts the program."""

    def __init__(self, data: bytes) -> None:
        """Raise `UnknownWrites` where entries are not in the order in which linkers write them, or not on a word."""
        spans: list[tuple[int, int]] = []
        following = 0
        for entry in array("Q", data):
            # An even entry is the address of a word; an odd one has a bit for each of the 63 words that follow.
            if entry & 1:
                spans.append((following, entry >> 1))
                following += _WORD * _BITS
            else:
                spans.append((entry, 1))
                following = entry + _WORD
            if following % _WORD:
                raise UnknownWrites
        if any(start + _WORD * bits.bit_length() > other for (start, bits), (other, _) in pairwise(spans)):
            raise UnknownWrites
        self._starts = [start for start, _ in spans]
        self._bits = [bits for _, bits in spans]

    @property
    def is_empty(self) -> bool:
        """Whether there are no words."""
        return not self._starts

    def between(self, start: int, end: int) -> Iterator[int]:
        """Yield the addresses of words between two addresses."""
        number = max(bisect_right(self._starts, start) - 1, 0)
        while number < len(self._starts) and self._starts[number] < end:
            at, bits = self._starts[number], self._bits[number]
            number += 1
            while bits:
                if bits & 1 and start <= at < end:
                    yield at
                at, bits = at + _WORD, bits >> 1
