"""The files of the trust directory: read, changed under a lock, and written."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..errors import UsageError
from ..state import durable
from ..trust import armor, openpgp
from ..trust.keys import Trust, TrustedKey
from ..trust.store import TRUST_FILE, load_trust, parse_trust


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Serialize changes of a directory; a change holds the lock from reading to writing.

    The directory itself is locked, so that no lock file remains in version control.
    """
    try:
        durable.make_directory(directory)
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise UsageError(
            f"{directory} cannot be changed: {error.strerror}.", "Name another trust directory."
        ) from error
    try:
        durable.lock(descriptor, directory, "Change a copy on a local disk, and copy it back.")
        yield
    finally:
        os.close(descriptor)


def change(directory: Path, change_keys: Callable[[Trust], Sequence[TrustedKey]]) -> Trust:
    """Rewrite trust.json, unless the result is invalid; the directory must be locked."""
    before = read(directory)
    after = next_trust(before, change_keys(before), read_certificates(directory))
    write_trust(directory, after)
    return after


def next_trust(before: Trust, keys: Sequence[TrustedKey], contents: list[tuple[str, bytes]]) -> Trust:
    """Return the trust with these entries, with the next edition if the node tool would carry other keys.

    Without a manifest key no tool could have been built, so the edition stays.
    """
    trust = parse_trust(_encode(before._replace(keys=tuple(keys))), contents, before.origin)
    old, new = before.carried(), trust.carried()
    built = any(key.role == "manifest" for key in old.keys)
    changed = built and (old.keys, old.certificates) != (new.keys, new.certificates)
    return trust._replace(edition=before.edition + 1) if changed else trust


def read(directory: Path) -> Trust:
    """Return the trust of a directory; without trust.json it is empty."""
    return load_trust(str(directory)) if (directory / TRUST_FILE).exists() else Trust((), (), str(directory))


def write_trust(directory: Path, trust: Trust) -> None:
    """Write trust.json."""
    durable.write(directory / TRUST_FILE, _encode(trust))


def _encode(trust: Trust) -> bytes:
    return (json.dumps(trust.document(), indent=2, ensure_ascii=True) + "\n").encode("ascii")


def read_certificates(directory: Path) -> list[tuple[str, bytes]]:
    """Return the name and content of each certificate's file."""
    if not directory.is_dir():
        return []
    # A directory or a pipe is not a certificate; `load_trust` skips it as well.
    paths = [path for path in sorted(directory.iterdir()) if path.suffix in (".asc", ".gpg") and path.is_file()]
    return [(path.name, path.read_bytes()) for path in paths]


def certificate_name(certificate: openpgp.Certificate, contents: Sequence[tuple[str, bytes]] = ()) -> str:
    """Return the name of a certificate's file: the existing file that contains only it, else a new name."""
    primary = certificate.primary.fingerprint
    for name, content in contents:
        if {one.primary.fingerprint for one in openpgp.read_certificates(content)} == {primary}:
            return name
    return f"{primary}.asc"


def write_certificate(path: Path, certificate: openpgp.Certificate) -> None:
    """Write a certificate, armored if the file's name says so."""
    armored = path.suffix == ".asc"
    durable.write(path, armor.armor(certificate.packets, b"PUBLIC KEY BLOCK") if armored else certificate.packets)
