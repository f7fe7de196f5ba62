"""Images in containerd's store: real ones made by umoci, whole, tampered with, half-pulled, and of other releases."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from fipsmanifest.node import helper, tree
from fipsmanifest.node.checks import images
from fipsmanifest.node.checks.images import containers, snapshots
from fipsmanifest.node.checks.images.listed import images_of
from fipsmanifest.node.result import Listed, Node, Result
from tests.support import roots

CONTAINERD = "var/lib/containerd"
STORE = f"{CONTAINERD}/io.containerd.content.v1.content/blobs/sha256"
SNAPSHOTS = f"{CONTAINERD}/io.containerd.snapshotter.v1.overlayfs/snapshots"
PROGRAM = "/usr/local/bin/etcd"
LIBRARY = "/usr/lib/libetcd.so"


def umoci(*arguments: str | Path) -> None:
    subprocess.run(["umoci", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An OCI layout with an image of two layers: a library below, the program above."""
    directory = tmp_path_factory.mktemp("layout")
    umoci("init", "--layout", directory / "oci")
    umoci("new", "--image", f"{directory}/oci:etcd")
    umoci("unpack", "--rootless", "--image", f"{directory}/oci:etcd", directory / "bundle")
    for source, path in (("/usr/bin/true", LIBRARY), ("/usr/bin/env", PROGRAM)):
        place = directory / "bundle/rootfs" / path.lstrip("/")
        place.parent.mkdir(parents=True)
        shutil.copyfile(source, place)
        umoci("repack", "--refresh-bundle", "--image", f"{directory}/oci:etcd", directory / "bundle")
    return directory / "oci"


@pytest.fixture
def root(tmp_path: Path, layout: Path) -> Path:
    """A node that pulled the image and unpacked it."""
    directory = tmp_path / "root"
    manifest = json.loads(blob(layout, digests(layout)["manifest"]).read_text())
    (directory / STORE).mkdir(parents=True)
    for digest in [digests(layout)["manifest"], manifest["config"]["digest"], *layers(layout)]:
        shutil.copyfile(blob(layout, digest), directory / STORE / digest.partition(":")[2])
    for number, digest in enumerate(layers(layout), 1):
        snapshot = directory / SNAPSHOTS / str(number) / "fs"
        snapshot.mkdir(parents=True)
        with tarfile.open(blob(layout, digest)) as layer:
            layer.extractall(snapshot, filter="tar")
    return directory


def blob(layout: Path, digest: str) -> Path:
    return layout / "blobs/sha256" / digest.partition(":")[2]


def digests(layout: Path) -> dict[str, str]:
    found = json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]
    return {"manifest": found, "config": json.loads(blob(layout, found).read_text())["config"]["digest"]}


def layers(layout: Path) -> list[str]:
    manifest = json.loads(blob(layout, digests(layout)["manifest"]).read_text())
    return [layer["digest"] for layer in manifest["layers"]]


def listed(layout: Path, **changes: Any) -> Listed:
    files = [
        {"path": LIBRARY, "type": "file", "role": "program", "sha256": roots.sha256(Path("/usr/bin/true"))},
        {"path": PROGRAM, "type": "file", "role": "program", "sha256": roots.sha256(Path("/usr/bin/env"))},
    ]
    platform = {"architecture": "x86_64", "layers": layers(layout), "diff_ids": [], "files": files, **digests(layout)}
    image = {"reference": "docker.io/mesosphere/etcd:v3", "component": "etcd", "platforms": [platform], **changes}
    document = {"files": [], "images": [image], "node": {"roles": {"control-plane": ["etcd"]}}}
    return Listed("m.asc", document)


def check(root: Path, *manifests: Listed, live: bool = False) -> list[Result]:
    return images.check(Node(str(root), live, "control-plane"), manifests)


def outcome(results: list[Result]) -> list[tuple[str, str | None]]:
    return [(result.status, result.evidence.get("code")) for result in results]


class TestBlobs:
    """The content store."""

    def test_a_whole_image_passes_and_says_by_what_it_was_known(self, root: Path, layout: Path) -> None:
        found = check(root, listed(layout))

        assert outcome(found) == [("pass", None), ("pass", None)]
        assert found[0].evidence["identified_by"] == ["manifest"]
        assert found[0].evidence["blobs"] == {"manifest": 1, "config": 1, "layer": 2}

    def test_the_configuration_alone_is_enough_to_know_it(self, root: Path, layout: Path) -> None:
        # As after an import from an archive, which makes a manifest of its own.
        (root / STORE / digests(layout)["manifest"].partition(":")[2]).unlink()

        found = check(root, listed(layout, index="sha256:" + "0" * 64))

        assert found[0].status == "pass" and found[0].evidence["identified_by"] == ["config"]

    @pytest.mark.parametrize("which", ["manifest", "config", "layer"])
    def test_a_blob_that_was_changed_fails(self, which: str, root: Path, layout: Path) -> None:
        digest = layers(layout)[1] if which == "layer" else digests(layout)[which]
        place = root / STORE / digest.partition(":")[2]
        place.write_bytes(place.read_bytes()[:-1] + b"X")

        found = check(root, listed(layout))[0]

        assert (found.status, found.evidence["kind"], found.expected) == ("fail", which, digest)
        assert found.actual == "sha256:" + roots.sha256(place)

    @pytest.mark.parametrize("which", ["config", "layer"])
    def test_a_half_pulled_image_is_unknown(self, which: str, root: Path, layout: Path) -> None:
        digest = layers(layout)[1] if which == "layer" else digests(layout)[which]
        (root / STORE / digest.partition(":")[2]).unlink()

        assert outcome(check(root, listed(layout))) == [("unknown", "half-pulled"), ("pass", None)]

    @pytest.mark.parametrize("live", [True, False])
    def test_layers_may_all_be_discarded_once_they_are_unpacked(self, live: bool, root: Path, layout: Path) -> None:
        for digest in layers(layout):
            (root / STORE / digest.partition(":")[2]).unlink()
        assert {result.status for result in check(root, listed(layout))} == {"pass"}
        shutil.rmtree(root / SNAPSHOTS)

        assert outcome(check(root, listed(layout), live=live))[0] == ("unknown", "half-pulled")

    def test_of_two_releases_images_one_needs_to_be_there(self, root: Path, layout: Path) -> None:
        other = listed(layout)
        platform = other.manifest["images"][0]["platforms"][0]
        platform.update(manifest="sha256:" + "1" * 64, config="sha256:" + "2" * 64)

        found = check(root, other._replace(name="old.asc"), listed(layout))

        assert outcome(found) == [("pass", None), ("pass", None)]
        assert check(root, other, live=True)[1].status == "fail"


class TestSnapshots:
    """What is unpacked, in a tree whose database of snapshots is not there."""

    @pytest.mark.parametrize("path", [PROGRAM, LIBRARY])
    def test_a_file_changed_in_a_snapshot_fails(self, path: str, root: Path, layout: Path) -> None:
        place = root / SNAPSHOTS / ("2" if path == PROGRAM else "1") / "fs" / path.lstrip("/")
        place.write_bytes(place.read_bytes() + b"X")

        found = check(root, listed(layout))

        assert outcome(found) == [("pass", None), ("fail", "snapshot-file")]
        assert found[1].evidence["path"] == path and found[1].actual == "sha256:" + roots.sha256(place)

    def test_more_permissions_than_recorded_fail(self, root: Path, layout: Path) -> None:
        (root / SNAPSHOTS / "2/fs" / PROGRAM.lstrip("/")).chmod(0o757)
        manifest = listed(layout)
        for file in manifest.manifest["images"][0]["platforms"][0]["files"]:
            file["mode"] = "0755"

        assert outcome(check(root, manifest))[1] == ("fail", "mode-wider")

    def test_a_directory_in_a_files_place_fails(self, root: Path, layout: Path) -> None:
        place = root / SNAPSHOTS / "2/fs" / PROGRAM.lstrip("/")
        place.unlink()
        place.mkdir()

        assert outcome(check(root, listed(layout)))[1] == ("fail", "snapshot-file")

    @pytest.mark.skipif(os.geteuid() != 0, reason="root alone makes devices")
    def test_a_device_in_a_files_place_fails(self, root: Path, layout: Path) -> None:
        # Only the device of number 0/0 says that a file is deleted; this one is null.
        place = root / SNAPSHOTS / "2/fs" / PROGRAM.lstrip("/")
        place.unlink()
        os.mknod(place, 0o666 | stat.S_IFCHR, os.makedev(1, 3))

        assert outcome(check(root, listed(layout)))[1] == ("fail", "snapshot-file")

    def test_a_file_that_is_gone_is_unknown(self, root: Path, layout: Path) -> None:
        (root / SNAPSHOTS / "1/fs" / LIBRARY.lstrip("/")).unlink()

        assert outcome(check(root, listed(layout)))[1] == ("unknown", "snapshot-incomplete")

    @pytest.mark.parametrize(("path", "found"), [(PROGRAM, ("unknown", "snapshot-other")), (LIBRARY, ("pass", None))])
    def test_another_programs_copy_beside_the_right_one_may_be_the_one_that_runs(
        self, path: str, found: tuple[str, str | None], root: Path, layout: Path
    ) -> None:
        place = root / SNAPSHOTS / "9/fs" / path.lstrip("/")
        place.parent.mkdir(parents=True)
        shutil.copyfile("/usr/bin/false", place)

        assert outcome(check(root, listed(layout))) == [("pass", None), found]

    def test_two_listed_releases_copies_are_both_right(self, root: Path, layout: Path) -> None:
        older = root / SNAPSHOTS / "9/fs" / PROGRAM.lstrip("/")
        older.parent.mkdir(parents=True)
        shutil.copyfile("/usr/bin/false", older)
        other = listed(layout)
        platform = other.manifest["images"][0]["platforms"][0]
        platform.update(manifest="sha256:" + "1" * 64, config="sha256:" + "2" * 64)
        platform["files"][1]["sha256"] = roots.sha256(older)

        assert outcome(check(root, listed(layout), other))[:2] == [("pass", None), ("pass", None)]

    def test_a_running_nodes_snapshots_without_their_database_are_unknown(self, root: Path, layout: Path) -> None:
        assert ("unknown", "database") in outcome(check(root, listed(layout), live=True))

    def test_another_releases_copy_that_a_container_runs_from_fails(
        self, root: Path, layout: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place = root / SNAPSHOTS / "9/fs" / PROGRAM.lstrip("/")
        place.parent.mkdir(parents=True)
        shutil.copyfile("/usr/bin/false", place)
        monkeypatch.setattr(containers, "_in_use", lambda _: containers._Mounted({(9,)}, set()))

        assert ("fail", "running-snapshot") in outcome(check(root, listed(layout), live=True))

    def test_somebody_elses_file_at_a_librarys_path_is_no_finding(self, root: Path, layout: Path) -> None:
        # Nothing of the image is unpacked; another image has a file of its own at the path.
        shutil.rmtree(root / SNAPSHOTS)
        place = root / SNAPSHOTS / "9/fs" / LIBRARY.lstrip("/")
        place.parent.mkdir(parents=True)
        shutil.copyfile("/usr/bin/false", place)

        assert outcome(check(root, listed(layout))) == [("pass", None)]

    def test_mounted_overlays_are_read_whole_and_shortened(
        self, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # What the kernel names is the host's path; a container sees it below its mount of the host's root.
        directory, other = "/" + SNAPSHOTS, tmp_path / "other"
        other.mkdir()
        full = f"lowerdir={directory}/11/fs:{directory}/10/fs,upperdir={directory}/12/fs,workdir={directory}/12/work"
        foreign = f"lowerdir={other}/31/fs:{other}/30/fs,upperdir={other}/32/fs,workdir={other}/32/work"
        short = f"lowerdir=21/fs:20/fs,upperdir={directory}/22/fs,workdir={directory}/22/work"
        lines = [
            f"700 600 0:50 / /run/x/rootfs rw,relatime - overlay overlay rw,{full}",
            f"701 600 0:51 / /run/y/rootfs rw - overlay overlay rw,{short}",
            "702 600 0:52 / /run/z rw - tmpfs 99/fs rw",
            f"703 600 0:53 / /run/another rw - overlay overlay rw,{foreign}",
            "704 600 0:54 / /run/view rw - overlay overlay ro,lowerdir=41/fs:40/fs",
            "705 600 0:55 / /run/gone rw - overlay overlay ro,lowerdir=/nowhere/51/fs:/nowhere/50/fs",
            f"706 600 0:56 / /run/moved rw - overlay overlay ro,lowerdir={directory}/61/fs:/data/snapshots/60/fs",
            "707 600 0:57 / /run/docker rw - overlay overlay rw,lowerdir=/var/lib/docker/overlay2/l/AB:/l/CD",
        ]
        (root / "data/snapshots").mkdir(parents=True)
        monkeypatch.setattr(tree, "read_small", lambda *_: "\n".join(lines))
        node = Node(str(root), True, "control-plane")

        found = containers._in_use(node)

        # What may be the node's counts as the node's; what is visible only outside its root is another node's.
        assert found == ({(12, 11, 10), (22, 21, 20), (41, 40)}, {"/nowhere", "/data/snapshots"})

    def test_more_mounts_than_are_read_are_unknown(
        self, root: Path, layout: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(containers, "_MAX_MOUNTS", 100)

        assert ("unknown", "mounts") in outcome(check(root, listed(layout), live=True))

    def test_mounts_that_cannot_be_read_are_unknown(
        self, root: Path, layout: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: Any) -> str:
            raise PermissionError(13, "denied")

        monkeypatch.setattr(tree, "read_small", refuse)

        assert ("unknown", "mounts") in outcome(check(root, listed(layout), live=True))


def program(directory: Path, text: str) -> str:
    place = directory / "crictl"
    place.write_text("#!/bin/sh\n" + text)
    place.chmod(0o755)
    return str(place)


CONFIGURATION = "sha256:7dc059daef1d0285e6c87e194017c7df568e42a4177fcf5da692a9f803f995e4"
POD = "b841bc703001d470b5b03c070c1d954515f26c82334b645ac61882fbc930d05e"
# What two crictl print of one container that containerd 1.6.20 runs, started by its CRI plugin as the kubelet does.
PS = {
    "1.20": """{"containers": [{"id": "aa046b2dd28f8673af621e3dfbf283d05b1e5e320f0ec674e81ace63bff54520",
      "podSandboxId": "%(pod)s", "metadata": {"name": "%(name)s", "attempt": 0},
      "image": {"image": "%(image)s", "annotations": {}}, "imageRef": "%(configuration)s",
      "state": "CONTAINER_RUNNING", "createdAt": "1795422323520580271", "labels": {}, "annotations": {}}]}""",
    "1.36": """{"containers":  [{"id":  "aa046b2dd28f8673af621e3dfbf283d05b1e5e320f0ec674e81ace63bff54520",
      "podSandboxId":  "%(pod)s", "metadata":  {"name":  "%(name)s", "attempt":  0},
      "image":  {"image":  "%(image)s", "annotations":  {}, "userSpecifiedImage":  "", "runtimeHandler":  "",
      "imageRef":  ""}, "imageRef":  "%(configuration)s", "state":  "CONTAINER_RUNNING",
      "createdAt":  "1795422323520580271", "labels":  {}, "annotations":  {}, "imageId":  ""}]}""",
}
IMAGES = {
    "1.20": """{"images": [{"id": "%(configuration)s", "repoTags": ["docker.io/other/etcd:v3"], "repoDigests": [],
      "size": "3018792", "uid": null, "username": "", "spec": null}]}""",
    "1.36": """{"images":  [{"id":  "%(configuration)s", "repoTags":  ["docker.io/other/etcd:v3"],
      "repoDigests":  [], "size":  "3018792", "username":  "", "pinned":  false}]}""",
}


def of(manifests: list[Listed]) -> list[containers.Known]:
    """Return what containers are compared with."""
    found = images_of(Node("/", True, "control-plane"), manifests)
    return images._known(found, images._digests(found))


class TestToldByTheRuntime:
    """crictl, where there is one."""

    @pytest.mark.parametrize(
        ("name", "told"),
        [("pause", "sandbox_image to k8s.gcr.io/pause:1 in /etc/containerd/config.toml"), ("x", "pod")],
    )
    def test_where_to_name_the_right_image_is_said(self, name: str, told: str) -> None:
        advice = containers.advice_for([f"k8s.gcr.io/{name}:1"])

        assert told in advice and f"k8s.gcr.io/{name}:1" in advice

    def ask(self, monkeypatch: pytest.MonkeyPatch, path: str, layout: Path) -> list[Result]:
        monkeypatch.setattr(helper, "find", lambda name: path if name == "crictl" else None)
        known = of([listed(layout)])
        nothing = snapshots.Snapshots(b"", {}, None)
        return containers._told(Node(str(Path(path).parent), True, "control-plane"), known, nothing, {}, {})

    @pytest.fixture(autouse=True)
    def socket(self, tmp_path: Path) -> Path:
        """Where containerd would listen: `program` answers in its place."""
        place = tmp_path / "run/containerd/containerd.sock"
        place.parent.mkdir(parents=True)
        place.touch()
        return place

    @pytest.mark.parametrize(
        ("reference", "name", "expected"),
        [
            ("config", "etcd", [("pass", None)]),
            ("manifest", "etcd", [("pass", None)]),
            ("sha256:" + "9" * 64, "etcd", [("fail", "unlisted-image")]),
            ("docker.io/other/etcd@sha256:" + "9" * 64, "x", [("fail", "unlisted-image")]),
            ("docker.io/library/nginx@sha256:" + "9" * 64, "nginx", []),
        ],
    )
    def test_what_runs_is_compared_by_any_identity(
        self,
        reference: str,
        name: str,
        expected: list[tuple[str, str | None]],
        layout: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        reference = digests(layout).get(reference, reference)
        row = {"metadata": {"name": name}, "image": {"image": reference}, "imageRef": reference}
        (tmp_path / "ps").write_text(json.dumps({"containers": [row]}))

        (tmp_path / "images").write_text('{"images": []}')

        found = self.ask(monkeypatch, program(tmp_path, f'cat "{tmp_path}/$7"\n'), layout)

        assert outcome(found) == expected

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("exec sleep 60", "did not end"),
            ("exec yes", "more output|did not end"),
            ("exit 1", "exit code 1"),
            ("echo '[1]'", "no list"),
            ("echo '{\"containers\": [1]}'", "no list"),
            ("printf '\\377\\376'", "no list"),
            ("echo '{}'", "no list"),
            ("echo '{\"containers\": {}}'", "no list"),
            ('echo \'{"containers": ""}\'', "no list"),
            ("echo '{\"containers\": null}'", "no list"),
            ("exit 0", "no list"),
            ("head -c 300000 /dev/zero | tr '\\0' '['", "no list"),
        ],
    )
    def test_a_runtime_that_is_dead_or_hangs_is_unknown(
        self, text: str, told: str, layout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import re

        monkeypatch.setattr(containers, "_SECONDS", 0.5)

        found = self.ask(monkeypatch, program(tmp_path, text + "\n"), layout)

        assert [result.status for result in found] == ["unknown"]
        assert re.search(told, str(found[0].actual))

    def test_without_the_runtimes_socket_nothing_is_asked(
        self, layout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, socket: Path
    ) -> None:
        # ctr waits for it, up to the limit.
        socket.unlink()

        found = self.ask(monkeypatch, program(tmp_path, f"touch {tmp_path}/asked\n"), layout)

        assert [result.status for result in found] == ["unknown"]
        assert found[0].actual == f"does not find {socket}"
        assert not (tmp_path / "asked").exists()

    @pytest.mark.parametrize("version", PS)
    @pytest.mark.parametrize("by", ["reference", "digest"])
    @pytest.mark.parametrize("listed_digest", [True, False])
    def test_what_real_crictl_print_is_understood(
        self,
        version: str,
        by: str,
        listed_digest: bool,
        layout: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        configuration = digests(layout)["config"] if listed_digest else CONFIGURATION
        image = configuration if by == "digest" else "docker.io/other/etcd:v3"
        values = {"pod": POD, "name": "anything", "image": image, "configuration": configuration}
        (tmp_path / "ps").write_text(PS[version] % values)
        (tmp_path / "images").write_text(IMAGES[version] % values)

        # crictl --runtime-endpoint ENDPOINT --image-endpoint ENDPOINT --timeout 5s ps|images --output json
        found = self.ask(monkeypatch, program(tmp_path, f'cat "{tmp_path}/$7"\n'), layout)

        assert outcome(found) == [("pass", None) if listed_digest else ("fail", "unlisted-image")]
        assert found[0].evidence["image"] == "docker.io/other/etcd:v3"
        assert found[0].evidence.get("manifest") == ("m.asc" if listed_digest else None)

    def test_programs_come_from_fixed_directories_alone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        program(tmp_path, "echo hijacked\n")
        monkeypatch.setenv("PATH", str(tmp_path))

        assert helper.find("crictl") in (None, "/usr/bin/crictl", "/bin/crictl")
        assert helper.find("env") == "/usr/bin/env"
