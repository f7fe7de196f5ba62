"""ELF files as they are read: segments, sections, and what loaders map.

`elf_reader` reads them from untrusted files. The rules are those of the System V ABI (gABI, chapters 4 and 5) and of
Linux's loader, ``fs/binfmt_elf.c``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from ..errors import ValidationFailed
from ..model.finding import ElfFacts
from .memory import EMPTY, EXECUTE, WRITE, Load, Memory

MAGIC = b"\x7fELF"
"""The first bytes of every ELF file."""

SegmentKind = Literal["load", "dynamic", "interpreter", "note", "headers", "stack"]

PAGE = 4096
"""The smallest page size of x86_64 and aarch64."""

#: Go's runtime alone has a hundred pages of 4 KiB.
_LITTLE_PAGES = 4

_DT_TEXTREL, _DT_FLAGS, _DF_TEXTREL = 22, 30, 4


class UnreadableElf(ValidationFailed):
    """An ELF file that cannot be judged; ``code`` is the reason."""

    def __init__(self, code: str) -> None:
        super().__init__(f"The ELF file cannot be read: {code}.", "Check it with readelf, or build it again.")
        self.code = code


@dataclass(frozen=True, slots=True)
class Segment:
    """One PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_NOTE, PT_PHDR or PT_GNU_STACK program header."""

    kind: SegmentKind
    """Its p_type."""
    offset: int
    """File offset."""
    size: int
    """Bytes in the file."""
    address: int
    """Address, before relocation."""
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
        """File offset after its last byte."""
        return self.offset + self.size


@dataclass(frozen=True, slots=True)
class Section:
    """The header of a section that has bytes in the file."""

    name: str
    """Its name in .shstrtab."""
    offset: int
    """File offset."""
    size: int
    """Bytes in the file."""
    address: int
    """Address; 0 if it is not mapped."""
    link: int
    """sh_link: the number of the section that it refers to."""
    index: int
    """Its own number."""


@dataclass(frozen=True)
class Elf:
    """The headers of a file; all offsets and sizes are within it."""

    facts: ElfFacts
    """Class, machine and type."""
    little: bool
    """Whether it is little endian."""
    segments: tuple[Segment, ...]
    """In the file's order."""
    sections: tuple[Section, ...]
    """In the file's order; empty if there is no section header table."""
    memory: Memory = EMPTY
    """What loaders map of an executable."""
    extra_executable: tuple[Segment, ...] = ()
    """Ranges of the file outside executable segments that are executable on some system."""
    headers_end: int = 0
    """File offset after the header tables."""
    dynamic: tuple[tuple[int, int], ...] = ()
    """Tags and values of the dynamic section, for machines that have a module."""

    @cached_property
    def loads(self) -> tuple[Segment, ...]:
        """The PT_LOAD segments."""
        return tuple(segment for segment in self.segments if segment.kind == "load")

    @cached_property
    def mappings(self) -> tuple[Load, ...]:
        """The PT_LOAD segments as loaders take them."""
        return tuple(Load(load.offset, load.address, load.size, load.memory, load.flags & 7) for load in self.loads)

    @cached_property
    def is_mapped_apart(self) -> bool:
        """Whether on pages of any size no segment has bytes of another one."""
        return all(map(self.memory.contains, self.mappings))

    @cached_property
    def executable(self) -> tuple[Segment, ...]:
        """The executable PT_LOAD segments that have bytes in the file."""
        return tuple(segment for segment in self.loads if segment.executable and segment.size)

    @cached_property
    def runnable(self) -> tuple[Segment, ...]:
        """All parts of the file that are executable on some system: executable segments and `extra_executable`.

        The latter are the rest of their pages, pages of segments without bytes, and on kernels before 5.8 everything
        readable where the stack is executable (``READ_IMPLIES_EXEC``).
        """
        return self.executable + self.extra_executable

    @property
    def executable_stack(self) -> bool:
        """Whether the file asks for an executable stack, or has no PT_GNU_STACK, which means the same."""
        stacks = [segment for segment in self.segments if segment.kind == "stack"]
        return not stacks or any(segment.executable for segment in stacks)

    @property
    def text_relocations(self) -> bool:
        """Whether the dynamic section asks the loader to write into code (DT_TEXTREL, or DF_TEXTREL in DT_FLAGS)."""
        return any(tag == _DT_TEXTREL or (tag == _DT_FLAGS and value & _DF_TEXTREL) for tag, value in self.dynamic)

    @property
    def maps_little(self) -> bool:
        """Whether only a few pages are mapped: headers and notes, as in a file of separate debugging information.

        Linux maps whole pages, and one even for an empty segment that does not begin on a page.
        """
        pages = sum(-(-(segment.offset % PAGE + segment.size) // PAGE) for segment in self.loads)
        return pages <= _LITTLE_PAGES

    @property
    def order(self) -> str:
        """The file's byte order, as a character of `struct` formats."""
        return "<" if self.little else ">"

    def section(self, name: str) -> Section | None:
        """Return the first section with a name; None if there is none."""
        return next((section for section in self.sections if section.name == name), None)

    def mapped_section(self, name: str) -> Section | None:
        """Return the section with a name if a segment contains all of it; others are not in memory."""
        found = self.section(name)
        ends = [load.end for load in self.loads if found and load.offset <= found.offset]
        return found if found and any(found.offset + found.size <= end for end in ends) else None

    def offset_of(self, address: int) -> int | None:
        """Return the file offset of an address; None if no segment has bytes of the file for it."""
        for segment in self.loads:
            if segment.address <= address < segment.address + segment.size:
                return segment.offset + address - segment.address
        return None
