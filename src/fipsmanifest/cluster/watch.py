"""The pods of a run as they change: one list, then a watch, again from the list whenever the watch ends too early.

A thread reads the API and hands over events; it never decides what they mean.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import FipsManifestError, Incomplete
from .api import Api, ApiError
from .permissions import missing_rule

_log = logging.getLogger(__name__)

#: Seconds before a broken watch is opened again, the first time and at most.
_FIRST_WAIT, _LONGEST_WAIT = 0.2, 5.0
_GONE = 410


@dataclass(frozen=True, slots=True)
class PodSeen:
    """A pod was created or changed."""

    pod: Mapping[str, Any]
    """The Pod (core/v1)."""


@dataclass(frozen=True, slots=True)
class PodDeleted:
    """A pod is gone."""

    pod: Mapping[str, Any]
    """Its last state."""


@dataclass(frozen=True, slots=True)
class Listed:
    """All pods were listed: what was created before and is missing is gone."""

    names: frozenset[str]
    """Their names."""
    begun: float
    """When the list was requested (``time.monotonic``)."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The API cannot be read at present: nothing is known of what happens meanwhile."""

    since: float
    """When that began (``time.monotonic``)."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The pods cannot be read at all."""

    error: FipsManifestError
    """Why."""


class PodWatch:
    """Reads the pods that a label selector names, in a thread of its own."""

    def __init__(self, api: Api, path: str, selector: str, events: queue.Queue[Any], stop: threading.Event) -> None:
        """``path`` is the address of the pods of a namespace; ``events`` takes what is seen."""
        self._api = api
        self._path = path
        self._query = {"labelSelector": selector}
        self._events = events
        self._stop = stop
        self._thread = threading.Thread(target=self._run, name="pods", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def _run(self) -> None:
        version, wait, lost = "", _FIRST_WAIT, False
        while not self._stop.is_set():
            begun = time.monotonic()
            try:
                if not version:
                    version = self._list(begun)
                    lost = False
                version = self._follow(version)
                wait = _FIRST_WAIT
                continue
            except ApiError as error:
                if error.status == 403:
                    rule = missing_rule("pods", "watch" if version else "list")
                    self._put(Failed(Incomplete(f"Pods cannot be read: {error.message}.", rule)))
                    return
                _log.debug("watch: %s %s", error.status, error.message)
                version = ""
                if error.status == _GONE:
                    continue
            except Incomplete as error:
                _log.debug("watch: %s", error.message)
                # What was missed is found by a list; a watch that goes on where it broke is not offered by all servers.
                version = ""
            if not lost:
                lost = True
                self._put(Lost(begun))
            self._stop.wait(wait)
            wait = min(wait * 2, _LONGEST_WAIT)

    def _list(self, begun: float) -> str:
        """List all pods and return the resource version from which a watch goes on."""
        version, names = "", set()
        for page in self._api.pages(self._path, self._query):
            # All pages show the state of the first one.
            version = version or str((page.get("metadata") or {}).get("resourceVersion") or "")
            for pod in page.get("items") or []:
                names.add(str((pod.get("metadata") or {}).get("name")))
                self._put(PodSeen(pod))
        self._put(Listed(frozenset(names), begun))
        return version

    def _follow(self, version: str) -> str:
        """Watch until the server ends it, and return the last resource version."""
        for event in self._api.watch(self._path, self._query, version):
            pod = event.get("object") or {}
            version = str((pod.get("metadata") or {}).get("resourceVersion") or version)
            if event.get("type") in ("ADDED", "MODIFIED"):
                self._put(PodSeen(pod))
            elif event.get("type") == "DELETED":
                self._put(PodDeleted(pod))
            if self._stop.is_set():
                break
        return version

    def _put(self, event: object) -> None:
        hand_over(event, self._events, self._stop)


def hand_over(event: object, events: queue.Queue[object], stop: threading.Event) -> None:
    """Put an event into a queue; where its reader is slow, this thread waits, and so does the server behind it."""
    while not stop.is_set():
        try:
            events.put(event, timeout=0.5)
            return
        except queue.Full:
            continue
