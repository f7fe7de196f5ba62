"""The command line: the list of verbs, and the one place that turns an error into its sentence and exit code."""

from __future__ import annotations

import errno
import gc
import importlib
import io
import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, TextIO

import click
import typer
from typer.core import TyperGroup

from .. import __version__
from ..errors import INTERRUPTED, FipsManifestError, Incomplete
from ..node import descriptors
from . import output

#: So many new objects are made between two looks for cycles.
_OBJECTS = 50_000
#: Ctrl-C, how CI cancels a job, and a terminal that is gone. A shell tells each as 128 and the signal's number.
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

#: The reader of stdout is gone, or the disk that it goes to is full.
_UNWRITTEN = (errno.EPIPE, errno.ENOSPC)

#: The exit code where the reader of a listing is gone.
_READER_GONE = 128 + signal.SIGPIPE

_INTERRUPTED = "It was interrupted."
#: Verbs that leave each finished step on disk and go on from there when they are run again.
_RESUMABLE = ("release", "collect", "generate", "sign", "publish", "reissue")
#: Seconds that unwinding may take after a signal. Whatever holds it up then, the process ends: what is on disk is
#: written in whole steps.
_UNWINDING = 5.0
_BUG = "This is a bug in fipsmanifest; run again with --debug and report what it prints."


def _interrupted(number: int, _frame: object) -> None:
    """Unwind at the first signal; leave at once at the second, where somebody does not want to wait for that."""
    for one in _ENDING:
        signal.signal(one, lambda number, _: os._exit(128 + number))
    # No thread: the signal may have come while one was started, and the lock for that is taken then.
    signal.signal(signal.SIGALRM, lambda *_: os._exit(128 + number))
    signal.setitimer(signal.ITIMER_REAL, _UNWINDING)
    raise KeyboardInterrupt(number)


def _what_is_left(verb: str | None) -> str:
    """Return what an interrupted command leaves behind, and what to do."""
    if verb in _RESUMABLE:
        return "What was done so far is kept; run the same command again to go on."
    return "It came to no result; run it again."


def _end_orderly() -> None:
    for one in _ENDING:
        # Who started this with nohup wants it to outlive the terminal.
        if signal.getsignal(one) != signal.SIG_IGN:
            signal.signal(one, _interrupted)
    _wake_main_thread()


def _wake_main_thread() -> None:
    """Have a signal that another thread received interrupt what the main thread waits for.

    Python runs handlers in the main thread alone, and does not interrupt a lock that it waits for where the kernel gave
    the signal to another thread: as while a thread is started, when the main thread has its signals blocked.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.signal(signal.SIGURG, lambda *_: None)
    threading.Thread(target=_forward, args=(reading, threading.get_ident()), name="signals", daemon=True).start()


def _forward(reading: int, main_thread: int) -> None:
    while numbers := os.read(reading, 64):
        if any(number in _ENDING for number in numbers):
            signal.pthread_kill(main_thread, signal.SIGURG)


def _discard(stream: TextIO) -> None:
    """Send what is left in the buffer nowhere, so that the interpreter can end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class _Verbs(TyperGroup):
    """Lists the verbs by what they are for, runs one, and reports what it raises."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        panels: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command: Any = self.get_command(ctx, name)
            panels.setdefault(command.rich_help_panel, []).append((name, command.get_short_help_str(200)))
        for panel, rows in panels.items():
            with formatter.section(panel):
                formatter.write_dl(rows)

    def invoke(self, ctx: Any) -> Any:
        session: output.Session = ctx.ensure_object(output.Session)
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except OSError as error:
            if error.errno not in _UNWRITTEN:
                raise
            _discard(sys.stdout)
            if error.errno == errno.EPIPE and _VERBS.get(ctx.invoked_subcommand, ("", ""))[1] != CONSUME:
                # As `| head` does: programs that SIGPIPE ends are silent, too.
                raise typer.Exit(_READER_GONE) from error
            # Nobody may take what was not delivered for a verdict.
            with suppress(OSError):  # of `2>&1 | head`
                output.say(f"error: The result could not be written: {error.strerror}.")
            raise typer.Exit(Incomplete.exit_code) from error
        except FipsManifestError as error:
            output.report(error, session)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            code = 128 + error.args[0] if error.args else INTERRUPTED
            left = _what_is_left(ctx.invoked_subcommand)
            output.report_json(session, code, _INTERRUPTED, left)
            output.say(f"interrupted: {left[0].lower()}{left[1:]}")
            # Worker threads may be waiting for a server; everything on disk is written in whole steps.
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
    help="Cut, sign, publish and verify the manifests of FIPS builds of Kubernetes.",
    epilog="Exit codes: 0 done or valid, 1 validation failed, 2 usage, 3 not trusted, 4 incomplete, 5 refused by "
    "policy, 6 conflict with what is published, 70 internal error, 130 interrupted, 141 nobody read on.",
)


def _version(value: bool) -> None:
    if value:
        output.write(f"fipsmanifest {__version__}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", envvar="FIPSMANIFEST_DEBUG", help="Show tracebacks.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", envvar="FIPSMANIFEST_QUIET", help="No progress and no notes on stderr.")
    ] = False,
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options for every verb."""
    session = ctx.ensure_object(output.Session)
    session.debug, session.quiet = debug, quiet


CUT, CONSUME, TRUST, LOOK = "Cut and publish", "Verify and validate", "Keys, modules and definitions", "Look and carry"

#: Each verb with the module that holds it, and where help lists it. A module's ``app`` is a group of verbs.
_VERBS = {
    "release": ("release", CUT),
    "collect": ("stages", CUT),
    "generate": ("stages", CUT),
    "sign": ("stages", CUT),
    "publish": ("stages", CUT),
    "reissue": ("reissue", CUT),
    "verify": ("verify", CONSUME),
    "audit": ("audit", CONSUME),
    "check": ("check", CONSUME),
    "inspect": ("inspect", LOOK),
    "diff": ("diff", LOOK),
    "bundle": ("bundle", LOOK),
    "overrides": ("overrides", LOOK),
    "export": ("export", LOOK),
    "schema": ("schema", LOOK),
    "keys": ("keys", TRUST),
    "modules": ("modules", TRUST),
    "definitions": ("definitions", TRUST),
    "tool": ("tool", TRUST),
}


def _add_verbs(arguments: list[str]) -> None:
    """Add the verb that is asked for, or all: to import and build every verb takes longer than most of them do.

    Help, completion and a verb that does not exist need all of them.
    """
    asked = next((word for word in arguments if not word.startswith("-")), "")
    alone = asked in _VERBS and "_FIPSMANIFEST_COMPLETE" not in os.environ
    for name in [asked] if alone else _VERBS:
        place, panel = _VERBS[name]
        module = importlib.import_module(f".{place}", __package__)
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name, rich_help_panel=panel)
        else:
            app.command(name, rich_help_panel=panel)(getattr(module, name))


def main() -> None:
    """Run the command line; an error that is none of ours is an internal one (70)."""
    descriptors.fill()
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the end
    if sys.stdout is None:
        sys.stderr.write("error: There is no standard output to report to. Open it, to a file for instance.\n")
        sys.exit(Incomplete.exit_code)
    # What is imported stays, and a document is many objects and no cycle: to look for cycles as often as Python does by
    # itself costs a twentieth of a verification (measured).
    gc.freeze()
    gc.set_threshold(_OBJECTS)
    arguments = sys.argv[1:]
    _add_verbs(arguments)
    _end_orderly()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal of ASCII shows other letters as escapes
    # Options that cannot be read are told as JSON as well; by then nobody has read --json.
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    session = output.Session(json="--json" in options)
    try:
        code = app(prog_name="fipsmanifest", standalone_mode=False, obj=session)
    except click.ClickException as error:
        path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "fipsmanifest"
        error.show()
        output.report_json(session, error.exit_code, error.format_message(), f"See `{path} --help`.")
        code = error.exit_code
    except Exception as error:  # the last resort: a bug, too, must end with its own exit code
        if session.debug:
            raise
        said = f"{type(error).__name__}: {error}"
        output.report_json(session, FipsManifestError.exit_code, f"Internal error: {said}.", _BUG)
        output.say(f"internal error: {said}")
        output.say(f"       {_BUG}")
        code = FipsManifestError.exit_code
    if code == INTERRUPTED:
        output.report_json(session, code, _INTERRUPTED, _what_is_left(None))
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
