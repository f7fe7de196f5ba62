"""What a process runs, and which listed program that is or claims to be.

A file that was moved aside or reached through a link, a script and a program that the loader starts have other names in
/proc/PID/exe than the process has (proc(5)).
"""

import os
import posixpath
import re
from typing import Dict, NamedTuple, Optional, Tuple

from . import procfs
from .claims import Claim
from .container_pods import Pod
from .inventory import MAX_NAME, Inventory, Program

_MAX_ARGUMENTS = 32
_ASIDE = re.compile(r"[.~]")  # kubelet.bak, kubelet~
# What runs other files: the loader (ld.so(8)), whose process bears its own name alone, and interpreters told by name.
_LOADER = re.compile(r"ld(?:-|64|\.so)[^/]*\Z")
_INTERPRETER = re.compile(r"(?:platform-python|python|perl|ruby|busybox|[a-z]{0,3}sh)[0-9.]*\Z")
_COMMAND = re.compile(r"-[A-Za-z]*c")


class Running(NamedTuple):
    """A program that runs: processes of the same file, path, container and claims are one."""

    name: str
    """Of the listed program that it is, or claims to be; of its process (comm), where the file bears another one; empty
    where it has no listed name."""
    renamed: bool
    """Whether its process alone has a listed name: the file was moved aside, or reached through a link."""
    script: bool
    """Whether an interpreter runs a script of that name, or the loader a program."""
    path: str
    deleted: bool
    container: Optional[str]
    uid: Optional[str]
    """Its pod's."""
    pod: Optional[Pod]
    claims: Tuple[Claim, ...]
    file: Tuple[int, int]
    """Device and inode."""
    owner: int
    """User id of the process."""

    @property
    def is_workload(self) -> bool:
        """Return whether it belongs to an application's pod and does not have what is a component's."""
        return self.pod is not None and self.pod.is_workload and not self.claims

    @property
    def rank(self) -> Tuple[bool, bool, bool]:
        """Return its place in the order: any user can start a program that takes long to hash."""
        return (not self.claims, not self.name, self.owner != 0)


def read_running(
    pid: int,
    inventory: Inventory,
    group: Tuple[Optional[str], Optional[str]],
    pod: Optional[Pod],
    claims: Tuple[Claim, ...],
) -> Optional[Running]:
    """Return what a process runs; None for a kernel thread, and for what has no component's name or claim.

    A file that was moved aside, for an upgrade for instance, takes its new name into /proc/PID/exe (kubelet.old),
    and one that was reached through a link has its own there; comm is the name that it was started by (proc(5)).
    """
    programs, short = inventory.programs, inventory.by_comm
    try:
        path = os.readlink(procfs.link(pid))
    except OSError as error:
        if procfs.has_ended(pid, error):
            return None
        raise
    deleted = path.endswith(procfs.DELETED)
    path = path[: -len(procfs.DELETED)] if deleted else path
    base = posixpath.basename(path)
    stem = _ASIDE.split(base.strip(".~"))[0]
    name = next((one for one in (base, stem) if one in programs and not programs[one].is_elsewhere(path)), None)
    renamed = name is None
    script = False
    if name is None:
        name = procfs.comm(pid)
        by_name = name in short
        name = name if by_name else _run_by(pid, base, short)
        script = name is not None and (not by_name or _runs_script(pid, name))
    if name is None and not claims:
        return None
    status = os.stat(procfs.link(pid))
    owner = os.stat(procfs.link(pid, "")).st_uid
    file = (status.st_dev, status.st_ino)
    return Running(name or "", renamed, script, path, deleted, group[0], group[1], pod, claims, file, owner)


def _runs_script(pid: int, name: str) -> bool:
    """Return whether it is an interpreter, which has the script's path as its first or second argument (execve(2))."""
    arguments = procfs.read(pid, "cmdline").split("\0")[1:3]
    return any(posixpath.basename(one)[:MAX_NAME] == name for one in arguments)


def _run_by(pid: int, base: str, short: Dict[str, Program]) -> Optional[str]:
    """Return the component's name of the file that a loader or an interpreter was started with; None for any other."""
    is_loader = _LOADER.match(base) is not None
    if not is_loader and _INTERPRETER.match(base) is None:
        return None
    arguments = procfs.read(pid, "cmdline").split("\0")[1:_MAX_ARGUMENTS]
    if not is_loader:
        # The first argument that is not an option, unless that is a command.
        first = next((number for number, one in enumerate(arguments) if not one.startswith("-")), 0)
        arguments = [] if any(map(_COMMAND.match, arguments[:first])) else arguments[first : first + 1]
    names = (posixpath.basename(one)[:MAX_NAME] for one in arguments)
    return next((one for one in names if one in short), None)
