"""Generate keys with gpg: a primary key that certifies, and subkeys that sign."""

from __future__ import annotations

import gnupg

from ..errors import Incomplete
from ..trust.text import visible
from .gpg import Passphrase, complaint, is_wrong_passphrase, secret_keys, wrong_passphrase


def make_keys(
    gpg: gnupg.GPG, name: str, email: str | None, bits: int, passphrase: Passphrase | None, protect: bool
) -> tuple[str, list[str]]:
    """Return the fingerprints of a new RSA primary key, and of its subkeys for manifests and for the tool.

    Raises `Incomplete` if gpg does not create them.
    """
    lines = ["Key-Type: RSA", f"Key-Length: {bits}", "Key-Usage: cert", f"Name-Real: {name}"]
    if email:
        lines.append(f"Name-Email: {email}")
    lines += ["Expire-Date: 0", *_protection(passphrase, protect), "%commit", ""]
    made = gpg.gen_key("\n".join(lines))
    if not made.fingerprint:
        raise _not_made(made)
    primary = str(made.fingerprint)
    return primary, [_add_subkey(gpg, primary, bits, passphrase, protect) for _ in ("manifest", "tool")]


def _protection(passphrase: Passphrase | None, protect: bool) -> list[str]:
    if not protect:
        return ["%no-protection"]
    return [] if passphrase is None else [f"Passphrase: {passphrase.reveal()}"]


def _add_subkey(gpg: gnupg.GPG, primary: str, bits: int, passphrase: Passphrase | None, protect: bool) -> str:
    before = {key.fingerprint for key in secret_keys(gpg)}
    # With an empty passphrase gpg reads it from the pipe, and does not ask an agent without a terminal.
    secret = passphrase.reveal() if passphrase is not None else None if protect else ""
    result = gpg.add_subkey(primary, master_passphrase=secret, algorithm=f"rsa{bits}", usage="sign", expire="never")
    made = [key.fingerprint for key in secret_keys(gpg) if key.primary == primary and key.fingerprint not in before]
    if len(made) != 1:
        raise _not_made(result)
    return made[0]


def _not_made(result: gnupg.GenKey) -> Incomplete:
    if is_wrong_passphrase(result.stderr):
        return wrong_passphrase("the new key")
    return Incomplete(
        f"gpg did not create the key: {visible(complaint(result.stderr))}.",
        "Provide a passphrase by gpg's agent, FIPSMANIFEST_PASSPHRASE_FD or FIPSMANIFEST_PASSPHRASE.",
    )
