"""Go's native FIPS module (``GOFIPS140``) as linked: its integrity sum, and the mode that build info states.

The linker writes a table ``go:fipsinfo`` with an HMAC over four ranges of the linked module (Go's
``cmd/link/internal/ld/fips140.go`` and ``crypto/internal/fips140/check``). Plain programs of Go 1.24 and later have
it too, so it shows integrity only; the mode is in ``GOFIPS140`` and ``DefaultGODEBUG``. It does not show the origin of
the code either: the key is public, and the sum differs between programs, so there is no reference to compare it with.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass

from ..model.finding import GoFacts
from .elf import Elf
from .source import WINDOW, ByteSource, find

LATEST = "latest"
"""The version of a program that has the module of its own toolchain, not a snapshot (``cmd/go``)."""

_MAGIC = b"\xff Go fipsinfo \xff\0"
_KEY = bytes(32)
_PREFIX = b"go fips object v1\n"
_SUM = 32
FIRST_WORD = len(_MAGIC) + _SUM
"""Offset of the pointer to itself in ``go:fipsinfo``, which the four ranges follow."""
_RANGES = 4
#: Magic, sum, a pointer to itself, and (start, end) for text, rodata, noptrdata and data.
_SIZE = FIRST_WORD + 8 + _RANGES * 16
_MAX_RANGE = 64 << 20
#: Programs that use the module have 40 KB of its code or more, with its self-tests, others 32 bytes (measured).
_MIN_TEXT = 16 << 10


@dataclass(frozen=True, slots=True)
class NativeModule:
    """The native module as linked into one program."""

    offset: int
    """File offset of ``go:fipsinfo``."""
    sum: str
    """The stored HMAC-SHA-256 (hex); zeros if the linker did not write it."""
    computed: str | None
    """The recomputed HMAC-SHA-256 (hex); None if a range is not in the file, or that of the code is not executable."""
    text: int
    """Bytes of code in the sum."""
    address: int = 0
    """Address of ``go:fipsinfo``, as it names itself."""
    ranges: tuple[tuple[int, int], ...] = ()
    """Address of the first byte and the one behind the last of code, constants, variables without pointers, others."""

    @property
    def linked(self) -> bool:
        """Whether the program has code of the module; the table is in programs without it, too."""
        return self.text >= _MIN_TEXT

    @property
    def is_intact(self) -> bool:
        """Whether the module's bytes are those that were linked."""
        return self.sum == self.computed


def version(go: GoFacts) -> str | None:
    """Return the ``GOFIPS140`` version that the program was built with; None for ``off``."""
    value = go.settings.get("GOFIPS140", "off")
    return None if value in ("", "off") else value


def mode(go: GoFacts) -> str:
    """Return the value of ``fips140`` in DefaultGODEBUG (the last one, as Go reads it); empty if there is none."""
    return mode_of(go.settings.get("DefaultGODEBUG", ""))


def mode_of(godebug: str) -> str:
    """Return the value of ``fips140`` in a text of GODEBUG (the last one, as Go reads it); empty if there is none."""
    settings = (item.partition("=") for item in godebug.split(","))
    values = [value for key, _, value in settings if key == "fips140"]
    return values[-1] if values else ""


def is_mode_on(go: GoFacts) -> bool:
    """Return whether FIPS mode is on by default: exactly ``fips140=on`` or ``only``."""
    return mode(go) in ("on", "only")


def read(source: ByteSource, elf: Elf) -> NativeModule | None:
    """Find ``go:fipsinfo`` and recompute its sum; return None if there is none."""
    if elf.facts.bits != 64:
        return None
    section = elf.mapped_section(".go.fipsinfo")
    places = [(section.offset, section.offset + section.size)] if section else []
    places += [(segment.offset, segment.end) for segment in elf.loads if segment.writable]
    for start, end in places:
        for at in find(source, start, end, _MAGIC):
            table = source.read_at(at, _SIZE)
            if len(table) == _SIZE:
                stored = table[len(_MAGIC) : FIRST_WORD]
                own, *ranges = struct.unpack_from(f"{elf.order}{1 + 2 * _RANGES}Q", table, FIRST_WORD)
                text = max(ranges[1] - ranges[0], 0)
                pairs = tuple(zip(ranges[::2], ranges[1::2], strict=True))
                return NativeModule(at, stored.hex(), _compute(source, elf, tuple(ranges)), text, own, pairs)
    return None


def _compute(source: ByteSource, elf: Elf, ranges: tuple[int, ...]) -> str | None:
    code = elf.offset_of(ranges[0])
    if code is None or not elf.memory.is_executable(ranges[0], code, ranges[1] - ranges[0]):
        return None
    # Its constants and variables are in segments of others.
    if not elf.is_mapped_apart:
        return None
    mac = hmac.new(_KEY, _PREFIX, hashlib.sha256)
    for start, end in zip(ranges[::2], ranges[1::2], strict=True):
        length = end - start
        if not 0 <= length <= _MAX_RANGE:
            return None
        mac.update(length.to_bytes(8, "big"))
        if length == 0:
            continue
        offset, last = elf.offset_of(start), elf.offset_of(end - 1)
        if offset is None or last != offset + length - 1:
            return None
        for at in range(offset, offset + length, WINDOW):
            mac.update(source.read_at(at, min(WINDOW, offset + length - at)))
    return mac.hexdigest()
