"""The data of a program with Go's native module as the loader leaves it, with what relocations write."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Mapping
from functools import cached_property
from itertools import pairwise

from ..elf import Elf
from ..source import ByteSource

_LONGEST_STRING = 1 << 14

_DT_RELA, _DT_RELASZ, _DT_JMPREL, _DT_PLTRELSZ, _DT_RELR, _DT_RELRSZ = 7, 8, 23, 2, 36, 35
#: Tables in forms that are not read: DT_REL, and the packed ones of Android (DT_ANDROID_REL, DT_ANDROID_RELA,
#: DT_ANDROID_RELR).
_UNSUPPORTED = frozenset((17, 0x6000000F, 0x60000011, 0x6FFFE000))
_DT_SYMTAB, _DT_PLTREL = 6, 20
_RELATIVE = {"x86_64": 8, "aarch64": 1027}
#: R_*_COPY, which writes a whole symbol, and R_*_TLSDESC, which writes two words; others write a word at most.
_COPY, _TLSDESC = {"x86_64": 5, "aarch64": 1024}, {"x86_64": 36, "aarch64": 1031}
_SYMBOL, _SYMBOL_SIZE = 24, 16
_LARGEST_COPY = 1 << 16
_RELA = 24
_MOST_RELA = 64 << 20
_WORD, _BITS = 8, 63
#: Bytes that are read and kept at a time; a program's module has some 4,000 symbols, most of them together.
_NEAR, _MOST_NEAR = 1 << 14, 512
_MOST_WORDS = 4 << 20


class LoadedData:
    """A program's memory as the loader leaves it."""

    def __init__(self, source: ByteSource, elf: Elf) -> None:
        self._source = source
        self._elf = elf
        loads = sorted((load.address, load.address + load.size, load.offset) for load in elf.loads if load.size)
        self._near: dict[int, bytes] = {}
        #: Segments whose addresses no other has: what is in one of them is nowhere else.
        self._apart = loads if all(one[1] <= other[0] for one, other in pairwise(loads)) else []

    @property
    def supported(self) -> bool:
        """Whether all tables of what the loader writes have a form that is read here."""
        return not any(
            # DT_JMPREL is a table of the one form or the other, whatever DT_RELA is.
            tag in _UNSUPPORTED or (tag == _DT_PLTREL and value != _DT_RELA)
            for tag, value in self._elf.dynamic
        )

    def read(self, address: int, length: int) -> bytes:
        """Return up to ``length`` bytes of the file that are at an address."""
        for start, end, place in self._apart:
            if start <= address and address + length <= end and length > 0:
                return self._read_near(place + address - start, length)
        offset = self._elf.offset_of(address)
        if offset is None or length <= 0:
            return b""
        last = self._elf.offset_of(address + length - 1)
        return self._source.read_at(offset, length) if last == offset + length - 1 else b""

    def _read_near(self, offset: int, length: int) -> bytes:
        """Return bytes of the file; what is near them is kept, since most of what is asked for is together."""
        number, at = divmod(offset, _NEAR)
        if at + length > _NEAR:
            return self._source.read_at(offset, length)
        near = self._near.get(number)
        if near is None:
            if len(self._near) == _MOST_NEAR:
                self._near.clear()
            near = self._near[number] = self._source.read_at(number * _NEAR, _NEAR)
        return near[at : at + length]

    def is_zero(self, address: int, size: int) -> bool:
        """Return whether memory is zero at first: of a segment that can be written, and not in the file."""
        return any(
            load.writable and load.address + load.size <= address and address + size <= load.address + load.memory
            for load in self._elf.loads
        )

    def word(self, address: int) -> int | None:
        """Return the address that a word of data holds once the loader has written its addresses.

        None where that cannot be determined.
        """
        writes = self._writes
        if address % 8 or writes is _UNKNOWN:
            return None
        written = writes.get(address, _IN_PLACE)
        if written != _IN_PLACE:
            return written
        data = self.read(address, 8)
        return int.from_bytes(data, "little") if len(data) == 8 else None

    def is_written(self, address: int, size: int, expected: Collection[int] = ()) -> bool:
        """Return whether the loader may write into memory, other than the words at ``expected`` offsets in it."""
        writes = self._writes
        if not writes or writes is _UNKNOWN:
            return writes is _UNKNOWN
        words = range(address // 8 * 8, address + size, 8)
        return any(at in writes and at - address not in expected for at in words)

    def string(self, address: int) -> str | None:
        """Return the Go string whose pointer and length are at an address."""
        place, length = self.word(address), self.word(address + 8)
        if place is None or length is None or length > _LONGEST_STRING or self.is_written(place, length):
            return None
        data = self.read(place, length)
        return data.decode("utf-8", "replace") if len(data) == length else None

    @cached_property
    def _writes(self) -> Mapping[int, int | None]:
        """Return what the loader writes, by address: an address, or None for what is known only to it.

        `_UNKNOWN` where a table has a form that is not read, overlapping entries, or entries that are not on a word.
        """
        dynamic = dict(self._elf.dynamic)
        if not self.supported:
            return _UNKNOWN
        found: dict[int, int | None] = {}
        relative = _RELATIVE[self._elf.facts.machine]
        count = 0
        further: set[int] = set()
        for place, length in ((_DT_RELA, _DT_RELASZ), (_DT_JMPREL, _DT_PLTRELSZ)):
            size = dynamic.get(length, 0)
            if not size:
                continue
            table = self.read(dynamic.get(place, 0), size)
            if len(table) != size or size > _MOST_RELA or size % _RELA:
                return _UNKNOWN
            # Entries on words alone: the lowest three bits of each address are in its first byte.
            if any(byte & 7 for byte in set(table[0::_RELA])):
                return _UNKNOWN
            words = array("Q")
            words.frombytes(table)
            count += size // _RELA
            kinds = words[1::3]
            if kinds.count(relative) == len(kinds):
                found.update(zip(words[0::3], words[2::3], strict=True))
            else:
                values = (value if kind == relative else None for kind, value in zip(kinds, words[2::3], strict=True))
                found.update(zip(words[0::3], values, strict=True))
                for at, kind in zip(words[0::3], kinds, strict=True):
                    further.update(range(at + 8, at + self._size_of(kind), 8))
        in_place = self._relative_words(dynamic)
        if in_place is None or len(set(in_place)) != len(in_place):
            return _UNKNOWN
        found.update(dict.fromkeys(in_place, _IN_PLACE))
        if len(found) != count + len(in_place) or not further.isdisjoint(found):
            return _UNKNOWN
        return found | dict.fromkeys(further)

    def _relative_words(self, dynamic: Mapping[int, int]) -> list[int] | None:
        """Return the words of DT_RELR, to which the loader adds where it puts the program; None where it is malformed.

        An even entry is the address of a word; an odd one has a bit for each of the 63 words that follow (gABI,
        "Relative relocations").
        """
        size = dynamic.get(_DT_RELRSZ, 0)
        table = self.read(dynamic.get(_DT_RELR, 0), size)
        if len(table) != size or size % _WORD or size > _MOST_RELA:
            return None
        found: list[int] = []
        following = 0
        for entry in array("Q", table):
            if entry & 1:
                found += [following + _WORD * (bit - 1) for bit in range(1, _BITS + 1) if entry >> bit & 1]
                following += _WORD * _BITS
            else:
                found.append(entry)
                following = entry + _WORD
            if len(found) > _MOST_WORDS or following % _WORD:
                return None
        return found

    def _size_of(self, kind: int) -> int:
        """Return how many bytes the loader writes for an r_info, rounded up to words."""
        machine = self._elf.facts.machine
        if kind & 0xFFFFFFFF == _TLSDESC[machine]:
            return 16
        if kind & 0xFFFFFFFF != _COPY[machine]:
            return 8
        symbol = dict(self._elf.dynamic).get(_DT_SYMTAB, 0) + (kind >> 32) * _SYMBOL
        # The size in the library that has the symbol can be another one; the loader copies the smaller of both.
        return min(int.from_bytes(self.read(symbol + _SYMBOL_SIZE, 8), "little"), _LARGEST_COPY)


_UNKNOWN: Mapping[int, int | None] = {-1: None}
#: What the loader writes is the address in the file, moved to where the program is.
_IN_PLACE = -1
