"""Everything that is published, checked again: by anyone who can read the bucket, on any day, while others publish."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Literal

from ..errors import NotTrusted, ValidationFailed
from ..node.text import read_time, utc_now
from ..node.trust import WARN_DAYS
from ..progress import SILENT, Progress
from ..sign.listing import in_days
from . import history, index, layout
from .bucket import Bucket, Entry, NotAnObject, Stored, TooLarge
from .consumer import Consumer, read_manifest, read_tool, tool_signer
from .layout import ManifestKey, ToolKey
from .page import render
from .probe import SCRATCH
from .records import Recorder, in_parallel
from .snapshot import missed

NOT_TRUSTED = NotTrusted.exit_code
INVALID = ValidationFailed.exit_code

#: Seconds between two looks at a bucket in which somebody seems to be publishing, and the longest that it is looked at.
_PAUSE = 1.0
_LONGEST = 120.0

_PUT_BACK = "Find out who wrote it, move it away by hand, and publish that release again."
_AGAIN = "Publish any release again: that makes it anew."
_LOOK_FIRST = "Look at what is lost first; the publication after that makes it anew."
_RENEW = "Reissue that manifest with --accept-revoked, or release it under the next serial: it names today's tool then."
_COPY = "Find out who removed that serial, and put it back: the pointer may hold its bytes."

_ADVICE = {
    "expired": "Cut the release again: give the definition a later `expires`, the next serial and a reason.",
    "foreign": "Move it away: only what is published belongs here.",
    "index": "Publish any release again; if that changes nothing, move index.html away by hand before.",
    "lost": "Put it back from a copy; if it was removed on purpose, say so with `fipsmanifest publish --withdraw`.",
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
    """``signature``, ``unsigned``, ``foreign``, ``missing``, ``lost``, ``pointer``, ``sidecar``, ``serial``,
    ``expired``, ``tool``, ``index`` or ``size``."""
    message: str
    """One sentence."""
    exit_code: int
    """3 for what must not be trusted, 1 for the rest."""
    advice: str
    """What to do about it, in one sentence."""

    @property
    def may_pass(self) -> bool:
        """Whether a publication under way looks like this between two of its writes."""
        if self.code == "foreign":
            return self.key.startswith(SCRATCH)
        return self.code in {"lost", "missing", "tool", "unsigned"} or not layout.never_changes(self.key)


@dataclass(frozen=True, slots=True)
class AuditNote:
    """Something that stays as it is and misleads nobody: what a revoked key signed and another object has replaced
    (`docs/adr/0007-replaced-after-a-revocation.md`), a serial that was never published, what was
    withdrawn, or a serial that will expire."""

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


def audit(
    bucket: Bucket,
    consumer: Consumer,
    progress: Progress = SILENT,
    *,
    patience: float = 0.0,
    now: datetime | None = None,
) -> Audit:
    """Verify every manifest and tool, where it lies, the pointers and the index.

    Where all that is found could be a publication under way, the bucket is looked at again: until nothing is found any
    more, or nothing has changed for ``patience`` seconds, or for two minutes. Memory does not grow with the manifests'
    size, only with their number. An empty bucket is a finding: nothing was checked. ``now`` is the day for which
    manifests must not have expired. Raises `Incomplete` where the bucket cannot be read.
    """
    day = now or utc_now()
    done = _Auditor(bucket, consumer, day, {}).run()
    began = changed = time.monotonic()
    told = False
    while done.findings and all(finding.may_pass for finding in done.findings):
        looked = time.monotonic()
        if looked - changed >= patience or looked - began >= _LONGEST:
            break
        if not told:
            progress.note("What is found may be a publication under way: looking again until nothing changes any more.")
            told = True
        time.sleep(min(_PAUSE, patience))
        # What never changes and verified a moment ago is not read again.
        known = {record.key: record for record in done.published.manifests}
        again = _Auditor(bucket, consumer, day, known).run()
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

    def __init__(
        self, bucket: Bucket, consumer: Consumer, now: datetime, known: Mapping[str, index.PublishedManifest]
    ) -> None:
        self._bucket = bucket
        self._consumer = consumer
        self._now = now
        self._known = known
        self._findings: list[AuditFinding] = []
        self._notes: list[AuditNote] = []
        self._refused_tools: dict[str, _Refusal] = {}
        self._refused_keys: list[str] = []
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
        self._refused_keys = [key for key, _ in recorder.refused]
        self._refused_manifests(recorder.refused, contents)
        self._refused_tool_files(contents)
        if not contents.manifests:
            self._found(layout.ROOT, "missing", "holds no manifest that verifies")
        self._serials(contents, keys)
        self._expiry(contents)
        self._named_tools(contents)
        self._manifest_pointers(contents, parsed)
        self._tool_pointers(contents)
        self._index(contents)
        findings = sorted(dict.fromkeys(self._findings), key=lambda finding: (finding.key, finding.code))
        notes = sorted(self._notes, key=lambda note: note.key)
        return Audit(self._bucket.describe(), contents, tuple(findings), tuple(notes))

    def _found(self, key: str, code: str, what: str, exit_code: int = INVALID, advice: str | None = None) -> None:
        if advice is None:
            advice = _PUT_BACK if code == "pointer" and exit_code == NOT_TRUSTED else _ADVICE[code]
        self._findings.append(AuditFinding(key, code, f"{key} {what}.", exit_code, advice))

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
        for record in contents.manifests:
            if record.serial > 1 and not record.reason:
                what = f"has serial {record.serial} and gives no reason for it"
                if newest[layout.manifest(record.kubernetes, record.name)] is record:
                    self._found(record.key, "serial", what, advice="Give the next serial a reason.")
                else:
                    self._notes.append(AuditNote(record.key, None, f"{record.key} {what}."))
        self._notes += [AuditNote(key, None, f"{key} {what}.") for key, what in history.gaps(keys)]

    def _expiry(self, contents: index.Contents) -> None:
        """Look at how long the newest serials are valid: what readers get is refused from that day on."""
        for record in index.newest(contents).values():
            expires = read_time(record.expires)
            if expires is not None and expires <= self._now:
                self._found(record.key, "expired", f"expired on {record.expires}", NOT_TRUSTED)
            elif expires is not None and (left := (expires - self._now).days) <= WARN_DAYS:
                message = f"{record.key} expires {in_days(left)}, on {record.expires}."
                self._notes.append(AuditNote(record.key, None, f"{message} {_ADVICE['expired']}"))

    def _named_tools(self, contents: index.Contents) -> None:
        there = {(tool.version, tool.sha256) for tool in contents.tools}
        replaced, newest = {note.key for note in self._notes}, index.newest(contents)
        for record in contents.manifests:
            current = newest[layout.manifest(record.kubernetes, record.name)] is record
            # Not by `layout.tool`: whoever signed the manifest may have written any text as the version.
            if not current and f"{layout.ROOT}{record.tool_version}/{layout.TOOL}" in replaced:
                continue
            refusal = self._refused_tools.get(record.tool_version)
            if refusal is not None and refusal.revoked:
                what = f"names the tool {record.tool_version}, which is refused: {refusal.error.message.rstrip('.')}"
                self._found(record.key, "tool", what, advice=_RENEW)
            elif (record.tool_version, record.tool_sha256) not in there:
                named = f"{record.tool_version} with SHA-256 {record.tool_sha256}"
                self._found(record.key, "tool", f"names the tool {named}, which is not published")

    def _manifest_pointers(self, contents: index.Contents, parsed: dict[str, ManifestKey | ToolKey | None]) -> None:
        newest = index.newest(contents)
        pointers = {key for key, what in parsed.items() if isinstance(what, ManifestKey) and what.serial is None}
        for key, stored in in_parallel(self._get, newest):
            if stored is not None and hashlib.sha256(stored.data).hexdigest() != newest[key].sha256:
                self._manifest_pointer(key, stored.data, newest[key])
        for key in sorted(pointers - newest.keys()):
            signed = self._is_a_manifest(key, parsed[key])
            what = "is of no published serial" if signed else "is of no published serial and does not verify"
            self._found(key, "pointer", what, INVALID if signed else NOT_TRUSTED)

    def _manifest_pointer(self, key: str, data: bytes, newest: index.PublishedManifest) -> None:
        """Say what a pointer is that has not the newest serial's bytes."""
        try:
            signed = read_manifest(data, self._consumer, kubernetes=newest.kubernetes, name=newest.name)
        except NotTrusted as error:
            refused = self._refused_copies(newest, data)
            if refused:
                what = f"leads to serial {max(refused)}, which is refused: {error.message.rstrip('.')}"
                self._found(
                    key, "pointer", what, NOT_TRUSTED, _ADVICE["missing"] if max(refused) < newest.serial else _PUT_BACK
                )
            else:
                self._found(key, "pointer", "holds bytes that are no published serial", NOT_TRUSTED)
            return
        serial = signed.document.serial
        if serial < newest.serial:
            self._found(key, "pointer", f"is not that of the newest serial, which is {newest.serial}")
        elif serial > newest.serial:
            self._found(key, "pointer", f"is of serial {serial}, which is not there", NOT_TRUSTED, _COPY)
        elif self._payload(newest) == signed.payload:
            self._found(key, "pointer", f"is another signature of serial {serial} than the published one")
        else:
            self._found(key, "pointer", f"has another content than the serial {serial} that is published", NOT_TRUSTED)

    def _refused_copies(self, release: index.PublishedManifest, data: bytes) -> list[int]:
        """Give the serials of a release that are refused and have exactly these bytes."""
        found = []
        for key in self._refused_keys:
            what = layout.read_key(key)
            if isinstance(what, ManifestKey) and (what.kubernetes, what.name) == (release.kubernetes, release.name):
                stored = self._read(key)
                if stored is not None and stored.data == data:
                    found.append(what.serial or 0)
        return found

    def _payload(self, record: index.PublishedManifest) -> bytes | None:
        stored = self._read(record.key)
        return self._consumer.manifest(stored.data).payload if stored is not None else None

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
        if tool is not None and (why := self._why_untrusted(tool.data, signature)) is not None:
            self._found(layout.tool(), "signature", why, NOT_TRUSTED)
        for newest in contents.tools[:1]:
            for suffix, pointer in pointers.items():
                target = self._get(layout.tool(newest.version, suffix))
                if pointer is not None and target is not None and pointer.data != target.data:
                    what = f"is not that of the newest version, which is {newest.version}"
                    self._found(layout.tool(None, suffix), "pointer", what)

    def _why_untrusted(self, data: bytes, signature: Stored | None) -> str | None:
        """Say why the tool under the pointer must not be trusted; None where it is a version's own, as in the middle of
        a move, or verifies with the signature beside it."""
        why = "is nothing that was signed"
        for key, entry in self._entries.items():
            parsed = layout.read_key(key)
            if not isinstance(parsed, ToolKey) or not parsed.version or parsed.suffix or entry.size != len(data):
                continue
            stored = self._read(key)
            if stored is not None and stored.data == data:
                if parsed.version not in self._refused_tools:
                    return None
                error = self._refused_tools[parsed.version].error
                why = f"is that of version {parsed.version}, which is refused: {error.message.rstrip('.')}"
        try:
            return None if signature is not None and self._consumer.tool(data, signature.data) else why
        except NotTrusted:
            return why

    def _index(self, contents: index.Contents) -> None:
        """Compare both index files with what is there; what ``index.json`` told of and is not there is lost."""
        told, page = self._read(layout.INDEX_JSON), self._read(layout.INDEX_HTML)
        gone, withdrawn = missed(told, self._entries, self._consumer)
        for key in gone:
            self._found(key, "lost", f"was published, as {layout.INDEX_JSON} says, and is gone")
        self._notes += [AuditNote(key, None, f"{key} was published and withdrawn.") for key in withdrawn]
        contents = replace(contents, withdrawn=withdrawn)
        expected = ((layout.INDEX_JSON, told, index.write(contents)), (layout.INDEX_HTML, page, render(contents)))
        what = "does not say what is published, or another version of fipsmanifest wrote it"
        for key, stored, wanted in expected:
            if stored is not None and stored.data != wanted:
                self._found(key, "index", what, advice=_LOOK_FIRST if gone else None)


def _pointer_of(key: ManifestKey) -> str:
    return layout.manifest(key.kubernetes, key.name)
