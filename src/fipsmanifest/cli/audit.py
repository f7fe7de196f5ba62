"""``fipsmanifest audit``."""

from __future__ import annotations

from typing import Annotated

import typer

from ..errors import UsageError
from . import options


def audit(
    bucket: Annotated[str, typer.Argument(metavar="BUCKET", help="s3://name[/prefix], or a folder.")],
    keys: options.Keys = options.KEYS,
    endpoint_url: options.EndpointUrl = None,
    json: options.Json = False,
) -> None:
    """Re-verify everything that is published."""
    raise UsageError("audit is not there yet.", "Verify single manifests with 'fipsmanifest verify' meanwhile.")
