"""Files that are archives of two kinds: what tools of each kind unpack is different, so that neither may pass for all.

Each file is shown to be both by the tools themselves.
"""

from __future__ import annotations

import io
import os
import struct
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from fipsmanifest.archive.member import Member, Rejected
from fipsmanifest.archive.open import kind_of, members_of
from fipsmanifest.errors import Refused
from tests.support import upstream

BLOCK = 512
SHOWN, HIDDEN = b"shown", b"hidden " * 100


def tar_of(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def header(first: bytes, size: int) -> bytes:
    """Return a header of tar that begins with ``first``, which may be longer than a name."""
    block = bytearray(tarfile.TarInfo("x").tobuf(tarfile.USTAR_FORMAT))
    block[: len(first)] = first
    block[124:136] = b"%011o\0" % size
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def zstd_and_tar() -> bytes:
    """A skippable frame has all of a tar that begins with the frame's own header as the name of a file."""
    rest = tar_of("kubelet", HIDDEN)
    frame = b"\x50\x2a\x4d\x18" + struct.pack("<I", BLOCK - 8 + len(rest))
    return header(frame.ljust(100, b"\0"), 0) + rest + zstandard.compress(tar_of("kubelet", SHOWN))


def gzip_and_tar() -> bytes:
    """An extra field (RFC 1952, FEXTRA) has all of a tar."""
    rest, content = tar_of("kubelet", HIDDEN), tar_of("kubelet", SHOWN)
    start = b"\x1f\x8b\x08\x04" + b"time" + b"\2\3" + struct.pack("<H", BLOCK - 12 + len(rest))
    deflate = zlib.compressobj(wbits=-15)
    end = struct.pack("<II", zlib.crc32(content), len(content))
    return header(start.ljust(100, b"\0"), 0) + rest + deflate.compress(content) + deflate.flush() + end


def ar_member(name: bytes, content: bytes) -> bytes:
    return b"%-16s%-12d%-6d%-6d%-8s%-10d`\n" % (name, 0, 0, 0, b"100644", len(content)) + content


def deb_and_tar() -> bytes:
    """The version of the package format, of which dpkg reads the first line, has a header of tar in it."""
    control = tar_of("control", b"Package: kubelet\nVersion: 1\nArchitecture: all\nMaintainer: x\nDescription: x\n")
    package = ar_member(b"control.tar", control) + ar_member(b"data.tar", tar_of("kubelet", HIDDEN))
    start = b"!<arch>\n" + ar_member(b"debian-binary", b"2.0\n".ljust(BLOCK - 68))
    # dpkg skips members behind the data.
    fill, shown = -len(package) % BLOCK, tar_of("kubelet", SHOWN)
    fill += BLOCK if fill < 60 else 0
    last = ar_member(b"last", bytes(fill - 60) + shown)
    # The rest of the header is in the version; the sums have to be right.
    return header(start[:100], len(package) + fill) + package + last


def cpio_entry(name: bytes, content: bytes) -> bytes:
    fields = (1, 0o100644, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name + b"\0"
    return head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4)


def cpio_and_tar() -> bytes:
    """The first entry's name has the rest of a header of tar, without a NUL."""
    archive = cpio_entry(b"kubelet", HIDDEN) + cpio_entry(b"TRAILER!!!", b"")
    start = cpio_entry(b"x" * (BLOCK - 111), b"")[:110]
    block = bytearray(start.ljust(BLOCK - 1, b"x") + b"\0")
    block[110:156] = b"00000 " + b"0000000 " + b"%011o " % len(archive) + b"00000000000 " + b" " * 8
    block[156:157] = b"0"
    for at in range(200, BLOCK - 1, 100):
        block[at : at + 1] = b"/"
    block[257:265] = b"xxxxxxxx"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o  " % sum(block)
    return bytes(block) + archive + bytes(-len(archive) % BLOCK) + tar_of("kubelet", SHOWN)


def zip_of(content: bytes) -> tuple[bytes, bytes]:
    """Return a ZIP archive: what is in front of its central directory, and the rest."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("kubelet", content)
    data = file.getvalue()
    start = data.rindex(b"PK\x01\x02")
    return data[:start], data[start:]


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def tar_and_zip_in_padding() -> bytes:
    """The central directory is in the padding behind a member, which unpackers of tar ignore."""
    data, directory = zip_of(HIDDEN)
    data = bytes(-len(data) % BLOCK + 8) + data
    return tar_of("kubelet", SHOWN)[: 2 * BLOCK] + header(b"x", len(data)) + padded(data + directory) + bytes(2 * BLOCK)


def tar_and_zip_behind_its_end() -> bytes:
    data, directory = zip_of(HIDDEN)
    member = header(b"x", 8 + len(data)) + padded(bytes(8) + data) + bytes(2 * BLOCK)
    # Offsets are from the first local header on.
    apart = len(member) - BLOCK - 8
    directory = directory[:-6] + struct.pack("<IH", apart, 0)
    return tar_of("kubelet", SHOWN)[: 2 * BLOCK] + member + directory + b"."


def across(front: bytes, member: Callable[[bytes], bytes]) -> bytes:
    """Return ``front``, and a ZIP archive of which a comment begins in one ``member`` and ends with the next's header.

    ``member`` makes one without padding at its end.
    """
    data, directory = zip_of(HIDDEN)
    fill = bytes(-len(data + directory[:53]) % 4)
    content = bytes(22) + b".."
    comment = fill + member(content).removesuffix(content)
    entry = directory[:32] + struct.pack("<H", len(comment)) + directory[34:53] + comment
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 1, 1, len(entry), len(data), 0)
    first = member(data + directory[:53] + fill)
    return front + first.removesuffix(data + directory[:53] + fill) + data + entry + end + b".."


def ar_and_zip() -> bytes:
    front = b"!<arch>\n" + ar_member(b"kubelet", SHOWN + b" ")
    return across(front, lambda content: ar_member(b"other", content))


def cpio_and_zip() -> bytes:
    return across(cpio_entry(b"kubelet", SHOWN), lambda content: cpio_entry(b"other", content)) + cpio_entry(
        b"TRAILER!!!", b""
    )


def zstd_and_zip() -> bytes:
    """A skippable frame (RFC 8878) has all of a ZIP archive, and unzip does not mind what is behind that."""
    frame = bytes(8) + b"".join(zip_of(HIDDEN))
    return b"\x50\x2a\x4d\x18" + struct.pack("<I", len(frame)) + frame + zstandard.compress(SHOWN)


def gzip_and_zip() -> bytes:
    """An extra field (RFC 1952, FEXTRA) has all of a ZIP archive."""
    field, deflate = bytes(8) + b"".join(zip_of(HIDDEN)), zlib.compressobj(wbits=-15)
    start = b"\x1f\x8b\x08\x04" + bytes(4) + b"\2\3" + struct.pack("<H", len(field)) + field
    end = struct.pack("<II", zlib.crc32(SHOWN), len(SHOWN))
    return start + deflate.compress(SHOWN) + deflate.flush() + end


def run(*command: str, data: bytes = b"") -> bytes:
    return subprocess.run(command, input=data, capture_output=True, check=False).stdout


#: A file, and what two tools print of ``kubelet`` in it.
CASES: dict[str, tuple[Callable[[], bytes], list[str], list[str]]] = {
    "zstd and tar": (zstd_and_tar, ["tar", "-xOf", "FILE", "kubelet"], ["sh", "-c", "zstd -dc FILE | tar -xO kubelet"]),
    "gzip and tar": (gzip_and_tar, ["tar", "-xOf", "FILE", "kubelet"], ["sh", "-c", "gzip -dc FILE | tar -xO kubelet"]),
    "ar and tar": (
        deb_and_tar, ["sh", "-c", "dpkg-deb --fsys-tarfile FILE | tar -xO kubelet"], ["tar", "-xOf", "FILE", "kubelet"]
    ),
    "cpio and tar": (
        cpio_and_tar,
        ["sh", "-c", "cpio -i --quiet --to-stdout kubelet < FILE"],
        ["tar", "-xOf", "FILE", "kubelet"],
    ),
    "tar and ZIP in its padding": (
        tar_and_zip_in_padding, ["unzip", "-p", "FILE", "kubelet"], ["tar", "-xOf", "FILE", "kubelet"]
    ),
    "tar and ZIP behind its end": (
        tar_and_zip_behind_its_end, ["unzip", "-p", "FILE", "kubelet"], ["tar", "-xOf", "FILE", "kubelet"]
    ),
    "ar and ZIP": (ar_and_zip, ["unzip", "-p", "FILE", "kubelet"], ["ar", "p", "FILE", "kubelet"]),
    "cpio and ZIP": (
        cpio_and_zip,
        ["unzip", "-p", "FILE", "kubelet"],
        ["sh", "-c", "cpio -i --quiet --to-stdout kubelet < FILE"],
    ),
    "zstd and ZIP": (zstd_and_zip, ["unzip", "-p", "FILE", "kubelet"], ["zstd", "-dcf", "FILE"]),
    "gzip and ZIP": (gzip_and_zip, ["unzip", "-p", "FILE", "kubelet"], ["gzip", "-dcf", "FILE"]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_file_that_is_two_archives_is_refused(case: str, tmp_path: Path) -> None:
    make, hidden, shown = CASES[case]
    path = tmp_path / "archive"
    path.write_bytes(make())
    assert run(*(word.replace("FILE", str(path)) for word in hidden)) == HIDDEN
    assert run(*(word.replace("FILE", str(path)) for word in shown)).strip() == SHOWN
    with pytest.raises(Refused, match="archive") as refused:
        found = list(members_of(path))
        assert not any(isinstance(item, Member) for item in found), found
    assert refused.value.reason == "ambiguous-archive"


def test_a_package_whose_payload_hides_a_zip_is_refused(tmp_path: Path) -> None:
    # In an extra field of the payload's gzip header (RFC 1952, FEXTRA), which rpm2cpio skips.
    package = upstream.nfpm(tmp_path).read_bytes()
    start = package.index(b"\x1f\x8b\x08\0")
    field = bytes(8) + b"".join(zip_of(HIDDEN))
    path = tmp_path / "evil.rpm"
    path.write_bytes(
        package[: start + 3]
        + b"\4"
        + package[start + 4 : start + 10]
        + struct.pack("<H", len(field))
        + field
        + package[start + 10 :]
    )
    assert run("unzip", "-p", str(path), "kubelet") == HIDDEN
    assert b"./usr/bin/kubelet" in run("sh", "-c", f"rpm2cpio {path} | cpio -t --quiet").splitlines()
    with pytest.raises(Refused) as refused:
        kind_of(path)
    assert refused.value.reason == "ambiguous-archive"


def test_a_package_with_a_zip_that_shows_is_read(tmp_path: Path) -> None:
    # What cannot be made smaller is stored as it is, so unzip finds the archive in the package.
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("kubelet", os.urandom(3000))
    path = upstream.nfpm(tmp_path, contents=file.getvalue())
    assert b"kubelet" in run("unzip", "-l", str(path))
    assert kind_of(path) == "rpm"


@pytest.mark.parametrize("wide", [False, True], ids=["32 bits", "64 bits"])
def test_a_compressed_zip_whose_directory_leads_to_other_data_in_it_is_refused(wide: bool, tmp_path: Path) -> None:
    # One directory, stored as it is: the data at that distance in front of it is the content's after gzip, and that of
    # an extra field (FEXTRA) before.
    size = 700
    data, directory, hidden = *stored_zip((SHOWN * size)[:size], wide=wide), stored_zip(HIDDEN[:size], wide=wide)[0]
    deflate = zlib.compressobj(9, wbits=-15)
    block = deflate.compress(data) + deflate.flush(zlib.Z_FULL_FLUSH)
    block += b"\1" + struct.pack("<HH", len(directory), len(directory) ^ 0xFFFF)
    field = hidden[: -len(block)]
    start = b"\x1f\x8b\x08\x04" + bytes(4) + b"\2\3" + struct.pack("<H", len(field)) + field
    content = data + directory
    path = tmp_path / "some.zip.gz"
    path.write_bytes(start + block + directory + struct.pack("<II", zlib.crc32(content), len(content)))
    assert run("unzip", "-p", str(path), "kubelet").startswith(HIDDEN[: size // 2])
    assert run("sh", "-c", f"gzip -dc {path} > {tmp_path}/z; unzip -p {tmp_path}/z kubelet") == (SHOWN * size)[:size]
    with pytest.raises(Refused) as refused:
        kind_of(path)
    assert refused.value.reason == "ambiguous-archive"


def stored_zip(content: bytes, *, wide: bool) -> tuple[bytes, bytes]:
    """Return a ZIP archive as `zip_of` does, without compression; where it is ``wide``, with 64-bit end records."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo("kubelet"), content)
    data = file.getvalue()
    place, end = data.rindex(b"PK\x01\x02"), len(data) - 22
    if not wide:
        return data[:place], data[place:]
    end64 = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, end - place, place)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, end, 1)
    last = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return data[:place], data[place:end] + end64 + locator + last


def _tar_with_zip() -> bytes:
    return tar_of("some.zip", b"".join(zip_of(HIDDEN)))


def _ar_with_zip() -> bytes:
    return b"!<arch>\n" + ar_member(b"some.zip", b"".join(zip_of(HIDDEN))) + ar_member(b"last", bytes(8))


def _cpio_with_zip() -> bytes:
    return cpio_entry(b"some.zip", b"".join(zip_of(HIDDEN))) + cpio_entry(b"TRAILER!!!", b"") + bytes(512)


@pytest.mark.parametrize(("make", "kind"), [(_tar_with_zip, "tar"), (_ar_with_zip, "ar"), (_cpio_with_zip, "cpio")])
def test_an_archive_with_a_zip_as_its_last_member_is_read(tmp_path: Path, make: Callable[[], bytes], kind: str) -> None:
    path = tmp_path / "archive"
    path.write_bytes(make())
    # unzip finds the same in it.
    assert run("unzip", "-p", str(path), "kubelet") == HIDDEN
    assert kind_of(path) == kind
    assert next(item.path for item in members_of(path) if isinstance(item, Member)) == "/some.zip"


@pytest.mark.parametrize("program", ["zstd", "gzip", "xz", "bzip2"])
def test_a_compressed_zip_whose_directory_shows_is_read(program: str, tmp_path: Path) -> None:
    # What cannot be made smaller is stored as it is, so unzip finds the same archive in the compressed file.
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(os.urandom(60).hex(), os.urandom(3000))
    path, data = tmp_path / "some.zip.compressed", file.getvalue()
    path.write_bytes(run(program, "-c", data=data))
    assert kind_of(path) == "compressed"


def test_an_archive_with_64_bit_sizes_between_other_data_is_one(tmp_path: Path) -> None:
    # unzip and Python read it; its end record has neither the number of entries nor the directory's size.
    data, directory = zip_of(HIDDEN)
    entry = directory[:42] + struct.pack("<I", 16) + directory[46:-22]
    place = 16 + len(data)
    end64 = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, len(entry), place)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, place + len(entry), 1)
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    path = tmp_path / "data.bin"
    path.write_bytes(bytes(16) + data + entry + end64 + locator + end + b"..")
    assert zipfile.ZipFile(path).read("kubelet") == HIDDEN
    assert run("unzip", "-p", str(path), "kubelet") == HIDDEN
    assert kind_of(path) == "zip"
    with pytest.raises(Refused):
        list(members_of(path))


def test_a_header_of_tar_is_not_part_of_what_else_it_begins(tmp_path: Path) -> None:
    # A name that begins as a ZIP archive does.
    path = tmp_path / "archive"
    path.write_bytes(header(b"PK\x03\x04\x14", len(SHOWN)) + padded(SHOWN) + bytes(2 * BLOCK))
    with pytest.raises(Refused, match="is a tar archive and, to other tools, something else as well: a ZIP archive"):
        [item for item in members_of(path) if not isinstance(item, Rejected)]


HELLO = "printf hello; exit"


def _tar_as_script(first: str) -> bytes:
    return header(f"{first}{HELLO}\n".encode().ljust(100, b"\0"), len(SHOWN)) + padded(SHOWN) + bytes(2 * BLOCK)


def _tar_without_a_line() -> bytes:
    # The kernel takes the interpreter up to a NUL; the shell reads on behind the first newline.
    content = f"\n{HELLO}\n".encode()
    return header(b"#!/bin/sh".ljust(100, b"\0"), len(content)) + padded(content) + bytes(2 * BLOCK)


def _gzip_as_script(flags: int, extra: bytes = b"") -> bytes:
    text = f"\n{HELLO}\n".encode().ljust(0x101, b" ")
    fields = struct.pack("<H", len(text)) + text if flags & 4 else text + b"\0"
    deflate = zlib.compressobj(wbits=-15)
    data = deflate.compress(SHOWN) + deflate.flush()
    start = b"\x1f\x8b\x08" + bytes((flags,)) + b"time\2\3"
    return start + fields + data + struct.pack("<II", zlib.crc32(SHOWN), len(SHOWN))


def _zstd_as_script() -> bytes:
    text = f"\n{HELLO}\n".encode()
    size = 0x01010101
    return b"\x50\x2a\x4d\x18" + struct.pack("<I", size) + text.ljust(size, b" ") + zstandard.compress(SHOWN)


@pytest.mark.parametrize(
    "data",
    [
        _tar_as_script("#!/bin/sh\n"),
        _tar_as_script("x\n"),
        _tar_without_a_line(),
        cpio_entry(f"x\n{HELLO}\n".encode(), SHOWN) + cpio_entry(b"TRAILER!!!", b""),
        _gzip_as_script(4),
        _gzip_as_script(8),
        _gzip_as_script(16),
        _zstd_as_script(),
    ],
    ids=["tar", "tar without #!", "tar with a NUL", "cpio", "gzip, extra", "gzip, name", "gzip, comment", "zstd"],
)
def test_an_archive_that_a_shell_runs_as_a_script_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "archive"
    path.write_bytes(data)
    path.chmod(0o755)
    # What cannot be executed, a shell runs as a script (POSIX, "Command Search and Execution").
    assert run("bash", "-c", str(path)).endswith(b"hello")
    with pytest.raises(Refused, match="to other tools, something else as well: a script"):
        kind_of(path)


def test_a_newline_among_numbers_or_compressed_bytes_makes_no_script(tmp_path: Path) -> None:
    path = tmp_path / "archive"
    start = b"\x1f\x8b\x08"
    for data in (
        # A time with a newline in it; an extra field of ten bytes.
        start + b"\x08\n\n\n\n\2\3name\0",
        start + b"\x04time\2\3\n\0" + b"0123456789",
        start + b"\0time\2\3\ncompressed",
        b"\x50\x2a\x4d\x18\n\n\n\n",
        b"BZh91AY&SY\n\n",
    ):
        path.write_bytes(data)
        assert kind_of(path) == "compressed"
