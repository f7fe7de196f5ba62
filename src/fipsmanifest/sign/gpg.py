"""Use gpg, which has the secret keys, through python-gnupg.

Only gpg handles secrets, so smartcards and remote agents work. Unlike on a node, gpg is found in PATH: this is the
release engineer's own machine.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gnupg

from ..environment import PASSPHRASE, PASSPHRASE_DESCRIPTOR, for_children
from ..errors import Incomplete, UsageError
from ..trust.text import visible

_log = logging.getLogger(__name__)

_MAX_PASSPHRASE = 4096
_STUB = "#"
_PATIENCE = 30.0  # seconds


class Passphrase:
    """A passphrase that does not appear in a traceback, a log or a repr."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        if not value or value != value.strip() or any(character in value for character in "\r\n\0"):
            raise UsageError(
                "The passphrase is empty, begins or ends with a blank, or has more than one line.",
                f"Set {PASSPHRASE} or {PASSPHRASE_DESCRIPTOR} to the passphrase itself, or leave it to gpg's agent.",
            )
        self._value = value

    def reveal(self) -> str:
        """Return the passphrase itself; only for gpg's standard input."""
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
    """A key in gpg's secret keyring."""

    fingerprint: str
    """Of this key, primary or subkey."""
    primary: str
    """Of its primary key."""
    usable: bool
    """Whether gpg knows that the secret part is available; it does not know the keys of a forwarded agent."""
    signs: bool
    """Whether its certificate lets it sign data."""
    expires: datetime | None
    """OpenPGP expiry; None if it does not expire."""
    expired: bool
    """Whether gpg calls it expired."""
    revoked: bool
    """Whether gpg calls it revoked or invalid."""


class _Gpg(gnupg.GPG):  # type: ignore[misc]
    """python-gnupg whose gpg ends with a call that is interrupted.

    A gpg that waits for an agent or a card would otherwise go on without anything that reads its signature.
    """

    def _collect_output(self, process: subprocess.Popen[bytes], *arguments: Any, **named: Any) -> Any:
        try:
            return super()._collect_output(process, *arguments, **named)
        except BaseException:
            process.kill()
            process.wait()
            raise


def open_gpg(gnupghome: Path | None = None) -> gnupg.GPG:
    """Open gpg, with the keys in ``gnupghome`` (gpg's own default where None); raises `Incomplete` if gpg is missing.

    Neither gpg nor its agent receives the environment variables with the passphrase.
    """
    program = find()
    _log.debug("opening %s with the keys in %s", program, gnupghome or "its default home directory")
    if gnupghome is not None and not gnupghome.is_dir():
        raise UsageError(
            f"The directory {gnupghome} for gpg's keys does not exist.", "Name gpg's home directory, as in GNUPGHOME."
        )
    try:
        return _Gpg(
            gpgbinary=program,
            gnupghome=None if gnupghome is None else str(gnupghome),
            env=environment(),
            encoding="utf-8",
        )
    except (OSError, ValueError) as error:
        raise Incomplete("gpg does not run.", f"Run `{program} --version` to see why.", reason="no-gnupg") from error


def environment() -> dict[str, str]:
    """Return the environment of gpg: without the passphrase, and with the terminal for its agent's prompt.

    gpg's own standard input is a pipe, so it cannot find the terminal itself (gpg-agent(1), GPG_TTY).
    """
    found = for_children()
    if "GPG_TTY" not in found and sys.stdin is not None and sys.stdin.isatty():
        found["GPG_TTY"] = os.ttyname(sys.stdin.fileno())
    return found


def home(gnupghome: Path | None) -> Path:
    """Return gpg's home directory: ``gnupghome``, else GNUPGHOME, else gpg's default."""
    return gnupghome or Path(os.environ.get("GNUPGHOME") or "~/.gnupg").expanduser()


def export(what: str, fingerprint: str, gnupghome: Path | None, passphrase: Passphrase | None) -> bytes:
    """Export ``what`` (``--export-secret-keys``, ``--export-secret-subkeys``) of a key from gpg, armored.

    python-gnupg cannot export subkeys alone. The passphrase goes through a pipe; without one the agent asks. Raises
    `Incomplete` if gpg exports nothing.
    """
    done = _with_secret(["--batch", "--armor", what, fingerprint], gnupghome, passphrase)
    if done.returncode != 0 or not done.stdout:
        raise _no_secret(f"gpg does not export the secret key {fingerprint}", fingerprint, done)
    return done.stdout


def make_revocation(fingerprint: str, gnupghome: Path | None, passphrase: Passphrase | None) -> bytes:
    """Create a revocation certificate with gpg, armored; raises as `export` does.

    gpg creates one with each new key, unless its agent caches no passphrases: then it silently creates none.
    """
    # Yes; 0, no reason; no description; yes (GnuPG's g10/revoke.c).
    done = _with_secret(["--command-fd", "0", "--gen-revoke", fingerprint], gnupghome, passphrase, b"y\n0\n\ny\n")
    if done.returncode != 0 or not done.stdout:
        raise _no_secret(f"gpg does not create a revocation certificate of {fingerprint}", fingerprint, done)
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
        # The passphrase is in the pipe, not in the command.
        _log.debug("running %s", " ".join([*command, *words]))
        return subprocess.run(
            [*command, *words], input=answers, env=environment(), pass_fds=(reader,), capture_output=True, check=False
        )
    finally:
        os.close(reader)


def is_wrong_passphrase(stderr: str) -> bool:
    """Return whether gpg reports a wrong or missing passphrase (GnuPG's doc/DETAILS)."""
    return any(word in stderr for word in ("BAD_PASSPHRASE", "MISSING_PASSPHRASE", "Bad passphrase"))


def wrong_passphrase(key: str) -> Incomplete:
    """Return the error for a wrong passphrase of ``key``, with the variable that it came from."""
    given = [name for name in (PASSPHRASE, PASSPHRASE_DESCRIPTOR) if name in os.environ]
    if given:
        return Incomplete(
            f"The passphrase in {given[0]} is not that of {key}.",
            "Correct it, or unset it so that gpg's agent asks.",
            reason="passphrase",
        )
    return Incomplete(
        f"gpg did not get the right passphrase for {key}.",
        f"Provide it by gpg's agent, {PASSPHRASE_DESCRIPTOR} or {PASSPHRASE}.",
        reason="passphrase",
    )


def _no_secret(what: str, fingerprint: str, done: subprocess.CompletedProcess[bytes]) -> Incomplete:
    said = done.stderr.decode(errors="replace")
    if is_wrong_passphrase(said):
        return wrong_passphrase(f"the key {fingerprint}")
    return Incomplete(
        f"{what}: {visible(complaint(said))}.",
        "Provide the passphrase by gpg's agent, FIPSMANIFEST_PASSPHRASE_FD or FIPSMANIFEST_PASSPHRASE.",
    )


def stop_agent(gnupghome: Path) -> None:
    """Stop the agent of a temporary keyring."""
    command = ["gpgconf", "--homedir", str(gnupghome), "--kill", "all"]
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(command, env=for_children(), capture_output=True, check=False, timeout=_PATIENCE)


def find() -> str:
    """Return the path of gpg; raises `Incomplete` if it is not installed."""
    program = shutil.which("gpg") or shutil.which("gpg2")
    if program is None:
        raise Incomplete(
            "gpg is not installed.",
            "Install the package gnupg (Debian) or gnupg2 (Enterprise Linux).",
            reason="no-gnupg",
        )
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
    """Return the last line of gpg's error output that is not a status line."""
    lines = [line.removeprefix("gpg: ").strip() for line in stderr.splitlines() if not line.startswith("[GNUPG:]")]
    return next((line for line in reversed(lines) if line), "gpg gave no reason")
