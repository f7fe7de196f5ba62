"""A search for direct calls and jumps into a module from code outside its own object file.

Go calls BoringCrypto through C functions that cgo generates, one for each function that it needs, and the linker puts
them close to the module. The search begins there, in small steps, and continues with the rest of the code until it has
found enough.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice

from .elf import Elf
from .source import ByteSource

ENOUGH = 4
"""Distinct functions, the self-test among them, that must be called for a known module to be wired in.

A program that only generates random numbers calls eight (measured), one with TLS about a hundred. In 50 MB of random
code, one call is expected by chance in a hundred files, and the self-test with three others never."""
ENOUGH_UNKNOWN = 16
"""The same for a module whose functions are not known: each aligned address in it counts, and in large programs a few
are called by chance."""
SELF_TEST = "BORINGSSL_bcm_power_on_self_test"
"""The first function of the module that Go calls (``crypto/internal/boring``, ``init``)."""

#: Calls considered: bounds the time for code that consists of them. A large program has a few hundred into its module,
#: and as many byte sequences look like calls by chance.
_MAX_CALLS = 1 << 17

_NOWHERE = -1

_NEAR, _FAR = 1 << 16, 1 << 20
_NEAR_STEPS = 4
#: How compilers align functions; for A64, the alignment of instructions.
_ALIGNMENT = {"x86_64": 16, "aarch64": 4}


@dataclass(frozen=True, slots=True)
class Extent:
    """The addresses of a module, and of the object file that it was linked from."""

    start: int
    """Address of its first byte."""
    end: int
    """Address after its last byte."""
    object_start: int
    """Address of its object's first byte of code; calls from the object itself do not count."""
    object_end: int
    """Address after its object's last byte of code."""


def called_functions(
    source: ByteSource,
    elf: Elf,
    extent: Extent,
    names: Mapping[int, str] | None,
    required: str | None = SELF_TEST,
    likely: Iterable[int] = (),
) -> set[str]:
    """Return the functions of the module that are targets of calls or jumps from outside.

    ``names`` maps addresses to names of functions. Without it, each address at which a function can begin counts, named
    by its offset in hex. The search ends when it has found enough, with ``required`` among them, or more calls than a
    program would have; where that is None, it looks far away for the first one alone. It begins at the addresses
    ``likely``, of code that may call the module.
    """
    left = _MAX_CALLS
    called: set[str] = set()
    for address, size, data in chain(_code_at(source, elf, extent, likely), _code_around(source, elf, extent)):
        if called and required is None and size > _NEAR:
            break
        found = [target for _, target in islice(calls_in(elf, data, size, address, extent.start, extent.end), left)]
        left -= len(found)
        if names is None:
            inside = (target - extent.start for target in found if extent.start <= target < extent.end)
            called.update(f"{offset:#x}" for offset in inside if offset % _ALIGNMENT[elf.facts.machine] == 0)
        else:
            called.update(names[target] for target in found if target in names)
        enough = len(called) >= ENOUGH and (required is None or required in called)
        if not left or (len(called) >= ENOUGH_UNKNOWN if names is None else enough):
            break
    return called


def _code_at(
    source: ByteSource, elf: Elf, extent: Extent, addresses: Iterable[int]
) -> Iterator[tuple[int, int, bytes]]:
    """Yield (address, size, bytes) as `_code_around` does, of a piece of code from each of some addresses on."""
    for address in addresses:
        for low, high in _regions(elf, extent):
            if low <= address < high:
                low, high = max(address // 4 * 4, low), min(address // 4 * 4 + _NEAR, high)
                offset = elf.offset_of(low)
                if offset is not None:
                    yield low, high - low, source.read_at(offset, high - low + 4)


def _code_around(source: ByteSource, elf: Elf, extent: Extent) -> Iterator[tuple[int, int, bytes]]:
    """Yield (address, size, bytes) of all executable code outside the object, the closest first.

    There are a few more bytes than ``size``, so that an instruction at the end is whole.
    """
    regions = list(_regions(elf, extent))
    near, far = [], []
    for low, high in regions:
        # Away from the object: downward in the region before it, upward in the one after it.
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
        # Steps are multiples of four, the alignment of A64 instructions.
        if downward:
            pieces.append((max(low, high - step), high))
            high -= step
        else:
            pieces.append((low, min(high, low + step)))
            low += step
    return pieces


def calls_in(elf: Elf, data: bytes, size: int, address: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield (address, target) of direct calls and jumps that begin in ``size`` bytes of code at an address.

    Targets are between ``start`` and ``end``, or near. Bytes that only look like a call are not told apart; where there
    is no instruction of that form at all, the target is an address that no function has.
    """
    return (_x86_calls if elf.facts.machine == "x86_64" else _arm_calls)(data, size, address, start, end)


def _x86_calls(data: bytes, size: int, address: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield ``call rel32`` (E8) and ``jmp rel32`` (E9)."""
    # The regular expression matches only displacements whose upper half can lead there.
    pattern = _x86_pattern((start - address - size - 5) >> 16, (end - address - 5) >> 16)
    for match in pattern.finditer(data, 0, size + 4):
        at = match.start()
        yield address + at, address + at + 5 + int.from_bytes(data[at + 1 : at + 5], "little", signed=True)


@lru_cache(maxsize=64)
def _x86_pattern(lowest: int, highest: int) -> re.Pattern[bytes]:
    """Return a pattern for E8 or E9 before a displacement whose upper 16 bits are between two signed values."""
    # A displacement reaches 2 GiB in each direction.
    choices = b"|".join(
        b"[\\x%02x-\\x%02x]\\x%02x" % (low, top, high & 0xFF) for high, low, top in _halves(lowest, highest, 16)
    )
    return re.compile(b"[\\xe8\\xe9](?=..(?:" + (choices or b"(?!)") + b"))", re.DOTALL)


def _halves(lowest: int, highest: int, bits: int) -> Iterator[tuple[int, int, int]]:
    """Yield the signed values of so many bits between two: each upper part, with its least and greatest lower byte."""
    lowest, highest = max(lowest, -1 << (bits - 1)), min(highest, (1 << (bits - 1)) - 1)
    for high in range(lowest >> 8, (highest >> 8) + 1):
        yield high, max(lowest, high << 8) & 0xFF, min(highest, (high << 8) | 0xFF) & 0xFF


def _arm_calls(data: bytes, size: int, address: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield ``BL`` and ``B`` (A64: imm26, in words)."""
    pattern = _arm_pattern((start - address - size) >> 18, (end - address) >> 18)
    for match in pattern.finditer(data, 0, size + 2):
        # The match is the third byte of four.
        at = match.start() - 2
        displacement = int.from_bytes(data[max(at, 0) : at + 4], "little") & 0x03FFFFFF
        target = address + at + 4 * (displacement - ((displacement & 0x02000000) << 1))
        # A match that is not at an instruction has no target, but counts as a call considered.
        yield address + at, target if at >= 0 and (address + at) % 4 == 0 else _NOWHERE


@lru_cache(maxsize=64)
def _arm_pattern(lowest: int, highest: int) -> re.Pattern[bytes]:
    """Return a pattern for the upper half of BL or B whose displacement's upper ten bits are in a signed range."""
    # A displacement reaches 128 MiB in each direction.
    choices = b"|".join(
        b"[\\x%02x-\\x%02x](?=[\\x%02x\\x%02x])" % (low, top, 0x14 | high & 3, 0x94 | high & 3)
        for high, low, top in _halves(lowest, highest, 10)
    )
    return re.compile(choices or b"(?!)", re.DOTALL)
