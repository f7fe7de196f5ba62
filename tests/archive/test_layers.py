"""Layers merged into a file system: umoci unpacks the same images, and the rules it does not show are made by hand."""

import gzip
import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from fipsmanifest.archive import layers as layers_module
from fipsmanifest.archive.layers import Entry, MergedView, Whiteout, layer_members, merge, read_layer
from fipsmanifest.archive.limits import Allowance, Budget, OverBudget
from fipsmanifest.archive.member import Member
from fipsmanifest.errors import Incomplete, Refused
from fipsmanifest.model.artifact import Blob
from tests.support.registry import make_image, make_layer


def blob(directory: Path, data: bytes) -> tuple[Blob, str]:
    compressed = gzip.compress(data, mtime=0)
    digest = hashlib.sha256(compressed).hexdigest()
    path = directory / digest
    path.write_bytes(compressed)
    media_type = "application/vnd.oci.image.layer.v1.tar+gzip"
    return Blob(f"sha256:{digest}", len(compressed), media_type, path), "sha256:" + hashlib.sha256(data).hexdigest()


def content(member: Member) -> str | None:
    return member.content.read().decode() if member.content else None


def merged(directory: Path, *layers: bytes) -> dict[str, str]:
    return dict(merge([read_layer(*blob(directory, layer), content) for layer in layers]))


def with_hardlink(files: dict[str, bytes | str], link: str, target: str) -> bytes:
    buffer = io.BytesIO(make_layer(files))
    with tarfile.open(fileobj=buffer, mode="a") as tar:
        info = tarfile.TarInfo(link)
        info.type, info.linkname = tarfile.LNKTYPE, target
        tar.addfile(info)
    return buffer.getvalue()


IMAGES: dict[str, list[bytes]] = {
    "one layer": [make_layer({"a/": b"", "a/x": b"1", "b": b"2"})],
    "replaced": [make_layer({"a/": b"", "a/x": b"1"}), make_layer({"a/x": b"2"})],
    "hidden": [make_layer({"a/": b"", "a/x": b"1", "a/y": b"1"}), make_layer({"a/.wh.x": b""})],
    "hidden folder": [make_layer({"a/": b"", "a/b/": b"", "a/b/x": b"1", "c": b"1"}), make_layer({".wh.a": b""})],
    "hidden and made again": [
        make_layer({"a/": b"", "a/x": b"1", "a/y": b"1"}),
        make_layer({".wh.a": b""}),
        make_layer({"a/": b"", "a/z": b"3"}),
    ],
    "opaque first": [
        make_layer({"a/": b"", "a/x": b"1", "a/b/": b"", "a/b/y": b"1"}),
        make_layer({"a/": b"", "a/.wh..wh..opq": b"", "a/z": b"2"}),
    ],
    "opaque last": [
        make_layer({"a/": b"", "a/x": b"1", "a/b/": b"", "a/b/y": b"1"}),
        make_layer({"a/": b"", "a/z": b"2", "a/b/": b"", "a/b/w": b"2", "a/.wh..wh..opq": b""}),
    ],
    "folder over file": [make_layer({"a": b"1"}), make_layer({"a/": b"", "a/x": b"2"})],
    "file over folder": [make_layer({"a/": b"", "a/x": b"1"}), make_layer({"a": b"2"})],
    "folder over folder": [make_layer({"a/": b"", "a/x": b"1"}), make_layer({"a/": b"", "a/y": b"2"})],
    "link over file": [make_layer({"a": b"1", "b": b"1"}), make_layer({"a": "b"})],
    "below a link": [
        make_layer({"usr/": b"", "usr/bin/": b"", "bin": "usr/bin"}),
        make_layer({"bin/x": b"2", "bin/y": b"2"}),
        make_layer({"bin/x": b"3", "bin/.wh.y": b""}),
    ],
    "below an absolute link": [
        make_layer({"usr/": b"", "usr/bin/": b"", "bin": "/usr/bin"}),
        make_layer({"bin/y": b"2"}),
    ],
    "below a link of the same layer": [
        make_layer({"usr/": b"", "usr/bin/": b"", "usr/bin/x": b"1", "usr/bin/y": b"1"}),
        make_layer({"bin": "usr/bin", "bin/x": b"2", "bin/.wh.y": b""}),
    ],
    "hard link": [with_hardlink({"a": b"1"}, "b", "a")],
    "hard link to a lower layer": [make_layer({"a": b"1"}), with_hardlink({}, "b", "a")],
    "parents left out": [make_layer({"a/b/c/d": b"1"})],
    "the same twice": [make_layer({"a": b"1"}), make_layer({"a": b"1"})],
}


def umoci(directory: Path) -> dict[str, str]:
    """Return each file, with its content, that umoci unpacks of the image ``v1`` in the layout below ``directory``."""
    subprocess.run(
        ["umoci", "unpack", "--rootless", "--image", f"{directory}/layout:v1", str(directory / "bundle")],
        check=True,
        capture_output=True,
    )
    root = directory / "bundle/rootfs"
    return {
        "/" + str(path.relative_to(root)): path.read_text()
        for path in root.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


@pytest.mark.parametrize("image", IMAGES)
def test_the_merged_view_is_what_umoci_unpacks(image: str, tmp_path: Path) -> None:
    make_image(tmp_path / "layout", "v1", {"amd64": IMAGES[image]}, index=False)
    assert merged(tmp_path, *IMAGES[image]) == umoci(tmp_path)


#: `/bin` is a link to `/usr/bin`, which has two programs.
LINKED = make_layer({"usr/": b"", "usr/bin/": b"", "bin": "usr/bin", "usr/bin/x": b"x1", "usr/bin/y": b"y1"})


# What an overlay shows whose layers are unpacked each by itself is written down by hand, the first four as containerd
# 1.6 mounts them: there, `/bin` of an upper layer is a directory, which covers the link.
@pytest.mark.parametrize(
    ("uppers", "overlay"),
    [
        ([{"bin/x": b"x2"}], {"/bin/x": "x2", "/usr/bin/x": "x1", "/usr/bin/y": "y1"}),
        ([{"bin/.wh.x": b""}], {"/usr/bin/x": "x1", "/usr/bin/y": "y1"}),
        ([{"bin/.wh..wh..opq": b"", "bin/z": b"z2"}], {"/bin/z": "z2", "/usr/bin/x": "x1", "/usr/bin/y": "y1"}),
        ([{"bin/z": b"z2"}, {"usr/bin/.wh.z": b""}], {"/bin/z": "z2", "/usr/bin/x": "x1", "/usr/bin/y": "y1"}),
        ([{"bin/z": b"z2"}, {"usr/bin/z": b"z3"}], {"/bin/z": "z2", "/usr/bin/z": "z3", "/usr/bin/x": "x1"}),
        ([{"bin/z": b"z2"}, {"usr/.wh.bin": b""}], {"/bin/z": "z2"}),
        ([{"bin/x": b"x2", "bin/.wh.x": b""}], {"/usr/bin/x": "x1", "/usr/bin/y": "y1"}),
        ([{"bin/x": b"x2"}, {"bin/.wh.x": b""}], {"/usr/bin/x": "x1", "/usr/bin/y": "y1"}),
        ([{"bin/x": "y"}], {"/usr/bin/x": "x1", "/usr/bin/y": "y1"}),
        ([{".wh.usr": b"", "bin/x": b"x2"}], {"/bin/x": "x2"}),
        ([{"bin/x": b"x2"}, {".wh.bin": b"", "bin/": b"", "bin/x": b"x3"}], {"/bin/x": "x3", "/usr/bin/x": "x1"}),
    ],
)
def test_what_either_kind_of_runtime_shows_below_a_link_of_a_lower_layer_is_in_the_view(
    tmp_path: Path, uppers: list[dict[str, bytes | str]], overlay: dict[str, str]
) -> None:
    layers = [LINKED, *map(make_layer, uppers)]
    make_image(tmp_path / "layout", "v1", {"amd64": layers}, index=False)
    seen = set(merge([read_layer(*blob(tmp_path, layer), content) for layer in layers]))
    assert set(overlay.values()) | set(umoci(tmp_path).values()) <= {value for _, value in seen}
    assert set(overlay.items()) <= seen | {("/bin" + p.removeprefix("/usr/bin"), value) for p, value in seen}


def test_a_hard_link_to_what_is_another_file_to_another_runtime_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="which is not the same file to every runtime"):
        merged(tmp_path, LINKED, with_hardlink({"bin/x": b"x2"}, "opt", "bin/x"))
    assert merged(tmp_path, LINKED, with_hardlink({"bin/z": b"z2"}, "opt", "bin/z"))["/opt"] == "z2"


def test_a_whiteout_hides_nothing_of_its_own_layer(tmp_path: Path) -> None:
    assert merged(tmp_path, make_layer({"a": b"1"}), make_layer({"a": b"2", ".wh.a": b""})) == {"/a": "2"}
    assert merged(tmp_path, make_layer({"a": b"1"}), make_layer({".wh.a": b"", "a": b"2"})) == {"/a": "2"}


KUBELET = make_layer({"usr/": b"", "usr/bin/": b"", "usr/bin/kubelet": b"1"})


def test_an_opaque_root_hides_nothing(tmp_path: Path) -> None:
    """The kernel searches for what makes a directory of an overlay opaque in all of them but the root."""
    assert merged(tmp_path, KUBELET, make_layer({".wh..wh..opq": b"", "a": b"2"})) == {
        "/usr/bin/kubelet": "1",
        "/a": "2",
    }


# In an overlay, the directory of the upper layer is neither opaque nor a whiteout in the end: the lower one shows.
@pytest.mark.parametrize(
    "upper",
    [
        {".wh.usr": b"", "usr/": b""},
        {"usr": b"x", "./usr/": b""},
        {"usr": "nowhere", "./usr/": b"", "usr/a": b"2"},
        {"usr/bin/.wh.kubelet": b"", "usr": b"x", "./usr/": b""},
        {"usr/bin/.wh..wh..opq": b"", "usr/bin": b"x", "./usr/bin/": b""},
        {"s": "usr", "s/bin": b"x", "usr/bin/": b""},
    ],
)
def test_a_directory_that_a_layer_takes_away_and_makes_again_is_refused_and_named(
    tmp_path: Path, upper: dict[str, bytes | str]
) -> None:
    with pytest.raises(Refused, match=r"takes the directory '/usr.*' away and makes it again; .*'/usr/bin/kubelet' is"):
        merged(tmp_path, KUBELET, make_layer(upper))
    # Where nothing was seen, nothing is missed.
    assert merged(tmp_path, make_layer({"usr/": b"", "usr/bin/": b""}), make_layer(upper)).keys() <= {
        "/usr",
        "/usr/a",
        "/s/bin",
        "/usr/bin",
    }


def test_what_aufs_keeps_for_itself_is_passed_over(tmp_path: Path) -> None:
    assert merged(tmp_path, make_layer({".wh..wh.plnk/": b"", ".wh..wh.aufs": b"", "a": b"1"})) == {"/a": "1"}


# Another runtime may stop before the second, so both are judged; the last is what unpacking usually leaves.
@pytest.mark.parametrize(
    ("layer", "both"),
    [
        ({"a": b"1", "./a": b"2"}, [("/a", "1"), ("/a", "2")]),
        ({"a": b"1", "./a": b"2", "././a": b"3"}, [("/a", "1"), ("/a", "2"), ("/a", "3")]),
        ({"a": b"1", "./a": b"1"}, [("/a", "1")]),
        ({"a": b"1", "./a/": b"", "a/x": b"2"}, [("/a", "1"), ("/a/x", "2")]),
        ({"a/": b"", "a/x": b"1", "./a": b"2"}, [("/a", "2"), ("/a/x", "1")]),
        ({"a": b"1", "./a": "b"}, [("/a", "1")]),
        ({"d/": b"", "s": "d", "d/a": b"1", "s/a": b"2"}, [("/d/a", "2"), ("/s/a", "1")]),
    ],
)
def test_each_member_of_a_path_that_comes_twice_in_a_layer_is_in_the_view(
    tmp_path: Path, layer: dict[str, bytes | str], both: list[tuple[str, str]]
) -> None:
    read = read_layer(*blob(tmp_path, make_layer(layer)), content)
    assert list(merge([read])) == both
    # A directory that an upper layer has as well hides nothing of it.
    assert list(merge([read, [Entry(Member("/z", "directory", 0o755, 0), None)]])) == both


def test_what_comes_twice_in_a_layer_is_hidden_by_an_upper_one(tmp_path: Path) -> None:
    twice = make_layer({"a": b"1", "./a": b"2"})
    assert merged(tmp_path, twice, make_layer({"a": b"3"})) == {"/a": "3"}
    assert merged(tmp_path, twice, make_layer({".wh.a": b""})) == {}


def test_what_comes_twice_below_a_link_of_a_lower_layer_is_in_the_view(tmp_path: Path) -> None:
    upper = make_layer({"bin/x": b"x2", "./bin/x": b"x3"})
    view = merge([read_layer(*blob(tmp_path, layer), content) for layer in (LINKED, upper)])
    assert {"x1", "x2", "x3"} <= {value for _, value in view}


def test_a_removed_target_of_a_hard_link_leaves_the_link(tmp_path: Path) -> None:
    lower = with_hardlink({"a": b"1"}, "b", "a")
    assert merged(tmp_path, lower, make_layer({".wh.a": b""})) == {"/b": "1"}


def test_links_above_the_root_stay_in_it() -> None:
    view: MergedView[str] = MergedView()
    view.next_layer()
    view.apply(Entry(Member("/up", "symlink", 0o777, 0, "../../.."), None))
    view.apply(Entry(Member("/up/etc/passwd", "file", 0o644, 1), "x"))
    assert dict(view) == {"/etc/passwd": "x"}


def test_links_in_a_circle_are_refused_and_named(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="the links at '/a/x' go in a circle"):
        merged(tmp_path, make_layer({"a": "b", "b": "a", "a/x": b"1"}))


def test_a_file_below_a_file_is_refused_and_named(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="'/a/x' is below something that is not a directory"):
        merged(tmp_path, make_layer({"a": b"1", "a/x": b"1"}))


@pytest.mark.parametrize("target", ["missing", "folder", "missing/x"])
def test_a_hard_link_to_nothing_is_refused_and_named(tmp_path: Path, target: str) -> None:
    with pytest.raises(Refused, match=f"the hard link '/b' points to '/{target}', which is not a file"):
        merged(tmp_path, with_hardlink({"folder/": b""}, "b", target))


@pytest.mark.parametrize("name", [".wh.", ".wh...", ".wh.."])
def test_a_whiteout_of_nothing_is_refused_and_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(Refused, match=r"the whiteout '/a/.*' names no file that it could hide"):
        merged(tmp_path, make_layer({f"a/{name}": b""}))


def test_a_layer_that_is_not_its_diff_id_is_refused_and_named(tmp_path: Path) -> None:
    layer, right = blob(tmp_path, make_layer({"a": b"1"}))
    wrong = "sha256:" + "0" * 64
    with pytest.raises(Refused, match=f"etcd:v3: layer {layer.digest} is {right} uncompressed; .* says {wrong}"):
        read_layer(layer, wrong, content, archive="etcd:v3")


# The digest is of the whole layer, the part behind the end of the tar as well.
def test_bytes_behind_the_end_of_the_tar_count_for_the_diff_id(tmp_path: Path) -> None:
    data = make_layer({"a": b"1"}) + b"behind the end"
    assert merged(tmp_path, data) == {"/a": "1"}


# containerd's and docker's unpackers leave devices out in a user namespace (`skipFile`, `handleTarTypeBlockCharFifo`).
def test_devices_and_fifos_hold_nothing_and_hide_nothing(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, kind in (
            ("dev/mem", tarfile.CHRTYPE),
            ("b", tarfile.BLKTYPE),
            ("c", tarfile.FIFOTYPE),
            ("d", tarfile.CHRTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type = kind
            tar.addfile(info)
    lower = {"a": b"1", "b": b"2", "c": b"3", "d/": b"", "d/x": b"4"}
    assert merged(tmp_path, make_layer(lower), buffer.getvalue()) == {"/a": "1", "/b": "2", "/c": "3", "/d/x": "4"}


# containerd, umoci and docker take them: some builders write such a layer for a step that changes nothing.
@pytest.mark.parametrize("data", [b"", bytes(512), bytes(1024), bytes(10_240)])
def test_a_layer_without_members_changes_nothing(tmp_path: Path, data: bytes) -> None:
    assert merged(tmp_path, make_layer({"a": b"1"}), data) == {"/a": "1"}


def test_an_empty_blob_is_a_layer_without_members(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    nothing = "sha256:" + hashlib.sha256().hexdigest()
    assert read_layer(Blob(nothing, 0, "application/vnd.oci.image.layer.v1.tar", path), nothing, content) == ()


def test_a_whiteout_with_content_is_refused_and_named(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"the whiteout '/a/\.wh\.x' has content"):
        merged(tmp_path, make_layer({"a/.wh.x": b"program"}))


def test_a_layer_that_is_gone_is_incomplete(tmp_path: Path) -> None:
    layer = Blob("sha256:" + "0" * 64, 1, "x", tmp_path / "gone")
    with pytest.raises(Incomplete, match="cannot be read"):
        list(layer_members(layer, ""))


def test_changes_carry_no_content() -> None:
    change = Entry(Member("/a", "file", 0o644, 1), "seen")
    assert change.member.content is None
    assert json.dumps(change.seen)


def test_many_whiteouts_do_not_take_quadratic_time() -> None:
    count = 20_000
    lower = [Entry(Member(f"/d/{number}", "file", 0o644, 0), "x") for number in range(count)]
    upper = [Whiteout(f"/d/{number}", opaque=False) for number in range(count)]
    layers: list[list[Entry[str]] | list[Whiteout]] = [lower, upper]
    assert dict(merge(layers)) == {}


def test_a_deep_directory_is_hidden_as_any_other() -> None:
    lower = [Entry(Member("/a" * 2000, "file", 0o644, 0), "x")]
    layers: list[list[Entry[str]] | list[Whiteout]] = [lower, [Whiteout("/a", opaque=False)]]
    assert dict(merge(layers)) == {}


def test_names_that_imply_more_directories_than_any_image_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert layers_module._MOST_NODES == 1_000_000
    # So many take seconds to make.
    monkeypatch.setattr(layers_module, "_MOST_NODES", 20_000)
    layer = (Entry(Member(f"/{number}" + "/a" * 2000, "file", 0o644, 0), "x") for number in range(1000))
    with pytest.raises(Refused, match="more than 20000 files and directories"):
        merge([layer])


@pytest.mark.parametrize(
    "again", [Whiteout("/d", opaque=True), Entry(Member("/" + "s/" * 39 + "x", "file", 0, 0), None)]
)
def test_work_that_a_small_layer_causes_again_and_again_is_bounded(again: Entry[str] | Whiteout) -> None:
    budget = Budget("image", Allowance(members=100_000))
    files = [Entry(Member(f"/d/{number}", "file", 0o644, 0), "x") for number in range(1000)]
    links: list[Entry[str]] = [Entry(Member("/s", "symlink", 0o777, 0, "."), None)]
    with budget.active(), pytest.raises(OverBudget, match="more than 100000 members"):
        merge([[*files, *links, *[again] * 10_000]])
