"""Tars on which unpackers may disagree: valid ones of each format, with the deviations that readers treat differently.

`make` returns the same bytes for the same seed. A part of them is what real tools wrote, with single header fields
changed and the checksum made right again.
"""

from __future__ import annotations

import io
import random
import struct
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fipsmanifest.archive.tar import is_header

from . import untar

BLOCK = 512
END = bytes(1024)
USTAR, GNU, V7 = b"ustar\x0000", b"ustar  \0", bytes(8)
_LONG = "long/" + "n" * 120

_NAMES = (
    "a",
    "b",
    "c",
    "d/a",
    "d/b",
    "d/e/f",
    "./a",
    "d//a",
    "a/",
    "d/",
    "d/e/",
    "",
    ".",
    "./",
    "/",
    "/a",
    "../a",
    "d/../a",
    "d",
    "e",
    "s/a",
    "s",
    "ü",
    "x" * 100,
    "y" * 99 + "/",
    "a\\b",
    "a b",
    ".wh.a",
    "d/.wh.b",
    "PaxHeaders/x",
    "p/a",
)
_TARGETS = ("a", "d/a", "d", "./a", "/a", "../a", "", "missing", "s/a", "t" * 100, "a/", "p/a")
_PREFIXES = (
    b"",
    b"",
    b"p",
    b"p/q",
    b"q" * 155,
    b"q" * 140,
    b"14000000000\0",
    b"14000000000\x0014000000000\0",
    b"\xff",
    b"/",
)
_MAGICS = (
    USTAR,
    USTAR,
    USTAR,
    GNU,
    GNU,
    V7,
    V7,
    b"ustar\0\0\0",
    b"ustar\0  ",
    b"ustar 00",
    b"ustar   ",
    b"ustar\0 \0",
    b"USTAR\x0000",
)
_TYPES = (
    (b"0",) * 12
    + (b"\0",) * 4
    + (
        b"5",
        b"5",
        b"1",
        b"1",
        b"2",
        b"2",
        b"7",
        b"3",
        b"4",
        b"6",
        b"S",
        b"D",
        b"V",
        b"X",
        b"A",
        b"M",
        b"N",
        b"Z",
        b" ",
        b"8",
    )
)


def field(value: int, width: int) -> bytes:
    """Return a number as most writers write it."""
    return b"%0*o\0" % (width - 1, value)


def header(
    name: bytes | str = b"a",
    *,
    size: int | bytes = 0,
    kind: bytes = b"0",
    magic: bytes = USTAR,
    target: bytes | str = b"",
    prefix: bytes = b"",
    mode: bytes = b"0000755\0",
    patches: Sequence[tuple[int, bytes]] = (),
    checksum: bytes | None = b"%06o\0 ",
) -> bytes:
    """Return a header block; ``patches`` are put over it, before the checksum is written as ``checksum`` says."""
    block = bytearray(BLOCK)
    _put(block, 0, _bytes(name)[:100])
    _put(block, 100, mode + b"0000000\0" * 2)
    _put(block, 124, size if isinstance(size, bytes) else field(size, 12))
    _put(block, 136, b"14371130000\0")
    _put(block, 156, kind)
    _put(block, 157, _bytes(target)[:100])
    _put(block, 257, magic)
    _put(block, 345, prefix)
    for at, data in patches:
        _put(block, at, data)
    return with_checksum(bytes(block), checksum)


def with_checksum(block: bytes, form: bytes | None = b"%06o\0 ") -> bytes:
    """Return a header with its checksum written in ``form``; None leaves the field alone."""
    if form is None:
        return block
    total = sum(block[:148]) + 8 * 32 + sum(block[156:])
    written = form % total
    return block[:148] + (written + bytes(8))[:8] + block[156:]


def padded(data: bytes) -> bytes:
    """Return the data up to the next whole block."""
    return data + bytes(-len(data) % BLOCK)


def record(key: bytes, value: bytes) -> bytes:
    """Return a pax record."""
    length = len(key) + len(value) + 3
    while len(b"%d" % length) + len(key) + len(value) + 3 != length:
        length = len(b"%d" % length) + len(key) + len(value) + 3
    return b"%d %s=%s\n" % (length, key, value)


def pax(*records: tuple[str, str | bytes], kind: bytes = b"x") -> bytes:
    """Return an extended header with these records."""
    return extended(kind, b"".join(record(key.encode(), _bytes(value)) for key, value in records))


def extended(kind: bytes, data: bytes) -> bytes:
    """Return an extended header of any kind with ``data`` behind it."""
    name = "././@LongLink" if kind in b"LK" else "PaxHeaders/x"
    return header(name, size=len(data), kind=kind, magic=GNU if kind in b"LK" else USTAR) + padded(data)


def long_name(name: str | bytes, kind: bytes = b"L") -> bytes:
    """Return GNU tar's header for a long name, or with ``K`` a long link."""
    return extended(kind, _bytes(name) + b"\0")


def member(name: str | bytes, data: bytes = b"", **fields: Any) -> bytes:
    """Return a member with its content."""
    return header(name, **{"size": len(data), **fields}) + padded(data)


def old_sparse(name: str, segments: Sequence[tuple[int, int]], real: int, data: bytes, **fields: Any) -> bytes:
    """Return a sparse file in GNU tar's old format."""
    entries = [field(offset, 12) + field(length, 12) for offset, length in segments]
    blocks = [b"".join(entries[start : start + 21]) for start in range(4, len(entries), 21)]
    patches = [(386, b"".join(entries[:4])), (482, b"\1" if blocks else b"\0"), (483, field(real, 12))]
    more = b"".join(
        block + bytes(504 - len(block)) + (b"\1" if block is not blocks[-1] else b"\0") + bytes(7) for block in blocks
    )
    return (
        header(name, **{"size": len(data), "kind": b"S", "magic": GNU, "patches": patches, **fields})
        + more
        + padded(data)
    )


def pax_sparse(name: str, segments: Sequence[tuple[int, int]], real: int, data: bytes, version: str) -> bytes:
    """Return a sparse file in one of the three forms of pax records."""
    numbers = [str(number) for segment in segments for number in segment]
    count = str(len(segments))
    stored = "GNUSparseFile.0/" + name
    if version == "1.0":
        table = padded("".join(f"{number}\n" for number in (count, *numbers)).encode())
        said = [("major", "1"), ("minor", "0"), ("name", name), ("realsize", str(real))]
        return pax(*((f"GNU.sparse.{key}", value) for key, value in said)) + member(stored, table + data)
    if version == "0.1":
        said = [("size", str(real)), ("numblocks", count), ("name", name), ("map", ",".join(numbers))]
        return pax(*((f"GNU.sparse.{key}", value) for key, value in said)) + member(stored, data)
    said = [("size", str(real)), ("numblocks", count)]
    for offset, length in segments:
        said += [("offset", str(offset)), ("numbytes", str(length))]
    return pax(*((f"GNU.sparse.{key}", value) for key, value in said)) + member(name, data)


@dataclass
class Maker:
    """Makes tars that begin from ``real`` ones or from nothing."""

    real: list[bytes]

    def make(self, seed: str) -> bytes:
        """Return the tar of this seed."""
        numbers = random.Random(seed)
        if numbers.random() < 0.3:
            return _changed(numbers, numbers.choice(self.real))
        count = numbers.choice((1, 2, 2, 3, 4))
        odd = range(count) if numbers.random() < 0.2 else (numbers.randrange(count),)
        entries = [_entry(numbers) if number in odd else _usual(numbers) for number in range(count)]
        data = b"".join(entries) + _end(numbers)
        return _changed(numbers, data) if numbers.random() < 0.15 else data


def real_tars(scratch: Path) -> list[bytes]:
    """Return tars as GNU tar, libarchive, cpio, Go and Python write them, in each of their formats."""
    tree = scratch / "tree"
    (tree / "d/e").mkdir(parents=True)
    (tree / "a").write_bytes(b"first")
    (tree / "d/b").write_bytes(b"second" * 300)
    (tree / "d/e/f").touch()
    (tree / "link").hardlink_to(tree / "d/b")
    (tree / "s").symlink_to("d")
    (tree / "long").mkdir()
    (tree / _LONG).write_bytes(b"third")
    (tree / "t").symlink_to("u" * 120)
    with (tree / "holes").open("wb") as file:
        for at in (4096, 65536, 262144):
            file.seek(at)
            file.write(b"data" * 1024)
        file.truncate(400_000)
    found = []
    for form in ("gnu", "oldgnu", "pax", "ustar", "v7"):
        skip = ["--exclude=n*", "--exclude=t"] if form in ("v7", "ustar") else []
        found.append(_run(["tar", f"--format={form}", "-cf", "-", *skip, "."], tree))
        if form not in ("ustar", "v7"):
            found.append(_run(["tar", f"--format={form}", "-Scf", "-", "."], tree))
            found.append(_run(["tar", f"--format={form}", "-cf", "-", "-g", str(scratch / f"list-{form}"), "."], tree))
    for version in ("0.0", "0.1", "1.0"):
        found.append(_run(["tar", "--format=pax", f"--sparse-version={version}", "-Scf", "-", "holes", "a"], tree))
    for form in ("gnutar", "pax", "ustar", "v7"):
        found.append(_run(["bsdtar", f"--format={form}", "-cf", "-", "a", "d", "link", "s", "holes"], tree))
    for form in ("ustar", "tar"):
        command = ["cpio", "-o", "-H", form, "--quiet"]
        names = b"a\nd\nlink\nd/b\ns\n"
        found.append(subprocess.run(command, cwd=tree, input=names, capture_output=True, check=True).stdout)
    found += [untar.written_by_go(form) for form in ("ustar", "pax", "gnu")]
    found.append(_run(["tar", "--format=pax", "-V", "label", "-cf", "-", "a"], tree))
    (tree / ("holes" * 30)).hardlink_to(tree / "holes")
    found.append(_run(["bsdtar", "--format=pax", "--read-sparse", "-cf", "-", "holes" * 30], tree))
    for library_form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=library_form) as tar:
            for name in ("a", "d", "link", "s"):
                tar.add(tree / name, name)
        found.append(buffer.getvalue())
    return found


def _run(command: list[str], directory: Path) -> bytes:
    return subprocess.run(command, cwd=directory, capture_output=True, check=True).stdout


def _changed(numbers: random.Random, data: bytes) -> bytes:
    """Return the tar with one to three changes in its headers, checksums made right, or in extended headers' data."""
    changed = bytearray(data)
    headers = [at for at in range(0, len(data), BLOCK) if is_header(data[at : at + BLOCK])]
    for _ in range(numbers.choice((1, 1, 2, 3))):
        if not headers:
            break
        at = numbers.choice(headers)
        if numbers.random() < 0.25 and chr(data[at + 156]) in "xgLKS":
            where = at + BLOCK + numbers.randrange(min(BLOCK, len(data) - at - BLOCK) or 1)
            if where < len(changed):
                changed[where] = numbers.choice(b"0123456789 =\n\0abx/")
            continue
        start, length = numbers.choice(_FIELDS)
        where = at + start + numbers.randrange(length)
        value = numbers.choice(
            (
                bytes([numbers.randrange(256)]),
                b"\0",
                b"0",
                b"7",
                b" ",
                b"/",
                b"\x80",
                numbers.choice(_TYPES),
                b"ustar ",
                b"00000000000\0",
            )
        )
        if start == 156:
            value = numbers.choice((*_TYPES, b"x", b"g", b"L", b"K"))
        end = min(where + len(value), at + BLOCK, len(changed))
        changed[where:end] = value[: end - where]
        changed[at : at + BLOCK] = with_checksum(bytes(changed[at : at + BLOCK]))
    return bytes(changed)


_FIELDS = (
    (0, 100),
    (0, 3),
    (100, 8),
    (108, 8),
    (124, 12),
    (124, 12),
    (136, 12),
    (156, 1),
    (156, 1),
    (156, 1),
    (157, 100),
    (157, 2),
    (257, 8),
    (257, 8),
    (345, 1),
    (345, 24),
    (345, 155),
    (386, 96),
    (386, 24),
    (482, 1),
    (483, 12),
    (500, 12),
    (265, 64),
    (329, 16),
)


def _usual(numbers: random.Random) -> bytes:
    """Return a member as every writer may write it."""
    magic = numbers.choice((USTAR, GNU, V7))
    name, data = numbers.choice(_USUAL_NAMES), numbers.randbytes(numbers.choice((0, 5, 511, 512, 513, 1300)))
    chance = numbers.random()
    if chance < 0.2:
        return long_name(f"{name}/" + "n" * 120) + member("n" * 100, data, magic=GNU)
    if chance < 0.4:
        records: list[tuple[str, str | bytes]] = [
            ("path", f"{name}/ü"),
            ("mtime", "1.5"),
            ("size", str(len(data))),
            ("SCHILY.xattr.user.x", b"\0"),
        ]
        return pax(*numbers.sample(records, 3)) + member(name, data)
    if chance < 0.5:
        return header("s", kind=b"2", target="d", magic=magic) + header("d/", kind=b"5", magic=magic)
    if chance < 0.6:
        return member(name, data, magic=magic) + header(f"{name}.link", kind=b"1", target=name, magic=magic)
    return member(name, data, magic=magic)


_USUAL_NAMES = ("a", "b", "d/a", "d/e/f", "./a", "g")


def _entry(numbers: random.Random) -> bytes:
    chance = numbers.random()
    if chance < 0.15:
        return _sparse(numbers)
    # Each deviation by itself is what readers are tried with; a tar that has them all is refused for the first.
    before = b"".join(_extended(numbers) for _ in range(numbers.choice((0, 0, 0, 0, 1, 1, 2, 3))))
    kind = numbers.choice(_TYPES) if numbers.random() < 0.5 else b"0"
    magic = numbers.choice(_MAGICS) if numbers.random() < 0.4 else numbers.choice((USTAR, GNU, V7))
    name = numbers.choice(_NAMES) if numbers.random() < 0.4 else numbers.choice(_USUAL_NAMES)
    data = b""
    if kind in b"\x0007SDXAMNZ 8" or numbers.random() < 0.1:
        data = numbers.randbytes(numbers.choice((0, 5, 511, 512, 513, 1300)))
    fields: dict[str, Any] = {"kind": kind, "magic": magic}
    if kind in b"12" or numbers.random() < 0.1:
        fields["target"] = numbers.choice(_TARGETS)
    if numbers.random() < 0.3:
        fields["prefix"] = numbers.choice(_PREFIXES)
    if numbers.random() < 0.15:
        fields["size"] = _odd_size(numbers, len(data))
    if numbers.random() < 0.1:
        fields["checksum"] = numbers.choice(
            (b"%06o\0 ", b"%07o\0", b" %06o ", b"  %06o", b"\0%06o\0", b"%06o \0", b"%06o\0x", b"%08o")
        )
    patches: list[tuple[int, bytes]] = []
    if numbers.random() < 0.1:
        patches.append((508, b"tar\0"))
    if numbers.random() < 0.06:
        patches += [(475, b"\0"), (476, b"14371130000 14371130000 ")]
    if numbers.random() < 0.1:
        patches.append(
            (numbers.choice((386, 398, 482, 483, 369, 381)), numbers.choice((b"1", b"00000000000\0", b"00000001000\0")))
        )
    if numbers.random() < 0.1:
        patches.append(
            (
                numbers.choice((100, 108, 116, 136, 329, 337)),
                numbers.choice(
                    (b"\0" * 8, b" " * 8, b"\x80\0\0\0\0\0\1\1", b"\xff" * 8, b"00 000\0 ", b"8888888\0", b"0000644 ")
                ),
            )
        )
    fields["patches"] = patches
    return before + header(name, **{"size": len(data), **fields}) + padded(data)


def _odd_size(numbers: random.Random, size: int) -> bytes:
    return numbers.choice(
        (
            b"%12o" % size,
            b"%011o " % size,
            b"%012o" % size,
            b"%o\0" % size,
            b"\0%010o\0" % size,
            b"%010o \0" % size,
            b"\x80" + bytes(3) + struct.pack(">Q", size),
            b"\xff" * 12,
            b"\x81" + bytes(3) + struct.pack(">Q", size),
            b"\xc0" + bytes(3) + struct.pack(">Q", size),
            b"-%010o\0" % size,
            b"%09o\0x\0" % size,
            b" " * 12,
            b"\0" * 12,
            b"%08o 123" % size,
            b"\x80" + b"\xff" * 11,
            b"\t%010o\0" % size,
            b"+%09o\0\0" % size,
            b"777777777777",
        )
    )


def _extended(numbers: random.Random) -> bytes:
    kind = numbers.choice((b"L", b"K", b"x", b"x", b"x", b"x", b"g", b"V"))
    if kind == b"V":
        return header("label", kind=b"V", magic=GNU)
    if kind in b"LK":
        name = numbers.choice(_NAMES).encode()
        return extended(
            kind, numbers.choice((name + b"\0", name + b"\0", name, name + b"\0junk", b"\0", b"", b"z" * 140 + b"\0"))
        )
    return extended(
        kind,
        b"".join(_record(numbers) for _ in range(numbers.choice((0, 1, 1, 2, 3))))
        + numbers.choice((b"",) * 9 + (b"\0",)),
    )


def _record(numbers: random.Random) -> bytes:
    key = numbers.choice(_KEYS)
    value: bytes
    if "path" in key or key.endswith("name"):
        value = numbers.choice(_NAMES).encode()
    elif key == "hdrcharset":
        value = numbers.choice((b"BINARY", b"ISO-IR 10646 2000 UTF-8", b"ISO-8859-1"))
    elif key == "GNU.sparse.map":
        value = numbers.choice((b"0,512", b"0,512,1024,5", b"0,5,", b"0,0"))
    else:
        value = numbers.choice(
            (b"0", b"5", b"512", b"1300", b"05", b"+5", b"-5", b"5 ", b" 5", b"0x5", b"1.5", b"99999999999999999999")
        )
    chance = numbers.random()
    if chance < 0.05:
        value = b""
    elif chance < 0.1:
        value += b"\0" + value
    written = record(key.encode(), value)
    if numbers.random() < 0.1:
        space = written.index(b" ")
        written = numbers.choice(
            (
                written[:-1] + b"x",
                b" " + written,
                b"0" + written,
                written[:space] + b" " + written[space:],
                written[:-1],
                written.replace(b" ", b"\t", 1),
                written.replace(b"=", b"", 1),
                b"3 a\n",
                b"4 =\n",
                written + b"\n",
            )
        )
    return written


_KEYS = (
    "path",
    "path",
    "path",
    "linkpath",
    "size",
    "size",
    "mtime",
    "comment",
    "uid",
    "hdrcharset",
    "SCHILY.xattr.user.x",
    "SCHILY.realsize",
    "SUN.holesdata",
    "LIBARCHIVE.xattr.user.y",
    "GNU.sparse.name",
    "GNU.sparse.major",
    "GNU.sparse.minor",
    "GNU.sparse.realsize",
    "GNU.sparse.size",
    "GNU.sparse.numblocks",
    "GNU.sparse.map",
    "GNU.sparse.offset",
    "GNU.sparse.numbytes",
    "GNU.volume.size",
    "GNU.volume.offset",
    "GNU.dumpdir",
    "SCHILY.filetype",
    "charset",
    "Path",
    "path ",
)


def _sparse(numbers: random.Random) -> bytes:
    odd = numbers.random() < 0.3
    segments: list[tuple[int, int]] = []
    at = 0
    for _ in range(numbers.choice((0, 1, 2, 3, 5, 30))):
        at += numbers.choice((0, 512, 1024, 7) if odd else (512, 1024, 700))
        length = numbers.choice((512, 512, 512, 1024, 3, 0) if odd else (512, 1024))
        segments.append((at, length))
        at += length
    if numbers.random() < 0.3:
        segments.append((at, numbers.choice((5, 100))))
        at += segments[-1][1]
    real = at
    if numbers.random() < 0.5 or not segments:
        real += numbers.choice((512, 1000))
        segments.append((real, 0))
    stored = sum(length for _, length in segments)
    if odd:
        real += numbers.choice((0, 0, 0, -1, 1, 512))
        stored = max(0, stored + numbers.choice((0, 0, 0, -1, 1, 512)))
    data = numbers.randbytes(stored)
    name = numbers.choice(("a", "b", "d/a", "holes", "n" * 90))
    form = numbers.choice(("old", "old", "0.0", "0.1", "1.0", "1.0"))
    if form == "old":
        fields: dict[str, Any] = {"magic": numbers.choice((GNU,) * 8 + (USTAR, V7))}
        return old_sparse(name, segments, max(real, 0), data, **fields)
    return pax_sparse(name, segments, real, data, form)


def _end(numbers: random.Random) -> bytes:
    if numbers.random() < 0.8:
        return END
    return numbers.choice(
        (
            bytes(10240),
            b"",
            bytes(512),
            bytes(512) + member("z", b"z"),
            END + member("z", b"z") + END,
            END + b"junk",
            b"junk" * 128 + END,
            bytes(100),
            bytes(512) + b"junk" * 128,
        )
    )


def _put(block: bytearray, at: int, data: bytes) -> None:
    end = min(at + len(data), BLOCK)
    block[at:end] = data[: end - at]


def _bytes(text: bytes | str) -> bytes:
    return text if isinstance(text, bytes) else text.encode()
