"""Where a module says that it begins and ends.

BoringSSL's power-on self-test takes the addresses of its module's first byte and of the one behind its last, to
compute the integrity digest over what lies between (``crypto/fipsmodule/bcm.c``). Nothing in a module is relocated,
so both are loaded relative to the instruction, close to each other, by code that lies between the two. Finding such
a pair takes neither symbols nor any knowledge of the module.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice

from .elf import Elf, Segment
from .integrity import LONGEST, SHORTEST, STEP
from .source import ByteSource, windows

#: How far behind the first load's beginning the second one begins, at most (measured: 4 to 19 bytes), and how many of
#: those behind it are looked at.
_REACH = 38
_NEIGHBOURS = 4
#: Many more than any program needs (measured: 130 pairs in one of Go's with a module, 3,300 in the largest of C++).
_MOST_PAIRS = 1 << 16
#: Loads looked at for pairs, in all: bounds the time for code that consists of them.
_MOST_LOADS = 1 << 18
#: A whole instruction stands in one window.
_OVERLAP = 8

#: ``lea rel32(%rip), %r64``: opcode and ModRM (mod 00, r/m 101) behind the REX prefix, then a displacement of less than
#: a MiB, back or ahead.
_LEA_SIZE = 6
_LEA = re.compile(rb"\x8d[\x05\x0d\x15\x1d\x25\x2d\x35\x3d](?=..(?:[\xf0-\xff]\xff|[\x00-\x0f]\x00))", re.DOTALL)

#: ``ADR Xd, label`` (A64) by the upper byte of the instruction: 0 immlo 10000, the lower half being immhi and Rd.
_ADR_SIZE = 4
_ADR = re.compile(rb"[\x10\x30\x50\x70]")


def candidate_bounds(source: ByteSource, elf: Elf) -> Counter[tuple[int, int]]:
    """Count what could be a module's own bounds: (file offset of its text, bytes of text)."""
    left = _MOST_LOADS
    found: Counter[tuple[int, int]] = Counter()
    for segment in elf.runnable:
        loads = list(islice(_loads(source, elf, segment), left))
        left -= len(loads)
        for low, high in islice(_pairs(loads), _MOST_PAIRS):
            if (
                segment.offset <= low < high <= segment.end
                and SHORTEST <= high - low <= LONGEST
                and (segment.address + low - segment.offset) % STEP == (high - low) % STEP == 0
            ):
                found[low, high - low] += 1
    return found


def _pairs(loads: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Give the targets of each two loads that stand close to each other and between them, the lower one first."""
    for index, (at, target) in enumerate(loads):
        ahead = target > at
        for other, second in loads[index + 1 : index + 1 + _NEIGHBOURS]:
            if other - at > _REACH:
                break
            if ahead != (second > at):
                yield (second, target) if ahead else (target, second)


def _loads(source: ByteSource, elf: Elf, segment: Segment) -> Iterator[tuple[int, int]]:
    """Give, as file offsets, where each load of a segment stands and what it takes the address of, in their order."""
    loads = _leas if elf.facts.machine == "x86_64" else _adrs
    seen = -1
    for base, data in windows(source, segment.offset, segment.end, _OVERLAP):
        for at, target in loads(data, (segment.offset - segment.address - base) % _ADR_SIZE):
            if base + at > seen:
                seen = base + at
                yield seen, base + target


def _leas(data: bytes, _first: int) -> Iterator[tuple[int, int]]:
    """Give where each load stands, and its target."""
    for match in _LEA.finditer(data):
        at = match.start()
        yield at, at + _LEA_SIZE + int.from_bytes(data[at + 2 : at + _LEA_SIZE], "little", signed=True)


def _adrs(data: bytes, first: int) -> Iterator[tuple[int, int]]:
    """Give the same for A64, whose instructions stand at ``first`` and every four bytes on."""
    for match in _ADR.finditer(data[first + 3 :: _ADR_SIZE]):
        at = first + _ADR_SIZE * match.start()
        word = int.from_bytes(data[at : at + _ADR_SIZE], "little")
        offset = (word >> 5 & 0x7FFFF) << 2 | word >> 29 & 3
        yield at, at + offset - ((offset & 0x100000) << 1)
