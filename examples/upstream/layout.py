"""What upstream's packages, tarball and images hold, and where: the paths of Enterprise Linux, with small contents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["program", "config", "doc", "license", "file", "symlink", "ghost"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a package or tarball."""

    path: str
    """On the node; of a program, the file's name is the program's."""
    kind: Kind
    """``program`` is built; the kinds that RPM marks carry its names; ``file`` is any other."""
    text: str = ""
    """Content of a text file, target of a link."""


def _unit(description: str, command: str) -> str:
    return (
        f"[Unit]\nDescription={description}\nAfter=network-online.target\n\n"
        f"[Service]\nExecStart={command}\nRestart=always\n\n[Install]\nWantedBy=multi-user.target\n"
    )


_KUBEADM_DROPIN = """\
[Service]
Environment="KUBELET_KUBECONFIG_ARGS=--kubeconfig=/etc/kubernetes/kubelet.conf"
EnvironmentFile=-/etc/sysconfig/kubelet
ExecStart=
ExecStart=/usr/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_EXTRA_ARGS
"""

_CONTAINERD_CONFIG = 'version = 2\n[plugins."io.containerd.grpc.v1.cri"]\n  sandbox_image = "k8s.gcr.io/pause:3.4.1"\n'

_CONTAINERD_2_CONFIG = """\
version = 3
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "registry.k8s.io/pause:3.10.1"
"""

_CONTAINERD_PROGRAMS = ("containerd", "containerd-shim", "containerd-shim-runc-v1", "containerd-shim-runc-v2", "ctr")

_PACKAGES: dict[str, tuple[Entry, ...]] = {
    "kubelet": (
        Entry("/usr/bin/kubelet", "program"),
        Entry("/usr/lib/systemd/system/kubelet.service", "file", _unit("kubelet", "/usr/bin/kubelet")),
        Entry("/etc/sysconfig/kubelet", "config", "KUBELET_EXTRA_ARGS=\n"),
        Entry("/var/lib/kubelet/config.yaml", "ghost"),
    ),
    "kubeadm": (
        Entry("/usr/bin/kubeadm", "program"),
        Entry("/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf", "file", _KUBEADM_DROPIN),
    ),
    "kubectl": (Entry("/usr/bin/kubectl", "program"),),
    "kubernetes-cni": tuple(Entry(f"/opt/cni/bin/{name}", "program") for name in ("bridge", "host-local", "loopback")),
    "cri-tools": (Entry("/usr/bin/crictl", "program"),),
    "containerd.io": (
        *(Entry(f"/usr/bin/{name}", "program") for name in (*_CONTAINERD_PROGRAMS, "runc")),
        Entry("/usr/lib/systemd/system/containerd.service", "file", _unit("containerd", "/usr/bin/containerd")),
        Entry("/etc/containerd/config.toml", "config", _CONTAINERD_CONFIG),
    ),
    # containerd 2, which comes without runc.
    "containerd": (
        *(Entry(f"/usr/bin/{name}", "program") for name in ("containerd", "containerd-shim-runc-v2", "ctr")),
        Entry("/usr/lib/systemd/system/containerd.service", "file", _unit("containerd", "/usr/bin/containerd")),
        Entry("/etc/containerd/config.toml", "config", _CONTAINERD_2_CONFIG),
    ),
}

_TARBALL: tuple[Entry, ...] = (
    *(Entry(f"/usr/local/bin/{name}", "program") for name in (*_CONTAINERD_PROGRAMS, "runc")),
    *(Entry(f"/usr/bin/{name}", "symlink", f"/usr/local/bin/{name}") for name in (*_CONTAINERD_PROGRAMS, "runc")),
    Entry("/etc/systemd/system/containerd.service", "file", _unit("containerd", "/usr/local/bin/containerd")),
    Entry("/etc/containerd/config.toml", "file", _CONTAINERD_CONFIG),
)

_IMAGES: dict[str, tuple[str, ...]] = {
    "etcd": ("/usr/local/bin/etcd", "/usr/local/bin/etcdctl"),
    "coredns": ("/coredns",),
    "pause": ("/pause",),
}


def of_package(name: str) -> tuple[Entry, ...]:
    """Return the files of an RPM; one that is not known here has a single program of its name."""
    entries = _PACKAGES.get(name, (Entry(f"/usr/bin/{name}", "program"),))
    return (
        *entries,
        Entry(f"/usr/share/doc/{name}/README.md", "doc", f"# {name}\n"),
        Entry(f"/usr/share/licenses/{name}/LICENSE", "license", "Apache License, Version 2.0\n"),
    )


def of_tarball() -> tuple[Entry, ...]:
    """Return the files of containerd's tarball, as it is unpacked at ``/``."""
    return _TARBALL


def of_image(name: str) -> tuple[str, ...]:
    """Return the programs of an image by path, its entry point first."""
    return _IMAGES.get(name, (f"/usr/local/bin/{name}",))
