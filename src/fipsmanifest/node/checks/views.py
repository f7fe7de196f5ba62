"""What a daemon finds at the paths of the listed programs: in a mount namespace or root of its own that may be others.

The kubelet and containerd start runc, shims and plugins from there, which do not run long enough to be compared. What
they start is what their configuration says, which `startup` reads where the node has it.
"""

import contextlib
import errno
import os
import posixpath
from typing import Dict, Iterable, Iterator, List, Optional, Sequence, Set, Tuple

from ...trust.text import visible
from .. import systemd, tree
from ..result import FAIL, UNKNOWN, Listed, Node, is_own_program
from . import procfs
from .injected import Problem
from .startup import shell

_MAX_PROGRAM = 4 * 1024 * 1024 * 1024
_CONFIGURATION = (
    *("/etc/kubernetes", "/var/lib/kubelet/config.yaml", "/etc/containerd", "/opt/containerd", "/etc/cni", "/etc/nri"),
    *("/opt/nri", "/etc/cdi", "/etc/ld.so.preload"),
)
_STATE = ("/run/", "/var/lib/")  # where pods' own file systems come and go
_SEARCHED = (*systemd.DEFAULT_PATH, "/opt/containerd/bin")


class Views:
    """The listed programs as daemons see them."""

    def __init__(self, node: Node, manifests: Sequence[Listed]) -> None:
        self._node = node
        self._digests: Dict[str, Set[str]] = {}
        self._done: Set[Tuple[int, ...]] = set()
        for file in (file for listed in manifests for file in listed.manifest.get("files") or []):
            if is_own_program(file, file.get("component")):
                path = str(file["path"])
                beside = [] if "/cni/" in path else [posixpath.join(one, posixpath.basename(path)) for one in _SEARCHED]
                for place in (path, *beside):
                    self._digests.setdefault(place, set()).add(str(file["sha256"]))

    def look(self, pid: int) -> List[Problem]:
        """Return the programs, and files of configuration, that differ where a process has another view than the first.

        Raise `OSError`.

        Processes with the same view are judged once.
        """
        view = _view(pid)
        if view in self._done or view in _usual():
            return []
        self._done.add(view)
        found = (self._judge(pid, path, digests) for path, digests in sorted(self._digests.items()))
        return [*(one for one in found if one is not None), *self._judge_configuration(pid)]

    def _judge(self, pid: int, path: str, digests: Set[str]) -> Optional[Problem]:
        try:
            place = tree.resolve(procfs.link(pid, "root"), path)
            if self._node.digests.of(place, _MAX_PROGRAM).sha256 in digests:
                return None
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return None
            return Problem(UNKNOWN, "other-root", "{} cannot be read where it is started from".format(visible(path)))
        except (tree.NotRegular, tree.Unstable):
            pass
        return Problem(FAIL, "other-root", "{} is another file where it is started from".format(visible(path)))

    def _judge_configuration(self, pid: int) -> Iterator[Problem]:
        named = shell.BETWEEN_PATHS.split(procfs.read(pid, "cmdline").replace("\0", " "))
        places = {*_CONFIGURATION, *(posixpath.normpath(one) for one in named if one.startswith("/"))}
        mounted = {*procfs.mount_points(pid), *procfs.mount_points("self")}
        below = [one for one in mounted if _is_below(one, places) and not one.startswith(_STATE)]
        for path in sorted(places.union(below)):
            try:
                own, usual = (_identity(root, path) for root in (procfs.link(pid, "root"), self._node.root))
                is_same = own == usual or self._has_same_bytes(pid, path)
            except (OSError, tree.NotRegular, tree.Unstable):
                is_same = False
            if not is_same:
                shown = visible(path, 150)
                yield Problem(UNKNOWN, "other-root", "{} is another file or directory for it".format(shown))

    def _has_same_bytes(self, pid: int, path: str) -> bool:
        places = (tree.resolve(root, path) for root in (procfs.link(pid, "root"), self._node.root))
        return len({self._node.digests.of(place, _MAX_PROGRAM) for place in places}) == 1


def _is_below(path: str, places: Iterable[str]) -> bool:
    return any(path.startswith(place + "/") for place in places)


def _identity(root: str, path: str) -> Optional[Tuple[int, int]]:
    """Return which file or directory is at a path below a root; None where there is none."""
    try:
        status = os.stat(tree.resolve(root, path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    return (status.st_dev, status.st_ino)


def _usual() -> List[Tuple[int, ...]]:
    """Return the first process's view, which the check of files has; this one's where that may not be inspected."""
    for pid in (1, os.getpid()):
        with contextlib.suppress(OSError):
            return [_view(pid)]
    return []


def _view(pid: int) -> Tuple[int, ...]:
    root = os.stat(procfs.link(pid, "root/"))
    return (os.stat(procfs.link(pid, "ns/mnt")).st_ino, root.st_dev, root.st_ino)
