"""Containers changed at random, read by this package and by its peers: whatever a peer unpacks must have been judged.

``python -m tests.fuzz.differential FORMAT SEED SECONDS`` prints counts as JSON and ends with 1 at the first difference,
which it describes. The inputs follow from the seed alone.
"""

from __future__ import annotations

import bz2
import functools
import gzip
import io
import json
import lzma
import os
import random
import stat
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import zstandard

from fipsmanifest.archive import ar, cpio, cpioarchive, rpm
from fipsmanifest.archive import zip as zips
from fipsmanifest.archive.decompress import reader
from fipsmanifest.archive.limits import Limits
from fipsmanifest.archive.member import Item, Member
from fipsmanifest.errors import FipsManifestError
from tests.support import upstream
from tests.support.zips import Archive, Part

from . import peers
from .mutate import mutated
from .peers import Found

_LIMITS = Limits(members=2000, expanded=64 << 20)

_Make = Callable[[random.Random], bytes]
_Peer = Callable[[bytes], Found]


def judged(items: Callable[[], Sequence[Item]]) -> Found | None:
    """Return what this package would judge; None where it refuses or leaves something out, so that nothing passes."""
    found: Found = set()
    links: dict[str, str] = {}
    try:
        for item in items():
            if not isinstance(item, Member):
                if type(item).__name__ in ("Unread", "Rejected"):
                    return None
                continue
            if item.type == "file" and item.content is not None:
                content = b""
                while part := item.content.read(1 << 20):
                    content += part
                links[item.path] = peers.digest(content)
                found.add((item.path, links[item.path]))
            elif item.type == "symlink":
                # If a reader makes a file of it, that has the target as content.
                found.add((item.path, peers.digest(os.fsencode(item.target or ""))))
            elif item.type == "hardlink":
                found.add((item.path, links.get(item.target or "", "")))
    except FipsManifestError:
        return None
    return found


def _zip_case(numbers: random.Random) -> bytes:
    names = [b"a", b"b", b"usr/bin/c", b"d/", b"A", b"a/b", b"./a", b"link"]
    parts = []
    for _ in range(numbers.choice((1, 1, 2, 3))):
        part = Part(numbers.choice(names), numbers.choice((b"", b"one", b"two" * 50, b"PK\7\x08" + bytes(16))))
        part.method = numbers.choice((0, 8, 8, 8))
        part.flags = numbers.choice((0, 0, 8, 0x800, 0x808))
        part.mode = numbers.choice((0o100755, 0o100644, 0, 0o120777, 0o40755))
        if part.name.endswith(b"/"):
            part.content, part.method = b"", 0
        parts.append(part)
    archive = Archive(parts, zip64=numbers.random() < 0.2)
    for _ in range(numbers.choice((0, 0, 1, 1, 1, 2))):
        numbers.choice(_ZIP_CHANGES)(numbers, archive)
    data = archive.build()
    return mutated(data, str(numbers.random())) if numbers.random() < 0.3 else data


def _change_field(numbers: random.Random, archive: Archive) -> None:
    part = numbers.choice(archive.parts)
    fields = numbers.choice((part.local, part.central))
    both = numbers.random() < 0.3
    name = numbers.choice(("name", "flags", "method", "crc", "compressed", "size", "offset", "made", "extra"))
    if name == "name":
        value: int | bytes = numbers.choice((b"a", b"z", b"a\0", b"a/", b"..", b"/a", b"a\\b", b"\xff", b""))
    elif name == "extra":
        size = numbers.choice((0, 1, 7, 300))
        value = numbers.choice(
            (
                struct.pack("<HHQ", 1, 8, size),
                struct.pack("<HHQQ", 1, 16, size, size),
                struct.pack("<HHBI", 0x7075, 6, 1, zlib.crc32(part.name)) + b"q",
                struct.pack("<HHBI", 0x7075, 5 + len(part.name), 1, zlib.crc32(part.name)) + part.name,
                bytes(3),
                b"\xfe\xca\0\0",
            )
        )
    else:
        value = numbers.choice((0, 1, 3, 8, 9, 0xFFFF, 3 << 8, 0xFFFFFFFF, len(part.content)))
        value &= 0xFFFF if name in ("flags", "method", "made") else 0xFFFFFFFF
    for one in (part.local, part.central) if both else (fields,):
        one[name] = value


def _change_around(numbers: random.Random, archive: Archive) -> None:
    other = Archive([Part(b"hidden", b"hidden")]).build()
    junk = numbers.choice(
        (b"x", bytes(4), b"PK\3\4", b"PK\5\6" + bytes(18), other, other + b"x", b"\x7fELF" + bytes(60))
    )
    match numbers.randrange(8):
        case 0:
            archive.prefix, archive.relative = junk, numbers.random() < 0.5
        case 1:
            archive.gap = junk
        case 2:
            archive.comment = junk
        case 3:
            archive.trailing = junk
        case 4:
            archive.behind_directory = junk
        case 5:
            numbers.choice(archive.parts).before = junk
        case 6:
            numbers.choice(archive.parts).listed = False
        case _:
            numbers.choice(archive.parts).descriptor = numbers.choice((b"", junk))


def _change_end(numbers: random.Random, archive: Archive) -> None:
    fields = numbers.choice((archive.end, archive.end64))
    name = numbers.choice(("here", "entries", "size", "offset", "disk"))
    fields[name] = numbers.choice((0, 1, 2, 22, 46, 0xFFFF))


_ZIP_CHANGES = (_change_field, _change_field, _change_around, _change_end)


@functools.cache
def _cpio_seeds() -> tuple[bytes, ...]:
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        (root / "usr").mkdir()
        (root / "usr/kubelet").write_bytes(b"\x7fELF" * 30)
        os.link(root / "usr/kubelet", root / "usr/again")
        (root / "usr/link").symlink_to("kubelet")
        names = b"usr\nusr/kubelet\nusr/again\nusr/link\n"
        return tuple(
            subprocess.run(
                ["cpio", "-o", "-H", form, "--quiet"], cwd=root, input=names, capture_output=True, check=True
            ).stdout
            for form in ("newc", "crc", "odc", "bin")
        )


def _newc(name: bytes, content: bytes, numbers: random.Random) -> bytes:
    mode = numbers.choice((0o100755, 0o100755, 0o100644, 0o40755, 0o120777, 0o10644, 0o755))
    links = numbers.choice((1, 1, 1, 2, 3))
    inode = numbers.choice((1, 2, 3))
    if stat.S_ISDIR(mode):
        content = b""
    fields = (inode, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0, len(name) + 1, sum(content))
    magic = numbers.choice((b"070701", b"070701", b"070701", b"070702"))
    out = magic + b"".join(b"%08x" % value for value in fields) + name + b"\0"
    out += bytes(-len(out) % 4)
    return out + content + bytes(-len(content) % 4)


def _cpio_case(numbers: random.Random) -> bytes:
    if numbers.random() < 0.5:
        return mutated(numbers.choice(_cpio_seeds()), str(numbers.random()))
    names = (b"a", b"b", b"./a", b"a/b", b"usr//c", b"TRAILER!!!", b"", b".", b"/abs", b"x\xff")
    contents = (b"", b"one", b"two two", b"target", b"x" * 600)
    parts = [_newc(numbers.choice(names), numbers.choice(contents), numbers) for _ in range(numbers.randrange(1, 6))]
    end = b"070701" + b"0" * 8 * 4 + b"00000001" + b"0" * 8 * 6 + b"0000000b" + b"0" * 8 + b"TRAILER!!!\0\0\0\0"
    data = b"".join(parts) + numbers.choice((end, end, end + bytes(400), b"", end + parts[0] + end, end + b"junk"))
    return data if numbers.random() < 0.7 else mutated(data, str(numbers.random()))


@functools.cache
def _rpm_seeds() -> tuple[bytes, ...]:
    with tempfile.TemporaryDirectory() as scratch:
        made = [
            upstream.nfpm(Path(scratch, form), contents=b"\x7fELF" * 30, compression=form).read_bytes()
            for form in ("gzip", "zstd")
        ]
        # Uncompressed, so that changes reach the payload.
        return (*made, *[upstream.rpmbuild(Path(scratch, "plain"), "w.ufdio").read_bytes()] * 4)


def _rpm_case(numbers: random.Random) -> bytes:
    return mutated(numbers.choice(_rpm_seeds()), str(numbers.random()))


def _ar_case(numbers: random.Random) -> bytes:
    names = (b"a/", b"b/", b"debian-binary", b"/", b"//", b"/0", b"#1/4", b"c", b"__.SYMDEF", b"d/e/")
    out = b"!<arch>\n"
    for _ in range(numbers.randrange(1, 5)):
        name, content = numbers.choice(names), numbers.choice((b"", b"one", b"two two ", b"long name/\nother/\n"))
        out += name.ljust(16) + b"0".ljust(32)[:24] + b"100644  " + str(len(content)).encode().ljust(10) + b"`\n"
        out += content + (b"\n" if len(content) % 2 else b"")
    return out if numbers.random() < 0.6 else mutated(out, str(numbers.random()))


def _stream_case(compress: Callable[[bytes], bytes]) -> _Make:
    def make(numbers: random.Random) -> bytes:
        junk = (b"", b"", b"\0", bytes(4), bytes(512), b"x", b"\x50\x2a\x4d\x18\x02\0\0\0ab", compress(b"")[:4])
        parts = []
        for _ in range(numbers.choice((1, 1, 2, 3))):
            parts += [compress(numbers.choice((b"", b"one", b"two" * 500))), numbers.choice(junk)]
        if numbers.random() < 0.2:
            parts.insert(0, b"\x50\x2a\x4d\x18\x02\0\0\0ab")
        data = b"".join(parts)
        return data if numbers.random() < 0.6 else mutated(data, str(numbers.random()))

    return make


def _read_zip(data: bytes) -> Found | None:
    return judged(lambda: zips.read_members(io.BytesIO(data), "fuzz", _LIMITS))  # type: ignore[arg-type,return-value]


def _read_cpio(data: bytes) -> Found | None:
    if not cpio.is_archive(data[: cpio.HEAD]):
        return None
    return judged(lambda: cpioarchive.read_members(io.BytesIO(data), "fuzz", _LIMITS))  # type: ignore[arg-type,return-value]


def _read_rpm(data: bytes) -> Found | None:
    return judged(lambda: rpm.read_members(io.BytesIO(data), "fuzz", _LIMITS))  # type: ignore[arg-type,return-value]


def _read_ar(data: bytes) -> Found | None:
    return judged(lambda: ar.read_members(io.BytesIO(data), "fuzz", _LIMITS))  # type: ignore[arg-type,return-value]


def _read_stream(data: bytes) -> Found | None:
    try:
        stream = reader(io.BytesIO(data), limit=_LIMITS.expanded, name="fuzz")
        return {("", peers.digest(stream.read()))} if stream.compression != "none" else None
    except FipsManifestError:
        return None


def _go(program: Path, form: str, running: ExitStack) -> _Peer:
    readers = peers.GoReaders(program)
    running.callback(readers.close)
    return lambda data: readers.read(form, data)


def formats(running: ExitStack) -> Mapping[str, tuple[_Make, Callable[[bytes], Found | None], dict[str, _Peer]]]:
    """Return each format's maker of inputs, this package's reader, and its peers, which ``running`` ends."""
    program = peers.build()
    bsdtar = peers.unpacked(["bsdtar", "-xf"], ".archive")
    piped = peers.unpacked(["bsdtar", "-xf", "-"], ".archive", by_pipe=True)
    cpio_tool = peers.unpacked(["cpio", "-idu", "--quiet", "--no-absolute-filenames"], ".cpio", by_pipe=True)
    converted = peers.unpacked(["sh", "-c", 'rpm2cpio "$1" | cpio -idu --quiet --no-absolute-filenames', "sh"], ".rpm")
    unzip = peers.unpacked(["unzip", "-qqo"], ".zip")
    return {
        "zip": (
            _zip_case,
            _read_zip,
            {
                "Python": peers.python_zip,
                "Go": _go(program, "zip", running),
                "unzip": unzip,
                "bsdtar": bsdtar,
                "bsdtar by pipe": piped,
            },
        ),
        "cpio": (_cpio_case, _read_cpio, {"cpio": cpio_tool, "bsdtar": bsdtar}),
        "rpm": (_rpm_case, _read_rpm, {"rpm2cpio and cpio": converted, "bsdtar": bsdtar}),
        "ar": (_ar_case, _read_ar, {"ar": peers.unpacked(["ar", "x"], ".a"), "bsdtar": bsdtar}),
        "gzip": (
            _stream_case(lambda data: gzip.compress(data, mtime=0)),
            _read_stream,
            {"gzip": peers.expanded(["gzip", "-dc"]), "Go": _go(program, "gzip", running)},
        ),
        "bzip2": (
            _stream_case(bz2.compress),
            _read_stream,
            {"bzip2": peers.expanded(["bzip2", "-dc"]), "Go": _go(program, "bzip2", running)},
        ),
        "xz": (_stream_case(lzma.compress), _read_stream, {"xz": peers.expanded(["xz", "-dc"])}),
        "zstd": (_stream_case(zstandard.compress), _read_stream, {"zstd": peers.expanded(["zstd", "-dcq"])}),
    }


def main(form: str, seed: str, seconds: float) -> int:
    """Run, and return the exit code."""
    with ExitStack() as running:
        make, ours, others = formats(running)[form]
        counts = {"format": form, "seed": seed, "inputs": 0, "accepted": 0, "compared": 0}
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            case = f"{seed}:{counts['inputs']}"
            data = make(random.Random(case))
            counts["inputs"] += 1  # type: ignore[operator]
            found = ours(data)
            if found is None:
                continue
            counts["accepted"] += 1  # type: ignore[operator]
            for name, peer in others.items():
                counts["compared"] += 1  # type: ignore[operator]
                if more := _extra(peer(data), found):
                    sys.stdout.write(f"difference in {form}, case {case}: {name} finds {more}, we {found}\n{data!r}\n")
                    return 1
    sys.stdout.write(json.dumps(counts) + "\n")
    return 0


#: SHA-256 of nothing: a peer that gives up in the middle leaves an empty file behind.
_EMPTY = peers.digest(b"")


def _extra(theirs: Found, ours: Found) -> Found:
    """Return what a peer finds that was not judged under that name; beginnings of what it gives up are empty files.

    Readers guess the encoding of a name, so for names beyond ASCII only the content is compared.
    """
    contents = {content for _, content in ours}
    more = {entry for entry in theirs - ours if entry[1] != _EMPTY}
    return {(name, content) for name, content in more if name.isascii() or content not in contents}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
