"""Changes of nodes of a real cluster, and what must be found: one row each.

A script runs on the node, with the functions of `realcluster.tampering`; it is undone before the next one.
"""

from __future__ import annotations

from dataclasses import dataclass

CONTROL_PLANE, WORKER = "control-plane", "worker"


@dataclass(frozen=True, slots=True)
class Tampering:
    """One row."""

    name: str
    """What was done."""
    check: str
    """The check that fails."""
    component: str
    """The component that it names; empty where none is to be named."""
    script: str
    """How it is done."""
    role: str = WORKER
    """On which node."""
    afterwards: str = ":"
    """What has to succeed after it was undone: the node is as before then."""


_SCHEDULER = "/etc/kubernetes/manifests/kube-scheduler.yaml"

TAMPERINGS = [
    Tampering(
        "the kubelet is replaced while it runs",
        "files",
        "kubelet",
        "replace /usr/bin/kubelet /usr/bin/kubectl",
    ),
    Tampering("a CNI plugin is replaced", "files", "cni-plugins", "replace /opt/cni/bin/bridge /usr/bin/true"),
    Tampering(
        "a modified kubectl runs from /tmp",
        "processes",
        "kubectl",
        "changed /tmp/kubectl /usr/bin/kubectl; undo 'rm -f /tmp/kubectl'; spawn /tmp/kubectl proxy --port=8099",
    ),
    Tampering(
        "ld.so.preload names a library",
        "startup",
        "",
        "echo /usr/lib/x86_64-linux-gnu/libmnl.so.0 | put /etc/ld.so.preload",
    ),
    Tampering(
        "containerd's configuration names another runtime program",
        "startup",
        "",
        """
cp /usr/bin/true /usr/local/bin/runtime
undo 'rm /usr/local/bin/runtime'
append /etc/containerd/config.toml '
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      BinaryName = "/usr/local/bin/runtime"
'
""",
    ),
    Tampering(
        "an unpacked layer of kube-proxy is changed",
        "images",
        "kube-proxy",
        "append $(snapshots usr/local/bin/kube-proxy) x",
    ),
    Tampering(
        "the kubelet accepts every cipher suite of Go",
        "services",
        "kubelet",
        """
undo 'sh /root/restart kubelet'
edit /var/lib/kubelet/config.yaml 's/"tlsCipherSuites": [^]]*],//'
sh /root/restart kubelet
await 'curl -sk https://127.0.0.1:10250/'
""",
    ),
    Tampering(
        "an unpacked layer of kube-apiserver is changed",
        "images",
        "kube-apiserver",
        "append $(snapshots usr/local/bin/kube-apiserver) x",
        CONTROL_PLANE,
    ),
    Tampering(
        "the scheduler accepts every cipher suite of Go",
        "services",
        "kube-scheduler",
        f"old=$(pids kube-scheduler); edit {_SCHEDULER} '/tls-cipher-suites/d'\n"
        "await \"! test -e /proc/$old\"; await 'curl -sk https://127.0.0.1:10259/'\n",
        CONTROL_PLANE,
        "sleep 4; curl -sk https://127.0.0.1:10259/",
    ),
]
