"""``fipsmanifest init``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from .. import __version__
from ..errors import UsageError
from ..model.version import is_version
from ..trust.store import TRUST_FILE
from ..workflows import init as projects
from . import completion, options, output
from .select import version_of


def init(
    ctx: typer.Context,
    kubernetes: Annotated[
        str, typer.Option("--kubernetes", metavar="V", help="Kubernetes version, for example v1.29.9.")
    ],
    el: Annotated[int, typer.Option("--el", metavar="N", min=7, max=99, help="Enterprise Linux release.")] = 8,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="VERSION/NAME",
            help="Start from this definition of the project, or from one shipped with fipsmanifest (v1.21.3/rhel8).",
            autocompletion=completion.sources,
        ),
    ] = None,
    definitions: options.Definitions = options.DEFINITIONS,
    directory: Annotated[
        Path, typer.Option("--directory", metavar="DIR", help="Where the project is, or is to be.")
    ] = Path(),
    json: options.Json = False,
) -> None:
    """Start a project: definition, trust directory, workflow, options and .gitignore.

    Without --from, the definition comes from a template with example addresses. A definition that exists is never
    overwritten, and other files that exist are kept.
    """
    version = version_of(kubernetes)
    if not is_version(version):
        raise UsageError(f"{output.one_line(kubernetes)} is not a Kubernetes version.", "Write it as in v1.29.9.")
    now = datetime.now(UTC)
    if source is None:
        options.refuse_ignored(ctx, {"definitions": "--definitions"}, "without --from")
        name, text = f"rhel{el}", projects.from_template(version, el, now)
    else:
        options.refuse_ignored(ctx, {"el": "--el"}, "with --from, which is of one EL")
        path = _source(definitions, source)
        name, text = path.stem, projects.from_definition(path, version, now)
    made = projects.write(directory, text, version, name, __version__)
    checks = [*_things_to_check(version, template=source is None), *made.to_check]
    following = list(_next(made, directory, version))
    if json:
        output.write_json(
            {
                "schema": "fipsmanifest/init/v1",
                "definition": str(made.definition),
                "written": [str(path) for path in made.written],
                "kept": [str(path) for path in made.kept],
                "check": checks,
                "next": following,
            }
        )
        return
    for path in made.written:
        output.write(f"written  {path}")
    for path in made.kept:
        output.write(f"kept     {path}")
    output.write()
    for sentence in checks:
        output.write(f"check: {sentence}")
    for command in following:
        output.write(f"next:  {command}")


def _next(made: projects.Project, directory: Path, version: str) -> Iterator[str]:
    if directory != Path():
        yield f"cd {shlex.quote(str(directory))}"
    if any(path.name == TRUST_FILE for path in made.written):
        yield f"fipsmanifest keys init --user-id 'Release <release@example.com>' --backup {projects.BACKUP}"
        yield "fipsmanifest keys add UPSTREAM.asc --role upstream --fingerprint FPR"
    yield f"fipsmanifest definitions lint {version}"
    yield f"fipsmanifest release {version} --first-lock"


def _source(definitions: Path, source: str) -> Path:
    """Return the definition's file: the project's own, else the one of this package."""
    if not re.fullmatch(r"v?[0-9][0-9A-Za-z.-]*/[a-z0-9][a-z0-9-]*", source):
        raise UsageError(f"{output.one_line(source)} is not a definition.", "Write it as in v1.21.3/rhel8.")
    version, _, name = source.partition("/")
    wanted = Path(version_of(version), f"{name}.toml")
    shipped = projects.shipped_definitions()
    for root in (definitions, shipped):
        if (root / wanted).is_file():
            return root / wanted
    known = ", ".join(completion.names_in(shipped))
    raise UsageError(
        f"{definitions / wanted} does not exist.", f"Shipped with fipsmanifest: {known}.", reason="no-definition"
    )


def _things_to_check(version: str, *, template: bool) -> list[str]:
    if template:
        return [
            "The addresses are examples; replace them, and the versions of packages and images "
            f"(kubeadm config images list --kubernetes-version {version})."
        ]
    return ["The versions of other components (containerd, etcd, coredns, pause, cri-tools) are as they were."]
