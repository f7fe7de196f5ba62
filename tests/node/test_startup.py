"""The commands that a node starts: each command of a component runs a listed program, or the verdict is not valid."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fipsmanifest.node import systemd
from fipsmanifest.node.checks import startup
from fipsmanifest.node.result import Listed, Node
from tests.support import roots

KUBELET = "/usr/lib/systemd/system/kubelet.service"
CONTAINERD = "/usr/lib/systemd/system/containerd.service"
KUBEADM = "/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf"
CONFIGURATION = "/etc/containerd/config.toml"
POD = "/etc/kubernetes/manifests/kube-apiserver.yaml"
DIGEST = "sha256:" + "a" * 64
IMAGE = "docker.io/mesosphere/kube-apiserver:v1.21.3_fips.0"
CRI = 'plugins."io.containerd.grpc.v1.cri".containerd'


def pod(**changes: str) -> str:
    """Write a static pod as kubeadm does."""
    one = {"image": IMAGE, "command": "[kube-apiserver, --etcd-servers=https://127.0.0.1]", "name": "kube-apiserver"}
    one |= {"mount": "/etc/ssl/certs", "more": ""} | changes
    return (
        f"apiVersion: v1\nkind: Pod\nmetadata:\n  name: {one['name']}\nspec:\n  containers:\n"
        f"  - name: {one['name']}\n    image: {one['image']}\n    command: {one['command']}\n"
        f"    volumeMounts:\n    - mountPath: {one['mount']}\n      name: v\n{one['more']}  hostNetwork: true\n"
    )


class Tree:
    """A control plane's node at rest, as packages and kubeadm make it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.manifest = roots.make(root)
        for name in ("runc", "containerd-shim-runc-v2", "plain", "agent"):
            shutil.copyfile("/usr/bin/true", self.place(f"/usr/bin/{name}"))
            with self.place(f"/usr/bin/{name}").open("ab") as file:
                file.write(name.encode())
            self.place(f"/usr/bin/{name}").chmod(0o755)
        for name in ("kubelet", "containerd", "runc", "containerd-shim-runc-v2", "agent"):
            (root / "opt/plain").mkdir(parents=True, exist_ok=True)
            shutil.copy(self.place("/usr/bin/plain"), self.place(f"/opt/plain/{name}"))
        for name in ("runc", "containerd-shim-runc-v2"):
            entry = roots.file_entry(root, f"/usr/bin/{name}", component="runc" if name == "runc" else "containerd")
            self.manifest["files"].append(entry)
        program = {"path": "/usr/local/bin/kube-apiserver", "role": "program", "type": "file", "sha256": "b" * 64}
        platform = {"architecture": "x86_64", "files": [program], "manifest": DIGEST}
        self.manifest["images"] = [{"component": "kube-apiserver", "reference": IMAGE, "platforms": [platform]}]
        self.write("/etc/os-release", 'ID="rhel"\nVERSION_ID="9.4"\n')
        self.write(KUBELET, "[Service]\nExecStart=/usr/bin/kubelet\n")
        arguments = "$KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS"
        self.write(
            KUBEADM,
            '[Service]\nEnvironment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"\n'
            "EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env\nEnvironmentFile=-/etc/sysconfig/kubelet\n"
            f"ExecStart=\nExecStart=/usr/bin/kubelet {arguments}\n",
        )
        self.write(
            CONTAINERD,
            "[Service]\nExecStartPre=-/sbin/modprobe overlay\nExecStart=/usr/bin/containerd\n"
            "ExecReload=/bin/kill -HUP $MAINPID\n",
        )
        socket = "unix:///run/containerd/containerd.sock"
        flags = f'KUBELET_KUBEADM_ARGS="--container-runtime=remote --container-runtime-endpoint={socket}"\n'
        self.write("/var/lib/kubelet/kubeadm-flags.env", flags)
        self.write(
            "/var/lib/kubelet/config.yaml",
            "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nclusterDNS:\n- 10.96.0.10\n"
            "staticPodPath: /etc/kubernetes/manifests\n",
        )
        self.write(
            CONFIGURATION,
            f'version = 2\n[{CRI}]\ndefault_runtime_name = "runc"\n[{CRI}.runtimes.runc]\n'
            f'runtime_type = "io.containerd.runc.v2"\n[{CRI}.runtimes.runc.options]\nSystemdCgroup = true\n',
        )
        self.write(POD, pod())

    def place(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def write(self, path: str, text: str) -> None:
        roots.write(self.root, path, text)

    def add(self, path: str, text: str) -> None:
        self.write(path, self.place(path).read_text() + text)

    def drop_in(self, text: str, unit: str = "kubelet", directory: str = "/etc/systemd/system") -> None:
        self.write(f"{directory}/{unit}.service.d/99-site.conf", f"[Service]\n{text}\n")

    def results(self) -> list[Any]:
        return startup.check(Node(str(self.root), False, "control-plane"), [Listed("m.asc", self.manifest)])

    def bad(self) -> list[tuple[str, str, str]]:
        """Return status, subject and code of all that is not in order."""
        found = [one for one in self.results() if one.status in ("fail", "unknown")]
        assert all(one.advice for one in found)
        return [(one.status, one.subject, one.evidence["code"]) for one in found]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_a_node_as_kubeadm_makes_it_passes(tree: Tree) -> None:
    assert tree.bad() == []
    passed = {one.subject for one in tree.results() if one.status == "pass"}
    assert passed == {"containerd.service", "kubelet.service", "kube-apiserver (static pod)", "shim of runc"}


@pytest.mark.parametrize("unit", ["kubelet", "containerd"])
@pytest.mark.parametrize("directory", [one for one in systemd.SEARCH_PATH if one != "/lib/systemd/system"])
def test_a_drop_in_of_any_directory_that_starts_another_program_fails(directory: str, unit: str, tree: Tree) -> None:
    tree.drop_in(f"ExecStart=\nExecStart=/opt/plain/{unit}", unit, directory)

    failed = next(one for one in tree.results() if one.status == "fail")

    assert (failed.subject, failed.evidence["code"]) == (f"{unit}.service", "other-program")
    assert failed.actual == f"/opt/plain/{unit}, which the manifest does not list"
    assert failed.evidence["path"] == f"{directory}/{unit}.service.d/99-site.conf"
    assert failed.evidence["component"] == unit


Change = Callable[[Tree], object] | tuple[Callable[[Tree], object], ...]


def apply(change: Change, tree: Tree) -> None:
    for one in change if isinstance(change, tuple) else (change,):
        one(tree)


FAILS: dict[str, Change] = {
    "a unit that hides the package's": (
        lambda t: t.write("/run/systemd/generator/kubelet.service", "[Service]\nExecStart=/opt/plain/agent\n"),
        lambda t: shutil.rmtree(t.place(KUBEADM).parent),
    ),
    "a unit of a component's name": lambda t: t.write(
        "/etc/systemd/system/kube-apiserver.service", "[Service]\nExecStart=/opt/plain/agent\n"
    ),
    "a drop-in for all services": lambda t: t.write(
        "/etc/systemd/system/service.d/x.conf", "[Service]\nExecStart=\nExecStart=/opt/plain/kubelet\n"
    ),
    "a program's name in escapes": lambda t: t.drop_in("ExecStart=\nExecStart=/opt/plain/\\x6bubelet"),
    "a specifier": lambda t: t.drop_in("ExecStart=\nExecStart=/opt/plain/%N"),
    "a second command": lambda t: t.drop_in("Type=oneshot\nExecStart=/opt/plain/agent"),
    "a program of another component": lambda t: t.drop_in("ExecStart=\nExecStart=/usr/bin/kubeadm"),
    "a search path": lambda t: t.drop_in("ExecSearchPath=/opt/plain\nExecStart=\nExecStart=kubelet"),
    "a unit of another name": lambda t: t.write(
        "/etc/systemd/system/site.service", "[Service]\nExecStart=/opt/plain/kubelet\n"
    ),
    "a shell": lambda t: t.write(
        "/etc/systemd/system/site.service", "[Service]\nExecStart=/bin/sh -c 'exec /opt/plain/kubelet --v=2'\n"
    ),
    "cron": lambda t: t.write("/etc/cron.d/x", "@reboot root /opt/plain/kubelet\n"),
    "rc.local": lambda t: t.write("/etc/rc.d/rc.local", "#!/bin/sh\n/opt/plain/containerd &\n"),
    "LD_PRELOAD": lambda t: t.drop_in("Environment=LD_PRELOAD=/opt/x.so"),
    "LD_AUDIT for all services": lambda t: t.write(
        "/etc/systemd/system.conf.d/x.conf", "[Manager]\nDefaultEnvironment=LD_AUDIT=/opt/x.so\n"
    ),
    "LD_PRELOAD in a file": lambda t: t.write("/etc/sysconfig/kubelet", "LD_PRELOAD='/opt/x.so'\n"),
    "FIPS switched off": lambda t: t.drop_in("Environment=GODEBUG=http2client=0,fips140=off", "containerd"),
    "ld.so.preload": lambda t: t.write("/etc/ld.so.preload", "# x\n/opt/x.so\n"),
    "BinaryName": lambda t: t.add(CONFIGURATION, 'BinaryName = "/opt/plain/runc"\n'),
    "BinaryName in another case": lambda t: t.add(CONFIGURATION, '"binaryNAME" = "/opt/plain/agent"\n'),
    "runtime_path": lambda t: t.write(
        CONFIGURATION,
        f'[{CRI}.runtimes.runc]\nruntime_type = "io.containerd.runc.v2"\nruntime_path = "/opt/plain/agent"\n',
    ),
    "a shim by its path": lambda t: t.write(
        CONFIGURATION, '[plugins.cri.containerd.default_runtime]\nruntime_type = "/opt/plain/agent"\n'
    ),
    "version 3": lambda t: t.write(
        CONFIGURATION,
        'version = 3\n[plugins."io.containerd.cri.v1.runtime".containerd]\ndefault_runtime_name = "x"\n'
        'runtimes.x = {runtime_type = "io.containerd.runc.v2", options = {BinaryName = "/opt/plain/agent"}}\n',
    ),
    "the runtime of version 1": lambda t: t.write(
        CONFIGURATION, '[plugins."io.containerd.runtime.v1.linux"]\nruntime = "/opt/plain/agent"\n'
    ),
    "an import": lambda t: t.write(
        "/etc/containerd/conf.d/x.toml", f'[{CRI}.runtimes.runc.options]\nBinaryName = "/opt/plain/runc"\n'
    ),
    "a configuration elsewhere": (
        lambda t: t.write("/etc/c.toml", f'[{CRI}.runtimes.runc.options]\nBinaryName = "/opt/plain/runc"\n'),
        lambda t: t.drop_in("ExecStart=\nExecStart=/usr/bin/containerd --config=/etc/c.toml", "containerd"),
    ),
    "PATH": lambda t: t.drop_in("Environment=PATH=/opt/plain:/usr/bin", "containerd"),
    "a CNI plugin by its path": lambda t: t.write(
        "/etc/cni/net.d/1.conflist", '{"plugins": [{"type": "../../plain/agent"}]}'
    ),
    "another image": lambda t: t.write(POD, pod(image="other/api:1")),
    "another image of another name": lambda t: t.write(POD, pod(image="other/api:1", name="api")),
    "another command": lambda t: t.write(POD, pod(command="[/opt/api]")),
    "a command of the same name elsewhere": lambda t: t.write(POD, pod(command="[/tmp/kube-apiserver]")),
    "a shell in a pod": lambda t: t.write(POD, pod(command="[sh, -c, /opt/api]")),
    "a mount over the program": lambda t: t.write(POD, pod(mount="/usr/local/bin")),
    "a mount of a library": lambda t: t.write(POD, pod(mount="/usr/lib/x86_64-linux-gnu/libc.so.6")),
    "LD_PRELOAD in a pod": lambda t: t.write(POD, pod(more="    env:\n    - name: LD_PRELOAD\n      value: /x.so\n")),
    "static pods elsewhere": (
        lambda t: t.write("/srv/pods/z", pod(image="other/api:1")),
        lambda t: t.write("/var/lib/kubelet/config.yaml", "staticPodPath: /srv/pods\n"),
    ),
    "static pods by an option": (
        lambda t: t.write("/srv/pods/z", pod(image="other/api:1")),
        lambda t: t.write("/etc/sysconfig/kubelet", "KUBELET_EXTRA_ARGS=--pod-manifest-path=/srv/pods\n"),
    ),
}


@pytest.mark.parametrize("how", FAILS)
def test_what_starts_another_program_fails(how: str, tree: Tree) -> None:
    apply(FAILS[how], tree)

    assert "fail" in [status for status, _, _ in tree.bad()]


# Go before 1.24 does not know the setting, later ones start a program with BoringCrypto with no other value of it.
@pytest.mark.parametrize(
    ("crypto", "settings", "status"),
    [
        ({"verdict": "proven", "module": "boringcrypto-20220613-x86_64"}, {}, "not-applicable"),
        ({"verdict": "no-crypto"}, {}, "not-applicable"),
        ({"verdict": "plain"}, {}, "not-applicable"),
        ({"verdict": "plain"}, {"DefaultGODEBUG": "fips140=on"}, "fail"),
        ({"verdict": "proven", "module": "go-native-v1.0.0-x86_64"}, {}, "fail"),
        ({"verdict": "other-module"}, {}, "fail"),
    ],
)
def test_fips140_off_means_something_to_programs_with_gos_own_module_alone(
    tree: Tree, crypto: dict[str, str], settings: dict[str, str], status: str
) -> None:
    boring = {"verdict": "proven", "module": "boringcrypto-20210429-x86_64"}
    for file in [*tree.manifest["files"], *tree.manifest["images"][0]["platforms"][0]["files"]]:
        file["crypto"] = boring
    # containerd starts runc, which inherits its variables.
    tree.manifest["files"][-2].update(crypto=crypto, go={"settings": settings})
    assert tree.manifest["files"][-2]["component"] == "runc"
    tree.drop_in("Environment=GODEBUG=fips140=off", "containerd")
    (found,) = (one for one in tree.results() if "GODEBUG" in str(one.actual))
    assert (found.status, found.actual) == (status, "GODEBUG=fips140=off")


UNKNOWN: dict[str, tuple[str, Change]] = {
    "a masked unit": (
        "masked",
        (
            lambda t: t.place("/etc/systemd/system/kubelet.service").parent.mkdir(parents=True),
            lambda t: t.place("/etc/systemd/system/kubelet.service").symlink_to("/dev/null"),
        ),
    ),
    "no unit": ("no-unit", (lambda t: shutil.rmtree(t.place(KUBEADM).parent), lambda t: t.place(KUBELET).unlink())),
    "a unit that is no text": ("unit", lambda t: t.drop_in("ExecStart=/bin/a 'b")),
    "env": ("wrapped", lambda t: t.drop_in("ExecStart=\nExecStart=/usr/bin/env /opt/plain/agent")),
    "the loader": (
        "wrapped",
        lambda t: t.drop_in("ExecStart=\nExecStart=/lib64/ld-linux-x86-64.so.2 /opt/plain/agent"),
    ),
    "a shell": ("wrapped", lambda t: t.drop_in("ExecStart=\nExecStart=/bin/sh -c /usr/bin/kubelet")),
    "options of the kubelet": (
        "wrapped",
        lambda t: t.write(
            "/etc/systemd/system/site.service",
            "[Service]\nExecStart=/opt/plain/agent --config=/var/lib/kubelet/config.yaml\n",
        ),
    ),
    "another root": ("other-root", lambda t: t.drop_in("RootDirectory=/opt")),
    "a bind mount": ("other-root", lambda t: t.drop_in("BindReadOnlyPaths=/opt/plain/kubelet:/usr/bin/kubelet")),
    "a mount before": (
        "mentioned",
        lambda t: t.drop_in("ExecStartPre=/bin/mount -B /opt/plain/agent /usr/bin/kubelet"),
    ),
    "a mount by a shell": (
        "mentioned",
        lambda t: t.drop_in("ExecStartPre=/bin/sh -c 'mount -B /opt/plain/agent /usr/bin/kubelet'"),
    ),
    "a helper": ("unlisted-helper", lambda t: t.drop_in("ExecStartPost=/opt/plain/agent")),
    "a mount unit": (
        "mounted-over",
        lambda t: t.write(
            "/etc/systemd/system/usr-bin-kubelet.mount",
            "[Mount]\nWhat=/opt/plain/kubelet\nWhere=/usr/bin/kubelet\nOptions=bind\n",
        ),
    ),
    "fstab": ("mounted-over", lambda t: t.write("/etc/fstab", "/opt/plain /usr/bin none bind 0 0\n")),
    "a system extension": ("extension", lambda t: t.write("/var/lib/extensions/x/usr/bin/kubelet", "x")),
    "LD_LIBRARY_PATH": ("environment", lambda t: t.drop_in("Environment=LD_LIBRARY_PATH=/opt", "containerd")),
    "OPENSSL_CONF": ("environment", lambda t: t.drop_in("Environment=OPENSSL_CONF=/opt/x.cnf")),
    "PassEnvironment": ("environment", lambda t: t.drop_in("PassEnvironment=GODEBUG")),
    "another handler": (
        "unlisted-program",
        lambda t: t.add(
            CONFIGURATION,
            f'[{CRI}.runtimes.x]\nruntime_type = "io.containerd.runc.v2"\n'
            'options = {BinaryName = "/opt/plain/agent"}\n',
        ),
    ),
    "a stream processor": (
        "unlisted-program",
        lambda t: t.add(CONFIGURATION, '[stream_processors.x]\npath = "/opt/plain/agent"\n'),
    ),
    "an NRI plugin": ("plugins", lambda t: t.write("/opt/nri/plugins/10-x", "x")),
    "TOML that is none": ("configuration", lambda t: t.add(CONFIGURATION, "SystemdCgroup = false\n")),
    "a key that Go folds": ("configuration", lambda t: t.add(CONFIGURATION, '"B\u0131naryName" = "x"\n')),
    "another runtime": (
        "other-runtime",
        lambda t: t.write(
            "/etc/sysconfig/kubelet", "KUBELET_EXTRA_ARGS=--container-runtime-endpoint=/run/crio/crio.sock\n"
        ),
    ),
    "another runtime in the file": (
        "other-runtime",
        lambda t: t.add("/var/lib/kubelet/config.yaml", "ContainerRuntimeEndpoint: unix:///run/crio/crio.sock\n"),
    ),
    "EL7 with docker, by default": (
        "other-runtime",
        (
            lambda t: t.write(
                "/var/lib/kubelet/kubeadm-flags.env",
                'KUBELET_KUBEADM_ARGS="--cgroup-driver=systemd --network-plugin=cni "\n',
            ),
            lambda t: t.write("/etc/os-release", 'ID="rhel"\nVERSION_ID="7.9"\n'),
            lambda t: t.write(
                "/usr/lib/systemd/system/docker.service",
                "[Service]\nExecStart=/usr/bin/dockerd -H fd:// --containerd=/run/containerd/containerd.sock\n",
            ),
        ),
    ),
    "pods from the network": (
        "pods-from-network",
        lambda t: t.add("/var/lib/kubelet/config.yaml", "staticPodURL: http://127.0.0.1/\n"),
    ),
    "a configuration that is no YAML": ("configuration", lambda t: t.add("/var/lib/kubelet/config.yaml", "a: &b c\n")),
    "a pod that is no YAML": ("static-pod", lambda t: t.write(POD, pod(more="    image: x\n"))),
    "a pod with a key in another case": ("static-pod", lambda t: t.write(POD, pod(more="    Image: x\n"))),
    "a mirror": ("mirrored-image", lambda t: t.write(POD, pod(image=IMAGE.replace("docker.io", "registry.local")))),
    "another container": ("sidecar", lambda t: t.write(POD, pod(more="  - name: kms\n    image: other/kms:1\n"))),
    "a hook": ("hook", lambda t: t.write(POD, pod(more="    lifecycle: {postStart: {exec: {command: [/opt/x]}}}\n"))),
}


@pytest.mark.parametrize("how", UNKNOWN)
def test_what_cannot_be_followed_is_unknown(how: str, tree: Tree) -> None:
    code, change = UNKNOWN[how]
    apply(change, tree)

    assert ("unknown", code) in [(status, found) for status, _, found in tree.bad()]
    assert "fail" not in [status for status, _, _ in tree.bad()]


FINE: dict[str, Change] = {
    "a node that has not joined a cluster": (
        lambda t: t.place("/var/lib/kubelet/kubeadm-flags.env").unlink(),
        lambda t: t.place("/var/lib/kubelet/config.yaml").unlink(),
    ),
    "a kubelet that has no runtime of its own any more": (
        lambda t: t.write("/var/lib/kubelet/kubeadm-flags.env", ""),
        lambda t: t.manifest.update(kubernetes="v1.24.0"),
    ),
    "a runtime that is listed": lambda t: t.add(CONFIGURATION, 'BinaryName = "/usr/bin/runc"\n'),
    "a copy elsewhere": (
        lambda t: shutil.copy(t.place("/usr/bin/kubelet"), t.place("/opt/plain/kubelet")),
        lambda t: t.drop_in("ExecStart=\nExecStart=/opt/plain/kubelet"),
    ),
    "a link to it": (
        lambda t: t.place("/opt/kubelet").symlink_to("/usr/bin/kubelet"),
        lambda t: t.drop_in("ExecStart=\nExecStart=@/opt/kubelet kubelet"),
    ),
    "a proxy": lambda t: t.drop_in("Environment=HTTPS_PROXY=http://proxy:3128 NO_PROXY=10.0.0.0/8", "containerd"),
    "a drop-in that a null link hides": (
        lambda t: t.drop_in("ExecStart=/opt/plain/kubelet", "kubelet", "/run/systemd/system"),
        lambda t: t.place("/etc/systemd/system/kubelet.service.d").mkdir(parents=True),
        lambda t: t.place("/etc/systemd/system/kubelet.service.d/99-site.conf").symlink_to("/dev/null"),
    ),
    "a static pod of others": lambda t: t.write(
        "/etc/kubernetes/manifests/haproxy.yaml", pod(name="haproxy", image="haproxy:2", command="[haproxy, -f, x]")
    ),
    "a pod by its digest": lambda t: t.write(POD, pod(image=f"registry.local/x@{DIGEST}")),
    "a path as command": lambda t: t.write(POD, pod(command="[/usr/local/bin/kube-apiserver]")),
    "another unit that mentions it": lambda t: t.write(
        "/etc/systemd/system/x.service",
        "[Service]\nExecStart=/usr/bin/journalctl -u kubelet -f\nExecStop=/bin/true /etc/containerd\n",
    ),
    "a plugin of the cluster's network": (
        lambda t: t.write("/opt/cni/bin/calico", "x"),
        lambda t: t.place("/opt/cni/bin/calico").chmod(0o755),
    ),
    "Go's other settings": lambda t: t.drop_in("Environment=GODEBUG=http2client=0"),
}


@pytest.mark.parametrize("how", FINE)
def test_what_starts_the_listed_programs_passes(how: str, tree: Tree) -> None:
    apply(FINE[how], tree)

    assert tree.bad() == []


def test_what_is_not_judged_is_noted(tree: Tree) -> None:
    apply(FINE["a plugin of the cluster's network"], tree)
    apply(FINE["Go's other settings"], tree)

    noted = {one.subject: one.actual for one in tree.results() if one.status == "not-applicable"}

    assert noted == {
        "/opt/cni/bin": "not in the manifest: calico",
        "kubelet (environment)": "GODEBUG=http2client=0",
    }


def test_another_build_of_a_component_is_known_by_its_build_info_whatever_its_name(tree: Tree) -> None:
    tree.manifest["files"][0]["go"] = {"path": "k8s.io/kubernetes/cmd/kubelet"}
    with tree.place("/opt/plain/agent").open("ab") as file:
        file.write(b"\0path\tk8s.io/kubernetes/cmd/kubelet\nmod\tk8s.io/kubernetes\n")
    tree.write("/etc/systemd/system/site.service", "[Service]\nExecStart=/opt/plain/agent\n")

    assert tree.bad() == [("fail", "site.service", "other-build")]


# The sticky bit protects what is in a directory, and no file.
@pytest.mark.parametrize(("what", "mode"), [("/opt/plain", 0o777), ("/opt/plain/kubelet", 0o1777)])
def test_a_copy_that_somebody_else_may_replace_fails(what: str, mode: int, tree: Tree) -> None:
    apply(FINE["a copy elsewhere"], tree)
    tree.place(what).chmod(mode)

    assert ("fail", "kubelet.service", "replaceable") in tree.bad()


def test_a_tree_without_anything_that_starts_says_so(tmp_path: Path) -> None:
    manifest = roots.make(tmp_path)
    found = startup.check(Node(str(tmp_path), False, "worker"), [Listed("m.asc", manifest)])

    assert [(one.subject, one.status) for one in found] == [("startup", "not-applicable")]
