"""Sign generated manifests and the tool. Published signatures, and those of an earlier run, are used again."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import Conflict, NotTrusted, Refused
from ..generate.tool import ToolFile
from ..model.definition import Definition
from ..model.diff import compare, describe_additions, describe_conflicts
from ..model.identity import ManifestId
from ..publish import layout
from ..publish.action import Action, Kind, Step
from ..publish.bucket import Stored
from ..publish.consumer import Consumer
from ..publish.plan import Plan, make_plan
from ..publish.request import ManifestToPublish, PublishRequest, ToolToPublish
from ..publish.snapshot import Snapshot
from ..sign import cosign
from ..sign.gpg import Passphrase
from ..sign.signer import pick_signing_key, sign_detached, sign_manifest
from ..state import durable
from ..state.workspace import Workspace
from ..trust.document import name_of, parse_json, read_manifest
from ..trust.keys import Trust
from ..trust.text import utc_now, visible
from ..trust.verify import verify_cleartext

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Signer:
    """The signing key and how to use it."""

    trust: Trust
    """The trust directory, with which signatures are verified after signing."""
    fingerprint: str | None = None
    """The key that the user names; None for the only one whose secret key is available."""
    gnupghome: Path | None = None
    """Where gpg keeps secret keys; None for its own default."""
    passphrase: Passphrase | None = None
    """None leaves it to gpg's agent."""
    cosign_keys: tuple[cosign.PublicKey, ...] = ()
    """The public keys of cosign in the trust directory."""
    cosign_key: cosign.SigningKey | None = None
    """The key that makes Sigstore bundles; None to make none."""

    @cached_property
    def consumer(self) -> Consumer:
        """The checks of a consumer with this trust; one for a run, so that it verifies the same bytes once."""
        return Consumer.trusting(self.trust, self.cosign_keys)

    def manifest(self, payload: bytes) -> bytes:
        """Clear-sign a manifest. Raises as `fipsmanifest.sign.signer.sign_manifest`."""
        key = self._key("manifest")
        return sign_manifest(payload, key, trust=self.trust, gnupghome=self.gnupghome, passphrase=self.passphrase)

    def tool(self, data: bytes) -> bytes:
        """Sign the node tool. Raises as `fipsmanifest.sign.signer.sign_detached`."""
        key = self._key("tool")
        return sign_detached(data, key, trust=self.trust, gnupghome=self.gnupghome, passphrase=self.passphrase)

    def bundle(self, data: bytes, path: Path, published: Stored | None = None) -> bytes | None:
        """Return the Sigstore bundle of a signed file, and store it in ``path``; None if there is none.

        The published one is used if it verifies, then the kept one, so that a second run changes nothing.
        """
        kept = path.read_bytes() if path.is_file() else b""
        by = (self.cosign_key.public,) if self.cosign_key is not None else self.cosign_keys
        if published is not None and _is_bundle(published.data, data, self.cosign_keys):
            found = published.data
        elif kept and _is_bundle(kept, data, by):
            found = kept
        elif self.cosign_key is not None:
            found = self.cosign_key.sign(data)
        else:
            # One of an earlier run, of other bytes.
            path.unlink(missing_ok=True)
            return None
        durable.write(path, found)
        return found

    def _key(self, role: str) -> str:
        named = (self.fingerprint or "").replace(" ", "").upper()
        entries = [key for key in self.trust.keys if key.role == role]
        if named and any(named in (key.fingerprint, *key.signing_keys) for key in entries):
            return named
        if named and role == "manifest":
            return named
        return pick_signing_key(self.trust, self.gnupghome, role)


@dataclass(frozen=True, slots=True)
class PreparedManifest:
    """A manifest ready to be published."""

    definition: Definition
    """The manifest's definition."""
    payload: bytes
    """The canonical bytes that the signature covers."""
    signed: bytes
    """The cleartext-signed file."""
    made: str
    """``signed`` just now, ``kept`` from an earlier run, or ``published`` already."""
    note: str | None = None
    """A note for the user, such as what a new serial would add."""
    sigstore: bytes | None = None
    """The Sigstore bundle of the signed file; None if there is none."""

    @property
    def to_publish(self) -> ManifestToPublish:
        """The manifest to publish."""
        return ManifestToPublish(self.definition.id, self.signed, self.sigstore)


def prepare_manifest(
    definition: Definition, payload: bytes, work: Workspace, signer: Signer, published: Snapshot | None = None
) -> PreparedManifest:
    """Return the signed manifest: the published one if it has the same content, else the kept one, else a new one.

    Its Sigstore bundle is found in the same order. Raises `Refused` for the manifest of another definition or serial,
    and `Conflict` if the same serial is published with other files, images or sources.
    """
    _require_manifest_of(definition, payload)
    prepared = _prepared(definition, payload, work, signer, published)
    key = layout.sigstore(prepared.to_publish.key)
    stored = None if published is None else published.objects.get(key)
    return replace(prepared, sigstore=signer.bundle(prepared.signed, work.sigstore(definition), stored))


def _prepared(
    definition: Definition, payload: bytes, work: Workspace, signer: Signer, published: Snapshot | None
) -> PreparedManifest:
    if published is not None:
        found = _published(definition, payload, signer.consumer, published)
        if found is not None:
            # If the published manifest replaces the generated one, the work directory contains it as well.
            durable.write(work.manifest(definition), found.payload)
            durable.write(work.signed(definition), found.signed)
            return found
    kept = _kept(work.signed(definition), payload, signer)
    if kept is not None:
        _log.debug("%s: the signature of an earlier run is used again", definition.manifest_name)
        return PreparedManifest(definition, payload, kept, "kept")
    signed = signer.manifest(payload)
    durable.write(work.signed(definition), signed)
    return PreparedManifest(definition, payload, signed, "signed")


def _require_manifest_of(definition: Definition, payload: bytes) -> None:
    """Raise `Refused` for a payload that is not the definition's: it may be of an older serial, or in a wrong place."""
    stated = read_manifest(payload)
    found = ManifestId(stated["kubernetes"], name_of(stated), stated["serial"])
    if (found, stated["el"]) != (definition.id, definition.el):
        raise Refused(
            f"The manifest to sign is {_describe(found, stated['el'])}, and the definition is of "
            f"{_describe(definition.id, definition.el)}.",
            f"Create it again with 'fipsmanifest generate {definition.kubernetes}'.",
            reason="not-derived",
        )


def _describe(manifest: ManifestId, el: int) -> str:
    return f"{visible(manifest.kubernetes)}/{visible(manifest.name)} for EL{el}, serial {manifest.serial}"


def prepare_tool(tool: ToolFile, work: Workspace, signer: Signer, published: Snapshot | None = None) -> ToolToPublish:
    """Return the tool, signed: with the published signature if it is valid, else the kept one, else a new one."""
    path = work.tool / f"{layout.TOOL}.asc"
    candidates = []
    if published is not None and (stored := published.objects.get(layout.tool(tool.version, ".asc"))) is not None:
        candidates.append(stored.data)
    if path.exists():
        candidates.append(path.read_bytes())
    signature = next((found for found in candidates if _verifies(tool.data, found, signer.consumer)), None)
    if signature is None:
        signature = signer.tool(tool.data)
    durable.write(work.tool / layout.TOOL, tool.data, mode=0o755)
    durable.write(work.tool / f"{layout.TOOL}.sha256", layout.sidecar(tool.version, tool.sha256))
    durable.write(path, signature)
    stored = None if published is None else published.objects.get(layout.sigstore(layout.tool(tool.version)))
    bundle = signer.bundle(tool.data, work.tool / layout.sigstore(layout.TOOL), stored)
    return ToolToPublish(tool.version, tool.data, signature, bundle)


def plan_before_signing(
    manifests: Sequence[tuple[Definition, bytes]], tool: ToolFile, consumer: Consumer, published: Snapshot
) -> Plan:
    """Plan the publication of manifests (definition, canonical payload) that are not signed yet.

    Nothing is signed or written. A manifest that is published with the same content, evidence aside, is planned as it
    was published.
    """
    unsigned: dict[bytes, dict[str, Any]] = {}
    prepared = []
    for definition, payload in manifests:
        found = _published(definition, payload, consumer, published)
        if found is None:
            unsigned[payload] = parse_json(payload)
        prepared.append(found or PreparedManifest(definition, payload, payload, "unsigned"))
    return plan_unsigned([item.to_publish for item in prepared], unsigned, tool, consumer, published)


def plan_unsigned(
    manifests: Sequence[ManifestToPublish],
    unsigned: Mapping[bytes, Mapping[str, Any]],
    tool: ToolFile | None,
    consumer: Consumer,
    published: Snapshot,
) -> Plan:
    """Plan the publication of manifests and a tool of which some are not signed yet; nothing is signed or written.

    ``unsigned`` maps payloads that replace signed files to their JSON documents.
    """
    what = None
    if tool is not None:
        stored = published.objects.get(layout.tool(tool.version, ".asc"))
        signed = stored is not None and _verifies(tool.data, stored.data, consumer)
        what = ToolToPublish(tool.version, tool.data, stored.data if stored and signed else _NO_SIGNATURE)
    plan = make_plan(PublishRequest(tuple(manifests), what), published, _consumer(unsigned, consumer), utc_now())
    return replace(plan, actions=tuple(_before_signing(plan.actions, {*unsigned, _NO_SIGNATURE})))


def _before_signing(actions: Sequence[Action], unsigned: set[bytes]) -> Iterator[Action]:
    """Mark the actions whose bytes are not known yet: objects to sign, and the index that is derived from them."""
    pending = any(action.data in unsigned for action in actions)
    for action in actions:
        if action.data in unsigned:
            new = action.kind is Kind.CREATE and action.step in {Step.TOOL_FILES, Step.MANIFESTS}
            detail = "to be signed" if new else action.detail
            yield replace(action, detail=detail, final=False)
        elif pending and action.step >= Step.INDEX_JSON and action.kind in {Kind.CREATE, Kind.MOVE}:
            yield replace(action, detail="written after signing", final=False)
        else:
            yield action


_NO_SIGNATURE = b"(not signed yet)\n"
_NEVER = datetime.fromtimestamp(0, tz=UTC)


@dataclass(frozen=True, slots=True)
class _Unsigned:
    """Replaces a signature that a dry run does not create."""

    payload: bytes
    manifest: Mapping[str, Any]
    fingerprint: str = ""
    signed_at: datetime = _NEVER


def _consumer(unsigned: Mapping[bytes, Mapping[str, Any]], real: Consumer) -> Consumer:
    """Return the consumer's checks, except for objects that this dry run would have signed."""
    return replace(
        real,
        manifest=lambda data: _Unsigned(data, unsigned[data]) if data in unsigned else real.manifest(data),
        tool=lambda data, signature: _Unsigned(data, {}) if signature == _NO_SIGNATURE else real.tool(data, signature),
    )


def _published(
    definition: Definition, payload: bytes, consumer: Consumer, published: Snapshot
) -> PreparedManifest | None:
    """Return the published manifest of this serial, if it can replace ``payload``; None if there is none.

    Raises `Conflict` if it differs, and `NotTrusted` if it does not verify.
    """
    found = published.manifest(definition.id, consumer)
    if found is None:
        return None
    data, signed = found
    if signed.payload == payload:
        _log.debug("%s: serial %d is published with the same payload", definition.manifest_name, definition.serial)
        return PreparedManifest(definition, payload, data, "published")
    differences = compare(parse_json(signed.payload), parse_json(payload))
    if conflicts := describe_conflicts(differences):
        highest = max(published.serials(definition.id.release), default=definition.serial)
        raise Conflict(
            f"{definition.manifest_name} serial {definition.serial} of {definition.kubernetes} is published in "
            f"{published.address} (signed {signed.signed_at:%Y-%m-%d %H:%M:%S %Z} by {signed.fingerprint}), and it "
            f"differs: {'; '.join(conflicts[:20])}.",
            f"If the change is intended, give the definition a new serial and a reason; the next serial is "
            f"{highest + 1}.",
            reason="published-differs",
        )
    what = ", ".join(describe_additions(differences)) or "a different form"
    return PreparedManifest(
        definition, signed.payload, data, "published", f"published as it was; a new serial would add {what}"
    )


def _kept(path: Path, payload: bytes, signer: Signer) -> bytes | None:
    """Return the signed file of an earlier run, if it covers the same bytes and its key is still active; else None."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    try:
        signed = verify_cleartext(data, signer.trust, fingerprint=signer.fingerprint)
    except NotTrusted:
        return None
    return data if signed.payload == payload and signed.signature.trusted.status == "active" else None


def _is_bundle(bundle: bytes, data: bytes, keys: Sequence[cosign.PublicKey]) -> bool:
    try:
        cosign.verify(bundle, hashlib.sha256(data).digest(), keys)
    except NotTrusted:
        return False
    return True


def _verifies(data: bytes, signature: bytes, consumer: Consumer) -> bool:
    try:
        consumer.tool(data, signature)
    except NotTrusted:
        return False
    return True
