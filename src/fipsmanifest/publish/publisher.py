"""Carry out a plan with conditional writes that are read back, and plan again if another publisher was faster.

The objects of the other publisher are then either the same, or newer, or a conflict. `plan` alone decides this, so that
two publishers cannot disagree.
"""

from __future__ import annotations

import functools
import itertools
import logging
import random
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ..errors import Conflict, Incomplete
from ..model.identity import ManifestId, ReleaseId
from ..progress import SILENT, Progress
from ..trust.text import utc_now
from . import layout
from .action import Action, Kind, Step
from .bucket import Absent, Bucket, Condition, Matches, NoConditions, Stored, Unchecked
from .consumer import Consumer, read_manifest
from .plan import Plan, make_plan
from .records import THREADS
from .request import PublishRequest
from .snapshot import read_snapshot

#: How often an object is written again if the store returns other bytes than were written.
_REPAIRS = 2

#: In each round at least one publisher succeeds, so this is enough for dozens of concurrent publishers.
ROUNDS = 24


@dataclass(frozen=True, slots=True)
class Publication:
    """The result of a publication."""

    plan: Plan
    """The last plan; its actions that are not ``same`` were carried out in the last round."""
    written: tuple[Action, ...]
    """All writes of this run, in order; empty if everything was published already."""


_log = logging.getLogger(__name__)


class _Overtaken(Conflict):
    """The bucket has changed since it was read."""

    reason = "changed-meanwhile"


def plan_publication(request: PublishRequest, bucket: Bucket, consumer: Consumer) -> Plan:
    """Read the bucket and return a plan; writes nothing. Raises as `make_plan` and `read_snapshot` do."""
    keys = [manifest.key for manifest in request.manifests]
    version = request.tool.version if request.tool else None
    return make_plan(request, read_snapshot(bucket, consumer, keys, version), consumer, utc_now())


def publish(
    request: PublishRequest,
    bucket: Bucket,
    consumer: Consumer,
    progress: Progress = SILENT,
    *,
    plan: Plan | None = None,
    single_writer: bool = False,
) -> Publication:
    """Carry out a request; a second call writes nothing.

    ``plan`` is an existing plan; it is replaced if the bucket has changed since. ``single_writer`` allows a store
    without conditional writes: the caller asserts that there is no other publisher. Raises `Conflict` (or `Several`)
    before the first write if a stored object differs, and if the store ignores conditions or returns other bytes than
    were written; `Incomplete` if it cannot be reached.
    """
    bucket.sweep()
    rounds = _Rounds(bucket, consumer, progress, single_writer)
    for attempt in range(ROUNDS):
        current = plan if attempt == 0 and plan is not None else plan_publication(request, bucket, consumer)
        for action in current.actions:
            _log.debug("planned: %s %s: %s", action.kind, action.key, action.detail)
        current.require_no_conflict()
        try:
            rounds.run(current)
        except _Overtaken as error:
            _log.debug("round %d ended, the bucket has changed: %s", attempt + 1, error.message)
            progress.note(f"{error.message} Planning again.")
            time.sleep(random.random() * 0.05 * min(attempt + 1, 10))  # noqa: S311 - spreads rounds, protects nothing
            continue
        return Publication(current, tuple(rounds.written))
    raise Incomplete(
        f"{bucket.describe()} kept changing for {ROUNDS} rounds.",
        "Run again when no other publisher is running.",
        reason="changed-meanwhile",
    )


class _Rounds:
    """The execution of successive plans, each made after the bucket had changed."""

    def __init__(self, bucket: Bucket, consumer: Consumer, progress: Progress, single_writer: bool) -> None:
        self._bucket = bucket
        self._consumer = consumer
        self._progress = progress
        self.written: list[Action] = []
        self._single_writer = single_writer
        self._conditions_hold = False
        self._takes_none = False

    def run(self, plan: Plan) -> None:
        """Carry out the writes of a plan, step by step."""
        pending = list(plan.writes)
        if not pending:
            return
        task = self._progress.task("publish", len(pending))
        try:
            known = next((a for a in plan.actions if a.kind is Kind.SAME and a.step <= Step.MANIFESTS), None)
            if known is None:
                known = pending.pop(0)
                self._write(known)
                task.advance(1)
            self._require_conditions(known)
            for step, group in itertools.groupby(pending, key=lambda action: action.step):
                actions = list(group)
                if step <= Step.MANIFESTS and not (self.written and self.written[-1].step == step):
                    # Of two publishers with different content, the one that fails here has written no other manifest,
                    # so that all ELs of a serial come from one publisher. For a tool, it is the signature.
                    task.advance(self._write_all([actions.pop(0)]))
                if actions:
                    task.advance(self._write_all(actions))
        finally:
            task.done()

    def _write_all(self, actions: list[Action]) -> int:
        if len(actions) == 1:
            self._write(actions[0])
        else:
            with ThreadPoolExecutor(THREADS) as pool:
                # Wait for all, so that no write is in progress when this raises.
                _consume(pool.map(self._write, actions))
        return len(actions)

    def _write(self, action: Action) -> None:
        """Write one object, read it back and verify it."""
        only_if: Condition = Absent() if action.replaces is None else Matches(action.replaces)
        self._put(action, only_if)
        self.written.append(action)
        stored = self._read_back(action)
        for _ in range(_REPAIRS if self._conditions_hold and action.step <= Step.BUNDLES else 0):
            # The store reported that it created the object, and no publisher overwrites it: the store has stored
            # other bytes than it received.
            if stored.data != action.data:
                self._put(action, Matches(stored.token))
                stored = self._read_back(action)
        if stored.data != action.data:
            raise _Overtaken(f"{action.key} in {self._bucket.describe()} does not read back as it was written.")
        parsed = layout.read_key(action.key)
        if isinstance(parsed, ManifestId | ReleaseId):
            read_manifest(stored.data, self._consumer, parsed)

    def _read_back(self, action: Action) -> Stored:
        stored = self._bucket.get(action.key)
        if stored is None:
            raise Incomplete(
                f"{self._bucket.describe()} reported that {action.key} was written, and does not contain it.",
                "fipsmanifest never removes objects: ask the store's operator, and run again.",
            )
        return stored

    def _put(self, action: Action, only_if: Condition) -> None:
        headers = layout.headers(action.key)
        # If the store does not support conditions, the user has asserted that there is only one writer.
        put = functools.partial(
            self._bucket.put,
            action.key,
            action.data,
            content_type=headers.content_type,
            cache_control=headers.cache_control,
        )
        try:
            put(only_if=Unchecked() if self._takes_none else only_if)
        except NoConditions:
            if not self._single_writer:
                raise
            _log.debug("the store does not support conditions: writing without, because of --single-writer")
            self._takes_none = True
            put(only_if=Unchecked())
        except Conflict as error:
            raise _Overtaken(error.message, error.advice) from error

    def _require_conditions(self, known: Action) -> None:
        """Check that the store enforces conditions, by writing a stored object under conditions that are not met.

        A store that ignores conditions overwrites the object with the same bytes, which changes nothing.
        """
        if self._single_writer or self._conditions_hold:
            return
        for only_if in (Absent(), Matches("0" * 32)):
            try:
                self._put(known, only_if)
            except _Overtaken:
                continue
            raise Conflict(
                f"{self._bucket.describe()} ignores conditions on writes: two publishers could overwrite each other.",
                "Use another store, or pass --single-writer if there is no other publisher.",
                reason="no-conditions",
            )
        self._conditions_hold = True


def _consume(results: Iterable[None]) -> None:
    for _ in results:
        pass
