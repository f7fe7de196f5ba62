"""Reading TOML, which old Pythons cannot: every key of a document with its value, however either is written.

Rules: TOML 1.0.0 (toml.io). What a reader of settings does not need is not judged: dates that are none, keys twice.
"""

import re
from typing import Any, List, NamedTuple, Pattern, Tuple

_GAP = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BLANK = re.compile(r"[ \t]*")
_LINE_END = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\r?\n|\Z)")
_TABLE = re.compile(r"\[\[?")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[0-9A-Za-z+_.:-]+(?: [0-9][0-9:.Z+-]*)?")  # numbers, booleans and times
# Whether escapes stand in it, and what it looks like; the long forms first, and their first line break is not theirs.
_STRINGS = (
    (True, re.compile(r'"""(?:\r?\n)?((?:[^"\\]|\\[\s\S]|"{1,2}(?!"))*"{0,2})"""')),
    (False, re.compile(r"'''(?:\r?\n)?((?:[^']|'{1,2}(?!'))*'{0,2})'''")),
    (True, re.compile(r'"((?:[^"\\\n]|\\[^\n])*)"')),
    (False, re.compile(r"'([^'\n]*)'")),
)
_ESCAPE = re.compile(r"\\(?:([btnfr\"\\])|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|[ \t]*\r?\n[ \t\r\n]*|([\s\S]|\Z))")
_ESCAPED = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "\\": "\\"}
_MAX_DEPTH = 32


class Malformed(Exception):
    """It is no TOML; the text says where."""


class Setting(NamedTuple):
    """A key and its value."""

    path: Tuple[str, ...]
    """The names of its tables and its own."""
    value: Any
    """Text, a list of values, or None for what is neither; what a table in braces holds are settings of their own."""


def read(text: str) -> List[Setting]:
    """Give a document's settings in their order; raises `Malformed`."""
    return _Reader(text).document()


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._found: List[Setting] = []

    def document(self) -> List[Setting]:
        table: Tuple[str, ...] = ()
        while True:
            self._take(_GAP)
            if self._at == len(self._text):
                return self._found
            opened = self._take(_TABLE)
            if opened:
                table = self._key()
                self._expect("]" * len(opened))
            else:
                self._pair(table, 0)
            if _LINE_END.match(self._text, self._at) is None:
                raise self._malformed()
            self._take(_LINE_END)

    def _pair(self, table: Tuple[str, ...], depth: int) -> None:
        path = table + self._key()
        self._expect("=")
        self._take(_BLANK)
        # Its place is before what stands within it.
        place = len(self._found)
        self._found.insert(place, Setting(path, self._value(path, depth)))

    def _key(self) -> Tuple[str, ...]:
        parts = []
        while True:
            self._take(_BLANK)
            quoted = self._text[self._at : self._at + 1] in ('"', "'")
            part = self._string(_STRINGS[2:]) if quoted else self._take(_BARE_KEY)
            if not part and not quoted:
                raise self._malformed()
            parts.append(part)
            self._take(_BLANK)
            if not self._text.startswith(".", self._at):
                return tuple(parts)
            self._at += 1

    def _value(self, path: Tuple[str, ...], depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise Malformed("nested too deeply")
        first = self._text[self._at : self._at + 1]
        if first in ('"', "'"):
            return self._string(_STRINGS)
        if first == "[":
            return self._array(path, depth)
        if first == "{":
            self._inline_table(path, depth)
        elif not self._take(_SCALAR):
            raise self._malformed()
        return None

    def _array(self, path: Tuple[str, ...], depth: int) -> List[Any]:
        values: List[Any] = []
        self._expect("[")
        self._take(_GAP)
        while not self._text.startswith("]", self._at):
            values.append(self._value(path, depth + 1))
            self._take(_GAP)
            if not self._text.startswith("]", self._at):
                self._expect(",")
                self._take(_GAP)
        self._expect("]")
        return values

    def _inline_table(self, path: Tuple[str, ...], depth: int) -> None:
        self._expect("{")
        self._take(_BLANK)
        if not self._text.startswith("}", self._at):
            self._pair(path, depth + 1)
            self._take(_BLANK)
            while not self._text.startswith("}", self._at):
                self._expect(",")
                self._pair(path, depth + 1)
                self._take(_BLANK)
        self._expect("}")

    def _string(self, forms: Tuple[Tuple[bool, Pattern[str]], ...]) -> str:
        for escapes, form in forms:
            match = form.match(self._text, self._at)
            if match is not None:
                self._at = match.end()
                return _ESCAPE.sub(self._escaped, match.group(1)) if escapes else match.group(1)
        raise self._malformed()

    def _escaped(self, match: Any) -> str:
        letter, short, long, unknown = match.groups()
        number = int(short or long or "0", 16)
        if unknown is not None or number > 0x10FFFF or 0xD800 <= number < 0xE000:
            raise self._malformed()
        return _ESCAPED[letter] if letter else chr(number) if short or long else ""

    def _take(self, form: Pattern[str]) -> str:
        """Pass over what looks like ``form`` and give it, nothing where it does not."""
        match = form.match(self._text, self._at)
        if match is None:
            return ""
        self._at = match.end()
        return match.group(0)

    def _expect(self, text: str) -> None:
        if not self._text.startswith(text, self._at):
            raise self._malformed()
        self._at += len(text)

    def _malformed(self) -> Malformed:
        return Malformed("not TOML in line {}".format(self._text.count("\n", 0, self._at) + 1))
