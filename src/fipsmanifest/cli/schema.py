"""``fipsmanifest schema``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..errors import UsageError
from ..model import definition_file, manifest
from . import options, output

_PACKAGE = Path(__file__).parents[1]


def schema(
    _json: options.Json = True,
    node: Annotated[bool, typer.Option("--node", help="Print the schema of the node tool's report instead.")] = False,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Print the schema of the result of `check cluster` instead.")
    ] = False,
    definition: Annotated[
        bool, typer.Option("--definition", help="Print the schema of a release definition instead, for editors.")
    ] = False,
) -> None:
    """Print the JSON Schema of the manifest."""
    if node + cluster + definition > 1:
        raise UsageError("--node, --cluster and --definition exclude each other.", "Use one of them.")
    if definition:
        output.write_json(definition_file.json_schema())
    elif node or cluster:
        path = _PACKAGE / ("node" if node else "cluster") / "schema.json"
        output.write_json(json.loads(path.read_text("utf-8")))
    else:
        output.write_json(manifest.json_schema())
