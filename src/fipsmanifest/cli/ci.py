"""``fipsmanifest ci``: an unattended release."""

from __future__ import annotations

import json as parser
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, get_args

import typer

from ..errors import FipsManifestError, UsageError
from ..workflows import unattended
from . import completion, markdown, options, output
from . import summary as summaries
from .release import SingleWriter, Summary

_KEY = "SIGNING_KEY"

#: Options of the command that generates alone, and of the one that publishes alone; the others are of both.
_COLLECTS = frozenset({"mirror", "cache", "modules", "references", "ca_bundle", "allow_http"})
_PUBLISHES = frozenset({"to", "endpoint_url", "public_url", "signing_key", "cosign_key", "single_writer"})
#: These have no effect in a dry run; a project may name them all the same.
_SIGNS = frozenset({"public_url", "signing_key", "cosign_key"})
_OWN = frozenset({"version", "stage", "dry_run", "summary"})


def ci(
    ctx: typer.Context,
    version: Annotated[
        str | None,
        typer.Argument(
            metavar="[VERSION]",
            help="Kubernetes version, or a tag such as release/v1.21.3.  [default: RELEASE_VERSION]",
            show_default=False,
            autocompletion=completion.versions,
        ),
    ] = None,
    stage: Annotated[
        str | None,
        typer.Option(
            metavar="STAGE",
            help="generate: collect, inspect and generate, without secrets. publish: check what was generated into "
            "--work, sign and publish it. all: one after the other.  [default: RELEASE_STAGE, or all]",
            autocompletion=completion.one_of(get_args(unattended.Stage)),
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only plan: sign and publish nothing. So does RELEASE_DRY_RUN=true."),
    ] = False,
    el: options.El = None,
    to: options.To = None,
    endpoint_url: options.EndpointUrl = None,
    public_url: options.PublicUrl = None,
    signing_key: options.SigningKey = None,
    cosign_key: options.CosignKey = None,
    mirror: options.Mirror = None,
    lock: options.LockFile = None,
    first_lock: options.FirstLock = False,
    single_writer: SingleWriter = False,
    definitions: options.Definitions = options.DEFINITIONS,
    keys: options.Keys = options.KEYS,
    work: options.Work = options.WORK,
    cache: options.Cache = None,
    modules: options.Modules = None,
    references: options.References = None,
    ca_bundle: options.CaBundle = None,
    allow_http: options.AllowHttp = False,
    summary: Summary = None,
    json: options.Json = False,
) -> None:
    """Make a release unattended: generate without secrets, then sign and publish.

    What parses untrusted files runs in a process of its own, without key, passphrase, credentials or bucket.
    SIGNING_KEY has the armored secret key, and FIPSMANIFEST_PASSPHRASE its passphrase; the key is in a keyring only
    while it is needed. Without --summary, GITHUB_STEP_SUMMARY names the file, if it is set. After an interruption, run
    it again.
    """
    key = os.environ.pop(_KEY, "")
    version = (version or os.environ.get("RELEASE_VERSION", "")).removeprefix("release/")
    if not version:
        raise UsageError("The Kubernetes version is missing.", "Add VERSION, or set RELEASE_VERSION.")
    chosen = _stage(stage)
    _refuse_ignored(ctx, chosen)
    dry_run = dry_run or _is_dry_run()
    if chosen != "generate" and to is None:
        raise UsageError("The bucket to publish to is missing.", "Add --to, or set FIPSMANIFEST_TO.")
    if chosen != "generate" and not dry_run and not key:
        raise UsageError(f"{_KEY} is not set.", "Set it to what 'gpg --armor --export-secret-subkeys' prints.")
    page = summary or (Path(text) if (text := os.environ.get("GITHUB_STEP_SUMMARY")) else None)
    if page is not None:
        summaries.require_file(page)
    generate = _command(ctx, version, ["--dry-run"], left_out=_PUBLISHES)
    publish = _command(
        ctx,
        version,
        ["--generated", *(["--dry-run"] if dry_run else []), *(["--summary", str(page)] if page is not None else [])],
        left_out=_COLLECTS,
        # A project may name them all the same; given on the command line, they are an error.
        left_to_command_line=_SIGNS if dry_run else frozenset(),
    )
    job = unattended.Job(chosen, dry_run, generate, publish, key)
    try:
        outcome = unattended.run(job, None if page is None else _show, capture=json)
    except FipsManifestError as error:
        _report_failure(page, version, error.exit_code, f"error: {error.message}".splitlines())
        raise
    if json and outcome.printed:
        output.write_json(parser.loads(outcome.printed))
    if outcome.code:
        _report_failure(page, version, outcome.code, outcome.errors)
        raise typer.Exit(outcome.code)


def _refuse_ignored(ctx: typer.Context, stage: unattended.Stage) -> None:
    names, because = {
        "generate": (_PUBLISHES, "with the stage generate: nothing is published"),
        "publish": (_COLLECTS, "with the stage publish: nothing is collected"),
        "all": (frozenset[str](), ""),
    }[stage]
    options.refuse_ignored(ctx, {name: _option(name) for name in sorted(names)}, because)


def _stage(given: str | None) -> unattended.Stage:
    source = "--stage" if given is not None else "RELEASE_STAGE"
    text = given if given is not None else os.environ.get("RELEASE_STAGE") or "all"
    for stage in get_args(unattended.Stage):
        if text == stage:
            found: unattended.Stage = stage
            return found
    raise UsageError(f"{source} is '{output.one_line(text)}'.", "It must be generate, publish or all.")


def _is_dry_run() -> bool:
    # A dry run that is spelt otherwise must not become a release.
    text = os.environ.get("RELEASE_DRY_RUN") or "false"
    if text not in ("true", "false"):
        raise UsageError(f"RELEASE_DRY_RUN is '{output.one_line(text)}'.", "It must be true or false.")
    return text == "true"


def _command(
    ctx: typer.Context,
    version: str,
    words: Sequence[str],
    *,
    left_out: frozenset[str],
    left_to_command_line: frozenset[str] = frozenset(),
) -> tuple[str, ...]:
    """Return the arguments of `release` for one of the two processes.

    They are ``words``, and the options of the command line and of the project that are not ``left_out``. The processes
    read the environment themselves.
    """
    common = [_option(name) for name in ("debug", "verbose", "quiet") if ctx.find_root().params.get(name)]
    passed: list[str] = []
    for name, value in ctx.params.items():
        source = ctx.get_parameter_source(name)
        from_project = source is not None and source.name == "DEFAULT_MAP"
        if name in left_out or name in _OWN or not (options.was_given(ctx, name) or from_project):
            continue
        if not (from_project and name in left_to_command_line):
            passed += _spelled(_option(name), value)
    return (*common, "release", *words, *passed, "--", version)


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _spelled(option: str, value: object) -> list[str]:
    """Return an option as it is written on a command line."""
    if isinstance(value, bool):
        return [option] if value else []
    return [f"{option}={one}" for one in (value if isinstance(value, (list, tuple)) else [value])]


def _show(line: bytes) -> None:
    sys.stderr.buffer.write(line)
    sys.stderr.flush()


def _report_failure(page: Path | None, version: str, code: int, errors: Iterable[str]) -> None:
    """Append a failure to the job's page, if it has one. Indented by four, Markdown shows lines as they are."""
    if page is not None:
        summaries.write(
            page,
            [
                f"## Kubernetes {markdown.text(version)}: ended with exit code {code}\n",
                *(f"    {output.one_line(line)}" for line in errors),
                "\nWhat is published is whole. Run it again when the cause is gone: it goes on where this one stopped.",
            ],
        )
