"""The Kubernetes objects of a run: its namespace, lease, ConfigMaps, and one pod for each node.

Nothing in them depends on the machine that makes them, so that ``--dry-run`` prints what a run creates.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..generate.tool import NAME as TOOL
from ..trust.text import visible
from .nodes import ClusterNode
from .payload import Payload

MANAGED_BY = {"app.kubernetes.io/managed-by": "fipsmanifest"}
RUN_LABEL = "fipsmanifest/run"
CONTAINER = "check"

#: Seconds after which a run whose lease was not renewed is taken as ended, and between two renewals.
LEASE_SECONDS = 20
RENEWAL_SECONDS = 5

#: What a kubelet keeps of a termination message.
MESSAGE_BYTES = 4096
#: Exit code of the shell command where the manifests cannot be put together.
_UNPACKING_FAILED = 68

# An image's own settings must not change what runs: the shell, Python and gpgv are the node's. env(1) starts the shell
# without them (bash takes functions from variables of any name), and the loader with these starts env.
_ENVIRONMENT = dict.fromkeys(("LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "GCONV_PATH", "LOCPATH"), "")
_SHELL = ("/usr/bin/env", "-i", "PATH=/usr/bin:/usr/sbin", "HOME=/tmp", "/usr/bin/sh", "-c")  # /tmp: of the pod


@dataclass(frozen=True, slots=True)
class RunObjects:
    """Makes the objects of one run."""

    run: str
    """The run's identifier: ten hexadecimal digits, in the name of each of its objects."""
    namespace: str
    """Where they are created."""
    payload: Payload
    """What the ConfigMaps carry."""
    node_seconds: int
    """Seconds after which a kubelet ends a pod by itself."""

    @property
    def name(self) -> str:
        """The name of the run's lease, and the beginning of the names of its other objects."""
        return f"fips-{self.run}"

    @property
    def selector(self) -> str:
        """The label selector of the run's objects."""
        return f"{RUN_LABEL}={self.run}"

    def lease(self, now: str) -> dict[str, Any]:
        """Return the Lease (coordination.k8s.io/v1) by which other runs see that this one goes on."""
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": self._metadata(self.name),
            "spec": {
                "holderIdentity": self.run,
                "leaseDurationSeconds": LEASE_SECONDS,
                "acquireTime": now,
                "renewTime": now,
            },
        }

    def config_maps(self) -> list[dict[str, Any]]:
        """Return the ConfigMaps (core/v1) with the node tool and the manifests."""
        return [
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": self._metadata(self._part(number)),
                "immutable": True,
                "binaryData": {name: base64.b64encode(data).decode("ascii") for name, data in files},
            }
            for number, files in enumerate(self.payload.parts)
        ]

    def pod_name(self, node: str, attempt: int) -> str:
        """Return the name of a node's pod, whatever the length of the node's own name."""
        digest = hashlib.sha256(node.encode()).hexdigest()[:16]
        return f"{self.name}-{digest}-{attempt}"

    def pod(self, node: ClusterNode, image: str, attempt: int, role: str) -> dict[str, Any]:
        """Return the Pod (core/v1) that checks a node; ``role`` is the node tool's option."""
        name = self.pod_name(node.name, attempt)
        volumes, mounts = self._volumes(host_root(name), node.has_lib64)
        metadata = self._metadata(name)
        # Reading another process' /proc entries is denied by the runtime's default profile.
        metadata["annotations"] = {f"container.apparmor.security.beta.kubernetes.io/{CONTAINER}": "unconfined"}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": {
                # The scheduler takes no part, so cordons, taints and a missing scheduler do not matter.
                "nodeName": node.name,
                "hostPID": True,
                "hostNetwork": True,
                "dnsPolicy": "Default",
                "enableServiceLinks": False,
                "automountServiceAccountToken": False,
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 5,
                "activeDeadlineSeconds": self.node_seconds,
                "tolerations": [{"operator": "Exists"}],
                # On SELinux hosts the type that may read the host's files; elsewhere it has no effect.
                "securityContext": {"runAsUser": 0, "runAsGroup": 0, "seLinuxOptions": {"type": "spc_t"}},
                "containers": [
                    {
                        "name": CONTAINER,
                        "image": image,
                        "imagePullPolicy": "Never",
                        "command": [*_SHELL, self._script(), TOOL, *self._options(host_root(name), role)],
                        "env": [{"name": name, "value": value} for name, value in _ENVIRONMENT.items()],
                        "securityContext": {
                            "privileged": False,
                            "allowPrivilegeEscalation": False,
                            "readOnlyRootFilesystem": True,
                            # Other processes' entries of /proc, and the files of users other than root.
                            "capabilities": {"drop": ["ALL"], "add": ["DAC_READ_SEARCH", "SYS_PTRACE"]},
                        },
                        "resources": {
                            "requests": {"cpu": "10m", "memory": "16Mi"},
                            "limits": {"cpu": "1", "memory": "64Mi"},
                        },
                        "terminationMessagePath": "/dev/termination-log",
                        "terminationMessagePolicy": "FallbackToLogsOnError",
                        "volumeMounts": mounts,
                    }
                ],
                "volumes": volumes,
            },
        }

    def _script(self) -> str:
        unpacking = self.payload.unpacking()
        begin = f"{{ {unpacking}:; }} || exit {_UNPACKING_FAILED}; " if unpacking else ""
        return f'{begin}exec nice -n 10 sh /payload/{TOOL} "$@"'

    def _options(self, root: str, role: str) -> list[str]:
        limit = ["--report", "/dev/termination-log", "--report-limit", str(MESSAGE_BYTES)]
        return ["--root", root, "--live", "--role", role, "--json", *limit, *self.payload.paths()]

    def _volumes(self, root: str, has_lib64: bool) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Return the pod's volumes and where they are mounted."""
        # "Directory": a path that does not exist is an error, and is not made on the node.
        hosts = {root: "/", "/usr": "/usr", "/lib": "/usr/lib"}
        hosts |= {"/lib64": "/usr/lib64"} if has_lib64 else {}
        volumes: list[dict[str, Any]] = [
            {"name": f"host{number}", "hostPath": {"path": source, "type": "Directory"}}
            for number, source in enumerate(hosts.values())
        ]
        mounts: list[dict[str, Any]] = [
            {"name": f"host{number}", "mountPath": target, "readOnly": True} for number, target in enumerate(hosts)
        ]
        sources = [{"configMap": {"name": self._part(number)}} for number in range(len(self.payload.parts))]
        volumes.append({"name": "payload", "projected": {"defaultMode": 0o444, "sources": sources}})
        mounts.append({"name": "payload", "mountPath": "/payload", "readOnly": True})
        # /etc of the image is hidden: a loader configuration there would be the image's.
        for name, target in (("tmp", "/tmp"), ("etc", "/etc")):  # noqa: S108
            volumes.append({"name": name, "emptyDir": {"medium": "Memory", "sizeLimit": "32Mi"}})
            mounts.append({"name": name, "mountPath": target})
        return volumes, mounts

    def _part(self, number: int) -> str:
        return f"{self.name}-{number}"

    def _metadata(self, name: str) -> dict[str, Any]:
        return {"name": name, "namespace": self.namespace, "labels": {**MANAGED_BY, RUN_LABEL: self.run}}


def host_root(pod: str) -> str:
    """Return where a pod of this name has the host's ``/``, which its report repeats: no other pod's report does."""
    return f"/host/{pod}"


def namespace_object(name: str) -> dict[str, Any]:
    """Return the Namespace of the check; Pod Security Admission lets no host mount into others."""
    labels = {**MANAGED_BY, "pod-security.kubernetes.io/enforce": "privileged"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def is_ours(item: Mapping[str, Any]) -> bool:
    """Return whether an object was made by this program, by its label."""
    labels = (item.get("metadata") or {}).get("labels") or {}
    return all(labels.get(name) == value for name, value in MANAGED_BY.items())


def run_of(item: Mapping[str, Any]) -> str:
    """Return the run that an object belongs to; empty where it belongs to none."""
    labels = (item.get("metadata") or {}).get("labels") or {}
    return visible(str(labels.get(RUN_LABEL) or ""), 63)
