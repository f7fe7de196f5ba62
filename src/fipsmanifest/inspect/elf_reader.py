"""A reader of ELF headers in untrusted files.

It reads only what the kernel and this program use: the file header, program headers, and names and locations of
sections. All values are checked against the file's size before use, and each error has a code.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from ..model.finding import ElfFacts
from .elf import PAGE, Elf, Section, Segment, SegmentKind, UnreadableElf
from .memory import EXECUTE, PAGES, READ, Memory, map_file
from .source import ByteSource

#: ELF machine number -> RPM's name, for the two that have a BoringCrypto module.
_MACHINES = {62: "x86_64", 183: "aarch64"}
#: Machines for which Linux ignores the class and byte order that the file states (386, 486, ARM, x86_64, aarch64), with
#: their class. All are little endian.
_CLASSES = {3: 32, 6: 32, 40: 32, 62: 64, 183: 64}
_TYPES = {1: "rel", 2: "exec", 3: "dyn", 4: "core"}

_KINDS: dict[int, SegmentKind] = {
    1: "load",
    2: "dynamic",
    3: "interpreter",
    4: "note",
    6: "headers",
    0x6474E551: "stack",
}
#: Kinds whose bytes are read; file offsets of other program headers have no effect.
_READ_KINDS = ("load", "dynamic", "note", "headers")
#: Kinds of program headers in programs that the dynamic loader starts.
_READ_BY_LOADER = ("dynamic", "interpreter", "headers")
_SHT_NOBITS = 8
_SHT_NULL = 0
_SHF_EXEC = 4

#: Real files have about ten program headers; Linux accepts up to 64 KiB of them.
_MAX_SEGMENTS = 1024
#: Objects of one section per function have a few thousand.
_MAX_SECTIONS = 65279
_MAX_NAME_BYTES = 4 << 20
_DT_NULL = 0
_MAX_DYNAMIC_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class _Layout:
    """`struct` formats of one ELF class."""

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
    """The fields of the file header that are used."""

    bits: Literal[32, 64]
    little: bool
    kind: int
    machine: int
    segments: tuple[int, int, int]
    """File offset, size of an entry, number of entries."""
    sections: tuple[int, int, int, int]
    """The same, and the number of the section with the names."""

    @property
    def end(self) -> int:
        """File offset after both tables."""
        return max(table[0] + table[1] * table[2] for table in (self.segments, self.sections[:3]))


def read(source: ByteSource) -> Elf:
    """Read the headers of an ELF file. Raises `UnreadableElf` if they are not valid."""
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
    """Return whether, by its section headers, the file has debugging information and no code.

    The kernel ignores section headers, so this can explain a refusal, but is never a reason to accept a file.
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
        # Linux would read the file differently than this reader.
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
    if count > _MAX_SEGMENTS:
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
    """Raise `UnreadableElf` for segments that no loader maps.

    ``strict`` also requires alignment, which firmware for other machines may not have.
    """
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

    On larger pages that concerns only a module (`Memory.is_executable`, `Elf.is_mapped_apart`): most programs that were
    linked for pages of 4 KiB do not start there.
    """
    found = map_file(elf.mappings, (PAGE,))
    if strict and not all(map(found.contains, elf.mappings)):
        raise UnreadableElf("overlapping-segments")
    return map_file(elf.mappings, PAGES[elf.facts.machine]) if strict else found


def _extra_executable(elf: Elf, size: int) -> Iterator[Segment]:
    """Yield what loaders map as executable outside the executable segments, each byte of the file once."""
    covered = sorted((segment.offset, segment.end) for segment in elf.executable)
    for start, end in elf.memory.mapped(READ if elf.executable_stack else EXECUTE):
        end = min(end, size)
        while start < end:
            while covered and covered[0][1] <= start:
                covered.pop(0)
            low, high = covered[0] if covered else (end, end)
            if start < low:
                # Whole pages are mapped, so only the offset of the address in its page matters.
                length = min(low, end) - start
                yield Segment("load", start, length, start, length, EXECUTE)
            start = high


def _check_bytes(loads: tuple[Segment, ...]) -> None:
    """Raise `UnreadableElf` for segments that share more bytes of the file than a page.

    No linker makes such files, and searching a thousand of these segments would take a thousand times as long.
    """
    covered = 0
    for load in sorted(loads, key=lambda load: load.offset):
        if min(covered, load.end) - load.offset > PAGE:
            raise UnreadableElf("segments-of-the-same-bytes")
        covered = max(covered, load.end)


def _section_rows(source: ByteSource, form: str, offset: int, entry: int, count: int) -> list[tuple[int, ...]]:
    """Return the fields of the section headers."""
    if offset == 0:
        return []
    if entry != struct.calcsize(form):
        raise UnreadableElf("bad-section-header-size")
    if count == 0 or count > _MAX_SECTIONS:
        # Zero with a table means that the first section header has the real count, above 65,279.
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
        names = source.read_at(rows[names_index][4], min(rows[names_index][5], _MAX_NAME_BYTES))
    for index, (name, kind, _flags, address, place, size, link, *_) in enumerate(rows):
        if kind in (_SHT_NULL, _SHT_NOBITS):
            continue
        text = names[name : max(names.find(b"\0", name, name + 256), name)]
        yield Section(text.decode("ascii", "replace"), place, size, address, link, index)


def _check_program_header_address(elf: Elf, place: int, entry: int, count: int) -> None:
    """Raise `UnreadableElf` if the dynamic loader could read other program headers than those of the file.

    The kernel passes their address: before Linux 5.18 computed from the first segment, since then from the last segment
    that contains them. With PT_PHDR's address, the loader computes how far the program was moved.
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

    As the dynamic loader does, it reads from the section's address up to DT_NULL, and ignores its stated size.
    """
    step = struct.calcsize(form)
    dynamic = [segment for segment in elf.segments if segment.kind == "dynamic"]
    if len(dynamic) > 1:
        raise UnreadableElf("several-dynamic-sections")
    # A file without code is not loaded.
    for segment in dynamic if elf.executable and not elf.maps_little else ():
        end = next((_mapped_end(load) for load in elf.loads if _maps(load, segment)), None)
        if end is None:
            raise UnreadableElf("dynamic-section-elsewhere")
        data = source.read_at(segment.offset, min(end - segment.offset, _MAX_DYNAMIC_BYTES))
        for tag, value in struct.iter_unpack(form, data[: len(data) // step * step]):
            if tag == _DT_NULL:
                return
            yield tag, value
        raise UnreadableElf("endless-dynamic-section")


def _mapped_end(load: Segment) -> int:
    """Return the file offset after what a segment maps: whole pages, unless zeroed memory follows."""
    beyond = -(load.address + load.size) % PAGE if load.size == load.memory else 0
    return load.end + beyond


def _maps(load: Segment, other: Segment) -> bool:
    """Return whether ``load`` maps the bytes of another program header to the address in that header."""
    return (
        load.offset <= other.offset < _mapped_end(load) and other.offset - load.offset == other.address - load.address
    )
