"""What is looked at and what looks: the node's name and role, and this tool's own identity."""

import os
import sys
from typing import Any, Dict, Optional, Sequence

from . import tree
from .checks.platform import os_release
from .result import FAIL, NOT_APPLICABLE, PASS, UNKNOWN, Listed, Node, Result
from .version import own_version

_CONTROL_PLANE = "/etc/kubernetes/manifests/kube-apiserver.yaml"
_MAX_TOOL = 16 * 1024 * 1024


def find_role(root: str, asked: str) -> str:
    """Give the role asked for, or with ``auto`` that of the static pods on the node."""
    if asked != "auto":
        return asked
    try:
        tree.resolve(root, _CONTROL_PLANE)
    except OSError:
        return "worker"
    return "control-plane"


def describe(node: Node) -> Dict[str, Any]:
    """Say what was looked at, and with what."""
    release = os_release(node.root) or {}
    machine = os.uname()
    return {
        "name": machine.nodename if node.live else None,
        "root": node.root,
        "role": node.role,
        "os": release.get("ID"),
        "os_version": release.get("VERSION_ID"),
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


def check_tool(manifests: Sequence[Listed]) -> Result:
    """Compare this single file with the tool that a manifest was published with."""
    expected = [
        (listed.name, str(tool.get("sha256")))
        for listed in manifests
        for tool in [listed.manifest.get("tool") or {}]
        if tool.get("version") == own_version()
    ]
    if archive() is None or not expected:
        reason = "not the single file" if archive() is None else "published with another version"
        return Result("signature", "tool", NOT_APPLICABLE, actual=reason)
    actual = archive_digest()
    if actual is None:
        advice = "Make the tool's own file readable."
        return Result("signature", "tool", UNKNOWN, expected[0][1], "unreadable", advice=advice)
    for name, digest in expected:
        if digest == actual:
            return Result("signature", "tool", PASS, "sha256:" + digest, "sha256:" + actual, {"manifest": name})
    advice = "Download the tool again, and check it against its .sha256 and .asc."
    return Result("signature", "tool", FAIL, "sha256:" + expected[0][1], "sha256:" + actual, {"code": "digest"}, advice)
