"""What the node starts: systemd's units, the kubelet's and containerd's configuration, static pods.

The files check says that the listed programs are right. This one says that they are what is started: each command of a
component resolves to a listed program, or it fails, or is unknown.
"""

from typing import Any, Dict, List, Sequence

from ... import containerd, systemd
from ...result import NOT_APPLICABLE, UNKNOWN, Listed, Node, Result, wanted_components
from . import (
    environment,
    kubelet,
    mentions,
    places,
    programs,
    restarted,
    running,
    runtime,
    starters,
    static_pods,
    units,
)
from .results import ID, result

_LARGE = "Find out what it is, and remove it where nothing needs it: it may be another build of a component."


def check(node: Node, manifests: Sequence[Listed]) -> List[Result]:
    """Judge what the node starts; raises nothing."""
    known = programs.Programs(node, manifests)
    required = {name for listed in manifests for name in wanted_components(listed, node.role).here}
    tree_of_units = systemd.Units(node.root)
    loaded = tree_of_units.load_all()
    started = units.check(loaded, known, required)
    found_running = running.find(node, known)
    # What a unit starts with the same options counts once.
    by_units = {(one.name, one.arguments) for one in started.daemons}
    different = {(one.daemon.name, one.daemon.arguments): one for one in found_running}
    others = [one for key, one in different.items() if key not in by_units]
    configured = containerd.read(node.root, loaded, running.commands(others, "containerd"))
    searched = [path for one in found_running if one.daemon.name == "containerd" for path in one.search_path]
    configured = configured._replace(programs=(*configured.programs, *searched))
    settings = kubelet.read(node, [*started.daemons, *(one.daemon for one in others)])
    results = [
        *_unreadable(tree_of_units.doubts),
        *started.results,
        *starters.check(node, known, units.unset_variables(loaded, known)),
        *places.check(node, known),
        *environment.preloaded(node),
        *environment.redirected(node),
        *environment.services(node),
        *kubelet.check(node, manifests, settings, known, configured.sockets),
        *runtime.check(node, configured, known),
        *restarted.check(node, known),
        *static_pods.judge_sandboxes(node, manifests, configured.sandboxes),
        *static_pods.check(
            node,
            manifests,
            kubelet.static_pod_directories(settings),
            known,
            required.difference(one.component for one in started.daemons),
        ),
    ]
    results += mentions.check(node, known, results)
    results += [
        result(path, UNKNOWN, "a program that can be searched", why, "too-large", path, _LARGE)
        for path, why in sorted(known.node_files.unexamined.items())
    ]
    found = _unique(results)
    return found or [Result(ID, ID, NOT_APPLICABLE, actual="no units, static pods or configuration of containerd")]


def _unreadable(doubts: Sequence[str]) -> List[Result]:
    return [
        result("systemd", UNKNOWN, "units that can be read", doubt, "unit", "", "Run it as root.") for doubt in doubts
    ]


def _unique(results: Sequence[Result]) -> List[Result]:
    found: Dict[Any, Result] = {}
    for one in results:
        found.setdefault((one.subject, one.status, one.actual, str(one.evidence)), one)
    return list(found.values())
