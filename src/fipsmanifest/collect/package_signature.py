"""Who made a package: its own OpenPGP signature, from the upstream key to the last byte of the payload.

rpm signs a package in one of two ways (rpm.org, "RPM V4 Signatures and Digests"). A *header signature* covers the
header, and the header's payload digest covers the rest; a *legacy signature* covers header and payload at once. What
nothing signed covers is refused, so a header signature without a payload digest is not enough.

rpm on EL8 in FIPS mode installs only what it can check with approved hashes: it needs the SHA-256 of the header in the
signature header, the SHA-256 of the payload in the header, and file digests that are not MD5. A package without them
is refused for EL8 and later, by name. rpm on EL7 (4.11) neither writes nor asks for payload digests, so for EL7 their
absence is told and no reason to stop, provided that a legacy signature covers the payload.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Incomplete, NotTrusted, Refused
from ..unpack import rpmheader
from ..unpack.rpmheader import Head
from .cache import BLOCK

if TYPE_CHECKING:
    from ..definition import SignedBy
    from ..node.trust import Trust
    from .context import VerifySignature

#: The first Enterprise Linux whose rpm refuses packages without SHA-256 digests in FIPS mode.
_FIPS_DIGESTS_SINCE = 8

#: A legacy signature is checked over the whole package in memory, bytes.
_MAX_LEGACY = 96 << 20

#: Packages are checked in parallel, but only one at a time is held in memory.
_ONE_LEGACY = threading.Lock()

#: Signatures looked at in one package.
_MAX_SIGNATURES = 8

_DAMAGED = "Fetch it again; if it stays so, do not use it and ask upstream."


@dataclass(frozen=True, slots=True)
class Authenticated:
    """A package whose signature holds."""

    head: Head
    """Its headers; what they say of the payload was checked."""
    fingerprint: str
    """Full fingerprint of the key that signed it."""


def verifier(trust: Trust) -> VerifySignature:
    """Give a check of detached signatures against the keys of ``trust`` that have the role ``upstream``."""
    from ..node import verify

    def check(data: bytes, signature: bytes, fingerprints: tuple[str, ...] | None, /) -> str:
        try:
            found = verify.verify_detached(data, signature, trust, "upstream")
        except NotTrusted as error:
            raise Refused(error.message, _ADD_KEY) from error
        if fingerprints is not None and not {found.fingerprint, found.primary, found.signing_key} & set(fingerprints):
            raise Refused(
                f"It is signed by {found.fingerprint}, not by {' or '.join(fingerprints)}.",
                "Correct 'signed_by' in the definition, or do not use it.",
            )
        return found.fingerprint

    return check


_ADD_KEY = (
    "Do not use it as it is; if its key is upstream's own, add that with 'fipsmanifest keys add --role upstream'."
)


def permitted(signed_by: SignedBy) -> tuple[str, ...] | None:
    """Give the fingerprints that a definition permits, None for every upstream key."""
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

    ``name`` is what errors call it; ``note`` is told what is weak and permitted. Raises `Refused`, and `Incomplete`
    where the file or gpg cannot be used.
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
                )
    except OSError as error:
        raise Incomplete(f"{path} cannot be read: {error.strerror}.", "Check the disk.") from error
    _check_fips_digests(head, name, el, note)
    return Authenticated(head, fingerprint)


def _check_signature(
    head: Head, path: Path, name: str, permitted: tuple[str, ...] | None, verify: VerifySignature
) -> tuple[str, bool]:
    """Give who signed, and whether that signature covers the payload too."""
    over_header = list(_header_signatures(head, name))
    legacy = [
        signature
        for tag in (rpmheader.SIGNATURE_PGP, rpmheader.SIGNATURE_GPG)
        if (signature := head.signatures.binary(tag)) is not None
    ]
    if not over_header and not legacy:
        raise Refused(f"{name} is not signed.", "Ask upstream for the signed package, or check the repository.")
    use_header = bool(over_header) and (bool(head.header.strings(rpmheader.PAYLOAD_DIGEST)) or not legacy)
    if use_header:
        return _first_trusted(head.header.raw, over_header, name, permitted, verify), False
    with _ONE_LEGACY:
        return _first_trusted(_from_header_on(head, path, name), legacy, name, permitted, verify), True


def _first_trusted(
    signed: bytes, signatures: list[bytes], name: str, permitted: tuple[str, ...] | None, verify: VerifySignature
) -> str:
    """Give who made the first signature that holds; the error is that of the first that does not."""
    refusals: list[Refused] = []
    for signature in signatures[:_MAX_SIGNATURES]:
        try:
            return verify(signed, signature, permitted)
        except Refused as error:
            refusals.append(error)
    raise Refused(f"{name} has no signature by a key that is trusted for it: {refusals[0].message}", refusals[0].advice)


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
            raise Refused(f"{name} has a signature that is not valid base64.", _DAMAGED) from error


def _from_header_on(head: Head, path: Path, name: str) -> bytes:
    with path.open("rb") as file:
        file.seek(head.payload_offset - len(head.header.raw))
        signed = file.read(_MAX_LEGACY + 1)
    if len(signed) > _MAX_LEGACY:
        raise Refused(
            f"{name} has only a signature of the old kind, which is not checked over more than {_MAX_LEGACY} bytes.",
            "Ask upstream for a package that is signed by rpm 4.14 or later.",
        )
    return signed


def _check_header_digest(head: Head, name: str) -> None:
    claimed = head.signatures.string(rpmheader.HEADER_SHA256)
    if claimed is not None and claimed != hashlib.sha256(head.header.raw).hexdigest():
        raise Refused(f"{name} is damaged: its header does not have the SHA-256 that it names.", _DAMAGED)


def _check_payload_digest(head: Head, payload: Iterator[bytes], name: str) -> bool:
    """Tell whether the header has a SHA-256 of the payload, which is then right."""
    if not _names_payload_sha256(head):
        return False
    digest = hashlib.sha256()
    for chunk in payload:
        digest.update(chunk)
    claimed = head.header.string(rpmheader.PAYLOAD_DIGEST)
    if digest.hexdigest() != claimed:
        raise Refused(
            f"{name} is not what was signed: its payload has the SHA-256 {digest.hexdigest()}, "
            f"its header names {claimed}.",
            _DAMAGED,
        )
    return True


def _names_payload_sha256(head: Head) -> bool:
    return len(head.header.strings(rpmheader.PAYLOAD_DIGEST)) >= 1 and head.header.integers(
        rpmheader.PAYLOAD_DIGEST_ALGORITHM
    )[:1] == (rpmheader.SHA256,)


def _check_fips_digests(head: Head, name: str, el: int, note: Callable[[str], None]) -> None:
    missing = []
    if head.signatures.string(rpmheader.HEADER_SHA256) is None:
        missing.append("no SHA-256 of its header")
    if not _names_payload_sha256(head):
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
        )
    note(f"{what}; EL{el} takes it.")
