"""What starts programs beside systemd's units: cron, boot scripts, D-Bus, udev, generators, users' units."""

import contextlib
import errno
import json
import posixpath
import re
from typing import AbstractSet, Dict, Iterator, List, Sequence, Set, Tuple

from ....trust.text import visible
from ... import tree
from ...result import FAIL, NOT_APPLICABLE, UNKNOWN, Node, Result
from .. import boot_entries, grub, variables
from . import changes, environment, shell, static_pods
from .programs import OTHER, Programs
from .results import result

_FILES = (
    *(
        "/etc/profile",
        "/etc/bashrc",
        "/etc/rc.local",
        "/etc/rc.d/rc.local",
        "/etc/crontab",
        "/etc/anacrontab",
        "/etc/inittab",
        "/etc/rc.modules",
    ),
    *("/sbin/ifup-local", "/sbin/ifup-pre-local"),
    *("/root/.bashrc", "/root/.bash_profile", "/root/.bash_login", "/root/.profile"),
    *("/sbin/init", "/usr/lib/systemd/systemd", "/lib/systemd/systemd", "/bin/systemd"),
    *("/etc/logrotate.conf", "/etc/rsyslog.conf", "/etc/sysctl.conf", "/etc/xinetd.conf"),
    # Once an instance and, of some of their modules, at each start (cloud-init's "bootcmd").
    *("/etc/cloud/cloud.cfg", "/var/lib/cloud/instance/cloud-config.txt", "/var/lib/cloud/instance/user-data.txt"),
    "/var/lib/cloud/instance/vendor-cloud-config.txt",
)
_CLOUD = tuple("/var/lib/cloud/scripts/per-" + one for one in ("boot", "instance", "once"))
_DISPATCHED = tuple(
    base + "/NetworkManager/dispatcher.d" + below
    for base in ("/etc", "/usr/lib")
    for below in ("", "/pre-up.d", "/pre-down.d", "/no-wait.d")
)
_VPN = tuple(base + "/NetworkManager/VPN" for base in ("/etc", "/usr/lib"))
_QUADLETS = "/containers/systemd"
_BUS_POLICIES = ("/etc/dbus-1/system.d", "/usr/share/dbus-1/system.d")
_BUS = ("/etc/dbus-1/system.conf", "/etc/dbus-1/system-local.conf")
_SERVICE_DIRECTORY = re.compile(r"<servicedir>\s*(/[^<\s]*)\s*</servicedir>")
_LINGERING = "/var/lib/systemd/linger"  # a file for each user whose units start without a session (loginctl(1))
_USER_RECORDS = ("/etc/userdb", "/run/userdb", "/usr/local/lib/userdb", "/usr/lib/userdb")  # nss-systemd(8)
_UDEV_PROGRAMS = "/usr/lib/udev /lib/udev"  # where rules have programs without a directory (udev(7))
_USER_UNITS: Tuple[str, ...] = ("/etc/systemd/user", "/etc/xdg/systemd/user", "/run/systemd/user")
_USER_UNITS += ("/usr/local/lib/systemd/user", "/usr/lib/systemd/user", "/lib/systemd/user")
_USER_UNITS += ("/usr/local/share/systemd/user", "/usr/share/systemd/user")
# Below a user's home directory: units (systemd.unit(5)), and what Podman makes units of (podman-systemd.unit(5)).
_OF_A_USER: Tuple[str, ...] = (".config/systemd/user", ".config/systemd/user.control", ".local/share/systemd/user")
_OF_A_USER += (".config" + _QUADLETS,)
_BELOW_UNITS = (".d", ".wants", ".requires", ".upholds")
_ADMINISTRATORS = ("/etc/systemd", "/run/systemd", "/usr/local/lib/systemd")
_VENDORS = ("/usr/lib/systemd", "/lib/systemd")
_USER_GENERATORS = tuple(
    "{}/user-{}generators".format(base, kind) for base in (*_ADMINISTRATORS, *_VENDORS) for kind in ("", "environment-")
)
# What systemd-sysv-generator(8) makes units of: links in these directories may lead anywhere.
_RUN_LEVELS = tuple("/etc/rc{}{}.d".format(base, level) for base in ("", ".d/rc") for level in "S0123456")
_DIRECTORIES = (
    *("/etc/init.d", "/etc/rc.d/init.d", *_RUN_LEVELS, "/etc/cron.d", "/var/spool/cron", "/var/spool/cron/crontabs"),
    *("/etc/cron.hourly", "/etc/cron.daily", "/etc/cron.weekly", "/etc/cron.monthly"),
    # systemd of a user who may linger without a session (user@.service(5), loginctl(1)).
    *(
        *_USER_UNITS,
        *_USER_GENERATORS,
        *("/root/" + one for one in _OF_A_USER),
    ),
    # What a message on the bus starts (dbus-daemon(1)), a device (udev(7)), or the load of a module (modprobe.d(5)).
    *("/usr/share/dbus-1/system-services", "/usr/local/share/dbus-1/system-services"),
    *("/usr/lib/dbus-1/system-services", "/run/dbus-1/system-services", *_BUS_POLICIES),
    *("/run/udev/rules.d", "/run/modprobe.d", "/usr/local/lib/modprobe.d", "/etc/sysconfig/modules"),
    *("/etc/udev/rules.d", "/usr/local/lib/udev/rules.d", "/usr/lib/udev/rules.d", "/lib/udev/rules.d"),
    *("/etc/modprobe.d", "/usr/lib/modprobe.d", "/lib/modprobe.d"),
    *(*_DISPATCHED, *_VPN, "/etc/profile.d", "/etc/dhcp", "/etc/dhcp/dhclient.d", "/etc/dhcp/dhclient-exit-hooks.d"),
    *("/etc/sysconfig/network-scripts", "/etc/ppp", "/etc/ppp/ip-up.d", "/etc/acpi/actions", "/etc/acpi/events"),
    *("/var/spool/at", "/etc/cloud/cloud.cfg.d", *_CLOUD, "/var/lib/cloud/instance/scripts"),
    # Plugins of daemons (auditd-plugins(5), omprog of rsyslog), core_pattern and modprobe of sysctl.d(5), pam_exec(8).
    *("/etc/audit/plugins.d", "/etc/audisp/plugins.d", "/etc/rsyslog.d", "/etc/pam.d", "/usr/lib/pam.d"),
    *("/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d"),
    # Credential plugins of kubeconfig files ("exec").
    "/etc/kubernetes",
    # What Podman makes units of (podman-systemd.unit(5)).
    *(base + _QUADLETS for base in ("/etc", "/run", "/usr/share")),
    *("/etc/logrotate.d", "/etc/xinetd.d", "/usr/lib/systemd/system-shutdown", "/usr/lib/systemd/system-sleep"),
)
# systemd.generator(7), systemd.environment-generator(7): programs that make units, and variables for all of them.
_GENERATORS = ("system-generators", "system-environment-generators")
# Those of Enterprise Linux 7 to 10 and of cloud images, by the packages that bring them.
_KNOWN_GENERATOR = re.compile(
    r"(?:systemd-[a-z0-9-]+-generator|[0-9]+-systemd-[a-z0-9-]+|(?:anaconda|cloud-init|coreos|coreos-[a-z-]+|dracut"
    r"|ignition|lvm2-activation|multipathd|netplan|nfs-server|nfsroot|ostree-system|podman-system|rpc-pipefs|rhsm"
    r"|selinux-autorelabel|zram|bootc-systemd|kdump-dep|rdma-ndd|ostree|snapd|[0-9]+-flatpak|[0-9]+-podman)"
    r"(?:-generator)?(?:\.sh)?)\Z"
)
_EXTENSIONS = (
    *("/etc/extensions", "/run/extensions", "/var/lib/extensions", "/usr/local/lib/extensions", "/usr/lib/extensions"),
    "/var/lib/extensions.mutable",
    *("/run/confexts", "/var/lib/confexts", "/usr/lib/confexts", "/usr/local/lib/confexts"),
)
_COMMAND_LINES = ("/etc/default/grub", "/etc/kernel/cmdline", "/usr/lib/kernel/cmdline")
_ENTRIES = (boot_entries.DIRECTORY, *boot_entries.FIRMWARES, "/usr/lib/bootc/kargs.d")
_SET = re.compile(r"\bsystemd\.setenv=\"?([A-Za-z_][A-Za-z0-9_]*)=([^\s\"]*)")  # kernel-command-line(7)
# Without a dot in its name, what the kernel does not know becomes a variable of the first process.
_PASSED = re.compile(r"(?:^|(?<=[\s\"']))((?:LD|SYSTEMD)_[A-Z_]+|GLIBC_TUNABLES)=([^\s\"']*)", re.MULTILINE)
# Other programs in systemd's place, other file systems and images in that of the node's (fstab-generator and
# import-generator of systemd), or units that the command line itself makes (systemd.system-credentials(7)). What
# rdinit= starts is in the initramfs, which is not judged, with or without it.
_STARTS = re.compile(
    r"(?<![\w.-])(init|systemd\.run|(?:rd\.)?systemd\.(?:mount-extra|pull)|mount\.usr|systemd\.volatile"
    r"|systemd\.set_credential(?:_binary)?(?==(?:[a-z]*\.?(?:extra|unit-dropin)|udev\.|import\.)))"
    r"=[\"']?([^\s\"']+)"
)
_INIT = ("/sbin/init", "/usr/sbin/init", "/bin/systemd", "/lib/systemd/systemd", "/usr/lib/systemd/systemd", "/init")
_SESSIONS = ("/etc/environment", "/etc/security/pam_env.conf")
# Of what users' systemd starts (environment.d(5)).
_OF_USERS = tuple(base + "/environment.d" for base in ("/etc", "/run", "/usr/local/lib", "/usr/lib"))
_OF_SESSION = re.compile(r"(?m)^[ \t]*(?:export[ \t]+)?([A-Z_]+)(?:=|[ \t]+(?:DEFAULT|OVERRIDE)=)(\S+)")
_ESCAPE = re.compile(r"\\x([0-9A-Fa-f]{2})")
_MAX_FILES = 1000
_MAX_SIZE = 256 * 1024
_MAX_TOTAL = 8 * 1024 * 1024
_REMOVE = "Remove it, and find out who put it there."
_ADVICE = "Let {} start the release's own program, and find out who changed that."


def check(node: Node, programs: Programs, unset: AbstractSet[str]) -> List[Result]:
    """Judge what starts a component's program beside systemd's units, or changes what these start; raises nothing.

    ``unset`` are variables of components' commands to which the command line of the kernel may give a value.
    """
    results: List[Result] = []
    # The links of several run levels lead to one file.
    paths = list(
        {programs.node_files.resolved(path): path for path in reversed(_startup_files(node, results))}.values()
    )[::-1]
    for path in paths:
        results += _judge_program(path, programs)
    for path, text in read_texts(node, paths, results):
        text = _of_udev(text) if "/udev/" in path else text
        text += _UDEV_PROGRAMS if "/udev/" in path else "\n" + shell.cron_commands(text) if "cron" in path else ""
        results += judge_text(path, text, programs)
    results += _judge_generators(node, programs)
    results += _judge_command_lines(node, programs, unset)
    results += _judge_sessions(node, programs)
    for directory in _EXTENSIONS:
        names = list_names(node, directory, results)
        if names:
            advice = (
                "Remove them, or check the node while it runs: they put files over those of the node "
                "(systemd-sysext(8))."
            )
            status = NOT_APPLICABLE if node.live else UNKNOWN
            actual = ", ".join(names[:8])
            results.append(result(directory, status, "no system extension", actual, "extension", "", advice))
    return results


def _of_udev(text: str) -> str:
    """Return rules with continued lines in one and without the escapes of values like ``e"\\x2fopt"`` (udev(7))."""
    escaped = _ESCAPE.sub(lambda match: chr(int(match.group(1), 16)), text.replace("\\\n", ""))
    return "{}\n{}".format(text, escaped)


def _judge_program(path: str, programs: Programs) -> Iterator[Result]:
    """Judge a program that is started from where it is, or from where a link leads: another build of a component."""
    component = None
    if programs.node_files.is_program(path) and programs.find(path).status == OTHER:
        component = programs.build_of(path)
    if component is not None:
        actual = "another build of {}".format(component)
        yield result(path, FAIL, "listed programs", actual, "other-build", path, _REMOVE, component=component)


def judge_text(path: str, text: str, programs: Programs) -> Iterator[Result]:
    """Judge a text that starts programs, and the scripts that it names."""
    everything = programs.texts.followed(text, path)
    advice = _ADVICE.format(visible(path))
    others = programs.others_in(everything)
    if others:
        actual = ", ".join("{}, which the manifest does not list".format(one) for one in others)
        component = programs.names[posixpath.basename(others[0])]
        yield result(path, FAIL, "listed programs", actual, "other-program", path, advice, component=component)
        return
    builds = programs.builds_in(everything)
    if builds:
        actual, component = ", ".join(one.shown for one in builds), builds[0].component
        yield result(path, FAIL, "listed programs", actual, "other-build", path, advice, component=component)
    else:
        for one in [] if programs.is_live else programs.builds_by_pattern(everything)[:1]:
            actual = "may start {}".format(one.shown)
            yield result(path, UNKNOWN, None, actual, "wrapped", path, advice, component=one.component)
        yield from changes.judge(path, everything, path, programs, None)
        root = changes.CHANGES_ROOT.search(everything) and programs.listed_in(everything)
        is_container = changes.starts_container(everything) or (
            _QUADLETS in path
            and (
                changes.names_daemon(everything) or any(one.search(everything) for one in static_pods.OPTIONS.values())
            )
        )
        if not programs.is_live and (root or is_container):
            actual = "starts a program in another root or container"
            yield result(path, UNKNOWN, None, actual, "other-root", path, advice)


def _judge_generators(node: Node, programs: Programs) -> Iterator[Result]:
    """Judge the generators: those that the operating system does not bring may make any unit at the next start."""
    for kind in _GENERATORS:
        found: List[Result] = []
        for base in _ADMINISTRATORS:
            directory = posixpath.join(base, kind)
            paths = [posixpath.join(directory, name) for name in list_names(node, directory, found)]
            names = [path for path in paths if programs.node_files.is_program(path)]
            if names:
                # What it made of a running node's units is judged with these.
                status = NOT_APPLICABLE if node.live and kind == _GENERATORS[0] else UNKNOWN
                advice = "Remove them: what they make of the node's units is known when it runs."
                actual = ", ".join(names[:8])
                yield result(directory, status, "no generators", actual, "generator", "", advice)
        for base in _VENDORS:
            directory = posixpath.join(base, kind)
            for name in list_names(node, directory, found):
                path = posixpath.join(directory, name)
                yield from _judge_program(path, programs)
                yield from judge_text(path, programs.node_files.script(path) or "", programs)
                for variable in variables.named_in(programs.node_files.script(path) or ""):
                    yield from environment.judge(path, {variable: None}, path, None, programs)
            others = [name for name in list_names(node, directory, []) if not _KNOWN_GENERATOR.match(name)]
            others = [name for name in others if programs.node_files.is_program(posixpath.join(directory, name))]
            if others and kind == _GENERATORS[0] and not node.live:
                advice = "Remove them, or check the node while it runs: what they made is known then."
                actual = "{}, not known to be the operating system's".format(", ".join(others[:8]))
                yield result(directory, UNKNOWN, "known generators", actual, "generator", "", advice)
        yield from found


def _judge_command_lines(node: Node, programs: Programs, unset: AbstractSet[str]) -> Iterator[Result]:
    """Judge what a kernel command line starts, and the variables that it gives to everything that systemd starts."""
    loaders = [posixpath.join(grub.VENDORS, name) for name in list_names(node, grub.VENDORS, [])[:_MAX_FILES]]
    names = (*grub.MENUS, grub.BLOCK)
    paths = [posixpath.join(directory, name) for directory in (grub.DIRECTORY, *loaders) for name in names]
    entries, made = list(_ENTRIES), _image_command_lines(node)
    # Whether a boot loader can be read is for the check of the FIPS mode to say.
    with contextlib.suppress(grub.TooMany, grub.Unclear):
        menus = grub.with_taken_in(
            {path: read_text(node, path, []) for path in paths}, lambda path: read_text(node, path, []) or None
        )
        paths = list(menus)
        values = grub.variables_of(menus, list(map(grub.read_block, menus.values())))
        entries += grub.entry_directories(values)
        made.update((path, "\n".join(grub.command_lines(text, values))) for path, text in menus.items())
    paths += [posixpath.join(one, name) for one in entries for name in list_names(node, one, [])[:_MAX_FILES]]
    for path in dict.fromkeys([*_COMMAND_LINES, *paths, *made, *(["/proc/cmdline"] if node.live else [])]):
        text = "{}\n{}".format("" if boot_entries.is_image(path) else read_text(node, path, []), made.get(path, ""))
        for build in programs.builds_in(text):
            yield result(path, FAIL, None, build.shown, "other-build", path, _REMOVE, component=build.component)
        for name, value in [*_SET.findall(text), *_PASSED.findall(text)]:
            yield from environment.judge(path, {name: value}, path, None, programs)
            if name == "PATH" or name in unset:
                yield result(path, UNKNOWN, None, "{}={}".format(name, value), "environment", path, _REMOVE)
        for name, value in dict.fromkeys(_STARTS.findall(text)):
            if tree.leads_up(value) or posixpath.normpath(value) not in _INIT:
                advice = "Remove {}= there: what it starts was not checked.".format(name)
                actual = "{}={}".format(name, value)
                yield result(path, UNKNOWN, "systemd alone", actual, "kernel-command-line", path, advice)


def _image_command_lines(node: Node) -> Dict[str, str]:
    """Return the command lines of unified kernel images, by path; whether they can be read is not judged here."""
    found = {}
    for directory in boot_entries.IMAGES:
        for name in filter(boot_entries.is_image, list_names(node, directory, [])[:_MAX_FILES]):
            path = posixpath.join(directory, name)
            with contextlib.suppress(OSError, ValueError):
                found[path] = "\n".join(boot_entries.image_command_lines(node.root, path))
    return found


def _judge_sessions(node: Node, programs: Programs) -> Iterator[Result]:
    """Judge the variables of every session, from which kubeadm is started (pam_env(8)), and of users' systemd."""
    of_users = [posixpath.join(one, name) for one in _OF_USERS for name in list_names(node, one, [])[:_MAX_FILES]]
    for path in [*_SESSIONS, *of_users]:
        for name, value in _OF_SESSION.findall(read_text(node, path, [])):
            for one in environment.judge(path, {name: value.strip("\"'")}, path, None, programs):
                if one.status == FAIL:
                    yield one


def _startup_files(node: Node, results: List[Result]) -> List[str]:
    found = [*_FILES, *_BUS, *_of_python(node, results)]
    seen: Set[bytes] = set()
    for directory in [*_DIRECTORIES, *_configured_directories(node, results)]:
        try:
            place = tree.resolve(node.root, directory)
        except OSError:
            continue
        if place not in seen:
            seen.add(place)
            paths = [posixpath.join(directory, name) for name in list_names(node, directory, results)]
            for path in paths:  # grows meanwhile
                nested = path.endswith(_BELOW_UNITS) or _QUADLETS in path
                if nested and len(paths) <= _MAX_FILES:
                    paths += [posixpath.join(path, name) for name in list_names(node, path, results)]
            found += paths
    return found


def _of_python(node: Node, results: List[Result]) -> Iterator[str]:
    """Return what every start of Python runs (Python's module site): programs of the system are written in it."""
    for base in ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/local/lib64"):
        for version in [one for one in list_names(node, base, []) if one.startswith("python")]:
            directory = posixpath.join(base, version, "site-packages")
            for name in list_names(node, directory, results):
                if name.endswith(".pth") or name in ("sitecustomize.py", "usercustomize.py"):
                    yield posixpath.join(directory, name)


def _configured_directories(node: Node, results: List[Result]) -> Iterator[str]:
    """Return the directories that the bus' configuration, tuned's profiles and lingering users have of their own."""
    paths = list(_BUS)
    for directory in _BUS_POLICIES:
        paths += [posixpath.join(directory, name) for name in list_names(node, directory, [])]
    for path in paths[:_MAX_FILES]:
        yield from _SERVICE_DIRECTORY.findall(read_text(node, path, []))
    for directory in ("/etc/tuned", "/usr/lib/tuned"):
        yield from (posixpath.join(directory, name) for name in list_names(node, directory, []))
    for home in _homes(node, set(list_names(node, _LINGERING, results))):
        yield from (posixpath.join(home, one) for one in _OF_A_USER)


def _homes(node: Node, users: AbstractSet[str]) -> Iterator[str]:
    """Return the home directories of users, as accounts and systemd's own records have them, or as they usually are."""
    found = {name: "/home/" + name for name in users}
    for line in read_text(node, "/etc/passwd", []).splitlines() if users else ():
        fields = line.split(":")
        if len(fields) > 5 and fields[0] in users and fields[5].startswith("/"):
            found[fields[0]] = fields[5]
    yield from found.values()
    for path in [posixpath.join(base, name + ".user") for base in _USER_RECORDS for name in sorted(users)]:
        with contextlib.suppress(ValueError, AttributeError, RecursionError):
            home = str(json.loads(read_text(node, path, [])).get("homeDirectory"))
            yield from [home] if home.startswith("/") else []


def list_names(node: Node, directory: str, results: List[Result]) -> List[str]:
    """Return the names in a directory, nothing where there is none; what cannot be read is added to ``results``."""
    try:
        return tree.list_names(node.root, directory)
    except OSError as error:
        if error.errno == errno.EFBIG:
            results.append(_too_many(directory, tree.MAX_NAMES))
        elif error.errno not in (errno.ENOENT, errno.ENOTDIR):
            results.append(result(directory, UNKNOWN, "readable", "unreadable", "unreadable", "", "Run it as root."))
        return []


def _too_many(subject: str, most: int) -> Result:
    advice = "Remove what the node does not need there."
    return result(subject, UNKNOWN, None, "more than {} files".format(most), "too-many", "", advice)


def read_texts(node: Node, paths: Sequence[str], results: List[Result]) -> Iterator[Tuple[str, str]]:
    """Return text files with their content; what of them cannot be read is added to ``results``."""
    left = _MAX_TOTAL
    for path in paths[:_MAX_FILES]:
        text = read_text(node, path, results, min(_MAX_SIZE, left))
        left -= len(text)
        yield path, text
    if len(paths) > _MAX_FILES:
        results.append(_too_many(posixpath.dirname(paths[-1]), _MAX_FILES))


def read_text(node: Node, path: str, results: List[Result], most: int = _MAX_SIZE) -> str:
    """Return a text file's content, empty for another file; one that cannot be read whole is added to ``results``."""
    try:
        text = tree.read_small(node.root, path, most + 1)
    except tree.NotRegular:
        return ""
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            results.append(result(path, UNKNOWN, "readable", "unreadable", "unreadable", "", "Run it as root."))
        return ""
    if text.startswith("\x7fELF"):
        return ""
    if len(text) > most:
        actual = "larger than {} bytes, or all of these files are than {}".format(_MAX_SIZE, _MAX_TOTAL)
        results.append(result(path, UNKNOWN, "readable", actual, "too-large", "", "Make it smaller, or inspect it."))
    return text[:most]
