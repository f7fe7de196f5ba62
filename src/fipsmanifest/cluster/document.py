"""The result of a cluster check as documents: for programs (JSON), for CI (JUnit), for monitoring, for the cluster."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import quoteattr

from ..node.result import EXIT_CODES, FAIL, UNKNOWN, VALID
from ..trust.text import read_time
from .aggregate import Aggregate, Group
from .objects import MANAGED_BY
from .reasons import ADVICE

SCHEMA = "fipsmanifest/cluster/v1"
#: Bytes of a report in a ConfigMap, which ends at 1,048,576 with its names.
MAX_CONFIG_MAP = 900_000
#: Results in a ClusterReport: an object in etcd ends at 1.5 MB.
MAX_RESULTS = 500
#: Node names beside a finding; each node names its findings as well.
MAX_EXAMPLES = 20

#: Types of the error that nodes may be missing.
_UNLISTED, _NO_NODES = "unlisted", "no-nodes"
_OPEN_REPORTS = "openreports.io/v1alpha1"


@dataclass(frozen=True, slots=True)
class ClusterReport:
    """Everything that one check of a cluster found."""

    server: str
    """The API server's address."""
    context: str
    """The kubeconfig's context."""
    run: str
    """The run's identifier."""
    manifests: Sequence[Mapping[str, Any]]
    """What each signed manifest is."""
    tool: Mapping[str, Any]
    """Version and SHA-256 of the node tool."""
    started: str
    """When it began."""
    finished: str
    """When it ended."""
    seconds: float
    """How long it took."""
    aggregate: Aggregate
    """The answers."""
    warnings: Sequence[str] = ()
    """What a person should know."""


def to_document(report: ClusterReport) -> dict[str, Any]:
    """Return the document ``fipsmanifest/cluster/v1``: every node by name, and each different finding once."""
    found = report.aggregate
    worst = found.worst_groups()
    place = {number: index for index, (number, _) in enumerate(worst)}
    examples: dict[int, list[str]] = {number: [] for number, _ in worst}
    nodes = []
    for name in sorted(found.nodes):
        answer = found.nodes[name]
        node: dict[str, Any] = {"name": name, "verdict": answer.verdict}
        if answer.reason:
            node |= {"reason": answer.reason, "detail": answer.detail}
        if answer.groups:
            node["findings"] = sorted(place[number] for number in answer.groups)
        if answer.left_out:
            node["left_out"] = answer.left_out
        nodes.append(node)
        for number in answer.groups:
            if len(examples[number]) < MAX_EXAMPLES:
                examples[number].append(name)
    return {
        **_head(report),
        "findings": [_finding(group, examples[number]) for number, group in worst],
        "nodes": nodes,
        "warnings": list(report.warnings),
    }


def _head(report: ClusterReport) -> dict[str, Any]:
    found = report.aggregate
    return {
        "schema": SCHEMA,
        "verdict": found.verdict,
        "cluster": {"server": report.server, "context": report.context},
        "run": report.run,
        "manifests": [dict(one) for one in report.manifests],
        "tool": dict(report.tool),
        "started": report.started,
        "finished": report.finished,
        "seconds": report.seconds,
        "summary": {"nodes": len(found.nodes), **found.counts()},
        "reasons": [
            {"reason": code, "nodes": count, "advice": ADVICE[code]} for code, count in found.reasons().items()
        ],
        "components": found.components(),
    }


def _finding(group: Group, examples: Sequence[str]) -> dict[str, Any]:
    finding = group.finding
    return {
        "status": finding.status,
        "check": finding.check,
        "component": finding.component or None,
        "code": finding.code or None,
        "subject": finding.subject,
        "expected": finding.expected or None,
        "actual": finding.actual or None,
        "advice": finding.advice,
        "nodes": group.nodes,
        "examples": list(examples),
    }


def to_text(report: ClusterReport) -> list[str]:
    """Return the lines for a person: findings grouped over nodes, then what has no answer, the counts, the verdict.

    Names and texts of nodes are printable already (`message`); the printing code escapes the rest.
    """
    found, lines = report.aggregate, []
    for number, group in found.worst_groups():
        finding = group.finding
        what = " ".join(filter(None, (finding.component, finding.subject)))
        mark = "FAIL" if finding.status == FAIL else "UNKNOWN"
        code = f" ({finding.code})" if finding.code else ""
        lines.append(f"[{mark}] {finding.check}: {what}{code} on {_plural(group.nodes)}: {_some(found, number)}")
        lines += [f"    expected: {finding.expected}"] if finding.expected else []
        lines += [f"    found: {finding.actual}"] if finding.actual else []
        lines += [f"    to do: {finding.advice}"] if finding.advice else []
    for code, count in found.reasons().items():
        names = sorted(name for name, answer in found.nodes.items() if answer.reason == code)
        lines.append(f"[UNKNOWN] {code} on {_plural(count)}: {_shorten(names)}")
        detail = next((found.nodes[name].detail for name in names if found.nodes[name].detail), "")
        lines += [f"    found: {detail}"] if detail else []
        lines.append(f"    to do: {ADVICE[code]}")
    lines += [f"Component: {name} fails on {_plural(count)}" for name, count in found.components().items()]
    lines += [f"Note: {warning}" for warning in report.warnings]
    short = sorted(name for name, answer in found.nodes.items() if answer.left_out)
    if short:
        number = sum(found.nodes[name].left_out for name in short)
        results = "1 result" if number == 1 else f"{number} results"
        lines.append(
            f"Note: {results} that failed or are unknown on {_plural(len(short))} ({_shorten(short)}) did not fit "
            "into a pod's status: use --report-dir to get the whole reports."
        )
    counts = ", ".join(f"{count} {verdict}" for verdict, count in found.counts().items() if count) or "no nodes"
    lines.append(f"Verdict: {found.verdict.upper()} ({_plural(len(found.nodes))}: {counts}; {report.seconds} s)")
    return lines


def _plural(count: int) -> str:
    return f"{count} node" if count == 1 else f"{count} nodes"


def _some(found: Aggregate, group: int) -> str:
    names = []
    for name in found.names(group):
        names.append(name)
        if len(names) > _SHOWN:
            break
    return _shorten(names)


_SHOWN = 5


def _shorten(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def _missing(found: Aggregate) -> tuple[str, str] | None:
    """Return the type and the message of the error that nodes may be missing; None if there is none."""
    if found.unlisted:
        return _UNLISTED, f"Nodes may be missing: {found.unlisted}"
    return None if found.nodes else (_NO_NODES, "No node was checked.")


def to_junit(report: ClusterReport) -> str:
    """Return a JUnit test suite with one case a node: failures as failures, nodes without a verdict as errors."""
    found = report.aggregate
    counts = found.counts()
    missing = _missing(found)
    failed = counts["invalid"] + counts["untrusted"]
    errors = counts["incomplete"] + counts[UNKNOWN] + (missing is not None)
    tests = len(found.nodes) + (missing is not None)
    lines = ['<?xml version="1.0" encoding="UTF-8"?>']
    lines.append(
        f'<testsuite name="fipsmanifest check cluster" tests="{tests}" failures="{failed}" '
        f'errors="{errors}" skipped="0" time="{report.seconds}">'
    )
    for name in sorted(found.nodes):
        answer = found.nodes[name]
        case = f'  <testcase classname="node" name={quoteattr(name)}'
        if answer.verdict == VALID:
            lines.append(f"{case}/>")
            continue
        element = "failure" if answer.verdict in ("invalid", "untrusted") else "error"
        findings = [found.groups[number].finding for number in answer.groups]
        told = [f"{one.check} {one.component} {one.subject}: {one.code or one.actual}" for one in findings]
        message = "; ".join(told) or f"{answer.reason}: {answer.detail or ADVICE.get(answer.reason, '')}"
        kind = quoteattr(answer.reason or answer.verdict)
        lines.append(f"{case}>\n    <{element} type={kind} message={quoteattr(message[:2000])}/>\n  </testcase>")
    if missing is not None:
        kind, message = map(quoteattr, missing)
        lines.append(f'  <testcase classname="cluster" name="nodes">\n    <error type={kind} ')
        lines[-1] += f"message={message}/>\n  </testcase>"
    return "\n".join([*lines, "</testsuite>", ""])


def to_metrics(report: ClusterReport) -> str:
    """Return metrics in the Prometheus text format, for node_exporter's textfile collector."""
    found = report.aggregate
    valid = int(found.verdict == VALID)
    lines = [
        "# HELP fipsmanifest_cluster_nodes Nodes of the cluster by the verdict of their last check.",
        "# TYPE fipsmanifest_cluster_nodes gauge",
        *(f'fipsmanifest_cluster_nodes{{verdict="{verdict}"}} {count}' for verdict, count in found.counts().items()),
        "# HELP fipsmanifest_cluster_component_failing_nodes Nodes on which a component fails.",
        "# TYPE fipsmanifest_cluster_component_failing_nodes gauge",
    ]
    for name, count in found.components().items():
        escaped = name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        lines.append(f'fipsmanifest_cluster_component_failing_nodes{{component="{escaped}"}} {count}')
    lines += [
        "# HELP fipsmanifest_cluster_valid Whether every node was checked and is valid.",
        "# TYPE fipsmanifest_cluster_valid gauge",
        f"fipsmanifest_cluster_valid {valid}",
        "# HELP fipsmanifest_cluster_check_seconds Duration of the last check.",
        "# TYPE fipsmanifest_cluster_check_seconds gauge",
        f"fipsmanifest_cluster_check_seconds {report.seconds}",
    ]
    finished = read_time(report.finished)
    if finished is not None:
        name = "fipsmanifest_cluster_finished_timestamp_seconds"
        lines += [f"# HELP {name} When the last check ended.", f"# TYPE {name} gauge"]
        lines.append(f"{name} {int(finished.timestamp())}")
    return "\n".join(lines) + "\n"


def to_config_map(report: ClusterReport, name: str, namespace: str) -> dict[str, Any]:
    """Return a ConfigMap (core/v1) with the report; of nodes only those that are not valid, as many as have room."""
    document = to_document(report)
    bad = [node for node in document["nodes"] if node["verdict"] != VALID]
    findings = document["findings"]
    document |= {"nodes": [], "findings": []}
    room = MAX_CONFIG_MAP - len(_compact(document))
    for key, values in (("findings", findings), ("nodes", bad)):
        # Findings first, which name nodes as well; they take at most two thirds.
        rest = room // 3 if key == "findings" else 0
        for value in values:
            size = len(_compact(value)) + 1
            if room - size < rest:
                break
            room -= size
            document[key].append(value)
    document["left_out"] = {
        "findings": len(findings) - len(document["findings"]),
        "nodes": len(bad) - len(document["nodes"]),
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(MANAGED_BY)},
        # With the time, since a run that ends without a result leaves the ConfigMap as it is.
        "data": {"verdict": report.aggregate.verdict, "finished": report.finished, "report.json": _compact(document)},
    }


def to_open_report(report: ClusterReport, name: str) -> dict[str, Any]:
    """Return a ClusterReport (openreports.io/v1alpha1): the counts, and the nodes that are not valid."""
    found = report.aggregate
    counts, missing = found.counts(), _missing(found)
    results: list[dict[str, Any]] = []
    for node in sorted(found.nodes):
        answer = found.nodes[node]
        if answer.verdict == VALID or len(results) >= MAX_RESULTS:
            continue
        findings = [found.groups[number].finding for number in answer.groups]
        told = "; ".join(f"{one.check} {one.component} {one.subject} {one.code}" for one in findings)
        results.append(
            {
                "source": "fipsmanifest",
                "policy": "fips-node",
                "rule": answer.reason or answer.verdict,
                "result": "fail" if answer.verdict in ("invalid", "untrusted") else "error",
                "message": (told or answer.detail or answer.reason or answer.verdict)[:500],
                "resources": [{"apiVersion": "v1", "kind": "Node", "name": node}],
            }
        )
    if missing is not None:
        kind, message = missing
        results.append(
            {
                "source": "fipsmanifest",
                "policy": "fips-node",
                "rule": kind,
                "result": "error",
                "message": message[:500],
            }
        )
    return {
        "apiVersion": _OPEN_REPORTS,
        "kind": "ClusterReport",
        "metadata": {
            "name": name,
            "labels": dict(MANAGED_BY),
            # As in the ConfigMap: a run that ends without a result leaves the report of an earlier one.
            "annotations": {"fipsmanifest/verdict": found.verdict, "fipsmanifest/finished": report.finished},
        },
        "source": "fipsmanifest",
        "configuration": {"limits": {"maxResults": MAX_RESULTS, "statusFilter": ["fail", "error"]}},
        "summary": {
            "pass": counts[VALID],
            "fail": counts["invalid"] + counts["untrusted"],
            "error": counts["incomplete"] + counts[UNKNOWN] + (missing is not None),
            "warn": 0,
            "skip": 0,
        },
        "results": results,
    }


def _compact(document: object) -> str:
    return json.dumps(document, separators=(",", ":"), sort_keys=True, ensure_ascii=True)


def exit_code(report: ClusterReport) -> int:
    """Return the exit code of the cluster's verdict."""
    return EXIT_CODES[report.aggregate.verdict]
