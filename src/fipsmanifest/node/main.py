"""The node tool: verify the manifests, look at the node, say what was found, exit with the verdict's code."""

import errno
import os
import stat
import sys
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from .. import __released__
from ..errors import CONSUMER_PRECEDENCE, INTERRUPTED, FipsManifestError, NotTrusted, UsageError
from . import host, options, report
from .document import MAX_BYTES, check_bindings
from .result import EXIT_CODES, FAIL, INCOMPLETE, PASS, UNKNOWN, UNTRUSTED, Listed, Node, Result, verdict
from .text import utc_now, visible, write_time
from .trust import Trust, load_trust, packed_trust
from .verify import Signed, verify_cleartext
from .version import own_version

PROGRAM = "dkp-fips-tool"
_INTERNAL = 70


def main(arguments: Optional[Sequence[str]] = None, program: str = PROGRAM) -> int:
    """Run the tool on ``arguments`` (the process's own where None), and give its exit code."""
    try:
        return _run(options.parse(arguments, program))
    except FipsManifestError as error:
        _say_error("{}: {}".format(program, error))
        return error.exit_code
    except KeyboardInterrupt:
        _say_error("{}: interrupted.".format(program))
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away; there is nobody to tell, and the verdict was not delivered.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_CODES[INCOMPLETE]
    except Exception as error:  # noqa: BLE001 - the last resort: one sentence and a code of its own, never a traceback
        _say_error("{}: internal error: {}: {}".format(program, type(error).__name__, visible(str(error))))
        return _INTERNAL


def _run(asked: options.Options) -> int:
    trust = _trust(asked)
    if asked.version:
        _say(_version_text(trust))
        return 0
    if trust is None:
        raise UsageError("No trusted keys are named.", "Name the trust folder with --keys DIR.")
    opened = [_verify(path, _read(path), trust, asked) for path in asked.manifests]
    node = Node(asked.root, asked.live, host.find_role(asked.root, asked.role))
    manifests = [one.listed for one in opened if one.listed is not None]
    results = [one.result for one in opened]
    errors = [one.exit_code for one in opened if one.exit_code]
    warnings = [warning for one in opened for warning in one.warnings]
    if asked.keys is not None:
        warnings.append("The keys in {} were used, not the tool's own.".format(visible(asked.keys)))
    if errors:
        found = UNTRUSTED if CONSUMER_PRECEDENCE[0] in errors else INCOMPLETE
    else:
        results += _check_node(node, manifests, asked.checks)
        found = verdict(results, trusted=True)
    scope = "partial" if asked.partial else "live" if asked.live else "at-rest"
    described = [one.described for one in opened]
    _write(report.Report(found, scope, host.describe(node), described, results, _unique(warnings)), asked)
    return EXIT_CODES[found]


def _trust(asked: options.Options) -> Optional[Trust]:
    return load_trust(asked.keys) if asked.keys is not None else packed_trust()


class _Opened(NamedTuple):
    """One manifest file, verified or not."""

    listed: Optional[Listed]
    described: Dict[str, Any]
    result: Result
    warnings: List[str]
    exit_code: int


def _read(path: str) -> bytes:
    """Read a signed manifest once, and no more of it than one may hold."""
    try:
        if path == "-":
            return sys.stdin.buffer.read(MAX_BYTES + 1)
        with open(path, "rb") as file:
            if stat.S_ISDIR(os.fstat(file.fileno()).st_mode):
                raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
            return file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        raise UsageError("{} cannot be read: {}.".format(visible(path), reason), "Name the signed manifest.")


def _verify(path: str, data: bytes, trust: Trust, asked: options.Options) -> _Opened:
    name = os.path.basename(path)
    try:
        signed = verify_cleartext(data, trust, fingerprint=asked.fingerprint)
        now = utc_now()
        warnings = list(signed.warnings) + check_bindings(signed.manifest, *asked.bindings, now=now)
    except FipsManifestError as error:
        status = FAIL if isinstance(error, NotTrusted) else UNKNOWN
        result = Result("signature", name, status, "a trusted signature", error.message, {}, error.advice)
        return _Opened(None, {"file": name}, result, [], error.exit_code)
    result = Result("signature", name, PASS, "a trusted signature", "signed by {}".format(signed.fingerprint))
    return _Opened(Listed(name, signed.manifest), _describe(name, signed), result, warnings, 0)


def _describe(name: str, signed: Signed) -> Dict[str, Any]:
    described: Dict[str, Any] = {
        "file": name,
        "fingerprint": signed.fingerprint,
        "signing_key": signed.signature.signing_key,
    }
    described["signed_at"] = write_time(signed.signed_at)
    for key in ("kubernetes", "build_metadata", "el", "serial", "created", "expires"):
        value = signed.manifest.get(key)
        described[key] = visible(value) if isinstance(value, str) else value
    return described


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
    results = [host.check_tool(manifests)]
    for name in wanted:
        if name in checks:
            results += checks[name](node, manifests)
    return results


def _unique(sentences: Sequence[str]) -> List[str]:
    return sorted(set(sentences), key=list(sentences).index)


def _write(found: report.Report, asked: options.Options) -> None:
    if asked.junit is not None:
        try:
            with open(asked.junit, "w", encoding="ascii") as file:
                file.write(report.to_junit(found))
        except OSError as error:
            raise UsageError("{} cannot be written: {}.".format(visible(asked.junit), error.strerror), "Name another.")
    if asked.json:
        _say(report.to_json(found))
    else:
        _say(report.to_text(found, colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ))


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
    sys.stdout.write(text)
    sys.stdout.flush()


def _say_error(text: str) -> None:
    sys.stderr.write(text.encode("ascii", "backslashreplace").decode("ascii") + "\n")
