"""``fipsmanifest inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..errors import CONSUMER_PRECEDENCE, FipsManifestError, Refused, Several
from . import options, output

if TYPE_CHECKING:
    from ..inspect.finding import Finding
    from ..survey import Located


def inspect(
    ctx: typer.Context,
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="ELF files, folders, RPMs, tarballs, image archives.")
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
    markdown: Annotated[bool, typer.Option("--markdown", help="Write Markdown, for a release note.")] = False,
    json: options.Json = False,
) -> None:
    """Say of every file what it is, and of every program whether the validated module is proven to be in it.

    Verdicts: proven, unlisted, declared, contradicted, other-module, no-crypto, plain, not-go, unreadable.
    """
    import tempfile

    from ..collect.cache import Cache, default_root
    from ..inspect.inspector import Inspector
    from ..inspect.table import load
    from ..survey import survey

    if require is None:
        options.refuse_ignored(ctx, {"exceptions": "--exceptions"}, "without --require")
    accepted = _exceptions(exceptions)
    found: list[Located] = []
    errors: list[FipsManifestError] = []
    with tempfile.TemporaryDirectory(prefix="fipsmanifest-") as spool, output.progress(options.session_of(ctx)) as bars:
        inspector = Inspector(load(modules), Path(spool))
        for item in survey(paths, inspector, Cache(cache or default_root()), bars):
            if isinstance(item, FipsManifestError):
                errors.append(item)
            else:
                found.append(item)
    if require is not None:
        errors += _gate(found, accepted)
    if json:
        output.write_json(_report(found, errors))
    else:
        _tell(found, markdown=markdown)
    if errors:
        raise errors[0] if len(errors) == 1 else Several(errors, (5, *CONSUMER_PRECEDENCE))


def _exceptions(path: Path | None) -> list[dict[str, Any]]:
    """Read the exceptions of a gate; each must say why."""
    import tomllib

    from ..errors import UsageError

    if path is None:
        return []
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}.", "Write TOML with [[exceptions]].") from error
    listed = document.get("exceptions")
    if set(document) != {"exceptions"} or not isinstance(listed, list):
        raise UsageError(f"{path} holds something other than [[exceptions]].", "See the README for an example.")
    return listed


def _gate(found: list[Located], accepted: list[dict[str, Any]]) -> list[FipsManifestError]:
    """Hold what was found against ``proven``, as a release does with a component."""
    from pydantic import ValidationError

    from ..definition import Component
    from ..errors import UsageError
    from ..generate.policy import Subject, judge

    try:
        everything = Component.model_validate(
            {"name": "inspected", "requirement": "proven", "files": ("/*",), "exceptions": tuple(accepted)}
        )
    except ValidationError as error:
        raise UsageError(
            f"An exception is wrong: {error.errors()[0]['msg']}.", "It needs a path, a verdict and a reason."
        ) from error
    subjects = [
        Subject(item.container or "this machine", _architecture(item) or "unknown", item.finding)
        for item in found
        if item.finding.crypto
    ]
    return [Refused(sentence) for sentence in judge(everything, "all", subjects).refusals]


def _architecture(item: Located) -> str | None:
    return item.architecture or (item.finding.elf.machine if item.finding.elf else None)


def _report(found: list[Located], errors: list[FipsManifestError]) -> dict[str, Any]:
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
    problems = [{"code": error.exit_code, "message": error.message} for error in errors]
    return {"schema": "fipsmanifest/inspect/v1", "files": files, "errors": problems}


def _tell(found: list[Located], *, markdown: bool) -> None:
    programs = [item for item in found if item.finding.crypto is not None]
    headings = ["verdict", "file", "in", "go", "module", "why"]
    rows = []
    for item in programs:
        verdict, path, go, module, why = _row(item.finding)
        rows.append([verdict, path, item.container or "-", go, module, why])
    (output.markdown if markdown else output.table)(headings, rows)
    rest = len(found) - len(programs)
    if not markdown:
        output.write()
        output.write(f"{len(programs)} programs, {rest} other files.")


def _row(finding: Finding) -> tuple[str, str, str, str, str]:
    from ..inspect.verdict import sentence

    crypto = finding.crypto
    if crypto is None:
        return "-", finding.path, "-", "-", ""
    return (
        crypto.verdict.value,
        finding.path,
        finding.go.version if finding.go else "-",
        crypto.module.id if crypto.module else "-",
        sentence(crypto),
    )
