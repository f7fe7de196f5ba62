"""What the kubelet's options and configuration make it start: its container runtime, static pods and plugins.

Rules: kubelet(1)'s options and KubeletConfiguration v1beta1; an option on the command line counts before the file.
"""

import errno
import itertools
import os
import posixpath
import re
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ....trust.text import visible
from ... import static_pods, systemd, tree
from ...formats import yaml
from ...result import FAIL, NOT_APPLICABLE, UNKNOWN, Listed, Node, Result
from . import starters
from .programs import OTHER, Programs
from .results import result
from .units import Daemon

# kubelet's option -> its name in the configuration, in lower case (Go matches keys in any case).
_OPTIONS = {
    "container-runtime-endpoint": "containerruntimeendpoint",
    "image-service-endpoint": "imageserviceendpoint",
    "pod-manifest-path": "staticpodpath",
    "manifest-url": "staticpodurl",
    "volume-plugin-dir": "volumeplugindir",
    "image-credential-provider-bin-dir": "imagecredentialproviderbindir",
    "config": "",
    "config-dir": "",
    "dynamic-config-dir": "",
    "docker-endpoint": "",
    "cni-bin-dir": "",
    "kubeconfig": "",
    "bootstrap-kubeconfig": "",
    "container-runtime": "",
}
_SOCKETS = ("/run/containerd/containerd.sock", "/var/run/containerd/containerd.sock")
# Before this version the kubelet has a runtime of its own, for Docker, and uses it unless an option says otherwise
# (KEP-2221, dockershim removal).
_ALWAYS_REMOTE = (1, 24)
_VERSION = re.compile(r"v?([0-9]{1,4})\.([0-9]{1,4})")
_SUBJECT = "kubelet (configuration)"
_MAX_FILES = 100
_MAX_DEPTH = 8
# The kubelet searches it, with a directory VENDOR~DRIVER for each driver (docs of flexvolume).
_VOLUME_DRIVERS = "/usr/libexec/kubernetes/kubelet-plugins/volume/exec"
# A credential plugin of a kubeconfig (client-go, "exec"): a path, one relative to the file, or a name in PATH.
_PLUGIN = re.compile(r"\bcommand['\"]?\s*:\s*['\"]?([^\s'\"]+)")
# What of a configuration file is relative to the file's own directory (pkg/kubelet/kubeletconfig/configfiles).
_RELATIVE = ("staticpodpath",)


class Settings(NamedTuple):
    """The kubelet's settings."""

    values: Dict[str, List[Tuple[str, str]]]
    """Setting, in lower case -> its values, each with the file that says so."""
    results: Tuple[Result, ...]
    """What of it cannot be read."""
    by_default: Tuple[str, ...]
    """Files that start a kubelet, configured for a cluster, without naming the kind of its container runtime."""

    def set_to(self, *names: str) -> List[Tuple[str, str]]:
        """Return the values that are not empty of the named settings, each with the file that says so."""
        return [one for name in names for one in self.values.get(name, []) if one[0]]


def read(node: Node, daemons: Sequence[Daemon]) -> Settings:
    """Return the settings of every kubelet that a unit starts; raises nothing. Whatever could be in force counts."""
    values: Dict[str, List[Tuple[str, str]]] = {}
    results: List[Result] = []
    files: List[str] = []
    by_default: List[str] = []
    for daemon in daemons:
        if daemon.name != "kubelet":
            continue
        if not daemon.exact:
            advice = "Write the options there without specifiers."
            results.append(_unknown("its options are not known exactly", daemon.path, advice))
        options = list(_options(daemon.arguments))
        # Before it joins a cluster a node has no configuration, and its kubelet does not start.
        if "container-runtime" not in dict(options) and _exists(node, dict(options).get("config", "")):
            by_default.append(daemon.path)
        for name, value in options:
            if name in ("config", "config-dir", "pod-manifest-path") and value[:1] not in ("", "/"):
                results.append(_unknown("--{} is no absolute path".format(name), daemon.path, "Write it as one."))
            values.setdefault(_OPTIONS[name] or name, []).append((value, daemon.path))
            files += [value] if name == "config" else _drop_ins(node, value, results) if name == "config-dir" else []
    if len(files) > _MAX_FILES:
        results.append(_unknown("more than {} files".format(_MAX_FILES), "", "Put its settings into one file."))
    for path in dict.fromkeys(files[:_MAX_FILES]):
        _read_file(node, path, values, results)
    return Settings(values, tuple(results), tuple(by_default))


def _exists(node: Node, path: str) -> bool:
    try:
        tree.resolve(node.root, path)
    except OSError:
        return False
    return path.startswith("/")


def _options(words: Sequence[str]) -> Iterator[Tuple[str, str]]:
    for word, following in zip(words, (*words[1:], "")):  # noqa: B905 - new in Python 3.10
        name, equals, value = word[2:].partition("=")
        # pflag takes an underscore for a hyphen (k8s.io/component-base/cli/flag).
        name = name.replace("_", "-")
        if word.startswith("--") and name in _OPTIONS:
            yield name, value if equals else following


def _drop_ins(node: Node, directory: str, results: List[Result]) -> List[str]:
    """Return the files of a directory of drop-ins and of those below it, as filepath.WalkDir finds them."""
    found: List[str] = []
    waiting = [(directory, 0)]
    while waiting and len(found) <= _MAX_FILES:
        place, depth = waiting.pop()
        try:
            with os.scandir(tree.resolve(node.root, place)) as listed:
                entries = sorted(itertools.islice(listed, _MAX_FILES + 1), key=lambda entry: entry.name)
            if len(entries) > _MAX_FILES:
                results.append(
                    _unknown("more than {} files".format(_MAX_FILES), place, "Put its settings into one file.")
                )
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                results.append(_unknown("unreadable", place, "Run it as root."))
            continue
        for entry in entries:
            path = posixpath.join(place, os.fsdecode(entry.name))
            if entry.is_dir(follow_symlinks=False) and depth < _MAX_DEPTH:
                waiting.append((path, depth + 1))
            elif entry.is_dir(follow_symlinks=False):
                results.append(_unknown("too many directories in one another", place, "Make it plain."))
            elif path.endswith(".conf"):
                found.append(path)
    return found


def _read_file(node: Node, path: str, values: Dict[str, List[Tuple[str, str]]], results: List[Result]) -> None:
    advice = "Make it readable and plain, or run as root."
    try:
        document: Any = yaml.read(tree.read_small(node.root, path, yaml.MAX_SIZE + 1))
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            results.append(_unknown("unreadable", path, advice))
        return
    except (tree.NotRegular, yaml.Malformed) as error:
        results.append(_unknown("it cannot be read exactly: {}".format(error), path, advice))
        return
    for key, value in document.items() if isinstance(document, dict) else ():
        name = key.casefold()
        if name in _OPTIONS.values():
            known = isinstance(value, str)
            value = value if known and value not in ("null", "~") else ""
            if value and name in _RELATIVE:
                value = posixpath.join(posixpath.dirname(path), value)
            values.setdefault(name, []).append((value, path))
            if not known:
                results.append(_unknown("{} is no text".format(visible(key, 60)), path, advice))


def _unknown(actual: str, path: str, advice: str) -> Result:
    return result(_SUBJECT, UNKNOWN, None, actual, "configuration", path, advice, component="kubelet")


def check(
    node: Node, manifests: Sequence[Listed], settings: Settings, programs: Programs, sockets: Sequence[str]
) -> List[Result]:
    """Judge what the kubelet is configured to start; ``sockets`` are those of containerd's configuration."""
    return [
        *settings.results,
        *_judge_default_runtime(settings, manifests),
        *_judge_runtime(settings, sockets),
        *_judge_pods_from_network(settings),
        *_judge_plugins(node, settings, programs),
    ]


def _judge_default_runtime(settings: Settings, manifests: Sequence[Listed]) -> Iterator[Result]:
    versions = [_VERSION.match(str(one.manifest.get("kubernetes"))) for one in manifests]
    if all(one is not None and (int(one.group(1)), int(one.group(2))) < _ALWAYS_REMOTE for one in versions):
        for path in settings.by_default:
            advice = "Add --container-runtime=remote to its options: it uses Docker otherwise."
            yield result(
                _SUBJECT, UNKNOWN, "remote", "docker, by default", "other-runtime", path, advice, component="kubelet"
            )


def _judge_runtime(settings: Settings, sockets: Sequence[str]) -> Iterator[Result]:
    for value, path in settings.set_to("container-runtime"):
        if value != "remote":
            advice = "Set it to remote, and name containerd's socket: another runtime is not in the manifest."
            yield result(_SUBJECT, UNKNOWN, "remote", value, "other-runtime", path, advice, component="kubelet")
    usual = (*_SOCKETS, *sockets)
    for value, path in settings.set_to("containerruntimeendpoint", "imageserviceendpoint"):
        socket = value[7:] if value.startswith("unix://") else value
        if tree.leads_up(socket) or posixpath.normpath(socket) not in usual:
            advice = "Name containerd's socket there: what listens elsewhere is not in the manifest."
            yield result(_SUBJECT, UNKNOWN, usual[0], value, "other-runtime", path, advice, component="kubelet")


def _judge_pods_from_network(settings: Settings) -> Iterator[Result]:
    for value, path in settings.set_to("staticpodurl"):
        advice = "Remove it: what pods the kubelet gets from there is not known."
        yield result(
            _SUBJECT, UNKNOWN, "static pods from files", value, "pods-from-network", path, advice, component="kubelet"
        )
    for value, path in settings.set_to("dynamic-config-dir"):
        # Until v1.23 (KEP-281): a ConfigMap that the Node object names replaces the whole configuration.
        advice = "Remove --dynamic-config-dir: the kubelet takes its settings from the API server with it."
        actual = "--dynamic-config-dir={}".format(value)
        yield result(
            _SUBJECT, UNKNOWN, "settings from files", actual, "configuration", path, advice, component="kubelet"
        )


def _judge_plugins(node: Node, settings: Settings, programs: Programs) -> Iterator[Result]:
    """Credential providers and volume drivers are not the release's: noted, unless one has a component's name."""
    for value, path in settings.set_to("imagecredentialproviderbindir", "cni-bin-dir"):
        yield from judge_directory(node, value, path, programs, "kubelet")
    for value, path in [*settings.set_to("volumeplugindir"), (_VOLUME_DRIVERS, "")]:
        unread: List[Result] = []
        names = starters.list_names(node, value, unread)
        yield from unread
        for directory in (value, *(posixpath.join(value, name) for name in names[:_MAX_FILES] if "~" in name)):
            yield from judge_directory(node, directory, path, programs, "kubelet")
        if len(names) > _MAX_FILES:
            yield _unknown("more than {} files".format(_MAX_FILES), value, "Remove the drivers that are not used.")
    files = [value for value, _ in settings.set_to("kubeconfig", "bootstrap-kubeconfig")]
    unread = []
    for file, text in starters.read_texts(node, files, unread):
        found = (programs.look_up(name, systemd.DEFAULT_PATH).path for name in _PLUGIN.findall(text))
        called = " ".join(posixpath.normpath(posixpath.join(posixpath.dirname(file), one)) for one in found)
        yield from starters.judge_text(file, "{}\n{}".format(text, called), programs)
    yield from unread


def judge_directory(node: Node, directory: str, path: str, programs: Programs, component: str) -> Iterator[Result]:
    """Judge a directory of plugins: one with a listed program's name has to be that, others no build of a component.

    Further builds of components that are plugins themselves are noted, as are all other programs.
    """
    try:
        names = tree.list_names(node.root, directory)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            told = error.strerror if error.errno == errno.EFBIG else "unreadable"
            yield result(directory, UNKNOWN, "readable", str(told), "unreadable", path, "Run it as root.")
        return
    noted = []
    for name in names:
        found = programs.find(posixpath.join(directory, name))
        if found.status != OTHER or not programs.node_files.is_program(found.path):
            continue
        if name in programs.names:
            advice = "Remove it, or put the release's own program there."
            actual = "{}, which the manifest does not list".format(found.path)
            yield result(
                found.path, FAIL, "a listed program", actual, "other-program", path, advice, component=component
            )
            continue
        # Its directory says nothing of what it is; its build info does.
        build = programs.build_of(found.path) or _started_by(found.path, programs)
        if build is not None and not programs.is_plugin(build):
            actual = "{}, another build of {}".format(found.path, build)
            advice = "Remove it, and find out who put it there."
            yield result(found.path, FAIL, "a plugin", actual, "other-build", path, advice, component=build)
        else:
            noted.append(name)
    if noted:
        actual = "not in the manifest: {}".format(", ".join(noted[:16]))
        yield result(directory, NOT_APPLICABLE, None, actual, "plugins", path, component=component)


def _started_by(path: str, programs: Programs) -> Optional[str]:
    """Return the component that a script starts another build of; None for any other file."""
    script = programs.node_files.script(path)
    builds = programs.builds_in(programs.texts.followed(script, path)) if script is not None else ()
    return next((one.component for one in builds), None)


def static_pod_directories(settings: Settings) -> List[Tuple[str, str]]:
    """Return the directories of static pods, each with the file that names it; kubeadm's own in any case."""
    named = [(value, path) for value, path in settings.set_to("staticpodpath")]
    return list(dict([(static_pods.DIRECTORY, ""), *named]).items())
