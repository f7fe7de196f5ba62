"""Certificates that gpg does not make: put together by hand, each part of them as a case wants it.

OpenPGP's forms are those of RFC 4880, sections 4.2, 5.2 and 5.5; RSA's is RFC 8017, section 8.2.
"""

from __future__ import annotations

import functools
import hashlib
import math
import subprocess
import time
from dataclasses import dataclass
from typing import Any

from fipsmanifest.trust import armor
from tests.support.forge import payload

NOW = int(time.time())
DAY = 86400
SHA1, SHA256 = 2, 8
_DIGEST_INFO = {
    SHA1: ("sha1", "3021300906052b0e03021a05000414"),
    SHA256: ("sha256", "3031300d060960864801650304020105000420"),
}
USER_ID = b"Crafted Key <crafted@example.com>"


@dataclass(frozen=True)
class Rsa:
    """An RSA key, its numbers not necessarily a sound key's; made when it is first used."""

    name: str
    """By which two of a kind differ."""
    bits: int = 3072
    """Of the modulus."""
    exponent: int = 65537
    """The public one; with 1 every number is its own signature."""
    claimed_bits: int = 0
    """The length that its packet says the modulus has; 0 for the truth."""

    @property
    def body(self) -> bytes:
        """Return the packet's body, of a key that is ten days old."""
        modulus = _number(_numbers(self)[0], self.claimed_bits)
        return b"\x04" + (NOW - 10 * DAY).to_bytes(4, "big") + b"\x01" + modulus + _number(self.exponent)

    @property
    def hashed(self) -> bytes:
        """Return what a signature about the key is over."""
        return b"\x99" + len(self.body).to_bytes(2, "big") + self.body

    @property
    def fingerprint(self) -> str:
        """Return the key's id or fingerprint."""
        return hashlib.sha1(self.hashed).hexdigest().upper()

    def sign(self, told: bytes) -> bytes:
        """Return the signature over the encoding of a digest."""
        return _signed(self, told)


@functools.cache
def _signed(key: Rsa, told: bytes) -> bytes:
    modulus, secret = _numbers(key)
    padding = b"\x00\x01".ljust((modulus.bit_length() + 7) // 8 - len(told), b"\xff")
    return _number(pow(int.from_bytes(padding + told, "big"), secret, modulus))


@functools.cache
def _numbers(key: Rsa) -> tuple[int, int]:
    """Return the modulus and the secret exponent."""
    while True:
        one, two = (_prime(key.bits // 2) for _ in range(2))
        order = (one - 1) * (two - 1)
        if math.gcd(order, key.exponent) == 1:
            return one * two, pow(key.exponent, -1, order)


def _prime(bits: int) -> int:
    command = ["openssl", "prime", "-generate", "-bits", str(bits)]
    return int(subprocess.run(command, capture_output=True, check=True).stdout)


def _number(value: int, bits: int = 0) -> bytes:
    length = bits or value.bit_length()
    return length.to_bytes(2, "big") + value.to_bytes((length + 7) // 8, "big")


def packet(tag: int, body: bytes) -> bytes:
    """Return a packet with the longest form of a length."""
    return bytes((0xC0 | tag, 0xFF)) + len(body).to_bytes(4, "big") + body


def subpacket(kind: int, value: bytes) -> bytes:
    """Return a subpacket with the longest form of a length."""
    return b"\xff" + (len(value) + 1).to_bytes(4, "big") + bytes((kind,)) + value


def signature(
    key: Rsa,
    kind: int,
    data: bytes,
    *,
    digest: int = SHA256,
    at: int = NOW - DAY,
    ends: int | None = None,
    hashed: bytes = b"",
    unhashed: bytes = b"",
) -> bytes:
    """Sign, and return the signature packet's body; ``ends`` is in seconds after ``at``."""
    area = subpacket(2, at.to_bytes(4, "big")) + hashed
    area += b"" if ends is None else subpacket(3, ends.to_bytes(4, "big"))
    head = bytes((4, kind, 1, digest)) + len(area).to_bytes(2, "big") + area
    name, info = _DIGEST_INFO[digest]
    found = hashlib.new(name, data + head + b"\x04\xff" + len(head).to_bytes(4, "big")).digest()
    unhashed += subpacket(16, bytes.fromhex(key.fingerprint[-16:]))
    rest = len(unhashed).to_bytes(2, "big") + unhashed + found[:2]
    return head + rest + key.sign(b"\x00" + bytes.fromhex(info) + found)


def certified(primary: Rsa, *, by: Rsa | None = None, until: int | None = None, **how: Any) -> bytes:
    """Return the user id with the primary key's signature about it, or another's.

    The primary key expires ``until`` seconds after it was made.
    """
    named = b"\xb4" + len(USER_ID).to_bytes(4, "big") + USER_ID
    flags = subpacket(27, b"\x01") + _expiry(until)
    return packet(13, USER_ID) + packet(2, signature(by or primary, 0x13, primary.hashed + named, hashed=flags, **how))


def _expiry(until: int | None) -> bytes:
    return b"" if until is None else subpacket(9, until.to_bytes(4, "big"))


def pictured(primary: Rsa, **how: Any) -> bytes:
    """Return a user attribute (a picture) with the primary key's signature about it (RFC 4880, section 5.12)."""
    image = b"\x11\x01\x10\x00\x01\x01" + bytes(12)
    named = b"\xd1" + len(image).to_bytes(4, "big") + image
    return packet(17, image) + packet(2, signature(primary, 0x13, primary.hashed + named, **how))


def bound(
    primary: Rsa, subkey: Rsa, *, consent: dict[str, Any] | None = None, until: int | None = None, **how: Any
) -> bytes:
    """Return a signing subkey with its binding, and in it the subkey's ``consent``.

    The subkey expires ``until`` seconds after it was made.
    """
    both = primary.hashed + subkey.hashed
    agreed = subpacket(32, signature(subkey, 0x19, both, **({"at": how.get("at", NOW - DAY)} | (consent or {}))))
    flags = subpacket(27, b"\x02") + _expiry(until)
    return packet(14, subkey.body) + packet(2, signature(primary, 0x18, both, hashed=flags, unhashed=agreed, **how))


def revoking(primary: Rsa, subkey: Rsa | None = None, *, by: Rsa | None = None, reason: int = 2, **how: Any) -> bytes:
    """Return the revocation of a primary key or a subkey, compromised or superseded (1), by itself or another."""
    data = primary.hashed + (subkey.hashed if subkey else b"")
    kind, why = 0x28 if subkey else 0x20, subpacket(29, bytes((reason,)))
    return packet(2, signature(by or primary, kind, data, hashed=why, **how))


def designating(primary: Rsa, revoker: Rsa, *, by: Rsa | None = None) -> bytes:
    """Return the signature that lets another key revoke a primary key (RFC 4880, section 5.2.3.15)."""
    named = subpacket(12, b"\x80\x01" + bytes.fromhex(revoker.fingerprint))
    return packet(2, signature(by or primary, 0x1F, primary.hashed, hashed=named))


def message(key: Rsa) -> bytes:
    """Sign the usual manifest, an hour ago."""
    text = payload()
    made = packet(2, signature(key, 0x01, text[:-1].replace(b"\n", b"\r\n"), at=NOW - 3600))
    head = b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n"
    return head + text + armor.armor(made, b"SIGNATURE")
