"""The kubelet and containerd as they run: they may have other options than a unit gives them."""

import contextlib
from typing import List, NamedTuple, Tuple

from ... import systemd
from ...result import Node
from .. import procfs
from .programs import Programs
from .units import Daemon

_DAEMONS = ("kubelet", "containerd")


class Running(NamedTuple):
    """A daemon that runs."""

    daemon: Daemon
    search_path: Tuple[str, ...]
    """PATH of its environment."""


def find(node: Node, programs: Programs) -> List[Running]:
    """Return each running kubelet and containerd; nothing at rest. Raises nothing.

    What cannot be read, or is another program, is for the check of processes to report. One in a container with mounts
    of its own is an application's.
    """
    found: List[Running] = []
    pids: List[int] = []
    with contextlib.suppress(OSError):
        pids = procfs.pids() if node.live else []
    for pid in pids:
        with contextlib.suppress(OSError):
            contained = procfs.read_cgroup(procfs.cgroup(pid)) != (None, None)
            program = programs.find_open(procfs.link(pid))
            if program.name in _DAEMONS and not (contained and not procfs.shares_mounts(pid)):
                words = tuple(procfs.read(pid, "cmdline").rstrip("\0").split("\0")[1:])
                path = procfs.link(pid, "cmdline")
                daemon = Daemon(str(program.component), program.name, words, path, {}, True)
                found.append(Running(daemon, _search_path(pid)))
    return found


def commands(running: List[Running], name: str) -> List[systemd.Command]:
    """Return how the daemons of a name were started, in the form of a unit's commands."""
    own = [one.daemon for one in running if one.daemon.name == name]
    return [systemd.Command("ExecStart", name, one.arguments, one.path, "") for one in own]


def _search_path(pid: int) -> Tuple[str, ...]:
    values = [one[5:] for one in procfs.read(pid, "environ").split("\0") if one.startswith("PATH=")]
    return tuple(values[0].split(":")) if values else ()
