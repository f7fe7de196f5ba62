"""``fipsmanifest schema``."""

from __future__ import annotations

from . import output


def schema() -> None:
    """Print the JSON Schema of the manifest."""
    from ..manifest import json_schema

    output.write_json(json_schema())
