"""The work of the node tool: verify the manifests, inspect the node, write what was found.

The single file is compiled afresh at every start: what is needed after the first line of output is imported after it.
"""

import contextlib
import errno
import io
import os
import stat
import sys
import time
from typing import TYPE_CHECKING, List, NamedTuple, Optional, Sequence, Tuple

from ..errors import CONSUMER_PRECEDENCE, UsageError
from ..trust.document import MAX_BYTES
from ..trust.keys import Trust
from ..trust.text import utc_now, visible, write_time
from . import host, inspection, options, output, version
from .result import EXIT_CODES, INCOMPLETE, UNTRUSTED, Node, verdict

# Imported after the first line of output, as what follows.
if TYPE_CHECKING:
    from .report import Report


class Files(NamedTuple):
    """Files, open for writing, for the reports beside standard output; None where one was not asked for."""

    junit: Optional[io.FileIO]
    """For the JUnit report."""
    report: Optional[io.FileIO]
    """For the JSON report of bounded size."""
    metrics: Optional[io.FileIO]
    """For the metrics."""


def run(asked: options.Options, trust: Trust) -> int:
    """Verify the manifests, inspect the node and write what was found; return the exit code.

    Raises `UsageError` for a manifest that cannot be read or a report's file that cannot be written, `Incomplete`.
    """
    given = list(zip(_names(asked.manifests), map(_read, asked.manifests)))  # noqa: B905 - Python 3.6 has no strict=
    own = [path for path in (*asked.manifests, version.archive() or "-") if path != "-"]
    with contextlib.ExitStack() as opened:
        files = Files(*(None if path is None else _open(path, own, opened) for path in asked.files))
        return _validate(asked, trust, given, files)


def _open(path: str, own: Sequence[str], opened: contextlib.ExitStack) -> io.FileIO:
    # Most runs write no files.
    from . import report_files

    return opened.enter_context(report_files.open_file(path, own))


def _validate(asked: options.Options, trust: Trust, given: Sequence[Tuple[str, bytes]], files: Files) -> int:
    """Inspect the node and write what was found; return the exit code."""
    started, clock = utc_now(), time.monotonic()
    end = clock + asked.timeout
    surveyed = inspection.survey(asked, end)
    node = Node(asked.root, asked.live, surveyed.role.name)
    described = host.describe(node, surveyed.release)
    if not asked.json:
        # What follows may take a minute.
        output.say(host.heading(described))
    # After the first line of output, as the module's docstring says.
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
        tool_sha256=version.archive_digest(),
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
    # After the first line of output.
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
        output.say(limited if limited and files.report is None else report.to_json(found))
    else:
        output.say(report.to_text(found, colour))
    return code


def _write_file(file: io.FileIO, text: str, name: str) -> int:
    """Write a report to an open file; return the exit code of a failure, or 0."""
    # Most runs write no files.
    from . import report_files

    try:
        report_files.write(file, text)
    except OSError as error:
        output.say_error("{} cannot be written: {}.".format(visible(name), error.strerror))
        return EXIT_CODES[INCOMPLETE]
    return 0
