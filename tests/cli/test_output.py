"""Foreign text on a terminal, in a CI log and on a job's page is never a command or markup."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from fipsmanifest.cli import markdown, output
from tests.support import command
from tests.support.command import PROGRAM

#: Commands as the runner of GitHub Actions finds them (actions/runner, ActionCommand.cs), and of Azure and TeamCity.
COMMAND = re.compile(r"^\s*::|##\[|##vso\[|##teamcity\[", re.MULTILINE | re.IGNORECASE)

COMMANDS = [
    "::add-mask::x",
    "  ::set-output name=a::b",
    "\t::error::x",
    "a\n::stop-commands::token",
    "a\r::debug::x",
    "##[add-mask]verified",
    "tool/##[group]x",
    "##VSO[task.setvariable variable=a]b",
    "###[error]x",
    "##teamcity[x]",
    "\u2028::error::x",
]


@pytest.mark.parametrize("text", COMMANDS)
def test_no_ci_system_finds_a_command_in_the_output(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    output.write(text)
    output.say(text)
    output.say(f"error: {text}".replace("\n", "\n       "))
    output.table(["name"], [[text]])
    output.write(output.inert(text))
    shown = capsys.readouterr()
    assert not COMMAND.search(shown.out + shown.err)


@pytest.mark.parametrize("text", COMMANDS)
def test_json_holds_the_same_text_and_no_command(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    output.write_json({"name": text, text: 1})
    shown = capsys.readouterr().out
    assert not COMMAND.search(shown)
    assert json.loads(shown) == {"name": text, text: 1}


@pytest.mark.parametrize("text", ["std::string", "a :: b", "#[derive]", "# heading", "fd00::1/64", "a\nb"])
def test_other_text_is_shown_as_it_is(text: str) -> None:
    assert output.printable(text) == text


@pytest.mark.parametrize("text", ["\x1b[31mred", "\u202egpj.exe", "\x9b31m", "a\x00b", "\u2066x", "\ufeff"])
def test_terminal_and_bidirectional_controls_are_escaped(text: str) -> None:
    assert output.one_line(text).isprintable()


MARKUP = [
    "<img src=https://evil.example>",
    "![x](https://evil.example/x.png)",
    "[verified](https://evil.example)",
    "`code`",
    "**bold**",
    "__bold__",
    "_a_",
    "~~gone~~",
    "a | b",
    "https://evil.example/",
    "www.evil.example",
    "HTTP://evil.example",
    "mailto:a@evil.example",
    "a@evil.example",
    "&lt;img&gt;",
    "<!-- -->",
    "a\n\n# heading",
    "\\[x](y)",
    "$x$",
    "| a |\n|---|",
]


@pytest.mark.parametrize("text", MARKUP)
def test_markdown_shows_a_cell_as_text(text: str) -> None:
    page = "\n".join(markdown.table(["what"], [[text]]))
    shown = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(page)
    cells = re.findall(r"<td>(.*?)</td>", shown, re.DOTALL)
    assert len(cells) == 1
    assert not re.search(r"<[a-z!/]", cells[0]), cells
    # GitHub makes links of bare addresses, too.
    assert not re.search(r"https?://|\bwww\.|mailto:|(?<!\\)@", page, re.IGNORECASE), page


@pytest.mark.parametrize("text", MARKUP[:8])
def test_a_line_for_a_pipe_begins_no_markup(text: str) -> None:
    shown = MarkdownIt("commonmark", {"html": True}).render("found: " + output.inert(text))
    assert not re.search(r"<(?!/?(p|em|strong)>)", shown), shown


@pytest.mark.parametrize(
    "arguments",
    [
        ["modules", "list"],
        ["modules", "list", "--json"],
        ["schema"],
        ["--help"],
        ["--version"],
        ["inspect", "--help"],
        ["verify", "--help"],
    ],
)
def test_a_closed_pipe_ends_it_quietly(arguments: list[str]) -> None:
    process = subprocess.Popen([PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert (process.wait(), said) == (141, "")


@pytest.mark.parametrize("arguments", [["modules", "list"], ["--help"], ["--version"], ["verify", "--help"]])
def test_a_full_disk_is_an_error(arguments: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([PROGRAM, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 4
    assert done.stderr == "error: The result could not be written: No space left on device.\n"


def test_a_misspelt_command_is_answered_with_one_suggestion() -> None:
    for arguments in (["defintions"], ["definitions", "lnit"], ["keys", "lst"], ["modules", "lst"]):
        done = command.run(*arguments, code=2)
        assert done.stderr.lower().count("did you mean") == 1, done.stderr
