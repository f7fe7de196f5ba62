"""ZIP archives written field by field, so that each can be wrong: what `zipfile` and zip(1) would never write."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Part:
    """One member; every field of its headers can be set apart from what its content needs."""

    name: bytes = b"usr/bin/kubelet"
    content: bytes = b"content"
    method: int = 8
    flags: int = 0
    descriptor: bytes | None = None
    """Bytes behind the data; by default what the flag of a descriptor asks for."""
    before: bytes = b""
    """Bytes in front of the local header."""
    data: bytes | None = None
    """The compressed bytes, by default those of ``content``."""
    local: dict[str, int | bytes] = field(default_factory=dict)
    """Fields of the local header."""
    central: dict[str, int | bytes] = field(default_factory=dict)
    """Fields of the central directory."""
    listed: bool = True
    """Whether the central directory has it."""
    mode: int = 0o100755


@dataclass
class Archive:
    """The whole."""

    parts: list[Part]
    prefix: bytes = b""
    relative: bool = False
    """Whether offsets count from the end of the prefix."""
    gap: bytes = b""
    """Bytes between the members and the central directory."""
    behind_directory: bytes = b""
    comment: bytes = b""
    trailing: bytes = b""
    zip64: bool = False
    end: dict[str, int] = field(default_factory=dict)
    """Fields of the end record."""
    end64: dict[str, int] = field(default_factory=dict)
    """Fields of the 64-bit end record."""

    def build(self) -> bytes:
        """Return the archive's bytes."""
        out = bytearray(self.prefix)
        base = len(self.prefix) if self.relative else 0
        central = b""
        count = 0
        for part in self.parts:
            out += part.before
            offset = len(out) - base
            header, data, entry = _member(part, offset)
            out += header + data
            if part.listed:
                central += entry
                count += 1
        out += self.gap
        start = len(out) - base
        out += central + self.behind_directory
        size = len(central)
        if self.zip64:
            at = len(out) - base
            v = {"disk": 0, "first": 0, "here": count, "entries": count, "size": size, "offset": start, "at": at}
            v |= self.end64
            out += b"PK\x06\x06" + struct.pack(
                "<QHHIIQQQQ", 44, 45, 45, v["disk"], v["first"], v["here"], v["entries"], v["size"], v["offset"]
            )
            out += b"PK\x06\x07" + struct.pack("<IQI", 0, v["at"], 1)
        n16, n32 = (0xFFFF, 0xFFFFFFFF) if self.zip64 else (count, 0)
        e = {"disk": 0, "first": 0, "here": n16, "entries": n16, "size": n32 or size, "offset": n32 or start}
        e |= {"comment": len(self.comment)} | self.end
        out += b"PK\x05\x06" + struct.pack(
            "<HHHHIIH", e["disk"], e["first"], e["here"], e["entries"], e["size"], e["offset"], e["comment"]
        )
        return bytes(out + self.comment + self.trailing)


def _member(part: Part, offset: int) -> tuple[bytes, bytes, bytes]:
    data = part.data
    if data is None:
        deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
        data = deflate.compress(part.content) + deflate.flush() if part.method == 8 else part.content
    crc = zlib.crc32(part.content)
    described = part.flags & 8
    sizes = {"crc": crc, "compressed": len(data), "size": len(part.content)}
    common: dict[str, Any] = {
        "flags": part.flags,
        "method": part.method,
        "name": part.name,
        "extra": b"",
        "version": 20,
    }
    local = common | (dict.fromkeys(sizes, 0) if described else sizes) | part.local
    entry = common | sizes | {"offset": offset, "made": 3 << 8, "attributes": part.mode << 16, "comment": b""}
    entry |= part.central
    header = b"PK\x03\x04" + struct.pack(
        "<HHHHHIIIHH",
        local["version"], local["flags"], local["method"], 0, 0x21,
        local["crc"], local["compressed"], local["size"], len(local["name"]), len(local["extra"]),
    )  # fmt: skip
    header += local["name"] + local["extra"]
    listed = b"PK\x01\x02" + struct.pack(
        "<HHHHHHIIIHHHHHII",
        entry["made"], entry["version"], entry["flags"], entry["method"], 0, 0x21,
        entry["crc"], entry["compressed"], entry["size"], len(entry["name"]), len(entry["extra"]),
        len(entry["comment"]), 0, 0, entry["attributes"], entry["offset"],
    )  # fmt: skip
    listed += entry["name"] + entry["extra"] + entry["comment"]
    tail = part.descriptor
    if tail is None:
        tail = b"PK\x07\x08" + struct.pack("<III", crc, len(data), len(part.content)) if described else b""
    return header, data + tail, listed
