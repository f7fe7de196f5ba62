"""Which keys are trusted, for what, and since and until when.

A trust folder holds certificates (``*.asc``, ``*.gpg``) and ``trust.json``::

    {"schema": "fipsmanifest/trust/v1",
     "edition": 1,
     "keys": [{"fingerprint": "<40 hex digits>", "role": "manifest", "status": "active",
               "valid_from": "2026-11-23T10:00:00Z", "valid_to": null, "signing_keys": ["<40 hex digits>"],
               "replaced_by": null, "reason": null, "user_id": "Release <release@example.com>"}]}

``fingerprint`` pins a certificate by its primary key, or one subkey alone. ``signing_keys`` narrows an entry to the
subkeys that may act in this role; so one certificate can have a subkey for manifests and another for the tool, and
neither can stand in for the other. A certificate without an entry is not trusted, whatever its file is called.
``edition`` counts the changes of what the node tool carries, and is part of its version (`.version`); absent, it is 1.
"""

import errno
import functools
import os
import re
import stat
from datetime import datetime
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from ..errors import NotTrusted, UsageError
from . import openpgp, strictjson
from .text import read_time, visible, write_time

SCHEMA = "fipsmanifest/trust/v1"
ROLES = ("manifest", "tool", "upstream")
TOOL_ROLES = ("manifest", "tool")
STATUSES = ("active", "retired", "revoked")
MINIMUM_BITS = {"manifest": 3072, "tool": 3072, "upstream": 2048}
MINIMUM_EXPONENT = 65537  # FIPS 186-5, appendix A.1.1: more than 2**16
WARN_DAYS = 90
TRUST_FILE = "trust.json"
PACKED_CERTIFICATES = "certificates.gpg"

_DOCUMENT = ("schema", "edition", "keys")
_SUFFIXES = (".asc", ".gpg")
_MAX_EDITION = 1000000
_MAX_SIZE = 4 * 1024 * 1024
_FINGERPRINT = re.compile(r"[0-9A-F]{40}\Z")
UNBOUND = (
    "no signature by SHA-256 or better that has no end makes it part of its certificate",
    "Have its owner renew it with GnuPG 2.2 or newer, as docs/keys.md says: `gpg --quick-set-expire FPR 0`, "
    "`gpg --quick-add-key FPR rsa3072 sign never`; then add the certificate again.",
)


class TrustedKey(NamedTuple):
    """One entry of trust.json."""

    fingerprint: str
    """The pinned key, 40 upper-case hex digits: a primary key, or one subkey."""
    role: str
    """``manifest``, ``tool`` or ``upstream``."""
    status: str
    """``active``, ``retired`` (older signatures stay good) or ``revoked`` (none does)."""
    valid_from: datetime
    """Signatures made before this are refused."""
    valid_to: Optional[datetime]
    """Signatures made at or after this are refused; None while there is no end."""
    signing_keys: Tuple[str, ...]
    """The only keys that may sign in this role; empty for any signing key of the certificate."""
    replaced_by: Optional[str]
    """The next key's fingerprint."""
    reason: Optional[str]
    """Why it was retired or revoked."""
    user_id: str
    """Whose key it is; escape before printing."""

    def form(self) -> Dict[str, Any]:
        """Give the entry as trust.json writes it."""
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
    """A trust folder, read and checked."""

    keys: Tuple[TrustedKey, ...]
    """The entries, in the file's order."""
    certificates: Tuple[openpgp.Certificate, ...]
    """The certificates that entries name; all others are left out."""
    origin: str
    """Where this came from, for people: a folder, or the tool itself."""
    edition: int = 1
    """1, 2, ...: raised whenever what `carried` gives changes."""

    def carried(self) -> "Trust":
        """Give the part that the node tool carries: all but upstream's keys."""
        keys = tuple(key for key in self.keys if key.role in TOOL_ROLES)
        certificates = tuple(
            certificate
            for certificate in self.certificates
            if certificate in [self.certificate(key.fingerprint) for key in keys]
        )
        return self._replace(keys=keys, certificates=certificates)

    def document(self) -> Dict[str, Any]:
        """Give what trust.json says."""
        return {"schema": SCHEMA, "edition": self.edition, "keys": [key.form() for key in self.keys]}

    def keyring(self) -> bytes:
        """Give a binary keyring for gpgv."""
        return b"".join(certificate.packets for certificate in self.certificates)

    def certificate(self, fingerprint: str) -> Optional[openpgp.Certificate]:
        """Give the certificate that holds a key of this fingerprint."""
        return _holder(self.certificates, fingerprint)

    def warnings(self, now: datetime, roles: Sequence[str] = ROLES) -> List[str]:
        """Name each active key of these roles that is within `WARN_DAYS` days of its end."""
        found = []
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

    def admit(self, key: str, primary: str, role: str, signed_at: datetime) -> TrustedKey:
        """Give the entry by which ``key`` (of the certificate ``primary``) may sign in ``role`` at ``signed_at``.

        Raises `NotTrusted`, with the reason: unknown, revoked, another role, too weak, not a
        signing key, or outside its lifetime.
        """
        about = [entry for entry in self.keys if entry.fingerprint in (key, primary)]
        matching = [entry for entry in about if not entry.signing_keys or key in entry.signing_keys]
        for entry in about:
            # Whoever has the primary can make subkeys at will: none is believed, whatever the entry names.
            if entry.status == "revoked":
                raise _refused("key {} is revoked{}".format(entry.fingerprint, _because(entry)), _replacement(entry))
        entries = [entry for entry in matching if entry.role == role]
        if not entries:
            named = sorted({entry.role for entry in matching})
            what = (
                "is trusted for {} alone, not for {}".format(" and ".join(named), role) if named else "is not trusted"
            )
            raise _refused("key {} {}".format(key, what), "Get a file that is signed by a trusted {} key.".format(role))
        certificate = self.certificate(primary)
        if certificate is None or not certificate.holds(key):
            raise _refused("key {} is in no certificate here".format(key), "Add its certificate.")
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
    return "Get a file that is signed by a key in force."


def _refused(reason: str, advice: str) -> NotTrusted:
    return NotTrusted("The signer is not trusted: {}.".format(reason), advice, reason="untrusted-key")


def load_trust(folder: str) -> Trust:
    """Read a trust folder.

    Raises `UsageError` where it is not there or cannot be read, and `NotTrusted` where what it says cannot be relied
    on: no trust.json, malformed, an entry without its certificate, a weak key.
    """
    folder = os.fspath(folder)
    if os.path.isdir(folder) and not os.path.exists(os.path.join(folder, TRUST_FILE)):
        raise NotTrusted(
            "No key is trusted in {}: it has no {}.".format(visible(folder), TRUST_FILE),
            "Make keys with `fipsmanifest keys init`, or add some with `fipsmanifest keys add`.",
            reason="trust-directory",
        )
    try:
        document = _read(os.path.join(folder, TRUST_FILE))
        names = sorted(name for name in os.listdir(folder) if name.endswith(_SUFFIXES))
        paths = [os.path.join(folder, name) for name in names]
        contents = [(os.path.basename(path), _read(path)) for path in paths if os.path.isfile(path)]
    except OSError as error:
        raise UsageError(
            "The trusted keys in {} cannot be read: {}.".format(visible(folder), error.strerror),
            "Name a folder with trust.json and the certificates that it lists.",
        )
    return parse_trust(document, contents, folder)


@functools.lru_cache(maxsize=None)
def packed_trust() -> Optional[Trust]:
    """Give the trusted keys that the single-file tool carries; None where this is not the single file."""
    import pkgutil

    try:
        document = pkgutil.get_data(__package__, "trusted/" + TRUST_FILE)
        certificates = pkgutil.get_data(__package__, "trusted/" + PACKED_CERTIFICATES)
    except OSError:
        return None
    if document is None or certificates is None:
        return None
    return parse_trust(document, [(PACKED_CERTIFICATES, certificates)], "this tool")


def parse_trust(document: bytes, certificates: Iterable[Tuple[str, bytes]], origin: str) -> Trust:
    """Read trust.json and the certificate files (name, content); raises `NotTrusted` as `load_trust` does."""
    held: List[openpgp.Certificate] = []
    for name, content in certificates:
        try:
            held.extend(openpgp.read_certificates(content))
        except NotTrusted as error:
            raise NotTrusted("{}: {}".format(visible(name), error.message), error.advice)
    entries, edition = _read_document(document)
    keys = tuple(_read_entry(entry, number) for number, entry in enumerate(entries, 1))
    used: Dict[str, openpgp.Certificate] = {}
    for key in keys:
        certificate = _holder(held, key.fingerprint)
        if certificate is None:
            if key.status == "revoked":
                continue
            raise NotTrusted(
                "{} names the key {}, but no certificate there has it.".format(TRUST_FILE, key.fingerprint),
                "Put its certificate into the folder, or remove the entry.",
                reason="trust-directory",
            )
        _check_copies(held, certificate)
        check_strength(certificate, key)
        used[certificate.primary.fingerprint] = certificate
    _check_belongings(used.values())
    return Trust(keys, tuple(used.values()), origin, edition)


def _check_copies(held: Iterable[openpgp.Certificate], used: openpgp.Certificate) -> None:
    """Refuse copies of one certificate that differ: the order of files must not decide."""
    copies = [one for one in held if one.primary.fingerprint == used.primary.fingerprint]
    if len({one.revocations() for one in copies}) > 1:
        raise NotTrusted(
            "There are copies of the certificate {}, and not all hold its revocation.".format(used.primary.fingerprint),
            "Keep the copy that holds every revocation, and remove the others.",
            reason="trust-directory",
        )
    if len({one.packets for one in copies}) > 1:
        raise NotTrusted(
            "There are copies of the certificate {} that differ.".format(used.primary.fingerprint),
            "Keep the newest, as its owner publishes it now, and remove the others.",
            reason="trust-directory",
        )


def _check_belongings(certificates: Iterable[openpgp.Certificate]) -> None:
    """Refuse a key that two certificates have, which its holder alone can bring about: gpgv would take the first."""
    owners: Dict[str, str] = {}
    for certificate in certificates:
        primary = certificate.primary.fingerprint
        for key in (certificate.primary,) + certificate.subkeys:
            if owners.setdefault(key.fingerprint, primary) != primary:
                raise NotTrusted(
                    "The key {} belongs to two certificates, {} and {}.".format(
                        key.fingerprint, owners[key.fingerprint], primary
                    ),
                    "Trust one of them, and remove the entries of the other.",
                    reason="trust-directory",
                )


def _holder(certificates: Iterable[openpgp.Certificate], fingerprint: str) -> Optional[openpgp.Certificate]:
    return next((one for one in certificates if one.holds(fingerprint)), None)


def check_strength(certificate: openpgp.Certificate, entry: TrustedKey) -> None:
    """Refuse (`NotTrusted`) a key that is too weak for its role, and a signing key the certificate does not hold."""
    for fingerprint in (entry.fingerprint,) + entry.signing_keys:
        if not certificate.holds(fingerprint):
            raise NotTrusted(
                "The certificate of {} does not hold the key {}.".format(entry.fingerprint, fingerprint),
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
    """Say why a key is too weak for a role, and what to do; None where it is strong enough.

    Upstream's keys are not ours to renew: what gpg verifies is taken, from 2048 bits on.
    """
    stronger = "Use an RSA key of at least {} bits, with the exponent that gpg gives it.".format(MINIMUM_BITS[role])
    if key.algorithm != openpgp.RSA or not key.bits:
        return "not RSA, or not as RSA keys are", stronger
    if key.bits < MINIMUM_BITS[role]:
        return "RSA with {} bits".format(key.bits), stronger
    if role in TOOL_ROLES and key.exponent < MINIMUM_EXPONENT:
        return "RSA with the exponent {}".format(key.exponent), stronger
    return None


def is_unbound(key: openpgp.Key, role: str) -> bool:
    """Tell whether a key lacks what ties it to its certificate for good, which upstream's need not have."""
    return role in TOOL_ROLES and key.bound is None


def _read(path: str) -> bytes:
    # A FIFO that nobody writes to would be waited for.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "{} is no file".format(visible(os.path.basename(path))))
        content = file.read(_MAX_SIZE + 1)
    if len(content) > _MAX_SIZE:
        raise NotTrusted("{} is larger than {} bytes.".format(visible(path), _MAX_SIZE), "Remove it.")
    return content


def _malformed(reason: str) -> NotTrusted:
    return NotTrusted(
        "{} is malformed: {}.".format(TRUST_FILE, reason),
        "Correct it, or go back to one that `fipsmanifest keys` wrote; where a newer version wrote it, use that one.",
        reason="trust-directory",
    )


def _read_document(document: bytes) -> Tuple[List[Any], int]:
    value = strictjson.parse_object(document, _malformed)
    if value.get("schema") != SCHEMA or not isinstance(value.get("keys"), list):
        raise _malformed("it is not a document of {} with a list of keys".format(SCHEMA))
    _refuse_unknown(value, _DOCUMENT, "it")
    edition = value.get("edition", 1)
    if not isinstance(edition, int) or isinstance(edition, bool) or not 1 <= edition <= _MAX_EDITION:
        raise _malformed("edition is not a positive number")
    return value["keys"], edition


def _refuse_unknown(value: Dict[str, Any], known: Sequence[str], what: str) -> None:
    """Refuse members of unknown names: a limit that is misspelt, or that a newer version knows, would be no limit."""
    unknown = sorted(set(value).difference(known))
    if unknown:
        raise _malformed("{} has {}, which means nothing here".format(what, visible(repr(unknown[0]), 60)))


def _read_entry(entry: Any, number: int) -> TrustedKey:
    where = "key {}".format(number)
    if not isinstance(entry, dict):
        raise _malformed("{} is not an object".format(where))
    _refuse_unknown(entry, TrustedKey._fields, where)

    def text(name: str) -> Optional[str]:
        value = entry.get(name)
        if value is not None and not isinstance(value, str):
            raise _malformed("{}: {} is not text".format(where, name))
        return value

    def moment(name: str) -> Optional[datetime]:
        value = text(name)
        found = read_time(value) if value is not None else None
        if value is not None and found is None:
            raise _malformed("{}: {} is not a time like 2026-11-23T10:00:00Z".format(where, name))
        return found

    subkeys = entry.get("signing_keys")
    if not isinstance(subkeys, (list, type(None))):
        raise _malformed("{}: signing_keys is not a list".format(where))
    fingerprints: List[Any] = [entry.get("fingerprint")] + (subkeys or [])
    if not all(isinstance(one, str) and _FINGERPRINT.match(one) for one in fingerprints):
        raise _malformed("{}: a fingerprint is not 40 upper-case hex digits".format(where))
    role, status = text("role"), text("status")
    if role not in ROLES or status not in STATUSES:
        raise _malformed("{}: role must be one of {}, status one of {}".format(where, ROLES, STATUSES))
    valid_from, valid_to = moment("valid_from"), moment("valid_to")
    if valid_from is None or (status == "retired" and valid_to is None):
        raise _malformed("{}: valid_from is missing, or valid_to of a retired key".format(where))
    return TrustedKey(
        fingerprints[0],
        role,
        status,
        valid_from,
        valid_to,
        tuple(fingerprints[1:]),
        text("replaced_by"),
        text("reason"),
        text("user_id") or "",
    )
