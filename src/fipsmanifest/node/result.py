"""What a check gives, and the verdict that follows from all of them."""

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

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
    """One thing that was looked at."""

    id: str
    """Which check: ``signature``, ``files``, ..."""
    subject: str
    """What was looked at: a path, a signal, an image."""
    status: str
    """``pass``, ``fail``, ``unknown`` (could not be told; never a pass) or ``not-applicable``."""
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


class Node(NamedTuple):
    """What is being looked at."""

    root: str
    """Where the node's file tree begins."""
    live: bool
    """Whether it is a running node, whose kernel and processes are those of this one."""
    role: str
    """``control-plane`` or ``worker``."""

    def unless_live(self, check: str, subject: str, missing: str) -> Result:
        """Give what a signal that is not there means: unknown on a running node, nothing in a tree at rest."""
        if self.live:
            return Result(check, subject, UNKNOWN, actual=missing, advice="Look into why the node does not have it.")
        return Result(check, subject, NOT_APPLICABLE, actual=missing)


def verdict(results: Sequence[Result], trusted: bool) -> str:
    """Say what all results together mean; nothing that passed means incomplete."""
    statuses = {result.status for result in results}
    if not trusted:
        return UNTRUSTED
    if FAIL in statuses:
        return INVALID
    return INCOMPLETE if UNKNOWN in statuses or PASS not in statuses else VALID


def summary(results: Sequence[Result]) -> Dict[str, int]:
    """Count the results of each status."""
    found: List[str] = [result.status for result in results]
    return {status: found.count(status) for status in STATUSES}


def wanted_components(listed: Listed, role: str) -> "Wanted":
    """Say which components the manifest wants on a node of this role."""
    roles = (listed.manifest.get("node") or {}).get("roles") or {}
    here = roles.get(role) or []
    return Wanted(frozenset(here), frozenset(name for names in roles.values() for name in names))


class Wanted(NamedTuple):
    """The components of a role."""

    here: "frozenset[str]"
    """What this role must have."""
    anywhere: "frozenset[str]"
    """What some role must have."""

    def leaves_out(self, component: Optional[str]) -> bool:
        """Say whether a component belongs to other roles alone."""
        return component in self.anywhere and component not in self.here
