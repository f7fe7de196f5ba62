"""One node: its own mounts, processes, network, name, on a copy of this machine's root that takes no room.

The root is an overlay of this machine's, in memory, so that programs can be installed and tampered with. All that runs
there ends with the node's first process, which ends with the tests.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_SECONDS = 600
_GROUPS = Path("/sys/fs/cgroup")
_RUN = "fipsmanifest-cluster-"
#: The controllers that a kubelet asks for where the kernel has them (pkg/kubelet/cm/cgroup_manager_linux.go).
_CONTROLLERS = ("cpu", "cpuset", "hugetlb", "memory", "pids")
#: What a kubelet sets where it finds another value (setupKernelTunables, pkg/kubelet/cm/container_manager_linux.go).
_TUNABLES = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1_000_000,
    "kernel/keys/root_maxbytes": 25_000_000,
}
#: The root of a node as an overlay of this machine's, in memory, which the shell is in afterwards.
OVERLAY = """\
mount -t tmpfs -o size=6g tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root" "$1/store"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
cd "$1/root"
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
"""
#: containerd as a node runs it; ``{pause}`` is the image of its sandboxes.
CONTAINERD = """\
version = 2
disabled_plugins = ["io.containerd.internal.v1.opt"]
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  # Without CAP_SYS_RESOURCE, as in some containers and virtual machines, no process may ask for a lower score.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
"""
#: These settings are of the whole kernel, and stay as they are: the kubelet reads files in their place.
_KEEP_TUNABLES = "".join(
    f'echo {value} >"$1/{number}"\nmount --bind "$1/{number}" proc/sys/{path}\n'
    for number, (path, value) in enumerate(_TUNABLES.items())
)
#: The kernel reaps processes whose end the first one ignores, as dash cannot. What is not part of the system is hidden.
_SETUP = f"""\
set -e
mount --make-rprivate /
{OVERLAY}{_KEEP_TUNABLES}mkdir -p var/lib/containerd old-root
for hidden in run tmp root home work opt srv; do [ ! -d "$hidden" ] || mount -t tmpfs -o mode=0755 tmpfs "$hidden"; done
chmod 1777 tmp
mount --bind "$1/store" var/lib/containerd
pivot_root . old-root
cd /
umount -l /old-root
rmdir /old-root
# As systemd has it, so that what is mounted here is seen in mounts that were copied from these.
mount --make-rshared /
hostname "$2"
trap '' CHLD
echo ready
exec sleep infinity
"""
_NAMESPACES = ("--mount", "--pid", "--net", "--uts", "--ipc")


def launch(directory: Path, namespaces: Sequence[str], script: str, *arguments: str | Path) -> tuple[int, int]:
    """Start a shell script in new namespaces; return its process and that of its parent once it printed "ready".

    It is killed when this process ends, however that happens.
    """
    directory.mkdir(exist_ok=True)
    with (directory / "setup.log").open("ab") as log:
        command = ["setpriv", "--pdeathsig", "KILL", "unshare", *namespaces, "--fork", "--kill-child"]
        parent = subprocess.Popen(
            [*command, "bash", "-c", script, "bash", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert parent.stdout is not None and parent.stdout.readline() == "ready\n", (directory / "setup.log").read_text()
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
    _PARENTS[parent.pid] = parent
    return int(children[0]), parent.pid


#: Kept, so that no other code waits for them.
_PARENTS: dict[int, subprocess.Popen[str]] = {}


def end(parent: int) -> None:
    """End what `launch` started, with all that runs in its namespaces."""
    process = _PARENTS.pop(parent)
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


@dataclass
class Machine:
    """A node that runs."""

    name: str
    """Its host name."""
    address: str
    """Its address in the cluster's network."""
    directory: Path
    """The logs of its start."""
    group: str
    """The control group of its pods."""
    init: int
    """Its first process, as this machine numbers it."""
    parent: int
    """What keeps that one alive."""

    @classmethod
    def boot(cls, name: str, address: str, directory: Path, group: str) -> Machine:
        """Start a node without a network."""
        mounted = directory / "mounted"
        mounted.mkdir(parents=True)
        init, parent = launch(directory, _NAMESPACES, _SETUP, mounted, name)
        return cls(name, address, directory, group, init, parent)

    @property
    def root(self) -> Path:
        """The node's root; no path below it may have an absolute link, which would lead out of it."""
        return Path(f"/proc/{self.init}/root")

    def command(self, *words: str | Path) -> list[str]:
        """Return the command that runs another one on the node."""
        enter = ["nsenter", "--target", str(self.init), "--mount", "--pid", "--net", "--uts", "--ipc"]
        return [*enter, *map(str, words)]

    def sh(self, script: str, *, check: bool = True) -> str:
        """Run a shell script on the node and return what it printed."""
        done = subprocess.run(
            self.command("sh", "-ec", script),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_SECONDS,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            check=False,
        )
        assert not check or done.returncode == 0, f"{self.name}: {script}: {done.stdout}"
        return done.stdout

    def write(self, path: str, text: str) -> None:
        """Write a file of the node."""
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def wait_for(self, happened: Callable[[], object], what: str, seconds: float = _SECONDS) -> None:
        """Wait until something happened; else show the logs."""
        deadline = time.monotonic() + seconds
        while not happened():
            assert time.monotonic() < deadline, f"{self.name}: {what}\n" + self.sh(
                "tail -n 30 /var/log/fm-*", check=False
            )
            time.sleep(0.2)

    def retry(self, work: Callable[[], None], attempts: int = 10) -> None:
        """Do what may be done twice until it works: a server that is busy may refuse."""
        for _ in range(attempts - 1):
            with contextlib.suppress(AssertionError):
                return work()
            time.sleep(2)
        return work()

    def make_groups(self) -> None:
        """Make the control groups of its pods; raises `OSError` where this machine does not allow that."""
        hierarchies = [path for path in _GROUPS.iterdir() if path.is_dir() and not path.is_symlink()]
        if (_GROUPS / "cgroup.controllers").exists():
            # Version 2 has one hierarchy, in which a group has the controllers that the one above it passes on.
            hierarchies = [_GROUPS]
            for controller in set((_GROUPS / "cgroup.controllers").read_text().split()).intersection(_CONTROLLERS):
                (_GROUPS / "cgroup.subtree_control").write_text(f"+{controller}")
        for hierarchy in hierarchies:
            (hierarchy / self.group).mkdir(exist_ok=True)
            for setting in ("cpuset.cpus", "cpuset.mems"):
                if (hierarchy / setting).exists():
                    (hierarchy / self.group / setting).write_text((hierarchy / setting).read_text())

    def halt(self) -> None:
        """End the node and all that it runs."""
        end(self.parent)
        deadline = time.monotonic() + 10
        # What the kernel is still ending keeps its group for a moment.
        while not _remove_groups(self.group) and time.monotonic() < deadline:
            time.sleep(0.1)


@contextlib.contextmanager
def opened_run() -> Iterator[str]:
    """Return the name of a run, with which the names of its control groups begin; remove those of killed runs first."""
    name = f"{_RUN}{secrets.token_hex(3)}"
    with socket.socket(socket.AF_UNIX) as claim:
        # An abstract address, which the kernel frees when this process ends, however that happens.
        claim.bind(f"\0{name}")
        groups = [path.name for path in [*_GROUPS.glob(f"{_RUN}*"), *_GROUPS.glob(f"*/{_RUN}*")]]
        for run in {match[0] for match in map(re.compile(rf"{_RUN}[0-9a-f]+").match, groups) if match}:
            if not _goes_on(run):
                for group in groups:
                    if group.startswith(run):
                        _remove_groups(group)
        yield name


def _goes_on(run: str) -> bool:
    with socket.socket(socket.AF_UNIX) as claim:
        try:
            claim.bind(f"\0{run}")
        except OSError:
            return True
    return False


def _remove_groups(name: str) -> bool:
    """Remove the control groups of a node's pods; return whether none is left."""
    tops = [path for path in [*_GROUPS.glob(f"*/{name}"), _GROUPS / name] if path.exists()]
    for top in tops:
        for directory in sorted((path for path in [top, *top.rglob("*")] if path.is_dir()), reverse=True):
            with contextlib.suppress(OSError):
                directory.rmdir()
    return not any(top.exists() for top in tops)
