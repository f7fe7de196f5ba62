"""Streams of every compression in use, whole, joined, cut, damaged and hostile; the stock tools make them."""

import bz2
import gzip
import hashlib
import io
import lzma
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from fipsmanifest.archive import decompress
from fipsmanifest.archive.decompress import TooDemanding, compression_of, reader
from fipsmanifest.errors import Incomplete, Refused

PLAIN = b"".join(hashlib.sha256(str(number).encode()).digest() + bytes(200) for number in range(12_000))
COMPRESSORS = {
    "gzip": ["gzip", "-c"],
    "xz": ["xz", "-c", "-1"],
    "xz in blocks": ["xz", "-c", "-1", "--block-size=300KiB"],
    "bzip2": ["bzip2", "-c"],
    "lzma": ["xz", "-c", "-1", "--format=lzma"],
    "zstd": ["zstd", "-q", "-c"],
    "zstd without checksum": ["zstd", "-q", "-c", "--no-check"],
    "zstd with the longest window": ["zstd", "-q", "-c", "--long=27"],
}


def compress(command: list[str], data: bytes = PLAIN) -> bytes:
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout


@pytest.fixture(scope="module", params=COMPRESSORS)
def compressed(request: pytest.FixtureRequest) -> tuple[str, bytes]:
    return request.param.split()[0], compress(COMPRESSORS[request.param])


def test_gives_what_was_compressed(compressed: tuple[str, bytes]) -> None:
    kind, data = compressed
    stream = reader(io.BytesIO(data), limit=1 << 30, name="some.tar")
    read = b""
    while part := stream.read(100_000):
        assert len(part) == 100_000 or len(read) + len(part) == len(PLAIN)
        read += part
    assert read == PLAIN
    assert stream.compression == kind
    assert stream.position == len(PLAIN)


def test_reads_on_through_joined_streams_and_padding(compressed: tuple[str, bytes]) -> None:
    kind, data = compressed
    if kind == "lzma":
        # There is one stream in such a file; the tools refuse a second one, and padding.
        for behind in (data, bytes(512)):
            with pytest.raises(Refused, match="something follows its end"):
                reader(io.BytesIO(data + behind), limit=1 << 30, name="some.tar").read()
        return
    padding = b"" if kind == "zstd" else bytes(512)
    between = bytes(512) if kind == "xz" else b""
    stream = reader(io.BytesIO(data + between + data + padding), limit=1 << 30, name="some.tar")
    assert stream.read() == PLAIN + PLAIN


@pytest.mark.parametrize(("tool", "joined"), [("gzip", gzip.compress), ("bzip2", bz2.compress)])
def test_a_member_behind_padding_is_refused_because_the_tool_does_not_read_it(
    tool: str, joined: Callable[[bytes], bytes]
) -> None:
    data = joined(PLAIN)
    told = subprocess.run([tool, "-dc"], input=data + bytes(512) + data, capture_output=True, check=False)
    assert told.stdout == PLAIN
    with pytest.raises(Refused, match="something follows the zeros"):
        reader(io.BytesIO(data + bytes(512) + data), limit=1 << 30, name="some.tar").read()


@pytest.mark.parametrize("zeros", [1, 2, 3, 5])
def test_padding_of_xz_that_is_not_of_four_bytes_is_refused_as_xz_does(zeros: int) -> None:
    data = lzma.compress(b"text") + bytes(zeros)
    assert subprocess.run(["xz", "-dc"], input=data, capture_output=True, check=False).returncode == 1
    with pytest.raises(Refused, match="multiple of four"):
        reader(io.BytesIO(data), limit=1 << 30, name="some.tar").read()


@pytest.mark.parametrize("part", [0.001, 0.5, 0.999])
def test_a_cut_stream_is_refused_and_named(compressed: tuple[str, bytes], part: float) -> None:
    kind, data = compressed
    stream = reader(io.BytesIO(data[: max(20, int(len(data) * part))]), limit=1 << 30, name="some.tar")
    with pytest.raises(Refused, match=f"some.tar ends in the middle of its {kind} data"):
        stream.read()


def test_a_missing_last_byte_is_refused(compressed: tuple[str, bytes]) -> None:
    with pytest.raises(Refused, match="ends in the middle"):
        reader(io.BytesIO(compressed[1][:-1]), limit=1 << 30, name="some.tar").read()


# Without a checksum, damage among the literals of zstd cannot be seen at this level; the artifact's digest sees it.
# .lzma has no checksum at all, so it is cut short where it no longer makes sense, if anywhere.
@pytest.mark.parametrize("kind", [kind for kind in COMPRESSORS if kind not in ("zstd without checksum", "lzma")])
def test_a_damaged_stream_is_refused_and_named(kind: str) -> None:
    damaged = bytearray(compress(COMPRESSORS[kind]))
    for offset in range(len(damaged) // 2, len(damaged) // 2 + 64):
        damaged[offset] ^= 0xFF
    with pytest.raises(Refused, match=r"some\.tar "):
        reader(io.BytesIO(bytes(damaged)), limit=1 << 30, name="some.tar").read()


def test_garbage_after_a_stream_is_refused(compressed: tuple[str, bytes]) -> None:
    with pytest.raises(Refused, match=r"some\.tar "):
        reader(io.BytesIO(compressed[1] + b"garbage after the end"), limit=1 << 30, name="some.tar").read()


def test_expansion_beyond_the_limit_is_refused(compressed: tuple[str, bytes]) -> None:
    stream = reader(io.BytesIO(compressed[1]), limit=len(PLAIN) - 1, name="some.tar")
    with pytest.raises(Refused, match=rf"some\.tar expands beyond {len(PLAIN) - 1} bytes"):
        stream.read()


def test_the_limit_itself_is_allowed(compressed: tuple[str, bytes]) -> None:
    assert reader(io.BytesIO(compressed[1]), limit=len(PLAIN), name="some.tar").read() == PLAIN


# A bomb must be noticed after about a block, not after the memory it wants: the first read of a megabyte must not
# expand gigabytes first.
@pytest.mark.parametrize("command", [["gzip", "-c"], ["xz", "-c", "-0"], ["zstd", "-q", "-c"], ["bzip2", "-c1"]])
def test_a_bomb_is_expanded_a_little_at_a_time(command: list[str]) -> None:
    bomb = compress(command, bytes(100_000_000))
    code = (
        "import io,sys\n"
        "from fipsmanifest.archive.decompress import reader\n"
        "r=reader(sys.stdin.buffer,limit=1<<40,name='bomb')\n"
        "import zstandard,lzma\n"
        # Not getrusage: what it tells begins at the memory of the process that started this one.
        "def peak(): return int(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0])\n"
        "before=peak()\n"
        "n=0\n"
        "while b:=r.read(1<<20): n+=len(b)\n"
        "print(n,peak()-before)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], input=bomb, capture_output=True, check=True)
    size, grown = (int(word) for word in result.stdout.split())
    assert size == 100_000_000
    assert grown < 24_000  # kilobytes


def test_a_window_beyond_what_zstd_itself_takes_is_refused(tmp_path: Path) -> None:
    data = compress(["zstd", "-q", "-c", "--ultra", "--long=28", "--no-check"])
    with pytest.raises(TooDemanding, match="window of more than 134217728 bytes"):
        reader(io.BytesIO(data), limit=1 << 40, name="some.tar").read()


@pytest.mark.parametrize("command", [["--lzma2=preset=1,dict=256MiB"], ["--format=lzma", "--lzma1=dict=256MiB"]])
def test_an_xz_stream_that_wants_too_much_memory_is_refused(command: list[str]) -> None:
    data = compress(["xz", "-c", *command], b"short")
    with pytest.raises(TooDemanding, match=r"some\.tar needs more than 134217728 bytes"):
        reader(io.BytesIO(data), limit=1 << 40, name="some.tar").read()


# RFC 8878, section 3.1.2, and lz4_Frame_format.md have the same magic numbers of frames to skip.
@pytest.mark.parametrize(
    ("behind", "what"), [(b"\x04\x22\x4d\x18\x60\x40\x82", "lz4 data"), (b"text", "something else")]
)
def test_another_format_behind_a_skippable_frame_is_named(behind: bytes, what: str) -> None:
    with pytest.raises(Refused, match=f"some.zst is not zstd data: its skippable frame is followed by {what}"):
        reader(io.BytesIO(b"\x50\x2a\x4d\x18\x03\0\0\0abc" + behind), limit=1000, name="some.zst").read()


def test_skippable_frames_are_passed_over() -> None:
    frame = b"\x5a\x2a\x4d\x18" + (7).to_bytes(4, "little") + b"comment"
    data = frame + compress(["zstd", "-q", "-c"]) + frame
    stream = reader(io.BytesIO(data), limit=1 << 30, name="some.tar")
    assert (stream.compression, stream.read()) == ("zstd", PLAIN)


@pytest.mark.parametrize("name", ["a", "a0", "a@", "]", "BZh9", "kubelet"], ids=lambda name: name.encode().hex())
def test_a_tar_is_not_taken_for_compressed_by_the_name_of_its_first_member(name: str) -> None:
    block = tarfile.TarInfo(name).tobuf()
    assert compression_of(block) == "none"
    assert reader(io.BytesIO(block), limit=1 << 30, name="some.tar").read() == block


def unusual_lzma(content: bytes, dictionary: int) -> bytes:
    """Return .lzma with the size of a dictionary that the tools of the format do not write, and not all read."""
    data = lzma.compress(content, lzma.FORMAT_ALONE)
    return data[:1] + dictionary.to_bytes(4, "little") + data[5:]


# dpkg-deb takes any dictionary, as the kernel does of an initramfs; xz and libarchive do not.
@pytest.mark.parametrize("dictionary", [(1 << 20) + 1, (1 << 23) + 12345])
def test_lzma_with_a_dictionary_of_any_size_is_read_as_dpkg_reads_it(tmp_path: Path, dictionary: int) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name in ("./control", "./usr/bin/kubelet"):
            info = tarfile.TarInfo(name)
            tar.addfile(info)
    data = unusual_lzma(content.getvalue(), dictionary)
    parts = {"debian-binary": b"2.0\n", "control.tar": content.getvalue(), "data.tar.lzma": data}
    for name, part in parts.items():
        (tmp_path / name).write_bytes(part)
    subprocess.run(["ar", "rc", "a.deb", *parts], cwd=tmp_path, check=True)
    told = subprocess.run(["dpkg-deb", "--fsys-tarfile", tmp_path / "a.deb"], capture_output=True, check=True)
    assert told.stdout == content.getvalue()

    stream = reader(io.BytesIO(data), limit=1 << 30, name="data.tar.lzma")

    assert (stream.compression, stream.read()) == ("lzma", content.getvalue())


@pytest.mark.parametrize(
    ("content", "compression"),
    [
        (b"\x7fELF\2\1\1" + bytes(99), "lzma"),
        (b"#!/bin/sh\n", "lzma"),
        (b"070701" + b"0" * 104, "lzma"),
        (b"!<arch>\n", "lzma"),
        (b"a text", "none"),
    ],
)
def test_lzma_with_an_unusual_dictionary_is_known_by_what_it_holds(content: bytes, compression: str) -> None:
    assert compression_of(unusual_lzma(content, 54321)) == compression


def test_what_is_not_compressed_passes_as_it_is() -> None:
    stream = reader(io.BytesIO(PLAIN), limit=1 << 30, name="some.tar")
    assert (stream.compression, stream.read()) == ("none", PLAIN)
    assert reader(io.BytesIO(b""), limit=1, name="empty").read() == b""


def test_an_empty_member_between_two_is_no_end() -> None:
    empty = compress(["gzip", "-c"], b"")
    data = compress(["gzip", "-c"], b"one") + empty + compress(["gzip", "-c"], b"two")
    assert reader(io.BytesIO(data), limit=1 << 30, name="some.tar").read() == b"onetwo"


def test_too_many_streams_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decompress, "_STREAMS", 100)
    data = compress(["xz", "-c", "-0"], b"x")
    assert reader(io.BytesIO(data * 100), limit=1 << 30, name="some.tar").read() == b"x" * 100
    with pytest.raises(TooDemanding, match="more than 100 streams"):
        reader(io.BytesIO(data * 101), limit=1 << 30, name="some.tar").read()


def test_a_gzip_member_whose_checksum_is_wrong_is_refused() -> None:
    data = bytearray(compress(["gzip", "-c"]))
    data[-8:-4] = (zlib.crc32(PLAIN) ^ 1).to_bytes(4, "little")
    with pytest.raises(Refused, match="incorrect data check"):
        reader(io.BytesIO(bytes(data)), limit=1 << 30, name="some.tar").read()


def test_a_disk_that_fails_is_no_verdict_on_the_archive() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:  # noqa: ARG002 - the interface's parameter
            raise OSError(5, "Input/output error")

    with pytest.raises(Incomplete, match=r"some\.tar could not be read: Input/output error"):
        reader(Failing(), limit=1, name="some.tar")
