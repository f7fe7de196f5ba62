"""Three nodes: a control plane whose static pods kubeadm wrote, and two workers."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .machine import CONTAINERD, Machine, end, launch, opened_run
from .release import VERSION, Release

CONTROL_PLANE, *WORKERS = NODES = ("node-1", "node-2", "node-3")
_SWITCH_ADDRESS = "192.0.2.1"
_ADDRESSES = dict(zip(NODES, ("192.0.2.11", "192.0.2.12", "192.0.2.13"), strict=True))
_ATTEMPTS = 10
_SUITES = ["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]
_TLS = {"tls-cipher-suites": ",".join(_SUITES), "tls-min-version": "VersionTLS12"}

_SWITCH = """\
set -e
ip link set lo up
ip link add switch type bridge
ip address add "$1/24" dev switch
ip link set switch up
echo ready
exec sleep infinity
"""

_CONTAINERD = (
    CONTAINERD.format(pause="k8s.gcr.io/pause:3.4.1")
    + """\
  [plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]
    endpoint = ["{registry}/v2/docker.io"]
  [plugins."io.containerd.grpc.v1.cri".registry.mirrors."k8s.gcr.io"]
    endpoint = ["{registry}/v2/k8s.gcr.io"]
"""
)
#: What systemd does elsewhere: "restart containerd|kubelet [COMMAND]", with the commands of units and drop-ins.
_RESTART = """\
set -e
for one in /proc/[0-9]*; do
  [ "$(cat "$one/comm" 2>/dev/null)" != "$1" ] || { kill "${one#/proc/}" && tail --pid="${one#/proc/}" -f /dev/null; }
done
options=
[ "$1" = containerd ] ||
  options="--kubeconfig=/etc/kubernetes/kubelet.conf $(sed s/^KUBELET_EXTRA_ARGS=// /etc/sysconfig/kubelet)"
setsid ${2-/usr/bin/$1} $options </dev/null >>"/var/log/fm-$1.log" 2>&1 &
[ "$1" != kubelet ] || exit 0
for _ in $(seq 3000); do ! ctr --connect-timeout 1s version >/dev/null 2>&1 || exit 0; sleep 0.1; done
exit 1
"""
_NETWORK = {
    "cniVersion": "0.4.0",
    "name": "pods",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": True,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": "10.85.0.0/16"}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        },
    ],
}
_KUBELET = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1",
    "kind": "KubeletConfiguration",
    "staticPodPath": "/etc/kubernetes/manifests",
    "authentication": {
        "anonymous": {"enabled": False},
        "webhook": {"enabled": True},
        "x509": {"clientCAFile": "/etc/kubernetes/pki/ca.crt"},
    },
    "authorization": {"mode": "Webhook"},
    "cgroupDriver": "cgroupfs",
    "enforceNodeAllocatable": [],
    "evictionHard": {"memory.available": "1Mi"},
    "failSwapOn": False,
    "imageGCHighThresholdPercent": 100,
    "fileCheckFrequency": "1s",
    "syncFrequency": "5s",
    "nodeStatusUpdateFrequency": "5s",
    "tlsCipherSuites": _SUITES,
    "tlsMinVersion": "VersionTLS12",
}


def _kubeadm() -> str:
    # Alone, they need not end where a busy machine lets their lease run out.
    extra = {"extraArgs": {**_TLS, "bind-address": "0.0.0.0", "leader-elect": "false"}}
    server = {
        "extraArgs": {**_TLS, "enable-admission-plugins": "NodeRestriction", "profiling": "false"},
    }
    documents = [
        {
            "apiVersion": "kubeadm.k8s.io/v1beta2",
            "kind": "InitConfiguration",
            "localAPIEndpoint": {"advertiseAddress": _ADDRESSES[CONTROL_PLANE], "bindPort": 6443},
            "nodeRegistration": {"name": CONTROL_PLANE, "criSocket": "/run/containerd/containerd.sock"},
        },
        {
            "apiVersion": "kubeadm.k8s.io/v1beta2",
            "kind": "ClusterConfiguration",
            "kubernetesVersion": f"{VERSION}+fips.0",
            "imageRepository": "docker.io/mesosphere",
            "controlPlaneEndpoint": f"{_ADDRESSES[CONTROL_PLANE]}:6443",
            "apiServer": server,
            "controllerManager": extra,
            "scheduler": extra,
            "etcd": {
                "local": {
                    "imageTag": "v3.4.23",
                    "extraArgs": {"cipher-suites": ",".join(_SUITES), "unsafe-no-fsync": "true"},
                }
            },
            "networking": {"serviceSubnet": "10.96.0.0/16", "podSubnet": "10.85.0.0/16"},
        },
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "iptables",
            # Pods of each node have the same addresses, so servers see those of nodes.
            "iptables": {"masqueradeAll": True},
            # They are settings of the whole kernel, which these nodes share.
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        },
    ]
    return "\n---\n".join(json.dumps(one) for one in documents)


def _outside(switch: int, *words: object) -> list[str]:
    enter = ["nsenter", "--target", str(switch), "--net"]
    return ["setpriv", "--pdeathsig", "KILL", *enter, *map(str, words)]


@dataclass
class Cluster:
    """A cluster that runs."""

    directory: Path
    release: Release
    switch: int
    """The process whose network namespace connects the nodes."""
    parent: int
    registry: str
    machines: dict[str, Machine] = field(default_factory=dict)

    @property
    def kubeconfig(self) -> Path:
        """The administrator's, as kubeadm wrote it."""
        return self.directory / "admin.conf"

    def outside(self, *words: object) -> list[str]:
        """Return a command that reaches the nodes by network, is on none of them, and ends with this process."""
        return _outside(self.switch, *words)

    def kubectl(self, *words: str) -> str:
        """Run the kubectl that was released, again where it fails: a server that is busy or restarts may refuse."""
        program = self.machines[CONTROL_PLANE].root / "usr/bin/kubectl"
        command = self.outside(program, f"--kubeconfig={self.kubeconfig}", *words)
        for _ in range(_ATTEMPTS):
            done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
            if done.returncode == 0:
                return done.stdout
            time.sleep(2)
        raise AssertionError(f"kubectl {words}: {done.stdout}{done.stderr}")

    def check(self, *options: str, kubeconfig: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run ``fipsmanifest check cluster`` with the published tool."""
        given = ("--tool", str(self.release.tool), "--kubeconfig", str(kubeconfig or self.kubeconfig))
        return self._check_cluster(*given, *options)

    def cron_job(self, *options: str) -> str:
        """Return what runs the check on a schedule, as ``--print-cronjob`` prints it."""
        done = self._check_cluster("--print-cronjob", *options)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _check_cluster(self, *options: str) -> subprocess.CompletedProcess[str]:
        program = Path(sys.executable).with_name("fipsmanifest")
        given = ("--keys", self.release.keys, *options, self.release.manifest)
        command = self.outside(program, "check", "cluster", *given)
        environment = {**os.environ, "HOME": str(self.directory)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)

    def tool(self, node: str, *options: str) -> dict[str, Any]:
        """Run the node tool on a node itself, and return its report."""
        words = ["/root/dkp-fips-tool", "--json", "--live", "--root", "/", *options, "/root/manifest-rhel8.json.asc"]
        command = self.machines[node].command("sh", *words)
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        found: dict[str, Any] = json.loads(done.stdout or "{}")
        assert found, done.stderr
        return found


@contextlib.contextmanager
def running(directory: Path, release: Release) -> Iterator[Cluster]:
    """Bring the cluster up, and end it."""
    with contextlib.ExitStack() as stack:
        run = stack.enter_context(opened_run())
        switch, parent = launch(directory / "switch", ["--net"], _SWITCH, _SWITCH_ADDRESS)
        stack.callback(end, parent)
        address = stack.enter_context(_registry(directory, release, switch))
        cluster = Cluster(directory, release, switch, parent, address)
        for name in NODES:
            machine = Machine.boot(name, _ADDRESSES[name], directory / name, f"{run}-{name}")
            stack.callback(machine.halt)
            cluster.machines[name] = machine
            _connect(cluster, machine)
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda machine: _install(cluster, machine), cluster.machines.values()))
        _bring_up(cluster)
        yield cluster


@contextlib.contextmanager
def _registry(directory: Path, release: Release, switch: int) -> Iterator[str]:
    """Serve the released images to the nodes."""
    configuration = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(release.registry)},
            "maintenance": {"readonly": {"enabled": True}},
        },
        "http": {"addr": f"{_SWITCH_ADDRESS}:5000", "secret": "loopback-only"},
    }
    (directory / "registry.yml").write_text(json.dumps(configuration))
    with (directory / "registry.log").open("wb") as log:
        process = subprocess.Popen(
            _outside(switch, "docker-registry", "serve", directory / "registry.yml"),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={"PATH": "/usr/bin:/bin", "OTEL_TRACES_EXPORTER": "none"},
        )
    try:
        yield f"http://{_SWITCH_ADDRESS}:5000"
    finally:
        process.kill()
        process.wait()


def _connect(cluster: Cluster, machine: Machine) -> None:
    """Connect a node to the network."""
    script = f"""\
ip link add {machine.name} type veth peer name eth0 netns {machine.init}
ip link set {machine.name} master switch up
"""
    subprocess.run(cluster.outside("sh", "-ec", script), check=True)
    machine.sh(f"""\
ip link set lo up
ip address add {machine.address}/24 dev eth0
ip link set eth0 up
ip route add default via {_SWITCH_ADDRESS}
sysctl -q -w net.ipv4.ip_forward=1
""")


def _install(cluster: Cluster, machine: Machine) -> None:
    """Install the released packages, and write what a site's own installation writes."""
    for package in cluster.release.packages:
        (machine.root / "tmp" / package.name).write_bytes(package.read_bytes())
    for published in (cluster.release.tool, cluster.release.manifest):
        (machine.root / "root" / published.name).write_bytes(published.read_bytes())
    # This machine's own containerd is no package of RPM's, and in its place.
    machine.sh("rpm --install --nodeps --nosignature --replacefiles --dbpath /var/lib/rpm /tmp/*.rpm && rm /tmp/*.rpm")
    machine.sh("rm -f /usr/sbin/runc /etc/os-release")
    machine.write("/etc/os-release", 'ID="rhel"\nVERSION_ID="8.4"\n')
    hosts = "".join(f"{address} {name}\n" for name, address in _ADDRESSES.items())
    machine.write("/etc/hosts", f"127.0.0.1 localhost\n{hosts}")
    machine.write("/etc/containerd/config.toml", _CONTAINERD.replace("{registry}", cluster.registry))
    machine.write("/etc/cni/net.d/10-pods.conflist", json.dumps(_NETWORK))
    machine.write("/var/lib/kubelet/config.yaml", json.dumps({**_KUBELET, "cgroupRoot": f"/{machine.group}"}))
    options = [
        "--config=/var/lib/kubelet/config.yaml",
        "--container-runtime=remote",
        "--container-runtime-endpoint=unix:///run/containerd/containerd.sock",
        f"--hostname-override={machine.name}",
        f"--node-ip={machine.address}",
    ]
    machine.write("/etc/sysconfig/kubelet", f"KUBELET_EXTRA_ARGS={' '.join(options)}\n")
    machine.write("/root/restart", _RESTART)
    machine.make_groups()
    machine.sh("sh /root/restart containerd")


def _bring_up(cluster: Cluster) -> None:
    """Write certificates and static pods with kubeadm, start the kubelets, and wait until all nodes are ready."""
    first = cluster.machines[CONTROL_PLANE]
    first.write("/root/kubeadm.yaml", _kubeadm())

    def run_phases(*phases: str) -> None:
        for phase in phases:
            first.sh(f"kubeadm init phase {phase} --config /root/kubeadm.yaml")

    run_phases("certs all", "kubeconfig all", "control-plane apiserver", "etcd local")
    first.sh("sh /root/restart kubelet")
    cluster.kubeconfig.write_bytes((first.root / "etc/kubernetes/admin.conf").read_bytes())
    for machine in cluster.machines.values():
        machine.write("/root/admin.conf", cluster.kubeconfig.read_text())
    authority = (first.root / "etc/kubernetes/pki/ca.crt").read_text()
    for name in WORKERS:
        machine = cluster.machines[name]
        user = f"--client-name system:node:{name} --org system:nodes"
        made = first.sh(f"kubeadm alpha kubeconfig user --config /root/kubeadm.yaml {user} 2>/dev/null")
        machine.write("/etc/kubernetes/kubelet.conf", made)
        machine.write("/etc/kubernetes/pki/ca.crt", authority)
        (machine.root / "etc/kubernetes/manifests").mkdir(exist_ok=True)
        machine.sh("sh /root/restart kubelet")
    probe = f"curl --silent --insecure --max-time 2 https://{first.address}:6443/readyz"
    first.wait_for(lambda: first.sh(probe, check=False) == "ok", "the API server")
    # They would end without it, and be started again later and later.
    run_phases("control-plane controller-manager", "control-plane scheduler")
    first.wait_for(lambda: CONTROL_PLANE in cluster.kubectl("get", "nodes", "-o", "name"), "the first node")
    first.retry(lambda: run_phases("addon kube-proxy", "mark-control-plane"))
    first.wait_for(lambda: _is_up(cluster), "all nodes")


def pods(cluster: Cluster, *options: str) -> list[dict[str, Any]]:
    """Return pods of all namespaces."""
    found: list[dict[str, Any]] = json.loads(cluster.kubectl("get", "pods", "-A", "-o", "json", *options))["items"]
    return found


def _is_up(cluster: Cluster) -> bool:
    nodes = json.loads(cluster.kubectl("get", "nodes", "-o", "json"))["items"]
    ready = [one for node in nodes for one in node["status"]["conditions"] if one["type"] == "Ready"]
    running = [pod for pod in pods(cluster) if pod["status"]["phase"] == "Running"]
    # Four static pods, and kube-proxy on each node.
    return [one["status"] for one in ready] == ["True"] * len(NODES) and len(running) == 4 + len(NODES)
