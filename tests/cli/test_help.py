"""Help explains every verb, argument and option, and lists the verbs without importing them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import command

#: Walks the command line's own tree; apart, because typer itself warns at its import.
_WORDLESS = """
import json, re, click
from typer.main import get_command
from fipsmanifest.cli import main
said, waiting = {}, [("", get_command(main.app))]
while waiting:
    name, command = waiting.pop()
    context = click.Context(command)
    said[name] = command.help or ""
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if record is not None:
            # "[required]" and "[default: ...]" teach nothing.
            said[f"{name} {record[0]}"] = re.sub(r"\\[.*?\\]", "", record[1])
    if isinstance(command, click.Group):
        waiting += [(f"{name} {one}".strip(), sub) for one, sub in command.commands.items()]
print(json.dumps(said))
"""


def test_every_verb_argument_and_option_is_explained() -> None:
    told = subprocess.run([sys.executable, "-c", _WORDLESS], capture_output=True, check=True).stdout
    said: dict[str, str] = json.loads(told)

    assert len(said) > 100
    assert [name for name, words in said.items() if len(words.split()) < 2] == []


#: Compares the list of verbs with the verbs themselves.
_SUMMARIES = """
import json
from typer.main import get_command
from fipsmanifest.cli.main import app
from fipsmanifest.cli.verbs import VERBS
commands = get_command(app).commands
first = {name: " ".join((commands[name].help or "").split("\\n\\n")[0].split()) for name in VERBS}
print(json.dumps([[verb.summary, first[name]] for name, verb in VERBS.items()]))
"""


def test_the_list_of_verbs_has_the_first_paragraph_of_the_help_of_each() -> None:
    printed = subprocess.run([sys.executable, "-c", _SUMMARIES], capture_output=True, check=True).stdout
    pairs: list[list[str]] = json.loads(printed)

    assert len(pairs) > 15
    assert [pair for pair in pairs if pair[0] != pair[1]] == []


@pytest.mark.parametrize("verb", ["bundle", "check", "config", "definitions", "keys", "modules", "tool"])
def test_a_verb_with_verbs_lists_them_with_whole_sentences(verb: str) -> None:
    listed = command.run(verb, "--help", code=0).stdout.partition("Commands:\n")[2]
    words = [line.split(maxsplit=1) for line in listed.splitlines() if re.match(r"  [a-z]", line)]
    assert words
    for name, start in words:
        (sentence,) = re.findall(rf"^  {name} +{re.escape(start)}(?:\n {{4,}}.+)*", listed, re.MULTILINE)
        assert sentence.endswith(".") and not sentence.endswith("..."), sentence


def test_help_imports_no_verb() -> None:
    code = """
import sys
from fipsmanifest.cli import main
sys.argv = ["fipsmanifest", "--help"]
try:
    main.main()
finally:
    print(*sorted(name for name in sys.modules if name.startswith("fipsmanifest.")), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    packages = {name.split(".")[1] for name in done.stderr.split()}

    assert "Release and publish:" in done.stdout
    assert packages == {"cli", "errors", "node"}
    assert "fipsmanifest.cli.release" not in done.stderr.split()


@pytest.mark.parametrize(
    ("word", "meant"), [("veryfy", "verify"), ("keys lst", "list"), ("verify --kubernets", "--kubernetes")]
)
def test_a_misspelt_word_gets_one_suggestion(word: str, meant: str) -> None:
    program = Path(sys.executable).with_name("fipsmanifest")
    done = subprocess.run([program, *word.split()], capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert done.stderr.lower().count("did you mean") == 1
    assert meant in done.stderr.splitlines()[-1]
