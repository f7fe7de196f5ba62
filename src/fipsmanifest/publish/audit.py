"""Everything that is published, checked again: by anyone who can read the bucket, on any day, while others publish."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal

from ..errors import NotTrusted, ValidationFailed
from ..progress import SILENT, Progress
from . import history, index, layout
from .bucket import Bucket, Entry, NotAnObject, Stored, TooLarge
from .consumer import Consumer, read_manifest, read_tool, tool_signer
from .layout import ManifestKey, ToolKey
from .page import render
from .probe import SCRATCH
from .records import Recorder, in_parallel

NOT_TRUSTED = NotTrusted.exit_code
INVALID = ValidationFailed.exit_code

#: Seconds between two looks at a bucket in which somebody seems to be publishing, and the longest that it is looked at.
_PAUSE = 1.0
_LONGEST = 120.0

_PUT_BACK = "Find out who wrote it, move it away by hand, and publish that release again."
_AGAIN = "Publish any release again: that makes it anew."

_ADVICE = {
    "foreign": "Move it away: only what is published belongs here.",
    "index": "Publish any release again; if that changes nothing, move index.html away by hand before.",
    "missing": "Publish that release again.",
    "pointer": _AGAIN,
    "serial": "Find out which of the two clocks was wrong; the next serial puts it right.",
    "sidecar": _PUT_BACK,
    "signature": "Find out who wrote it; move it away, or publish anew under the next serial or version.",
    "size": "It is none of ours: move it away.",
    "tool": "Publish that tool.",
    "unsigned": "Publish that version of the tool again with its signature, or move it away.",
}


@dataclass(frozen=True, slots=True)
class AuditFinding:
    """One thing that is not as it should be."""

    key: str
    """The object it is about."""
    code: str
    """``signature``, ``unsigned``, ``foreign``, ``missing``, ``pointer``, ``sidecar``, ``serial``, ``tool``, ``index``
    or ``size``."""
    message: str
    """One sentence."""
    exit_code: int
    """3 for what must not be trusted, 1 for the rest."""

    @property
    def advice(self) -> str:
        """What to do about it, in one sentence."""
        return _PUT_BACK if self.code == "pointer" and self.exit_code == NOT_TRUSTED else _ADVICE[self.code]

    @property
    def may_pass(self) -> bool:
        """Whether a publication under way looks like this between two of its writes."""
        if self.code == "foreign":
            return self.key.startswith(SCRATCH)
        return self.code in {"missing", "tool", "unsigned"} or not layout.never_changes(self.key)


@dataclass(frozen=True, slots=True)
class AuditNote:
    """Something that stays as it is and misleads nobody: what a revoked key signed and another object has replaced
    (`docs/adr/0007-replaced-after-a-revocation.md`), or a serial that was never published."""

    key: str
    """The object that it is about."""
    replaced_by: str | None
    """The object that stands in the place of one that is refused; None for anything else."""
    message: str
    """One sentence; with the reason that trust.json gives where a key was revoked."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What was looked at, and what is wrong."""

    address: str
    """The bucket."""
    published: index.Contents
    """The manifests that verify, and the tools that are complete and verify."""
    findings: tuple[AuditFinding, ...]
    """By key; empty where all is well."""
    notes: tuple[AuditNote, ...] = ()
    """By key; what was found and is no failure."""

    @property
    def exit_code(self) -> int:
        """0, 3 or 1, in that order of weight: a consumer's precedence."""
        codes = {finding.exit_code for finding in self.findings}
        return NOT_TRUSTED if NOT_TRUSTED in codes else INVALID if codes else 0

    def certificates(self, day: date) -> list[tuple[index.PublishedCertificate, Literal["active", "historical"]]]:
        """Give the certificates that the manifests name, each once, with their status on a day."""
        found = {item for record in self.published.manifests for item in record.certificates}
        return [(item, item.status(day)) for item in sorted(found, key=lambda item: (item.standard, item.number))]


def audit(bucket: Bucket, consumer: Consumer, progress: Progress = SILENT, *, patience: float = 0.0) -> Audit:
    """Verify every manifest and tool, where it lies, the pointers and the index.

    Where all that is found could be a publication under way, the bucket is looked at again: until nothing is found any
    more, or nothing has changed for ``patience`` seconds, or for two minutes. Memory does not grow with the manifests'
    size, only with their number. An empty bucket is a finding: nothing was checked. Raises `Incomplete` where the
    bucket cannot be read.
    """
    done = _Auditor(bucket, consumer, {}).run()
    began = changed = time.monotonic()
    told = False
    while done.findings and all(finding.may_pass for finding in done.findings):
        now = time.monotonic()
        if now - changed >= patience or now - began >= _LONGEST:
            break
        if not told:
            progress.note("What is found may be a publication under way: looking again until nothing changes any more.")
            told = True
        time.sleep(min(_PAUSE, patience))
        # What never changes and verified a moment ago is not read again.
        known = {record.key: record for record in done.published.manifests}
        again = _Auditor(bucket, consumer, known).run()
        if again != done:
            done, changed = again, time.monotonic()
    return done


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why a published tool is not trusted."""

    error: NotTrusted
    """What the verifier says."""
    revoked: bool
    """Whether it would be trusted, had its key not been revoked."""


class _Auditor:
    """One walk over a bucket."""

    def __init__(self, bucket: Bucket, consumer: Consumer, known: Mapping[str, index.PublishedManifest]) -> None:
        self._bucket = bucket
        self._consumer = consumer
        self._known = known
        self._findings: list[AuditFinding] = []
        self._notes: list[AuditNote] = []
        self._refused_tools: dict[str, _Refusal] = {}
        self._entries: dict[str, Entry] = {}

    def run(self) -> Audit:
        """Look at everything, in the order in which one thing rests on another."""
        self._entries = {entry.key: entry for entry in self._bucket.list(layout.ROOT)}
        parsed = {key: layout.read_key(key) for key in self._entries}
        for key, what in parsed.items():
            if what is None:
                self._found(key, "foreign", "is none of ours, or not named as it should be")
        versions = {what.version for what in parsed.values() if isinstance(what, ToolKey) and what.version}
        tools = [record for _, record in in_parallel(self._tool, sorted(versions)) if record]
        keys = [key for key, what in parsed.items() if isinstance(what, ManifestKey) and what.serial]
        recorder = Recorder(self._get, self._consumer, self._known)
        contents = index.contents(recorder.records(keys), tools)
        self._refused_manifests(recorder.refused, contents)
        self._refused_tool_files(contents)
        if not contents.manifests:
            self._found(layout.ROOT, "missing", "holds no manifest that verifies")
        self._serials(contents, keys)
        self._named_tools(contents)
        self._manifest_pointers(contents, parsed)
        self._tool_pointers(contents)
        self._index(contents)
        findings = sorted(self._findings, key=lambda finding: (finding.key, finding.code))
        notes = sorted(self._notes, key=lambda note: note.key)
        return Audit(self._bucket.describe(), contents, tuple(findings), tuple(notes))

    def _found(self, key: str, code: str, what: str, exit_code: int = INVALID) -> None:
        self._findings.append(AuditFinding(key, code, f"{key} {what}.", exit_code))

    def _tool(self, version: str) -> index.PublishedTool | None:
        files = {suffix: self._get(layout.tool(version, suffix)) for suffix in layout.TOOL_SUFFIXES}
        tool, signature, sidecar = files[""], files[".asc"], files[".sha256"]
        key = layout.tool(version)
        if tool is not None and signature is None:
            self._found(key, "unsigned", "has no signature beside it", NOT_TRUSTED)
        if tool is None or signature is None or sidecar is None:
            return None
        sha256 = hashlib.sha256(tool.data).hexdigest()
        whole = sidecar.data == layout.sidecar(version, sha256)
        if not whole:
            self._found(key + ".sha256", "sidecar", f"is not the SHA-256 file of {key}")
        try:
            signer = read_tool(tool.data, signature.data, self._consumer, version)
        except NotTrusted as error:
            once = self._consumer.once
            revoked = once is not None and tool_signer(tool.data, signature.data, once, version) is not None
            self._refused_tools[version] = _Refusal(error, revoked)
            return None
        return index.PublishedTool(version, sha256, len(tool.data), signer.fingerprint) if whole else None

    def _refused_manifests(self, refused: list[tuple[str, NotTrusted]], contents: index.Contents) -> None:
        newest = index.newest(contents)
        for key, error in refused:
            what = layout.read_key(key)
            after = newest.get(_pointer_of(what)) if isinstance(what, ManifestKey) else None
            replaced = after is not None and isinstance(what, ManifestKey) and after.serial > (what.serial or 0)
            if after is not None and replaced and self._is_revoked_manifest(key):
                self._replaced(key, error, after.key, f"serial {after.serial} has taken its place")
            else:
                self._untrusted(key, error)

    def _refused_tool_files(self, contents: index.Contents) -> None:
        newest = contents.tools[0].version if contents.tools else None
        for version, refusal in self._refused_tools.items():
            key = layout.tool(version)
            replaced = newest is not None and layout.version_order(newest) > layout.version_order(version)
            if newest is not None and replaced and refusal.revoked:
                self._replaced(key, refusal.error, layout.tool(newest), f"version {newest} has taken its place")
            else:
                self._untrusted(key, refusal.error)

    def _untrusted(self, key: str, error: NotTrusted) -> None:
        self._found(key, "signature", f"does not verify: {error.message.rstrip('.')}", NOT_TRUSTED)

    def _replaced(self, key: str, error: NotTrusted, by: str, how: str) -> None:
        self._notes.append(AuditNote(key, by, f"{key} is refused, and {how}: {error.message}"))

    def _is_revoked_manifest(self, key: str) -> bool:
        """Tell whether nothing but the revocation speaks against a manifest that is refused."""
        what, stored = layout.read_key(key), self._read(key)
        if self._consumer.once is None or stored is None or not isinstance(what, ManifestKey):
            return False
        try:
            read_manifest(
                stored.data, self._consumer.once, kubernetes=what.kubernetes, name=what.name, serial=what.serial
            )
        except NotTrusted:
            return False
        return True

    def _get(self, key: str) -> Stored | None:
        """Read an object that the listing names; one that it does not name, or that cannot be had, is a finding."""
        if key in self._entries:
            return self._read(key)
        self._found(key, "missing", "is not there")
        return None

    def _read(self, key: str) -> Stored | None:
        try:
            stored = self._bucket.get(key)
        except NotAnObject as error:
            code = "size" if isinstance(error, TooLarge) else "foreign"
            self._found(key, code, f"cannot be looked at: {error.message.rstrip('.')}")
            return None
        if stored is None:
            self._found(key, "missing", "is not there")
        return stored

    def _serials(self, contents: index.Contents, keys: list[str]) -> None:
        """Look at the order in which serials were signed, and at their numbers; what a higher one followed is past."""
        newest = index.newest(contents)
        for record, what in history.signed_too_early(contents):
            if newest[layout.manifest(record.kubernetes, record.name)] is record:
                self._found(record.key, "serial", what)
            else:
                self._notes.append(AuditNote(record.key, None, f"{record.key} {what}."))
        self._notes += [AuditNote(key, None, f"{key} {what}.") for key, what in history.gaps(keys)]

    def _named_tools(self, contents: index.Contents) -> None:
        there = {(tool.version, tool.sha256) for tool in contents.tools}
        replaced, newest = {note.key for note in self._notes}, index.newest(contents)
        for record in contents.manifests:
            current = newest[layout.manifest(record.kubernetes, record.name)] is record
            # Not by `layout.tool`: whoever signed the manifest may have written any text as the version.
            if not current and f"{layout.ROOT}{record.tool_version}/{layout.TOOL}" in replaced:
                continue
            if (record.tool_version, record.tool_sha256) not in there:
                named = f"{record.tool_version} with SHA-256 {record.tool_sha256}"
                self._found(record.key, "tool", f"names the tool {named}, which is not published")

    def _manifest_pointers(self, contents: index.Contents, parsed: dict[str, ManifestKey | ToolKey | None]) -> None:
        newest = index.newest(contents)
        pointers = {key for key, what in parsed.items() if isinstance(what, ManifestKey) and what.serial is None}
        for key, stored in in_parallel(self._get, newest):
            record = newest[key]
            if stored is None or hashlib.sha256(stored.data).hexdigest() == record.sha256:
                continue
            older = {
                one.sha256
                for one in contents.manifests
                if (one.kubernetes, one.name) == (record.kubernetes, record.name)
            }
            if hashlib.sha256(stored.data).hexdigest() in older:
                self._found(key, "pointer", f"is not that of the newest serial, which is {record.serial}")
            else:
                self._found(key, "pointer", "holds bytes that are no published serial", NOT_TRUSTED)
        for key in sorted(pointers - newest.keys()):
            signed = self._is_a_manifest(key, parsed[key])
            what = "is of no published serial" if signed else "is of no published serial and does not verify"
            self._found(key, "pointer", what, INVALID if signed else NOT_TRUSTED)

    def _is_a_manifest(self, key: str, what: ManifestKey | ToolKey | None) -> bool:
        stored = self._read(key)
        if stored is None or not isinstance(what, ManifestKey):
            return False
        try:
            read_manifest(stored.data, self._consumer, kubernetes=what.kubernetes, name=what.name)
        except NotTrusted:
            return False
        return True

    def _tool_pointers(self, contents: index.Contents) -> None:
        keys = [layout.tool(None, suffix) for suffix in layout.TOOL_SUFFIXES]
        if not contents.tools and not any(key in self._entries for key in keys):
            return
        pointers = {suffix: self._get(key) for suffix, key in zip(layout.TOOL_SUFFIXES, keys, strict=True)}
        tool, signature = pointers[""], pointers[".asc"]
        if tool is not None and not self._is_signed(tool.data, signature):
            self._found(layout.tool(), "signature", "is nothing that was signed", NOT_TRUSTED)
        for newest in contents.tools[:1]:
            for suffix, pointer in pointers.items():
                target = self._get(layout.tool(newest.version, suffix))
                if pointer is not None and target is not None and pointer.data != target.data:
                    what = f"is not that of the newest version, which is {newest.version}"
                    self._found(layout.tool(None, suffix), "pointer", what)

    def _is_signed(self, data: bytes, signature: Stored | None) -> bool:
        """Tell whether a tool verifies with the signature beside it or, in the middle of a move, is a version's own."""
        for key, entry in self._entries.items():
            parsed = layout.read_key(key)
            if isinstance(parsed, ToolKey) and parsed.version and not parsed.suffix and entry.size == len(data):
                stored = self._bucket.get(key)
                if stored is not None and stored.data == data:
                    return True
        try:
            return signature is not None and bool(self._consumer.tool(data, signature.data))
        except NotTrusted:
            return False

    def _index(self, contents: index.Contents) -> None:
        for key, expected in self._expected_index(contents):
            stored = self._read(key)
            if stored is not None and stored.data != expected:
                self._found(key, "index", "does not say what is published, or another version of fipsmanifest wrote it")

    def _expected_index(self, contents: index.Contents) -> Iterator[tuple[str, bytes]]:
        yield layout.INDEX_JSON, index.write(contents)
        yield layout.INDEX_HTML, render(contents)


def _pointer_of(key: ManifestKey) -> str:
    return layout.manifest(key.kubernetes, key.name)
