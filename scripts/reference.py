"""The reference that is made from the code: commands as Markdown and as man pages, schemas, and what words mean.

``python -m scripts.reference DIRECTORY`` writes the man pages; `scripts/site_hooks.py` puts the Markdown into the site.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click
import typer

from fipsmanifest import __version__
from fipsmanifest.cli import explain
from fipsmanifest.cli.main import app
from fipsmanifest.cli.schema import SCHEMAS
from fipsmanifest.model.explanations import EXIT_CODES

PROGRAM = "fipsmanifest"

#: The kinds of words on the page of verdicts; exit codes and reasons have a page of their own.
_WORDS = {
    "verdict": "Verdicts",
    "requirement": "Requirements of a definition",
    "check": "Checks of the node tool",
    "verdict on a node": "Verdicts on a node or a cluster",
    "scope of a node report": "Scopes of a node report",
    "node without an answer": "Nodes of a cluster without an answer",
    "finding on a node": "Findings on a node",
    "finding of an audit": "Findings of an audit",
    "evidence code": "Evidence of a verdict",
}


@dataclass(frozen=True, slots=True)
class Command:
    """One command, as its ``--help`` describes it."""

    words: tuple[str, ...]
    """The program's name and the verbs: ``("fipsmanifest", "keys", "init")``."""
    usage: str
    """Its arguments: ``[OPTIONS] MANIFEST...``."""
    summary: str
    """The first sentence of its help."""
    paragraphs: tuple[str, ...]
    """Its help."""
    parameters: tuple[tuple[str, str], ...]
    """Arguments and options, each with its help."""
    is_group: bool
    """Whether it only holds other commands."""

    @property
    def name(self) -> str:
        """The command as it is typed."""
        return " ".join(self.words)


def commands() -> Iterator[Command]:
    """Yield the program itself and every command below it, a group before its members."""
    root = typer.main.get_command(app)
    yield from _below(root, click.Context(root, info_name=PROGRAM, **root.context_settings), (PROGRAM,))


def _below(command: click.Command, context: click.Context, words: tuple[str, ...]) -> Iterator[Command]:
    yield _described(command, context, words)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            member = command.get_command(context, name)
            if member is not None and not member.hidden:
                yield from _below(member, click.Context(member, info_name=name, parent=context), (*words, name))


def _described(command: click.Command, context: click.Context, words: tuple[str, ...]) -> Command:
    text = (command.help or "").partition("\f")[0]
    paragraphs = tuple(" ".join(part.split()) for part in text.split("\n\n") if part.strip())
    records = (parameter.get_help_record(context) for parameter in command.get_params(context))
    return Command(
        words,
        " ".join(command.collect_usage_pieces(context)),
        command.get_short_help_str(limit=200),
        paragraphs,
        tuple((names, " ".join(meaning.split())) for names, meaning in filter(None, records)),
        isinstance(command, click.Group),
    )


def command_pages() -> Iterator[tuple[str, str]]:
    """Yield (file name, Markdown) of an index and of a page for each verb, with the members of a group in it."""
    pages: dict[str, list[Command]] = {}
    for command in commands():
        pages.setdefault(command.words[1] if len(command.words) > 1 else "index", []).append(command)
    (root,) = pages.pop("index")
    rows = [f"| [`{verb}`]({verb}.md) | {_cell(held[0].summary)} |" for verb, held in pages.items()]
    table = "\n".join(("| command | what it does |", "|---|---|", *rows))
    yield "index.md", f"# Commands\n\n{_section(root)}\n\n{table}\n"
    for verb, held in pages.items():
        first, *members = held
        sections = [f"# {first.name}\n\n{_section(first)}"]
        sections += [f"## {member.name}\n\n{_section(member)}" for member in members]
        yield f"{verb}.md", "\n\n".join(sections) + "\n"


def _section(command: Command) -> str:
    usage = f"```text\n{command.name} {command.usage}\n```"
    rows = [f"| {_code(names)} | {_cell(meaning)} |" for names, meaning in command.parameters]
    table = "\n".join(("| option | meaning |", "|---|---|", *rows)) if rows else ""
    return "\n\n".join(filter(None, (usage, *map(_escaped, command.paragraphs), table)))


def words_page() -> str:
    """Return the page of verdicts, requirements, checks and evidence codes, as `fipsmanifest explain` prints them."""
    parts = [
        "# Verdicts, checks and findings",
        f"`{PROGRAM} explain WORD` prints these, with exit codes and reasons.",
    ]
    for kind, title in _WORDS.items():
        found = [item for item in explain.explanations() if item.kind == kind]
        rows = [f"| `{item.word}` | {_cell(item.meaning)} | {_cell(item.advice)} |" for item in found]
        parts += [f"## {title}", "\n".join(("| word | meaning | what to do |", "|---|---|---|", *rows))]
    return "\n\n".join(parts) + "\n"


def schema_pages() -> Iterator[tuple[str, str]]:
    """Yield (file name, content) of each published JSON Schema, and of the page that lists them."""
    rows = []
    for name, schema in SCHEMAS.items():
        document = schema.document()
        yield f"{name}.schema.json", json.dumps(document, indent=2, sort_keys=True) + "\n"
        rows.append(f"| [{name}.schema.json]({name}.schema.json) | {_cell(schema.title)} | `{schema.command}` |")
    table = "\n".join(("| schema | what it describes | printed by |", "|---|---|---|", *rows))
    yield "index.md", f"# JSON Schemas\n\n{table}\n"


def man_pages(date: datetime) -> Iterator[tuple[str, str]]:
    """Yield (file name, text) of a man page of section 1 for each command, dated ``date``. Source: man-pages(7)."""
    every = list(commands())
    for command in every:
        yield f"{'-'.join(command.words)}.1", _man_page(command, every, date)


def _man_page(command: Command, every: list[Command], date: datetime) -> str:
    page = "-".join(command.words)
    lines = [
        f'.TH {_roff(page.upper())} 1 {date:%Y-%m-%d} "{PROGRAM} {__version__}" "{PROGRAM} manual"',
        ".SH NAME",
        f"{_roff(page)} \\- {_roff(command.summary.rstrip('.'))}",
        ".SH SYNOPSIS",
        f".B {_roff(command.name)}",
        _roff(command.usage),
        ".SH DESCRIPTION",
        *_separated(_roff(paragraph) for paragraph in command.paragraphs),
    ]
    if command.parameters:
        lines.append(".SH OPTIONS")
        for names, meaning in command.parameters:
            lines += [".TP", f".B {_roff(names)}", _roff(meaning)]
    if len(command.words) == 1:
        lines.append(".SH EXIT STATUS")
        for code in EXIT_CODES:
            lines += [".TP", f".B {code.code}", _roff(code.meaning)]
    related = [other for other in every if _is_related(command, other)]
    if related:
        lines += [".SH SEE ALSO", ",\n".join(f".BR {_roff('-'.join(other.words))} (1)" for other in related)]
    return "\n".join(lines) + "\n"


def _is_related(command: Command, other: Command) -> bool:
    """Return whether ``other`` is the group of ``command``, or a member of it."""
    return other.words == command.words[:-1] or other.words[:-1] == command.words


def _separated(paragraphs: Iterator[str]) -> Iterator[str]:
    for number, paragraph in enumerate(paragraphs):
        if number:
            yield ".PP"
        yield paragraph


def _roff(text: str) -> str:
    """Return text for roff: backslashes, hyphens and lines that would be read as requests are escaped."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "")
    return re.sub(r"^([.'])", r"\\&\1", escaped, flags=re.MULTILINE)


def _escaped(text: str) -> str:
    """Return text for Markdown: placeholders such as <dir> outside of code are not tags."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([<*_\[])", r"\\\1", part) for part in parts)


def _cell(text: str) -> str:
    return _escaped(text).replace("|", "\\|")


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")


def main() -> None:
    """Write the man pages into the directory that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m scripts.reference", description="Write the man pages.")
    parser.add_argument("directory", type=Path, help="where to write them")
    parser.add_argument("--date", type=datetime.fromisoformat, default=datetime.now(UTC), help="default: today")
    chosen = parser.parse_args()
    chosen.directory.mkdir(parents=True, exist_ok=True)
    for name, text in man_pages(chosen.date):
        (chosen.directory / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
