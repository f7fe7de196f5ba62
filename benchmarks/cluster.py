"""How long the check of a large cluster takes, and how much memory: against a real API server and etcd.

The nodes' kubelets are stand-ins in this process; API server, etcd and the check share its cores with them.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.support import controlplane, forge, roots
from tests.support.controlplane import ControlPlane
from tests.support.fakekubelet import FakeKubelets, Reports, delete_nodes, failure, node

from fipsmanifest.cluster import document
from fipsmanifest.cluster.aggregate import Aggregate
from fipsmanifest.cluster.api import Api
from fipsmanifest.cluster.kubeconfig import load_connection
from fipsmanifest.cluster.message import Expected, read_pod
from fipsmanifest.cluster.objects import host_root, namespace_object

from .measure import Figure, Run, run

PROGRAM = Path(sys.executable).with_name("fipsmanifest")
NAMESPACE = "fipsmanifest"
SIZES = (1000, 5000, 10000)
#: Seconds from nothing to the verdict, and from 10,000 answers to it; bytes; seconds a node at 10,000 against 1,000.
SECONDS, ANSWERS_SECONDS, MEMORY, LINEAR = 180.0, 20.0, 128, 1.5
WRITES, READS = 3.0, 2.0
#: Which node of each hundred is deleted during the check with churn, and how many are added then.
_GOING, _ADDED = 57, 100
_PATH = {"PYTHONPATH": str(Path(__file__).parents[1])}
_WRITE_VERBS = frozenset(("POST", "PUT", "DELETE", "DELETECOLLECTION"))


def figures() -> Iterator[Figure]:
    """Measure `fipsmanifest check cluster` with 1,000, 5,000 and 10,000 nodes."""
    with tempfile.TemporaryDirectory() as temporary, forge.opened() as keys:
        directory = Path(temporary)
        manifest = directory / "manifest-rhel8.json.asc"
        manifest.write_bytes(keys.clearsign(roots.payload_of(roots.make(directory / "root"))))
        (directory / "plane").mkdir()
        # Nothing here is about fairness between users; the audit log would be half of the API server's work.
        with controlplane.running(directory / "plane", ["--enable-priority-and-fairness=false"]) as plane:
            plane.create_namespace(namespace_object(NAMESPACE))
            command = [PROGRAM, "check", "cluster", "--json", "--keys", keys.trust_directory, "--kubeconfig"]
            command += [plane.kubeconfig(), "--parallel", "500", "--node-timeout", "10s", "--timeout", "0", manifest]
            yield from _measure(plane, directory, list(map(str, command)))


def _measure(plane: ControlPlane, directory: Path, command: list[str]) -> Iterator[Figure]:
    used: dict[int, Run] = {}
    for size in SIZES:
        _create_nodes(plane, size)
        before = _requests(plane)
        with FakeKubelets(plane.api(threads=16), _behave, NAMESPACE, threads=12):
            used[size] = _check(command, directory, size)
        asked = _requests(plane)
        writes = sum(asked[key] - before[key] for key in asked if key[1] in _WRITE_VERBS and key[0] == "pods") / size
        reads = sum(asked[key] - before[key] for key in asked if key[1] in ("GET", "LIST", "WATCH")) / size
        detail = f"{used[size].cpu:.0f} s of CPU; 2 % fail, 1 % are silent for 25 s"
        yield Figure(f"check of {size} nodes, from nothing to the verdict", used[size].wall, "s", SECONDS, detail)
        yield Figure(f"memory of a check of {size} nodes", used[size].peak / 2**20, "MiB", MEMORY, detail)
        yield Figure(f"writes a node of {size}", writes, "", WRITES, "pods created and deleted")
        yield Figure(f"reads a node of {size}", reads, "", READS, "lists, watches, retries; the stand-ins' included")
    few, many = SIZES[0], SIZES[-1]
    ratio = (used[many].cpu / many) / (used[few].cpu / few)
    yield Figure("CPU time for a node, ten times the nodes", ratio, "x", LINEAR, "linear is 1")
    with FakeKubelets(plane.api(threads=16), _behave_with_churn, NAMESPACE, threads=12):
        thread = threading.Thread(target=_disturb, args=(plane, many))
        thread.start()
        # The stand-ins come back one after another. The pods stay for what comes next.
        patient = ["60s" if word == "10s" else word for word in command]
        # Of each hundred nodes one more gives no answer: it is deleted meanwhile, or was added and is silent.
        restarted = _check([*patient[:-1], "--keep", patient[-1]], directory, many + _ADDED, silent=2)
        thread.join()
    detail = f"killed after 20 s; 1 % of the nodes go, 1 % come; {restarted.cpu:.0f} s of CPU"
    yield Figure("the same with a restart of the API server and churn", restarted.wall, "s", SECONDS + 120, detail)
    yield Figure("memory of that check", restarted.peak / 2**20, "MiB", MEMORY, detail)
    answers = run([sys.executable, "-m", "benchmarks.cluster", str(plane.directory / "kubeconfig")], _PATH, directory)
    detail = f"{many} finished pods in pages of 500; {answers.cpu:.0f} s of CPU"
    yield Figure("10,000 answers to verdict and JSON", answers.wall, "s", ANSWERS_SECONDS, detail)
    yield Figure("memory of that", answers.peak / 2**20, "MiB", MEMORY, detail)
    delete_nodes(plane.api())


def _behave(name: str, pod: Any, reports: Reports) -> Any:
    number = int(name.rpartition("-")[2])
    if number % 100 == 7:
        return None
    failures = [failure("containerd", "/usr/bin/containerd"), failure("kubelet", f"/usr/bin/kubelet (pid {number})")]
    return reports.report(name, pod, *(failures if number % 50 == 3 else []))


def _behave_with_churn(name: str, pod: Any, reports: Reports) -> Any:
    return None if int(name.rpartition("-")[2]) % 100 == _GOING else _behave(name, pod, reports)


def _check(command: list[str], directory: Path, size: int, silent: int = 1) -> Run:
    """Check, and see that every node has the verdict that it should have; of 100 nodes some are ``silent``."""
    output = directory / "result.json"
    # The verdict is "invalid", exit code 1.
    script = '"$@" >"$0"; test $? = 1'
    used = run(
        ["sh", "-c", script, str(output), *command], {"PATH": "/usr/bin:/bin", "HOME": str(directory)}, directory
    )
    summary = json.loads(output.read_text())["summary"]
    unknown, invalid = silent * size // 100, size // 50
    expected = {"nodes": size, "valid": size - unknown - invalid, "invalid": invalid, "unknown": unknown}
    assert expected.items() <= summary.items(), summary
    return used


def _create_nodes(plane: ControlPlane, size: int) -> None:
    api = plane.api(threads=16)
    pages = api.pages("/api/v1/nodes", metadata=True)
    there = {item["metadata"]["name"] for page in pages for item in page["items"] or []}
    missing = [name for number in range(size) if (name := f"node-{number}") not in there]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda name: api.create("/api/v1/nodes", node(name)), missing))


def _requests(plane: ControlPlane) -> Counter[tuple[str, str]]:
    """Return how many requests the API server has had so far, by resource and verb."""
    counted: Counter[tuple[str, str]] = Counter()
    for line in plane.api().text("/metrics", {}).decode().splitlines():
        if line.startswith("apiserver_request_total{"):
            labels = dict(part.split("=", 1) for part in line[line.index("{") + 1 : line.index("}")].split('",'))
            values = {key: value.strip('"') for key, value in labels.items()}
            if values["resource"] in ("pods", "nodes", "configmaps", "leases"):
                counted[values["resource"], values["verb"]] += int(float(line.rpartition(" ")[2]))
    return counted


def _disturb(plane: ControlPlane, size: int) -> None:
    """Restart the API server during a check, and let nodes go and come."""
    time.sleep(20)
    plane.stop("kube-apiserver", kill=True)
    plane.start_apiserver()
    api = plane.api()
    for number in range(_GOING, size, 100):
        api.delete(f"/api/v1/nodes/node-{number}")
    for number in range(size, size + _ADDED):
        api.create("/api/v1/nodes", node(f"node-{number}"))


def _collect(kubeconfig: Path) -> str:
    """Read all pods that finished and return the result as JSON, as a check does with the answers that it finds."""
    api = Api(load_connection(kubeconfig, None, {}))
    found = Aggregate()
    tool, manifests = None, None
    for page in api.pages(f"/api/v1/namespaces/{NAMESPACE}/pods"):
        for pod in page["items"]:
            name, status = pod["spec"]["nodeName"], pod.get("status", {}).get("containerStatuses")
            if not status:
                continue
            if tool is None or manifests is None:
                report = json.loads(status[0]["state"]["terminated"]["message"])
                tool = report["host"]["tool_sha256"]
                manifests = frozenset(one["sha256"] for one in report["manifests"])
            about = pod["metadata"]
            expected = Expected(name, about["uid"], manifests, tool, host_root(about["name"]), pod["spec"])
            found.add(name, read_pod(pod, expected))
    assert len(found.nodes) > 9000 and found.verdict == "invalid"
    result = document.ClusterReport("", "", "", [], {}, "", "", 0.0, found)
    return json.dumps(document.to_document(result), indent=2, sort_keys=True)


if __name__ == "__main__":
    _collect(Path(sys.argv[1]))
