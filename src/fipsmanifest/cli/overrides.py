"""``fipsmanifest overrides``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..state import durable
from ..workflows import overrides as workflow
from . import options, output
from .select import one_definition


def overrides(
    version: options.Version,
    el: options.OneEl,
    definitions: options.Definitions = options.DEFINITIONS,
    write_to: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Output file.  [default: stdout]")
    ] = None,
    json: options.Json = False,
) -> None:
    """Print konvoy-image-builder's override file for a release."""
    text = workflow.overrides(one_definition(definitions, version, el))
    if write_to is not None:
        durable.write(write_to, text.encode())
    if json:
        written = None if write_to is None else str(write_to)
        output.write_json({"schema": "fipsmanifest/overrides/v1", "path": written, "yaml": text})
    elif write_to is None:
        output.write(text.rstrip("\n"))
