"""Whether the node is the Enterprise Linux, and the machine, that the manifests are for."""

import errno
import itertools
import os
import stat
from typing import Any, Dict, Iterable, List, Optional, Sequence, Set

from ...trust.text import visible
from .. import tree
from ..result import FAIL, PASS, UNKNOWN, Listed, Node, Result

ID = "platform"

_OS_RELEASE = ("/etc/os-release", "/usr/lib/os-release")  # os-release(5)
# Enterprise Linux by ID; others say ID_LIKE="rhel ...".
_FAMILY = ("rhel", "centos", "rocky", "almalinux", "ol")
_MACHINES = {62: "x86_64", 183: "aarch64"}  # ELF e_machine, System V ABI
_MAX_PROGRAMS = 100
_ADVICE = "Use the manifest that was made for this operating system."


def check(node: Node, manifests: Sequence[Listed]) -> List[Result]:
    """Compare os-release and the architecture with what the manifests name; raises nothing."""
    return [_operating_system(node, manifests), _architecture(node, manifests)]


def fitting(node: Node, manifests: Sequence[Listed]) -> List[Listed]:
    """Return the manifests for the node's own system and machine: no other one vouches for what is on it.

    Where none is, or it cannot be determined, all are: the check says so.
    """
    release = os_release(node.root)
    if release is not None:
        name, version, like = release.get("ID", "?"), release.get("VERSION_ID", "?"), release.get("ID_LIKE", "")
        manifests = [one for one in manifests if _fits(one.manifest, name, version, like)] or manifests
    machine = architecture_of(node, _paths(manifests))
    return [one for one in manifests if machine in _machines(one.manifest)] or list(manifests)


def os_release(root: str) -> Optional[Dict[str, str]]:
    """Read the node's os-release; None where it has none that can be read."""
    try:
        return _read_release(root)
    except (OSError, tree.NotRegular):
        return None


def _read_release(root: str) -> Optional[Dict[str, str]]:
    """Read os-release; None where there is none, raises `OSError` or `NotRegular` where it cannot be read."""
    for path in _OS_RELEASE:
        try:
            text = tree.read_small(root, path)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                raise
            continue
        pairs = (line.partition("=") for line in text.splitlines() if "=" in line and not line.startswith("#"))
        return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}
    return None


def _operating_system(node: Node, manifests: Sequence[Listed]) -> Result:
    subject = "operating-system"
    try:
        release = _read_release(node.root)
    except (OSError, tree.NotRegular) as error:
        code = errno.errorcode.get(getattr(error, "errno", None) or 0, str(error))
        advice = "Run it as root, or find out what is there in place of os-release."
        return Result(ID, subject, UNKNOWN, None, "os-release cannot be read", {"code": visible(code)}, advice)
    if release is None:
        advice = "Install the package that brings os-release."
        return Result(ID, subject, UNKNOWN, _expected(manifests[0].manifest), "no os-release", {}, advice)
    name, version = release.get("ID", "?"), release.get("VERSION_ID", "?")
    actual = visible("{} {}".format(name, version))
    for listed in manifests:
        if _fits(listed.manifest, name, version, release.get("ID_LIKE", "")):
            return Result(ID, subject, PASS, _expected(listed.manifest), actual, {"manifest": listed.name})
    return Result(ID, subject, FAIL, _expected(manifests[0].manifest), actual, {"code": "operating-system"}, _ADVICE)


def _systems(manifest: Dict[str, Any]) -> List[Dict[str, Any]]:
    return list((manifest.get("node") or {}).get("operating_systems") or [])


def _fits(manifest: Dict[str, Any], name: str, version: str, like: str) -> bool:
    if version.split(".")[0] != str(manifest["el"]):
        return False
    systems = _systems(manifest)
    if not systems:
        return name in _FAMILY or "rhel" in like.split()
    return any(
        system.get("id") == name and any(_takes(str(one), version) for one in system.get("versions") or [])
        for system in systems
    )


def _takes(accepted: str, version: str) -> bool:
    """Return whether ``accepted`` of the definition (``8.4``, ``8`` or ``8.*``) takes a host's VERSION_ID."""
    release = accepted[:-2] if accepted.endswith(".*") else accepted
    return version == release or version.startswith(release + ".")


def _expected(manifest: Dict[str, Any]) -> str:
    named = ["{} {}".format(one.get("id"), "/".join(one.get("versions") or [])) for one in _systems(manifest)]
    return visible(", ".join(named) or "Enterprise Linux {}".format(manifest["el"]), 400)


def _architecture(node: Node, manifests: Sequence[Listed]) -> Result:
    subject = "architecture"
    by_name = {name: listed.name for listed in reversed(manifests) for name in _machines(listed.manifest)}
    named = sorted(by_name)
    actual = architecture_of(node, _paths(manifests))
    expected = ", ".join(named)
    if actual is None or not named:
        advice = "Find out why the tree has no program of the machine's." if named else "Get another manifest."
        return Result(ID, subject, UNKNOWN, expected, "cannot be determined", {}, advice)
    if actual in named:
        return Result(ID, subject, PASS, expected, actual, {"manifest": by_name[actual]})
    advice = "Use the manifest that was made for this machine."
    return Result(ID, subject, FAIL, expected, actual, {"code": "architecture"}, advice)


def _machines(manifest: Dict[str, Any]) -> Set[str]:
    return {str(file["architecture"]) for file in manifest["files"] if file.get("architecture") not in (None, "noarch")}


def _paths(manifests: Sequence[Listed]) -> List[str]:
    return [str(file.get("path")) for listed in manifests for file in listed.manifest["files"]]


def architecture_of(node: Node, paths: Iterable[str]) -> Optional[str]:
    """Return the node's architecture as RPM calls it: the kernel's, or at rest that of most of its programs."""
    if node.live:
        return os.uname().machine
    found: Dict[str, int] = {}
    for machine in itertools.islice(filter(None, (_machine(node, path) for path in paths)), _MAX_PROGRAMS):
        found[machine] = found.get(machine, 0) + 1
    # One program that is another machine's says nothing of the others.
    return max(found, key=lambda machine: found[machine]) if found else None


def _machine(node: Node, path: str) -> Optional[str]:
    """Return the architecture that a program is for; None where there is none."""
    try:
        place = tree.resolve(node.root, path)
        if not stat.S_ISREG(os.lstat(place).st_mode):
            return None
        descriptor = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        header = os.read(descriptor, 20)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    if header[:4] != b"\x7fELF" or len(header) < 20:
        return None
    machine = int.from_bytes(header[18:20], "little" if header[5] == 1 else "big")
    return _MACHINES.get(machine, "em-{}".format(machine))
