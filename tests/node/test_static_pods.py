"""The node tool with a real containerd whose containers bear the kubelet's labels: which pod is a component's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest

from fipsmanifest.node.checks import container_pods, images, processes
from fipsmanifest.node.checks.images import names
from fipsmanifest.node.result import Listed, Node, Result
from tests.node.test_containerd import archives, containerd, empty, listed_image, manifest, older
from tests.support import roots, runtime
from tests.support.runtime import PROGRAM, REFERENCE, Archive, Containerd

__all__ = ["archives", "containerd", "empty", "listed_image", "manifest", "older"]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="containers are mounted and started by root alone")

STATIC = "c" * 32
"""A static pod's UID is a hash of its definition."""


def labels(namespace: str, pod: str, container: str, uid: str = STATIC) -> list[str]:
    """The labels that the CRI plugin gives to a container (pkg/kubelet/types/labels.go)."""
    told = {"pod.namespace": namespace, "pod.name": pod, "container.name": container, "pod.uid": uid}
    return [word for name, value in told.items() for word in ("--label", f"io.kubernetes.{name}={value}")]


def check(started: Containerd, manifest: Listed) -> list[Result]:
    node = Node(str(started.root), True, "control-plane")
    found = processes.check(node, [manifest])
    own = [one for one in found if one.evidence.get("container") == started.container]
    return images.check(node, [manifest]) + own


def codes(found: list[Result], status: str = "fail") -> set[str]:
    return {str(one.evidence.get("code")) for one in found if one.status == status}


@pytest.fixture
def listed(listed_image: Archive, manifest: Listed) -> Listed:
    """The manifest, with the layers that the image's configuration names (as a release's has)."""
    config = listed_image.layout / "blobs/sha256" / listed_image.config.removeprefix("sha256:")
    unpacked = json.loads(config.read_text())["rootfs"]["diff_ids"]
    manifest.manifest["images"][0]["platforms"][0]["diff_ids"] = unpacked
    return manifest


class TestComponents:
    """Containers of a static pod, or in kube-system."""

    def test_the_listed_image_in_a_static_pod_passes_under_the_pods_name(
        self, containerd: Containerd, listed: Listed
    ) -> None:
        containerd.start(options=labels("kube-system", "etcd-node1", "etcd"))

        found = check(containerd, listed)

        assert {one.status for one in found} == {"pass"}, found
        container = next(one for one in found if one.subject == "etcd (container)")
        assert container.evidence["pod_name"] == "kube-system/etcd-node1"
        assert container.evidence["component"] == "etcd"
        process = next(one for one in found if one.id == "processes")
        assert process.evidence["claims"] == ["pod kube-system/etcd-node1"]

    @pytest.mark.parametrize("container", ["etcd", "server"])
    def test_another_image_and_program_in_a_components_pod_fail(
        self, container: str, empty: Containerd, listed: Listed, tmp_path: Path
    ) -> None:
        # Neither the image nor the program nor the container has a name that a manifest lists.
        other = runtime.archive(tmp_path, "v3.4.3", "docker.io/other/api:1", "/opt/api")
        empty.load(other)
        empty.start(other.image.reference, options=labels("kube-system", "etcd-node1", container))

        found = check(empty, listed)

        assert {"unlisted-image", "another-program"} <= codes(found)
        assert {one.evidence["component"] for one in found if one.status == "fail"} == {"etcd"}

    def test_the_listed_image_with_a_command_from_a_volume_fails(
        self, containerd: Containerd, listed: Listed, tmp_path: Path
    ) -> None:
        shutil.copy(runtime.etcd("v3.4.3"), tmp_path / "api")
        mount = f"type=bind,src={tmp_path},dst=/opt,options=rbind:ro"
        options = ["--mount", mount, *labels("kube-system", "etcd-node1", "etcd")]
        containerd.start(REFERENCE, "/opt/api", options=options)

        found = check(containerd, listed)

        assert codes(found) == {"another-program"}
        [failed] = [one for one in found if one.status == "fail"]
        assert failed.subject.startswith("/opt/api") and REFERENCE in failed.advice

    def test_a_program_in_place_of_the_images_one_by_a_mount_fails(
        self, containerd: Containerd, listed: Listed
    ) -> None:
        mount = f"type=bind,src={runtime.etcd('v3.4.3')},dst={PROGRAM},options=rbind:ro"
        containerd.start(options=["--mount", mount, *labels("kube-system", "etcd-node1", "etcd")])

        assert codes(check(containerd, listed)) == {"another-program"}

    def test_another_components_listed_image_in_its_place_fails(
        self, containerd: Containerd, listed: Listed, older: Archive
    ) -> None:
        config = older.layout / "blobs/sha256" / older.config.removeprefix("sha256:")
        other = older.listed() | {"reference": older.image.reference, "component": "coredns"}
        other["platforms"][0]["diff_ids"] = json.loads(config.read_text())["rootfs"]["diff_ids"]
        listed.manifest["images"].append(other)
        containerd.load(older)
        containerd.start(older.image.reference, options=labels("kube-system", "etcd-node1", "etcd"))

        assert "unlisted-image" in codes(check(containerd, listed))


class TestDatabase:
    """What containerd's database of containers and names does not contain."""

    @pytest.mark.parametrize("now", ["gone", "damaged"])
    def test_a_pods_container_that_it_does_not_have_is_unknown(
        self, now: str, containerd: Containerd, listed: Listed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # The machine may run other pods, whose processes come first.
        monkeypatch.setattr(processes, "MAX_SHOWN", 10_000)
        # containerd goes on with the file that it has open.
        containerd.start(options=labels("kube-system", "etcd-node1", "etcd"))
        database = containerd.root / container_pods.METADATA.lstrip("/")
        database.rename(database.with_suffix(".aside"))
        if now == "damaged":
            database.write_bytes(bytes(8192))

        found = processes.check(Node(str(containerd.root), True, "control-plane"), [listed])

        [unknown] = [one for one in found if one.subject == "containers"]
        assert (unknown.status, unknown.evidence["code"]) == ("unknown", "pod-unknown")
        assert containerd.tasks()[containerd.container] in unknown.evidence["pids"]

    @pytest.mark.parametrize(("content", "status"), [(bytes(8192), "unknown"), (None, "")])
    def test_one_that_cannot_be_read_is_unknown_and_a_tree_without_one_is_not(
        self, content: bytes | None, status: str, tmp_path: Path
    ) -> None:
        if content is not None:
            place = tmp_path / container_pods.METADATA.lstrip("/")
            place.parent.mkdir(parents=True)
            place.write_bytes(content)

        found = names.check(Node(str(tmp_path), False, "control-plane"), [])

        assert [(one.status, one.evidence["code"]) for one in found] == ([(status, "database")] if status else [])


class TestWorkloads:
    """An application's pods."""

    def test_an_applications_own_etcd_is_told_and_not_judged(
        self, containerd: Containerd, listed: Listed, older: Archive
    ) -> None:
        containerd.load(older)
        uid = containerd.pod
        containerd.start(older.image.reference, options=labels("shop", "etcd-0", "etcd", uid))

        found = check(containerd, listed)

        assert {one.status for one in found} == {"pass", "not-applicable"}, found
        assert codes(found, "not-applicable") == {"workload"}
        assert len([one for one in found if one.evidence.get("pod_name") == "shop/etcd-0"]) == 2

    def test_a_process_of_the_host_in_its_control_group_is_judged(
        self, containerd: Containerd, listed: Listed, tmp_path: Path
    ) -> None:
        containerd.start(options=labels("default", "web-1", "web", str(uuid.uuid4())))
        shutil.copy("/usr/bin/sleep", tmp_path / "etcd")
        with subprocess.Popen([tmp_path / "etcd", "100"]) as process:
            for above in ("kubepods", "*/kubepods"):
                group = f"{above}/besteffort/pod{containerd.pod}/{containerd.container}/cgroup.procs"
                for place in Path("/sys/fs/cgroup").glob(group):
                    place.write_text(str(process.pid))
            found = check(containerd, listed)
            process.kill()

        own = [one for one in found if process.pid in one.evidence.get("pids", ())]
        assert [(one.status, one.evidence["code"]) for one in own] == [("fail", "outside")]

    def test_a_workload_with_a_components_port_is_that_component(
        self, containerd: Containerd, listed: Listed, tmp_path: Path
    ) -> None:
        # The container is in the host's network.
        program = Path(shutil.which("openssl") or "")
        port = runtime.free_port()
        mounts = [f"type=bind,src={place},dst={place},options=rbind:ro" for place in ("/usr", "/etc")]
        options = [word for mount in mounts for word in ("--mount", mount)]
        (tmp_path / "lib").mkdir()
        linked = [f"type=bind,src=/usr/{name},dst=/{name},options=rbind:ro" for name in ("lib", "lib64")]
        options += [word for mount in linked for word in ("--mount", mount)]
        options += ["--mount", f"type=bind,src={tmp_path},dst=/work,options=rbind:ro"]
        made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x"]
        made += ["-keyout", f"{tmp_path}/k", "-out", f"{tmp_path}/c"]
        subprocess.run(made, check=True, capture_output=True)
        listed.manifest["node"]["services"] = [{"name": "etcd", "component": "etcd", "port": port}]
        options += labels("shop", "web-0", "web", containerd.pod)
        serve = [str(program), "s_server", "-accept", str(port), "-key", "/work/k", "-cert", "/work/c"]
        containerd.start(REFERENCE, *serve, options=options)
        runtime.wait_for(port)

        found = check(containerd, listed)

        assert codes(found) == {"another-program"}
        assert [one.evidence["claims"] for one in found if one.status == "fail"] == [[f"port {port}"]]

    @pytest.mark.parametrize(
        ("pod", "workload"),
        [
            (container_pods.Pod("kube-system", "etcd-0", "etcd", "u"), False),
            (container_pods.Pod("default", "etcd-0", "etcd", "8e0b4ba1-3c64-4a9d-9a3f-0d4b1c2d3e4f"), True),
            (container_pods.Pod("default", "etcd-node1", "etcd", STATIC), False),
            # A sandbox (pause) is containerd's own.
            (container_pods.Pod("default", "etcd-0", "", "u"), False),
        ],
    )
    def test_a_static_pod_is_none_in_any_namespace(self, pod: container_pods.Pod, workload: bool) -> None:
        assert pod.is_workload is workload


class TestAdded:
    """What is in a snapshot and not in the image."""

    @pytest.mark.parametrize("what", ["library", "preload"])
    @pytest.mark.parametrize("where", ["layer", "container"])
    def test_a_library_and_what_preloads_it_fail(
        self, where: str, what: str, containerd: Containerd, listed: Listed
    ) -> None:
        pid = containerd.start(options=labels("kube-system", "etcd-node1", "etcd"))
        root = containerd.snapshots()[0].parents[3] if where == "layer" else Path(f"/proc/{pid}/root")
        assert not codes(check(containerd, listed))
        place = root / ("usr/lib/evil.so" if what == "library" else "etc/ld.so.preload")
        place.parent.mkdir(parents=True, exist_ok=True)
        if what == "library":
            shutil.copy("/usr/bin/true", place)
        else:
            place.write_text("/usr/lib/evil.so\n")

        found = check(containerd, listed)

        assert codes(found) == {"added"}
        [failed] = [one for one in found if one.status == "fail"]
        assert failed.evidence["paths"] == [f"/{place.relative_to(root)}"] and failed.evidence["component"] == "etcd"

    def test_other_files_are_no_finding(self, containerd: Containerd, listed: Listed) -> None:
        pid = containerd.start(options=labels("kube-system", "etcd-node1", "etcd"))
        Path(f"/proc/{pid}/root/data").write_text("x" * 100)
        Path(f"/proc/{pid}/root/link").symlink_to(PROGRAM)

        assert not codes(check(containerd, listed))


class TestNames:
    """What an image's name leads to."""

    def test_a_name_that_was_given_to_another_image_fails_before_any_pod_is_made_of_it(
        self, containerd: Containerd, listed: Listed, tmp_path: Path
    ) -> None:
        containerd.start(options=labels("kube-system", "etcd-node1", "etcd"))
        assert not codes(check(containerd, listed))

        containerd.load(runtime.archive(tmp_path, "v3.4.3", REFERENCE))

        found = check(containerd, listed)
        assert codes(found) == {"renamed"}

    def test_the_same_image_packed_anew_has_the_name_rightly(
        self, empty: Containerd, listed: Listed, listed_image: Archive, tmp_path: Path
    ) -> None:
        # An air gap's archive may have another index over the same image.
        layout = tmp_path / "layout"
        shutil.copytree(listed_image.layout, layout)
        index = json.loads((layout / "index.json").read_text())
        annotations = index["manifests"][0]["annotations"]
        kind = "application/vnd.oci.image.index.v1+json"
        inner = layout / "blobs/sha256" / index["manifests"][0]["digest"].removeprefix("sha256:")
        packed = json.dumps(json.loads(inner.read_text()) | {"annotations": {"packed": "anew"}}).encode()
        (tmp_path / "new").write_bytes(packed)
        digest = roots.sha256(tmp_path / "new")
        (layout / "blobs/sha256" / digest).write_bytes(packed)
        row: dict[str, Any] = {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(packed)}
        index["manifests"] = [row | {"annotations": annotations}]
        (layout / "index.json").write_text(json.dumps(index))
        subprocess.run(["tar", "-C", layout, "-cf", tmp_path / "anew.tar", "."], check=True)
        empty.ctr("images", "import", tmp_path / "anew.tar")

        assert not codes(check(empty, listed)) - {"missing"}
        assert "renamed" not in codes(check(empty, listed), "unknown")
