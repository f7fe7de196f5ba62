"""``fipsmanifest inspect``."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, cast, get_args

import click
import typer

from ..archive.limits import DEFAULT_ALLOWANCE, Allowance
from ..errors import CONSUMER_PRECEDENCE, FipsManifestError, Incomplete, Several, UsageError
from ..export.formats import FormatName
from ..fetch.cache import Cache, default_root
from ..fetch.http import Http
from ..fetch.mirror import Mirrors
from ..inspect.gate import Gate, GateDecision, group_by_cause, read_exceptions
from ..inspect.inspector import Inspector
from ..inspect.nested import Outcome, UnopenedContainer
from ..inspect.scan import RemoteImage, scan
from ..inspect.table import Table
from ..model.acceptance import DEFAULT_FAMILIES, PROVEN
from ..model.artifact import SkippedPart
from ..model.finding import ModuleFamily
from ..oci.registry import parse_reference
from ..progress import Progress
from ..state import durable
from ..workflows import certificates
from . import options, output, progressbars
from .findings import JsonRenderer, LiveTableRenderer, MarkdownRenderer, Renderer, TableRenderer

_REMOTE = "docker://"


def inspect(
    ctx: typer.Context,
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...",
            help="An ELF file, a directory, an RPM or .deb package, a tar, ZIP or cpio archive, a compressed file, an "
            "image archive, or docker://REGISTRY/REPOSITORY:TAG.",
        ),
    ],
    require: Annotated[
        Literal["proven"] | None,
        typer.Option("--require", help="Exit with 5 unless every Go program is proven or contains no cryptography."),
    ] = None,
    exceptions: Annotated[
        Path | None,
        typer.Option(
            "--exceptions",
            metavar="FILE",
            help="For --require: TOML file of [[exceptions]], each with path (a glob), verdict (or 'unopened'), reason "
            "and, optionally, container (a glob) and format (of what is not opened).",
        ),
    ] = None,
    module: Annotated[
        # typer takes no list of literals.
        list[str] | None,
        typer.Option(
            "--module",
            click_type=click.Choice(get_args(ModuleFamily)),
            envvar="FIPSMANIFEST_MODULE",
            metavar="NAME",
            help="For --require: accept this module as proven, boringcrypto or go-native. Repeatable (in the variable: "
            "separated by spaces).  [default: boringcrypto]",
        ),
    ] = None,
    standard: Annotated[
        Literal["140-2", "140-3"] | None,
        typer.Option(
            "--standard",
            envvar="FIPSMANIFEST_STANDARD",
            metavar="N",
            help="For --require: accept only modules with a certificate of FIPS 140-2 or 140-3, active or historical.",
        ),
    ] = None,
    forbid: Annotated[
        list[str] | None,
        typer.Option(
            "--forbid",
            metavar="PATTERN",
            help="For --require: refuse programs with a package or library beside the module that matches, such as "
            "'golang.org/x/crypto/*'. Repeatable.",
        ),
    ] = None,
    callers: Annotated[
        bool,
        typer.Option(
            "--callers", help="With --json: also list who calls the packages beside the module; takes longer."
        ),
    ] = False,
    modules: options.Modules = None,
    references: options.References = None,
    cache: options.Cache = None,
    mirror: options.Mirror = None,
    ca_bundle: options.CaBundle = None,
    allow_http: options.AllowHttp = False,
    max_seconds: Annotated[
        int,
        typer.Option(
            envvar="FIPSMANIFEST_MAX_SECONDS",
            metavar="N",
            min=1,
            help="Time limit in seconds for one PATH, in addition to one second for each MiB of it.",
        ),
    ] = int(DEFAULT_ALLOWANCE.seconds),
    max_expanded: Annotated[
        int,
        typer.Option(
            envvar="FIPSMANIFEST_MAX_EXPANDED",
            metavar="GIB",
            min=1,
            help="Limit in GiB for the unpacked size of one PATH, in addition to 200 times its size.",
        ),
    ] = DEFAULT_ALLOWANCE.expanded >> 30,
    markdown: Annotated[bool, typer.Option("--markdown", help="Write a Markdown table, for release notes.")] = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Also write a page for people to this file.")
    ] = None,
    junit: Annotated[
        Path | None, typer.Option("--junit", metavar="FILE", help="Also write JUnit XML to this file.")
    ] = None,
    sarif: Annotated[
        Path | None, typer.Option("--sarif", metavar="FILE", help="Also write SARIF 2.1.0 to this file.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Inspect files, archives and images for the validated cryptographic module.

    Prints a row for each program, with its verdict: proven, unlisted, declared, contradicted, other-module, no-crypto,
    plain, not-go or unreadable. Archives in PATH are opened, also nested ones. An archive that cannot be opened, such
    as a disk image or an encrypted file, is reported, and the exit code is 4.

    With --require proven this is a gate: the exit code is 5 if a program does not pass, if an archive was not opened
    and no exception names it, or if no program is proven.
    """
    files: dict[FormatName, Path | None] = {"html": html, "junit": junit, "sarif": sarif}
    for file in files.values():
        durable.discard(file)
    _refuse_ignored(ctx, paths, require=require, json=json)
    _refuse_empty(paths, forbid or ())
    # The exceptions are read first, so that a mistake in them is reported before anything is inspected.
    accepted = read_exceptions(exceptions) if exceptions is not None else ()
    table = certificates.load(modules, references)
    certified = table.certified(f"FIPS {standard}") if standard is not None else None
    families = cast("list[ModuleFamily]", module) or DEFAULT_FAMILIES
    requirement = replace(
        PROVEN, families=families, certified=certified, standard=standard, forbidden=tuple(forbid or ())
    )
    gate = Gate(accepted, requirement) if require is not None else None
    errors: list[FipsManifestError] = []
    with progressbars.progress(options.session_of(ctx)) as bars:
        renderer = _renderer(ctx, table, bars, markdown=markdown, json=json)
        renderer = _reporting(renderer, table, files)
        network = _Network(tuple(mirror or ()), ca_bundle, allow_http)
        allowance = replace(DEFAULT_ALLOWANCE, seconds=max_seconds, expanded=max_expanded << 30)
        inspecting = partial(Inspector, table, callers=callers, forbidden=requirement.forbidden)
        with _scan(paths, inspecting, cache, network, allowance, bars) as outcomes:
            for item in outcomes:
                if isinstance(item, UnopenedContainer):
                    renderer.add_unopened(item)
                    # A gate refuses it; without a gate, the result is incomplete.
                    if gate is None:
                        errors.append(item)
                    else:
                        gate.add_unopened(item)
                elif isinstance(item, FipsManifestError):
                    errors.append(item)
                elif isinstance(item, SkippedPart):
                    renderer.add_left_out(item)
                else:
                    renderer.add(item)
                    if gate is not None:
                        gate.add(item)
    decision = gate.decide() if gate is not None else None
    if decision is not None:
        errors += decision.refusals
    for error in errors:
        # It contains names from the inspected files, which are untrusted.
        error.message = output.one_line(error.message)
    errors += _finish(renderer, errors, decision)
    errors = group_by_cause(errors)
    for unused in decision.unused if decision is not None else ():
        within = f" in {unused.container}" if unused.container else ""
        output.say(f"note: The exception for {output.one_line(unused.path + within)} matches no program.")
    if errors:
        raise errors[0] if len(errors) == 1 else Several(errors, (5, *CONSUMER_PRECEDENCE))


def _renderer(ctx: typer.Context, table: Table, bars: Progress, *, markdown: bool, json: bool) -> Renderer:
    if json:
        return JsonRenderer(table)
    if markdown:
        return MarkdownRenderer(table)
    return LiveTableRenderer(table, bars) if progressbars.is_watched(options.session_of(ctx)) else TableRenderer(table)


def _reporting(renderer: Renderer, table: Table, files: dict[FormatName, Path | None]) -> Renderer:
    """Return a renderer that also writes ``files``, if there are any."""
    wanted = {name: path for name, path in files.items() if path is not None}
    if not wanted:
        return renderer
    # Here, for the reason that is in `_puller`.
    from .reports import ReportingRenderer

    return ReportingRenderer(renderer, table, wanted)


def _finish(
    renderer: Renderer, errors: list[FipsManifestError], decision: GateDecision | None
) -> list[FipsManifestError]:
    """Write the rest of the result, and return the error of a file that could not be written: refusals come first."""
    try:
        renderer.finish(errors, decision)
    except Incomplete as error:
        return [error]
    return []


def _refuse_ignored(ctx: typer.Context, paths: list[str], *, require: str | None, json: bool) -> None:
    if require is None:
        ignored = {"exceptions": "--exceptions", "module": "--module", "standard": "--standard", "forbid": "--forbid"}
        options.refuse_ignored(ctx, ignored, "without --require")
    if json:
        options.refuse_ignored(ctx, {"markdown": "--markdown"}, "with --json")
    else:
        options.refuse_ignored(ctx, {"callers": "--callers"}, "without --json")
    if not any(path.startswith(_REMOTE) for path in paths):
        network = {"mirror": "--mirror", "ca_bundle": "--ca-bundle", "allow_http": "--allow-http"}
        options.refuse_ignored(ctx, network, f"without a {_REMOTE} image")


def _refuse_empty(paths: Sequence[str], forbid: Sequence[str]) -> None:
    if "" in forbid:
        raise UsageError("--forbid is empty.", "Name a package, or a pattern such as 'golang.org/x/crypto/*'.")
    if "" in paths:
        # `Path` would take it for the working directory, and the gate would judge something else.
        raise UsageError("A PATH is empty.", "Check the variable or command that it comes from.")


@dataclass(frozen=True, slots=True)
class _Network:
    """How images are downloaded."""

    mirrors: tuple[str, ...]
    """FROM=TO."""
    ca_bundle: Path | None
    """CA certificates in place of the default ones."""
    allow_http: bool
    """Whether plain HTTP is allowed."""


@contextmanager
def _scan(
    paths: list[str],
    inspecting: Callable[[Path], Inspector],
    cache: Path | None,
    network: _Network,
    allowance: Allowance,
    bars: Progress,
) -> Iterator[Iterator[Outcome]]:
    """Return the outcomes of the scan, as a context that owns its temporary directory and connections."""
    # After an interruption a thread may still write to it for a moment.
    temporary = tempfile.TemporaryDirectory(prefix="fipsmanifest-", ignore_cleanup_errors=True)
    with temporary as spool, ExitStack() as open_connections:
        store = _cache(cache, Path(spool))
        targets: list[Path | RemoteImage] = [Path(path) for path in paths if not path.startswith(_REMOTE)]
        if len(targets) < len(paths):
            pulling = _puller(store, network, bars, open_connections)
            targets = [pulling(path) if path.startswith(_REMOTE) else Path(path) for path in paths]
        outcomes = scan(targets, inspecting(Path(spool)), store, bars, allowance)
        # Closed here, even if the caller stops early: its threads must end before their directory is removed.
        open_connections.callback(outcomes.close)
        yield outcomes


def _cache(chosen: Path | None, spool: Path) -> Cache:
    """Return the chosen cache, else the user's; one for this run if that cannot be written, as in a container."""
    if chosen:
        return Cache(chosen)
    try:
        return Cache(default_root())
    except Incomplete as error:
        output.say(f"note: {error.message} Nothing is kept for the next run.")
        return Cache(spool / "cache")


def _puller(
    store: Cache, network: _Network, bars: Progress, open_connections: ExitStack
) -> Callable[[str], RemoteImage]:

    # Here, because it needs the definitions' models, which take as long to import as a small program takes to inspect.
    from ..collect import image

    mirrors = Mirrors.parse(network.mirrors)
    http = Http(store, ca_bundle=network.ca_bundle, allow_http=network.allow_http, progress=bars)
    open_connections.enter_context(http)

    def remote(path: str) -> RemoteImage:
        reference = path.removeprefix(_REMOTE)
        # Checked before anything is inspected, like a path that does not exist.
        parse_reference(reference)
        return RemoteImage(reference, partial(image.pull, reference, http, store, mirrors, bars.note))

    return remote
