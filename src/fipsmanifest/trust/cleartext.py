"""A strict reader of cleartext-signed files (RFC 9580, section 7), independent of gpg.

gpg accepts text around the message, CRLF, trailing blanks and more, with which two readers can read two documents. This
reader accepts only the form in which gpg writes a signed manifest.
"""

import re
from typing import List, NamedTuple, Tuple

from ..errors import NotTrusted
from . import openpgp
from .armor import dearmor
from .document import MAX_BYTES

MAX_LINE = 4096

_BEGIN = b"-----BEGIN PGP SIGNED MESSAGE-----\n"
_SIGNATURE = b"\n-----BEGIN PGP SIGNATURE-----\n"
_HASH_HEADER = re.compile(rb"Hash: ((?:SHA256|SHA384|SHA512)(?:,[ ]?(?:SHA256|SHA384|SHA512))*)\Z")
_CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_PLAIN = bytes(range(0x20, 0x7F)) + b"\n"
_TRAILING_BLANK = re.compile("[ \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]$", re.MULTILINE)


class Cleartext(NamedTuple):
    """The parts of a cleartext-signed message."""

    payload: bytes
    """The lines that were signed, dash-unescaped, each ended by LF."""
    hashes: Tuple[str, ...]
    """The values of the ``Hash:`` headers, in order."""
    signature: openpgp.SignaturePacket
    """The claims of its one signature."""


def parse(data: bytes) -> Cleartext:
    """Parse a signed message. Raises `NotTrusted` for any other form than the strict one."""
    if len(data) > MAX_BYTES:
        raise _refused("it is larger than {} bytes".format(MAX_BYTES))
    if not data.startswith(_BEGIN):
        raise _refused("it does not begin with the line -----BEGIN PGP SIGNED MESSAGE-----")
    head, separator, rest = data[len(_BEGIN) :].partition(b"\n\n")
    if not separator:
        raise _refused("the empty line after its headers is missing")
    hashes = _read_headers(head)
    body, separator, armor = rest.partition(_SIGNATURE)
    if not separator:
        raise _refused("it has no signature, or no text before it")
    signature = openpgp.read_signature(dearmor(_SIGNATURE[1:] + armor, b"SIGNATURE"))
    if openpgp.HASH_NAMES.get(signature.hash_algorithm) not in hashes:
        raise _refused("its signature uses a hash that is not in its headers")
    return Cleartext(_read_body(body), hashes, signature)


def unverified_body(data: bytes) -> bytes:
    """Return the text of a signed message, whose signature is not verified. Raises `NotTrusted` as `parse` does."""
    return parse(data).payload


def _read_headers(head: bytes) -> Tuple[str, ...]:
    hashes: List[str] = []
    for line in head.split(b"\n"):
        match = _HASH_HEADER.match(line)
        if match is None:
            raise _refused("it has a header other than Hash with SHA256, SHA384 or SHA512")
        hashes.extend(name.strip() for name in match.group(1).decode("ascii").split(","))
    return tuple(hashes)


def _read_body(body: bytes) -> bytes:
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise _refused("its text is not UTF-8")
    # Most text is plain, which is a hundred times faster to find out than the search.
    if body.translate(None, _PLAIN):
        control = _CONTROL.search(text)
        if control is not None:
            raise _refused("its text has the control character U+{:04X}".format(ord(control.group())))
        if _TRAILING_BLANK.search(text):
            raise _refused("a line ends in a blank")
    if b" \n" in body or body.endswith(b" "):
        raise _refused("a line ends in a blank")
    lines = body.split(b"\n")
    if not lines[-1]:
        raise _refused("its text ends in an empty line")
    if max(map(len, lines)) > MAX_LINE:
        raise _refused("a line is longer than {} bytes".format(MAX_LINE))
    if b"\n-" in body or body.startswith(b"-"):
        lines = [_unescape(line) for line in lines]
    return b"\n".join(lines) + b"\n"


def _unescape(line: bytes) -> bytes:
    if not line.startswith(b"-"):
        return line
    if not line.startswith(b"- "):
        raise _refused("a line that begins with a dash is not escaped")
    return line[2:]


def _refused(reason: str) -> NotTrusted:
    return NotTrusted(
        "The file is not a valid signed manifest: {}.".format(reason),
        "Download it again, and do not change it.",
        reason="malformed",
    )
