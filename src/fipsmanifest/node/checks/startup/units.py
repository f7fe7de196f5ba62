"""What systemd's units, cron and the boot scripts start: of a component only its listed programs."""

import errno
import os
import posixpath
import re
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

from ....trust.text import visible
from ... import systemd, tree
from ...result import FAIL, NOT_APPLICABLE, UNKNOWN, Node, Result
from . import environment
from .programs import LISTED, MISSING, OTHER, Found, Programs, is_wrapper, judge, result

# Settings after which a path in the unit is not the node's (systemd.exec(5)).
_OTHER_ROOT: Tuple[str, ...] = (
    "RootDirectory",
    "RootImage",
    "BindPaths",
    "BindReadOnlyPaths",
    "TemporaryFileSystem",
    "MountImages",
)
_OTHER_ROOT += ("ExtensionImages", "ExtensionDirectories", "RootHash", "PrivateRoot")
# The kubelet's own options: no other program of a node has them.
_KUBELET = re.compile(
    r"--(?:bootstrap-kubeconfig|container-runtime-endpoint|pod-manifest-path|runtime-request-timeout"
    r"|image-credential-provider-bin-dir|config-dir)\b|--config[= ]/var/lib/kubelet/config\.yaml"
)
_STARTUP_FILES = ("/etc/rc.local", "/etc/rc.d/rc.local", "/etc/crontab", "/etc/anacrontab", "/etc/inittab")
_STARTUP_DIRECTORIES: Tuple[str, ...] = (
    "/etc/init.d",
    "/etc/rc.d/init.d",
    "/etc/cron.d",
    "/var/spool/cron",
    "/etc/cron.hourly",
)
_STARTUP_DIRECTORIES += ("/etc/cron.daily", "/etc/cron.weekly", "/etc/cron.monthly", "/var/spool/cron/crontabs")
_EXTENSIONS = ("/etc/extensions", "/run/extensions", "/var/lib/extensions", "/usr/lib/extensions")
_FSTAB = "/etc/fstab"
_MAX_FILES = 200
_MAX_SIZE = 64 * 1024
_ADVICE = "Let {} start the release's own program, and find out who changed that."
_FOLLOW = "Start the program itself there: what goes through another one cannot be followed."


class Daemon(NamedTuple):
    """A component's program as a unit starts it."""

    component: str
    name: str
    """The program's name."""
    arguments: Tuple[str, ...]
    path: str
    """The file that says so."""
    environment: Dict[str, systemd.Entry]
    exact: bool
    """Whether all its arguments are known."""


class Started(NamedTuple):
    """What the units of a node start."""

    daemons: Tuple[Daemon, ...]
    results: Tuple[Result, ...]


def check(units: Sequence[systemd.Unit], programs: Programs, required: Set[str]) -> Started:
    """Judge every command of every unit; ``required`` are the components that the node's role needs."""
    daemons: List[Daemon] = []
    results: List[Result] = []
    for unit in units:
        component = _component(unit, programs)
        if component is not None:
            results += _judge_settings(unit, component, required)
        else:
            results += _judge_mount(unit, programs)
        for command in unit.commands:
            found, daemon = _judge_command(unit, command, component, programs)
            results += found
            daemons += [daemon] if daemon is not None else []
    for daemon in daemons:
        for file in sorted({entry.path for entry in daemon.environment.values()}):
            values = {key: entry.value for key, entry in daemon.environment.items() if entry.path == file}
            results += environment.judge(daemon.name, dict(values), file, daemon.component)
    if units:
        results += _not_started(results, programs, required)
    return Started(tuple(daemons), tuple(results))


def _component(unit: systemd.Unit, programs: Programs) -> Optional[str]:
    """Return the component that a unit is named after."""
    for name in unit.names:
        stem = re.sub(r"@.*", "", name.rpartition(".")[0])
        if stem in programs.names or stem in programs.host:
            return programs.names.get(stem, stem)
    return None


def _judge_settings(unit: systemd.Unit, component: str, required: Set[str]) -> Iterator[Result]:
    for doubt in unit.doubts:
        advice = "Make it readable and plain: systemd may start something else than what was checked."
        yield result(unit.shown, UNKNOWN, "a unit that can be read", doubt, "unit", "", advice, component=component)
    if unit.masked and component in required:
        advice = "Unmask it: systemctl unmask {}".format(visible(unit.name))
        yield result(unit.shown, UNKNOWN, "a unit", "masked", "masked", unit.path, advice, component=component)
    yield from _judge_root(unit, component)
    for entry in unit.values("PassEnvironment"):
        for name in entry.value.split():
            yield from environment.judge(unit.shown, {name: None}, entry.path, component)


def _judge_root(unit: systemd.Unit, component: str) -> Iterator[Result]:
    for key in _OTHER_ROOT:
        for entry in unit.values(key):
            if entry.value != "/":
                actual = "{}={}".format(key, entry.value)
                advice = "Remove the setting: with it, a path of the unit may lead to another file than on the node."
                yield result(unit.shown, UNKNOWN, None, actual, "other-root", entry.path, advice, component=component)


def _judge_command(
    unit: systemd.Unit, command: systemd.Command, component: Optional[str], programs: Programs
) -> Tuple[List[Result], Optional[Daemon]]:
    """Judge a command: its program where that is a component's or has to be, else what it mentions."""
    found = programs.look_up(command.program, _search_path(unit))
    name = posixpath.basename(command.program)
    is_main = command.key == "ExecStart" and component is not None
    subject = unit.shown if command.key == "ExecStart" else "{} ({})".format(unit.shown, command.key)
    if command.doubt and (is_main or name in programs.names):
        advice = "Write the program's path there without specifiers."
        return [
            result(subject, UNKNOWN, None, command.doubt, "specifier", command.path, advice, component=component)
        ], None
    if found.status == LISTED or name in programs.names:
        results = [judge(subject, found, command.path, component if is_main else None)]
        if found.status == MISSING and not is_main:
            results = []
        if component is None:
            results += _judge_root(unit, programs.names.get(name, ""))
        return results, _daemon(unit, command, found) if found.status == LISTED else None
    text = " ".join((command.program, *command.arguments))
    script = programs.script(found.path) if found.status == OTHER else None
    if is_main or _KUBELET.search(text):
        return [_judge_other(subject, found, text, script, command.path, component, programs)], None
    return list(_judge_mentions(subject, command, found, text, script, component, programs)), None


def _search_path(unit: systemd.Unit) -> List[str]:
    """Return where systemd looks for a program without a directory (systemd.service(5), ExecSearchPath=)."""
    own = [directory for entry in unit.values("ExecSearchPath") for directory in entry.value.split(":")]
    return own or list(systemd.DEFAULT_PATH)


def _daemon(unit: systemd.Unit, command: systemd.Command, found: Found) -> Daemon:
    exact = not unit.doubts and not any(re.search(r"%[A-Za-z]", word) for word in command.arguments)
    return Daemon(str(found.component), found.name, command.arguments, command.path, unit.environment, exact)


def _judge_other(
    subject: str,
    found: Found,
    text: str,
    script: Optional[str],
    path: str,
    component: Optional[str],
    programs: Programs,
) -> Result:
    """Judge another program in the place of a component's."""
    others = programs.others_in("{}\n{}".format(text, script or ""))
    if others:
        actual = "{}, which the manifest does not list".format(", ".join(others))
        advice = _ADVICE.format(visible(path))
        return result(subject, FAIL, "a listed program", actual, "other-program", path, advice, component=component)
    if is_wrapper(found.path) or component is None:
        actual = (
            "through {}".format(found.path)
            if is_wrapper(found.path)
            else "{}, with options of the kubelet".format(text)
        )
        return result(subject, UNKNOWN, "a listed program", actual, "wrapped", path, _FOLLOW, component=component)
    return judge(subject, found, path, component)


def _judge_mentions(
    subject: str,
    command: systemd.Command,
    found: Found,
    text: str,
    script: Optional[str],
    component: Optional[str],
    programs: Programs,
) -> Iterator[Result]:
    """Judge a command that is no component's own: it may start an unlisted program, or put one in place of a listed."""
    build = programs.build_of(found.path) if found.status == OTHER else None
    if build is not None:
        actual = "{}, another build of {}".format(found.path, build)
        yield result(
            subject,
            FAIL,
            "a listed program",
            actual,
            "other-build",
            command.path,
            _ADVICE.format(visible(command.path)),
        )
        return
    runs = is_wrapper(command.program) or script is not None
    others = programs.others_in("{}\n{}".format(text, script or ""))
    if others:
        actual = "{}, which the manifest does not list".format(", ".join(others))
        status = FAIL if runs else UNKNOWN
        advice = _ADVICE.format(visible(command.path))
        yield result(
            subject, status, "listed programs", actual, "other-program", command.path, advice, component=component
        )
        return
    arguments = " ".join(command.arguments)
    called = programs.called_in("{}\n{}".format(arguments, script or "")) if runs else []
    daemons = [name for name in called if name in _DAEMONS]
    replaced = programs.listed_in("{}\n{}".format(arguments, script or ""))
    if runs and not _REPLACES.search("{}\n{}".format(arguments, script or "")):
        replaced = []
    if component is not None and found.status == OTHER and not found.path.startswith(_SYSTEM):
        actual = "{}, which is not the operating system's".format(found.path)
        advice = "Start it from a unit of its own, if {} needs it, or remove it.".format(component)
        yield result(subject, UNKNOWN, None, actual, "unlisted-helper", command.path, advice, component=component)
    if daemons or replaced:
        actual = "{} {}".format("mentions" if replaced else "starts", ", ".join(daemons or replaced))
        yield result(subject, UNKNOWN, None, actual, "mentioned", command.path, _FOLLOW, component=component)


# Where the operating system's own programs are.
_SYSTEM = ("/usr/bin/", "/usr/sbin/", "/bin/", "/sbin/", "/usr/lib/systemd/", "/lib/systemd/", "/usr/libexec/")
# Commands with which a shell puts another file into a program's place.
_REPLACES = re.compile(r"(?:\A|[\s;&|(/\"'])(?:mount|cp|mv|ln|install|rsync|dd|tar|curl|wget|tee|unzip)\s|>")
# What runs all the time; that a script calls kubectl is nothing to wonder at.
_DAEMONS = (
    "kubelet",
    "containerd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "etcd",
)


def _judge_mount(unit: systemd.Unit, programs: Programs) -> Iterator[Result]:
    for entry in unit.values("Where"):
        covered = _covered(entry.value, programs)
        if unit.name.endswith(".mount") and covered and posixpath.normpath(entry.value) not in ("/", "/usr"):
            advice = "Remove the mount: it puts other files into the place of those that were checked."
            yield result(unit.shown, UNKNOWN, None, "mounts over " + covered, "mounted-over", entry.path, advice)


def _covered(directory: str, programs: Programs) -> str:
    """Return a listed program that a mount at ``directory`` would hide; empty where there is none."""
    for where in (posixpath.normpath(directory), programs.resolved(directory)):
        for path in sorted(programs.paths):
            if path == where or path.startswith(where.rstrip("/") + "/"):
                return path
    return ""


def _not_started(results: Sequence[Result], programs: Programs, required: Set[str]) -> Iterator[Result]:
    """Say which daemons no unit starts: something that is not known as such may."""
    judged = {one.evidence.get("component") for one in results if one.status != NOT_APPLICABLE}
    for component in ("containerd", "kubelet"):
        if component in required and component in programs.host and component not in judged:
            advice = "Install its unit, and look for what starts it instead."
            yield result(
                component, UNKNOWN, "a unit that starts it", "none", "no-unit", "", advice, component=component
            )


def check_other_starters(node: Node, programs: Programs) -> List[Result]:
    """Judge what cron, boot scripts, mounts and system extensions start or put in place of the listed programs."""
    results: List[Result] = []
    for path in _startup_files(node, results):
        text = _text(node, path, results)
        others = programs.others_in(re.sub(r"(?m)^\s*#.*", "", text))
        if others:
            actual = "{}, which the manifest does not list".format(", ".join(others))
            advice = _ADVICE.format(visible(path))
            results.append(result(path, FAIL, "listed programs", actual, "other-program", path, advice))
    for line in _text(node, _FSTAB, results).splitlines():
        fields = line.split("#")[0].split()
        if len(fields) > 3 and (
            "bind" in fields[3].split(",") or "rbind" in fields[3].split(",") or fields[2] == "overlay"
        ):
            covered = _covered(fields[1], programs)
            if covered:
                advice = "Remove the line: it puts other files into the place of those that were checked."
                results.append(result(_FSTAB, UNKNOWN, None, "mounts over " + covered, "mounted-over", _FSTAB, advice))
    for directory in _EXTENSIONS:
        names = _names(node, directory, results)
        if names:
            advice = (
                "Remove them, or check the node while it runs: they put files over those of /usr (systemd-sysext(8))."
            )
            actual = ", ".join(names[:8])
            status = NOT_APPLICABLE if node.live else UNKNOWN
            results.append(result(directory, status, "no system extension", actual, "extension", "", advice))
    return results


def _startup_files(node: Node, results: List[Result]) -> List[str]:
    found = list(_STARTUP_FILES)
    seen: Set[bytes] = set()
    for directory in _STARTUP_DIRECTORIES:
        try:
            place = tree.resolve(node.root, directory)
        except OSError:
            continue
        if place not in seen:
            seen.add(place)
            found += [posixpath.join(directory, name) for name in _names(node, directory, results)]
    if len(found) > _MAX_FILES:
        results.append(result("boot scripts", UNKNOWN, None, "more than {} files".format(_MAX_FILES), "too-many", ""))
    return found[:_MAX_FILES]


def _names(node: Node, directory: str, results: List[Result]) -> List[str]:
    try:
        return sorted(map(os.fsdecode, os.listdir(tree.resolve(node.root, directory))))
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            results.append(result(directory, UNKNOWN, "readable", "unreadable", "unreadable", "", "Run it as root."))
        return []


def _text(node: Node, path: str, results: List[Result]) -> str:
    try:
        text = tree.read_small(node.root, path, _MAX_SIZE + 1)
    except tree.NotRegular:
        return ""
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            results.append(result(path, UNKNOWN, "readable", "unreadable", "unreadable", "", "Run it as root."))
        return ""
    if len(text) > _MAX_SIZE and not text.startswith("\x7fELF"):
        actual = "larger than {} bytes".format(_MAX_SIZE)
        results.append(result(path, UNKNOWN, "readable", actual, "too-large", "", "Make it smaller, or look into it."))
    return text
