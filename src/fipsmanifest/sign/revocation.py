"""The end of a key's life: what `keys retire` and `keys revoke` make of the entries in trust.json.

Whoever names a primary key means all of its certificate, entries that pin one of its subkeys included. Whoever names a
subkey means that subkey alone: it gets an entry of its own, and an entry of the primary keeps the other subkeys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from ..errors import Conflict
from ..trust import openpgp
from ..trust.store import Trust, TrustedKey, find_weakness
from ..trust.text import visible


def covers(trust: Trust, key: TrustedKey, fingerprint: str) -> bool:
    """Tell whether an entry speaks of this primary key or subkey."""
    certificate = trust.certificate(key.fingerprint)
    if fingerprint == key.fingerprint or certificate is None:
        return fingerprint == key.fingerprint
    primary = certificate.primary.fingerprint
    if fingerprint == primary:
        return True
    of_primary = key.fingerprint == primary and certificate.holds(fingerprint)
    return of_primary and (not key.signing_keys or fingerprint in key.signing_keys)


def check_not_revoked(trust: Trust, fingerprints: Iterable[str]) -> None:
    """Raise `Conflict` where one of the keys has an entry that revokes it."""
    named = set(fingerprints)
    for key in trust.keys:
        if key.status == "revoked" and key.fingerprint in named:
            because = f" ({visible(key.reason)})" if key.reason else ""
            raise Conflict(
                f"The key {key.fingerprint} is revoked{because}, which is final.",
                "Use a new key; where another subkey of the same certificate is meant, name that one.",
            )


def unnamed(
    fingerprints: Sequence[str], certificate: openpgp.Certificate, entries: Iterable[TrustedKey]
) -> tuple[str, ...]:
    """Give those keys of a certificate that no entry is for. Raises `Conflict` where none is left."""
    listed = list(entries)
    left = tuple(one for one in fingerprints if not any(_is_for(entry, certificate, one) for entry in listed))
    if not left:
        raise Conflict(
            f"Each key of {certificate.primary.fingerprint} that can sign is listed already, or has ended.",
            "Name one by --signing-key where it is to have a second role; name an entry's own key by --fingerprint to "
            "renew its certificate alone; a key that has ended is followed by a new one (`fipsmanifest keys init`).",
        )
    return left


def check_free(
    fingerprints: Iterable[str], role: str, certificate: openpgp.Certificate, entries: Iterable[TrustedKey]
) -> None:
    """Raise `Conflict` where one of these keys is listed for the role, or has ended in any: that stays so."""
    named = list(fingerprints)
    for entry in entries:
        if entry.role != role and entry.status == "active":
            continue
        taken = [one for one in named if _is_for(entry, certificate, one)]
        if taken:
            state = "" if entry.status == "active" else f", and is {entry.status}"
            raise Conflict(
                f"{' and '.join(taken)} is already listed for the role {entry.role}{state}.",
                "Name a signing key that is not listed, or retire one that is; another lifetime is given in "
                "trust.json, by hand, with the next edition, and a key that has ended is followed by a new one "
                "(`fipsmanifest keys init`).",
            )


def _is_for(entry: TrustedKey, certificate: openpgp.Certificate, fingerprint: str) -> bool:
    """Tell whether an entry lets this key of a certificate sign, or did before it ended."""
    if entry.signing_keys:
        return fingerprint in entry.signing_keys
    return entry.fingerprint in (fingerprint, certificate.primary.fingerprint)


def retired(
    trust: Trust, fingerprint: str, role: str | None, end: datetime, reason: str, replaced_by: str | None
) -> list[TrustedKey]:
    """Give the entries with this key ended at ``end``, or when it had ended already; ``role`` narrows it to one role.

    A successor that an entry names already stays unless another is given. Raises `Conflict` where the key, or a part
    of it, is revoked in any role: that is final.
    """
    meant = [key.fingerprint for key in trust.keys if covers(trust, key, fingerprint)]
    check_not_revoked(trust, meant)

    def ended(key: TrustedKey) -> TrustedKey:
        last = end if key.valid_to is None else min(end, key.valid_to)
        return _ended(key, "retired", reason, replaced_by)._replace(valid_to=last)

    return _changed(trust, [fingerprint], role, ended)


def revoked(trust: Trust, fingerprint: str, role: str | None, reason: str, replaced_by: str | None) -> list[TrustedKey]:
    """Give the entries with this key revoked in every role it has: nobody trusts a stolen key in part.

    ``role`` means the subkeys that have this role, where the entries name them. What is revoked already is left alone.
    """
    names = [fingerprint]
    if role is not None:
        meant = [key.signing_keys for key in trust.keys if key.role == role and covers(trust, key, fingerprint)]
        names = [one for subkeys in meant for one in (subkeys if fingerprint not in subkeys else ()) or names]
    return _changed(trust, names, None, lambda key: _ended(key, "revoked", reason, replaced_by))


def _ended(key: TrustedKey, status: str, reason: str, replaced_by: str | None) -> TrustedKey:
    return key._replace(status=status, reason=reason, replaced_by=replaced_by or key.replaced_by)


def _changed(
    trust: Trust, names: list[str], role: str | None, ended: Callable[[TrustedKey], TrustedKey]
) -> list[TrustedKey]:
    after: list[TrustedKey] = []
    for key in trust.keys:
        meant = [name for name in names if covers(trust, key, name)]
        if not meant or key.status == "revoked" or role not in (None, key.role):
            after.append(key)
            continue
        certificate = trust.certificate(key.fingerprint)
        whole = {key.fingerprint} if certificate is None else {key.fingerprint, certificate.primary.fingerprint}
        if certificate is None or whole.intersection(meant):
            after.append(ended(key))
            continue
        # An entry without subkeys is for any of them, so the others are named from now on.
        others = [one for one in key.signing_keys or able(certificate, key.role) if one not in meant]
        if others:
            after.append(key._replace(signing_keys=tuple(others)))
        after += [ended(key)._replace(fingerprint=name, signing_keys=()) for name in dict.fromkeys(meant)]
    return after


def able(certificate: openpgp.Certificate, role: str) -> list[str]:
    """Give the keys of a certificate that may sign in ``role`` where nothing narrows it, the primary key first."""
    keys = (certificate.primary, *certificate.subkeys)
    return [key.fingerprint for key in keys if key.signs and find_weakness(key, role) is None]
