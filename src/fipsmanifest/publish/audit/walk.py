"""One pass over a bucket, with its findings and notes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ...errors import NotTrusted
from ...model.identity import ManifestId, ReleaseId
from .. import layout
from ..bucket import Bucket, Entry, NotAnObject, Stored, TooLarge
from ..consumer import Consumer, read_manifest
from .finding import ADVICE, INVALID, NOT_TRUSTED, PUT_BACK, AuditFinding, AuditNote


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a published tool is not trusted."""

    error: NotTrusted
    """The verifier's error."""
    revoked: bool
    """Whether it would be trusted if its key were not revoked."""


class AuditWalk:
    """One pass over a bucket: its listing, and the findings so far."""

    def __init__(self, bucket: Bucket, consumer: Consumer, now: datetime) -> None:
        self._bucket = bucket
        self.consumer = consumer
        self.now = now
        self.entries: dict[str, Entry] = {entry.key: entry for entry in bucket.list(layout.ROOT)}
        self.parsed = {key: layout.read_key(key) for key in self.entries}
        self.findings: list[AuditFinding] = []
        self.notes: list[AuditNote] = []
        self.refused_tools: dict[str, Refusal] = {}
        self.refused_keys: list[str] = []

    def found(self, key: str, code: str, what: str, exit_code: int = INVALID, advice: str | None = None) -> None:
        """Add a finding; ``what`` follows the key in the message, and the default advice depends on the code."""
        if advice is None:
            advice = PUT_BACK if code == "pointer" and exit_code == NOT_TRUSTED else ADVICE[code]
        self.findings.append(AuditFinding(key, code, f"{key} {what}.", exit_code, advice))

    def note(self, key: str, message: str, replaced_by: str | None = None) -> None:
        """Add a note."""
        self.notes.append(AuditNote(key, replaced_by, message))

    def untrusted(self, key: str, error: NotTrusted) -> None:
        """Add the finding that an object does not verify."""
        self.found(key, "signature", f"does not verify: {error.message.rstrip('.')}", NOT_TRUSTED)

    def replaced(self, key: str, error: NotTrusted, by: str, how: str) -> None:
        """Add the note that an object is refused, and that another one replaces it."""
        self.note(key, f"{key} is refused, and {how}: {error.message}", by)

    def get(self, key: str) -> Stored | None:
        """Read a listed object; one that is not listed, or cannot be read, is a finding."""
        if key in self.entries:
            return self.read(key)
        self.found(key, "missing", "does not exist")
        return None

    def read(self, key: str) -> Stored | None:
        """Read an object; one that was removed since, or cannot be read, is a finding."""
        try:
            stored = self._bucket.get(key)
        except NotAnObject as error:
            code = "size" if isinstance(error, TooLarge) else "foreign"
            self.found(key, code, f"cannot be read: {error.message.rstrip('.')}")
            return None
        if stored is None:
            self.found(key, "missing", "does not exist")
        return stored

    def verifies(self, key: str, consumer: Consumer | None) -> bool:
        """Return whether a consumer accepts the manifest under ``key``.

        With `Consumer.once`, return whether it would be accepted if its key were not revoked.
        """
        what, stored = layout.read_key(key), self.read(key)
        if consumer is None or stored is None or not isinstance(what, ManifestId | ReleaseId):
            return False
        try:
            read_manifest(stored.data, consumer, what)
        except NotTrusted:
            return False
        return True
