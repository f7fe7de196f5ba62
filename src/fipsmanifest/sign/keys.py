"""Manage the keys of the trust directory: create, add, retire, revoke and export them.

The directory contains one armored certificate per key, named by its primary fingerprint, and ``trust.json`` (see
`fipsmanifest.trust.keys`). Keys that are created here have no OpenPGP expiry, because an expired key invalidates every
old signature, at offline sites too; their lifetime is in trust.json.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import gnupg

from ..errors import Conflict, Incomplete, NotTrusted, UsageError
from ..state import durable
from ..trust import armor, openpgp
from ..trust.keys import ROLES, UNBOUND, Trust, TrustedKey, check_strength, is_unbound
from ..trust.store import load_trust
from ..trust.text import utc_now, visible, write_time
from . import backup, revocation
from . import trust_directory as files
from .backup import Backup
from .certificates import read_validity
from .generation import make_keys
from .gpg import Passphrase, home, make_revocation, open_gpg

BITS = 3072
ALLOWED_BITS = (3072, 4096)

_FINGERPRINT = re.compile(r"[0-9A-F]{40}\Z")
_USER_ID = re.compile(r"(?P<name>[^<>()\x00-\x1f]{5,}?)(?: <(?P<email>[^<>\s\x00-\x1f]+@[^<>\s\x00-\x1f]+)>)?\Z")


@dataclass(frozen=True, slots=True)
class NewKeys:
    """The result of `init`."""

    fingerprint: str
    """Of the certify-only primary key, which others pin."""
    manifest_key: str
    """Of the subkey that signs manifests."""
    tool_key: str
    """Of the subkey that signs the node tool."""
    certificate: Path
    """The public certificate in the trust directory."""
    revocation: Path
    """The revocation certificate from gpg; to be kept separately."""
    gnupghome: Path | None
    """Where gpg keeps the secret parts; None for gpg's own default."""
    backup: Backup | None
    """The backup; None if none was requested."""


def init(
    directory: Path,
    user_id: str,
    *,
    gnupghome: Path | None = None,
    passphrase: Passphrase | None = None,
    protect: bool = True,
    bits: int = BITS,
    valid_to: datetime | None = None,
    backup_directory: Path | None = None,
) -> NewKeys:
    """Create a certify-only primary key with one signing subkey for manifests and one for the tool, and trust them.

    ``protect`` False makes keys without a passphrase (throwaway keys of a test or a demo); with it, and without
    ``passphrase``, gpg's agent asks. With ``backup_directory``, nothing is trusted before the backup was tested.
    Raises `UsageError` for an invalid user id, key size or directory, `Conflict` if the backup's directory is not
    empty, `Incomplete` if gpg does not create the keys.
    """
    if bits not in ALLOWED_BITS:
        raise UsageError(f"Keys of {bits} bits are not supported.", f"Choose one of {ALLOWED_BITS}.")
    match = _USER_ID.match(user_id)
    if match is None:
        raise UsageError(
            f"The user id {visible(user_id)} is not valid.",
            "Write it as 'Name <mail@example.com>', with five characters or more in the name.",
        )
    _check_lifetime(utc_now(), valid_to)
    _prepare(directory)
    gpg = open_gpg(gnupghome)
    with nullcontext() if backup_directory is None else backup.prepared(backup_directory, directory):
        primary, subkeys = make_keys(gpg, match["name"], match["email"], bits, passphrase, protect)
        revocation = home(gnupghome) / "openpgp-revocs.d" / f"{primary}.rev"
        if not revocation.exists():
            durable.write(revocation, make_revocation(primary, gnupghome, passphrase), mode=0o600)
        copies = None
        if backup_directory is not None:
            copies = backup.make(backup_directory, primary, revocation, gnupghome, passphrase)
    certificate = export_certificate(gpg, primary)
    roles = zip(("manifest", "tool"), subkeys, strict=True)
    entries = [_entry(certificate, role, primary, (subkey,), valid_to=valid_to) for role, subkey in roles]
    with files.locked(directory):
        path = directory / files.certificate_name(certificate)
        files.write_certificate(path, certificate)
        files.change(directory, lambda before: [*before.keys, *entries])
    return NewKeys(primary, subkeys[0], subkeys[1], path, revocation, gnupghome, copies)


def add(
    directory: Path,
    certificate: bytes,
    role: str,
    *,
    fingerprint: str | None = None,
    signing_keys: Sequence[str] = (),
    valid_from: datetime | None = None,
    valid_to: datetime | None = None,
) -> TrustedKey:
    """Trust a certificate (armored or binary) in ``role``, and return its entry; adding it again changes nothing.

    ``fingerprint`` selects a certificate, and is required if the file contains several. ``valid_from`` defaults to the
    creation of the key. The entry lists the keys that may sign: ``signing_keys``, or all that can and are in no entry.
    If there is an entry already, and no other argument is given, only the certificate is renewed.

    Raises `UsageError` for a lifetime that ends before it begins, `NotTrusted` for a key that is weak or can never sign
    and for a file without the fingerprint, `Conflict` if the key already has another entry for this role, or has ended
    in any role, and `Incomplete` if gpg is missing.
    """
    if role not in ROLES:
        raise UsageError(f"There is no role {visible(role)}.", f"Choose one of {', '.join(ROLES)}.")
    chosen, pinned = _choose(openpgp.read_certificates(certificate), fingerprint)
    asked = tuple(dict.fromkeys(_plain(one) for one in signing_keys))
    if asked and pinned != chosen.primary.fingerprint:
        raise UsageError(
            f"--fingerprint {pinned} names a subkey, and --signing-key names subkeys as well.",
            "Name the primary key by --fingerprint, or use only one of the two.",
        )
    entry = _entry(chosen, role, pinned, asked, valid_from, valid_to)
    _check_lifetime(entry.valid_from, valid_to)
    only_renews = not asked and valid_from is None and valid_to is None

    def insert(before: Trust) -> TrustedKey:
        """Return the new entry, or the existing one that it equals."""
        revocation.check_not_revoked(before, (pinned, chosen.primary.fingerprint, *asked))
        same = [one for one in before.keys if (one.fingerprint, one.role) == (pinned, role)]
        if same and only_renews:
            return same[0]
        signs = _named(chosen, entry, [one for one in before.keys if one not in same])
        named = entry._replace(signing_keys=signs if pinned == chosen.primary.fingerprint else ())
        for one in same:
            if one._replace(signing_keys=named.signing_keys, user_id=named.user_id) == named and _same_keys(one, named):
                return one
        revocation.check_not_listed(signs, role, chosen, before.keys)
        return named

    # The new contents are validated before anything is written.
    with files.locked(directory):
        before = files.read(directory)
        _check_keeps_revocations(before, chosen)
        requested = insert(before)
        listed = before.keys if requested in before.keys else (*before.keys, requested)
        contents = files.read_certificates(directory)
        path = directory / files.certificate_name(chosen, contents)
        others = [(name, content) for name, content in contents if name != path.name]
        after = files.next_trust(before, listed, [("the new certificate", chosen.packets), *others])
        files.write_certificate(path, chosen)
        files.write_trust(directory, after)
    return requested


def _choose(held: Sequence[openpgp.Certificate], fingerprint: str | None) -> tuple[openpgp.Certificate, str]:
    names = ", ".join(one.primary.fingerprint for one in held)
    if fingerprint is None:
        if len(held) != 1:
            raise NotTrusted(
                f"The file contains {len(held)} certificates: {names}.",
                "Choose one by its full fingerprint, with --fingerprint.",
            )
        return held[0], held[0].primary.fingerprint
    requested = _plain(fingerprint)
    chosen = [one for one in held if one.has(requested)]
    if not chosen:
        raise NotTrusted(
            f"Fingerprint mismatch: expected {visible(requested)}, the file contains {names}.",
            "Do not trust this key until its owner has confirmed the fingerprint through another channel.",
            reason="fingerprint-mismatch",
        )
    if len(chosen) > 1:
        raise NotTrusted(
            f"{requested} is in {len(chosen)} certificates of the file: {names}.",
            "Get a file with the one certificate that its owner publishes.",
        )
    return chosen[0], requested


def _named(certificate: openpgp.Certificate, entry: TrustedKey, others: Sequence[TrustedKey]) -> tuple[str, ...]:
    """Return the keys of a new entry: the requested ones, or all that can sign and are in no entry of ``others``.

    Raises `NotTrusted` if a requested key, or all keys, cannot sign, and `Conflict` if all are listed already.
    """
    check_strength(certificate, entry)
    alone = entry.fingerprint != certificate.primary.fingerprint
    asked = entry.signing_keys or ((entry.fingerprint,) if alone else ())
    requested = asked or revocation.signing_capable_keys(certificate, entry.role)
    validity, now = read_validity(certificate), utc_now()
    serving = [one for one in requested if one in validity and validity[one].may_be_accepted(entry.role, now)]
    if not serving or (asked and len(serving) < len(requested)):
        reasons = [
            validity[one].refusal_reason(entry.role, now) for one in requested if one in validity and one not in serving
        ]
        reason = next((one for one in reasons if one), f"the certificate {entry.fingerprint} has no key that may sign")
        unbound = any(one in validity and is_unbound(certificate.key(one), entry.role) for one in requested)
        raise NotTrusted(
            f"No signature could be accepted: {reason}.",
            UNBOUND[1] if unbound else "Get the certificate as its owner publishes it now, or name another key.",
        )
    if asked:
        return tuple(serving)
    return revocation.unlisted_keys(serving, certificate, others)


def _same_keys(one: TrustedKey, other: TrustedKey) -> bool:
    return set(one.signing_keys) == set(other.signing_keys)


def retire(
    directory: Path,
    fingerprint: str,
    reason: str,
    *,
    role: str | None = None,
    replaced_by: str | None = None,
    at: datetime | None = None,
) -> list[TrustedKey]:
    """Retire a key: signatures from before ``at`` (default: now) stay valid, later ones are refused.

    ``fingerprint`` is that of a primary key, for its whole certificate, or of one subkey; ``role`` limits this to one
    role. A lifetime is never extended. Return the entries of the key. Raises `UsageError` if no such key is listed,
    `Conflict` if it is revoked.
    """
    end, successor = at or utc_now(), _successor(replaced_by)
    return _end(
        directory,
        fingerprint,
        role,
        lambda trust, requested: revocation.retire_key(trust, requested, role, end, reason, successor),
    )


def revoke(
    directory: Path, fingerprint: str, reason: str, *, role: str | None = None, replaced_by: str | None = None
) -> list[TrustedKey]:
    """Revoke a key: all of its signatures are refused, regardless of their date. Arguments and errors as of `retire`.

    ``role`` selects the subkeys with that role; they are revoked in every role.
    """
    successor = _successor(replaced_by)
    return _end(
        directory,
        fingerprint,
        role,
        lambda trust, requested: revocation.revoke_key(trust, requested, role, reason, successor),
    )


def export(directory: Path, fingerprint: str, *, binary: bool = False) -> bytes:
    """Return a key's public certificate, armored, or binary as old versions of gpgv require."""
    certificate = load_trust(str(directory)).certificate(_plain(fingerprint))
    if certificate is None:
        raise _not_listed(directory, fingerprint)
    return certificate.packets if binary else armor.armor(certificate.packets, b"PUBLIC KEY BLOCK")


def export_certificate(gpg: gnupg.GPG, fingerprint: str) -> openpgp.Certificate:
    """Export a public certificate from gpg; raises `Incomplete` if gpg does not have it."""
    exported = gpg.export_keys(fingerprint, armor=False, minimal=True)
    if not exported:
        raise Incomplete(f"gpg has no certificate of {visible(fingerprint)}.", "Import it into gpg first.")
    return openpgp.read_certificates(bytes(exported))[0]


def _prepare(directory: Path) -> None:
    """Check that the directory can be changed and read, before keys are created."""
    with files.locked(directory):
        files.read(directory)


def _entry(
    certificate: openpgp.Certificate,
    role: str,
    fingerprint: str,
    signing_keys: Sequence[str] = (),
    valid_from: datetime | None = None,
    valid_to: datetime | None = None,
) -> TrustedKey:
    user_id = certificate.user_ids[0] if certificate.user_ids else ""
    start = (valid_from or certificate.key(fingerprint).created).replace(microsecond=0)
    end = None if valid_to is None else valid_to.replace(microsecond=0)
    return TrustedKey(fingerprint, role, "active", start, end, tuple(signing_keys), None, None, user_id)


def _end(
    directory: Path,
    fingerprint: str,
    role: str | None,
    ended: Callable[[Trust, str], list[TrustedKey]],
) -> list[TrustedKey]:
    requested = _plain(fingerprint)

    def meant(trust: Trust) -> list[TrustedKey]:
        return [key for key in trust.keys if role in (None, key.role) and revocation.applies_to(trust, key, requested)]

    def change(before: Trust) -> list[TrustedKey]:
        if not meant(before):
            raise _not_listed(directory, fingerprint)
        return ended(before, requested)

    if not directory.is_dir():
        raise _not_listed(directory, fingerprint)
    with files.locked(directory):
        return meant(files.change(directory, change))


def _successor(fingerprint: str | None) -> str | None:
    if fingerprint is not None and not _FINGERPRINT.match(_plain(fingerprint)):
        raise UsageError(
            f"{visible(fingerprint)} is not a full fingerprint.", "Name the successor by 40 hexadecimal digits."
        )
    return None if fingerprint is None else _plain(fingerprint)


def _check_keeps_revocations(before: Trust, certificate: openpgp.Certificate) -> None:
    held = [one for one in before.certificates if one.primary.fingerprint == certificate.primary.fingerprint]
    if any(one.revocations() - certificate.revocations() for one in held):
        raise Conflict(
            f"The trust directory has a newer copy of {certificate.primary.fingerprint}, with a revocation.",
            "Add that certificate with its revocation, as its owner publishes it now.",
            reason="key-state",
        )


def _check_lifetime(start: datetime, end: datetime | None) -> None:
    if end is not None and end <= start:
        raise UsageError(
            f"The lifetime ends on {write_time(end)}, before it begins on {write_time(start)}.",
            "Set a later end, or an earlier start.",
        )


def _not_listed(directory: Path, fingerprint: str) -> UsageError:
    return UsageError(
        f"{directory} lists no key {visible(fingerprint)}.", "See `fipsmanifest keys list`; name the full fingerprint."
    )


def _plain(fingerprint: str) -> str:
    return fingerprint.replace(" ", "").upper()
