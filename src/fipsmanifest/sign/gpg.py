"""The gpg that holds the secret keys, reached through python-gnupg.

Only gpg touches a secret, so smartcards and remote agents work. gpg may come from PATH here: this is the release
engineer's own machine, unlike a node.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Incomplete, UsageError

if TYPE_CHECKING:
    import gnupg

VARIABLE = "FIPSMANIFEST_PASSPHRASE"
DESCRIPTOR_VARIABLE = "FIPSMANIFEST_PASSPHRASE_FD"

_MAX_PASSPHRASE = 4096
_STUB = "#"


class Passphrase:
    """A passphrase that shows itself to nobody by accident: not in a traceback, a log or a repr."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        if not value or value != value.strip() or any(character in value for character in "\r\n\0"):
            raise UsageError(
                "The passphrase is empty, begins or ends with a blank, or has more than one line.",
                f"Set {VARIABLE} or {DESCRIPTOR_VARIABLE} to the passphrase itself, or leave it to gpg's agent.",
            )
        self._value = value

    def reveal(self) -> str:
        """Give the passphrase itself; for gpg's standard input and nothing else."""
        return self._value

    def __repr__(self) -> str:
        return "Passphrase(...)"


def passphrase_from_environment(environment: Mapping[str, str] = os.environ) -> Passphrase | None:
    """Read the passphrase from the file descriptor or variable that names it; None leaves it to gpg's agent.

    A descriptor can be read once: keep the result. Raises `UsageError` where both are set, or one cannot be read.
    """
    value, descriptor = environment.get(VARIABLE), environment.get(DESCRIPTOR_VARIABLE)
    if value is not None and descriptor is not None:
        raise UsageError(f"{VARIABLE} and {DESCRIPTOR_VARIABLE} are both set.", "Set one of them.")
    if descriptor is None:
        return None if value is None else Passphrase(value)
    try:
        with os.fdopen(int(descriptor), "rb", closefd=False) as file:
            line = file.readline(_MAX_PASSPHRASE)
        return Passphrase(line.decode("utf-8").rstrip("\r\n"))
    except (ValueError, OSError) as error:
        raise UsageError(
            f"No passphrase can be read from file descriptor {descriptor}.",
            f"Open it before, as in `{DESCRIPTOR_VARIABLE}=3 ... 3<file`.",
        ) from error


@dataclass(frozen=True, slots=True)
class SecretKey:
    """A key that gpg could sign with."""

    fingerprint: str
    """Of this key, primary or subkey."""
    primary: str
    """Of its primary key."""
    usable: bool
    """Whether the secret part is here or on a card, not only the public one."""
    signs: bool
    """Whether its certificate lets it sign data."""
    expires: datetime | None
    """OpenPGP expiry; None where it has none."""
    expired: bool
    """Whether gpg calls it expired."""
    revoked: bool
    """Whether gpg calls it revoked or invalid."""


def open_gpg(gnupghome: Path | None = None) -> gnupg.GPG:
    """Open gpg, with the keys in ``gnupghome`` (gpg's own default where None); raises `Incomplete` where it is missing.

    Neither gpg nor the agent that it may start is given the passphrase's variables.
    """
    import gnupg

    program = shutil.which("gpg") or shutil.which("gpg2")
    if program is None:
        raise Incomplete("gpg is not installed.", "Install the package gnupg (Debian) or gnupg2 (Enterprise Linux).")
    if gnupghome is not None and not gnupghome.is_dir():
        raise UsageError(f"There is no folder {gnupghome} for gpg's keys.", "Name the folder that GNUPGHOME names.")
    environment = {name: value for name, value in os.environ.items() if name not in (VARIABLE, DESCRIPTOR_VARIABLE)}
    try:
        return gnupg.GPG(
            gpgbinary=program,
            gnupghome=None if gnupghome is None else str(gnupghome),
            env=environment,
            encoding="utf-8",
        )
    except (OSError, ValueError) as error:
        raise Incomplete("gpg does not run.", f"Run `{program} --version` to see why.") from error


def secret_keys(gpg: gnupg.GPG) -> list[SecretKey]:
    """List the keys that have a secret part, primary keys and subkeys alike."""
    found = []
    for key in gpg.list_keys(secret=True):
        found.append(_secret_key(key, key["fingerprint"], key["fingerprint"]))
        found += [
            _secret_key(info, info["fingerprint"], key["fingerprint"]) for info in key.get("subkey_info", {}).values()
        ]
    return found


def _secret_key(fields: Mapping[str, Any], fingerprint: str, primary: str) -> SecretKey:
    expires = datetime.fromtimestamp(int(fields["expires"]), UTC) if fields["expires"] else None
    return SecretKey(
        fingerprint,
        primary,
        usable=fields["token"] != _STUB,
        signs="s" in fields["cap"],
        expires=expires,
        expired=fields["trust"] == "e",
        revoked=fields["trust"] in ("r", "i", "d"),
    )


def complaint(stderr: str) -> str:
    """Give the line of gpg's output that says what went wrong, without status lines."""
    lines = [line.removeprefix("gpg: ").strip() for line in stderr.splitlines() if not line.startswith("[GNUPG:]")]
    return next((line for line in reversed(lines) if line), "gpg gave no reason")
