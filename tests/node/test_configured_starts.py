"""What else of a node's configuration starts a program, or puts one in the place of another, is not passed.

Where each is read is known from the programs themselves: kernel-command-line(7), systemd-import-generator(8),
systemd.exec(5) ("Credentials"), binfmt_misc of the kernel's documentation, mount(8), tmpfiles.d(5), pam_env(8).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from fipsmanifest.node.checks import startup
from fipsmanifest.node.result import Listed, Node
from tests.node.test_fips_mode import image
from tests.node.test_hidden_starts import GRUB, TEMPORARY, all_of, copy, file, service
from tests.node.test_starters import Change, codes, link, script, tree_with_another_build
from tests.node.test_startup import Tree


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return tree_with_another_build(tmp_path)


def options(text: str) -> Change:
    return file(GRUB, f'GRUB_CMDLINE_LINUX="fips=1 {text}"\n')


PROFILE = "/etc/profile.d/x.sh"
BUILDS: dict[str, Change] = {
    "the kernel's core dumps, from its command line": options("sysctl.kernel.core_pattern=|/opt/plain/agent"),
    "the kernel's core dumps, from a temporary file": file(
        TEMPORARY, "w /proc/sys/kernel/core_pattern - - - - |/opt/plain/agent\n"
    ),
    "a login shell of root": file("/root/.bashrc", "/opt/plain/agent &\n"),
    "a unit of users": file("/usr/share/systemd/user/x.service", "[Service]\nExecStart=/opt/plain/agent\n"),
    "a unit of users, of the X desktop group": file(
        "/etc/xdg/systemd/user/x.service", "[Service]\nExecStart=/opt/plain/agent\n"
    ),
    "the vendor's PAM": file("/usr/lib/pam.d/x", "session optional pam_exec.so /opt/plain/agent\n"),
    "the network's scripts": lambda t: script(t, "/sbin/ifup-local", "/opt/plain/agent\n"),
    "a program in systemd's place": lambda t: link(t, "/usr/lib/systemd/systemd", "/opt/plain/agent"),
    "a generator of users' systemd": lambda t: link(t, "/etc/systemd/user-generators/x", "/opt/plain/agent"),
    "a generator of users' variables": lambda t: script(
        t, "/usr/lib/systemd/user-environment-generators/x", "/opt/plain/agent &\n"
    ),
    "a helper of mount": all_of(copy("/sbin/mount.x"), file("/etc/fstab", "a /mnt x defaults 0 0\n")),
    "a script that helps mount": all_of(
        lambda t: script(t, "/sbin/mount.x", "exec /opt/plain/agent\n"), file("/etc/fstab", "x /mnt x defaults 0 0\n")
    ),
    "a copy, by a temporary file": all_of(
        file("/opt/s", "/opt/plain/agent\n"), file(TEMPORARY, f"C {PROFILE} - - - - /opt/s\n")
    ),
    "a link, by a temporary file": all_of(
        file("/opt/s", "/opt/plain/agent\n"), file(TEMPORARY, f"L+ {PROFILE} - - - - /opt/s\n")
    ),
    "a copied directory, by a temporary file": all_of(
        file("/opt/s/x.sh", "/opt/plain/agent\n"), file(TEMPORARY, "C+ /etc/profile.d - - - - /opt/s\n")
    ),
    "a copy of the vendor's, by a temporary file": all_of(
        file("/usr/share/factory" + PROFILE, "/opt/plain/agent\n"), file(TEMPORARY, f"C {PROFILE}\n")
    ),
    "a text, by a temporary file": file(TEMPORARY, f"f+ {PROFILE} 0644 root root - \\x2fopt\\057plain/agent\\n\n"),
    "an encoded text, by a temporary file": file(TEMPORARY, f"f+~ {PROFILE} - - - - L29wdC9wbGFpbi9hZ2VudAo=\n"),
}


@pytest.mark.parametrize("how", BUILDS)
def test_another_build_that_the_node_starts_fails(how: str, tree: Tree) -> None:
    assert codes(BUILDS[how], tree) == {("fail", "other-build")}


HOOK = '{"hook": {"path": "/opt/plain/agent"}, "version": "1.0.0"}'
NAMED: dict[str, Change] = {
    "a configuration beside /etc": file("/usr/local/etc/site.conf", "start = /opt/plain/agent\n"),
    "multipath": file("/etc/multipath.conf", 'defaults { alias_program "/opt/plain/agent" }\n'),
    "smartd": file("/etc/smartmontools/smartd.conf", "DEVICESCAN -m root -M exec /opt/plain/agent\n"),
    "sshd": file("/etc/ssh/sshd_config", "AuthorizedKeysCommand /opt/plain/agent\n"),
    "automount": file("/etc/auto.master.d/x.autofs", "/misc program:/opt/plain/agent\n"),
    "keys of the kernel": file("/etc/request-key.d/x.conf", "create user debug:* * /opt/plain/agent %k\n"),
    "a program supervisor, deep below": file("/etc/a/b/c/x.ini", "[program:x]\ncommand=/opt/plain/agent\n"),
    "a link to it": all_of(
        lambda t: link(t, "/opt/site", "/opt/plain/agent"), file("/etc/mdadm.conf", "PROGRAM /opt/site\n")
    ),
    "a directory elsewhere": all_of(
        lambda t: link(t, "/etc/site", "/opt/site"), file("/opt/site/a/site.conf", "notify = /opt/plain/agent\n")
    ),
    "a link in a directory of programs": lambda t: link(t, "/etc/kernel/postinst.d/x", "/opt/plain/agent"),
    "a copy in a directory of programs": copy("/etc/update-motd.d/x"),
    "a link to a script": all_of(
        lambda t: script(t, "/opt/x", "exec /opt/plain/agent\n"), lambda t: link(t, "/etc/update-motd.d/x", "/opt/x")
    ),
    "a hook of OCI runtimes": file("/usr/share/containers/oci/hooks.d/x.json", HOOK),
    "a device's hook": file("/run/cdi/x.json", HOOK),
    "polkit's rules": file("/usr/share/polkit-1/rules.d/x.rules", 'polkit.spawn(["/opt/plain/agent"]);\n'),
    "the kernel's installation": lambda t: script(t, "/usr/lib/kernel/install.d/9.install", "/opt/plain/agent\n"),
    "a plugin of dnf": file(
        "/usr/lib/python3.9/site-packages/dnf-plugins/x.py", 'subprocess.run(["/opt/plain/agent"])\n'
    ),
    "a plugin of yum": file("/usr/lib/yum-plugins/x.py", 'os.system("/opt/plain/agent")\n'),
    "a script that a configuration names": all_of(
        lambda t: script(t, "/opt/go", 'A=/opt/plain\nexec "$A/agent"\n'),
        file("/etc/ssh/sshd_config", "AuthorizedKeysCommand /opt/go\n"),
    ),
    "the vendor's binary formats": file("/usr/lib/binfmt.d/x.conf", ":x:M::XX::/opt/plain/agent:\n"),
}


@pytest.mark.parametrize("how", NAMED)
def test_another_build_that_any_configuration_names_is_unknown(how: str, tree: Tree) -> None:
    assert codes(NAMED[how], tree) == {("unknown", "other-build")}


def test_a_running_node_is_judged_by_its_processes(tree: Tree) -> None:
    tree.write("/etc/mdadm.conf", "PROGRAM /opt/plain/agent\n")

    found = startup.check(Node(str(tree.root), True, "control-plane"), [Listed("m.asc", tree.manifest)])

    assert [one for one in found if one.subject == "/etc/mdadm.conf"] == []


def replaced(line: str) -> tuple[str, Change]:
    """Return a line of tmpfiles.d(5) that puts something in the place of what was checked."""
    return "replaced-at-start", file(TEMPORARY, line + "\n")


DOUBTS: dict[str, tuple[str, Change]] = {
    "a library that runc loads": (
        "library-path",
        all_of(
            file("/usr/lib64/libseccomp.so.2", "x"),
            file("/etc/ld.so.conf.d/x.conf", "/opt/lib\n"),
            file("/opt/lib/libseccomp.so.2", "y"),
        ),
    ),
    "a library for some processors": (
        "library-path",
        all_of(file("/usr/lib64/libcrypto.so.3", "x"), file("/usr/lib64/glibc-hwcaps/x86-64-v2/libcrypto.so.3", "y")),
    ),
    "a mount of the command line": (
        "kernel-command-line",
        options("systemd.mount-extra=/opt/plain:/usr/bin:none:bind"),
    ),
    "another /usr": ("kernel-command-line", options("mount.usr=/dev/sdb1")),
    "a root in memory": ("kernel-command-line", options("systemd.volatile=overlay")),
    "an image of the command line": ("kernel-command-line", options("systemd.pull=raw,sysext:x:https://e.com/x")),
    "rules of udev among credentials": (
        "kernel-command-line",
        options("systemd.set_credential=udev.rules.x:abc"),
    ),
    "an init of a boot entry of the firmware's disk": (
        "kernel-command-line",
        file("/boot/efi/loader/entries/x.conf", "options fips=1 init=/opt/x\n"),
    ),
    "an init of a vendor's menu": (
        "kernel-command-line",
        file("/boot/efi/EFI/rocky/grub.cfg", "linux /vmlinuz fips=1 init=/opt/x\n"),
    ),
    "temporary files among credentials": (
        "replaced-at-start",
        file("/etc/credstore/tmpfiles.extra", "L+ /usr/bin/kubelet - - - - /opt/x\n"),
    ),
    "encrypted credentials": ("replaced-at-start", file("/etc/credstore.encrypted/udev.rules.x", "x")),
    "a binary format by a temporary file": (
        "replaced-at-start",
        file(TEMPORARY, "w /proc/sys/fs/binfmt_misc/register - - - - :x:M::\\x7fELF::/opt/x:\n"),
    ),
    "a binary format by a shell": (
        "replaced-at-start",
        service("ExecStart=/bin/sh -c 'echo :x:M::ELF::/opt/x: > /proc/sys/fs/binfmt_misc/register'"),
    ),
    "an init of what GRUB's menu takes in": (
        "kernel-command-line",
        file("/boot/grub2/custom.cfg", "linux /vmlinuz fips=1 init=/opt/x\n"),
    ),
    "an init of a bootable container": (
        "kernel-command-line",
        file("/usr/lib/bootc/kargs.d/x.toml", 'kargs = ["init=/opt/x"]\n'),
    ),
    "an init of variables of a menu": (
        "kernel-command-line",
        file("/boot/grub2/grub.cfg", "set i=ini\nlinux /vmlinuz fips=1 ${i}t=/opt/x\n"),
    ),
    "an init in hexadecimal": (
        "kernel-command-line",
        file("/boot/grub2/grub.cfg", "linux /vmlinuz fips=1 'in\\x69t=/opt/x'\n"),
    ),
    "an init of a unified kernel image": (
        "kernel-command-line",
        all_of(
            file("/efi/EFI/Linux/a.efi", ""),
            lambda t: t.place("/efi/EFI/Linux/a.efi").write_bytes(image("fips=1 init=/opt/x")),
        ),
    ),
    "a module of the name service": (
        "library-path",
        file("/etc/nsswitch.conf", "passwd: files\nhosts: files own dns\n"),
    ),
    "a generator of this start": ("generator", copy("/run/systemd/system-generators/x")),
    "a temporary file's path with an escape": replaced('L+ "/usr/bin/\\x6bubelet" - - - - /opt/x'),
    "a temporary file's path with a backslash, as systemd 219 reads it": replaced(
        "L+ /usr/bin/\\kubelet - - - - /opt/x"
    ),
    "a temporary file's path with a specifier": replaced("f+ %S/kubelet/config.yaml - - - - x"),
    "a temporary file's path with a specifier that is not known": replaced("L+ /usr/%M/kubelet - - - - /opt/x"),
    "a unit by a temporary file": replaced("L+ /run/systemd/system/x.service - - - - /opt/x.service"),
    "a crontab by a temporary file": replaced("f+ /etc/crontab - - - - @reboot\\x20root\\x20/opt/x"),
    "a program's mode by a temporary file": replaced("z /usr/bin/kubelet 0777 - - -"),
    "a direct map of automount": (
        "mounted-over",
        all_of(file("/etc/auto.master", "/- /etc/auto.site\n"), file("/etc/auto.site", "/usr/bin -fstype=nfs h:/x\n")),
    ),
    "a map of automount in a configuration's place": (
        "mounted-over",
        file("/etc/auto.master.d/x.autofs", "/etc/containerd /etc/auto.x\n"),
    ),
    "variables of the kubelet that a temporary file writes": (
        "replaced-at-start",
        all_of(
            lambda t: t.drop_in("EnvironmentFile=-/run/site.env"),
            file(TEMPORARY, "f+ /run/site.env - - - - KUBELET_EXTRA_ARGS=--config=/opt/k.yaml\n"),
        ),
    ),
    "variables of the kubelet that a unit writes": (
        "replaced-at-start",
        all_of(
            lambda t: t.drop_in("EnvironmentFile=-/run/site.env"),
            service("ExecStart=/bin/sh -c 'echo KUBELET_EXTRA_ARGS=--config=/opt/k.yaml > /run/site.env'"),
        ),
    ),
    "containerd's configuration elsewhere, by a temporary file": (
        "replaced-at-start",
        all_of(
            lambda t: t.drop_in("ExecStart=\nExecStart=/usr/bin/containerd --config /opt/c.toml", "containerd"),
            file("/opt/c.toml", "version = 2\n"),
            file(TEMPORARY, "L+ /opt/c.toml - - - - /opt/x.toml\n"),
        ),
    ),
    "a binary format with an offset of many digits": (
        "binary-format",
        file("/etc/binfmt.d/x.conf", ":x:M:00001:ELF::/opt/x:\n"),
    ),
    "a binary format with a signed offset": ("binary-format", file("/etc/binfmt.d/x.conf", ":x:M:+1:ELF::/opt/x:\n")),
    "a pattern of the preload file": replaced("w /etc/ld.so.preloa[d] - - - - /opt/x.so"),
    "a pattern of a directory of units": replaced("w+ /etc/systemd/syst?m/x.service - - - - x"),
    "alternatives of a program's directory": replaced("w /usr/{bin,x}/kubelet - - - - x"),
    "a temporary file above what the kubelet reads": replaced("C+ /etc - - - - /opt/etc"),
    "units that a temporary file removes": replaced("R /etc/systemd"),
    "mounts by a temporary file": replaced("f+ /etc/fstab - - - - x"),
    "a temporary file of root's own manager": (
        "replaced-at-start",
        file("/root/.config/user-tmpfiles.d/x.conf", "L+ /usr/bin/kubelet - - - - /opt/x\n"),
    ),
    "a temporary file of every user's manager": (
        "replaced-at-start",
        file("/usr/share/user-tmpfiles.d/x.conf", "L+ /usr/bin/kubelet - - - - /opt/x\n"),
    ),
    "an escape in a mount's place": ("mounted-over", file("/etc/fstab", "/opt/plain /usr\\057bin none bind 0 0\n")),
    "an image of a file in a partition's place": (
        "mounted-over",
        file("/etc/fstab", "/opt/usr.img /usr ext4 ro 0 0\n"),
    ),
    "a server's files in a partition's place": ("mounted-over", file("/etc/fstab", "h:/x /opt nfs defaults 0 0\n")),
    "a program's owner by a temporary file": replaced("Z /usr/bin - joe"),
    "what changes in an extension's place": ("extension", file("/var/lib/extensions.mutable/usr/bin/x", "x")),
}


@pytest.mark.parametrize("how", DOUBTS)
def test_what_may_start_something_else_is_unknown(how: str, tree: Tree) -> None:
    code, change = DOUBTS[how]

    assert codes(change, tree) == {("unknown", code)}


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/etc/environment", "LD_PRELOAD=/opt/x.so\n"),
        ("/etc/environment", 'export LD_AUDIT="/opt/x.so"\n'),
        ("/etc/security/pam_env.conf", "LD_PRELOAD DEFAULT=/opt/x.so\n"),
        ("/usr/lib/environment.d/x.conf", "LD_PRELOAD=/opt/x.so\n"),
    ],
)
def test_what_every_session_preloads_fails(path: str, text: str, tree: Tree) -> None:
    assert codes(file(path, text), tree) == {("fail", "environment")}


ORDINARY: dict[str, Change] = {
    "an application's libraries, for every program": all_of(
        file("/usr/lib64/libseccomp.so.2", "x"),
        file("/etc/ld.so.conf.d/x.conf", "/usr/lib64/mysql\n/opt/cuda/lib64\n"),
        file("/opt/cuda/lib64/libcublas.so.12", "y"),
        file("/opt/cuda/lib64/libssl.so.9", "y"),
    ),
    "the vendor's mount of binary formats": file(
        "/usr/lib/systemd/system/proc-sys-fs-binfmt_misc.mount",
        "[Mount]\nWhat=binfmt_misc\nWhere=/proc/sys/fs/binfmt_misc\nType=binfmt_misc\n",
    ),
    "a list of files": file("/etc/fapolicyd/fapolicyd.trust", "/opt/plain/agent 27648 0123\n"),
    "the vendor's name services": file(
        "/etc/nsswitch.conf",
        "# In order\npasswd:     sss files systemd\nhosts:      files dns myhostname # own\n"
        "services: files [NOTFOUND=return] sss\ngroup: files [SUCCESS=merge] systemd\nautomount:  files sss\n",
    ),
    "a comment": file("/etc/ssh/sshd_config", "# AuthorizedKeysCommand /opt/plain/agent\n"),
    "a script": all_of(
        lambda t: script(t, "/opt/go", "# /opt/plain/agent\nexec /usr/bin/kubelet --version\n"),
        file("/etc/mdadm.conf", "PROGRAM /opt/go\n"),
    ),
    "a listed program": file("/etc/monit.d/kubelet", "check process kubelet\n start = /usr/bin/kubelet\n"),
    "further temporary files of vendors": file(
        "/usr/lib/tmpfiles.d/x.conf",
        # Of systemd, sshd, podman and rpm-ostree.
        "L! /etc/resolv.conf - - - - ../run/systemd/resolve/stub-resolv.conf\nC! /etc/pam.d - - - -\n"
        "f^ /etc/motd.d/50-provision.conf - - - - login.motd\nR! /tmp/podman-run-*\nD! /run/podman 0700 root root\n"
        "r! /var/lib/rpm/__db.*\nL /var/lib/rpm - - - - ../../usr/share/rpm\nw- /sys/x/{a,b} - - - - 1\n",
    ),
    "disks of a partition's place": file("/etc/fstab", "UUID=1 /opt xfs\n/dev/mapper/a-b /usr xfs\n/swap none swap\n"),
    "an application's credential": file("/etc/credstore/web.password", "x"),
    "an application's libraries": file("/etc/environment", "LD_LIBRARY_PATH=/opt/oracle/lib\nLANG=C.UTF-8\n"),
    "a binary file": file("/etc/x.db", "\0/opt/plain/agent\0"),
    "the vendor's temporary files": file(
        "/usr/lib/tmpfiles.d/x.conf",
        # Of systemd, dracut, polkit and cronie.
        "z /run/log/journal 2755 root systemd-journal - -\na+ /var/log/journal/%m - - - - d:group:adm:r-x\n"
        "d /run/systemd/seats 0755 root root -\nL /var/run - - - - ../run\nr! /etc/passwd.lock\n"
        'R! /tmp/systemd-private-*\nf+! /run/nologin 0644 - - - "System is booting up. See pam_nologin(8)."\n',
    ),
    "a file system in memory for /run": file("/etc/fstab", "tmpfs /run tmpfs mode=755 0 0\n"),
    "usual maps of automount": all_of(
        file(
            "/etc/auto.master", "/misc /etc/auto.misc\n/net -hosts\n+dir:/etc/auto.master.d\n+auto.master\n/- auto.d\n"
        ),
        file("/etc/auto.misc", "cd -fstype=iso9660,ro,nosuid,nodev :/dev/cdrom\n"),
        file("/etc/auto.d", "/home/joe h:/home/joe\n"),
    ),
    "links to files elsewhere": all_of(
        lambda t: link(t, "/etc/mtab", "../proc/self/mounts"),
        lambda t: link(t, "/etc/localtime", "../usr/bin/kubelet"),
        lambda t: link(t, "/etc/all", "/opt"),
    ),
    "usual options": options(
        "crashkernel=auto rd.lvm.lv=rhel/root mount.usrflags=ro systemd.unified_cgroup_hierarchy=1"
    ),
}


@pytest.mark.parametrize("how", ORDINARY)
def test_what_ordinary_nodes_have_passes(how: str, tree: Tree) -> None:
    assert codes(ORDINARY[how], tree) == set()


def test_more_files_than_any_node_has_are_unknown(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fipsmanifest.node.checks.startup.mentions._MAX_FILES", 3)

    assert ("unknown", "/etc", "too-many") in tree.bad()
