"""What containers run from: the snapshots that are mounted, and what crictl or ctr say.

An image of a component that no manifest lists may lie on a node (an older release's); it is a finding once a
container runs from it. The kernel's list of mounts tells which snapshots are in use, without asking containerd. crictl
and ctr list which containers run; containerd's databases have what they run from, as a name may have been given
to another image since.
"""

import contextlib
import json
import os
import re
from typing import Any, Dict, FrozenSet, List, NamedTuple, Optional, Sequence, Set, Tuple

from ....trust.text import visible
from ... import containerd, helper, tree
from ...containerd import bolt
from ...result import FAIL, NOT_APPLICABLE, PASS, UNKNOWN, Node, Result, of_component
from .. import container_pods
from ..container_pods import Pod
from . import snapshots
from .listed import ID

_MAX_MOUNTS = 32 * 1024 * 1024
_MAX_NAMED = 8
_SECONDS = 10.0
_SOCKET = "run/containerd/containerd.sock"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
# An overlay's directories (overlayfs.rst of Linux), and the numbers in them: containerd shortens long lists to paths
# relative to the directory of all snapshots.
_UPPER = re.compile(r"[,\s](upperdir=[^,\s]*)", re.ASCII)
_LOWER = re.compile(r"[,\s](lowerdir\+?=[^,\s]*)", re.ASCII)
_IN_USE = re.compile(r"(?:[=:/]|^)([0-9]+)/fs(?=[:,\s]|$)", re.ASCII)
_DIRECTORY = re.compile(r"[=:](/[^:,\s]*)/[0-9]+/fs(?=[:,\s]|$)", re.ASCII)
_PAUSE = (
    "Set sandbox_image to {0} in /etc/containerd/config.toml (containerd 2: sandbox, under pinned_images), restart "
    "containerd, and delete the pods that run from the other image, so that they are made again."
)
_REPLACE = (
    "Find out who started it, and let its pod run from {0}: name that image where the pod is defined; where it is "
    "named there, pull it again and delete the pod, so that it is made again from it."
)

ELSEWHERE = (
    "Only /var/lib/containerd is inspected: make it a link to that directory, or leave this out with --skip images."
)


class Known(NamedTuple):
    """A listed image, as containers are compared with it."""

    manifest: str
    """The manifest that lists it, by name."""
    component: str
    reference: str
    identities: FrozenSet[str]
    chains: FrozenSet[str]
    """Of each platform's unpacked layers; none where neither the manifest nor the configuration tells."""
    programs: Dict[str, FrozenSet[str]]
    """Path of each of the component's own programs -> the digests that it may have in any listed image."""


class _Container(NamedTuple):
    id: str
    name: str
    image: str
    """The name that it was started by."""
    digests: FrozenSet[str]
    """What the runtime resolved the name to."""
    pod: Optional[Pod] = None
    """As crictl tells it."""


class _Mounted(NamedTuple):
    stacks: Set[Tuple[int, ...]]
    """Numbers of the snapshots that are mounted upon one another, topmost first."""
    elsewhere: Set[str]
    """Other directories of snapshots that this node mounts from."""


def check(node: Node, known: Sequence[Known], unpacked: snapshots.Snapshots) -> List[Result]:
    """Judge what runs by mounts, and by crictl or ctr where there is one; raises nothing."""
    keys, owners = _snapshot_keys(node), container_pods.read(node)
    mounted = _mounted(node, known, unpacked, _by_snapshot(unpacked, keys, owners))
    return mounted + _told(node, known, unpacked, keys, owners)


def workloads(node: Node, unpacked: snapshots.Snapshots) -> Set[int]:
    """Return the numbers of the snapshots of applications' containers."""
    owned = _by_snapshot(unpacked, _snapshot_keys(node), container_pods.read(node))
    return {number for number, pod in owned.items() if pod.is_workload}


def _by_snapshot(unpacked: snapshots.Snapshots, keys: Dict[str, str], owners: Dict[str, Pod]) -> Dict[int, Pod]:
    """Return the pod of each container's own snapshot, by the snapshot's number."""
    numbers = {name.split("/", 2)[-1]: one.number for name, one in (unpacked.kept or {}).items() if _is_own(name)}
    return {numbers[key]: owners[one] for one, key in keys.items() if one in owners and key in numbers}


def _is_own(name: str) -> bool:
    return name.startswith(container_pods.NAMESPACE + "/")


def advice_for(references: Sequence[str]) -> str:
    """Describe how a container is made to run from one of these images: a pod's own one is containerd's to choose."""
    named = " or ".join(sorted(set(references)))
    return (_PAUSE if all(_repository(one) == "pause" for one in references) else _REPLACE).format(visible(named, 200))


def _advice(component: str, known: Sequence[Known]) -> str:
    return advice_for([one.reference for one in known if one.component == component])


# ---- mounts --------------------------------------------------------------------------------------------------------


def _mounted(node: Node, known: Sequence[Known], unpacked: snapshots.Snapshots, owners: Dict[int, Pod]) -> List[Result]:
    """Compare the components' programs in the file systems that are running containers' roots."""
    mounted = _in_use(node)
    if mounted is None:
        advice = "Run it as root, and in a container in the host's PID namespace."
        return [Result(ID, "mounts", UNKNOWN, "a list", "not readable", {"code": "mounts"}, advice)]
    numbers = {place: number for number, place in unpacked.places.items()}
    found: Dict[Tuple[str, str], Result] = {}
    if mounted.elsewhere:
        named = [visible(one) for one in sorted(mounted.elsewhere)[:_MAX_NAMED]]
        subject, told = "mounts", "containers run from {}".format(", ".join(named))
        evidence: Dict[str, Any] = {"code": "other-root", "folders": named}
        found[subject, ""] = Result(ID, subject, UNKNOWN, containerd.OVERLAYFS, told, evidence, ELSEWHERE)
    for stack in sorted(mounted.stacks):
        layers = [unpacked.places[number] for number in stack if number in unpacked.places]
        pod = owners.get(stack[0])
        if pod is not None and pod.is_workload:
            # An application may have an etcd of its own; what listens on a component's port is compared as a process.
            continue
        for (path, component), allowed in sorted(_programs(known).items() if layers else ()):
            copy = snapshots.look(node, layers, path)
            if copy.problem == "missing" or copy.sha256 in allowed:
                continue
            number = next((numbers[one] for one in layers if copy.place.startswith(one + b"/")), stack[0])
            evidence = of_component({"code": "running-snapshot", "snapshot": number, "path": visible(path)}, component)
            if pod is not None:
                evidence["pod_name"] = visible(pod.shown)
            expected = visible(" or ".join("sha256:" + one for one in sorted(allowed)), 400)
            subject = "{} (snapshot {}, in use)".format(visible(component), number)
            status = UNKNOWN if copy.is_hidden else FAIL
            advice = copy.advice if copy.is_hidden else _advice(component, known)
            found[subject, path] = Result(ID, subject, status, expected, copy.shown, evidence, advice)
    return [found[key] for key in sorted(found)]


def _programs(known: Sequence[Known]) -> Dict[Tuple[str, str], FrozenSet[str]]:
    return {(path, one.component): allowed for one in known for path, allowed in one.programs.items()}


def _in_use(node: Node) -> Optional[_Mounted]:
    """Return what mounted overlays are made of; None if that cannot be determined."""
    text = _mounts()
    if text is None:
        return None
    found = _Mounted(set(), set())
    usual = containerd.OVERLAYFS + "/snapshots"
    for options in (line.partition(" - overlay ")[2] for line in text.splitlines()):
        others = {one for one in _DIRECTORY.findall(options) if not containerd.is_same(node.root, one, usual)}
        if others:
            found.elsewhere.update(one for one in others if _is_of_node(node, one))
            continue
        # Relative ones alone may be ours.
        upper = [_IN_USE.findall(one) for one in _UPPER.findall(options)]
        lower = [_IN_USE.findall(one) for one in _LOWER.findall(options)]
        found.stacks.add(tuple(int(number) for numbers in upper + lower for number in numbers))
    found.stacks.discard(())
    return found


def _mounts() -> Optional[str]:
    """Return the machine's mounts (proc_pid_mountinfo(5)); None if they cannot be read, or are too many."""
    for path in ("/proc/1/mountinfo", "/proc/self/mountinfo"):
        try:
            text = tree.read_small("/", path, _MAX_MOUNTS)
        except (OSError, tree.NotRegular):
            continue
        return text if len(text) < _MAX_MOUNTS else None
    return None


def _is_of_node(node: Node, directory: str) -> bool:
    """Return whether a directory is the node's, and not one outside the node's root that only this process sees.

    The kernel lists every mount of the machine, whichever tree on it is the node's.
    """
    base = os.path.join(os.path.realpath(os.fsencode(node.root)), b"")
    with contextlib.suppress(OSError):
        tree.resolve(node.root, directory)
        return True
    with contextlib.suppress(OSError):
        return tree.resolve("/", directory).startswith(base)
    return True


# ---- crictl and ctr ------------------------------------------------------------------------------------------------


def _told(
    node: Node,
    known: Sequence[Known],
    unpacked: snapshots.Snapshots,
    keys: Dict[str, str],
    owners: Dict[str, Pod],
) -> List[Result]:
    program = helper.find("crictl") or helper.find("ctr")
    if program is None:
        return []
    socket = os.path.join(node.root, _SOCKET)
    try:
        if not os.path.exists(socket):  # where there is none, ctr waits for it to be made
            raise helper.HelperFailed("does not find {}".format(socket))
        running = _by_crictl(program, socket) if program.endswith("crictl") else _by_ctr(program, socket)
    except (helper.HelperFailed, ValueError, TypeError, AttributeError, RecursionError) as error:
        told = str(error) if isinstance(error, helper.HelperFailed) else "gives no list that can be read"
        advice = "Look whether containerd runs; containers are compared by their mounts and processes alone."
        return [Result(ID, "containers", UNKNOWN, "a list", visible(told), {"program": program}, advice)]
    chains = unpacked.chains(container_pods.NAMESPACE)
    results: List[Result] = []
    for one in running:
        pod = owners.get(one.id) or one.pod
        results += _judge(one, pod, chains.get(keys.get(one.id, "")), known, program)
    return results


def _snapshot_keys(node: Node) -> Dict[str, str]:
    """Return the name of each container's own snapshot; none where the database does not tell."""
    with contextlib.suppress(OSError, bolt.Malformed, bolt.Busy):
        found = bolt.read(tree.resolve(node.root, container_pods.METADATA), (*container_pods.BUCKETS, b"containers"))
        return {
            container_pods.text(name): container_pods.text(one.get(b"snapshotKey", b"")) for name, one in found.items()
        }
    return {}


def _by_crictl(program: str, socket: str) -> List[_Container]:
    # Its configuration may name another service for images.
    endpoints = [word for kind in ("runtime", "image") for word in ("--{}-endpoint".format(kind), "unix://" + socket)]
    base = [program, *endpoints, "--timeout", "5s"]
    listed = _rows(helper.run(base + ["ps", "--output", "json"], _SECONDS), "containers")
    names: Dict[str, str] = {}
    if any(_reference(one).startswith("sha256:") for one in listed):
        # The kubelet starts containers by the digest of the configuration, which does not tell whose image it is.
        for one in _rows(helper.run(base + ["images", "--output", "json"], _SECONDS), "images"):
            told = list(one.get("repoTags") or []) + list(one.get("repoDigests") or [])
            names[str(one.get("id"))] = str(told[0]) if told else ""
    found = []
    for one in listed:
        reference = _reference(one)
        # What the pod asks for is only what its author wrote.
        resolved = _DIGEST.findall("{} {}".format(one.get("imageRef"), one.get("imageId")))
        name = str((one.get("metadata") or {}).get("name"))
        digests = frozenset(resolved or _DIGEST.findall(reference))
        found.append(_Container(str(one.get("id")), name, names.get(reference) or reference, digests, _pod(one, name)))
    return found


def _pod(container: Dict[str, Any], name: str) -> Optional[Pod]:
    labels = container.get("labels") or {}
    told = [str(labels.get("io.kubernetes.pod." + one) or "") for one in ("namespace", "name", "uid")]
    return Pod(told[0], told[1], name, told[2]) if told[0] else None


def _reference(container: Dict[str, Any]) -> str:
    image = container.get("image") or {}
    return str(image.get("userSpecifiedImage") or image.get("image") or "")


def _rows(output: bytes, name: str) -> List[Dict[str, Any]]:
    """Read what crictl lists; raises `ValueError` or `RecursionError` where it is no list."""
    found = json.loads(output.decode("utf-8", "replace")).get(name)
    if not isinstance(found, list):
        raise ValueError(name)
    return found


def _by_ctr(program: str, socket: str) -> List[_Container]:
    base = [program, "--address", socket, "--timeout", "5s", "--namespace", container_pods.NAMESPACE]
    tasks = _table(helper.run(base + ["tasks", "ls"], _SECONDS), "TASK")
    running = {row[0] for row in tasks if row[-1] != "STOPPED"}
    containers = _table(helper.run(base + ["containers", "ls"], _SECONDS), "CONTAINER")
    return [_Container(row[0], row[0], row[1], frozenset()) for row in containers if len(row) > 1 and row[0] in running]


def _table(output: bytes, heading: str) -> List[List[str]]:
    """Split a table of ctr into words, without its heading; raises `ValueError` where that is not there."""
    lines = [line.split() for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    if not lines or lines[0][0] != heading:
        raise ValueError(heading)
    return lines[1:]


def _judge(
    running: _Container, pod: Optional[Pod], chain: Optional[str], known: Sequence[Known], program: str
) -> List[Result]:
    """Compare a container's layers, or else its image, with the listed ones; nothing where it is of no component."""
    name = pod.container if pod is not None and pod.container else running.name
    claimed = [one for one in known if one.component == name or (pod is not None and pod.is_of(one.component))]
    alike = [one for one in known if _repository(running.image) == _repository(one.reference)]
    candidates = [one for one in known if one in claimed or one in alike]
    subject = "{} (container)".format(visible(name, 80))
    evidence: Dict[str, Any] = {"program": program, "image": visible(running.image, 300)}
    if pod is not None:
        evidence.update(pod_name=visible(pod.shown), container=visible(running.id))
        if pod.is_workload:
            told = "an application's, in another pod"
            evidence["code"] = "workload"
            return [Result(ID, subject, NOT_APPLICABLE, None, told, evidence)] if candidates else []
    told_by = running.digests if chain is None else {chain}
    matching = [(one, sorted(told_by & (one.identities if chain is None else one.chains))) for one in known]
    matching = [(one, same) for one, same in matching if same]
    # A listed image that runs in another component's place is not that component.
    fitting = [one for one in matching if not (pod and claimed) or one[0].component in {c.component for c in claimed}]
    if fitting:
        one, same = fitting[0]
        evidence = of_component(dict(evidence, matched=same[0], manifest=one.manifest), one.component)
        return [Result(ID, subject, PASS, one.reference, same[0], evidence)]
    if not candidates:
        return []
    evidence = of_component(evidence, candidates[0].component)
    expected = visible(" or ".join(one.reference for one in candidates), 600)
    if not told_by or (chain is not None and not all(one.chains for one in candidates)):
        evidence["code"] = "image-not-told"
        advice = "Run it again; if it says the same, delete its pod, so that it is made again."
        actual = "from what image it runs cannot be determined"
        return [Result(ID, subject, UNKNOWN, expected, actual, evidence, advice)]
    evidence["code"] = "unlisted-image"
    advice = advice_for([one.reference for one in candidates])
    return [Result(ID, subject, FAIL, expected, ", ".join(sorted(told_by)), evidence, advice)]


def _repository(reference: str) -> str:
    """Return a reference's last part without tag and digest: ``kube-apiserver``."""
    return reference.partition("@")[0].rpartition("/")[2].partition(":")[0]
