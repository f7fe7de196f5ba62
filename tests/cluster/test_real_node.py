"""The node tool in a pod of a real kubelet, on a node whose programs are tampered with."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support import realnode, roots, runtime
from tests.support.forge import Forge


@pytest.fixture(scope="module")
def happened(trusted: Forge, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the checks of a real node found, in the order of `realnode`."""
    assert os.geteuid() == 0, "a kubelet needs root"
    folder = tmp_path_factory.mktemp("real-node")
    shutil.copytree(trusted.trust_folder, folder / "keys")
    image = runtime.archive(folder / "image", "v3.9", realnode.PAUSE, "/pause")
    shutil.copyfile(image.path, folder / "pause.tar")
    files = []
    for path, source in realnode.PROGRAMS.items():
        files.append({**roots.file_entry(Path("/"), str(source)), "path": path, "component": COMPONENTS[path]})
    node = {
        "operating_systems": [{"id": "debian", "versions": ["12"]}],
        "fips_mode": False,
        "roles": {"worker": ["kubelet", "containerd", "runc"], "control-plane": []},
        "services": [],
    }
    platform = {**image.listed(), "reference": realnode.PAUSE, "component": "pause"}
    platform["platforms"][0]["files"][0]["path"] = "/pause"
    manifest = {**roots.make(folder / "root"), "files": files, "node": node, "images": [platform]}
    (folder / "manifest-rhel8.json.asc").write_bytes(trusted.clearsign(roots.payload_of(manifest)))
    return realnode.run(folder, f"fipsmanifest-{secrets.token_hex(4)}")


COMPONENTS = {
    "/usr/bin/kubelet": "kubelet",
    "/usr/bin/containerd": "containerd",
    "/usr/bin/containerd-shim-runc-v2": "containerd",
    "/usr/sbin/runc": "runc",
}


def test_x(happened: dict[str, Any]) -> None:
    import json

    print(json.dumps(happened, indent=1))
    assert 0
