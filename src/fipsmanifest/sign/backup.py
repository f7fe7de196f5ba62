"""The copy of a key for the worst day: written once, for its owner's eyes alone, and proven to restore.

Three files, apart because they go to three places: the whole secret key to offline media, the signing subkeys to the
machine that signs, the revocation certificate to whoever may declare the key lost. gpg exports the secrets under the
passphrase that guards them in its own keyring.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import Conflict, Incomplete, UsageError
from ..state import durable
from ..trust.text import visible
from .gpg import Passphrase, complaint, export, open_gpg, secret_keys, stop_agent


@dataclass(frozen=True, slots=True)
class Backup:
    """Where the parts of a backup are; each file is readable by its owner alone."""

    secret: Path
    """The primary key and its subkeys, armored."""
    subkeys: Path
    """The signing subkeys without the primary's secret, armored: what a signing machine imports."""
    revocation: Path
    """The revocation certificate, ready to import."""


@contextmanager
def prepared(folder: Path, trust_folder: Path) -> Iterator[None]:
    """Make the directory of a backup before there is anything to put into it, and remove it if nothing was.

    Raises `UsageError` where it would lie in the trust folder, which is public, or cannot be made, and `Conflict` where
    something is in it: a backup never takes another's place.
    """
    place, public = folder.resolve(), trust_folder.resolve()
    if place == public or public in place.parents:
        raise UsageError(
            f"{folder} is in the trust folder, which is public.", "Name a folder of your own, on an encrypted medium."
        )
    made = [one for one in (place, *place.parents) if not one.exists()]
    try:
        for missing in reversed(made):
            missing.mkdir(mode=0o700)
        if any(folder.iterdir()):
            raise Conflict(f"{folder} is not empty.", "Name a new folder: a backup never takes another's place.")
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be made: {error.strerror}.", "Name another folder for the backup."
        ) from error
    try:
        yield
    except BaseException:
        with suppress(OSError):  # one that is not empty stays
            for one in made:
                one.rmdir()
        raise


def make(
    folder: Path, fingerprint: str, revocation: Path, gnupghome: Path | None, passphrase: Passphrase | None
) -> Backup:
    """Write a key's backup into ``folder``, and restore it into a keyring of its own to see that it is one.

    ``fingerprint`` is the primary key's. Raises `Incomplete` where gpg does not give the secrets out, the files cannot
    be written, or what they restore is not the key.
    """
    backup = Backup(
        folder / f"{fingerprint}-secret.asc", folder / f"{fingerprint}-subkeys.asc", folder / f"{fingerprint}.rev"
    )
    contents = {
        backup.secret: export("--export-secret-keys", fingerprint, gnupghome, passphrase),
        backup.subkeys: export("--export-secret-subkeys", fingerprint, gnupghome, passphrase),
        backup.revocation: _unguarded(revocation),
    }
    for path, data in contents.items():
        durable.write(path, data, mode=0o600)
    held = {key.fingerprint for key in secret_keys(open_gpg(gnupghome)) if key.primary == fingerprint}
    _prove(backup, fingerprint, held)
    return backup


def _unguarded(revocation: Path) -> bytes:
    """Read the certificate that gpg made, without the colon by which it keeps anyone from importing it by mistake."""
    try:
        text = revocation.read_bytes()
    except OSError as error:
        raise Incomplete(
            f"The revocation certificate {revocation} cannot be read: {error.strerror}.", "Make the key again."
        ) from error
    begin = b"-----BEGIN PGP PUBLIC KEY BLOCK-----"
    return begin + text.partition(begin)[2]


def _prove(backup: Backup, fingerprint: str, held: set[str]) -> None:
    """Import each file from the disk into an empty keyring, and look at what is there then."""
    with _scratch(backup.secret) as home:
        whole = {key.fingerprint for key in secret_keys(open_gpg(home)) if key.usable}
        open_gpg(home).import_keys(backup.revocation.read_bytes())
        revoked = all(key.revoked for key in secret_keys(open_gpg(home)))
    with _scratch(backup.subkeys) as home:
        signing = {key.fingerprint for key in secret_keys(open_gpg(home)) if key.usable}
    if whole != held or signing != held - {fingerprint} or not revoked:
        raise Incomplete(
            f"The backup in {backup.secret.parent} does not restore the key {fingerprint}.",
            "Remove it, see that the medium is in order, and make the key again.",
        )


@contextmanager
def _scratch(file: Path) -> Iterator[Path]:
    """Give a keyring that holds what ``file`` restores, and is gone afterwards, its agent with it."""
    with tempfile.TemporaryDirectory(prefix="fm-") as name:
        try:
            result = open_gpg(Path(name)).import_keys(file.read_bytes())
            if not result.sec_imported:
                said = visible(complaint(result.stderr))
                raise Incomplete(f"{file} cannot be restored: {said}.", "Make the key again.")
            yield Path(name)
        finally:
            stop_agent(Path(name))
