"""The one verifier of signatures, which the node tool, the consumer's command, the signer and the publisher use.

gpg and its wrappers report "good" for some messages that are not what they seem. The numbered steps exclude these:
``tests/trust/attacks.py`` has such messages, and ``tests/trust/test_verifier_steps.py`` shows that each step is needed.
"""

from datetime import datetime, timedelta
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from ..errors import NotTrusted
from . import cleartext, document, gpgv, openpgp, statuslines
from .armor import dearmor
from .keys import OWN_ROLES, Trust, TrustedKey
from .text import utc_now, visible, write_time

_MAX_AHEAD = timedelta(hours=24)


class Signature(NamedTuple):
    """A valid signature by a key that is trusted for its role."""

    fingerprint: str
    """The trusted key's fingerprint, as in trust.json."""
    signing_key: str
    """Fingerprint of the key that signed: the trusted key, or a subkey."""
    primary: str
    """Fingerprint of its primary key."""
    signed_at: datetime
    """The time of the signature, by the signer's clock."""
    hash_name: str
    """``SHA256``, ``SHA384`` or ``SHA512``."""
    trusted: TrustedKey
    """The entry of trust.json that allows it."""
    warnings: Tuple[str, ...]
    """Sentences for people."""


class VerifiedManifest(NamedTuple):
    """A manifest with a valid signature."""

    payload: bytes
    """The bytes that were signed."""
    manifest: Dict[str, Any]
    """The manifest in these bytes."""
    signature: Signature
    """Its signature."""
    warnings: Tuple[str, ...]
    """Sentences for people, about the signature and the document."""

    @property
    def fingerprint(self) -> str:
        """The trusted key's fingerprint, as in trust.json."""
        return self.signature.fingerprint

    @property
    def signed_at(self) -> datetime:
        """The time of the signature, by the signer's clock."""
        return self.signature.signed_at


def verify_cleartext(
    data: bytes,
    trust: Trust,
    role: str = "manifest",
    now: Optional[datetime] = None,
    fingerprint: Optional[str] = None,
    bindings: Optional[document.Bindings] = None,
) -> VerifiedManifest:
    """Verify a cleartext-signed manifest.

    ``fingerprint`` restricts trust to one key (the signing key or its primary key). ``bindings`` is what the manifest
    must be for; without it, only the document's type and format are checked, and the caller must call
    `document.check_bindings`. Raises `NotTrusted`, and `Incomplete` if gpgv cannot decide.
    """
    # (1) The bytes were read once, and no path is opened again. `cleartext.parse` limits their size.
    # (2) Read them strictly, without gpg.
    parsed = cleartext.parse(data)

    # (3) Check the same bytes with gpgv, with a new keyring of the trusted certificates.
    outcome = gpgv.run(trust.keyring(), data)

    # (4) Require exactly one good signature, of the right class and strength, by a key that may sign in this role.
    valid = statuslines.judge(
        outcome.exit_code, statuslines.parse_status(outcome.status), 0x01, plaintext=outcome.has_output
    )
    signature = _admit(valid, trust, role, now or utc_now(), fingerprint)

    # (5) Require that gpgv and the strict reader read the same text. (An old gpgv does not return the text.)
    if outcome.has_output and outcome.output != parsed.payload:
        raise NotTrusted(
            "gpgv and this program read different texts from the signed file.",
            "Do not use the file.",
            reason="bad-signature",
        )

    # (6) Only now interpret the text: first its schema, then its format, then what it is bound to.
    manifest = document.read_manifest(parsed.payload)
    warnings = list(signature.warnings)
    if bindings is not None:
        warnings += document.check_bindings(manifest, *bindings, now=now)
    return VerifiedManifest(parsed.payload, manifest, signature, tuple(warnings))


def verify_detached(
    data: bytes,
    signature: bytes,
    trust: Trust,
    role: str,
    now: Optional[datetime] = None,
    fingerprint: Optional[str] = None,
) -> Signature:
    """Verify a detached signature of this project over ``data``: the node tool, or a table of certificates.

    ``signature`` is armored or binary, and must have exactly one signature of class 00 (RFC 9580, section 5.2.1).
    Raises as `verify_cleartext` does.
    """
    binary = dearmor(signature, b"SIGNATURE") if signature[:5] == b"-----" else signature
    packet = openpgp.read_signature(binary)
    outcome = gpgv.run(trust.keyring(), data, packet.binary)
    valid = statuslines.judge(outcome.exit_code, statuslines.parse_status(outcome.status), 0x00, plaintext=False)
    return _admit(valid, trust, role, now or utc_now(), fingerprint)


def verify_upstream(
    data: bytes, signature: bytes, trust: Trust, now: Optional[datetime] = None
) -> Tuple[Signature, ...]:
    """Verify a detached signature of an upstream over ``data`` (RPM header, repomd.xml); return the valid signatures.

    ``signature`` may have several, for example while a key is replaced, in any armor that gpg accepts. Each is judged
    separately, and those by keys that are not trusted are ignored. Version 3, of older rpm, is accepted, and so are
    signatures of a certificate that expired later: upstream decides on its lifetime, not trust.json.

    Raises `NotTrusted` if none is valid, or if one by a trusted key does not match the data, and `Incomplete` if gpgv
    cannot decide.
    """
    found: List[Signature] = []
    refusals: List[NotTrusted] = []
    for packet in openpgp.read_signatures(signature):
        outcome = gpgv.run(trust.keyring(), data, packet.binary)
        status = statuslines.parse_status(outcome.status)
        try:
            valid = statuslines.judge(outcome.exit_code, status, 0x00, plaintext=False, upstream=True)
            found.append(_admit(valid, trust, "upstream", now or utc_now(), None))
        except NotTrusted as error:
            if any(line.keyword == "BADSIG" for line in status):
                raise
            # An error of a known key explains more than that another key is unknown.
            refusals.insert(len(refusals) if any(line.keyword == "NO_PUBKEY" for line in status) else 0, error)
    if not found:
        raise refusals[0]
    return tuple(found)


def _admit(
    valid: statuslines.ValidSignature, trust: Trust, role: str, now: datetime, fingerprint: Optional[str]
) -> Signature:
    """Check the key's trust and the signature's time: the second part of step 4, for all kinds of signatures."""
    trusted = trust.admit(valid.key, valid.primary, role, valid.signed_at)
    if fingerprint is not None and _normalize(fingerprint) not in (valid.key, valid.primary):
        raise NotTrusted(
            "The signature is by key {}, not by {}.".format(trusted.fingerprint, visible(fingerprint)),
            "Get a file that is signed by that key.",
            reason="unknown-key",
        )
    certificate = trust.certificate(valid.key)
    bound = None if certificate is None or role not in OWN_ROLES else certificate.key(valid.key).bound
    if bound is not None and bound > now + _MAX_AHEAD:
        raise NotTrusted(
            "The key {} is part of its certificate from {} on, more than a day ahead.".format(
                valid.key, write_time(bound)
            ),
            "Set this machine's clock; if it is right, do not use the file.",
            reason="future-signature",
        )
    warnings = trust.warnings(now, (role,))
    if valid.signed_at > now + _MAX_AHEAD:
        raise NotTrusted(
            "The signature is dated {}, more than a day ahead.".format(write_time(valid.signed_at)),
            "Set this machine's clock; if it is right, do not use the file.",
            reason="future-signature",
        )
    if valid.key_expired is not None:
        warnings.append(
            "The signer's certificate expired on {}, after it had signed.".format(write_time(valid.key_expired))
        )
    if valid.signed_at > now:
        warnings.append("The signature is dated {}, ahead of this machine's clock.".format(write_time(valid.signed_at)))
    return Signature(
        trusted.fingerprint,
        valid.key,
        valid.primary,
        valid.signed_at,
        valid.hash_name,
        trusted,
        tuple(warnings),
    )


def _normalize(fingerprint: str) -> str:
    return fingerprint.replace(" ", "").upper()
