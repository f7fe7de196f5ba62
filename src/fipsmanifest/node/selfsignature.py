"""What a certificate's signatures say of its own keys: which may sign, and which subkeys are the primary key's.

gpgv judges both, but of the first certificate alone that holds a key: one that only claims another's subkey, and stands
before the true one in the keyring, makes good signatures bad. And gpgv 2.0 does not ask whether a subkey may sign, nor
whether it agreed to be this primary key's. What is read here takes keys away from what gpgv is given, and accepts
nothing: that stays gpgv's.
"""

import hashlib
from typing import Iterator, Optional, Sequence, Tuple

from ..errors import NotTrusted

# Signature types that say what a key is for: on user ids, on subkeys, on the key itself (RFC 4880, section 5.2.1).
_SAYS_USAGE = (0x10, 0x11, 0x12, 0x13, 0x18, 0x1F)
_BINDS, _AGREES = 0x18, 0x19
_KEY_FLAGS, _EMBEDDED_SIGNATURE, _MAY_SIGN = 27, 32, 0x02  # RFC 4880, sections 5.2.3.1 and 5.2.3.21
_SIGNING_RSA = (1, 3)  # RFC 4880, section 9.1

# By OpenPGP's number of a hash: its name, and what precedes the digest in an RSA signature (RFC 8017, section 9.2).
_HASHES = {
    2: ("sha1", bytes.fromhex("3021300906052b0e03021a05000414")),
    8: ("sha256", bytes.fromhex("3031300d060960864801650304020105000420")),
    9: ("sha384", bytes.fromhex("3041300d060960864801650304020205000430")),
    10: ("sha512", bytes.fromhex("3051300d060960864801650304020305000440")),
    11: ("sha224", bytes.fromhex("302d300d06096086480165030402040500041c")),
}
# Larger numbers are nobody's; who writes them wants to keep a reader busy.
_BITS = range(1024, 8193)
_MAX_EXPONENT_BITS = 32
_MAX_BINDINGS = 128


def lets_sign(signature: bytes) -> bool:
    """Tell whether a signature in a certificate leaves the key before it the right to sign data.

    gpgv 2.0 does not ask, and takes what an encryption key signed. Which of several signatures counts is for gpgv:
    here each of them must allow it. Only what is hashed is read, since anybody can write into the rest.
    """
    if len(signature) < 6 or signature[0] != 4 or signature[1] not in _SAYS_USAGE:
        return True
    hashed, _ = _areas(signature)
    return all(value[:1] and value[0] & _MAY_SIGN for kind, value in _subpackets(hashed) if kind == _KEY_FLAGS)


def is_signing_subkey(primary: bytes, subkey: bytes, signatures: Sequence[bytes]) -> bool:
    """Tell whether a subkey signs for a primary key (both as the bodies of their packets).

    ``signatures`` are those that follow the subkey. One of them must be the primary key's, and each that is must let
    the subkey sign and hold the subkey's own consent (RFC 4880, section 5.2.1). Keys other than RSA sign nothing here.
    """
    both = _prefixed(primary) + _prefixed(subkey)
    bindings = [one for one in signatures if one[:2] == bytes((4, _BINDS))]
    if len(bindings) > _MAX_BINDINGS:
        raise malformed("a subkey has more than {} signatures that bind it".format(_MAX_BINDINGS))
    bindings = [one for one in bindings if _is_made_by(primary, both, one)]
    return bool(bindings) and all(lets_sign(one) and _holds_consent(subkey, both, one) for one in bindings)


def malformed(reason: str) -> NotTrusted:
    """Give the error of OpenPGP data that is not what it should be."""
    return NotTrusted("The OpenPGP data cannot be read: {}.".format(reason), "Get the file again from its publisher.")


def _holds_consent(subkey: bytes, both: bytes, binding: bytes) -> bool:
    embedded = [value for area in _areas(binding) for kind, value in _subpackets(area) if kind == _EMBEDDED_SIGNATURE]
    return any(one[:2] == bytes((4, _AGREES)) and _is_made_by(subkey, both, one) for one in embedded)


def _prefixed(key: bytes) -> bytes:
    return b"\x99" + len(key).to_bytes(2, "big") + key


def _areas(signature: bytes) -> Tuple[bytes, bytes]:
    """Give the hashed and the unhashed subpackets of a version 4 signature (RFC 4880, section 5.2.3)."""
    areas, at = [], 4
    for _ in range(2):
        size = int.from_bytes(signature[at : at + 2], "big")
        areas.append(signature[at + 2 : at + 2 + size])
        at += 2 + size
        if at > len(signature):
            raise malformed("a signature's subpackets are cut short")
    return areas[0], areas[1]


def _subpackets(area: bytes) -> Iterator[Tuple[int, bytes]]:
    at = 0
    while at < len(area):
        header = area[at : at + 5].ljust(5, b"\0")
        length, at = header[0], at + 1
        if length == 255:
            length, at = int.from_bytes(header[1:5], "big"), at + 4
        elif length >= 192:
            length, at = ((length - 192) << 8) + header[1] + 192, at + 1
        if not length or at + length > len(area):
            raise malformed("a signature's subpackets are cut short")
        # The highest bit only says that the subpacket is critical.
        yield area[at] & 0x7F, area[at + 1 : at + length]
        at += length


def _is_made_by(key: bytes, data: bytes, signature: bytes) -> bool:
    """Check a version 4 signature over ``data`` by an RSA key (RFC 4880, section 5.2.4; RFC 8017, section 8.2.2)."""
    hash_name, head = _HASHES.get(signature[3] if len(signature) > 3 else 0, ("", b""))
    if not hash_name or signature[2] not in _SIGNING_RSA or key[5] not in _SIGNING_RSA:
        return False
    hashed, unhashed = _areas(signature)
    digest = hashlib.new(hash_name, data)
    digest.update(signature[: 6 + len(hashed)] + b"\x04\xff" + (6 + len(hashed)).to_bytes(4, "big"))
    at = 8 + len(hashed) + len(unhashed)
    modulus, next_at = _number(key, 6)
    exponent, _ = _number(key, next_at)
    value, _ = _number(signature, at + 2)
    if modulus is None or exponent is None or value is None or signature[at : at + 2] != digest.digest()[:2]:
        return False
    if modulus.bit_length() not in _BITS or exponent.bit_length() > _MAX_EXPONENT_BITS or value >= modulus:
        return False
    size = (modulus.bit_length() + 7) // 8
    told = head + digest.digest()
    expected = b"\x00\x01" + b"\xff" * (size - 3 - len(told)) + b"\x00" + told
    return pow(value, exponent, modulus).to_bytes(size, "big") == expected


def _number(body: bytes, at: int) -> Tuple[Optional[int], int]:
    """Read a multiprecision integer (RFC 4880, section 3.2), None where it is cut short; and give where it ends."""
    end = at + 2 + (int.from_bytes(body[at : at + 2], "big") + 7) // 8
    if len(body) < at + 2 or len(body) < end:
        return None, end
    return int.from_bytes(body[at + 2 : end], "big"), end
