"""Carrying out a plan: each write on the condition that was read, read back, and planned anew where it was overtaken.

Whoever is overtaken by another publisher looks again: what the other one wrote is then either the same, or newer, or
a conflict. So there is one place that decides (`plan`) and no case here in which two publishers could disagree.
"""

from __future__ import annotations

import functools
import itertools
import random
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ..errors import Conflict, Incomplete
from ..progress import SILENT, Progress
from ..trust.text import utc_now
from . import layout
from .action import Action, Kind, Step
from .bucket import Absent, Bucket, Condition, Matches, NoConditions, Stored, Unchecked
from .consumer import Consumer, read_manifest
from .layout import ManifestKey
from .plan import Plan, make_plan
from .records import THREADS
from .request import PublishRequest
from .snapshot import read_snapshot

#: Times that a store which keeps other bytes than it was given gets them again.
_REPAIRS = 2

#: Each round loses only to a publisher that got ahead, so this is enough for dozens at once.
ROUNDS = 24


@dataclass(frozen=True, slots=True)
class Publication:
    """What was done."""

    plan: Plan
    """The last plan: what is not ``same`` in it was written in the last round."""
    written: tuple[Action, ...]
    """Everything that this run wrote, in order; empty where all was there already."""


class _Overtaken(Conflict):
    """The bucket is no longer as it was read."""


def plan_publication(request: PublishRequest, bucket: Bucket, consumer: Consumer) -> Plan:
    """Look at the bucket and decide; touches nothing. Raises as `make_plan` and `read_snapshot` do."""
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
    """Publish what is wanted; again, it does nothing.

    ``plan`` is one that was made already and perhaps shown; it is made anew where the bucket has changed since.
    ``single_writer`` allows a store that ignores conditions, on the caller's word that nobody else publishes.
    Raises `Conflict` (or `Several`) before the first write where anything differs, and where the store ignores
    conditions or keeps other bytes than were written; `Incomplete` where it cannot be reached.
    """
    bucket.sweep()
    rounds = _Rounds(bucket, consumer, progress, single_writer)
    for attempt in range(ROUNDS):
        current = plan if attempt == 0 and plan is not None else plan_publication(request, bucket, consumer)
        current.require_no_conflict()
        try:
            rounds.run(current)
        except _Overtaken as error:
            progress.note(f"{error.message} Looking again.")
            time.sleep(random.random() * 0.05 * min(attempt + 1, 10))  # noqa: S311 - spreads rounds, protects nothing
            continue
        return Publication(current, tuple(rounds.written))
    raise Incomplete(
        f"{bucket.describe()} kept changing for {ROUNDS} rounds.", "Run again when nobody else is publishing."
    )


class _Rounds:
    """Attempts at plans, each made anew after the one before was overtaken."""

    def __init__(self, bucket: Bucket, consumer: Consumer, progress: Progress, single_writer: bool) -> None:
        self._bucket = bucket
        self._consumer = consumer
        self._progress = progress
        self.written: list[Action] = []
        self._single_writer = single_writer
        self._conditions_hold = False
        self._takes_none = False

    def run(self, plan: Plan) -> None:
        """Write what the plan says, step by step."""
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
                    # Of two publishers with different content the one that loses here has written no manifest, so that
                    # no serial is the one's for one EL and the other's for another. Of a tool it is the signature.
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
                # All are waited for, so that nothing is still being written when this raises.
                _consume(pool.map(self._write, actions))
        return len(actions)

    def _write(self, action: Action) -> None:
        """Write one object and read it back as its readers will."""
        only_if: Condition = Absent() if action.replaces is None else Matches(action.replaces)
        self._put(action, only_if)
        self.written.append(action)
        stored = self._read_back(action)
        for _ in range(_REPAIRS if self._conditions_hold and action.step <= Step.MANIFESTS else 0):
            # The store said that it created the object for us, and nobody writes over what never changes: it kept
            # something else than it was given.
            if stored.data != action.data:
                self._put(action, Matches(stored.token))
                stored = self._read_back(action)
        if stored.data != action.data:
            raise _Overtaken(f"{action.key} in {self._bucket.describe()} does not read back as it was written.")
        parsed = layout.read_key(action.key)
        if isinstance(parsed, ManifestKey):
            read_manifest(stored.data, self._consumer, kubernetes=parsed.kubernetes, name=parsed.name)

    def _read_back(self, action: Action) -> Stored:
        stored = self._bucket.get(action.key)
        if stored is None:
            raise Incomplete(
                f"{self._bucket.describe()} said that {action.key} was written, and does not have it.",
                "Nobody else removes objects: ask whoever runs the store, and run again.",
            )
        return stored

    def _put(self, action: Action, only_if: Condition) -> None:
        headers = layout.headers(action.key)
        # Where the store has said that it takes no conditions, a single writer's word stands for them.
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
            self._takes_none = True
            put(only_if=Unchecked())
        except Conflict as error:
            raise _Overtaken(error.message, error.advice) from error

    def _require_conditions(self, known: Action) -> None:
        """Find out whether the store honours conditions: by writing what is there, on conditions that do not hold.

        A careless store then overwrites an object with its own bytes, which harms nobody and leaves no trace.
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
                "Use another store, or say --single-writer if nobody else publishes there.",
            )
        self._conditions_hold = True


def _consume(results: Iterable[None]) -> None:
    for _ in results:
        pass
