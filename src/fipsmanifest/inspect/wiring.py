"""Who calls into a module: direct calls and jumps from code outside its own object file.

Go reaches BoringCrypto through C functions that cgo writes, one for each function it needs, and the linker puts them
close to the module. So the search begins there, in small steps, and goes on to the rest of the code only while too
little has been found.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from .elf import Elf
from .source import ByteSource

ENOUGH = 8
"""Distinct functions called that make a module wired. Real programs call about a hundred (measured); in 50 MB of
random code, one would be expected by chance in a hundred files, and eight never."""
SELF_TEST = "BORINGSSL_bcm_power_on_self_test"
"""Go calls it before anything else of the module (``crypto/internal/boring``, ``init``)."""

_NEAR, _FAR = 1 << 16, 1 << 20
_NEAR_STEPS = 4


@dataclass(frozen=True, slots=True)
class Extent:
    """A module in memory, with the object file that it was linked from."""

    start: int
    """Address of its first byte."""
    end: int
    """Address behind its last byte."""
    object_start: int
    """Address of its object's first byte of code; calls from the object itself show nothing."""
    object_end: int
    """Address behind its object's last byte of code."""


def called(
    source: ByteSource, elf: Elf, extent: Extent, names: dict[int, str] | None, *, everywhere: bool = False
) -> set[str]:
    """Give the functions of the module that are the target of a call or jump from outside.

    ``names`` maps addresses to the names wanted; without it any address inside counts, named by its offset in hex.
    Stops once it has seen `ENOUGH` of them and the self-test, unless ``everywhere``.
    """
    targets = _x86_targets if elf.facts.machine == "x86_64" else _arm_targets
    seen: set[str] = set()
    for address, data in _code_around(source, elf, extent):
        for target in targets(data, address, extent.start, extent.end):
            if names is None:
                seen.add(f"{target - extent.start:#x}")
            elif target in names:
                seen.add(names[target])
        if not everywhere and len(seen) >= ENOUGH and (names is None or SELF_TEST in seen):
            break
    return seen


def _code_around(source: ByteSource, elf: Elf, extent: Extent) -> Iterator[tuple[int, bytes]]:
    """Give (address, bytes) of all executable code outside the object, what is near it first."""
    regions = list(_regions(elf, extent))
    near, far = [], []
    for low, high in regions:
        # Outward from the object: downward in the region before it, upward in the one behind.
        points = _steps(low, high, downward=high <= extent.object_start)
        near += points[:_NEAR_STEPS]
        far += points[_NEAR_STEPS:]
    near.sort(key=lambda piece: max(extent.object_start - piece[1], piece[0] - extent.object_end))
    for low, high in near + far:
        offset = elf.offset_of(low)
        if offset is not None:
            # Eight bytes more, so that an instruction on the border is whole.
            yield low, source.read_at(offset, high - low + 8)


def _regions(elf: Elf, extent: Extent) -> Iterator[tuple[int, int]]:
    for segment in elf.executable:
        low, high = segment.address, segment.address + segment.size
        if low < min(high, extent.object_start):
            yield low, min(high, extent.object_start)
        if max(low, extent.object_end) < high:
            yield max(low, extent.object_end), high


def _steps(low: int, high: int, *, downward: bool) -> list[tuple[int, int]]:
    pieces: list[tuple[int, int]] = []
    while low < high:
        step = _NEAR if len(pieces) < _NEAR_STEPS else _FAR
        # Instructions of aarch64 stand on multiples of four, and steps are such.
        if downward:
            pieces.append((max(low, high - step), high))
            high -= step
        else:
            pieces.append((low, min(high, low + step)))
            low += step
    return pieces


def _x86_targets(data: bytes, address: int, start: int, end: int) -> Iterator[int]:
    """Give targets in the module of ``call rel32`` (E8) and ``jmp rel32`` (E9) at any byte of ``data``."""
    length = len(data) - 8
    # Only displacements whose upper half can lead into the module are looked at, in the regular expression.
    lowest, highest = (start - address - length - 5) >> 16, (end - address - 5) >> 16
    pattern = _x86_pattern(lowest, highest)
    for match in pattern.finditer(data, 0, length + 5 if length > 0 else len(data)):
        at = match.start()
        target = address + at + 5 + int.from_bytes(data[at + 1 : at + 5], "little", signed=True)
        if start <= target < end:
            yield target


@lru_cache(maxsize=64)
def _x86_pattern(lowest: int, highest: int) -> re.Pattern[bytes]:
    """Match E8 or E9 before a displacement whose upper 16 bits lie between two (signed) values."""
    choices = []
    for high in range(lowest >> 8, (highest >> 8) + 1):
        low, top = max(lowest, high << 8) & 0xFF, min(highest, (high << 8) | 0xFF) & 0xFF
        choices.append(b"[\\x%02x-\\x%02x]\\x%02x" % (low, top, high & 0xFF))
    return re.compile(b"[\\xe8\\xe9](?=..(?:" + b"|".join(choices) + b"))", re.DOTALL)


def _arm_targets(data: bytes, address: int, start: int, end: int) -> Iterator[int]:
    """Give targets in the module of ``BL`` and ``B`` (A64, imm26)."""
    padding = -address % 4
    words = memoryview(data)[padding : padding + (len(data) - padding) // 4 * 4]
    for index, (word,) in enumerate(struct.iter_unpack("<I", words)):
        if word & 0x7C000000 == 0x14000000:
            target = address + padding + 4 * index + _imm26(word)
            if start <= target < end:
                yield target


def _imm26(word: int) -> int:
    value = word & 0x03FFFFFF
    return (value - 0x04000000 if value & 0x02000000 else value) * 4
