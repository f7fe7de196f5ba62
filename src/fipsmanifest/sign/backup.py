"""Back up a new key: written once, readable by its owner only, and tested by restoring it.

The backup has three files for three places: the whole secret key for offline media, the signing subkeys for the signing
machine, and the revocation certificate for the person who may revoke the key. gpg exports the secrets with the same
passphrase as in its keyring.
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
    """The files of a backup; each is readable by its owner only."""

    secret: Path
    """The primary key and its subkeys, armored."""
    subkeys: Path
    """The signing subkeys without the primary key's secret, armored; for the signing machine."""
    revocation: Path
    """The revocation certificate, ready to import."""


@contextmanager
def prepared(directory: Path, trust_directory: Path) -> Iterator[None]:
    """Create the directory of a backup, and remove it again if nothing was written into it.

    Raises `UsageError` if it is in the trust directory, which is public, or cannot be created, and `Conflict` if it is
    not empty: a backup never replaces another one.
    """
    place, public = directory.resolve(), trust_directory.resolve()
    if place == public or public in place.parents:
        raise UsageError(
            f"{directory} is in the trust directory, which is public.",
            "Name a private directory, on an encrypted medium.",
        )
    made = [one for one in (place, *place.parents) if not one.exists()]
    try:
        for missing in reversed(made):
            missing.mkdir(mode=0o700)
        if any(directory.iterdir()):
            raise Conflict(f"{directory} is not empty.", "Name a new directory: a backup never replaces another one.")
    except OSError as error:
        raise UsageError(
            f"{directory} cannot be created: {error.strerror}.", "Name another directory for the backup."
        ) from error
    try:
        yield
    except BaseException:
        with suppress(OSError):  # one that is not empty stays
            for one in made:
                one.rmdir()
        raise


def make(
    directory: Path, fingerprint: str, revocation: Path, gnupghome: Path | None, passphrase: Passphrase | None
) -> Backup:
    """Write a key's backup into ``directory``, and test it by restoring it into an empty keyring.

    ``fingerprint`` is the primary key's. Raises `Incomplete` if gpg does not export the secrets, the files cannot be
    written, or they do not restore the key.
    """
    backup = Backup(
        directory / f"{fingerprint}-secret.asc",
        directory / f"{fingerprint}-subkeys.asc",
        directory / f"{fingerprint}.rev",
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
    """Return gpg's revocation certificate without the leading colon that prevents an accidental import."""
    try:
        text = revocation.read_bytes()
    except OSError as error:
        raise Incomplete(
            f"The revocation certificate {revocation} cannot be read: {error.strerror}.",
            "Create the key again.",
            reason="not-read",
        ) from error
    begin = b"-----BEGIN PGP PUBLIC KEY BLOCK-----"
    return begin + text.partition(begin)[2]


def _prove(backup: Backup, fingerprint: str, held: set[str]) -> None:
    """Import each file into an empty keyring, and check the keys. Raises `Incomplete` if they differ."""
    with _scratch(backup.secret) as home:
        whole = {key.fingerprint for key in secret_keys(open_gpg(home)) if key.usable}
        open_gpg(home).import_keys(backup.revocation.read_bytes())
        revoked = all(key.revoked for key in secret_keys(open_gpg(home)))
    with _scratch(backup.subkeys) as home:
        signing = {key.fingerprint for key in secret_keys(open_gpg(home)) if key.usable}
    if whole != held or signing != held - {fingerprint} or not revoked:
        raise Incomplete(
            f"The backup in {backup.secret.parent} does not restore the key {fingerprint}.",
            "Remove it, check the medium, and create the key again.",
        )


@contextmanager
def _scratch(file: Path) -> Iterator[Path]:
    """Import ``file`` into a temporary keyring, and remove it and its agent afterwards."""
    with tempfile.TemporaryDirectory(prefix="fm-") as name:
        try:
            result = open_gpg(Path(name)).import_keys(file.read_bytes())
            if not result.sec_imported:
                said = visible(complaint(result.stderr))
                raise Incomplete(f"{file} cannot be restored: {said}.", "Create the key again.")
            yield Path(name)
        finally:
            stop_agent(Path(name))
