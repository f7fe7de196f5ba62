"""Nodes that exist in the API alone, and a stand-in for their kubelets, which answers for their pods.

What a node answers is chosen by the test; a report is made from the ConfigMaps that the pod names, as a real pod would.
"""

from __future__ import annotations

import base64
import hashlib
import json
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from fipsmanifest.cluster.api import Api, ApiError
from fipsmanifest.cluster.objects import host_root
from fipsmanifest.errors import FipsManifestError
from fipsmanifest.node.bounded import bounded_json
from fipsmanifest.node.report import Report
from fipsmanifest.node.result import FAIL, PASS, UNKNOWN, Result

PAUSE = "registry.k8s.io/pause:3.9"
Status = Mapping[str, Any] | None
Behaviour = Callable[[str, Mapping[str, Any], "Reports"], Status]

_HOST = {"role": "worker", "os": "rhel", "os_version": "8.4", "kernel": "4.18"}
_HOST |= {"architecture": "x86_64", "tool": "0.1", "python": "3.6.8", "hash": "openssl"}


def node(name: str, *, ready: str = "True", images: Sequence[str] = (PAUSE,), **changes: Any) -> dict[str, Any]:
    """Return a Node object as a kubelet registers it."""
    info = {"operatingSystem": "linux", "architecture": "amd64", "osImage": "Red Hat Enterprise Linux 8.4"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/os": "linux", **changes.pop("labels", {})}},
        "spec": changes.pop("spec", {}),
        "status": {
            "nodeInfo": {
                **dict.fromkeys(("kernelVersion", "containerRuntimeVersion", "kubeletVersion", "kubeProxyVersion"), ""),
                **dict.fromkeys(("machineID", "systemUUID", "bootID"), ""),
                **info,
                **changes,
            },
            "conditions": [{"type": "Ready", "status": ready, "reason": "Test", "message": "as the test wants"}],
            "images": [{"names": [image], "sizeBytes": 1} for image in images],
        },
    }


def finished(code: int, message: str, **terminated: Any) -> dict[str, Any]:
    """Return the status of a pod whose container ended."""
    state = {"exitCode": code, "message": message, "reason": "Completed" if code == 0 else "Error", **terminated}
    return {
        "phase": "Succeeded" if code == 0 else "Failed",
        "containerStatuses": [_container({"terminated": state})],
    }


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    """Return the status of a pod whose container was not started."""
    state = {"waiting": {"reason": reason, "message": message}}
    return {"phase": "Pending", "containerStatuses": [_container(state)]}


def rejected(reason: str, message: str = "") -> dict[str, Any]:
    """Return the status of a pod that a kubelet did not take, or ended."""
    return {"phase": "Failed", "reason": reason, "message": message}


def _container(state: dict[str, Any]) -> dict[str, Any]:
    return {"name": "check", "image": PAUSE, "imageID": "", "ready": False, "restartCount": 0, "state": state}


class Reports:
    """Makes the reports that a pod of this run would give."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._known: dict[str, tuple[str, list[str]]] = {}

    def digests(self, pod: Mapping[str, Any]) -> tuple[str, list[str]]:
        """Return the digests of the tool and the manifests that a pod is given."""
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        names = [source["configMap"]["name"] for source in volumes["payload"]["projected"]["sources"]]
        if names[0] not in self._known:
            files: dict[str, bytes] = {}
            for name in names:
                found = self._api.get(f"/api/v1/namespaces/{pod['metadata']['namespace']}/configmaps/{name}")
                files |= {key: base64.b64decode(value) for key, value in found["binaryData"].items()}
            tool = hashlib.sha256(files.pop("dkp-fips-tool")).hexdigest()
            self._known[names[0]] = (tool, [hashlib.sha256(data).hexdigest() for data in files.values()])
        return self._known[names[0]]

    def report(self, name: str, pod: Mapping[str, Any], *failures: Result, **changes: Any) -> dict[str, Any]:
        """Return the status of a pod with a report that counts; it is valid without failures."""
        tool, manifests = self.digests(pod)
        results = [Result("files", "/usr/bin/kubelet", PASS), *failures]
        statuses = {result.status for result in results}
        verdict = "invalid" if FAIL in statuses else "incomplete" if UNKNOWN in statuses else "valid"
        given = Report(
            verdict,
            "live",
            {**_HOST, "name": name, "tool_sha256": tool, "root": host_root(pod["metadata"]["name"])},
            [{"file": "manifest-rhel8.json.asc", "sha256": digest} for digest in manifests],
            results,
            [],
        )
        given = given._replace(**changes)
        code = {"valid": 0, "invalid": 1, "untrusted": 3, "incomplete": 4}[given.verdict]
        return finished(code, bounded_json(given, 4096))


class FakeKubelets:
    """Answers for the pods of all nodes, in threads, until it is left."""

    def __init__(self, api: Api, behave: Behaviour, namespace: str, threads: int = 8) -> None:
        self._api = api
        self._behave = behave
        self._path = f"/api/v1/namespaces/{namespace}/pods"
        self._reports = Reports(api)
        self._jobs: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._seen: set[str] = set()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]
        self._threads.append(threading.Thread(target=self._watch, daemon=True))

    def __enter__(self) -> FakeKubelets:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._api.end()
        for _thread in self._threads:
            self._jobs.put(None)

    def _watch(self) -> None:
        while not self._stop.is_set():
            with suppress(ApiError, FipsManifestError):
                version = ""
                for page in self._api.pages(self._path):
                    version = version or page["metadata"]["resourceVersion"]
                    for pod in page["items"]:
                        self._take(pod)
                for event in self._api.watch(self._path, {}, version):
                    if event["type"] == "ADDED":
                        self._take(event["object"])
                continue
            time.sleep(0.2)

    def _take(self, pod: Mapping[str, Any]) -> None:
        if pod["metadata"]["uid"] not in self._seen:
            self._seen.add(pod["metadata"]["uid"])
            self._jobs.put(pod)

    def _work(self) -> None:
        while (pod := self._jobs.get()) is not None:
            name = pod["metadata"]["name"]
            with suppress(ApiError, FipsManifestError):
                status = self._behave(pod["spec"]["nodeName"], pod, self._reports)
                if status is not None:
                    self._api.patch(f"{self._path}/{name}/status", {"status": status})


def create_nodes(api: Api, nodes: Sequence[Mapping[str, Any]]) -> None:
    """Create Node objects."""
    for one in nodes:
        api.create("/api/v1/nodes", one)


def delete_nodes(api: Api) -> None:
    """Delete all Node objects."""
    api.delete("/api/v1/nodes")


def failure(component: str, subject: str, code: str = "digest", actual: str = "f" * 64) -> Result:
    """Return a result that a node reports for a changed file."""
    return Result("files", subject, FAIL, "e" * 64, actual, {"component": component, "code": code}, "Install it again.")


def as_json(value: object) -> str:
    """Return a value as a message that is JSON."""
    return json.dumps(value)
