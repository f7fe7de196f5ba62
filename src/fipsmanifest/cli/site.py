"""From a verb's options to where it works and how it reaches the world."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from . import options, output

if TYPE_CHECKING:
    from ..workflows.stages import Site


@contextmanager
def opened(
    ctx: typer.Context,
    work: Path,
    keys: Path,
    cache: Path | None,
    *,
    mirror: Sequence[str] | None = None,
    modules: Path | None = None,
    ca_bundle: Path | None = None,
    allow_http: bool = False,
) -> Iterator[Site]:
    """Give the site that the options describe, while its progress is shown."""
    from ..state.workspace import Workspace
    from ..workflows.stages import Site

    with output.progress(options.session_of(ctx)) as progress:
        yield Site(
            work=Workspace(work),
            keys=keys,
            cache=cache,
            mirrors=tuple(mirror or ()),
            modules=modules,
            ca_bundle=ca_bundle,
            allow_http=allow_http,
            progress=progress,
        )
