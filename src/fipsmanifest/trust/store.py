"""Reading of trusted keys, from a directory or from the node tool itself.

A trust directory has certificates (``*.asc``, ``*.gpg``) and ``trust.json``::

    {"schema": "fipsmanifest/trust/v1",
     "edition": 1,
     "keys": [{"fingerprint": "<40 hex digits>", "role": "manifest", "status": "active",
               "valid_from": "2026-11-23T10:00:00Z", "valid_to": null, "signing_keys": ["<40 hex digits>"],
               "replaced_by": null, "reason": null, "user_id": "Release <release@example.com>"}]}

``fingerprint`` is that of a certificate's primary key, or of one subkey. ``signing_keys`` restricts an entry to the
subkeys that may sign in this role, so that one certificate can have a subkey for manifests and another for the tool,
and neither can replace the other. A certificate without an entry is not trusted, regardless of its file's name.
``edition`` counts the changes of the keys in the node tool, and is part of the tool's version (`.version`); the default
is 1.
"""

import errno
import functools
import os
import re
import stat
from datetime import datetime
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple

from ..errors import NotTrusted, UsageError
from . import openpgp, strictjson
from .keys import ROLES, SCHEMA, STATUSES, Trust, TrustedKey, certificate_with, check_strength
from .text import read_time, visible

TRUST_FILE = "trust.json"
PACKED_CERTIFICATES = "certificates.gpg"

_DOCUMENT = ("schema", "edition", "keys")
_SUFFIXES = (".asc", ".gpg")
_READ = _SUFFIXES + (".pub",)  # the keys of cosign, which are read elsewhere
_MAX_EDITION = 1000000
_MAX_SIZE = 4 * 1024 * 1024
_FINGERPRINT = re.compile(r"[0-9A-F]{40}\Z")


def load_trust(directory: str) -> Trust:
    """Read a trust directory.

    Raises `UsageError` if it does not exist or cannot be read, and `NotTrusted` if its content is not valid: no
    trust.json, a malformed one, an entry without its certificate, or a weak key.
    """
    directory = os.fspath(directory)
    if os.path.isdir(directory) and not os.path.exists(os.path.join(directory, TRUST_FILE)):
        raise NotTrusted(
            "No key is trusted in {}: it has no {}.".format(visible(directory), TRUST_FILE),
            "Make keys with `fipsmanifest keys init`, or add some with `fipsmanifest keys add`.",
            reason="trust-directory",
        )
    try:
        document = _read(os.path.join(directory, TRUST_FILE))
        everything = (os.path.join(directory, name) for name in sorted(os.listdir(directory)))
        paths = [path for path in everything if path.endswith(_READ) and os.path.isfile(path)]
        contents = [(os.path.basename(path), _read(path)) for path in paths if path.endswith(_SUFFIXES)]
        exposed = next(filter(_is_exposed, [directory, os.path.join(directory, TRUST_FILE)] + paths), None)
    except OSError as error:
        raise UsageError(
            "The trusted keys in {} cannot be read: {}.".format(visible(directory), error.strerror),
            "Name a directory with trust.json and certificates (--keys); 'fipsmanifest keys init' makes one.",
        )
    return parse_trust(document, contents, directory)._replace(exposed=exposed)


@functools.lru_cache(maxsize=None)
def packed_trust() -> Optional[Trust]:
    """Return the trusted keys in the single-file tool; None if this is not the single file."""
    import pkgutil  # only the single file has packed keys

    try:
        document = pkgutil.get_data(__package__, "trusted/" + TRUST_FILE)
        certificates = pkgutil.get_data(__package__, "trusted/" + PACKED_CERTIFICATES)
    except OSError:
        return None
    if document is None or certificates is None:
        return None
    return parse_trust(document, [(PACKED_CERTIFICATES, certificates)], "this tool")


def parse_trust(document: bytes, certificates: Iterable[Tuple[str, bytes]], origin: str) -> Trust:
    """Read trust.json and certificate files (name, content). Raises `NotTrusted` as `load_trust` does."""
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
        certificate = certificate_with(held, key.fingerprint)
        if certificate is None:
            if key.status == "revoked":
                continue
            raise NotTrusted(
                "{} has an entry for the key {}, but no certificate there has it.".format(TRUST_FILE, key.fingerprint),
                "Put its certificate into the directory, or remove the entry.",
                reason="trust-directory",
            )
        _check_copies(held, certificate)
        check_strength(certificate, key)
        used[certificate.primary.fingerprint] = certificate
    _check_owners(used.values())
    return Trust(keys, tuple(used.values()), origin, edition)


def _check_copies(held: Iterable[openpgp.Certificate], used: openpgp.Certificate) -> None:
    """Raise `NotTrusted` for different copies of one certificate: the order of files must not decide."""
    copies = [one for one in held if one.primary.fingerprint == used.primary.fingerprint]
    if len({one.revocations() for one in copies}) > 1:
        raise NotTrusted(
            "There are copies of the certificate {}, and not all have its revocation.".format(used.primary.fingerprint),
            "Keep the copy that has every revocation, and remove the others.",
            reason="trust-directory",
        )
    if len({one.packets for one in copies}) > 1:
        raise NotTrusted(
            "There are copies of the certificate {} that differ.".format(used.primary.fingerprint),
            "Keep the newest, as its owner publishes it now, and remove the others.",
            reason="trust-directory",
        )


def _check_owners(certificates: Iterable[openpgp.Certificate]) -> None:
    """Raise `NotTrusted` for a key in two certificates, which only its holder can make; gpgv would use the first."""
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


def _is_exposed(path: str) -> bool:
    """Return whether every user can write to a file, or replace the files of a directory (inode(7), the sticky bit)."""
    mode = os.stat(path).st_mode
    return bool(mode & stat.S_IWOTH) and not (stat.S_ISDIR(mode) and mode & stat.S_ISVTX)


def _read(path: str) -> bytes:
    # Non-blocking: opening a FIFO without a writer would wait.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "{} is not a regular file".format(visible(os.path.basename(path))))
        content = file.read(_MAX_SIZE + 1)
    if len(content) > _MAX_SIZE:
        raise NotTrusted("{} is larger than {} bytes.".format(visible(path), _MAX_SIZE), "Remove it.")
    return content


def _malformed(reason: str) -> NotTrusted:
    return NotTrusted(
        "{} is malformed: {}.".format(TRUST_FILE, reason),
        "Correct it, or restore one that `fipsmanifest keys` wrote; if a newer version wrote it, use that version.",
        reason="trust-directory",
    )


def _read_document(document: bytes) -> Tuple[List[Any], int]:
    value = strictjson.parse_object(document, _malformed)
    if value.get("schema") != SCHEMA or not isinstance(value.get("keys"), list):
        raise _malformed("it is not a document of {} with a list of keys".format(SCHEMA))
    _refuse_unknown_keys(value, _DOCUMENT, "it")
    edition = value.get("edition", 1)
    if not isinstance(edition, int) or isinstance(edition, bool) or not 1 <= edition <= _MAX_EDITION:
        raise _malformed("edition is not a positive number")
    return value["keys"], edition


def _refuse_unknown_keys(value: Dict[str, Any], known: Sequence[str], what: str) -> None:
    """Raise `NotTrusted` for unknown keys: a misspelt restriction, or one of a newer version, would not be applied."""
    unknown = sorted(set(value).difference(known))
    if unknown:
        raise _malformed("{} has the unknown key {}".format(what, visible(repr(unknown[0]), 60)))


def _read_entry(entry: Any, number: int) -> TrustedKey:
    where = "key {}".format(number)
    if not isinstance(entry, dict):
        raise _malformed("{} is not an object".format(where))
    _refuse_unknown_keys(entry, TrustedKey._fields, where)

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
