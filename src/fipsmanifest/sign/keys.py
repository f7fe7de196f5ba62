"""The life of a key in the trust folder: made or added, listed, retired, revoked, exported.

The folder holds one armored certificate a key, named by its primary fingerprint, and ``trust.json``
(`fipsmanifest.trust.store` says what is in it). Keys made here carry no OpenPGP expiry, because an expired key makes
every old signature bad, offline sites first; their lifetime is in trust.json.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Conflict, Incomplete, NotTrusted, UsageError
from ..state import durable
from ..trust import armor, openpgp
from ..trust.store import (
    ROLES,
    TRUST_FILE,
    UNBOUND,
    Trust,
    TrustedKey,
    check_strength,
    is_unbound,
    load_trust,
    parse_trust,
)
from ..trust.text import utc_now, visible, write_time
from . import backup, revocation
from .backup import Backup
from .certificates import read_lives
from .generation import make_keys
from .gpg import Passphrase, home, make_revocation, open_gpg

if TYPE_CHECKING:
    import gnupg

BITS = 3072
ALLOWED_BITS = (3072, 4096)

_FINGERPRINT = re.compile(r"[0-9A-F]{40}\Z")
_USER_ID = re.compile(r"(?P<name>[^<>()\x00-\x1f]{5,}?)(?: <(?P<email>[^<>\s\x00-\x1f]+@[^<>\s\x00-\x1f]+)>)?\Z")


@dataclass(frozen=True, slots=True)
class NewKeys:
    """What `init` made."""

    fingerprint: str
    """Of the certify-only primary key: what others pin."""
    manifest_key: str
    """Of the subkey that signs manifests."""
    tool_key: str
    """Of the subkey that signs the node tool."""
    certificate: Path
    """The public certificate in the trust folder."""
    revocation: Path
    """The revocation certificate that gpg made; to be kept apart."""
    gnupghome: Path | None
    """Where gpg keeps the secret parts; None for gpg's own default."""
    backup: Backup | None
    """The backup; None where none was asked for."""


def init(
    folder: Path,
    user_id: str,
    *,
    gnupghome: Path | None = None,
    passphrase: Passphrase | None = None,
    protect: bool = True,
    bits: int = BITS,
    valid_to: datetime | None = None,
    backup_folder: Path | None = None,
) -> NewKeys:
    """Make a certify-only primary key with one signing subkey for manifests and one for the tool, and trust them.

    ``protect`` False makes keys without a passphrase (throwaway keys of a test or a demo); with it, and without
    ``passphrase``, gpg's agent asks. Where ``backup_folder`` is given, nothing is trusted before its backup is proven.
    Raises `UsageError` on a user id, key size or folder that cannot be, `Conflict` where the backup's folder holds
    something, `Incomplete` where gpg does not make the keys.
    """
    if bits not in ALLOWED_BITS:
        raise UsageError(f"Keys of {bits} bits are not made here.", f"Choose one of {ALLOWED_BITS}.")
    match = _USER_ID.match(user_id)
    if match is None:
        raise UsageError(
            f"The user id {visible(user_id)} cannot be one.",
            "Write it as 'Name <mail@example.com>', with five characters or more in the name.",
        )
    _check_lifetime(utc_now(), valid_to)
    _prepare(folder)
    gpg = open_gpg(gnupghome)
    with nullcontext() if backup_folder is None else backup.prepared(backup_folder, folder):
        primary, subkeys = make_keys(gpg, match["name"], match["email"], bits, passphrase, protect)
        revocation = home(gnupghome) / "openpgp-revocs.d" / f"{primary}.rev"
        if not revocation.exists():
            durable.write(revocation, make_revocation(primary, gnupghome, passphrase), mode=0o600)
        copies = None
        if backup_folder is not None:
            copies = backup.make(backup_folder, primary, revocation, gnupghome, passphrase)
    certificate = export_certificate(gpg, primary)
    roles = zip(("manifest", "tool"), subkeys, strict=True)
    entries = [_entry(certificate, role, primary, (subkey,), valid_to=valid_to) for role, subkey in roles]
    with _locked(folder):
        path = folder / _certificate_name(certificate)
        _write_certificate(path, certificate)
        _change(folder, lambda before: [*before.keys, *entries])
    return NewKeys(primary, subkeys[0], subkeys[1], path, revocation, gnupghome, copies)


def add(
    folder: Path,
    certificate: bytes,
    role: str,
    *,
    fingerprint: str | None = None,
    signing_keys: Sequence[str] = (),
    valid_from: datetime | None = None,
    valid_to: datetime | None = None,
) -> TrustedKey:
    """Trust a certificate (armored or binary) in ``role``, and give its entry; the same again changes nothing.

    ``fingerprint`` says which one is meant, and is needed where the file holds several; ``valid_from`` is when the key
    was made, where it is not given. The entry names the keys that may sign: ``signing_keys``, or all that can and that
    no entry names. Where there is an entry already, and nothing else is asked for, the certificate alone is renewed.

    Raises `UsageError` on a lifetime that ends before it begins, `NotTrusted` on a key that is weak or can never sign
    and on a file that does not hold the fingerprint, `Conflict` where the key already has another entry for this role,
    or has ended in any, and `Incomplete` where gpg is missing.
    """
    if role not in ROLES:
        raise UsageError(f"There is no role {visible(role)}.", f"Choose one of {', '.join(ROLES)}.")
    chosen, pinned = _choose(openpgp.read_certificates(certificate), fingerprint)
    asked = tuple(dict.fromkeys(_plain(one) for one in signing_keys))
    if asked and pinned != chosen.primary.fingerprint:
        raise UsageError(f"The subkey {pinned} signs alone.", "Name it by --fingerprint or by --signing-key.")
    entry = _entry(chosen, role, pinned, asked, valid_from, valid_to)
    _check_lifetime(entry.valid_from, valid_to)
    only_renews = not asked and valid_from is None and valid_to is None

    def insert(before: Trust) -> TrustedKey:
        """Give the entry that is to stand in the file, which may be there already."""
        revocation.check_not_revoked(before, (pinned, chosen.primary.fingerprint, *asked))
        same = [one for one in before.keys if (one.fingerprint, one.role) == (pinned, role)]
        if same and only_renews:
            return same[0]
        signs = _named(chosen, entry, [one for one in before.keys if one not in same])
        named = entry._replace(signing_keys=signs if pinned == chosen.primary.fingerprint else ())
        for one in same:
            if one._replace(signing_keys=named.signing_keys, user_id=named.user_id) == named and _same_keys(one, named):
                return one
        revocation.check_free(signs, role, chosen, before.keys)
        return named

    # What the folder would be is read before anything in it is written.
    with _locked(folder):
        before = _read(folder)
        _check_keeps_revocations(before, chosen)
        wanted = insert(before)
        listed = before.keys if wanted in before.keys else (*before.keys, wanted)
        contents = _contents(folder)
        path = folder / _certificate_name(chosen, contents)
        others = [(name, content) for name, content in contents if name != path.name]
        after = _next(before, listed, [("the new certificate", chosen.packets), *others])
        _write_certificate(path, chosen)
        durable.write(folder / TRUST_FILE, _written(after))
    return wanted


def _choose(held: Sequence[openpgp.Certificate], fingerprint: str | None) -> tuple[openpgp.Certificate, str]:
    names = ", ".join(one.primary.fingerprint for one in held)
    if fingerprint is None:
        if len(held) != 1:
            raise NotTrusted(
                f"The file contains {len(held)} certificates: {names}.",
                "Name the one you mean by its full fingerprint, with --fingerprint.",
            )
        return held[0], held[0].primary.fingerprint
    wanted = _plain(fingerprint)
    chosen = [one for one in held if one.holds(wanted)]
    if not chosen:
        raise NotTrusted(
            f"Fingerprint mismatch: expected {visible(wanted)}, the file contains {names}.",
            "Do not trust this key until its owner has confirmed the fingerprint through another channel.",
        )
    if len(chosen) > 1:
        raise NotTrusted(
            f"{wanted} is in {len(chosen)} certificates of the file: {names}.",
            "Get a file with the one certificate that its owner publishes.",
        )
    return chosen[0], wanted


def _named(certificate: openpgp.Certificate, entry: TrustedKey, others: Sequence[TrustedKey]) -> tuple[str, ...]:
    """Give the keys that a new entry is for: those asked for, or all that can sign and are in no entry of ``others``.

    Raises `NotTrusted` where one of those asked for, or none at all, can sign, and `Conflict` where each is named.
    """
    check_strength(certificate, entry)
    alone = entry.fingerprint != certificate.primary.fingerprint
    asked = entry.signing_keys or ((entry.fingerprint,) if alone else ())
    wanted = asked or revocation.able(certificate, entry.role)
    lives, now = read_lives(certificate), utc_now()
    serving = [one for one in wanted if one in lives and lives[one].serves(entry.role, now)]
    if not serving or (asked and len(serving) < len(wanted)):
        reasons = [lives[one].trouble(entry.role, now) for one in wanted if one in lives and one not in serving]
        reason = next((one for one in reasons if one), f"the certificate {entry.fingerprint} has no key that may sign")
        unbound = any(one in lives and is_unbound(certificate.key(one), entry.role) for one in wanted)
        raise NotTrusted(
            f"No signature could be accepted: {reason}.",
            UNBOUND[1] if unbound else "Get the certificate as its owner publishes it now, or name another key.",
        )
    if asked:
        return tuple(serving)
    return revocation.unnamed(serving, certificate, others)


def _same_keys(one: TrustedKey, other: TrustedKey) -> bool:
    return set(one.signing_keys) == set(other.signing_keys)


def retire(
    folder: Path,
    fingerprint: str,
    reason: str,
    *,
    role: str | None = None,
    replaced_by: str | None = None,
    at: datetime | None = None,
) -> list[TrustedKey]:
    """End a key's life: what it signed before ``at`` (now) stays good, what it signs later is refused.

    ``fingerprint`` is that of a primary key, for all of its certificate, or of one subkey; ``role`` narrows it to one
    role. A lifetime is never made longer, and gives the entries that speak of the key. Raises `UsageError` where no
    such key is listed, `Conflict` where it is revoked.
    """
    end, successor = at or utc_now(), _successor(replaced_by)
    return _end(
        folder,
        fingerprint,
        role,
        lambda trust, wanted: revocation.retired(trust, wanted, role, end, reason, successor),
    )


def revoke(
    folder: Path, fingerprint: str, reason: str, *, role: str | None = None, replaced_by: str | None = None
) -> list[TrustedKey]:
    """Refuse everything a key ever signed, whatever its date; takes what `retire` does, and raises the same errors.

    ``role`` means the subkeys that have it; they are refused in every role.
    """
    successor = _successor(replaced_by)
    return _end(
        folder,
        fingerprint,
        role,
        lambda trust, wanted: revocation.revoked(trust, wanted, role, reason, successor),
    )


def export(folder: Path, fingerprint: str, *, binary: bool = False) -> bytes:
    """Give a key's public certificate, armored, or binary as old gpgv wants its keyrings."""
    certificate = load_trust(str(folder)).certificate(_plain(fingerprint))
    if certificate is None:
        raise _not_listed(folder, fingerprint)
    return certificate.packets if binary else armor.armor(certificate.packets, b"PUBLIC KEY BLOCK")


def export_certificate(gpg: gnupg.GPG, fingerprint: str) -> openpgp.Certificate:
    """Read a public certificate out of gpg; raises `Incomplete` where gpg does not have it."""
    exported = gpg.export_keys(fingerprint, armor=False, minimal=True)
    if not exported:
        raise Incomplete(f"gpg has no certificate of {visible(fingerprint)}.", "Import it into gpg first.")
    return openpgp.read_certificates(bytes(exported))[0]


def _prepare(folder: Path) -> None:
    """Make sure that the folder can take new keys, before they are made."""
    with _locked(folder):
        _read(folder)


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
    folder: Path,
    fingerprint: str,
    role: str | None,
    ended: Callable[[Trust, str], list[TrustedKey]],
) -> list[TrustedKey]:
    wanted = _plain(fingerprint)

    def meant(trust: Trust) -> list[TrustedKey]:
        return [key for key in trust.keys if role in (None, key.role) and revocation.covers(trust, key, wanted)]

    def change(before: Trust) -> list[TrustedKey]:
        if not meant(before):
            raise _not_listed(folder, fingerprint)
        return ended(before, wanted)

    if not folder.is_dir():
        raise _not_listed(folder, fingerprint)
    with _locked(folder):
        return meant(_change(folder, change))


def _successor(fingerprint: str | None) -> str | None:
    if fingerprint is not None and not _FINGERPRINT.match(_plain(fingerprint)):
        raise UsageError(
            f"{visible(fingerprint)} is not a full fingerprint.", "Name the key that takes its place by 40 hex digits."
        )
    return None if fingerprint is None else _plain(fingerprint)


def _check_keeps_revocations(before: Trust, certificate: openpgp.Certificate) -> None:
    held = [one for one in before.certificates if one.primary.fingerprint == certificate.primary.fingerprint]
    if any(one.revocations() - certificate.revocations() for one in held):
        raise Conflict(
            f"The trust folder has a newer copy of {certificate.primary.fingerprint}, with a revocation.",
            "Add that certificate with its revocation, as its owner publishes it now.",
        )


def _check_lifetime(start: datetime, end: datetime | None) -> None:
    if end is not None and end <= start:
        raise UsageError(
            f"The lifetime ends on {write_time(end)}, before it begins on {write_time(start)}.",
            "Give a later end, or an earlier start.",
        )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep two changes of a folder from forgetting each other: the whole of each, from reading to writing, is inside.

    The folder itself is locked, so that nothing is left behind in what belongs into version control.
    """
    try:
        durable.make_directory(folder)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise UsageError(f"{folder} cannot be changed: {error.strerror}.", "Name another trust folder.") from error
    try:
        durable.lock(descriptor, folder, "Change it on a disk of this machine's own, and copy it back.")
        yield
    finally:
        os.close(descriptor)


def _change(folder: Path, change: Callable[[Trust], Sequence[TrustedKey]]) -> Trust:
    """Rewrite trust.json, unless the result could not be trusted; to be called with the folder locked."""
    before = _read(folder)
    after = _next(before, change(before), _contents(folder))
    durable.write(folder / TRUST_FILE, _written(after))
    return after


def _next(before: Trust, keys: Sequence[TrustedKey], contents: list[tuple[str, bytes]]) -> Trust:
    """Give the folder with these entries, of the next edition where the node tool would carry something else.

    While no manifest key is listed there can be no tool, and nothing to tell it from.
    """
    trust = parse_trust(_written(before._replace(keys=tuple(keys))), contents, before.origin)
    old, new = before.carried(), trust.carried()
    built = any(key.role == "manifest" for key in old.keys)
    changed = built and (old.keys, old.certificates) != (new.keys, new.certificates)
    return trust._replace(edition=before.edition + 1) if changed else trust


def _read(folder: Path) -> Trust:
    return load_trust(str(folder)) if (folder / TRUST_FILE).exists() else Trust((), (), str(folder))


def _written(trust: Trust) -> bytes:
    return (json.dumps(trust.document(), indent=2, ensure_ascii=True) + "\n").encode("ascii")


def _contents(folder: Path) -> list[tuple[str, bytes]]:
    if not folder.is_dir():
        return []
    # A folder or a pipe of that name is no certificate; `load_trust` passes over it as well.
    paths = [path for path in sorted(folder.iterdir()) if path.suffix in (".asc", ".gpg") and path.is_file()]
    return [(path.name, path.read_bytes()) for path in paths]


def _certificate_name(certificate: openpgp.Certificate, contents: Sequence[tuple[str, bytes]] = ()) -> str:
    """Give the name of the file that a certificate belongs into: the one that has it, and it alone, already."""
    primary = certificate.primary.fingerprint
    for name, content in contents:
        if {one.primary.fingerprint for one in openpgp.read_certificates(content)} == {primary}:
            return name
    return f"{primary}.asc"


def _write_certificate(path: Path, certificate: openpgp.Certificate) -> None:
    armored = path.suffix == ".asc"
    durable.write(path, armor.armor(certificate.packets, b"PUBLIC KEY BLOCK") if armored else certificate.packets)


def _not_listed(folder: Path, fingerprint: str) -> UsageError:
    return UsageError(
        f"{folder} lists no key {visible(fingerprint)}.", "See `fipsmanifest keys list`; name the full fingerprint."
    )


def _plain(fingerprint: str) -> str:
    return fingerprint.replace(" ", "").upper()
