"""What a kubelet or containerd that runs was started with counts as well: no unit need have started it.

The options are the kubelet's and containerd's own; /proc has them as execve(2) got them.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fipsmanifest.node.checks import startup
from fipsmanifest.node.result import Listed, Node
from tests.node.test_startup import Tree
from tests.support import roots

WAITS = "#include <unistd.h>\nint main(void) { for (;;) sleep(9); }\n"
KUBELET, CONTAINERD = "/bin/kubelet", "/usr/local/bin/containerd"
ORDINARY = ("--container-runtime=remote", "--config=/var/lib/kubelet/config.yaml", "--v=2")


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that waits, whatever its options are."""
    place = tmp_path_factory.mktemp("waiting") / "waiting"
    subprocess.run(["cc", "-x", "c", "-", "-static", "-o", str(place)], input=WAITS, text=True, check=True, timeout=60)
    return place


@pytest.fixture
def tree(tmp_path: Path, waiting: Path) -> Tree:
    one = Tree(tmp_path)
    for entry in one.manifest["files"]:
        # The link to containerd leads to the machine's own file.
        if entry["path"] in (KUBELET, CONTAINERD):
            shutil.copyfile(waiting, one.place(entry["path"]))
            with one.place(entry["path"]).open("ab") as file:
                # Other tests' daemons run at the same time.
                file.write(f"{entry['component']} {tmp_path}".encode())
            one.place(entry["path"]).chmod(0o755)
            entry.update(roots.file_entry(one.root, entry["path"], component=entry["component"]))
    return one


@pytest.fixture
def start() -> Iterator[Callable[..., None]]:
    started: list[subprocess.Popen[bytes]] = []

    def begin(program: Path, *options: str, **variables: str) -> None:
        started.append(subprocess.Popen([program, *options], env=variables))
        while Path(f"/proc/{started[-1].pid}/exe").readlink() != program.resolve():
            time.sleep(0.01)

    yield begin
    for process in started:
        process.kill()
        process.wait()


def bad(tree: Tree) -> set[tuple[str, str, str]]:
    node = Node(str(tree.root), True, "control-plane")
    found = startup.check(node, [Listed("m.asc", tree.manifest)])
    found = [one for one in found if one.status in ("fail", "unknown")]
    assert all(str(one.evidence["path"]).startswith("/proc/") for one in found)
    return {(one.status, one.subject, one.evidence["code"]) for one in found}


@pytest.mark.parametrize(
    ("option", "code"),
    [
        ("--container-runtime-endpoint=unix:///run/other.sock", "other-runtime"),
        ("--manifest-url=http://x/pods", "pods-from-network"),
        ("--dynamic-config-dir=/opt/d", "configuration"),
    ],
)
@pytest.mark.parametrize("name", ["kubelet", "agent"])
def test_an_option_of_a_kubelet_that_no_unit_started_is_judged(
    name: str, option: str, code: str, tree: Tree, start: Callable[..., None]
) -> None:
    program = tree.place("/opt/x") / name
    program.parent.mkdir()
    shutil.copy2(tree.place(KUBELET), program)
    start(program, *ORDINARY, option)

    assert bad(tree) == {("unknown", "kubelet (configuration)", code)}


def test_a_static_pod_of_a_directory_that_a_running_kubelet_names_is_judged(
    tree: Tree, start: Callable[..., None]
) -> None:
    tree.write("/opt/pods/x.yaml", tree.place("/etc/kubernetes/manifests/kube-apiserver.yaml").read_text())
    text = tree.place("/opt/pods/x.yaml").read_text()
    tree.write("/opt/pods/x.yaml", text.replace("command: [kube-apiserver", "command: [/opt/s"))
    start(tree.place(KUBELET), *ORDINARY, "--pod-manifest-path=/opt/pods")

    found = startup.check(Node(str(tree.root), True, "control-plane"), [Listed("m.asc", tree.manifest)])

    assert {(one.subject, one.evidence["code"]) for one in found if one.status == "fail"} == {
        ("kube-apiserver (static pod)", "other-program")
    }


@pytest.mark.parametrize(
    ("options", "path"),
    [(("--config", "/opt/x.toml"), ""), ((), "/opt/plain")],
    ids=["another configuration", "another search path"],
)
def test_a_runtime_of_a_containerd_that_no_unit_started_is_judged(
    options: tuple[str, ...], path: str, tree: Tree, start: Callable[..., None]
) -> None:
    tree.write("/opt/x.toml", '[plugins.cri.containerd.default_runtime.options]\nBinaryName = "/opt/plain/runc"\n')
    start(tree.place(CONTAINERD), *options, **({"PATH": path} if path else {}))

    found = startup.check(Node(str(tree.root), True, "control-plane"), [Listed("m.asc", tree.manifest)])

    assert "other-program" in {one.evidence["code"] for one in found if one.status == "fail"}


def test_daemons_as_their_units_start_them_pass(tree: Tree, start: Callable[..., None]) -> None:
    start(tree.place(KUBELET), *ORDINARY)
    start(tree.place(CONTAINERD), PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin")

    assert bad(tree) == set()
