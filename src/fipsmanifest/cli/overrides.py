"""``fipsmanifest overrides``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options, output


def overrides(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Kubernetes version, such as v1.21.3.")],
    el: Annotated[int, typer.Option("--el", metavar="N", help="Enterprise Linux release.")],
    definitions: options.Definitions = options.DEFINITIONS,
    write_to: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write to a file.  [default: stdout]")
    ] = None,
    json: options.Json = False,
) -> None:
    """Print konvoy-image-builder's override file for exactly this release."""
    from ..state import durable
    from ..workflows.overrides import overrides as made
    from .select import one_definition

    text = made(one_definition(definitions, version, el))
    if write_to is not None:
        durable.write(write_to, text.encode())
    if json:
        written = None if write_to is None else str(write_to)
        output.write_json({"schema": "fipsmanifest/overrides/v1", "path": written, "yaml": text})
    elif write_to is None:
        output.write(text.rstrip("\n"))
