"""What a certificate says of its own keys, as gpg reads it: which may sign, until when, and which were given up."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from ..environment import for_children
from ..errors import Incomplete
from ..trust.openpgp import Certificate
from ..trust.store import UNBOUND
from ..trust.text import visible, write_time
from .gpg import complaint, find

_TIME_LIMIT = 60.0  # seconds
_GIVEN_UP = ("r", "i", "d")  # revoked, invalid, disabled (GnuPG's doc/DETAILS, field 2)


@dataclass(frozen=True, slots=True)
class Life:
    """A key's life as its certificate tells it; trust.json may end it earlier."""

    fingerprint: str
    """Of the primary key or subkey."""
    signs: bool
    """Whether it may sign data."""
    revoked: bool
    """Whether it, or the primary key above it, was revoked by its owner."""
    expires: datetime | None
    """When it, or the primary key above it, expires; None where neither does."""
    bound: bool = True
    """Whether strong signatures make it part of its certificate; upstream's need not."""

    def trouble(self, role: str, now: datetime) -> str | None:
        """Say why gpgv accepts nothing new of this key in ``role``; None where it does.

        What an upstream's key signed before it expired is accepted; of other keys nothing is, whatever its date.
        """
        if self.revoked:
            return f"{self.fingerprint} is revoked by its own certificate: nothing that it signed is accepted"
        if not self.signs:
            return f"{self.fingerprint} may not sign, as its certificate says"
        if not self.bound and role != "upstream":
            return f"{self.fingerprint} is not relied on: {UNBOUND[0]}"
        if self.expires is None or self.expires > now:
            return None
        what = "what it signed since is refused" if role == "upstream" else "nothing that it signed is accepted"
        return f"{self.fingerprint} expired on {write_time(self.expires)} (OpenPGP): {what}"

    def serves(self, role: str, now: datetime) -> bool:
        """Tell whether any signature of this key can be accepted in ``role``."""
        if not self.signs or self.revoked:
            return False
        return role == "upstream" or (self.bound and (self.expires is None or self.expires > now))


def read_lives(*certificates: Certificate) -> Mapping[str, Life]:
    """Have gpg tell of each key of these certificates, by fingerprint; what it takes for no key is not there.

    Raises `Incomplete` where gpg is missing or does not read them.
    """
    with tempfile.TemporaryDirectory(prefix="fm-") as home:
        command = [find(), "--homedir", home, "--batch", "--no-tty", "--no-keyring"]
        try:
            done = subprocess.run(
                [*command, "--with-colons", "--show-keys"],
                input=b"".join(one.packets for one in certificates),
                env=for_children(),
                capture_output=True,
                timeout=_TIME_LIMIT,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Incomplete("gpg cannot be asked about certificates.", f"Run `{command[0]} --version`.") from error
    if done.returncode != 0 and not done.stdout:
        reason = visible(complaint(done.stderr.decode(errors="replace")))
        raise Incomplete(f"gpg does not read the certificates: {reason}.", "Get them again from their publishers.")
    bound = {key.fingerprint for one in certificates for key in (one.primary, *one.subkeys) if key.bound}
    found: dict[str, Life] = {}
    primary: Life | None = None
    row: list[str] = []
    for line in done.stdout.decode("utf-8", "replace").splitlines():
        fields = line.split(":")
        if fields[0] in ("pub", "sub"):
            row = fields
        elif fields[0] == "fpr" and row:
            life = _life(row, fields[9], None if row[0] == "pub" else primary, bound=fields[9] in bound)
            primary = life if row[0] == "pub" else primary
            found[life.fingerprint] = life
            row = []
    return found


def _life(row: list[str], fingerprint: str, primary: Life | None, *, bound: bool) -> Life:
    # Fields 2, 7 and 12 of GnuPG's doc/DETAILS; lower-case capabilities are the key's own.
    ends = [datetime.fromtimestamp(int(row[6]), UTC)] if row[6].isdigit() else []
    revoked = row[1] in _GIVEN_UP
    if primary is not None:
        ends += [] if primary.expires is None else [primary.expires]
        revoked = revoked or primary.revoked
    return Life(fingerprint, "s" in row[11], revoked, min(ends, default=None), bound)
