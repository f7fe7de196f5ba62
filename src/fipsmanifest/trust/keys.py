"""Trusted keys: their roles, their validity, and which signature each may make."""

from datetime import datetime
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from ..errors import NotTrusted
from . import openpgp
from .text import visible, write_time

SCHEMA = "fipsmanifest/trust/v1"
ROLES = ("manifest", "tool", "upstream", "modules")
TOOL_ROLES = ("manifest", "tool")
OWN_ROLES = ("manifest", "tool", "modules")
STATUSES = ("active", "retired", "revoked")
MINIMUM_BITS = {"manifest": 3072, "tool": 3072, "upstream": 2048, "modules": 3072}
MINIMUM_EXPONENT = 65537  # FIPS 186-5, appendix A.1.1: more than 2**16
WARN_DAYS = 90
UNBOUND = (
    "no signature by SHA-256 or better without expiry binds it to its certificate",
    "Ask its owner to renew it with GnuPG 2.2 or newer (docs/keys.md): `gpg --quick-set-expire FPR 0`, "
    "`gpg --quick-add-key FPR rsa3072 sign never`; then add the certificate again.",
)


class TrustedKey(NamedTuple):
    """One entry of trust.json."""

    fingerprint: str
    """The trusted key, 40 upper-case hex digits: a primary key, or one subkey."""
    role: str
    """``manifest``, ``tool``, ``upstream`` or ``modules``."""
    status: str
    """``active``, ``retired`` (older signatures stay valid) or ``revoked`` (none is valid)."""
    valid_from: datetime
    """Signatures made before this are refused."""
    valid_to: Optional[datetime]
    """Signatures made at or after this are refused; None for no end."""
    signing_keys: Tuple[str, ...]
    """The only keys that may sign in this role; empty for any signing key of the certificate."""
    replaced_by: Optional[str]
    """The next key's fingerprint."""
    reason: Optional[str]
    """Why it was retired or revoked."""
    user_id: str
    """The user id of its owner; escape before printing."""

    def to_json(self) -> Dict[str, Any]:
        """Return the entry as JSON object of trust.json."""
        return {
            "fingerprint": self.fingerprint,
            "role": self.role,
            "status": self.status,
            "user_id": self.user_id,
            "signing_keys": list(self.signing_keys),
            "valid_from": write_time(self.valid_from),
            "valid_to": None if self.valid_to is None else write_time(self.valid_to),
            "replaced_by": self.replaced_by,
            "reason": self.reason,
        }


class Trust(NamedTuple):
    """The content of a trust directory, checked."""

    keys: Tuple[TrustedKey, ...]
    """The entries, in the file's order."""
    certificates: Tuple[openpgp.Certificate, ...]
    """The certificates of the entries, without others."""
    origin: str
    """The origin, for people: a directory, or the tool itself."""
    edition: int = 1
    """1, 2, ...: it increases when the result of `carried` changes."""
    exposed: Optional[str] = None
    """A path of the trust directory that every user of the machine can write to; None if there is none."""

    def carried(self) -> "Trust":
        """Return the part that is in the node tool: the keys for manifests and for the tool."""
        keys = tuple(key for key in self.keys if key.role in TOOL_ROLES)
        certificates = tuple(
            certificate
            for certificate in self.certificates
            if certificate in [self.certificate(key.fingerprint) for key in keys]
        )
        return self._replace(keys=keys, certificates=certificates, exposed=None)

    def document(self) -> Dict[str, Any]:
        """Return the JSON object of trust.json."""
        return {"schema": SCHEMA, "edition": self.edition, "keys": [key.to_json() for key in self.keys]}

    def keyring(self) -> bytes:
        """Return a binary keyring for gpgv."""
        return b"".join(certificate.packets for certificate in self.certificates)

    def certificate(self, fingerprint: str) -> Optional[openpgp.Certificate]:
        """Return the certificate that has the key with this fingerprint; None if there is none."""
        return certificate_with(self.certificates, fingerprint)

    def warnings(self, now: datetime, roles: Sequence[str] = ROLES) -> List[str]:
        """Return warnings: `exposure`, and each active key of these roles that ends in at most `WARN_DAYS` days."""
        found = self.exposure()
        for key in self.keys:
            if (
                key.role in roles
                and key.status == "active"
                and key.valid_to is not None
                and (key.valid_to - now).days <= WARN_DAYS
            ):
                found.append(
                    "The {} key {} is valid until {}.".format(key.role, key.fingerprint, write_time(key.valid_to))
                )
        return found

    def exposure(self) -> List[str]:
        """Return a warning if every user of the machine can change what is trusted."""
        if self.exposed is None:
            return []
        path = visible(self.exposed)
        return ["Every user of this machine can write to {}, and so choose whom it trusts: chmod o-w it.".format(path)]

    def admit(self, key: str, primary: str, role: str, signed_at: datetime) -> TrustedKey:
        """Return the entry that allows ``key`` (of the certificate ``primary``) to sign in ``role`` at ``signed_at``.

        Raises `NotTrusted` with the reason: unknown, revoked, another role, too weak, not a signing key, or outside its
        validity.
        """
        about = [entry for entry in self.keys if entry.fingerprint in (key, primary)]
        matching = [entry for entry in about if not entry.signing_keys or key in entry.signing_keys]
        for entry in about:
            # The holder of a primary key can make any subkeys, so a revoked entry excludes all of the certificate.
            if entry.status == "revoked":
                raise _refused("key {} is revoked{}".format(entry.fingerprint, _because(entry)), _replacement(entry))
        entries = [entry for entry in matching if entry.role == role]
        if not entries:
            named = sorted({entry.role for entry in matching})
            what = "is trusted for {} only, not for {}".format(" and ".join(named), role) if named else "is not trusted"
            raise _refused("key {} {}".format(key, what), "Get a file that is signed by a trusted {} key.".format(role))
        certificate = self.certificate(primary)
        if certificate is None or not certificate.has(key):
            raise _refused("no certificate here has the key {}".format(key), "Add its certificate.")
        if certificate.revoker is not None:
            raise _refused(
                "key {} is revoked by {}, a revoker that it names".format(primary, certificate.revoker),
                "Get a file that is signed by an active key.",
            )
        weakness = find_weakness(certificate.key(key), role)
        if weakness is None and is_unbound(certificate.key(key), role):
            weakness = UNBOUND
        if weakness is not None:
            raise _refused("key {} is too weak for the role {}: {}".format(key, role, weakness[0]), weakness[1])
        if not certificate.key(key).signs:
            raise _refused(
                "the certificate of key {} does not let it sign".format(key),
                "Get a file that is signed by a signing key.",
            )
        for entry in entries:
            if entry.valid_from <= signed_at and (entry.valid_to is None or signed_at < entry.valid_to):
                return entry
        entry = entries[-1]
        if signed_at < entry.valid_from:
            when = "before key {} became valid ({})".format(entry.fingerprint, write_time(entry.valid_from))
        else:
            when = "after the end of key {}{}".format(entry.fingerprint, _because(entry))
        raise _refused("it was signed on {}, {}".format(write_time(signed_at), when), _replacement(entry))


def _because(entry: TrustedKey) -> str:
    return " ({})".format(visible(entry.reason)) if entry.reason else ""


def _replacement(entry: TrustedKey) -> str:
    if entry.replaced_by:
        return "Get a file that is signed by the key that replaces it, {}.".format(visible(entry.replaced_by))
    return "Get a file that is signed by an active key."


def _refused(reason: str, advice: str) -> NotTrusted:
    return NotTrusted("The signer is not trusted: {}.".format(reason), advice, reason="untrusted-key")


def certificate_with(certificates: Iterable[openpgp.Certificate], fingerprint: str) -> Optional[openpgp.Certificate]:
    """Return the first certificate that has the key with this fingerprint; None if there is none."""
    return next((one for one in certificates if one.has(fingerprint)), None)


def check_strength(certificate: openpgp.Certificate, entry: TrustedKey) -> None:
    """Raise `NotTrusted` for a key that is too weak for its role, or a signing key that is not in the certificate."""
    for fingerprint in (entry.fingerprint,) + entry.signing_keys:
        if not certificate.has(fingerprint):
            raise NotTrusted(
                "The certificate of {} does not have the key {}.".format(entry.fingerprint, fingerprint),
                "Export the certificate again, with all its subkeys.",
                reason="trust-directory",
            )
        weakness = find_weakness(certificate.key(fingerprint), entry.role)
        if weakness is not None:
            raise NotTrusted(
                "The key {} is too weak for the role {}: {}.".format(fingerprint, entry.role, weakness[0]),
                weakness[1],
                reason="trust-directory",
            )


def find_weakness(key: openpgp.Key, role: str) -> Optional[Tuple[str, str]]:
    """Return why a key is too weak for a role, and what to do; None if it is strong enough.

    This project cannot renew upstream keys: what gpg verifies is accepted, from 2048 bits on.
    """
    stronger = "Use an RSA key of at least {} bits, with the exponent that gpg gives it.".format(MINIMUM_BITS[role])
    if key.algorithm != openpgp.RSA or not key.bits:
        return "not a valid RSA key", stronger
    if key.bits < MINIMUM_BITS[role]:
        return "RSA with {} bits".format(key.bits), stronger
    if role in OWN_ROLES and key.exponent < MINIMUM_EXPONENT:
        return "RSA with the exponent {}".format(key.exponent), stronger
    return None


def is_unbound(key: openpgp.Key, role: str) -> bool:
    """Return whether a key has no lasting strong binding to its certificate, which upstream keys do not need."""
    return role in OWN_ROLES and key.bound is None
