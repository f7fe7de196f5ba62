"""A real etcd and kube-apiserver on loopback, built by `scripts/kubernetes`, without nodes."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fipsmanifest.cluster.api import Api
from fipsmanifest.cluster.kubeconfig import Connection, load_connection
from tests.support.servers import free_ports

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / ".cache/kubernetes"
ETCD = ROOT / ".cache/debian/etcd-server/usr/bin/etcd"
_START_SECONDS = 300


#: What the service account of `deploy/rbac.yaml` asks for.
_AUDIT = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  users: ["system:serviceaccount:fipsmanifest:fipsmanifest-check"]
- level: None
"""


@dataclass
class ControlPlane:
    """An API server that runs, with its store."""

    directory: Path
    """Keys, logs and etcd's data."""
    port: int
    """The API server's port."""
    etcd_port: int
    """etcd's port for clients."""
    options: Sequence[str] = ()
    """More options of the API server."""
    program: Path = KUBERNETES / "kube-apiserver"
    """The API server."""
    admin: str = field(default_factory=lambda: secrets.token_hex(16))
    """The token of an administrator."""
    stranger: str = field(default_factory=lambda: secrets.token_hex(16))
    """The token of a user who may do nothing."""
    limited: str = field(default_factory=lambda: secrets.token_hex(16))
    """The token of the service account of `deploy/rbac.yaml`."""
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    """What runs, by name."""

    @property
    def server(self) -> str:
        """The API server's address."""
        return f"https://127.0.0.1:{self.port}"

    def kubeconfig(self, user: Mapping[str, object] | None = None, name: str = "kubeconfig") -> Path:
        """Write a kubeconfig for a user, by default the administrator."""
        authority = base64.b64encode((self.directory / "apiserver.crt").read_bytes()).decode()
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "clusters": [{"name": "test", "cluster": {"server": self.server, "certificate-authority-data": authority}}],
            "users": [{"name": "test", "user": user or {"token": self.admin}}],
        }
        path = self.directory / name
        path.write_text(json.dumps(document))
        return path

    def connection(self) -> Connection:
        """Return the administrator's connection."""
        return load_connection(self.kubeconfig(), None, {})

    def api(self, **options: float) -> Api:
        """Return the administrator's API."""
        return Api(self.connection(), patience=options.get("patience", 60.0), threads=int(options.get("threads", 8)))

    def create_namespace(self, namespace: Mapping[str, Any]) -> None:
        """Create a namespace with its service account, as the controllers of a cluster do."""
        api, name = self.api(), namespace["metadata"]["name"]
        api.create("/api/v1/namespaces", namespace)
        self.create_service_account(name)

    def create_service_account(self, namespace: str) -> None:
        """Create the service account that every namespace of a cluster has."""
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        self.api().create(f"/api/v1/namespaces/{namespace}/serviceaccounts", account)

    def start_etcd(self) -> None:
        """Start etcd."""
        address, peer = f"http://127.0.0.1:{self.etcd_port}", f"http://127.0.0.1:{free_ports(1)[0]}"
        self._start(
            "etcd",
            ETCD,
            f"--data-dir={self.directory}/etcd",
            f"--listen-client-urls={address}",
            f"--advertise-client-urls={address}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
            "--quota-backend-bytes=4294967296",
        )

    def start_apiserver(self) -> None:
        """Start the API server, again after `stop`, and wait until it is ready."""
        keys = self.directory / "service-account.key"
        if not keys.exists():
            subprocess.run(["openssl", "genrsa", "-out", keys, "2048"], check=True, capture_output=True)
            account = "system:serviceaccount:fipsmanifest:fipsmanifest-check"
            users = [f"{self.admin},admin,admin,system:masters", f"{self.stranger},stranger,stranger"]
            users.append(f"{self.limited},{account},{account}")
            (self.directory / "tokens.csv").write_text("".join(f"{user}\n" for user in users))
            (self.directory / "audit.yaml").write_text(_AUDIT)
        self._start(
            "kube-apiserver",
            self.program,
            f"--etcd-servers=http://127.0.0.1:{self.etcd_port}",
            f"--secure-port={self.port}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--cert-dir={self.directory}",
            f"--token-auth-file={self.directory}/tokens.csv",
            f"--service-account-key-file={keys}",
            f"--service-account-signing-key-file={keys}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--authorization-mode=RBAC",
            "--allow-privileged=true",
            "--endpoint-reconciler-type=none",
            f"--audit-policy-file={self.directory}/audit.yaml",
            f"--audit-log-path={self.directory}/audit.log",
            *self.options,
        )
        deadline = time.monotonic() + _START_SECONDS
        while not self._is_ready():
            process = self.processes["kube-apiserver"]
            assert process.poll() is None and time.monotonic() < deadline, self.log("kube-apiserver")
            time.sleep(0.2)

    def _is_ready(self) -> bool:
        options = ["--silent", "--insecure", "--max-time", "2", "--header", f"Authorization: Bearer {self.admin}"]
        done = subprocess.run(["curl", *options, f"{self.server}/readyz"], capture_output=True, check=False)
        return done.stdout == b"ok" and (self.directory / "apiserver.crt").exists()

    def stop(self, name: str, *, kill: bool = False) -> None:
        """End a process."""
        process = self.processes.pop(name)
        process.kill() if kill else process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
        process.wait()

    def log(self, name: str) -> str:
        """Return the end of a process' log."""
        return (self.directory / f"{name}.log").read_text(errors="replace")[-4000:]

    def _start(self, name: str, *command: str | Path) -> None:
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=dict(os.environ, GOGC="200")
            )


@contextlib.contextmanager
def running(
    directory: Path, options: Sequence[str] = (), program: Path = KUBERNETES / "kube-apiserver"
) -> Iterator[ControlPlane]:
    """Run a control plane, and end it."""
    assert program.exists(), "scripts/kubernetes builds Kubernetes"
    assert ETCD.exists(), "scripts/debian-programs unpacks etcd"
    port, etcd_port = free_ports(2)
    plane = ControlPlane(directory, port, etcd_port, options, program)
    try:
        plane.start_etcd()
        plane.start_apiserver()
        yield plane
    finally:
        for name in reversed(list(plane.processes)):
            plane.stop(name, kill=True)
