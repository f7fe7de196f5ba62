"""Reading the YAML that Kubernetes' own files are written in, exactly or not at all.

Rules: YAML 1.2.2, of which JSON is a part. Every scalar is given as text. What readers differ in, or what such files do
not need, is refused: anchors, tags, directives, several documents, keys that appear twice, plain or quoted scalars of
several lines, folded text, tabs.
"""

import json
import re
from typing import Any, Dict, List, Pattern, Tuple

MAX_SIZE = 256 * 1024
"""Bytes of the largest document that is read: it takes a hundred times its size in memory."""

_MAX_DEPTH = 32
_UNPRINTABLE = re.compile("[^\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_DOUBLE = re.compile(r'"(?:[^"\\\t\n]|\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4}))*"')
_SINGLE = re.compile(r"'(?:[^'\n]|'')*'")
# What begins with an indicator is something else than text; a hyphen is one before a space.
_START = r"(?:[^\s\-?:,\[\]{}#&*!|>'\"%@`]|-(?![\s,\[\]{}]|\Z))"
_PLAIN = re.compile(_START + r"(?:[^\s:#]|:(?!\s|\Z)|(?<!\s)#|[ \t]+(?![\s#]|\Z))*")
_FLOW_PLAIN = re.compile(_START + r"(?:[^\s:#,?\[\]{}]|:(?![\s,\[\]{}]|\Z)|[ ]+(?![\s#,?\[\]{}:]|\Z))*")
_KEY_END = re.compile(r"[ \t]*:(?=[ \t\n]|\Z)")
_FLOW_KEY_END = re.compile(r"[ \t]*:(?=[ \t\n,\[\]{}]|\Z)")
_GAP = re.compile(r"(?:[ \t\n]|(?:(?<=[ \t\n])|\A)#[^\n]*)*")
_REST = re.compile(r"[ \t]*(?:(?<=[ \t])#.*)?\Z")
_LITERAL = re.compile(r"\|([+-]?)[ \t]*(?:(?<=[ \t])#.*)?\Z")


class Malformed(Exception):
    """It is no YAML of this kind; the text says where."""


def read(text: str) -> Any:
    """Return a document's value: dictionaries, lists and text; raises `Malformed`."""
    if len(text) > MAX_SIZE:
        raise Malformed("larger than {} bytes".format(MAX_SIZE))
    return _Reader(text).document()


class _Reader:
    def __init__(self, text: str) -> None:
        text = text.replace("\r\n", "\n")
        unprintable = _UNPRINTABLE.search(text)
        self._text = text
        self._lines = text.split("\n")
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line) + 1)
        self._at = text.count("\n", 0, unprintable.start()) if unprintable else 0
        if unprintable:
            raise self._malformed("a tab or an unprintable character")

    def document(self) -> Any:
        if self._skip() and re.match(r"---[ \t]*\Z", self._lines[self._at]):
            self._at += 1
        if not self._skip():
            return ""
        value = self._block(self._indent(), 0)
        if self._skip():
            raise self._malformed("something after the document")
        return value

    def _skip(self) -> bool:
        """Skip blank lines and comments; return whether there is another line."""
        while self._at < len(self._lines):
            line = self._lines[self._at].strip(" \t")
            if line and not line.startswith("#"):
                return True
            self._at += 1
        return False

    def _indent(self) -> int:
        line = self._lines[self._at]
        indent = len(line) - len(line.lstrip(" "))
        if line[indent : indent + 1] == "\t":
            raise self._malformed("a tab in the indentation")
        if re.match(r"(?:---|\.\.\.)(?:\s|\Z)|%", line):
            raise self._malformed("a directive or another document")
        return indent

    def _block(self, indent: int, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise self._malformed("nesting that is too deep")
        content = self._lines[self._at][indent:]
        if _is_item(content):
            return self._sequence(indent, depth)
        if content[0] not in "{[" and self._has_key(content):
            return self._mapping(indent, depth)
        return self._value(indent, indent - 1, depth)

    def _sequence(self, indent: int, depth: int) -> List[Any]:
        values: List[Any] = []
        while self._skip() and self._indent() == indent and _is_item(self._lines[self._at][indent:]):
            rest = self._lines[self._at][indent + 1 :]
            content = rest.lstrip(" ")
            if content.startswith("\t"):
                raise self._malformed("a tab in the indentation")
            if not content or content.startswith("#"):
                self._at += 1
                values.append(self._nested(indent, depth))
                continue
            inner = indent + 1 + len(rest) - len(content)
            if _is_item(content) or (content[0] not in "{[" and self._has_key(content)):
                # What stands behind the hyphen is a block of its own, as if the hyphen were a space.
                self._lines[self._at] = " " * inner + content
                values.append(self._block(inner, depth + 1))
            else:
                values.append(self._value(inner, indent, depth))
        return values

    def _mapping(self, indent: int, depth: int) -> Dict[str, Any]:
        values: Dict[str, Any] = {}
        while self._skip() and self._indent() == indent:
            line = self._lines[self._at]
            if _is_item(line[indent:]):
                break
            key, at = self._key(line, indent)
            if key in values or key == "<<":
                raise self._malformed("a key that appears twice, or merges")
            at = len(line) - len(line[at:].lstrip(" \t"))
            if _REST.match(line[at - 1 :] if at and line[at - 1] in " \t" else line[at:]) or line[at : at + 1] == "#":
                self._at += 1
                values[key] = self._nested(indent, depth, sequence_too=True)
            else:
                values[key] = self._value(at, indent, depth)
        return values

    def _nested(self, indent: int, depth: int, sequence_too: bool = False) -> Any:
        """Return the block below a key or a hyphen; empty text where there is none."""
        if not self._skip():
            return ""
        inner = self._indent()
        if inner > indent:
            return self._block(inner, depth + 1)
        if inner == indent and sequence_too and _is_item(self._lines[self._at][indent:]):
            return self._sequence(indent, depth + 1)
        return ""

    def _has_key(self, content: str) -> bool:
        try:
            return bool(self._key(content, 0))
        except Malformed:
            return False

    def _key(self, line: str, at: int) -> Tuple[str, int]:
        key, end = self._scalar(line, at, _PLAIN)
        match = _KEY_END.match(line, end)
        if match is None:
            raise self._malformed("no key")
        return key, match.end()

    def _scalar(self, text: str, at: int, plain: Pattern[str]) -> Tuple[str, int]:
        for form in (_DOUBLE, _SINGLE, plain):
            match = form.match(text, at)
            if match is not None:
                found = match.group(0)
                if form is _DOUBLE:
                    found = json.loads(found)
                    if re.search("[\ud800-\udfff]", found):
                        raise self._malformed("half a character")
                elif form is _SINGLE:
                    found = found[1:-1].replace("''", "'")
                else:
                    found = found.rstrip(" ")
                return found, match.end()
        raise self._malformed("a value that is not read")

    def _value(self, at: int, indent: int, depth: int) -> Any:
        """Read a value that begins in this line; what follows with more than ``indent`` would be part of it."""
        line = self._lines[self._at]
        if line[at] in "{[":
            return self._flow_value(at, indent, depth)
        if line[at] == "|":
            match = _LITERAL.match(line, at)
            if match is None:
                raise self._malformed("a value that is not read")
            self._at += 1
            return self._literal(indent, match.group(1))
        value, end = self._scalar(line, at, _PLAIN)
        if not _REST.match(line, end):
            raise self._malformed("a value that is not read")
        self._at += 1
        self._end_value(indent)
        return value

    def _end_value(self, indent: int) -> None:
        if self._skip() and self._indent() > indent:
            raise self._malformed("a value of several lines, or another indentation")

    def _literal(self, indent: int, chomp: str) -> str:
        found: List[str] = []
        inner = 0
        while self._at < len(self._lines):
            line = self._lines[self._at]
            own = len(line) - len(line.lstrip(" "))
            if line.strip(" "):
                inner = inner or own
                if own <= indent:
                    break
                if own < inner:
                    raise self._malformed("another indentation")
            elif not inner and own > indent + 1:
                raise self._malformed("blank lines with an indentation of their own")
            found.append(line[inner:] if inner else "")
            self._at += 1
        if self._at == len(self._lines) and self._lines[-1]:
            raise self._malformed("text without a line break at its end")
        while found and not found[-1] and (chomp != "+" or self._at == len(self._lines)):
            if chomp == "+":
                raise self._malformed("line breaks that are kept")
            found.pop()
        return "\n".join(found) + ("\n" if found and chomp != "-" else "")

    def _flow_value(self, at: int, indent: int, depth: int) -> Any:
        first = self._at
        start = self._starts[first]
        value, end = self._flow(self._text, start + at, depth)
        last = self._text.count("\n", start, end)
        for number in range(1, last + 1):
            line = self._lines[first + number]
            if line.strip() and len(line) - len(line.lstrip(" ")) <= indent:
                raise self._malformed("a value that leaves its block")
        rest = self._text[end : self._starts[first + last + 1] - 1]
        self._at = first + last
        if not _REST.match(rest):
            raise self._malformed("something after a value")
        self._at += 1
        self._end_value(indent)
        return value

    def _flow(self, text: str, at: int, depth: int) -> Tuple[Any, int]:
        if depth > _MAX_DEPTH:
            raise self._malformed("nesting that is too deep")
        if text[at : at + 1] == "[":
            return self._flow_sequence(text, at, depth)
        if text[at : at + 1] == "{":
            return self._flow_mapping(text, at, depth)
        return self._scalar(text, at, _FLOW_PLAIN)

    def _flow_sequence(self, text: str, at: int, depth: int) -> Tuple[List[Any], int]:
        values: List[Any] = []
        at = _gap(text, at + 1)
        while text[at : at + 1] != "]":
            value, at = self._flow(text, at, depth + 1)
            values.append(value)
            at = self._separator(text, at, "]")
        return values, at + 1

    def _flow_mapping(self, text: str, at: int, depth: int) -> Tuple[Dict[str, Any], int]:
        values: Dict[str, Any] = {}
        at = _gap(text, at + 1)
        while text[at : at + 1] != "}":
            quoted = text[at : at + 1] == '"'
            key, at = self._scalar(text, at, _FLOW_PLAIN)
            match = (re.compile(r"[ \t]*:") if quoted else _FLOW_KEY_END).match(text, at)
            if match is None or key in values or key == "<<":
                raise self._malformed("no key, or one that appears twice or merges")
            at = _gap(text, match.end())
            if text[at : at + 1] in (",", "}"):
                values[key] = ""
            else:
                values[key], at = self._flow(text, at, depth + 1)
            at = self._separator(text, at, "}")
        return values, at + 1

    def _separator(self, text: str, at: int, end: str) -> int:
        at = _gap(text, at)
        if text[at : at + 1] == ",":
            return _gap(text, at + 1)
        if text[at : at + 1] != end:
            raise self._malformed("a value that does not end")
        return at

    def _malformed(self, what: str) -> Malformed:
        return Malformed("{} in line {}".format(what, self._at + 1))


def _is_item(content: str) -> bool:
    return content[:1] == "-" and content[1:2] in ("", " ", "\t")


def _gap(text: str, at: int) -> int:
    match = _GAP.match(text, at)
    return match.end() if match else at
