"""Reading ELF headers that may lie.

Only what the kernel and this product act on is read: the file header, program headers, section names and places.
Everything is checked against the file's size before it is used, and each way of being wrong has a code of its own;
the rules are those of the System V ABI (gABI, chapters 4 and 5) and of Linux's loader, ``fs/binfmt_elf.c``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from ..errors import ValidationFailed
from ..model.finding import ElfFacts
from .memory import EMPTY, EXECUTE, PAGES, READ, WRITE, Load, Memory, map_file
from .source import ByteSource

MAGIC = b"\x7fELF"

#: ELF machine number -> RPM's name, for the two that have a BoringCrypto module.
_MACHINES = {62: "x86_64", 183: "aarch64"}
#: What Linux executes by the machine number alone, whatever the class and byte order that the file claims beside it:
#: their only true class, all little endian (386, 486, ARM, x86_64, aarch64).
_CLASSES = {3: 32, 6: 32, 40: 32, 62: 64, 183: 64}
_TYPES = {1: "rel", 2: "exec", 3: "dyn", 4: "core"}

SegmentKind = Literal["load", "dynamic", "interpreter", "note", "headers", "stack"]
_KINDS: dict[int, SegmentKind]
_KINDS = {1: "load", 2: "dynamic", 3: "interpreter", 4: "note", 6: "headers", 0x6474E551: "stack"}
#: Kinds whose bytes are read; what else a header says of the file has no effect.
_READ_KINDS = ("load", "dynamic", "note", "headers")
#: Kinds that a program has which the dynamic loader starts.
_READ_BY_LOADER = ("dynamic", "interpreter", "headers")
_SHT_NOBITS = 8
_SHT_NULL = 0
_SHF_EXEC = 4

#: Real files have about ten program headers; Linux takes at most 64 KiB of them.
_MOST_SEGMENTS = 1024
#: Objects of one section per function have a few thousand.
_MOST_SECTIONS = 65279
_MOST_NAME_BYTES = 4 << 20
#: Pages are 4 KiB at least on both machines.
PAGE = 4096

#: Go's runtime alone has a hundred, or ten of the largest.
_LITTLE_PAGES = 4

_DT_NULL, _DT_TEXTREL, _DT_FLAGS, _DF_TEXTREL = 0, 22, 30, 4
_MOST_DYNAMIC_BYTES = 1 << 20


class UnreadableElf(ValidationFailed):
    """A file that cannot be judged, and the code for why."""

    def __init__(self, code: str) -> None:
        super().__init__(f"The ELF file cannot be read: {code}.", "Look at it with readelf, or build it again.")
        self.code = code


@dataclass(frozen=True, slots=True)
class Segment:
    """One PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_NOTE, PT_PHDR or PT_GNU_STACK program header."""

    kind: SegmentKind
    """Its p_type."""
    offset: int
    """Where it stands in the file."""
    size: int
    """Bytes in the file."""
    address: int
    """Where it is mapped, before relocation."""
    memory: int
    """Bytes in memory; at least ``size``."""
    flags: int
    """p_flags."""

    @property
    def executable(self) -> bool:
        """PF_X."""
        return bool(self.flags & EXECUTE)

    @property
    def writable(self) -> bool:
        """PF_W."""
        return bool(self.flags & WRITE)

    @property
    def end(self) -> int:
        """File offset behind its last byte."""
        return self.offset + self.size


@dataclass(frozen=True, slots=True)
class Section:
    """One section header, for those that have bytes in the file."""

    name: str
    """As .shstrtab has it."""
    offset: int
    """Where it stands in the file."""
    size: int
    """Bytes in the file."""
    address: int
    """Where it is mapped, 0 if it is not."""
    link: int
    """sh_link: the number of the section that it refers to."""
    index: int
    """Its own number."""


@dataclass(frozen=True)
class Elf:
    """The headers of a file, all within its bounds."""

    facts: ElfFacts
    """Class, machine, type."""
    little: bool
    """Little endian."""
    segments: tuple[Segment, ...]
    """In the file's order."""
    sections: tuple[Section, ...]
    """In the file's order; empty where there is no section header table."""
    memory: Memory = EMPTY
    """What loaders make of an executable."""
    extra_executable: tuple[Segment, ...] = ()
    """Stretches of the file that can be executed on some system, beside the executable segments."""
    headers_end: int = 0
    """File offset behind the header tables."""
    dynamic: tuple[tuple[int, int], ...] = ()
    """Tags and values of the dynamic section, for machines that have a module."""

    @cached_property
    def loads(self) -> tuple[Segment, ...]:
        """The PT_LOAD segments."""
        return tuple(segment for segment in self.segments if segment.kind == "load")

    @cached_property
    def executable(self) -> tuple[Segment, ...]:
        """The PT_LOAD segments that can be executed and have bytes in the file."""
        return tuple(segment for segment in self.loads if segment.executable and segment.size)

    @cached_property
    def runnable(self) -> tuple[Segment, ...]:
        """All of the file that a program could execute on some system: executable segments, and what is beside them.

        Beside them are the rest of their pages, pages of segments without bytes, and on kernels before 5.8 all that
        can be read where the stack is executable (``READ_IMPLIES_EXEC``).
        """
        return self.executable + self.extra_executable

    @property
    def executable_stack(self) -> bool:
        """The file asks for a stack that can be executed, or does not say that it needs none (PT_GNU_STACK)."""
        stacks = [segment for segment in self.segments if segment.kind == "stack"]
        return not stacks or any(segment.executable for segment in stacks)

    @property
    def text_relocations(self) -> bool:
        """The dynamic section asks the loader to write into code (DT_TEXTREL, or DF_TEXTREL in DT_FLAGS)."""
        return any(tag == _DT_TEXTREL or (tag == _DT_FLAGS and value & _DF_TEXTREL) for tag, value in self.dynamic)

    @property
    def maps_little(self) -> bool:
        """Next to nothing is mapped from the file: headers and notes, as where debugging information stands apart from
        its program. Linux maps whole pages, and one even for a segment of no bytes that does not begin on a page."""
        pages = sum(-(-(segment.offset % PAGE + segment.size) // PAGE) for segment in self.loads)
        return pages <= _LITTLE_PAGES

    @property
    def order(self) -> str:
        """`struct`'s sign for the file's byte order."""
        return "<" if self.little else ">"

    def section(self, name: str) -> Section | None:
        """Give the first section of that name."""
        return next((section for section in self.sections if section.name == name), None)

    def mapped_section(self, name: str) -> Section | None:
        """Return the section of that name where a segment has all of it; others are not in memory."""
        found = self.section(name)
        ends = [load.end for load in self.loads if found and load.offset <= found.offset]
        return found if found and any(found.offset + found.size <= end for end in ends) else None

    def offset_of(self, address: int) -> int | None:
        """Give the file offset of an address, None where no segment has bytes for it."""
        for segment in self.loads:
            if segment.address <= address < segment.address + segment.size:
                return segment.offset + address - segment.address
        return None


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the fields of one ELF class stand."""

    header: str
    """After e_ident: type, machine, version, entry, phoff, shoff, flags, ehsize, phentsize, phnum, shentsize,
    shnum, shstrndx."""
    segment: str
    """One program header."""
    section: str
    """One section header."""
    dynamic: str
    """One entry of the dynamic section: tag, value."""


_LAYOUTS = {
    32: _Layout("HHIIIIIHHHHHH", "IIIIIIII", "IIIIIIIIII", "II"),
    64: _Layout("HHIQQQIHHHHHH", "IIQQQQQQ", "IIQQQQIIQQ", "QQ"),
}


@dataclass(frozen=True, slots=True)
class _Header:
    """The file header, in what is needed of it."""

    bits: Literal[32, 64]
    little: bool
    kind: int
    machine: int
    segments: tuple[int, int, int]
    """File offset, size of an entry, number of entries."""
    sections: tuple[int, int, int, int]
    """The same, and which of them has the names."""

    @property
    def end(self) -> int:
        """File offset behind both tables."""
        return max(table[0] + table[1] * table[2] for table in (self.segments, self.sections[:3]))


def read(source: ByteSource) -> Elf:
    """Read the headers of an ELF file; raises `UnreadableElf` with a code where they cannot be trusted."""
    header = _header(source)
    layout, order = _LAYOUTS[header.bits], "<" if header.little else ">"
    machine, kind = _MACHINES.get(header.machine, f"em-{header.machine}"), _TYPES.get(header.kind, f"et-{header.kind}")
    facts = ElfFacts(header.bits, machine, kind)
    segments = tuple(_segments(source, order + layout.segment, header.bits, *header.segments))
    sections = tuple(_sections(source, order + layout.section, *header.sections))
    elf = Elf(facts, header.little, segments, sections, headers_end=header.end)
    _check_bytes(elf.loads)
    if facts.type in ("exec", "dyn"):
        strict = facts.machine in _MACHINES.values()
        _check_loads(elf.loads, strict=strict)
        elf = replace(elf, memory=_memory(elf, strict=strict))
        elf = replace(elf, extra_executable=tuple(_extra_executable(elf, source.size)))
        if strict:
            _check_program_header_address(elf, *header.segments)
            return replace(elf, dynamic=tuple(_dynamic(source, order + layout.dynamic, elf)))
    return elf


def claims_debug_only(source: ByteSource) -> bool:
    """Tell whether the section headers say that the code is not in this file, which has debugging information alone.

    They are not what the kernel acts on, so this explains a refusal and is no reason to let anything pass.
    """
    try:
        header = _header(source)
        form = ("<" if header.little else ">") + _LAYOUTS[header.bits].section
        kinds = {kind for _, kind, flags, *_ in _section_rows(source, form, *header.sections[:3]) if flags & _SHF_EXEC}
    except UnreadableElf:
        return False
    return kinds == {_SHT_NOBITS}


def _header(source: ByteSource) -> _Header:
    ident = source.read_at(0, 16)
    if len(ident) < 16:
        raise UnreadableElf("truncated-header")
    if ident[4] not in (1, 2) or ident[5] not in (1, 2) or ident[6] != 1:
        raise UnreadableElf("bad-ident")
    bits: Literal[32, 64] = 64 if ident[4] == 2 else 32
    executed = _CLASSES.get(int.from_bytes(source.read_at(18, 2), "little"))
    if executed is not None and (executed != bits or ident[5] != 1):
        # What runs would be read in another way than what is looked at.
        raise UnreadableElf("bad-ident")
    form = ("<" if ident[5] == 1 else ">") + _LAYOUTS[bits].header
    size = 16 + struct.calcsize(form)
    header = source.read_at(0, size)
    if len(header) < size:
        raise UnreadableElf("truncated-header")
    fields = struct.unpack_from(form, header, 16)
    kind, machine, version, _entry, phoff, shoff, _flags, ehsize, phentsize, phnum, shentsize, shnum, shstrndx = fields
    if version != 1 or ehsize != size:
        raise UnreadableElf("bad-header")
    return _Header(bits, ident[5] == 1, kind, machine, (phoff, phentsize, phnum), (shoff, shentsize, shnum, shstrndx))


def _segments(source: ByteSource, form: str, bits: int, offset: int, entry: int, count: int) -> Iterator[Segment]:
    if count == 0:
        return
    if entry != struct.calcsize(form):
        raise UnreadableElf("bad-program-header-size")
    if count > _MOST_SEGMENTS:
        raise UnreadableElf("too-many-program-headers")
    table = source.read_at(offset, entry * count)
    if len(table) < entry * count:
        raise UnreadableElf("truncated-program-headers")
    for fields in struct.iter_unpack(form, table):
        if bits == 64:
            kind, flags, place, address, _physical, in_file, in_memory, _align = fields
        else:
            kind, place, address, _physical, in_file, in_memory, flags, _align = fields
        if kind not in _KINDS:
            continue
        if _KINDS[kind] in _READ_KINDS and place + in_file > source.size:
            raise UnreadableElf("segment-beyond-file")
        yield Segment(_KINDS[kind], place, in_file, address, in_memory, flags)


def _check_loads(loads: tuple[Segment, ...], *, strict: bool) -> None:
    """Refuse segments that no loader maps; firmware for other machines need not begin where its page does."""
    if not loads:
        raise UnreadableElf("no-load-segments")
    for load in loads:
        if load.size > load.memory:
            raise UnreadableElf("segment-larger-than-memory")
        if load.address + load.memory >= 1 << 64:
            raise UnreadableElf("segment-beyond-memory")
        if load.memory and (load.offset - load.address) % PAGE and strict:
            raise UnreadableElf("misaligned-segment")


def _memory(elf: Elf, *, strict: bool) -> Memory:
    """Return what loaders make of a program. Raises `UnreadableElf` where a loader would not do what its headers say.

    On pages larger than 4 KiB that concerns only the bytes that differ (`Memory.is_executable`): most programs that
    were linked for the smaller pages do not start there.
    """
    loads = tuple(Load(load.offset, load.address, load.size, load.memory, load.flags & 7) for load in elf.loads)
    found = map_file(loads, (PAGE,))
    if strict and not all(found.contains(load) for load in loads):
        raise UnreadableElf("overlapping-segments")
    return map_file(loads, PAGES[elf.facts.machine]) if strict else found


def _extra_executable(elf: Elf, size: int) -> Iterator[Segment]:
    """Yield what loaders let a program execute beside its executable segments, each byte of the file once."""
    covered = sorted((segment.offset, segment.end) for segment in elf.executable)
    for start, end in elf.memory.mapped(READ if elf.executable_stack else EXECUTE):
        end = min(end, size)
        while start < end:
            while covered and covered[0][1] <= start:
                covered.pop(0)
            low, high = covered[0] if covered else (end, end)
            if start < low:
                # Pages are mapped whole, so any address will do that is right within its page.
                length = min(low, end) - start
                yield Segment("load", start, length, start, length, EXECUTE)
            start = high


def _check_bytes(loads: tuple[Segment, ...]) -> None:
    """Refuse segments that have the same bytes of the file, beyond a page that two may share.

    No linker makes such, and what is looked for in each of a thousand would take as many times as long.
    """
    covered = 0
    for load in sorted(loads, key=lambda load: load.offset):
        if min(covered, load.end) - load.offset > PAGE:
            raise UnreadableElf("segments-of-the-same-bytes")
        covered = max(covered, load.end)


def _section_rows(source: ByteSource, form: str, offset: int, entry: int, count: int) -> list[tuple[int, ...]]:
    """Give the section headers' fields."""
    if offset == 0:
        return []
    if entry != struct.calcsize(form):
        raise UnreadableElf("bad-section-header-size")
    if count == 0 or count > _MOST_SECTIONS:
        # Zero with a table means that the real count, beyond 65,279, stands in the first section header.
        raise UnreadableElf("too-many-sections")
    table = source.read_at(offset, entry * count)
    if len(table) < entry * count:
        raise UnreadableElf("truncated-section-headers")
    return list(struct.iter_unpack(form, table))


def _sections(
    source: ByteSource, form: str, offset: int, entry: int, count: int, names_index: int
) -> Iterator[Section]:
    rows = _section_rows(source, form, offset, entry, count)
    for _name, kind, _flags, _address, place, size, *_ in rows:
        if kind not in (_SHT_NULL, _SHT_NOBITS) and place + size > source.size:
            raise UnreadableElf("section-beyond-file")
    names = b""
    if names_index < len(rows):
        names = source.read_at(rows[names_index][4], min(rows[names_index][5], _MOST_NAME_BYTES))
    for index, (name, kind, _flags, address, place, size, link, *_) in enumerate(rows):
        if kind in (_SHT_NULL, _SHT_NOBITS):
            continue
        text = names[name : max(names.find(b"\0", name, name + 256), name)]
        yield Section(text.decode("ascii", "replace"), place, size, address, link, index)


def _check_program_header_address(elf: Elf, place: int, entry: int, count: int) -> None:
    """Refuse a program whose dynamic loader could see other program headers than those of the file.

    The kernel tells it their address: before Linux 5.18 what it would be if the first segment had them, since then that
    in the last segment that has them. From PT_PHDR's address the loader then finds out by how much the program was
    moved, and so where everything is.
    """
    if not elf.executable or elf.maps_little or not any(segment.kind in _READ_BY_LOADER for segment in elf.segments):
        return
    first = elf.loads[0]
    addresses = {first.address - first.offset + place}
    addresses |= {load.address - load.offset + place for load in elf.loads if load.offset <= place < load.end}
    addresses |= {headers.address for headers in elf.segments if headers.kind == "headers"}
    address = addresses.pop()
    last = entry * count - 1
    if addresses or elf.offset_of(address) != place or elf.offset_of(address + last) != place + last:
        raise UnreadableElf("program-headers-elsewhere")


def _dynamic(source: ByteSource, form: str, elf: Elf) -> Iterator[tuple[int, int]]:
    """Yield tags and values of the dynamic section.

    It is read as the dynamic loader does: from its address, and up to DT_NULL whatever its size is said to be.
    """
    step = struct.calcsize(form)
    dynamic = [segment for segment in elf.segments if segment.kind == "dynamic"]
    if len(dynamic) > 1:
        raise UnreadableElf("several-dynamic-sections")
    # Where no code is in the file, nothing is loaded.
    for segment in dynamic if elf.executable and not elf.maps_little else ():
        end = next((_mapped_end(load) for load in elf.loads if _maps(load, segment)), None)
        if end is None:
            raise UnreadableElf("dynamic-section-elsewhere")
        data = source.read_at(segment.offset, min(end - segment.offset, _MOST_DYNAMIC_BYTES))
        for tag, value in struct.iter_unpack(form, data[: len(data) // step * step]):
            if tag == _DT_NULL:
                return
            yield tag, value
        raise UnreadableElf("endless-dynamic-section")


def _mapped_end(load: Segment) -> int:
    """Give the file offset behind what a segment maps: whole pages, unless memory of zeros follows."""
    beyond = -(load.address + load.size) % PAGE if load.size == load.memory else 0
    return load.end + beyond


def _maps(load: Segment, other: Segment) -> bool:
    """Tell whether ``load`` maps the bytes of another header to the address that this names."""
    return (
        load.offset <= other.offset < _mapped_end(load) and other.offset - load.offset == other.address - load.address
    )
