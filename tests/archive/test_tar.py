"""Tars of every form, as GNU tar and Python write them; and hostile ones, made by hand."""

import hashlib
import io
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fipsmanifest.archive.limits import Limits
from fipsmanifest.archive.member import Member
from fipsmanifest.archive.open import kind_of
from fipsmanifest.archive.tar import is_header, members, tarball_members
from fipsmanifest.errors import Incomplete, Refused
from tests.support.registry import make_layer

LONG = "usr/share/" + "a-very-long-name/" * 12 + "file"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree")
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/local/bin").mkdir(parents=True)
    (root / LONG).parent.mkdir(parents=True)
    (root / LONG).write_bytes(b"long")
    (root / "usr/local/bin/containerd").write_bytes(os.urandom(700_001))
    (root / "usr/local/bin/containerd").chmod(0o4755)
    (root / "usr/local/bin/empty").touch()
    (root / "usr/local/bin/block").write_bytes(b"x" * 512)
    (root / "usr/bin/containerd").symlink_to("../local/bin/containerd")
    (root / "usr/bin/absolute").symlink_to("/usr/local/bin/containerd")
    (root / "usr/bin/long").symlink_to("../share/" + "b" * 150)
    os.link(root / "usr/local/bin/containerd", root / "usr/local/bin/hard")
    (root / "usr/bin/ünïcode").write_bytes(b"u")
    Path(os.fsdecode(os.fsencode(root) + b"/usr/bin/latin-\xe9")).write_bytes(b"l")
    return root


def seen(found: list[tuple[Member, str | None]]) -> dict[str, tuple[object, ...]]:
    return {
        member.path: (member.type, oct(member.mode), member.size, member.target, digest) for member, digest in found
    }


def hashed(member: Member) -> str | None:
    return hashlib.sha256(member.content.read()).hexdigest() if member.content else None


FORMS = {
    "gnu": ["--format=gnu"],
    "pax": ["--format=pax"],
    "oldgnu": ["--format=oldgnu"],
    "without ./": ["--format=gnu", "--transform=s,^\\./,,"],
    "gzip": ["--format=gnu", "-z"],
    "xz": ["--format=pax", "-J"],
    "zstd": ["--format=gnu", "--zstd"],
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_what_is_on_the_disk(tree: Path, form: str, tmp_path: Path) -> None:
    path = tmp_path / "some.tar"
    subprocess.run(["tar", "--sort=name", "-C", str(tree), "-cf", str(path), *FORMS[form], "."], check=True)
    found = seen([(member, hashed(member)) for member in tarball_members(path)])
    # Python's tarfile unpacks for comparison, and the disk says what is there.
    for member_path, (kind, mode, size, target, digest) in found.items():
        place = tree / member_path.lstrip("/")
        assert mode == oct(place.lstat().st_mode & 0o7777)
        if kind == "file":
            data = place.read_bytes()
            assert (size, digest) == (len(data), hashlib.sha256(data).hexdigest())
        elif kind == "symlink":
            assert (target, digest, size) == (str(place.readlink()), None, 0)
        elif kind == "hardlink":
            assert isinstance(target, str)
            assert place.samefile(tree / target.lstrip("/"))
    on_disk = {"/" + str(place.relative_to(tree)) for place in tree.rglob("*")} | {"/"}
    assert set(found) == on_disk
    assert [kind for kind, *_ in found.values()].count("hardlink") == 1


def test_members_are_placed_below_the_root_of_the_definition(tree: Path, tmp_path: Path) -> None:
    path = tmp_path / "some.tar.gz"
    subprocess.run(["tar", "-C", str(tree / "usr/local/bin"), "-czf", str(path), "."], check=True)
    found = {member.path: member.target for member in tarball_members(path, root="/opt/bin")}
    assert set(found) == {f"/opt/bin{name}" for name in ("", "/containerd", "/hard", "/empty", "/block")}
    assert "/opt/bin/containerd" in found.values() or "/opt/bin/hard" in found.values()


def test_what_is_not_read_is_passed_over(tree: Path, tmp_path: Path) -> None:
    path = tmp_path / "some.tar"
    subprocess.run(["tar", "-C", str(tree), "-cf", str(path), "."], check=True)
    names = [member.path for member in tarball_members(path)]
    with tarfile.open(path) as tar:
        assert names == ["/" + name.removeprefix(".").strip("/") for name in tar.getnames()]


def made(*entries: tarfile.TarInfo | tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for entry in entries:
            info, data = entry if isinstance(entry, tuple) else (entry, b"")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def read(data: bytes, limits: Limits | None = None, root: str = "/") -> list[Member]:
    return list(members(io.BytesIO(data), root=root, archive="some.tar", limits=limits or Limits()))


def test_of_a_path_that_comes_twice_both_come_in_their_order() -> None:
    data = made((entry("a"), b"first"), (entry("./a"), b"second"))
    found = [
        (member.path, member.content.read() if member.content else None)
        for member in members(io.BytesIO(data), root="/", archive="some.tar")
    ]
    assert found == [("/a", b"first"), ("/a", b"second")]


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (entry("../../etc/passwd"), r"'\.\./\.\./etc/passwd' leads out"),
        (entry("a/../../b"), "leads out"),
        (entry("evil", tarfile.LNKTYPE, "../../etc/passwd"), r"'\.\./\.\./etc/passwd' leads out"),
        (entry("empty", tarfile.SYMTYPE, ""), "'/empty' has a target that is empty, too long, or has a NUL"),
        (entry("odd", b"Q"), "'odd' is of the unknown type b'Q'"),
        (entry("n" * 300), "longer than a path can be"),
        (entry("n/" * 2500 + "n"), "longer than a path can be"),
    ],
)
def test_a_member_that_no_node_should_meet_is_refused_and_named(bad: tarfile.TarInfo, why: str) -> None:
    data = made((entry("good"), b"content"), bad)
    with pytest.raises(Refused, match=r"some\.tar: .*" + why):
        read(data)


def test_an_absolute_name_is_refused_unless_the_root_is_the_nodes() -> None:
    data = made(entry("/usr/bin/x"))
    assert [member.path for member in read(data)] == ["/usr/bin/x"]
    with pytest.raises(Refused, match="'/usr/bin/x' is absolute"):
        read(data, root="/opt")


def test_members_beyond_the_limit_are_refused_and_the_next_is_named() -> None:
    data = made(*(entry(f"file{number}") for number in range(11)))
    assert len(read(data, Limits(members=11))) == 11
    with pytest.raises(Refused, match="more than 10 members, the next is 'file10'"):
        read(data, Limits(members=10))


def test_names_are_bounded_together_with_the_targets_of_links() -> None:
    data = make_layer({"a" * 90: b"", "b" * 60: "c" * 50})
    assert len(read(data, Limits(names=200))) == 2
    with pytest.raises(Refused, match="more than 199 bytes of names"):
        read(data, Limits(names=199))


def test_expansion_beyond_the_limit_is_refused_before_it_happens_and_the_member_is_named() -> None:
    data = made((entry("small"), b"x" * 1000), (entry("large"), b"x" * 9000))
    assert len(read(data, Limits(expanded=11_024))) == 2
    with pytest.raises(Refused, match="'large' takes it beyond 11023 bytes"):
        read(data, Limits(expanded=11_023))


def test_a_bomb_is_refused_and_the_member_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bomb.tar.zst"
    # A tebibyte is announced; a sparse megabyte follows.
    info = entry("bomb")
    info.size = 1 << 40
    data = info.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20)
    path.write_bytes(subprocess.run(["zstd", "-qc"], input=data, capture_output=True, check=True).stdout)
    with pytest.raises(Refused, match=r"bomb\.tar\.zst: 'bomb' takes it beyond"):
        list(tarball_members(path))


def test_a_negative_size_is_refused() -> None:
    block = bytearray(entry("negative").tobuf(tarfile.GNU_FORMAT))
    block[124:136] = b"\xff" * 12
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    with pytest.raises(Refused, match="is damaged: a header is not valid"):
        read(bytes(block) + bytes(1024))


# The standard library would read this into memory before it could be refused.
@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_an_extended_header_of_any_size_is_refused_unread(kind: bytes) -> None:
    info = entry("@LongLink", kind)
    info.size = 1 << 33
    with pytest.raises(Refused, match="'@LongLink' is damaged: it is an extended header of 8589934592 bytes"):
        read(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))


def test_extended_headers_without_end_are_refused() -> None:
    for limit in (Limits(members=100), Limits(expanded=50 << 10)):
        with pytest.raises(Refused, match=r"more than 100 members|takes it beyond"):
            read(pax(b"13 comment=x\n", tarfile.XGLTYPE) * 101 + bytes(1024), limit)


def pax(records: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    info = entry("pax", kind)
    info.size = len(records)
    return info.tobuf(tarfile.USTAR_FORMAT) + records + bytes(-len(records) % 512)


@pytest.mark.parametrize(
    "records",
    [b"99 path=x\n", b"x path=x\n", b"8 path=x\n", b"10 path=x\n\n", b"-1 path=x\n", b"0 path=x\n", b"4 =x\n", b"12"],
)
def test_a_damaged_extended_header_is_refused_and_named(records: bytes) -> None:
    with pytest.raises(Refused, match="'pax' is damaged: a pax record is not valid"):
        read(pax(records) + made(entry("x")))


@pytest.mark.parametrize(
    ("records", "why"),
    [
        (b"22 path=../../../../x\n", "leads out"),
        (b"14 size=-1234\n", "'pax' is ambiguous: its size is not a number"),
        (b"22 GNU.sparse.major=1\n", "of no known form of sparse files"),
        (b"12 path=a\0b\n", "is empty or has a NUL"),
    ],
)
def test_extended_headers_cannot_smuggle_what_is_refused_elsewhere(records: bytes, why: str) -> None:
    with pytest.raises(Refused, match=why):
        read(pax(records) + made(entry("x")))


def test_a_global_header_may_comment_and_not_name() -> None:
    assert [member.path for member in read(pax(b"13 comment=x\n", tarfile.XGLTYPE) + made(entry("x")))] == ["/x"]
    with pytest.raises(Refused, match="a global header sets path for every member after it"):
        read(pax(b"9 path=y\n", tarfile.XGLTYPE) + made(entry("x")))


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda data: data[:700], "ends in the middle of 'a'"),
        (lambda data: data[:1100], "ends in the middle of 'a'"),
        (lambda data: data[: 512 + 1536 + 100], "a header is not valid"),
        (lambda data: data[:2048] + b"\x01" * 512 + data[2560:], "a header is not valid"),
        (lambda data: data[:2048] + bytes(512) + data[2048:], "after a lone zero block"),
        (lambda data: data[:300], "is not a tar archive"),
        (lambda data: b"\x7fELF" + data[4:], "a header is not valid"),
    ],
)
def test_a_damaged_or_cut_tar_is_refused(spoil: Callable[[bytes], bytes], why: str) -> None:
    data = made((entry("a"), b"x" * 1500), (entry("b"), b"y"))
    assert len(read(data)) == 2
    with pytest.raises(Refused, match=r"some\.tar" + ".*" + why):
        read(spoil(data))


@pytest.mark.parametrize("compressor", [["cat"], ["gzip", "-c"], ["xz", "-c"], ["zstd", "-qc"]])
def test_a_tarball_cut_anywhere_is_refused(compressor: list[str], tmp_path: Path) -> None:
    data = made((entry("a"), os.urandom(50_000)), (entry("b"), b"y"))[: 512 + 50_176 + 1024 + 1024]
    packed = subprocess.run(compressor, input=data, capture_output=True, check=True).stdout
    path = tmp_path / "some.tar"
    for cut in (100, 600, len(packed) // 2, len(packed) - 1 if compressor != ["cat"] else 51_000):
        path.write_bytes(packed[:cut])
        with pytest.raises(Refused, match=r"some\.tar"):
            list(tarball_members(path))


def test_the_end_marker_may_be_missing_as_builders_leave_it_out() -> None:
    assert [member.path for member in read(made((entry("a"), b"x"))[:1024])] == ["/a"]


@pytest.mark.parametrize("data", [bytes(10_240), made(entry("only/", tarfile.DIRTYPE))])
def test_a_tarball_without_files_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "some.tar").write_bytes(data)
    with pytest.raises(Refused, match=r"some\.tar has no files in it"):
        list(tarball_members(tmp_path / "some.tar"))


def test_a_tarball_that_cannot_be_read_is_no_verdict_on_it(tmp_path: Path) -> None:
    with pytest.raises(Incomplete, match="No such file"):
        list(tarball_members(tmp_path / "missing.tar"))


def spoilt(field: int, data: bytes, checksum: bytes = b"%06o\0 ", magic: bytes = bytes(8)) -> bytes:
    """A tar of one file whose header has ``data`` at ``field``, and a right checksum in its own way of writing."""
    block = bytearray(made((entry("x"), b"1")))
    block[257:265] = magic
    block[field : field + len(data)] = data
    block[148:156] = b" " * 8
    written = checksum % sum(block[:512])
    block[148 : 148 + len(written)] = written
    return bytes(block)


# Each is a tar to GNU tar, which reads a number as far as it goes, and none to a strict reader.
@pytest.mark.parametrize(
    "data",
    [
        spoilt(136, b"0000000000 Z"),
        spoilt(108, b"77 !!!!!"),
        spoilt(136, b"0000000000 Z", b"\t%05o Z"),
        spoilt(136, b"0000000000 Z", b"\0%06o"),
        spoilt(136, b"+AAAAAAAAAAA"),
        spoilt(136, b"0000000000 Z", magic=b"ustar  \0"),
    ],
    ids=["time", "owner", "checksum", "NUL before the checksum", "base 64", "magic"],
)
def test_what_gnu_tar_unpacks_is_told_for_a_tar_and_refused_if_it_is_read_in_another_way(
    data: bytes, tmp_path: Path
) -> None:
    (tmp_path / "some.tar").write_bytes(data)
    listed = subprocess.run(["tar", "-tf", tmp_path / "some.tar"], capture_output=True, text=True, check=True).stdout
    assert listed == "x\n"
    assert is_header(data[:512])
    assert kind_of(tmp_path / "some.tar") == "tar"
    with pytest.raises(Refused, match="a header is not valid"):
        read(data)


def test_a_header_is_told_by_its_magic_or_its_checksum() -> None:
    block = made(entry("x"))[:512]
    without = spoilt(257, bytes(8))[:512]
    assert is_header(block)
    assert is_header(without)
    total = int(without[148:154], 8)
    assert is_header(without[:148] + b"\x80" + total.to_bytes(7, "big") + without[156:])
    # Go passes over any number of NULs and blanks before the digits.
    assert is_header(without[:148] + b"\0 \0%05o" % total + without[156:])
    assert is_header(b"y" + block[1:])
    assert not is_header(b"y" + without[1:])
    assert not is_header(block[:511])
    assert not is_header(b"short")
    assert not is_header(bytes(512))
    assert not is_header(b" " * 512)


_SOUND = made(
    (entry("usr/bin/x"), b"x" * 700), entry("y", tarfile.SYMTYPE, "usr/bin/x"), (entry("n/" * 80), b"z")
) + pax(b"12 path=a/b\n")


@given(st.lists(st.tuples(st.integers(0, len(_SOUND) - 1), st.integers(0, 255)), max_size=6), st.integers(0, 1 << 13))
def test_damage_anywhere_is_refused_or_harmless_and_never_a_traceback(damage: list[tuple[int, int]], end: int) -> None:
    data = bytearray(_SOUND)
    for offset, value in damage:
        data[offset] = value
    try:
        for member in members(io.BytesIO(bytes(data[:end])), root="/", archive="some.tar"):
            assert member.path.startswith("/")
            assert member.content is None or len(member.content.read()) == member.size
    except Refused as error:
        assert "some.tar" in str(error)
