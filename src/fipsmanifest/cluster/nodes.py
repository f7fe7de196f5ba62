"""The nodes of a cluster as its API describes them: which can be checked, and with which image.

What a Node object says is the node's own word or its cloud's; it is only used to run the pod.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: The sandbox image of a node (kubernetes/build/pause). Distributions rename it:
#: ``rancher/mirrored-pause``, ``eks/pause``, ``pause-amd64``.
_PAUSE = re.compile(r"(?:\A|[/-])pause(?:-[a-z0-9]+)?(?:[:@]|\Z)")
#: kubeadm's labels, before and after 1.20.
_CONTROL_PLANE = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")
#: https://virtual-kubelet.io, and AWS Fargate.
_VIRTUAL_LABELS = {"type": "virtual-kubelet", "eks.amazonaws.com/compute-type": "fargate"}
_VIRTUAL_TAINT = "virtual-kubelet.io/provider"
#: Debian's multiarch distributions have no /usr/lib64 but on x86_64.
_WITHOUT_LIB64 = re.compile(r"debian|ubuntu", re.IGNORECASE)
_MAX_TEXT = 300


@dataclass(frozen=True, slots=True)
class ClusterNode:
    """One node, as far as the check needs it."""

    name: str
    """Its name, unique in a cluster at any time."""
    uid: str
    """Differs from that of an earlier node of the same name."""
    control_plane: bool
    """Whether its labels say that it belongs to the control plane."""
    obstacle: str | None
    """Why no pod is created on it: a code of `reasons`; None where one is."""
    detail: str
    """The API's own words about the obstacle."""
    image: str | None
    """Its pause image; None where its list of images has none."""
    has_lib64: bool
    """Whether /usr/lib64 exists on it."""


def read_node(node: Mapping[str, Any]) -> ClusterNode:
    """Return what a Node object (core/v1) says of a node; whatever is missing is unknown, never an error."""
    metadata, status = _mapping(node.get("metadata")), _mapping(node.get("status"))
    info, labels = _mapping(status.get("nodeInfo")), _mapping(metadata.get("labels"))
    obstacle, detail = _obstacle(node, labels, info)
    x86 = info.get("architecture") in ("amd64", None)
    return ClusterNode(
        str(metadata.get("name") or ""),
        str(metadata.get("uid") or ""),
        any(label in labels for label in _CONTROL_PLANE),
        obstacle,
        detail[:_MAX_TEXT],
        pause_image(_list(status.get("images"))),
        x86 or not _WITHOUT_LIB64.search(str(info.get("osImage") or "")),
    )


def _obstacle(node: Mapping[str, Any], labels: Mapping[str, Any], info: Mapping[str, Any]) -> tuple[str | None, str]:
    system = info.get("operatingSystem") or labels.get("kubernetes.io/os") or "linux"
    if system != "linux":
        return "other-system", str(system)
    taints = [_mapping(taint).get("key") for taint in _list(_mapping(node.get("spec")).get("taints"))]
    if _VIRTUAL_TAINT in taints or any(labels.get(name) == value for name, value in _VIRTUAL_LABELS.items()):
        return "virtual", ""
    for condition in _list(_mapping(node.get("status")).get("conditions")):
        # A node that reports "False" still runs pods in its host's network; one that reports nothing runs none.
        if _mapping(condition).get("type") == "Ready" and condition.get("status") == "Unknown":
            return "not-ready", str(condition.get("message") or condition.get("reason") or "")
    return None, ""


def pause_image(images: Sequence[Any]) -> str | None:
    """Return the name of the pause image in a node's list of images (``status.images``), by tag where it has one."""
    for image in images:
        names = [name for name in _list(_mapping(image).get("names")) if isinstance(name, str) and _PAUSE.search(name)]
        if names:
            return min(names, key=lambda name: ("@" in name, len(name), name))
    return None


def running_image(pod: Mapping[str, Any]) -> str | None:
    """Return an image that a pod runs, which is therefore on its node; None where no container of it was started."""
    for container in _list(_mapping(pod.get("status")).get("containerStatuses")):
        state = _mapping(_mapping(container).get("state"))
        if "running" in state and isinstance(container.get("image"), str) and container["image"]:
            return str(container["image"])
    return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else []
