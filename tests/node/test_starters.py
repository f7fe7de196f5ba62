"""What starts programs besides systemd's units, or replaces listed files, is reported."""

from __future__ import annotations

import shutil
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from fipsmanifest.node import host, main, systemd
from fipsmanifest.node.checks import builds
from fipsmanifest.node.checks.startup import shell
from fipsmanifest.node.formats import yaml
from tests.node.test_startup import CONFIGURATION, CRI, KUBELET, POD, Tree, pod

UNIT = "/etc/systemd/system/site.service"
NSPAWN = "/usr/lib/systemd/system/systemd-nspawn@.service"
SCRIPT = "#!/bin/sh\n"
ANOTHER_BUILD = b"\0path\tk8s.io/kubernetes/cmd/kubelet\nmod\tk8s.io/kubernetes\n"
KUBELET_CONFIGURATION = "/var/lib/kubelet/config.yaml"
SCHEDULER = pod(name="kube-scheduler", image="other/s:1", command="[/opt/s]")


def tree_with_another_build(directory: Path) -> Tree:
    """Return a tree with a listed kubelet, and a program that is another build of it."""
    one = Tree(directory)
    one.manifest["files"][0]["go"] = {"path": "k8s.io/kubernetes/cmd/kubelet"}
    with one.place("/opt/plain/agent").open("ab") as file:
        file.write(ANOTHER_BUILD)
    return one


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return tree_with_another_build(tmp_path)


def script(tree: Tree, path: str, text: str) -> None:
    tree.write(path, SCRIPT + text)
    tree.place(path).chmod(0o755)


def link(tree: Tree, path: str, target: str) -> None:
    tree.place(path).parent.mkdir(parents=True, exist_ok=True)
    tree.place(path).symlink_to(target)


Change = Callable[[Tree], object] | tuple[Callable[[Tree], object], ...]


def codes(change: Change, tree: Tree) -> set[tuple[str, str]]:
    for one in change if isinstance(change, tuple) else (change,):
        one(tree)
    return {(status, code) for status, _, code in tree.bad()}


RENAMED: dict[str, Change] = {
    "a shell": lambda t: t.write(UNIT, "[Service]\nExecStart=/bin/sh -c '/opt/plain/agent --v=2'\n"),
    "env": lambda t: t.write(UNIT, "[Service]\nExecStart=/usr/bin/env A=b /opt/plain/agent\n"),
    "a script": (
        lambda t: script(t, "/opt/go", "exec /opt/plain/agent\n"),
        lambda t: t.write(UNIT, "[Service]\nExecStart=/opt/go\n"),
    ),
    "a script of a script without a first line": (
        lambda t: t.write("/opt/b", "exec /opt/plain/agent\n"),
        lambda t: script(t, "/opt/go", ". /opt/b\n"),
        lambda t: t.write(UNIT, "[Service]\nExecStart=/bin/sh /opt/go\n"),
    ),
    "cron": lambda t: t.write("/etc/cron.d/x", "@reboot root /opt/plain/agent\n"),
    "a boot script": lambda t: script(t, "/etc/init.d/x", "/opt/plain/agent &\n"),
    "a user's unit": lambda t: t.write(
        "/root/.config/systemd/user/x.service", "[Service]\nExecStart=/opt/plain/agent\n"
    ),
    "every user's unit": lambda t: t.write("/etc/systemd/user/x.service", "[Service]\nExecStart=/opt/plain/agent\n"),
    "D-Bus": lambda t: t.write(
        "/usr/share/dbus-1/system-services/x.service", "[D-BUS Service]\nExec=/opt/plain/agent\n"
    ),
    "udev": lambda t: t.write("/etc/udev/rules.d/9.rules", 'ACTION=="add", RUN+="/opt/plain/agent"\n'),
    "modprobe": lambda t: t.write("/etc/modprobe.d/x.conf", "install overlay /opt/plain/agent\n"),
    "the network's scripts": lambda t: script(t, "/etc/NetworkManager/dispatcher.d/9", "/opt/plain/agent\n"),
    "another root": (
        lambda t: t.write("/opt/r/usr/bin/web", ""),
        lambda t: shutil.move(t.place("/opt/plain/agent"), t.place("/opt/r/usr/bin/web")),
        lambda t: t.write(UNIT, "[Service]\nRootDirectory=/opt/r\nExecStart=/usr/bin/web\n"),
    ),
    "a bind mount": lambda t: t.write(
        UNIT, "[Service]\nBindPaths=-/opt/plain/agent:/usr/bin/true\nExecStart=/usr/bin/true\n"
    ),
    "an instance of a template": (
        lambda t: t.write("/etc/systemd/system/site@.service", "[Service]\nExecStart=/opt/%i/agent\n"),
        lambda t: link(t, "/etc/systemd/system/basic.target.wants/site@plain.service", "../site@.service"),
    ),
    "an instance that another unit upholds": (
        lambda t: t.write("/usr/lib/systemd/system/site@.service", "[Service]\nExecStart=/opt/%i/agent\n"),
        lambda t: link(t, "/etc/systemd/system/basic.target.upholds/site@plain.service", "/usr/lib/systemd/system/x"),
    ),
    "a link of a run level": lambda t: link(t, "/etc/rc.d/rc3.d/S99site", "/opt/plain/agent"),
    "a link of a run level to a script": (
        lambda t: script(t, "/opt/start", "exec /opt/plain/agent\n"),
        lambda t: link(t, "/etc/rc3.d/S99site", "/opt/start"),
    ),
    "a program that cron starts": lambda t: link(t, "/etc/cron.daily/site", "/opt/plain/agent"),
    "a vendor's generator": lambda t: link(
        t, "/usr/lib/systemd/system-generators/systemd-x-generator", "/opt/plain/agent"
    ),
    "Podman": lambda t: t.write(
        "/etc/containers/systemd/x.container", "[Container]\nImage=x\nVolume=/opt/plain/agent:/x\nExec=/x\n"
    ),
    "a CNI plugin": lambda t: link(t, "/opt/cni/bin/site", "/opt/plain/agent"),
    "a credential provider": (
        lambda t: t.drop_in(
            'Environment="KUBELET_EXTRA_ARGS=--container-runtime=remote '
            '--image-credential-provider-bin-dir=/opt/providers"\nEnvironmentFile='
        ),
        lambda t: link(t, "/opt/providers/ecr", "/opt/plain/agent"),
    ),
    "a variable of a shell": lambda t: t.write(
        UNIT, "[Service]\nExecStart=/bin/sh -c 'D=/opt/plain; exec $$D/agent'\n"
    ),
    "a variable of the unit within a shell's words": (
        lambda t: t.write("/etc/site.env", "AGENT=/opt/plain/agent\n"),
        lambda t: t.write(UNIT, "[Service]\nEnvironmentFile=/etc/site.env\nExecStart=/bin/sh -c 'exec $AGENT --v=2'\n"),
    ),
    "a variable of a script": (
        lambda t: script(t, "/opt/go", 'BASE=/opt\nBIN="${BASE}/plain"\n"$BIN/agent" &\n'),
        lambda t: t.write(UNIT, "[Service]\nExecStart=/opt/go\n"),
    ),
    "a link among the wants": (
        lambda t: t.write("/opt/x.service", "[Service]\nExecStart=/opt/plain/agent\n"),
        lambda t: t.place("/etc/systemd/system/basic.target.wants").mkdir(parents=True),
        lambda t: t.place("/etc/systemd/system/basic.target.wants/x.service").symlink_to("/opt/x.service"),
    ),
}


@pytest.mark.parametrize("how", RENAMED)
def test_the_component_whose_other_build_is_started_is_named(how: str, tree: Tree) -> None:
    for one in RENAMED[how] if isinstance(RENAMED[how], tuple) else (RENAMED[how],):  # type: ignore[union-attr]
        one(tree)  # type: ignore[operator]

    assert {one.evidence.get("component") for one in tree.results() if one.status == "fail"} == {"kubelet"}


@pytest.mark.parametrize("how", RENAMED)
def test_another_build_of_a_component_fails_whatever_starts_it_and_whatever_it_is_called(how: str, tree: Tree) -> None:
    # A template may make other instances than those that are known.
    assert codes(RENAMED[how], tree).difference({("unknown", "specifier")}) == {("fail", "other-build")}


def test_another_build_of_a_program_of_an_image_fails_as_well(tree: Tree) -> None:
    program = tree.manifest["images"][0]["platforms"][0]["files"][0]
    program["go"] = {"path": "k8s.io/kubernetes/cmd/kube-apiserver"}
    with tree.place("/opt/plain/containerd").open("ab") as file:
        file.write(ANOTHER_BUILD.replace(b"kubelet", b"kube-apiserver"))
    shutil.move(tree.place("/opt/plain/containerd"), tree.place("/opt/plain/web"))

    assert codes(lambda t: t.write(UNIT, "[Service]\nExecStart=/opt/plain/web\n"), tree) == {("fail", "other-build")}


FAILS: dict[str, Change] = {
    "a C library elsewhere": (
        lambda t: t.write("/etc/ld.so.conf.d/0.conf", "/opt/lib\n"),
        lambda t: t.write("/opt/lib/libc.so.6", "x"),
    ),
    "a C library in the loader's cache": lambda t: t.write("/etc/ld.so.cache", "x\0/opt/lib/libpthread.so.0\0"),
    "a variable on the kernel command line": lambda t: t.write(
        "/etc/default/grub", 'GRUB_CMDLINE_LINUX="fips=1 systemd.setenv=LD_PRELOAD=/opt/x.so"\n'
    ),
    "a vendor's settings of systemd": lambda t: t.write(
        "/usr/lib/systemd/system.conf", "[Manager]\nDefaultEnvironment=LD_PRELOAD=/opt/x.so\n"
    ),
    "variables of every container": (
        lambda t: t.add(CONFIGURATION, f'[{CRI}.runtimes.x]\nbase_runtime_spec = "/etc/spec.json"\n'),
        lambda t: t.write("/etc/spec.json", '{"process": {"env": ["LD_PRELOAD=/x.so"]}}'),
    ),
    "static pods beside the kubelet's configuration": (
        lambda t: t.write(KUBELET_CONFIGURATION, "staticPodPath: pods\n"),
        lambda t: t.write("/var/lib/kubelet/pods/a", SCHEDULER),
    ),
    "static pods of a drop-in in a directory below": (
        lambda t: t.write("/etc/sysconfig/kubelet", "KUBELET_EXTRA_ARGS=--config-dir=/etc/kubernetes/conf.d\n"),
        lambda t: t.write("/etc/kubernetes/conf.d/below/9.conf", "staticPodPath: /srv/pods\n"),
        lambda t: t.write("/srv/pods/a", SCHEDULER),
    ),
    "a component's options within a shell's": lambda t: t.write(
        "/etc/kubernetes/manifests/web", pod(name="web", image="o:1", command="[sh, -c, '/opt/a --etcd-servers=x']")
    ),
    "the scheduler's configuration": lambda t: t.write(
        "/etc/kubernetes/manifests/web",
        pod(name="web", image="o:1", command="[/opt/s, --kubeconfig=/etc/kubernetes/scheduler.conf]"),
    ),
}


@pytest.mark.parametrize("how", FAILS)
def test_what_changes_what_starts_fails(how: str, tree: Tree) -> None:
    assert {status for status, _ in codes(FAILS[how], tree)} == {"fail"}


def chain_scripts(tree: Tree) -> None:
    for number in range(60):
        script(tree, f"/opt/s/{number}", f"/opt/s/{number + 1}\n")


def write_many(tree: Tree) -> None:
    for number in range(1001):
        tree.write(f"/etc/tmpfiles.d/{number}.conf", "#\n")


def enlarge(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)


UNKNOWN: dict[str, tuple[str, Change]] = {
    "a generator": ("generator", lambda t: script(t, "/etc/systemd/system-generators/x", "exit\n")),
    "a generator of variables": (
        "generator",
        lambda t: script(t, "/usr/local/lib/systemd/system-environment-generators/x", "exit\n"),
    ),
    "a vendor's generator of LD_PRELOAD": (
        "environment",
        lambda t: script(t, "/usr/lib/systemd/system-environment-generators/x", "echo LD_PRELOAD=/opt/x.so\n"),
    ),
    "a generator that no vendor is known for": (
        "generator",
        lambda t: script(t, "/usr/lib/systemd/system-generators/x", "exit\n"),
    ),
    "a container of systemd by a unit": (
        "other-root",
        lambda t: t.write(UNIT, "[Service]\nExecStart=/usr/bin/systemd-nspawn --boot -D /opt/m\n"),
    ),
    "a container of systemd that is enabled": (
        "other-root",
        (
            lambda t: t.write(NSPAWN, "[Service]\nExecStart=systemd-nspawn --keep-unit --boot --machine=%i\n"),
            lambda t: link(t, "/etc/systemd/system/machines.target.wants/systemd-nspawn@m.service", NSPAWN),
        ),
    ),
    "a shell that starts what a file says": (
        "wrapped",
        lambda t: t.write(UNIT, "[Service]\nExecStart=/bin/sh -c 'exec $$(cat /etc/agent)'\n"),
    ),
    "a shell that starts what a variable of nowhere says": (
        "wrapped",
        lambda t: t.write(UNIT, "[Service]\nExecStart=/bin/bash -c 'sleep 1; $$AGENT --v=2'\n"),
    ),
    "a unit that is too large": (
        "unit",
        lambda t: t.write(UNIT, "[Service]\n#" + "x" * 200_000 + "\nExecStart=/opt/plain/agent\n"),
    ),
    "a disk image": ("other-root", lambda t: t.write(UNIT, "[Service]\nRootImage=/opt/x.raw\nExecStart=/bin/a\n")),
    "variables by PAM": ("other-root", lambda t: t.drop_in("PAMName=login")),
    "an extension of /etc": ("extension", lambda t: t.write("/var/lib/confexts/x/etc/y", "")),
    "an overlay over a partition's place": (
        "mounted-over",
        lambda t: t.write(
            "/etc/systemd/system/usr.mount",
            "[Mount]\nWhat=overlay\nWhere=/usr\nType=overlay\nOptions=lowerdir=/opt:/usr\n",
        ),
    ),
    "a disk over the programs": (
        "mounted-over",
        lambda t: t.write("/etc/fstab", "/dev/vdb /usr/bin ext4 defaults 0 0\n"),
    ),
    "a bind mount over all": ("mounted-over", lambda t: t.write("/etc/fstab", "/opt /usr none rw,rbind\n")),
    "systemd-tmpfiles": (
        "replaced-at-start",
        lambda t: t.write("/etc/tmpfiles.d/x.conf", "L+ /usr/bin/kubelet - - - - /opt/plain/agent\n"),
    ),
    "systemd-tmpfiles for a directory": (
        "replaced-at-start",
        lambda t: t.write("/usr/lib/tmpfiles.d/x.conf", '"C+!" "/usr/bin" - - - - /opt/plain\n'),
    ),
    "a binary format": (
        "binary-format",
        lambda t: t.write("/etc/binfmt.d/x.conf", ":x:M::\\x7fELF::/opt/plain/agent:\n"),
    ),
    "a binary format with a mask": (
        "binary-format",
        lambda t: t.write("/etc/binfmt.d/x.conf", r":x:M:1:EL\x00\x00:\xff\xff\x00\x00:/opt/plain/agent:F" + "\n"),
    ),
    "a binary format of static programs": (
        "binary-format",
        lambda t: t.write("/etc/binfmt.d/x.conf", r":x:M::\x7fELF\x02\x01\x01\x03::/opt/plain/agent:" + "\n"),
    ),
    "hooks of every container": (
        "every-container",
        (
            lambda t: t.add(CONFIGURATION, f'[{CRI}.runtimes.x]\nbase_runtime_spec = "/etc/spec.json"\n'),
            lambda t: t.write("/etc/spec.json", '{"hooks": {"createRuntime": [{"path": "/opt/x"}]}}'),
        ),
    ),
    "mounts of every container": (
        "every-container",
        (
            lambda t: t.add(CONFIGURATION, f'[{CRI}.runtimes.x]\nbase_runtime_spec = "/etc/spec.json"\n'),
            lambda t: t.write(
                "/etc/spec.json", '{"mounts": [{"destination": "/usr", "type": "bind", "source": "/o"}]}'
            ),
        ),
    ),
    "a specification that is missing": (
        "configuration",
        lambda t: t.add(CONFIGURATION, f'[{CRI}.runtimes.x]\nbase_runtime_spec = "/etc/spec.json"\n'),
    ),
    "a script that is too large": (
        "too-large",
        (
            lambda t: script(t, "/opt/go", "#" * shell.MAX_SCRIPT + "\nexec /opt/plain/agent\n"),
            lambda t: t.write(UNIT, "[Service]\nExecStart=/opt/go\n"),
        ),
    ),
    "scripts without an end": (
        "too-large",
        (
            chain_scripts,
            lambda t: t.write(UNIT, "[Service]\nExecStart=/opt/s/0\n"),
        ),
    ),
    "a program that is too large": (
        "too-large",
        (
            lambda t: enlarge(t.place("/opt/plain/agent"), builds.LARGEST + 1),
            lambda t: t.write(UNIT, "[Service]\nExecStart=/opt/plain/agent\n"),
        ),
    ),
    "too many files": (
        "too-many",
        write_many,
    ),
    "no controller manager beside the API server": (
        "no-pod",
        lambda t: t.manifest["node"]["roles"]["control-plane"].append("kube-controller-manager"),
    ),
}


@pytest.mark.parametrize("how", UNKNOWN)
def test_what_may_change_what_starts_is_unknown(how: str, tree: Tree) -> None:
    code, change = UNKNOWN[how]

    assert codes(change, tree) == {("unknown", code)}


FINE: dict[str, Change] = {
    "output that is discarded": lambda t: t.write(
        UNIT, "[Service]\nExecStart=/bin/sh -c 'test -x /usr/bin/kubelet >/dev/null 2>&1'\n"
    ),
    "partitions": lambda t: t.write(
        "/etc/fstab",
        "/dev/a / xfs defaults 0 0\n/dev/b /usr xfs ro 0 0\nLABEL=o /opt ext4 nodev\n/srv /home none bind\n",
    ),
    "a partition by a unit": lambda t: t.write(
        "/etc/systemd/system/usr.mount", "[Mount]\nWhat=/dev/b\nWhere=/usr\nType=xfs\n"
    ),
    "formats of other machines": lambda t: t.write(
        "/usr/lib/binfmt.d/qemu-s390x.conf",
        r":qemu-s390x:M::\x7fELF\x02\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x16"
        r":\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff:/usr/bin/qemu-s390x:F"
        + "\n",
    ),
    "systemd's own temporary files": lambda t: t.write(
        "/usr/lib/tmpfiles.d/x.conf",
        "# x\nd /run/lock 0755 root root -\nL /etc/os-release - - - - ../usr/lib/os-release\n"
        "z /usr/bin/kubelet 0755 root root\n",
    ),
    "libraries of a database": (
        lambda t: t.write("/etc/ld.so.conf.d/mariadb.conf", "/usr/lib64/mysql\n"),
        lambda t: t.write("/usr/lib64/mysql/libmysqlclient.so.21", "x"),
        lambda t: t.write("/etc/ld.so.cache", "/usr/lib64/mysql/libmysqlclient.so.21\0/lib64/libc.so.6\0"),
    ),
    "a generator that is masked": (
        lambda t: t.place("/etc/systemd/system-generators").mkdir(parents=True),
        lambda t: t.place("/etc/systemd/system-generators/x").symlink_to("/dev/null"),
    ),
    "containers of systemd that nothing enables": lambda t: t.write(
        NSPAWN, "[Service]\nExecStart=systemd-nspawn --keep-unit --boot --machine=%i\n"
    ),
    "a shell's variables that are no programs": lambda t: t.write(
        UNIT, "[Service]\nExecStart=/bin/sh -c 'echo $$HOME; test -d $${X} && touch $$(date)'\n"
    ),
    "a vendor's generators": lambda t: script(
        t, "/usr/lib/systemd/system-generators/lvm2-activation-generator", "exit\n"
    ),
    "limits for every container": (
        lambda t: (
            t.add(CONFIGURATION, f'[{CRI}.runtimes.runc]\nbase_runtime_spec = "/etc/spec.json"\n')
            if f"[{CRI}.runtimes.runc]" not in t.place(CONFIGURATION).read_text()
            else t.write(
                CONFIGURATION,
                f'version = 2\n[{CRI}.runtimes.runc]\nruntime_type = "io.containerd.runc.v2"\n'
                'base_runtime_spec = "/etc/spec.json"\n',
            )
        ),
        lambda t: t.write(
            "/etc/spec.json",
            '{"process": {"env": ["PATH=/bin"], "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}]},'
            '"mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}], "hooks": {}}',
        ),
    ),
    "a dangling want": (
        lambda t: t.place("/etc/systemd/system/basic.target.wants").mkdir(parents=True),
        lambda t: t.place("/etc/systemd/system/basic.target.wants/x.service").symlink_to("/usr/lib/x.service"),
    ),
    "a program that is too large to be a component's": (
        lambda t: t.write("/usr/bin/large", "x"),
        lambda t: t.place("/usr/bin/large").chmod(0o755),
        lambda t: enlarge(t.place("/usr/bin/large"), builds.LARGEST + 1),
        lambda t: t.write(UNIT, "[Service]\nExecStart=/usr/bin/large\n"),
    ),
}


@pytest.mark.parametrize("how", FINE)
def test_what_ordinary_nodes_have_passes(how: str, tree: Tree) -> None:
    assert codes(FINE[how], tree) == set()


def test_a_worker_that_has_an_api_servers_static_pod_is_a_doubt(tree: Tree) -> None:
    doubt = host.doubt_by_static_pods(str(tree.root), "worker")

    assert doubt is not None
    assert (doubt.status, doubt.subject) == ("unknown", "role")
    assert host.doubt_by_static_pods(str(tree.root), "auto") is None
    shutil.rmtree(tree.place(POD).parent)
    assert host.doubt_by_static_pods(str(tree.root), "worker") is None


NESTED = 100_000
HOSTILE: dict[str, tuple[str, str]] = {
    "words": (UNIT, "[Service]\nExecStart=/bin/a " + "b " * 60_000),
    "variables in variables": (
        UNIT,
        "[Service]\nEnvironment=A=" + "x" * 60_000 + "\nExecStart=/bin/a " + "${A} " * 10_000,
    ),
    "backslashes": (UNIT, "[Service]\nExecStart=/bin/a " + "\\\n" * 60_000),
    "settings that clear": (UNIT, "[Service]\n" + "ExecStart=\nExecStart=/bin/a\n" * 4_000),
    "environment files": (UNIT, "[Service]\nExecStart=/bin/a\n" + "EnvironmentFile=/etc/os-release\n" * 3_000),
    "quotations": ("/etc/sysconfig/kubelet", "A='" * 40_000),
    "lists in YAML": (POD, "[" * NESTED),
    "mappings in YAML": (POD, "{a: " * 60_000),
    "hyphens in YAML": (POD, "- " * NESTED),
    "blocks in YAML": (POD, "".join(" " * n + "a:\n" for n in range(600))),
    "blanks in YAML": (POD, "a: b" + " " * 200_000 + "c\n"),
    "quotations in YAML": (POD, ("a: '" + "''" * 100_000)),
    "a large pod": (POD, "a: b\n" * 200_000),
    "lists in TOML": (CONFIGURATION, "a = " + "[" * NESTED),
    "paths in cron": ("/etc/cron.d/x", "".join(f"/{n}/kubelet " for n in range(20_000))),
    "words in a script": ("/etc/init.d/x", SCRIPT + "kubelet;" * 30_000),
    "commands in a script": ("/etc/init.d/y", SCRIPT + "ctr cp > " * 25_000),
    "a bare link of tmpfiles": ("/etc/tmpfiles.d/x.conf", "L+\n" * 60_000),
    "binary formats": ("/etc/binfmt.d/x.conf", (":x:M:" + "9" * 5_000 + ":a:b:c:\n") * 40),
    "lists in a specification": ("/etc/cni/net.d/1.conf", "[" * 60_000),
}


@pytest.mark.parametrize("how", HOSTILE)
def test_hostile_files_cost_little_and_are_never_an_error(how: str, tree: Tree) -> None:
    tree.write(*HOSTILE[how])
    tracemalloc.start()
    try:
        began = time.process_time()
        tree.results()
        # What grows with the square of its input takes minutes.
        assert time.process_time() - began < 20
        assert tracemalloc.get_traced_memory()[1] < 48 * 1024 * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "text", ["[" * NESTED, "{a: " * 60_000, "- " * NESTED, "a: b\n" * 200_000], ids=["list", "map", "items", "size"]
)
def test_what_is_nested_too_deeply_or_too_large_is_refused(text: str) -> None:
    with pytest.raises(yaml.Malformed):
        yaml.read(text)


def test_units_beyond_the_limits_are_a_doubt(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.write(KUBELET, "[Service]\nExecStart=/usr/bin/kubelet\n#" + "x" * 200_000)

    assert ("unknown", "kubelet.service", "unit") in tree.bad()
    assert main.PROGRAM == "dkp-fips-tool"
    assert systemd.Units(str(tmp_path)).load_all()
