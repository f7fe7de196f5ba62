"""The programs that really run: what /proc/PID/exe opens is the running file, whatever the path holds by now.

A file replaced on disk leaves the old program running (the link ends in " (deleted)"), which a check of files misses;
a file replaced inside a container's snapshot leaves the link as it was. So the running file itself is hashed.
"""

import errno
import os
import posixpath
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Set

from .. import tree
from ..result import FAIL, NOT_APPLICABLE, PASS, UNKNOWN, Listed, Node, Result, wanted_components
from ..text import visible

ID = "processes"

_PROC = "/proc"
_MAX_NAME = 15  # proc(5), /proc/pid/comm
_DELETED = " (deleted)"  # proc(5), /proc/pid/exe
_MAX_PROGRAM = 4 * 1024 * 1024 * 1024
_RESTART = "Restart the program, so that the installed file runs."


class _Running(NamedTuple):
    pid: int
    path: str
    deleted: bool


def check(node: Node, manifests: Sequence[Listed]) -> List[Result]:
    """Compare every running program that has a component's name with the listed digests; raises nothing."""
    if not node.live:
        return [Result(ID, ID, NOT_APPLICABLE, actual="at rest")]
    digests = _listed(node, manifests)
    names = {name[:_MAX_NAME] for name in digests}
    hidden = 0
    results: List[Result] = []
    for pid in _pids():
        try:
            running = _look(pid)
            if running is not None and posixpath.basename(running.path) in digests:
                results.append(_compare(running, digests[posixpath.basename(running.path)]))
        except OSError as error:
            # A process that has ended meanwhile is no finding; a component that may not be looked at is.
            hidden += error.errno in (errno.EACCES, errno.EPERM) and _name(pid) in names
    if hidden:
        evidence = {"count": hidden}
        results.append(
            Result(ID, "hidden", UNKNOWN, actual="not readable", evidence=evidence, advice="Run it as root.")
        )
    if not results:
        advice = "Start the node's services, or leave this out with --skip processes."
        results.append(Result(ID, ID, UNKNOWN, actual="none of the components runs", advice=advice))
    return results


def _listed(node: Node, manifests: Sequence[Listed]) -> Dict[str, Set[str]]:
    """Give the digests that each program name may have, on the node and in its images."""
    found: Dict[str, Set[str]] = {}
    for listed in manifests:
        wanted = wanted_components(listed, node.role)
        files = list(listed.manifest["files"])
        for image in listed.manifest.get("images") or []:
            for platform in image.get("platforms") or []:
                files += [dict(file, component=image.get("component")) for file in platform.get("files") or []]
        for file in files:
            if file.get("component") in wanted.here and file.get("role") == "program" and file.get("sha256"):
                found.setdefault(posixpath.basename(file["path"]), set()).add(file["sha256"])
    return found


def _pids() -> Iterator[int]:
    return (int(name) for name in sorted(os.listdir(_PROC)) if name.isdigit())


def _name(pid: int) -> str:
    try:
        return tree.read_small("/", "{}/{}/comm".format(_PROC, pid)).rstrip("\n")
    except (OSError, tree.NotRegular):
        return ""


def _look(pid: int) -> Optional[_Running]:
    """Say what a process runs; None for a kernel thread."""
    try:
        path = os.readlink("{}/{}/exe".format(_PROC, pid))
    except FileNotFoundError:
        return None
    deleted = path.endswith(_DELETED)
    return _Running(pid, path[: -len(_DELETED)] if deleted else path, deleted)


def _compare(running: _Running, digests: Set[str]) -> Result:
    subject = visible("{} (pid {})".format(running.path, running.pid), 300)
    expected = " or ".join("sha256:" + digest for digest in sorted(digests))
    evidence = {"pid": running.pid, "deleted": running.deleted}
    try:
        found = tree.digest("{}/{}/exe".format(_PROC, running.pid).encode("ascii"), _MAX_PROGRAM, follow=True)
    except (tree.NotRegular, tree.Unstable) as error:
        return Result(ID, subject, UNKNOWN, expected, str(error), evidence, "Run it again.")
    actual = "sha256:" + found.sha256
    if found.sha256 not in digests:
        advice = _RESTART if running.deleted else "Find out who started it, and install the release's packages again."
        return Result(ID, subject, FAIL, expected, actual, dict(evidence, code="digest"), advice)
    if running.deleted:
        return Result(
            ID, subject, FAIL, "the installed file", "a replaced file", dict(evidence, code="deleted"), _RESTART
        )
    return Result(ID, subject, PASS, actual, actual, evidence)
