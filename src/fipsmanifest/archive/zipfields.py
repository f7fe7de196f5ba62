"""The records of a ZIP archive, each decoded strictly (PKWARE APPNOTE 6.3.10, sections 4.3 and 4.5)."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
END64, LOCATOR64, DESCRIPTOR = b"PK\x06\x06", b"PK\x06\x07", b"PK\x07\x08"
LOCAL_SIZE, CENTRAL_SIZE, END_SIZE, END64_SIZE, LOCATOR64_SIZE = 30, 46, 22, 56, 20

#: General purpose flags (APPNOTE 4.4.4).
ENCRYPTED, DESCRIBED, STRONG, MASKED = 1 << 0, 1 << 3, 1 << 6, 1 << 13
#: Of LZMA: its data ends with a mark.
MARKED = 1 << 1
#: Those that a local header and the central directory must agree on; the others are hints on the compression.
_COMPARED = ENCRYPTED | DESCRIBED | STRONG | 1 << 11 | MASKED

_ZIP64, _UNICODE_PATH = 0x0001, 0x7075
_NONE16, _NONE32 = 0xFFFF, 0xFFFFFFFF


class Malformed(ValueError):
    """A record contradicts itself or another; the text says how."""


@dataclass(frozen=True, slots=True)
class End:
    """The end of central directory record, with its 64-bit form where there is one."""

    entries: int
    size: int
    """Of the central directory, bytes."""
    offset: int
    """Of the central directory, as stored."""
    starts: int
    """Where the records begin that follow the central directory."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file header of the central directory."""

    name: bytes
    flags: int
    method: int
    crc: int
    compressed: int
    size: int
    offset: int
    """Of the local header, as stored."""
    unix_mode: int
    """Type and permission bits; 0 where the archive was made on another system."""

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory to every reader."""
        return self.name.endswith(b"/")


def end_of(tail: bytes, size: int, *, padded: bool = False) -> int | None:
    """Return where in a file of ``size`` bytes, the last of which are ``tail``, the end record begins.

    None where no record reaches the end of the file exactly or, if it may be ``padded``, but for zeros, which bsdtar
    writes into a pipe.
    """
    at = tail.rfind(END)
    while at >= 0:
        if at + END_SIZE <= len(tail):
            end = at + END_SIZE + struct.unpack_from("<H", tail, at + 20)[0]
            if end == len(tail) or (padded and end < len(tail) and not tail[end:].strip(b"\0")):
                return size - len(tail) + at
        at = tail.rfind(END, 0, at)
    return None


def claims(tail: bytes, at: int) -> tuple[int, int]:
    """Return how many entries the end record at ``at`` claims, and of how many bytes; 0 where it contradicts itself."""
    disk, first_disk, here, entries, size = struct.unpack_from("<HHHHI", tail, at + 4)
    return (entries, size) if (disk, first_disk, here) == (0, 0, entries) else (0, 0)


def read_end(data: bytes, position: int, before: bytes) -> End:
    """Decode the end record ``data``, which is at ``position``; ``before`` are the bytes in front of it.

    ``before`` is as long as the 64-bit records are, or shorter where the file is. Raises `Malformed`.
    """
    disk, first_disk, here, entries, size, offset, _ = struct.unpack_from("<HHHHIIH", data, 4)
    if END in data[4:]:
        raise Malformed("it has two end records")
    if (disk, first_disk) != (0, 0) and (disk, first_disk) != (_NONE16, _NONE16):
        raise Malformed("it is one of several volumes")
    if before[-LOCATOR64_SIZE:][:4] != LOCATOR64:
        if _NONE16 in (disk, here, entries) or _NONE32 in (size, offset) or here != entries:
            raise Malformed("its end record contradicts itself")
        return End(entries, size, offset, position)
    record = before[-LOCATOR64_SIZE - END64_SIZE : -LOCATOR64_SIZE]
    locator_disk, at, disks = struct.unpack_from("<IQI", before[-LOCATOR64_SIZE:], 4)
    if len(record) < END64_SIZE or record[:4] != END64 or (locator_disk, disks) != (0, 1):
        raise Malformed("its 64-bit end record is not where it must be")
    length, _, _, disk64, first64, here64, entries64, size64, offset64 = struct.unpack_from("<QHHIIQQQQ", record, 4)
    if length != END64_SIZE - 12 or (disk64, first64) != (0, 0) or here64 != entries64:
        raise Malformed("its 64-bit end record contradicts itself")
    narrow = ((here, here64, _NONE16), (entries, entries64, _NONE16), (size, size64, _NONE32))
    if any(small not in (large, none) for small, large, none in (*narrow, (offset, offset64, _NONE32))):
        raise Malformed("its two end records differ")
    starts = position - LOCATOR64_SIZE - END64_SIZE
    if at != offset64 + size64:
        raise Malformed("its 64-bit end record is not where its locator says")
    return End(entries64, size64, offset64, starts)


def read_entry(data: bytes, at: int) -> tuple[Entry, int]:
    """Decode the file header at ``at`` in the central directory ``data``; return it and where the next begins."""
    if data[at : at + 4] != CENTRAL or at + CENTRAL_SIZE > len(data):
        raise Malformed("its central directory is damaged")
    made, _, flags, method, _, _, crc, compressed, size, named, extra, comment, disk, _, attributes, offset = (
        struct.unpack_from("<HHHHHHIIIHHHHHII", data, at + 4)
    )
    start = at + CENTRAL_SIZE
    end = start + named + extra + comment
    if end > len(data):
        raise Malformed("its central directory is damaged")
    name = data[start : start + named]
    fields = read_extra(data[start + named : start + named + extra], name)
    # The order of the 64-bit values is fixed (APPNOTE 4.5.3); each is there only where its own field is full.
    size, compressed, offset, disk = _wide(
        fields, ((size, _NONE32, 8), (compressed, _NONE32, 8), (offset, _NONE32, 8), (disk, _NONE16, 4))
    )
    if disk:
        raise Malformed("it is one of several volumes")
    # 3: Unix, 19: macOS (APPNOTE 4.4.2.2).
    mode = attributes >> 16 if made >> 8 in (3, 19) else 0
    return Entry(name, flags, method, crc, compressed, size, offset, mode), end


def read_extra(data: bytes, name: bytes) -> dict[int, bytes]:
    """Decode extra fields; of those that change what an entry is, none may be there twice or name something else."""
    fields: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(data):
        kind, length = struct.unpack_from("<HH", data, at)
        value = data[at + 4 : at + 4 + length]
        if len(value) < length:
            raise Malformed("an extra field is longer than the header says")
        if kind in fields and kind in (_ZIP64, _UNICODE_PATH):
            raise Malformed("an extra field is there twice")
        fields[kind] = value
        at += 4 + length
    # Some writers pad with up to three bytes (Android's zipalign does).
    if data[at:].strip(b"\0"):
        raise Malformed("its extra fields are damaged")
    path = fields.get(_UNICODE_PATH)
    if path is not None and (path[:5] != b"\1" + struct.pack("<I", zlib.crc32(name)) or path[5:] != name):
        raise Malformed("an extra field gives it another name")
    return fields


def _wide(fields: dict[int, bytes], values: tuple[tuple[int, int, int], ...]) -> list[int]:
    """Replace each value that is full by its 64-bit form. Raises `Malformed` where the two do not fit together."""
    wide = fields.get(_ZIP64, b"")
    needed = [width if value == none and _ZIP64 in fields else 0 for value, none, width in values]
    if sum(needed) != len(wide):
        raise Malformed("its 64-bit sizes do not fit its header")
    found, at = [], 0
    for (value, _, width), there in zip(values, needed, strict=True):
        found.append(int.from_bytes(wide[at : at + width], "little") if there else value)
        at += there
    return found


def check_local(header: bytes, entry: Entry) -> tuple[int, bool]:
    """Check the fixed part of a local header against the central directory.

    Returns the length of name and extra fields, and whether a descriptor follows the data. Raises `Malformed`.
    """
    if header[:4] != LOCAL or len(header) < LOCAL_SIZE:
        raise Malformed("no local header is where the central directory says")
    _, flags, method, _, _, _, _, _, named, extra = struct.unpack_from("<HHHHHIIIHH", header, 4)
    if method != entry.method or (flags ^ entry.flags) & _COMPARED or named != len(entry.name):
        raise Malformed("its local header and the central directory differ")
    return named + extra, bool(flags & DESCRIBED)


def check_local_sizes(header: bytes, rest: bytes, entry: Entry) -> int:
    """Check name, CRC and sizes of a local header; return how wide a descriptor's sizes are, in bytes."""
    crc, compressed, size, named, _ = struct.unpack_from("<IIIHH", header, 14)
    if rest[:named] != entry.name:
        raise Malformed("its local header and the central directory have different names")
    fields = read_extra(rest[named:], entry.name)
    size, compressed = _wide(fields, ((size, _NONE32, 8), (compressed, _NONE32, 8)))
    # Where a descriptor follows, the header may leave each of them 0 (APPNOTE 4.4.4).
    deferred = bool(entry.flags & DESCRIBED)
    told = ((crc, entry.crc), (compressed, entry.compressed), (size, entry.size))
    if any(local != central and not (deferred and local == 0) for local, central in told):
        raise Malformed("its local header and the central directory have different sizes or checksums")
    return 8 if _ZIP64 in fields else 4


def descriptors(entry: Entry, width: int) -> tuple[bytes, ...]:
    """Return the forms that the descriptor of ``entry`` may have: the signature is optional (APPNOTE 4.3.9.3)."""
    found = []
    # Go writes 64-bit sizes without a 64-bit field in the local header, where the sizes need them.
    needs = 8 if max(entry.size, entry.compressed) >= _NONE32 else width
    for wide in {needs, max(width, needs)}:
        sizes = entry.compressed.to_bytes(wide, "little") + entry.size.to_bytes(wide, "little")
        found += [DESCRIPTOR + struct.pack("<I", entry.crc) + sizes, struct.pack("<I", entry.crc) + sizes]
    return tuple(found)
