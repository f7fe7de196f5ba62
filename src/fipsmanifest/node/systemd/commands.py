"""The commands that a unit starts, with their specifiers and variables expanded.

Rules: systemd.service(5), "Command lines"; systemd.unit(5), "Specifiers"; systemd.exec(5), "Environment".
"""

import re
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from ...trust.text import visible
from .syntax import BLANK, MAX_WORDS, NEWEST, VARIABLE, Entry, Malformed, first_word, is_valid_value, split

_MAX_ARGUMENTS = 256 * 1024
COMMANDS = (
    *("ExecCondition", "ExecStartPre", "ExecStart", "ExecStartPost", "ExecReload", "ExecReloadPost"),
    *("ExecStop", "ExecStopPre", "ExecStopPost"),
)
_PROGRAM = re.compile(r"(?:/[^\x00-\x1f]*|(?!\.{1,2}\Z)[^/\x00-\x1f]+)\Z")  # a path, or a name to look for
_SPECIFIER = re.compile(r"%(.)", re.DOTALL)
_FIXED_SPECIFIERS = {"%": "%", "t": "/run", "S": "/var/lib", "C": "/var/cache", "L": "/var/log", "E": "/etc"}
_FIXED_SPECIFIERS.update({"h": "/root", "u": "root", "U": "0", "g": "root", "G": "0"})
# The first version that knows each; before, it stays as it is.
_SINCE = {**dict.fromkeys("SCLE", 236), **dict.fromkeys("TVjJ", 239), **dict.fromkeys("gG", 240)}
_IN_PROGRAMS = 240  # the first version that expands them in a program's path
_OTHER_SPECIFIERS = frozenset("AaBbcdDfHIiJjklMmNnopPqRrsTvVWwy")
_ESCAPED = re.compile(r"\\x([0-9A-Fa-f]{2})|-")
# Before a colon, or without an end, it stays as it is (replace_env_n() of basic/env-util.c).
_BRACED = re.compile(r"\$\$|\$\{([^}:]*)(\}|:|\Z)")


class Command(NamedTuple):
    """A command that a unit starts."""

    key: str
    """``ExecStart``, ``ExecStartPre``, ..."""
    program: str
    """Path, or a name without a directory."""
    arguments: Tuple[str, ...]
    """Variables and specifiers are expanded."""
    path: str
    """The file that sets it."""
    doubt: str
    """Why the command is not known exactly; empty where it is."""


def assign(environment: Dict[str, Entry], entry: Entry, doubts: List[str], version: int, unit: str = "") -> None:
    """Add the variables of Environment= or DefaultEnvironment=; an empty value clears what was set before."""
    if not entry.value:
        environment.clear()
    try:
        words = split(entry.value, version=version)
    except Malformed as error:
        doubts.append("{}: {}: {}".format(visible(entry.path), entry.key, visible(str(error))))
        return
    for word in words:
        expanded = expand(word, unit, version)[0] if unit else word
        if unit and is_refused(word):
            doubts.append(
                "{}: {}: {} has a specifier that is none".format(visible(entry.path), entry.key, visible(word))
            )
        name, equals, value = expanded.partition("=")
        if equals and VARIABLE.match(name) and is_valid_value(value, version):
            environment[name] = Entry(name, value, entry.path)


def expand(text: str, unit: str, version: int = NEWEST) -> Tuple[str, str]:
    """Return ``text`` with its specifiers expanded, and which of them have a value that is not known here."""
    stem, _, _ = unit.rpartition(".")
    prefix, at, instance = stem.partition("@")
    last = prefix.rpartition("-")[2]
    known = dict(_FIXED_SPECIFIERS, n=unit, N=stem, p=prefix, j=last, P=unescape(prefix), J=unescape(last))
    if instance or not at:
        # What a template's own file names depends on the instance.
        known.update(i=instance, I=unescape(instance), f="/" + unescape(instance or prefix).lstrip("/"))
    unknown: List[str] = []

    def replace(match: Any) -> str:
        letter = match.group(1)
        if version < _SINCE.get(letter, 0):
            return str(match.group(0))
        if letter in known:
            return str(known[letter])
        if letter in _OTHER_SPECIFIERS:
            unknown.append("%" + letter)
        return str(match.group(0))

    return _SPECIFIER.sub(replace, text), " ".join(unknown)


def unescape(name: str) -> str:
    """Return a part of a unit's name as systemd-escape(1) reverses it: hyphens are slashes."""
    return _ESCAPED.sub(lambda match: chr(int(match.group(1), 16)) if match.group(1) else "/", name)


def is_refused(text: str) -> bool:
    """Return whether systemd ignores a value because of its specifiers."""
    letters = [match.group(1) for match in _SPECIFIER.finditer(text)]
    return any(one not in _OTHER_SPECIFIERS and one not in _FIXED_SPECIFIERS and one != "N" for one in letters)


def read_commands(
    entry: Entry, unit: str, environment: Optional[Dict[str, Entry]], version: int = NEWEST
) -> Iterator[Command]:
    """Return the commands of a setting; where ``environment`` is None variables stay. Raise `Malformed`."""
    rest = entry.value
    while rest:
        first, rest = first_word(rest, version=version)
        program = first.lstrip("@-:+!|")
        prefixes = first[: len(first) - len(program)]
        words: List[str] = []
        while rest and not re.match(r";(?:[ \t\n\r]|\Z)", rest):
            if re.match(r"\\;(?:[ \t\n\r]|\Z)", rest):
                word, rest = ";", rest[2:].lstrip(BLANK)
            else:
                word, rest = first_word(rest, version=version)
            words.append(word)
            if len(words) > MAX_WORDS:
                raise Malformed("it has more than {} words".format(MAX_WORDS))
        rest = rest[1:].lstrip(BLANK)
        if any(map(is_refused, [program, *words])):
            raise Malformed("it has a specifier that is none")
        unexpanded = program if version < _IN_PROGRAMS and "%" in program else ""
        program, doubt = expand(program, unit, version)
        doubt = doubt or unexpanded
        if not _PROGRAM.match(program) or first == ";":
            raise Malformed("{} cannot be the path or name of a program".format(first or "an empty word"))
        words = [expand(word, unit, version)[0] for word in words]
        if ":" not in prefixes and environment is not None:
            words = _substitute(words, {name: one.value for name, one in environment.items()})
        arguments = tuple(words[1:] if "@" in prefixes else words)
        why = "what {} means is not known".format(doubt) if doubt else ""
        yield Command(entry.key, _simplified(program), arguments, entry.path, why)


def _simplified(program: str) -> str:
    """Return a path without empty parts and dots; two dots stay, as what is before them may be a link."""
    parts = [part for part in program.split("/") if part not in ("", ".")]
    return "/" + "/".join(parts) if program.startswith("/") else program


def _substitute(words: List[str], environment: Dict[str, str]) -> List[str]:
    """Replace variables: ``$NAME`` as a word of its own is split, ``${NAME}`` is not, ``$$`` is a dollar sign."""
    found: List[str] = []
    longest = max([len(value) for value in environment.values()] or [0])
    if sum(len(word) + longest * word.count("$") for word in words) > _MAX_ARGUMENTS:
        raise Malformed("its variables may make more than {} bytes".format(_MAX_ARGUMENTS))
    for word in words:
        if word.startswith("$") and word[1:2] not in ("{", "$"):
            found += split(environment.get(word[1:], ""), escapes=False)
        else:
            found.append(_BRACED.sub(lambda match: _value_of(match, environment), word))
    return found


def _value_of(match: Any, environment: Dict[str, str]) -> str:
    name, end = match.groups()
    if name is None:
        return "$"
    return environment.get(name, "") if end == "}" else str(match.group())
