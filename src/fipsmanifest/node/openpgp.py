"""The little of OpenPGP that must be read without gpg: armor, packets, fingerprints and key sizes.

No signed file is judged here; gpgv does that. This second, independent reading is for what gpgv does not tell (a key's
size, what else a file holds) and for the keyring that gpgv is given, which holds nothing but what was read here.
Numbers are those of RFC 4880 and RFC 9580.
"""

import base64
import binascii
import hashlib
import re
from datetime import datetime, timezone
from typing import Dict, FrozenSet, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..errors import NotTrusted
from .selfsignature import (
    REVOKES_KEY,
    REVOKES_SUBKEY,
    bound_since,
    certified_since,
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

_REVOKES = (REVOKES_KEY, REVOKES_SUBKEY, 0x30)
_MAX_REVOCATIONS = 128

_ARMOR_HEADER = re.compile(rb"(?:Version|Comment): [\x20-\x7e]{0,200}\Z")
_BASE64_LINE = re.compile(rb"[A-Za-z0-9+/]{1,76}={0,2}\Z")
_CHECKSUM_LINE = re.compile(rb"=([A-Za-z0-9+/]{4})\Z")
_MAX_HEADERS = 8
_BEGIN = b"-----BEGIN "


class Key(NamedTuple):
    """One public key packet, primary or subkey."""

    fingerprint: str
    """40 upper-case hex digits."""
    algorithm: int
    """Public-key algorithm number; 1 is RSA."""
    bits: int
    """Length of the RSA modulus; 0 for other algorithms, and for numbers that are no RSA key's."""
    exponent: int
    """RSA's public exponent; 0 where `bits` is."""
    created: datetime
    """When it says it was made."""
    signs: bool
    """Whether its certificate lets it sign data: no signature about it gives it other uses alone."""
    bound: Optional[datetime] = None
    """Since when its certificate says by strong signatures that it belongs there; None where none does."""


class Certificate(NamedTuple):
    """An OpenPGP certificate ("public key") as it may be handed to gpgv."""

    primary: Key
    """The key that certifies the rest."""
    subkeys: Tuple[Key, ...]
    """The subkeys that sign, and are bound to the primary key; all others are left out."""
    user_ids: Tuple[str, ...]
    """As they stand: escape before printing."""
    packets: bytes
    """The keys above, user ids and their signatures in binary form, and nothing else."""

    def revocations(self) -> FrozenSet[bytes]:
        """Give the packets that revoke the key, a subkey or a user id (RFC 4880, section 5.2.1), unchecked."""
        return frozenset(packet.body for packet in _packets(self.packets) if _signature_type(packet) in _REVOKES)

    def key(self, fingerprint: str) -> "Key":
        """Give the key of this fingerprint; raises `KeyError` where it is not in the certificate."""
        for key in (self.primary,) + self.subkeys:
            if key.fingerprint == fingerprint:
                return key
        raise KeyError(fingerprint)

    def holds(self, fingerprint: str) -> bool:
        """Say whether the primary key or a subkey has this fingerprint."""
        return any(key.fingerprint == fingerprint for key in (self.primary,) + self.subkeys)


class SignaturePacket(NamedTuple):
    """What one signature packet claims, before gpgv has looked at it."""

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


def dearmor(data: bytes, kind: bytes) -> bytes:
    """Read one ASCII armor block of ``kind`` (``SIGNATURE``, ``PUBLIC KEY BLOCK``) that is all of ``data``.

    Strict: LF line ends, headers Version and Comment only, canonical base64, the checksum right where there is one,
    nothing before or after. Raises `NotTrusted` (RFC 9580, section 6).
    """
    lines = data.split(b"\n")
    begin, end = b"-----BEGIN PGP " + kind + b"-----", b"-----END PGP " + kind + b"-----"
    if lines[0] != begin or end not in lines:
        raise _bad_armor("it does not begin and end with the lines of a {}".format(kind.decode().lower()))
    if lines.index(end) != len(lines) - 2 or lines[-1]:
        raise _bad_armor("the file does not end with its end line and one line feed")
    try:
        gap = lines.index(b"", 1, len(lines) - 2)
    except ValueError:
        raise _bad_armor("the empty line after its headers is missing")
    if gap - 1 > _MAX_HEADERS or not all(_ARMOR_HEADER.match(line) for line in lines[1:gap]):
        raise _bad_armor("it has headers other than Version and Comment")
    body = lines[gap + 1 : -2]
    checksum = _CHECKSUM_LINE.match(body[-1]) if body else None
    if checksum is not None:
        body = body[:-1]
    if not body or not all(_BASE64_LINE.match(line) for line in body):
        raise _bad_armor("a line is not base64")
    joined = b"".join(body)
    try:
        binary = base64.b64decode(joined, validate=True)
    except binascii.Error:
        raise _bad_armor("it is not base64")
    if base64.b64encode(binary) != joined:
        raise _bad_armor("its base64 is padded in the middle or has loose bits")
    if checksum is not None and base64.b64decode(checksum.group(1)) != _crc24(binary):
        raise _bad_armor("its checksum is wrong")
    return binary


def armor(binary: bytes, kind: bytes) -> bytes:
    """Write ASCII armor, with checksum, as gpg does."""
    text = base64.b64encode(binary)
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    checksum = b"=" + base64.b64encode(_crc24(binary))
    begin, end = b"-----BEGIN PGP " + kind + b"-----", b"-----END PGP " + kind + b"-----"
    return b"\n".join([begin, b""] + lines + [checksum, end, b""])


def _bad_armor(reason: str) -> NotTrusted:
    return NotTrusted("The ASCII armor cannot be read: {}.".format(reason), "Get the file again from its publisher.")


def _crc24(data: bytes) -> bytes:
    crc = 0xB704CE
    for byte in data:
        crc = ((crc << 8) & 0xFFFFFF) ^ _CRC24_TABLE[(crc >> 16) ^ byte]
    return crc.to_bytes(3, "big")


def _crc24_table() -> Tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte << 16
        for _ in range(8):
            crc = (crc << 1) ^ (0x1864CFB if crc & 0x800000 else 0)
        table.append(crc & 0xFFFFFF)
    return tuple(table)


_CRC24_TABLE = _crc24_table()


def _packets(data: bytes) -> Iterator[_Packet]:
    """Split binary OpenPGP into packets; partial and indeterminate lengths are refused (RFC 9580, section 4.2)."""
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

    Two signatures, or a whole message in place of a detached signature, raise `NotTrusted`, as does anything cut.
    """
    packets = list(_packets(binary))
    if [packet.tag for packet in packets] != [_SIGNATURE]:
        raise malformed("it is not one signature and nothing else")
    body = packets[0].body
    if len(body) >= 6 and body[0] == 4:
        return SignaturePacket(4, body[1], body[2], body[3], binary)
    if len(body) >= 19 and body[0] == 3 and body[1] == 5:
        return SignaturePacket(3, body[2], body[15], body[16], binary)
    raise malformed("the signature is of an unknown version")


def read_certificates(data: bytes) -> List[Certificate]:
    """Read the certificates of a file, armored (any number of blocks) or binary.

    Fingerprints are computed here from the key packets (RFC 4880, section 12.2). Raises `NotTrusted` where the data is
    no certificate, holds a secret key, or holds a key that is not version 4.
    """
    if data[:5] == b"-----":
        text = data.replace(b"\r\n", b"\n").strip() + b"\n"
        before, *blocks = text.split(_BEGIN)
        if before:
            raise _bad_armor("it does not begin with the line of a public key block")
        data = b"".join(dearmor(_BEGIN + block.rstrip() + b"\n", b"PUBLIC KEY BLOCK") for block in blocks)
    groups: List[List[_Packet]] = []
    revocations: Dict[bytes, List[_Packet]] = {}
    for packet in _packets(data):
        if packet.tag in (_SECRET_KEY, _SECRET_SUBKEY):
            raise NotTrusted(
                "The file holds a secret key.", "Keep it away from here, and export the public certificate instead."
            )
        if packet.tag == _PUBLIC_KEY:
            groups.append([])
        elif not groups:
            raise malformed("it does not begin with a public key")
        groups[-1].append(packet)
        if _signature_type(packet) in (REVOKES_KEY, REVOKES_SUBKEY):
            for key_id in issuers(packet.body):
                revocations.setdefault(key_id, []).append(packet)
    if not groups:
        raise malformed("it holds no public key")
    return [_certificate(group, revocations) for group in groups]


def _signature_type(packet: _Packet) -> int:
    """Give the type of a version 4 signature (RFC 4880, section 5.2.1); -1 for anything else."""
    return packet.body[1] if packet.tag == _SIGNATURE and len(packet.body) >= 6 and packet.body[0] == 4 else -1


def _certificate(packets: List[_Packet], revoking: Mapping[bytes, Sequence[_Packet]]) -> Certificate:
    """Put a certificate together from what counts: user ids, keys that sign, and all that revokes them.

    gpgv heeds a revocation only where it stands behind its key, while people append it to the file, where gpg itself
    finds it. ``revoking`` holds those of the whole file by the key id of who made them.
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
            continue
        kept += [packet.raw] + [one.raw for one in signatures]
    since = _moment(certified_since(first.body, key_id, claims))
    keys[0] = primary._replace(signs=all(lets_sign(body) for _, body in claims), bound=since)
    subkeys = tuple(key._replace(bound=max(key.bound, since) if key.bound and since else None) for key in keys[1:])
    return Certificate(keys[0], subkeys, tuple(user_ids), b"".join(kept))


def _components(packets: List[_Packet]) -> List[Tuple[_Packet, List[_Packet]]]:
    """Give the keys and user ids, each once, with the signatures that follow it."""
    found: Dict[Tuple[int, bytes], Tuple[_Packet, List[_Packet]]] = {}
    last: List[_Packet] = []
    for packet in packets:
        if packet.tag == _SIGNATURE:
            last.append(packet)
        elif packet.tag in (_PUBLIC_KEY, _PUBLIC_SUBKEY, _USER_ID, _USER_ATTRIBUTE):
            last = found.setdefault((packet.tag, packet.body), (packet, []))[1]
        # A trust packet can tell GnuPG that a binding signature was checked already (CVE-2025-68972).
        elif packet.tag not in (_TRUST, _MARKER):
            raise malformed("a certificate holds a packet of type {}".format(packet.tag))
    return list(found.values())


def _key(body: bytes) -> Key:
    if not 8 <= len(body) < 1 << 16 or body[0] != 4:
        raise malformed("a key is not of version 4, or too large")
    algorithm = body[5]
    modulus, exponent = read_rsa(body) if algorithm in RSA_ANY else (0, 0)
    created = datetime.fromtimestamp(int.from_bytes(body[1:5], "big"), timezone.utc)
    return Key(_fingerprint(body).hex().upper(), algorithm, modulus.bit_length(), exponent, created, signs=True)


def _fingerprint(body: bytes) -> bytes:
    # SHA-1 here names a key, as RFC 4880 section 12.2 defines it; nothing is signed with it.
    digest = hashlib.new("sha1")  # noqa: S324
    digest.update(b"\x99" + len(body).to_bytes(2, "big") + body)
    return digest.digest()


def _moment(seconds: Optional[int]) -> Optional[datetime]:
    return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)
