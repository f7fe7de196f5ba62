"""What a node's pod says: a report that counts, or the reason why there is none.

A report is taken from the pod's termination message, which anyone with the node's root, or with the right to change a
pod's status, can write: it is read as hostile input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..model.documents import MalformedDocument, read_json
from ..node.report import SCHEMA
from ..node.result import EXIT_CODES, FAIL, INCOMPLETE, INVALID, PASS, UNKNOWN, UNTRUSTED, VALID
from ..trust.text import visible
from .admission import find_change
from .objects import CONTAINER

#: Bytes of a message that are parsed; a kubelet keeps 4,096, another writer may leave more.
MAX_MESSAGE = 16 << 10
#: Results of one report that are read, and characters of each text.
MAX_FINDINGS = 40
_MAX_TEXT = 200
_MAX_COUNT = 10_000_000

#: What a kubelet writes into a pod's ``status.reason`` when it ends or does not accept a pod, beside
#: ``OutOfcpu``, ``OutOfmemory`` and so on (kubernetes/pkg/kubelet/lifecycle, /eviction, /nodeshutdown).
_POD_REASONS = {
    "Evicted": "evicted",
    "Preempting": "evicted",
    "NodeShutdown": "evicted",
    "Terminated": "evicted",
    "Shutdown": "evicted",
    "DeadlineExceeded": "timed-out",
    "NodeLost": "not-ready",
    "NodeAffinity": "rejected",
    "UnexpectedAdmissionError": "rejected",
    "TopologyAffinityError": "rejected",
    "AppArmor": "rejected",
}
#: ``waiting.reason`` of a container that will not start without help (kubernetes/pkg/kubelet/images, /container).
WILL_NOT_START = {"ErrImageNeverPull": "image-missing", "InvalidImageName": "image-missing"}
#: Exit codes of a shell, and of the tool's own header.
_EXITS = {69: "no-python", 126: "not-started", 127: "not-started", 137: "out-of-memory"}


@dataclass(frozen=True, slots=True)
class Expected:
    """What a report has to be to count."""

    node: str
    """The node's name."""
    uid: str
    """The pod's UID, as the API gave it when it was created."""
    manifests: frozenset[str]
    """SHA-256 of each signed manifest."""
    tool: str
    """SHA-256 of the node tool."""
    root: str
    """Where the pod has the host's ``/``."""
    specification: Mapping[str, Any]
    """The pod's, as it was sent (core/v1 PodSpec)."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A result of a node's report that is not a pass."""

    status: str
    """``fail`` or ``unknown``."""
    check: str
    """Which check it is of."""
    subject: str
    """What was checked."""
    component: str
    """The component; empty where none is named."""
    code: str
    """Why, in the check's codes; empty where it has none."""
    expected: str
    """What it should be."""
    actual: str
    """What it is."""
    advice: str
    """What to do."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is known of a node from one pod."""

    verdict: str
    """The node tool's verdict, or ``unknown`` where no report counts."""
    reason: str = ""
    """A code of `reasons` where no report counts."""
    detail: str = ""
    """The API's, the kubelet's or the node's own words, made printable."""
    findings: tuple[Finding, ...] = ()
    """Failures and unknowns of the report."""
    left_out: int = 0
    """How many of them the report had no room for."""


def no_answer(reason: str, detail: str = "") -> Answer:
    """Return the answer of a node without a report that counts."""
    return Answer(UNKNOWN, reason, visible(detail, _MAX_TEXT))


def is_finished(pod: Mapping[str, Any]) -> bool:
    """Return whether a pod has ended, or will not start."""
    return _phase(pod) in ("Succeeded", "Failed") or _waiting(pod) in WILL_NOT_START


def pending_detail(pod: Mapping[str, Any] | None) -> str:
    """Return why a pod has not ended yet, in the kubelet's words."""
    if pod is None:
        return ""
    waiting = _mapping(_mapping(_container(pod).get("state")).get("waiting"))
    return f"{waiting.get('reason') or _phase(pod)}: {waiting.get('message') or 'no further word'}"


def read_pod(pod: Mapping[str, Any], expected: Expected) -> Answer:
    """Return the answer in a finished pod (core/v1 Pod). Never raises; what does not count is ``unknown``."""
    # 1. It is the pod of this run, on this node.
    if _mapping(pod.get("metadata")).get("uid") != expected.uid:
        return no_answer("foreign-report", "another pod has this name")
    if _mapping(pod.get("spec")).get("nodeName") != expected.node:
        return no_answer("foreign-report", "the pod is on another node")
    # 2. It has ended by itself.
    waiting = _waiting(pod)
    if waiting in WILL_NOT_START:
        return no_answer(WILL_NOT_START[waiting], pending_detail(pod))
    status = _mapping(pod.get("status"))
    terminated = _mapping(_mapping(_container(pod).get("state")).get("terminated"))
    reason, words = str(status.get("reason") or ""), str(status.get("message") or "")
    if reason in _POD_REASONS or reason.startswith("OutOf"):
        return no_answer(_POD_REASONS.get(reason, "rejected"), f"{reason}: {words}")
    if not terminated:
        return no_answer("no-report", words or "the pod has no container that ended")
    code = terminated.get("exitCode")
    message = terminated.get("message")
    if terminated.get("reason") == "OOMKilled":
        return no_answer("out-of-memory", "OOMKilled")
    if terminated.get("reason") in ("StartError", "ContainerCannotRun"):
        return no_answer("not-started", str(message or ""))
    if code not in EXIT_CODES.values():
        return no_answer(_EXITS.get(code if isinstance(code, int) else -1, "no-report"), f"exit code {code}: {message}")
    # 3. It is what was sent.
    change = find_change(expected.specification, _mapping(pod.get("spec")))
    if change:
        return no_answer("changed", change)
    # 4. Its message is a report of the schema.
    return _read_message(message, code, expected)


def _read_message(message: Any, code: Any, expected: Expected) -> Answer:
    """Return the answer in a termination message."""
    if not isinstance(message, str) or not message:
        return no_answer("no-report", "the termination message is empty")
    if len(message) > MAX_MESSAGE:
        return no_answer("unreadable-report", f"it has {len(message)} characters")
    try:
        report = _mapping(read_json(message, unique=True))
    except MalformedDocument as error:
        return no_answer("unreadable-report", str(error))
    if report.get("schema") != SCHEMA:
        return no_answer("unreadable-report", "it has another schema")
    # 5. It is for these manifests, by this tool, of a running node.
    manifests = report.get("manifests")
    digests = [str(_mapping(one).get("sha256")) for one in manifests] if isinstance(manifests, list) else []
    verdict = report.get("verdict")
    # An untrusted manifest has no digest in a report; it is no pass either way.
    if verdict != UNTRUSTED and (len(digests) > len(expected.manifests) or set(digests) != expected.manifests):
        return no_answer("foreign-report", "it is for other manifests")
    if report.get("scope") != "live":
        return no_answer("foreign-report", f"its scope is {report.get('scope')}")
    host = _mapping(report.get("host"))
    if host.get("tool_sha256") != expected.tool:
        return no_answer("foreign-report", "it is by another tool")
    if host.get("root") != expected.root:
        return no_answer("foreign-report", "it was made in another pod")
    # 6. Its verdict, its counts and the exit code agree.
    passed, failed, unknown = (_count(report.get("summary"), status) for status in (PASS, FAIL, UNKNOWN))
    if min(passed, failed, unknown) < 0:
        return no_answer("unreadable-report", "it has no counts")
    agrees = {
        VALID: passed > 0 and failed == unknown == 0,
        INVALID: failed > 0,
        INCOMPLETE: failed == 0,
        UNTRUSTED: True,
    }
    if not isinstance(verdict, str) or not agrees.get(verdict) or EXIT_CODES[verdict] != code:
        return no_answer("unreadable-report", f"verdict, counts and exit code {code} do not agree")
    findings = _findings(report.get("checks"))
    shown = [one.status for one in findings]
    if shown.count(FAIL) > failed or shown.count(UNKNOWN) > unknown:
        return no_answer("unreadable-report", "it has more findings than it counts")
    return Answer(verdict, findings=findings, left_out=max(0, failed + unknown - len(findings)))


def _findings(checks: Any) -> tuple[Finding, ...]:
    listed: Sequence[Any] = checks if isinstance(checks, list) else []
    taken = [one for one in map(_mapping, listed) if one.get("status") in (FAIL, UNKNOWN)]
    return tuple(map(_finding, taken[:MAX_FINDINGS]))


def _finding(result: Mapping[str, Any]) -> Finding:
    evidence = _mapping(result.get("evidence"))
    return Finding(
        str(result["status"]),
        _text(result.get("id")),
        _text(result.get("subject")),
        _text(evidence.get("component")),
        _text(evidence.get("code")),
        _text(result.get("expected")),
        _text(result.get("actual")),
        _text(result.get("advice")),
    )


def _text(value: Any) -> str:
    return visible(value, _MAX_TEXT) if isinstance(value, str) else ""


def _phase(pod: Mapping[str, Any]) -> str:
    return str(_mapping(pod.get("status")).get("phase") or "Pending")


def _waiting(pod: Mapping[str, Any]) -> str:
    return str(_mapping(_mapping(_container(pod).get("state")).get("waiting")).get("reason") or "")


def _container(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    statuses = _mapping(pod.get("status")).get("containerStatuses")
    named = map(_mapping, statuses if isinstance(statuses, list) else [])
    return next((one for one in named if one.get("name") == CONTAINER), {})


def _count(counts: Any, status: str) -> int:
    """Return a count of a report's summary; -1 where it is none."""
    value = _mapping(counts).get(status)
    return value if type(value) is int and 0 <= value < _MAX_COUNT else -1


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
