"""Running programs that have neither a name nor a claim of a component's, and are another build of one.

Nothing but their build info distinguishes them. What a loader starts is among what it has mapped.
"""

import os
from typing import Dict, List, Sequence, Tuple

from ...trust.text import visible
from .. import tree
from ..formats import elf
from ..result import FAIL, UNKNOWN, Listed, Node, Result, of_component
from . import builds, injected, procfs
from .inventory import Inventory

ID = "processes"
"""The check that reports them."""
MAX_PROGRAM = 4 * 1024 * 1024 * 1024
MAX_RUNNING = 5000  # different ones; the kubelet's own limit is 110 pods, and large nodes have some hundreds
MAX_EXAMINED = 2000
MAX_SHOWN = 20
FIND_OUT = "Find out who started it, and install the release's packages again."
UNLISTED = "Find out who started it and stop it; start the program that the manifest lists in its place."


class OtherBuilds:
    """The programs to examine, each once, with the processes that run it."""

    def __init__(self, node: Node, manifests: Sequence[Listed], inventory: Inventory) -> None:
        self._node = node
        self._known = builds.Builds(manifests)
        self._inventory = inventory
        self._pids: Dict[Tuple[int, int], List[int]] = {}

    def note(self, pid: int) -> bool:
        """Note the program of a process; return whether there was room for it. Raises `OSError` for one that ended."""
        status = os.stat(procfs.link(pid))
        file = (status.st_dev, status.st_ino)
        if file not in self._pids and len(self._pids) >= MAX_RUNNING:
            return False
        self._pids.setdefault(file, []).append(pid)
        return True

    def results(self, is_late: Sequence[bool]) -> List[Result]:
        """Judge the programs that were noted; the rest is left out once ``is_late`` is not empty."""
        found: List[Result] = []
        examined = set(self._pids)
        for pids in self._pids.values():
            if is_late:
                break
            try:
                path = os.readlink(procfs.link(pids[0]))
            except OSError:
                continue  # It has ended.
            is_loader = self._examine(pids[0], path, procfs.link(pids[0]), found)
            # What a loader starts is among what it has mapped, and it is not the loader.
            for pid in pids[:MAX_EXAMINED] if is_loader else ():
                for code in injected.code_files(pid):
                    if not code.place:
                        found.append(_unreadable_code(pid, code.path))
                    elif code.file not in examined:
                        examined.add(code.file)
                        self._examine(pid, code.path, code.place, found)
        return found

    def certain(self, pid: int, path: str) -> List[Result]:
        """Return the failure of a process's program, shown as ``path``, where it is another build; else nothing."""
        found: List[Result] = []
        self._examine(pid, path, procfs.link(pid), found)
        return [one for one in found if one.status == FAIL]

    def _examine(self, pid: int, path: str, place: str, found: List[Result]) -> bool:
        """Add a result where a file of a process is another build; return whether the kernel starts it as a loader.

        ``path`` is what the kernel shows of it, and ``place`` where it is opened.
        """
        subject = visible("{} ({})".format(path, list_pids([pid])), 300)
        try:
            descriptor = tree.open_file(os.fsencode(place), follow=True)
        except (OSError, tree.NotRegular):
            return False  # It has ended.
        evidence = {"code": "other-build", "pids": [pid]}
        is_loader = False
        try:
            kinds = elf.segments(descriptor)
            is_loader = bool(kinds) and elf.INTERPRETER not in kinds
            component = self._known.of(descriptor)
            digest = component and self._node.digests.of(os.fsencode(place), MAX_PROGRAM, follow=True).sha256
            if component and digest not in self._inventory.sizes:
                actual = "sha256:{}, another build of {}".format(digest, component)
                seen = Result(ID, subject, FAIL, "a listed program", visible(actual, 400), {}, UNLISTED)
                found.append(seen._replace(evidence=of_component(evidence, component)))
        except builds.TooLarge as error:
            evidence["code"] = "too-large"
            found.append(Result(ID, subject, UNKNOWN, None, str(error), evidence, FIND_OUT))
        except (OSError, tree.NotRegular, tree.Unstable) as error:
            found.append(Result(ID, subject, UNKNOWN, None, visible(str(error)), evidence, "Run it again."))
        finally:
            os.close(descriptor)
        return is_loader


def _unreadable_code(pid: int, path: str) -> Result:
    """Return the result of code that a loader may have started, and that cannot be opened."""
    subject = visible("{} ({})".format(path, list_pids([pid])), 300)
    actual = "mapped by a loader, and cannot be found at its path"
    evidence = {"code": "other-build", "pids": [pid]}
    return Result(ID, subject, UNKNOWN, "a file that can be read", actual, evidence, FIND_OUT)


def list_pids(pids: Sequence[int]) -> str:
    """Return process numbers for a message."""
    first = ", ".join(str(pid) for pid in pids[:MAX_SHOWN])
    more = " and {} more".format(len(pids) - MAX_SHOWN) if len(pids) > MAX_SHOWN else ""
    return "pid {}{}".format(first, more)
