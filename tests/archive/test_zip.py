"""ZIP archives as tools make them, and archives that two readers understand differently."""

from __future__ import annotations

import hashlib
import io
import lzma
import shutil
import struct
import subprocess
import zipfile
import zlib
from pathlib import Path

import pytest
import zstandard

from fipsmanifest.archive import zip as zips
from fipsmanifest.archive.limits import Limits
from fipsmanifest.archive.member import Damaged, Member, Rejected, Unread
from fipsmanifest.archive.open import kind_of, members_of
from fipsmanifest.errors import Refused
from tests.support.zips import Archive, Part

CONTENT = b"\x7fELF" + bytes(range(256)) * 5000


def read(data: bytes, limits: Limits | None = None) -> dict[str, bytes | str | None]:
    """Return the content of each file, the target of each link, None for what is unread."""
    found: dict[str, bytes | str | None] = {}
    for item in zips.read_members(io.BytesIO(data), "some.zip", limits or Limits()):
        if isinstance(item, Unread):
            found[item.path] = None
        elif isinstance(item, Rejected):
            raise item.error
        elif isinstance(item, Member) and item.type != "directory":
            found[item.path] = item.content.read() if item.content else item.target
    return found


def files(directory: Path) -> Path:
    (directory / "usr/bin").mkdir(parents=True)
    (directory / "usr/bin/kubelet").write_bytes(CONTENT)
    (directory / "usr/bin/empty").touch()
    (directory / "usr/bin/link").symlink_to("kubelet")
    return directory


WANTED = {"/usr/bin/kubelet": CONTENT, "/usr/bin/empty": b"", "/usr/bin/link": "kubelet"}


@pytest.mark.parametrize("options", [["-0"], ["-9"], ["-Z", "bzip2"], ["-fz"]])
def test_what_zip_writes_is_read(tmp_path: Path, options: list[str]) -> None:
    subprocess.run(["zip", "-qry", *options, "../some.zip", "."], cwd=files(tmp_path / "root"), check=True)
    assert kind_of(tmp_path / "some.zip") == "zip"
    assert read((tmp_path / "some.zip").read_bytes()) == WANTED


def test_what_zip_writes_into_a_pipe_is_read(tmp_path: Path) -> None:
    # Sizes are only in descriptors behind the data, and in 64 bits.
    made = subprocess.run(
        ["zip", "-q", "-", "usr/bin/kubelet"], cwd=files(tmp_path / "root"), check=True, stdout=subprocess.PIPE
    ).stdout
    assert b"PK\x07\x08" in made
    assert read(made) == {"/usr/bin/kubelet": CONTENT}


def test_what_bsdtar_and_python_write_is_read(tmp_path: Path) -> None:
    root = files(tmp_path / "root")
    made = subprocess.run(["bsdtar", "-C", root, "--format", "zip", "-cf", "-", "."], capture_output=True, check=True)
    assert read(made.stdout) == WANTED
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(root / "usr/bin/kubelet", "usr/bin/kubelet")
        with archive.open("large", "w", force_zip64=True) as large:
            large.write(b"x")
    assert read(buffer.getvalue()) == {"/usr/bin/kubelet": CONTENT, "/large": b"x"}


def test_what_go_writes_is_read(peers: Path) -> None:
    made = subprocess.run([peers, "write"], capture_output=True, check=True).stdout
    assert read(made) == {"/deflated": b"deflated" * 1000, "/stored": b"stored"}


@pytest.mark.parametrize("adjust", [False, True])
def test_a_program_in_front_of_an_archive_leaves_it_one(tmp_path: Path, adjust: bool) -> None:
    subprocess.run(["zip", "-qry", "../some.zip", "."], cwd=files(tmp_path / "root"), check=True)
    path = tmp_path / "self-extracting"
    path.write_bytes(b"\x7fELF" + bytes(5000) + (tmp_path / "some.zip").read_bytes())
    if adjust:
        subprocess.run(["zip", "-qA", path], check=True)
    assert kind_of(path) == "zip"
    assert read(path.read_bytes()) == WANTED


@pytest.mark.parametrize(
    ("method", "data"),
    [(95, lzma.compress(b"content")), (93, zstandard.compress(b"content")), (0, b"content")],
)
def test_other_compressions_are_read(method: int, data: bytes) -> None:
    assert read(Archive([Part(method=method, data=data)]).build()) == {"/usr/bin/kubelet": b"content"}


def lzma_member(content: bytes, dictionary: int = 1 << 16) -> bytes:
    filters = [{"id": lzma.FILTER_LZMA1, "dict_size": dictionary}]
    properties = b"\x5d" + dictionary.to_bytes(4, "little")
    return b"\x09\x04\x05\0" + properties + lzma.compress(content, lzma.FORMAT_RAW, filters=filters)


# As 7-Zip packs it: without a mark at its end, which liblzma always writes.
UNMARKED = b"\x09\x04\x05\0" + bytes.fromhex("5d0010000000319bca19daeda57bcf09e00000")


@pytest.mark.parametrize(
    "part",
    [
        Part(content=b"content" * 8, method=14, flags=2, data=lzma_member(b"content" * 8)),
        # A dictionary of a size that no .lzma file has.
        Part(content=b"content" * 8, method=14, flags=2, data=lzma_member(b"content" * 8, 5000)),
        Part(content=b"content" * 8, method=14, data=UNMARKED),
        Part(content=b"content" * 8, method=14, flags=10, data=lzma_member(b"content" * 8)),
    ],
)
def test_members_that_lzma_compressed_are_read_as_zipfile_reads_them(part: Part) -> None:
    archive = Archive([part, Part(b"last")]).build()
    wanted = {"/" + name: zipfile.ZipFile(io.BytesIO(archive)).read(name) for name in ("usr/bin/kubelet", "last")}
    assert read(archive) == wanted == {"/usr/bin/kubelet": b"content" * 8, "/last": b"content"}


def test_what_zipfile_compresses_with_lzma_is_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "some.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.write(files(tmp_path / "root") / "usr/bin/kubelet", "usr/bin/kubelet")
    assert read((tmp_path / "some.zip").read_bytes()) == {"/usr/bin/kubelet": CONTENT}


@pytest.mark.parametrize(("method", "flags"), [(9, 0), (99, 1), (8, 1), (0, 65)])
def test_what_cannot_be_expanded_is_listed_and_the_rest_is_read(method: int, flags: int) -> None:
    data = Archive([Part(b"secret", method=method, flags=flags, data=b"12345"), Part()]).build()
    assert read(data) == {"/secret": None, "/usr/bin/kubelet": b"content"}


@pytest.mark.parametrize(
    "part",
    [
        Part(b"odd", CONTENT, mode=0o120777),
        Part(b"odd", b"", mode=0o120777),
    ],
)
def test_a_member_of_a_type_that_cannot_have_its_content_is_listed_and_the_rest_is_read(part: Part) -> None:
    # Python's zipfile makes files of all of them.
    data = Archive([Part(b"first"), part, Part()]).build()
    assert read(data) == {"/first": b"content", "/odd": None, "/usr/bin/kubelet": b"content"}


# Python makes a file of all of them, and "zip -" writes the first for what it reads from a pipe.
@pytest.mark.parametrize("mode", [0o10600, 0o20644, 0o140755])
def test_a_fifo_with_content_is_read_as_a_file(mode: int) -> None:
    assert read(Archive([Part(b"odd", mode=mode), Part()]).build())["/odd"] == b"content"


@pytest.mark.parametrize("mode", [0o10644, 0o20644, 0o60644, 0o140644])
def test_a_device_a_fifo_and_a_socket_hold_nothing(mode: int) -> None:
    data = Archive([Part(b"odd", b"", mode=mode), Part()]).build()
    (odd, kubelet) = zips.read_members(io.BytesIO(data), "some.zip", Limits())
    assert isinstance(odd, Member) and isinstance(kubelet, Member)
    assert (odd.path, odd.type, odd.content, kubelet.path) == ("/odd", "special", None, "/usr/bin/kubelet")


@pytest.mark.parametrize(
    "bad",
    [
        Part(b"bad", local={"crc": 1}, central={"crc": 1}),
        Part(b"bad", local={"size": 6}, central={"size": 6}),
        Part(b"bad", data=b"\xff" * 20),
        Part(b"bad", data=zlib.compress(b"content" * 9, wbits=-15)[:-2]),
        Part(b"bad", method=93, data=b"\x28\xb5\x2f\xfd" + bytes(20)),
        Part(b"bad", method=14, flags=2, data=lzma_member(b"content")[:-3]),
        Part(b"bad", method=14, flags=2, data=lzma_member(b"content") + b"more"),
        Part(b"bad", method=14, flags=2, data=lzma_member(b"contents")),
        # It asks for 2 GiB.
        Part(b"bad", method=14, flags=2, data=b"\x09\x04\x05\0\x5d\0\0\0\x80" + lzma_member(b"content")[9:]),
    ],
)
def test_a_damaged_member_is_an_error_and_the_members_behind_it_are_read(bad: Part) -> None:
    found, errors = {}, 0
    for item in zips.read_members(io.BytesIO(Archive([Part(b"first"), bad, Part()]).build()), "some.zip", Limits()):
        assert isinstance(item, Member) and item.content is not None
        try:
            found[item.path] = item.content.read()
        except Damaged as error:
            errors += 1
            assert "some.zip: '/bad' " in error.message
    assert (found, errors) == ({"/first": b"content", "/usr/bin/kubelet": b"content"}, 1)


def test_an_archive_of_zip_with_a_password_is_listed(tmp_path: Path) -> None:
    subprocess.run(["zip", "-qr", "-P", "secret", "../some.zip", "."], cwd=files(tmp_path / "root"), check=True)
    found = read((tmp_path / "some.zip").read_bytes())
    assert found["/usr/bin/kubelet"] is None


def unicode_path(name: bytes, of: bytes) -> bytes:
    return struct.pack("<HHBI", 0x7075, 5 + len(name), 1, zlib.crc32(of)) + name


def wide(*sizes: int) -> bytes:
    return struct.pack("<HH", 1, 8 * len(sizes)) + b"".join(struct.pack("<Q", size) for size in sizes)


HIDDEN = Archive([Part(b"hidden")]).build()
NAME = b"usr/bin/kubelet"

AMBIGUOUS = {
    "names differ": Archive([Part(local={"name": b"usr/bin/runc000"})]),
    "lengths of names differ": Archive([Part(local={"name": b"usr/bin"})]),
    "methods differ": Archive([Part(local={"method": 0})]),
    "flags differ": Archive([Part(local={"flags": 8})]),
    "sizes differ": Archive([Part(local={"size": 8})]),
    "compressed sizes differ": Archive([Part(method=0, local={"compressed": 6})]),
    "checksums differ": Archive([Part(local={"crc": 1})]),
    "checksum of other content": Archive([Part(local={"crc": 1}, central={"crc": 1})]),
    "size of other content": Archive([Part(local={"size": 6}, central={"size": 6})]),
    "twice": Archive([Part(content=b"1"), Part(content=b"2")]),
    "twice by another spelling": Archive([Part(), Part(b"usr//bin/./kubelet")]),
    "file and directory": Archive([Part(), Part(NAME + b"/", b"")]),
    "not listed": Archive([Part(), Part(b"hidden", listed=False), Part(b"last")]),
    "not listed, first": Archive([Part(b"hidden", listed=False), Part()]),
    "not listed, last": Archive([Part(), Part(b"hidden", listed=False)]),
    "gap": Archive([Part(), Part(b"last", before=b"gap")]),
    "gap before the directory": Archive([Part()], gap=b"gap"),
    "behind the directory": Archive([Part()], behind_directory=b"gap"),
    "trailing data": Archive([Part()], trailing=b"trailing"),
    "zeros and more": Archive([Part()], trailing=bytes(3) + b"x"),
    "trailing archive": Archive([Part()], trailing=HIDDEN),
    "archive in the comment": Archive([Part()], comment=HIDDEN),
    "archive in front": Archive([Part()], prefix=HIDDEN),
    "archive in front, relative": Archive([Part()], prefix=HIDDEN, relative=True),
    "the same data": Archive([Part(), Part(b"last", central={"offset": 0})]),
    "one more listed": Archive([Part()], end={"here": 2, "entries": 2}),
    "one less listed": Archive([Part(), Part(b"b")], end={"here": 1, "entries": 1}),
    "volumes": Archive([Part()], end={"disk": 1}),
    "backslash": Archive([Part(b"usr\\bin\\kubelet")]),
    "absolute": Archive([Part(b"/usr/bin/kubelet")]),
    "leads out": Archive([Part(b"../kubelet")]),
    "no name": Archive([Part(b"")]),
    "NUL": Archive([Part(b"kubelet\0.txt")]),
    "directory with content": Archive([Part(b"usr/bin/")]),
    "another name in Unicode": Archive([Part(central={"extra": unicode_path(b"usr/bin/runc", NAME)})]),
    "another name in Unicode, local": Archive([Part(local={"extra": unicode_path(b"usr/bin/runc", NAME)})]),
    "name in Unicode of another": Archive([Part(central={"extra": unicode_path(NAME, b"x")})]),
    "64-bit size without need": Archive([Part(central={"extra": wide(7)})]),
    "64-bit size of another": Archive([Part(central={"extra": wide(8), "size": 0xFFFFFFFF})]),
    "64-bit size twice": Archive([Part(central={"extra": wide(7) + wide(7), "size": 0xFFFFFFFF})]),
    "64-bit end of another size": Archive([Part()], zip64=True, end64={"size": 1}),
    "64-bit end of another place": Archive([Part()], zip64=True, end64={"offset": 1}),
    "64-bit locator of another place": Archive([Part()], zip64=True, end64={"at": 0}),
    "two ends that differ": Archive([Part()], zip64=True, end={"entries": 2, "here": 2}),
    "descriptor of another size": Archive([Part(flags=8, descriptor=b"PK\7\x08" + struct.pack("<III", 1, 2, 3))]),
    "no descriptor": Archive([Part(flags=8, descriptor=b"")]),
    "descriptor within": Archive([Part(flags=8, method=0, content=b"one" + b"PK\7\x08" + bytes(12) + HIDDEN)]),
    "behind the compressed data": Archive([Part(data=zlib.compress(b"content", wbits=-15) + b"x")]),
    "LZMA without its parameters": Archive([Part(method=14, flags=2, data=b"\x09\x04\x06\0" + bytes(20))]),
    "LZMA that is cut": Archive([Part(method=14, flags=2, data=b"\x09\x04\x05\0]\0")]),
    "compressed as something else": Archive([Part(method=95, data=zstandard.compress(b"content"))]),
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_an_archive_that_readers_understand_differently_is_refused(name: str) -> None:
    with pytest.raises(Refused, match=r"some\.zip"):
        read(AMBIGUOUS[name].build())


def test_what_is_refused_is_refused_for_that_reason_alone() -> None:
    # Else the cases above would test the builder.
    for flags in (0, 8):
        for zip64 in (False, True):
            archive = Archive([Part(flags=flags), Part(b"usr/", b"", 0), Part(b"last", method=0)], zip64=zip64)
            assert read(archive.build()) == {"/usr/bin/kubelet": b"content", "/last": b"content"}
    same = unicode_path(NAME, NAME)
    archive = Archive(
        [Part(central={"extra": same + wide(7), "size": 0xFFFFFFFF}, local={"extra": same})], comment=b"some comment"
    )
    assert read(archive.build()) == {"/usr/bin/kubelet": b"content"}
    # Go leaves the signature of a descriptor in; others leave it out.
    bare = struct.pack("<III", zlib.crc32(b"content"), len(zlib.compress(b"content", wbits=-15)), 7)
    assert read(Archive([Part(flags=8, descriptor=bare)]).build()) == {"/usr/bin/kubelet": b"content"}


@pytest.mark.parametrize("name", ["trailing data", "zeros and more", "archive in front", "archive in the comment"])
def test_what_only_some_readers_take_for_an_archive_is_one(tmp_path: Path, name: str) -> None:
    path = tmp_path / "data.bin"
    path.write_bytes(AMBIGUOUS[name].build())
    assert kind_of(path) == "zip"


def test_an_archive_behind_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "both.tar"
    shutil.make_archive(str(tmp_path / "both"), "tar", files(tmp_path / "root"))
    path.write_bytes(path.read_bytes() + HIDDEN)
    assert zipfile.is_zipfile(path)
    with pytest.raises(Refused, match="is a tar archive and, to other tools, something else as well: a ZIP archive"):
        kind_of(path)


def test_more_members_or_bytes_than_allowed_are_refused() -> None:
    data = Archive([Part(b"a"), Part(b"b")]).build()
    with pytest.raises(Refused, match="more than 1 members"):
        read(data, Limits(members=1))
    with pytest.raises(Refused, match="beyond 13 bytes"):
        read(data, Limits(expanded=13))
    assert len(read(data, Limits(members=2, expanded=14))) == 2


def test_a_large_member_is_read_in_pieces(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "zeros.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(200 << 20))
    (member,) = members_of(tmp_path / "zeros.zip")
    assert isinstance(member, Member)
    assert member.size == 200 << 20
    assert (tmp_path / "zeros.zip").stat().st_size < 1 << 20
    for item in members_of(tmp_path / "zeros.zip"):
        digest = hashlib.sha256()
        while isinstance(item, Member) and item.content and (part := item.content.read(1 << 26)):
            assert len(part) <= 1 << 20
            digest.update(part)
        assert digest.hexdigest() == hashlib.sha256(bytes(200 << 20)).hexdigest()


@pytest.mark.parametrize("name", [b"../kubelet", b"a\\b", b"/kubelet", b"first"])
def test_the_members_behind_one_with_a_bad_name_are_read(name: bytes) -> None:
    data = Archive([Part(b"first", b"1"), Part(name, b"plain"), Part(b"behind", b"program")]).build()
    found = []
    for item in zips.read_members(io.BytesIO(data), "some.zip"):
        found.append(item.content.read() if isinstance(item, Member) and item.content else type(item))
    assert found == [b"1", Rejected, b"program"]
