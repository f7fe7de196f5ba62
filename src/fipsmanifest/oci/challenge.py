"""What a server asks for with a 401: WWW-Authenticate by RFC 9110, 11.6.1, with several challenges in one value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

#: Challenges of one answer that are read; registries send one or two.
_MAX_CHALLENGES = 16

_SEPARATOR = re.compile(r"[\s,]*")
# RFC 9110, 5.6.2 and 11.2; a token68 is all that a scheme such as Negotiate has.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_EQUALS = re.compile(r"[ \t]*=[ \t]*")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_PLAIN = re.compile(r"[^\s,]*")
_TOKEN68 = re.compile(r"[ \t]+[A-Za-z0-9._~+/-]+=*[ \t]*(?=,|$)")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to authenticate."""

    scheme: str
    """Its name in lower case: ``basic``, ``bearer``."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Its parameters, names in lower case; of one that is repeated, the first."""


def parse_challenges(value: str) -> tuple[Challenge, ...]:
    """Return the challenges of a WWW-Authenticate value in their order; what cannot be read ends the list.

    Several headers are one value, joined by commas (RFC 9110, 5.3). A comma separates challenges as well as parameters:
    a name that is followed by ``=`` is a parameter of the challenge before it, any other one begins a challenge.
    """
    found: list[tuple[str, dict[str, str]]] = []
    place = 0
    while len(found) <= _MAX_CHALLENGES:
        place = _end(_SEPARATOR.match(value, place), place)
        name = _TOKEN.match(value, place)
        if name is None:
            break
        place = name.end()
        equals = _EQUALS.match(value, place)
        if equals is None:
            found.append((name[0].lower(), {}))
            place = _end(_TOKEN68.match(value, place), place)
            continue
        text = _QUOTED.match(value, equals.end())
        plain = _PLAIN.match(value, equals.end())
        place = _end(text or plain, equals.end())
        if found:
            said = re.sub(r"\\(.)", r"\1", text[1]) if text else value[equals.end() : place]
            found[-1][1].setdefault(name[0].lower(), said)
    return tuple(Challenge(scheme, parameters) for scheme, parameters in found[:_MAX_CHALLENGES])


def _end(match: re.Match[str] | None, place: int) -> int:
    return place if match is None else match.end()
