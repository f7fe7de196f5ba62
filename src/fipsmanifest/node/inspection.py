"""Inspection of a node in a child process: what it is, then each check, all within the time that the user allows.

A check that does not end in its share of that time is unknown, and the others go on: half of what is left is for the
next check, so that one file system that does not answer leaves time for the rest.
"""

import os
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

from ..errors import Incomplete, UsageError
from ..trust.text import visible
from . import deadline, host, mounts, tree
from .checks import platform
from .options import CHECKS, Options
from .result import UNKNOWN, Listed, Node, Result

_SURVEY_SECONDS = 30.0
_MARGIN_SECONDS = 2.0  # that the child has to report what it knows
_OF_A_ROLE = frozenset(("files", "startup", "images", "services"))
_ADVICE = (
    "Find out which file system does not answer, or allow more time with --timeout; to leave the check out, use "
    "--skip {}."
)


class Survey(NamedTuple):
    """What has to be known of a node before the checks."""

    role: host.Role
    release: Dict[str, str]
    """Fields of os-release; empty if it cannot be read."""
    unanswering: List[str]
    """Mount points whose file system does not answer."""


class Findings(NamedTuple):
    """What the checks found."""

    results: List[Result]
    others: List[str]
    """Names of the manifests that are for another system or machine."""


def survey(asked: Options, end: float) -> Survey:
    """Return the node's role and operating system; raise `UsageError` if there is no such tree, and `Incomplete`.

    ``end`` is when the time is over, by `time.monotonic`.
    """
    found: List[Any] = []

    def work(send: deadline.Send) -> None:
        unanswering = mounts.find_unanswering(asked.root, (end - time.monotonic()) / 10)
        tree.set_unanswering(unanswering)
        if not (unanswering or os.path.isdir(asked.root)):
            send(None)
            return
        role = host.find_role(asked.root, asked.role)
        send([role.name, role.doubt, platform.os_release(asked.root) or {}, unanswering])

    missing = _run(min(_SURVEY_SECONDS, (end - time.monotonic()) / 2), work, found.append)
    if not found:
        role = asked.role if asked.role != "auto" else "worker"
        doubt = _unfinished("platform", "role", missing) if asked.role == "auto" else None
        return Survey(host.Role(role, doubt), {}, [])
    if found[0] is None:
        raise UsageError(
            "{} is not a directory.".format(visible(asked.root)), "Name the root of the node's file tree after --root."
        )
    name, doubt, release, unanswering = found[0]
    return Survey(host.Role(name, None if doubt is None else Result(*doubt)), release, unanswering)


def check(node: Node, surveyed: Survey, asked: Options, manifests: Sequence[Listed], end: float) -> Findings:
    """Run the checks that were asked for. Raise `Incomplete` if no process can be started."""
    findings = Findings([], [])
    finished: List[str] = []

    def work(send: deadline.Send) -> None:
        tree.set_unanswering(surveyed.unanswering)
        _Inspection(node, surveyed.role, asked, manifests, end - _margin(end), send).run()

    def receive(value: Any) -> None:
        step, results, others = value
        finished.append(step)
        findings.results.extend(Result(*fields) for fields in results)
        findings.others.extend(others)

    missing = _run(end - time.monotonic(), work, receive)
    for name in _checks(asked):
        if name not in finished:
            findings.results.append(_unfinished(name, name, missing))
    return findings


def _run(seconds: float, work: Callable[[deadline.Send], None], receive: Callable[[Any], None]) -> Optional[str]:
    try:
        return deadline.run_child(max(seconds, 0), work, receive)
    except OSError as error:
        raise Incomplete("No process can be started: {}.".format(error.strerror), "Raise the limit of processes.")


def _margin(end: float) -> float:
    return min(_MARGIN_SECONDS, (end - time.monotonic()) / 10)


def _checks(asked: Options) -> List[str]:
    return [name for name in asked.checks if name in CHECKS and name != "signature"]


def _unfinished(name: str, subject: str, missing: Optional[str]) -> Result:
    actual = "not finished: {}".format(missing or "the time is over")
    return Result(name, subject, UNKNOWN, None, actual, {"code": "deadline"}, _ADVICE.format(name))


def _unanswering(name: str, place: str) -> Result:
    evidence = {"code": "deadline", "path": visible(place)}
    actual = "its file system does not answer, and something below it was to be read"
    advice = "Let its server answer, or unmount it; then run this again."
    return Result(name, visible(place), UNKNOWN, "an answer", actual, evidence, advice)


class _Inspection:
    """The child's part: each step in a thread that can be abandoned."""

    def __init__(
        self,
        node: Node,
        role: host.Role,
        asked: Options,
        manifests: Sequence[Listed],
        end: float,
        send: deadline.Send,
    ) -> None:
        self._node, self._role, self._asked = node, role, asked
        self._manifests = list(manifests)
        self._end = end
        self._send = send

    def run(self) -> None:
        """Run every step, and send its name, results and the names of the manifests that it leaves out."""
        # Imported after the first line of output: the single file is compiled at every start.
        from .checks import files, fips_mode, images, processes, services, startup

        checks: Dict[str, Callable[[Node, Sequence[Listed]], List[Result]]] = {
            "platform": platform.check,
            "fips-mode": fips_mode.check,
            "files": files.check,
            "startup": startup.check,
            "images": images.check,
            "processes": processes.check,
            "services": services.check,
        }
        self._step("role", self._doubts)
        self._leave_out_others()
        names = _checks(self._asked)
        for name in names:
            work = checks[name]
            self._step(name, lambda work=work: work(self._node, self._manifests), name == names[-1])  # type: ignore[misc]

    def _step(self, name: str, work: Callable[[], List[Result]], is_last: bool = False) -> None:
        found = self._within(work, is_last)
        if found is None:
            found = [_unfinished(name if name != "role" else "platform", name, None)]
        found = found + [_unanswering(name if name != "role" else "platform", one) for one in tree.take_asked()]
        self._send([name, found, []])

    def _within(self, work: Callable[[], Any], is_last: bool = False) -> Any:
        """Return what ``work`` returns, None if it does not end in its share of the time."""
        found: List[Any] = []
        share = (self._end - time.monotonic()) * (1.0 if is_last else 0.5)
        self._node.end = time.monotonic() + share * 0.9
        deadline.within(max(share, 0), lambda: found.append(work()))
        return found[0] if found else None

    def _doubts(self) -> List[Result]:
        """Return what contradicts the role and the scope that are taken for the node's."""
        node, asked = self._node, self._asked
        running = None if node.live else host.doubt_by_machine(node.root)
        if running is not None:
            return [running]
        if not _OF_A_ROLE.intersection(asked.checks):
            return []
        doubt = self._role.doubt or host.doubt_by_static_pods(asked.root, asked.role)
        if doubt is None and node.live and asked.role == "auto":
            doubt = host.doubt_by_processes(self._role.name)
        return [] if doubt is None else [doubt]

    def _leave_out_others(self) -> None:
        """Leave out the manifests for other systems and machines; if that cannot be determined, all are compared."""
        fitting = self._within(lambda: platform.fitting(self._node, self._manifests))
        if fitting is not None:
            self._send(["", [], [one.name for one in self._manifests if one not in fitting]])
            self._manifests = fitting
