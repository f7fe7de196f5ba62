"""What a run leaves in the cluster while it goes on, and how all of it goes away again.

A run has a Lease, which it renews; its other objects bear its identifier as a label. A run whose lease is not renewed
was killed: the next run deletes what it left. Whether a lease is renewed is observed here, on one clock, as leader
election does (client-go): clocks of different machines are never compared.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ..errors import FipsManifestError, Incomplete, UsageError
from .admission import find_payload_change
from .api import Api, ApiError
from .objects import (
    LEASE_SECONDS,
    MANAGED_BY,
    RENEWAL_SECONDS,
    RUN_LABEL,
    RunObjects,
    is_ours,
    namespace_object,
    run_of,
)
from .permissions import missing_rule

_log = logging.getLogger(__name__)

_MANAGED = ",".join(f"{name}={value}" for name, value in MANAGED_BY.items())
#: Seconds for which the end of a run tries to delete what it left.
_CLEANING = 60.0


@dataclass(slots=True)
class Session:
    """The objects of one run in the cluster."""

    api: Api
    objects: RunObjects
    note: Callable[[str], None]
    """Takes one line of news."""
    _others: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Renewal time of each other run's lease as last seen, and when it was first seen like that."""
    _ended: threading.Event = field(default_factory=threading.Event)

    @property
    def _namespaced(self) -> str:
        return f"/api/v1/namespaces/{self.objects.namespace}"

    @property
    def _leases(self) -> str:
        return f"/apis/coordination.k8s.io/v1/namespaces/{self.objects.namespace}/leases"

    def open(self) -> str:
        """Create the run's namespace where it is missing, its lease and its ConfigMaps.

        Return what of a ConfigMap the API server stored otherwise than it was sent; empty where all is as sent.
        Raises `UsageError` for a namespace of other use, `Incomplete` where something cannot be created.
        """
        self._ensure_namespace()
        with explained("list", "leases", "coordination.k8s.io"):
            self._observe()
        with explained("create", "leases", "coordination.k8s.io"):
            self._create_lease()
        threading.Thread(target=self._renew, name="lease", daemon=True).start()
        changes = [self._store(config_map) for config_map in self.objects.config_maps()]
        return next(filter(None, changes), "")

    def _create_lease(self) -> None:
        try:
            self.api.create(self._leases, self.objects.lease(_now()))
        except ApiError as error:
            # The answer to an earlier attempt of this request was lost.
            if error.status != 409 or not error.retried:
                raise

    def _store(self, config_map: Mapping[str, Any]) -> str:
        """Create a ConfigMap, and return what the API server made of it: a webhook may change it."""
        path, name = f"{self._namespaced}/configmaps", str(config_map["metadata"]["name"])
        with explained("create", "configmaps"):
            stored = self.api.create_named(path, name, config_map)
        change = find_payload_change(config_map, stored)
        return f"ConfigMap {name}: {change}" if change else ""

    def close(self, keep: bool) -> None:
        """Delete what the run created, or its lease alone. Raises nothing; what is left is deleted by the next run."""
        self._ended.set()
        self.api.stop.clear()
        self.api.patience = _CLEANING
        try:
            if not keep:
                self._delete_run(self.objects.run)
            else:
                self.api.delete(f"{self._leases}/{self.objects.name}")
        except (ApiError, FipsManifestError) as error:
            self.note(f"Some objects of this run are left in the namespace {self.objects.namespace}: {error}")

    def clear_abandoned(self) -> None:
        """Delete what runs left that were killed. Waits until it is sure of that: at most `LEASE_SECONDS`."""
        try:
            self._observe(fresh=False)
            while self._others and not all(self._is_silent(run) for run in self._others):
                if self.api.stop.wait(1.0):
                    return
                self._observe(fresh=False)
            for run in {*self._others, *self._without_lease()}:
                self.note(f"Deleting what the run {run} left, which ended without cleaning up.")
                self._delete_run(run)
        except (ApiError, FipsManifestError) as error:
            self.note(f"What earlier runs may have left was not deleted: {error}")

    def _ensure_namespace(self) -> None:
        name = self.objects.namespace
        try:
            found = self.api.get(f"/api/v1/namespaces/{name}")
        except ApiError as error:
            if error.status != 404:
                raise explain(error, "get", "namespaces") from error
            with explained("create", "namespaces"):
                found = self._create_namespace(name)
        if not is_ours(found):
            label = next(f"{key}={value}" for key, value in MANAGED_BY.items())
            raise UsageError(
                f"The namespace {name} exists, and is not for this check: it has no label {label}.",
                "Name another one with -n, or add the label.",
            )
        if (found.get("status") or {}).get("phase") == "Terminating":
            raise Incomplete(f"The namespace {name} is being deleted.", "Run again when it is gone.")

    def _create_namespace(self, name: str) -> dict[str, Any]:
        try:
            return self.api.create("/api/v1/namespaces", namespace_object(name))
        except ApiError as error:
            # Another run created it meanwhile, or the answer to an earlier attempt was lost.
            if error.status != 409:
                raise
            return self.api.get(f"/api/v1/namespaces/{name}")

    def _renew(self) -> None:
        """Renew the lease until the run ends."""
        while not self._ended.wait(RENEWAL_SECONDS):
            with suppress(ApiError, FipsManifestError):
                self.api.patch(f"{self._leases}/{self.objects.name}", {"spec": {"renewTime": _now()}})

    def _observe(self, fresh: bool = True) -> None:
        """Note which leases of other runs exist, and since when each was not renewed; ``fresh`` adds new ones."""
        seen: dict[str, str] = {}
        for page in self.api.pages(self._leases, {"labelSelector": _MANAGED}):
            for lease in page.get("items") or []:
                seen[run_of(lease)] = str((lease.get("spec") or {}).get("renewTime"))
        seen.pop(self.objects.run, None)
        now = time.monotonic()
        for run in list(self._others):
            # One that was renewed goes on, and is none that was killed.
            if run not in seen or (seen[run] != self._others[run][0]):
                del self._others[run]
                seen.pop(run, None)
        if fresh:
            for run, renewed in seen.items():
                self._others.setdefault(run, (renewed, now))

    def _is_silent(self, run: str) -> bool:
        return time.monotonic() - self._others[run][1] >= LEASE_SECONDS

    def _without_lease(self) -> set[str]:
        """Return the runs that left ConfigMaps or pods and have no lease: a run deletes its lease last."""
        runs = {
            run_of(item)
            for kind in ("configmaps", "pods")
            for page in self.api.pages(
                f"{self._namespaced}/{kind}", {"labelSelector": f"{_MANAGED},{RUN_LABEL}"}, metadata=True
            )
            for item in page.get("items") or []
        }
        leases = {
            run_of(item)
            for page in self.api.pages(self._leases, {"labelSelector": _MANAGED})
            for item in page.get("items") or []
        }
        return runs - leases - {self.objects.run}

    def _delete_run(self, run: str) -> None:
        selected = {"labelSelector": f"{_MANAGED},{RUN_LABEL}={run}"}
        self.api.delete(f"{self._namespaced}/pods", selected, seconds=0)
        self.api.delete(f"{self._namespaced}/configmaps", selected)
        self.api.delete(f"{self._leases}/fips-{run}")


@contextmanager
def explained(verb: str, resource: str, group: str = "") -> Iterator[None]:
    """Turn a refusal within it into an error that names the missing rule. Raises `Incomplete`."""
    try:
        yield
    except ApiError as error:
        raise explain(error, verb, resource, group) from error


def explain(error: ApiError, verb: str, resource: str, group: str = "") -> Incomplete:
    """Return the error to raise for a refused request; for a missing permission it names the rule."""
    if error.status == 401:
        return Incomplete("The API server does not accept the credentials.", "Sign in again, or name another context.")
    if error.status == 403:
        return Incomplete(f"{error.message}.", missing_rule(resource, verb, group))
    return Incomplete(
        f"The API server refused to {verb} {resource}: {error.message}.",
        "Correct what the message names, and run again.",
    )


def _now() -> str:
    """Return the present moment as a MicroTime (meta/v1)."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
