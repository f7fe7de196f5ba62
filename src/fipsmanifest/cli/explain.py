"""``fipsmanifest explain``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import typer

from ..cluster.reasons import ADVICE as NODE_REASONS
from ..errors import UsageError
from ..inspect.descriptions import ADVICE, EVIDENCE, SENTENCES, VERDICTS, general_sentence
from ..model.explanations import CHECKS, EXIT_CODES, FINDINGS, NODE_VERDICTS, REASONS, REQUIREMENTS, SCOPES
from ..model.node_codes import NODE_CODES
from . import options, output


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a word means."""

    word: str
    """As documents and messages have it."""
    kind: str
    """What it is: ``exit code``, ``reason``, ``verdict``, ``evidence code``, ``check`` or another one of its kind."""
    meaning: str
    """One sentence."""
    advice: str
    """What to do, or nothing."""


def _completed(incomplete: str) -> list[str]:
    """Return the words that begin with what was typed, for completion in a shell."""
    return sorted({item.word for item in explanations() if item.word.startswith(incomplete)})


def explain(
    word: Annotated[
        str | None,
        typer.Argument(
            metavar="CODE",
            help="Such as 5, not-proven, declared or fips-mode.  [default: all]",
            autocompletion=_completed,
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Explain an exit code, a reason, a verdict, a requirement or a check.

    The codes of a verdict's evidence, of findings of an audit and on nodes, and of nodes without an answer are
    explained, too.
    """
    found = [item for item in explanations() if word is None or item.word == word.strip().lower()]
    if not found:
        raise UsageError(
            f"{output.one_line(word or '')} is not a code or word that is explained here.",
            "Run it without an argument to list all.",
        )
    if json:
        listed = [
            {"word": item.word, "kind": item.kind, "meaning": item.meaning, "advice": item.advice} for item in found
        ]
        output.write_json({"schema": "fipsmanifest/explanations/v1", "explanations": listed})
    elif word is None:
        output.table(("word", "kind", "meaning"), [[item.word, item.kind, item.meaning] for item in found])
    else:
        for item in found:
            output.write(f"{item.word} ({item.kind}): {item.meaning}")
            if item.advice:
                output.write(f"  to do: {item.advice}")


def explanations() -> Iterator[Explanation]:
    """Yield all explanations; a word may have several meanings."""
    for code in EXIT_CODES:
        yield Explanation(str(code.code), "exit code", code.meaning, code.advice)
    for reason in REASONS:
        codes = " or ".join(map(str, reason.codes))
        yield Explanation(reason.name, "reason", f"{reason.meaning} Exit code {codes}.", reason.advice)
    for verdict, (meaning, advice) in VERDICTS.items():
        yield Explanation(str(verdict), "verdict", meaning, advice)
    # Each finding on a node has its own advice.
    sentences = {"requirement": REQUIREMENTS, "scope of a node report": SCOPES, "finding on a node": NODE_CODES}
    for kind, meanings in sentences.items():
        yield from (Explanation(name, kind, meaning, "") for name, meaning in meanings.items())
    for name, (meaning, advice) in CHECKS.items():
        yield Explanation(name, "check", meaning, advice)
    for name, (meaning, advice) in NODE_VERDICTS.items():
        yield Explanation(name, "verdict on a node", meaning, advice)
    for name, text in NODE_REASONS.items():
        meaning, dot, advice = text.partition(". ")
        yield Explanation(name, "node without an answer", meaning + dot.rstrip(), advice)
    for name, (meaning, advice) in FINDINGS.items():
        yield Explanation(name, "finding of an audit", meaning, advice)
    for name in SENTENCES:
        yield Explanation(name, "evidence code", general_sentence(name), ADVICE.get(name, ""))
    for name, meaning in EVIDENCE.items():
        yield Explanation(name, "evidence", meaning, "")
