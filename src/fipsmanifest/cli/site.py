"""The site that a verb's options describe: where it works, and how it downloads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import typer

from ..state.workspace import Workspace
from ..workflows.stages import Site
from . import options, progressbars


@contextmanager
def opened(
    ctx: typer.Context,
    work: Path,
    keys: Path,
    cache: Path | None,
    *,
    mirror: Sequence[str] | None = None,
    modules: Path | None = None,
    references: Path | None = None,
    ca_bundle: Path | None = None,
    allow_http: bool = False,
) -> Iterator[Site]:
    """Return the site that the options describe, as a context that shows its progress."""
    with progressbars.progress(options.session_of(ctx)) as progress:
        yield Site(
            work=Workspace(work),
            keys=keys,
            cache=cache,
            mirrors=tuple(mirror or ()),
            modules=modules,
            references=references,
            ca_bundle=ca_bundle,
            allow_http=allow_http,
            progress=progress,
        )
