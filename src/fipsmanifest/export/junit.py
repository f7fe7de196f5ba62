"""JUnit XML as CI systems read it: one case for each check, component or program. Pure.

There is no standard; this is the form of the Jenkins JUnit plugin's schema that CI systems have in common. A failure is
what is not as it should be, an error what could not be checked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal
from xml.sax.saxutils import quoteattr

from ..model.acceptance import UNOPENED
from ..model.finding import Verdict
from ..model.manifest import Manifest
from .documents import Inspection, NodeReport, Source, unsupported
from .identity import visible
from .programs import gate_passed, is_met, other_failures, programs
from .settings import Settings


@dataclass(frozen=True, slots=True)
class Case:
    """One test case."""

    group: str
    """The class name: what kind of thing was checked."""
    name: str
    """What was checked."""
    outcome: Literal["pass", "failure", "error", "skipped"] = "pass"
    """``error`` for what could not be checked."""
    type: str = ""
    """A code for the reason."""
    message: str = ""
    """Why it did not pass; of a pass, what a reader should know."""


def render(source: Source, settings: Settings) -> str:  # noqa: ARG001 - the interface of all formats
    """Return the test suite of a document."""
    document = source.document
    if isinstance(document, NodeReport):
        cases = list(_of_node(document))
    elif isinstance(document, Inspection):
        cases = list(_of_inspection(source, document))
    elif isinstance(document, Manifest):
        cases = list(_of_manifest(source, document))
    else:
        raise unsupported(source)
    return write(f"fipsmanifest-{source.kind}", cases, source.date)


def write(name: str, cases: list[Case], timestamp: str | None = None) -> str:
    """Return a test suite as XML. A suite without cases gets one that is an error: nothing was checked."""
    cases = cases or [Case("result", "results", "error", "empty", "Nothing was checked.")]
    counts = {outcome: sum(case.outcome == outcome for case in cases) for outcome in ("failure", "error", "skipped")}
    totals = (
        f'tests="{len(cases)}" failures="{counts["failure"]}" errors="{counts["error"]}" skipped="{counts["skipped"]}"'
    )
    # JUnit's timestamps have no time zone; ours are UTC.
    when = f' timestamp="{timestamp.removesuffix("Z")}"' if timestamp else ""
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f"<testsuites {totals}>",
        f"  <testsuite name={_attribute(name)} {totals}{when}>",
        *map(_element, cases),
        "  </testsuite>",
        "</testsuites>",
        "",
    ]
    return "\n".join(lines)


def _element(case: Case) -> str:
    begin = f"    <testcase classname={_attribute(case.group)} name={_attribute(case.name)}"
    if case.outcome == "pass":
        if not case.message:
            return begin + "/>"
        note = f'<properties><property name="note" value={_attribute(case.message)}/></properties>'
        return f"{begin}>\n      {note}\n    </testcase>"
    kind = f" type={_attribute(case.type)}" if case.type and case.outcome != "skipped" else ""
    return f"{begin}>\n      <{case.outcome}{kind} message={_attribute(case.message)}/>\n    </testcase>"


def _attribute(text: str) -> str:
    """Return a quoted attribute; characters that XML 1.0 forbids are written as visible escapes."""
    return quoteattr(visible(text))


def _of_node(report: NodeReport) -> Iterator[Case]:
    yield _verdict(report)
    for check in report.checks:
        message = f"expected {check.expected}, found {check.actual}. {check.advice}".strip()
        code = str(check.evidence.get("code", ""))
        if check.status == "pass":
            yield Case(check.id, check.subject)
        elif check.status == "fail":
            yield Case(check.id, check.subject, "failure", code or "failure", message)
        elif check.status == "unknown":
            yield Case(check.id, check.subject, "error", code or "error", message)
        else:
            yield Case(check.id, check.subject, "skipped", "", message)


def _verdict(report: NodeReport) -> Case:
    """Return the case of the verdict itself, which does not depend on how many results the report lists."""
    scope = f"scope {report.scope}"
    if report.left_out:
        scope += f"; the report left out {report.left_out} results"
    if report.is_valid:
        return Case("verdict", "node", message=scope)
    if report.verdict in ("invalid", "untrusted"):
        return Case("verdict", "node", "failure", report.verdict, f"The node is {report.verdict}; {scope}.")
    return Case("verdict", "node", "error", report.verdict, f"The report is not complete; {scope}.")


def _of_inspection(source: Source, inspection: Inspection) -> Iterator[Case]:
    gate = inspection.gate
    exceptions = inspection.exceptions
    refused = inspection.refused
    found = False
    for program in programs(source):
        found = True
        name = f"{program.container}: {program.path}" if program.container else program.path
        exception = program.exception(exceptions)
        refusal = refused.get((program.path, program.container))
        if refusal is not None:
            # Also of a proven program: its module may be one that the gate does not accept.
            yield Case("program", name, "failure", program.code, f"{refusal.message} {refusal.advice}".strip())
        elif program.harmless:
            yield Case("program", name)
        elif exception is not None:
            yield Case("program", name, message=f"'{program.verdict}', accepted: {exception.reason}")
        else:
            outcome: Literal["error", "failure"] = "error" if program.verdict is Verdict.UNREADABLE else "failure"
            yield Case("program", name, outcome, program.code, f"'{program.verdict}': {program.sentence}")
    for item in inspection.unopened:
        name = f"{item.container}: {item.path}" if item.container else item.path
        exception = exceptions.get((item.path, item.container, UNOPENED))
        if exception is not None:
            yield Case("container", name, message=f"not opened, accepted: {exception.reason}")
        else:
            yield Case("container", name, "error", "unopened", f"not opened ({item.format}): {item.reason}")
    # A listed program that the gate refuses has a case already.
    for failure in other_failures(source):
        outcome = "failure" if failure.code == 5 else "error"
        yield Case("inspection", failure.message, outcome, str(failure.code), failure.advice)
    if not found:
        yield Case("inspection", "programs", "error", "empty", "No program was found, so nothing is proven.")
    if gate is not None:
        note = f"{gate.proven} proven, {len(gate.accepted)} accepted by exceptions"
        yield Case("gate", gate.require, "pass" if gate_passed(source) else "failure", "gate", note)


def _of_manifest(source: Source, manifest: Manifest) -> Iterator[Case]:
    for component in manifest.components:
        name = f"{component.name} ({component.architecture})"
        if is_met(component):
            note = f"{component.requirement}: '{component.verdict}'"
            yield Case("component", name, message=note + (f", {component.reason}" if component.reason else ""))
        else:
            yield Case(
                "component",
                name,
                "failure",
                component.verdict,
                f"'{component.requirement}' is required, and it is '{component.verdict}'.",
            )
    if not manifest.components:
        yield Case("component", "components", "error", "empty", "The manifest lists no component.")
    if source.signature.state == "verified":
        yield Case("signature", "manifest", message=f"signed by {source.signature.fingerprint}")
    else:
        yield Case("signature", "manifest", "skipped", "", f"The manifest is {source.signature.state}.")
