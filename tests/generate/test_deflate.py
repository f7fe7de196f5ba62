"""The compression of the node tool: zlib and the usual readers of zip archives read it, and its bytes are fixed."""

from __future__ import annotations

import io
import random
import subprocess
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fipsmanifest.generate.deflate import deflate
from fipsmanifest.generate.zip_writer import Entry, append_zip


def inflated(data: bytes) -> bytes:
    """Return what zlib makes of a raw deflate stream, which must end with its last byte."""
    stream = zlib.decompressobj(-15)
    content = stream.decompress(data) + stream.flush()
    assert stream.eof
    assert not stream.unused_data
    return content


def by_zlib(data: bytes) -> bytes:
    """Return the stream of zlib's fastest level, which takes a match wherever there is one, with the fixed codes."""
    packer = zlib.compressobj(1, zlib.DEFLATED, -15, 9, zlib.Z_FIXED)
    return packer.compress(data) + packer.flush()


#: Parts are repeated at distances up to the window and beyond, with lengths up to the longest and beyond.
PARTS = st.tuples(st.binary(max_size=20), st.integers(1, 600), st.integers(0, 40_000))


@given(st.lists(PARTS, max_size=8), st.randoms(use_true_random=False))
def test_zlib_gives_back_what_was_packed(parts: list[tuple[bytes, int, int]], numbers: random.Random) -> None:
    content = b""
    for new, length, distance in parts:
        content += new + numbers.randbytes(distance // 50)
        start = max(len(content) - distance, 0)
        content += content[start : start + length]

    assert inflated(deflate(content)) == content


@pytest.mark.parametrize("distance", [1, 2, 4, 5, 6, 7, 24, 25, 8192, 8193, 24_576, 24_577, 32_767, 32_768, 32_769])
def test_each_length_and_distance_is_read_by_zlib(distance: int) -> None:
    numbers = random.Random(distance)
    content = numbers.randbytes(distance)
    for length in (*range(1, 20), 66, 67, 257, 258, 259, 260, 261, 262, 600):
        start = len(content) - distance
        content += (content[start:] * (length // distance + 1))[:length] + numbers.randbytes(3)

    assert inflated(deflate(content)) == content


# By hand, from the tables of RFC 1951; zlib agrees.
@pytest.mark.parametrize(
    ("content", "packed"),
    [
        (b"", "0300"),
        (b"a", "4b0400"),
        (b"\x8f\x90\xff", "eb9ff01f00"),
        (b"x" + b"a" * 10, "ab48840300"),
        # The longest length has a code of its own.
        (b"x" + b"a" * 259, "ab481c0500"),
    ],
)
def test_the_fixed_codes_are_those_of_the_specification(content: bytes, packed: str) -> None:
    assert deflate(content).hex() == packed
    assert by_zlib(content).hex() == packed


def test_it_packs_source_no_worse_than_zlib_does_in_the_same_way() -> None:
    source = Path(zipfile.__file__).read_bytes()
    packer = zlib.compressobj(1, zlib.DEFLATED, -15, 9)

    assert len(deflate(source)) <= len(packer.compress(source) + packer.flush()) < len(by_zlib(source))


def test_codes_are_no_longer_than_the_format_allows() -> None:
    # Such counts (Fibonacci's) make one code longer with each symbol.
    counts = [1, 1]
    while len(counts) < 22:
        counts.append(counts[-1] + counts[-2])
    content = [number for number, count in enumerate(counts) for _ in range(count)]
    random.Random(1).shuffle(content)

    assert inflated(deflate(bytes(content))) == bytes(content)


def test_an_archive_of_stored_files_is_byte_for_byte_what_the_standard_library_writes() -> None:
    files = {"a": b"1" * 1000, "b/c.py": b"", "b/d.py": b"2"}
    expected = io.BytesIO(b"#!/bin/sh\n")
    with zipfile.ZipFile(expected, "a") as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, content)

    entries = [Entry(name, content, compressed=False) for name, content in files.items()]

    assert append_zip(b"#!/bin/sh\n", entries) == expected.getvalue()


@pytest.mark.parametrize("reader", [["unzip", "-p"], ["bsdtar", "-xOf"]], ids=lambda reader: reader[0])
def test_other_readers_of_archives_give_back_the_files(reader: list[str], tmp_path: Path) -> None:
    source = Path(zipfile.__file__).read_bytes()
    (tmp_path / "packed").write_bytes(append_zip(b"#!/bin/sh\nexit\n", [Entry("a.py", source), Entry("b.py", b"b")]))

    read = [
        subprocess.run([*reader, tmp_path / "packed", name], capture_output=True, check=True)
        for name in ("a.py", "b.py")
    ]

    assert [one.stdout for one in read] == [source, b"b"]
    assert [one.stderr for one in read] == [b"", b""]
