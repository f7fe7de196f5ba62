"""``fipsmanifest tool``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..generate.tool import build_tool
from . import options, output
from .verbs import group

app = group("tool")


@app.command()
def build(
    keys: options.Keys = options.KEYS,
    to: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Output file.")] = Path("dkp-fips-tool"),
    json: options.Json = False,
) -> None:
    """Build the node tool with the keys of the trust directory; the same keys give the same bytes."""
    tool = build_tool(keys, to)
    if json:
        output.write_json(
            {
                "schema": "fipsmanifest/tool/v1",
                "path": str(to),
                "sha256": tool.sha256,
                "size": len(tool.data),
                "version": tool.version,
            }
        )
        return
    output.write(f"{tool.sha256}  {to}")
