"""What counts as a node's answer: the pod's output is hostile input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fipsmanifest
from fipsmanifest.cluster.aggregate import MAX_GROUPS, Aggregate
from fipsmanifest.cluster.document import ClusterReport, to_text
from fipsmanifest.cluster.message import Answer, Expected, Finding, is_finished, pending_detail, read_pod
from fipsmanifest.cluster.nodes import read_node
from fipsmanifest.cluster.objects import RunObjects
from fipsmanifest.cluster.payload import make_payload
from fipsmanifest.cluster.reasons import ADVICE
from fipsmanifest.node.bounded import bounded_json
from fipsmanifest.node.report import Report
from fipsmanifest.node.result import PASS, Result
from tests.support.fakekubelet import finished, node

POD = RunObjects("0123456789", "fips", make_payload(b"#!tool", [("m.asc", b"signed")]), 300).pod(
    read_node(node("node-1")), "pause", 1, "auto"
)
SENT, ROOT = POD["spec"], "/host/" + POD["metadata"]["name"]
EXPECTED = Expected("node-1", "uid-1", frozenset(("a" * 64,)), "b" * 64, ROOT, SENT)
HOST = {"name": "x", "root": ROOT, "role": "worker", "os": "rhel", "os_version": "8.4", "kernel": "4.18"}
HOST |= {"architecture": "x86_64", "tool": "0.1", "python": "3.6.8", "hash": "openssl", "tool_sha256": "b" * 64}


def message() -> dict[str, Any]:
    report = Report("valid", "live", HOST, [{"file": "m", "sha256": "a" * 64}], [Result("files", "/x", PASS)], [])
    document: dict[str, Any] = json.loads(bounded_json(report, 4096))
    return document


def pod(status: dict[str, Any], node: str = "node-1", uid: str = "uid-1") -> dict[str, Any]:
    return {"metadata": {"uid": uid, "name": "p"}, "spec": {**stored(), "nodeName": node}, "status": status}


def stored() -> dict[str, Any]:
    """Return the pod's specification as an API server stores it: without empty values, with its own defaults."""
    spec: dict[str, Any] = json.loads(
        json.dumps(SENT), object_hook=lambda one: {k: v for k, v in one.items() if v != ""}
    )
    return {**spec, "schedulerName": "default-scheduler", "serviceAccountName": "default"}


def verdict(changes: dict[str, Any], code: int = 0) -> tuple[str, str]:
    answer = read_pod(pod(finished(code, json.dumps({**message(), **changes}))), EXPECTED)
    return answer.verdict, answer.reason


def test_a_report_counts_where_everything_is_as_expected() -> None:
    assert verdict({}) == ("valid", "")


def test_the_pod_has_to_be_this_one_on_this_node() -> None:
    status = finished(0, json.dumps(message()))

    for other in (pod(status, uid="uid-2"), pod(status, node="node-2"), {**pod(status), "spec": {}}):
        assert read_pod(other, EXPECTED).reason == "foreign-report"


@pytest.mark.parametrize(
    ("changes", "code", "reason"),
    [
        ({"verdict": "perfect"}, 0, "unreadable-report"),
        ({"verdict": ["valid"]}, 0, "unreadable-report"),
        ({"verdict": "incomplete"}, 0, "unreadable-report"),
        ({"verdict": "invalid"}, 1, "unreadable-report"),
        ({"summary": {"pass": 0, "fail": 0, "unknown": 0}}, 0, "unreadable-report"),
        ({"checks": [{"status": "fail"}]}, 0, "unreadable-report"),
        ({"checks": [{"status": "unknown"}]}, 0, "unreadable-report"),
        ({"summary": {"pass": 1, "fail": 1, "unknown": 0}}, 0, "unreadable-report"),
        ({"summary": {"pass": 1, "fail": 0, "unknown": 1}}, 0, "unreadable-report"),
        ({"summary": {"pass": True, "fail": False, "unknown": False}}, 0, "unreadable-report"),
        ({"summary": {"pass": 1e300, "fail": 0, "unknown": 0}}, 0, "unreadable-report"),
        ({"summary": None}, 0, "unreadable-report"),
        ({"schema": "fipsmanifest/node/v2"}, 0, "unreadable-report"),
        ({"scope": "partial"}, 0, "foreign-report"),
        ({"host": {}}, 0, "foreign-report"),
        ({"host": {**HOST, "tool_sha256": "c" * 64}}, 0, "foreign-report"),
        ({"host": {**HOST, "root": f"{ROOT}1"}}, 0, "foreign-report"),
        ({"host": {**HOST, "root": ""}}, 0, "foreign-report"),
        ({"manifests": [{"sha256": "a" * 64}, {"sha256": "c" * 64}]}, 0, "foreign-report"),
        ({"manifests": "a" * 64}, 0, "foreign-report"),
        ({"manifests": [{"sha256": ["a" * 64]}]}, 0, "foreign-report"),
        ({"manifests": [{"sha256": {}}]}, 0, "foreign-report"),
        ({}, 137, "out-of-memory"),
        ({}, 2, "no-report"),
    ],
)
def test_what_does_not_agree_is_no_answer(changes: dict[str, Any], code: int, reason: str) -> None:
    assert verdict(changes, code) == ("unknown", reason)


def test_a_report_with_two_verdicts_is_no_answer() -> None:
    text = '{"verdict": "invalid", ' + json.dumps(message())[1:]

    assert read_pod(pod(finished(0, text)), EXPECTED).reason == "unreadable-report"


def at(spec: dict[str, Any], key: str, name: str) -> dict[str, Any]:
    row: dict[str, Any] = next(one for one in spec["containers"][0][key] if name in (one.get("mountPath"), one["name"]))
    return row


def payload_source(spec: dict[str, Any]) -> dict[str, Any]:
    (source,) = next(one for one in spec["volumes"] if "projected" in one)["projected"]["sources"]
    found: dict[str, Any] = source["configMap"]
    return found


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "the command": lambda spec: spec["containers"][0].update(command=["/usr/bin/true"]),
    "its options": lambda spec: spec["containers"][0]["command"].append("--help"),
    "arguments": lambda spec: spec["containers"][0].update(args=["x"]),
    "a hook": lambda spec: spec["containers"][0].update(lifecycle={"postStart": {"exec": {"command": ["x"]}}}),
    "the host's root": lambda spec: spec["volumes"][0]["hostPath"].update(path="/opt/golden"),
    "the kind of a volume": lambda spec: spec["volumes"].__setitem__(0, {"name": "host0", "emptyDir": {}}),
    "the payload": lambda spec: next(one for one in spec["volumes"] if "projected" in one)["projected"].update(
        sources=[]
    ),
    "a part of a mount": lambda spec: at(spec, "volumeMounts", ROOT).update(subPath="opt"),
    "a part of a mount by a variable": lambda spec: at(spec, "volumeMounts", ROOT).update(subPathExpr="$(X)"),
    "a mount that is missing": lambda spec: spec["containers"][0]["volumeMounts"].remove(
        at(spec, "volumeMounts", "/etc")
    ),
    "a mount over a program": lambda spec: spec["containers"][0]["volumeMounts"].append(
        {"name": "x", "mountPath": f"{ROOT}/usr/bin/kubelet"}
    ),
    "a mount over all": lambda spec: spec["containers"][0]["volumeMounts"].append({"name": "x", "mountPath": "/"}),
    "a mount over processes": lambda spec: spec["containers"][0]["volumeMounts"].append(
        {"name": "x", "mountPath": "proc/1"}
    ),
    "a function of the shell": lambda spec: spec["containers"][0]["env"].append(
        {"name": "BASH_FUNC_exec%%", "value": "() { :; }"}
    ),
    "a file of the payload under another name": lambda spec: payload_source(spec).update(
        items=[{"key": "other", "path": "dkp-fips-tool"}]
    ),
    "a variable of the loader": lambda spec: at(spec, "env", "LD_PRELOAD").update(value="/x.so"),
    "a variable of the loader from elsewhere": lambda spec: at(spec, "env", "LD_AUDIT").update(valueFrom={"x": "y"}),
    "a variable of Python": lambda spec: spec["containers"][0]["env"].append({"name": "PYTHONPATH", "value": "/x"}),
    "another variable of the loader": lambda spec: spec["containers"][0]["env"].append(
        {"name": "LD_BIND_NOW", "value": "1"}
    ),
    "variables from elsewhere": lambda spec: spec["containers"][0].update(envFrom=[{"configMapRef": {"name": "x"}}]),
    "the host's processes": lambda spec: spec.update(hostPID=False),
    "the host's network": lambda spec: spec.pop("hostNetwork"),
    "the runtime": lambda spec: spec.update(runtimeClassName="kata"),
    # It could write an ld.so.preload there.
    "a container that fills /etc": lambda spec: spec.update(
        initContainers=[{"name": "x", "image": "x", "volumeMounts": [{"name": "etc", "mountPath": "/mnt"}]}]
    ),
    "a container beside it that changes /tmp": lambda spec: spec["containers"].insert(
        0, {"name": "x", "image": "x", "volumeMounts": [{"name": "tmp", "mountPath": "/mnt"}]}
    ),
    "a container for debugging that changes /etc": lambda spec: spec.update(
        ephemeralContainers=[{"name": "x", "image": "x", "volumeMounts": [{"name": "etc", "mountPath": "/etc"}]}]
    ),
    "its container": lambda spec: spec["containers"][0].update(name="other"),
    "all of it": lambda spec: [spec.pop(key) for key in list(spec) if key != "nodeName"],
}


@pytest.mark.parametrize("how", CHANGES)
def test_a_pod_that_admission_changed_has_no_answer(how: str) -> None:
    one = pod(finished(0, json.dumps(message())))
    CHANGES[how](one["spec"])

    assert read_pod(one, EXPECTED).reason == "changed"


def test_what_admission_adds_beside_it_matters_not() -> None:
    one = pod(finished(0, json.dumps(message())))
    container = one["spec"]["containers"][0]
    container["env"] += [{"name": name, "value": "x"} for name in ("AWS_REGION", "LDAP_SERVER", "LOCATION")]
    container["volumeMounts"].append({"name": "token", "mountPath": "/var/run/secrets/eks.amazonaws.com"})
    container.update(resources={"limits": {"cpu": "2"}}, image="mirror.local/pause:3.9", imagePullPolicy="Always")
    mounts = [{"name": "token", "mountPath": "/var/run/secrets/eks.amazonaws.com"}]
    one["spec"]["containers"].append({"name": "sidecar", "image": "x", "volumeMounts": mounts})
    one["spec"]["initContainers"] = [{"name": "setup", "image": "x", "volumeMounts": mounts}]
    one["spec"]["volumes"].append({"name": "token", "projected": {}})
    one["spec"]["tolerations"] = []

    assert read_pod(one, EXPECTED).verdict == "valid"


def test_a_node_may_not_trust_the_manifest() -> None:
    assert verdict({"verdict": "untrusted", "manifests": [{"file": "m"}]}, 3) == ("untrusted", "")


def test_a_pod_that_ends_for_another_reason_has_no_answer_even_with_a_report() -> None:
    for reason in ("Evicted", "DeadlineExceeded", "OutOfmemory", "NodeLost"):
        status = {**finished(0, json.dumps(message())), "phase": "Failed", "reason": reason}
        assert read_pod(pod(status), EXPECTED).verdict == "unknown"


def test_deep_nesting_is_unreadable() -> None:
    assert read_pod(pod(finished(0, "[" * 16000)), EXPECTED).reason == "unreadable-report"


def test_the_schema_lists_the_reasons() -> None:
    schema = json.loads((Path(fipsmanifest.__file__).parent / "cluster/schema.json").read_text())
    assert schema["$defs"]["reason"]["enum"] == list(ADVICE)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300)
@given(key=st.sampled_from(sorted(message())), value=JSON, code=st.sampled_from([0, 1, 3, 4, 69]))
def test_no_form_of_a_report_is_an_internal_error_or_a_pass_by_accident(key: str, value: Any, code: int) -> None:
    answer = read_pod(pod(finished(code, json.dumps({**message(), key: value}))), EXPECTED)

    assert (
        answer.verdict == "unknown"
        or code == {"valid": 0, "invalid": 1, "untrusted": 3, "incomplete": 4}[answer.verdict]
    )
    assert not answer.reason or answer.reason in ADVICE
    # Fields that do not decide may have any value.
    if (
        key not in ("checks", "warnings", "left_out", "left_out_by_check", "truncated", "manifest")
        and value != message()[key]
    ):
        assert answer.verdict != "valid" or key in ("host", "summary", "manifests")


@settings(max_examples=200)
@given(status=JSON)
def test_no_form_of_a_pod_is_an_internal_error(status: Any) -> None:
    one = pod(status)
    is_finished(one)
    pending_detail(one)
    assert read_pod(one, EXPECTED).verdict == "unknown"


def finding(number: int) -> Finding:
    return Finding("fail", "files", f"/x{'y' * number}", "kubelet", "digest", "", "", "Look.")


def test_findings_that_all_differ_need_bounded_memory_and_count_all_the_same() -> None:
    found = Aggregate()
    for number in range(MAX_GROUPS + 500):
        found.add(f"node-{number}", Answer("invalid", findings=(finding(number),)))

    assert len(found.groups) == MAX_GROUPS + 1
    assert sum(group.nodes for group in found.groups) == MAX_GROUPS + 500
    assert found.verdict == "invalid"


@pytest.mark.parametrize(
    ("subjects", "shown"),
    [
        (["etcd [127.0.0.1:2379]", "etcd [10.0.0.5:2379]"], "etcd [*:2379]"),
        (["etcd [127.0.0.1:2379]", "etcd [127.0.0.1:2381]"], "etcd [127.0.0.1:*]"),
        (["etcd [10.0.0.5:2379]"] * 2, "etcd [10.0.0.5:2379]"),
        (["etcd [[fe80::1]:2379]", "etcd [[fe80::7]:2379]", "etcd [[fe80::1]:2379]"], "etcd [[fe80::*]:2379]"),
        (["/opt/*1 (1, 22)", "/opt/*2 (3, 22)", "/opt/*1 (1, 23)"], "/opt/** (*, *)"),
    ],
)
def test_a_finding_shows_what_its_nodes_subjects_have_in_common(subjects: list[str], shown: str) -> None:
    found = Aggregate()
    for number, subject in enumerate(subjects):
        one = Finding("fail", "services", subject, "etcd", "not-allowed", "", "", "Look.")
        found.add(f"node-{number}", Answer("invalid", findings=(one,)))

    assert [(group.finding.subject, group.nodes) for group in found.groups] == [(shown, len(subjects))]


def test_a_person_is_told_of_results_for_which_a_report_had_no_room() -> None:
    found = Aggregate()
    found.add("a", Answer("invalid", findings=(finding(1),), left_out=2))
    found.add("b", Answer("incomplete", left_out=5))
    found.add("c", Answer("valid"))

    (note,) = (line for line in to_text(ClusterReport("", "", "", [], {}, "", "", 1.0, found)) if "Note" in line)

    assert note.startswith("Note: 7 results that failed or are unknown on 2 nodes (a, b) did not fit ")
    assert note.endswith("use --report-dir to get the whole reports.")


def test_a_later_answer_replaces_an_earlier_one_unless_it_says_less() -> None:
    found = Aggregate()
    found.add("a", Answer("incomplete", findings=(finding(1),)))
    found.add("a", Answer("unknown", "timed-out"))
    assert (found.verdict, found.groups[0].nodes) == ("incomplete", 1)
    assert found.nodes["a"].verdict == "incomplete"
    found.add("a", Answer("valid"))
    assert (found.verdict, found.groups[0].nodes, found.worst_groups()) == ("valid", 0, [])
    found.forget("a")
    assert found.verdict == "incomplete"


def test_the_worst_node_decides_untrusted_before_invalid_before_incomplete() -> None:
    found = Aggregate()
    for name, verdict, expected in (
        ("a", "valid", "valid"),
        ("b", "unknown", "incomplete"),
        ("c", "invalid", "invalid"),
        ("d", "untrusted", "untrusted"),
        ("e", "valid", "untrusted"),
    ):
        found.add(name, Answer(verdict, "timed-out" if verdict == "unknown" else ""))
        assert found.verdict == expected
