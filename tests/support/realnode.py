"""A real node: kubelet, containerd and the API server in namespaces of their own, on a copy of this machine's root.

`run` starts this module again as root in new mount, PID and network namespaces: the root is
an overlay of this machine's, in memory, so that programs can be installed and tampered with; everything ends with the
first process. What happened is one JSON document on standard output.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fipsmanifest.cluster.objects import namespace_object
from tests.support import controlplane
from tests.support.realcluster.machine import CONTAINERD, OVERLAY

ROOT = Path(__file__).parents[2]
NODE = "node-1"
PAUSE = "registry.example/pause:3.9"
_SECONDS = 120
#: What a node of this release has, and where it comes from.
PROGRAMS = {
    "/usr/bin/kubelet": ROOT / ".cache/kubernetes/kubelet",
    "/usr/bin/containerd": Path("/usr/bin/containerd"),
    "/usr/bin/containerd-shim-runc-v2": Path("/usr/bin/containerd-shim-runc-v2"),
    "/usr/sbin/runc": Path("/usr/sbin/runc"),
}

_SETUP = f"""\
set -e
mount --make-rprivate /
ip link set lo up
ip address add 192.0.2.2/32 dev lo
{OVERLAY}mount -t tmpfs tmpfs run
mkdir -p var/lib/containerd old-root
mount --bind "$1/store" var/lib/containerd
pivot_root . old-root
cd /
umount -l /old-root
exec "$2" -m tests.support.realnode --inside
"""


def run(folder: Path, group: str) -> dict[str, Any]:
    """Run the scenarios with the files of a directory, and return what happened; ``group`` names control groups."""
    command = [
        "unshare",
        "--mount",
        "--pid",
        "--net",
        "--uts",
        "--ipc",
        "--fork",
        "--kill-child",
        "sh",
        "-c",
        _SETUP,
        "sh",
    ]
    environment = {
        **os.environ,
        "REALNODE_FOLDER": str(folder),
        "REALNODE_GROUP": group,
        "PYTHONPATH": f"{ROOT}/src:{ROOT}",
    }
    mounted = folder / "mounted"
    mounted.mkdir()
    try:
        done = subprocess.run(
            [*command, str(mounted), sys.executable],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
    finally:
        remove_groups(group)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def remove_groups(group: str) -> None:
    """Remove the control groups that a kubelet made."""
    for top in [*Path("/sys/fs/cgroup").glob(f"*/{group}"), Path("/sys/fs/cgroup") / group]:
        for folder in sorted((path for path in [top, *top.rglob("*")] if path.is_dir()), reverse=True):
            with contextlib.suppress(OSError):
                folder.rmdir()


_KUBELET = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1",
    "kind": "KubeletConfiguration",
    "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
    "authorization": {"mode": "AlwaysAllow"},
    "cgroupDriver": "cgroupfs",
    "enforceNodeAllocatable": [],
    "evictionHard": {"memory.available": "1Mi"},
    "failSwapOn": False,
    "imageGCHighThresholdPercent": 100,
    "makeIPTablesUtilChains": False,
    "nodeStatusUpdateFrequency": "2s",
}


def _children(process: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


class RealNode:
    """What runs inside the namespaces."""

    def __init__(self, folder: Path, group: str) -> None:
        self.folder = folder
        self.group = group
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def boot(self) -> None:
        """Make the node's process namespace, so that it does not see the control plane of these tests."""
        command = ["unshare", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc", "sleep", "infinity"]
        self.processes["init"] = subprocess.Popen(command)
        self.wait_for(lambda: _children(self.processes["init"].pid), "the first process")

    def start(self, name: str, *command: str | Path) -> None:
        """Start a program of the node; its log is beside the other files."""
        enter = ["nsenter", "--target", str(_children(self.processes["init"].pid)[0]), "--pid", "--mount"]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [*enter, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", env={"PATH": os.defpath}
            )

    def stop(self, name: str) -> None:
        """End a program."""
        process = self.processes.pop(name)
        for child in _children(process.pid):
            os.kill(child, signal.SIGTERM)
        process.wait(20)

    def wait_for(self, happened: Callable[[], object], what: str) -> None:
        """Wait until something happened; else show the logs."""
        end = time.monotonic() + _SECONDS
        while not happened():
            if time.monotonic() > end:
                logs = {path.name: path.read_text(errors="replace")[-3000:] for path in self.folder.glob("*.log")}
                raise AssertionError(f"{what}: {json.dumps(logs, indent=1)}")
            time.sleep(0.2)

    def install(self) -> None:
        """Put the node's programs and settings in place."""
        for path, source in PROGRAMS.items():
            if Path(path) != source:
                shutil.copyfile(source, path)
                Path(path).chmod(0o755)
        Path("/etc/containerd").mkdir(exist_ok=True)
        Path("/etc/containerd/config.toml").write_text(CONTAINERD.format(pause=PAUSE))
        Path("/etc/os-release").unlink()
        Path("/etc/os-release").write_text('ID="rhel"\nVERSION_ID="8.4"\n')
        Path("/etc/systemd/system/kubelet.service").write_text("[Service]\nExecStart=/usr/bin/kubelet\n")
        Path("/var/lib/kubelet").mkdir(exist_ok=True)
        settings = {**_KUBELET, "cgroupRoot": f"/{self.group}"}
        Path("/var/lib/kubelet/config.yaml").write_text(json.dumps(settings))
        for controller in Path("/sys/fs/cgroup").iterdir():
            if controller.is_dir():
                (controller / self.group).mkdir(exist_ok=True)
                for setting in ("cpuset.cpus", "cpuset.mems"):
                    if (controller / setting).exists():
                        (controller / self.group / setting).write_text((controller / setting).read_text())

    def start_containerd(self) -> None:
        """Start containerd with the node's one image."""
        self.start("containerd", "/usr/bin/containerd")
        check = ["ctr", "--connect-timeout", "1s", "version"]
        self.wait_for(lambda: subprocess.run(check, capture_output=True, check=False).returncode == 0, "containerd")
        load = ["ctr", "--namespace", "k8s.io", "images", "import", str(self.folder / "pause.tar")]
        subprocess.run(load, check=True, capture_output=True)

    def start_kubelet(self, kubeconfig: Path) -> None:
        """Start the kubelet."""
        self.start(
            "kubelet",
            "/usr/bin/kubelet",
            "--config=/var/lib/kubelet/config.yaml",
            f"--kubeconfig={kubeconfig}",
            "--container-runtime=remote",
            "--container-runtime-endpoint=unix:///run/containerd/containerd.sock",
            f"--hostname-override={NODE}",
            "--node-ip=192.0.2.2",
        )

    def check(self, kubeconfig: Path, *options: str) -> dict[str, Any]:
        """Check the cluster with ``--json``."""
        done = self._run(kubeconfig, "--json", *options)
        return {"code": done.returncode, "errors": done.stderr, "found": json.loads(done.stdout or "{}")}

    def show(self, kubeconfig: Path) -> str:
        """Return the readable output of a check."""
        return self._run(kubeconfig).stdout

    def _run(self, kubeconfig: Path, *options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "fipsmanifest.cli.main", "check", "cluster", *options]
        given = ["--keys", str(self.folder / "keys"), "--kubeconfig", str(kubeconfig), "--node-timeout", "30s"]
        manifest = str(self.folder / "manifest-rhel8.json.asc")
        return subprocess.run([*command, *given, manifest], capture_output=True, text=True, timeout=120, check=False)


def _inside(folder: Path, group: str) -> dict[str, Any]:
    """Run the scenarios."""
    real = RealNode(folder, group)
    result: dict[str, Any] = {}
    real.install()
    real.boot()
    with controlplane.running(folder, ["--kubelet-preferred-address-types=InternalIP"]) as plane:
        plane.create_namespace(namespace_object("fipsmanifest"))
        api, kubeconfig = plane.api(), plane.kubeconfig()
        real.start_containerd()
        real.start_kubelet(kubeconfig)

        def node() -> dict[str, Any]:
            found = [item for page in api.pages("/api/v1/nodes") for item in page["items"]]
            return found[0] if found else {}

        real.wait_for(lambda: node().get("status", {}).get("images"), "the node")
        result["conditions"] = {one["type"]: one["status"] for one in node()["status"]["conditions"]}
        result["clean"] = real.check(kubeconfig, "--report-dir", str(folder / "reports"))
        # Another build takes the kubelet's place while the listed one runs.
        kubelet = Path("/usr/bin/kubelet")
        kubelet.rename("/usr/bin/kubelet.kept")
        shutil.copyfile(ROOT / ".cache/kubernetes/kube-proxy", kubelet)
        kubelet.chmod(0o755)
        result["replaced"] = real.check(kubeconfig, "--report-dir", str(folder / "reports"))
        whole = folder / "reports" / f"{NODE}.json"
        result["whole"] = json.loads(whole.read_text()) if whole.exists() else {}
        Path("/usr/bin/kubelet.kept").rename(kubelet)
        # A program in an unpacked layer is changed.
        for program in Path("/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots").glob("*/fs/pause"):
            with program.open("ab") as file:
                file.write(b"changed")
        result["snapshot"] = real.check(kubeconfig)
        result["shown"] = real.show(kubeconfig)
        result["left"] = [
            item["metadata"]["name"]
            for page in api.pages("/api/v1/namespaces/fipsmanifest/pods")
            for item in page["items"]
        ]
        # A kubelet that is gone gives no answer.
        real.stop("kubelet")
        result["silent"] = real.check(kubeconfig, "--timeout", "10s")
    # What still runs ends with this process, which is the first one of its namespace.
    return result


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_inside(Path(os.environ["REALNODE_FOLDER"]), os.environ["REALNODE_GROUP"])))
