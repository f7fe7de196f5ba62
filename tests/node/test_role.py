"""How a node's role is detected: by the static pods that its kubelet would run, and by what runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fipsmanifest.node import host
from tests.support import roots

DIRECTORY = "/etc/kubernetes/manifests"
POD = "kind: Pod\nspec:\n  containers:\n"
API_SERVER = POD + "  - command:\n    - kube-apiserver\n    image: registry.example/kube-apiserver:v1\n"
CONTAINER = {"name": "x", "image": "r/x", "command": ["kube-apiserver", "--v=2"]}
IN_JSON = json.dumps({"kind": "Pod", "spec": {"containers": [CONTAINER]}})
ETCD = POD + "  - image: registry.example/etcd@sha256:00\n"
# What kubespray runs on its workers: a proxy before the API servers of others.
PROXY = """\
# proxies kube-apiserver
kind: Pod
metadata:
  name: nginx-proxy  # for the kube-apiserver of each control plane
spec:
  containers:
  - image: registry.example/nginx:1.19
    args: ["--upstream=kube-apiserver:6443", "--ca", "/etc/kubernetes/pki/etcd/ca.crt"]
"""


@pytest.mark.parametrize("names", [None, [], ["kube-apiserver.yaml"]], ids=["no directory", "empty", "by its name"])
def test_a_role_that_names_decide_does_not_load_the_reader_of_yaml(names: list[str] | None, tmp_path: Path) -> None:
    # The tool compiles what it imports at every start.
    directory = tmp_path / DIRECTORY[1:]
    if names is not None:
        directory.mkdir(parents=True)
        for name in names:
            (directory / name).touch()
    code = (
        "import sys\nfrom fipsmanifest.node import host\nhost.find_role(sys.argv[1], 'auto')\n"
        "print('fipsmanifest.node.formats.yaml' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("files", "role", "doubtful"),
    [
        ({}, "worker", False),
        ({"kube-apiserver.yaml": ""}, "control-plane", False),
        ({"kube-apiserver.yml": "x"}, "control-plane", False),
        ({"kube-apiserver": "x"}, "control-plane", False),
        ({"a.json": IN_JSON}, "control-plane", False),
        ({"a": API_SERVER, "b": ETCD}, "control-plane", False),
        ({"etcd.yaml": ""}, "worker", True),
        ({"x": ETCD}, "worker", True),
        ({"kube-scheduler.yaml": "", "etcd.yaml": ""}, "worker", True),
        ({"nginx-proxy.yml": PROXY}, "worker", False),
        # A pod that is not read exactly may be any; one that is named like a part of a control plane counts as one.
        ({"a.yaml": "kind: Pod\nspec: &x {containers: [image: kube-apiserver]}\n"}, "worker", True),
        ({"a.yaml": "kind: Pod\nspec: &x {}\n", "kube-apiserver.yaml": ""}, "control-plane", False),
        ({".kube-apiserver.yaml": API_SERVER}, "worker", False),
        ({"a": " " * (1 << 20) + API_SERVER}, "worker", True),
        ({f"{number}": "" for number in range(101)}, "worker", True),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, dict) else None,
)
def test_any_file_of_the_kubelets_directory_may_make_a_control_plane(
    files: dict[str, str], role: str, doubtful: bool, tmp_path: Path
) -> None:
    for name, text in files.items():
        roots.write(tmp_path, f"{DIRECTORY}/{name}", text)

    found = host.find_role(str(tmp_path), "auto")

    assert (found.name, found.doubt is not None) == (role, doubtful)
    assert found.doubt is None or (found.doubt.status, found.doubt.subject) == ("unknown", "role")
    assert host.find_role(str(tmp_path), "worker") == host.Role("worker")


def test_a_file_in_the_directories_place_is_a_pod(tmp_path: Path) -> None:
    roots.write(tmp_path, DIRECTORY, API_SERVER)

    assert host.find_role(str(tmp_path), "auto") == host.Role("control-plane")
    shutil.rmtree(tmp_path / "etc")
    (tmp_path / "etc").write_text(API_SERVER)
    assert host.find_role(str(tmp_path), "auto") == host.Role("worker")


def test_what_is_no_file_is_no_pod(tmp_path: Path) -> None:
    (tmp_path / DIRECTORY[1:] / "kept").mkdir(parents=True)
    os.mkfifo(tmp_path / DIRECTORY[1:] / "a.yaml")
    (tmp_path / DIRECTORY[1:] / "gone.yaml").symlink_to("/nowhere")

    assert host.find_role(str(tmp_path), "auto") == host.Role("worker")


@pytest.mark.parametrize("place", ["manifests", "manifests/a.yaml"])
def test_a_loop_of_links_is_no_worker(place: str, tmp_path: Path) -> None:
    loop = tmp_path / "etc/kubernetes" / place
    loop.parent.mkdir(parents=True)
    loop.symlink_to(loop.name)

    assert host.find_role(str(tmp_path), "auto").doubt is not None


def test_a_worker_that_runs_a_control_planes_program_is_in_doubt(tmp_path: Path) -> None:
    # A name that is longer than what the kernel keeps of it.
    program = tmp_path / "kube-controller-manager"
    shutil.copy("/usr/bin/sleep", program)
    with subprocess.Popen([program, "60"]) as process:
        try:
            while Path(f"/proc/{process.pid}/comm").read_text() != "kube-controller\n":
                time.sleep(0.01)
            doubt = host.doubt_by_processes("worker")
        finally:
            process.kill()

    assert doubt is not None and doubt.status == "unknown" and "kube-controller-manager" in str(doubt.actual)
    assert host.doubt_by_processes("control-plane") is None
