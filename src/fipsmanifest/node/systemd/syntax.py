"""The syntax of unit files, command words and environment files.

Rules: systemd.syntax(7), systemd.exec(5); where these are silent, systemd's shared/conf-parser.c,
basic/extract-word.c and basic/env-file.c.
"""

import re
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

NEWEST = 252
"""A version of systemd with all the rules that this module knows; later ones read unit files alike."""
_MAX_VARIABLES = 1000
MAX_WORDS = 4096
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
BLANK = " \t\n\r"
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "s": " "}
_ESCAPES.update({one: one for one in "\\\"'"})
_ESCAPE = re.compile(r"([abfnrtvs\\\"'])|x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|([0-3][0-7]{2})")
# With the characters that Unicode leaves to programs (unichar_is_valid() of basic/utf8.c).
_NONCHARACTERS = "".join(chr(plane * 0x10000 + last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
NOT_UTF_8 = re.compile("[\udc80-\udcff\ufdd0-\ufdef{}]".format(_NONCHARACTERS))
"""What systemd does not take for UTF-8, in a text that was decoded with `surrogateescape`."""
_QUOTES_WITHIN = 221  # the first version with quotations within a word of a command or of Environment=
_WITH_LONG_LINES = 239  # before, a line ends where its buffer does (LINE_MAX)
_LONGEST_LINE = 2046
_WITH_LINE_BREAKS = 239  # the first version that takes variables with line breaks (its NEWS)
# The versions before read backslashes between quotation marks in another way than a shell (NEWS of 241 and 247).
_AS_SHELLS = 247
# Up to the next variable: blanks, comments, in which a backslash hides the end of the line, and lines without a sign.
_BEFORE_VARIABLE = re.compile(
    r"(?:[ \t\n\r]+|[#;](?:\\[\s\S]|[^\\\n\r])*\\?(?:[\n\r]|\Z)|[^ \t\n\r#;][^=\n\r]*(?:[\n\r]|\Z))*"
)
_KEY = re.compile(r"([^ \t\n\r#;][^=\n\r]*)=")


class Entry(NamedTuple):
    """A setting of a unit file."""

    key: str
    value: str
    path: str
    """The file that sets it."""


class Malformed(Exception):
    """A unit file or a command line that systemd's versions refuse or read in different ways; the text says why."""


def parse(text: str, path: str, version: int = NEWEST) -> List[Tuple[str, Entry]]:
    """Return the settings of a unit file with their sections; raises `Malformed`."""
    if re.search(r"\r(?!\n)|\0", text):
        raise Malformed("it has a carriage return or a null byte within a line")
    lines = text.encode("utf-8", "surrogateescape").split(b"\n")
    if version < _WITH_LONG_LINES and any(len(line) > _LONGEST_LINE for line in lines):
        raise Malformed("it has a line of more than {} bytes, which is split".format(_LONGEST_LINE))
    modern = _parse(text, path, version, False)
    # Before version 252 a comment could be continued, or be part of what is continued.
    if version < NEWEST and _parse(text, path, version, True) != modern:
        raise Malformed("systemd's versions read a comment beside a continued line in different ways")
    return modern


def _parse(text: str, path: str, version: int, comments_continue: bool) -> List[Tuple[str, Entry]]:
    found: List[Tuple[str, Entry]] = []
    section = ""
    for line in _whole_lines(text, comments_continue):
        if NOT_UTF_8.search(line):
            # systemd ignores such a line; descriptions of units have some.
            if section not in ("Unit", "Install"):
                raise Malformed("it has a line that is not UTF-8")
        elif line[0] == "[":
            if line[-1] != "]":
                raise Malformed("its section {} does not end".format(line[:40]))
            section = line[1:-1]
        elif line.startswith(".include"):
            raise Malformed("it includes another file")
        elif "=" in line and section:
            key, _, value = line.partition("=")
            found.append((section, Entry(key.rstrip(BLANK), value.strip(BLANK), path)))
        elif section and version < NEWEST:
            # systemd reads nothing behind it (parse_line() of shared/conf-parser.c).
            raise Malformed("it has a line without an equals sign")
    return found


def _whole_lines(text: str, comments_continue: bool) -> Iterator[str]:
    """Return the lines that are neither blank nor comments, each with those that continue it; raises `Malformed`."""
    continued: List[str] = []
    lines = (text[1:] if text.startswith("\ufeff") else text).replace("\r\n", "\n").split("\n")
    for number, line in enumerate(lines):
        if line.lstrip(BLANK)[:1] in ("#", ";") and not comments_continue:
            continue
        if (len(line) - len(line.rstrip("\\"))) % 2 and number < len(lines) - 1:
            continued.append(line[:-1] + " ")
            continue
        line = "".join([*continued, line]).strip(BLANK)
        continued = []
        if line and line[0] not in "#;":
            yield line
    if "".join(continued).strip(BLANK):
        raise Malformed("its last line is continued")


def split(text: str, escapes: bool = True, version: int = NEWEST) -> List[str]:
    """Split a value into words as systemd.syntax(7) has it; raises `Malformed`.

    Without ``escapes`` a backslash makes the next letter one like others, as in the value of a variable.
    """
    words: List[str] = []
    rest = text.lstrip(BLANK)
    while rest:
        word, rest = first_word(rest, escapes, version)
        words.append(word)
        if len(words) > MAX_WORDS:
            raise Malformed("it has more than {} words".format(MAX_WORDS))
    return words


def first_word(text: str, escapes: bool = True, version: int = NEWEST) -> Tuple[str, str]:
    """Return the first word and what follows it, without leading blanks."""
    parts: List[str] = []
    is_whole = version < _QUOTES_WITHIN  # whether a quotation is a word, or its marks are letters as others
    quote, at = "", 0
    while at < len(text):
        letter = text[at]
        if letter == "\\" and not escapes:
            parts.append(text[at + 1 : at + 2])
            at += 2
            continue
        if letter == "\\":
            match = _ESCAPE.match(text, at + 1)
            if match is None:
                raise Malformed("it has an escape that is none: {}".format(text[at : at + 4]))
            parts.append(_unescaped(match))
            at = match.end()
            continue
        at += 1
        if quote:
            if letter == quote and is_whole and text[at : at + 1] not in ("", *BLANK):
                raise Malformed("a word goes on behind its quotation")
            quote = "" if letter == quote else quote
            parts += [letter] if quote else []
        elif letter in "'\"" and (at == 1 or not is_whole):
            quote = letter
        elif letter in BLANK:
            break
        else:
            parts.append(letter)
    if quote:
        raise Malformed("a quotation does not end")
    return "".join(parts), text[at:].lstrip(BLANK)


def _unescaped(match: Any) -> str:
    letter, byte, short, long, octal = match.groups()
    if letter:
        return str(_ESCAPES[letter])
    number = int(byte or short or long or octal, 8 if octal else 16)
    # A byte of its own beyond ASCII is no character.
    if not 0 < number < (0x80 if byte or octal else 0x110000) or 0xD800 <= number < 0xE000:
        raise Malformed("it has an escape that is no character")
    return chr(number)


def is_valid_value(value: str, version: int) -> bool:
    """Return whether systemd takes a variable's value; it ignores others, and leaves an earlier one as it is."""
    allowed = "\t\n" if version >= _WITH_LINE_BREAKS else "\t"
    return all(letter in allowed or (letter >= " " and letter != "\x7f") for letter in value)


def read_environment_file(text: str, version: int = NEWEST) -> Dict[str, str]:
    """Return the variables of an EnvironmentFile= (systemd.exec(5)); lines without ``=`` are ignored.

    Raise `Malformed` where there are too many, or systemd does not take the file.
    """
    if "\0" in text:
        raise Malformed("it has a null byte")
    found: Dict[str, str] = {}
    at = 0
    while at < len(text):
        # The comments, blank lines and lines without a sign before a variable, none of which may be there.
        match = _BEFORE_VARIABLE.match(text, at)
        at = match.end() if match else at
        variable = _KEY.match(text, at)
        if variable is None:
            break
        value, at = _environment_value(text, variable.end(), version)
        name = variable.group(1).rstrip(BLANK)
        if NOT_UTF_8.search(name + value):
            raise Malformed("a variable is not UTF-8")
        if VARIABLE.match(name):
            # One whose value is not valid is removed after it has removed an earlier one (strv_env_clean()).
            found.pop(name, None)
            found.update({name: value} if is_valid_value(value, version) else {})
        if len(found) > _MAX_VARIABLES:
            raise Malformed("more than {} variables".format(_MAX_VARIABLES))
    return found


def _environment_value(text: str, at: int, version: int) -> Tuple[str, int]:
    """Return the value that begins at a place in the text, and where it ends."""
    parts: List[str] = []
    while True:
        while text[at : at + 1] in (" ", "\t"):
            at += 1
        quote = text[at : at + 1]
        if quote not in ("'", '"'):
            break
        at += 1
        while at < len(text) and text[at] != quote:
            if text[at] == "\\" and (quote == '"' or version < _AS_SHELLS):
                at += 1
                parts.append(_escaped_in_quotes(text[at : at + 1], version))
            else:
                parts.append(text[at])
            at += 1
        at += 1
    plain: List[str] = []
    kept = 0  # what a backslash precedes is no blank to be cut off
    while at < len(text) and text[at] not in "\n\r":
        if text[at] == "\\":
            at += 1
            plain += [text[at : at + 1]] if text[at : at + 1] not in ("\n", "\r") else []
            kept = len(plain)
        else:
            plain.append(text[at])
            kept = kept if text[at] in BLANK else len(plain)
        at += 1
    return "".join(parts + plain[:kept]), at


def _escaped_in_quotes(letter: str, version: int) -> str:
    """Return what a backslash makes of the letter behind it between quotation marks."""
    if version < _AS_SHELLS:
        return letter.strip("\n\r")
    return letter if letter in '"\\`$' else "" if letter == "\n" else "\\" + letter
