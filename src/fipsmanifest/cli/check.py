"""``fipsmanifest check``."""

from __future__ import annotations

import typer

from ..node.main import main
from .check_cluster import cluster
from .verbs import VERBS

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, suggest_commands=False, help=VERBS["check"].summary)


@app.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "allow_interspersed_args": False},
)
def node(ctx: typer.Context) -> None:
    """Validate this node, or the root directory of one, against signed manifests; takes dkp-fips-tool's options."""
    raise typer.Exit(main(ctx.args, "fipsmanifest check node"))


app.command()(cluster)
