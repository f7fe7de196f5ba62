"""Markdown: tables, and untrusted text in it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence

from . import output

_MARKDOWN = frozenset("\\`*[]<>|~&$")
#: An underscore within a word is not emphasis (CommonMark, section 6.2), and paths and names have many.
_UNDERSCORE = re.compile(r"(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])")
_AUTOLINK = re.compile(
    r"(?:(?<=\bhttp)|(?<=\bhttps)|(?<=\bftp)|(?<=\bmailto)|(?<=\bxmpp)|(?<=\bwww))[:.]|@(?=[\w-]+\.)", re.IGNORECASE
)


def write_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a Markdown table."""
    for line in table(headings, rows):
        output.write(line)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a Markdown table, each as soon as its row is available."""
    for cells in itertools.chain(([*headings], ["---"] * len(headings)), rows):
        yield "| " + " | ".join(map(text, cells)) + " |"


def text(untrusted: str) -> str:
    """Return untrusted text as one line, escaped so that it is not Markdown (CommonMark: backslash escapes)."""
    escaped = "".join("\\" + char if char in _MARKDOWN else char for char in output.one_line(untrusted))
    # Addresses become links without any markup (GitHub Flavored Markdown, "Autolinks").
    return _AUTOLINK.sub(r"\\\g<0>", _UNDERSCORE.sub(r"\\_", escaped))
