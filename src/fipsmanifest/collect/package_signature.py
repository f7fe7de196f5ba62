"""Who made a package: its own OpenPGP signature, from the upstream key to the last byte of the payload.

rpm signs a package in one of two ways (rpm.org, "RPM V4 Signatures and Digests"). A *header signature* covers the
header, and the header's payload digest covers the rest; a *legacy signature* covers header and payload at once. What
nothing signed covers is refused, so a header signature without a payload digest is not enough.

rpm on EL8 in FIPS mode installs only what it can check with approved hashes: it needs the SHA-256 of the header in the
signature header, the SHA-256 of the payload in the header, and file digests that are not MD5. A package without them
is refused for EL8 and later, by name. rpm on EL7 (4.11) neither writes nor asks for payload digests, so for EL7 their
absence is reported and not an error, provided that a legacy signature covers the payload.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..archive import rpmheader
from ..archive.rpmheader import Head
from ..errors import Incomplete, NotTrusted, Refused
from ..fetch.cache import BLOCK
from ..model.definition import SignedBy
from ..trust import verify
from ..trust.keys import Trust
from .context import VerifySignature

_log = logging.getLogger(__name__)

#: The first Enterprise Linux whose rpm refuses packages without SHA-256 digests in FIPS mode.
_FIPS_DIGESTS_SINCE = 8

#: A legacy signature is checked over the whole package in memory, bytes.
_MAX_LEGACY = 96 << 20

#: Packages are checked in parallel, but only one at a time is held in memory.
_ONE_LEGACY = threading.Lock()

#: Digests of a payload that count, by OpenPGP's numbers (RFC 9580, section 9.5), and what errors call them.
_ALGORITHMS = {8: "sha256", 9: "sha384", 10: "sha512"}
_NAMES = {"sha256": "SHA-256", "sha384": "SHA-384", "sha512": "SHA-512"}

_DAMAGED = "Fetch it again; if it stays so, do not use it and ask upstream."


@dataclass(frozen=True, slots=True)
class Authenticated:
    """A package whose signature holds."""

    head: Head
    """Its headers; what they say of the payload was checked."""
    fingerprint: str
    """Full fingerprint of the key that signed it."""


def verifier(trust: Trust) -> VerifySignature:
    """Return a check of detached signatures against the keys of ``trust`` that have the role ``upstream``."""

    def check(data: bytes, signature: bytes, fingerprints: tuple[str, ...] | None, /) -> str:
        try:
            found = verify.verify_upstream(data, signature, trust)
        except NotTrusted as error:
            raise Refused(error.message, _ADD_KEY, "upstream-signature") from error
        for one in found:
            if fingerprints is None or {one.fingerprint, one.primary, one.signing_key} & set(fingerprints):
                return one.fingerprint
        raise Refused(
            f"It is signed by {found[0].fingerprint}, not by {' or '.join(fingerprints or ())}.",
            "Correct 'signed_by' in the definition, or do not use it.",
            reason="upstream-signature",
        )

    return check


_ADD_KEY = (
    "Do not use it as it is; if its key is upstream's own, add that with 'fipsmanifest keys add --role upstream'."
)


def permitted(signed_by: SignedBy) -> tuple[str, ...] | None:
    """Return the fingerprints that a definition permits, None for every upstream key."""
    return None if signed_by == "upstream" else signed_by


def authenticate(
    path: Path,
    name: str,
    signed_by: SignedBy,
    el: int,
    verify: VerifySignature,
    note: Callable[[str], None],
) -> Authenticated:
    """Check the package at ``path``: digests, signature, and what EL ``el`` would refuse.

    ``name`` is what errors call it; ``note`` is called with what is weak and permitted. Raises `Refused`, and
    `Incomplete` where the file or gpg cannot be used.
    """
    try:
        with path.open("rb") as file:
            head = rpmheader.read(file, name)
            _check_header_digest(head, name)
            fingerprint, covers_payload = _check_signature(head, path, name, permitted(signed_by), verify)
            if not _check_payload_digest(head, iter(lambda: file.read(BLOCK), b""), name) and not covers_payload:
                raise Refused(
                    f"{name} has a signed header, but nothing signed covers its payload.",
                    "Ask upstream for a package that is built with payload digests (rpm 4.14 or later).",
                    reason="upstream-signature",
                )
    except OSError as error:
        raise Incomplete(f"{path} cannot be read: {error.strerror}.", "Check the disk.", reason="not-read") from error
    _check_fips_digests(head, name, el, note)
    _log.debug("%s is signed by %s", name, fingerprint)
    return Authenticated(head, fingerprint)


def _check_signature(
    head: Head, path: Path, name: str, permitted: tuple[str, ...] | None, verify: VerifySignature
) -> tuple[str, bool]:
    """Return who signed, and whether that signature covers the payload too."""
    over_header = list(_header_signatures(head, name))
    legacy = [
        signature
        for tag in (rpmheader.SIGNATURE_PGP, rpmheader.SIGNATURE_GPG)
        if (signature := head.signatures.binary(tag)) is not None
    ]
    if not over_header and not legacy:
        raise Refused(
            f"{name} is not signed.",
            "Ask upstream for the signed package, or check the repository.",
            reason="upstream-signature",
        )
    use_header = bool(over_header) and (bool(_payload_digests(head, name)) or not legacy)
    if use_header:
        return _signer(head.header.raw, over_header, name, permitted, verify), False
    with _ONE_LEGACY:
        return _signer(_from_header_on(head, path, name), legacy, name, permitted, verify), True


def _signer(
    signed: bytes, signatures: list[bytes], name: str, permitted: tuple[str, ...] | None, verify: VerifySignature
) -> str:
    """Return the fingerprint of the permitted key that signed; a bad signature by a trusted key spoils the others."""
    try:
        return verify(signed, b"".join(signatures), permitted)
    except Refused as error:
        raise Refused(
            f"{name} has no signature by a key that is trusted for it: {error.message}",
            error.advice,
            reason="upstream-signature",
        ) from error


def _header_signatures(head: Head, name: str) -> Iterator[bytes]:
    for tag in (rpmheader.SIGNATURE_RSA, rpmheader.SIGNATURE_DSA):
        signature = head.signatures.binary(tag)
        if signature is not None:
            yield signature
    # rpm 6 keeps any number of them, in base64.
    for text in head.signatures.strings(rpmheader.SIGNATURES_OPENPGP):
        try:
            yield base64.b64decode(text.encode("utf-8", "surrogateescape"), validate=True)
        except binascii.Error as error:
            raise Refused(
                f"{name} has a signature that is not valid base64.", _DAMAGED, reason="upstream-signature"
            ) from error


def _from_header_on(head: Head, path: Path, name: str) -> bytes:
    with path.open("rb") as file:
        file.seek(head.payload_offset - len(head.header.raw))
        signed = file.read(_MAX_LEGACY + 1)
    if len(signed) > _MAX_LEGACY:
        raise Refused(
            f"{name} has only a signature of the old kind, which is not checked over more than {_MAX_LEGACY} bytes.",
            "Ask upstream for a package that is signed by rpm 4.14 or later.",
            reason="upstream-signature",
        )
    return signed


def _check_header_digest(head: Head, name: str) -> None:
    claimed = head.signatures.string(rpmheader.HEADER_SHA256)
    if claimed is not None and claimed != hashlib.sha256(head.header.raw).hexdigest():
        raise Refused(
            f"{name} is damaged: its header does not have the SHA-256 that it names.",
            _DAMAGED,
            reason="digest-mismatch",
        )


def _check_payload_digest(head: Head, payload: Iterator[bytes], name: str) -> bool:
    """Return whether the header has a digest of the payload. Raises `Refused` where one is wrong."""
    claims = [(algorithm, claimed, hashlib.new(algorithm)) for algorithm, claimed in _payload_digests(head, name)]
    if not claims:
        return False
    for chunk in payload:
        for _, _, digest in claims:
            digest.update(chunk)
    for algorithm, claimed, digest in claims:
        if digest.hexdigest() != claimed:
            raise Refused(
                f"{name} is not what was signed: its payload has the {_NAMES[algorithm]} {digest.hexdigest()}, "
                f"its header names {claimed}.",
                _DAMAGED,
                reason="upstream-signature",
            )
    return True


def _payload_digests(head: Head, name: str) -> list[tuple[str, str]]:
    """Return each digest of the payload that the header has, with its algorithm as `hashlib` names it.

    Format 4 names the algorithm of tag 5092 in tag 5093, which format 6 leaves out: there it is always SHA-256
    (rpm.org, "RPM V6 Package format"). Weaker algorithms count for nothing.
    """
    found = []
    claimed = head.header.strings(rpmheader.PAYLOAD_DIGEST)
    if len(claimed) > 1:
        raise Refused(
            f"{name} names {len(claimed)} digests of its payload in one tag.", _DAMAGED, reason="ambiguous-archive"
        )
    number = (head.header.integers(rpmheader.PAYLOAD_DIGEST_ALGORITHM) or (rpmheader.SHA256,))[0]
    if claimed and number in _ALGORITHMS:
        found.append((_ALGORITHMS[number], claimed[0]))
    sha512 = head.header.string(rpmheader.PAYLOAD_SHA512)
    if sha512 is not None:
        found.append(("sha512", sha512))
    return found


def _check_fips_digests(head: Head, name: str, el: int, note: Callable[[str], None]) -> None:
    missing = []
    if head.signatures.string(rpmheader.HEADER_SHA256) is None:
        missing.append("no SHA-256 of its header")
    if not _payload_digests(head, name):
        missing.append("no SHA-256 of its payload")
    # Without the tag the digests are MD5 (rpmtag.h, RPMTAG_FILEDIGESTALGO).
    if head.header.strings(rpmheader.BASE_NAMES) and head.header.integers(rpmheader.FILE_DIGEST_ALGORITHM)[:1] < (2,):
        missing.append("MD5 digests of its files")
    if not missing:
        return
    what = f"{name} has {' and '.join(missing)}"
    if el >= _FIPS_DIGESTS_SINCE:
        raise Refused(
            f"{what}, so EL{el} in FIPS mode refuses to install it.",
            "Ask upstream to build it with rpm 4.14 or later, or with SHA-256 digests.",
            reason="not-installable",
        )
    note(f"{what}; EL{el} takes it.")
