"""The entry point of the command line, and the one handler that turns an error into its message and exit code."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, TextIO

import click
import typer

from .. import __version__
from ..errors import INTERRUPTED, FipsManifestError, Incomplete, UsageError
from ..node import descriptors
from . import logs, output, project, signals
from .verbs import CONSUME, VERBS, VerbGroup

#: The reader of stdout has closed it, or the disk that it goes to is full.
_UNWRITTEN = (errno.EPIPE, errno.ENOSPC)

#: The exit code if the reader of a listing has closed it.
_READER_GONE = 128 + signal.SIGPIPE

_INTERRUPTED = "Interrupted."
#: Verbs that store the result of each finished step, and continue from there when they are run again.
_RESUMABLE = ("release", "collect", "generate", "sign", "publish", "reissue", "ci")
_BUG = "This is a bug in fipsmanifest; run again with --debug and report the output."


def _what_is_left(verb: str | None) -> str:
    """Return what an interrupted command leaves behind, and what to do."""
    if verb in _RESUMABLE:
        return "Finished steps are kept; run the same command again to continue."
    return "There is no result; run the command again."


def _discard(stream: TextIO) -> None:
    """Discard what is left in the buffer, so that the interpreter can exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _unwritten(error: OSError, verb: str | None) -> typer.Exit:
    """Return how a command ends whose output was not written; ``verb`` is None for help.

    Raises ``error`` if it is about something else.
    """
    if error.errno not in _UNWRITTEN:
        raise error
    _discard(sys.stdout)
    known = VERBS.get(verb) if verb else None
    if error.errno == errno.EPIPE and not (known and known.panel == CONSUME):
        # As with `| head`: programs that SIGPIPE ends are silent, too.
        return typer.Exit(_READER_GONE)
    # A result that was not delivered must not be taken for a pass.
    with suppress(OSError):  # of `2>&1 | head`
        output.say(f"error: The result could not be written: {error.strerror}.")
    return typer.Exit(Incomplete.exit_code)


class _Verbs(VerbGroup):
    """Runs a verb, and reports the error that it raises."""

    def make_context(self, *arguments: Any, **named: Any) -> Any:
        try:
            return super().make_context(*arguments, **named)
        except OSError as error:  # --help and --version print while the options are parsed
            raise _unwritten(error, None) from error

    def invoke(self, ctx: Any) -> Any:
        session: output.Session = ctx.ensure_object(output.Session)
        # Before the words are handed on.
        is_help = not set(ctx.help_option_names).isdisjoint(ctx.args)
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except OSError as error:
            raise _unwritten(error, None if is_help else ctx.invoked_subcommand) from error
        except FipsManifestError as error:
            output.report(error, session)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            code = 128 + error.args[0] if error.args else INTERRUPTED
            left = _what_is_left(ctx.invoked_subcommand)
            output.report_json(session, code, _INTERRUPTED, left, "interrupted")
            output.say(f"interrupted: {left[0].lower()}{left[1:]}")
            # Worker threads may wait for a server; files are written atomically.
            sys.stdout.flush()
            os._exit(code)
        return result


app = typer.Typer(
    name="fipsmanifest",
    cls=_Verbs,
    no_args_is_help=True,
    # Plain help: it starts three times as fast, wraps paragraphs, and takes brackets as they are.
    rich_markup_mode=None,
    suggest_commands=False,  # click suggests, too
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Make, sign, publish and verify the manifests of FIPS builds of Kubernetes.",
    epilog="Exit codes: 0 success or valid, 1 validation failed, 2 usage error, 3 not trusted, 4 incomplete, 5 "
    "refused by policy, 6 conflict with published objects, 70 internal error, 130 interrupted, 141 output closed.",
)


def _version(value: bool) -> None:
    if value:
        output.write(f"fipsmanifest {__version__}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", envvar="FIPSMANIFEST_DEBUG", help="Show tracebacks.")] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            "-v",
            envvar="FIPSMANIFEST_VERBOSE",
            help="Log requests, files, programs and decisions to stderr.",
        ),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", envvar="FIPSMANIFEST_QUIET", help="Show no progress and no notes.")
    ] = False,
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Apply the options that are common to all verbs."""
    session = ctx.ensure_object(output.Session)
    session.debug, session.quiet = debug, quiet
    if verbose:
        logs.show()
    ctx.default_map = project.default_map(ctx.invoked_subcommand)


def main() -> None:
    """Run the command line. An unexpected exception is an internal error (70)."""
    descriptors.fill()
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the end
    if sys.stdout is None:
        sys.stderr.write("error: Standard output is closed. Redirect it to a file, or to /dev/null.\n")
        sys.exit(Incomplete.exit_code)
    arguments = sys.argv[1:]
    signals.handle()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # an ASCII terminal shows other letters as escapes
    # Usage errors are reported as JSON, too; --json was not parsed by then.
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    session = output.Session(json="--json" in options)
    try:
        code = app(prog_name="fipsmanifest", standalone_mode=False, obj=session)
    except click.ClickException as error:
        path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "fipsmanifest"
        error.show()
        output.report_json(session, error.exit_code, error.format_message(), f"See `{path} --help`.", UsageError.reason)
        code = error.exit_code
    except Exception as error:  # the last resort: a bug must end with its own exit code, too
        if session.debug:
            raise
        message = f"{type(error).__name__}: {error}"
        output.report_json(
            session, FipsManifestError.exit_code, f"Internal error: {message}.", _BUG, FipsManifestError.reason
        )
        output.say(f"internal error: {message}")
        output.say(f"       {_BUG}")
        code = FipsManifestError.exit_code
    if code == INTERRUPTED:
        output.report_json(session, code, _INTERRUPTED, _what_is_left(None), "interrupted")
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
