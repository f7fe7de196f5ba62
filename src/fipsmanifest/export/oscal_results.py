"""A node report as OSCAL assessment-results. Pure.

Each result of the report is an observation. Each check that ran is a finding on the objective of one control of
NIST SP 800-53, revision 5. It is satisfied only if the check passed somewhere and nowhere failed or was unknown.
"""

from __future__ import annotations

from typing import Any

from ..errors import Incomplete
from . import oscal_parts
from .documents import Check, NodeReport, Source
from .identity import identifier
from .settings import Settings

#: The control of NIST SP 800-53, revision 5, that a check contributes to.
CONTROLS = {
    "signature": "si-7.15",  # Code Authentication
    "platform": "cm-6",  # Configuration Settings
    "fips-mode": "sc-13",  # Cryptographic Protection
    "files": "si-7",  # Software, Firmware, and Information Integrity
    "startup": "cm-7.5",  # Authorized Software: Allow-by-exception
    "images": "si-7.1",  # Integrity Checks
    "processes": "si-7.6",  # Cryptographic Protection (of integrity)
    "services": "sc-8.1",  # Transmission Confidentiality and Integrity: Cryptographic Protection
}
_OTHERS = "ca-7"  # Continuous Monitoring


def build(source: Source, report: NodeReport, settings: Settings) -> dict[str, Any]:
    """Return the assessment-results. Raises `Incomplete` if the report has no time or no results."""
    start = report.host.started or source.date
    if start is None or source.date is None:
        raise Incomplete(
            "The report does not say when the node was checked, which OSCAL needs.",
            "Check the node with a newer node tool, and export that report.",
        )
    if not report.checks:
        raise Incomplete("The report has no results, so there is nothing to state.", "Check the node again.")
    subject = identifier(source, "host")
    observations = [_observation(source, number, check, subject) for number, check in enumerate(report.checks)]
    checks = sorted({check.id for check in report.checks})
    controls = sorted({control_of(name) for name in checks})
    name = report.host.name or report.host.root
    result = {
        "uuid": identifier(source, "result"),
        "title": f"Node {oscal_parts.markup(name)}: {report.verdict}",
        "description": _description(report),
        "start": start,
        "end": source.date,
        "props": [oscal_parts.own("verdict", report.verdict), oscal_parts.own("scope", report.scope)],
        "local-definitions": {"inventory-items": [_host(report, subject)]},
        "reviewed-controls": {"control-selections": [{"include-controls": [{"control-id": one} for one in controls]}]},
        "observations": observations,
        "findings": [_finding(source, report, name) for name in checks],
    }
    return document(source, f"Check of node {oscal_parts.markup(name)}", source.date, result, settings)


def document(source: Source, title: str, date: str, result: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """Return assessment-results with one result; ``title`` is Markdown."""
    plan = identifier(source, "oscal", "resource")
    return {
        "uuid": identifier(source, "oscal", "assessment-results", settings.tool_version),
        "metadata": oscal_parts.metadata(source, title, "1", date, settings),
        "import-ap": {"href": f"#{plan}", "remarks": "No assessment plan in OSCAL: the checks of the node tool."},
        "results": [result],
        "back-matter": {"resources": [oscal_parts.resource(source, "The report", "report.json")]},
    }


def control_of(check: str) -> str:
    """Return the control that a check contributes to; another one for checks of newer tools."""
    return CONTROLS.get(check, _OTHERS)


def _description(report: NodeReport) -> str:
    counts = report.summary
    text = (
        f"The node tool compared the node with {len(report.manifests)} signed manifests (scope '{report.scope}'): "
        f"{counts.passed} passed, {counts.failed} failed, {counts.unknown} unknown, "
        f"{counts.not_applicable} not applicable."
    )
    if report.left_out:
        text += f" The report left out {report.left_out} of these results."
    return text


def _host(report: NodeReport, subject: str) -> dict[str, Any]:
    host = report.host
    known = {
        "root": host.root,
        "role": host.role,
        "os": " ".join(one for one in (host.os, host.os_version) if one),
        "kernel": host.kernel,
        "architecture": host.architecture,
        "tool": host.tool,
        "tool-sha256": host.tool_sha256,
    }
    return {
        "uuid": subject,
        "description": f"The node {oscal_parts.markup(host.name or host.root)}.",
        "props": [oscal_parts.nist("asset-type", "operating-system")]
        + [oscal_parts.own(name, value) for name, value in known.items() if value],
    }


def _observation(source: Source, number: int, check: Check, subject: str) -> dict[str, Any]:
    said = [f"{oscal_parts.markup(check.subject)}: {check.status}."]
    for name, value in (("Expected", check.expected), ("Found", check.actual), ("To do", check.advice)):
        if value:
            said.append(f"{name}: {oscal_parts.markup(value)}")
    props = [oscal_parts.own("check", check.id), oscal_parts.own("status", check.status)]
    if "code" in check.evidence:
        props.append(oscal_parts.own("code", str(check.evidence["code"])))
    return {
        "uuid": _observation_uuid(source, number),
        "title": f"{oscal_parts.markup(check.id)}: {oscal_parts.markup(check.subject)}",
        "description": " ".join(said),
        "props": props,
        "methods": ["TEST"],
        "types": ["control-objective"],
        "subjects": [{"subject-uuid": subject, "type": "inventory-item"}],
        "collected": source.date,
    }


def _observation_uuid(source: Source, number: int) -> str:
    # Two results may have the same check and subject.
    return identifier(source, "observation", str(number))


def _finding(source: Source, report: NodeReport, check: str) -> dict[str, Any]:
    related = [(number, item) for number, item in enumerate(report.checks) if item.id == check]
    counts = {status: sum(item.status == status for _, item in related) for status in ("pass", "fail", "unknown")}
    satisfied = counts["pass"] > 0 and not counts["fail"] and not counts["unknown"]
    remarks = f"{counts['pass']} passed, {counts['fail']} failed, {counts['unknown']} unknown."
    if satisfied and report.hides_failures:
        satisfied = False
        remarks += " The report left out results that are failures or unknown, which may be of this check."
    if satisfied and report.verdict == "valid" and not report.is_valid:
        satisfied = False
        remarks += " The report contradicts its verdict."
    if satisfied and report.verdict == "untrusted":
        satisfied = False
        remarks += " The manifest is not trusted."
    control = control_of(check)
    status: dict[str, Any] = {"state": "satisfied" if satisfied else "not-satisfied", "remarks": remarks}
    if not satisfied:
        status["reason"] = "fail" if counts["fail"] else "other"
    return {
        "uuid": identifier(source, "finding", check),
        "title": f"The check {oscal_parts.markup(check)}",
        "description": f"The results of the node check {oscal_parts.markup(check)}.",
        "target": {"type": "objective-id", "target-id": f"{control}_obj", "status": status},
        "related-observations": [{"observation-uuid": _observation_uuid(source, number)} for number, _ in related],
    }
