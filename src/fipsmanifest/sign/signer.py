"""Sign a manifest or the node tool, and verify the result as a consumer does.

The trust directory separates the roles: with keys from `fipsmanifest keys init`, one certify-only primary key has a
signing subkey for manifests and another for the tool. trust.json pins the primary key's fingerprint, and lists under
``signing_keys`` the subkey of each role. gpg signs with exactly that subkey.
"""

from __future__ import annotations

import io
import logging
from datetime import datetime
from pathlib import Path

import gnupg

from ..errors import Incomplete, NotTrusted, UsageError
from ..trust.keys import Trust, TrustedKey
from ..trust.text import utc_now, visible, write_time
from ..trust.verify import verify_cleartext, verify_detached
from .gpg import Passphrase, SecretKey, complaint, is_wrong_passphrase, open_gpg, secret_keys, wrong_passphrase

_log = logging.getLogger(__name__)

DIGEST = "SHA512"

_MAKE_KEYS = "Create one with `fipsmanifest keys init`, or name another with --signing-key."


def sign_manifest(
    payload: bytes,
    fingerprint: str,
    *,
    trust: Trust,
    gnupghome: Path | None = None,
    passphrase: Passphrase | None = None,
) -> bytes:
    """Cleartext-sign the canonical bytes of a manifest, and return the signed file.

    ``fingerprint`` is the full one of an active manifest key of ``trust``. The result is verified as by a consumer, and
    compared with ``payload``, since gpg truncates long lines without an error. Raises
    `NotTrusted` (the key is not in trust, weak, expired, revoked), `Incomplete` (no gpg, no secret key, no
    passphrase).
    """
    signed = _sign(payload, fingerprint, "manifest", trust, gnupghome, passphrase, clearsign=True)
    read_back = verify_cleartext(signed, trust, "manifest", fingerprint=fingerprint)
    if read_back.payload != payload:
        raise NotTrusted(
            "gpg signed other bytes than it received.", "Sign bytes that end in one line feed and have short lines."
        )
    return signed


def sign_detached(
    data: bytes,
    fingerprint: str,
    *,
    trust: Trust,
    role: str = "tool",
    gnupghome: Path | None = None,
    passphrase: Passphrase | None = None,
) -> bytes:
    """Return an armored detached signature over ``data``; raises as `sign_manifest` does."""
    signature = _sign(data, fingerprint, role, trust, gnupghome, passphrase, clearsign=False)
    verify_detached(data, signature, trust, role, fingerprint=fingerprint)
    return signature


def pick_signing_key(trust: Trust, gnupghome: Path | None = None, role: str = "manifest") -> str:
    """Return the fingerprint of the only active key for ``role`` whose secret key is available.

    Raises `Incomplete` if there is none, and `UsageError` if there are several.
    """
    now = utc_now()
    held = secret_keys(open_gpg(gnupghome))
    found = {
        entry.fingerprint: any(key.usable for key in _candidates(entry, held))
        for entry in trust.keys
        if entry.role == role and _in_force(entry, now) and _candidates(entry, held)
    }
    if any(found.values()):
        found = {fingerprint: usable for fingerprint, usable in found.items() if usable}
    if not found:
        raise Incomplete(
            f"gpg has no secret key that is trusted for the role {role}.", _MAKE_KEYS, reason="no-secret-key"
        )
    if len(found) > 1:
        raise UsageError(
            f"There is more than one {role} key to sign with: {', '.join(sorted(found))}.", "Choose with --signing-key."
        )
    return next(iter(found))


def _sign(
    data: bytes,
    fingerprint: str,
    role: str,
    trust: Trust,
    gnupghome: Path | None,
    passphrase: Passphrase | None,
    *,
    clearsign: bool,
) -> bytes:
    entry = _entry(trust, fingerprint, role)
    gpg = open_gpg(gnupghome)
    key = _usable_key(entry, secret_keys(gpg))
    _log.debug("signing %d bytes as %s with the key %s of %s", len(data), role, key.fingerprint, entry.fingerprint)
    result = gpg.sign_file(
        io.BytesIO(data),
        passphrase=None if passphrase is None else passphrase.reveal(),
        clearsign=clearsign,
        detach=not clearsign,
        # The exclamation mark makes gpg use exactly this key, and no newer subkey of the same certificate.
        extra_args=["--local-user", f"{key.fingerprint}!", "--digest-algo", DIGEST, "--no-emit-version"],
    )
    if result.returncode != 0 or not result.data:
        raise _not_signed(result, key)
    return bytes(result.data)


def _entry(trust: Trust, fingerprint: str, role: str) -> TrustedKey:
    requested, now = fingerprint.replace(" ", "").upper(), utc_now()
    named = [
        entry for entry in trust.keys if requested in (entry.fingerprint, *entry.signing_keys) and entry.role == role
    ]
    if not named:
        raise NotTrusted(
            f"The key {visible(fingerprint)} is not trusted for the role {role} by {visible(trust.origin)}.",
            "Create keys with `fipsmanifest keys init`, or add this one with `fipsmanifest keys add`.",
            reason="untrusted-key",
        )
    in_force = [entry for entry in named if _in_force(entry, now)]
    if not in_force:
        raise NotTrusted(
            f"The key {named[0].fingerprint} is {named[0].status} or outside its lifetime.",
            "Sign with the key that replaces it.",
            reason="untrusted-key",
        )
    return in_force[0]


def _in_force(entry: TrustedKey, now: datetime) -> bool:
    ended = entry.valid_to is not None and entry.valid_to <= now
    return entry.status == "active" and entry.valid_from <= now and not ended


def _candidates(entry: TrustedKey, held: list[SecretKey]) -> list[SecretKey]:
    """Return the secret keys that may sign according to this entry; listed ones in their order."""
    if entry.signing_keys:
        return [key for one in entry.signing_keys for key in held if key.fingerprint == one]
    return [key for key in held if entry.fingerprint in (key.fingerprint, key.primary) and key.signs]


def _usable_key(entry: TrustedKey, held: list[SecretKey]) -> SecretKey:
    every = _candidates(entry, held)
    # gpg does not know the keys of a forwarded agent: if it has no usable key, the others are tried.
    candidates = [key for key in every if key.usable] or every
    if not candidates:
        raise Incomplete(f"gpg has no secret key for {entry.fingerprint}.", _MAKE_KEYS, reason="no-secret-key")
    # The newest subkey comes last in gpg's list.
    for key in reversed(candidates):
        if not (key.expired or key.revoked):
            return key
    key = candidates[-1]
    if key.revoked:
        raise NotTrusted(
            f"The key {key.fingerprint} is revoked.", "Sign with the key that replaces it.", reason="untrusted-key"
        )
    when = "" if key.expires is None else f" on {write_time(key.expires)}"
    raise NotTrusted(
        f"The key {key.fingerprint} expired{when}.",
        f"Sign with a key in force, or extend it: gpg --edit-key {key.primary}.",
        reason="untrusted-key",
    )


def _not_signed(result: gnupg.Sign, key: SecretKey) -> Incomplete:
    if is_wrong_passphrase(result.stderr):
        return wrong_passphrase(f"the key {key.fingerprint}")
    return Incomplete(
        f"gpg did not sign with the key {key.fingerprint}: {visible(complaint(result.stderr))}.",
        "Without a terminal, provide the passphrase by FIPSMANIFEST_PASSPHRASE_FD; or try it by hand: "
        f"gpg --local-user {key.fingerprint}! --clearsign FILE.",
    )
