"""ASCII armor (RFC 9580, section 6): a strict reader for files of this project, and one like gpg's for others."""

import base64
import binascii
import functools
import re
from typing import Iterator, List, Sequence, Tuple

from ..errors import NotTrusted
from .text import visible

_ARMOR_HEADER = re.compile(rb"(?:Version|Comment): [\x20-\x7e]{0,200}\Z")
_BASE64_LINE = re.compile(rb"[A-Za-z0-9+/]{1,76}={0,2}\Z")
_CHECKSUM_LINE = re.compile(rb"=([A-Za-z0-9+/]{4})\Z")
_MAX_HEADERS = 8

# The armor of others: any header, and lines of any length.
_ANY_HEADER = re.compile(rb"[A-Za-z0-9-]{1,64}: ")
_ANY_BASE64_LINE = re.compile(rb"[A-Za-z0-9+/]*={0,2}\Z")
_ANY_BEGIN = re.compile(rb"-----BEGIN PGP ([A-Z0-9 ,/]{1,60})-----\Z")
_MARKS = (b"-----BEGIN PGP", b"-----END PGP")
_BLANKS = b" \t\r"
_MAX_BLOCKS = 256


def dearmor(data: bytes, kind: bytes) -> bytes:
    """Read one ASCII armor block of ``kind`` (``SIGNATURE``, ``PUBLIC KEY BLOCK``) that is all of ``data``.

    Strict: LF line ends, only the headers Version and Comment, canonical base64, no wrong checksum, and nothing before
    or after it. Raises `NotTrusted`.
    """
    lines = data.split(b"\n")
    begin, end = _boundaries(kind)
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
    if not all(_BASE64_LINE.match(line) for line in body if line is not body[-1] or not _CHECKSUM_LINE.match(line)):
        raise _bad_armor("a line is not base64")
    return _decode(body)


def dearmor_all(data: bytes, kind: bytes) -> bytes:
    """Return the joined content of every armor block of ``kind`` in ``data``; binary data is returned unchanged.

    This is for files of others, and accepts what gpg accepts: text before, between and after the blocks, CRLF, blanks
    at the ends of lines, any header, lines of any length, no checksum. Raises `NotTrusted` for a block of another kind,
    a damaged one, or if there is none.
    """
    if data[:1] >= b"\x80" and not data.startswith(b"\xef\xbb\xbf"):
        return data
    found = []
    lines = iter([line.rstrip(_BLANKS) for line in data.split(b"\n")])
    for line in lines:
        match = _ANY_BEGIN.match(line)
        if match is None:
            # Sequoia reads an indented block, and base64 without a first line; gpg does not.
            if any(mark in line for mark in _MARKS):
                raise _bad_armor("a block has no proper first line")
            continue
        if match.group(1) != kind:
            raise _wrong_kind(match.group(1), kind)
        found.append(_read_block(lines, kind))
        if len(found) > _MAX_BLOCKS:
            raise _bad_armor("it has more than {} blocks".format(_MAX_BLOCKS))
    if not found:
        raise _bad_armor("there is no line {} in it".format(_boundaries(kind)[0].decode()))
    return b"".join(found)


def armor(binary: bytes, kind: bytes) -> bytes:
    """Write ASCII armor, with checksum, as gpg does."""
    text = base64.b64encode(binary)
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    checksum = b"=" + base64.b64encode(_crc24(binary))
    begin, end = _boundaries(kind)
    return b"\n".join([begin, b""] + lines + [checksum, end, b""])


def _boundaries(kind: bytes) -> Tuple[bytes, bytes]:
    return b"-----BEGIN PGP " + kind + b"-----", b"-----END PGP " + kind + b"-----"


def _read_block(lines: Iterator[bytes], kind: bytes) -> bytes:
    """Read the rest of a block whose first line was read."""
    for number, line in enumerate(lines):
        if not line:
            break
        if number >= _MAX_HEADERS or not _ANY_HEADER.match(line + b" "):
            raise _bad_armor("the empty line after its headers is missing")
    end = _boundaries(kind)[1]
    body: List[bytes] = []
    for line in lines:
        if line == end:
            return _decode(body)
        line = line.lstrip(_BLANKS)
        if line:
            body.append(line)
    raise _bad_armor("its last line is missing")


def _decode(body: Sequence[bytes]) -> bytes:
    """Decode the lines of base64 and the checksum that may follow them."""
    checksum = _CHECKSUM_LINE.match(body[-1]) if body else None
    if checksum is not None:
        body = body[:-1]
    if not body or not all(_ANY_BASE64_LINE.match(line) for line in body):
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


def _wrong_kind(found: bytes, kind: bytes) -> NotTrusted:
    if found in (b"PRIVATE KEY BLOCK", b"SECRET KEY BLOCK"):
        return secret_key_found()
    return _bad_armor("it has a {}, not a {}".format(visible(found.decode().lower()), kind.decode().lower()))


def secret_key_found() -> NotTrusted:
    """Return the error for a file with a secret key instead of a public one."""
    return NotTrusted(
        "The file contains a secret key.",
        "Do not distribute it; export the public certificate with 'gpg --armor --export FINGERPRINT' and use that.",
    )


def _bad_armor(reason: str) -> NotTrusted:
    return NotTrusted(
        "The ASCII armor cannot be read: {}.".format(reason),
        "Get the file again from its publisher.",
        reason="malformed",
    )


def _crc24(data: bytes) -> bytes:
    table, crc = _crc24_table(), 0xB704CE
    for byte in data:
        crc = ((crc << 8) & 0xFFFFFF) ^ table[(crc >> 16) ^ byte]
    return crc.to_bytes(3, "big")


@functools.lru_cache(maxsize=None)
def _crc24_table() -> Tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte << 16
        for _ in range(8):
            crc = (crc << 1) ^ (0x1864CFB if crc & 0x800000 else 0)
        table.append(crc & 0xFFFFFF)
    return tuple(table)
