"""The node tool: verify the manifests, inspect the node, say what was found, exit with the verdict's code.

The single file is compiled afresh at every start: what is needed after the first line of output is imported after it.
"""

import contextlib
import errno
import io
import os
import signal
import stat
import sys
import time
from typing import TYPE_CHECKING, List, NamedTuple, Optional, Sequence, Tuple

from .. import __certificates__, __released__
from ..errors import CONSUMER_PRECEDENCE, FipsManifestError, Incomplete, UsageError
from ..trust.document import MAX_BYTES
from ..trust.store import Trust, load_trust, packed_trust
from ..trust.text import utc_now, visible, write_time
from . import descriptors, host, inspection, options, report_files
from .result import EXIT_CODES, INCOMPLETE, UNTRUSTED, Node, verdict
from .version import own_version

if TYPE_CHECKING:
    from .report import Report

PROGRAM = "dkp-fips-tool"
_INTERNAL = 70


class Files(NamedTuple):
    """Files, open for writing, for the reports beside standard output; None where one was not asked for."""

    junit: Optional[io.FileIO]
    """For the JUnit report."""
    report: Optional[io.FileIO]
    """For the JSON report of bounded size."""
    metrics: Optional[io.FileIO]
    """For the metrics."""


def main(arguments: Optional[Sequence[str]] = None, program: str = PROGRAM) -> int:
    """Run the tool on ``arguments`` (the process's own where None), and give its exit code."""
    descriptors.fill()
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        return _run(options.parse(words, program))
    except FipsManifestError as error:
        return _fail(words, program, error.exit_code, error.message, error.advice, error.reason)
    except KeyboardInterrupt as interrupt:
        code = 128 + int((interrupt.args or (signal.SIGINT,))[0])
        return _fail(words, program, code, "interrupted.", "", "interrupted")
    except BrokenPipeError:
        # The reader of our output went away: there is no one to report to, and the verdict was not delivered.
        return EXIT_CODES[INCOMPLETE]
    except Exception as error:  # noqa: BLE001 - the last resort: one sentence and a code of its own, never a traceback
        message = "internal error: {}: {}".format(type(error).__name__, visible(str(error)))
        return _fail(words, program, _INTERNAL, message, "", "internal")


def _fail(words: Sequence[str], program: str, code: int, message: str, advice: str, reason: str) -> int:
    """Describe what went wrong before there was a report, to programs in the shape of all other commands' failures."""
    _say_error("{}: {} {}".format(program, message, advice).rstrip())
    if "--json" in words:
        # Where the output itself is what fails there is nowhere to tell it.
        with contextlib.suppress(Incomplete, BrokenPipeError):
            from . import report

            _say(report.error_to_json(code, message, advice, reason))
    return code


def _run(asked: options.Options) -> int:
    trust = _trust(asked)
    if asked.version:
        _say(_version_text(trust))
        return 0
    if trust is None:
        raise UsageError("No trusted keys are named.", "Name the trust directory with --keys DIR.")
    given = list(zip(_names(asked.manifests), map(_read, asked.manifests)))  # noqa: B905 - Python 3.6 has no strict=
    own = [path for path in (*asked.manifests, host.archive() or "-") if path != "-"]
    with contextlib.ExitStack() as opened:
        files = Files(
            *(None if path is None else opened.enter_context(report_files.open_file(path, own)) for path in asked.files)
        )
        return _validate(asked, trust, given, files)


def _validate(asked: options.Options, trust: Trust, given: Sequence[Tuple[str, bytes]], files: Files) -> int:
    """Inspect the node and write what was found; return the exit code."""
    started, clock = utc_now(), time.monotonic()
    end = clock + asked.timeout
    surveyed = inspection.survey(asked, end)
    node = Node(asked.root, asked.live, surveyed.role.name)
    described = host.describe(node, surveyed.release)
    if not asked.json:
        # What follows may take a minute.
        _say(host.heading(described))
    from . import report
    from .checks import signature

    opened = [signature.open_manifest(name, data, trust, asked.bindings, asked.fingerprint) for name, data in given]
    results = [one.result for one in opened]
    errors = [one.exit_code for one in opened if one.exit_code]
    warnings = [warning for one in opened for warning in one.warnings]
    if asked.keys is not None:
        warnings.append("The keys in {} were used, not the tool's own.".format(visible(asked.keys)))
    if errors:
        found = UNTRUSTED if CONSUMER_PRECEDENCE[0] in errors else INCOMPLETE
    else:
        manifests = [one.listed for one in opened if one.listed is not None]
        results.append(signature.check_tool(manifests))
        findings = inspection.check(node, surveyed, asked, manifests, end)
        for name in findings.others:
            warnings.append("{} is for another system or machine, and vouches for nothing here.".format(name))
        results += findings.results
        found = verdict(results, trusted=True)
    described.update(
        tool_sha256=host.archive_digest(),
        started=write_time(started),
        finished=write_time(utc_now()),
        seconds=round(time.monotonic() - clock, 1),
    )
    scope = "partial" if asked.partial else "live" if asked.live else "at-rest"
    said = report.Report(found, scope, described, [one.described for one in opened], results, _unique(warnings))
    return _write(said, asked, files)


def _names(paths: Sequence[str]) -> List[str]:
    """Return a unique name for each manifest: its file's name, or its path if several have the same name."""
    files = [os.path.basename(path) for path in paths]
    names: List[str] = []
    for path, file in zip(paths, files):  # noqa: B905 - Python 3.6 has no strict=
        name = visible(file if files.count(file) == 1 else path)
        while name in names:
            name = "{} ({})".format(name, len(names) + 1)
        names.append(name)
    return names


def _trust(asked: options.Options) -> Optional[Trust]:
    return load_trust(asked.keys) if asked.keys is not None else packed_trust()


def _read(path: str) -> bytes:
    """Read a signed manifest once, and no more of it than one may hold."""
    try:
        if path == "-" and sys.stdin is not None:
            return sys.stdin.buffer.read(MAX_BYTES + 1)
        # A FIFO without a writer is taken as empty: one may never come.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
            os.set_blocking(descriptor, True)
            return file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        raise UsageError("{} cannot be read: {}.".format(visible(path), reason), "Name the signed manifest.")


def _unique(sentences: Sequence[str]) -> List[str]:
    return sorted(set(sentences), key=list(sentences).index)


def _write(found: "Report", asked: options.Options, files: Files) -> int:
    """Write the report where it was asked for, and return the exit code."""
    from . import bounded, report
    from .metrics import to_metrics

    code = EXIT_CODES[found.verdict]
    limit = asked.report_limit
    limited = "" if limit is None else bounded.bounded_json(found, limit)
    if files.junit is not None:
        failed = _write_file(files.junit, report.to_junit(found), str(asked.junit))
        code = code or failed
    if files.report is not None:
        failed = _write_file(files.report, limited, str(asked.report))
        code = code or failed
    if files.metrics is not None:
        failed = _write_file(files.metrics, to_metrics(report.to_document(found)), str(asked.metrics))
        code = code or failed
    colour = not asked.json and sys.stdout.isatty() and "NO_COLOR" not in os.environ
    if asked.json:
        _say(limited if limited and files.report is None else report.to_json(found))
    else:
        _say(report.to_text(found, colour))
    return code


def _write_file(file: io.FileIO, text: str, name: str) -> int:
    """Write a report to an open file; return the exit code of a failure, or 0."""
    try:
        report_files.write(file, text)
    except OSError as error:
        _say_error("{} cannot be written: {}.".format(visible(name), error.strerror))
        return EXIT_CODES[INCOMPLETE]
    return 0


def _version_text(trust: Optional[Trust]) -> str:
    lines = ["{} {} (released {})".format(PROGRAM, own_version(), __released__)]
    lines.append("certificates: list of {}".format(__certificates__))
    digest = host.archive_digest()
    if digest is not None:
        lines.append("sha256: {}".format(digest))
    for key in trust.keys if trust is not None else ():
        lines.append("{} key: {} {} {}".format(key.role, key.fingerprint, key.status, visible(key.user_id)))
    lines += trust.warnings(utc_now()) if trust is not None else []
    return "\n".join(lines) + "\n"


def _say(text: str) -> None:
    if sys.stdout is None:
        raise Incomplete("There is no standard output to report to.", "Open it, to a file for instance.")
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        # What is still in the buffer would be written again at exit, and complained about.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise
        raise Incomplete("The report could not be written: {}.".format(error.strerror), "Make room for it.")


def _say_error(text: str) -> None:
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            sys.stderr.write(text.encode("ascii", "backslashreplace").decode("ascii") + "\n")
