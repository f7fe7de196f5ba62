"""One page for people: a summary, what fails first, and what the words mean. No script, no external resource. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ..inspect.descriptions import VERDICTS
from ..model.explanations import NODE_VERDICTS, SCOPES
from ..model.finding import IN_PROCESS, Verdict
from ..model.manifest import Manifest
from . import htmlparts as parts
from .documents import Check, ClusterDocument, Inspection, NodeComponent, NodeReport, Source
from .htmlparts import Badge, BadgeKind, Cell, code, text
from .programs import Program, gate_passed, modules, programs
from .settings import Settings

_STATUSES = {
    "pass": "It is as the manifest or the rule says.",
    "fail": "It is not as the manifest or the rule says.",
    "unknown": "It could not be checked, which is never a pass.",
    "not-applicable": "It does not apply to this node.",
}
_NODE_VERDICTS = {verdict: meaning for verdict, (meaning, _) in NODE_VERDICTS.items()}
_SIGNATURES = {
    "verified": "The signature was verified when this page was made.",
    "not-verified": "The document is signed, but the signature was not verified when this page was made.",
    "unsigned": "The document is not signed: anyone could have written it.",
}
_CAVEAT = "This page is a view of one document. It is evidence of what was found, and certifies nothing."


def render(source: Source, settings: Settings) -> str:
    """Return the page."""
    document = source.document
    if isinstance(document, NodeReport):
        title, badge, body = _node(document)
    elif isinstance(document, ClusterDocument):
        title, badge, body = _cluster(document)
    elif isinstance(document, Inspection):
        title, badge, body = _inspection(source, document)
    else:
        title, badge, body = _manifest(source, document)
    about = {
        "Document": f"SHA-256 {source.sha256}",
        "Date": source.date or "not stated",
    }
    if source.signature.fingerprint is not None:
        about["Signed by"] = f"{source.signature.fingerprint}, {source.signature.signed_at}"
    about["Page made by"] = f"fipsmanifest {settings.tool_version}"
    signature = _SIGNATURES[source.signature.state]
    if source.kind == "manifest" and source.signature.state != "verified":
        badge = Badge(f"{badge.words}; {source.signature.state}", "open")
    body.insert(0, f"<p>{signature}</p>")
    return parts.page(title, badge, [*body, parts.section("About this page", parts.facts(about), f"<p>{_CAVEAT}</p>")])


def _node(report: NodeReport) -> tuple[str, Badge, list[str]]:
    host = report.host
    name = host.name or host.root
    counts = report.summary
    good = report.is_valid
    kind: BadgeKind = "good" if good else "bad" if report.verdict in ("invalid", "untrusted") else "open"
    known = {
        "Node": name,
        "Role": host.role,
        "System": " ".join(one for one in (host.os, host.os_version, host.kernel) if one),
        "Architecture": host.architecture,
        "Scope": report.scope,
        "Checked": " to ".join(one for one in (host.started, host.finished) if one),
        "Results": f"{counts.passed} passed, {counts.failed} failed, {counts.unknown} unknown, "
        f"{counts.not_applicable} not applicable",
        "Left out of the report": f"{report.left_out} results" if report.left_out else None,
    }
    body = [parts.facts({key: value for key, value in known.items() if value})]
    order = ("fail", "unknown", "pass", "not-applicable")
    headings = {"fail": "Failed", "unknown": "Unknown", "pass": "Passed", "not-applicable": "Not applicable"}
    for status in order:
        rows = [_check(check) for check in report.checks if check.status == status]
        heads = ("Check", "Subject", "Expected", "Found", "What to do")
        folded = status in ("pass", "not-applicable")
        if rows:
            body.append(parts.table_section(headings[status], heads, rows, folded=folded))
    body += [*_components_of(report), *_certificates_of(report), *_manifests_of(report)]
    if report.warnings:
        body.append(parts.section("Notes", parts.items(report.warnings)))
    words = ((report.verdict, _NODE_VERDICTS), (report.scope, SCOPES))
    meanings = {word: known[word] for word, known in words if word in known} | _STATUSES
    body.append(parts.section("What the words mean", parts.definitions(meanings)))
    verdict = report.verdict if good or report.verdict != "valid" else "valid, but the report is not complete"
    return f"Node {name}", Badge(f"{verdict} ({report.scope})", kind), body


def _components_of(report: NodeReport) -> Iterator[str]:
    if report.components:
        heads = ("Component", "Status", "Listed as", "Required", "Modules")
        components = [
            [
                text(item.name),
                parts.mark(item.status),
                _listed(item),
                text(f"{item.requirement}: {item.reason}" if item.reason else item.requirement or "-"),
                text(", ".join(item.modules) or "-"),
            ]
            for item in report.components
        ]
        yield parts.table_section("Components", heads, components)


def _listed(item: NodeComponent) -> Cell:
    """Return the manifest's verdict on a component; it is marked only where the node has what the manifest lists."""
    if item.status != "pass":
        return text(item.verdict or "-")
    return parts.mark(item.verdict or "-", expected=item.requirement == "known")


def _certificates_of(report: NodeReport) -> Iterator[str]:
    certificates = [
        [
            text(module.name or module.id),
            text(f"{one.standard} {one.number}"),
            text(one.holder or "-"),
            text(one.status or "-"),
            text(one.historical_since or "-"),
        ]
        for manifest in report.manifests
        for module in manifest.modules
        for one in module.certificates
    ]
    if certificates:
        heads = ("Module", "Certificate", "Holder", "Status when checked", "Historical since")
        yield parts.table_section("Modules and certificates", heads, _distinct(certificates))


def _manifests_of(report: NodeReport) -> Iterator[str]:
    listed = [
        [
            text(one.file),
            text(f"{one.kubernetes}, EL{one.el}, serial {one.serial}" if one.kubernetes else "not trusted"),
            text(one.signed_at or "-"),
            code(one.fingerprint or "-"),
        ]
        for one in report.manifests
    ]
    if listed:
        yield parts.table_section("Manifests", ("File", "Release", "Signed", "By key"), listed)


def _cluster(cluster: ClusterDocument) -> tuple[str, Badge, list[str]]:
    order = ("invalid", "untrusted", "unknown", "incomplete", "valid")
    counts: Counter[str] = Counter(node.verdict for node in cluster.nodes)
    known = {
        "Cluster": cluster.cluster.server,
        "Context": cluster.cluster.context,
        "Checked": f"{cluster.started} to {cluster.finished}",
        "Nodes": ", ".join(f"{counts[verdict]} {verdict}" for verdict in order if counts[verdict]) or "none",
    }
    body = [parts.facts({key: value for key, value in known.items() if value})]
    heads: tuple[str, ...] = ("Status", "Check", "Subject", "Expected", "Found", "What to do", "Nodes")
    findings = [
        [
            parts.mark(one.status),
            text(one.check),
            text(one.subject),
            text(one.expected or "-"),
            text(one.actual or "-"),
            text(one.advice),
            text(f"{one.nodes}: {', '.join(one.examples[:5])}{', ...' if one.nodes > 5 else ''}"),
        ]
        for one in sorted(cluster.findings, key=lambda one: one.status != "fail")
    ]
    if findings:
        body.append(parts.table_section("Findings", heads, findings))
    heads = ("Node", "Verdict", "Reason")
    for heading, valid in (("Nodes that are not valid", False), ("Valid nodes", True)):
        listed = [node for node in cluster.nodes if (node.verdict == "valid") == valid]
        listed.sort(key=lambda node: (order.index(node.verdict), node.name))
        rows = [
            [
                text(node.name),
                parts.mark(node.verdict),
                text(": ".join(one for one in (node.reason, node.detail) if one) or "-"),
            ]
            for node in listed[: parts.MAX_ROWS]
        ]
        if rows:
            body.append(parts.table_section(heading, heads, rows, folded=valid, count=len(listed)))
    if cluster.warnings:
        body.append(parts.section("Notes", parts.items(cluster.warnings)))
    meanings = {**_NODE_VERDICTS, "unknown": "There is no usable report of the node."}
    body.append(parts.section("What the words mean", parts.definitions(meanings)))
    if cluster.is_valid:
        return "Cluster", Badge(f"valid: {len(cluster.nodes)} nodes", "good"), body
    if cluster.verdict == "valid":
        return "Cluster", Badge("valid, but the report contradicts that", "open"), body
    return "Cluster", Badge(cluster.verdict, "open" if cluster.verdict == "incomplete" else "bad"), body


def _check(check: Check) -> list[Cell]:
    return [
        text(check.id),
        text(check.subject),
        text(check.expected or "-"),
        text(check.actual or "-"),
        text(check.advice),
    ]


def _inspection(source: Source, inspection: Inspection) -> tuple[str, Badge, list[str]]:
    found = list(programs(source))
    gate = inspection.gate
    exceptions = inspection.exceptions
    refused = inspection.refused
    passing: list[Program] = []
    excepted: list[Program] = []
    bad: list[Program] = []
    for one in found:
        if (one.path, one.container) in refused:
            # Also a proven program: its module may be one that the gate does not accept.
            bad.append(one)
        else:
            (passing if one.harmless else excepted if one.exception(exceptions) else bad).append(one)
    counts = Counter(one.verdict for one in found)
    known = {
        "Files": str(len(inspection.files)),
        "Programs": _counted(counts) or "none",
        "Not opened": str(len(inspection.unopened)) if inspection.unopened else None,
        "Gate": f"{gate.proven} proven, {len(gate.accepted)} accepted by exceptions" if gate is not None else None,
    }
    body = [parts.facts({key: value for key, value in known.items() if value})]
    errors = [[text(one.message), text(one.advice)] for one in inspection.errors]
    if errors:
        body.append(parts.table_section("What is wrong", ("What", "What to do"), errors))
    if inspection.unopened:
        rows = [
            [text(_where(one.path, one.container)), text(one.format), text(one.reason)] for one in inspection.unopened
        ]
        body.append(parts.table_section("Not opened", ("Container", "Format", "Reason"), rows))
    body += _program_tables("Programs that do not pass", bad, folded=False)
    if gate is not None and gate.accepted:
        rows = [[text(_where(one.path, one.container)), text(one.verdict), text(one.reason)] for one in gate.accepted]
        body.append(parts.table_section("Accepted by exceptions", ("File", "Verdict", "Reason"), rows))
    body += _program_tables("Programs accepted by exceptions", excepted, folded=True)
    body += _program_tables("Programs that may pass", passing, folded=True)
    body += _modules(source)
    body.append(_meanings())
    if gate is not None:
        passed = gate_passed(source)
        return "Gate: proven", Badge("passed" if passed else "not passed", "good" if passed else "bad"), body
    if not found or inspection.errors or inspection.unopened:
        return "Inspection", Badge("incomplete", "open"), body
    return "Inspection", Badge(_counted(counts), "open" if bad else "good"), body


def _manifest(source: Source, manifest: Manifest) -> tuple[str, Badge, list[str]]:
    known = {
        "Kubernetes": f"{manifest.kubernetes}+{manifest.build_metadata}",
        "Enterprise Linux": str(manifest.el),
        "Serial": str(manifest.serial),
        "Reason": manifest.reason,
        "Created": manifest.created,
        "Expires": manifest.expires,
        "Files": f"{len(manifest.files)}, and {len(manifest.images)} images",
        "Node tool": f"{manifest.tool.version}, SHA-256 {manifest.tool.sha256}",
    }
    body = [parts.facts({key: value for key, value in known.items() if value})]
    order = {"proven": 1, "module": 0, "known": 0}
    components = sorted(manifest.components, key=lambda item: (order[item.requirement], item.name, item.architecture))
    rows = [
        [
            text(item.name),
            text(item.architecture),
            parts.mark(item.verdict, expected=item.requirement == "known"),
            text(f"{item.requirement}: {item.reason}" if item.reason else item.requirement),
        ]
        for item in components
    ]
    heads = ("Component", "Architecture", "Verdict", "Required")
    body.append(parts.table_section("Components", heads, rows))
    found = list(programs(source))
    body += _program_tables("Programs that are not proven", [one for one in found if not one.harmless], folded=True)
    body += _program_tables("Other programs", [one for one in found if one.harmless], folded=True)
    body += _modules(source)
    if manifest.sources:
        rows = [
            [text(one.name), text(one.address), code(one.sha256), code(one.signed_by or "-")]
            for one in manifest.sources
        ]
        body.append(
            parts.table_section("Sources", ("Name", "Address", "SHA-256", "Signed upstream by"), rows, folded=True)
        )
    body.append(_meanings())
    badge = Badge(_counted(Counter(Verdict(item.verdict) for item in manifest.components)) or "empty", "open")
    if manifest.components and all(item.verdict == "proven" for item in manifest.components):
        badge = Badge("proven", "good")
    name = manifest.name or f"rhel{manifest.el}"
    return f"Manifest of Kubernetes {manifest.kubernetes} for {name}", badge, body


def _program_tables(heading: str, found: list[Program], *, folded: bool) -> list[str]:
    if not found:
        return []
    # Manifests alone say which component a program belongs to.
    has_components = any(one.component is not None for one in found)
    rows = [
        [
            parts.mark(str(one.verdict)),
            text(_where(one.path, one.container)),
            *([text(one.component or "-")] if has_components else []),
            text(one.architecture or "-"),
            text(one.go or "-"),
            text(one.sentence),
        ]
        for one in found[: parts.MAX_ROWS]
    ]
    heads = ("Verdict", "File", *(["Component"] if has_components else []), "Architecture", "Go", "Why")
    return [parts.table_section(heading, heads, rows, folded=folded, count=len(found))]


def _modules(source: Source) -> list[str]:
    rows = []
    for name, module in modules(source).items():
        certificates = module.certificates or []
        covered = [
            f"{one.standard} certificate {one.number} ({one.holder})"
            + (f", historical since {one.historical_since}" if one.historical_since else "")
            for one in certificates
        ]
        claimed = [f"claimed by {module.claimed_by}"] if module.claimed_by else []
        unfinished = IN_PROCESS if module.validation == "in-process" else "no certificate is known"
        rows.append(
            [
                text(name),
                text(f"{module.name} {module.commit or ''}".strip()),
                code(module.digest),
                text("; ".join(covered + claimed) or unfinished),
            ]
        )
    heads = ("Module", "Name and commit", "Integrity digest", "Certificates")
    return [parts.table_section("Modules and certificates", heads, rows)] if rows else []


def _meanings() -> str:
    words = {str(verdict): meaning for verdict, (meaning, _) in VERDICTS.items()}
    return parts.section("What the verdicts mean", parts.definitions(words))


def _counted(counts: Counter[Verdict]) -> str:
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])


def _where(path: str, container: str | None) -> str:
    return f"{path} in {container}" if container else path


def _distinct(rows: list[list[Cell]]) -> list[list[Cell]]:
    return list({tuple(cell.html for cell in row): row for row in rows}.values())
