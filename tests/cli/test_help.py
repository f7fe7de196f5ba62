"""Help teaches: no verb, argument or option goes without a word."""

from __future__ import annotations

import json
import subprocess
import sys

#: Walks the command line's own tree; apart, because typer itself warns at its import.
_WORDLESS = """
import json, re, click
from typer.main import get_command
from fipsmanifest.cli import main
main._add_verbs([])
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
