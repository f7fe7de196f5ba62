"""Sigstore bundles of version 0.3, key-based: a signature over a file, and a hint at its public key. Pure.

The form is that of the Sigstore protobuf specifications (``sigstore_bundle.proto``, ``sigstore_common.proto``), as
``cosign sign-blob --key --bundle`` writes it.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from typing import Any

from ..errors import NotTrusted
from ..trust import strictjson
from ..trust.text import visible

SUFFIX = ".sigstore.json"
"""What is added to the name of the signed file."""

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
MAX_BYTES = 64 * 1024
"""The most bytes of a bundle: ours have 400, one with the entry of a transparency log some 10,000."""

_ALGORITHM = "SHA2_256"
_SURROGATE = re.compile("[\ud800-\udfff]")  # half a character, which is not text
_MAX_SIGNATURE = 256  # bytes; a DER signature by a P-256 key has at most 72
#: The members of each object. cosign refuses a bundle with others, and one with a certificate beside the key or an
#: attestation beside the signature: of a protobuf message's "oneof", only one may be set.
_MEMBERS = {
    "bundle": ("mediaType", "verificationMaterial", "messageSignature"),
    "verificationMaterial": ("publicKey", "tlogEntries", "timestampVerificationData"),
    "messageSignature": ("messageDigest", "signature"),
    "publicKey": ("hint",),
    "messageDigest": ("algorithm", "digest"),
    "tlogEntries": (
        *("logIndex", "logId", "kindVersion", "integratedTime", "inclusionPromise", "inclusionProof"),
        "canonicalizedBody",
    ),
    "timestampVerificationData": ("rfc3161Timestamps",),
}


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle, as it was read: nothing in it is verified."""

    signature: bytes
    """ECDSA over SHA-256, in DER."""
    digest: bytes
    """SHA-256 of the signed file as the bundle states it."""
    hint: str
    """Which key made it, as its maker names it; empty if the bundle does not say."""
    unchecked: tuple[str, ...]
    """What else is in the bundle, such as entries of a transparency log, which only cosign verifies."""


def write(signature: bytes, digest: bytes, hint: str) -> bytes:
    """Return a bundle; the same bytes for the same arguments. ``digest`` is the SHA-256 of the signed file."""
    document = {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": hint}},
        "messageSignature": {
            "messageDigest": {"algorithm": _ALGORITHM, "digest": base64.b64encode(digest).decode("ascii")},
            "signature": base64.b64encode(signature).decode("ascii"),
        },
    }
    return (json.dumps(document, separators=(",", ":")) + "\n").encode("ascii")


def read(data: bytes) -> Bundle:
    """Read a bundle, strictly. Raises `NotTrusted` for anything but a signature over a file by a key."""
    if len(data) > MAX_BYTES:
        raise _malformed(f"it has {len(data)} bytes, more than {MAX_BYTES}")
    document = strictjson.parse_object(data, _malformed)
    media_type = document.get("mediaType")
    if media_type != MEDIA_TYPE:
        raise NotTrusted(
            f"The Sigstore bundle has the media type {visible(repr(media_type))}, not {MEDIA_TYPE}.",
            "Get the bundle that is published beside the file; `cosign sign-blob --key` of version 3 makes such ones.",
            reason="wrong-document",
        )
    material = document.get("verificationMaterial")
    if not isinstance(material, dict):
        raise _malformed("verificationMaterial is missing, or not an object")
    if "publicKey" not in material or "messageSignature" not in document:
        raise NotTrusted(
            "The Sigstore bundle is not a signature over a file by a key: it has "
            f"{_names(document, material)}, not publicKey and messageSignature.",
            "Verify a keyless signature or an attestation with cosign itself.",
            reason="wrong-document",
        )
    _refuse_others(document, "bundle")
    _refuse_others(material, "verificationMaterial")
    message = _member(document, "messageSignature")
    signature = _bytes(message, "signature")
    if not 0 < len(signature) <= _MAX_SIGNATURE:
        raise _malformed(f"its signature has {len(signature)} bytes")
    hint = _member(material, "publicKey").get("hint", "")
    if not isinstance(hint, str) or _SURROGATE.search(hint):
        raise _malformed("its hint is not text")
    return Bundle(signature, _digest(message), hint, _unchecked(material))


def _digest(message: dict[str, Any]) -> bytes:
    stated = _member(message, "messageDigest")
    digest = _bytes(stated, "digest")
    if stated.get("algorithm") != _ALGORITHM or len(digest) != 32:
        raise _malformed(f"its digest is not one of {_ALGORITHM}")
    return digest


def _unchecked(material: dict[str, Any]) -> tuple[str, ...]:
    """Return what is not verified here; of it, only what makes every bundle malformed for cosign is refused."""
    entries, found = material.get("tlogEntries", []), []
    if not isinstance(entries, list):
        raise _malformed("tlogEntries is not a list")
    for entry in entries:
        if not isinstance(entry, dict) or not _bytes(entry, "canonicalizedBody"):
            raise _malformed("an entry of the transparency log has no canonicalizedBody")
        _refuse_others(entry, "tlogEntries")
    if entries:
        found.append(f"{len(entries)} entries of a transparency log")
    if material.get("timestampVerificationData") is not None and _member(material, "timestampVerificationData"):
        found.append("signed timestamps")
    return tuple(found)


def _member(parent: dict[str, Any], name: str) -> dict[str, Any]:
    value = parent.get(name)
    if not isinstance(value, dict):
        raise _malformed(f"{name} is missing, or not an object")
    _refuse_others(value, name)
    return value


def _bytes(parent: dict[str, Any], name: str) -> bytes:
    value = parent.get(name)
    try:
        return base64.b64decode(value if isinstance(value, str) else "*", validate=True)
    except binascii.Error:
        raise _malformed(f"{name} is not base64") from None


def _names(document: dict[str, Any], material: dict[str, Any]) -> str:
    names = sorted({*document, *material} - {"mediaType", "verificationMaterial", "tlogEntries"})
    return visible(", ".join(names) or "neither", 100)


def _refuse_others(value: dict[str, Any], name: str) -> None:
    others = sorted(value.keys() - set(_MEMBERS[name]))
    if others:
        raise _malformed(f"the {name} has the member {visible(repr(others[0]), 60)}, which cosign refuses")


def _malformed(reason: str) -> NotTrusted:
    return NotTrusted(
        f"The Sigstore bundle is malformed: {reason}.",
        "Get it again, unchanged, from the address of the signed file.",
        reason="malformed",
    )
