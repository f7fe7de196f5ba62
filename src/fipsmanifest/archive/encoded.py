"""Programs that a script carries as text: in base64, in base85, uuencoded, in hexadecimal, as escapes or as numbers.

Each function yields what the text decodes to. The caller decides whether that is a program: the texts that these are
recognised by are short.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

HEADER = 64
"""Bytes that are decoded: the header of an ELF file of 64 bits."""
DIGITS = frozenset(("hexadecimal", "numeric", "escaped"))
"""The encodings that have each byte by itself."""

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

#: How programs, and what holds them, begin, where a script has their bytes as digits: ELF, gzip, xz, bzip2, zstd, ZIP,
#: lz4, 7z, RPM and ar.
_BEGINNINGS = (
    *(b"\x7fELF", b"\x1f\x8b\x08", b"\xfd7zXZ", b"BZh", b"\x28\xb5\x2f\xfd", b"PK\x03\x04"),
    *(b"\x04\x22\x4d\x18", b"7z\xbc\xaf", b"\xed\xab\xee\xdb", b"!<arch>"),
)


@dataclass(frozen=True, slots=True)
class _Digits:
    """A form of bytes as digits."""

    begins: tuple[bytes, ...]
    """The beginnings in it, without what is between two bytes."""
    form: re.Pattern[bytes]
    """The same with it."""

    def places(self, text: bytes | bytearray, digits: bytes | bytearray) -> Iterator[int]:
        """Yield where one of the beginnings is in ``text``, of which ``digits`` has all but what is between bytes."""
        # Most texts have none, and this is twenty times as fast as the expression.
        if any(begin in digits for begin in self.begins):
            yield from (match.start() for match in self.form.finditer(text))


def _digits(form: bytes, separator: bytes, before: bytes = b"") -> _Digits:
    begins = [[form % byte for byte in magic] for magic in _BEGINNINGS]
    any_of = b"|".join(map(separator.join, begins))
    return _Digits(tuple(map(b"".join, begins)), re.compile(before + b"(?:" + any_of + b")", re.IGNORECASE))


_SEPARATORS = b" \t\r\n\f\v,;:'\"-\\"
_HEXADECIMAL = _digits(b"%02x", rb"(?:\\x|[\s,;:'\"-]*(?:0x)?)")
_HEXADECIMAL_DIGITS = re.compile(rb"[0-9a-f]*", re.IGNORECASE)
_BETWEEN_DIGITS = re.compile(rb"\\x|0x|[\s,;:'\"-]", re.IGNORECASE)
#: The lines of a dump: how those begin that follow, and what is not digits in all of them, for xxd(1), and for
#: hexdump(1) and od(1).
_DUMPS = tuple(
    (re.compile(rb"(?im)^" + offset), re.compile(rb"(?im)^" + offset + b"|" + text))
    for offset, text in (
        (rb"[0-9a-f]{4,16}: (?=[0-9a-f]{2})", rb"  .*$"),
        (rb"[0-9a-f]{7,16}[ \t]+(?=[0-9a-f]{2}[ \t])", rb"[|>].*$"),
    )
)
#: The same as decimal numbers, and as the octal ones of od(1).
_NUMBERS = tuple((_digits(form, rb"[\s,;]+", rb"(?<![0-9])"), base) for form, base in ((b"%d", 10), (b"%03o", 8)))
_NUMBER, _RUN_OF_NUMBERS = re.compile(rb"[0-9]+"), re.compile(rb"[0-9\s,;]+")
_OFFSET = re.compile(rb"(?m)^[0-9]{7,} ?")


def _escapes(byte: int) -> tuple[bytes, ...]:
    """Return the escapes of a byte in printf(1), ``$'...'`` and Python."""
    return tuple(form % byte for form in (b"\\x%02x", b"\\%o", b"\\0%o", b"\\%03o"))


def _escaped(magic: bytes) -> tuple[frozenset[bytes], re.Pattern[bytes]]:
    """Return escapes of which a text with ``magic`` has one, and an expression for it; letters may be as they are."""
    telling = next((byte for byte in magic if not 32 <= byte < 127), magic[0])
    bytes_of = (b"|".join(map(re.escape, (*_escapes(byte), bytes((byte,))))) for byte in magic)
    return frozenset(_escapes(telling)), re.compile(b"".join(b"(?:%b)" % item for item in bytes_of), re.IGNORECASE)


_ESCAPED = tuple(map(_escaped, _BEGINNINGS))
_ESCAPE = re.compile(rb"\\(?:x[0-9A-Fa-f]{2}|0?[0-7]{1,3})")
#: How many of `HEADER` bytes are escapes at least: of zeros or compressed data most are, of code that compares magics
#: few.
_FEWEST_ESCAPES = 24
_LETTERS = {b"a": 7, b"b": 8, b"e": 27, b"f": 12, b"n": 10, b"r": 13, b"t": 9, b"v": 11}
#: One byte, with octal digits as a format of printf has them, and as arguments of ``%b`` do.
_ESCAPES = tuple(
    re.compile(rb"\\x([0-9A-Fa-f]{1,2})|\\(" + octal + rb")|\\(.)|([^\\])", re.DOTALL)
    for octal in (rb"[0-7]{1,3}", rb"0[0-7]{0,3}|[1-7][0-7]{0,2}")
)


def programs(text: bytes | bytearray, *, runs: bool) -> Iterator[tuple[str, bytes]]:
    """Yield the encoding and the decoded start of what begins as a program does, or as what holds one.

    The latter only in base85 and as digits. These are searched for only where the file ``runs`` by its first line:
    sources have such text in tests.
    """
    letters = text.translate(None, _BLANKS)
    for magic, before in _BASE64:
        for at in _places(letters, magic):
            group = letters[max(at - before, 0) : at - before + _BASE64_LETTERS]
            skipped = max(before - 1, 0)
            try:
                yield "base64", base64.b64decode(group[: len(group) // 4 * 4], validate=True)[skipped:][:HEADER]
            except binascii.Error:
                continue
    for at in _places(text, _UUENCODED):
        yield "uuencoded", _uudecoded(text, at)[:HEADER]
    if not runs:
        return
    for magic, form, decode in _BASE85:
        for at in _places(letters, magic):
            yield "base85", _base85(letters[at : at + 8 * HEADER], form, decode)
    yield from _as_digits(text)
    yield from _as_escapes(text)


def _as_digits(text: bytes | bytearray) -> Iterator[tuple[str, bytes]]:
    digits = text.lower().replace(b"\\x", b"").translate(None, _SEPARATORS)
    for at in _HEXADECIMAL.places(text, digits.replace(b"0x", b"")):
        yield "hexadecimal", _from_hexadecimal(text[at : at + 8 * HEADER])
    for numbers, base in _NUMBERS:
        for at in numbers.places(text, digits):
            yield "numeric", _from_numbers(text[at : at + 8 * HEADER], base)


def _as_escapes(text: bytes | bytearray) -> Iterator[tuple[str, bytes]]:
    if text.count(b"\\") < _FEWEST_ESCAPES:
        return
    # JavaScript's form of \x.
    text = text.replace(b"\\u00", b"\\x")
    present = set(map(bytes.lower, _ESCAPE.findall(text)))
    for telling, form in _ESCAPED:
        for match in form.finditer(text) if present & telling else ():
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
                letters = text[match.end() : match.end() + 8 * HEADER].translate(None, _BLANKS)
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


def _from_hexadecimal(text: bytes | bytearray) -> bytes:
    """Return the bytes of digits, up to what is no digit; also of a dump, with offsets and the bytes as text."""
    for begin, others in _DUMPS:
        if begin.search(text):
            text = others.sub(b"", text)
    digits = _HEXADECIMAL_DIGITS.match(_BETWEEN_DIGITS.sub(b"", text))
    found = digits.group() if digits is not None else b""
    return bytes.fromhex(found[: len(found) // 2 * 2].decode())[:HEADER]


def _from_numbers(text: bytes | bytearray, base: int) -> bytes:
    """Return the bytes of numbers, up to one that is not a byte; od(1) has offsets in front of lines."""
    decoded = bytearray()
    numbers = _RUN_OF_NUMBERS.match(_OFFSET.sub(b"", text))
    for digits in _NUMBER.findall(numbers.group()) if numbers is not None else ():
        try:
            decoded.append(int(digits, base))
        except ValueError:
            break
    return bytes(decoded[:HEADER])


def _places(text: bytes | bytearray, magic: bytes) -> Iterator[int]:
    at = text.find(magic)
    while at >= 0:
        yield at
        at = text.find(magic, at + 1)


def _uudecoded(text: bytes | bytearray, at: int) -> bytes:
    """Return what the lines at ``at`` decode to, up to one that is not valid."""
    decoded = b""
    for line in bytes(text[at : at + 8 * HEADER]).split(b"\n"):
        try:
            part = binascii.a2b_uu(line.rstrip(b"\r"))
        except binascii.Error:
            break
        if not part:
            break
        decoded += part
    return decoded


def _unescaped(text: bytes | bytearray, at: int, escape: re.Pattern[bytes]) -> bytes:
    """Return the bytes of a text with escapes; none if it has too few of them."""
    decoded = bytearray()
    escapes = 0
    for match in escape.finditer(text, at, at + 8 * HEADER):
        hexadecimal, octal, letter, plain = match.groups()
        if hexadecimal:
            decoded.append(int(hexadecimal, 16))
        elif octal:
            decoded.append(int(octal, 8) & 0xFF)
        else:
            decoded.append(_LETTERS.get(letter, letter[0]) if letter else plain[0])
        escapes += plain is None
        if len(decoded) == HEADER:
            break
    return bytes(decoded) if escapes >= _FEWEST_ESCAPES else b""
