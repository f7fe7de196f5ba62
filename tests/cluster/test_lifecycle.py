"""What a run leaves in the cluster, however it ends, and what happens during it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fipsmanifest.cluster import session
from fipsmanifest.cluster.objects import RENEWAL_SECONDS, namespace_object
from tests.cluster.conftest import World
from tests.support import schemas
from tests.support.fakekubelet import FakeKubelets, Reports, create_nodes, failure, node


def valid(name: str, pod: Any, reports: Reports) -> Any:
    return reports.report(name, pod)


def silent(name: str, pod: Any, reports: Reports) -> Any:
    return None


def command(world: World, *more: str) -> list[str]:
    request = world.request
    given = ["check", "cluster", "--keys", str(request.keys), "--kubeconfig", str(request.kubeconfig)]
    return [sys.executable, "-m", "fipsmanifest.cli.main", *given, *more, *request.manifests]


def wait_until(happened: Callable[[], object], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.1)


def pods(world: World) -> list[str]:
    return [name for name in world.left() if name.count("-") == 3]


def test_the_command_writes_json_junit_and_metrics_and_exits_with_the_verdicts_code(
    world: World, tmp_path: Path
) -> None:
    create_nodes(world.api, [node("one"), node("two")])

    def behave(name: str, pod: Any, reports: Reports) -> Any:
        failures = [failure("kubelet", "/usr/bin/kubelet")] if name == "two" else []
        return reports.report(name, pod, *failures)

    with FakeKubelets(world.plane.api(), behave, world.request.namespace):
        files = ["--junit", str(tmp_path / "junit.xml"), "--metrics", str(tmp_path / "fips.prom")]
        done = subprocess.run(
            command(world, "--json", *files, "--output-configmap", "result"),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert {one["name"]: one["verdict"] for one in found["nodes"]} == {"one": "valid", "two": "invalid"}
    assert '<testcase classname="node" name="one"/>' in (tmp_path / "junit.xml").read_text()
    metrics = (tmp_path / "fips.prom").read_text()
    assert 'fipsmanifest_cluster_nodes{verdict="invalid"} 1' in metrics
    (ended,) = re.findall(r"^fipsmanifest_cluster_finished_timestamp_seconds ([0-9]+)$", metrics, re.MULTILINE)
    assert abs(time.time() - int(ended)) < 120
    written = world.api.get(f"/api/v1/namespaces/{world.request.namespace}/configmaps/result")["data"]
    assert written["verdict"] == "invalid"
    assert written["finished"] == found["finished"]
    short = json.loads(written["report.json"])
    schemas.validate(short, schemas.CLUSTER)
    assert [one["name"] for one in short["nodes"]] == ["two"]
    assert world.left() == []


def test_ctrl_c_deletes_what_was_created(world: World) -> None:
    create_nodes(world.api, [node(f"n{number}") for number in range(30)])

    with subprocess.Popen(command(world), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        wait_until(lambda: len(pods(world)) >= 20)
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=20)

    assert running.returncode == 130
    assert world.left() == []


def test_what_a_killed_run_left_is_deleted_by_the_next_one_and_another_that_goes_on_is_not_disturbed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Twice as long as the other run takes to renew its lease.
    monkeypatch.setattr(session, "LEASE_SECONDS", 2 * RENEWAL_SECONDS)
    create_nodes(world.api, [node("one")])
    killed = subprocess.Popen(command(world), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: pods(world))
    killed.kill()
    killed.wait()
    left = world.left()
    other = subprocess.Popen(command(world), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    wait_until(lambda: len(pods(world)) == 2)
    theirs = set(world.left()) - set(left)

    mine = pods(world)

    def behave(name: str, pod: Any, reports: Reports) -> Any:
        return None if pod["metadata"]["name"] in mine else reports.report(name, pod)

    try:
        report = world.check([], behave)

        assert report.aggregate.verdict == "valid"
        assert len(left) == 3 and set(world.left()) == theirs
    finally:
        other.terminate()
        other.communicate(timeout=20)
    assert world.left() == []


def test_nodes_that_come_go_or_are_replaced_meanwhile_are_in_the_result(world: World) -> None:
    started = threading.Event()
    uids: list[str] = []

    def behave(name: str, pod: Any, reports: Reports) -> Any:
        if name == "slow":
            started.wait(20)
            time.sleep(1)
        if name == "replaced":
            uids.append(pod["metadata"]["uid"])
            # The first pod is of the node that is replaced.
            return reports.report(name, pod, *([] if len(uids) > 1 else [failure("kubelet", "/usr/bin/kubelet")]))
        return None if name == "deleted" else reports.report(name, pod)

    def churn() -> None:
        wait_until(lambda: uids)
        api, path = world.plane.api(), f"/api/v1/namespaces/{world.request.namespace}/pods"
        for name in ("deleted", "replaced"):
            api.delete(f"/api/v1/nodes/{name}")
        # What the controller for pods of deleted nodes does.
        for page in api.pages(path, {"fieldSelector": "spec.nodeName=deleted"}):
            for pod in page["items"]:
                api.delete(f"{path}/{pod['metadata']['name']}", seconds=0)
        create_nodes(api, [node("replaced"), node("added")])
        started.set()

    thread = threading.Thread(target=churn)
    thread.start()
    report = world.check([node("slow"), node("deleted"), node("replaced")], behave)
    thread.join()

    verdicts = {name: (answer.verdict, answer.reason) for name, answer in report.aggregate.nodes.items()}
    assert verdicts == {
        "slow": ("valid", ""),
        "replaced": ("valid", ""),
        "added": ("valid", ""),
        "deleted": ("unknown", "node-deleted"),
    }


def test_it_goes_on_through_a_restart_of_the_api_server(world: World) -> None:
    answered: list[str] = []

    def behave(name: str, pod: Any, reports: Reports) -> Any:
        time.sleep(0.05)
        answered.append(name)
        return reports.report(name, pod)

    def restart() -> None:
        wait_until(lambda: len(answered) > 20)
        world.plane.stop("kube-apiserver", kill=True)
        time.sleep(2)
        world.plane.start_apiserver()

    thread = threading.Thread(target=restart)
    thread.start()
    report = world.check([node(f"n{number}") for number in range(150)], behave, seconds=None)
    thread.join()

    assert report.aggregate.counts()["valid"] == 150 and report.aggregate.verdict == "valid"
    assert world.left() == []


def test_a_namespace_that_is_missing_is_created(world: World) -> None:
    def controller() -> None:
        def exists() -> bool:
            pages = world.api.pages("/api/v1/namespaces")
            return "new-namespace" in [item["metadata"]["name"] for page in pages for item in page["items"]]

        wait_until(exists)
        time.sleep(1)
        world.plane.create_service_account("new-namespace")

    thread = threading.Thread(target=controller)
    thread.start()
    report = world.check([node("one")], valid, namespace="new-namespace")
    thread.join()

    assert report.aggregate.verdict == "valid"
    created = world.api.get("/api/v1/namespaces/new-namespace")["metadata"]["labels"]
    assert created.items() >= namespace_object("new-namespace")["metadata"]["labels"].items()


def test_no_nodes_are_no_pass(world: World) -> None:
    assert world.check([], valid).aggregate.verdict == "incomplete"
    assert world.check([node("one")], valid, selector="role=none").aggregate.verdict == "incomplete"
    world.request = replace(world.request, nodes=("one", "missing"))
    report = world.check([], valid)
    assert {name: answer.verdict for name, answer in report.aggregate.nodes.items()} == {
        "one": "valid",
        "missing": "unknown",
    }
    world.request = replace(world.request, nodes=("one",), role="control-plane")
    (answer,) = world.check([], valid).aggregate.nodes.values()
    assert (answer.verdict, answer.reason, answer.detail) == ("unknown", "not-found", "it has another role")


def test_the_end_of_the_time_leaves_every_node_in_the_result(world: World) -> None:
    report = world.check([node(f"n{number}") for number in range(5)], silent, parallel=2, seconds=3)

    reasons = [answer.reason for answer in report.aggregate.nodes.values()]
    assert (reasons.count("timed-out"), reasons.count("run-ended")) == (2, 3)
    assert len(report.aggregate.nodes) == 5 and world.left() == []
