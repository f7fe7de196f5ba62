"""Who calls into a module: direct calls and jumps from code outside its own object file.

Go reaches BoringCrypto through C functions that cgo writes, one for each function it needs, and the linker puts them
close to the module. So the search begins there, in small steps, and goes on to the rest of the code only while too
little has been found.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from .elf import Elf
from .source import ByteSource

ENOUGH = 4
"""Distinct functions called, the self-test among them, that make a known module wired. A program that only draws
random numbers calls eight (measured), one with TLS about a hundred; in 50 MB of random code, one call would be
expected by chance in a hundred files, and the self-test with three others never."""
ENOUGH_UNKNOWN = 16
"""The same for a module whose functions are not known by name: any aligned address in it counts, and a few are hit
by chance in large programs."""
SELF_TEST = "BORINGSSL_bcm_power_on_self_test"
"""Go calls it before anything else of the module (``crypto/internal/boring``, ``init``)."""

#: Calls looked at. A large program has a few hundred into its module, and as many seem to lead there by chance; code
#: that consists of them would take seconds.
_MOST_CALLS = 1 << 17

_NOWHERE = -1

_NEAR, _FAR = 1 << 16, 1 << 20
_NEAR_STEPS = 4
#: Where compilers put functions; A64 instructions have no finer alignment that a chance hit could miss.
_ALIGNMENT = {"x86_64": 16, "aarch64": 4}


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


def called_functions(
    source: ByteSource, elf: Elf, extent: Extent, names: Mapping[int, str] | None, required: str | None = SELF_TEST
) -> set[str]:
    """Give the functions of the module that are the target of a call or jump from outside.

    ``names`` maps addresses to the names wanted; without it every address at which a function can begin counts,
    named by its offset in hex. Stops once it has seen enough, ``required`` among them where that is named, or more than
    a program would have.
    """
    targets = _x86_targets if elf.facts.machine == "x86_64" else _arm_targets
    left = _MOST_CALLS
    seen: set[str] = set()
    for address, size, data in _code_around(source, elf, extent):
        found = list(islice(targets(data, size, address, extent), left))
        left -= len(found)
        if names is None:
            inside = (target - extent.start for target in found if extent.start <= target < extent.end)
            seen.update(f"{offset:#x}" for offset in inside if offset % _ALIGNMENT[elf.facts.machine] == 0)
        else:
            seen.update(names[target] for target in found if target in names)
        enough = required is None or required in seen
        if not left or (len(seen) >= ENOUGH_UNKNOWN if names is None else len(seen) >= ENOUGH and enough):
            break
    return seen


def _code_around(source: ByteSource, elf: Elf, extent: Extent) -> Iterator[tuple[int, int, bytes]]:
    """Give (address, size, bytes) of all executable code outside the object, what is near it first.

    The bytes go on a little behind ``size``, so that an instruction on the border is whole.
    """
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
            yield low, high - low, source.read_at(offset, high - low + 4)


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


def _x86_targets(data: bytes, size: int, address: int, extent: Extent) -> Iterator[int]:
    """Give targets in or near the module of ``call rel32`` (E8) and ``jmp rel32`` (E9) that begin in ``size`` bytes."""
    # Only displacements whose upper half can lead into the module are looked at, in the regular expression.
    pattern = _x86_pattern((extent.start - address - size - 5) >> 16, (extent.end - address - 5) >> 16)
    for match in pattern.finditer(data, 0, size + 4):
        at = match.start()
        yield address + at + 5 + int.from_bytes(data[at + 1 : at + 5], "little", signed=True)


@lru_cache(maxsize=64)
def _x86_pattern(lowest: int, highest: int) -> re.Pattern[bytes]:
    """Match E8 or E9 before a displacement whose upper 16 bits lie between two (signed) values."""
    # Beyond 2 GiB either way nothing can be reached.
    lowest, highest = max(lowest, -0x8000), min(highest, 0x7FFF)
    choices = []
    for high in range(lowest >> 8, (highest >> 8) + 1):
        low, top = max(lowest, high << 8) & 0xFF, min(highest, (high << 8) | 0xFF) & 0xFF
        choices.append(b"[\\x%02x-\\x%02x]\\x%02x" % (low, top, high & 0xFF))
    return re.compile(b"[\\xe8\\xe9](?=..(?:" + (b"|".join(choices) or b"(?!)") + b"))", re.DOTALL)


def _arm_targets(data: bytes, size: int, address: int, extent: Extent) -> Iterator[int]:
    """Give targets in or near the module of ``BL`` and ``B`` (A64: imm26, in words) that begin in ``size`` bytes."""
    pattern = _arm_pattern((extent.start - address - size) >> 18, (extent.end - address) >> 18)
    for match in pattern.finditer(data, 0, size + 2):
        # The match is the third byte of four.
        at = match.start() - 2
        displacement = int.from_bytes(data[max(at, 0) : at + 4], "little") & 0x03FFFFFF
        target = address + at + 4 * (displacement - ((displacement & 0x02000000) << 1))
        # Nothing is there where no instruction begins; it counts among the calls looked at all the same.
        yield target if at >= 0 and (address + at) % 4 == 0 else _NOWHERE


@lru_cache(maxsize=64)
def _arm_pattern(lowest: int, highest: int) -> re.Pattern[bytes]:
    """Match the upper half of BL or B whose displacement's upper ten bits lie between two (signed) values."""
    # Beyond 128 MiB either way nothing can be reached.
    lowest, highest = max(lowest, -0x200), min(highest, 0x1FF)
    choices = []
    for high in range(lowest >> 8, (highest >> 8) + 1):
        low, top = max(lowest, high << 8) & 0xFF, min(highest, (high << 8) | 0xFF) & 0xFF
        choices.append(b"[\\x%02x-\\x%02x](?=[\\x%02x\\x%02x])" % (low, top, 0x14 | high & 3, 0x94 | high & 3))
    return re.compile(b"|".join(choices) or b"(?!)", re.DOTALL)
