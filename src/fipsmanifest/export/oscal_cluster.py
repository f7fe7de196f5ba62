"""The report of a cluster as OSCAL assessment-results. Pure.

Each finding that nodes have in common is an observation on those nodes, and so is each reason why nodes have no report.
A cluster's report lists no passes. So a control is satisfied only for a cluster whose nodes are all valid, and only
those of the checks that no valid node can be without.
"""

from __future__ import annotations

from typing import Any

from ..errors import Incomplete
from . import oscal_parts, oscal_results
from .documents import ClusterDocument, ClusterFinding, Source
from .identity import identifier
from .settings import Settings

#: Checks that passed on every live node that is valid.
_ALWAYS = ("fips-mode", "files", "signature")


def build(source: Source, cluster: ClusterDocument, settings: Settings) -> dict[str, Any]:
    """Return the assessment-results. Raises `Incomplete` if the cluster has no nodes."""
    if not cluster.nodes:
        raise Incomplete("The cluster has no nodes, so there is nothing to state.", "Check which nodes were asked for.")
    nodes = [identifier(source, "node", str(number)) for number in range(len(cluster.nodes))]
    observations = [
        _observation(source, number, finding, _nodes_with(cluster, number, nodes))
        for number, finding in enumerate(cluster.findings)
    ]
    unanswered: dict[str, list[str]] = {}
    for node, uuid in zip(cluster.nodes, nodes, strict=True):
        if node.verdict == "unknown":
            unanswered.setdefault(node.reason or "unknown", []).append(uuid)
    observations += [_unanswered(source, reason, found) for reason, found in sorted(unanswered.items())]
    findings = [_cluster_finding(source, cluster)]
    failing = sorted({finding.check for finding in cluster.findings} - {"fips-mode"})
    findings += [_check_finding(source, cluster, check, satisfied=False) for check in failing]
    if cluster.is_valid:
        findings += [_check_finding(source, cluster, check, satisfied=True) for check in _ALWAYS[1:]]
    controls = sorted({finding["target"]["target-id"].removesuffix("_obj") for finding in findings})
    name = oscal_parts.markup(cluster.cluster.server)
    result: dict[str, Any] = {
        "uuid": identifier(source, "result"),
        "title": f"Cluster {name}: {cluster.verdict}",
        "description": f"The node tool checked {len(cluster.nodes)} nodes of the cluster.",
        "start": cluster.started,
        "end": cluster.finished,
        "props": [oscal_parts.own("verdict", cluster.verdict), oscal_parts.own("scope", "live")],
        "local-definitions": {
            "inventory-items": [
                {
                    "uuid": uuid,
                    "description": f"The node {oscal_parts.markup(node.name)}.",
                    "props": [oscal_parts.own("name", node.name), oscal_parts.own("verdict", node.verdict)],
                }
                for node, uuid in zip(cluster.nodes, nodes, strict=True)
            ]
        },
        "reviewed-controls": {"control-selections": [{"include-controls": [{"control-id": one} for one in controls]}]},
        "findings": findings,
    }
    if observations:
        result["observations"] = [{**one, "collected": cluster.finished} for one in observations]
    return oscal_results.document(source, f"Check of cluster {name}", cluster.finished, result, settings)


def _nodes_with(cluster: ClusterDocument, number: int, nodes: list[str]) -> list[str]:
    return [uuid for node, uuid in zip(cluster.nodes, nodes, strict=True) if number in node.findings]


def _observation(source: Source, number: int, finding: ClusterFinding, nodes: list[str]) -> dict[str, Any]:
    said = [f"{oscal_parts.markup(finding.subject)}: {finding.status} on {finding.nodes} nodes."]
    for name, value in (("Expected", finding.expected), ("Found", finding.actual), ("To do", finding.advice)):
        if value:
            said.append(f"{name}: {oscal_parts.markup(value)}")
    props = [oscal_parts.own("check", finding.check), oscal_parts.own("status", finding.status)]
    props += [oscal_parts.own("code", finding.code)] if finding.code else []
    return {
        "uuid": identifier(source, "observation", str(number)),
        "title": f"{oscal_parts.markup(finding.check)}: {oscal_parts.markup(finding.subject)}",
        "description": " ".join(said),
        "props": props,
        "methods": ["TEST"],
        "types": ["control-objective"],
        **_subjects(nodes),
    }


def _unanswered(source: Source, reason: str, nodes: list[str]) -> dict[str, Any]:
    return {
        "uuid": identifier(source, "unanswered", reason),
        "title": f"No report: {oscal_parts.markup(reason)}",
        "description": f"{len(nodes)} nodes have no report that counts ({oscal_parts.markup(reason)}).",
        "props": [oscal_parts.own("status", "unknown"), oscal_parts.own("code", reason)],
        "methods": ["TEST"],
        "types": ["control-objective"],
        **_subjects(nodes),
    }


def _subjects(nodes: list[str]) -> dict[str, Any]:
    # OSCAL has no empty lists.
    return {"subjects": [{"subject-uuid": uuid, "type": "inventory-item"} for uuid in nodes]} if nodes else {}


def _cluster_finding(source: Source, cluster: ClusterDocument) -> dict[str, Any]:
    counts: dict[str, int] = {}
    for node in cluster.nodes:
        counts[node.verdict] = counts.get(node.verdict, 0) + 1
    remarks = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())) + "."
    requires_mode = bool(cluster.manifests) and all(one.fips_mode for one in cluster.manifests)
    if not requires_mode:
        remarks += " Not every manifest is known to require FIPS mode of its nodes."
    satisfied = cluster.is_valid and requires_mode
    status: dict[str, Any] = {"state": "satisfied" if satisfied else "not-satisfied", "remarks": remarks}
    if not satisfied:
        status["reason"] = "fail" if cluster.verdict in ("invalid", "untrusted") else "other"
    return {
        "uuid": identifier(source, "finding", "cluster"),
        "title": "FIPS mode, and the programs that the manifests list, on every node",
        "description": "The verdicts of all nodes. A node without a report that counts is not satisfied.",
        "target": {"type": "objective-id", "target-id": "sc-13_obj", "status": status},
    }


def _check_finding(source: Source, cluster: ClusterDocument, check: str, *, satisfied: bool) -> dict[str, Any]:
    related = [number for number, finding in enumerate(cluster.findings) if finding.check == check]
    status: dict[str, Any] = {"state": "satisfied"}
    if not satisfied:
        failed = any(cluster.findings[number].status == "fail" for number in related)
        status = {"state": "not-satisfied", "reason": "fail" if failed else "other"}
    finding: dict[str, Any] = {
        "uuid": identifier(source, "finding", check),
        "title": f"The check {oscal_parts.markup(check)}",
        "description": f"The results of the node check {oscal_parts.markup(check)} on all nodes.",
        "target": {"type": "objective-id", "target-id": f"{oscal_results.control_of(check)}_obj", "status": status},
    }
    if related:
        finding["related-observations"] = [
            {"observation-uuid": identifier(source, "observation", str(number))} for number in related
        ]
    return finding
