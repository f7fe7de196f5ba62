"""``fipsmanifest inspect``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..archive.limits import DEFAULT_ALLOWANCE, Allowance
from ..errors import CONSUMER_PRECEDENCE, FipsManifestError, Several
from ..model.artifact import SkippedPart
from . import options, output

if TYPE_CHECKING:
    from ..fetch.cache import Cache
    from ..inspect.gate import Gate
    from ..inspect.nested import Outcome
    from ..inspect.scan import RemoteImage
    from ..inspect.table import Table
    from ..progress import Progress
    from .findings import Telling


_REMOTE = "docker://"


def inspect(
    ctx: typer.Context,
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...",
            help="An ELF file, a folder, an RPM or .deb, a tarball, a ZIP or cpio archive, a compressed file, an image "
            "archive or docker://REGISTRY/REPOSITORY:TAG.",
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
            help="With --require: TOML with [[exceptions]] of path (a glob), verdict (or 'unopened') and reason, and "
            "maybe container.",
        ),
    ] = None,
    modules: options.Modules = None,
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
            help="Seconds that opening what is packed in one PATH may take; one more for each MiB of it.",
        ),
    ] = int(DEFAULT_ALLOWANCE.seconds),
    max_expanded: Annotated[
        int,
        typer.Option(
            envvar="FIPSMANIFEST_MAX_EXPANDED",
            metavar="GIB",
            min=1,
            help="GiB that all that is packed in one PATH may expand to; 200 times its size more.",
        ),
    ] = DEFAULT_ALLOWANCE.expanded >> 30,
    markdown: Annotated[bool, typer.Option("--markdown", help="Write Markdown, for a release note.")] = False,
    json: options.Json = False,
) -> None:
    """Say of every file what it is, and of every program whether the validated module is proven to be in it.

    What is packed in a PATH is opened as well. A container that cannot be opened, such as a disk image or an encrypted
    file, is named: the command then ends with 4, and as a gate with 5 unless an exception names it.

    Verdicts: proven, unlisted, declared, contradicted, other-module, no-crypto, plain, not-go, unreadable.

    As a gate (--require proven) it ends with 5 where a program may not pass, or where there is nothing to prove.
    """
    _refuse_ignored(ctx, paths, require=require, json=json)
    from ..inspect.gate import group_by_cause
    from ..inspect.nested import UnopenedContainer
    from ..inspect.table import load

    gate = _gate(exceptions) if require is not None else None
    table = load(modules)
    errors: list[FipsManifestError] = []
    with output.progress(options.session_of(ctx)) as bars:
        telling = _telling(ctx, table, bars, markdown=markdown, json=json)
        network = _Network(tuple(mirror or ()), ca_bundle, allow_http)
        allowance = replace(DEFAULT_ALLOWANCE, seconds=max_seconds, expanded=max_expanded << 30)
        with _survey(paths, table, cache, network, allowance, bars) as outcomes:
            for item in outcomes:
                if isinstance(item, UnopenedContainer):
                    telling.see_unopened(item)
                    # As a gate it refuses what was not opened; without one, this is what is incomplete.
                    if gate is None:
                        errors.append(item)
                    else:
                        gate.add_unopened(item)
                elif isinstance(item, FipsManifestError):
                    errors.append(item)
                elif isinstance(item, SkippedPart):
                    telling.leave_out(item)
                else:
                    telling.see(item)
                    if gate is not None:
                        gate.add(item)
    decision = gate.decide() if gate is not None else None
    if decision is not None:
        errors += decision.refusals
    for error in errors:
        # The names in it are of what is looked at, which may be anybody's.
        error.message = output.one_line(error.message)
    telling.end(errors, decision)
    errors = group_by_cause(errors)
    for unused in decision.unused if decision is not None else ():
        within = f" in {unused.container}" if unused.container else ""
        output.say(f"note: no program is named by the exception for {output.one_line(unused.path + within)}.")
    if errors:
        raise errors[0] if len(errors) == 1 else Several(errors, (5, *CONSUMER_PRECEDENCE))


def _telling(ctx: typer.Context, table: Table, bars: Progress, *, markdown: bool, json: bool) -> Telling:
    from .findings import AsJson, AsLiveTable, AsMarkdown, AsTable

    if json:
        return AsJson(table)
    if markdown:
        return AsMarkdown(table)
    return AsLiveTable(table, bars) if output.is_watched(options.session_of(ctx)) else AsTable(table)


def _gate(exceptions: Path | None) -> Gate:
    """Give what decides; a mistake in the exceptions is said before anything is looked at."""
    from ..inspect.gate import Gate, read_exceptions

    return Gate(read_exceptions(exceptions) if exceptions is not None else ())


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
    paths: list[str], table: Table, cache: Path | None, network: _Network, allowance: Allowance, bars: Progress
) -> Iterator[Iterator[Outcome]]:
    """Give what is found, with the spool and the connections that it takes."""
    import tempfile

    from ..fetch.cache import Cache, default_root
    from ..inspect.inspector import Inspector
    from ..inspect.scan import scan

    store = Cache(cache or default_root())
    # After an interruption a thread may still write there for a moment.
    temporary = tempfile.TemporaryDirectory(prefix="fipsmanifest-", ignore_cleanup_errors=True)
    with temporary as spool, ExitStack() as open_connections:
        targets: list[Path | RemoteImage] = [Path(path) for path in paths if not path.startswith(_REMOTE)]
        if len(targets) < len(paths):
            pulling = _puller(store, network, bars, open_connections)
            targets = [pulling(path) if path.startswith(_REMOTE) else Path(path) for path in paths]
        outcomes = scan(targets, Inspector(table, Path(spool)), store, bars, allowance)
        # Closed here, whoever stops reading: its threads must end before their directory goes.
        open_connections.callback(outcomes.close)
        yield outcomes


def _puller(
    store: Cache, network: _Network, bars: Progress, open_connections: ExitStack
) -> Callable[[str], RemoteImage]:
    from ..collect import image
    from ..fetch.http import Http
    from ..fetch.mirror import Mirrors
    from ..inspect.scan import RemoteImage
    from ..oci.registry import parse_reference

    mirrors = Mirrors.parse(network.mirrors)
    http = Http(store, ca_bundle=network.ca_bundle, allow_http=network.allow_http, progress=bars)
    open_connections.enter_context(http)

    def remote(path: str) -> RemoteImage:
        reference = path.removeprefix(_REMOTE)
        # Said before anything is looked at, as for a path that is not there.
        parse_reference(reference)
        return RemoteImage(reference, partial(image.pull, reference, http, store, mirrors, bars.note))

    return remote
