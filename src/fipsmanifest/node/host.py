"""What is looked at and what looks: the node's name and role, and this tool's own file."""

import errno
import os
import sys
from typing import Any, Dict, NamedTuple, Optional

from . import tree
from .checks import platform
from .result import UNKNOWN, Node, Result
from .text import visible
from .version import own_version

_CONTROL_PLANE = "/etc/kubernetes/manifests/kube-apiserver.yaml"
_MAX_TOOL = 16 * 1024 * 1024


class Role(NamedTuple):
    """What a node is for."""

    name: str
    """``control-plane`` or ``worker``."""
    doubt: Optional[Result] = None
    """Where it could not be told, the result that says so."""


def find_role(root: str, asked: str) -> Role:
    """Give the role asked for, or with ``auto`` that of the static pods on the node."""
    if asked != "auto":
        return Role(asked)
    try:
        tree.resolve(root, _CONTROL_PLANE)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return Role("worker")
        evidence = {"code": errno.errorcode.get(error.errno or 0, "unknown"), "path": _CONTROL_PLANE}
        advice = "Run it as root, or name the role with --role."
        return Role("worker", Result(platform.ID, "role", UNKNOWN, None, "cannot be told", evidence, advice))
    return Role("control-plane")


def describe(node: Node) -> Dict[str, Any]:
    """Say what is looked at, and with what."""
    release = platform.os_release(node.root) or {}
    system = {name: visible(value, 100) for name, value in release.items() if name in ("ID", "VERSION_ID")}
    machine = os.uname()
    return {
        "name": machine.nodename if node.live else None,
        "root": node.root,
        "role": node.role,
        "os": system.get("ID"),
        "os_version": system.get("VERSION_ID"),
        "kernel": machine.release if node.live else None,
        "architecture": machine.machine if node.live else None,
        "tool": own_version(),
        "python": "{}.{}.{}".format(*sys.version_info[:3]),
        "hash": tree.HASH_PROVIDER,
    }


def archive() -> Optional[str]:
    """Give the path of the single file that this runs from; None where it runs from an installed package."""
    path = getattr(sys.modules[__package__].__loader__, "archive", None)
    return None if path is None else str(path)


def archive_digest() -> Optional[str]:
    """Give the single file's SHA-256; None where there is none, or it cannot be read."""
    path = archive()
    if path is None:
        return None
    try:
        return tree.digest(os.fsencode(os.path.realpath(path)), _MAX_TOOL).sha256 or None
    except (OSError, tree.NotRegular, tree.Unstable):
        return None
