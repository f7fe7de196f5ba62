"""The programs that containerd's configuration makes it start: runtimes, shims, CNI and NRI plugins.

Rules: containerd's docs/man/containerd-config.toml.5.md, docs/cri/config.md, pkg/shim (names of shims), docs/NRI.md.
"""

import json
import posixpath
import re
from typing import Any, Dict, Iterator, List, Sequence, Tuple

from ... import containerd, systemd, tree
from ...result import FAIL, UNKNOWN, Node, Result
from . import environment
from .kubelet import judge_directory
from .programs import LISTED, MISSING, OTHER, Programs
from .results import judge, result
from .starters import list_names

_CNI_CONFIGURATION = "/etc/cni/net.d"
_CNI_PROGRAMS = "/opt/cni/bin"
_NRI_PLUGINS = ("/opt/nri/plugins", "/opt/nri/bin")  # of containerd from 1.7 on, and before
_VERIFIERS = "/opt/containerd/image-verifier/bin"
_GO_PLUGINS = ("/var/lib/containerd/plugins", "/opt/containerd/plugins")
_SHIM_TYPE = re.compile(r"io\.containerd\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\Z")
_LEGACY_TYPES = ("io.containerd.runtime.v1.linux", "io.containerd.runtime-v1.linux")
_OPTIONAL = ("stream processor", "legacy runtime", "legacy shim")
_MAX_SPECIFICATION = 256 * 1024
# File systems of the kernel's in every container, as "ctr oci spec" prints them.
_KERNELS_TYPES = ("proc", "tmpfs", "devpts", "mqueue", "sysfs", "cgroup", "cgroup2")
_MAX_NETWORKS = 50
_MAX_SIZE = 64 * 1024


def check(node: Node, configured: containerd.Configuration, programs: Programs) -> List[Result]:
    """Judge every program that containerd is configured to start or starts by default; raises nothing."""
    search = [*configured.programs, *systemd.DEFAULT_PATH]
    results = configured.unread("startup")
    started = {program.value for program in configured.starts}
    for program in dict.fromkeys(configured.starts):
        results += _judge_program(program, configured, search, programs)
    for name in ("runc", "containerd-shim-runc-v2"):
        if name not in started and name in programs.names:
            found = programs.look_up(name, search)
            if found.status == OTHER:
                results.append(judge("{} (by PATH)".format(name), found, "", programs.names[name]))
    for variable, value, path in configured.shim_environment:
        results += environment.judge("shims of containerd", {variable: value}, path, "containerd", programs)
    results += _judge_libraries(node, search)
    for path in configured.specifications:
        results += _judge_specification(node, path, programs)
    return results + _judge_directories(node, configured, programs) + list(_judge_networks(node, configured))


def _judge_libraries(node: Node, search: Sequence[str]) -> List[Result]:
    """Judge the libraries that containerd gives its shims, and with them runc, before the system's (its opt plugin).

    On a running node the code of the shims is compared.
    """
    results: List[Result] = []
    for directory in [posixpath.dirname(one) + "/lib" for one in search if one.startswith("/opt/")]:
        names = [] if node.live else list_names(node, directory, results)
        if names:
            advice = "Remove them, unless runc and the shims need them: they are loaded before the system's libraries."
            actual = ", ".join(names[:8])
            results.append(
                result(directory, UNKNOWN, "no libraries", actual, "library-path", "", advice, component="containerd")
            )
    return results


def _judge_specification(node: Node, path: str, programs: Programs) -> Iterator[Result]:
    """Judge the specification that all containers of a runtime handler begin with (OCI runtime-spec, config.md)."""
    try:
        text = tree.read_small(node.root, path, _MAX_SPECIFICATION)
        document: Any = json.loads(text, object_pairs_hook=_as_go_reads)
        mounts = [
            str(one.get("destination"))
            for one in document.get("mounts") or []
            if one.get("type") not in _KERNELS_TYPES or {"bind", "rbind"}.intersection(one.get("options") or [])
        ]
        started = [name for name, hooks in (document.get("hooks") or {}).items() if hooks]
        variables = [one.partition("=") for one in (document.get("process") or {}).get("env") or []]
        values = {name: value for name, _, value in variables}
    except (OSError, tree.NotRegular, ValueError, TypeError, AttributeError, RecursionError):
        advice = "Make it readable: containerd makes every container from it."
        yield result(path, UNKNOWN, "a runtime specification", "unreadable", "configuration", "", advice)
        return
    for what, names in (("hooks", started), ("mounts", mounts)):
        if names:
            advice = "Remove its {}: they change every container, whatever its image holds.".format(what)
            actual = "{}: {}".format(what, ", ".join(names[:8]))
            yield result(path, UNKNOWN, "no {}".format(what), actual, "every-container", path, advice)
    yield from environment.judge(path, values, path, "containerd", programs)


def _as_go_reads(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    """Return an object with its keys in lower case, as Go matches them; raise `ValueError` where one is there twice."""
    found = {key.casefold(): value for key, value in pairs}
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def _judge_program(
    program: containerd.Program, configured: containerd.Configuration, search: Sequence[str], programs: Programs
) -> Iterator[Result]:
    name = program.value
    if program.kind == "shim type":
        if name in _LEGACY_TYPES:
            name = "containerd-shim"
        elif "/" not in name:
            match = _SHIM_TYPE.match(name)
            if match is None:
                advice = "Name a runtime of the form io.containerd.runc.v2 there."
                yield result(
                    "containerd", UNKNOWN, None, name, "shim-type", program.path, advice, component="containerd"
                )
                return
            name = "containerd-shim-{}-{}".format(*match.groups())
    found = programs.look_up(name, search)
    subject = "{} of {}".format(program.kind.replace(" type", ""), program.handler or "containerd")
    is_default = program.handler in ("", "runc", "default_runtime", *configured.default_handlers)
    if found.status == LISTED:
        yield judge(subject, found, program.path)
    elif found.status == MISSING and (program.kind in _OPTIONAL or "/" not in name):
        return  # containerd's own defaults name some that are not installed, and PATH leads to none
    elif program.kind == "stream processor" or (not is_default and posixpath.basename(name) not in programs.names):
        advice = "Remove the setting, unless you know the program: pods that ask for it are run by what is not listed."
        actual = "{}: {}".format(found.path, "not listed" if found.status == OTHER else found.status)
        yield result(
            subject,
            UNKNOWN,
            "a listed program",
            actual,
            "unlisted-program",
            program.path,
            advice,
            component="containerd",
        )
    else:
        yield judge(subject, found, program.path)


def _judge_directories(node: Node, configured: containerd.Configuration, programs: Programs) -> List[Result]:
    results: List[Result] = []
    named = [(one.kind, one.value, one.path) for one in configured.directories if one.kind != "cni configuration"]
    wanted = [("cni", _CNI_PROGRAMS, ""), ("verifiers", _VERIFIERS, "")]
    wanted += [("nri", directory, "") for directory in _NRI_PLUGINS]
    wanted += [("plugins", directory, "") for directory in _GO_PLUGINS]
    sources: Dict[Tuple[str, str], str] = {}
    for kind, directory, path in named + wanted:
        sources.setdefault((kind, posixpath.normpath(directory)), path)
    for (kind, directory), path in sources.items():
        if kind in ("cni", "verifiers"):
            results += judge_directory(node, directory, path, programs, "containerd")
            continue
        names = [name for name in list_names(node, directory, results) if not name.startswith(".")]
        if names:
            advice = "Remove them: containerd starts or loads them, and they may change every container."
            actual = ", ".join(names[:8])
            results.append(
                result(directory, UNKNOWN, "no plugins", actual, "plugins", path, advice, component="containerd")
            )
    return results


def _judge_networks(node: Node, configured: containerd.Configuration) -> Iterator[Result]:
    """Judge the CNI configurations: a plugin's ``type`` is a name in the plugins' directory, not a path.

    Plugins of other names belong to the cluster's network: no manifest lists them, and they are noted alone.
    """
    named = [one.value for one in configured.directories if one.kind == "cni configuration"]
    for directory in dict.fromkeys([*named, _CNI_CONFIGURATION]):
        unread: List[Result] = []
        names = [one for one in list_names(node, directory, unread) if one.endswith((".conf", ".conflist", ".json"))]
        if len(names) > _MAX_NETWORKS:
            actual, advice = "more than {} configurations".format(_MAX_NETWORKS), "Remove those that are not used."
            unread.append(result(directory, UNKNOWN, None, actual, "too-many", "", advice))
        yield from unread
        for name in names[:_MAX_NETWORKS]:
            path = posixpath.join(directory, name)
            try:
                document: Any = json.loads(tree.read_small(node.root, path, _MAX_SIZE))
                kinds = [str(one["type"]) for one in document.get("plugins", [document]) if "type" in one]
            except (OSError, tree.NotRegular, ValueError, TypeError, AttributeError, RecursionError):
                advice = "Make it readable: containerd starts the plugins that it names."
                yield result(path, UNKNOWN, "a CNI configuration", "unreadable", "configuration", "", advice)
                continue
            for kind in [one for one in kinds if "/" in one]:
                advice = "Name a plugin of {} there.".format(_CNI_PROGRAMS)
                yield result(path, FAIL, "a plugin's name", kind, "other-program", path, advice, component="containerd")
