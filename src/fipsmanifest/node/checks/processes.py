"""The programs that really run: what /proc/PID/exe opens is the running file, whatever the path holds by now.

A file replaced on disk leaves the old program running (the link ends in " (deleted)"), which a check of files misses;
a file replaced inside a container's snapshot leaves the link as it was. So the running file itself is hashed.

A process is compared where its file, or the process itself, has the name of a listed program, and where it is a
component by its port, unit or pod (`claims`), whatever it is called.
"""

import errno
import os
import stat
from typing import Any, Dict, Iterable, List, Optional, Sequence, Set, Tuple

from ...trust.text import visible
from .. import deadline, packages, tree
from ..result import FAIL, NOT_APPLICABLE, PASS, UNKNOWN, Listed, Node, Result, of_component
from . import claims, container_pods, injected, procfs, variables, views
from .claims import Claim
from .container_pods import Pod
from .images import containers
from .inventory import MAX_NAME, Inventory, Program, required_daemons
from .other_builds import (
    FIND_OUT,
    ID,
    MAX_EXAMINED,
    MAX_PROGRAM,
    MAX_RUNNING,
    MAX_SHOWN,
    UNLISTED,
    OtherBuilds,
    list_pids,
)
from .running import Running, read_running

_MAX_HASHED = 16 * 1024 * 1024 * 1024
_SECONDS = 120.0  # for all of them; a node's own programs take 1 or 2
_RESTART = "Restart the program, so that the installed file runs."
_ANOTHER = "another-program"
_OF_HOST = ("kubelet", "containerd")  # with the shims
_UNMOUNT = "Unmount it, find out who put it there, and run this again: it hides what the kernel says."
_HOST_PIDS = "Run it in the host's PID namespace (hostPID: true in a pod, --pid=host)."
_START = "Start the node's services, or leave this out with --skip processes."
_NO_PROXY = (
    "Let kube-proxy run from the manifest's image. Where another program does its work (Cilium, for instance), the "
    "release's definition must not list kube-proxy in node.roles: ask its publisher for such a manifest."
)


def check(node: Node, manifests: Sequence[Listed]) -> List[Result]:
    """Compare every running program that is, or is called like, a component's with the manifests; raises nothing."""
    if not node.live:
        return [Result(ID, ID, NOT_APPLICABLE, actual="at rest")]
    one = _Check(node, manifests)
    try:
        if not deadline.within(node.left(_SECONDS), one.run):
            one.is_late.append(True)
            # The thread may still add to it.
            return [*list(one.doubts), *list(one.results), _late()]
    except OSError as error:
        advice = "Run it where /proc is the node's own."
        actual = "{}: {}".format(procfs.PROC, error.strerror)
        return [Result(ID, ID, UNKNOWN, None, actual, advice=advice)]
    return one.doubts + one.results


def _late() -> Result:
    advice = "Find out what starts so many, or whose file system does not answer; then run it again."
    actual = "not all programs could be compared in time"
    return Result(ID, "deadline", UNKNOWN, None, actual, {"code": "deadline"}, advice)


class _Check:
    """The comparison of all processes."""

    def __init__(self, node: Node, manifests: Sequence[Listed]) -> None:
        self._node = node
        self._inventory = Inventory(manifests)
        self._manifests = manifests
        self._packages = packages.Packages(node.root)
        self._views = views.Views(node, manifests)
        self.results: List[Result] = []
        self.doubts: List[Result] = []
        """What of all processes cannot be determined, whatever the components' are."""
        self.is_late: List[bool] = []
        """Not empty once the time is over, and the rest is not reported."""
        self._running: Dict[Running, List[int]] = {}
        self._hidden = self._beyond = self._hashed = 0
        self._others = OtherBuilds(node, manifests, self._inventory)
        self._seen: Set[Tuple[str, str]] = set()
        """Names, as far as comm holds them, and digests of the programs that passed, outside of workloads."""

    def run(self) -> None:
        """Find, compare, and look for what is missing; raises `OSError` where there is no list of processes."""
        self.doubts += _covered()
        unowned = self._find(procfs.pids())
        for running in sorted(self._running, key=lambda one: one.rank):
            if self.is_late:
                return
            self.results += self._compare(running, self._running[running])
        self.results += self._others.results(self.is_late)
        for claim in unowned:
            component = self._inventory.component_of(claim.component)
            evidence = of_component({"code": "owner", "claims": [claim.shown]}, component)
            told = "which process has {} cannot be determined".format(claim.shown)
            advice = "Run it as root and in the host's PID namespace."
            self.results.append(Result(ID, claim.component, UNKNOWN, "a listed program", told, evidence, advice))
        self.results += self._absent() if self.results else []
        if self._hidden:
            advice, evidence = "Run it as root.", {"count": self._hidden}
            self.results.append(Result(ID, "hidden", UNKNOWN, None, "not readable", evidence, advice))
        if self._beyond:
            advice = "Find out what starts so many copies of the components' programs."
            actual = "more than {} different ones run; {} processes were not compared"
            actual = actual.format(MAX_RUNNING, self._beyond)
            self.results.append(Result(ID, "beyond", UNKNOWN, None, actual, {"count": self._beyond}, advice))
        if not self.results:
            advice = _START if procfs.sees_all() else _HOST_PIDS
            self.results.append(Result(ID, ID, UNKNOWN, actual="none of the components runs", advice=advice))

    def _find(self, pids: Sequence[int]) -> List[Claim]:
        """Collect the processes to compare, and return the claims that no process could be found for."""
        pids = list(pids)
        known, groups, units = container_pods.read_all(self._node), {}, {}
        for pid in pids:
            text = procfs.cgroup(pid)
            groups[pid] = procfs.read_cgroup(text)
            units[pid] = procfs.unit(text)
        pods = {pid: known.get(str(container)) for pid, (container, _) in groups.items()}
        # A control group is easily entered; a container has mounts of its own as well.
        own = {pid: p for pid, p in pods.items() if p is not None and not (p.is_workload and procfs.shares_mounts(pid))}
        found = claims.find(self._node, self._manifests, self._inventory, units, own)
        self.doubts += _strangers({pid: one[0] for pid, one in groups.items() if None not in one}, known)
        for pid in pids:
            mine = tuple(sorted(set(found.claims.get(pid, []))))
            try:
                one = read_running(pid, self._inventory, groups[pid], own.get(pid), mine)
                if one is None:
                    pod = own.get(pid)
                    if pod is None or not pod.is_workload:
                        self._beyond += not self._others.note(pid)
                elif one in self._running or len(self._running) < MAX_RUNNING:
                    self._running.setdefault(one, []).append(pid)
                else:
                    self._beyond += 1
            except OSError as error:
                # A process that has ended meanwhile is no finding; a component that may not be inspected is.
                denied = error.errno in (errno.EACCES, errno.EPERM)
                self._hidden += denied and bool(mine or procfs.comm(pid) in self._inventory.by_comm)
        return found.unowned

    def _program(self, running: Running) -> Optional[Program]:
        found = self._inventory.by_comm if running.renamed else self._inventory.programs
        return found.get(running.name)

    def _allowed(self, claim: Claim) -> Set[str]:
        """Return the digests that a process with this claim may have."""
        if claim.kind == claims.POD:
            # Its image's shells and tools are started beside the program.
            return self._inventory.components[claim.component].files
        if claim.kind == claims.OPTION:
            # A program that reads or wraps a component's files may have its options.
            return set(self._inventory.sizes)
        return set(self._inventory.of(claim.component))

    def _describe(self, running: Running, pids: Sequence[int], program: Optional[Program]) -> Dict[str, Any]:
        """Return the evidence of which processes these are, and whose."""
        component = program.component if program else None
        if running.claims:
            component = self._inventory.component_of(running.claims[0].component)
        told = {"pids": list(pids[:MAX_SHOWN]), "count": len(pids), "deleted": running.deleted}
        evidence = of_component(told, component)
        pod = running.uid if running.pod is None else running.pod.uid or running.uid
        for name, value in (("container", running.container), ("pod", pod)):
            if value is not None:
                evidence[name] = value
        if running.pod is not None:
            evidence["pod_name"] = visible(running.pod.shown)
        if running.claims:
            evidence["claims"] = [visible(claim.shown) for claim in running.claims]
        return evidence

    def _compare(self, running: Running, pids: Sequence[int]) -> List[Result]:
        """Judge a running program; nothing where all of its processes have ended meanwhile."""
        program = self._program(running)
        subject = visible("{} ({})".format(running.path, list_pids(pids)), 300)
        evidence = self._describe(running, pids, program)
        if running.is_workload:
            del evidence["component"]
            evidence["code"] = "workload"
            return [Result(ID, subject, NOT_APPLICABLE, None, "an application's, in another pod", evidence)]
        wanted = set(program.digests) if program else set()
        for claim in running.claims:
            wanted |= self._allowed(claim)
        by_claim = self._inventory.of(running.claims[0].component) if running.claims else ()
        shown = sorted(program.digests) if program else sorted(by_claim)
        expected = visible(" or ".join("sha256:" + digest for digest in shown) or "a listed program", 400)
        try:
            found = self._digest(running, pids, wanted)
        except OSError as error:
            evidence["code"] = errno.errorcode.get(error.errno or 0, "unknown")
            return [Result(ID, subject, UNKNOWN, expected, "not readable", evidence, "Run it as root.")]
        except (tree.NotRegular, tree.Unstable) as error:
            return [Result(ID, subject, UNKNOWN, expected, str(error) or "changing", evidence, "Run it again.")]
        if found is None:
            return []
        seen = Result(ID, subject, FAIL, expected, "sha256:" + found.sha256, evidence)
        if not found.sha256:
            seen = seen._replace(actual="{} bytes, the size of no listed program".format(found.size))
        result = self._judge(running, program, found.sha256, seen)
        if result.status == UNKNOWN and result.evidence.get("code") == _ANOTHER:
            # It is known by its options alone, which is a doubt; its build info may be certain.
            return self._others.certain(pids[0], running.path) or [result]
        if result.status != PASS:
            return [result]
        built_in = self._inventory.native.get(found.sha256)
        if built_in is not None:
            evidence = dict(result.evidence, fips140=visible(built_in, 20))
            result = result._replace(evidence=evidence)
        result = self._examine(running, pids, found.sha256, result)
        is_tool = not running.name and found.sha256 not in by_claim
        return [] if is_tool and result.status == PASS else [result]

    def _digest(self, running: Running, pids: Sequence[int], wanted: Set[str]) -> Optional[tree.Digest]:
        """Hash the file through the first of its processes that is still there and still runs it.

        The digest is empty where no file of that size is listed.
        """
        for pid in pids:
            link = procfs.link(pid)
            try:
                status = os.stat(link)
                if (status.st_dev, status.st_ino) != running.file:
                    continue
                if not stat.S_ISREG(status.st_mode):
                    raise tree.NotRegular(tree.kind(status.st_mode))
                if status.st_size > MAX_PROGRAM or not self._inventory.may_have(status.st_size, wanted):
                    return tree.Digest("", status.st_size)
                if self._hashed + status.st_size > _MAX_HASHED and not running.claims:
                    raise tree.Unstable("too much to compare: {} bytes were read".format(self._hashed))
                self._hashed += status.st_size
                return self._node.digests.of(link.encode("ascii"), MAX_PROGRAM, follow=True)
            except OSError as error:
                if not procfs.has_ended(pid, error):
                    raise
        return None

    def _judge(self, running: Running, program: Optional[Program], digest: str, seen: Result) -> Result:
        evidence = dict(seen.evidence)
        listed_path = program is not None and running.path in program.paths
        if program is not None and not listed_path:
            evidence["path"] = "not-listed"
        is_listed = program is not None and digest in program.digests
        denied = [claim for claim in running.claims if digest not in self._allowed(claim)]
        if running.deleted and (program is not None or denied):
            evidence["code"] = "deleted"
            was = "a listed file" if digest in self._inventory.sizes else "an unlisted file"
            actual = "{} ({}), replaced on disk since it was started".format(seen.actual, was)
            # Where nothing listed is installed, a restart runs nothing better.
            advice = _RESTART if digest in self._inventory.sizes or (listed_path and not denied) else UNLISTED
            return seen._replace(expected="the installed file", actual=actual, evidence=evidence, advice=advice)
        if running.script and not is_listed:
            evidence["code"] = "script"
            actual = "an interpreter or a loader, which runs a file of that name"
            return seen._replace(status=UNKNOWN, actual=actual, evidence=evidence, advice=FIND_OUT)
        if denied:
            return self._deny(denied, seen._replace(evidence=evidence))
        is_certain = any(claim.kind != claims.OPTION for claim in running.claims)
        if program is not None and not is_listed and not is_certain:
            evidence["code"] = "digest" if listed_path else "outside"
            contained = running.container is not None and program.references
            advice = containers.advice_for(sorted(program.references)) if contained else FIND_OUT
            return seen._replace(evidence=evidence, advice=advice)
        if program is not None and is_listed:
            evidence["manifest"] = program.digests[digest]
        names = [running.name, *(claim.component for claim in running.claims)]
        self._seen.update((name[:MAX_NAME], digest) for name in names)
        return seen._replace(status=PASS, expected=seen.actual, evidence=evidence)

    def _deny(self, denied: Sequence[Claim], seen: Result) -> Result:
        """Judge a program that is not listed, and is a component by what it has."""
        certain = [claim for claim in denied if claim.kind != claims.OPTION]
        claim = (certain or denied)[0]
        if all(one.kind == claims.UNIT for one in denied) and self._is_seen(claim.component, self._allowed(claim)):
            # A helper that outlived its parent, as mounts of FUSE do.
            evidence = dict(seen.evidence, code="beside")
            actual = "another program in the unit, beside the listed one"
            return seen._replace(status=NOT_APPLICABLE, expected=None, actual=actual, evidence=evidence)
        component = self._inventory.component_of(claim.component)
        listed = self._inventory.components.get(component)
        references = sorted(listed.references) if listed else []
        advice = UNLISTED
        if claim.kind == claims.POD and references:
            advice = "Let the pod run the program of {}, without another command or a volume over it.".format(
                visible(" or ".join(references), 200)
            )
        actual = visible("{}, which is {} by its {}".format(seen.actual, claim.component, claim.shown), 400)
        evidence = of_component(dict(seen.evidence, code=_ANOTHER), component)
        status = FAIL if certain else UNKNOWN
        return seen._replace(status=status, actual=actual, evidence=evidence, advice=advice)

    def _examine(self, running: Running, pids: Sequence[int], digest: str, seen: Result) -> Result:
        """Find code in the processes of a listed program, which has this digest, that is not its own."""
        evidence = dict(seen.evidence)
        names = [running.name, *(claim.component for claim in running.claims)]
        is_daemon = running.container is None and any(one.startswith(_OF_HOST) for one in names)
        problems: List[injected.Problem] = []
        by_name: Set[str] = set()
        for pid in pids[:MAX_EXAMINED]:
            try:
                problems = injected.look(
                    self._node, pid, running.container is not None, self._inventory, self._packages
                )
                problems += injected.settings(pid)
                problems += self._views.look(pid) if is_daemon else []
            except OSError as error:
                if procfs.has_ended(pid, error):
                    continue
                name = errno.errorcode.get(error.errno or 0, "unknown")
                problems = [injected.Problem(UNKNOWN, "mappings", "its memory map cannot be read ({})".format(name))]
            value = injected.godebug(pid)
            if value is not None:
                evidence["godebug"] = visible(value, 100)
                mode = variables.fips140(value)
                if mode is not None and "fips140" in evidence:
                    evidence["fips140"] = visible(mode, 20) or "off"
                if digest not in self._inventory.without_mode and variables.switches_fips_off(value):
                    problems.append(injected.Problem(FAIL, "godebug", "GODEBUG turns FIPS mode off"))
            by_name.update(one.detail for one in problems if one.status == PASS)
            problems = [one for one in problems if one.status != PASS]
            if problems:
                evidence["pid"] = pid
                break
        if by_name:
            evidence.update(libraries=injected.BY_NAME, library_paths=sorted(by_name)[:MAX_SHOWN])
        if not problems:
            return seen._replace(evidence=evidence)
        status = FAIL if any(one.status == FAIL for one in problems) else UNKNOWN
        first = next(one for one in problems if one.status == status)
        evidence.update(code=first.code, problems=[one.detail for one in problems[:MAX_SHOWN]])
        advice = "Find out who put it there, remove it, and restart the program."
        if first.code == "mappings":
            advice = "Run it as root, in a container with the capabilities SYS_PTRACE and DAC_READ_SEARCH."
        if first.code == injected.REPLACED:
            advice = "Restart it: an update may have replaced the library. If none did, find out who removed it."
        expected = "its own program and listed libraries alone"
        return seen._replace(status=status, expected=expected, actual=first.detail, evidence=evidence, advice=advice)

    def _is_seen(self, name: str, digests: Iterable[str]) -> bool:
        return any((name[:MAX_NAME], digest) in self._seen for digest in digests)

    def _absent(self) -> List[Result]:
        """Return the daemons that the node's role requires and that were not seen to run."""
        found = []
        told = {str(one.evidence.get("component")) for one in self.results if one.status in (FAIL, UNKNOWN)}
        for name in required_daemons(self._node.role, self._manifests, self._inventory):
            program = self._inventory.programs[name]
            if self._is_seen(name, program.digests) or told.intersection((name, program.component)):
                continue
            is_certain = name == "kube-proxy" and not self._hidden and not self._beyond
            advice = _NO_PROXY if name == "kube-proxy" else _START if procfs.sees_all() else _HOST_PIDS
            evidence = of_component({"code": "not-running"}, program.component)
            status = FAIL if is_certain else UNKNOWN
            found.append(Result(ID, name, status, "running", "not running", evidence, advice))
        return found


def _covered() -> List[Result]:
    """Return an unknown result for what is mounted over the kernel's own files."""
    try:
        places = procfs.covered()
    except OSError:
        places = [procfs.link("self", "mountinfo")]
    expected, evidence = "the kernel's own", {"code": "mounted-over"}
    return [Result(ID, visible(one), UNKNOWN, expected, "mounted over", evidence, _UNMOUNT) for one in places]


def _strangers(contained: Dict[int, Optional[str]], known: Dict[str, Optional[Pod]]) -> List[Result]:
    """Return an unknown result where pods' containers are not in containerd's database: whose they are is not known."""
    pids = sorted(pid for pid, container in contained.items() if container not in known)
    if not pids:
        return []
    evidence = {"code": "pod-unknown", "pids": pids[:MAX_SHOWN], "count": len(pids)}
    actual = "{} processes in pods' containers that containerd's database does not have".format(len(pids))
    advice = "Find out what started them; if the database cannot be read, run it as root, and again."
    return [Result(ID, "containers", UNKNOWN, "containers that containerd knows", actual, evidence, advice)]
