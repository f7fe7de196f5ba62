"""The result of an audit as JUnit XML and as Prometheus metrics. Pure.

An audit is of a moment, so its metrics have the time of the audit, which the caller gives.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime

from ..model.identity import ReleaseId
from ..publish.audit import Audit
from ..publish.audit.finding import ADVICE, NOT_TRUSTED
from ..trust.text import read_time, write_time
from . import junit, metrics
from .junit import Case
from .metrics import Metric, Sample, single


def to_junit(audit: Audit, finished: datetime) -> str:
    """Return a case for each object that verifies, each finding (a failure) and each note."""
    return junit.write("fipsmanifest-audit", list(_cases(audit)), write_time(finished))


def _cases(audit: Audit) -> Iterator[Case]:
    for manifest in audit.published.manifests:
        yield Case("manifest", manifest.key, message=f"signed by {manifest.fingerprint}")
    for tool in audit.published.tools:
        yield Case("tool", tool.version, message=f"signed by {tool.fingerprint}")
    for finding in audit.findings:
        yield Case("finding", finding.key, "failure", finding.code, f"{finding.message} {finding.advice}")
    for note in audit.notes:
        yield Case("note", note.key, message=note.message)


def to_metrics(audit: Audit, finished: datetime) -> str:
    """Return the counts, what the audit ends with, and the times that an alert needs."""
    return metrics.write(_metrics(audit, finished))


def _metrics(audit: Audit, finished: datetime) -> Iterator[Metric]:
    yield single("fipsmanifest_audit_finished_timestamp_seconds", "When the audit ended.", int(finished.timestamp()))
    yield single("fipsmanifest_audit_exit_code", "0: nothing found, 1: findings, 3: not trusted.", audit.exit_code)
    yield Metric(
        "fipsmanifest_audit_verified",
        "Published objects that verify.",
        [({"kind": "manifest"}, len(audit.published.manifests)), ({"kind": "tool"}, len(audit.published.tools))],
    )
    # Every code, also those without findings: an alert needs a series that goes from 0 to 1.
    codes = Counter(finding.code for finding in audit.findings)
    found: list[Sample] = [({"code": code}, codes[code]) for code in sorted({*ADVICE, *codes})]
    yield Metric("fipsmanifest_audit_findings", "Findings by code.", found)
    untrusted = sum(finding.exit_code == NOT_TRUSTED for finding in audit.findings)
    yield single("fipsmanifest_audit_untrusted", "Findings of objects that must not be trusted.", untrusted)
    yield single("fipsmanifest_audit_notes", "Harmless observations.", len(audit.notes))
    ends: dict[ReleaseId, tuple[int, float]] = {}
    for manifest in audit.published.manifests:
        moment = read_time(manifest.expires) if manifest.expires else None
        release = manifest.id.release
        if moment is not None and manifest.serial > ends.get(release, (0, 0.0))[0]:
            ends[release] = manifest.serial, moment.timestamp()
    if ends:
        yield Metric(
            "fipsmanifest_audit_manifest_expires_timestamp_seconds",
            "When the newest serial of a release with an end expires.",
            [({"kubernetes": of.kubernetes, "manifest": of.name}, end) for of, (_, end) in sorted(ends.items())],
        )
