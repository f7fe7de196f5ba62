"""SARIF 2.1.0 (OASIS): a result for each program or check that is not as it should be. Pure.

What is as it should be has no result, since most readers report every result as an alert. An empty log is therefore
not a pass by itself: ``invocations[].executionSuccessful`` is false if something could not be checked, or nothing was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

from ..inspect.descriptions import SENTENCES, general_sentence
from ..model.acceptance import UNOPENED
from ..model.manifest import Manifest
from .documents import AppliedException, Check, Failure, Inspection, NodeReport, Source
from .identity import URN, identifier, visible
from .programs import Program, gate_passed, is_met, other_failures, programs
from .settings import Settings
from .text import write_json

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def render(source: Source, settings: Settings) -> str:
    """Return the log of a manifest, an inspection or a node report."""
    document = source.document
    results = list(_of_node(document) if isinstance(document, NodeReport) else _of_programs(source))
    rules = sorted({result["ruleId"] for result in results})
    indexes = {rule: index for index, rule in enumerate(rules)}
    for result in results:
        result["ruleIndex"] = indexes[result["ruleId"]]
    invocation: dict[str, Any] = {"executionSuccessful": True}
    notifications = list(_notifications(source))
    if notifications:
        invocation = {"executionSuccessful": False, "toolExecutionNotifications": notifications}
    if source.date is not None:
        invocation["endTimeUtc"] = source.date
    run = {
        "tool": {
            "driver": {
                "name": "fipsmanifest",
                "semanticVersion": settings.tool_version,
                "rules": [_rule(rule) for rule in rules],
            }
        },
        "automationDetails": {"id": f"fipsmanifest/{source.kind}/", "guid": identifier(source, "sarif")},
        "invocations": [invocation],
        "results": results,
        "columnKind": "unicodeCodePoints",
        "properties": {
            "documentSha256": source.sha256,
            "signature": source.signature.state,
            "signedBy": source.signature.fingerprint,
        },
    }
    return write_json({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, depth=4)


def _rule(rule: str) -> dict[str, Any]:
    check = rule.removeprefix("check-")
    if check != rule:
        text = f"The node check '{check}' must pass."
    else:
        known = rule in SENTENCES
        text = general_sentence(rule) if known else "A program must be proven, or have no cryptography."
    return {"id": rule, "shortDescription": {"text": text}, "fullDescription": {"text": text}}


def _of_programs(source: Source) -> Iterator[dict[str, Any]]:
    document = source.document
    accepted: set[str] = set()
    refused: dict[tuple[str, str | None], Failure] = {}
    exceptions: dict[tuple[str, str | None, str], AppliedException] = {}
    if isinstance(document, Inspection):
        refused, exceptions = document.refused, document.exceptions
    elif isinstance(document, Manifest):
        accepted = {item.name for item in document.components}
        accepted -= {item.name for item in document.components if item.requirement == "proven" or not is_met(item)}
    for program in programs(source):
        key = program.path, program.container
        if key in refused:
            # Also a proven program: its module may be one that the gate does not accept.
            yield _program(program, None, known=False, message=refused[key].message)
        elif not program.harmless:
            exception = program.exception(exceptions)
            reason = exception.reason if exception is not None else None
            yield _program(program, reason, known=program.component in accepted)


def _program(program: Program, excepted: str | None, *, known: bool, message: str = "") -> dict[str, Any]:
    text = message or f"'{program.path}' is '{program.verdict}': {program.sentence}"
    result: dict[str, Any] = {
        "ruleId": _token(program.code),
        "kind": "fail",
        "level": "note" if known else "error",
        "message": {"text": visible(text)},
        "locations": [_location(program.path, program.container, program.region)],
        "partialFingerprints": {"fipsmanifest/v1": _fingerprint(program.container, program.path, program.code)},
        "properties": {"verdict": str(program.verdict), "sha256": program.sha256, "component": program.component},
    }
    if excepted is not None:
        result["suppressions"] = [{"kind": "external", "status": "accepted", "justification": visible(excepted) or "-"}]
    return result


def _of_node(report: NodeReport) -> Iterator[dict[str, Any]]:
    for check in report.checks:
        if check.status in ("fail", "unknown"):
            yield _check(check)


def _check(check: Check) -> dict[str, Any]:
    found = [f"{check.subject}: {check.status}"]
    found += [f"expected {check.expected}"] if check.expected else []
    found += [f"found {check.actual}"] if check.actual else []
    text = ", ".join(found) + "." + (f" {check.advice}" if check.advice else "")
    code = str(check.evidence.get("code", ""))
    return {
        "ruleId": _token(f"check-{check.id}"),
        # Unknown is never a pass: a reviewer has to decide (SARIF, 3.27.9).
        "kind": "fail" if check.status == "fail" else "review",
        "level": "error" if check.status == "fail" else "none",
        "message": {"text": visible(text)},
        "locations": [_location(check.subject, None, None)],
        "partialFingerprints": {"fipsmanifest/v1": _fingerprint(check.id, check.subject, check.status, code)},
        "properties": {"code": code, "status": check.status},
    }


def _notifications(source: Source) -> Iterator[dict[str, Any]]:
    """Yield what could not be checked."""
    document = source.document
    if isinstance(document, NodeReport):
        if document.hides_failures or not document.checks:
            yield _notification("The report left out results that are failures or unknown, or has no results.")
        elif document.verdict == "valid" and not document.is_valid:
            yield _notification("The report contradicts its verdict 'valid', or has no result that passed.")
        if document.verdict in ("incomplete", "untrusted"):
            yield _notification(f"The node's verdict is '{document.verdict}'.")
        return
    if isinstance(document, Inspection):
        exceptions = document.exceptions
        for item in document.unopened:
            where = f"{item.path} in {item.container}" if item.container else item.path
            if (item.path, item.container, UNOPENED) not in exceptions:
                yield _notification(f"{where} was not opened ({item.format}): {item.reason}")
        for failure in other_failures(source):
            yield _notification(f"{failure.message} {failure.advice}".strip())
        if document.gate is not None and not document.errors and not gate_passed(source):
            yield _notification("The gate did not pass, or the inspection contradicts that it did.")
    if next(programs(source), None) is None:
        yield _notification("No program was found, so nothing is proven.")


def _notification(text: str) -> dict[str, Any]:
    return {"level": "error", "message": {"text": visible(text)}, "descriptor": {"id": f"{URN}:not-checked"}}


def _location(path: str, container: str | None, region: tuple[int, int] | None) -> dict[str, Any]:
    """Return where something is: a file of the machine or repository, or a member of one."""
    # What contains a member is named as `FILE: MEMBER` (`inspect.nested`).
    outer = path if container is None else container.partition(": ")[0]
    physical: dict[str, Any] = {"artifactLocation": {"uri": _uri(outer)}}
    if region is not None and container is None:
        physical["region"] = {"byteOffset": region[0], "byteLength": region[1]}
    location: dict[str, Any] = {"physicalLocation": physical}
    if container is not None:
        location["logicalLocations"] = [{"fullyQualifiedName": visible(f"{container}: {path}"), "kind": "member"}]
    return location


def _uri(path: str) -> str:
    """Return a path as a URI reference (RFC 3986): relative paths stay relative to the repository."""
    encoded = quote(path.encode("utf-8", "backslashreplace"), safe="/-._~")
    if encoded.startswith("/"):
        return "file:///" + encoded.lstrip("/")
    return encoded.removeprefix("./") or "."


def _token(text: str) -> str:
    return quote(text.encode("utf-8", "backslashreplace"), safe="-._~")


def _fingerprint(*parts: str | None) -> str:
    return _digest([part or "" for part in parts])


def _digest(parts: Sequence[str]) -> str:
    joined = "\0".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(joined.encode("utf-8", "backslashreplace")).hexdigest()
