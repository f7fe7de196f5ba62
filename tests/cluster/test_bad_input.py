"""Inputs that a check cannot use: kubeconfigs, permissions, namespaces, policies, manifests, answers."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from fipsmanifest.cluster import document
from fipsmanifest.cluster.api import Api, ApiError
from fipsmanifest.cluster.kubeconfig import load_connection
from fipsmanifest.cluster.objects import MANAGED_BY, RUN_LABEL
from fipsmanifest.cluster.permissions import access_objects
from fipsmanifest.errors import Incomplete, NotTrusted, UsageError
from fipsmanifest.node.result import UNKNOWN, Result
from fipsmanifest.progress import SILENT
from fipsmanifest.workflows import check_cluster
from tests.cluster.conftest import World
from tests.cluster.test_lifecycle import command, valid
from tests.support import roots
from tests.support.fakekubelet import FakeKubelets, Reports, create_nodes, failure, finished, node
from tests.support.forge import Forge

DEPLOY = Path(__file__).parents[2] / "deploy"


def run(world: World, **changes: Any) -> document.ClusterReport:
    return check_cluster.check_cluster(replace(world.request, **changes), SILENT)


def test_no_kubeconfig(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"There is no kubeconfig: .*/\.kube/config does not exist"):
        load_connection(None, None, {"HOME": str(tmp_path)})
    with pytest.raises(UsageError, match="does not exist"):
        load_connection(tmp_path / "missing", None, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not: [yaml", "is not YAML"),
        ("- a list", "is not a kubeconfig"),
        ("{}", "has no current context"),
        ("current-context: a", "has no context a"),
        ("current-context: a\ncontexts: [{name: a, context: {cluster: c}}]", "has no address for the cluster 'c'"),
        ("a: " + "[" * 2000, "is not YAML"),
    ],
)
def test_a_kubeconfig_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)

    with pytest.raises(UsageError, match=message):
        load_connection(path, None, {})


def test_a_context_that_is_not_there_is_named_with_those_that_are(world: World) -> None:
    with pytest.raises(UsageError, match="has no context production") as raised:
        run(world, context="production")
    assert raised.value.advice == "Choose from: test."


def test_an_api_server_that_does_not_answer(tmp_path: Path, world: World) -> None:
    document = json.loads(world.request.kubeconfig.read_text()) if world.request.kubeconfig else {}
    document["clusters"][0]["cluster"]["certificate-authority-data"] = ""
    path = tmp_path / "config"
    path.write_text(json.dumps(document))

    with pytest.raises(Incomplete, match=r"certificate of https://127\.0\.0\.1:.* is not trusted"):
        run(world, kubeconfig=path)


def test_a_check_that_could_not_be_made_leaves_no_junit_file_of_an_earlier_one(world: World, tmp_path: Path) -> None:
    (tmp_path / "junit.xml").write_text("<testsuite/>")
    (tmp_path / "config").write_text("{}")

    words = command(world, "--junit", str(tmp_path / "junit.xml"), "--kubeconfig", str(tmp_path / "config"))
    done = subprocess.run(words, capture_output=True, timeout=120, check=False)

    assert done.returncode == 2 and not (tmp_path / "junit.xml").exists()


def test_a_manifest_that_is_not_trusted_creates_nothing(world: World, tmp_path: Path) -> None:
    path = tmp_path / "manifest-rhel8.json.asc"
    path.write_bytes(Path(world.request.manifests[0]).read_bytes().replace(b'"kubernetes"', b'"kubernetez"'))

    with pytest.raises(NotTrusted):
        run(world, manifests=(str(path),))
    assert world.left() == []


def test_missing_permissions_are_named_with_the_rule(world: World) -> None:
    kubeconfig = world.plane.kubeconfig({"token": world.plane.stranger}, "stranger")

    with pytest.raises(Incomplete, match='User "stranger" cannot list resource "nodes"') as raised:
        run(world, kubeconfig=kubeconfig)
    assert 'apiGroups: [""], resources: ["nodes"], verbs: ["list"]' in raised.value.advice


def test_credentials_that_are_not_accepted(world: World) -> None:
    kubeconfig = world.plane.kubeconfig({"token": "none"}, "wrong")

    with pytest.raises(Incomplete, match="does not accept the credentials"):
        run(world, kubeconfig=kubeconfig)


def apply(world: World, items: list[dict[str, Any]]) -> None:
    """Create objects as kubectl does, where they are not there already."""
    plurals = {"CronJob": "cronjobs"}
    for item in items:
        group = "api" if item["apiVersion"] == "v1" else "apis"
        namespace = item["metadata"].get("namespace")
        place = f"/namespaces/{namespace}" if namespace else ""
        plural = plurals.get(item["kind"], item["kind"].lower() + "s")
        path = f"/{group}/{item['apiVersion']}{place}/{plural}"
        world.api.delete(f"{path}/{item['metadata']['name']}") if item["kind"] != "Namespace" else None
        if item["kind"] != "Namespace":
            world.api.create(path, item)


def await_resource(api: Api, group: str, resource: str) -> None:
    """Wait until a resource that was just defined is served; its group answers 404 until then."""
    end = time.monotonic() + 60
    while True:
        try:
            if resource in {one["name"] for one in api.get(group)["resources"]}:
                return
        except ApiError as error:
            assert error.status == 404, error
        assert time.monotonic() < end, f"{resource} is not served"
        time.sleep(0.1)


def test_the_roles_of_deploy_are_enough_and_nothing_in_them_is_unused(world: World, tmp_path: Path) -> None:
    items = list(yaml.safe_load_all((DEPLOY / "rbac.yaml").read_text()))
    assert items == access_objects("fipsmanifest")
    apply(world, items)
    definition = yaml.safe_load((Path(__file__).parent / "data/openreports.io_clusterreports.yaml").read_text())
    world.api.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
    kubeconfig = world.plane.kubeconfig({"token": world.plane.limited}, "limited")
    create_nodes(world.api, [node("one"), node("two"), node("three"), node("hidden", images=["example.com/app:1"])])

    def behave(name: str, pod: Any, reports: Reports) -> Any:
        failures = {"two": [failure("kubelet", "/usr/bin/kubelet")], "three": [Result("services", "etcd", UNKNOWN)]}
        return reports.report(name, pod, *failures.get(name, []))

    request = replace(
        world.request,
        kubeconfig=kubeconfig,
        report_directory=tmp_path / "reports",
        output_config_map="rbac-result",
        open_reports=True,
        seconds=60,
    )
    with FakeKubelets(world.plane.api(), behave, request.namespace):
        await_resource(world.api, "/apis/openreports.io/v1alpha1", "clusterreports")
        for _ in range(2):  # the first creates, the second replaces
            report = check_cluster.check_cluster(request, SILENT)
            check_cluster.publish(request, report)

    assert report.aggregate.counts() == {"valid": 1, "invalid": 1, "incomplete": 1, "untrusted": 0, "unknown": 1}
    written = world.api.get("/apis/openreports.io/v1alpha1/clusterreports/fipsmanifest")
    assert written["summary"] == {"pass": 1, "fail": 1, "error": 2, "warn": 0, "skip": 0}
    assert written["metadata"]["annotations"] == {
        "fipsmanifest/verdict": "invalid",
        "fipsmanifest/finished": report.finished,
    }
    assert [(one["result"], one["resources"][0]["name"]) for one in written["results"]] == [
        ("error", "hidden"),
        ("error", "three"),
        ("fail", "two"),
    ]
    asked = set()
    for line in (world.plane.directory / "audit.log").read_text().splitlines():
        event = json.loads(line)
        reference = event.get("objectRef", {})
        assert event["responseStatus"]["code"] not in (401, 403), event
        if reference.get("resource"):
            resource = "/".join(filter(None, (reference["resource"], reference.get("subresource"))))
            asked.add((reference.get("apiGroup", ""), resource, event["verb"]))
    granted = {
        (group, resource, verb)
        for item in items
        for rule in item.get("rules") or []
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    # A pod is read where the answer to its creation was lost, a lease is renewed in a run of more than 5 s.
    assert granted - asked <= {("", "pods", "get"), ("coordination.k8s.io", "leases", "patch")}
    assert asked <= granted


@pytest.mark.parametrize(
    ("group", "resource", "verb"),
    [
        ("", "nodes", "list"),
        ("", "namespaces", "get"),
        ("", "configmaps", "create"),
        ("", "pods", "create"),
        ("", "pods", "list"),
        ("", "pods", "watch"),
        ("coordination.k8s.io", "leases", "create"),
        ("coordination.k8s.io", "leases", "list"),
    ],
)
def test_a_rule_that_is_missing_is_named_whichever_it_is(world: World, group: str, resource: str, verb: str) -> None:
    items = access_objects("fipsmanifest")
    for rules in (item["rules"] for item in items if "rules" in item):
        for rule in rules:
            rule["verbs"] = [one for one in rule["verbs"] if one != verb or rule["resources"] != [resource]]
        rules[:] = [rule for rule in rules if rule["verbs"]]
    apply(world, items)
    create_nodes(world.api, [node("one")])
    kubeconfig = world.plane.kubeconfig({"token": world.plane.limited}, "limited")

    with FakeKubelets(world.plane.api(), valid, "fipsmanifest"), pytest.raises(Incomplete) as raised:
        run(world, kubeconfig=kubeconfig)

    assert f'apiGroups: ["{group}"], resources: ["{resource}"], verbs: ["{verb}"]' in raised.value.advice
    assert f'cannot {verb} resource "{resource}"' in raised.value.message


def test_a_result_that_may_not_be_replaced_names_that_rule(world: World) -> None:
    items = access_objects("fipsmanifest")
    for rule in (rule for item in items for rule in item.get("rules", []) if rule["resources"] == ["configmaps"]):
        rule["verbs"] = [verb for verb in rule["verbs"] if verb != "update"]
    apply(world, items)
    create_nodes(world.api, [node("one")])
    limited = world.plane.kubeconfig({"token": world.plane.limited}, "limited")
    request = replace(world.request, kubeconfig=limited, output_config_map="result")
    with FakeKubelets(world.plane.api(), valid, "fipsmanifest"):
        report = check_cluster.check_cluster(request, SILENT)
    check_cluster.publish(request, report)

    with pytest.raises(Incomplete) as raised:
        check_cluster.publish(request, report)

    assert 'resources: ["configmaps"], verbs: ["update"]' in raised.value.advice


@pytest.mark.parametrize("work", [check_cluster.dry_run, lambda request: check_cluster.check_cluster(request, SILENT)])
def test_a_server_that_never_answers_is_not_waited_for_beyond_the_time_for_everything(
    work: Callable[[check_cluster.Request], object], world: World, tmp_path: Path
) -> None:
    document = yaml.safe_load(world.plane.kubeconfig({"token": "none"}, "dead").read_text())
    document["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    (tmp_path / "dead").write_text(yaml.safe_dump(document))
    begun = time.monotonic()

    with pytest.raises(Incomplete, match="does not answer"):
        work(replace(world.request, kubeconfig=tmp_path / "dead", seconds=1))

    assert time.monotonic() - begun < 20


def test_nodes_that_cannot_be_listed_in_the_end_leave_no_cluster_valid(world: World) -> None:
    # One that was added or replaced during the check would not be noticed.
    apply(world, access_objects("fipsmanifest"))
    create_nodes(world.api, [node("one")])
    kubeconfig = world.plane.kubeconfig({"token": world.plane.limited}, "limited")

    def behave(name: str, pod: Any, reports: Reports) -> Any:
        world.api.delete("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/fipsmanifest-check")
        time.sleep(1)
        return reports.report(name, pod)

    with FakeKubelets(world.plane.api(), behave, "fipsmanifest"):
        report = run(world, kubeconfig=kubeconfig)

    assert report.aggregate.counts()["valid"] == 1 and document.exit_code(report) == 4
    assert 'cannot list resource "nodes"' in document.to_text(report)[-2]
    assert document.to_text(report)[-1].startswith("Verdict: INCOMPLETE (1 node: 1 valid; ")
    assert 'tests="2" failures="0" errors="1"' in document.to_junit(report)
    assert document.to_open_report(report, "x")["summary"]["error"] == 1
    assert "fipsmanifest_cluster_valid 0" in document.to_metrics(report)


def test_a_selector_that_no_node_has_is_a_pass_nowhere(world: World) -> None:
    create_nodes(world.api, [node("one")])

    report = run(world, selector="no=node")

    assert document.exit_code(report) == 4
    assert 'tests="1" failures="0" errors="1"' in document.to_junit(report)
    assert 'type="no-nodes" message="No node was checked."' in document.to_junit(report)
    assert document.to_open_report(report, "x")["summary"]["error"] == 1
    assert "fipsmanifest_cluster_valid 0" in document.to_metrics(report)


def test_a_namespace_of_others_is_not_used(world: World) -> None:
    create_nodes(world.api, [node("one")])

    with pytest.raises(UsageError, match="The namespace kube-public exists, and is not for this check"):
        run(world, namespace="kube-public")
    with pytest.raises(UsageError, match="is not a namespace's name"):
        run(world, namespace="../pods")


def test_a_quota_bounds_how_many_pods_there_are_and_loses_no_node(world: World) -> None:
    path = f"/api/v1/namespaces/{world.request.namespace}/resourcequotas"
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": {"pods": "0"}}}
    world.api.create(path, quota)
    try:
        # Usage is counted by a controller that does not run here; none is allowed at all.
        world.api.patch(f"{path}/few/status", {"status": {"hard": {"pods": "0"}, "used": {"pods": "0"}}})
        report = world.check([node("one"), node("two")], valid)
    finally:
        world.api.delete(f"{path}/few")

    assert {answer.reason for answer in report.aggregate.nodes.values()} == {"refused"}
    assert all("exceeded quota: few" in answer.detail for answer in report.aggregate.nodes.values())


def test_a_policy_that_refuses_pods_makes_nodes_unknown_with_its_words(world: World) -> None:
    path = f"/api/v1/namespaces/{world.request.namespace}/limitranges"
    limits = [{"type": "Container", "max": {"memory": "32Mi"}}]
    item = {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "small"}, "spec": {"limits": limits}}
    world.api.create(path, item)
    try:
        time.sleep(1)
        report = world.check([node("one")], valid)
    finally:
        world.api.delete(f"{path}/small")

    answer = report.aggregate.nodes["one"]
    assert (answer.verdict, answer.reason) == ("unknown", "refused")
    assert "maximum memory usage per Container is 32Mi" in answer.detail


def test_a_manifest_of_a_megabyte_is_packed_and_one_of_many_is_refused(
    world: World, trusted: Forge, tmp_path: Path
) -> None:
    manifest = roots.make(tmp_path / "root")
    big = dict(manifest["files"][0])
    manifest["files"] += [{**big, "path": f"/opt/{number:064x}"} for number in range(5000)]
    path = tmp_path / "manifest-rhel8.json.asc"
    path.write_bytes(trusted.clearsign(roots.payload_of(manifest)))
    assert path.stat().st_size > 1 << 20
    scripts: list[str] = []

    def behave(name: str, pod: Any, reports: Reports) -> Any:
        scripts.append(pod["spec"]["containers"][0]["command"][6])
        return finished(0, "")

    world.check([node("one")], behave, manifests=(str(path),))

    assert scripts[0].startswith("{ cat /payload/manifest-rhel8.json.asc.gz.* | gzip -dc >/tmp/manifest-rhel8.json.asc")


def test_terminal_escapes_and_long_names_stay_harmless(world: World) -> None:
    names = [f"{'a' * 60}.{'b' * 60}.{'c' * 60}.{number:060}" for number in range(50)]
    evil = "\x1b]0;owned\x07\x1b[2J\u202e::error::"

    def behave(name: str, pod: Any, reports: Reports) -> Any:
        return reports.report(name, pod, failure(evil, evil, evil, evil))

    report = world.check([*map(node, names)], behave)

    text = "\n".join(document.to_text(report))
    assert text.isascii() and text.replace("\n", "").isprintable()
    assert document.to_junit(report).isascii()
    found = document.to_document(report)
    assert [one["name"] for one in found["nodes"]] == sorted(names)
    assert len(found["findings"]) == 1 and found["findings"][0]["nodes"] == 50


def test_the_lease_of_a_run_whose_clock_is_an_hour_off_is_respected(world: World) -> None:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{world.request.namespace}/leases"
    stop = threading.Event()

    def moment() -> str:
        return (datetime.now(UTC) - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "fips-slow", "labels": {**MANAGED_BY, RUN_LABEL: "slow"}},
        "spec": {"holderIdentity": "slow", "renewTime": moment()},
    }

    def renew() -> None:
        while not stop.wait(1):
            world.api.patch(f"{path}/fips-slow", {"spec": {"renewTime": moment()}})

    world.api.create(path, lease)
    thread = threading.Thread(target=renew)
    thread.start()
    try:
        assert world.check([node("one")], valid).aggregate.verdict == "valid"
        assert world.left() == ["fips-slow"]
    finally:
        stop.set()
        thread.join()
        world.api.delete(f"{path}/fips-slow")
