"""``fipsmanifest doctor``."""

from __future__ import annotations

from dataclasses import asdict

import typer

from ..errors import Incomplete
from ..workflows.doctor import examine
from . import options, output


def doctor(
    definitions: options.Definitions = options.DEFINITIONS,
    keys: options.Keys = options.KEYS,
    json: options.Json = False,
) -> None:
    """Report what is missing on this machine, and what to do about it.

    It ends with 4 if something is missing that a verb cannot do without.
    """
    found = examine(definitions, keys)
    if json:
        output.write_json({"schema": "fipsmanifest/doctor/v1", "examined": [asdict(item) for item in found]})
    else:
        output.table(("what", "status", "found"), [[item.what, item.status, item.found] for item in found])
        for item in found:
            if item.advice:
                output.write(f"{item.what}: {item.advice}")
    if any(item.status == "missing" for item in found):
        raise typer.Exit(Incomplete.exit_code)
