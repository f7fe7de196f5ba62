"""Output: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import re
import sys
import tempfile
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import FipsManifestError, Incomplete, Several
from . import columns
from .columns import Column


@dataclass
class Session:
    """The output settings of a run; the root options and ``--json`` set them."""

    debug: bool = False
    """Whether an error shows its traceback."""
    quiet: bool = False
    """Whether progress and notes are hidden."""
    json: bool = False
    """Whether the result is one JSON document."""


#: A spooled text of up to so many characters stays in memory; so many are read from it at a time.
_SHORT, _PIECE = 4 << 20, 1 << 16

#: Whether the one JSON document of this run was written; a later error is reported on stderr only.
_written = False


#: Commands that a CI system executes from a job's output: GitHub's ``::command::`` at the beginning of a line, after
#: spaces too, and its older ``##[command]``, Azure's ``##vso[`` and TeamCity's ``##teamcity[`` anywhere
#: (actions/runner, ActionCommand.cs).
_LINE_COMMAND = re.compile(r"^(\s*):(?=:)", re.MULTILINE)
_ANY_COMMAND = re.compile(r"(?<=#)#(?=\[|vso\[|teamcity\[)", re.IGNORECASE)

#: The first characters of HTML, and of Markdown's links, images and code, in text that a job's page may contain.
_MARKUP = str.maketrans({"<": "\\x3c", "`": "\\x60", "[": "\\x5b"})


def printable(text: str) -> str:
    """Return ``text`` without anything that a terminal or a CI system would execute.

    Text from files and servers may be hostile: control characters (bidirectional ones too) and the first characters of
    a CI system's commands are escaped.
    """
    shown = "".join(char if char.isprintable() or char == "\n" else f"\\x{ord(char):02x}" for char in text)
    return _ANY_COMMAND.sub(r"\\x23", _LINE_COMMAND.sub(r"\1\\x3a", shown))


def one_line(text: str) -> str:
    """Return untrusted text as one line: a second line could look like a message of fipsmanifest."""
    return printable(text).replace("\n", "\\n")


def inert(text: str) -> str:
    """Return untrusted text as one line without markup, for output that is often piped to a job's page."""
    return one_line(text).translate(_MARKUP)


def write(line: str = "") -> None:
    """Write one line of the result."""
    sys.stdout.write(printable(line) + "\n")


def write_json(document: Mapping[str, Any]) -> None:
    """Write the one JSON document of a run; one of its values may be a `LongList`."""
    global _written
    _written = True
    sys.stdout.writelines(json_pieces(document))


def json_pieces(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield a document as `write_json` writes it."""
    long = next((item for item in document.items() if isinstance(item[1], LongList)), None)
    if long is None:
        yield _dumped(document) + "\n"
        return
    key, members = long
    # A line break within a text is escaped, so this occurs only once.
    before, place, behind = _dumped({**document, key: []}).partition(f'\n  "{key}": [')
    yield before + place
    yield from members.pieces()
    yield behind + "\n"


def _dumped(document: object) -> str:
    # The same value for a JSON parser; a CI system that reads the output line by line finds no command in it.
    return _ANY_COMMAND.sub(r"\\u0023", json.dumps(document, indent=2, sort_keys=True, ensure_ascii=True))


class SpooledText:
    """Text that is stored until the text before it is complete: in memory if it is short, else in an unlinked file."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(_SHORT, "w+", encoding="ascii", newline="\n")  # noqa: SIM115

    def write(self, text: str) -> None:
        """Add ASCII text. Raises `Incomplete` if it cannot be stored."""
        try:
            self._file.write(text)
        except OSError as error:
            self._file.close()
            raise Incomplete(
                f"The result cannot be stored in {tempfile.gettempdir()}: {error.strerror}.",
                "Free space there, or set TMPDIR to another directory.",
                reason="not-written",
            ) from error

    def lines(self) -> Iterator[str]:
        """Yield the text line by line. Can be called once."""
        with self._file as kept:
            kept.seek(0)
            yield from kept

    def pieces(self) -> Iterator[str]:
        """Yield the text in pieces of any size. Can be called once."""
        with self._file as kept:
            kept.seek(0)
            while piece := kept.read(_PIECE):
                yield piece


class LongList:
    """A list of a JSON document that is too long for memory: its members are spooled as they are added."""

    def __init__(self) -> None:
        self._members = SpooledText()
        self._any = False

    def add(self, member: object) -> None:
        """Add a member. Raises as `SpooledText.write`."""
        indented = _dumped(member).replace("\n", "\n    ")
        self._members.write((",\n    " if self._any else "\n    ") + indented)
        self._any = True

    def pieces(self) -> Iterator[str]:
        """Yield the text between the brackets, indented as `json.dumps` does."""
        yield from self._members.pieces()
        if self._any:
            yield "\n  "


def say(line: str) -> None:
    """Write one line to stderr."""
    sys.stderr.write(printable(line) + "\n")


def table(headings: Sequence[str | Column], rows: Iterable[Sequence[str]]) -> None:
    """Write a table of aligned columns, without colours and boxes, so that it can be searched and pasted.

    On a terminal each `Column` gives way so that a row fits the line; a column with a plain heading is shown whole.
    """
    every = [list(map(one_line, row)) for row in rows]
    shown = [item if isinstance(item, Column) else Column(item, sys.maxsize) for item in headings]
    widths = [max((len(row[index]) for row in every), default=0) for index in range(len(shown))]
    found = columns.layout(shown, widths, columns.terminal())
    for line in (found.headings(), *map(found.row, every)):
        write(line)


def error_form(code: int, message: str, advice: str, reason: str) -> dict[str, object]:
    """Return the JSON form of an error, the same for every verb: its exit code, what is wrong, what to do, and why."""
    return {"code": code, "message": message, "advice": advice, "reason": reason}


def form_of(error: FipsManifestError) -> dict[str, object]:
    """Return the JSON form of an error that was raised."""
    return error_form(error.exit_code, error.message, error.advice, error.reason)


def report_json(session: Session, code: int, message: str, advice: str, reason: str) -> None:
    """Write an error as the one JSON document of this run, if JSON was requested and none was written yet."""
    _write_error(session, error_form(code, message, advice, reason))


def _write_error(session: Session, form: Mapping[str, object]) -> None:
    if session.json and not _written:
        write_json({"schema": "fipsmanifest/error/v1", "error": form})


def _several_form(error: Several) -> dict[str, object]:
    """Return the JSON form of several errors: their messages and advice, joined and one by one."""
    each = [form_of(one) for one in error.errors]
    message, advice = (
        " ".join(dict.fromkeys(str(one[key]) for one in each if one[key])) for key in ("message", "advice")
    )
    return {**error_form(error.exit_code, message, advice, error.reason), "errors": each}


def report(error: FipsManifestError, session: Session) -> None:
    """Report an error: what is wrong and what to do; also as JSON, if that was requested."""
    if isinstance(error, Several):
        _write_error(session, _several_form(error))
    _write_error(session, form_of(error))
    # Some messages have several lines, with untrusted names in them: none may look like another message.
    say(f"error: {error.message}".replace("\n", "\n       "))
    if error.advice:
        say(f"       {error.advice}")
    if session.debug:
        sys.stderr.write("".join(traceback.format_exception(error)))
