"""What the answers of all nodes mean together: the verdict, the counts, and the same finding on many nodes as one.

The memory it needs grows with the number of nodes by their names alone, and with different findings up to a bound: a
report that passes leaves nothing but its verdict.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..errors import CONSUMER_PRECEDENCE
from ..node.result import EXIT_CODES, INCOMPLETE, UNKNOWN
from .message import Answer, Finding
from .reasons import RETRIED

#: Different findings that are kept apart; those beyond it count by check.
MAX_GROUPS = 1000
VERDICTS = (*EXIT_CODES, UNKNOWN)

#: A number, or an IPv4 address as a whole.
_NUMBER = re.compile(r"(?:[0-9]+\.){3}[0-9]+|[0-9]+")
_ANY = "*"
_NUMBER_OR_ANY = re.compile(rf"({_NUMBER.pattern}|\*)")


@dataclass(slots=True)
class Group:
    """The same finding on some nodes."""

    finding: Finding
    """As the first node reported it; a text in which nodes differ is empty, and a number of the subject ``*``."""
    nodes: int = 0
    """On how many nodes."""


@dataclass(frozen=True, slots=True)
class NodeAnswer:
    """What is known of one node."""

    verdict: str
    """Of the node tool, or ``unknown``."""
    reason: str = ""
    """Why there is no report that counts; a code of `reasons`."""
    detail: str = ""
    """More about it."""
    groups: tuple[int, ...] = ()
    """Which groups its findings belong to, by number."""
    left_out: int = 0
    """Findings that its report had no room for."""


_PASSED = {verdict: NodeAnswer(verdict) for verdict in EXIT_CODES}


@dataclass(slots=True)
class Aggregate:
    """The answers so far."""

    nodes: dict[str, NodeAnswer] = field(default_factory=dict)
    """Each node's answer, by name."""
    groups: list[Group] = field(default_factory=list)
    """Different findings in the order in which they came."""
    unlisted: str = ""
    """Why the nodes that exist in the end are not known, so that some may be missing; empty where they are."""
    _keys: dict[tuple[str, ...], int] = field(default_factory=dict)

    def forget(self, node: str) -> None:
        """Remove a node's answer, because the node is another one now."""
        earlier = self.nodes.pop(node, None)
        for number in earlier.groups if earlier is not None else ():
            self.groups[number].nodes -= 1

    def add(self, node: str, answer: Answer) -> None:
        """Record a node's answer. A later one replaces an earlier one, unless it says less."""
        earlier = self.nodes.get(node)
        if earlier is not None:
            if answer.verdict == UNKNOWN and earlier.verdict != UNKNOWN:
                return
            for number in earlier.groups:
                self.groups[number].nodes -= 1
        numbers = tuple(dict.fromkeys(map(self._group, answer.findings)))
        for number in numbers:
            self.groups[number].nodes += 1
        if numbers or answer.reason or answer.left_out:
            kept = NodeAnswer(answer.verdict, answer.reason, answer.detail, numbers, answer.left_out)
            self.nodes[node] = kept
        else:
            self.nodes[node] = _PASSED[answer.verdict] if answer.verdict in _PASSED else NodeAnswer(answer.verdict)

    def _group(self, finding: Finding) -> int:
        """Return the number of a finding's group, and keep there what all its nodes have in common."""
        # The same finding has other process numbers, ports and addresses on another node.
        subject = _NUMBER.sub("0", finding.subject)
        key = (finding.status, finding.check, finding.component, finding.code, subject)
        if key not in self._keys and len(self._keys) >= MAX_GROUPS:
            key = (finding.status, finding.check, "", "", "")
            finding = Finding(finding.status, finding.check, "", "", "", "", "", finding.advice)
        number = self._keys.get(key)
        if number is None:
            number = self._keys[key] = len(self.groups)
            self.groups.append(Group(finding))
            return number
        group = self.groups[number]
        if group.finding != finding:
            group.finding = _common(group.finding, finding)
        return number

    @property
    def verdict(self) -> str:
        """The cluster's verdict: that of the worst node; ``incomplete`` where any is or may be missing, or unknown."""
        found = {INCOMPLETE if answer.verdict == UNKNOWN else answer.verdict for answer in self.nodes.values()}
        found |= {INCOMPLETE} if self.unlisted else set()
        codes = {EXIT_CODES[verdict] for verdict in found} or {EXIT_CODES[INCOMPLETE]}
        worst = next((code for code in CONSUMER_PRECEDENCE if code in codes), 0)
        return next(verdict for verdict, code in EXIT_CODES.items() if code == worst)

    def counts(self) -> dict[str, int]:
        """Return how many nodes have each verdict."""
        counted = Counter(answer.verdict for answer in self.nodes.values())
        return {verdict: counted[verdict] for verdict in VERDICTS}

    def reasons(self) -> dict[str, int]:
        """Return how many nodes have no answer for each reason, most first."""
        counted = Counter(answer.reason for answer in self.nodes.values() if answer.reason)
        return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))

    def worst_groups(self) -> list[tuple[int, Group]]:
        """Return the groups of any node with their numbers: failures first, those on most nodes first."""
        used = [(number, group) for number, group in enumerate(self.groups) if group.nodes]
        return sorted(used, key=lambda item: (item[1].finding.status, -item[1].nodes, item[1].finding.check, item[0]))

    def components(self) -> dict[str, int]:
        """Return the components that fail anywhere, with the number of their failing groups' nodes, at most."""
        found: dict[str, int] = {}
        for _, group in self.worst_groups():
            if group.finding.status == "fail" and group.finding.component:
                found[group.finding.component] = max(found.get(group.finding.component, 0), group.nodes)
        return dict(sorted(found.items()))

    def names(self, group: int) -> Iterator[str]:
        """Yield the nodes of a group, sorted by name."""
        return (name for name in sorted(self.nodes) if group in self.nodes[name].groups)


def may_be_retried(answer: Answer) -> bool:
    """Return whether a second attempt may give more: a node whose API server restarts is incomplete."""
    return answer.verdict == INCOMPLETE or answer.reason in RETRIED


def _common(first: Finding, second: Finding) -> Finding:
    """Return what two findings of a group have in common."""
    return Finding(
        first.status,
        first.check,
        _common_subject(first.subject, second.subject),
        first.component,
        first.code,
        first.expected if first.expected == second.expected else "",
        first.actual if first.actual == second.actual else "",
        first.advice if first.advice == second.advice else "",
    )


def _common_subject(first: str, second: str) -> str:
    """Return what two subjects that differ in numbers alone have in common: ``[*:2379]`` for a port of any address."""
    parts = zip(_NUMBER_OR_ANY.split(first), _NUMBER_OR_ANY.split(second), strict=False)
    return "".join(one if one == other else _ANY for one, other in parts)
