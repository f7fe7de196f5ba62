"""``fipsmanifest schema``."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import UsageError
from ..model import definition_file, manifest
from . import options, output

_PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class PublishedSchema:
    """A JSON Schema that this command prints."""

    title: str
    """What it describes."""
    command: str
    """The command that prints it."""
    document: Callable[[], dict[str, Any]]
    """Returns the schema."""


def _packaged(package: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((_PACKAGE / package / "schema.json").read_text("utf-8"))
    return document


#: By name; documents of other programs refer to them by it.
SCHEMAS = {
    "manifest": PublishedSchema("The manifest.", "fipsmanifest schema", manifest.json_schema),
    "definition": PublishedSchema(
        "A release definition.", "fipsmanifest schema --definition", definition_file.json_schema
    ),
    "node": PublishedSchema("The node tool's report.", "fipsmanifest schema --node", lambda: _packaged("node")),
    "cluster": PublishedSchema(
        "The result of `check cluster`.", "fipsmanifest schema --cluster", lambda: _packaged("cluster")
    ),
}


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
    """Print the JSON Schema of the manifest, of a definition or of a report."""
    chosen = [
        name for name, is_chosen in (("node", node), ("cluster", cluster), ("definition", definition)) if is_chosen
    ]
    if len(chosen) > 1:
        raise UsageError("--node, --cluster and --definition exclude each other.", "Use one of them.")
    output.write_json(SCHEMAS[chosen[0] if chosen else "manifest"].document())
