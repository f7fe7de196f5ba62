"""Every code that evidence can have is explained."""

from __future__ import annotations

import re
from pathlib import Path

import fipsmanifest.inspect
from fipsmanifest.inspect.descriptions import SENTENCES

#: Named in a table of `verdict.py`.
OTHER_CODES = ("crypto-packages", "crypto-library", "crypto-tables")

SOURCES = sorted(Path(fipsmanifest.inspect.__file__).parent.glob("*.py"))
#: How the code raises or returns one.
RAISED = re.compile(r"(?:UnreadableElf|unreadable|not_go)\(\s*\"([a-z0-9-]+)\"")
DECIDED = re.compile(r"^ +return (?!DetectedModule)|Verdict\.[A-Z_]+")
CODE = re.compile(r"\"([a-z0-9]+(?:-[a-z0-9]+)+)\"")


def codes() -> set[str]:
    found = set()
    for source in SOURCES:
        text = source.read_text()
        found.update(RAISED.findall(text))
        if source.name == "verdict.py":
            decided = (line for line in text.splitlines() if DECIDED.search(line))
            found.update(code for line in decided for code in CODE.findall(line))
    return found


def test_every_code_has_a_sentence() -> None:
    found = codes()
    # Some that are certainly there, so that an empty search does not pass.
    assert {"segment-beyond-file", "too-many-modules", "no-build-info", "module-changed", "packed", "cgo-off"} <= found
    assert sorted(found - set(SENTENCES)) == []
    assert set(OTHER_CODES) <= set(SENTENCES)


def test_every_sentence_is_one() -> None:
    for code, sentence in SENTENCES.items():
        assert re.fullmatch(r"[A-Z{].*\.", sentence), code
        assert not re.search(r"\(\{code\}\)", sentence), code
