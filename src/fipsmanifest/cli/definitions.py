"""``fipsmanifest definitions``."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from ..errors import FipsManifestError, UsageError, ValidationFailed
from ..model.definition import Definition
from ..model.definition_file import find, load
from ..model.lint import load_checked, warnings
from ..model.version import is_version
from ..state import lock as locks
from ..workflows import stages
from . import completion, options, output
from .select import chosen, version_of
from .site import opened
from .verbs import group

app = group("definitions")


@app.command("list")
def list_(definitions: options.Definitions = options.DEFINITIONS, json: options.Json = False) -> None:
    """List the definitions, with their versions, ELs and locks."""
    rows = []
    for paths in find(definitions).values():
        for path in paths:
            definition = load(path)
            locked = locks.path_beside(path).exists()
            rows.append((definition, path, locked))
    if json:
        listed = [
            {
                "kubernetes": definition.kubernetes,
                "name": definition.name,
                "el": definition.el,
                "serial": definition.serial,
                "architectures": list(definition.architectures),
                "path": str(path),
                "locked": locked,
            }
            for definition, path, locked in rows
        ]
        output.write_json({"schema": "fipsmanifest/definitions/v1", "definitions": listed})
        return
    output.table(
        ["kubernetes", "name", "el", "serial", "architectures", "locked", "path"],
        [
            [
                definition.kubernetes,
                definition.name,
                str(definition.el),
                str(definition.serial),
                ",".join(definition.architectures),
                "yes" if locked else "no",
                str(path),
            ]
            for definition, path, locked in rows
        ],
    )


@app.command()
def lint(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[PATH|VERSION]...",
            help="Definition files or versions.  [default: all definitions]",
            autocompletion=completion.versions,
        ),
    ] = None,
    definitions: options.Definitions = options.DEFINITIONS,
    json: options.Json = False,
) -> None:
    """Check definitions, and report each problem with file and line."""
    every = [path for found in find(definitions).values() for path in found] if definitions.is_dir() else []
    checked = _files(paths, definitions) if paths else every
    if not checked:
        raise UsageError(f"There is no definition in {definitions}.", "Name another directory with --definitions.")
    problems: list[str] = []
    doubts: list[str] = []
    others = _readable(dict.fromkeys([*every, *checked]))
    for path in checked:
        try:
            load_checked(path)
            doubts += warnings(path, others)
        except FipsManifestError as error:
            problems += error.message.removesuffix(".").split(";\n")
    if json:
        output.write_json(
            {
                "schema": "fipsmanifest/lint/v1",
                "checked": [str(path) for path in checked],
                "problems": problems,
                "warnings": doubts,
            }
        )
        if problems:
            raise typer.Exit(ValidationFailed.exit_code)
        return
    for line in doubts:
        output.say(f"warning: {line}")
    if problems:
        raise ValidationFailed("\n".join(problems), "See releases/README.md for the rules.", reason="definition")
    output.write(f"{len(checked)} definition{'' if len(checked) == 1 else 's'} checked, no problems.")


def _files(arguments: list[Path], definitions: Path) -> list[Path]:
    """Return the files that the arguments name: paths, or versions such as v1.21.3."""
    files: list[Path] = []
    for argument in arguments:
        version = version_of(str(argument))
        if argument.is_file():
            files.append(argument)
        elif is_version(version):
            files += find(definitions, version)[version]
        else:
            raise UsageError(
                f"{argument} is neither a definition file nor a version.", "See 'fipsmanifest definitions list'."
            )
    return files


def _readable(paths: Iterable[Path]) -> list[Definition]:
    """Return the definitions that can be read; errors in the others are reported when they are checked."""
    found = []
    for path in paths:
        with suppress(FipsManifestError):
            found.append(load(path))
    return found


@app.command()
def lock(
    version: options.Version,
    el: options.El = None,
    update: Annotated[bool, typer.Option("--update", help="Replace the digests of an existing lock.")] = False,
    lock_file: options.LockFile = None,
    definitions: options.Definitions = options.DEFINITIONS,
    keys: options.Keys = options.KEYS,
    work: options.Work = options.WORK,
    cache: options.Cache = None,
    mirror: options.Mirror = None,
    ca_bundle: options.CaBundle = None,
    allow_http: options.AllowHttp = False,
    ctx: typer.Context = None,  # type: ignore[assignment]
    json: options.Json = False,
) -> None:
    """Download and authenticate the artifacts of a version, and write their digests to the lock."""
    found = chosen(definitions, version, el)
    with opened(ctx, work, keys, cache, mirror=mirror, ca_bundle=ca_bundle, allow_http=allow_http) as site:
        written = []
        for path, definition in found:
            target = lock_file or locks.path_beside(path)
            rule = stages.LockRule(target, first=True, update=update)
            artifacts = stages.collect(definition, path.parent, site, rule)
            written.append((str(definition.id.release), target, len(artifacts)))
    if json:
        listed = [{"definition": name, "lock": str(target), "artifacts": count} for name, target, count in written]
        output.write_json({"schema": "fipsmanifest/locks/v1", "locks": listed})
        return
    for name, target, count in written:
        output.write(f"{name}: {count} artifacts pinned in {target}")
