"""Reading TOML, which old Pythons cannot: every key of a document with its value, however either is written.

Rules: TOML 1.0.0 (toml.io). What is no TOML is refused, and so is what readers are known to differ in.
"""

import re
from datetime import datetime
from typing import Any, Dict, List, NamedTuple, Pattern, Tuple

_GAP = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BLANK = re.compile(r"[ \t]*")
_LINE_END = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\r?\n|\Z)")
_TABLE = re.compile(r"\[\[?")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[0-9A-Za-z+_.:-]+(?: [0-9][0-9:.Z+-]*)?")  # numbers, booleans and times
# Whether it has escapes, and its form; the long forms first, and their first line break is not theirs.
_STRINGS = (
    (True, re.compile(r'"""(?:\n)?((?:[^"\\]|\\[\s\S]|"{1,2}(?!"))*"{0,2})"""')),
    (False, re.compile(r"'''(?:\n)?((?:[^']|'{1,2}(?!'))*'{0,2})'''")),
    (True, re.compile(r'"((?:[^"\\\n]|\\[^\n])*)"')),
    (False, re.compile(r"'([^'\n]*)'")),
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_NUMBERS = (
    re.compile(r"true|false|[+-]?(?:inf|nan)"),
    re.compile(r"0x[0-9A-Fa-f](?:_?[0-9A-Fa-f])*|0o[0-7](?:_?[0-7])*|0b[01](?:_?[01])*"),
    re.compile(r"[+-]?(?:0|[1-9](?:_?[0-9])*)(?:\.[0-9](?:_?[0-9])*)?(?:[eE][+-]?[0-9](?:_?[0-9])*)?"),
)
_DATE = r"([0-9]{4}-[0-9]{2}-[0-9]{2})"
_TIME = r"([0-9]{2}:[0-9]{2}:[0-5][0-9])(?:\.[0-9]+)?"
_OFFSET = r"(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])?"
_MOMENT = re.compile("{}(?:[Tt ]{}{})?".format(_DATE, _TIME, _OFFSET))
_CLOCK = re.compile(_TIME)
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
    """Return a document's settings in their order; raises `Malformed`."""
    return _Reader(text).document()


class _Table:
    """The names that a table has so far, and how it was made: ``implicit``, ``header``, ``dotted`` or ``inline``."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.names: Dict[str, Any] = {}
        """Name -> a `_Table`, a list of them for an array of tables, None for any other value."""


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text.replace("\r\n", "\n")
        self._at = 0
        self._found: List[Setting] = []
        self._root = _Table("header")

    def document(self) -> List[Setting]:
        table: Tuple[str, ...] = ()
        names = self._root
        control = _CONTROL.search(self._text)
        if control is not None:
            self._at = control.start()
            raise self._malformed()
        while True:
            self._take(_GAP)
            if self._at == len(self._text):
                return self._found
            opened = self._take(_TABLE)
            if opened:
                table = self._key()
                self._expect("]" * len(opened))
                names = self._open(table, len(opened) > 1)
            else:
                self._pair(table, names, 0)
            if _LINE_END.match(self._text, self._at) is None:
                raise self._malformed()
            self._take(_LINE_END)

    def _open(self, key: Tuple[str, ...], many: bool) -> _Table:
        """Return the table that a header begins; raises `Malformed` where there is another thing of that name."""
        here = self._root
        for name in key[:-1]:
            above = here.names.setdefault(name, _Table("implicit"))
            here = above[-1] if isinstance(above, list) else above
            if here is None or here.kind == "inline":
                raise self._malformed()
        there = here.names.get(key[-1])
        if many:
            if key[-1] in here.names and not isinstance(there, list):
                raise self._malformed()
            table = _Table("header")
            here.names.setdefault(key[-1], []).append(table)
            return table
        if key[-1] in here.names and not (isinstance(there, _Table) and there.kind == "implicit"):
            raise self._malformed()
        opened: _Table = here.names.setdefault(key[-1], _Table("header"))
        opened.kind = "header"
        return opened

    def _pair(self, table: Tuple[str, ...], names: _Table, depth: int) -> None:
        key = self._key()
        for name in key[:-1]:
            names = names.names.setdefault(name, _Table("dotted"))
            if not isinstance(names, _Table) or names.kind != "dotted":
                raise self._malformed()
        if key[-1] in names.names:
            raise self._malformed()
        path = table + key
        self._expect("=")
        self._take(_BLANK)
        # Its place is before what stands within it.
        place = len(self._found)
        self._found.insert(place, Setting(path, self._value(path, depth)))
        names.names[key[-1]] = None

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
        else:
            self._check_scalar()
        return None

    def _check_scalar(self) -> None:
        """Pass over a number, a boolean, a date or a time; raises `Malformed` where it is none."""
        match = _SCALAR.match(self._text, self._at)
        text = match.group(0) if match else ""
        if not any(form.fullmatch(text) for form in _NUMBERS):
            moment, clock = _MOMENT.fullmatch(text), _CLOCK.fullmatch(text)
            parts = moment.groups() if moment else ("2000-01-01", clock.group(1) if clock else "none")
            try:
                datetime.strptime("{} {}".format(parts[0], parts[1] or "00:00:00"), "%Y-%m-%d %H:%M:%S")
            except ValueError:
                raise self._malformed()
        self._at += len(text)

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
        names = _Table("inline")
        self._expect("{")
        self._take(_BLANK)
        if not self._text.startswith("}", self._at):
            self._pair(path, names, depth + 1)
            self._take(_BLANK)
            while not self._text.startswith("}", self._at):
                self._expect(",")
                self._pair(path, names, depth + 1)
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
