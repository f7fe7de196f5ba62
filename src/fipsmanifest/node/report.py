"""The verdict on a node, written for programs (JSON), for people (text) and for CI (JUnit)."""

import json
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence

from ..trust.text import visible
from .provenance import module_line
from .result import FAIL, NOT_APPLICABLE, PASS, UNKNOWN, VALID, Result, summary

SCHEMA = "fipsmanifest/node/v1"
ERROR_SCHEMA = "fipsmanifest/error/v1"

_MARKS = {PASS: "[OK]", FAIL: "[FAIL]", UNKNOWN: "[UNKNOWN]", NOT_APPLICABLE: "[n/a]"}
_COLOURS = {PASS: "32", FAIL: "31", UNKNOWN: "33", NOT_APPLICABLE: "2"}
_WIDTH = 68
# What a pass has to say, by its evidence; and notes on files that are not judged.
_NOTES = {
    "mode-stricter": "its mode is stricter than the listed one",
    "owner-unknown": "its owner, or that of a directory on the way to it, has no account here: give it to root",
    "another-path": "it is at another path than the listed one",
    "other-preferred": "it prefers another suite than the listed one",
    "by-name": "libraries of the host were judged by name, directory and owner: no package database could be asked",
    "not-listed": "it runs from a path that is not listed",
    "not-a-program": "it differs from the listed one, and is an administrator's",
}
# What a pass means where the definition does not ask for a proven module (releases/README.md).
_REQUIREMENTS = {"known": "known: not a FIPS build", "module": "a module that is not in the table of known ones"}
_ORDER = (FAIL, UNKNOWN, PASS, NOT_APPLICABLE)
_SMALLEST = 150  # bytes of a result with empty texts, about
_MAX_MANIFESTS = 50
_MAX_DETAILED = 4
_MAX_WARNINGS = 100
_MAX_COMPONENTS = 200

MAX_BYTES = 900 * 1000
"""The room for results: a report must fit into a Kubernetes ConfigMap, which ends at 1,048,576 bytes."""


class Report(NamedTuple):
    """Everything that one run of the tool has to say."""

    verdict: str
    """``valid``, ``invalid``, ``incomplete`` or ``untrusted``."""
    scope: str
    """``live``, ``at-rest`` or ``partial``."""
    host: Dict[str, Any]
    """What was inspected, and with what."""
    manifests: List[Dict[str, Any]]
    """What each manifest that was given is, in the order given."""
    results: Sequence[Result]
    """What each check found."""
    warnings: Sequence[str]
    """Sentences that a person should read."""


class _Kept(NamedTuple):
    """What a report shows of its results."""

    results: Sequence[Result]
    left_out: int
    """How many there was no room for; they are counted all the same."""


def to_json(report: Report) -> str:
    """Write the document ``fipsmanifest/node/v1``, with a line feed at the end; failures come first."""
    return json.dumps(to_document(report), indent=2, ensure_ascii=True) + "\n"


def to_document(report: Report) -> Dict[str, Any]:
    """Return the document ``fipsmanifest/node/v1``; failures come first."""
    components = _component_rows(report)
    manifests = [_without_components(one, number) for number, one in enumerate(report.manifests[:_MAX_MANIFESTS])]
    # The first manifest is written twice.
    taken = len(json.dumps([components, manifests, manifests[:1]], indent=2, ensure_ascii=True))
    kept = _keep(report.results, MAX_BYTES - min(taken, MAX_BYTES // 2))
    return {
        "schema": SCHEMA,
        "verdict": report.verdict,
        "scope": report.scope,
        "host": report.host,
        "manifest": manifests[0] if manifests else {},
        "manifests": manifests,
        "summary": summary(report.results),
        "truncated": bool(kept.left_out),
        "left_out": kept.left_out,
        "checks": [_document(result) for result in kept.results],
        "components": components,
        "warnings": list(report.warnings)[:_MAX_WARNINGS],
    }


def _without_components(manifest: Mapping[str, Any], number: int) -> Dict[str, Any]:
    """Return what a report says of a manifest; its components are said once for all, and many have the same modules."""
    left_out = ("components",) if number < _MAX_DETAILED else ("components", "modules")
    return {name: value for name, value in manifest.items() if name not in left_out}


def error_to_json(code: int, message: str, advice: str, reason: str) -> str:
    """Write the document ``fipsmanifest/error/v1``: why there is no report."""
    document = {"schema": ERROR_SCHEMA, "error": {"code": code, "message": message, "advice": advice, "reason": reason}}
    return json.dumps(document, indent=2, ensure_ascii=True) + "\n"


def _document(result: Result) -> Dict[str, Any]:
    return dict(result._asdict(), evidence=dict(result.evidence))


def _keep(results: Sequence[Result], room: int = MAX_BYTES) -> _Kept:
    """Put failures first and passes last, and leave out what would make a report larger than one may be."""
    ordered = sorted(results, key=lambda result: _ORDER.index(result.status))
    kept = []
    for result in ordered:
        if room < _SMALLEST:
            break
        # As it is written in the document: every line four spaces further in, a comma and a line feed after it.
        written = json.dumps(_document(result), indent=2, ensure_ascii=True)
        size = len(written) + 4 * (written.count("\n") + 1) + 2
        if size <= room:
            room -= size
            kept.append(result)
    return _Kept(kept, len(ordered) - len(kept))


def to_text(report: Report, colour: bool = False) -> str:
    """Write, after the heading, one line a subject, with what to do under each that is not good, in printable ASCII.

    Subjects come in the order of the checks, or failures first where there is no room for all; components come last.
    """
    kept = _keep(report.results)
    lines: List[str] = []
    for manifest in report.manifests[:_MAX_MANIFESTS]:
        if "kubernetes" in manifest:
            shown = {name: visible(str(value)) for name, value in manifest.items() if not isinstance(value, list)}
            lines.append("Manifest: {file} (Kubernetes {kubernetes}, EL{el}, serial {serial})".format(**shown))
            lines.append("Signed: {signed_at} by {fingerprint}".format(**shown))
            lines += ["Digest: sha256:{}".format(manifest["sha256"])] if "sha256" in manifest else []
            lines += [visible(module_line(one), 400) for one in manifest.get("modules") or []]
    for result in kept.results if kept.left_out else report.results:
        asked = result.id == "services" and result.subject != result.id
        lines += _service(result, colour) if asked else _lines(result, colour)
    if kept.left_out:
        lines.append("... and {} more results, which are counted below.".format(kept.left_out))
    lines += _components(report, colour)
    lines += ["Note: {}".format(visible(warning, 400)) for warning in list(report.warnings)[:_MAX_WARNINGS]]
    lines += _run(report.host)
    counts = summary(report.results)
    counted = ", ".join("{} {}".format(count, status) for status, count in counts.items() if count)
    verdict = report.verdict.upper()
    lines.append(
        "Verdict: {} ({}; {})".format(
            _paint(verdict, PASS if report.verdict == VALID else FAIL, colour), report.scope, counted
        )
    )
    return "\n".join(lines) + "\n"


def _run(host: Mapping[str, Any]) -> List[str]:
    """Write when the tool ran, and which one it was."""
    if "started" not in host:
        return []
    digest = ", sha256:{}".format(host["tool_sha256"]) if host.get("tool_sha256") else ""
    told = "Run: {started} to {finished} ({seconds} s), version {tool}".format(**host)
    return [visible(told + digest, 400)]


def _component_rows(report: Report) -> List[Dict[str, Any]]:
    """Return each component's worst status, the checks that it was in, and what the manifests say of it."""
    found: Dict[str, List[Result]] = {}
    for result in report.results:
        if "component" in result.evidence:
            found.setdefault(str(result.evidence["component"]), []).append(result)
    listed = [one for manifest in report.manifests for one in manifest.get("components") or []]
    rows = []
    for component in sorted(found)[:_MAX_COMPONENTS]:
        worst = min((result.status for result in found[component]), key=_ORDER.index)
        checked = sorted({result.id for result in found[component] if result.status != NOT_APPLICABLE})
        said: Dict[str, Any] = next((one for one in listed if one.get("name") == component), {})
        told = {name: said.get(name) for name in ("requirement", "verdict", "reason")}
        rows.append(dict(told, name=component, status=worst, checks=checked, modules=said.get("modules") or []))
    return rows


def _components(report: Report, colour: bool) -> List[str]:
    """Write one line a component, as its first users knew it: the worst of what was found of it decides."""
    lines = []
    for row in _component_rows(report):
        subject = "Component: {} ({})".format(row["name"], ", ".join(row["checks"]) or "nothing to check")
        mark = _MARKS[row["status"]]
        note = _REQUIREMENTS.get(str(row["requirement"]))
        if row["status"] == PASS and note is not None:
            mark = "{}, {}]".format(mark[:-1], note)
        lines.append("{:<{}} {}".format(subject, _WIDTH, _paint(mark, row["status"], colour)))
        if row["verdict"]:
            of_modules = " ({})".format(", ".join(row["modules"])) if row["modules"] else ""
            lines.append("    listed as: {}{}".format(visible(str(row["verdict"])), of_modules))
    return lines


def _service(result: Result, colour: bool) -> List[str]:
    """Write a service as its first users knew it: what it prefers, and all that it supports."""
    subject = "Service: {}".format(visible(result.subject))
    lines = ["{:<{}} {}".format(subject, _WIDTH, _paint(_MARKS[result.status], result.status, colour))]
    if "program" in result.evidence:
        other = " (another program has the port)" if result.evidence.get("another_program") else ""
        lines.append("    Served by: {}{}".format(visible(str(result.evidence["program"])), other))
    supported = result.evidence.get("suites") or {}
    if supported:
        named = [suite for version in supported.values() for suite in version]
        lines.append("    Versions: {}".format(", ".join(supported)))
        lines.append("    Preferred Cipher: {}".format(result.evidence.get("preferred") or "none of the allowed"))
        lines.append("    Supported Ciphers: {}".format(", ".join(sorted(set(named), key=named.index))))
    outside = result.evidence.get("outside")
    if outside:
        lines.append("    not allowed: {}".format(", ".join(outside)))
        return lines + ["    to do: {}".format(visible(result.advice, 400))]
    return lines + _explained(result)


def _lines(result: Result, colour: bool) -> List[str]:
    subject = "{} [{}]".format(visible(result.subject), result.id)
    line = "{:<{}} {}".format(subject, _WIDTH, _paint(_MARKS[result.status], result.status, colour))
    return [line] + _explained(result)


def _explained(result: Result) -> List[str]:
    if result.status not in (FAIL, UNKNOWN):
        told = [_NOTES.get(str(result.evidence.get(name))) for name in ("code", "path", "role", "libraries")]
        return ["    note: {}".format(note) for note in told if note is not None]
    named = (("expected", result.expected), ("found", result.actual), ("to do", result.advice))
    return ["    {}: {}".format(name, visible(value, 400)) for name, value in named if value]


def _paint(text: str, status: str, colour: bool) -> str:
    return "\x1b[{}m{}\x1b[0m".format(_COLOURS[status], text) if colour else text


def to_junit(report: Report) -> str:
    """Write a JUnit test suite: failures as failures, unknowns as errors, what does not apply as skipped."""
    shown, cases, room = [], [], MAX_BYTES
    for result in _keep(report.results).results:
        # Escaped for XML it may be longer than in JSON.
        case = _case(result)
        room -= len(case)
        if room < 0:
            break
        shown.append(result)
        cases.append(case)
    left_out = len(report.results) - len(shown)
    counts = summary(shown)
    if report.verdict != VALID and not counts[FAIL] and not counts[UNKNOWN]:
        # As where every check that was asked for does not apply: no case says that it is no pass.
        shown.append(Result("verdict", "node", UNKNOWN, VALID, report.verdict, evidence={"code": report.verdict}))
        cases.append(_case(shown[-1]))
        counts = summary(shown)
    begin = '<testsuite name="dkp-fips-tool" tests="{}" failures="{}" errors="{}" skipped="{}">'.format(
        len(shown), counts[FAIL], counts[UNKNOWN], counts[NOT_APPLICABLE]
    )
    note = ["  <system-out>{} more results had no room.</system-out>".format(left_out)] if left_out else []
    return "\n".join(['<?xml version="1.0" encoding="UTF-8"?>', begin] + cases + note + ["</testsuite>", ""])


def _case(result: Result) -> str:
    case = '  <testcase classname="{}" name="{}"'.format(_xml(result.id), _xml(result.subject))
    element = {FAIL: "failure", UNKNOWN: "error", NOT_APPLICABLE: "skipped"}.get(result.status)
    if element is None:
        return case + "/>"
    message = "expected {}, found {}. {}".format(result.expected, result.actual, result.advice)
    kind = "" if element == "skipped" else ' type="{}"'.format(_xml(str(result.evidence.get("code") or element)))
    return '{}>\n    <{}{} message="{}"/>\n  </testcase>'.format(case, element, kind, _xml(message))


def _xml(text: str) -> str:
    """Escape text for an attribute: printable ASCII is all legal in XML, but for four characters."""
    text = visible(text, 1000)
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(character, entity)
    return text
