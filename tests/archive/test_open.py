"""What a path is, determined by its content and never by its name."""

import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from fipsmanifest.archive.member import Member, Rejected
from fipsmanifest.archive.open import holds_members, kind_of, may_hold_members, members_of
from fipsmanifest.errors import Refused, UsageError
from tests.support.registry import make_image, make_layer, skopeo


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("samples")
    (directory / "directory").mkdir()
    (directory / "directory/kubelet").write_bytes(b"\x7fELF and more")
    make_image(directory / "layout", "v1", {"amd64": [make_layer({"a": b"1"})]}, index=False)
    skopeo("copy", f"oci:{directory}/layout:v1", f"docker-archive:{directory}/saved:x:y")
    for name, what, *options in [
        ("tar", "directory"),
        ("tar.gz", "directory", "-z"),
        ("tar.zst", "directory", "--zstd"),
        ("tar.bz2", "directory", "--bzip2"),
        ("tar.lzma", "directory", "--lzma"),
        ("layout.tar", "layout"),
        ("layout.tar.xz", "layout", "-J"),
    ]:
        subprocess.run(["tar", "-C", str(directory / what), "-cf", str(directory / name), *options, "."], check=True)
    subprocess.run(["gzip", "-k", str(directory / "saved")], check=True)
    subprocess.run(["gzip", "-k", str(directory / "directory/kubelet")], check=True)
    (directory / "directory/kubelet.gz").rename(directory / "kubelet.gz")
    (directory / "cut.gz").write_bytes((directory / "kubelet.gz").read_bytes()[:15])
    (directory / "empty").touch()
    (directory / "rpm").write_bytes(b"\xed\xab\xee\xdb" + bytes(92))
    return directory


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("directory", "directory"),
        ("directory/kubelet", "file"),
        ("kubelet.gz", "compressed"),
        ("cut.gz", "compressed"),
        ("empty", "file"),
        ("tar", "tar"),
        ("tar.gz", "tar"),
        ("tar.zst", "tar"),
        ("tar.bz2", "tar"),
        ("tar.lzma", "tar"),
        ("layout", "image-archive"),
        ("layout.tar", "image-archive"),
        ("layout.tar.xz", "image-archive"),
        ("saved", "image-archive"),
        ("saved.gz", "image-archive"),
        ("rpm", "rpm"),
    ],
)
def test_a_path_is_what_is_in_it(samples: Path, name: str, kind: str) -> None:
    assert kind_of(samples / name) == kind


# encoding/json, with which runtimes read images: keys count in any case, and what is behind the first value does not.
@pytest.mark.parametrize(
    ("document", "kind"),
    [
        ('{"manifests": []}', "image-archive"),
        ('{"Manifests": []}', "image-archive"),
        (' {"MANIFESTS": []} {', "image-archive"),
        ('[{"Config": "x"}]', "image-archive"),
        ('[{"lAYERS": []}]', "image-archive"),
        ('{"manifests": ' + "[" * 5000 + "]" * 5000 + "}", "image-archive"),
        ('{"manifests": [' + "1" * 5000 + "]}", "image-archive"),
        ('{"name": "an app"}', "directory"),
        ('[{"name": "an app"}]', "directory"),
        ('["layers"]', "directory"),
        ('{"manifests": [', "directory"),
        ("manifests", "directory"),
    ],
)
def test_a_directory_is_an_image_by_its_index_as_runtimes_read_it(tmp_path: Path, document: str, kind: str) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "index.json").write_text(document)

    assert kind_of(tmp_path) == kind


@pytest.mark.parametrize("name", ["directory", "tar", "tar.gz", "tar.zst", "tar.bz2", "tar.lzma"])
def test_members_are_the_same_however_they_are_kept(samples: Path, name: str) -> None:
    files = [
        (member.path, member.content.read())
        for member in members_of(samples / name)
        if isinstance(member, Member) and member.content
    ]
    assert files == [("/kubelet", b"\x7fELF and more")]


def test_a_plain_file_is_its_only_member_though_a_link_leads_to_it(samples: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(samples / "directory/kubelet")
    (member,) = members_of(link)
    assert isinstance(member, Member)
    assert (member.path, member.type, member.size) == (str(link), "file", 13)


def test_a_path_that_is_not_there_is_an_error_of_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        kind_of(tmp_path / "missing")


def test_a_fifo_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(UsageError, match="neither a file nor a directory"):
        kind_of(tmp_path / "fifo")


# GNU tar tries to read a header first and for compression only then, so each of these is a tar to it.
@pytest.mark.parametrize("name", [b"\x1f\x8b\x08", b"\xfd7zXZ\x00\x00", b"BZh91AY&SY", b"5\x00\x00\x10\x00"])
def test_a_tar_whose_first_name_begins_as_compressed_bytes_do_is_not_passed_over(tmp_path: Path, name: bytes) -> None:
    path = tmp_path / "some.tar"
    path.write_bytes(tarfile.TarInfo(os.fsdecode(name)).tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    assert kind_of(path) == "tar"
    assert may_hold_members(path)
    assert holds_members(path.read_bytes(), whole=True)
    with pytest.raises(Refused, match=r"some\.tar"):
        list(members_of(path))


@pytest.mark.parametrize("options", [["-J", "--lzma2=dict=256MiB"], ["--zstd", "--ultra", "--long=28"]])
def test_a_tar_that_takes_too_much_memory_to_open_is_refused_and_not_taken_for_a_file(
    samples: Path, tmp_path: Path, options: list[str]
) -> None:
    command = {"-J": "xz", "--zstd": "zstd"}[options[0]]
    data = subprocess.run(
        [command, "-c", *options[1:]], input=(samples / "tar").read_bytes(), capture_output=True, check=True
    ).stdout
    (tmp_path / "large").write_bytes(data)
    assert kind_of(tmp_path / "large") == "compressed"
    assert holds_members(data, whole=True)
    with pytest.raises(Refused, match="large needs "):
        list(members_of(tmp_path / "large"))


def test_a_hostile_tar_is_a_tar_and_refused_when_it_is_read(samples: Path, tmp_path: Path) -> None:
    path = tmp_path / "evil.tar"
    subprocess.run(
        ["tar", "-C", str(samples / "directory"), "-Pcf", str(path), "--transform=s,^,../../,", "kubelet"], check=True
    )
    assert kind_of(path) == "tar"
    (item,) = members_of(path)
    assert isinstance(item, Rejected)
    assert "leads out" in item.error.message
