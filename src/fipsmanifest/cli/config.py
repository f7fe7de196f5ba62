"""``fipsmanifest config``."""

from __future__ import annotations

import os
from pathlib import Path

from . import options, output, project
from .verbs import group

app = group("config")

_DEFAULTS = {"definitions": options.DEFINITIONS, "keys": options.KEYS, "work": options.WORK}


@app.callback()
def _group() -> None:
    """Keep `show` a verb of its own."""


@app.command()
def show(json: options.Json = False) -> None:
    """Show the options that a project can set: the value in force, and where it comes from.

    The command line comes first, then the environment, then fipsmanifest.toml or [tool.fipsmanifest] of pyproject.toml
    in the current directory (or the file that FIPSMANIFEST_CONFIG names), then the default. Verbs that verify or
    inspect take no options from a project.
    """
    found = project.read()
    rows = []
    for name in project.OPTIONS:
        variable = f"FIPSMANIFEST_{name.upper()}"
        value: object
        if os.environ.get(variable):
            value, source = os.environ[variable], f"environment ({variable})"
        elif name in found.values:
            value, source = found.values[name], str(found.path)
        else:
            value, source = _DEFAULTS.get(name), "default"
        rows.append((name.replace("_", "-"), value, source))
    if json:
        listed = [
            {"option": name, "value": str(value) if isinstance(value, Path) else value, "source": source}
            for name, value, source in rows
        ]
        output.write_json({"schema": "fipsmanifest/config/v1", "options": listed})
        return
    table = [[name, _text(value), source] for name, value, source in rows]
    output.table(("option", "value", "source"), table)


def _text(value: object) -> str:
    if value is None:
        return "-"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
