"""A cluster of real nodes from released programs and images is valid, and changes of a node are found."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.tamperings import CONTROL_PLANE, TAMPERINGS, Tampering
from tests.support.gnupg import opened_home
from tests.support.realcluster import cluster as realcluster
from tests.support.realcluster import release
from tests.support.realcluster.cluster import NODES, Cluster
from tests.support.realcluster.tampering import tamper, undo

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    assert os.geteuid() == 0, "kubelets need root"
    folder = tmp_path_factory.mktemp("cluster")
    with opened_home() as home:
        made = release.make(folder, home)
    with realcluster.running(folder, made) as running:
        yield running


def checked(cluster: Cluster, *options: str, **given: Any) -> tuple[int, dict[str, Any]]:
    """Return the exit code and the report of a check."""
    done = cluster.check("--json", *options, **given)
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, found


def verdicts(found: dict[str, Any]) -> dict[str, str]:
    return {node["name"]: node["verdict"] for node in found["nodes"]}


def test_the_release_has_proven_every_program_of_kubernetes(cluster: Cluster) -> None:
    signed = cluster.release.manifest.read_text()
    manifest = json.loads(signed[signed.index("{") : signed.rindex("}") + 1])
    found = {one["name"]: one["verdict"] for one in manifest["components"] if one["requirement"] == "proven"}
    assert found == dict.fromkeys(
        ("kubelet", "kubeadm", "kubectl", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"),
        "proven",
    )


def test_a_clean_cluster_is_valid(cluster: Cluster) -> None:
    code, found = checked(cluster)
    assert (code, verdicts(found)) == (0, dict.fromkeys(NODES, "valid")), found["findings"]
    assert found["warnings"] == []


def test_the_node_tool_says_the_same_on_the_node_itself(cluster: Cluster) -> None:
    report = cluster.tool(realcluster.CONTROL_PLANE)
    assert (report["verdict"], report["scope"], report["host"]["role"]) == ("valid", "live", "control-plane")
    # It saw what runs: each component by its process.
    running = {one["evidence"].get("component") for one in report["checks"] if one["id"] == "processes"}
    assert {"kubelet", "containerd", "etcd", "kube-apiserver", "kube-scheduler", "kube-proxy"} <= running


def test_the_roles_of_deploy_are_enough_on_a_real_cluster(cluster: Cluster) -> None:
    cluster.kubectl("apply", "-f", str(DEPLOY / "rbac.yaml"))

    def secrets() -> list[dict[str, str]]:
        account = json.loads(cluster.kubectl("get", "-n", "fipsmanifest", "sa", "fipsmanifest-check", "-o", "json"))
        found: list[dict[str, str]] = account.get("secrets", [])
        return found

    # A controller makes the token a moment later.
    cluster.machines[realcluster.CONTROL_PLANE].wait_for(secrets, "a token")
    secret = secrets()[0]["name"]
    token = json.loads(cluster.kubectl("get", "-n", "fipsmanifest", "secret", secret, "-o", "json"))["data"]["token"]
    kubeconfig = cluster.folder / "limited.conf"
    kubeconfig.write_bytes(cluster.kubeconfig.read_bytes())
    options = [f"--kubeconfig={kubeconfig}", "--user=kubernetes-admin", "set-credentials"]
    words = ["config", "set-credentials", "limited", f"--token={base64.b64decode(token).decode()}"]
    cluster.kubectl(*words, options[0])
    cluster.kubectl("config", "set-context", "--current", "--user=limited", options[0])

    code, found = checked(cluster, kubeconfig=kubeconfig)
    assert (code, verdicts(found)) == (0, dict.fromkeys(NODES, "valid")), found["findings"]


class Rounds:
    """Tamperings on up to two nodes at a time, and what a check of the cluster finds then."""

    def __init__(self, cluster: Cluster, rows: Sequence[Tampering]) -> None:
        self._cluster = cluster
        planes = [row for row in rows if row.role == CONTROL_PLANE]
        workers = [row for row in rows if row.role != CONTROL_PLANE]
        self._of: dict[str, dict[str, Tampering]] = {}
        self._found: dict[str, dict[str, Any]] = {}
        while planes or workers:
            places = [("node-1", planes.pop(0))] if planes else []
            for node in ("node-2", "node-3"):
                if workers and len(places) < 2:
                    places.append((node, workers.pop(0)))
            for _, row in places:
                self._of[row.name] = dict(places)

    def run(self, row: Tampering) -> tuple[str, dict[str, Any]]:
        """Return the node of a row, and the report of the cluster's check with it."""
        places = self._of[row.name]
        if row.name not in self._found:
            machines = {node: self._cluster.machines[node] for node in places}
            with ThreadPoolExecutor() as pool:
                try:
                    list(pool.map(lambda node: tamper(machines[node], places[node].script), places))
                    _, found = checked(self._cluster)
                finally:
                    list(pool.map(undo, machines.values()))
                list(pool.map(lambda node: machines[node].sh(_until(places[node].afterwards)), places))
            for one in places.values():
                self._found[one.name] = found
        return next(node for node, one in places.items() if one is row), self._found[row.name]

    def clean(self, row: Tampering) -> list[str]:
        """Return the nodes to which nothing is done in the round of a row."""
        return [node for node in NODES if node not in self._of[row.name]]


def _until(condition: str) -> str:
    return f"for _ in $(seq 60); do if sh -c '{condition}' >/dev/null 2>&1; then exit 0; fi; sleep 0.5; done; exit 1"


@pytest.fixture(scope="module")
def rounds(cluster: Cluster) -> Rounds:
    return Rounds(cluster, TAMPERINGS)


@pytest.mark.parametrize("row", TAMPERINGS, ids=lambda row: row.name)
def test_what_is_done_to_a_node_is_found_there_and_the_other_nodes_stay_valid(row: Tampering, rounds: Rounds) -> None:
    node, found = rounds.run(row)

    (told,) = (one for one in found["nodes"] if one["name"] == node)
    findings = [found["findings"][number] for number in told.get("findings", [])]
    failures = {(one["check"], one["component"] or "") for one in findings if one["status"] == "fail"}
    for one in findings:  # for `make cluster`
        print(node, one["status"], one["check"], one["component"], one["subject"], one["code"], one["actual"])  # noqa: T201
    assert told["verdict"] == "invalid", told
    assert (row.check, row.component) in failures, findings
    assert {name: verdicts(found)[name] for name in rounds.clean(row)} == dict.fromkeys(rounds.clean(row), "valid")


def test_the_cluster_is_valid_again_and_nothing_is_left(cluster: Cluster, rounds: Rounds) -> None:
    code, found = checked(cluster)
    assert (code, verdicts(found)) == (0, dict.fromkeys(NODES, "valid")), found["findings"]
    left = [pod for pod in realcluster.pods(cluster) if pod["metadata"]["namespace"] == "fipsmanifest"]
    assert left == []


def test_a_node_without_its_kubelet_is_unknown_and_the_others_are_valid(cluster: Cluster) -> None:
    machine = cluster.machines["node-3"]
    machine.sh("pkill -x kubelet")
    try:
        code, found = checked(cluster, "--node-timeout", "5s", "--timeout", "40s")
    finally:
        machine.sh("sh /root/restart kubelet")

    assert code == 4
    assert verdicts(found) == {"node-1": "valid", "node-2": "valid", "node-3": "unknown"}
    assert found["nodes"][2]["reason"] in ("timed-out", "not-ready")
