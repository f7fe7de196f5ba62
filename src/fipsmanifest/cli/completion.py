"""Completion of options in a shell: Kubernetes versions and ELs that have definitions.

A mistake in a project's files completes to nothing: a shell shows no errors.
"""

from __future__ import annotations

from pathlib import Path

import typer

from ..errors import FipsManifestError

#: The default of --definitions (`options.DEFINITIONS`).
_DEFINITIONS = "releases"


def versions(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the Kubernetes versions that have definitions."""
    # Here, because every verb imports the options with this module, and completes nothing.
    from ..model.definition_file import find

    try:
        found = find(_definitions(ctx))
    except (FipsManifestError, OSError):
        return []
    return [version for version, paths in found.items() if paths and version.startswith(incomplete)]


def enterprise_linuxes(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the ELs of the version on the command line, or of all."""
    # Here, as in `versions`.
    from ..model.definition_file import find, load
    from ..model.version import is_version
    from .select import version_of

    # The option has no value yet, which keeps click from assigning the arguments: they are in `args`.
    words = [str(ctx.params.get("version") or ""), *ctx.args]
    version = next((word for word in map(version_of, words) if is_version(word)), None)
    try:
        paths = find(_definitions(ctx))
        chosen = paths.get(version, []) if version else [path for some in paths.values() for path in some]
        numbers = {load(path).el for path in chosen}
    except (FipsManifestError, OSError):
        return []
    return [str(number) for number in sorted(numbers) if str(number).startswith(incomplete)]


def _definitions(ctx: typer.Context) -> Path:
    return Path(str(ctx.params.get("definitions") or _DEFINITIONS))
