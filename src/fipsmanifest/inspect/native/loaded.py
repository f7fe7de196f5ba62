"""The data of a program with Go's native module as the loader leaves it, with what relocations write."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from itertools import pairwise

from ..elf import Elf
from ..source import ByteSource
from .writes import IN_PLACE, LoaderWrites, UnknownWrites

_LONGEST_STRING = 1 << 14
#: Bytes that are read and kept at a time; a program's module has some 4,000 symbols, most of them together.
_NEAR, _MOST_NEAR = 1 << 14, 512


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
        """Whether it can be determined what the loader writes."""
        return self._writes is not None

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
        if address % 8 or writes is None:
            return None
        for _, written in writes.within(address, address + 8):
            if written != IN_PLACE:
                return written
        data = self.read(address, 8)
        return int.from_bytes(data, "little") if len(data) == 8 else None

    def is_written(self, address: int, size: int, expected: Collection[int] = ()) -> bool:
        """Return whether the loader may write into memory, other than the words at ``expected`` offsets in it."""
        writes = self._writes
        if writes is None or writes.is_empty:
            return writes is None
        return any(at - address not in expected for at, _ in writes.within(address // 8 * 8, address + size))

    def string(self, address: int) -> str | None:
        """Return the Go string whose pointer and length are at an address."""
        place, length = self.word(address), self.word(address + 8)
        if place is None or length is None or length > _LONGEST_STRING or self.is_written(place, length):
            return None
        data = self.read(place, length)
        return data.decode("utf-8", "replace") if len(data) == length else None

    @cached_property
    def _writes(self) -> LoaderWrites | None:
        """What the loader writes; None where that is unknown."""
        try:
            return LoaderWrites(self._elf, self.read)
        except UnknownWrites:
            return None
