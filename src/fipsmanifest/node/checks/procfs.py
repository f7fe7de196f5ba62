"""Processes as the kernel reports them (proc(5))."""

import contextlib
import errno
import os
import re
from typing import List, Optional, Tuple, Union

from .. import tree

PROC = "/proc"
DELETED = " (deleted)"
_MAX_READ = 64 * 1024
_INITIAL_PID_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO, include/linux/proc_ns.h

# How the kubelet and containerd name control groups, with the cgroupfs driver and with systemd's:
# /kubepods/burstable/podUID/ID and .../kubepods-burstable-podUID_WITH_UNDERSCORES.slice/cri-containerd-ID.scope.
_CONTAINER = re.compile(r"(?:^|[/:-])([0-9a-f]{64})(?:\.scope)?$", re.ASCII)
_POD = re.compile(
    r"pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?(?:[/:]|$)", re.ASCII
)
_READ = re.compile(r"/proc(?:/(?:[0-9]+(?:/.*)?|net(?:/.*)?|cmdline|sys|sys/crypto(?:/.*)?))?\Z")  # by the checks
_MAX_MOUNTS = 32 * 1024 * 1024
_OCTAL = re.compile(r"\\(040|011|012|134)")  # blanks and backslashes of mountinfo
_UNIT = re.compile(r"/([A-Za-z0-9:_.\\@-]+)\.service(?:/|$)")


def pids() -> List[int]:
    """Return the ids of all processes; raises `OSError`.

    A process whose first thread has ended shows its program, memory and files with the id of another thread alone.
    """
    return sorted(_alive(int(name)) for name in os.listdir(PROC) if name.isdigit())


def _alive(pid: int) -> int:
    """Return the id of a thread of a process that has not ended; the process's own for a kernel thread."""
    with contextlib.suppress(OSError):
        os.readlink(link(pid))
        return pid
    with contextlib.suppress(OSError):
        for thread in os.listdir(link(pid, "task")):
            with contextlib.suppress(OSError):
                os.readlink(link(int(thread)))
                return int(thread)
    return pid


def shares_mounts(pid: int) -> bool:
    """Return whether a process has the mount namespace of the first or of this one; False where that is not known."""
    for other in (1, os.getpid()):
        with contextlib.suppress(OSError):
            if os.readlink(link(pid, "ns/mnt")) == os.readlink(link(other, "ns/mnt")):
                return True
    return False


def covered() -> List[str]:
    """Return what is mounted over the kernel's own files that the checks read; raises `OSError`.

    A mount shows something else than the kernel says, unless it is the same part of the same file system, as of
    containers' read-only ones.
    """
    found = []
    try:
        table = tree.read_small("/", PROC + "/self/mountinfo", _MAX_MOUNTS)
    except tree.NotRegular as error:
        raise OSError(errno.EINVAL, str(error))
    for line in table.splitlines():
        # ID PARENT MAJOR:MINOR ROOT MOUNTPOINT OPTIONS ... - TYPE SOURCE OPTIONS (proc(5))
        fields, kind = line.split(" "), line.partition(" - ")[2].split(" ")[0]
        if len(fields) > 4 and _READ.match(fields[4]):
            own = fields[4][len(PROC) :] or "/"
            found += [] if kind == "proc" and fields[3] == own else [fields[4]]
    return found


def mount_points(pid: Union[int, str]) -> List[str]:
    """Return where something is mounted in a process's mount namespace, as paths below its root; raises `OSError`."""
    lines = (line.split(" ") for line in read(pid, "mountinfo", _MAX_MOUNTS).splitlines())
    return [_OCTAL.sub(lambda match: chr(int(match.group(1), 8)), fields[4]) for fields in lines if len(fields) > 4]


def link(pid: Union[int, str], name: str = "exe") -> str:
    """Return the path of an entry of a process's directory."""
    return "{}/{}/{}".format(PROC, pid, name)


def has_ended(pid: int, error: OSError) -> bool:
    """Return whether an error at an entry of a process's directory means that the process has ended.

    The kernel refuses to follow a link of one that ended after it was found (proc_fd_access_allowed, fs/proc/base.c).
    """
    refused = error.errno == errno.EACCES and not os.path.isdir(link(pid, ""))
    return refused or error.errno in (errno.ENOENT, errno.ESRCH)


def read(pid: Union[int, str], name: str, limit: int = _MAX_READ) -> str:
    """Read an entry of a process's directory, at most ``limit`` bytes; raises `OSError`."""
    parts, size = [], 0
    descriptor = os.open(link(pid, name), os.O_RDONLY | os.O_CLOEXEC)
    try:
        while size < limit:
            part = os.read(descriptor, limit - size)
            if not part:
                break
            parts.append(part)
            size += len(part)
    finally:
        os.close(descriptor)
    return b"".join(parts).decode("utf-8", "backslashreplace")


def comm(pid: int) -> str:
    """Return the name that a process was started by, at most 15 characters; empty where it has ended."""
    try:
        return read(pid, "comm").rstrip("\n")
    except OSError:
        return ""


def parent(pid: int) -> int:
    """Return the id of a process's parent; 0 where there is none, or it cannot be read."""
    try:
        # The name, in parentheses, may hold anything.
        return int(read(pid, "stat").rpartition(")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return 0


def cgroup(pid: int) -> str:
    """Return a process's control groups as the kernel writes them; empty where they cannot be read."""
    try:
        return read(pid, "cgroup")
    except OSError:
        return ""


def read_cgroup(text: str) -> Tuple[Optional[str], Optional[str]]:
    """Return the container's id and the pod's UID in /proc/PID/cgroup (cgroups(7)); None for what it does not name."""
    container, pod = None, None
    for line in text.splitlines():
        path = line.split(":", 2)[-1]
        in_container, in_pod = _CONTAINER.search(path), _POD.search(path)
        container = container or (in_container.group(1) if in_container else None)
        pod = pod or (in_pod.group(1).replace("_", "-") if in_pod else None)
    return container, pod


def unit(text: str) -> Optional[str]:
    """Return the systemd service in /proc/PID/cgroup, without ``.service``; None outside of one, and in a container."""
    if read_cgroup(text) != (None, None):
        return None
    found = [match.group(1) for match in map(_UNIT.search, text.splitlines()) if match]
    return found[0] if found else None


def sees_all() -> bool:
    """Return whether this process is in the machine's own PID namespace, and not in a container's."""
    try:
        return os.readlink("/proc/self/ns/pid") == _INITIAL_PID_NAMESPACE
    except OSError:
        return False
