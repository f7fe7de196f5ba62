"""How long the command line takes to print its help."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from .measure import Figure, paired, run

PROGRAM = Path(sys.executable).with_name("fipsmanifest")


def figures() -> Iterator[Figure]:
    """Measure ``fipsmanifest --help`` against importing what it is made with."""
    environment, directory = dict(os.environ), Path(os.environ.get("TMPDIR", "/tmp"))  # noqa: S108 - nothing is kept
    ratio, ours, theirs = paired(
        lambda: run([PROGRAM, "--help"], environment, directory),
        lambda: run([sys.executable, "-c", "import typer"], environment, directory),
        rounds=9,
    )
    detail = f"ours {ours.wall * 1000:.0f} ms, import {theirs.wall * 1000:.0f} ms"
    yield Figure("fipsmanifest --help / import typer", ratio, "x", 1.8, detail)
