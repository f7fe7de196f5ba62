"""What is done to nodes of a real cluster, and what has to be found: one row each.

A script runs on the node, with the functions of `realcluster.tampering`. Rows that touch nothing in common are applied
together, in this order: what restarts the kubelet or containerd comes before what a restart would bring into effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

CONTROL_PLANE, WORKER = "control-plane", "worker"


@dataclass(frozen=True, slots=True)
class Tampering:
    """One row."""

    name: str
    """What was done."""
    check: str
    """The check that finds it."""
    code: str
    """The code of what it finds."""
    component: str
    """The component that it names; empty where none is to be named."""
    script: str
    """How it is done."""
    role: str = WORKER
    """On which node."""
    status: str = "fail"
    """What it is: ``fail``, or ``unknown`` where it may be right all the same."""
    touches: str = ""
    """What only one row at a time may touch, separated by commas; empty for what no other row touches."""


#: The nodes that are tampered with in each round. The one that is left out has to be valid, so it is as it was before.
_SCHEDULE = (("node-1", "node-2"), ("node-1", "node-3"), ("node-1", "node-2"), ("node-2", "node-3"))
_ROLES = {"node-1": CONTROL_PLANE, "node-2": WORKER, "node-3": WORKER}


def rounds(rows: Sequence[Tampering]) -> list[dict[str, list[Tampering]]]:
    """Return the rows of each node in each round; no two rows of a node touch the same.

    Raises `ValueError` where a row has no place.
    """
    found: list[dict[str, list[Tampering]]] = [{node: [] for node in nodes} for nodes in _SCHEDULE]
    places = [(rows_of, _ROLES[node]) for nodes in found for node, rows_of in nodes.items()]
    for row in sorted(rows, key=lambda one: not one.touches):
        free = [there for there, role in places if role == row.role and not any(_collide(row, one) for one in there)]
        # As many at each place as at the others.
        min(free, key=len).append(row)
    for there, _ in places:
        there.sort(key=rows.index)
    return found


def _collide(one: Tampering, other: Tampering) -> bool:
    return not set(one.touches.split(", ")).isdisjoint(other.touches.split(", ")) if one.touches else False


def _pod(name: str, port: int, edits: str) -> str:
    """Return the script that edits a static pod and waits until it runs like that."""
    return f'pod {name} {port} "{edits}"\n'


_PROXY = "usr/local/bin/kube-proxy"
_LIBRARY = "/usr/lib/x86_64-linux-gnu/libz.so.1"
_SUITES = "tls-cipher-suites"

# What restarts the kubelet or containerd.
_RESTARTS = [
    Tampering(
        "the kubelet accepts every cipher suite of Go",
        "services",
        "not-allowed",
        "kubelet",
        """
undo 'sh /root/restart kubelet'
edit /var/lib/kubelet/config.yaml 's/"tlsCipherSuites": [^]]*],//'
sh /root/restart kubelet
await 'curl -sk https://127.0.0.1:10250/'
""",
        touches="kubelet's services",
    ),
    Tampering(
        "the kubelet accepts TLS 1.0 and a suite of it",
        "services",
        "not-allowed",
        "kubelet",
        """
undo 'sh /root/restart kubelet'
edit /var/lib/kubelet/config.yaml \
  's/VersionTLS12/VersionTLS10/; s/TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384/TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA/'
sh /root/restart kubelet
await 'curl -sk https://127.0.0.1:10250/'
""",
        touches="kubelet's services",
    ),
    Tampering(
        "containerd is started with a library before all others",
        "processes",
        "loader-environment",
        "containerd",
        """
undo 'sh /root/restart containerd'
LD_PRELOAD=/usr/lib/x86_64-linux-gnu/libmnl.so.0 sh /root/restart containerd
""",
        touches="containerd's process",
    ),
    Tampering(
        "containerd sees another runc, in mounts of its own",
        "processes",
        "other-root",
        "containerd",
        """
changed /opt/bound-runc /usr/bin/runc
undo 'sh /root/restart containerd; rm -f /opt/bound-runc'
printf '%s\\n' 'mount --bind /opt/bound-runc /usr/bin/runc' 'exec /usr/bin/containerd' >/var/tmp/wrapped
sh /root/restart containerd 'unshare --mount --propagation slave sh /var/tmp/wrapped'
""",
        touches="containerd's process",
    ),
]

_FILES = [
    Tampering(
        "the kubelet is replaced while it runs",
        "files",
        "digest",
        "kubelet",
        "replace /usr/bin/kubelet /usr/bin/kubectl",
        touches="kubelet's program",
    ),
    Tampering(
        "a CNI plugin is replaced", "files", "digest", "cni-plugins", "replace /opt/cni/bin/bridge /usr/bin/true"
    ),
    Tampering(
        "a link leads to a modified kubeadm",
        "files",
        "digest",
        "kubeadm",
        """
changed /opt/linked-kubeadm /usr/bin/kubeadm
undo 'rm -f /opt/linked-kubeadm'
undo 'mv -f /usr/bin/.kubeadm /usr/bin/kubeadm'
mv /usr/bin/kubeadm /usr/bin/.kubeadm
ln -s /opt/linked-kubeadm /usr/bin/kubeadm
""",
    ),
    Tampering(
        "a modified kubectl is mounted over the listed one",
        "files",
        "digest",
        "kubectl",
        """
changed /opt/bound-kubectl /usr/bin/kubectl
undo 'umount /usr/bin/kubectl; rm -f /opt/bound-kubectl'
mount --bind /opt/bound-kubectl /usr/bin/kubectl
""",
    ),
    Tampering(
        "a listed program is missing",
        "files",
        "ENOENT",
        "containerd",
        """
undo 'mv /usr/bin/.shim /usr/bin/containerd-shim-runc-v1'
mv /usr/bin/containerd-shim-runc-v1 /usr/bin/.shim
""",
    ),
    Tampering(
        "another program is first in PATH",
        "files",
        "unexpected",
        "kubelet",
        "undo 'rm -f /usr/local/bin/kubelet'; changed /usr/local/bin/kubelet /usr/bin/containerd-shim",
    ),
    Tampering(
        "a program gets more rights than it should have",
        "files",
        "mode-wider",
        "containerd",
        "undo 'chmod 0755 /usr/bin/containerd-shim'; chmod 4755 /usr/bin/containerd-shim",
    ),
    Tampering(
        "a program belongs to another user",
        "files",
        "replaceable",
        "containerd",
        "undo 'chown 0:0 /usr/bin/ctr'; chown 1:1 /usr/bin/ctr",
    ),
    Tampering(
        "everybody may write into a directory of programs",
        "files",
        "replaceable",
        "cni-plugins",
        "undo 'chmod 0755 /opt/cni/bin'; chmod 0777 /opt/cni/bin",
    ),
    Tampering(
        "the node is another Enterprise Linux",
        "platform",
        "operating-system",
        "",
        "edit /etc/os-release 's/8[.]4/9.4/'",
    ),
]

_PROCESSES = [
    Tampering(
        "the kubelet was installed again and not restarted",
        "processes",
        "deleted",
        "kubelet",
        """
undo 'sh /root/restart kubelet'
cp -p /usr/bin/kubelet /usr/bin/.kubelet
mv -f /usr/bin/.kubelet /usr/bin/kubelet
""",
        touches="kubelet's program",
    ),
    Tampering(
        "a modified kubelet runs by another name",
        "processes",
        "other-build",
        "kubelet",
        """
undo 'rm -f /opt/renamed /opt/renamed.yaml'
changed /opt/renamed /usr/bin/kubelet
mkfifo /opt/renamed.yaml
spawn /opt/renamed --config /opt/renamed.yaml
""",
        touches="kubelet's program",
    ),
    Tampering(
        "a modified kubectl runs from /tmp",
        "processes",
        "outside",
        "kubectl",
        "changed /tmp/kubectl /usr/bin/kubectl; undo 'rm -f /tmp/kubectl'; spawn /tmp/kubectl proxy --port=8099",
    ),
    Tampering(
        "a modified kubectl runs from memory",
        "processes",
        "other-build",
        "kubectl",
        """
cat >/var/tmp/memory.py <<'PYTHON'
import os
descriptor = os.memfd_create("memory")
with open("/usr/bin/kubectl", "rb") as program:
    os.write(descriptor, program.read() + b"x")
os.execve(descriptor, ["memory", "proxy", "--port=8097"], os.environ)
PYTHON
spawn python3 /var/tmp/memory.py
""",
    ),
    Tampering(
        "the loader runs a modified program of containerd",
        "processes",
        "other-build",
        "containerd",
        """
undo 'rm -f /opt/tool'
changed /opt/tool /usr/bin/ctr
spawn /lib64/ld-linux-x86-64.so.2 /opt/tool events
""",
    ),
    Tampering(
        "an interpreter runs a script with a component's name",
        "processes",
        "script",
        "kubelet",
        """
mkdir -p /opt/scripts
undo 'rm -r /opt/scripts'
echo 'sleep 1000; :' >/opt/scripts/kubelet
spawn sh /opt/scripts/kubelet
""",
        status="unknown",
    ),
    Tampering(
        "another program listens on the kubelet's port",
        "processes",
        "another-program",
        "kubelet",
        # Not http.server, which asks for the address' name before it listens.
        """
spawn python3 -c 'import socket, time; one = socket.create_server(("127.0.0.2", 10248)); time.sleep(1000)'
await 'ss -lnt | grep -qF 127.0.0.2:10248'
""",
    ),
    Tampering(
        "another program has an option of the kubelet's",
        "processes",
        "another-program",
        "kubelet",
        "spawn python3 -c 'import time; time.sleep(1000)' --bootstrap-kubeconfig=/etc/kubernetes/bootstrap.conf",
        status="unknown",
    ),
    Tampering(
        "a debugger has attached to containerd",
        "processes",
        "traced",
        "containerd",
        """
cat >/var/tmp/trace.py <<'PYTHON'
import ctypes, sys, time
PTRACE_SEIZE = 0x4206
assert ctypes.CDLL(None).ptrace(PTRACE_SEIZE, int(sys.argv[1]), 0, 0) == 0
time.sleep(1000)
PYTHON
spawn python3 /var/tmp/trace.py $(pids containerd)
""",
        status="unknown",
        touches="containerd's process",
    ),
    Tampering(
        "kube-proxy does not run",
        "processes",
        "not-running",
        "kube-proxy",
        """
kubectl="kubectl --kubeconfig /root/admin.conf -n kube-system"
undo 'until pgrep -x kube-proxy; do sleep 0.2; done'
here="$kubectl patch ds kube-proxy -p '{\\"spec\\": {\\"template\\": {\\"spec\\": {\\"affinity\\": null}}}}'"
undo "until $here; do sleep 1; done"
# What was done to the control plane before may have restarted it.
await "$kubectl get --raw /readyz"
$kubectl patch ds kube-proxy -p '{"spec": {"updateStrategy": {"type": "OnDelete"}, "template": {"spec": {"affinity":
  {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [
  {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": ["'$(hostname)'"]}]}]}}}}}}}'
old=$(pids kube-proxy)
await "! test -e /proc/$old"
""",
        # It comes back before containerd is as it was, whose variables its shim would keep.
        touches="kube-proxy, containerd's process",
    ),
]

_IMAGES = [
    Tampering(
        "an unpacked layer of kube-proxy is changed",
        "images",
        "snapshot-file",
        "kube-proxy",
        f"append $(snapshots {_PROXY}) x",
        touches="kube-proxy",
    ),
    Tampering(
        "a running container's program is replaced",
        "images",
        "running-snapshot",
        "kube-proxy",
        f"""
old=$(pids kube-proxy)
undo "kill $old; tail --pid=$old -f /dev/null; until pgrep -x kube-proxy; do sleep 0.2; done"
changed /proc/$old/root/usr/local/bin/kube-proxy $(snapshots {_PROXY})
""",
        touches="kube-proxy",
    ),
    Tampering(
        "a static pod runs an image of one's own in kube-proxy's name",
        "images",
        "unlisted-image",
        "kube-proxy",
        """
own registry.example/site/kube-proxy:2 $(snapshots pause)
undo 'while pgrep -x agent; do sleep 0.2; done'
static_pod kube-proxy registry.example/site/kube-proxy:2 /opt/agent
""",
        touches="kube-proxy",
    ),
    Tampering(
        "everybody may write to a program in an unpacked layer",
        "images",
        "mode-wider",
        "kube-proxy",
        f'one=$(snapshots {_PROXY}); undo "chmod 0755 $one"; chmod 0777 $one',
        touches="kube-proxy's layer",
    ),
    Tampering(
        "a library is put into an unpacked layer",
        "images",
        "added",
        "kube-proxy",
        f'one=$(snapshots {_PROXY}); undo "rm ${{one%/*}}/libz.so.1"; cp {_LIBRARY} ${{one%/*}}/libz.so.1',
        touches="kube-proxy's layer",
    ),
    Tampering(
        "an unpacked layer preloads a library",
        "images",
        "added",
        "kube-proxy",
        f"one=$(snapshots {_PROXY}); echo /lib/x.so | put ${{one%/usr/*}}/etc/ld.so.preload",
        touches="kube-proxy's layer",
    ),
    Tampering(
        "a blob is changed",
        "images",
        "digest",
        "kube-proxy",
        "append $(ls -S /var/lib/containerd/io.containerd.content.v1.content/blobs/sha256/* | head -n 1) x",
    ),
    Tampering(
        "a listed name leads to another image while its pod runs",
        "images",
        "renamed",
        "kube-proxy",
        "retag docker.io/mesosphere/kube-proxy:v1.20.2_fips.0 k8s.gcr.io/pause:3.4.1",
    ),
    Tampering(
        "a container without a pod runs an image of one's own",
        "images",
        "unlisted-image",
        "kube-proxy",
        """
own registry.example/alone/kube-proxy:1 $(snapshots pause)
undo 'ctr -n k8s.io tasks rm alone; ctr -n k8s.io containers rm alone'
undo 'ctr -n k8s.io tasks kill --signal 9 alone; sleep 1'
ctr -n k8s.io run -d registry.example/alone/kube-proxy:1 alone /opt/agent
""",
        touches="kube-proxy",
    ),
    Tampering(
        "a second containerd has images elsewhere",
        "images",
        "other-root",
        "",
        """
ctr -n k8s.io images export /var/tmp/pause.tar k8s.gcr.io/pause:3.4.1
mkdir -p /run/second
cat >/etc/second.toml <<'TOML'
version = 2
root = "/run/second/root"
state = "/run/second/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
  address = "/run/second/containerd.sock"
TOML
undo 'rm -rf /run/second /etc/second.toml /var/tmp/pause.tar'
spawn containerd --config /etc/second.toml
ctr="ctr --address /run/second/containerd.sock"
undo "$ctr tasks kill --signal 9 second; sleep 1; $ctr tasks rm second"
await "$ctr version"
$ctr images import /var/tmp/pause.tar
$ctr run -d k8s.gcr.io/pause:3.4.1 second
""",
        status="unknown",
    ),
]

# What the next start of the node or of its pods would bring.
_STARTS = [
    Tampering(
        "ld.so.preload names a library",
        "startup",
        "preload",
        "",
        "echo /usr/lib/x86_64-linux-gnu/libmnl.so.0 | put /etc/ld.so.preload",
        touches="containerd's process",
    ),
    Tampering(
        "containerd's configuration names another runtime program",
        "startup",
        "other-program",
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
        "containerd gives every container a hook",
        "startup",
        "every-container",
        "",
        """
undo 'rm -f /etc/containerd/spec.json'
echo '{"hooks": {"prestart": [{"path": "/opt/hook"}]}}' >/etc/containerd/spec.json
edit /etc/containerd/config.toml 's#^ *runtime_type = .*#&\\n      base_runtime_spec = "/etc/containerd/spec.json"#'
""",
        status="unknown",
    ),
    Tampering(
        "containerd's configuration names another pause image",
        "startup",
        "unlisted-image",
        "pause",
        "edit /etc/containerd/config.toml 's#sandbox_image = .*#sandbox_image = \"registry.example/pause:other\"#'",
    ),
    Tampering(
        "a drop-in lets the kubelet's unit start another program",
        "startup",
        "other-program",
        "kubelet",
        """
undo 'rm -f /opt/dropped/kubelet'
mkdir -p /opt/dropped
changed /opt/dropped/kubelet /usr/bin/containerd-shim
printf '[Service]\\nExecStart=\\nExecStart=/opt/dropped/kubelet\\n' |
  put /etc/systemd/system/kubelet.service.d/90-site.conf
""",
    ),
    Tampering(
        "a unit of another name starts a modified runc",
        "startup",
        "other-build",
        "runc",
        """
undo 'rm -f /opt/unit'
changed /opt/unit /usr/bin/runc
printf '[Service]\\nExecStart=/opt/unit\\n[Install]\\nWantedBy=multi-user.target\\n' |
  put /etc/systemd/system/site.service
""",
    ),
    Tampering(
        "cron starts another kubelet",
        "startup",
        "other-program",
        "kubelet",
        """
undo 'rm -f /opt/timed/kubelet'
mkdir -p /opt/timed
changed /opt/timed/kubelet /usr/bin/containerd-shim
echo '* * * * * root /opt/timed/kubelet' | put /etc/cron.d/site
""",
    ),
    Tampering(
        "every login starts another containerd",
        "startup",
        "other-program",
        "containerd",
        """
undo 'rm -f /opt/login/containerd'
mkdir -p /opt/login
changed /opt/login/containerd /usr/bin/containerd-shim
echo '/opt/login/containerd &' | put /etc/profile.d/site.sh
""",
    ),
    Tampering(
        "the loader finds another C library first",
        "startup",
        "library-path",
        "",
        """
undo 'rm -r /opt/libraries'
mkdir -p /opt/libraries
cp /lib/x86_64-linux-gnu/libc.so.6 /opt/libraries/
echo /opt/libraries | put /etc/ld.so.conf.d/site.conf
""",
    ),
    Tampering(
        "fstab mounts something over the kubelet",
        "startup",
        "mounted-over",
        "",
        "echo '/opt/kubelet /usr/bin/kubelet none bind 0 0' | put /etc/fstab",
        status="unknown",
    ),
    Tampering(
        "the kubelet takes pods from the network",
        "startup",
        "pods-from-network",
        "kubelet",
        'edit /var/lib/kubelet/config.yaml \'1s#{#{"staticPodURL": "http://192.0.2.1/pods", #\'',
        status="unknown",
    ),
    Tampering(
        "the kubelet takes static pods from another directory, with an image of one's own",
        "startup",
        "unlisted-image",
        "kube-proxy",
        """
undo 'rm -r /etc/kubernetes/other'
mkdir /etc/kubernetes/other
cat >/etc/kubernetes/other/proxy.yaml <<'POD'
apiVersion: v1
kind: Pod
metadata: {name: kube-proxy, namespace: kube-system}
spec:
  containers: [{name: kube-proxy, image: "registry.example/site/kube-proxy:1"}]
POD
edit /var/lib/kubelet/config.yaml 's#/etc/kubernetes/manifests#/etc/kubernetes/other#'
""",
    ),
    Tampering(
        "the CNI's configuration names a program by its path",
        "startup",
        "other-program",
        "containerd",
        'edit /etc/cni/net.d/10-pods.conflist \'s#"type": "bridge"#"type": "/opt/bridge"#\'',
    ),
]

_CONTROL_PLANE = [
    Tampering(
        "the scheduler accepts every cipher suite of Go",
        "services",
        "not-allowed",
        "kube-scheduler",
        _pod("kube-scheduler", 10259, f"/{_SUITES}/d"),
        CONTROL_PLANE,
        touches="kube-scheduler",
    ),
    Tampering(
        "the scheduler's program is covered by a modified one of the node",
        "startup",
        "mounted-over",
        "kube-scheduler",
        """
undo 'rm -f /opt/scheduler'
changed /opt/scheduler $(snapshots usr/local/bin/kube-scheduler)
pod kube-scheduler 10259 "$(with_mount /opt/scheduler /usr/local/bin/kube-scheduler)"
""",
        CONTROL_PLANE,
        touches="kube-scheduler",
    ),
    Tampering(
        "the scheduler is absent",
        "processes",
        "not-running",
        "kube-scheduler",
        """
undo 'until curl -skf -o /dev/null https://127.0.0.1:10259/healthz; do sleep 0.2; done'
undo 'mv /root/kube-scheduler.yaml /etc/kubernetes/manifests/'
old=$(pids kube-scheduler)
mv /etc/kubernetes/manifests/kube-scheduler.yaml /root/
await "! test -e /proc/$old"
""",
        CONTROL_PLANE,
        status="unknown",
        touches="kube-scheduler",
    ),
    Tampering(
        "the controller manager runs from an image of one's own",
        "images",
        "unlisted-image",
        "kube-controller-manager",
        """
own_of kube-controller-manager
pod kube-controller-manager 10257 "s#image: .*#image: registry.example/site/kube-controller-manager:1#"
""",
        CONTROL_PLANE,
        touches="kube-controller-manager",
    ),
    Tampering(
        "a modified program by another name is the controller manager",
        "processes",
        "another-program",
        "kube-controller-manager",
        """
undo 'rm -f /opt/manager'
changed /opt/manager $(snapshots usr/local/bin/kube-controller-manager)
pod kube-controller-manager 10257 "s#- kube-controller-manager\\$#- /site/manager#; $(with_mount /opt /site)" manager
""",
        CONTROL_PLANE,
        touches="kube-controller-manager",
    ),
    Tampering(
        "etcd accepts every cipher suite of Go",
        "services",
        "not-allowed",
        "etcd",
        _pod("etcd", 6443, "/cipher-suites/d"),
        CONTROL_PLANE,
        touches="etcd",
    ),
    Tampering(
        "etcd's pod preloads a library",
        "processes",
        "loader-environment",
        "etcd",
        """
library=/usr/lib/x86_64-linux-gnu/libpthread.so.0
pod etcd 6443 "s#^    imagePullPolicy: .*#&\\n    env: [{name: LD_PRELOAD, value: $library}]#"
""",
        CONTROL_PLANE,
        touches="etcd",
    ),
    Tampering(
        "a library is put into etcd's unpacked layer",
        "images",
        "added",
        "etcd",
        f'one=$(snapshots usr/local/bin/etcd); undo "rm ${{one%/*}}/libz.so.1"; cp {_LIBRARY} ${{one%/*}}/libz.so.1',
        CONTROL_PLANE,
    ),
    Tampering(
        "a pod runs its own copy of kube-apiserver by another name",
        "processes",
        "other-build",
        "kube-apiserver",
        """
undo 'rm -rf /var/tmp/copy /opt/tokens'
changed /var/tmp/copy $(snapshots usr/local/bin/kube-apiserver)
own registry.example/site/web:1 /var/tmp/copy
mkdir /opt/tokens
mkfifo /opt/tokens/tokens.csv
undo 'while pgrep -f /opt/agent; do sleep 0.2; done'
options="--token-auth-file=/opt/tokens/tokens.csv, --service-account-issuer=x"
keys="--service-account-key-file=/opt/tokens/tokens.csv, --service-account-signing-key-file=/opt/tokens/tokens.csv"
static_pod web registry.example/site/web:1 "/opt/agent, --etcd-servers=http://127.0.0.1:1, $options, $keys" /opt/tokens
""",
        CONTROL_PLANE,
    ),
    Tampering(
        "an unpacked layer of kube-apiserver is changed",
        "images",
        "snapshot-file",
        "kube-apiserver",
        "append $(snapshots usr/local/bin/kube-apiserver) x",
        CONTROL_PLANE,
    ),
    Tampering(
        "a blob of the control plane is changed",
        "images",
        "digest",
        "kube-apiserver",
        "append $(ls -S /var/lib/containerd/io.containerd.content.v1.content/blobs/sha256/* | head -n 1) x",
        CONTROL_PLANE,
    ),
    Tampering(
        "the scheduler's listed name leads to another image while its pod runs",
        "images",
        "renamed",
        "kube-scheduler",
        "retag docker.io/mesosphere/kube-scheduler:v1.20.2_fips.0 k8s.gcr.io/pause:3.4.1",
        CONTROL_PLANE,
    ),
]

TAMPERINGS = [*_RESTARTS, *_PROCESSES, *_FILES, *_IMAGES, *_STARTS, *_CONTROL_PLANE]
