"""``fipsmanifest inspect``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..errors import CONSUMER_PRECEDENCE, FipsManifestError, Several
from . import options, output

if TYPE_CHECKING:
    from ..collect.cache import Cache
    from ..gate import Decision
    from ..inspect.table import Table
    from ..packed import Located, Outcome
    from ..progress import Progress
    from ..survey import RemoteImage


_REMOTE = "docker://"


def inspect(
    ctx: typer.Context,
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...",
            help="ELF files, folders, RPMs, tarballs, image archives, or docker://REGISTRY/REPOSITORY:TAG.",
        ),
    ],
    require: Annotated[
        Literal["proven"] | None,
        typer.Option("--require", help="Refuse (5) unless every Go program is proven or has no cryptography."),
    ] = None,
    exceptions: Annotated[
        Path | None,
        typer.Option(
            "--exceptions",
            metavar="FILE",
            help="With --require: TOML with [[exceptions]] of path (a glob), verdict and reason.",
        ),
    ] = None,
    modules: options.Modules = None,
    cache: options.Cache = None,
    mirror: options.Mirror = None,
    ca_bundle: options.CaBundle = None,
    allow_http: options.AllowHttp = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Write Markdown, for a release note.")] = False,
    json: options.Json = False,
) -> None:
    """Say of every file what it is, and of every program whether the validated module is proven to be in it.

    Verdicts: proven, unlisted, declared, contradicted, other-module, no-crypto, plain, not-go, unreadable.

    As a gate (--require proven) it ends with 5 where a program may not pass, or where there is nothing to prove.
    """
    _refuse_ignored(ctx, paths, require=require, json=json)
    from ..inspect.table import load

    gate = _gate(exceptions) if require is not None else None
    table = load(modules)
    found: list[Located] = []
    errors: list[FipsManifestError] = []
    with _survey(ctx, paths, table, cache, _Network(tuple(mirror or ()), ca_bundle, allow_http)) as outcomes:
        for item in outcomes:
            if isinstance(item, FipsManifestError):
                errors.append(item)
            else:
                found.append(item)
    decision = gate(found) if gate is not None else None
    if decision is not None:
        errors += decision.refusals
    if json:
        output.write_json(_report(found, errors, decision, table))
    else:
        _tell(found, markdown=markdown)
    for unused in decision.unused if decision is not None else ():
        output.say(f"note: no program is named by the exception for {unused.path}.")
    if errors:
        raise errors[0] if len(errors) == 1 else Several(errors, (5, *CONSUMER_PRECEDENCE))


def _gate(exceptions: Path | None) -> Callable[[list[Located]], Decision]:
    """Give what decides; a mistake in the exceptions is said before anything is looked at."""
    from ..gate import decide, read_exceptions

    accepted = read_exceptions(exceptions) if exceptions is not None else ()
    return partial(decide, exceptions=accepted)


def _refuse_ignored(ctx: typer.Context, paths: list[str], *, require: str | None, json: bool) -> None:
    if require is None:
        options.refuse_ignored(ctx, {"exceptions": "--exceptions"}, "without --require")
    if json:
        options.refuse_ignored(ctx, {"markdown": "--markdown"}, "with --json")
    if not any(path.startswith(_REMOTE) for path in paths):
        network = {"mirror": "--mirror", "ca_bundle": "--ca-bundle", "allow_http": "--allow-http"}
        options.refuse_ignored(ctx, network, f"without a {_REMOTE} image")


@dataclass(frozen=True, slots=True)
class _Network:
    """How images are fetched."""

    mirrors: tuple[str, ...]
    """FROM=TO."""
    ca_bundle: Path | None
    """Certificate authorities in place of the usual ones."""
    allow_http: bool
    """Fetch over plain http too."""


@contextmanager
def _survey(
    ctx: typer.Context, paths: list[str], table: Table, cache: Path | None, network: _Network
) -> Iterator[Iterator[Outcome]]:
    """Give what is found, with the spool, the connections and the progress bars that it takes."""
    import tempfile

    from ..collect.cache import Cache, default_root
    from ..inspect.inspector import Inspector
    from ..survey import survey

    store = Cache(cache or default_root())
    with (
        tempfile.TemporaryDirectory(prefix="fipsmanifest-") as spool,
        output.progress(options.session_of(ctx)) as bars,
        ExitStack() as open_connections,
    ):
        targets: list[Path | RemoteImage] = [Path(path) for path in paths if not path.startswith(_REMOTE)]
        if len(targets) < len(paths):
            pulling = _puller(store, network, bars, open_connections)
            targets = [pulling(path) if path.startswith(_REMOTE) else Path(path) for path in paths]
        yield survey(targets, Inspector(table, Path(spool)), store, bars)


def _puller(
    store: Cache, network: _Network, bars: Progress, open_connections: ExitStack
) -> Callable[[str], RemoteImage]:
    from ..collect import image
    from ..collect.http import Http
    from ..collect.mirror import Mirrors
    from ..collect.registry import parse_reference
    from ..survey import RemoteImage

    mirrors = Mirrors.parse(network.mirrors)
    http = Http(store, ca_bundle=network.ca_bundle, allow_http=network.allow_http, progress=bars)
    open_connections.enter_context(http)

    def remote(path: str) -> RemoteImage:
        reference = path.removeprefix(_REMOTE)
        # Said before anything is looked at, as for a path that is not there.
        parse_reference(reference)
        return RemoteImage(reference, partial(image.pull, reference, http, store, mirrors, bars.note))

    return remote


def _report(
    found: list[Located], errors: list[FipsManifestError], decision: Decision | None, table: Table
) -> dict[str, Any]:
    from ..inspect.jsonform import to_json
    from ..inspect.verdict import sentence

    files = []
    for item in found:
        entry = to_json(item.finding)
        if item.container is not None:
            entry["container"] = item.container
        if item.finding.crypto is not None:
            entry["sentence"] = sentence(item.finding.crypto)
            if item.finding.crypto.module is not None:
                entry["module_digest"] = item.finding.crypto.module.digest
        files.append(entry)
    problems = [{"code": error.exit_code, "message": error.message, "advice": error.advice} for error in errors]
    document: dict[str, Any] = {
        "schema": "fipsmanifest/inspect/v1",
        "files": files,
        "modules": _modules(found, table),
        "errors": problems,
    }
    if decision is not None:
        document["gate"] = {
            "require": "proven",
            "passed": not errors,
            "proven": decision.proven,
            "excepted": decision.excepted,
            "refused": len(decision.refusals),
            "unused_exceptions": [item.path for item in decision.unused],
        }
    return document


def _modules(found: list[Located], table: Table) -> dict[str, Any]:
    """Give the modules that were seen, by id, as a manifest describes them."""
    from ..inspect.jsonform import module_to_json

    seen = {item.finding.crypto.module for item in found if item.finding.crypto and item.finding.crypto.module}
    return {module.id: module_to_json(module, table) for module in seen}


def _tell(found: list[Located], *, markdown: bool) -> None:
    programs = [item for item in found if item.finding.crypto is not None]
    headings = ["verdict", "file", "in", "go", "module", "why"]
    rows = [_row(item) for item in programs]
    if markdown:
        output.markdown(headings, [[_escaped(cell) for cell in row] for row in rows])
        return
    if rows:
        output.table(headings, rows)
        output.write()
    output.write(f"{_counted(len(programs), 'program')}, {_counted(len(found) - len(programs), 'other file')}.")


def _row(item: Located) -> list[str]:
    from ..inspect.verdict import sentence

    finding = item.finding
    crypto = finding.crypto
    cells = [
        str(crypto.verdict) if crypto else "-",
        finding.path,
        item.container or "-",
        finding.go.version if finding.go else "-",
        crypto.module.id if crypto and crypto.module else "-",
        sentence(crypto) if crypto else "",
    ]
    # A row is a line, whatever a file is called.
    return [cell.replace("\n", "\\x0a") for cell in cells]


def _escaped(cell: str) -> str:
    """Keep a file's name from being read as Markdown (CommonMark: backslash escapes)."""
    return re.sub(r"([\\`*\[\]<>])", r"\\\1", cell)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
