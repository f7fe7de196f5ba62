"""Completion of options in a shell: versions and ELs that have definitions, trusted keys, and other words.

A mistake in a project's files completes to nothing: a shell shows no errors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import typer

from ..errors import FipsManifestError
from ..trust.keys import ROLES
from ..trust.store import load_trust
from . import project

#: The options that name a directory, and their defaults (`options.DEFINITIONS`, `options.KEYS`).
_DEFAULTS = {"definitions": "releases", "keys": "keys"}


def one_of(words: Sequence[str]) -> Callable[[str], list[str]]:
    """Return the completion of an option that takes one of ``words``."""
    return lambda incomplete: [word for word in words if word.startswith(incomplete)]


roles = one_of(ROLES)


def versions(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the Kubernetes versions that have definitions."""
    # Here, because every verb imports the options with this module, and completes nothing.
    from ..model.definition_file import find

    try:
        found = find(_directory(ctx, "definitions"))
    except (FipsManifestError, OSError):
        return []
    return [version for version, paths in found.items() if paths and version.startswith(incomplete)]


def sources(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the definitions that `init` can start from, as VERSION/NAME: the project's, and those of this package."""
    # Here, as in `versions`.
    from ..workflows.init import shipped_definitions

    names = [*names_in(_directory(ctx, "definitions")), *names_in(shipped_definitions())]
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]


def names_in(directory: Path) -> list[str]:
    """Return the definitions of a directory, as VERSION/NAME; none where it cannot be read."""
    # Here, as in `versions`.
    from ..model.definition_file import find

    try:
        found = find(directory)
    except (FipsManifestError, OSError):
        return []
    return [f"{version}/{path.stem}" for version, paths in found.items() for path in paths]


def fingerprints(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the fingerprints of the trusted keys."""
    return _fingerprints(ctx, incomplete, ROLES)


def signing_keys(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the fingerprints of the keys that are trusted for manifests or the tool."""
    return _fingerprints(ctx, incomplete, ("manifest", "tool"))


def _fingerprints(ctx: typer.Context, incomplete: str, roles: Sequence[str]) -> list[str]:
    try:
        trust = load_trust(str(_directory(ctx, "keys")))
    except (FipsManifestError, OSError):
        return []
    found = {key.fingerprint for key in trust.keys if key.role in roles}
    return sorted(one for one in found if one.startswith(incomplete.upper()))


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
        paths = find(_directory(ctx, "definitions"))
        chosen = paths.get(version, []) if version else [path for some in paths.values() for path in some]
        numbers = {load(path).el for path in chosen}
    except (FipsManifestError, OSError):
        return []
    return [str(number) for number in sorted(numbers) if str(number).startswith(incomplete)]


def _directory(ctx: typer.Context, name: str) -> Path:
    """Return the value of an option that names a directory: given, the project's, or the default."""
    source = ctx.get_parameter_source(name)
    if source is not None and source.name in ("COMMANDLINE", "ENVIRONMENT"):
        return Path(str(ctx.params[name]))
    value = project.read().values.get(name)
    return Path(value if isinstance(value, str) else _DEFAULTS[name])
