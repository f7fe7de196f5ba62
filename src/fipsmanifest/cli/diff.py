"""``fipsmanifest diff``."""

from __future__ import annotations

import textwrap
from typing import Annotated, Any

import typer

from . import options, output
from .reading import read_input


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A manifest, signed or not; a path or - for stdin.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The manifest to compare it with.")],
    json: options.Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Write Markdown, for a release note.")] = False,
) -> None:
    """Show what changed between two manifests, by component.

    Signatures are not checked here; run 'fipsmanifest verify' for that.
    """
    from ..diff import compare

    differences = compare(_document(a), _document(b))
    if json:
        output.write_json(
            {"schema": "fipsmanifest/diff/v1", "differences": [difference.to_json() for difference in differences]}
        )
        return
    if not differences:
        output.write("No difference.")
        return
    rows = [
        [item.component or "-", item.change, item.subject, _short(item.before), _short(item.after)]
        for item in differences
    ]
    headings = ["component", "change", "what", "before", "after"]
    (output.markdown if markdown else output.table)(headings, rows)


def _short(text: str | None) -> str:
    """Keep a row readable: the whole value is in --json."""
    return textwrap.shorten(text or "", 100, placeholder=" ...")


def _document(name: str) -> dict[str, Any]:
    from ..node.cleartext import unverified_body
    from ..node.document import MAX_BYTES, read_manifest

    data = read_input(name, MAX_BYTES, "Name a manifest.")
    return read_manifest(unverified_body(data) if data.startswith(b"-----BEGIN PGP SIGNED") else data)
