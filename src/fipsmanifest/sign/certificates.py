"""Read the validity of a certificate's keys with gpg: which may sign, until when, and which are revoked."""

from __future__ import annotations

import logging
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from ..environment import for_children
from ..errors import Incomplete
from ..trust.keys import UNBOUND
from ..trust.openpgp import Certificate
from ..trust.text import visible, write_time
from .gpg import complaint, find

_TIME_LIMIT = 60.0  # seconds
_UNUSABLE = ("r", "i", "d")  # revoked, invalid, disabled (GnuPG's doc/DETAILS, field 2)


_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KeyValidity:
    """A key's validity according to its certificate; trust.json may end it earlier."""

    fingerprint: str
    """Of the primary key or subkey."""
    signs: bool
    """Whether it may sign data."""
    revoked: bool
    """Whether it, or its primary key, was revoked by its owner or a designated revoker."""
    expires: datetime | None
    """When it, or its primary key, expires; None if neither does."""
    bound: bool = True
    """Whether strong signatures bind it to its certificate; not required of upstream keys."""

    def refusal_reason(self, role: str, now: datetime) -> str | None:
        """Return why gpgv accepts no new signature of this key in ``role``; None if it does.

        Signatures of an upstream key from before its expiry stay accepted; those of other keys do not.
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

    def may_be_accepted(self, role: str, now: datetime) -> bool:
        """Return whether any signature of this key, also an old one, can be accepted in ``role``."""
        if not self.signs or self.revoked:
            return False
        return role == "upstream" or (self.bound and (self.expires is None or self.expires > now))


def read_validity(*certificates: Certificate) -> Mapping[str, KeyValidity]:
    """Return the validity of each key of these certificates, by fingerprint; keys that gpg ignores are missing.

    Raises `Incomplete` if gpg is missing or does not read them.
    """
    with tempfile.TemporaryDirectory(prefix="fm-") as home:
        command = [find(), "--homedir", home, "--batch", "--no-tty", "--no-keyring"]
        _log.debug("running %s --with-colons --show-keys", " ".join(command))
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
            raise Incomplete(
                "gpg cannot be run to read certificates.", f"Run `{command[0]} --version`.", reason="no-gnupg"
            ) from error
    if done.returncode != 0 and not done.stdout:
        reason = visible(complaint(done.stderr.decode(errors="replace")))
        raise Incomplete(f"gpg does not read the certificates: {reason}.", "Get them again from their publishers.")
    bound = {key.fingerprint for one in certificates for key in (one.primary, *one.subkeys) if key.bound}
    # gpg believes a designated revoker only if it has that key.
    revoked = {key.fingerprint for one in certificates if one.revoker for key in (one.primary, *one.subkeys)}
    found: dict[str, KeyValidity] = {}
    primary: KeyValidity | None = None
    row: list[str] = []
    for line in done.stdout.decode("utf-8", "replace").splitlines():
        fields = line.split(":")
        if fields[0] in ("pub", "sub"):
            row = fields
        elif fields[0] == "fpr" and row:
            life = _key_validity(row, fields[9], None if row[0] == "pub" else primary, bound=fields[9] in bound)
            life = replace(life, revoked=life.revoked or life.fingerprint in revoked)
            primary = life if row[0] == "pub" else primary
            found[life.fingerprint] = life
            row = []
    return found


def _key_validity(row: list[str], fingerprint: str, primary: KeyValidity | None, *, bound: bool) -> KeyValidity:
    # Fields 2, 7 and 12 of GnuPG's doc/DETAILS; lower-case capabilities are the key's own.
    ends = [datetime.fromtimestamp(int(row[6]), UTC)] if row[6].isdigit() else []
    revoked = row[1] in _UNUSABLE
    if primary is not None:
        ends += [] if primary.expires is None else [primary.expires]
        revoked = revoked or primary.revoked
    return KeyValidity(fingerprint, "s" in row[11], revoked, min(ends, default=None), bound)
