"""The node tool's options."""

import argparse
import re
from typing import List, NamedTuple, NoReturn, Optional, Sequence, Tuple

from ..errors import UsageError
from ..trust.document import Bindings
from ..trust.text import visible

SMALLEST_REPORT = 512
"""Bytes. Any limit from here on has room for the verdict and the counts."""
CHECKS = ("signature", "platform", "fips-mode", "files", "startup", "images", "processes", "services")


class Options(NamedTuple):
    """What the user asked for."""

    manifests: Tuple[str, ...]
    """Paths of signed manifests; ``-`` is standard input."""
    json: bool
    """JSON on standard output instead of text."""
    root: str
    """Where the node's file tree begins."""
    live: bool
    """Whether it is a running node."""
    role: str
    """``auto``, ``control-plane`` or ``worker``."""
    checks: Tuple[str, ...]
    """The checks to run, in their order; ``signature`` always."""
    keys: Optional[str]
    """The trust directory to use in place of the tool's own keys."""
    fingerprint: Optional[str]
    """The only key to trust."""
    bindings: Bindings
    """What the manifests must be for."""
    junit: Optional[str]
    """Where to write a JUnit report."""
    metrics: Optional[str]
    """Where to write metrics."""
    timeout: int
    """Seconds after which what is not finished is unknown."""
    report: Optional[str]
    """Where to write a second JSON report, of at most ``report_limit`` bytes."""
    report_limit: Optional[int]
    """The most bytes of a JSON report: of ``report`` where there is one, else of standard output."""
    version: bool
    """Whether to show the version alone."""

    @property
    def files(self) -> Tuple[Optional[str], ...]:
        """Where reports are written beside standard output, in the order of `main.Files`."""
        return (self.junit, self.report, self.metrics)

    @property
    def partial(self) -> bool:
        """Whether some checks were left out."""
        return self.checks != CHECKS


def parse(arguments: Optional[Sequence[str]], program: str) -> Options:
    """Read the command line; raises `UsageError`, and `SystemExit` (0) after --help."""
    given = parser(program).parse_args(arguments)
    if given.live and given.root is None:
        raise UsageError(
            "--live is for a running node that is seen through --root DIR.", "Leave it out, or add --root."
        )
    if given.report_limit is not None and given.report is None and not given.json:
        raise UsageError("--report-limit is for a JSON report.", "Add --json, or --report FILE.")
    if given.report is not None and given.report_limit is None:
        raise UsageError("--report needs the size of what it may write.", "Add --report-limit BYTES.")
    if not given.version and not given.manifest:
        raise UsageError("No manifest is named.", "Name the signed manifest: {} MANIFEST.asc".format(program))
    return Options(
        tuple(given.manifest),
        given.json,
        given.root or "/",
        given.root is None or given.live,
        given.role,
        _checks(given.only, given.skip),
        given.keys,
        given.fingerprint,
        Bindings(given.kubernetes, given.el, given.min_serial, given.allow_expired),
        given.junit,
        given.metrics,
        given.timeout,
        given.report,
        given.report_limit,
        given.version,
    )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(visible("The options cannot be read: {}.".format(message), 400), "See --help.")


def parser(program: str) -> argparse.ArgumentParser:
    """Return the parser of the tool's options; ``program`` is how the tool was started."""
    # Abbreviated options would change their meaning when another one is added.
    made = _Parser(
        prog=program,
        allow_abbrev=False,
        description="Validate that a node runs the FIPS builds that a signed manifest lists.",
        epilog="Exit codes: 0 valid, 1 validation failed, 2 usage, 3 not trusted, 4 incomplete, 69 no Python, "
        "70 internal error, 130 interrupted.",
    )
    add = made.add_argument
    add("manifest", nargs="*", metavar="MANIFEST", help="a signed manifest (manifest-rhel8.json.asc)")
    add("--json", action="store_true", help="print JSON")
    add("--root", metavar="DIR", help="inspect the file tree in DIR, at rest")
    add("--live", action="store_true", help="with --root: DIR is the running node's own tree, seen from a container")
    add("--role", choices=("auto", "control-plane", "worker"), default="auto", help="the node's role (auto)")
    add("--only", metavar="ID,..", help="run these checks alone: {}".format(", ".join(CHECKS)))
    add("--skip", metavar="ID,..", help="leave these checks out")
    add("--keys", metavar="DIR", help="trust the keys in DIR and not the tool's own")
    add("--fingerprint", metavar="FPR", help="trust this key alone")
    add("--kubernetes", metavar="V", help="the manifest must be for this version")
    add("--el", type=int, metavar="N", help="the manifest must be for this Enterprise Linux")
    add("--min-serial", type=_serial, metavar="N", help="the manifest must have this serial or a higher one")
    add("--allow-expired", action="store_true", help="take a manifest past its end, with a warning")
    add("--junit", metavar="FILE", help="write a JUnit report as well")
    add("--metrics", metavar="FILE", help="write metrics for Prometheus' textfile collector as well")
    add("--timeout", type=_seconds, default=600, metavar="SECONDS", help="the time for all checks (600)")
    add("--report", metavar="FILE", help="write a JSON report of at most --report-limit bytes as well")
    add("--report-limit", type=_limit, metavar="BYTES", help="bound the JSON report: failures first, no passes")
    add("--version", action="store_true", help="show version, own digest and trusted keys")
    return made


def _seconds(text: str) -> int:
    if not re.match(r"[1-9][0-9]{0,5}\Z", text):
        raise argparse.ArgumentTypeError("{} is not a number of seconds from 1 to 999999".format(repr(text)))
    return int(text)


def _serial(text: str) -> int:
    if not re.match(r"[1-9][0-9]{0,17}\Z", text):
        raise argparse.ArgumentTypeError("{} is not a positive number".format(repr(text)))
    return int(text)


def _limit(text: str) -> int:
    if not re.match(r"[1-9][0-9]{0,8}\Z", text) or int(text) < SMALLEST_REPORT:
        raise argparse.ArgumentTypeError("{} is not a number from {} on".format(repr(text), SMALLEST_REPORT))
    return int(text)


def _checks(only: Optional[str], skip: Optional[str]) -> Tuple[str, ...]:
    if only is not None and skip is not None:
        raise UsageError("--only and --skip exclude each other.", "Use one of them.")
    named = _names(only if only is not None else skip or "")
    if not named and (only is not None or skip is not None):
        raise UsageError(
            "{} names no check.".format("--skip" if only is None else "--only"),
            "Choose from {}.".format(", ".join(CHECKS)),
        )
    if skip is not None and "signature" in named:
        raise UsageError("The check of the signature cannot be skipped.", "Leave it out of --skip.")
    if only is not None:
        return tuple(name for name in CHECKS if name in named or name == "signature")
    return tuple(name for name in CHECKS if name not in named)


def _names(text: str) -> List[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in CHECKS:
            raise UsageError("There is no check {}.".format(visible(name)), "Choose from {}.".format(", ".join(CHECKS)))
    return names
