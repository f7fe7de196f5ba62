"""The keys of a trust folder for people: what is in force, until when, and what will surprise them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ..errors import Incomplete
from ..trust.store import WARN_DAYS, Trust, TrustedKey, load_trust
from ..trust.text import utc_now
from .certificates import Life, read_lives
from .revocation import able, covers


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """One key of the trust folder."""

    entry: TrustedKey
    """The entry in trust.json."""
    bits: int | None
    """RSA bits of the pinned key; None where the folder has no certificate of it."""
    expires: datetime | None
    """OpenPGP's: of the first of its keys that will expire, or of the last of them where all have; None where no key
    does, or nobody knows."""
    can_sign: bool | None
    """Whether what it signs now is accepted, by trust.json and by its certificate; None where nobody knows."""
    days_left: int | None
    """Days until ``valid_to`` or ``expires``, the earlier of them; None where there is no end."""
    unnamed: tuple[str, ...]
    """Keys of the certificate that could sign, and that no entry names: they sign nothing here."""
    warning: str | None
    """Sentences where something should be done soon."""


def list_keys(folder: Path, now: datetime | None = None) -> list[KeyInfo]:
    """List the keys of a trust folder, in trust.json's order; raises as `load_trust` does."""
    trust, moment = load_trust(str(folder)), now or utc_now()
    lives: Mapping[str, Life] | None = {}
    if trust.certificates:
        try:
            lives = read_lives(*trust.certificates)
        except Incomplete:
            lives = None
    return [_info(key, trust, lives, moment) for key in trust.keys]


def named_keys(trust: Trust, entry: TrustedKey) -> tuple[str, ...]:
    """Give the keys that may sign by an entry, as far as trust.json and their sizes go."""
    certificate = trust.certificate(entry.fingerprint)
    if entry.signing_keys or certificate is None:
        return entry.signing_keys
    if entry.fingerprint != certificate.primary.fingerprint:
        return (entry.fingerprint,)
    return tuple(able(certificate, entry.role))


def _info(entry: TrustedKey, trust: Trust, lives: Mapping[str, Life] | None, now: datetime) -> KeyInfo:
    certificate = trust.certificate(entry.fingerprint)
    bits = None if certificate is None else certificate.key(entry.fingerprint).bits
    if lives is None or certificate is None:
        days = _days(entry.valid_to, now)
        return KeyInfo(entry, bits, None, None, days, (), _sentences(entry, days, []))
    named = [lives.get(one) or Life(one, signs=False, revoked=False, expires=None) for one in named_keys(trust, entry)]
    expires = _expiry(named, now)
    in_force = entry.status == "active" and entry.valid_from <= now and (entry.valid_to is None or now < entry.valid_to)
    can_sign = in_force and any(one.trouble(entry.role, now) is None for one in named)
    days = _days(min((end for end in (entry.valid_to, expires) if end is not None), default=None), now)
    troubles = [f"{trouble}." for one in named if (trouble := one.trouble(entry.role, now))]
    if entry.status == "retired" and any(one.serves(entry.role, now) for one in named):
        troubles = []
    unnamed = [
        one
        for one in able(certificate, entry.role)
        if one in lives
        and lives[one].serves(entry.role, now)
        and not any(covers(trust, key, one) for key in trust.keys)
    ]
    return KeyInfo(entry, bits, expires, can_sign, days, tuple(unnamed), _sentences(entry, days, troubles))


def _expiry(named: Sequence[Life], now: datetime) -> datetime | None:
    ends = [one.expires for one in named if one.expires is not None]
    ahead = [end for end in ends if end > now]
    if ahead:
        return min(ahead)
    return max(ends, default=None) if len(ends) == len(named) else None


def _days(end: datetime | None, now: datetime) -> int | None:
    return None if end is None else (end - now).days


def in_days(days: int) -> str:
    """Say how far away something is, in whole days."""
    return "within a day" if days == 0 else "in 1 day" if days == 1 else f"in {days} days"


def _sentences(entry: TrustedKey, days: int | None, troubles: Sequence[str]) -> str | None:
    found = [] if entry.status == "revoked" else list(troubles)
    if entry.status == "active" and days is not None and days <= WARN_DAYS:
        if days < 0:
            found.append(
                f"The lifetime of {entry.fingerprint} has ended: what it signs now is refused; add its successor."
            )
        else:
            ends = f"The lifetime of {entry.fingerprint} ends {in_days(days)}"
            found.append(f"{ends}: add its successor now, so that both overlap.")
    return " ".join(found) or None
