"""List the keys of a trust directory with their validity, lifetime and warnings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ..errors import Incomplete
from ..model.lifetime import days_until, format_days
from ..trust.keys import WARN_DAYS, Trust, TrustedKey
from ..trust.store import load_trust
from ..trust.text import utc_now
from .certificates import KeyValidity, read_validity
from .revocation import applies_to, signing_capable_keys


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """One key of the trust directory."""

    entry: TrustedKey
    """The entry in trust.json."""
    bits: int | None
    """RSA bits of the pinned key; None if the directory does not contain its certificate."""
    expires: datetime | None
    """The OpenPGP expiry of the first of its keys that will expire, or of the last one if all have expired; None if
    none expires, or if unknown."""
    can_sign: bool | None
    """Whether a signature made now is accepted, by trust.json and by its certificate; None if unknown."""
    days_left: int | None
    """Days until ``valid_to`` or ``expires``, whichever is earlier; None if there is neither."""
    unnamed: tuple[str, ...]
    """Keys of the certificate that can sign and are in no entry; their signatures are not accepted."""
    warning: str | None
    """Sentences about required actions; None if there are none."""


def list_keys(directory: Path, now: datetime | None = None) -> list[KeyInfo]:
    """List the keys of a trust directory, in trust.json's order; raises as `load_trust` does."""
    trust, moment = load_trust(str(directory)), now or utc_now()
    validity: Mapping[str, KeyValidity] | None = {}
    if trust.certificates:
        try:
            validity = read_validity(*trust.certificates)
        except Incomplete:
            validity = None
    return [_info(key, trust, validity, moment) for key in trust.keys]


def permitted_keys(trust: Trust, entry: TrustedKey) -> tuple[str, ...]:
    """Return the keys that may sign according to an entry and their sizes, regardless of their validity."""
    certificate = trust.certificate(entry.fingerprint)
    if entry.signing_keys or certificate is None:
        return entry.signing_keys
    if entry.fingerprint != certificate.primary.fingerprint:
        return (entry.fingerprint,)
    return tuple(signing_capable_keys(certificate, entry.role))


def _info(entry: TrustedKey, trust: Trust, validity: Mapping[str, KeyValidity] | None, now: datetime) -> KeyInfo:
    certificate = trust.certificate(entry.fingerprint)
    bits = None if certificate is None else certificate.key(entry.fingerprint).bits
    if validity is None or certificate is None:
        days = _days_until(entry.valid_to, now)
        return KeyInfo(entry, bits, None, None, days, (), _warnings(entry, days, []))
    named = [
        validity.get(one) or KeyValidity(one, signs=False, revoked=False, expires=None)
        for one in permitted_keys(trust, entry)
    ]
    expires = _next_expiry(named, now)
    in_force = entry.status == "active" and entry.valid_from <= now and (entry.valid_to is None or now < entry.valid_to)
    can_sign = in_force and any(one.refusal_reason(entry.role, now) is None for one in named)
    days = _days_until(min((end for end in (entry.valid_to, expires) if end is not None), default=None), now)
    troubles = [f"{trouble}." for one in named if (trouble := one.refusal_reason(entry.role, now))]
    if entry.status == "retired" and any(one.may_be_accepted(entry.role, now) for one in named):
        troubles = []
    unnamed = [
        one
        for one in signing_capable_keys(certificate, entry.role)
        if one in validity
        and validity[one].may_be_accepted(entry.role, now)
        and not any(applies_to(trust, key, one) for key in trust.keys)
    ]
    return KeyInfo(entry, bits, expires, can_sign, days, tuple(unnamed), _warnings(entry, days, troubles))


def _next_expiry(named: Sequence[KeyValidity], now: datetime) -> datetime | None:
    ends = [one.expires for one in named if one.expires is not None]
    ahead = [end for end in ends if end > now]
    if ahead:
        return min(ahead)
    return max(ends, default=None) if len(ends) == len(named) else None


def _days_until(end: datetime | None, now: datetime) -> int | None:
    return None if end is None else days_until(end, now)


def _warnings(entry: TrustedKey, days: int | None, troubles: Sequence[str]) -> str | None:
    found = [] if entry.status == "revoked" else list(troubles)
    if entry.status == "active" and days is not None and days <= WARN_DAYS:
        if days < 0:
            found.append(
                f"The lifetime of {entry.fingerprint} has ended: new signatures are refused; add its successor."
            )
        else:
            ends = f"The lifetime of {entry.fingerprint} ends {format_days(days)}"
            found.append(f"{ends}: add its successor now, so that both overlap.")
    return " ".join(found) or None
