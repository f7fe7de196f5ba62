"""A reader of the parts of OpenPGP that are needed besides gpg: packets, fingerprints and key sizes.

It does not verify signed files; gpgv does. This independent reader is for facts that gpgv does not report (a key's
size, other content of a file), and for gpgv's keyring, which has only what was read here. Numbers are those of RFC 4880
and RFC 9580.
"""

import hashlib
from datetime import datetime, timezone
from typing import Dict, FrozenSet, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from .armor import dearmor_all, secret_key_found
from .selfsignature import (
    REVOKES_KEY,
    REVOKES_SUBKEY,
    bound_since,
    certified_since,
    designated_revokers,
    is_signing_subkey,
    issuers,
    lets_sign,
    malformed,
    read_rsa,
    revokes_subkey,
)

RSA = 1
RSA_ANY = (1, 2, 3)
HASH_NAMES = {1: "MD5", 2: "SHA1", 3: "RIPEMD160", 8: "SHA256", 9: "SHA384", 10: "SHA512", 11: "SHA224"}

_SIGNATURE, _SECRET_KEY, _PUBLIC_KEY, _SECRET_SUBKEY = 2, 5, 6, 7
_MARKER, _TRUST, _USER_ID, _PUBLIC_SUBKEY, _USER_ATTRIBUTE = 10, 12, 13, 14, 17

_VERSION_4 = b"\x04"
# Packets without meaning, which readers skip (RFC 9580, sections 5.8, 5.14 and 4.3).
_PADDING = 21
_IGNORED = frozenset((_MARKER, _PADDING)) | frozenset(range(40, 64))
_MAX_SIGNATURES = 16

_REVOKES = (REVOKES_KEY, REVOKES_SUBKEY, 0x30)
_MAX_REVOCATIONS = 128


class Key(NamedTuple):
    """One public key packet, primary or subkey."""

    fingerprint: str
    """40 upper-case hex digits."""
    algorithm: int
    """Public-key algorithm number; 1 is RSA."""
    bits: int
    """Length of the RSA modulus; 0 for other algorithms, and for an invalid RSA key."""
    exponent: int
    """RSA's public exponent; 0 if `bits` is 0."""
    created: datetime
    """Its creation time, as stated."""
    signs: bool
    """Whether its certificate allows it to sign data: no signature restricts it to other uses."""
    bound: Optional[datetime] = None
    """The time since which strong signatures bind it to its certificate; None if there are none."""


class Certificate(NamedTuple):
    """An OpenPGP certificate ("public key"), reduced to what gpgv may use."""

    primary: Key
    """The primary key."""
    subkeys: Tuple[Key, ...]
    """The signing subkeys that are bound to the primary key, without others."""
    user_ids: Tuple[str, ...]
    """Unescaped user ids: escape before printing."""
    packets: bytes
    """The keys above, the user ids and attributes, and their signatures in binary form, without anything else."""
    revoker: Optional[str] = None
    """The key id of a designated revoker who revoked it, as its file says, unverified: that key need not be there."""

    def revocations(self) -> FrozenSet[bytes]:
        """Return the packets that revoke the key, a subkey or a user id (RFC 4880, section 5.2.1), unverified."""
        return frozenset(packet.body for packet in _packets(self.packets) if _signature_type(packet) in _REVOKES)

    def key(self, fingerprint: str) -> "Key":
        """Return the key with this fingerprint. Raises `KeyError` if the certificate does not have it."""
        for key in (self.primary,) + self.subkeys:
            if key.fingerprint == fingerprint:
                return key
        raise KeyError(fingerprint)

    def has(self, fingerprint: str) -> bool:
        """Return whether the primary key or a subkey has this fingerprint."""
        return any(key.fingerprint == fingerprint for key in (self.primary,) + self.subkeys)


class SignaturePacket(NamedTuple):
    """The claims of a signature packet, which gpgv has not verified."""

    version: int
    """3 or 4; other versions are refused."""
    type: int
    """0x00 binary document, 0x01 canonical text."""
    key_algorithm: int
    """Public-key algorithm number."""
    hash_algorithm: int
    """Hash algorithm number."""
    binary: bytes
    """The packet itself."""


class _Packet(NamedTuple):
    tag: int
    body: bytes
    raw: bytes


def _packets(data: bytes) -> Iterator[_Packet]:
    """Split binary OpenPGP into packets. Partial and indeterminate lengths are refused (RFC 9580, section 4.2)."""
    position = 0
    while position < len(data):
        start, first = position, data[position]
        if not first & 0x80:
            raise malformed("a packet does not begin where one should")
        header = data[position : position + 6].ljust(6, b"\0")
        if first & 0x40:
            tag, position, length = first & 0x3F, position + 2, header[1]
            if 192 <= length < 224:
                length, position = ((length - 192) << 8) + header[2] + 192, position + 1
            elif length == 255:
                length, position = int.from_bytes(header[2:6], "big"), position + 4
            elif length >= 224:
                raise malformed("a packet has a partial length")
        else:
            tag, width = (first >> 2) & 0x0F, (1, 2, 4, 0)[first & 3]
            if width == 0:
                raise malformed("a packet has no length")
            length, position = int.from_bytes(header[1 : 1 + width], "big"), position + 1 + width
        if position + length > len(data):
            raise malformed("a packet is cut short")
        yield _Packet(tag, data[position : position + length], data[start : position + length])
        position += length


def read_signature(binary: bytes) -> SignaturePacket:
    """Read binary data that must be exactly one signature packet.

    Raises `NotTrusted` for two signatures, for a message instead of a detached signature, and for truncated data.
    """
    packets = list(_packets(binary))
    if [packet.tag for packet in packets] != [_SIGNATURE]:
        raise malformed("it is not one signature and nothing else")
    found = _signature(packets[0])
    if found is None:
        raise malformed("the signature is of an unknown version")
    return found


def read_signatures(data: bytes) -> List[SignaturePacket]:
    """Read a detached signature of an upstream: one or more signatures, armored as gpg accepts it, or binary.

    Signatures of an unknown version are ignored. Raises `NotTrusted` for anything else in it, such as a message, if no
    signature remains, or if there are more than 16.
    """
    packets = [one for one in _packets(dearmor_all(data, b"SIGNATURE")) if one.tag not in _IGNORED]
    if not packets or any(packet.tag != _SIGNATURE for packet in packets):
        raise malformed("it is not a detached signature")
    if len(packets) > _MAX_SIGNATURES:
        raise malformed("it has more than {} signatures".format(_MAX_SIGNATURES))
    found = [one for one in map(_signature, packets) if one is not None]
    if not found:
        raise malformed("the signature is of an unknown version")
    return found


def _signature(packet: _Packet) -> Optional[SignaturePacket]:
    body = packet.body
    if len(body) >= 6 and body[0] == 4:
        return SignaturePacket(4, body[1], body[2], body[3], packet.raw)
    if len(body) >= 19 and body[0] == 3 and body[1] == 5:
        return SignaturePacket(3, body[2], body[15], body[16], packet.raw)
    return None


def read_certificates(data: bytes) -> List[Certificate]:
    """Read the version 4 certificates of a file, armored (any number of blocks) or binary.

    Those of other versions are ignored: neither this program nor gpgv can use them. Fingerprints are computed from the
    key packets (RFC 4880, section 12.2). Raises `NotTrusted` for data that is not a certificate, has a secret key, or
    has no key of version 4.
    """
    groups: List[List[_Packet]] = []
    revocations: Dict[bytes, List[_Packet]] = {}
    for packet in _packets(dearmor_all(data, b"PUBLIC KEY BLOCK")):
        if packet.tag in (_SECRET_KEY, _SECRET_SUBKEY):
            raise secret_key_found()
        if packet.tag == _PUBLIC_KEY:
            groups.append([])
        elif not groups:
            raise malformed("it does not begin with a public key")
        groups[-1].append(packet)
        if _signature_type(packet) in (REVOKES_KEY, REVOKES_SUBKEY):
            for key_id in issuers(packet.body):
                revocations.setdefault(key_id, []).append(packet)
    if not groups:
        raise malformed("it has no public key")
    for group in groups:
        _check_parts_once(group)
    usable = [one for one in _merged(groups) if one[0].body[:1] == _VERSION_4]
    if not usable:
        raise malformed("it has no key of version 4")
    return [_certificate(one, revocations) for one in usable]


def _merged(groups: List[List[_Packet]]) -> List[List[_Packet]]:
    """Merge the copies of each certificate; equal copies count once."""
    copies: Dict[bytes, Dict[Tuple[bytes, ...], List[_Packet]]] = {}
    for group in groups:
        of = copies.setdefault(group[0].body, {})
        of.setdefault(tuple(packet.raw for packet in group), group)
    return [[packet for group in of.values() for packet in group] for of in copies.values()]


def _check_parts_once(group: List[_Packet]) -> None:
    """Raise `NotTrusted` for a copy of a certificate that has a subkey or user id twice, with different signatures.

    Of a subkey gpgv and GnuPG 2.2 use the first ones only, and of user ids the newest of each; others use all. To one
    reader a key has expired, and to another it was renewed.
    """
    found: Dict[Tuple[int, bytes, Tuple[int, int]], List[List[bytes]]] = {}
    last: List[bytes] = []
    for packet in group:
        if packet.tag == _SIGNATURE:
            last.append(packet.body)
        elif packet.tag in (_PUBLIC_SUBKEY, _USER_ID, _USER_ATTRIBUTE):
            body, numbers, last = packet.body, (0, 0), []
            # gpgv identifies a key by its numbers: it reads them however long they claim to be, and nothing after.
            if packet.tag == _PUBLIC_SUBKEY and len(body) > 6 and body[5] in RSA_ANY:
                numbers = read_rsa(body)
            found.setdefault((packet.tag, body[:6] if any(numbers) else body, numbers), []).append(last)
    if any(signatures != copies[0] for copies in found.values() for signatures in copies):
        raise malformed("a certificate has a subkey or user id twice, with different signatures")


def _signature_type(packet: _Packet) -> int:
    """Return the type of a version 4 signature (RFC 4880, section 5.2.1); -1 for anything else."""
    return packet.body[1] if packet.tag == _SIGNATURE and len(packet.body) >= 6 and packet.body[0] == 4 else -1


def _certificate(packets: List[_Packet], revoking: Mapping[bytes, Sequence[_Packet]]) -> Certificate:
    """Build a certificate from user ids and attributes, signing keys, and all of their revocations.

    gpgv applies a revocation only directly after its key, but users append it to the file, where gpg itself finds it.
    ``revoking`` has the revocations of the whole file by the key id of their issuer.
    """
    (first, about), *rest = _components(packets)
    primary = _key(first.body)
    key_id = bytes.fromhex(primary.fingerprint[-16:])
    revocations = revoking.get(key_id, ())
    if len(revocations) > _MAX_REVOCATIONS:
        raise malformed("a certificate has more than {} revocations".format(_MAX_REVOCATIONS))
    about += [one for one in revocations if _signature_type(one) == REVOKES_KEY and one not in about]
    kept, keys, user_ids = [first.raw] + [one.raw for one in about], [primary], []
    claims: List[Tuple[Optional[bytes], bytes]] = [(None, one.body) for one in about]
    on_attributes: List[bytes] = []
    for packet, signatures in rest:
        bodies = [one.body for one in signatures]
        if packet.tag == _PUBLIC_SUBKEY:
            if not is_signing_subkey(first.body, packet.body, bodies):
                continue
            keys.append(_key(packet.body)._replace(bound=_moment(bound_since(first.body, packet.body, bodies))))
            displaced = [one for one in revocations if one not in signatures]
            signatures += [one for one in displaced if revokes_subkey(first.body, packet.body, one.body)]
        elif packet.tag == _USER_ID:
            user_ids.append(packet.body.decode("utf-8", "backslashreplace"))
            claims += [(packet.body, body) for body in bodies]
        else:
            # gpgv also takes the primary key's expiry from the signatures on a user attribute (a photo).
            on_attributes += bodies
        kept += [packet.raw] + [one.raw for one in signatures]
    since = _moment(certified_since(first.body, key_id, claims))
    usages = [body for _, body in claims] + on_attributes
    keys[0] = primary._replace(signs=all(map(lets_sign, usages)), bound=since)
    subkeys = tuple(key._replace(bound=max(key.bound, since) if key.bound and since else None) for key in keys[1:])
    by = {key_id for one in packets if _signature_type(one) == REVOKES_KEY for key_id in issuers(one.body)}
    revoker = min(by & designated_revokers(first.body, claims), default=b"").hex().upper() if by else None
    return Certificate(keys[0], subkeys, tuple(user_ids), b"".join(kept), revoker or None)


def _components(packets: List[_Packet]) -> List[Tuple[_Packet, List[_Packet]]]:
    """Return the keys and user ids, each once, with the signatures that follow them."""
    found: Dict[Tuple[int, bytes], Tuple[_Packet, List[_Packet]]] = {}
    last: List[_Packet] = []
    for packet in packets:
        if packet.tag == _SIGNATURE:
            last.append(packet)
        elif packet.tag in (_PUBLIC_KEY, _PUBLIC_SUBKEY, _USER_ID, _USER_ATTRIBUTE):
            last = found.setdefault((packet.tag, packet.body), (packet, []))[1]
        # A trust packet can make GnuPG skip the verification of a binding signature (CVE-2025-68972).
        elif packet.tag != _TRUST and packet.tag not in _IGNORED:
            raise malformed("a certificate has a packet of type {}".format(packet.tag))
    return list(found.values())


def _key(body: bytes) -> Key:
    if not 8 <= len(body) < 1 << 16 or body[0] != 4:
        raise malformed("a key is not of version 4, or too large")
    algorithm = body[5]
    modulus, exponent = read_rsa(body) if algorithm in RSA_ANY else (0, 0)
    created = datetime.fromtimestamp(int.from_bytes(body[1:5], "big"), timezone.utc)
    return Key(_fingerprint(body).hex().upper(), algorithm, modulus.bit_length(), exponent, created, signs=True)


def _fingerprint(body: bytes) -> bytes:
    # SHA-1 is part of the definition of a fingerprint (RFC 4880, section 12.2); nothing is signed with it.
    digest = hashlib.new("sha1")  # noqa: S324
    digest.update(b"\x99" + len(body).to_bytes(2, "big") + body)
    return digest.digest()


def _moment(seconds: Optional[int]) -> Optional[datetime]:
    return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)
