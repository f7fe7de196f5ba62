"""The integrity digest of a module, and a search for the module's length by it.

BoringSSL stores the HMAC of its text within a few KiB after it (``crypto/fipsmodule/bcm.c``). From the start of the
text, an incremental HMAC that is compared every 16 bytes matches the stored digest exactly at the end.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from .source import ByteSource

KEY = bytes(64)
"""BoringSSL's ``kHMACKey``: 64 zero bytes."""
ALGORITHMS = {"hmac-sha256": hashlib.sha256, "hmac-sha512": hashlib.sha512}

#: Measured: the digest is 1.1 to 1.7 KiB after the text.
STORED_WITHIN = 8192
STEP = 16
"""A text's length is a multiple of this."""
SHORTEST, LONGEST = 0x20000, 0x100000
"""Bounds of the length: the smallest module known has 0x5d070 bytes of text, the largest 0xbe290."""


@dataclass(frozen=True, slots=True)
class IntegrityMatch:
    """A range of code whose own integrity digest is stored after it."""

    length: int
    """Bytes of text."""
    algorithm: str
    """``hmac-sha256`` or ``hmac-sha512``."""
    digest: bytes
    """The HMAC, as computed and as stored."""
    digest_offset: int
    """Where it is stored, relative to the text's start."""


def integrity_digest(source: ByteSource, start: int, length: int, algorithm: str) -> bytes:
    """Return the integrity digest of ``length`` bytes from file offset ``start``."""
    return hmac.digest(KEY, source.read_at(start, length), ALGORITHMS[algorithm])


def match_at(source: ByteSource, start: int, length: int, end: int) -> IntegrityMatch | None:
    """Return the match of one range, if either digest of it is stored after it and before offset ``end``."""
    text = source.read_at(start, length)
    after = source.read_at(start + length, min(STORED_WITHIN, max(end - start - length, 0)))
    if len(text) < length:
        return None
    for algorithm, function in ALGORITHMS.items():
        digest = hmac.digest(KEY, text, function)
        at = after.find(digest)
        if at >= 0:
            return IntegrityMatch(length, algorithm, digest, length + at)
    return None


def find_match(source: ByteSource, start: int, end: int, *, exactly: int | None = None) -> IntegrityMatch | None:
    """Return the match whose text begins at ``start`` and whose digest is before offset ``end``; None if there is none.

    ``exactly`` is the length, if it is known; otherwise this takes up to half a second.
    """
    if exactly is not None:
        return match_at(source, start, exactly, end) if 0 < exactly <= end - start else None
    text = source.read_at(start, min(LONGEST + STORED_WITHIN, end - start))
    for algorithm, function in ALGORITHMS.items():
        # The inner hash of HMAC (RFC 2104) continues; the outer one is computed at each step.
        block = function().block_size
        inner, outer = function(KEY.ljust(block, b"\0").translate(_IPAD)), KEY.ljust(block, b"\0").translate(_OPAD)
        inner.update(text[:SHORTEST])
        for length in range(SHORTEST, min(len(text), LONGEST) + 1, STEP):
            digest = function(outer + inner.digest()).digest()
            at = text.find(digest, length, length + STORED_WITHIN)
            if at >= 0:
                return IntegrityMatch(length, algorithm, digest, at)
            inner.update(text[length : length + STEP])
    return None


_IPAD = bytes(byte ^ 0x36 for byte in range(256))
_OPAD = bytes(byte ^ 0x5C for byte in range(256))
