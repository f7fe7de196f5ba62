"""``fipsmanifest check``."""

from __future__ import annotations

from collections.abc import Iterator

import click
import typer
from typer.core import TyperArgument, TyperCommand

from ..node.main import main
from ..node.options import CHECKS, parser
from .check_cluster import cluster
from .verbs import group

_PROGRAM = "fipsmanifest check node"

app = group("check")


class _NodeTool(TyperCommand):
    """Passes its arguments on as they are; its options are declared for the reference and for completion."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Leave the options to the node tool's own parser."""
        ctx.args = list(args)
        return ctx.args

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:  # noqa: ARG002 - the signature is click's
        """Return the node tool's options."""
        return list(_parameters())


def _parameters() -> Iterator[click.Parameter]:
    for action in parser(_PROGRAM)._actions:
        if not action.option_strings:
            yield TyperArgument(param_decls=[action.dest], nargs=-1, metavar=f"[{action.metavar}]...", help=action.help)
            continue
        yield click.Option(
            [*action.option_strings, action.dest],
            type=click.Choice([str(one) for one in action.choices]) if action.choices else str,
            is_flag=action.nargs == 0,
            metavar=action.metavar if isinstance(action.metavar, str) else None,
            help=action.help,
            shell_complete=_checks if action.dest in ("only", "skip") else None,
        )


def _checks(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001 - click's
    """Return the names of checks that complete the last one of a list."""
    head, comma, last = incomplete.rpartition(",")
    return [f"{head}{comma}{name}" for name in CHECKS if name.startswith(last)]


@app.command(cls=_NodeTool, add_help_option=False)
def node(ctx: typer.Context) -> None:
    """Validate this node, or the root directory of one, against signed manifests; takes dkp-fips-tool's options."""
    raise typer.Exit(main(ctx.args, _PROGRAM))


app.command()(cluster)
