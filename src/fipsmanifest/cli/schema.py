"""``fipsmanifest schema``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..model.manifest import json_schema
from . import options, output

_NODE = Path(__file__).parents[1] / "node" / "schema.json"


def schema(
    _json: options.Json = True,
    node: Annotated[bool, typer.Option("--node", help="Print the schema of the node tool's report instead.")] = False,
) -> None:
    """Print the JSON Schema of the manifest."""
    output.write_json(json.loads(_NODE.read_text("utf-8")) if node else json_schema())
