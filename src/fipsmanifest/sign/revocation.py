"""Retire and revoke keys: compute the new entries of trust.json. Pure.

The fingerprint of a primary key selects its whole certificate, including entries that pin one of its subkeys. The
fingerprint of a subkey selects that subkey alone: it gets its own entry, and the primary key's entry keeps the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from ..errors import Conflict
from ..trust import openpgp
from ..trust.keys import Trust, TrustedKey, find_weakness
from ..trust.text import visible


def applies_to(trust: Trust, key: TrustedKey, fingerprint: str) -> bool:
    """Return whether an entry applies to this primary key or subkey."""
    certificate = trust.certificate(key.fingerprint)
    if fingerprint == key.fingerprint or certificate is None:
        return fingerprint == key.fingerprint
    primary = certificate.primary.fingerprint
    if fingerprint == primary:
        return True
    of_primary = key.fingerprint == primary and certificate.has(fingerprint)
    return of_primary and (not key.signing_keys or fingerprint in key.signing_keys)


def check_not_revoked(trust: Trust, fingerprints: Iterable[str]) -> None:
    """Raise `Conflict` if one of the keys is revoked by an entry."""
    named = set(fingerprints)
    for key in trust.keys:
        if key.status == "revoked" and key.fingerprint in named:
            because = f" ({visible(key.reason)})" if key.reason else ""
            raise Conflict(
                f"The key {key.fingerprint} is revoked{because}, which is final.",
                "Use a new key; to use another subkey of the same certificate, name that one.",
                reason="key-state",
            )


def unlisted_keys(
    fingerprints: Sequence[str], certificate: openpgp.Certificate, entries: Iterable[TrustedKey]
) -> tuple[str, ...]:
    """Return those of the keys that no entry permits to sign. Raises `Conflict` if there are none."""
    listed = list(entries)
    left = tuple(one for one in fingerprints if not any(_permits(entry, certificate, one) for entry in listed))
    if not left:
        raise Conflict(
            f"Each key of {certificate.primary.fingerprint} that can sign is listed already, or has ended.",
            "To give a key a second role, name it with --signing-key; to renew only the certificate, name the entry's "
            "key with --fingerprint; replace a key that has ended by a new one (`fipsmanifest keys init`).",
            reason="key-state",
        )
    return left


def check_not_listed(
    fingerprints: Iterable[str], role: str, certificate: openpgp.Certificate, entries: Iterable[TrustedKey]
) -> None:
    """Raise `Conflict` if one of these keys is listed for the role, or has ended in any role, which is final."""
    named = list(fingerprints)
    for entry in entries:
        if entry.role != role and entry.status == "active":
            continue
        taken = [one for one in named if _permits(entry, certificate, one)]
        if taken:
            state = "" if entry.status == "active" else f", and is {entry.status}"
            raise Conflict(
                f"{' and '.join(taken)} is already listed for the role {entry.role}{state}.",
                "Name a signing key that is not listed, or retire the listed one; to change a lifetime, edit "
                "trust.json and raise its edition; replace a key that has ended by a new one "
                "(`fipsmanifest keys init`).",
                reason="key-state",
            )


def _permits(entry: TrustedKey, certificate: openpgp.Certificate, fingerprint: str) -> bool:
    """Return whether an entry permits this key of a certificate to sign, or did before it ended."""
    if entry.signing_keys:
        return fingerprint in entry.signing_keys
    return entry.fingerprint in (fingerprint, certificate.primary.fingerprint)


def retire_key(
    trust: Trust, fingerprint: str, role: str | None, end: datetime, reason: str, replaced_by: str | None
) -> list[TrustedKey]:
    """Return all entries with this key retired at ``end``, or earlier if it had ended before.

    ``role`` limits this to one role. An existing successor stays unless ``replaced_by`` is given. Raises `Conflict` if
    the key, or a subkey of it, is revoked in any role, which is final.
    """
    meant = [key.fingerprint for key in trust.keys if applies_to(trust, key, fingerprint)]
    check_not_revoked(trust, meant)

    def ended(key: TrustedKey) -> TrustedKey:
        last = end if key.valid_to is None else min(end, key.valid_to)
        return _end_entry(key, "retired", reason, replaced_by)._replace(valid_to=last)

    return _end_entries(trust, [fingerprint], role, ended)


def revoke_key(
    trust: Trust, fingerprint: str, role: str | None, reason: str, replaced_by: str | None
) -> list[TrustedKey]:
    """Return all entries with this key revoked in every role, since a stolen key cannot be trusted in part.

    ``role`` selects the subkeys with this role, if the entries name them. Revoked entries are not changed.
    """
    names = [fingerprint]
    if role is not None:
        meant = [key.signing_keys for key in trust.keys if key.role == role and applies_to(trust, key, fingerprint)]
        names = [one for subkeys in meant for one in (subkeys if fingerprint not in subkeys else ()) or names]
    return _end_entries(trust, names, None, lambda key: _end_entry(key, "revoked", reason, replaced_by))


def _end_entry(key: TrustedKey, status: str, reason: str, replaced_by: str | None) -> TrustedKey:
    return key._replace(status=status, reason=reason, replaced_by=replaced_by or key.replaced_by)


def _end_entries(
    trust: Trust, names: list[str], role: str | None, ended: Callable[[TrustedKey], TrustedKey]
) -> list[TrustedKey]:
    after: list[TrustedKey] = []
    for key in trust.keys:
        meant = [name for name in names if applies_to(trust, key, name)]
        if not meant or key.status == "revoked" or role not in (None, key.role):
            after.append(key)
            continue
        certificate = trust.certificate(key.fingerprint)
        whole = {key.fingerprint} if certificate is None else {key.fingerprint, certificate.primary.fingerprint}
        if certificate is None or whole.intersection(meant):
            after.append(ended(key))
            continue
        # An entry without subkeys permits all of them, so the remaining ones are listed explicitly.
        others = [one for one in key.signing_keys or signing_capable_keys(certificate, key.role) if one not in meant]
        if others:
            after.append(key._replace(signing_keys=tuple(others)))
        after += [ended(key)._replace(fingerprint=name, signing_keys=()) for name in dict.fromkeys(meant)]
    return after


def signing_capable_keys(certificate: openpgp.Certificate, role: str) -> list[str]:
    """Return the keys of a certificate that can sign in ``role`` without a restriction, the primary key first."""
    keys = (certificate.primary, *certificate.subkeys)
    return [key.fingerprint for key in keys if key.signs and find_weakness(key, role) is None]
