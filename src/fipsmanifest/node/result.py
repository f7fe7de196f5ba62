"""What a check gives, and the verdict that follows from all of them."""

import math
import posixpath
import time
from typing import TYPE_CHECKING, Any, Dict, FrozenSet, Iterator, List, Mapping, NamedTuple, Optional, Sequence

from ..trust.text import visible
from . import tree

# See `result_of`.
if TYPE_CHECKING:
    from concurrent.futures import Future

PASS = "pass"  # noqa: S105
FAIL = "fail"
UNKNOWN = "unknown"
NOT_APPLICABLE = "not-applicable"
STATUSES = (PASS, FAIL, UNKNOWN, NOT_APPLICABLE)

VALID = "valid"
INVALID = "invalid"
INCOMPLETE = "incomplete"
UNTRUSTED = "untrusted"
EXIT_CODES = {VALID: 0, INVALID: 1, UNTRUSTED: 3, INCOMPLETE: 4}

_NOTHING: Mapping[str, Any] = {}


class Result(NamedTuple):
    """One thing that was inspected."""

    id: str
    """Which check: ``signature``, ``files``, ..."""
    subject: str
    """What was inspected: a path, a signal, an image."""
    status: str
    """``pass``, ``fail``, ``unknown`` (could not be determined; never a pass) or ``not-applicable``."""
    expected: Optional[str] = None
    """What the manifest or the rule says."""
    actual: Optional[str] = None
    """What was found."""
    evidence: Mapping[str, Any] = _NOTHING
    """Codes and numbers."""
    advice: str = ""
    """What to do about it; empty where nothing is to be done."""


class Listed(NamedTuple):
    """A manifest whose signature holds, under the name it was given by."""

    name: str
    """The file's name, for reports."""
    manifest: Dict[str, Any]
    """The document."""


class Node:
    """What is being inspected, and the digests of what was read of it so far."""

    def __init__(self, root: str, live: bool, role: str) -> None:
        self.root = root
        """Where the node's file tree begins."""
        self.live = live
        """Whether it is a running node, whose kernel and processes are those of this one."""
        self.role = role
        """``control-plane`` or ``worker``."""
        self.digests = tree.Digests()
        """What the checks share, so that no file is read twice."""
        self.end = math.inf
        """When the time for the present check is over, by `time.monotonic`."""

    def left(self, most: float = math.inf) -> float:
        """Return how many seconds are left for the present check, at most ``most``."""
        return max(min(self.end - time.monotonic(), most), 0.0)

    def result_of(self, future: "Future[List[Result]]", otherwise: Result) -> List[Result]:
        """Return what a thread returns, or ``otherwise`` if it does not end in the time that is left."""
        from concurrent import futures  # imported after the first output, as by `tree.Digests`

        try:
            return future.result(None if self.end == math.inf else self.left())
        except futures.TimeoutError:
            self.digests.abandon(future)
            return [otherwise]

    def unless_live(self, check: str, subject: str, missing: str) -> Result:
        """Return what a signal that is not there means: unknown on a running node, nothing in a tree at rest."""
        if self.live:
            return Result(check, subject, UNKNOWN, actual=missing, advice="Find out why the node does not have it.")
        return Result(check, subject, NOT_APPLICABLE, actual=missing)


def verdict(results: Sequence[Result], trusted: bool) -> str:
    """Return the verdict of all results; if nothing of the node that was inspected passed, it is incomplete."""
    if not trusted:
        return UNTRUSTED
    statuses = {result.status for result in results}
    if FAIL in statuses:
        return INVALID
    # The signatures say something of the node where nothing else was asked for.
    passed = PASS in {result.status for result in [one for one in results if one.id != "signature"] or results}
    return VALID if passed and UNKNOWN not in statuses else INCOMPLETE


def summary(results: Sequence[Result]) -> Dict[str, int]:
    """Count the results of each status."""
    found: List[str] = [result.status for result in results]
    return {status: found.count(status) for status in STATUSES}


def of_component(evidence: Mapping[str, Any], component: Optional[str]) -> Dict[str, Any]:
    """Add to a result's evidence whose it is, so that a reader can say how each component fares."""
    return dict(evidence) if component is None else dict(evidence, component=visible(component, 80))


def wanted_components(listed: Listed, role: str) -> "Wanted":
    """Return which components the manifest wants on a node of this role."""
    roles = (listed.manifest.get("node") or {}).get("roles") or {}
    here = roles.get(role) or []
    return Wanted(frozenset(here), frozenset(name for names in roles.values() for name in names))


class Wanted(NamedTuple):
    """The components of a role."""

    here: FrozenSet[str]
    """What this role must have."""
    anywhere: FrozenSet[str]
    """What some role must have."""

    def leaves_out(self, component: Optional[str]) -> bool:
        """Return whether a component belongs to other roles alone."""
        return component in self.anywhere and component not in self.here


def is_own_program(file: Mapping[str, Any], component: Optional[str]) -> bool:
    """Return whether a file is one of its component's own programs, and not a shell or library of its image.

    They are Go programs, or bear the component's name; the others have names that half the node bears as well.
    """
    path = file.get("path")
    if file.get("role") != "program" or not file.get("sha256") or not path:
        return False
    return bool(file.get("go")) or posixpath.basename(str(path)).startswith(str(component))


def mode_of(file: Mapping[str, Any]) -> Optional[int]:
    """Return the permissions that a manifest records for a file; None where it records none."""
    try:
        return int(str(file.get("mode")), 8)
    except ValueError:
        return None


def image_files(image: Mapping[str, Any]) -> Iterator[Dict[str, Any]]:
    """Return what a manifest lists of the files in an image, with their component; of every platform."""
    for platform in image.get("platforms") or []:
        for file in platform.get("files") or []:
            yield dict(file, component=image.get("component"))
