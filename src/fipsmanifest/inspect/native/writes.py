"""What the loader writes into a program's data (ELF, "Relocation"; gABI, "Relative relocations"), by address.

A large position-independent program has 400,000 such words, of which its module reads a few hundred. So a table is not
read entry by entry: entries for the same part of memory have the same third byte in their addresses, and a search for
that byte finds them. It finds all of them in a table of any order: C linkers sort it, Go's does not.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterator, Mapping
from itertools import islice

from ..elf import Elf
from ..relocation_tables import ENTRY, RELATIVE, WORD, RelocationTables

IN_PLACE = -1
"""What the loader writes is the address in the file, moved to where the program is."""

_LARGEST_COPY = 1 << 16
#: Words that are written in another way than by ``R_*_RELATIVE``.
_MOST_OTHERS = 1 << 20
#: Entries that are compared at once with what nearly all of them are.
_BLOCK = 1 << 12
#: The first bytes of addresses on a word.
_ON_WORDS = bytes(range(0, 256, WORD))
#: Bits of the first byte of an address.
_PAGE_BITS = 8


class UnknownWrites(Exception):
    """It cannot be determined what the loader writes."""


class LoaderWrites:
    """The words that the loader writes."""

    def __init__(self, elf: Elf, read: Callable[[int, int], bytes]) -> None:
        """Read the tables of a program; ``read`` returns bytes of its file by address and length.

        Raise `UnknownWrites` where the tables are not certain, or have entries that are not on a word.
        """
        self._tables = RelocationTables(elf, read)
        self._relative = RELATIVE[elf.facts.machine]
        if not self._tables.are_certain:
            raise UnknownWrites
        table = self._tables.rela + self._tables.calls
        if table[0::ENTRY].translate(None, _ON_WORDS):
            raise UnknownWrites
        self._entries = array("Q", table)
        self._third_bytes = table[2::ENTRY]
        self._parts: dict[int, _Part] = {}
        self._pages: dict[int, Mapping[int, int | None]] = {}
        #: Words of which only the loader knows what it writes there.
        self._others = frozenset(islice(self._not_relative(), _MOST_OTHERS))
        if len(self._others) == _MOST_OTHERS:
            raise UnknownWrites

    @property
    def is_empty(self) -> bool:
        """Whether the loader writes nothing."""
        return not self._entries and not self._tables.packed.length

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
        for at in self._tables.packed.between(start, end):
            found[at] = None if at in found else IN_PLACE
        if self._others:
            found |= dict.fromkeys(self._others.intersection(range(start, end, WORD)))
        return found

    def _not_relative(self) -> Iterator[int]:
        """Yield the words that are written by entries other than ``R_*_RELATIVE``, of which there are few."""
        kinds = self._entries[1::3]
        usual = array("Q", (self._relative,)) * _BLOCK
        for first in range(0, len(kinds), _BLOCK):
            block = kinds[first : first + _BLOCK]
            if block == usual[: len(block)]:
                continue
            for number, kind in enumerate(block, first):
                if kind != self._relative:
                    at, size = self._entries[3 * number], self._tables.size_of(kind)
                    if size > _LARGEST_COPY:
                        raise UnknownWrites
                    yield from range(at, at + max(size, WORD), WORD)


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
        self._second_bytes = self._addresses.tobytes()[1::WORD]

    def on_page(self, number: int) -> Iterator[tuple[int, int]]:
        """Yield (address, value) of the entries for one page."""
        at = self._second_bytes.find(number & 0xFF)
        while at >= 0:
            if self._addresses[at] >> _PAGE_BITS == number:
                yield self._addresses[at], self._values[at]
            at = self._second_bytes.find(number & 0xFF, at + 1)
