"""A real containerd whose store, state and socket are in one directory, which is a node's root for the tool."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from examples.upstream import goprograms, images

from fipsmanifest.node.checks.images import containers
from tests.support import loopback, roots

STORE = "var/lib/containerd/io.containerd.content.v1.content/blobs/sha256"
SNAPSHOTS = "var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots"
SOCKET = "run/containerd/containerd.sock"
PROGRAM = "/usr/local/bin/etcd"
REFERENCE = "docker.io/mesosphere/etcd:v3.4.13_fips.0"
_START_SECONDS = 30

# What an image holds besides its program does not matter, so it is static and needs nothing else. It waits.
_MAIN = """\
package main

import (
	"crypto/tls"
	"os"
	"time"
)

const version = "{version}"

func main() {{
	if len(os.Args) > 2 {{
		tls.Dial("tcp", os.Args[1], &tls.Config{{ServerName: version}})
	}}
	time.Sleep(time.Hour)
}}
"""


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


def wait_for(port: int) -> None:
    """Wait until something listens on a port."""
    for _ in range(_START_SECONDS * 10):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError(f"nothing listens on port {port}")


def etcd(version: str) -> Path:
    """Build a goboring program that waits, different for each version."""
    return goprograms.build(
        "etcd", main=_MAIN.format(version=version), ldflags='-s -w -linkmode=external -extldflags "-static"'
    )


@dataclass(frozen=True)
class Archive:
    """An image, and the OCI archive that ``ctr images import`` takes."""

    image: images.Image
    path: Path
    layout: Path
    """The same as a directory (OCI image layout)."""
    program: Path
    """The program in it."""

    @property
    def layers(self) -> tuple[str, ...]:
        """Digests of the compressed layers."""
        return self.image.platforms[0].layers

    @property
    def config(self) -> str:
        """Digest of the configuration."""
        return self.image.platforms[0].config

    def listed(self) -> dict[str, Any]:
        """Describe the image as a manifest does, with digests that sha256sum gives."""
        manifest, index = self.image.documents
        platform = {
            "architecture": os.uname().machine,
            "manifest": manifest.digest,
            "config": self.config,
            "layers": list(self.layers),
            "diff_ids": [],
            "files": [
                {"path": PROGRAM, "type": "file", "role": "program", "sha256": roots.sha256(self.program), "go": {}}
            ],
        }
        return {"reference": REFERENCE, "component": "etcd", "index": index.digest, "platforms": [platform]}


def archive(directory: Path, version: str, reference: str | None = None, path: str = PROGRAM) -> Archive:
    """Make the image of etcd's ``version``, the same one for the same version; under another's name, where given."""
    reference, program = reference or f"docker.io/mesosphere/etcd:{version}_fips.0", etcd(version)
    made = images.make(reference, {os.uname().machine: {path: program}}, "oci-index", directory / "blobs")
    index = made.documents[-1]
    annotations = {"io.containerd.image.name": reference}
    entry = {"mediaType": index.media_type, "digest": index.digest, "size": len(index.body), "annotations": annotations}
    layout = directory / version
    store = layout / "blobs/sha256"
    store.mkdir(parents=True)
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    for digest in made.blobs:
        shutil.copyfile(images.blob_path(directory / "blobs", digest), store / digest.removeprefix("sha256:"))
    for document in made.documents:
        (store / document.digest.removeprefix("sha256:")).write_bytes(document.body)
    packed = directory / f"{version}.tar"
    with tarfile.open(packed, "w") as tar:
        tar.add(layout, ".")
    return Archive(made, packed, layout, program)


@dataclass
class Containerd:
    """A containerd that runs; ``root`` is the root of the node that it belongs to."""

    root: Path
    process: subprocess.Popen[bytes]
    container: str = field(default_factory=lambda: secrets.token_hex(32))
    """Of the container that `start` starts, as the CRI plugin names them; runc takes each name once on a machine."""
    pod: str = field(default_factory=lambda: str(uuid.uuid4()))
    """Its pod's UID."""

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self.root / SOCKET

    def ctr(self, *arguments: str | Path) -> str:
        """Run Debian's ctr in the namespace that Kubernetes uses."""
        command: list[str | Path] = ["ctr", "--address", self.socket, "--namespace", "k8s.io", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def load(self, archive: Archive) -> None:
        """Put an image into the content store, and unpack it."""
        self.ctr("images", "import", archive.path)

    def start(self, reference: str = REFERENCE, *command: str, options: Sequence[str] = ()) -> int:
        """Start a container in the control group of a pod, as the kubelet names them, and return its process."""
        cgroup = f"/kubepods/besteffort/pod{self.pod}/{self.container}"
        self.ctr("run", "--detach", "--net-host", "--cgroup", cgroup, *options, reference, self.container, *command)
        pid = self.tasks()[self.container]
        # runc answers before its process has become the container's program.
        end = time.monotonic() + _START_SECONDS
        while Path(f"/proc/{pid}/comm").read_text().startswith("runc") and time.monotonic() < end:
            time.sleep(0.01)
        return pid

    def tasks(self) -> dict[str, int]:
        """Return the containers that run, with their processes."""
        rows = [line.split() for line in self.ctr("tasks", "ls").splitlines()[1:]]
        return {name: int(pid) for name, pid, status in rows if status == "RUNNING"}

    def pull_half(self, archive: Archive, last: str) -> None:
        """Pull an image until all is there but the blob ``last``, and end the pull then."""
        store, ingest = self.root / STORE, self.root / "var/lib/containerd/io.containerd.content.v1.content/ingest"
        with stalling(archive, last) as reference:
            command = ["ctr", "--address", str(self.socket), "--namespace", "k8s.io", "images", "pull", "--plain-http"]
            with subprocess.Popen([*command, reference], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as pull:
                for _ in range(_START_SECONDS * 10):
                    there = len(list(store.iterdir())) if store.exists() else 0
                    if there == len(archive.image.blobs) + len(archive.image.documents) - 1 and any(ingest.iterdir()):
                        break
                    time.sleep(0.1)
                pull.kill()
                pull.communicate()

    def snapshots(self, path: str = PROGRAM) -> list[Path]:
        """Return the copies of a file in unpacked layers, lowest number first."""
        directories = sorted((self.root / SNAPSHOTS).iterdir(), key=lambda directory: int(directory.name))
        return [place for directory in directories if (place := directory / "fs" / path.lstrip("/")).exists()]

    def kill(self) -> None:
        """End containerd as by the OOM killer; what it started goes on."""
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()

    def launch(self) -> None:
        """Start containerd, again where it was killed, and wait until it answers."""
        self.process = _launch(self.root)


@contextlib.contextmanager
def running() -> Iterator[Containerd]:
    """Run a containerd, and end it with all that it started and mounted."""
    # A socket's path is at most 107 bytes long, and pytest's directories are deep.
    root = Path(tempfile.mkdtemp(prefix="fm-", dir="/tmp"))
    try:
        started = Containerd(root, _launch(root))
        try:
            yield started
        finally:
            if started.process.poll() is not None:
                started.launch()
            started.process.send_signal(signal.SIGCONT)
            for name in started.tasks():
                started.ctr("tasks", "kill", "--signal", "SIGKILL", name)
            for name in started.ctr("tasks", "ls", "--quiet").split():
                started.ctr("tasks", "rm", "--force", name)
            started.process.terminate()
            started.process.wait(30)
            # runc removes the container's control group, and leaves the pod's to the kubelet.
            for hierarchy in ("kubepods", "*/kubepods"):
                for group in Path("/sys/fs/cgroup").glob(f"{hierarchy}/besteffort/pod{started.pod}"):
                    group.rmdir()
    finally:
        shutil.rmtree(root)


def hide_other_mounts(root: Path, patch: pytest.MonkeyPatch) -> None:
    """Show the checks of this process no overlay but those mounted below ``root``.

    Containers of a kubelet on the machine that runs the tests have snapshots of the same numbers.
    """
    read = containers._mounts

    def own() -> str | None:
        lines = (read() or "").splitlines(keepends=True)
        # The fifth field is the mount point.
        return "".join(line for line in lines if " - overlay " not in line or line.split()[4].startswith(f"{root}/"))

    patch.setattr(containers, "_mounts", own)


@contextlib.contextmanager
def stalling(archive: Archive, last: str) -> Iterator[str]:
    """Serve an image as a registry does, but only a half of the blob ``last``; returns a reference to pull."""
    stop = threading.Event()
    types = {document.digest: document.media_type for document in archive.image.documents}
    tag = archive.image.reference.rpartition(":")[2]

    class Handler(loopback.QuietHandler):
        def do_HEAD(self) -> None:  # noqa: N802 - the base class's name
            name = self.path.rpartition("/")[2]
            digest = archive.image.documents[-1].digest if name == tag else name
            content = (archive.layout / "blobs/sha256" / digest.removeprefix("sha256:")).read_bytes()
            self.send_response(200)
            self.send_header("Content-Type", types.get(digest, "application/octet-stream"))
            self.send_header("Docker-Content-Digest", digest)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content[: len(content) // 2] if digest == last else content)
                self.wfile.flush()
                if digest == last:
                    stop.wait()

        do_GET = do_HEAD  # noqa: N815 - the base class's name

    with loopback.serving(Handler) as port:
        try:
            yield f"127.0.0.1:{port}/mesosphere/etcd:{tag}"
        finally:
            stop.set()


def _launch(root: Path) -> subprocess.Popen[bytes]:
    # Where a node has these already, all users may pass through; containerd would make them for root alone.
    (root / "var/lib").mkdir(parents=True, exist_ok=True)
    configuration = root / "etc/containerd/config.toml"
    configuration.parent.mkdir(parents=True, exist_ok=True)
    configuration.write_text(
        f'version = 2\nroot = "{root}/var/lib/containerd"\nstate = "{root}/run/containerd"\n'
        'disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.grpc.v1.cri"]\n'
        f'[grpc]\naddress = "{root / SOCKET}"\n'
    )
    log = (root / "containerd.log").open("ab")
    with log:
        process = subprocess.Popen(
            ["containerd", "--config", configuration], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    command: list[str | Path] = ["ctr", "--address", root / SOCKET, "--connect-timeout", "1s", "version"]
    for _ in range(_START_SECONDS * 10):
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return process
        assert process.poll() is None, (root / "containerd.log").read_text()
        time.sleep(0.1)
    process.kill()
    raise AssertionError((root / "containerd.log").read_text())
