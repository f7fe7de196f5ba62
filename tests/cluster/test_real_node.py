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
        "operating_systems": [{"id": "rhel", "versions": ["8.4"]}],
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


def failures(checked: dict[str, Any]) -> set[tuple[str, str, str]]:
    return {(one["check"], one["component"], one["subject"]) for one in checked["found"]["findings"]}


def test_a_clean_node_is_valid_from_a_pod_that_is_not_privileged_although_its_network_is_not_ready(
    happened: dict[str, Any],
) -> None:
    assert happened["conditions"]["Ready"] == "False"
    assert (happened["clean"]["code"], happened["clean"]["found"]["verdict"]) == (0, "valid"), happened["clean"]
    assert happened["clean"]["found"]["nodes"] == [{"name": realnode.NODE, "verdict": "valid"}]


def test_another_kubelet_in_place_of_the_one_that_runs_is_found(happened: dict[str, Any]) -> None:
    assert happened["replaced"]["code"] == 1
    assert ("files", "kubelet", "/usr/bin/kubelet") in failures(happened["replaced"])
    assert happened["replaced"]["found"]["components"] == {"kubelet": 1}
    # The whole report comes by the pod's log.
    assert happened["replaced"]["found"]["warnings"] == []
    assert happened["whole"]["verdict"] == "invalid" and happened["whole"]["truncated"] is False
    assert {"pass", "fail"} <= {one["status"] for one in happened["whole"]["checks"]}


def test_a_changed_layer_is_found(happened: dict[str, Any]) -> None:
    assert happened["snapshot"]["code"] == 1
    assert "images" in {check for check, _, _ in failures(happened["snapshot"])}
    print(happened["shown"])  # noqa: T201 - for `make cluster`
    assert "[FAIL] images: " in happened["shown"] and "Verdict: INVALID (1 node: 1 invalid; " in happened["shown"]


def test_nothing_is_left_and_a_node_without_kubelet_is_unknown(happened: dict[str, Any]) -> None:
    assert happened["left"] == []
    assert happened["silent"]["code"] == 4
    node = happened["silent"]["found"]["nodes"][0]
    assert (node["name"], node["verdict"], node["reason"]) == (realnode.NODE, "unknown", "timed-out")
