"""A model of loaders: which bytes of a file they map to which addresses, from its PT_LOAD headers.

Three loaders are modelled: Linux before 6.7 (Enterprise Linux 7 to 9), Linux from 6.7 on (Enterprise Linux 10, and
newer updates of 8 and 9), both ``fs/binfmt_elf.c``; and glibc's dynamic loader (``elf/dl-map-segments.h``), which maps
libraries and programs that it is started with. They agree on files that linkers make. If they differ on a file, it
cannot be known which bytes run, so only what all of them map counts.

Kernels from 4.17 to 5.3 refuse a program whose segments overlap (``MAP_FIXED_NOREPLACE``); the others map the later
one over the earlier one, so refusals need no model of their own. Addresses are those of the file: a program that is
position-independent is moved as a whole, by a multiple of the page.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

READ, WRITE, EXECUTE = 4, 2, 1
"""The bits of p_flags: PF_R, PF_W, PF_X."""
_ALL = READ | WRITE | EXECUTE

#: Page sizes of Enterprise Linux: 64 KiB is that of its kernels 7 and 8 for aarch64, and of 9's and 10's kernel-64k.
PAGES = {"x86_64": (4096,), "aarch64": (4096, 65536)}

#: No machine's programs have addresses beyond this (``TASK_SIZE`` with five levels of page tables, on both).
_TASK_SIZE = 1 << 56


class LoadError(Exception):
    """A loader refuses the file or is killed while it maps it."""


@dataclass(frozen=True, slots=True)
class Load:
    """One PT_LOAD program header."""

    offset: int
    """p_offset."""
    address: int
    """p_vaddr."""
    size: int
    """p_filesz."""
    memory: int
    """p_memsz."""
    flags: int
    """p_flags, of which `READ`, `WRITE` and `EXECUTE` matter."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """A range of memory with the same origin and permissions."""

    start: int
    """First address."""
    end: int
    """Address after the last byte."""
    offset: int | None
    """File offset of the first byte; None for zeros."""
    flags: int
    """`READ`, `WRITE` and `EXECUTE`."""

    def part(self, start: int, end: int) -> Mapping:
        """Return the part of this mapping between two addresses within it."""
        offset = None if self.offset is None else self.offset + start - self.start
        return Mapping(start, end, offset, self.flags)


class Space:
    """An address space: mappings without overlaps, ordered by address."""

    def __init__(self) -> None:
        self._mappings: list[Mapping] = []

    def __iter__(self) -> Iterator[Mapping]:
        return iter(self._mappings)

    def map(self, start: int, end: int, offset: int | None, flags: int) -> None:
        """Map a range and replace existing mappings (``MAP_FIXED``). An empty range changes nothing."""
        if start < end:
            self._replace(start, end, [Mapping(start, end, offset, flags)])

    def zero(self, start: int, end: int, needed: int = 0) -> bool:
        """Write zeros to a range if all of it has the permissions ``needed``; return whether it has."""
        parts = list(self.between(start, end))
        if sum(part.end - part.start for part in parts) < end - start or any(~part.flags & needed for part in parts):
            return False
        self._replace(start, end, [Mapping(part.start, part.end, None, part.flags) for part in parts])
        return True

    def between(self, start: int, end: int) -> Iterator[Mapping]:
        """Yield the parts of mappings between two addresses."""
        first = max(bisect_right(self._mappings, start, key=_start) - 1, 0)
        for mapping in self._mappings[first : bisect_left(self._mappings, end, key=_start)]:
            low, high = max(mapping.start, start), min(mapping.end, end)
            if low < high:
                yield mapping.part(low, high)

    def _replace(self, start: int, end: int, new: list[Mapping]) -> None:
        first = bisect_right(self._mappings, start, key=_start)
        last = bisect_left(self._mappings, end, key=_start)
        if first and self._mappings[first - 1].end > start:
            first -= 1
        touched = self._mappings[first:last]
        before = [touched[0].part(touched[0].start, start)] if touched and touched[0].start < start else []
        behind = [touched[-1].part(end, touched[-1].end)] if touched and touched[-1].end > end else []
        self._mappings[first:last] = before + new + behind


def _start(mapping: Mapping) -> int:
    return mapping.start


def linux_before_6_7(loads: tuple[Load, ...], page: int) -> Space:
    """Map as Linux did up to 6.6: it zeroes the memory after all segments so far before it maps the next one."""
    space = Space()
    bss = brk = brk_flags = 0
    for load in loads:
        if brk > bss:
            # Pages of zeros replace what is there; the rest of the last page is zeroed where it can be written.
            space.map(_up(bss, page), _up(brk, page), None, brk_flags)
            space.zero(bss, min(_up(bss, page), brk), WRITE)
        _map_file(space, load, page)
        if load.size > load.memory:
            raise LoadError
        bss = max(bss, load.address + load.size)
        if load.address + load.memory > brk:
            brk, brk_flags = load.address + load.memory, READ | WRITE | load.flags & EXECUTE
    space.map(_up(bss, page), _up(brk, page), None, brk_flags)
    if bss != brk and not space.zero(bss, _up(bss, page), WRITE):
        raise LoadError
    return space


def linux(loads: tuple[Load, ...], page: int) -> Space:
    """Map as Linux does from 6.7 on: each segment separately, and no page for one without bytes in the file."""
    space = Space()
    for load in loads:
        if load.size:
            _map_file(space, load, page)
        if load.size > load.memory:
            raise LoadError
        if load.memory > load.size:
            file_end = load.address + load.size if load.size else _down(load.address, page)
            if load.size and not space.zero(file_end, _up(file_end, page), WRITE) and load.flags & WRITE:
                raise LoadError
            flags = READ | WRITE | load.flags & EXECUTE
            space.map(_up(file_end, page), _up(load.address + load.memory, page), None, flags)
    return space


def dynamic_loader(loads: tuple[Load, ...], page: int, *, fixed: bool = False) -> Space:
    """Map as glibc's loader does: one segment after another, with their zeros.

    The first one of a position-independent file reserves the whole extent: it is mapped that long, and what is between
    it and the last segment cannot be accessed then. ``fixed`` files have their addresses (ET_EXEC).
    """
    space = Space()
    first, last = loads[0], loads[-1]
    begin, end = _down(first.address, page), last.address + last.memory
    for load in loads:
        if (load.address - load.offset) % page:
            raise LoadError
    if not fixed:
        first_end, last_begin = _up(first.address + first.size, page), _down(last.address, page)
        holes = any(_up(one.address + one.size, page) != _down(other.address, page) for one, other in pairwise(loads))
        if begin >= end or (holes and last_begin < first_end):
            raise LoadError
        space.map(begin, _up(end, page), _down(first.offset, page), first.flags)
        for part in list(space.between(first_end, last_begin)) if holes else ():
            space.map(part.start, part.end, part.offset, 0)
    for number, load in enumerate(loads):
        file_end, memory_end = load.address + load.size, load.address + load.memory
        if number or fixed:
            space.map(_down(load.address, page), _up(file_end, page), _down(load.offset, page), load.flags)
        if memory_end > file_end:
            space.zero(file_end, min(_up(file_end, page), memory_end))
            space.map(_up(file_end, page), _up(memory_end, page), None, load.flags)
    return space


LOADERS: tuple[Callable[[tuple[Load, ...], int], Space], ...] = (
    linux_before_6_7,
    linux,
    dynamic_loader,
    partial(dynamic_loader, fixed=True),
)


@dataclass(frozen=True, slots=True)
class Memory:
    """What each loader maps of a file, for each page size of its machine."""

    spaces: tuple[Space, ...]
    """Those of the loaders that accept the file."""

    def contains(self, load: Load) -> bool:
        """Return whether every loader maps a segment with its own permissions.

        The memory after its bytes of the file must not have bytes of another segment.
        """
        return all(_contains(space, load) for space in self.spaces)

    def is_executable(self, address: int, offset: int, length: int) -> bool:
        """Return whether every loader maps ``length`` bytes from ``offset`` of the file to ``address``, as code.

        Code is executable and not writable.
        """
        expected = Load(offset, address, length, length, 0)
        return bool(self.spaces) and all(_maps_all(space, expected, EXECUTE, EXECUTE | WRITE) for space in self.spaces)

    def mapped(self, needed: int = 0) -> list[tuple[int, int]]:
        """Return the ranges of the file (offset, end) that any loader maps with at least the permissions ``needed``."""
        found = sorted(
            (item.offset, item.offset + item.end - item.start)
            for space in self.spaces
            for item in space
            if item.offset is not None and item.flags and item.flags & needed == needed
        )
        return list(merge_ranges(found))


EMPTY = Memory(())
"""The memory of a file that is not loaded."""


def map_file(loads: tuple[Load, ...], pages: tuple[int, ...]) -> Memory:
    """Return what the loaders map of a file, from its PT_LOAD headers in their order, of which there must be one."""
    spaces = []
    for page in pages:
        for loader in LOADERS:
            try:
                spaces.append(loader(loads, page))
            except LoadError:
                continue
    return Memory(tuple(spaces))


def _map_file(space: Space, load: Load, page: int) -> None:
    """Map the pages of a segment's bytes in the file as all kernels do (``elf_map``)."""
    start, end = _down(load.address, page), _up(load.address + load.size, page)
    offset = load.offset - load.address % page
    if load.address >= _TASK_SIZE or load.memory > _TASK_SIZE - load.address:
        raise LoadError
    if start < end and (offset % page or offset < 0):
        raise LoadError
    space.map(start, end, offset, load.flags & _ALL)


def _contains(space: Space, load: Load) -> bool:
    if not _maps_all(space, load, load.flags, _ALL):
        return False
    # Zeros, or what follows in the file where the last page cannot be written. Up to Linux 6.6 the latter is there also
    # where it can be, of a segment behind which is none of higher addresses.
    return all(
        part.offset is None
        or (
            part.offset == load.offset + part.start - load.address
            and part.flags == load.flags & _ALL
            and not part.flags & WRITE
        )
        for part in space.between(load.address + load.size, load.address + load.memory)
    )


def _maps_all(space: Space, load: Load, flags: int, of: int) -> bool:
    """Return whether all bytes of a segment are mapped, with exactly ``flags`` of the permissions ``of``."""
    parts = list(space.between(load.address, load.address + load.size))
    return sum(part.end - part.start for part in parts) == load.size and all(
        part.flags & of == flags & of and part.offset == load.offset + part.start - load.address for part in parts
    )


def merge_ranges(ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield the union of sorted ranges as ranges without overlaps."""
    begin = last_end = -1
    for start, end in ranges:
        if start > last_end:
            if begin < last_end:
                yield begin, last_end
            begin = start
        last_end = max(last_end, end)
    if begin < last_end:
        yield begin, last_end


def _down(address: int, page: int) -> int:
    return address // page * page


def _up(address: int, page: int) -> int:
    return -(-address // page) * page
