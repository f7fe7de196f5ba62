"""What a real containerd unpacked, inspected while nothing runs: which snapshot is whose, and what it shows.

One image is unpacked twice, in two of containerd's namespaces, with layers that link, delete and replace.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import stat
import struct
import subprocess
import tarfile
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fipsmanifest.node.checks import images
from fipsmanifest.node.checks.images import snapshots
from fipsmanifest.node.containerd import bolt, overlay
from fipsmanifest.node.result import Listed, Node, Result
from tests.support import roots, runtime

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="containerd runs as root alone")

OVERLAYFS = "var/lib/containerd/io.containerd.snapshotter.v1.overlayfs"
PROGRAM = "/usr/lib/etcd/etcd"
LINK = "/usr/local/bin/etcd"
NAMESPACES = ("k8s.io", "default")
SNAPSHOTS = 60


def umoci(*arguments: str | Path) -> None:
    subprocess.run(["umoci", *map(str, arguments)], check=True, capture_output=True)


@dataclass(frozen=True)
class Image:
    """An image in an OCI layout, as umoci made it."""

    layout: Path

    def blob(self, digest: str) -> dict[str, Any]:
        """Read a document."""
        content = (self.layout / "blobs/sha256" / digest.removeprefix("sha256:")).read_text()
        return dict(json.loads(content))

    def listed(self, component: str = "etcd", roles: tuple[str, ...] = ("etcd",), **platform: Any) -> Listed:
        """Return a manifest that lists it."""
        manifest = json.loads((self.layout / "index.json").read_text())["manifests"][0]["digest"]
        documents = self.blob(manifest)
        files = [
            {"path": PROGRAM, "type": "file", "role": "program", "sha256": SHA256["env"], "mode": "0755"},
            {"path": LINK, "type": "symlink", "role": "program", "target": PROGRAM},
        ]
        described = {
            "architecture": os.uname().machine,
            "manifest": manifest,
            "config": documents["config"]["digest"],
            "layers": [layer["digest"] for layer in documents["layers"]],
            "diff_ids": self.blob(documents["config"]["digest"])["rootfs"]["diff_ids"],
            "files": files,
            **platform,
        }
        image = {"reference": "docker.io/mesosphere/etcd:v3", "component": component, "platforms": [described]}
        node = {"roles": {"control-plane": list(roles)}}
        return Listed("m.asc", {"files": [], "images": [image], "node": node})


SHA256 = {name: roots.sha256(Path("/usr/bin", name)) for name in ("env", "true")}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Three layers: an older program and one that goes; a link to the program; the program."""
    directory = tmp_path_factory.mktemp("image")
    name = f"{directory}/oci:v3"
    umoci("init", "--layout", directory / "oci")
    umoci("new", "--image", name)
    umoci("unpack", "--rootless", "--image", name, directory / "bundle")
    rootfs = directory / "bundle/rootfs"
    for path in (PROGRAM, LINK):
        (rootfs / path.lstrip("/")).parent.mkdir(parents=True)
    shutil.copy("/usr/bin/true", rootfs / PROGRAM.lstrip("/"))
    shutil.copy("/usr/bin/true", rootfs / "usr/lib/gone")
    umoci("repack", "--refresh-bundle", "--image", name, directory / "bundle")
    (rootfs / LINK.lstrip("/")).symlink_to(PROGRAM)
    (rootfs / "usr/lib/gone").unlink()
    umoci("repack", "--refresh-bundle", "--image", name, directory / "bundle")
    shutil.copy("/usr/bin/env", rootfs / PROGRAM.lstrip("/"))
    umoci("repack", "--refresh-bundle", "--image", name, directory / "bundle")
    with tarfile.open(directory / "v3.tar", "w") as archive:
        archive.add(directory / "oci", ".")
    return Image(directory / "oci")


@pytest.fixture(scope="module")
def unpacked(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree of a node on which a containerd unpacked the image, and ended."""
    directory = tmp_path_factory.mktemp("unpacked")
    with runtime.running() as containerd:
        for namespace in NAMESPACES:
            containerd.ctr(
                *("--namespace", namespace, "images", "import", "--base-name", "docker.io/mesosphere/etcd"),
                image.layout.with_name("v3.tar"),
            )
        containerd.process.terminate()
        containerd.process.wait(30)
        subprocess.run(["cp", "-a", containerd.root / "var", directory / "var"], check=True)
    return directory


@pytest.fixture
def root(unpacked: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    subprocess.run(["cp", "-a", unpacked, tmp_path / "root"], check=True)
    return tmp_path / "root"


def check(root: Path, *manifests: Listed) -> dict[str, tuple[str, Any]]:
    found = images.check(Node(str(root), False, "control-plane"), manifests)
    return {one.subject.replace("docker.io/mesosphere/", ""): (one.status, one.evidence.get("code")) for one in found}


def unpacked_result(root: Path, manifest: Listed) -> Result:
    found = images.check(Node(str(root), False, "control-plane"), [manifest])
    return next(one for one in found if one.subject.endswith("(unpacked)"))


def copies(root: Path, path: str) -> list[Path]:
    """Return the copies of a file or link, lowest snapshot first."""
    directories = sorted((root / OVERLAYFS / "snapshots").iterdir(), key=lambda one: int(one.name))
    return [place for one in directories if os.path.lexists(place := one / "fs" / path.lstrip("/"))]


WHOLE = {"etcd:v3": ("pass", None), "etcd:v3 (unpacked)": ("pass", None)}


class TestWhatAContainerWouldSee:
    """An image's files, by the layers' names in containerd's database."""

    def test_both_places_of_an_image_pass_whatever_its_layers_replace(self, root: Path, image: Image) -> None:
        found = unpacked_result(root, image.listed())

        # Two namespaces, three layers each; two copies of the program that a later layer replaces are there as well.
        assert found.status == "pass" and len(found.evidence["snapshots"]) == 2
        assert [roots.sha256(one) for one in copies(root, PROGRAM)] == [SHA256["true"], SHA256["env"]] * 2

    def test_what_the_manifest_does_not_tell_is_read_from_the_configuration(self, root: Path, image: Image) -> None:
        found = unpacked_result(root, image.listed(diff_ids=[]))

        assert (found.status, found.evidence["matched"]) == ("pass", "name")

    @pytest.mark.parametrize("which", [1, 3])
    def test_a_good_copy_does_not_hide_a_tampered_one(self, which: int, root: Path, image: Image) -> None:
        place = copies(root, PROGRAM)[which]
        place.write_bytes(place.read_bytes() + b"X")

        found = unpacked_result(root, image.listed())

        assert (found.status, found.evidence["code"]) == ("fail", "snapshot-file")
        assert found.actual == f"sha256:{roots.sha256(place)}"
        assert found.evidence["snapshot"] == int(place.relative_to(root / OVERLAYFS / "snapshots").parts[0])

    @pytest.mark.parametrize("how", ["deleted", "whited out", "hidden by its folder", "folder deleted"])
    def test_a_program_that_is_deleted_fails(self, how: str, root: Path, image: Image) -> None:
        place = copies(root, PROGRAM)[-1]
        if how == "deleted":
            for one in copies(root, PROGRAM)[2:]:
                one.unlink()
        elif how == "whited out":
            place.unlink()
            os.mknod(place, stat.S_IFCHR, os.makedev(0, 0))
        elif how == "hidden by its folder":
            place.unlink()
            os.setxattr(place.parent, "trusted.overlay.opaque", b"y")
        else:
            shutil.rmtree(place.parent)
            os.mknod(place.parent, stat.S_IFCHR, os.makedev(0, 0))

        found = unpacked_result(root, image.listed())

        assert (found.status, found.actual) == ("fail", "missing")

    def test_a_link_that_leads_elsewhere_fails(self, root: Path, image: Image) -> None:
        place = copies(root, LINK)[-1]
        place.unlink()
        place.symlink_to("/usr/bin/other")

        found = unpacked_result(root, image.listed())

        assert (found.status, found.expected, found.actual) == ("fail", f"link to {PROGRAM}", "link to /usr/bin/other")

    def test_a_file_is_found_through_a_link_in_another_layer(self, root: Path, image: Image) -> None:
        by_link = {"path": LINK, "type": "file", "role": "program", "sha256": SHA256["env"], "mode": "0755"}
        assert unpacked_result(root, image.listed(files=[by_link])).status == "pass"
        place = copies(root, PROGRAM)[-1]
        place.write_bytes(place.read_bytes() + b"X")

        assert unpacked_result(root, image.listed(files=[by_link])).status == "fail"

    @pytest.mark.parametrize(("mode", "expected"), [(0o4755, "fail"), (0o777, "fail"), (0o700, "pass")])
    def test_more_permissions_than_recorded_fail(self, mode: int, expected: str, root: Path, image: Image) -> None:
        copies(root, PROGRAM)[-1].chmod(mode)

        found = unpacked_result(root, image.listed())

        assert found.status == expected
        assert found.evidence.get("code") == ("mode-wider" if expected == "fail" else None)

    def test_a_copy_that_no_name_leads_to_is_nothing_that_could_run(self, root: Path, image: Image) -> None:
        stray = root / OVERLAYFS / "snapshots/999/fs" / PROGRAM.lstrip("/")
        stray.parent.mkdir(parents=True)
        shutil.copy("/usr/bin/true", stray)

        assert check(root, image.listed()) == WHOLE

    def test_a_right_copy_that_no_name_leads_to_is_no_pass(self, root: Path, image: Image) -> None:
        stray = root / OVERLAYFS / "snapshots/999/fs" / PROGRAM.lstrip("/")
        stray.parent.mkdir(parents=True)
        shutil.copy("/usr/bin/env", stray)
        for place in copies(root, PROGRAM)[:-1]:
            place.write_bytes(b"tampered")

        assert check(root, image.listed())["etcd:v3 (unpacked)"] == ("fail", "snapshot-file")

    def test_an_image_of_a_component_without_a_role_is_compared_and_not_missed(self, root: Path, image: Image) -> None:
        listed = image.listed("pause", roles=())
        assert check(root, listed) == WHOLE
        place = copies(root, PROGRAM)[-1]
        place.write_bytes(b"tampered")
        assert check(root, listed)["etcd:v3 (unpacked)"] == ("fail", "snapshot-file")

        for place in (root / runtime.STORE).iterdir():
            place.unlink()
        assert check(root, listed)["etcd:v3"] == ("unknown", "blobs-missing")
        shutil.rmtree(root / OVERLAYFS)
        (root / runtime.STORE).mkdir(exist_ok=True)

        assert check(root, listed) == {}


class TestWhatIsGone:
    """A part of containerd's directory that is not there, or not what it should be, while the others are."""

    @pytest.mark.parametrize("what", ["snapshots", "snapshots/6", "snapshots/6/fs", "snapshots/4/fs"])
    def test_directories_of_layers_are_unknown(self, what: str, root: Path, image: Image) -> None:
        shutil.rmtree(root / OVERLAYFS / what)

        assert check(root, image.listed())["etcd:v3 (unpacked)"] == ("unknown", "snapshot-missing")

    def test_the_content_store_is_unknown(self, root: Path, image: Image) -> None:
        shutil.rmtree((root / runtime.STORE).parents[1])

        found = check(root, image.listed())

        assert found["content-store"] == ("unknown", "gone")
        assert found["etcd:v3"] == ("unknown", "blobs-missing")

    def test_an_images_blobs_are_unknown_and_its_files_compared(self, root: Path, image: Image) -> None:
        for place in (root / runtime.STORE).iterdir():
            place.unlink()
        copies(root, PROGRAM)[-1].write_bytes(b"tampered")

        found = check(root, image.listed())

        assert found == {"etcd:v3": ("unknown", "blobs-missing"), "etcd:v3 (unpacked)": ("fail", "snapshot-file")}

    @pytest.mark.parametrize("how", ["empty", "cut", "text", "fifo", "link", "directory"])
    def test_a_database_that_cannot_be_read_is_unknown(self, how: str, root: Path, image: Image) -> None:
        database = root / OVERLAYFS / "metadata.db"
        content = database.read_bytes()
        database.unlink()
        if how == "fifo":
            os.mkfifo(database)
        elif how == "link":
            database.symlink_to("metadata.db")
        elif how == "directory":
            database.mkdir()
        else:
            database.write_bytes({"empty": b"", "cut": content[:12288], "text": b"x" * 70000}[how])

        assert check(root, image.listed())["snapshots"][0] == "unknown"

    def test_another_snapshotters_files_beside_are_not_taken_for_looked_at(self, root: Path, image: Image) -> None:
        other = (root / OVERLAYFS).with_name("io.containerd.snapshotter.v1.devmapper")
        other.mkdir()
        assert check(root, image.listed()) == WHOLE
        shutil.copy(root / OVERLAYFS / "metadata.db", other)

        assert check(root, image.listed()) == WHOLE | {"snapshots": ("unknown", "snapshotter")}

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ('root = "/data/containerd"\n', {"root": ("unknown", "other-root")}),
            ('root = "/var/lib/containerd"\n', {}),
            ('[plugins]\n  root = "/data/containerd"\n', {}),
            ("\0", {"containerd": ("unknown", "configuration")}),
        ],
    )
    def test_a_containerd_that_keeps_its_images_elsewhere_is_not_taken_for_looked_at(
        self, text: str, expected: dict[str, tuple[str, str]], root: Path, image: Image
    ) -> None:
        # What is in the usual place may be left from before.
        roots.write(root, "/etc/containerd/config.toml", text)

        assert check(root, image.listed()) == WHOLE | expected


class TestOverlay:
    """The file system that directories make, compared with the one that Linux makes of them."""

    def test_each_path_leads_where_linux_leads_it(self, unpacked: Path, tmp_path: Path) -> None:
        layers = [unpacked / OVERLAYFS / f"snapshots/{number}/fs" for number in (3, 2, 1)]
        lower = ":".join(map(str, layers))
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", f"ro,lowerdir={lower}", tmp_path], check=True)
        try:
            seen = {f"/{place.relative_to(tmp_path)}": place.resolve() for place in tmp_path.rglob("*")}
            for path in seen:
                ours = Path(os.fsdecode(overlay.resolve([bytes(layer) for layer in layers], path, follow_last=False)))
                theirs = tmp_path / path.lstrip("/")
                assert ours.lstat()[:1] + ours.lstat()[6:8] == theirs.lstat()[:1] + theirs.lstat()[6:8], path
            assert {"/usr/lib/etcd/etcd", LINK} <= set(seen) and "/usr/lib/gone" not in seen
        finally:
            subprocess.run(["umount", tmp_path], check=True)
        for path in ("/usr/lib/gone", "/usr/lib/etcd/etcd/x", "/nowhere", LINK + "/.."):
            with pytest.raises(OSError, match=r"No such file|Not a directory"):
                overlay.resolve([bytes(layer) for layer in layers], path)

    @pytest.mark.parametrize(("mark", "value"), [("redirect", b"/evil"), ("redirect", b"evil"), ("metacopy", b"")])
    def test_what_linux_redirects_to_elsewhere_is_not_taken_for_seen(
        self, mark: str, value: bytes, tmp_path: Path
    ) -> None:
        layers = [tmp_path / "upper", tmp_path / "lower"]
        path = "usr/bin/etcd"
        for directory, text in ((layers[1] / "usr/bin", "good"), (layers[1] / "evil/bin", "evil")):
            directory.mkdir(parents=True)
            (directory / "etcd").write_text(text)
        if mark == "redirect":
            (layers[0] / "usr").mkdir(parents=True)
            os.setxattr(layers[0] / "usr", "trusted.overlay.redirect", value)
        else:
            # The upper file has the mode, the one that it names below has the bytes.
            (layers[0] / path).parent.mkdir(parents=True)
            (layers[0] / path).write_text("good")
            os.setxattr(layers[0] / path, "trusted.overlay.metacopy", value)
            os.setxattr(layers[0] / path, "trusted.overlay.redirect", b"/evil/bin/etcd")
        options = f"ro,metacopy=on,redirect_dir=on,lowerdir={layers[0]}:{layers[1]}"
        (tmp_path / "seen").mkdir()
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, tmp_path / "seen"], check=True)
        try:
            assert (tmp_path / "seen" / path).read_text() == "evil"
        finally:
            subprocess.run(["umount", tmp_path / "seen"], check=True)

        found = snapshots.look(Node("/", False, "worker"), [bytes(layer) for layer in layers], "/" + path)

        assert (found.problem, found.is_hidden) == ("redirected by overlayfs", True)
        assert snapshots.look_at_link([bytes(layer) for layer in layers], "/" + path).is_hidden
        assert "pull it again" in found.advice

    @pytest.mark.parametrize(
        ("mark", "value"), [("user.overlay.opaque", b"y"), ("trusted.overlay.opaque", b"x")], ids=["userxattr", "6.7"]
    )
    def test_a_directory_that_hides_others_only_by_its_mount_is_not_taken_for_opaque(
        self, mark: str, value: bytes, tmp_path: Path
    ) -> None:
        layers = [tmp_path / "upper", tmp_path / "lower"]
        (layers[1] / "etc").mkdir(parents=True)
        (layers[1] / "etc/ld.so.preload").write_text("/evil.so")
        (layers[0] / "etc").mkdir(parents=True)
        os.setxattr(layers[0] / "etc", mark, value)
        (tmp_path / "seen").mkdir()
        options = f"ro,lowerdir={layers[0]}:{layers[1]}"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, tmp_path / "seen"], check=True)
        try:
            assert (tmp_path / "seen/etc/ld.so.preload").read_text() == "/evil.so"
        finally:
            subprocess.run(["umount", tmp_path / "seen"], check=True)

        found = snapshots.look(Node("/", False, "worker"), [bytes(layer) for layer in layers], "/etc/ld.so.preload")

        assert (found.problem, found.is_hidden) == ("redirected by overlayfs", True)

    def test_links_in_a_circle_end(self, tmp_path: Path) -> None:
        (tmp_path / "a").symlink_to("/../b/../c")
        (tmp_path / "c").symlink_to("a")
        (tmp_path / "b").mkdir()

        with pytest.raises(OSError, match="symbolic links"):
            overlay.resolve([bytes(tmp_path)], "/a")


class TestDatabase:
    """containerd's own databases, read beside it."""

    def test_one_that_is_written_meanwhile_is_read_whole(self) -> None:
        with runtime.running() as containerd:
            database = bytes(containerd.root / OVERLAYFS / "metadata.db")
            containerd.ctr("--namespace", "many", "snapshots", "prepare", "first")
            ctr = f"ctr --address {containerd.socket} --namespace many snapshots prepare"
            script = f"for n in $(seq {SNAPSHOTS}); do {ctr} name-$n || exit 1; done"
            counts = [0]
            with subprocess.Popen(["sh", "-c", script], stdout=subprocess.DEVNULL) as writing:
                while writing.poll() is None:
                    counts.append(len(bolt.read(database, (b"v1", b"snapshots"))))
            listed = containerd.ctr("--namespace", "many", "snapshots", "ls").splitlines()[1:]
            found = bolt.read(database, (b"v1", b"snapshots"))

        # So many need more than one page.
        assert counts == sorted(counts) and len(set(counts)) > 2
        assert {name.decode().rpartition("/")[2] for name in found} == {line.split()[0] for line in listed}
        assert len(found) == SNAPSHOTS + 1

    @pytest.mark.parametrize("times", [1, 100])
    def test_one_that_changed_while_it_was_read_is_read_again_and_not_for_ever(
        self, times: int, unpacked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "metadata.db"
        shutil.copy(unpacked / OVERLAYFS / "metadata.db", path)
        with path.open("rb") as file:
            header = [bolt._header(file.fileno())]
        seen = [header[0]._replace(change=header[0].change + number) for number in range(1, times + 1)] + header * 2
        monkeypatch.setattr(bolt, "_header", lambda _: seen.pop(0) if seen[1:] else seen[0])

        if times == 100:
            with pytest.raises(bolt.Busy):
                read(path)
        else:
            assert read(path) == "read" and len(seen) == 1

    def test_no_damage_ends_otherwise_than_it_should(self, unpacked: Path, tmp_path: Path) -> None:
        whole = (unpacked / OVERLAYFS / "metadata.db").read_bytes()
        pick = random.Random(1)
        outcomes: dict[str, int] = {}
        for _ in range(200):
            damaged = bytearray(whole)
            # Changes of the headers would be refused because of their checksums.
            for _ in range(pick.choice((1, 4, 64))):
                damaged[pick.randrange(8192, len(damaged))] = pick.choice((0, 1, 2, 255, pick.randrange(256)))
            path = tmp_path / "metadata.db"
            path.write_bytes(damaged)
            outcome = read(path)
            outcomes[outcome] = outcomes.get(outcome, 0) + 1

        assert set(outcomes) == {"read", "malformed"}

    @pytest.mark.parametrize("further", [0, 1], ids=["itself", "the next one"])
    def test_pages_that_lead_to_one_page_many_times_end(self, further: int, unpacked: Path, tmp_path: Path) -> None:
        content = bytearray((unpacked / OVERLAYFS / "metadata.db").read_bytes())
        for number in range(2, len(content) // 4096):
            # A branch (flag 1) of 200 elements, each of which leads to the same page; the last page is an empty leaf.
            last = number == len(content) // 4096 - 1
            below = bytes(8) + (number + further).to_bytes(8, "little")
            page = number.to_bytes(8, "little") + (
                b"\2\0" + bytes(6) if last else b"\1\0\xc8\0" + bytes(4) + below * 200
            )
            content[number * 4096 : number * 4096 + len(page)] = page
        path = tmp_path / "metadata.db"
        path.write_bytes(content)

        assert read(path) == "malformed"

    def test_entries_that_lie_upon_one_another_do_not_fill_memory(self, unpacked: Path, tmp_path: Path) -> None:
        path = tmp_path / "metadata.db"
        shutil.copy(unpacked / OVERLAYFS / "metadata.db", path)
        with path.open("r+b") as file:
            root = bolt._header(file.fileno()).root
            end = path.stat().st_size // 4096
            # Each bucket leads to the next, and the last one's 60,000 values are all much the same 14 MiB.
            for number, name, below in ((root, b"v1", end), (end, b"snapshots", end + 1), (end + 1, b"x", end + 2)):
                file.seek(number * 4096)
                file.write(struct.pack("<QHHI", number, 2, 1, 0) + struct.pack("<IIII", 1, 16, len(name), 16))
                file.write(name + struct.pack("<QQ", below, 0))
            file.seek((end + 2) * 4096)
            file.write(struct.pack("<QHHI", end + 2, 2, 60000, 4000))
            file.writelines(struct.pack("<IIII", 0, 1 << 20, entry, (14 << 20) - 17 * entry) for entry in range(60000))
            file.truncate((end + 2 + 4001) * 4096)
        tracemalloc.start()
        try:
            assert read(path) == "malformed"
            assert tracemalloc.get_traced_memory()[1] < 256 << 20
        finally:
            tracemalloc.stop()


def read(path: Path) -> str:
    reader: Callable[..., Any] = bolt.read
    try:
        reader(bytes(path), (b"v1", b"snapshots"))
    except bolt.Malformed:
        return "malformed"
    return "read"
