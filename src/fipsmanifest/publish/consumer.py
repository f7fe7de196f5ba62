"""The interface between publishing and the consumer's verifier."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from ..errors import NotTrusted, Refused, ValidationFailed
from ..generate.tool import version_of
from ..model.identity import ManifestId, ReleaseId
from ..model.manifest import Manifest, parse
from ..sign import cosign
from ..trust.document import name_of
from ..trust.keys import Trust
from ..trust.text import read_time, write_time
from ..trust.verify import verify_cleartext, verify_detached

_FIND_WRITER = "Find out who wrote it."

#: Total bytes of the signed files whose verification is cached: several times the manifests of one release.
_MEMO_BYTES = 4 * 1024 * 1024


class VerifiedSignature(Protocol):
    """A valid signature, as `fipsmanifest.trust.verify` returns it: its key and time."""

    @property
    def fingerprint(self) -> str:
        """The trusted key's full fingerprint."""

    @property
    def signed_at(self) -> datetime:
        """The signature's own time."""


class VerifiedPayload(VerifiedSignature, Protocol):
    """A signature with the bytes that it covers, as `fipsmanifest.trust.verify` returns it."""

    @property
    def payload(self) -> bytes:
        """The bytes that were signed."""

    @property
    def manifest(self) -> Mapping[str, Any]:
        """The same, read as JSON."""


@dataclass(frozen=True, slots=True)
class Consumer:
    """The checks that a consumer makes; both raise `NotTrusted`, or `Incomplete` if gpgv cannot be run."""

    manifest: Callable[[bytes], VerifiedPayload]
    """Checks a cleartext-signed manifest."""
    tool: Callable[[bytes, bytes], VerifiedSignature]
    """Checks the tool's bytes against its detached signature, in this order."""
    trusts: Callable[[str, str], bool]
    """Returns whether the key with this fingerprint is not revoked in a role (``manifest``, ``tool``)."""
    user_id: Callable[[str], str] = lambda _: ""
    """Returns the user ID that the trust directory has for a fingerprint; empty if it has none."""
    cosign_keys: tuple[cosign.PublicKey, ...] = ()
    """The keys that Sigstore bundles may be signed by; empty if bundles cannot be verified here."""
    once: Consumer | None = None
    """The same checks with revoked keys treated as retired. They distinguish an object that a revoked key signed from
    one that no listed key signed, and are never a reason to trust it. None if no key is revoked."""

    @classmethod
    def trusting(cls, trust: Trust, cosign_keys: tuple[cosign.PublicKey, ...] = ()) -> Consumer:
        """Return the checks of the node tool with the keys of ``trust``, and those of cosign with ``cosign_keys``."""
        good = {(key.fingerprint, key.role) for key in trust.keys if key.status != "revoked"}
        names = {key.fingerprint: key.user_id for key in trust.keys}
        revoked = any(key.status == "revoked" for key in trust.keys)
        return cls(
            _Memo(lambda data: verify_cleartext(data, trust)),
            lambda data, signature: verify_detached(data, signature, trust, "tool"),
            lambda fingerprint, role: (fingerprint, role) in good,
            lambda fingerprint: names.get(fingerprint, ""),
            cosign_keys,
            cls.trusting(as_retired(trust)) if revoked else None,
        )


class _Memo:
    """Verifies signed files, and caches the last results by digest, so that gpgv does not verify the same bytes twice.

    A run reads a manifest before signing, while planning, and after writing. Only successful results are cached, for
    at most `_MEMO_BYTES` of signed files. May be called from several threads.
    """

    def __init__(self, verify: Callable[[bytes], VerifiedPayload]) -> None:
        self._verify = verify
        self._results: dict[bytes, tuple[int, VerifiedPayload]] = {}
        self._lock = threading.Lock()

    def __call__(self, data: bytes) -> VerifiedPayload:
        digest = hashlib.sha256(data).digest()
        with self._lock:
            if digest in self._results:
                return self._results[digest][1]
        signed = self._verify(data)
        with self._lock:
            self._results[digest] = (len(data), signed)
            size = sum(length for length, _ in self._results.values())
            while size > _MEMO_BYTES:
                size -= self._results.pop(next(iter(self._results)))[0]
        return signed


def as_retired(trust: Trust, fingerprint: str | None = None) -> Trust:
    """Return ``trust`` with revoked keys, or only this one, as retired, so that their older signatures are valid."""
    return trust._replace(
        keys=tuple(
            key._replace(status="retired")
            if key.status == "revoked" and fingerprint in {None, key.fingerprint}
            else key
            for key in trust.keys
        )
    )


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A manifest of a bucket whose signature was verified and whose content matches its key."""

    payload: bytes
    """The canonical document."""
    content: Mapping[str, Any]
    """The same, read as JSON."""
    document: Manifest
    """The same, parsed."""
    fingerprint: str
    """The signer's full fingerprint."""
    signed_at: datetime
    """The time of the signature."""
    signer: str = ""
    """The user ID that the trust directory has for the signer's key; empty if it has none."""


def require_unexpired(manifest: Manifest, now: datetime) -> None:
    """Raise `Refused` for a manifest past its ``expires``, which every reader would refuse."""
    expires = read_time(manifest.expires or "")
    if expires is not None and expires <= now:
        raise Refused(
            f"Serial {manifest.serial} of {manifest.kubernetes} for EL{manifest.el} expired on {write_time(expires)}.",
            "Cut the release again: give the definition a later `expires`, the next serial and a reason.",
            reason="expired",
        )


def read_manifest(data: bytes, consumer: Consumer, expected: ManifestId | ReleaseId) -> StoredManifest:
    """Verify a signed manifest, and check that its content matches its key.

    Of a release, as under a pointer, any serial is accepted. Raises `NotTrusted`.
    """
    signed = consumer.manifest(data)
    manifest = parse(dict(signed.manifest))
    serial = expected.serial if isinstance(expected, ManifestId) else manifest.serial
    if (manifest.kubernetes, manifest.serial) != (expected.kubernetes, serial):
        wanted = f"{expected.kubernetes} serial {serial}" if isinstance(expected, ManifestId) else expected.kubernetes
        raise NotTrusted(
            f"The manifest is of {manifest.kubernetes} serial {manifest.serial}, not of {wanted}.",
            _FIND_WRITER,
            reason="wrong-release",
        )
    name, stated = expected.name, name_of(dict(signed.manifest))
    if stated != name:
        raise NotTrusted(f"The manifest is that of {stated}, not of {name}.", _FIND_WRITER, reason="wrong-release")
    if not is_of_el(name, manifest.el):
        raise NotTrusted(f"The manifest is for EL{manifest.el}, not for {name}.", _FIND_WRITER, reason="wrong-release")
    signer = consumer.user_id(signed.fingerprint)
    return StoredManifest(signed.payload, signed.manifest, manifest, signed.fingerprint, signed.signed_at, signer)


def is_of_el(name: str, el: int) -> bool:
    """Return whether a name (``rhel8``, ``rhel-84``) fits a manifest for ``el``: a number in it begins with ``el``."""
    digits = re.findall(r"[0-9]+", name)
    return not digits or any(run.startswith(str(el)) for run in digits)


def read_tool(data: bytes, signature: bytes, consumer: Consumer, version: str) -> VerifiedSignature:
    """Verify a tool, and check that it states the version of its key, which the signature does not cover.

    Return the signer. Raises `NotTrusted`.
    """
    signer = consumer.tool(data, signature)
    stated = version_of(data)
    if stated != version:
        found = "no version at all" if stated is None else f"version {stated}"
        raise NotTrusted(
            f"The tool says that it is {found}, not {version}.",
            "Publish it under its own version, and find out who wrote it.",
        )
    return signer


def tool_signer(data: bytes, signature: bytes, consumer: Consumer, version: str) -> VerifiedSignature | None:
    """Return the signer of a tool; None if the signature is invalid, or the tool has another version."""
    try:
        return read_tool(data, signature, consumer, version)
    except (NotTrusted, ValidationFailed):
        return None
