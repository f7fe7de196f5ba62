"""The one verifier of signatures: the node tool, the consumer's command, the signer and the publisher use it.

gpg and its wrappers say "good" of messages that are not what they seem; the numbered steps are what it takes to be
sure. ``tests/trust/attacks.py`` holds the messages, and ``tests/trust/test_verifier_steps.py`` shows that each step is
needed.
"""

from datetime import datetime, timedelta
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from ..errors import NotTrusted
from . import cleartext, document, gpgv, openpgp
from .armor import dearmor
from .store import TOOL_ROLES, Trust, TrustedKey
from .text import utc_now, visible, write_time

_MAX_AHEAD = timedelta(hours=24)


class Signature(NamedTuple):
    """A signature that holds, by a key that is trusted for it."""

    fingerprint: str
    """The trusted key's fingerprint, as pinned in trust.json."""
    signing_key: str
    """Fingerprint of the key that signed: the same, or a subkey's."""
    primary: str
    """Fingerprint of its primary key."""
    signed_at: datetime
    """When it was signed, by the signer's clock."""
    hash_name: str
    """``SHA256``, ``SHA384`` or ``SHA512``."""
    trusted: TrustedKey
    """The entry of trust.json that admits it."""
    warnings: Tuple[str, ...]
    """Sentences that a person should read."""


class Signed(NamedTuple):
    """A manifest whose signature holds."""

    payload: bytes
    """The bytes that were signed."""
    manifest: Dict[str, Any]
    """The same, read."""
    signature: Signature
    """Who signed it, and when."""
    warnings: Tuple[str, ...]
    """Sentences that a person should read, the signature's and the document's."""

    @property
    def fingerprint(self) -> str:
        """The trusted key's fingerprint, as pinned in trust.json."""
        return self.signature.fingerprint

    @property
    def signed_at(self) -> datetime:
        """When it was signed, by the signer's clock."""
        return self.signature.signed_at


def verify_cleartext(
    data: bytes,
    trust: Trust,
    role: str = "manifest",
    now: Optional[datetime] = None,
    fingerprint: Optional[str] = None,
    bindings: Optional[document.Bindings] = None,
) -> Signed:
    """Verify a cleartext-signed manifest.

    ``fingerprint`` narrows trust to one pinned key (its primary key or the signing key), ``bindings`` says what the
    manifest must be for; without it nothing but the document's kind and form is looked at, and the caller asks
    `document.check_bindings`. Raises `NotTrusted`, and `Incomplete` where gpgv cannot tell.
    """
    # (1) The bytes are in hand, read once; no path is opened again. `cleartext.parse` holds their size to its cap.
    # (2) Read them strictly, without gpg.
    parsed = cleartext.parse(data)

    # (3) Have gpgv check those bytes, with a keyring made afresh from the pinned certificates.
    outcome = gpgv.run(trust.keyring(), data)

    # (4) Exactly one good signature, of the right kind, strong enough, by a key that may sign in this role.
    valid = gpgv.judge(outcome.exit_code, gpgv.parse_status(outcome.status), 0x01, plaintext=outcome.has_output)
    signature = _admit(valid, trust, role, now or utc_now(), fingerprint)

    # (5) What gpgv says was signed is what the strict reading says. (An old gpgv cannot say.)
    if outcome.has_output and outcome.output != parsed.payload:
        raise NotTrusted("gpgv and this program read two different texts in the signed file.", "Do not use the file.")

    # (6) Only now is the text looked at: its kind first, then its form, then what it is bound to.
    manifest = document.read_manifest(parsed.payload)
    warnings = list(signature.warnings)
    if bindings is not None:
        warnings += document.check_bindings(manifest, *bindings, now=now)
    return Signed(parsed.payload, manifest, signature, tuple(warnings))


def verify_detached(
    data: bytes,
    signature: bytes,
    trust: Trust,
    role: str,
    now: Optional[datetime] = None,
    fingerprint: Optional[str] = None,
) -> Signature:
    """Verify a detached signature that this project made over ``data``: the node tool's.

    ``signature`` is armored or binary, and holds exactly one signature of class 00 (RFC 9580, section 5.2.1). Raises
    as `verify_cleartext` does.
    """
    binary = dearmor(signature, b"SIGNATURE") if signature[:5] == b"-----" else signature
    packet = openpgp.read_signature(binary)
    outcome = gpgv.run(trust.keyring(), data, packet.binary)
    valid = gpgv.judge(outcome.exit_code, gpgv.parse_status(outcome.status), 0x00, plaintext=False)
    return _admit(valid, trust, role, now or utc_now(), fingerprint)


def verify_upstream(
    data: bytes, signature: bytes, trust: Trust, now: Optional[datetime] = None
) -> Tuple[Signature, ...]:
    """Verify a detached signature that others made over ``data`` (RPM header, repomd.xml), and return what holds.

    ``signature`` may hold several, as while a key is replaced, in any armor that gpg accepts: each is judged alone, and
    those by keys that are not trusted here count for nothing. Version 3 is accepted, as older rpm made it, and so are
    signatures of a certificate that has expired since: its lifetime is not ours to put into trust.json.

    Raises `NotTrusted` where none holds, or where one by a trusted key does not fit the data, and `Incomplete` where
    gpgv cannot tell.
    """
    found: List[Signature] = []
    refusals: List[NotTrusted] = []
    for packet in openpgp.read_signatures(signature):
        outcome = gpgv.run(trust.keyring(), data, packet.binary)
        status = gpgv.parse_status(outcome.status)
        try:
            valid = gpgv.judge(outcome.exit_code, status, 0x00, plaintext=False, upstream=True)
            found.append(_admit(valid, trust, "upstream", now or utc_now(), None))
        except NotTrusted as error:
            if any(line.keyword == "BADSIG" for line in status):
                raise
            # What is wrong with a known key says more than that another one is unknown.
            refusals.insert(len(refusals) if any(line.keyword == "NO_PUBKEY" for line in status) else 0, error)
    if not found:
        raise refusals[0]
    return tuple(found)


def _admit(valid: gpgv.ValidSignature, trust: Trust, role: str, now: datetime, fingerprint: Optional[str]) -> Signature:
    """Step 4's second half, for both kinds of signature: the key's trust, and the signature's date."""
    trusted = trust.admit(valid.key, valid.primary, role, valid.signed_at)
    if fingerprint is not None and _plain(fingerprint) not in (valid.key, valid.primary):
        raise NotTrusted(
            "The signature is by key {}, not by {}.".format(trusted.fingerprint, visible(fingerprint)),
            "Get a file that is signed by the key you asked for.",
        )
    certificate = trust.certificate(valid.key)
    bound = None if certificate is None or role not in TOOL_ROLES else certificate.key(valid.key).bound
    if bound is not None and bound > now + _MAX_AHEAD:
        raise NotTrusted(
            "The key {} is part of its certificate from {} on, more than a day ahead.".format(
                valid.key, write_time(bound)
            ),
            "Set this machine's clock; if it is right, do not use the file.",
        )
    warnings = trust.warnings(now, (role,))
    if valid.signed_at > now + _MAX_AHEAD:
        raise NotTrusted(
            "The signature is dated {}, more than a day ahead.".format(write_time(valid.signed_at)),
            "Set this machine's clock; if it is right, do not use the file.",
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


def _plain(fingerprint: str) -> str:
    return fingerprint.replace(" ", "").upper()
