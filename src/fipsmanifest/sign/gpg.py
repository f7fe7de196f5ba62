"""The gpg that holds the secret keys, reached through python-gnupg.

Only gpg touches a secret, so smartcards and remote agents work. gpg may come from PATH here: this is the release
engineer's own machine, unlike a node.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..environment import PASSPHRASE, PASSPHRASE_DESCRIPTOR, for_children
from ..errors import Incomplete, UsageError
from ..trust.text import visible

if TYPE_CHECKING:
    import gnupg

_MAX_PASSPHRASE = 4096
_STUB = "#"
_PATIENCE = 30.0  # seconds


class Passphrase:
    """A passphrase that shows itself to nobody by accident: not in a traceback, a log or a repr."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        if not value or value != value.strip() or any(character in value for character in "\r\n\0"):
            raise UsageError(
                "The passphrase is empty, begins or ends with a blank, or has more than one line.",
                f"Set {PASSPHRASE} or {PASSPHRASE_DESCRIPTOR} to the passphrase itself, or leave it to gpg's agent.",
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
    value, descriptor = environment.get(PASSPHRASE), environment.get(PASSPHRASE_DESCRIPTOR)
    if value is not None and descriptor is not None:
        raise UsageError(f"{PASSPHRASE} and {PASSPHRASE_DESCRIPTOR} are both set.", "Set one of them.")
    if descriptor is None:
        return None if value is None else Passphrase(value)
    try:
        with os.fdopen(int(descriptor), "rb", closefd=False) as file:
            line = file.readline(_MAX_PASSPHRASE)
        return Passphrase(line.decode("utf-8").rstrip("\r\n"))
    except (ValueError, OSError) as error:
        raise UsageError(
            f"No passphrase can be read from file descriptor {descriptor}.",
            f"Open it before, as in `{PASSPHRASE_DESCRIPTOR}=3 ... 3<file`.",
        ) from error


@dataclass(frozen=True, slots=True)
class SecretKey:
    """A key that gpg could sign with."""

    fingerprint: str
    """Of this key, primary or subkey."""
    primary: str
    """Of its primary key."""
    usable: bool
    """Whether gpg knows that the secret part is here or on a card; of what a forwarded agent holds it does not."""
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

    program = find()
    if gnupghome is not None and not gnupghome.is_dir():
        raise UsageError(f"There is no folder {gnupghome} for gpg's keys.", "Name the folder that GNUPGHOME names.")
    try:
        return gnupg.GPG(
            gpgbinary=program,
            gnupghome=None if gnupghome is None else str(gnupghome),
            env=environment(),
            encoding="utf-8",
        )
    except (OSError, ValueError) as error:
        raise Incomplete("gpg does not run.", f"Run `{program} --version` to see why.") from error


def environment() -> dict[str, str]:
    """Return the environment of gpg: without the passphrase, and with the terminal on which its agent is to ask.

    gpg's own standard input is a pipe, so it cannot find the terminal itself (gpg-agent(1), GPG_TTY).
    """
    found = for_children()
    if "GPG_TTY" not in found and sys.stdin is not None and sys.stdin.isatty():
        found["GPG_TTY"] = os.ttyname(sys.stdin.fileno())
    return found


def home(gnupghome: Path | None) -> Path:
    """Give the folder in which gpg keeps its keys, where ``gnupghome`` names none."""
    return gnupghome or Path(os.environ.get("GNUPGHOME") or "~/.gnupg").expanduser()


def export(what: str, fingerprint: str, gnupghome: Path | None, passphrase: Passphrase | None) -> bytes:
    """Have gpg export ``what`` (``--export-secret-keys``, ``--export-secret-subkeys``) of a key, armored.

    python-gnupg cannot export subkeys alone. The passphrase goes through a pipe; without one the agent asks. Raises
    `Incomplete` where gpg gives nothing out.
    """
    done = _with_secret(["--batch", "--armor", what, fingerprint], gnupghome, passphrase)
    if done.returncode != 0 or not done.stdout:
        raise _no_secret(f"gpg does not give out the secret of {fingerprint}", fingerprint, done)
    return done.stdout


def make_revocation(fingerprint: str, gnupghome: Path | None, passphrase: Passphrase | None) -> bytes:
    """Have gpg make a revocation certificate, armored; raises as `export` does.

    gpg makes one with each new key, unless its agent forgets passphrases at once: then it makes none, without a word.
    """
    # Yes; 0, no reason; no description; yes (GnuPG's g10/revoke.c).
    done = _with_secret(["--command-fd", "0", "--gen-revoke", fingerprint], gnupghome, passphrase, b"y\n0\n\ny\n")
    if done.returncode != 0 or not done.stdout:
        raise _no_secret(f"gpg makes no revocation certificate of {fingerprint}", fingerprint, done)
    return done.stdout


def _with_secret(
    words: Sequence[str], gnupghome: Path | None, passphrase: Passphrase | None, answers: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    command = [find(), "--no-tty", "--quiet", *([] if gnupghome is None else ["--homedir", str(gnupghome)])]
    reader, writer = os.pipe()
    try:
        with os.fdopen(writer, "wb") as pipe:
            pipe.write((passphrase.reveal() if passphrase else "").encode() + b"\n")
        if passphrase is not None:
            command += ["--pinentry-mode", "loopback", "--passphrase-fd", str(reader)]
        return subprocess.run(
            [*command, *words], input=answers, env=environment(), pass_fds=(reader,), capture_output=True, check=False
        )
    finally:
        os.close(reader)


def is_wrong_passphrase(stderr: str) -> bool:
    """Return whether gpg says that it got a wrong passphrase, or none (GnuPG's doc/DETAILS)."""
    return any(word in stderr for word in ("BAD_PASSPHRASE", "MISSING_PASSPHRASE", "Bad passphrase"))


def wrong_passphrase(key: str) -> Incomplete:
    """Return the error of a passphrase that does not open ``key``, naming the variable that it came from."""
    given = [name for name in (PASSPHRASE, PASSPHRASE_DESCRIPTOR) if name in os.environ]
    if given:
        return Incomplete(
            f"The passphrase in {given[0]} is not that of {key}.", "Correct it, or unset it so that gpg's agent asks."
        )
    return Incomplete(
        f"gpg did not get the right passphrase for {key}.",
        f"Give it by gpg's agent, {PASSPHRASE_DESCRIPTOR} or {PASSPHRASE}.",
    )


def _no_secret(what: str, fingerprint: str, done: subprocess.CompletedProcess[bytes]) -> Incomplete:
    said = done.stderr.decode(errors="replace")
    if is_wrong_passphrase(said):
        return wrong_passphrase(f"the key {fingerprint}")
    return Incomplete(
        f"{what}: {visible(complaint(said))}.",
        "Give the passphrase by gpg's agent, FIPSMANIFEST_PASSPHRASE_FD or FIPSMANIFEST_PASSPHRASE.",
    )


def stop_agent(gnupghome: Path) -> None:
    """End the agent that gpg started for a keyring that is about to go."""
    command = ["gpgconf", "--homedir", str(gnupghome), "--kill", "all"]
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(command, env=for_children(), capture_output=True, check=False, timeout=_PATIENCE)


def find() -> str:
    """Give the path of gpg; raises `Incomplete` where there is none."""
    program = shutil.which("gpg") or shutil.which("gpg2")
    if program is None:
        raise Incomplete("gpg is not installed.", "Install the package gnupg (Debian) or gnupg2 (Enterprise Linux).")
    return program


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
