"""The status lines of gpgv (GnuPG's doc/DETAILS): what proves that a signature is good.

gpgv's exit code, its messages and the file that it writes each report "good" for some bad inputs
(``tests/trust/test_attacks.py`` has them); only all status lines together are reliable.
"""

import re
from datetime import datetime, timezone
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..errors import NotTrusted
from . import openpgp
from .text import visible

_REFUSING = {
    "BADSIG": "the signature does not fit the text: one of them was changed",
    "ERRSIG": "a signature could not be checked",
    "EXPSIG": "the signature has expired",
    "EXPKEYSIG": "the key that signed has expired",
    "REVKEYSIG": "the key that signed is revoked by its own certificate",
    "NODATA": "there is no signature in it",
    "UNEXPECTED": "it has content that a signed file must not have",
    "ERROR": "gpgv reports an error",
    "FAILURE": "gpgv reports a failure",
}
_VALIDSIG_FIELDS = 10
_HEX = re.compile(r"[0-9A-F]{40}\Z")
_ALLOWED_HASHES = ("8", "9", "10")


class StatusLine(NamedTuple):
    """One line of the status pipe (GnuPG's doc/DETAILS)."""

    keyword: str
    """``GOODSIG``, ``VALIDSIG``, ..."""
    arguments: Tuple[str, ...]
    """The words after it."""


class ValidSignature(NamedTuple):
    """What gpgv verified: a signature of a key over the bytes."""

    key: str
    """Fingerprint of the key that signed, which may be a subkey."""
    primary: str
    """Fingerprint of that key's primary key."""
    signed_at: datetime
    """The time of the signature, as the signer states it."""
    hash_name: str
    """``SHA256``, ``SHA384`` or ``SHA512``."""
    key_expired: Optional[datetime]
    """When the key expired, if it did after it signed, which is accepted of upstream keys only."""


def parse_status(data: bytes) -> List[StatusLine]:
    """Parse gpgv's status output. Raises `NotTrusted` for anything that is not a status line."""
    lines = []
    for line in data.decode("ascii", "backslashreplace").split("\n"):
        if not line:
            continue
        words = line.split(" ")
        if words[0] != "[GNUPG:]" or len(words) < 2:
            raise _refused("gpgv reported something that is not a status line")
        lines.append(StatusLine(words[1], tuple(words[2:])))
    return lines


def judge(
    exit_code: int, status: Sequence[StatusLine], signature_class: int, plaintext: bool, upstream: bool = False
) -> ValidSignature:
    """Return the one good signature of a run of gpgv. Raises `NotTrusted` for any other result.

    ``signature_class`` is 0x01 for a cleartext signature and 0x00 for a detached one; ``plaintext`` is whether gpgv was
    asked for the text. ``upstream`` also accepts version 3 signatures, and a key that expired after it signed. Every
    rule is a line of the table in ``tests/trust/test_status_lines.py``.
    """
    found: Dict[str, List[Tuple[str, ...]]] = {}
    for line in status:
        found.setdefault(line.keyword, []).append(line.arguments)
    if "NO_PUBKEY" in found:
        key_id = visible(found["NO_PUBKEY"][0][0] if found["NO_PUBKEY"][0] else "?", 40)
        raise NotTrusted(
            "The signature is not good: it is signed by a key that is not trusted here ({}).".format(key_id),
            "Do not use the file; if its publisher announced a new key, get a newer dkp-fips-tool or trust directory.",
            reason="unknown-key",
        )
    good = "GOODSIG"
    if upstream and "EXPKEYSIG" in found and "GOODSIG" not in found:
        good = "EXPKEYSIG"
    for keyword, reason in _REFUSING.items():
        if keyword in found and keyword != good:
            raise _refused(reason)
    if exit_code != 0:
        raise _refused("gpgv ended with code {}".format(exit_code))
    if len(found.get(good, ())) != 1 or len(found.get("VALIDSIG", ())) != 1 or len(found.get("NEWSIG", ())) > 1:
        raise _refused("it does not have exactly one good signature")
    if len(found.get("PLAINTEXT", ())) != (1 if plaintext else 0):
        raise _refused("it does not have exactly one text")
    versions = ("3", "4") if upstream else ("4",)
    valid = _read_validsig(found["VALIDSIG"][0], found[good][0], signature_class, versions)
    return valid if good == "GOODSIG" else _signed_in_time(valid, found.get("KEYEXPIRED", []))


def _signed_in_time(valid: ValidSignature, expiries: Sequence[Tuple[str, ...]]) -> ValidSignature:
    """Raise `NotTrusted` for a signature after its key expired, of several times the earliest; else return it."""
    times = [int(words[0]) for words in expiries if words and words[0].isdigit()]
    if not times or valid.signed_at.timestamp() >= min(times):
        raise _refused("the key that signed had expired by then")
    return valid._replace(key_expired=datetime.fromtimestamp(min(times), timezone.utc))


def _read_validsig(
    fields: Tuple[str, ...], good: Tuple[str, ...], signature_class: int, versions: Sequence[str]
) -> ValidSignature:
    if len(fields) != _VALIDSIG_FIELDS:
        raise _refused("gpgv describes the signature in an unknown format")
    key, _, signed_at, _, version, _, key_algorithm, hash_algorithm, found_class, primary = fields
    if not (_HEX.match(key) and _HEX.match(primary) and signed_at.isdigit()):
        raise _refused("gpgv describes the signature in an unknown format")
    if not good or len(good[0]) not in (16, 40) or not key.endswith(good[0]):
        raise _refused("gpgv reports two different keys")
    if version not in versions:
        raise _refused("the signature is of version {}".format(visible(version, 8)))
    if key_algorithm != str(openpgp.RSA):
        raise _refused("the signature is not made with RSA")
    if hash_algorithm not in _ALLOWED_HASHES:
        name = openpgp.HASH_NAMES.get(int(hash_algorithm) if hash_algorithm.isdigit() else 0, "an unknown hash")
        raise _refused("the signature uses {}, which is too weak".format(name))
    if found_class != "{:02x}".format(signature_class):
        raise _refused("the signature has a wrong class")
    moment = datetime.fromtimestamp(int(signed_at), timezone.utc)
    return ValidSignature(key, primary, moment, openpgp.HASH_NAMES[int(hash_algorithm)], None)


def _refused(reason: str) -> NotTrusted:
    return NotTrusted(
        "The signature is not good: {}.".format(reason),
        "Do not use the file; get it again from its publisher.",
        reason="bad-signature",
    )
