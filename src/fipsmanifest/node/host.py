"""What is inspected: the node's name and role."""

import errno
import os
import posixpath
import re
import sys
from typing import Any, Dict, Mapping, NamedTuple, Optional, Set, Tuple

from .. import __certificates__
from ..trust.text import visible
from . import tree
from .checks import platform
from .result import UNKNOWN, Node, Result
from .version import own_version

_STATIC_PODS = "/etc/kubernetes/manifests"
_API_SERVER = "kube-apiserver"
_CONTROL_PLANE = (_API_SERVER, "kube-controller-manager", "kube-scheduler", "etcd")
_UPPER = re.compile(r"[,\s]upperdir=([^,\s]+)", re.ASCII)
_MAX_MOUNTS = 4 * 1024 * 1024


class Role(NamedTuple):
    """What a node is for."""

    name: str
    """``control-plane`` or ``worker``."""
    doubt: Optional[Result] = None
    """Where it could not be determined, the result that says so."""


def find_role(root: str, asked: str) -> Role:
    """Return the role asked for, or with ``auto`` that of the static pods on the node."""
    if asked != "auto":
        return Role(asked)
    found, unread = _static_pods(root)
    if _API_SERVER in found:
        return Role("control-plane")
    if unread:
        return Role("worker", _doubt(unread, "cannot be determined"))
    if found:
        return Role("worker", _doubt("static-pod", "{} without {}".format(", ".join(sorted(found)), _API_SERVER)))
    return Role("worker")


def doubt_by_static_pods(root: str, asked: str) -> Optional[Result]:
    """Return an unknown result where a node that was said to be a worker has an API server's static pod."""
    if asked != "worker" or find_role(root, "auto").name == asked:
        return None
    advice = "Leave --role out: with it, the images of the control plane are not compared."
    actual = "a worker with a static pod of {}".format(_API_SERVER)
    return Result(platform.ID, "role", UNKNOWN, None, actual, {"code": "static-pod", "path": _STATIC_PODS}, advice)


def doubt_by_processes(role: str) -> Optional[Result]:
    """Return an unknown result if what was taken for a worker runs a control plane's program, otherwise None.

    Where the kubelet's pods are defined is its configuration's to say, and not all of it runs in pods.
    """
    # Here, because it is needed after the first line of output, and compiled at every start of the single file.
    from .checks import listening

    found = {name for _, name in listening.processes()} if role == "worker" else set()
    running = sorted(one for one in _CONTROL_PLANE if one[: listening.MAX_NAME] in found)
    return _doubt("running", "runs {}".format(", ".join(running))) if running else None


def doubt_by_machine(root: str) -> Optional[Result]:
    """Return an unknown result where a tree that is inspected as one at rest is the running machine's own.

    Its /proc is then the kernel's, whose process 1 has that root; or it holds the layers that this container runs from.
    A tree into which /proc was mounted to run programs in it (chroot) has another root.
    """
    if not (_is_root_of_first(root) or _holds_own_layers(root)):
        return None
    advice = "Add --live, and run it as root in the host's PID and network namespaces; or name the tree of an image."
    actual = "{} is a running machine's own tree".format(visible(root))
    return Result(platform.ID, "live", UNKNOWN, "a tree at rest", actual, {"code": "running"}, advice)


def _is_root_of_first(root: str) -> bool:
    own = os.path.join(root, "proc/1/root")
    for first in (own, "/proc/1/root"):
        try:
            if os.path.samefile(root, first):
                return True
        except PermissionError:
            # Only a kernel's /proc hides it; where that is this container's own, it says nothing of the tree.
            if first == own:
                return True
        except OSError:
            continue
    return False


def _holds_own_layers(root: str) -> bool:
    """Return whether the directory that this process's root file system is stored in is in the tree."""
    try:
        mounts = tree.read_small("/", "/proc/self/mountinfo", _MAX_MOUNTS).splitlines()
    except (OSError, tree.NotRegular):
        return False
    # ID PARENT MAJOR:MINOR ROOT MOUNTPOINT OPTIONS ... - TYPE SOURCE OPTIONS (proc(5))
    own = [line.partition(" - overlay ")[2] for line in mounts if line.split()[4:5] == ["/"]]
    uppers = [match.group(1) for match in map(_UPPER.search, own) if match]
    return any(os.path.isdir(os.path.join(root, upper.lstrip("/"))) for upper in uppers if root != "/")


def _doubt(code: str, actual: str) -> Result:
    advice = "Run it as root, or name the role with --role."
    return Result(platform.ID, "role", UNKNOWN, None, actual, {"code": code, "path": _STATIC_PODS}, advice)


def _static_pods(root: str) -> Tuple[Set[str], str]:
    """Return which programs of a control plane are static pods, and why not all can be read; empty if they can."""
    # Most nodes need no more than the files' names; the reader of YAML is compiled at every start that imports it.
    found, unread = set(), ""
    try:
        names = tree.list_names(root, _STATIC_PODS)
    except FileNotFoundError:
        return set(), ""
    except OSError:
        pass  # What is read below has the reason.
    else:
        if all(name.partition(".")[0] in ("", *_CONTROL_PLANE) for name in names):
            return {name.partition(".")[0] for name in names if not name.startswith(".")}, ""
    # Here, as the comment above says.
    from . import static_pods

    try:
        paths = static_pods.list_paths(root)
    except OSError as error:
        return set(), errno.errorcode.get(error.errno or 0, "unreadable")
    for path in paths:
        name = posixpath.basename(path).partition(".")[0]
        if name in _CONTROL_PLANE:
            found.add(name)
            continue
        try:
            pod = static_pods.read_file(root, path)
            found |= pod.programs.intersection(_CONTROL_PLANE) if pod is not None else set()
        except OSError as error:
            unread = errno.errorcode.get(error.errno or 0, "unreadable")
        except static_pods.Malformed:
            unread = "malformed"
    return found, unread


def describe(node: Node, release: Mapping[str, str]) -> Dict[str, Any]:
    """Return what is inspected, and with what; ``release`` has the fields of its os-release."""
    system = {name: visible(value, 100) for name, value in release.items() if name in ("ID", "VERSION_ID")}
    machine = os.uname()
    return {
        "name": visible(machine.nodename) if node.live else None,
        "root": visible(node.root, 1000),
        "role": node.role,
        "os": system.get("ID"),
        "os_version": system.get("VERSION_ID"),
        "kernel": machine.release if node.live else None,
        "architecture": machine.machine if node.live else None,
        "tool": own_version(),
        "certificates": __certificates__,
        "python": "{}.{}.{}".format(*sys.version_info[:3]),
        "hash": tree.HASH_PROVIDER,
    }


def heading(described: Mapping[str, Any]) -> str:
    """Write what is inspected, and with whose hash implementation: what a text report begins with."""
    system = " ".join(visible(str(described[name]), 40) for name in ("os", "os_version") if described.get(name))
    known = [text for text in (system, described.get("role"), described.get("architecture")) if text]
    known.append(
        "hashed with the host's OpenSSL" if described.get("hash") == "openssl" else "hashed with Python's own code"
    )
    return "Host: {} ====\nNode: {}\n".format(
        visible(str(described.get("name") or described.get("root"))), ", ".join(known)
    )
