"""The node tool: verify the manifests, look at the node, say what was found, exit with the verdict's code.

The single file is compiled afresh at every start: what is needed after the first line of output is imported after it.
"""

import contextlib
import errno
import os
import signal
import stat
import sys
from typing import List, Optional, Sequence

from .. import __released__
from ..errors import CONSUMER_PRECEDENCE, FipsManifestError, Incomplete, UsageError
from . import host, options, report
from .document import MAX_BYTES
from .result import EXIT_CODES, INCOMPLETE, UNTRUSTED, Listed, Node, Result, verdict
from .text import utc_now, visible
from .trust import Trust, load_trust, packed_trust
from .version import own_version

PROGRAM = "dkp-fips-tool"
_INTERNAL = 70
_OF_A_ROLE = frozenset(("files", "images", "services"))


def main(arguments: Optional[Sequence[str]] = None, program: str = PROGRAM) -> int:
    """Run the tool on ``arguments`` (the process's own where None), and give its exit code."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        return _run(options.parse(words, program))
    except FipsManifestError as error:
        return _fail(words, program, error.exit_code, error.message, error.advice)
    except KeyboardInterrupt as interrupt:
        code = 128 + int((interrupt.args or (signal.SIGINT,))[0])
        return _fail(words, program, code, "interrupted.", "")
    except BrokenPipeError:
        # The reader of our output went away: there is nobody to tell, and the verdict was not delivered.
        return EXIT_CODES[INCOMPLETE]
    except Exception as error:  # noqa: BLE001 - the last resort: one sentence and a code of its own, never a traceback
        message = "internal error: {}: {}".format(type(error).__name__, visible(str(error)))
        return _fail(words, program, _INTERNAL, message, "")


def _fail(words: Sequence[str], program: str, code: int, message: str, advice: str) -> int:
    """Say what went wrong before there was a report, to programs in the shape of all other commands' failures."""
    _say_error("{}: {} {}".format(program, message, advice).rstrip())
    if "--json" in words:
        # Where the output itself is what fails there is nowhere to tell it.
        with contextlib.suppress(Incomplete, BrokenPipeError):
            _say(report.error_to_json(code, message, advice))
    return code


def _run(asked: options.Options) -> int:
    trust = _trust(asked)
    if asked.version:
        _say(_version_text(trust))
        return 0
    if trust is None:
        raise UsageError("No trusted keys are named.", "Name the trust folder with --keys DIR.")
    given = [(os.path.basename(path), _read(path)) for path in asked.manifests]
    if asked.junit is not None:
        try:
            _write_junit(asked.junit, "")
        except OSError as error:
            raise UsageError(
                "{} cannot be written: {}.".format(visible(asked.junit), error.strerror), "Name another file."
            )
    role = host.find_role(asked.root, asked.role)
    node = Node(asked.root, asked.live, role.name)
    described = host.describe(node)
    if not asked.json:
        # What follows may take a minute.
        _say(report.heading(described))
    from .checks import platform, signature

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
        if role.doubt is not None and _OF_A_ROLE.intersection(asked.checks):
            results.append(role.doubt)
        fitting = platform.fitting(node, manifests)
        for left_out in [one for one in manifests if one not in fitting]:
            warnings.append("{} is for another system or machine, and vouches for nothing here.".format(left_out.name))
        results += _check_node(node, fitting, asked.checks)
        found = verdict(results, trusted=True)
    scope = "partial" if asked.partial else "live" if asked.live else "at-rest"
    said = report.Report(found, scope, described, [one.described for one in opened], results, _unique(warnings))
    return _write(said, asked)


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


def _check_node(node: Node, manifests: Sequence[Listed], wanted: Sequence[str]) -> List[Result]:
    from .checks import files, fips_mode, images, platform, processes, services

    checks = {
        "platform": platform.check,
        "fips-mode": fips_mode.check,
        "files": files.check,
        "images": images.check,
        "processes": processes.check,
        "services": services.check,
    }
    return [result for name in wanted if name in checks for result in checks[name](node, manifests)]


def _unique(sentences: Sequence[str]) -> List[str]:
    return sorted(set(sentences), key=list(sentences).index)


def _write(found: report.Report, asked: options.Options) -> int:
    """Write the report where it was asked for; gives the exit code."""
    code = EXIT_CODES[found.verdict]
    try:
        if asked.junit is not None:
            _write_junit(asked.junit, report.to_junit(found))
    except OSError as error:
        _say_error("{} cannot be written: {}.".format(visible(str(asked.junit)), error.strerror))
        code = code or EXIT_CODES[INCOMPLETE]
    colour = not asked.json and sys.stdout.isatty() and "NO_COLOR" not in os.environ
    _say(report.to_json(found) if asked.json else report.to_text(found, colour))
    return code


def _write_junit(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def _version_text(trust: Optional[Trust]) -> str:
    lines = ["{} {} (released {})".format(PROGRAM, own_version(), __released__)]
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
