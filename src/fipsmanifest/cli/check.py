"""``fipsmanifest check``."""

from __future__ import annotations

import typer

from ..node.main import main
from .check_cluster import cluster
from .verbs import group

app = group("check")


@app.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "allow_interspersed_args": False},
)
def node(ctx: typer.Context) -> None:
    """Validate this node, or the root directory of one, against signed manifests; takes dkp-fips-tool's options."""
    raise typer.Exit(main(ctx.args, "fipsmanifest check node"))


app.command()(cluster)
