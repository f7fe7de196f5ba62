"""The results of an audit: findings and notes, each with advice."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import Literal

from ...errors import NotTrusted, ValidationFailed
from ...model.explanations import FINDINGS
from .. import index, layout
from ..probe import SCRATCH

NOT_TRUSTED = NotTrusted.exit_code
INVALID = ValidationFailed.exit_code

#: What to do about a finding, by its code.
ADVICE = {code: advice for code, (_, advice) in FINDINGS.items()}

PUT_BACK = ADVICE["sidecar"]


@dataclass(frozen=True, slots=True)
class AuditFinding:
    """A defect of a published object."""

    key: str
    """The object it is about."""
    code: str
    """``signature``, ``unsigned``, ``bundle``, ``foreign``, ``missing``, ``lost``, ``pointer``, ``sidecar``,
    ``serial``, ``expired``, ``tool``, ``index`` or ``size``."""
    message: str
    """One sentence."""
    exit_code: int
    """3 for what must not be trusted, 1 for the rest."""
    advice: str
    """What to do about it, in one sentence."""

    @property
    def may_pass(self) -> bool:
        """Whether a publication in progress can cause this between two of its writes."""
        if self.code == "foreign":
            return self.key.startswith(SCRATCH)
        return self.code in {"lost", "missing", "tool", "unsigned"} or not layout.never_changes(self.key)


@dataclass(frozen=True, slots=True)
class AuditNote:
    """A harmless observation: an object that a revoked key signed and that was replaced
    (`docs/adr/0007-replaced-after-a-revocation.md`), a serial that was never published, a withdrawn object, or a
    serial that will expire."""

    key: str
    """The object that it is about."""
    replaced_by: str | None
    """The object that replaces a refused one; None for other notes."""
    message: str
    """One sentence; with the reason that trust.json gives where a key was revoked."""


@dataclass(frozen=True, slots=True)
class Audit:
    """The result of an audit."""

    address: str
    """The bucket."""
    published: index.PublishedContents
    """The manifests that verify, and the tools that are complete and verify."""
    findings: tuple[AuditFinding, ...]
    """Sorted by key; empty if there is no defect."""
    notes: tuple[AuditNote, ...] = ()
    """Sorted by key."""
    newer: tuple[tuple[int, str], ...] = ()
    """Certificates by number, with the day of their move to the historical list, where that is known better today."""

    @property
    def exit_code(self) -> int:
        """0 without findings, 3 if any object must not be trusted, else 1."""
        codes = {finding.exit_code for finding in self.findings}
        return NOT_TRUSTED if NOT_TRUSTED in codes else INVALID if codes else 0

    def certificates(self, day: date) -> list[tuple[index.PublishedCertificate, Literal["active", "historical"]]]:
        """Return the distinct certificates of all manifests with their status on ``day``."""
        newer = dict(self.newer)
        found = {
            replace(item, historical_since=newer.get(item.number, item.historical_since))
            for record in self.published.manifests
            for item in record.certificates
        }
        return [(item, item.status(day)) for item in sorted(found, key=lambda item: (item.standard, item.number))]
