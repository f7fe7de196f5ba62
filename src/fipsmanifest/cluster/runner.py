"""One pod on each node: created, watched, read, deleted; a limited number at a time.

One thread decides (`PodRunner.check`); others write to the API, and `PodWatch` reads from it. They report through one
queue of bounded size.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import FipsManifestError, Incomplete
from .aggregate import Aggregate, may_be_retried
from .api import Api, ApiError, Unreachable
from .message import Answer, Expected, is_finished, no_answer, pending_detail, read_pod
from .nodes import ClusterNode, read_node
from .objects import RunObjects, host_root
from .permissions import missing_rule
from .watch import Failed, Listed, Lost, PodDeleted, PodSeen, PodWatch, hand_over

#: Threads that write to the API.
WRITERS = 16
_EVENTS = 2000
#: Seconds that requests which were sent may take when the run ends.
_STOPPING = 2.0
_ATTEMPTS = 2
#: What the API server's admission says (kubernetes/plugin/pkg/admission/resourcequota, /serviceaccount).
_QUOTA = "exceeded quota"
_QUOTA_ATTEMPTS, _QUOTA_SECONDS = 6, 0.5
_NO_SERVICE_ACCOUNT = "error looking up service account"
_SERVICE_ACCOUNT_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Settings:
    """How pods are run."""

    parallel: int = 200
    """Pods that exist at the same time."""
    node_seconds: int = 300
    """Seconds that a node has for its answer."""
    reporting_seconds: int = 15
    """Seconds that a kubelet has, beyond the pod's own deadline, to report that it ended."""
    image: str | None = None
    """The image to use on every node; None for each node's own."""
    role: str = "auto"
    """The node tool's ``--role``."""
    keep: bool = False
    """Whether pods are left when they have ended."""


@dataclass(slots=True)
class _Attempt:
    """One pod of a node."""

    node: ClusterNode
    image: str
    number: int
    pod: str
    uid: str = ""
    """Empty until the API said that the pod was created."""
    created: float = 0.0
    deadline: float = 0.0
    detail: str = ""
    """Why it had not ended when it was last seen."""
    early: Mapping[str, Any] | None = None
    """The pod, where its end was seen before it was known to be created."""
    gone: bool = False
    """Whether it was deleted before it was known to be created."""


@dataclass(frozen=True, slots=True)
class _Created:
    pod: str
    uid: str


@dataclass(frozen=True, slots=True)
class _Refused:
    pod: str
    error: ApiError | FipsManifestError


@dataclass(frozen=True, slots=True)
class _NodeRead:
    pod: str
    node: ClusterNode | None


@dataclass(slots=True)
class PodRunner:
    """Runs the pods of one run."""

    api: Api
    objects: RunObjects
    aggregate: Aggregate
    settings: Settings
    fallback_images: Mapping[str, str] = field(default_factory=dict)
    """An image that is on a node, for nodes whose list shows no pause image."""
    obstacle: Answer | None = None
    """The answer of every node, where no pod is to be created at all."""
    on_answer: Callable[[str, Answer], None] | None = None
    """Called for each node's final answer."""
    with_log: Callable[[str, str], None] | None = None
    """Called with node and pod before a pod is deleted whose node is not valid; by several threads."""
    checked: dict[str, str] = field(default_factory=dict)
    """UID of the node that each answer is of, by name."""
    _events: queue.Queue[Any] = field(default_factory=lambda: queue.Queue(_EVENTS))
    _jobs: queue.SimpleQueue[Callable[[], None] | None] = field(default_factory=queue.SimpleQueue)
    _stop: threading.Event = field(default_factory=threading.Event)
    _flying: dict[str, _Attempt] = field(default_factory=dict)
    _rechecked: dict[str, tuple[_Attempt, Answer]] = field(default_factory=dict)
    _writers: list[threading.Thread] = field(default_factory=list)
    _lost: float | None = None
    _limit: int = 0
    _refusals: int = 0
    _deletions: int = 0
    _counting: threading.Lock = field(default_factory=threading.Lock)

    @property
    def _path(self) -> str:
        return f"/api/v1/namespaces/{self.objects.namespace}/pods"

    def start(self) -> None:
        """Start the threads."""
        self._writers += [threading.Thread(target=self._work, daemon=True) for _ in range(WRITERS)]
        for writer in self._writers:
            writer.start()
        PodWatch(self.api, self._path, self.objects.selector, self._events, self._stop).start()

    def stop(self) -> None:
        """End the threads; requests that are waiting for an answer are abandoned."""
        self._stop.set()
        self.api.end()
        for _ in self._writers:
            self._jobs.put(None)
        # A pod that is being created now must exist before all are deleted.
        end = time.monotonic() + _STOPPING
        for writer in self._writers:
            writer.join(max(0.0, end - time.monotonic()))

    def check(self, nodes: Iterable[ClusterNode], end: float | None) -> None:
        """Check nodes until each has an answer; ``end`` (``time.monotonic``) is when that must be finished.

        Raises `Incomplete` where pods can be neither created nor read.
        """
        waiting: deque[_Attempt] = deque()
        self._limit = self.settings.parallel
        for node in nodes:
            self.checked[node.name] = node.uid
            image = self.settings.image or node.image or self.fallback_images.get(node.name)
            if self.obstacle is not None:
                self._finish(node.name, self.obstacle)
            elif node.obstacle is not None:
                self._finish(node.name, no_answer(node.obstacle, node.detail))
            elif image is None:
                self._finish(node.name, no_answer("no-image"))
            else:
                waiting.append(self._attempt(node, image, 1))
        while waiting or self._flying or self._rechecked:
            if end is not None and time.monotonic() >= end:
                self._give_up(waiting)
                return
            while waiting and len(self._flying) < self._limit:
                self._begin(waiting.popleft())
            try:
                event = self._events.get(timeout=0.5)
            except queue.Empty:
                self._expire()
                continue
            for _ in range(_EVENTS):
                self._handle(event, waiting)
                try:
                    event = self._events.get_nowait()
                except queue.Empty:
                    break
            self._expire()

    def settle(self, seconds: float) -> None:
        """Wait until the pods that ended are deleted, for at most ``seconds``."""
        end = time.monotonic() + seconds
        while self._deletions > 0 and time.monotonic() < end:
            time.sleep(0.02)

    def role_of(self, node: ClusterNode) -> str:
        """Return the node tool's ``--role`` for a node: what was asked for, else what its labels say."""
        # Without --role the tool takes a control plane without its static pods for a worker.
        return "control-plane" if self.settings.role == "auto" and node.control_plane else self.settings.role

    def _attempt(self, node: ClusterNode, image: str, number: int) -> _Attempt:
        return _Attempt(node, image, number, self.objects.pod_name(node.name, number))

    def _begin(self, attempt: _Attempt) -> None:
        attempt.deadline = float("inf")  # until it is created
        self._flying[attempt.pod] = attempt
        body = json.dumps(self._pod(attempt)).encode("ascii")
        self._jobs.put(lambda: self._create(attempt.pod, body))

    def _pod(self, attempt: _Attempt) -> dict[str, Any]:
        return self.objects.pod(attempt.node, attempt.image, attempt.number, self.role_of(attempt.node))

    # Run by the writers.

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None and not self._stop.is_set():
            job()

    def _create(self, pod: str, body: bytes) -> None:
        try:
            self._tell(_Created(pod, str(self._post(pod, body)["metadata"]["uid"])))
        except (ApiError, FipsManifestError) as error:
            self._tell(_Refused(pod, error))

    def _post(self, pod: str, body: bytes) -> Mapping[str, Any]:
        """Create a pod and return it."""
        end = time.monotonic() + _SERVICE_ACCOUNT_SECONDS
        while True:
            try:
                return self.api.create_named(self._path, pod, body)
            except ApiError as error:
                # In a new namespace, a controller creates it a moment later.
                if _NO_SERVICE_ACCOUNT not in error.message or time.monotonic() > end or self._stop.wait(0.5):
                    raise

    def _delete(self, pod: str) -> None:
        try:
            self.api.delete(f"{self._path}/{pod}", seconds=0)
        except (ApiError, FipsManifestError):
            pass  # the run's end deletes what is left
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        with self._counting:
            self._deletions += change

    def _read_node(self, attempt: _Attempt) -> None:
        try:
            self._tell(_NodeRead(attempt.pod, read_node(self.api.get(f"/api/v1/nodes/{attempt.node.name}"))))
        except ApiError as error:
            self._tell(_NodeRead(attempt.pod, None if error.status == 404 else attempt.node))
        except FipsManifestError:
            self._tell(_NodeRead(attempt.pod, attempt.node))

    def _tell(self, event: object) -> None:
        hand_over(event, self._events, self._stop)

    # Run by the deciding thread.

    def _handle(self, event: object, waiting: deque[_Attempt]) -> None:
        match event:
            case PodSeen(pod):
                self._see(pod)
            case PodDeleted(pod):
                self._see(pod)
                attempt = self._flying.get(str((pod.get("metadata") or {}).get("name")))
                if attempt is not None:
                    self._lose(attempt)
            case Listed(names, begun):
                self._listed(names, begun)
            case Lost(since):
                self._lost = self._lost or since
            case Failed(error):
                raise error
            case _Created(pod, uid):
                self._created(pod, uid)
            case _Refused(pod, error):
                self._refused(pod, error, waiting)
            case _NodeRead(pod, node):
                self._retry(pod, node, waiting)

    def _see(self, pod: Mapping[str, Any]) -> None:
        attempt = self._flying.get(str((pod.get("metadata") or {}).get("name")))
        if attempt is None:
            return
        if not is_finished(pod):
            attempt.detail = pending_detail(pod)
        elif not attempt.uid:
            attempt.early = pod
        else:
            payload = self.objects.payload
            sent = self._pod(attempt)["spec"]
            root = host_root(str(pod["metadata"]["name"]))
            expected = Expected(attempt.node.name, attempt.uid, payload.digests, payload.tool_digest, root, sent)
            answer = read_pod(pod, expected)
            # What it waited for says more than that it did not end.
            waited = answer.reason == "timed-out" and attempt.detail
            self._answer(attempt, no_answer(answer.reason, attempt.detail) if waited else answer)

    def _created(self, pod: str, uid: str) -> None:
        attempt = self._flying.get(pod)
        if attempt is None:
            return
        attempt.uid, attempt.created = uid, time.monotonic()
        self._refusals = 0
        attempt.deadline = self._deadline()
        if attempt.early is not None:
            self._see(attempt.early)
        if attempt.gone and pod in self._flying:
            self._lose(attempt)

    def _deadline(self) -> float:
        return time.monotonic() + self.settings.node_seconds + self.settings.reporting_seconds

    def _lose(self, attempt: _Attempt) -> None:
        """Record that a pod is gone."""
        if attempt.uid:
            self._answer(attempt, no_answer("pod-deleted", attempt.detail))
        else:
            attempt.gone = True

    def _listed(self, names: frozenset[str], begun: float) -> None:
        if self._lost is not None:
            self._lost = None
            # Kubelets were cut off as well, and come back one after another: every pod has its whole time again.
            for attempt in self._flying.values():
                attempt.deadline = max(attempt.deadline, self._deadline())
        for attempt in list(self._flying.values()):
            if attempt.uid and attempt.created < begun and attempt.pod not in names:
                self._lose(attempt)

    def _refused(self, pod: str, error: ApiError | FipsManifestError, waiting: deque[_Attempt]) -> None:
        attempt = self._flying.get(pod)
        if attempt is None:
            return
        if isinstance(error, ApiError) and _QUOTA in error.message and self._waits_for_quota(attempt, waiting):
            return
        if isinstance(error, ApiError) and error.status == 403 and error.reason == "Forbidden" and _is_rbac(error):
            raise Incomplete(f"Pods cannot be created: {error.message}.", missing_rule("pods", "create"))
        if isinstance(error, ApiError):
            self._answer(attempt, no_answer("refused", error.message))
        elif isinstance(error, Unreachable):
            self._answer(attempt, no_answer("run-ended", error.message))
        else:
            raise error

    def _waits_for_quota(self, attempt: _Attempt, waiting: deque[_Attempt]) -> bool:
        """Return whether a pod that a quota refused is to be created later; no more pods run then than have room."""
        del self._flying[attempt.pod]
        if self._flying:
            # There is room again when one of them is deleted.
            waiting.append(attempt)
            self._limit = len(self._flying)
            return True
        if self._refusals < _QUOTA_ATTEMPTS:
            # What was deleted last may not be counted yet.
            self._refusals += 1
            self._stop.wait(_QUOTA_SECONDS)
            waiting.appendleft(attempt)
            return True
        self._flying[attempt.pod] = attempt
        return False

    def _answer(self, attempt: _Attempt, answer: Answer) -> None:
        """Accept the answer of a pod, delete the pod, and try the node once more if that may help."""
        del self._flying[attempt.pod]
        if attempt.uid:
            self._discard(attempt, answer)
        if may_be_retried(answer) and attempt.number < _ATTEMPTS:
            self._rechecked[attempt.pod] = (attempt, answer)
            self._jobs.put(lambda: self._read_node(attempt))
            return
        self._finish(attempt.node.name, answer)

    def _retry(self, pod: str, node: ClusterNode | None, waiting: deque[_Attempt]) -> None:
        attempt, answer = self._rechecked.pop(pod)
        name = attempt.node.name
        if node is None:
            self._finish(name, answer if answer.verdict != "unknown" else no_answer("node-deleted", answer.detail))
        elif node.obstacle is not None:
            self._finish(name, no_answer(node.obstacle, node.detail))
        else:
            self.checked[name] = node.uid
            others = [one for one in (node.image, self.fallback_images.get(name)) if one and one != attempt.image]
            other = answer.reason == "image-missing" and self.settings.image is None and others
            image = others[0] if other else attempt.image
            self.aggregate.add(name, answer)
            waiting.append(self._attempt(node, image, attempt.number + 1))

    def _discard(self, attempt: _Attempt, answer: Answer) -> None:
        with_log, pod, name = self.with_log, attempt.pod, attempt.node.name
        wanted = with_log is not None and answer.verdict in ("invalid", "incomplete", "untrusted")
        self._count(1)

        def job() -> None:
            if with_log is not None and wanted:
                with_log(name, pod)
            if self.settings.keep:
                self._count(-1)
            else:
                self._delete(pod)

        self._jobs.put(job)

    def _finish(self, node: str, answer: Answer) -> None:
        self.aggregate.add(node, answer)
        if self.on_answer is not None:
            self.on_answer(node, answer)

    def _expire(self) -> None:
        """End the attempts whose time is over; not while the API cannot be read, when an answer may be there."""
        now = time.monotonic()
        if self._lost is not None:
            return
        for attempt in [one for one in self._flying.values() if one.deadline < now]:
            self._answer(attempt, no_answer("timed-out", attempt.detail))

    def _give_up(self, waiting: Iterable[_Attempt]) -> None:
        for attempt in waiting:
            self._finish(attempt.node.name, no_answer("run-ended"))
        for attempt in self._flying.values():
            self._finish(attempt.node.name, no_answer("timed-out", attempt.detail))
        for attempt, answer in self._rechecked.values():
            self._finish(attempt.node.name, answer)
        self._flying.clear()
        self._rechecked.clear()


def _is_rbac(error: ApiError) -> bool:
    """Return whether a refusal is the authorizer's, and not one of admission."""
    return "cannot create resource" in error.message
