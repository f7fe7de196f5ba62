"""Which processes are a component by what they do: their port or socket, their unit, their pod, their options.

A file's name does not identify it. A process with a component's port is that component for the rest of the cluster.
"""

import contextlib
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from .. import tree
from ..result import Listed, Node
from . import configuration_files, listening, procfs
from .container_pods import Pod
from .inventory import Inventory, required_daemons

PORT, SOCKET, UNIT, POD, OPTION = "port", "socket", "unit", "pod", "option"

_SOCKET = "/run/containerd/containerd.sock"
_OWNER_SECONDS = 10.0
# Ports that the components have unless a definition says otherwise (kubernetes.io, "Ports and Protocols").
_PORTS = {
    "kube-apiserver": 6443,
    "etcd": 2379,
    "kubelet": 10250,
    "kube-controller-manager": 10257,
    "kube-scheduler": 10259,
}
_HEALTH = (10248, "kubelet")
_UNITS = ("kubelet", "containerd")
_SHIM = "containerd-shim"  # containerd starts one beside each pod, in its own unit
# Options that no other program has; those that end with "=" begin with it.
_OPTIONS = {
    "kubelet": ("--bootstrap-kubeconfig", "--config=/var/lib/kubelet/config.yaml"),
    "kube-apiserver": ("--service-account-signing-key-file",),
    "kube-controller-manager": ("--cluster-signing-key-file", "--service-account-private-key-file"),
    "kube-scheduler": ("--authentication-kubeconfig=/etc/kubernetes/scheduler.conf",),
    "etcd": ("--initial-cluster",),
    "kube-proxy": ("--config=/var/lib/kube-proxy/config.conf",),
}


class Claim(NamedTuple):
    """One reason to take a process for a component."""

    component: str
    kind: str
    """``port``, ``socket``, ``unit``, ``pod`` or ``option``."""
    detail: str

    @property
    def shown(self) -> str:
        """Return it as reports show it: ``port 6443``."""
        return "{} {}".format(self.kind, self.detail)


class Found(NamedTuple):
    """The claims of all processes."""

    claims: Dict[int, List[Claim]]
    """By process id."""
    unowned: List[Claim]
    """Ports and sockets in use whose process could not be found."""


def find(
    node: Node,
    manifests: Sequence[Listed],
    inventory: Inventory,
    units: Dict[int, Optional[str]],
    pods: Dict[int, Pod],
) -> Found:
    """Return the claims of all processes; raises nothing.

    ``units`` has the systemd service of each process, and ``pods`` the pod of each that is in one.
    """
    found = Found({}, [])
    _by_sockets(found, node, manifests, inventory)
    for pid, unit in units.items():
        own = []
        if unit in _UNITS and unit in inventory.programs and units.get(procfs.parent(pid)) != unit:
            # What it starts in turn (mount, the shims) is not it.
            is_shim = unit == "containerd" and procfs.comm(pid).startswith(_SHIM)
            own += [] if is_shim else [Claim(unit, UNIT, unit + ".service")]
        pod = pods.get(pid)
        if pod is not None:
            own += [Claim(name, POD, pod.shown) for name in sorted(inventory.components) if pod.is_of(name)]
        if pod is None or not pod.is_workload:
            own += _by_options(pid, inventory)
        if own:
            found.claims.setdefault(pid, []).extend(own)
    return found


def ports(node: Node, manifests: Sequence[Listed], inventory: Inventory) -> Dict[int, str]:
    """Return which required daemon each port belongs to on this node."""
    required = required_daemons(node.role, manifests, inventory)
    found = {_HEALTH[0]: _HEALTH[1]} if _HEALTH[1] in required else {}
    for entry in (entry for listed in manifests for entry in _entries(listed)):
        name, port, roles = str(entry.get("component") or entry.get("name")), entry.get("port"), entry.get("roles")
        if isinstance(port, int) and inventory.of(name) and (not roles or node.role in roles):
            found[port] = name
    declared = {name for port, name in found.items() if port != _HEALTH[0]}
    found.update({_PORTS[name]: name for name in required if name in _PORTS and name not in declared})
    return found


def _entries(listed: Listed) -> List[Dict[str, Any]]:
    entries = (listed.manifest.get("node") or {}).get("services") or []
    return [one for one in entries if isinstance(one, dict)] if isinstance(entries, list) else []


def _by_sockets(found: Found, node: Node, manifests: Sequence[Listed], inventory: Inventory) -> None:
    """Add the processes that have a component's port, or containerd's socket."""
    wanted: Dict[int, Claim] = {}
    open_ports = listening.listeners()
    for port, name in ports(node, manifests, inventory).items():
        for one in open_ports.get(port, []):
            wanted[one.inode] = Claim(name, PORT, str(port))
    owners = listening.owners(set(wanted), _OWNER_SECONDS)
    missing: Set[Claim] = set()
    for inode, claim in sorted(wanted.items()):
        for owner in owners.get(inode, []):
            found.claims.setdefault(owner.pid, []).append(claim)
        if inode not in owners:
            missing.add(claim)
    if "containerd" in inventory.programs:
        claim = Claim("containerd", SOCKET, _SOCKET)
        try:
            pids, is_known = _holders(tree.resolve(node.root, _SOCKET))
            for pid in pids:
                found.claims.setdefault(pid, []).append(claim)
            if not is_known:
                missing.add(claim)
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError:
            missing.add(claim)
    found.unowned.extend(sorted(missing))


def _holders(place: bytes) -> Tuple[Set[int], bool]:
    """Return the processes that may take connections to a Unix socket, and whether these are all of them.

    The kernel names the process that made it listen alone: that one may have given it to others, run another program
    since, or have ended.
    """
    first = listening.socket_owner(place)
    if first is None:
        return set(), True
    owners = listening.owners(listening.unix_listeners(place), _OWNER_SECONDS)
    pids = {owner.pid for one in owners.values() for owner in one}
    # 0 is a process of another PID namespace.
    return pids.union([first] if first else []), first in pids


def _by_options(pid: int, inventory: Inventory) -> List[Claim]:
    """Return what a process's options say it is; a shell that is handed a command line as one word is none of these."""
    try:
        words = procfs.read(pid, "cmdline").split("\0")[1:]
    except OSError:
        return []
    joined = set(words).union("{}={}".format(*pair) for pair in zip(words, words[1:]))  # noqa: B905, RUF007 - 3.10
    named = {word.partition("=")[0] for word in words}
    return [
        Claim(name, OPTION, option)
        for name, options in sorted(_OPTIONS.items())
        for option in options
        if name in inventory.programs and option in (joined if "=" in option else named)
    ][:1] or _by_configuration(pid, words, inventory)


def _by_configuration(pid: int, words: Sequence[str], inventory: Inventory) -> List[Claim]:
    """Return the component whose configuration file a process's options name."""
    for path in configuration_files.named_in(words):
        with contextlib.suppress(OSError, tree.NotRegular):
            text = tree.read_small(procfs.link(pid, "root"), path, configuration_files.MAX_SIZE)
            component = configuration_files.component_of(text)
            if component in inventory.programs:
                return [Claim(component, OPTION, "configuration " + path)]
    return []
