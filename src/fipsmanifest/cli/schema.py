"""``fipsmanifest schema``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options, output

_NODE = Path(__file__).parents[1] / "node" / "schema.json"


def schema(
    _json: options.Json = True,
    node: Annotated[bool, typer.Option("--node", help="Of the node tool's report, instead of the manifest.")] = False,
) -> None:
    """Print the JSON Schema of the manifest."""
    import json

    from ..model.manifest import json_schema

    output.write_json(json.loads(_NODE.read_text("utf-8")) if node else json_schema())
