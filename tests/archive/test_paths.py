"""Names in archives as paths on a node: what is normalised, what is refused, where links lead."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fipsmanifest.archive.paths import check_link, normalise, resolve, shown
from fipsmanifest.errors import Refused


@pytest.mark.parametrize(
    ("name", "root", "path"),
    [
        ("usr/bin/kubelet", "/", "/usr/bin/kubelet"),
        ("./usr/bin/kubelet", "/", "/usr/bin/kubelet"),
        ("/usr/bin/kubelet", "/", "/usr/bin/kubelet"),
        ("usr//bin/./kubelet/", "/", "/usr/bin/kubelet"),
        ("bridge", "/opt/cni/bin", "/opt/cni/bin/bridge"),
        ("./", "/opt/cni/bin", "/opt/cni/bin"),
        (".", "/", "/"),
        ("..data/...", "/", "/..data/..."),
        ("a" * 255, "/", "/" + "a" * 255),
    ],
)
def test_a_name_becomes_an_absolute_path_below_the_root(name: str, root: str, path: str) -> None:
    assert normalise(name, root, "some.tar") == path


@pytest.mark.parametrize(
    ("name", "root", "why"),
    [
        ("../etc/passwd", "/", r"'\.\./etc/passwd' leads out"),
        ("usr/../../etc/passwd", "/", "leads out"),
        ("usr/bin/../kubelet", "/", "leads out"),
        ("..", "/", "leads out"),
        ("/etc/passwd", "/opt/cni/bin", "'/etc/passwd' is absolute"),
        ("a\0b", "/", r"'a\\x00b' has a NUL"),
        ("a" * 256, "/", "longer than a path can be"),
        ("é" * 128, "/", "longer than a path can be"),
        ("a/" * 2048 + "a", "/", "longer than a path can be"),
    ],
)
def test_a_name_that_no_node_should_meet_is_refused_and_named(name: str, root: str, why: str) -> None:
    with pytest.raises(Refused, match=r"some\.tar: .*" + why):
        normalise(name, root, "some.tar")


@given(st.text(alphabet="a./\0é", max_size=30), st.sampled_from(["/", "/opt/cni/bin"]))
def test_no_name_leaves_the_root(name: str, root: str) -> None:
    try:
        path = normalise(name, root, "some.tar")
    except Refused:
        return
    assert path == os.path.normpath(path)
    assert os.path.commonpath([root, path]) == root


# Those that climb above the root end there, as in the kernel and in container runtimes.
@pytest.mark.parametrize(
    ("path", "target", "place"),
    [
        ("/usr/bin/kubelet", "../local/bin/kubelet", "/usr/local/bin/kubelet"),
        ("/usr/bin/kubelet", "/opt/bin/kubelet", "/opt/bin/kubelet"),
        ("/lib", "usr/lib", "/usr/lib"),
        ("/a", "b/../c", "/c"),
        ("/usr/bin/kubelet", "../../../etc/shadow", "/etc/shadow"),
        ("/kubelet", "..", "/"),
        ("/kubelet", "a/../../b", "/b"),
        ("/kubelet", "/../etc/shadow", "/etc/shadow"),
    ],
)
def test_a_link_is_accepted_and_leads_to_a_place_inside_the_root(path: str, target: str, place: str) -> None:
    check_link(path, target, "some.tar")
    assert resolve(path, {path: target}, "some.tar") == place


@pytest.mark.parametrize("target", ["", "a\0b", "a" * 4096])
def test_a_link_that_cannot_be_made_is_refused(target: str) -> None:
    with pytest.raises(Refused, match="'/kubelet' has a target that is empty, too long, or has a NUL"):
        check_link("/kubelet", target, "some.tar")


LINKS = {
    "/bin": "usr/bin",
    "/usr/bin/kubectl": "../local/bin/kubectl",
    "/usr/local": "/opt/local",
    "/opt/local": "./v1",
    "/loop": "loop",
    "/a": "b/x",
    "/b": "a/y",
    "/up": "../../../usr",
}
PATHS = ["/bin/kubectl", "/usr/bin/kubectl", "/bin", "/usr/local/bin/x", "/up/bin/y", "/usr/lib/z", "/", "/bin/../etc"]


@pytest.mark.parametrize("path", PATHS)
def test_links_are_followed_as_the_kernel_follows_them(path: str, tmp_path: Path) -> None:
    # In a real directory, with absolute targets brought below it: realpath is the reference.
    for link, target in LINKS.items():
        made = tmp_path / link.lstrip("/")
        made.parent.mkdir(parents=True, exist_ok=True)
        depth = "../" * (link.count("/") - 1)
        inside = (depth or "./") + target.lstrip("/") if target.startswith("/") else target
        made.symlink_to("./usr" if link == "/up" else inside)
    expected = os.path.realpath(f"{tmp_path}{path}")
    assert resolve(path, LINKS, "some.tar") == (expected.removeprefix(str(tmp_path)) or "/")


def test_the_last_part_is_left_alone_where_a_file_is_to_be_made() -> None:
    assert resolve("/bin/kubectl", LINKS, "some.tar", last=False) == "/usr/bin/kubectl"
    assert resolve("/bin", LINKS, "some.tar", last=False) == "/bin"


@pytest.mark.parametrize("path", ["/loop", "/a", "/b/c"])
def test_links_in_a_circle_are_refused_and_named(path: str) -> None:
    with pytest.raises(Refused, match=rf"some\.tar: the links at '{path}' go in a circle"):
        resolve(path, LINKS, "some.tar")


def test_as_many_links_are_followed_as_the_kernel_follows(tmp_path: Path) -> None:
    links = {f"/l{number}": f"l{number - 1}" for number in range(1, 60)}
    (tmp_path / "l0").touch()
    for link, target in links.items():
        (tmp_path / link[1:]).symlink_to(target)

    for link in links:
        try:
            (tmp_path / link[1:]).stat()
        except OSError as error:
            assert error.errno == errno.ELOOP
            with pytest.raises(Refused, match="go in a circle"):
                resolve(link, links, "some.tar")
        else:
            assert resolve(link, links, "some.tar") == "/l0"


def test_names_in_messages_are_short_and_obeyed_by_no_terminal() -> None:
    assert shown("a\x1b[2Jb\n") == "'a\\x1b[2Jb\\n'"
    assert shown("\udcff") == "'\\udcff'"
    assert len(shown("x" * 5000)) < 250
