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
from .slide import LONGEST, SHORTEST, STEP
from .source import ByteSource, windows

#: How far behind the first load the second one begins, at most (measured: 4 to 13 bytes).
_REACH = 32
#: Many more than any program needs (measured: 130 in one of Go's with a module, 3,300 in the largest of C++).
_MOST_PAIRS = 1 << 16
#: A whole pair stands in one window.
_OVERLAP = _REACH + 16

#: ``lea rel32(%rip), %r64``: opcode and ModRM (mod 00, r/m 101) behind the REX prefix, then the displacement.
_LEA = rb"\x8d[\x05\x0d\x15\x1d\x25\x2d\x35\x3d]"
_LEA_SIZE = 6
#: Displacements of less than a MiB, back and ahead.
_BACK, _AHEAD = rb"..[\xf0-\xff]\xff", rb"..[\x00-\x0f]\x00"
_LEA_PAIR = re.compile(
    _LEA + rb"(?=%b.{,%d}?%b%b|%b.{,%d}?%b%b)" % (_BACK, _REACH, _LEA, _AHEAD, _AHEAD, _REACH, _LEA, _BACK), re.DOTALL
)
_ANY_LEA = re.compile(_LEA, re.DOTALL)

#: ``ADR Xd, label`` (A64) by the upper byte of each instruction: 0 immlo 10000, the lower half being immhi and Rd.
_ADR_SIZE = 4
_ADR_PAIR = re.compile(rb"[\x10\x30\x50\x70](?=(.{,%d}?)[\x10\x30\x50\x70])" % (_REACH // _ADR_SIZE - 1), re.DOTALL)


def stated(source: ByteSource, elf: Elf) -> Counter[tuple[int, int]]:
    """Count what could be a module's own bounds: (file offset of its text, bytes of text)."""
    return Counter(
        (low, high - low)
        for segment, at, low, high in islice(_pairs(source, elf), _MOST_PAIRS)
        if segment.offset <= low <= at < high <= segment.end
        and (segment.address + low - segment.offset) % STEP == (high - low) % STEP == 0
        and SHORTEST <= high - low <= LONGEST
    )


def _pairs(source: ByteSource, elf: Elf) -> Iterator[tuple[Segment, int, int, int]]:
    """Give each pair of loads with its segment and, as file offsets, where it stands, its lower and higher target."""
    pairs = _lea_pairs if elf.facts.machine == "x86_64" else _adr_pairs
    for segment in elf.executable:
        for base, data in windows(source, segment.offset, segment.end, _OVERLAP):
            for at, one, other in pairs(data, (segment.offset - segment.address - base) % _ADR_SIZE):
                yield segment, base + at, base + min(one, other), base + max(one, other)


def _lea_pairs(data: bytes, _first: int) -> Iterator[tuple[int, int, int]]:
    """Give where a load stands, its target, and that of another one close behind it."""
    for match in _LEA_PAIR.finditer(data):
        at = match.start()
        behind = at + _LEA_SIZE
        for other in _ANY_LEA.finditer(data, behind, behind + _REACH + _LEA_SIZE):
            if other.start() + _LEA_SIZE <= len(data):
                yield at, _lea_target(data, at), _lea_target(data, other.start())


def _lea_target(data: bytes, at: int) -> int:
    return at + _LEA_SIZE + int.from_bytes(data[at + 2 : at + _LEA_SIZE], "little", signed=True)


def _adr_pairs(data: bytes, first: int) -> Iterator[tuple[int, int, int]]:
    """Give the same for A64, whose instructions stand at ``first`` and every four bytes on."""
    for match in _ADR_PAIR.finditer(data[first + 3 :: _ADR_SIZE]):
        at = first + _ADR_SIZE * match.start()
        yield at, _adr_target(data, at), _adr_target(data, at + _ADR_SIZE * (1 + len(match[1])))


def _adr_target(data: bytes, at: int) -> int:
    word = int.from_bytes(data[at : at + _ADR_SIZE], "little")
    offset = (word >> 5 & 0x7FFFF) << 2 | word >> 29 & 3
    return at + offset - ((offset & 0x100000) << 1)
