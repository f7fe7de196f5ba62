"""Which pod each container belongs to, as containerd's metadata database records it.

Control plane components run in static pods or in ``kube-system``; every other pod is a workload, which may have an etcd
or a kubectl of its own.
"""

import contextlib
import re
from typing import Dict, NamedTuple, Optional

from .. import containerd, tree
from ..containerd import bolt
from ..result import Node

METADATA = containerd.ROOT + "/io.containerd.metadata.v1.bolt/meta.db"
NAMESPACE = "k8s.io"
BUCKETS = (b"v1", NAMESPACE.encode("ascii"))  # containerd, metadata/buckets.go
_SYSTEM = "kube-system"
# The kubelet's labels (pkg/kubelet/types/labels.go).
_POD, _OF, _NAME, _UID = (
    ("io.kubernetes." + name).encode("ascii") for name in ("pod.name", "pod.namespace", "container.name", "pod.uid")
)
# A static pod's UID is a hash of its definition, an API object's one is RFC 4122's (pkg/kubelet/config/common.go).
_STATIC_UID = re.compile(r"[0-9a-f]{32}\Z")


class Pod(NamedTuple):
    """The pod of a container."""

    namespace: str
    name: str
    container: str
    """The container's name within the pod; empty for the sandbox (pause)."""
    uid: str = ""

    @property
    def is_static(self) -> bool:
        """Return whether the kubelet made it from a file on the node."""
        return _STATIC_UID.match(self.uid) is not None

    @property
    def is_workload(self) -> bool:
        """Return whether it is an application's: of neither a static pod nor the cluster's own ones.

        The sandbox is containerd's to start in every pod, from the image that the node's configuration names.
        """
        return bool(self.container) and self.namespace != _SYSTEM and not self.is_static

    @property
    def shown(self) -> str:
        """Return it as ``NAMESPACE/POD``."""
        return "{}/{}".format(self.namespace, self.name)

    def is_of(self, component: str) -> bool:
        """Return whether the pod claims to be a component: by its container's name, or as a static pod by its own."""
        named = self.container == component or (self.is_static and self.name.startswith(component + "-"))
        return named and bool(self.container) and not self.is_workload


def read(node: Node) -> Dict[str, Pod]:
    """Return the pod of each container by the container's id; empty where there is no database that can be read."""
    return {name: pod for name, pod in read_all(node).items() if pod is not None}


def read_all(node: Node) -> Dict[str, Optional[Pod]]:
    """Return all containers, as `read`; None for the pod of one that is in none."""
    with contextlib.suppress(OSError, bolt.Malformed, bolt.Busy):
        found = bolt.read(tree.resolve(node.root, METADATA), (*BUCKETS, b"containers"), b"labels")
        return {text(name): _pod(labels) for name, labels in found.items()}
    return {}


def _pod(labels: Dict[bytes, bytes]) -> Optional[Pod]:
    if not labels.get(_OF):
        return None
    return Pod(*(text(labels.get(name, b"")) for name in (_OF, _POD, _NAME, _UID)))


def text(value: bytes) -> str:
    """Decode a key or value of the database."""
    return value.decode("utf-8", "backslashreplace")
