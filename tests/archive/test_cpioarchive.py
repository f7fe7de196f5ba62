"""cpio archives that are files of their own, as cpio writes them and the kernel unpacks them."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import subprocess
from pathlib import Path

import pytest

from fipsmanifest.archive import cpioarchive
from fipsmanifest.archive.limits import Limits
from fipsmanifest.archive.member import Damaged, Member, Rejected, Unread
from fipsmanifest.archive.open import kind_of
from fipsmanifest.errors import Refused

FORMS = ["newc", "crc", "odc", "bin"]


def entry(
    name: bytes,
    content: bytes = b"",
    mode: int = 0o100755,
    *,
    inode: int = 1,
    links: int = 1,
    checksum: int | None = None,
) -> bytes:
    """Return one entry in the new ASCII format, with a checksum where one is given."""
    fields = (inode, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0, len(name) + 1, checksum or 0)
    out = (b"070701" if checksum is None else b"070702") + b"".join(b"%08x" % value for value in fields) + name + b"\0"
    out += bytes(-len(out) % 4)
    return out + content + bytes(-len(content) % 4)


END = entry(b"TRAILER!!!", mode=0)


def tree(directory: Path) -> Path:
    (directory / "usr").mkdir(parents=True)
    (directory / "usr/kubelet").write_bytes(b"\x7fELF" * 1001)
    os.link(directory / "usr/kubelet", directory / "usr/again")
    (directory / "usr/link").symlink_to("kubelet")
    (directory / "usr/odd").write_bytes(b"odd")
    os.mkfifo(directory / "usr/fifo")
    return directory


def made(directory: Path, form: str) -> bytes:
    names = b"usr\nusr/kubelet\nusr/again\nusr/link\nusr/odd\nusr/fifo\n"
    command = ["cpio", "-o", "-H", form, "--quiet"]
    return subprocess.run(command, cwd=directory, input=names, capture_output=True, check=True).stdout


def read(data: bytes) -> dict[str, bytes | str | None]:
    found: dict[str, bytes | str | None] = {}
    for item in cpioarchive.read_members(io.BytesIO(data), "some.cpio", Limits()):
        if isinstance(item, Member) and item.type != "directory":
            content = b""
            while item.content and (part := item.content.read(100)):
                content += part
            found[item.path] = item.type if item.type == "special" else content if item.content else item.target
        elif isinstance(item, Unread):
            found[item.path] = item.format
        elif isinstance(item, Rejected):
            raise item.error
    return found


@pytest.mark.parametrize("form", FORMS)
def test_every_format_of_cpio_is_read(tmp_path: Path, form: str) -> None:
    data = made(tree(tmp_path / "root"), form)
    (tmp_path / "data.bin").write_bytes(data)
    assert kind_of(tmp_path / "data.bin") == "cpio"
    found = read(data)
    assert found.pop("/usr/fifo") == "special"
    assert found["/usr/link"] == "kubelet"
    assert found["/usr/odd"] == b"odd"
    program = b"\x7fELF" * 1001
    # The formats with hard links have the content once, the old ones with each.
    assert program in (found["/usr/kubelet"], found["/usr/again"])
    assert {found["/usr/kubelet"], found["/usr/again"]} <= {program, "/usr/kubelet", "/usr/again"}


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
def test_all_archives_of_an_initramfs_are_read(tmp_path: Path, compress: object) -> None:
    # The microcode of a processor comes first and uncompressed, the rest behind it.
    second = entry(b"init", b"#!/bin/sh") + END
    data = entry(b"kernel/x86/microcode", b"code") + END + bytes(512) + compress(second + bytes(100))  # type: ignore[operator]
    assert read(data) == {"/kernel/x86/microcode": b"code", "/init": b"#!/bin/sh"}
    assert read(entry(b"a", b"1") + END + bytes(256) + second) == {"/a": b"1", "/init": b"#!/bin/sh"}


def test_what_follows_an_archive_and_is_none_is_listed() -> None:
    first = entry(b"a", b"1") + END
    assert read(first + bytes(12) + b"\x04\x22\x4d\x18 more") == {"/a": b"1", "/": "lz4 data"}
    assert read(first + b"something") == {"/a": b"1", "/": "data of an unknown format"}
    items = list(cpioarchive.read_members(io.BytesIO(first + b"something"), "some.cpio"))
    assert isinstance(items[-1], Unread)


def test_an_entry_called_as_the_trailer_hides_nothing_behind_it() -> None:
    data = entry(b"a", b"1") + END + entry(b"kubelet", b"hidden") + END
    assert read(data) == {"/a": b"1", "/kubelet": b"hidden"}


def test_both_of_two_entries_with_one_name_are_read() -> None:
    data = entry(b"a", b"1") + entry(b"./a", b"2") + END
    items = [item for item in cpioarchive.read_members(io.BytesIO(data), "some.cpio") if isinstance(item, Member)]
    assert [item.path for item in items] == ["/a", "/a"]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (entry(b"a", b"1"), "ends too early"),
        (entry(b"a", b"1") + b"07070", "ends too early"),
        (entry(b"a", b"12", checksum=ord("1")) + END, "checksum of 'a' is wrong"),
        (entry(b"../a", b"1") + END, "leads out"),
        (entry(b"a\0b", b"1") + END, "does not end"),
        (entry(b"", b"1") + END, "unknown"),
        (entry(b"a", b"1", 0o010644) + END, "cannot have content"),
        (entry(b"a", b"1", 0o170000) + END, "unknown"),
        (entry(b"a", b"1", links=2) + entry(b"b", b"2", links=2) + END, "hard link of '/a' with other bytes"),
        (entry(b"a", b"1") + b"0707070" + entry(b"b")[7:], "octal|different formats"),
        (entry(b"TRAILER!!!", b"content", mode=0), "trailer has content"),
    ],
)
def test_an_archive_that_tools_do_not_unpack_alike_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(Refused, match=why):
        read(data)


def test_links_whose_content_never_comes_are_empty_files_as_cpio_makes_them() -> None:
    assert read(entry(b"a", links=2) + entry(b"b", links=2) + END) == {"/a": b"", "/b": b""}


def test_more_members_than_allowed_are_refused() -> None:
    data = entry(b"a", b"1") + entry(b"b", b"2") + END
    with pytest.raises(Refused, match="more than 1 members"):
        list(cpioarchive.read_members(io.BytesIO(data), "some.cpio", Limits(members=1)))


REJECTED = {
    "a name that leads out": entry(b"../kubelet", b"plain"),
    "a link with a target that is too long": entry(b"link", b"t" * 5000, 0o120777),
    "a link without a target": entry(b"link", b"", 0o120777),
    "an unknown type": entry(b"odd", b"odd", 0o010000 | 0o150000),
}


@pytest.mark.parametrize("case", REJECTED)
def test_what_follows_an_entry_that_is_refused_is_read(tmp_path: Path, case: str) -> None:
    data = REJECTED[case] + entry(b"behind", b"program", inode=2) + END
    items = []
    for item in cpioarchive.read_members(io.BytesIO(data), "some.cpio"):
        assert not isinstance(item, Unread)
        items.append(item.content.read() if isinstance(item, Member) and item.content else type(item))
    assert items == [Rejected, b"program"]
    # cpio goes on as well.
    command = ["cpio", "-id", "--quiet", "--no-absolute-filenames"]
    subprocess.run(command, cwd=tmp_path, input=data, capture_output=True, check=False)
    assert (tmp_path / "behind").read_bytes() == b"program"


def test_a_wrong_checksum_is_an_error_of_its_entry_alone() -> None:
    data = entry(b"bad", b"plain", checksum=1) + entry(b"behind", b"program", inode=2, checksum=sum(b"program")) + END
    found: list[bytes] = []
    for item in cpioarchive.read_members(io.BytesIO(data), "some.cpio"):
        assert isinstance(item, Member) and item.content is not None
        if item.path == "/bad":
            with pytest.raises(Damaged, match="checksum of 'bad' is wrong"):
                item.content.read()
        else:
            found.append(item.content.read())
    assert found == [b"program"]


@pytest.mark.parametrize(
    "bad", [entry(b"odd", b"odd", 0o010644), entry(b"../kubelet", b"plain", links=2), entry(b"odd", b"", 0, links=2)]
)
def test_nothing_is_read_behind_an_entry_of_unknown_extent_or_with_other_links(bad: bytes) -> None:
    with pytest.raises(Refused):
        assert not list(cpioarchive.read_members(io.BytesIO(bad + entry(b"behind", b"program") + END), "some.cpio"))
