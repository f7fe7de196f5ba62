"""``fipsmanifest inspect``."""

from __future__ import annotations

import typer


def inspect(ctx: typer.Context) -> None:
    """Inspect."""
