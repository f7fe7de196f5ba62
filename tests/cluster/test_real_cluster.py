"""A cluster of real nodes from released programs and images is valid, and changes of a node are found."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.tamperings import TAMPERINGS, Tampering, rounds
from tests.support.gnupg import opened_home
from tests.support.realcluster import cluster as realcluster
from tests.support.realcluster import image, release
from tests.support.realcluster.cluster import NODES, WORKERS, Cluster
from tests.support.realcluster.machine import Machine
from tests.support.realcluster.tampering import tamper, undo

DEPLOY = Path(__file__).parents[2] / "deploy"
#: The first row of a round takes as long as all of them, on a slow machine minutes.
pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    assert os.geteuid() == 0, "kubelets need root"
    directory = tmp_path_factory.mktemp("cluster")
    with opened_home() as home:
        made = release.make(directory, home)
    with realcluster.running(directory, made) as running:
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
    kubeconfig = cluster.directory / "limited.conf"
    kubeconfig.write_bytes(cluster.kubeconfig.read_bytes())
    options = [f"--kubeconfig={kubeconfig}", "--user=kubernetes-admin", "set-credentials"]
    words = ["config", "set-credentials", "limited", f"--token={base64.b64decode(token).decode()}"]
    cluster.kubectl(*words, options[0])
    cluster.kubectl("config", "set-context", "--current", "--user=limited", options[0])

    code, found = checked(cluster, kubeconfig=kubeconfig)
    assert (code, verdicts(found)) == (0, dict.fromkeys(NODES, "valid")), found["findings"]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image.archive(tmp_path_factory.mktemp("image"))


@pytest.fixture
def imported(cluster: Cluster, archive: Path) -> Iterator[str]:
    """Yield an image that both workers have meanwhile."""
    for name in WORKERS:
        shutil.copy(archive, cluster.machines[name].root / "root" / archive.name)
        cluster.machines[name].sh(f"ctr -n k8s.io images import /root/{archive.name} && rm /root/{archive.name}")
    yield image.REFERENCE
    for name in WORKERS:
        # Under all its names: tests tamper with the largest blob, which is to be one of the release.
        cluster.machines[name].sh(
            f"""\
digest=$(ctr -n k8s.io images ls | awk '$1 == "{image.REFERENCE}" {{ print $3 }}')
ctr -n k8s.io images rm --sync $(ctr -n k8s.io images ls | awk -v digest=$digest '$3 == digest {{ print $1 }}')
"""
        )


def test_the_cronjob_runs_in_the_image_of_the_containerfile(cluster: Cluster, imported: str, tmp_path: Path) -> None:
    objects = tmp_path / "objects.json"
    objects.write_text(cluster.cron_job("--cronjob-image", imported, "--output-configmap", "result"))
    cluster.kubectl("apply", "-f", str(objects))
    cluster.kubectl("create", "job", "-n", "fipsmanifest", "now", "--from=cronjob/fipsmanifest-check")

    def ended() -> dict[str, int]:
        job = json.loads(cluster.kubectl("get", "job", "-n", "fipsmanifest", "now", "-o", "json"))
        return {key: job["status"][key] for key in ("succeeded", "failed") if key in job["status"]}

    cluster.machines[realcluster.CONTROL_PLANE].wait_for(ended, "the job's end", 300)
    log = cluster.kubectl("logs", "-n", "fipsmanifest", "job/now")
    assert ended() == {"succeeded": 1}, log
    assert verdicts(json.loads(log[log.index("{") :])) == dict.fromkeys(NODES, "valid")
    written = json.loads(cluster.kubectl("get", "configmap", "-n", "fipsmanifest", "result", "-o", "json"))["data"]
    assert written["verdict"] == "valid"
    cluster.kubectl("delete", "-n", "fipsmanifest", "cronjob/fipsmanifest-check", "job/now")


def test_workloads_that_change_nothing_of_the_node_leave_it_valid(
    cluster: Cluster, imported: str, tmp_path: Path
) -> None:
    pods = [_pod(imported, *one, node) for one, node in zip(_WORKLOADS.items(), WORKERS * 3, strict=False)]
    (tmp_path / "pods.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": pods}))
    cluster.kubectl("apply", "-f", str(tmp_path / "pods.json"))

    def running() -> bool:
        found = realcluster.pods(cluster, "--field-selector=metadata.namespace=default")
        return [pod["status"]["phase"] for pod in found] == ["Running"] * len(pods)

    try:
        cluster.machines[realcluster.CONTROL_PLANE].wait_for(running, "the workloads", 120)
        code, found = checked(cluster)
    finally:
        cluster.kubectl("delete", "--grace-period=1", "-f", str(tmp_path / "pods.json"))
    assert (code, verdicts(found)) == (0, dict.fromkeys(NODES, "valid")), found["findings"]


_SLEEP = {"command": ["python3", "-c", "import time; time.sleep(3600)"]}
_COPY = "import os, shutil; os.execv(shutil.copy('/usr/bin/python3', '/copy/agent'), ['agent', '-c', 'input()'])"
#: Of each pod what its specification and its container have.
_WORKLOADS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "of-a-user": ({"securityContext": {"runAsUser": 1000, "fsGroup": 1000}}, _SLEEP),
    "of-the-host": (
        {"hostNetwork": True, "hostPID": True},
        {"command": ["python3", "-m", "http.server", "9100"]},
    ),
    "privileged": (
        {"volumes": [{"name": "host", "hostPath": {"path": "/"}}]},
        {
            **_SLEEP,
            "securityContext": {"privileged": True},
            "volumeMounts": [{"name": "host", "mountPath": "/host", "mountPropagation": "HostToContainer"}],
        },
    ),
    "from-memory": (
        {"volumes": [{"name": "copy", "emptyDir": {"medium": "Memory"}}]},
        {"command": ["python3", "-c", _COPY], "stdin": True, "volumeMounts": [{"name": "copy", "mountPath": "/copy"}]},
    ),
    "with-settings": (
        {"shareProcessNamespace": True},
        {
            **_SLEEP,
            "env": [
                {"name": "GODEBUG", "value": "fips140=off"},
                {"name": "LD_PRELOAD", "value": "/lib/x86_64-linux-gnu/libz.so.1"},
            ],
            "livenessProbe": {"exec": {"command": ["python3", "-c", ""]}, "periodSeconds": 1},
        },
    ),
}


def _pod(imported: str, name: str, parts: tuple[dict[str, Any], dict[str, Any]], node: str) -> dict[str, Any]:
    specification, container = parts
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {**specification, "nodeName": node, "containers": [{"name": "one", "image": imported, **container}]},
    }


class Rounds:
    """Many tamperings of two nodes at a time, and what a check of the cluster finds then."""

    def __init__(self, cluster: Cluster, rows: Sequence[Tampering]) -> None:
        self._cluster = cluster
        self._found: dict[int, Found | Exception] = {}
        self._rounds = rounds(rows)

    def run(self, row: Tampering) -> Found:
        """Return what is found in the round of a row."""
        number = next(
            number for number, nodes in enumerate(self._rounds) if any(row in rows for rows in nodes.values())
        )
        if number not in self._found:
            try:
                self._found[number] = self._apply(self._rounds[number], number)
            except (AssertionError, subprocess.SubprocessError) as error:
                # For each of its rows, and not again.
                self._found[number] = error
        found = self._found[number]
        if isinstance(found, Exception):
            raise found
        return found

    def _apply(self, nodes: dict[str, list[Tampering]], number: int) -> Found:
        machines = [self._cluster.machines[name] for name in nodes]
        reports = self._cluster.directory / f"reports-{number}"

        def apply(machine: Machine) -> None:
            for row in nodes[machine.name]:
                tamper(machine, row.script)

        with ThreadPoolExecutor() as pool:
            try:
                list(pool.map(apply, machines))
                shown = pool.submit(lambda: self._cluster.check().stdout if number == 0 else "")
                _, found = checked(self._cluster, "--report-dir", str(reports))
                directly = list(pool.map(self._cluster.tool, nodes))
                return Found(
                    found,
                    {path.stem: json.loads(path.read_text()) for path in reports.glob("*.json")},
                    dict(zip(nodes, directly, strict=True)),
                    {row.name: name for name, rows in nodes.items() for row in rows},
                    shown.result(),
                )
            finally:
                list(pool.map(undo, machines))


@dataclass(frozen=True, slots=True)
class Found:
    """What a check of the cluster found in one round."""

    report: dict[str, Any]
    """The cluster's report."""
    whole: dict[str, dict[str, Any]]
    """The whole report of each node that is not valid."""
    directly: dict[str, dict[str, Any]]
    """What the node tool reports on the node itself, of each node that was tampered with."""
    nodes: dict[str, str]
    """What was done -> the node that it was done to."""
    shown: str
    """What a person sees, in the first round."""


@pytest.fixture(scope="module")
def all_rounds(cluster: Cluster) -> Rounds:
    return Rounds(cluster, TAMPERINGS)


@pytest.mark.parametrize("row", TAMPERINGS, ids=lambda row: row.name)
def test_what_is_done_to_a_node_is_found_there_and_the_other_nodes_stay_valid(
    row: Tampering, all_rounds: Rounds
) -> None:
    found = all_rounds.run(row)

    node = found.nodes[row.name]
    (told,) = (one for one in found.report["nodes"] if one["name"] == node)
    assert told["verdict"] == "invalid", told
    wanted = (row.status, row.check, row.code, row.component)
    seen = _findings(found.whole[node])
    assert wanted in seen, list(seen)
    print(node, *wanted, seen[wanted]["subject"], seen[wanted]["actual"])  # noqa: T201 - for `make cluster`
    assert wanted in _findings(found.directly[node])
    # The report that comes with the pod's status has the same, or says that it had no room for it.
    groups = [found.report["findings"][number] for number in told.get("findings", [])]
    short = {(one["status"], one["check"], one["code"] or "", one["component"] or "") for one in groups}
    assert wanted in short or told["left_out"] > 0, short
    others = {name: verdict for name, verdict in verdicts(found.report).items() if name not in found.directly}
    assert others == dict.fromkeys(others, "valid") and others


def _findings(report: dict[str, Any]) -> dict[tuple[str, str, str, str], dict[str, Any]]:
    """Return the results of a node's report that are no pass, by status, check, code and component."""
    results = [one for one in report["checks"] if one["status"] in ("fail", "unknown")]
    return {
        (one["status"], one["id"], one["evidence"].get("code", ""), one["evidence"].get("component", "")): one
        for one in results
    }


def test_whole_reports_come_by_the_logs_of_pods_whose_nodes_are_not_valid(all_rounds: Rounds) -> None:
    found = all_rounds.run(TAMPERINGS[0])

    assert set(found.whole) == set(found.directly)
    assert found.report["warnings"] == []
    assert found.report["components"]["kubelet"] == 1
    for report in found.whole.values():
        assert (report["verdict"], report["truncated"]) == ("invalid", False)
        assert {"pass", "fail"} <= {one["status"] for one in report["checks"]}


def test_a_person_sees_what_was_found_and_where(all_rounds: Rounds) -> None:
    shown = all_rounds.run(TAMPERINGS[0]).shown

    print(shown)  # noqa: T201 - for `make cluster`
    assert "[FAIL] files: kubectl /usr/bin/kubectl (digest) on 1 node: node-2\n" in shown
    image = "docker.io/mesosphere/kube-apiserver:v1.20.2_fips.0 (unpacked)"
    assert f"[FAIL] images: kube-apiserver {image} (snapshot-file) on 1 node: node-1\n" in shown
    assert " did not fit into a pod's status: use --report-dir to get the whole reports.\n" in shown
    assert "Verdict: INVALID (3 nodes: 1 valid, 2 invalid; " in shown


def test_the_cluster_is_valid_again_and_nothing_is_left(cluster: Cluster, all_rounds: Rounds) -> None:
    done = cluster.check()

    print(done.stdout)  # noqa: T201 - for `make cluster`
    assert (done.returncode, done.stdout[:34]) == (0, "Verdict: VALID (3 nodes: 3 valid; "), done.stdout
    left = [pod for pod in realcluster.pods(cluster) if pod["metadata"]["namespace"] == "fipsmanifest"]
    assert left == []


def test_a_node_whose_network_is_not_ready_is_checked_all_the_same(cluster: Cluster) -> None:
    machine = cluster.machines["node-3"]
    machine.sh("mv /etc/cni/net.d/10-pods.conflist /root/")
    try:
        ready = "-o=jsonpath={.status.conditions[?(@.type=='Ready')].status}"
        machine.wait_for(lambda: cluster.kubectl("get", "node", "node-3", ready) == "False", "a node that is not ready")
        code, found = checked(cluster, "--node", "node-3")
    finally:
        machine.sh("mv /root/10-pods.conflist /etc/cni/net.d/")

    assert (code, found["nodes"]) == (0, [{"name": "node-3", "verdict": "valid"}])


def test_a_node_without_its_kubelet_is_unknown_and_the_others_are_valid(cluster: Cluster) -> None:
    machine = cluster.machines["node-3"]
    _, whole = checked(cluster, "--node", "node-1", "--node", "node-2")
    machine.sh("pkill -x kubelet")
    try:
        # What the others need, and more.
        code, found = checked(cluster, "--node-timeout", f"{10 + 3 * int(whole['seconds'])}s")
    finally:
        machine.sh("sh /root/restart kubelet")

    assert code == 4
    assert verdicts(found) == {"node-1": "valid", "node-2": "valid", "node-3": "unknown"}
    assert found["nodes"][2]["reason"] in ("timed-out", "not-ready")
