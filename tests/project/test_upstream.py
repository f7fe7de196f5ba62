"""The small upstream of the demo and the tests, read by real tools: rpm, skopeo, curl, tar, go."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from examples.upstream import Served, World, node_root
from examples.upstream.builds import PLAIN
from examples.upstream.goprograms import go_version_m

from fipsmanifest.model.definition_file import load
from tests.support.worlds import make_world

RELEASES = Path(__file__).parents[2] / "releases"
EL8 = RELEASES / "v1.21.3" / "rhel8.toml"
LATER = RELEASES / "v1.22.8" / "rhel8.toml"
KUBERNETES = "kubernetes-fips.s3.us-east-2.amazonaws.com/8/x86_64"


def output(*command: str | Path, directory: Path | None = None) -> str:
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    directory = tmp_path_factory.mktemp("world")
    return make_world([EL8, LATER], directory / "upstream", directory / "gnupg", builds={"kubelet": PLAIN})


@pytest.fixture(scope="module")
def served(world: World) -> Iterator[Served]:
    with world.serve() as served:
        yield served


def package(world: World, name: str) -> Path:
    [path] = [path for path in world.packages(load(EL8)) if path.name.startswith(f"{name}-")]
    return path


def test_packages_have_the_names_that_the_definition_asks_for_and_carry_upstreams_signature(
    world: World, tmp_path: Path
) -> None:
    database = ("--dbpath", str(tmp_path))
    output("rpmkeys", *database, "--import", world.upstream_certificate)
    for path in world.packages(load(EL8)):
        assert output("rpm", "-qp", "--qf", "%{NEVRA}.rpm", *database, path) == path.name
        assert "digests signatures OK" in output("rpmkeys", *database, "--checksig", path)


def test_packages_have_the_digests_without_which_enterprise_linux_8_in_fips_mode_refuses_them(world: World) -> None:
    for path in world.packages(load(EL8)):
        digests = output("rpm", "--nosignature", "-qp", "--qf", "%{SHA256HEADER} %{PAYLOADDIGEST}", path).split()
        assert [len(digest) for digest in digests] == [64, 64]


def test_the_kubelets_package_marks_configuration_and_documentation(world: World) -> None:
    listed = output(
        "rpm", "--nosignature", "-qp", "--qf", "[%{FILENAMES}:%{FILEFLAGS:fflags}\n]", package(world, "kubelet")
    )
    marks = dict(line.split(":") for line in listed.splitlines())
    assert marks["/usr/bin/kubelet"] == ""
    assert marks["/etc/sysconfig/kubelet"] == "cn"
    assert marks["/usr/share/doc/kubelet/README.md"] == "d"
    assert marks["/var/lib/kubelet/config.yaml"] == "g"


def test_files_are_served_whole_in_part_and_not_beyond_their_directory(served: Served) -> None:
    url = f"{served.files_address}/{KUBERNETES}/kubelet-1.21.3-0.x86_64.rpm"
    whole = subprocess.run(["curl", "-sS", "--fail", url], capture_output=True, check=True).stdout
    part = subprocess.run(["curl", "-sS", "--fail", "-r", "100-199", url], capture_output=True, check=True).stdout
    assert part == whole[100:200]
    beyond = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--path-as-is"]
    assert output(*beyond, f"{served.files_address}/../upstream.asc") == "404"
    assert output(*beyond, "-r", f"{len(whole)}-", url) == "416"


def test_a_mirror_for_every_host_is_given(served: Served) -> None:
    assert [mirror.partition("=")[0] for mirror in served.mirrors] == [
        "https://containerd-fips.s3.us-east-2.amazonaws.com/",
        "https://kubernetes-fips.s3.us-east-2.amazonaws.com/",
        "https://packages.d2iq.com/",
        "docker.io/",
        "k8s.gcr.io/",
    ]


def test_images_come_in_every_form_that_registries_hold_and_skopeo_takes_them(served: Served, tmp_path: Path) -> None:
    registry = served.registry_address.removeprefix("http://")
    forms = {}
    for reference in (
        "docker.io/mesosphere/etcd:v3.4.13_fips.0",
        "docker.io/mesosphere/kube-apiserver:v1.21.3_fips.0",
        "k8s.gcr.io/pause:3.4.1",
    ):
        address = f"docker://{registry}/{reference}"
        raw = json.loads(output("skopeo", "inspect", "--raw", "--tls-verify=false", address))
        forms[reference.rpartition("/")[2]] = raw["mediaType"]
        # skopeo checks every digest on the way.
        output("skopeo", "copy", "--src-tls-verify=false", address, f"dir:{tmp_path / raw['mediaType'][-12:]}")
    assert forms == {
        "etcd:v3.4.13_fips.0": "application/vnd.oci.image.index.v1+json",
        "kube-apiserver:v1.21.3_fips.0": "application/vnd.docker.distribution.manifest.v2+json",
        "pause:3.4.1": "application/vnd.docker.distribution.manifest.list.v2+json",
    }


def test_a_plain_kubelet_hides_under_the_fips_name(world: World, tmp_path: Path) -> None:
    root = node_root(world, load(EL8), tmp_path / "root")
    assert "GOEXPERIMENT=boringcrypto" not in go_version_m(root / "usr/bin/kubelet")
    assert "GOEXPERIMENT=boringcrypto" in go_version_m(root / "usr/bin/kubeadm")


def test_the_later_version_brings_containerd_in_a_tarball_with_links_in_usr_bin(world: World) -> None:
    [(path, unpack)] = world.tarballs(load(LATER))
    assert unpack == "/"
    with tarfile.open(path) as tar:
        link = tar.getmember("usr/bin/runc")
        assert link.issym()
        assert link.linkname == "/usr/local/bin/runc"
        assert tar.getmember("usr/local/bin/runc").mode == 0o755


def test_a_nodes_root_holds_each_blob_under_its_digest(world: World, tmp_path: Path) -> None:
    root = node_root(world, load(EL8), tmp_path / "root", snapshots=True)
    blobs = list((root / "var/lib/containerd/io.containerd.content.v1.content/blobs/sha256").iterdir())
    assert blobs
    assert all(hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name for blob in blobs)
    snapshots = root / "var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots"
    assert len(list(snapshots.glob("*/fs/pause"))) == 1


def test_made_again_it_is_the_same_to_the_byte(world: World) -> None:
    before = world.digest()
    home = world.directory.parent / "gnupg"
    again = World.make([EL8, LATER], world.directory, home, builds={"kubelet": PLAIN})
    assert again.digest() == before
    honest = World.make([EL8, LATER], world.directory, home)
    assert honest.digest() != before
    World.make([EL8, LATER], world.directory, home, builds={"kubelet": PLAIN})
