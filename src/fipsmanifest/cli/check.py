"""``fipsmanifest check``."""

from __future__ import annotations

import typer

from .check_cluster import cluster

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    suggest_commands=False,
    help="Validate a node, or every node of a cluster.",
)


@app.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "allow_interspersed_args": False},
)
def node(ctx: typer.Context) -> None:
    """Validate this node, or one below --root, against signed manifests; options as those of dkp-fips-tool."""
    from ..node.main import main

    raise typer.Exit(main(ctx.args, "fipsmanifest check node"))


app.command()(cluster)
