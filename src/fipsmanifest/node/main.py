"""The node tool: read the options, do what they ask for, and exit with the verdict's code or an error's."""

import contextlib
import signal
import sys
from typing import Optional, Sequence

from .. import __certificates__, __released__
from ..errors import FipsManifestError, Incomplete, UsageError
from ..trust.keys import Trust
from ..trust.store import load_trust, packed_trust
from ..trust.text import utc_now, visible
from . import descriptors, options, output, version

PROGRAM = "dkp-fips-tool"
_INTERNAL = 70


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
        # The reader of the output is gone: the verdict was not delivered.
        return Incomplete.exit_code
    except Exception as error:  # noqa: BLE001 - the last resort: one sentence and a code of its own, never a traceback
        message = "internal error: {}: {}".format(type(error).__name__, visible(str(error)))
        return _fail(words, program, _INTERNAL, message, "", "internal")


def _fail(words: Sequence[str], program: str, code: int, message: str, advice: str, reason: str) -> int:
    """Describe what went wrong before there was a report, to programs in the shape of all other commands' failures."""
    output.say_error("{}: {} {}".format(program, message, advice).rstrip())
    if "--json" in words:
        # Where the output itself is what fails there is nowhere to tell it.
        with contextlib.suppress(Incomplete, BrokenPipeError):
            # Here, because it is compiled at every start of the single file.
            from . import report

            output.say(report.error_to_json(code, message, advice, reason))
    return code


def _run(asked: options.Options) -> int:
    trust = _trust(asked)
    if asked.version:
        output.say(_version_text(trust))
        return 0
    if trust is None:
        raise UsageError("No trusted keys are named.", "Name the trust directory with --keys DIR.")
    # Not needed for the version, and compiled at every start of the single file.
    from . import validation

    return validation.run(asked, trust)


def _trust(asked: options.Options) -> Optional[Trust]:
    return load_trust(asked.keys) if asked.keys is not None else packed_trust()


def _version_text(trust: Optional[Trust]) -> str:
    lines = ["{} {} (released {})".format(PROGRAM, version.own_version(), __released__)]
    lines.append("certificates: list of {}".format(__certificates__))
    digest = version.archive_digest()
    if digest is not None:
        lines.append("sha256: {}".format(digest))
    for key in trust.keys if trust is not None else ():
        lines.append("{} key: {} {} {}".format(key.role, key.fingerprint, key.status, visible(key.user_id)))
    lines += trust.warnings(utc_now()) if trust is not None else []
    return "\n".join(lines) + "\n"
