"""The release that the cluster runs: Kubernetes as `scripts/kubernetes` builds it, the rest as Debian does."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from examples.upstream import World

ROOT = Path(__file__).parents[3]
DEFINITIONS = ROOT / "tests/cluster/data"
VERSION = "v1.20.2"
#: Packages and images are made once: they depend on the programs alone.
UPSTREAM = ROOT / ".cache/cluster"

_KUBERNETES = ROOT / ".cache/kubernetes"
_KUBERNETES_PROGRAMS = (
    *("kubelet", "kubeadm", "kubectl", "kube-apiserver"),
    *("kube-controller-manager", "kube-scheduler", "kube-proxy"),
)
_CONTAINERD_PROGRAMS = ("containerd", "containerd-shim", "containerd-shim-runc-v1", "containerd-shim-runc-v2", "ctr")
_ETCD = ROOT / ".cache/debian/etcd-server/usr/bin/etcd"
#: What kube-proxy runs, by the names under which it does; one program that acts by its name.
_IPTABLES = Path("/usr/sbin/xtables-nft-multi")
_IPTABLES_NAMES = [f"{name}{suffix}" for name in ("iptables", "ip6tables") for suffix in ("", "-save", "-restore")]
_EXTENSIONS = Path("/usr/lib/x86_64-linux-gnu/xtables")


@dataclass(frozen=True, slots=True)
class Release:
    """What was published, and what nodes install."""

    bucket: Path
    """What consumers download."""
    keys: Path
    """The trust directory."""
    packages: tuple[Path, ...]
    """The RPMs."""
    registry: Path
    """The data of a container registry with the images."""
    log: str
    """What ``fipsmanifest release`` printed."""

    @property
    def manifest(self) -> Path:
        """The signed manifest."""
        return self.bucket / f"tool/manifests/{VERSION}/manifest-rhel8.json.asc"

    @property
    def tool(self) -> Path:
        """The node tool."""
        return self.bucket / "tool/dkp-fips-tool"


def make(directory: Path, gnupghome: Path) -> Release:
    """Cut, sign and publish the release into ``directory``; the release's keys are made in ``gnupghome``."""
    world = _upstream()
    keys, bucket = directory / "keys", directory / "bucket"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FIPSMANIFEST_")}
    environment |= {"GNUPGHOME": str(gnupghome), "XDG_STATE_HOME": str(directory / "state")}
    _run(environment, "keys", "init", "--user-id", "Tests <tests@example.com>", "--keys", keys, "--no-passphrase")
    upstream = ("--role", "upstream", "--fingerprint", world.fingerprint)
    _run(environment, "keys", "add", world.upstream_certificate, *upstream, "--keys", keys)
    with world.serve() as served:
        mirrors = [word for mirror in served.mirrors for word in ("--mirror", mirror)]
        directories = ("--definitions", DEFINITIONS, "--work", directory / "work", "--cache", directory / "cache")
        lock = ("--lock", directory / "lock.json", "--first-lock")
        log = _run(environment, "release", VERSION, *mirrors, *lock, *directories, "--keys", keys, "--to", bucket)
    (definition,) = world.definitions
    return Release(bucket, keys, world.packages(definition), world.directory / "registry/data", log)


def _upstream() -> World:
    missing = [name for name in _KUBERNETES_PROGRAMS if not (_KUBERNETES / name).exists()]
    assert not missing, f"scripts/kubernetes builds {missing}"
    assert _IPTABLES.exists(), "iptables is missing: scripts/system-packages installs it"
    UPSTREAM.mkdir(parents=True, exist_ok=True)
    with (UPSTREAM / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return World.make(
            [DEFINITIONS / VERSION / "rhel8.toml"],
            UPSTREAM / "upstream",
            UPSTREAM / "gnupg",
            given=_programs(),
            beside={"kube-proxy": _iptables(), "etcd": libraries(_ETCD)},
        )


def _programs() -> dict[str, Path]:
    plugins = {name: Path("/usr/lib/cni", name) for name in ("bridge", "host-local", "loopback")}
    return {
        **{name: _KUBERNETES / name for name in _KUBERNETES_PROGRAMS},
        **{name: Path("/usr/bin", name) for name in _CONTAINERD_PROGRAMS},
        "runc": Path("/usr/sbin/runc"),
        # Debian's etcdctl is a package of its own, and nothing runs it here.
        **dict.fromkeys(("etcd", "etcdctl"), _ETCD),
        **plugins,
    }


def _iptables() -> Mapping[str, Path]:
    """Return iptables with its libraries and extensions: path in the image -> file."""
    return {
        **{f"/usr/sbin/{name}": _IPTABLES for name in _IPTABLES_NAMES},
        **libraries(_IPTABLES),
        # Some are links: MASQUERADE is one to NAT.
        **{str(path): path for path in sorted(_EXTENSIONS.glob("*.so"))},
    }


def libraries(program: Path) -> Mapping[str, Path]:
    """Return the loader and the libraries of a program: path in the image -> file."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return {path: Path(path) for path in re.findall(r"(/\S+) \(0x", listed)}


def _run(environment: Mapping[str, str], *arguments: str | Path) -> str:
    command = [Path(sys.executable).with_name("fipsmanifest"), *arguments]
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr
