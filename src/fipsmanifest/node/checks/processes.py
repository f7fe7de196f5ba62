"""The programs that really run: what /proc/PID/exe opens is the running file, whatever the path holds by now.

A file replaced on disk leaves the old program running (the link ends in " (deleted)"), which a check of files misses;
a file replaced inside a container's snapshot leaves the link as it was. So the running file itself is hashed.
"""

import errno
import os
import posixpath
import re
from typing import Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from .. import tree
from ..result import (
    FAIL,
    NOT_APPLICABLE,
    PASS,
    UNKNOWN,
    Listed,
    Node,
    Result,
    image_files,
    is_own_program,
    of_component,
    wanted_components,
)
from ..text import visible
from .images import containers

ID = "processes"

_PROC = "/proc"
_MAX_NAME = 15  # proc(5), /proc/pid/comm
_DELETED = " (deleted)"  # proc(5), /proc/pid/exe
_MAX_PROGRAM = 4 * 1024 * 1024 * 1024
_MAX_SHOWN = 20
_DAEMONS = ("containerd", "kubelet")
_MAX_RUNNING = 5000  # different ones; the kubelet's own limit is 110 pods, and large nodes have some hundreds
_MAX_TOLD = 64 * 1024
_MAX_ARGUMENTS = 32
_RESTART = "Restart the program, so that the installed file runs."
_FIND_OUT = "Find out who started it, and install the release's packages again."

_ASIDE = re.compile(r"[.~]")  # kubelet.bak, kubelet~
# What runs other files: the loader (ld.so(8)), whose process bears its own name alone, and interpreters told by name.
_LOADER = re.compile(r"ld(?:-|64|\.so)[^/]*\Z")
_INTERPRETER = re.compile(r"(?:platform-python|python|perl|ruby|busybox|[a-z]{0,3}sh)[0-9.]*\Z")
_COMMAND = re.compile(r"-[A-Za-z]*c")

# How the kubelet and containerd name control groups, with the cgroupfs driver and with systemd's:
# /kubepods/burstable/podUID/ID and .../kubepods-burstable-podUID_WITH_UNDERSCORES.slice/cri-containerd-ID.scope.
_CONTAINER = re.compile(r"(?:^|[/:-])([0-9a-f]{64})(?:\.scope)?$", re.ASCII)
_POD = re.compile(
    r"pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?(?:[/:]|$)", re.ASCII
)


class _Program(NamedTuple):
    """What the manifests say of the programs with one name."""

    digests: Dict[str, str]
    """SHA-256 -> the manifest that lists it."""
    paths: Set[str]
    """Where they are listed, on the node or in an image."""
    component: str
    references: Set[str]
    """Images that it is listed in."""

    def is_elsewhere(self, path: str) -> bool:
        """Say whether a program at ``path`` is another's: CNI plugins have everyday names, as iproute's `bridge`."""
        own = all("/cni/" in listed for listed in self.paths)
        return own and "/cni/" not in path and path not in self.paths


class _Running(NamedTuple):
    """A program that runs: processes of the same file, path and container are one."""

    name: str
    """Of the listed program that it is, or claims to be; of its process (comm), where the file bears another one."""
    renamed: bool
    """Whether its process alone has a listed name: the file was moved aside, or reached through a link."""
    script: bool
    """Whether an interpreter runs a script of that name, or the loader a program."""
    path: str
    deleted: bool
    container: Optional[str]
    pod: Optional[str]
    file: Tuple[int, int]
    """Device and inode."""


def check(node: Node, manifests: Sequence[Listed]) -> List[Result]:
    """Compare every running program that has a component's name with the listed digests; raises nothing."""
    if not node.live:
        return [Result(ID, ID, NOT_APPLICABLE, actual="at rest")]
    programs = _programs(manifests)
    short = _by_comm(programs)
    running: Dict[_Running, List[int]] = {}
    hidden, beyond = 0, 0
    try:
        pids = _pids()
    except OSError as error:
        advice = "Run it where /proc is the node's own."
        return [Result(ID, ID, UNKNOWN, None, "{}: {}".format(_PROC, error.strerror), advice=advice)]
    for pid in pids:
        try:
            one = _look(pid, programs, short)
            if one is not None and (one in running or len(running) < _MAX_RUNNING):
                running.setdefault(one, []).append(pid)
            elif one is not None:
                beyond += 1
        except OSError as error:
            # A process that has ended meanwhile is no finding; a component that may not be looked at is.
            hidden += error.errno in (errno.EACCES, errno.EPERM) and _name(pid) in short
    found = [_compare(node, one, running[one], (short if one.renamed else programs)[one.name]) for one in running]
    results = [result for result in found if result is not None]
    results += _daemons(node, manifests, programs, {one.name for one in running}) if results else []
    if hidden:
        evidence = {"count": hidden}
        results.append(
            Result(ID, "hidden", UNKNOWN, actual="not readable", evidence=evidence, advice="Run it as root.")
        )
    if beyond:
        advice = "Find out what starts so many copies of the components' programs."
        actual = "more than {} different ones run; {} processes were not compared".format(_MAX_RUNNING, beyond)
        results.append(Result(ID, "beyond", UNKNOWN, None, actual, {"count": beyond}, advice))
    if not results:
        advice = "Start the node's services, or leave this out with --skip processes."
        results.append(Result(ID, ID, UNKNOWN, actual="none of the components runs", advice=advice))
    return results


def _programs(manifests: Sequence[Listed]) -> Dict[str, _Program]:
    """Give what may run under each program name; of every role, as what runs decides what a node is."""
    found: Dict[str, _Program] = {}
    for listed in manifests:
        files = [(file, None) for file in listed.manifest["files"]]
        for image in listed.manifest.get("images") or []:
            files += [(file, image.get("reference")) for file in image_files(image)]
        for file, reference in files:
            if file.get("component") and is_own_program(file, file["component"]):
                name = posixpath.basename(file["path"])
                program = found.setdefault(name, _Program({}, set(), file["component"], set()))
                program.digests.setdefault(file["sha256"], listed.name)
                program.paths.add(file["path"])
                program.references.update([str(reference)] if reference else ())
    return found


def _by_comm(programs: Dict[str, _Program]) -> Dict[str, _Program]:
    """Give what may run in a process of each name: as long a part of the program's as comm holds, CNI plugins aside."""
    found: Dict[str, _Program] = {}
    for name, program in sorted(programs.items()):
        if not program.is_elsewhere(""):
            merged = found.setdefault(name[:_MAX_NAME], _Program({}, set(), program.component, set()))
            merged.digests.update(program.digests)
            merged.paths.update(program.paths)
            merged.references.update(program.references)
    return found


def _daemons(node: Node, manifests: Sequence[Listed], programs: Dict[str, _Program], running: Set[str]) -> List[Result]:
    """Say which of the daemons that every node of the role runs was not seen to run."""
    here = {name for listed in manifests for name in wanted_components(listed, node.role).here}
    advice = "Start the node's services, or leave this out with --skip processes."
    return [
        Result(ID, name, UNKNOWN, "running", "not running", of_component({"code": "not-running"}, name), advice)
        for name in _DAEMONS
        if name in here and name in programs and name not in running
    ]


def _pids() -> List[int]:
    return sorted(int(name) for name in os.listdir(_PROC) if name.isdigit())


def _name(pid: int) -> str:
    try:
        return _told(pid, "comm").rstrip("\n")
    except OSError:
        return ""


def _told(pid: int, name: str) -> str:
    """Read what the kernel tells of a process; nobody can put links or devices there."""
    parts, size = [], 0
    descriptor = os.open("{}/{}/{}".format(_PROC, pid, name), os.O_RDONLY | os.O_CLOEXEC)
    try:
        while size < _MAX_TOLD:
            part = os.read(descriptor, _MAX_TOLD - size)
            if not part:
                break
            parts.append(part)
            size += len(part)
    finally:
        os.close(descriptor)
    return b"".join(parts).decode("utf-8", "backslashreplace")


def _look(pid: int, programs: Dict[str, _Program], short: Dict[str, _Program]) -> Optional[_Running]:
    """Say what a process runs; None for a kernel thread, and for a program of another name.

    A file that was moved aside, for an upgrade for instance, takes its new name into /proc/PID/exe (kubelet.old), and
    one that was reached through a link has its own there; comm is the name that it was started by (proc(5)).
    """
    link = "{}/{}/exe".format(_PROC, pid)
    try:
        path = os.readlink(link)
    except FileNotFoundError:
        return None
    deleted = path.endswith(_DELETED)
    path = path[: -len(_DELETED)] if deleted else path
    base = posixpath.basename(path)
    stem = _ASIDE.split(base.strip(".~"))[0]
    name = next((one for one in (base, stem) if one in programs and not programs[one].is_elsewhere(path)), None)
    renamed = name is None
    script = False
    if name is None:
        name = _name(pid)
        by_name = name in short
        name = name if by_name else _run_by(pid, base, short)
        script = not by_name or _runs_script(pid, str(name))
    if name is None:
        return None
    status = os.stat(link)
    container, pod = _container(pid)
    return _Running(name, renamed, script, path, deleted, container, pod, (status.st_dev, status.st_ino))


def _runs_script(pid: int, name: str) -> bool:
    """Tell an interpreter, which has the script's path as its first or second argument (execve(2))."""
    arguments = _told(pid, "cmdline").split("\0")[1:3]
    return any(posixpath.basename(one)[:_MAX_NAME] == name for one in arguments)


def _run_by(pid: int, base: str, short: Dict[str, _Program]) -> Optional[str]:
    """Give the component's name of the file that a loader or an interpreter was told to run; None for any other."""
    is_loader = _LOADER.match(base) is not None
    if not is_loader and _INTERPRETER.match(base) is None:
        return None
    arguments = _told(pid, "cmdline").split("\0")[1:_MAX_ARGUMENTS]
    if not is_loader:
        # The first that is no option, unless it is no file but a command.
        first = next((number for number, one in enumerate(arguments) if not one.startswith("-")), 0)
        arguments = [] if any(map(_COMMAND.match, arguments[:first])) else arguments[first : first + 1]
    names = (posixpath.basename(one)[:_MAX_NAME] for one in arguments)
    return next((one for one in names if one in short), None)


def _container(pid: int) -> Tuple[Optional[str], Optional[str]]:
    """Give the container and the pod that a process belongs to, as far as its control groups tell."""
    try:
        return read_cgroup(_told(pid, "cgroup"))
    except OSError:
        return None, None


def read_cgroup(text: str) -> Tuple[Optional[str], Optional[str]]:
    """Read a container's id and a pod's UID from /proc/PID/cgroup (cgroups(7)); None for what it does not tell."""
    container, pod = None, None
    for line in text.splitlines():
        path = line.split(":", 2)[-1]
        in_container, in_pod = _CONTAINER.search(path), _POD.search(path)
        container = container or (in_container.group(1) if in_container else None)
        pod = pod or (in_pod.group(1).replace("_", "-") if in_pod else None)
    return container, pod


def _compare(node: Node, running: _Running, pids: Sequence[int], program: _Program) -> Optional[Result]:
    """Hash what runs; None where all of its processes have ended meanwhile."""
    subject = visible("{} ({})".format(running.path, _shown(pids)), 300)
    expected = visible(" or ".join("sha256:" + digest for digest in sorted(program.digests)), 400)
    told = {"pids": list(pids[:_MAX_SHOWN]), "count": len(pids), "deleted": running.deleted}
    evidence = of_component(told, program.component)
    for name, value in (("container", running.container), ("pod", running.pod)):
        if value is not None:
            evidence[name] = value
    try:
        found = _digest(node, running, pids)
    except OSError as error:
        evidence["code"] = errno.errorcode.get(error.errno or 0, "unknown")
        return Result(ID, subject, UNKNOWN, expected, "not readable", evidence, "Run it as root.")
    except (tree.NotRegular, tree.Unstable) as error:
        return Result(ID, subject, UNKNOWN, expected, str(error) or "changing", evidence, "Run it again.")
    if found is None:
        return None
    if not found.sha256:
        return Result(ID, subject, FAIL, expected, "{} bytes".format(found.size), evidence, _FIND_OUT)
    return _judge(running, program, Result(ID, subject, FAIL, expected, "sha256:" + found.sha256, evidence))


def _judge(running: _Running, program: _Program, seen: Result) -> Result:
    digest = str(seen.actual).partition(":")[2]
    evidence = dict(seen.evidence)
    listed_path = running.path in program.paths
    if not listed_path:
        evidence["path"] = "not-listed"
    if running.deleted:
        evidence["code"] = "deleted"
        was = "a listed file" if digest in program.digests else "an unlisted file"
        actual = "{} ({}), replaced on disk since it was started".format(seen.actual, was)
        return seen._replace(expected="the installed file", actual=actual, evidence=evidence, advice=_RESTART)
    if digest not in program.digests and running.script:
        evidence["code"] = "script"
        actual = "an interpreter or a loader, which runs a file of that name"
        return seen._replace(status=UNKNOWN, actual=actual, evidence=evidence, advice=_FIND_OUT)
    if digest not in program.digests:
        evidence["code"] = "digest" if listed_path else "outside"
        contained = running.container is not None and program.references
        advice = containers.advice_for(sorted(program.references)) if contained else _FIND_OUT
        return seen._replace(evidence=evidence, advice=advice)
    evidence["manifest"] = program.digests[digest]
    return seen._replace(status=PASS, expected=seen.actual, evidence=evidence)


def _digest(node: Node, running: _Running, pids: Sequence[int]) -> Optional[tree.Digest]:
    """Hash the file through the first of its processes that is still there and still runs it."""
    for pid in pids:
        link = "{}/{}/exe".format(_PROC, pid)
        try:
            status = os.stat(link)
            if (status.st_dev, status.st_ino) == running.file:
                return node.digests.of(link.encode("ascii"), _MAX_PROGRAM, follow=True)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ESRCH):
                raise
    return None


def _shown(pids: Sequence[int]) -> str:
    shown = ", ".join(str(pid) for pid in pids[:_MAX_SHOWN])
    more = " and {} more".format(len(pids) - _MAX_SHOWN) if len(pids) > _MAX_SHOWN else ""
    return "pid {}{}".format(shown, more)
