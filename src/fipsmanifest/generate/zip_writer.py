"""Zip archives whose bytes depend on their entries alone (PKWARE's APPNOTE.TXT, sections 4.3.7, 4.3.12 and 4.3.16)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from .deflate import deflate

_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_DIRECTORY_HEADER = struct.Struct("<4sH5H3I2H3H2I")
_END = struct.Struct("<4s4H2IH")
_VERSION = 20  # of the format: the first with deflate
_UNIX = 3 << 8
_STORED, _DEFLATED = 0, 8
_MIDNIGHT, _EARLIEST_DATE = 0, 1 << 5 | 1  # 1980-01-01, the format's first day
_REGULAR_FILE = 0o100644 << 16


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in an archive."""

    name: str
    """Its path, in ASCII."""
    content: bytes
    """Its bytes."""
    compressed: bool = True
    """Whether it is compressed, or stored as it is."""


def append_zip(start: bytes, entries: Sequence[Entry]) -> bytes:
    """Return ``start``, followed by an archive of the entries in the given order.

    Offsets in the archive are those in the whole file, so that readers take it for an archive without extra bytes.
    """
    data, directory, count = bytearray(start), bytearray(), len(entries)
    for entry in entries:
        name = entry.name.encode("ascii")
        packed = deflate(entry.content) if entry.compressed else entry.content
        method = _DEFLATED if entry.compressed else _STORED
        sizes = (zlib.crc32(entry.content), len(packed), len(entry.content), len(name), 0)
        described = (_VERSION, 0, method, _MIDNIGHT, _EARLIEST_DATE, *sizes)
        directory += _DIRECTORY_HEADER.pack(
            b"PK\x01\x02", _UNIX | _VERSION, *described, 0, 0, 0, _REGULAR_FILE, len(data)
        )
        directory += name
        data += _LOCAL_HEADER.pack(b"PK\x03\x04", *described) + name + packed
    end = _END.pack(b"PK\x05\x06", 0, 0, count, count, len(directory), len(data), 0)
    return bytes(data + directory) + end
