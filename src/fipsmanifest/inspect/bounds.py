"""The bounds of a module as its own code states them.

BoringSSL's power-on self-test loads the addresses of its module's first byte and of the byte after its last one, to
compute the integrity digest between them (``crypto/fipsmodule/bcm.c``). A module has no relocations, so both addresses
are loaded relative to the instruction pointer, by adjacent instructions within these bounds. Such a pair can be found
without symbols and for unknown modules.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice

from .elf import Elf, Segment
from .integrity import LONGEST, SHORTEST, STEP
from .source import ByteSource, windows

#: The most bytes from one load instruction to the second one (measured: 4 to 19), and how many loads after the first
#: are considered.
_REACH = 38
_NEIGHBOURS = 4
#: More than real programs have (measured: 130 pairs in a Go program with a module, 3,300 in the largest one of C++).
_MAX_PAIRS = 1 << 16
#: Load instructions considered in all: bounds the time for code that consists of them.
_MAX_LOADS = 1 << 18
#: So that each instruction is whole in one window.
_OVERLAP = 8

#: ``lea rel32(%rip), %r64``: opcode and ModRM (mod 00, r/m 101) after the REX prefix, then a displacement of less than
#: a MiB, negative or positive.
_LEA_SIZE = 6
_LEA = re.compile(rb"\x8d[\x05\x0d\x15\x1d\x25\x2d\x35\x3d](?=..(?:[\xf0-\xff]\xff|[\x00-\x0f]\x00))", re.DOTALL)

#: ``ADR Xd, label`` (A64) by the upper byte of the instruction: 0 immlo 10000, the lower half being immhi and Rd.
_ADR_SIZE = 4
_ADR = re.compile(rb"[\x10\x30\x50\x70]")


def candidate_bounds(source: ByteSource, elf: Elf) -> Counter[tuple[int, int]]:
    """Return possible bounds of modules (file offset and length of the text), and how often the code states them."""
    left = _MAX_LOADS
    found: Counter[tuple[int, int]] = Counter()
    for segment in elf.runnable:
        loads = list(islice(_loads(source, elf, segment), left))
        left -= len(loads)
        for low, high in islice(_pairs(loads), _MAX_PAIRS):
            if (
                segment.offset <= low < high <= segment.end
                and SHORTEST <= high - low <= LONGEST
                and (segment.address + low - segment.offset) % STEP == (high - low) % STEP == 0
            ):
                found[low, high - low] += 1
    return found


def _pairs(loads: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield the targets of each pair of close loads between their targets, the lower target first."""
    for index, (at, target) in enumerate(loads):
        ahead = target > at
        for other, second in loads[index + 1 : index + 1 + _NEIGHBOURS]:
            if other - at > _REACH:
                break
            if ahead != (second > at):
                yield (second, target) if ahead else (target, second)


def _loads(source: ByteSource, elf: Elf, segment: Segment) -> Iterator[tuple[int, int]]:
    """Yield the file offsets of each load instruction of a segment and of its target, in order."""
    loads = _leas if elf.facts.machine == "x86_64" else _adrs
    last = -1
    for base, data in windows(source, segment.offset, segment.end, _OVERLAP):
        for at, target in loads(data, (segment.offset - segment.address - base) % _ADR_SIZE):
            if base + at > last:
                last = base + at
                yield last, base + target


def _leas(data: bytes, _first: int) -> Iterator[tuple[int, int]]:
    """Yield the offset of each LEA instruction, and its target."""
    for match in _LEA.finditer(data):
        at = match.start()
        yield at, at + _LEA_SIZE + int.from_bytes(data[at + 2 : at + _LEA_SIZE], "little", signed=True)


def _adrs(data: bytes, first: int) -> Iterator[tuple[int, int]]:
    """Yield the offset of each ADR instruction, and its target; the first instruction is at ``first``."""
    for match in _ADR.finditer(data[first + 3 :: _ADR_SIZE]):
        at = first + _ADR_SIZE * match.start()
        word = int.from_bytes(data[at : at + _ADR_SIZE], "little")
        offset = (word >> 5 & 0x7FFFF) << 2 | word >> 29 & 3
        yield at, at + offset - ((offset & 0x100000) << 1)
