"""What the kubelet, containerd and device plugins start or change beside the listed programs is not passed.

Where each looks is known from their own documentation: flexvolume's drivers, client-go's credential plugins,
containerd's image verifiers and NRI of either kind, device plugins.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fipsmanifest.node.checks import startup
from fipsmanifest.node.result import Listed, Node
from tests.node.test_hidden_starts import all_of, copy, file, service
from tests.node.test_starters import Change, codes, script, tree_with_another_build
from tests.node.test_startup import CONFIGURATION, POD, Tree, pod
from tests.support import roots

EXTRA = "/etc/sysconfig/kubelet"
DRIVERS = "/usr/libexec/kubernetes/kubelet-plugins/volume/exec"
KUBECONFIG = "/var/lib/kubelet/kubeconfig"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return tree_with_another_build(tmp_path)


def kubeconfig(command: str) -> Change:
    option = file(EXTRA, f"KUBELET_EXTRA_ARGS=--kubeconfig={KUBECONFIG}\n")
    return all_of(option, file(KUBECONFIG, f"users:\n- user:\n    exec:\n      command: {command}\n"))


def go(path: str) -> Change:
    return lambda t: script(t, path, "exec /opt/plain/agent\n")


BUILDS: dict[str, Change] = {
    "a volume driver": copy(f"{DRIVERS}/x~agent/agent"),
    "a volume driver elsewhere": all_of(
        copy("/opt/drivers/x~agent/agent"), file(EXTRA, "KUBELET_EXTRA_ARGS=--volume-plugin-dir=/opt/drivers\n")
    ),
    "a script among volume drivers": go(f"{DRIVERS}/x~site/site"),
    "a script among CNI plugins": go("/opt/cni/bin/site"),
    "a script that verifies images": go("/opt/containerd/image-verifier/bin/site"),
    "a script that mounts": all_of(
        go("/opt/mounter"), file(EXTRA, "KUBELET_EXTRA_ARGS=--experimental-mounter-path=/opt/mounter\n")
    ),
    "the mounter": file(EXTRA, "KUBELET_EXTRA_ARGS=--experimental-mounter-path=/opt/plain/agent\n"),
    "a credential plugin": kubeconfig("/opt/plain/agent"),
    "a credential plugin beside its file": all_of(copy("/var/lib/kubelet/bin/agent"), kubeconfig("bin/agent")),
    "a credential plugin in PATH": all_of(copy("/usr/bin/site"), kubeconfig('"site"')),
    "a verifier of images": copy("/opt/containerd/image-verifier/bin/site"),
    "a verifier of images elsewhere": all_of(
        copy("/opt/verifiers/site"),
        lambda t: t.add(
            CONFIGURATION, '[plugins."io.containerd.image-verifier.v1.bindir"]\nbin_dir = "/opt/verifiers"\n'
        ),
    ),
}


@pytest.mark.parametrize("how", BUILDS)
def test_another_build_among_plugins_fails(how: str, tree: Tree) -> None:
    assert codes(BUILDS[how], tree) == {("fail", "other-build")}


DOUBTS: dict[str, tuple[str, Change]] = {
    "a plugin of the first NRI": ("plugins", copy("/opt/nri/bin/site")),
    "a device of a device plugin": (
        "every-container",
        file(POD, pod(more="    resources: {limits: {example.com/device: 1}}\n")),
    ),
    "a requested device": (
        "every-container",
        file(POD, pod(more="    resources: {requests: {cpu: 1, example.com/device: 1}}\n")),
    ),
    "a library of the shims": ("library-path", file("/opt/containerd/lib/libseccomp.so.2", "x")),
    "a library of the shims elsewhere": (
        "library-path",
        all_of(
            lambda t: t.add(CONFIGURATION, '[plugins."io.containerd.internal.v1.opt"]\npath = "/opt/site"\n'),
            file("/opt/site/lib/libc.so.6", "x"),
        ),
    ),
    "a claim to resources": ("every-container", file(POD, pod(more="  resourceClaims: [{name: x}]\n"))),
}


@pytest.mark.parametrize("how", DOUBTS)
def test_what_may_change_a_component_is_unknown(how: str, tree: Tree) -> None:
    code, change = DOUBTS[how]

    assert codes(change, tree) == {("unknown", code)}


ORDINARY: dict[str, Change] = {
    "a volume driver": lambda t: script(t, f"{DRIVERS}/ceph~rook/rook", ":\n"),
    "a credential plugin": all_of(lambda t: shutil.copy("/usr/bin/true", t.place("/usr/bin/aws")), kubeconfig("aws")),
    "an empty directory of libraries": lambda t: t.place("/opt/containerd/lib").mkdir(parents=True),
    "a script among CNI plugins": lambda t: script(t, "/opt/cni/bin/site", "exec /opt/cni/bin/bridge\n"),
    "a certificate": file(KUBECONFIG, "users:\n- user:\n    client-certificate: /var/lib/kubelet/pki/kubelet.pem\n"),
    "a component's resources": file(POD, pod(more="    resources: {requests: {cpu: 250m, hugepages-2Mi: 1}}\n")),
}


@pytest.mark.parametrize("how", ORDINARY)
def test_ordinary_plugins_pass(how: str, tree: Tree) -> None:
    assert codes(ORDINARY[how], tree) == set()


def codes_of_worker(change: Change, tree: Tree) -> set[tuple[str, str]]:
    for one in change if isinstance(change, tuple) else (change,):
        one(tree)
    found = startup.check(Node(str(tree.root), False, "worker"), [Listed("m.asc", tree.manifest)])
    return {(one.status, one.evidence["code"]) for one in found if one.status in ("fail", "unknown")}


def test_a_program_that_the_files_check_leaves_out_is_known_by_its_bytes(tree: Tree) -> None:
    shutil.copy(tree.place("/opt/plain/agent"), tree.place("/usr/bin/etcd"))
    # The node is a worker then, which needs no etcd: only what starts it says that it matters.
    entry = roots.file_entry(tree.root, "/usr/bin/etcd")
    tree.manifest["files"].append(entry | {"sha256": "0" * 64})
    tree.manifest["node"]["roles"] = {"control-plane": ["etcd"], "worker": ["kubelet", "containerd", "kubeadm"]}
    change = service("ExecStart=/usr/bin/etcd")

    assert codes_of_worker(change, tree) == {("fail", "other-program")}

    tree.manifest["files"][-1] = entry
    assert codes_of_worker(change, tree) == set()
