"""ar archives as dpkg-deb and ar make them, and ones that tools read differently."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import pytest

from fipsmanifest.archive import ar
from fipsmanifest.archive.limits import Limits
from fipsmanifest.archive.member import Member, Rejected
from fipsmanifest.archive.open import kind_of
from fipsmanifest.errors import Refused


def member(name: bytes, content: bytes = b"content", end: bytes = b"`\n") -> bytes:
    head = name.ljust(16) + b"0".ljust(12) + b"0".ljust(6) + b"0".ljust(6) + b"100644".ljust(8)
    return head + str(len(content)).encode().ljust(10) + end + content + (b"\n" if len(content) % 2 else b"")


def read(data: bytes, limits: Limits | None = None) -> list[tuple[str, bytes]]:
    found = []
    for item in ar.read_members(io.BytesIO(data), "some.a", limits or Limits()):
        if isinstance(item, Rejected):
            raise item.error
        if item.content:
            found.append((item.path, item.content.read()))
    return found


@pytest.mark.parametrize("compression", ["gzip", "xz", "zstd", "none"])
def test_a_package_of_dpkg_has_its_two_tarballs(tmp_path: Path, compression: str) -> None:
    control = tmp_path / "root/DEBIAN/control"
    control.parent.mkdir(parents=True)
    control.write_text(
        "Package: kubelet\nVersion: 1\nArchitecture: amd64\nMaintainer: a <a@example.com>\nDescription: x\n"
    )
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", f"-Z{compression}", "-b", "root", "kubelet.deb"],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    assert kind_of(tmp_path / "kubelet.deb") == "ar"
    names = [path for path, _ in read((tmp_path / "kubelet.deb").read_bytes())]
    assert [name.rpartition(".tar")[0] or name for name in names] == ["/debian-binary", "/control", "/data"]


def test_long_names_of_ar_are_read(tmp_path: Path) -> None:
    name = "a-name-that-is-longer-than-a-header-allows"
    (tmp_path / name).write_bytes(b"odd")
    (tmp_path / "short").write_bytes(b"even")
    subprocess.run(["ar", "rc", "some.a", name, "short"], cwd=tmp_path, check=True)
    assert read((tmp_path / "some.a").read_bytes()) == [(f"/{name}", b"odd"), ("/short", b"even")]
    bsd = ar.MAGIC + member(b"#1/8", b"longnameand content")
    assert read(bsd) == [("/longname", b"and content")]


def test_both_of_two_members_with_one_name_are_read() -> None:
    assert read(ar.MAGIC + member(b"a/", b"1") + member(b"a", b"2")) == [("/a", b"1"), ("/a", b"2")]


@pytest.mark.parametrize(
    "data",
    [
        b"!<arch>",
        ar.MAGIC + member(b"a/")[:-2],
        ar.MAGIC + member(b"a/")[:40],
        ar.MAGIC + member(b"a/", end=b"xx"),
        ar.MAGIC + member(b"a/")[:48] + b"-1        `\n",
        ar.MAGIC + member(b"a b/"),
        ar.MAGIC + member(b"a/b/"),
        ar.MAGIC + member(b""),
        ar.MAGIC + member(b"../"),
        ar.MAGIC + member(b"/7"),
        ar.MAGIC + member(b"#1/900"),
        ar.MAGIC + member(b"a/") + member(b"//", b"x/\n"),
        ar.MAGIC + member(b"//", b"x/\n") + member(b"//", b"x/\n"),
        ar.MAGIC + member(b"a/") + b"trailing",
    ],
)
def test_an_archive_that_tools_read_differently_is_refused(data: bytes) -> None:
    with pytest.raises(Refused, match=r"some\.a"):
        read(data)


def test_more_members_or_bytes_than_allowed_are_refused() -> None:
    data = ar.MAGIC + member(b"a/") + member(b"b/")
    for limits in (Limits(members=1), Limits(expanded=100)):
        with pytest.raises(Refused, match="more than"):
            read(data, limits)


@pytest.mark.parametrize("bad", [member(b"a b/"), member(b"a/b/"), member(b"../"), member(b"/7"), member(b"#1/900")])
def test_what_follows_a_member_with_a_bad_name_is_read(bad: bytes) -> None:
    first, second = ar.read_members(io.BytesIO(ar.MAGIC + bad + member(b"kubelet/", b"program")), "some.a")
    assert isinstance(first, Rejected)
    assert isinstance(second, Member)
    assert second.path == "/kubelet"
    assert ("/kubelet", b"program") in [
        (item.path, item.content.read())
        for item in ar.read_members(io.BytesIO(ar.MAGIC + bad + member(b"kubelet/", b"program")), "some.a")
        if isinstance(item, Member) and item.content
    ]
