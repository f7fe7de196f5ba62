"""What systemd's units, cron and the boot scripts start: of a component only its listed programs."""

import posixpath
import re
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

from ....trust.text import visible
from ... import systemd
from ...result import FAIL, NOT_APPLICABLE, UNKNOWN, Result
from .. import configuration_files
from . import environment, other_commands, own_mounts, shell, static_pods
from .other_commands import FOLLOW, INSTEAD
from .places import judge_mount
from .programs import LISTED, MISSING, OTHER, Found, Programs
from .results import judge, result

# Settings after which a path in the unit is not the node's (systemd.exec(5)).
_OTHER_ROOT: Tuple[str, ...] = (
    "RootDirectory",
    "RootImage",
    "BindPaths",
    "BindReadOnlyPaths",
    "TemporaryFileSystem",
    "MountImages",
)
_OTHER_ROOT += ("ExtensionImages", "ExtensionDirectories", "RootHash", "PrivateRoot", "RootMStack")
_IMAGES = ("RootImage", "RootMStack", "MountImages", "ExtensionImages", "ExtensionDirectories")
# PAM's modules set environment variables as well (pam_env(8)).
_OTHER_ROOT += ("PAMName",)
# The kubelet's own options and files, and containerd's configuration: no other program of a node has them.
_KUBELET = re.compile(
    r"--(?:bootstrap-kubeconfig|container-runtime-endpoint|pod-manifest-path|runtime-request-timeout"
    r"|image-credential-provider-bin-dir|config-dir)\b|--config[= ]/var/lib/kubelet/config\.yaml"
    r"|--kubeconfig[= ](?:/etc/kubernetes/kubelet\.conf|/var/lib/kubelet/)"
    r"|--?c(?:onfig)?[= ]/etc/containerd/config\.toml"
)
_BAD = (FAIL, UNKNOWN)
_VARIABLE = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)")
_NO_DIRECTORY = re.compile(r"/*%")
# containerd's and runc's own commands that make a container of any image or directory.
_RUNTIMES = ("ctr", "runc")
_OWN_CONTAINER = re.compile(r"(?:^|\s)(?:run|create|restore)(?:\s|$)")


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
    # What another unit or a script writes to these counts, whichever comes first.
    for unit in [unit for unit in units if _component(unit, programs) is not None]:
        programs.configurations.update(_configurations(unit, programs))
    for unit in units:
        component = _component(unit, programs)
        results += _judge_doubts(unit, component)
        if component is not None:
            results += _judge_settings(unit, component, required, programs)
        elif unit.name.endswith(".mount"):
            results += _judge_mount(unit, programs)
        results += _judge_passed(unit, programs)
        for command in unit.commands:
            found, daemon = _judge_command(unit, command, component, programs)
            results += found
            daemons += [daemon] if daemon is not None else []
            # Such settings of a component's own unit are unknown in any case.
            if component is None and not programs.is_live and not any(one.status in _BAD for one in found):
                results += _judge_within(unit, command, programs)
    for daemon in daemons:
        for file in sorted({entry.path for entry in daemon.environment.values()}):
            values = {key: entry.value for key, entry in daemon.environment.items() if entry.path == file}
            results += environment.judge(daemon.name, dict(values), file, daemon.component, programs)
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


def _configurations(unit: systemd.Unit, programs: Programs) -> Iterator[str]:
    """Return the files that a component's unit reads: those that are missing may be written when the node starts."""
    for entry in unit.values("EnvironmentFile"):
        yield posixpath.normpath(systemd.expand(entry.value.lstrip("-"), unit.name)[0])
    for command in unit.commands:
        for path in configuration_files.named_in(command.arguments):
            if programs.node_files.is_file(path) or not programs.node_files.names(path):
                yield posixpath.normpath(path)


def _judge_doubts(unit: systemd.Unit, component: Optional[str]) -> Iterator[Result]:
    """Report what of a unit cannot be read: whatever it is called, it may start a component."""
    for doubt in unit.doubts:
        advice = "Make it readable and plain: systemd may start something else than what was checked."
        yield result(unit.shown, UNKNOWN, "a unit that can be read", doubt, "unit", "", advice, component=component)
    for key in _IMAGES if component is None else ():
        for entry in unit.values(key):
            actual = "{}={}".format(key, entry.value)
            advice = "Remove the unit, or inspect that image: what it starts is there."
            yield result(unit.shown, UNKNOWN, None, actual, "other-root", entry.path, advice)


def _judge_settings(unit: systemd.Unit, component: str, required: Set[str], programs: Programs) -> Iterator[Result]:
    if unit.masked and component in required:
        advice = "Unmask it: systemctl unmask {}".format(visible(unit.name))
        yield result(unit.shown, UNKNOWN, "a unit", "masked", "masked", unit.path, advice, component=component)
    yield from _judge_root(unit, component)
    for entry in unit.values("PassEnvironment"):
        for name in entry.value.split():
            yield from environment.judge(unit.shown, {name: None}, entry.path, component, programs)
            if name in _unset(unit):
                advice = "Remove it there, or set it in the unit: the kernel's command line may give it any value."
                actual = "{} comes from elsewhere".format(name)
                yield result(unit.shown, UNKNOWN, None, actual, "environment", entry.path, advice, component=component)


def unset_variables(units: Sequence[systemd.Unit], programs: Programs) -> Set[str]:
    """Return the variables in the commands of components' units to which nothing of the node's files gives a value."""
    own = [
        unit
        for unit in units
        if _component(unit, programs) or any(posixpath.basename(one.program) in programs.names for one in unit.commands)
    ]
    return {name for unit in own for name in _unset(unit)}


def _unset(unit: systemd.Unit) -> Set[str]:
    values = [entry.value for key in systemd.COMMANDS for entry in unit.values(key)]
    return {name for value in values for name in _VARIABLE.findall(value)}.difference(unit.environment)


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
    if not programs.is_live:
        made = list(_judge_specifiers(subject, command, programs))
        if made:
            return made, None
    text = " ".join((command.program, *command.arguments, *_elsewhere(unit, command.program)))
    if name in _RUNTIMES and _OWN_CONTAINER.search(" ".join(command.arguments)):
        return [other_commands.judge_container(subject, text, command.path, component)], None
    if found.status == LISTED or name in programs.names:
        results = [judge(subject, found, command.path, component if is_main else None)]
        named = programs.texts.followed(" ".join(command.arguments))
        results += other_commands.judge_builds(subject, named, command, programs)
        if found.status == MISSING and not is_main:
            results = []
        if component is None:
            results += _judge_root(unit, programs.names.get(name, ""))
        return results, _daemon(unit, command, found) if found.status == LISTED else None
    script = programs.node_files.script(found.path) if found.status == OTHER else None
    # pflag takes an underscore for a hyphen (k8s.io/component-base/cli/flag).
    if is_main or any(form.search(text.replace("_", "-")) for form in (_KUBELET, *static_pods.OPTIONS.values())):
        return [_judge_other(subject, found, text, script, command.path, component, programs)], None
    other = other_commands.OtherCommand(unit, subject, command, found, text, script, component, programs)
    results = other.judge()
    if not results and found.status == OTHER:
        results += _judge_configured(unit, subject, command, programs)
    return results, None


def _judge_within(unit: systemd.Unit, command: systemd.Command, programs: Programs) -> List[Result]:
    """Judge a command of a unit with a root or bind mounts of its own, as the unit finds its program."""
    mounts, unknown = own_mounts.read(unit, programs.node_files.root)
    within = None if mounts is None else programs.within(mounts)
    if within is not None:
        found, _ = _judge_command(unit, command, None, within)
        return [one for one in found if one.status in _BAD]
    if mounts is not None:
        unknown = [entry for key in own_mounts.SETTINGS for entry in unit.values(key)]
    advice = "Write its paths without specifiers, or remove it: what the unit starts is not known with it."
    return [
        result(unit.shown, UNKNOWN, None, "{}={}".format(one.key, one.value), "other-root", one.path, advice)
        for one in unknown
    ]


def _judge_configured(
    unit: systemd.Unit, subject: str, command: systemd.Command, programs: Programs
) -> Iterator[Result]:
    """Judge a program that is not listed by the configuration that the unit gives it."""
    named = programs.configured_by(command.arguments)
    by_variables = configuration_files.component_of_variables(unit.environment)
    if by_variables in programs.names:
        named.append((by_variables, "its environment"))
    for component, where in named[:1]:
        actual = "{}, with the configuration of {} ({})".format(command.program, component, where)
        yield result(subject, UNKNOWN, "a listed program", actual, "wrapped", command.path, FOLLOW, component=component)


def _judge_specifiers(subject: str, command: systemd.Command, programs: Programs) -> Iterator[Result]:
    """Judge what specifiers of a command whose values are not known, as of a template's instance, may make of it."""
    advice = "Write the program's path there without specifiers."
    if command.doubt and _NO_DIRECTORY.match(command.program):
        yield result(subject, UNKNOWN, None, command.doubt, "specifier", command.path, advice)
        return
    for path in programs.texts.may_be(" ".join((command.program, *command.arguments))):
        if programs.find(path).status == OTHER:
            component = programs.build_of(path) or programs.names.get(posixpath.basename(path))
            if component is not None:
                actual = "may start {}, which the manifest does not list".format(path)
                yield result(subject, UNKNOWN, None, actual, "specifier", command.path, advice, component=component)
                return


def _elsewhere(unit: systemd.Unit, program: str) -> Iterator[str]:
    """Return the node's paths of what a unit starts in another root, and of what it binds over other files."""
    for entry in unit.values("RootDirectory"):
        yield posixpath.normpath("{}/{}".format(entry.value, program))
    for key in ("BindPaths", "BindReadOnlyPaths"):
        for entry in unit.values(key):
            yield " ".join(word.lstrip("-") for word in entry.value.split())


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
        advice = INSTEAD.format(visible(path))
        return result(subject, FAIL, "a listed program", actual, "other-program", path, advice, component=component)
    if shell.is_wrapper(found.path) or component is None:
        actual = (
            "through {}".format(found.path)
            if shell.is_wrapper(found.path)
            else "{}, with options of a component".format(text)
        )
        return result(subject, UNKNOWN, "a listed program", actual, "wrapped", path, FOLLOW, component=component)
    return judge(subject, found, path, component)


def _judge_mount(unit: systemd.Unit, programs: Programs) -> Iterator[Result]:
    what, kind, options = (
        ",".join([entry.value for entry in unit.values(key)][-1:]) for key in ("What", "Type", "Options")
    )
    for entry in unit.values("Where"):
        yield from judge_mount(programs, unit.shown, entry.path, what, entry.value, kind, options)


def _judge_passed(unit: systemd.Unit, programs: Programs) -> Iterator[Result]:
    """Judge a program that a socket's unit opens for the service, which may start it by its descriptor."""
    for entry in unit.values("ListenSpecial"):
        for one in programs.builds_in(entry.value):
            advice = INSTEAD.format(visible(entry.path))
            yield result(
                unit.shown, FAIL, "no program", one.shown, "other-build", entry.path, advice, component=one.component
            )


def _not_started(results: Sequence[Result], programs: Programs, required: Set[str]) -> Iterator[Result]:
    """Return which daemons no unit starts: something that is not known as such may."""
    judged = {one.evidence.get("component") for one in results if one.status != NOT_APPLICABLE}
    for component in ("containerd", "kubelet"):
        if component in required and component in programs.host and component not in judged:
            advice = "Install its unit, or find out what starts it: RKE2 and k3s do, which cannot be followed."
            yield result(
                component, UNKNOWN, "a unit that starts it", "none", "no-unit", "", advice, component=component
            )
