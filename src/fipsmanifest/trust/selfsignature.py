"""The signatures of a certificate about its own keys: which keys may sign, and which subkeys belong to the primary key.

gpgv checks both, but only for the first certificate that has a key: a certificate that claims the subkey of another
one, and is before it in the keyring, makes good signatures bad. gpgv 2.0 does not check whether a subkey may sign, or
whether it agreed to belong to the primary key, and no gpgv checks whether the binding uses SHA-1 or has expired. The
checks here only remove keys from gpgv's keyring; they accept nothing that gpgv refuses.
"""

import hashlib
from itertools import islice
from typing import FrozenSet, Iterable, Iterator, Optional, Sequence, Tuple

from ..errors import NotTrusted

# Signature types with the uses of a key: on user ids, on subkeys, on the key itself (RFC 4880, section 5.2.1).
_HAS_USAGE = (0x10, 0x11, 0x12, 0x13, 0x18, 0x1F)
_ON_USER_ID, _ON_KEY = (0x10, 0x11, 0x12, 0x13), 0x1F
_BINDS, _AGREES = 0x18, 0x19
REVOKES_KEY, REVOKES_SUBKEY = 0x20, 0x28
# RFC 4880, sections 5.2.3.1 and 5.2.3.21; the issuer's fingerprint is RFC 9580's, section 5.2.3.35.
_CREATED, _EXPIRES, _ISSUER, _KEY_FLAGS, _EMBEDDED_SIGNATURE, _ISSUER_FINGERPRINT = 2, 3, 16, 27, 32, 33
_REVOKER, _REVOKER_BYTES = 12, 22  # RFC 4880, section 5.2.3.15: class, algorithm, fingerprint
_MAY_SIGN = 0x02
_SIGNING_RSA = (1, 3)  # RFC 4880, section 9.1

# OpenPGP's number of a hash -> its name, and what precedes the digest in an RSA signature (RFC 8017, section 9.2).
_HASHES = {
    2: ("sha1", bytes.fromhex("3021300906052b0e03021a05000414")),
    8: ("sha256", bytes.fromhex("3031300d060960864801650304020105000420")),
    9: ("sha384", bytes.fromhex("3041300d060960864801650304020205000430")),
    10: ("sha512", bytes.fromhex("3051300d060960864801650304020305000440")),
    11: ("sha224", bytes.fromhex("302d300d06096086480165030402040500041c")),
}
# Real keys have no larger numbers, which would take long to verify.
_BITS = range(1024, 8193)
_MAX_EXPONENT_BITS = 32
_MAX_BINDINGS = 128
_MAX_CONSENTS = 8

# SHA-256, SHA-384 and SHA-512; the others have collisions, or are not used.
_STRONG = (8, 9, 10)


def lets_sign(signature: bytes) -> bool:
    """Return whether a signature in a certificate allows the key before it to sign data.

    gpgv 2.0 does not check this, and accepts signatures of encryption keys. gpgv decides which of several signatures
    applies; here each of them must allow it. Only hashed subpackets are read: anyone can change the others.
    """
    if len(signature) < 6 or signature[0] != 4 or signature[1] not in _HAS_USAGE:
        return True
    hashed, _ = _areas(signature)
    return all(value[:1] and value[0] & _MAY_SIGN for kind, value in _subpackets(hashed) if kind == _KEY_FLAGS)


def is_signing_subkey(primary: bytes, subkey: bytes, signatures: Sequence[bytes]) -> bool:
    """Return whether a subkey may sign for a primary key (both as the bodies of their packets).

    ``signatures`` are those that follow the subkey. At least one must be the primary key's, and each of these must
    allow the subkey to sign and have the subkey's own signature (RFC 4880, section 5.2.1). Only RSA keys are accepted.
    """
    both = _prefixed(primary) + _prefixed(subkey)
    bindings = [one for one in signatures if one[:2] == bytes((4, _BINDS))]
    if len(bindings) > _MAX_BINDINGS:
        raise malformed("a subkey has more than {} signatures that bind it".format(_MAX_BINDINGS))
    bindings = [one for one in bindings if _is_made_by(primary, both, one)]
    return bool(bindings) and all(lets_sign(one) and _holds_consent(subkey, both, one) for one in bindings)


def bound_since(primary: bytes, subkey: bytes, signatures: Iterable[bytes]) -> Optional[int]:
    """Return the time (seconds since 1970) since which strong signatures of both keys bind a signing subkey.

    None if they do not: a signature with SHA-1 could be copied from other data, and one with an expiry does not last.
    gpg makes none with an expiry (it is the key that expires), and gpg 2.0 made all with SHA-1.
    """
    both = _prefixed(primary) + _prefixed(subkey)
    times = [
        _made_strongly(primary, both, one)
        for one in signatures
        if one[:2] == bytes((4, _BINDS))
        and any(_made_strongly(subkey, both, consent) is not None for consent in _consents(one))
    ]
    return min((time for time in times if time is not None), default=None)


def certified_since(primary: bytes, key_id: bytes, claims: Iterable[Tuple[Optional[bytes], bytes]]) -> Optional[int]:
    """Return the time since which a primary key certifies itself by a signature that is strong as in `bound_since`.

    ``claims`` are user ids, or None for the key itself, with a signature on each (RFC 4880, section 5.2.4).
    """
    times = []
    own = ((user_id, one) for user_id, one in claims if _is_certification(user_id, one) and key_id in issuers(one))
    for user_id, one in islice(own, _MAX_BINDINGS):
        times.append(_made_strongly(primary, _certified(primary, user_id), one))
    return min((time for time in times if time is not None), default=None)


def designated_revokers(primary: bytes, claims: Iterable[Tuple[Optional[bytes], bytes]]) -> FrozenSet[bytes]:
    """Return the key ids of those whom a primary key lets revoke it (RFC 4880, section 5.2.3.15).

    ``claims`` are as in `certified_since`.
    """
    naming = (
        (value[-8:], user_id, one)
        for user_id, one in claims
        if _is_certification(user_id, one)
        for kind, value in _subpackets(_areas(one)[0])
        if kind == _REVOKER and len(value) == _REVOKER_BYTES
    )
    return frozenset(
        key_id
        for key_id, user_id, one in islice(naming, _MAX_BINDINGS)
        if _is_made_by(primary, _certified(primary, user_id), one)
    )


def revokes_subkey(primary: bytes, subkey: bytes, signature: bytes) -> bool:
    """Return whether a signature, anywhere in a file, is the primary key's revocation of this subkey."""
    return signature[:2] == bytes((4, REVOKES_SUBKEY)) and _is_made_by(
        primary, _prefixed(primary) + _prefixed(subkey), signature
    )


def issuers(signature: bytes) -> FrozenSet[bytes]:
    """Return the key ids (8 bytes) of the issuers that a version 4 signature states, hashed or not, as gpg does."""
    return frozenset(
        value[-8:]
        for area in _areas(signature)
        for kind, value in _subpackets(area)
        if kind in (_ISSUER, _ISSUER_FINGERPRINT)
    )


def read_rsa(body: bytes) -> Tuple[int, int]:
    """Return a key's modulus and public exponent; 0 and 0 if it cannot verify signatures."""
    modulus, at = _number(body, 6)
    exponent, _ = _number(body, at)
    if modulus is None or exponent is None or not modulus & exponent & 1 or exponent < 3:
        return 0, 0
    return (modulus, exponent) if exponent.bit_length() <= _MAX_EXPONENT_BITS else (0, 0)


def malformed(reason: str) -> NotTrusted:
    """Return the error for malformed OpenPGP data."""
    return NotTrusted(
        "The OpenPGP data cannot be read: {}.".format(reason),
        "Get the file again from its publisher.",
        reason="malformed",
    )


def _holds_consent(subkey: bytes, both: bytes, binding: bytes) -> bool:
    return any(_is_made_by(subkey, both, one) for one in _consents(binding))


def _consents(binding: bytes) -> Iterable[bytes]:
    """Return the subkey's own signatures in a binding, unverified."""
    embedded = (value for area in _areas(binding) for kind, value in _subpackets(area) if kind == _EMBEDDED_SIGNATURE)
    return islice((one for one in embedded if one[:2] == bytes((4, _AGREES))), _MAX_CONSENTS)


def _certified(primary: bytes, user_id: Optional[bytes]) -> bytes:
    """Return what a certification of a user id, or a signature on the key itself, is over."""
    named = b"" if user_id is None else b"\xb4" + len(user_id).to_bytes(4, "big") + user_id
    return _prefixed(primary) + named


def _is_certification(user_id: Optional[bytes], signature: bytes) -> bool:
    kinds = (_ON_KEY,) if user_id is None else _ON_USER_ID
    return len(signature) >= 6 and signature[0] == 4 and signature[1] in kinds


def _made_strongly(key: bytes, data: bytes, signature: bytes) -> Optional[int]:
    """Return the time of a signature of ``key`` over ``data`` with SHA-256 or better and without expiry, else None."""
    if len(signature) < 6 or signature[3] not in _STRONG or not _is_made_by(key, data, signature):
        return None
    hashed = list(_subpackets(_areas(signature)[0]))
    ends = any(kind == _EXPIRES and any(value) for kind, value in hashed)
    times = [int.from_bytes(value, "big") for kind, value in hashed if kind == _CREATED and len(value) == 4]
    return None if ends or len(times) != 1 else times[0]


def _prefixed(key: bytes) -> bytes:
    return b"\x99" + len(key).to_bytes(2, "big") + key


def _areas(signature: bytes) -> Tuple[bytes, bytes]:
    """Return the hashed and the unhashed subpackets of a version 4 signature (RFC 4880, section 5.2.3)."""
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
        # The highest bit only marks the subpacket as critical.
        yield area[at] & 0x7F, area[at + 1 : at + length]
        at += length


def _is_made_by(key: bytes, data: bytes, signature: bytes) -> bool:
    """Return whether an RSA key made a version 4 signature (RFC 4880, section 5.2.4; RFC 8017, section 8.2.2)."""
    hash_name, head = _HASHES.get(signature[3] if len(signature) > 3 else 0, ("", b""))
    if not hash_name or signature[2] not in _SIGNING_RSA or key[5] not in _SIGNING_RSA:
        return False
    hashed, unhashed = _areas(signature)
    digest = hashlib.new(hash_name, data)
    digest.update(signature[: 6 + len(hashed)] + b"\x04\xff" + (6 + len(hashed)).to_bytes(4, "big"))
    at = 8 + len(hashed) + len(unhashed)
    modulus, exponent = read_rsa(key)
    value, _ = _number(signature, at + 2)
    if not modulus or value is None or signature[at : at + 2] != digest.digest()[:2]:
        return False
    if modulus.bit_length() not in _BITS or value >= modulus:
        return False
    size = (modulus.bit_length() + 7) // 8
    info = head + digest.digest()
    expected = b"\x00\x01" + b"\xff" * (size - 3 - len(info)) + b"\x00" + info
    return pow(value, exponent, modulus).to_bytes(size, "big") == expected


def _number(body: bytes, at: int) -> Tuple[Optional[int], int]:
    """Return a multiprecision integer (RFC 4880, section 3.2), None if it is truncated, and its end."""
    end = at + 2 + (int.from_bytes(body[at : at + 2], "big") + 7) // 8
    if len(body) < at + 2 or len(body) < end:
        return None, end
    return int.from_bytes(body[at + 2 : end], "big"), end
