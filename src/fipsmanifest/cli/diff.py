"""``fipsmanifest diff``."""

from __future__ import annotations

import textwrap
from typing import Annotated, Any

import typer

from ..model.diff import compare, describe_hidden
from ..trust.cleartext import unverified_body
from ..trust.document import MAX_BYTES, read_manifest
from . import options, output
from .columns import Column
from .markdown import write_table
from .reading import read_input

_COLUMNS = (
    Column("component", 10, rank=1),
    Column("change", 7),
    Column("what", 40, middle=True),  # an address: its end has the package's name and version
    Column("before", 8, rank=3),
    Column("after", 8, rank=2),
)


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A manifest, signed or not: a path, or - for stdin.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The manifest to compare it with.")],
    json: options.Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Write a Markdown table, for release notes.")] = False,
) -> None:
    """Show the differences between two manifests, by component.

    Signatures are not verified; use 'fipsmanifest verify' for that.
    """
    every = compare(_document(a), _document(b))
    differences, hidden = [item for item in every if item.is_shown], describe_hidden(every)
    if json:
        listed = [difference.to_json() for difference in differences]
        output.write_json({"schema": "fipsmanifest/diff/v1", "differences": listed, "not_listed": hidden})
        return
    if not differences:
        output.write(f"No differences but {', '.join(hidden)}." if hidden else "No differences.")
        return
    rows = [
        [item.component or "-", item.change, item.subject, _short(item.before), _short(item.after)]
        for item in differences
    ]
    if markdown:
        write_table([column.heading for column in _COLUMNS], rows)
        return
    output.table(_COLUMNS, rows)


def _short(text: str | None) -> str:
    """Return a shortened value; --json has the whole value."""
    return textwrap.shorten(text or "", 100, placeholder=" ...")


def _document(name: str) -> dict[str, Any]:
    data = read_input(name, MAX_BYTES, "Name a manifest.")
    return read_manifest(unverified_body(data) if data.startswith(b"-----BEGIN PGP SIGNED") else data)
