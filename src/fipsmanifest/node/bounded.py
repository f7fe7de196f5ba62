"""A node report of bounded size, for a place that holds little, such as a container's termination message.

A kubelet keeps 4,096 bytes of a termination message (Kubernetes, "Determine the Reason for Pod Failure").
"""

import json
from typing import Any, Dict, List, Mapping, Sequence

from ..trust.text import visible
from .report import SCHEMA, Report
from .result import FAIL, UNKNOWN, Result, summary

_IDENTITY = ("file", "fingerprint", "signed_at", "kubernetes", "el", "serial", "sha256")
_DIGEST = ("file", "sha256")
_MAX_WARNINGS = 5
_SHORT = 80  # characters of a text where not all results fit whole
_SHORT_EVIDENCE = ("code", "component", "manifest")
# What a report needs of the host, and the least that its schema accepts.
_LEAST_HOST: Mapping[str, Any] = {
    "name": None,
    "root": "",
    "os": None,
    "os_version": None,
    "kernel": None,
    "architecture": None,
    "tool": "",
    "python": "",
}


def bounded_json(report: Report, limit: int) -> str:
    """Return the report as one line of JSON, line feed included, of at most ``limit`` bytes.

    ``limit`` is `options.SMALLEST_REPORT` or more. The report has the schema of all reports.

    Failures come first, then unknowns. Results that pass or do not apply, and those without room, are only counted:
    ``left_out`` has their number, ``left_out_by_check`` the number for each check.
    """
    document = _frame(report, limit)
    wanted = [one for status in (FAIL, UNKNOWN) for one in report.results if one.status == status]
    whole = [_document(one) for one in wanted]
    room = limit - len(_write(document)) - 1
    forms = whole if sum(len(_write(form)) + 1 for form in whole) <= room else [_shorten(form) for form in whole]
    for result, form in zip(wanted, forms):  # noqa: B905 - Python 3.6 has no strict=
        size = len(_write(form)) + 1
        if size <= room:
            room -= size
            document["checks"].append(form)
            _count_as_shown(document, result)
    for warning in report.warnings[:_MAX_WARNINGS]:
        size = len(_write(visible(warning))) + 1
        if size <= room:
            room -= size
            document["warnings"].append(visible(warning))
    document["truncated"] = document["left_out"] > 0
    return _write(document) + "\n"


def _frame(report: Report, limit: int) -> Dict[str, Any]:
    """Return a report without results, as detailed as the limit allows; all results count as left out."""
    manifests = [_only(one, _IDENTITY) for one in report.manifests]
    digests = [_only(one, _DIGEST) for one in report.manifests]
    host = {name: visible(value, _SHORT) if isinstance(value, str) else value for name, value in report.host.items()}
    least = dict(_LEAST_HOST, role=host["role"], hash=host["hash"])
    by_check = _count_by_check(report.results)
    frames: List[Dict[str, Any]] = [
        {"host": host, "manifest": manifests[0] if manifests else {}, "manifests": manifests},
        {"host": host, "manifest": {}, "manifests": digests},
        {"host": least, "manifest": {}, "manifests": digests},
        {"host": least, "manifest": {}, "manifests": []},
    ]
    written = []
    for frame in frames:
        frame.update(
            schema=SCHEMA,
            verdict=report.verdict,
            scope=report.scope,
            summary=summary(report.results),
            truncated=False,  # longer than "true"
            left_out=len(report.results),
            left_out_by_check=by_check,
            checks=[],
            warnings=[],
        )
        written.append(frame)
    del written[-1]["left_out_by_check"]
    return next((frame for frame in written if len(_write(frame)) < limit), written[-1])


def _count_by_check(results: Sequence[Result]) -> Dict[str, int]:
    found: List[str] = [result.id for result in results]
    return {name: found.count(name) for name in sorted(set(found))}


def _count_as_shown(document: Dict[str, Any], result: Result) -> None:
    document["left_out"] -= 1
    by_check = document.get("left_out_by_check")
    if by_check is not None:
        by_check[result.id] -= 1
        if not by_check[result.id]:
            del by_check[result.id]


def _document(result: Result) -> Dict[str, Any]:
    return dict(result._asdict(), evidence=dict(result.evidence))


def _shorten(form: Mapping[str, Any]) -> Dict[str, Any]:
    texts = {name: visible(form[name], _SHORT) for name in ("subject", "expected", "actual", "advice") if form[name]}
    return dict(form, evidence=_only(form["evidence"], _SHORT_EVIDENCE), **texts)


def _only(document: Mapping[str, Any], names: Sequence[str]) -> Dict[str, Any]:
    return {name: document[name] for name in names if name in document}


def _write(document: Any) -> str:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=True)
