"""What containers run from: the snapshots that are mounted, and what crictl or ctr say.

An image of a component that no manifest lists may lie on a node (an older release's); it is a finding once a
container runs from it. The kernel's list of mounts tells which snapshots are in use, without asking containerd.
"""

import errno
import json
import os
import re
import stat
from typing import Any, Dict, FrozenSet, List, NamedTuple, Optional, Sequence, Set, Tuple

from .. import helper, tree
from ..result import FAIL, PASS, UNKNOWN, Node, Result
from ..text import visible

ID = "images"

_CONTAINERD = "/var/lib/containerd"
_SNAPSHOTTER = "io.containerd.snapshotter.v1."
_SNAPSHOTS = _CONTAINERD + "/" + _SNAPSHOTTER + "overlayfs/snapshots"
_MAX_SNAPSHOTS = 20000
_MAX_FILE = 4 * 1024 * 1024 * 1024
_MAX_MOUNTS = 32 * 1024 * 1024
_SECONDS = 10.0
_SOCKET = "run/containerd/containerd.sock"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
# Each of an overlay's folders; containerd shortens long lists to paths relative to the folder of all snapshots.
_IN_USE = re.compile(r"(?:[=:/]|^)([0-9]+)/fs(?=[:,\s]|$)", re.ASCII)
_FOLDER = re.compile(r"[=:](/[^:,\s]*)/[0-9]+/fs(?=[:,\s]|$)", re.ASCII)
_REPLACE = "Find out who started it, and run the release's own image."


class Known(NamedTuple):
    """A listed image, as containers are compared with it."""

    component: str
    reference: str
    identities: FrozenSet[str]
    programs: Dict[str, FrozenSet[str]]
    """Path of each of the component's own programs -> the digests that it may have in any listed image."""


class _Container(NamedTuple):
    name: str
    image: str
    digests: FrozenSet[str]


def check(node: Node, known: Sequence[Known], unpacked: Sequence[bytes]) -> List[Result]:
    """Judge what runs by mounts, and by crictl or ctr where there is one; raises nothing.

    ``unpacked`` are the node's snapshots, as `snapshots` gives them.
    """
    return _mounted(node, known, unpacked) + _told(node, known)


# ---- snapshots -----------------------------------------------------------------------------------------------------


def snapshots(node: Node) -> List[bytes]:
    """Give the folders that layers are unpacked to, by number; raises `OSError` where it cannot be told."""
    try:
        folder = tree.resolve(node.root, _SNAPSHOTS)
        numbers = [name for name in os.listdir(folder) if name.isdigit()]
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return []
        raise
    if len(numbers) > _MAX_SNAPSHOTS:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    places = [os.path.join(folder, name, b"fs") for name in sorted(numbers, key=int)]
    return [place for place in places if os.path.isdir(place)]


def other_snapshotters(node: Node) -> List[str]:
    """Name those beside overlayfs that layers are unpacked by; raises `OSError` where it cannot be told."""
    folder = tree.resolve(node.root, _CONTAINERD)
    prefix = os.fsencode(_SNAPSHOTTER)
    found = []
    for name in sorted(name for name in os.listdir(folder) if name.startswith(prefix)):
        place = os.path.join(folder, name, b"snapshots")
        if name != prefix + b"overlayfs" and os.path.isdir(place) and os.listdir(place):
            found.append(os.fsdecode(name[len(prefix) :]))
    return found


def digest_in(node: Node, snapshot: bytes, path: str) -> Optional[str]:
    """Hash one snapshot's copy of a file: hex, None where it has none, or ``not:`` and why it is not a file."""
    try:
        found = node.digests.of(tree.resolve(os.fsdecode(snapshot), path), _MAX_FILE)
    except OSError as error:
        missing = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
        return None if missing else "not:" + errno.errorcode.get(error.errno or 0, "unreadable")
    except tree.NotRegular as error:
        # A character device of number 0/0 says that an upper layer deletes the file (overlayfs).
        return None if _is_whiteout(snapshot, path) else "not:" + str(error)
    except tree.Unstable:
        return "not:changing"
    return found.sha256 or "not:{} bytes".format(found.size)


def _is_whiteout(snapshot: bytes, path: str) -> bool:
    try:
        status = os.lstat(tree.resolve(os.fsdecode(snapshot), path))
    except OSError:
        return False
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _mounted(node: Node, known: Sequence[Known], unpacked: Sequence[bytes]) -> List[Result]:
    """Look at the programs in the snapshots that a running container's root is made of."""
    if not unpacked:
        return []
    numbers = _in_use(node, os.path.dirname(os.path.dirname(unpacked[0])))
    if numbers is None:
        advice = "Run it as root, and in a container in the host's PID namespace."
        return [Result(ID, "mounts", UNKNOWN, "a list", "not readable", {"code": "mounts"}, advice)]
    used = [place for place in unpacked if int(os.path.basename(os.path.dirname(place))) in numbers]
    results = []
    for (path, component), allowed in sorted(_programs(known).items()):
        for place in used:
            found = digest_in(node, place, path)
            if found is None or found in allowed:
                continue
            number = int(os.path.basename(os.path.dirname(place)))
            evidence = {"code": "running-snapshot", "snapshot": number, "path": visible(path)}
            expected = visible(" or ".join("sha256:" + one for one in sorted(allowed)), 400)
            subject = "{} (snapshot {}, in use)".format(visible(component), number)
            actual = found if ":" in found else "sha256:" + found
            results.append(Result(ID, subject, FAIL, expected, actual, evidence, _REPLACE))
    return results


def _programs(known: Sequence[Known]) -> Dict[Tuple[str, str], FrozenSet[str]]:
    return {(path, one.component): allowed for one in known for path, allowed in one.programs.items()}


def _in_use(node: Node, ours: bytes) -> Optional[Set[int]]:
    """Give the numbers of the snapshots in the folder ``ours`` that are mounted; None where it cannot be told."""
    for path in ("/proc/1/mountinfo", "/proc/self/mountinfo"):
        try:
            lines = tree.read_small("/", path, _MAX_MOUNTS).splitlines()
        except (OSError, tree.NotRegular):
            continue
        found: Set[int] = set()
        for options in (line.partition(" - overlay ")[2] for line in lines):
            folder = _FOLDER.search(options)
            if folder is None or _is_same(node, folder.group(1), ours):
                found.update(int(number) for number in _IN_USE.findall(options))
        return found
    return None


def _is_same(node: Node, named: str, ours: bytes) -> bool:
    """Tell another containerd's snapshots from ours; a folder that is nowhere to be seen counts as ours.

    What the kernel names is the host's path, which lies below the root where a container looks at its host.
    """
    same = []
    for root in (node.root, "/"):
        try:
            same.append(os.path.samefile(tree.resolve(root, named), ours))
        except OSError:
            continue
    return any(same) or not same


# ---- crictl and ctr ------------------------------------------------------------------------------------------------


def _told(node: Node, known: Sequence[Known]) -> List[Result]:
    program = helper.find("crictl") or helper.find("ctr")
    if program is None:
        return []
    socket = os.path.join(node.root, _SOCKET)
    try:
        running = _by_crictl(program, socket) if program.endswith("crictl") else _by_ctr(program, socket)
    except (helper.HelperFailed, ValueError, TypeError, AttributeError, RecursionError) as error:
        told = str(error) if isinstance(error, helper.HelperFailed) else "gives no list that can be read"
        advice = "Look whether containerd runs; containers are compared by their mounts and processes alone."
        return [Result(ID, "containers", UNKNOWN, "a list", visible(told), {"program": program}, advice)]
    return [result for one in running for result in _judge(one, known, program)]


def _by_crictl(program: str, socket: str) -> List[_Container]:
    base = [program, "--runtime-endpoint", "unix://" + socket, "--timeout", "5s"]
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
        named = [reference, str(one.get("imageRef") or ""), str(one.get("imageId") or "")]
        name = str((one.get("metadata") or {}).get("name"))
        found.append(_Container(name, names.get(reference) or reference, frozenset(_DIGEST.findall(" ".join(named)))))
    return found


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
    base = [program, "--address", socket, "--timeout", "5s", "--namespace", "k8s.io"]
    tasks = _table(helper.run(base + ["tasks", "ls"], _SECONDS), "TASK")
    running = {row[0] for row in tasks if row[-1] == "RUNNING"}
    images = _table(helper.run(base + ["images", "ls"], _SECONDS), "REF")
    digests = {row[0]: row[2] for row in images if len(row) > 2}
    containers = _table(helper.run(base + ["containers", "ls"], _SECONDS), "CONTAINER")
    return [
        _Container(row[0], row[1], frozenset(_DIGEST.findall(row[1] + " " + digests.get(row[1], ""))))
        for row in containers
        if len(row) > 1 and row[0] in running
    ]


def _table(output: bytes, heading: str) -> List[List[str]]:
    """Split a table of ctr into words, without its heading; raises `ValueError` where that is not there."""
    lines = [line.split() for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    if not lines or lines[0][0] != heading:
        raise ValueError(heading)
    return lines[1:]


def _judge(running: _Container, known: Sequence[Known], program: str) -> List[Result]:
    """Compare a container's image with the listed ones of its component; none where it is of no component."""
    candidates = [
        one
        for one in known
        if one.component == running.name or _repository(running.image) == _repository(one.reference)
    ]
    subject = "{} (container)".format(visible(running.name, 80))
    evidence: Dict[str, Any] = {"program": program, "image": visible(running.image, 300)}
    for one in known:
        same = sorted(running.digests & one.identities)
        if same:
            evidence["matched"] = same[0]
            return [Result(ID, subject, PASS, one.reference, same[0], evidence)]
    if not candidates:
        return []
    expected = " or ".join(one.reference for one in candidates)
    actual = ", ".join(sorted(running.digests)) or visible(running.image, 300)
    if not running.digests and running.image in [one.reference for one in candidates]:
        evidence["matched"] = "reference"
        return [Result(ID, subject, PASS, expected, actual, evidence)]
    evidence["code"] = "unlisted-image"
    return [Result(ID, subject, FAIL, visible(expected, 600), actual, evidence, _REPLACE)]


def _repository(reference: str) -> str:
    """Give a reference's last part without tag and digest: ``kube-apiserver``."""
    return reference.partition("@")[0].rpartition("/")[2].partition(":")[0]
