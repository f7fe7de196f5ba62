"""``fipsmanifest schema``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..errors import UsageError
from ..model.manifest import json_schema
from . import options, output

_PACKAGE = Path(__file__).parents[1]


def schema(
    _json: options.Json = True,
    node: Annotated[bool, typer.Option("--node", help="Print the schema of the node tool's report instead.")] = False,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Print the schema of the result of `check cluster` instead.")
    ] = False,
) -> None:
    """Print the JSON Schema of the manifest."""
    if node and cluster:
        raise UsageError("--node and --cluster exclude each other.", "Use one of them.")
    if node or cluster:
        path = _PACKAGE / ("node" if node else "cluster") / "schema.json"
        output.write_json(json.loads(path.read_text("utf-8")))
    else:
        output.write_json(json_schema())
