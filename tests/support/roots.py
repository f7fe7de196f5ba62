"""A node's file tree with real programs in it, and the manifest that fits it.

Digests come from sha256sum, not from our own code.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.support.forge import GOOD_MANIFEST

PROGRAMS = {"kubelet": "/usr/bin/true", "kubeadm": "/usr/bin/false", "containerd": "/usr/bin/env"}


def sha256(path: Path) -> str:
    """Return a file's digest by coreutils."""
    done = subprocess.run(["sha256sum", "--", str(path)], capture_output=True, check=True)
    return done.stdout.split()[0].decode().lstrip("\\")


def file_entry(root: Path, path: str, **changes: Any) -> dict[str, Any]:
    """Describe a file of the tree as a manifest does."""
    place = root / path.lstrip("/")
    return {
        "path": path,
        "type": "file",
        "role": "program",
        "sha256": sha256(place),
        "size": place.stat().st_size,
        "mode": f"{place.stat().st_mode & 0o7777:04o}",
        "component": Path(path).name,
        "architecture": "x86_64",
        **changes,
    }


def make(root: Path) -> dict[str, Any]:
    """Fill ``root`` as a node's packages do, and return its manifest."""
    for directory in ("usr/bin", "usr/local/bin", "etc/kubernetes"):
        (root / directory).mkdir(parents=True)
    (root / "bin").symlink_to("usr/bin")
    for name in ("kubelet", "kubeadm"):
        shutil.copyfile(PROGRAMS[name], root / "usr/bin" / name)
        (root / "usr/bin" / name).chmod(0o755)
    shutil.copyfile(PROGRAMS["containerd"], root / "usr/local/bin/containerd")
    (root / "usr/local/bin/containerd").chmod(0o755)
    (root / "usr/bin/containerd").symlink_to("/usr/local/bin/containerd")
    write(root, "/etc/os-release", 'ID="rhel"\nVERSION_ID="8.4"\n')
    write(root, "/etc/crypto-policies/state/current", "FIPS\n")
    (root / "etc/kubernetes/kubelet.conf").write_text("shipped\n")
    (root / "etc/kubernetes/kubelet.conf").chmod(0o644)
    link = {"path": "/usr/bin/containerd", "type": "symlink", "role": "program", "mode": "0777"}
    files = [
        file_entry(root, "/bin/kubelet"),
        file_entry(root, "/usr/bin/kubeadm"),
        file_entry(root, "/usr/local/bin/containerd"),
        link | {"target": "/usr/local/bin/containerd", "component": "containerd", "architecture": "x86_64"},
        file_entry(root, "/etc/kubernetes/kubelet.conf", role="config", component="kubelet"),
    ]
    node = {
        "operating_systems": [{"id": "rhel", "versions": ["8.4"]}, {"id": "rocky", "versions": ["8"]}],
        "fips_mode": True,
        "roles": {
            "control-plane": ["kubelet", "kubeadm", "containerd", "etcd"],
            "worker": ["kubelet", "kubeadm", "containerd"],
        },
        "services": [],
    }
    return GOOD_MANIFEST | {"files": files, "node": node, "tool": {"version": "0.0.0", "sha256": "0" * 64}}


def payload_of(manifest: dict[str, Any]) -> bytes:
    """Write the manifest's canonical bytes."""
    return json.dumps(manifest, indent=2, sort_keys=True).encode("ascii") + b"\n"


def write(root: Path, path: str, text: str) -> None:
    """Write a text file into the tree."""
    place = root / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)


def make_fifo(root: Path, path: str) -> None:
    """Replace a file by a FIFO."""
    place = root / path.lstrip("/")
    place.unlink()
    os.mkfifo(place)
