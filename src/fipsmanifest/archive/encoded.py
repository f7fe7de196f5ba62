"""Programs that a script carries as text: in base64, in base85, uuencoded, in hexadecimal, or as escapes.

Each function yields what the text decodes to. The caller decides whether that is a program: the texts that these are
recognised by are short.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator

#: Bytes that are decoded: the header of an ELF file of 64 bits.
_HEADER = 64

_BLANKS = b"\r\n\t "
#: The magic of ELF in base64 (RFC 4648), where no byte of its group of three is before it, one or two; and how many of
#: the letters before it belong to the group. The header ends within so many letters.
_BASE64 = ((b"f0VMRg", 0), (b"9FTEY", 2), (b"/RUxGA", 3))
_BASE64_LETTERS = 88

#: The first line of 45 bytes of a program (uuencode(1)), as it is in Perl without ``begin``.
_UUENCODED = b"M?T5,1@"
_BEGIN = (b"begin ", b"begin-base64 ")
_FILE = re.compile(rb"begin(-base64)? [0-7]{3,4} [^\n]*\n")

#: Groups of letters for four bytes in both forms of base85 that Python's ``base64`` has, with the magics of ELF and of
#: gzip, which is followed by its flags: without a name, and with one.
_BASE85 = tuple(
    (encode(magic), re.compile(group), decode)
    for encode, group, decode in (
        (base64.b85encode, rb"[0-9A-Za-z!#$%&()*+;<=>?@^_`{|}~-]{5}", base64.b85decode),
        (base64.a85encode, rb"z|[!-u]{5}", base64.a85decode),
    )
    for magic in (b"\x7fELF", b"\x1f\x8b\x08\0", b"\x1f\x8b\x08\x08")
)

_HEXADECIMAL = re.compile(rb"7[fF](?:\\x|[\s,'\"]*(?:0x)?)45(?:\\x|[\s,'\"]*(?:0x)?)4[cC]")
_BETWEEN_DIGITS = re.compile(rb"\\x|0x|[\s,'\"]")

#: How escapes begin that are the first byte of ELF, in printf(1), ``$'...'`` and Python.
_ESCAPED = re.compile(rb"\\(?:x7[fF]|0?177)")
_LETTERS = {b"a": 7, b"b": 8, b"e": 27, b"f": 12, b"n": 10, b"r": 13, b"t": 9, b"v": 11}
#: One byte, with octal digits as a format of printf has them, and as arguments of ``%b`` do.
_ESCAPES = tuple(
    re.compile(rb"\\x([0-9A-Fa-f]{1,2})|\\(" + octal + rb")|\\(.)|([^\\])", re.DOTALL)
    for octal in (rb"[0-7]{1,3}", rb"0[0-7]{0,3}|[1-7][0-7]{0,2}")
)


def programs(text: bytes | bytearray, *, runs: bool) -> Iterator[tuple[str, bytes]]:
    """Yield the encoding and the decoded start of what begins as a program does, or as gzip in base85.

    Base85, hexadecimal and escapes are searched for only where the file ``runs`` by its first line: sources have such
    text in tests.
    """
    letters = text.translate(None, _BLANKS)
    for magic, before in _BASE64:
        for at in _places(letters, magic):
            group = letters[max(at - before, 0) : at - before + _BASE64_LETTERS]
            skipped = max(before - 1, 0)
            try:
                yield "base64", base64.b64decode(group[: len(group) // 4 * 4], validate=True)[skipped:][:_HEADER]
            except binascii.Error:
                continue
    for at in _places(text, _UUENCODED):
        yield "uuencoded", _uudecoded(text, at)[:_HEADER]
    if not runs:
        return
    for magic, form, decode in _BASE85:
        for at in _places(letters, magic):
            yield "base85", _base85(letters[at : at + 8 * _HEADER], form, decode)
    for match in _HEXADECIMAL.finditer(text):
        digits = _BETWEEN_DIGITS.sub(b"", text[match.start() : match.start() + 8 * _HEADER])[: 2 * _HEADER]
        try:
            yield "hexadecimal", bytes.fromhex(digits.decode("latin-1"))
        except ValueError:
            continue
    for match in _ESCAPED.finditer(text):
        for escape in _ESCAPES:
            yield "escaped", _unescaped(text, match.start(), escape)


def uuencoded(text: bytes | bytearray) -> Iterator[bytes]:
    """Yield the start of each file that is uuencoded, also in base64 (``uuencode -m``), as far as ``text`` has it."""
    for begin in _BEGIN:
        for at in _places(text, begin):
            if (match := _FILE.match(text, at)) is None:
                continue
            if match[1] is None:
                yield _uudecoded(text, match.end())
            else:
                letters = text[match.end() : match.end() + 8 * _HEADER].translate(None, _BLANKS)
                yield base64.b64decode(letters[: len(letters) // 4 * 4])


def _base85(letters: bytes | bytearray, group: re.Pattern[bytes], decode: Callable[[bytes], bytes]) -> bytes:
    """Return what the groups at the beginning of ``letters`` decode to, up to one that is not valid."""
    decoded, at = b"", 0
    while found := group.match(letters, at):
        at = found.end()
        try:
            decoded += decode(found.group())
        except ValueError:
            break
    return decoded


def _places(text: bytes | bytearray, magic: bytes) -> Iterator[int]:
    at = text.find(magic)
    while at >= 0:
        yield at
        at = text.find(magic, at + 1)


def _uudecoded(text: bytes | bytearray, at: int) -> bytes:
    """Return what the lines at ``at`` decode to, up to one that is not valid."""
    decoded = b""
    for line in bytes(text[at : at + 8 * _HEADER]).split(b"\n"):
        try:
            part = binascii.a2b_uu(line.rstrip(b"\r"))
        except binascii.Error:
            break
        if not part:
            break
        decoded += part
    return decoded


def _unescaped(text: bytes | bytearray, at: int, escape: re.Pattern[bytes]) -> bytes:
    decoded = bytearray()
    for match in escape.finditer(text, at, at + 8 * _HEADER):
        hexadecimal, octal, letter, plain = match.groups()
        if hexadecimal:
            decoded.append(int(hexadecimal, 16))
        elif octal:
            decoded.append(int(octal, 8) & 0xFF)
        else:
            decoded.append(_LETTERS.get(letter, letter[0]) if letter else plain[0])
        if len(decoded) == _HEADER:
            break
    return bytes(decoded)
