"""The verdict on a node, written for programs (JSON), for people (text) and for CI (JUnit)."""

import json
from typing import Any, Dict, List, NamedTuple, Sequence

from .result import FAIL, NOT_APPLICABLE, PASS, UNKNOWN, VALID, Result, summary
from .text import visible

SCHEMA = "fipsmanifest/node/v1"

_MARKS = {PASS: "[OK]", FAIL: "[FAIL]", UNKNOWN: "[UNKNOWN]", NOT_APPLICABLE: "[n/a]"}
_COLOURS = {PASS: "32", FAIL: "31", UNKNOWN: "33", NOT_APPLICABLE: "2"}
_WIDTH = 68


class Report(NamedTuple):
    """Everything that one run of the tool has to say."""

    verdict: str
    """``valid``, ``invalid``, ``incomplete`` or ``untrusted``."""
    scope: str
    """``live``, ``at-rest`` or ``partial``."""
    host: Dict[str, Any]
    """What was looked at, and with what."""
    manifests: List[Dict[str, Any]]
    """What each manifest that was given is, in the order given."""
    results: Sequence[Result]
    """What each check found."""
    warnings: Sequence[str]
    """Sentences that a person should read."""


def to_json(report: Report) -> str:
    """Write the document ``fipsmanifest/node/v1``, with a line feed at the end."""
    document = {
        "schema": SCHEMA,
        "verdict": report.verdict,
        "scope": report.scope,
        "host": report.host,
        "manifest": report.manifests[0] if report.manifests else {},
        "manifests": report.manifests,
        "summary": summary(report.results),
        "checks": [dict(result._asdict(), evidence=dict(result.evidence)) for result in report.results],
        "warnings": list(report.warnings),
    }
    return json.dumps(document, indent=2, ensure_ascii=True) + "\n"


def to_text(report: Report, colour: bool = False) -> str:
    """Write one line a subject, with what to do under each that is not good, in printable ASCII."""
    lines = ["Host: {} ====".format(visible(str(report.host.get("name") or report.host.get("root"))))]
    for manifest in report.manifests:
        if "kubernetes" in manifest:
            shown = {name: visible(str(value)) for name, value in manifest.items()}
            lines.append("Manifest: {file} (Kubernetes {kubernetes}, EL{el}, serial {serial})".format(**shown))
            lines.append("Signed: {signed_at} by {fingerprint}".format(**shown))
    for result in report.results:
        lines += _lines(result, colour)
    lines += ["Note: {}".format(visible(warning, 400)) for warning in report.warnings]
    counts = summary(report.results)
    counted = ", ".join("{} {}".format(count, status) for status, count in counts.items() if count)
    verdict = report.verdict.upper()
    lines.append(
        "Verdict: {} ({}; {})".format(
            _paint(verdict, PASS if report.verdict == VALID else FAIL, colour), report.scope, counted
        )
    )
    return "\n".join(lines) + "\n"


def _lines(result: Result, colour: bool) -> List[str]:
    subject = "{} [{}]".format(visible(result.subject), result.id)
    lines = ["{:<{}} {}".format(subject, _WIDTH, _paint(_MARKS[result.status], result.status, colour))]
    if result.status in (FAIL, UNKNOWN):
        for name, value in (("expected", result.expected), ("found", result.actual), ("to do", result.advice)):
            if value:
                lines.append("    {}: {}".format(name, visible(value, 400)))
    return lines


def _paint(text: str, status: str, colour: bool) -> str:
    return "\x1b[{}m{}\x1b[0m".format(_COLOURS[status], text) if colour else text


def to_junit(report: Report) -> str:
    """Write a JUnit test suite: failures as failures, unknowns as errors, what does not apply as skipped."""
    counts = summary(report.results)
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<testsuite name="dkp-fips-tool" tests="{}" failures="{}" errors="{}" skipped="{}">'.format(
            len(report.results), counts[FAIL], counts[UNKNOWN], counts[NOT_APPLICABLE]
        ),
    ]
    for result in report.results:
        lines.append('  <testcase classname="{}" name="{}">'.format(_xml(result.id), _xml(result.subject)))
        element = {FAIL: "failure", UNKNOWN: "error", NOT_APPLICABLE: "skipped"}.get(result.status)
        if element is not None:
            message = "expected {}, found {}. {}".format(result.expected, result.actual, result.advice)
            lines.append('    <{} message="{}"/>'.format(element, _xml(message)))
        lines.append("  </testcase>")
    return "\n".join(lines + ["</testsuite>", ""])


def _xml(text: str) -> str:
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(character, entity)
    return visible(text, 1000)
