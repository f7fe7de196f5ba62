"""The check of a whole cluster against a real API server, with simulated kubelets."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from fipsmanifest.cluster import document
from fipsmanifest.cluster.runner import Settings
from fipsmanifest.node.result import UNKNOWN, Result
from fipsmanifest.workflows import check_cluster
from tests.cluster.conftest import World
from tests.support import schemas
from tests.support.fakekubelet import Reports, as_json, failure, finished, node, rejected, waiting


def nodes_of(found: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {one["name"]: (one["verdict"], one.get("reason", "")) for one in found["nodes"]}


def test_every_node_is_in_the_result_by_name_with_its_verdict_or_the_reason(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A node that is silent is waited for no longer than this test needs.
    monkeypatch.setattr(check_cluster, "Settings", functools.partial(Settings, reporting_seconds=5))
    tried: list[str] = []
    windows = node("windows", operatingSystem="windows")
    fargate = node("fargate", labels={"eks.amazonaws.com/compute-type": "fargate"})
    cordoned = node("cordoned", spec={"unschedulable": True, "taints": [{"key": "x", "effect": "NoExecute"}]})

    ended = {
        "garbage": finished(0, "\x1b[2J{not json"),
        "huge": finished(0, as_json({"schema": "fipsmanifest/node/v1", "checks": ["x" * 100_000]})),
        "evicted": rejected("Evicted", "The node was low on resource: memory."),
        "rejected": rejected("OutOfpods", "Node didn't have enough resource: pods"),
        "no-python": finished(
            69, "dkp-fips-tool: no Python 3.6 or newer with zlib was found; install the package python3.\n"
        ),
        "missing": waiting("ErrImageNeverPull", "Container image is not present with pull policy of Never"),
        "killed": finished(137, "", reason="OOMKilled"),
        "empty": finished(0, ""),
    }

    def behave(name: str, pod: Any, reports: Reports) -> Any:
        tried.append(name)
        match name:
            case "valid" | "cordoned":
                return reports.report(name, pod)
            case "invalid":
                return reports.report(name, pod, failure("containerd", "/usr/bin/containerd"))
            case "copier":
                # The report of another node's pod of this run.
                return reports.report("valid", {**pod, "metadata": {**pod["metadata"], "name": "another"}})
            case "unknown":
                return reports.report(name, pod, Result("services", "etcd", UNKNOWN, advice="Start it."))
        return ended.get(name)

    report = world.check(
        [
            *map(node, ["valid", "invalid", "copier", *ended]),
            node("unknown"),
            node("no-image", images=["example.com/app:1"]),
            node("not-ready", ready="Unknown"),
            node("silent"),
            cordoned,
            windows,
            fargate,
        ],
        behave,
        node_seconds=1,
        parallel=50,
    )

    found = document.to_document(report)
    schemas.validate(found, schemas.CLUSTER)
    assert nodes_of(found) == {
        "valid": ("valid", ""),
        "cordoned": ("valid", ""),
        "invalid": ("invalid", ""),
        "unknown": ("incomplete", ""),
        "garbage": ("unknown", "unreadable-report"),
        "huge": ("unknown", "unreadable-report"),
        "evicted": ("unknown", "evicted"),
        "rejected": ("unknown", "rejected"),
        "no-python": ("unknown", "no-python"),
        "missing": ("unknown", "image-missing"),
        "killed": ("unknown", "out-of-memory"),
        "empty": ("unknown", "no-report"),
        "copier": ("unknown", "foreign-report"),
        "no-image": ("unknown", "no-image"),
        "not-ready": ("unknown", "not-ready"),
        "silent": ("unknown", "timed-out"),
        "windows": ("unknown", "other-system"),
        "fargate": ("unknown", "virtual"),
    }
    assert (found["verdict"], document.exit_code(report)) == ("invalid", 1)
    # One that is incomplete, evicted, rejected or without the image is tried once more, no other.
    twice = {name for name in tried if tried.count(name) == 2}
    assert twice == {"unknown", "evicted", "rejected", "missing", "empty"} and max(map(tried.count, tried)) == 2
    assert world.left() == []
    assert "\x1b" not in "\n".join(document.to_text(report))


def test_a_finding_on_many_nodes_is_one(world: World) -> None:
    def behave(name: str, pod: Any, reports: Reports) -> Any:
        if name.startswith("bad"):
            number = name.removeprefix("bad-")
            return reports.report(
                name, pod, failure("containerd", "/usr/bin/containerd"), failure("kubelet", f"pid {number}", "deleted")
            )
        return reports.report(name, pod)

    report = world.check([node(f"bad-{n}") for n in range(12)] + [node(f"good-{n}") for n in range(30)], behave)

    found = document.to_document(report)
    assert [(one["component"], one["nodes"], one["subject"]) for one in found["findings"]] == [
        ("containerd", 12, "/usr/bin/containerd"),
        ("kubelet", 12, "pid *"),
    ]
    assert found["findings"][0]["actual"] == "f" * 64 and len(found["findings"][0]["examples"]) == 12
    assert found["components"] == {"containerd": 12, "kubelet": 12}
    assert found["summary"] == {
        "nodes": 42,
        "valid": 30,
        "invalid": 12,
        "incomplete": 0,
        "untrusted": 0,
        "unknown": 0,
    }
    line = next(line for line in document.to_text(report) if "containerd" in line)
    assert (
        line
        == "[FAIL] files: containerd /usr/bin/containerd (digest) on 12 nodes: bad-0, bad-1, bad-10, bad-11, bad-2, ..."
    )


def test_a_report_counts_only_for_this_node_these_manifests_this_tool_and_a_running_node(world: World) -> None:
    def behave(name: str, pod: Any, reports: Reports) -> Any:
        match name:
            case "other-manifest":
                return reports.report(name, pod, manifests=[{"file": "m", "sha256": "0" * 64}])
            case "no-manifest":
                return reports.report(name, pod, manifests=[])
            case "at-rest":
                return reports.report(name, pod, scope="at-rest")
            case "other-tool":
                status = reports.report(name, pod)
                tool = reports.digests(pod)[0]
                state = status["containerStatuses"][0]["state"]["terminated"]
                state["message"] = state["message"].replace(tool, "0" * 64)
                return status
            case "lies":
                return reports.report(name, pod, failure("kubelet", "/usr/bin/kubelet"), verdict="valid")
            case "code":
                status = reports.report(name, pod)
                status["containerStatuses"][0]["state"]["terminated"]["exitCode"] = 1
                return status
        return reports.report(name, pod)

    names = ("other-manifest", "no-manifest", "at-rest", "other-tool", "lies", "code", "right")
    report = world.check([*map(node, names)], behave)

    verdicts = {name: (answer.verdict, answer.reason) for name, answer in report.aggregate.nodes.items()}
    assert verdicts == {
        "other-manifest": ("unknown", "foreign-report"),
        "no-manifest": ("unknown", "foreign-report"),
        "at-rest": ("unknown", "foreign-report"),
        "other-tool": ("unknown", "foreign-report"),
        "lies": ("unknown", "unreadable-report"),
        "code": ("unknown", "unreadable-report"),
        "right": ("valid", ""),
    }
    assert report.aggregate.verdict == "incomplete"
