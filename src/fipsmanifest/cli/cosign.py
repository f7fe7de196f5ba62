"""The keys that cosign uses, for the verbs that sign."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path

from ..environment import COSIGN_PASSPHRASE
from ..errors import UsageError
from ..sign import cosign
from ..sign.gpg import Passphrase, passphrase_from_environment
from ..trust.store import load_trust
from ..workflows.signing import Signer


def signer(keys: Path, signing_key: str | None, cosign_key: Path | None) -> Signer:
    """Return who signs with the keys of a trust directory; without ``cosign_key``, by gpg alone."""
    opened = None if cosign_key is None else cosign.require_listed(open_key(cosign_key), keys)
    return Signer(
        load_trust(str(keys)),
        signing_key,
        passphrase=passphrase_from_environment(),
        cosign_keys=cosign.public_keys(keys),
        cosign_key=opened,
    )


def open_key(path: Path) -> cosign.SigningKey:
    """Open a private key; its passphrase is in the environment, or asked for on a terminal."""
    secret = _from_environment()
    if secret is None and cosign.is_encrypted(path) and _asks():
        secret = Passphrase(getpass.getpass(f"Passphrase of {path}: "))
    return cosign.open_key(path, secret)


def new_passphrase(path: Path) -> Passphrase:
    """Return the passphrase of a new key. Raises `UsageError` if there is none."""
    if (given := _from_environment()) is not None:
        return given
    if not _asks():
        raise UsageError(
            f"{path} needs a passphrase.", f"Set {COSIGN_PASSPHRASE}, or run it on a terminal, which asks for one."
        )
    typed = Passphrase(getpass.getpass(f"New passphrase of {path}: "))
    if getpass.getpass("Again: ") != typed.reveal():
        raise UsageError("The two passphrases differ.", "Type the same one twice.")
    return typed


def _from_environment() -> Passphrase | None:
    # cosign takes an empty one for a key without a passphrase.
    value = os.environ.get(COSIGN_PASSPHRASE)
    return Passphrase(value) if value else None


def _asks() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()
