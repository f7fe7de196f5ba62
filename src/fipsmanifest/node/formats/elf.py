"""The segments of a program: how the kernel and the loader map it (elf(5))."""

import os
import struct
from typing import Dict

INTERPRETER = 3
STACK = 0x6474E551
EXECUTABLE = 1
_HEADER, _ENTRY = 64, 56
_MAX_ENTRIES = 512


def segments(descriptor: int) -> Dict[int, int]:
    """Return the flags of each kind of segment of a 64-bit program; empty for any other file. Raise `OSError`."""
    header = os.pread(descriptor, _HEADER, 0)
    if len(header) < _HEADER or header[:6] != b"\x7fELF\x02\x01":
        return {}
    start, size, count = struct.unpack_from("<Q", header, 32)[0], *struct.unpack_from("<HH", header, 54)
    table = os.pread(descriptor, _ENTRY * min(count, _MAX_ENTRIES), min(start, 1 << 40)) if size == _ENTRY else b""
    return dict(struct.unpack_from("<II", table, at) for at in range(0, len(table) - _ENTRY + 1, _ENTRY))
