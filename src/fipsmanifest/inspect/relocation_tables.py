"""The tables by which a loader writes into a program, and how much each entry writes.

gABI, "Relocation" and "Relative relocations"; types of entries as in the processor supplements (psABI) of x86-64 and
AArch64. Each reader looks up what it needs: `relocation` a few words, `native.writes` all of a page.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import chain, islice, pairwise, takewhile

from .elf import Elf

#: R_*_RELATIVE, by machine: writes an address of this file.
RELATIVE = {"x86_64": 8, "aarch64": 1027}
#: R_*_COPY, which writes a whole symbol, and R_*_TLSDESC, which writes two words; others write a word at most.
_COPY, _TLSDESC = {"x86_64": 5, "aarch64": 1024}, {"x86_64": 36, "aarch64": 1031}
#: R_*_IRELATIVE: writes what a function returns.
_IRELATIVE = {"x86_64": 37, "aarch64": 1032}
#: The bytes of an entry with an addend, and of a word.
ENTRY, WORD = 24, 8

_DT_RELA, _DT_RELASZ, _DT_JMPREL, _DT_PLTRELSZ, _DT_RELR, _DT_RELRSZ = 7, 8, 23, 2, 36, 35
_DT_SYMTAB, _DT_PLTREL = 6, 20
_DT_RELAENT, _DT_RELRENT = 9, 37
#: The tag and the value of each table's form, and the tags of its address and size.
_FORMS = (
    (_DT_RELAENT, ENTRY, _DT_RELA, _DT_RELASZ),
    (_DT_PLTREL, _DT_RELA, _DT_JMPREL, _DT_PLTRELSZ),
    (_DT_RELRENT, WORD, _DT_RELR, _DT_RELRSZ),
)
#: Entries on either side of one; static programs have some twenty.
_NEAR = 64
#: Tables in forms that are not read: DT_REL, which musl reads on every machine, and the packed ones of Android
#: (DT_ANDROID_REL, DT_ANDROID_RELA, DT_ANDROID_RELR).
_UNSUPPORTED = frozenset((17, 0x6000000F, 0x60000011, 0x6FFFE000))
#: Kubernetes' largest position-independent program has some 400,000 relocations.
_MOST_BYTES, _MOST_PACKED = 64 << 20, 8 << 20
_AT_ONCE = 1 << 20
#: Large programs have a few hundred words of any small number.
_MOST_FORMS = 256
#: How far behind its begin a program may have such a table: to search all of it would cost more than the proof.
_BEHIND_HEADERS = 1 << 18
#: Of an entry of the symbol table: its size, and where it has the symbol's.
_SYMBOL, _SYMBOL_SIZE = 24, 16
_UNBOUNDED = 1 << 64
#: The words of an entry of a packed table that has bits.
_BITS = 63


class RelocationTables:
    """The tables of one program; empty for machines whose entries are not known."""

    def __init__(self, elf: Elf, read: Callable[[int, int], bytes]) -> None:
        """``read`` returns bytes of the file by address and length, fewer where there are no more."""
        self._elf = elf
        self._read = read
        self._dynamic = dict(elf.dynamic)
        self._is_known_machine = elf.facts.machine in RELATIVE

    @cached_property
    def rela(self) -> bytes:
        """The entries of DT_RELA."""
        return self._table(_DT_RELA, _DT_RELASZ, ENTRY, _MOST_BYTES)

    @cached_property
    def calls(self) -> bytes:
        """The entries of DT_JMPREL, and those that a static program applies when it starts."""
        return self._jumps + self._applied_at_start

    @cached_property
    def _jumps(self) -> bytes:
        return self._table(_DT_JMPREL, _DT_PLTRELSZ, ENTRY, _MOST_BYTES)

    @cached_property
    def _applied_at_start(self) -> bytes:
        """What seems an entry that a C library writes the result of a function by (R_*_IRELATIVE).

        In a program with fixed addresses its own start does that (glibc, ``csu/libc-start.c``), for a table that only
        the code has the address of. Linkers put it behind the headers, before all code and other data.
        """
        first = min(self._elf.loads, key=lambda load: load.address, default=None)
        if first is None or not self._is_known_machine or self._elf.facts.type != "exec":
            return b""
        kind = _IRELATIVE[self._elf.facts.machine].to_bytes(WORD, "little")
        places = self._places(kind, first.address, first.address + min(first.size, _BEHIND_HEADERS))
        entries = (self._read(at - WORD, ENTRY) for at in places)
        return b"".join(entry for entry in entries if self._is_applied(entry))

    @cached_property
    def _has_other_dynamic_section(self) -> bool:
        """Return whether data seems to have a second dynamic section, which the code may read instead.

        A static program that is position-independent applies its relocations itself, and finds their tables by the
        address of the section that the linker wrote into its code (glibc, ``elf/dl-reloc-static-pie.c``), whatever
        PT_DYNAMIC says. It requires one of these entries for each table.
        """
        if self._elf.facts.type != "dyn":
            return False
        own = next((item.address for item in self._elf.segments if item.kind == "dynamic"), 0)
        end = own + 2 * WORD * len(self._elf.dynamic)
        # Linkers put it where it can be written unless an option says otherwise (lld, ``-z rodynamic``): musl only
        # reads it. To search all of a program that has an interpreter would cost as much as its digest.
        is_static = not any(segment.kind == "interpreter" for segment in self._elf.segments)
        searched = [load for load in self._elf.loads if load.writable or is_static]
        for tag, form, place, size in _FORMS:
            places = (self._places(_pair(tag, form), load.address, load.address + load.size) for load in searched)
            elsewhere = (at for at in chain.from_iterable(places) if not own <= at < end)
            found = list(islice(elsewhere, _MOST_FORMS))
            if len(found) == _MOST_FORMS or any(self._names_table(at, place, size) for at in found):
                return True
        return False

    def _names_table(self, at: int, place: int, size: int) -> bool:
        """Return whether with an entry of a dynamic section there are those with its table's address and size."""
        # It ends with DT_NULL, which is behind it and perhaps before it.
        before, behind = (
            [self._read(at + 2 * WORD * number, 2 * WORD) for number in numbers]
            for numbers in (range(-1, -_NEAR, -1), range(1, _NEAR))
        )
        near = [*takewhile(_has_tag, before), *takewhile(_has_tag, behind)]
        addresses, sizes = (
            [int.from_bytes(entry[WORD:], "little") for entry in near if entry.startswith(_pair(tag))]
            for tag in (place, size)
        )
        return any(
            load.address <= address < address + length <= load.address + load.size and length % WORD == 0
            for load in self._elf.loads
            for address in addresses
            for length in sizes
        )

    def _places(self, pattern: bytes, start: int, end: int) -> Iterator[int]:
        """Yield the addresses of words in a range where bytes of the file begin with a pattern."""
        for begin in range(start, end, _AT_ONCE):
            data = self._read(begin, min(_AT_ONCE + len(pattern) - 1, end - begin))
            at = data.find(pattern)
            while at >= 0:
                if (begin + at) % WORD == 0:
                    yield begin + at
                at = data.find(pattern, at + 1)

    def _is_applied(self, entry: bytes) -> bool:
        """Return whether an entry is for memory that can be written, with the address of code."""
        if len(entry) != ENTRY:
            return False
        place, _, function = array("Q", entry)
        return any(load.address <= function < load.address + load.size for load in self._elf.executable) and any(
            load.address - WORD < place < load.address + load.memory for load in self._elf.loads if load.writable
        )

    @cached_property
    def packed(self) -> PackedWords:
        """The words of DT_RELR."""
        return PackedWords(self._table(_DT_RELR, _DT_RELRSZ, WORD, _MOST_PACKED))

    @cached_property
    def are_certain(self) -> bool:
        """Whether these tables are all that a loader reads, as it will read them."""
        if not self._is_known_machine:
            return True
        # DT_JMPREL is a table of the one form or the other, whatever DT_RELA is. Without DT_PLTREL glibc ignores it.
        form = self._dynamic.get(_DT_PLTREL, None if self._jumps else _DT_RELA)
        if not _UNSUPPORTED.isdisjoint(self._dynamic) or form != _DT_RELA or self._has_relative_at_fixed_addresses:
            return False
        # Each table has its tags together.
        if any(tag in self._dynamic and place not in self._dynamic for tag, _, place, _ in _FORMS):
            return False
        if self._has_other_dynamic_section:
            return False
        read = ((_DT_RELA, _DT_RELASZ, len(self.rela)), (_DT_JMPREL, _DT_PLTRELSZ, len(self._jumps)))
        tables = (*read, (_DT_RELR, _DT_RELRSZ, self.packed.length))
        return self.packed.is_ordered and all(
            self._dynamic.get(size, 0) == length
            and (not length or place in self._dynamic)
            and not self._can_be_written(self._dynamic.get(place, 0), length)
            for place, size, length in tables
        )

    @property
    def _has_relative_at_fixed_addresses(self) -> bool:
        """Return whether a program that is not moved (ET_EXEC) has entries that write its own addresses.

        Linkers write such words themselves. No loader may apply the entries: a program without PT_INTERP is started by
        the kernel alone, and glibc before 2.36 skips those that DT_RELACOUNT counts where there is DT_GNU_PRELINKED.
        """
        kinds = array("Q", self.rela + self._jumps)[1::3] if self._elf.facts.type == "exec" else ()
        return RELATIVE[self._elf.facts.machine] in kinds

    def size_of(self, info: int) -> int:
        """Return how many bytes the loader writes for an r_info, at most: a word, but for two types."""
        machine = self._elf.facts.machine
        if info & 0xFFFFFFFF == _TLSDESC[machine]:
            return 2 * WORD
        if info & 0xFFFFFFFF != _COPY[machine]:
            return WORD
        # The loader copies no more than this file's symbol has; that of the library can be smaller.
        symbol = self._dynamic.get(_DT_SYMTAB, 0) + (info >> 32) * _SYMBOL
        size = self._read(symbol + _SYMBOL_SIZE, WORD)
        return int.from_bytes(size, "little") if len(size) == WORD else _UNBOUNDED

    def _table(self, place: int, size: int, entry: int, most: int) -> bytes:
        if not self._is_known_machine or not self._dynamic.get(size, 0):
            return b""
        data = self._read(self._dynamic.get(place, 0), min(self._dynamic[size], most))
        return data[: len(data) // entry * entry]

    def _can_be_written(self, place: int, size: int) -> bool:
        """Return whether the loader could write other entries into a table, and read these then."""
        writable = (load for load in self._elf.loads if load.writable)
        return size > 0 and any(load.address < place + size and place < load.address + load.memory for load in writable)


def _has_tag(entry: bytes) -> bool:
    return any(entry[:WORD])


def _pair(*words: int) -> bytes:
    return b"".join(word.to_bytes(WORD, "little") for word in words)


class PackedWords:
    """The words of a packed table, to which the loader adds where it puts the program."""

    def __init__(self, data: bytes) -> None:
        """``data`` are the table's entries, of 8 bytes each."""
        self.length = len(data)
        """The table's bytes."""
        spans: list[tuple[int, int]] = []
        following, are_on_words = 0, True
        for entry in array("Q", data):
            # An even entry is the address of a word; an odd one has a bit for each of the 63 words that follow.
            if entry & 1:
                spans.append((following, entry >> 1))
                following += WORD * _BITS
            else:
                spans.append((entry, 1))
                following = entry + WORD
            are_on_words = are_on_words and following % WORD == 0
        self.is_ordered = are_on_words and all(
            start + WORD * bits.bit_length() <= other for (start, bits), (other, _) in pairwise(spans)
        )
        """Whether the words are on words and in the order in which linkers write them, so that none is there twice."""
        self._starts = [start for start, _ in spans]
        self._bits = [bits for _, bits in spans]

    def between(self, start: int, end: int) -> Iterator[int]:
        """Yield the addresses of words between two addresses; of a table that is ordered."""
        number = max(bisect_right(self._starts, start) - 1, 0)
        while number < len(self._starts) and self._starts[number] < end:
            at, bits = self._starts[number], self._bits[number]
            number += 1
            while bits:
                if bits & 1 and start <= at < end:
                    yield at
                at, bits = at + WORD, bits >> 1
