"""The files of real RPMs compared with what rpm and cpio report, and those of malformed RPMs."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fipsmanifest.archive import rpm, rpmheader
from fipsmanifest.archive.limits import Limits
from fipsmanifest.archive.member import Member, Rejected
from fipsmanifest.errors import Incomplete, Refused
from tests.support import upstream
from tests.support.upstream import Parts


def read(path: Path) -> dict[str, tuple[Member, str | None]]:
    """Each member with the SHA-256 of its bytes, by path."""
    found: dict[str, tuple[Member, str | None]] = {}
    for member in rpm.members(path):
        digest = hashlib.sha256()
        while member.content and (chunk := member.content.read(1000)):
            digest.update(chunk)
        assert member.path not in found
        found[member.path] = (member, digest.hexdigest() if member.content else None)
    return found


def dump(path: Path) -> dict[str, list[str]]:
    """What ``rpm -qp --dump`` says: size, mtime, digest, mode, owner, group, config, doc, rdev, link target."""
    done = subprocess.run(["rpm", "-qp", "--nosignature", "--dump", path], capture_output=True, text=True, check=True)
    return {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}


@pytest.fixture(scope="session")
def links(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """By rpmbuild, xz, with hard links."""
    return upstream.rpmbuild(tmp_path_factory.mktemp("rpmbuild"))


@pytest.fixture(scope="session")
def simple(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """By nfpm, gzip."""
    return upstream.nfpm(tmp_path_factory.mktemp("nfpm"))


@pytest.mark.parametrize("compression", ["gzip", "xz", "zstd"])
def test_every_file_of_a_package_is_what_rpm_says_it_is(tmp_path: Path, compression: str) -> None:
    path = upstream.nfpm(tmp_path, compression=compression, contents=bytes(range(256)) * 5000)
    found, said = read(path), dump(path)
    assert found.keys() == said.keys()
    for name, (member, digest) in found.items():
        size, _, sha256, mode, *_, config, doc, _, target = said[name]
        assert f"0{0o100000 | member.mode:o}"[-4:] == mode[-4:]
        if digest is not None:
            assert (digest, member.size) == (sha256, int(size))
        assert member.target == (target if member.type == "symlink" else None)
        assert (member.mark == "config", member.mark == "doc") == (config == "1", doc == "1")
    assert {name: member.type for name, (member, _) in found.items() if member.type != "file"} == {
        "/usr/local/bin/kubelet": "symlink",
        "/etc/kubelet.d": "directory",
    }
    ghost = found["/var/log/kubelet.log"][0]
    assert (ghost.mark, ghost.content, ghost.size) == ("ghost", None, 0)


@pytest.mark.parametrize("payload", ["w6.gzdio", "w2.bzdio", "w2.lzdio", "w3.zstdio", "w.ufdio"])
def test_hard_links_follow_the_file_that_has_their_bytes(tmp_path: Path, payload: str) -> None:
    path = upstream.rpmbuild(tmp_path, payload)
    found, said = read(path), dump(path)
    assert found.keys() == said.keys()
    files = {name: digest for name, (_, digest) in found.items() if digest is not None}
    assert all(digest == said[name][2] for name, digest in files.items())
    hard = {name: member.target for name, (member, _) in found.items() if member.type == "hardlink"}
    assert set(hard) | {hard["/usr/bin/a" if "/usr/bin/a" in hard else "/usr/bin/b"]} >= {"/usr/bin/a", "/usr/bin/b"}
    order = list(found)
    for name, target in hard.items():
        assert target in files
        assert said[target][2] == said[name][2]
        assert order.index(target) < order.index(name)
    assert found["/usr/bin/a"][0].mode == 0o4755
    assert found["/usr/share/licenses/links/LICENSE"][0].mark == "doc"


def test_the_digests_are_those_of_rpm2cpio_and_cpio(links: Path, tmp_path: Path) -> None:
    archive = subprocess.run(["rpm2cpio", links], capture_output=True, check=True).stdout
    subprocess.run(["cpio", "-idm", "--quiet"], input=archive, cwd=tmp_path, check=True)
    for name, (member, digest) in read(links).items():
        unpacked = tmp_path / name.lstrip("/")
        if digest is not None:
            done = subprocess.run(["sha256sum", unpacked], capture_output=True, text=True, check=True)
            assert done.stdout.split()[0] == digest
        if member.type == "hardlink" and member.target is not None:
            assert unpacked.samefile(tmp_path / member.target.lstrip("/"))


def test_content_that_nobody_reads_is_passed_over(links: Path) -> None:
    assert [member.path for member in rpm.members(links)] == list(read(links))


def repacked(path: Path, change: Callable[[bytes], bytes]) -> Parts:
    """A package whose payload's cpio archive was changed; it is compressed again by the stock tool."""
    parts = Parts.of(path)
    archive = change(subprocess.run(["rpm2cpio", path], capture_output=True, check=True).stdout)
    tool = "gzip" if parts.payload.startswith(b"\x1f\x8b") else "xz"
    return replace(parts, payload=subprocess.run([tool, "-c"], input=archive, capture_output=True, check=True).stdout)


def entry(name: bytes, content: bytes = b"", mode: int = 0o100644, links: int = 1, inode: int = 99) -> bytes:
    """One entry of a cpio archive, after cpio(5)."""
    fields = [inode, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0]
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + name + b"\0"
    return head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4)


@pytest.mark.parametrize(
    ("story", "extra"),
    [
        ("leads out of the archive", entry(b"./../../etc/shadow", b"x")),
        ("not in its header", entry(b"./usr/bin/unlisted", b"x")),
        ("twice in its payload", entry(b"./usr/bin/kubelet", b"\x7fELF a kubelet\n", 0o100755)),
        ("of one type in its header", entry(b"./usr/bin/kubelet", b"", 0o020755)),
        ("is a ghost, and has content", entry(b"./var/log/kubelet.log", b"x")),
        ("not a valid cpio archive", b"070709" + bytes(110)),
        ("not hexadecimal", entry(b"./x").replace(b"00000063", b"0x000063", 1)),
        ("not hexadecimal", entry(b"./x").replace(b"00000063", b"+0000063", 1)),
        ("a name of 0 bytes", entry(b"./x").replace(b"00000004", b"00000000", 1)),
        ("a name of", entry(b"./x").replace(b"00000004", b"ffffffff", 1)),
        ("a name does not end where it says", entry(b"./x\0y", b"")),
    ],
)
def test_an_entry_that_does_not_belong_is_refused(simple: Path, tmp_path: Path, story: str, extra: bytes) -> None:
    bad = repacked(simple, lambda archive: extra + archive).write(tmp_path / "bad.rpm")
    with pytest.raises(Refused, match=rf"bad\.rpm.*{story}"):
        read(bad)


def test_all_that_header_and_payload_do_not_agree_on_is_listed_and_the_rest_is_read(
    simple: Path, tmp_path: Path
) -> None:
    def changed(archive: bytes) -> bytes:
        first = archive.index(b"070701", 6)
        assert b"etc/kubelet.conf\0" in archive[:first]
        return b"".join((entry(b"./usr/bin/unlisted", b"x"), entry(b"./var/log/kubelet.log", b"x"), archive[first:]))

    bad = repacked(simple, changed).write(tmp_path / "bad.rpm")
    found = list(rpm.entries(bad))
    errors = [item.error.message for item in found if isinstance(item, Rejected)]
    assert [error.partition(": ")[2] for error in errors[1:]] == [
        "'/var/log/kubelet.log' is a ghost, and has content in its payload.",
        "'/etc/kubelet.conf' is in its header, but its payload has no content for it.",
    ]
    assert "'./usr/bin/unlisted' in its payload, but not in its header" in errors[0]
    assert "/usr/bin/kubelet" in [item.path for item in found if isinstance(item, Member)]


def test_each_file_of_a_header_that_no_package_may_have_is_listed(links: Path, tmp_path: Path) -> None:
    parts = Parts.of(links)
    kind, count, modes = upstream.read_entries(parts.header)[1030]
    bad = parts.edited(1030, (kind, count, b"\x71\xff" * 2 + modes[4:])).write(tmp_path / "bad.rpm")
    found = list(rpm.entries(bad))
    errors = [item.error.message for item in found if isinstance(item, Rejected)]
    assert sum("is of an unknown type" in error for error in errors) == 2
    assert {item.path for item in found if isinstance(item, Member)} < set(read(links))


def test_a_link_target_or_size_other_than_the_headers_is_refused(simple: Path, tmp_path: Path) -> None:
    before = subprocess.run(["rpm2cpio", simple], capture_output=True, check=True).stdout
    link = before.index(b"./usr/local/bin/kubelet\0") + len(b"./usr/local/bin/kubelet\0")
    start = before.index(b"/usr/bin/kubelet", link)
    changed = before[:start] + b"/usr/bin/evilish" + before[start + 16 :]
    target = repacked(simple, lambda _: changed)
    with pytest.raises(Refused, match="not of the size or target"):
        read(target.write(tmp_path / "bad.rpm"))
    config = entry(b"./etc/kubelet.conf", b"a longer configuration\n")
    cut = before.index(b"070701", 6)
    assert before.startswith(b"070701")
    assert b"etc/kubelet.conf\0" in before[:cut]
    with pytest.raises(Refused, match=r"kubelet\.conf' is not of the size"):
        read(repacked(simple, lambda archive: config + archive[cut:]).write(tmp_path / "bad.rpm"))


def test_a_file_of_the_header_without_content_is_refused(simple: Path, tmp_path: Path) -> None:
    def without_first(archive: bytes) -> bytes:
        return archive[archive.index(b"070701", 6) :]

    with pytest.raises(Refused, match="has no content for it"):
        read(repacked(simple, without_first).write(tmp_path / "bad.rpm"))


def test_hard_links_that_never_get_their_content_or_get_it_early_are_refused(simple: Path, tmp_path: Path) -> None:
    before = subprocess.run(["rpm2cpio", simple], capture_output=True, check=True).stdout
    first = before[before.index(b"070701", 6) :]
    for content, story in ((b"", "has no content for it"), (b"flags=\n", "before the last of its hard links")):
        early = entry(b"./etc/kubelet.conf", content, links=5)
        bad = repacked(simple, lambda _, early=early: early + first)  # type: ignore[misc]
        with pytest.raises(Refused, match="another file in its header"):
            read(bad.write(tmp_path / "bad.rpm"))
        # Without inodes, the header says nothing of links.
        with pytest.raises(Refused, match=story):
            read(bad.edited(1096, None).write(tmp_path / "bad.rpm"))


def test_a_payload_that_is_cut_or_damaged_is_refused(simple: Path, links: Path, tmp_path: Path) -> None:
    for path in (simple, links):
        parts = Parts.of(path)
        for payload in (b"", parts.payload[:1], parts.payload[: len(parts.payload) // 2], parts.payload[:-1]):
            with pytest.raises(Refused):
                read(replace(parts, payload=payload).write(tmp_path / "bad.rpm"))


def test_a_payload_that_expands_beyond_the_limit_is_refused_by_name(tmp_path: Path) -> None:
    path = upstream.nfpm(tmp_path, contents=bytes(20 << 20))
    assert path.stat().st_size < 1 << 20
    with pytest.raises(Refused, match=r"kubelet-1.21.3-0.x86_64.rpm expands beyond"):
        for member in rpm.members(path, limits=Limits(expanded=10 << 20)):
            while member.content and member.content.read(1 << 20):
                pass


@pytest.mark.parametrize(
    ("story", "tag", "value"),
    [
        ("is of an unknown type", 1030, (3, 5, b"\x71\xff" * 5)),
        ("do not fit together", 1030, (3, 1, b"\x81\xa4")),
        ("do not fit together", 1116, (4, 5, b"\0\0\0\x63" * 5)),
        ("path twice", 1117, (8, 5, b"a\0" * 5)),
        ("leads out of the archive", 1118, (8, 5, b"/usr/../../../\0" * 5)),
        ("is outside", 1030, (3, 60_000, b"\0\0")),
        ("is outside", 1117, (8, 1 << 30, b"a\0")),
        ("not of numbers", 1030, (6, 1, b"x\0")),
        # rpm 4.18 refuses these by the tag's type; without that, it is half as many numbers, of which each is two.
        ("of another size", 1030, (4, 5, b"\0\0\x81\xed" * 5)),
        ("of another size", 1037, (5, 5, bytes(8 * 5))),
        ("of another size", 1116, (5, 5, bytes(8 * 5))),
        ("not of text", 1117, (4, 1, b"\0\0\0\1")),
        ("compressed with 'lz4'", 1125, (6, 1, b"lz4\0")),
    ],
)
def test_a_header_that_makes_no_sense_is_refused(
    links: Path, tmp_path: Path, story: str, tag: int, value: tuple[int, int, bytes]
) -> None:
    parts = Parts.of(links)
    count = upstream.read_entries(parts.header)[1117][1]
    kind, wanted, data = value
    # The table has as many rows as the package has files.
    if wanted == 5:
        value = (kind, count, data[: len(data) // 5] * count)
    with pytest.raises(Refused, match=story):
        read(parts.edited(tag, value).write(tmp_path / "bad.rpm"))


def test_a_tag_that_stands_twice_is_refused(links: Path, tmp_path: Path) -> None:
    # Two readers could see two packages.
    parts = Parts.of(links)
    name, version = (1000).to_bytes(4, "big") + b"\0\0\0\6", (1001).to_bytes(4, "big") + b"\0\0\0\6"
    assert version in parts.header
    with pytest.raises(Refused, match="tag 1000 is present twice"):
        read(replace(parts, header=parts.header.replace(version, name, 1)).write(tmp_path / "bad.rpm"))


def test_a_header_that_claims_gigabytes_is_refused_without_reading_them(links: Path, tmp_path: Path) -> None:
    parts = Parts.of(links)
    for claimed in (b"\xff\xff\xff\xff\0\0\0\0", b"\0\0\0\1\xff\xff\xff\xff"):
        header = parts.header[:8] + claimed + parts.header[16:]
        with pytest.raises(Refused, match="a header does not begin with its magic number"):
            read(replace(parts, header=header).write(tmp_path / "bad.rpm"))


def test_any_damaged_byte_of_the_headers_ends_in_an_error_of_ours_or_in_files(links: Path, tmp_path: Path) -> None:
    good = links.read_bytes()
    end = len(good) - len(Parts.of(links).payload)
    bad = tmp_path / "bad.rpm"
    for position in range(0, end, 23):
        for byte in (0x00, 0x7F, 0xFF):
            bad.write_bytes(good[:position] + bytes([byte]) + good[position + 1 :])
            try:
                read(bad)
                with bad.open("rb") as file:
                    assert isinstance(rpmheader.read(file, "bad").nevra, str)
            except Refused as error:
                assert "bad.rpm" in error.message


def test_the_short_form_of_large_packages_is_read_by_number() -> None:
    # rpm's lib/cpio.c: "07070X", the file's number in eight digits, padding to four bytes, content, padding.
    from fipsmanifest.archive import cpio

    sizes = {0: 5, 1: 0, 2: 4}
    data = b"07070X00000000\0\0hello\0\0\0" + b"07070X00000001\0\0" + b"07070X00000002\0\0last" + entry(b"TRAILER!!!")

    class Stream:
        position = 0

        def read(self, size: int = -1, /) -> bytes:
            part = data[self.position : self.position + size]
            self.position += len(part)
            return part

    found = [(each.number, each.content.read(100)) for each in cpio.entries(Stream(), "big.rpm", sizes.__getitem__)]
    assert found == [(0, b"hello"), (1, b""), (2, b"last")]


def test_a_package_that_is_not_there_is_incomplete(tmp_path: Path) -> None:
    with pytest.raises(Incomplete, match=r"none\.rpm cannot be read"):
        read(tmp_path / "none.rpm")


def short_form(archive: bytes, order: list[str]) -> bytes:
    """Return a payload in the form for packages with large files, whose entries name files of ``order`` by number."""
    out, position = b"", 0
    while True:
        size, named = int(archive[position + 54 : position + 62], 16), int(archive[position + 94 : position + 102], 16)
        start = position + 110
        name = archive[start : start + named - 1]
        content = start + named + -(110 + named) % 4
        if name == b"TRAILER!!!":
            return out + archive[position:]
        out += b"07070X%08x\0\0" % order.index(name.decode().lstrip("."))
        out += archive[content : content + size] + bytes(-size % 4)
        position = content + size + -size % 4


def test_hard_links_of_the_short_form_are_those_that_the_header_says(links: Path, tmp_path: Path) -> None:
    listed = subprocess.run(["rpm", "-qpl", links], capture_output=True, text=True, check=True).stdout.split()
    large = repacked(links, lambda archive: short_form(archive, listed)).write(tmp_path / "large.rpm")
    assert (
        b"07070X"
        in subprocess.run(["xz", "-dc"], input=Parts.of(large).payload, capture_output=True, check=True).stdout
    )
    found, plain = read(large), read(links)
    assert {name: (member.type, digest) for name, (member, digest) in found.items()} == {
        name: (member.type, digest) for name, (member, digest) in plain.items()
    }
    assert any(member.type == "hardlink" for member, _ in found.values())


def test_hard_links_that_only_the_payload_has_are_refused(links: Path, tmp_path: Path) -> None:
    # rpm uses the header, cpio the payload.
    parts = Parts.of(links)
    kind, count, _ = upstream.read_entries(parts.header)[1096]
    inodes = b"".join((number + 1).to_bytes(4, "big") for number in range(count))
    edited = parts.edited(1096, (kind, count, inodes))
    with pytest.raises(Refused, match="is a hard link in its payload, and of another file in its header"):
        read(edited.write(tmp_path / "bad.rpm"))


def test_data_behind_the_end_of_a_payload_is_refused(simple: Path, tmp_path: Path) -> None:
    padded = repacked(simple, lambda archive: archive + bytes(600))
    assert read(padded.write(tmp_path / "good.rpm"))
    more = repacked(simple, lambda archive: archive + bytes(512) + entry(b"./usr/bin/hidden", b"content"))
    with pytest.raises(Refused, match="behind the end of its payload"):
        read(more.write(tmp_path / "bad.rpm"))


@pytest.mark.parametrize(
    ("tag", "value", "why"), [(1125, b"xz\0", "header says xz"), (1124, b"drpm\0", "format 'drpm'")]
)
def test_a_payload_that_is_not_what_the_header_says_is_refused(
    simple: Path, tmp_path: Path, tag: int, value: bytes, why: str
) -> None:
    bad = Parts.of(simple).edited(tag, (6, 1, value)).write(tmp_path / "bad.rpm")
    with pytest.raises(Refused, match=why):
        read(bad)


# A package of a container's root file system has them; rpm makes them, and nothing is in them.
def test_devices_and_fifos_hold_nothing_and_the_rest_is_read(tmp_path: Path) -> None:
    (tmp_path / "odd.spec").write_text(_ODD)
    command = ["rpmbuild", "-bb", "--define", f"_topdir {tmp_path}", f"{tmp_path}/odd.spec"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    (path,) = tmp_path.glob("RPMS/*/*.rpm")
    found = read(path)
    assert {name: (member.type, digest is None) for name, (member, digest) in found.items()} == {
        "/dev/null": ("special", True),
        "/dev/loop0": ("special", True),
        "/run/initctl": ("special", True),
        "/usr/bin/kubelet": ("file", False),
    }
    assert found.keys() == dump(path).keys()


_ODD = """\
Name: odd
Version: 1.0
Release: 1
Summary: for tests
License: ASL
%description
For tests.
%install
mkdir -p %{buildroot}/usr/bin %{buildroot}/run
echo kubelet > %{buildroot}/usr/bin/kubelet
mkfifo %{buildroot}/run/initctl
%files
%dev(c, 1, 3) /dev/null
%dev(b, 7, 0) /dev/loop0
/run/initctl
/usr/bin/kubelet
"""
