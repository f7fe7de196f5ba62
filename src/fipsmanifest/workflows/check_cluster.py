"""Check every node of a Kubernetes cluster: verify the manifests here, run the node tool in a pod on each node, and
bring the answers together.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ..cluster import document
from ..cluster.aggregate import Aggregate
from ..cluster.api import PATIENCE, Api, ApiError
from ..cluster.kubeconfig import load_connection
from ..cluster.message import Answer, no_answer
from ..cluster.nodes import ClusterNode, read_node, running_image
from ..cluster.objects import CONTAINER, RunObjects, namespace_object
from ..cluster.payload import Payload, make_payload, named
from ..cluster.runner import PodRunner, Settings
from ..cluster.schedule import cron_job_objects
from ..cluster.session import Session, explain, explained
from ..errors import FipsManifestError, Incomplete, UsageError
from ..generate.tool import build_tool, version_of
from ..progress import Progress
from ..state import durable
from ..trust.document import Bindings
from ..trust.keys import Trust
from ..trust.store import load_trust
from ..trust.text import utc_now, visible, write_time
from . import verification
from .published_tool import require_tool_of

NAMESPACE = "fipsmanifest"
#: Bytes of one node's whole report.
_MAX_REPORT = 2 << 20
_MAX_WARNINGS = 20
#: How often the nodes are listed again, for those that came or were replaced meanwhile.
_ROUNDS = 3
#: Seconds for that list where the time for everything is over.
_LATE_SECONDS = 30.0
#: Seconds for the server's first answer.
_FIRST_SECONDS = 30.0
#: A namespace's name (RFC 1123), which becomes a part of addresses.
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")
_NODE_NAME = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?\Z")
#: Called with a node's name and its final answer.
OnAnswer = Callable[[str, Answer], None]
_OPEN_REPORTS = "/apis/openreports.io/v1alpha1"


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be checked, and how."""

    manifests: tuple[str, ...]
    """Paths or addresses of signed manifests."""
    keys: Path
    """The trust directory."""
    tool: Path | None = None
    """The published node tool, with its signature beside it; None to build it from ``keys``."""
    kubeconfig: Path | None = None
    """The kubeconfig; None for what kubectl would take."""
    context: str | None = None
    """Its context; None for the current one."""
    namespace: str = NAMESPACE
    """Where pods are created."""
    selector: str | None = None
    """A label selector of nodes; None for all."""
    nodes: tuple[str, ...] = ()
    """Names of nodes; empty for all."""
    role: str = "auto"
    """``control-plane`` or ``worker``: nodes of that role alone, checked as such."""
    parallel: int = 200
    """Pods that exist at the same time."""
    node_seconds: int = 300
    """Seconds that a node has for its answer."""
    seconds: int | None = 600
    """Seconds for everything; None without an end."""
    image: str | None = None
    """The image of the pods; None for each node's own pause image."""
    report_directory: Path | None = None
    """Where the whole reports of nodes that are not valid are written; None for nowhere."""
    output_config_map: str | None = None
    """The ConfigMap that the result is written to."""
    open_reports: bool = False
    """Whether the result is written as a ClusterReport where the cluster serves that."""
    keep: bool = False
    """Whether pods and ConfigMaps are left."""
    min_serial: int | None = None
    """The lowest serial of a manifest that is accepted; None for any."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is known before the cluster is asked."""

    payload: Payload
    """Node tool and manifests."""
    signed: tuple[tuple[str, bytes], ...]
    """Each signed manifest as it was verified, with the name that it has in the cluster."""
    manifests: tuple[dict[str, Any], ...]
    """What each manifest is, for the report."""
    tool: dict[str, Any]
    """Version and digest of the node tool."""
    warnings: tuple[str, ...]
    """What verifying them gave."""


@dataclass(slots=True)
class _Run:
    """One check that goes on."""

    request: Request
    api: Api
    objects: RunObjects
    runner: PodRunner
    aggregate: Aggregate
    warnings: list[str] = field(default_factory=list)


def check_cluster(request: Request, progress: Progress, on_answer: OnAnswer | None = None) -> document.ClusterReport:
    """Check the nodes and return what was found; ``on_answer`` is called with each node's final answer.

    Raises `NotTrusted` before anything is created where a manifest does not verify; `UsageError`, `Incomplete`.
    """
    prepared, connection = prepare(request), load_connection(request.kubeconfig, request.context, os.environ)
    started, clock = write_time(utc_now()), time.monotonic()
    end = None if request.seconds is None else clock + request.seconds
    # A server that has not answered yet may not be there at all; one that did is waited for longer.
    api = Api(connection, patience=_first_patience(request))
    objects = RunObjects(secrets.token_hex(5), request.namespace, prepared.payload, request.node_seconds)
    aggregate = Aggregate()
    task = progress.task("nodes")
    settings = Settings(
        request.parallel, request.node_seconds, image=request.image, role=request.role, keep=request.keep
    )

    def answered(node: str, answer: Answer) -> None:
        task.advance(1)
        if on_answer is not None:
            on_answer(node, answer)

    runner = PodRunner(api, objects, aggregate, settings, on_answer=answered)
    run = _Run(request, api, objects, runner, aggregate, list(prepared.warnings))
    if request.report_directory is not None:
        runner.with_log = _log_writer(run, request.report_directory)
    nodes = _list_nodes(run)
    api.patience = PATIENCE
    task.total(len(nodes))
    session = Session(api, objects, progress.note)
    try:
        change = session.open()
        runner.obstacle = no_answer("payload-changed", change) if change else None
        runner.fallback_images = _fallback_images(run, nodes)
        runner.start()
        _check(run, nodes, end)
        if not request.keep:
            runner.settle(30.0)
    finally:
        runner.stop()
        session.close(request.keep)
        task.done()
    session.clear_abandoned()
    return document.ClusterReport(
        connection.server,
        connection.name,
        objects.run,
        prepared.manifests,
        prepared.tool,
        started,
        write_time(utc_now()),
        round(time.monotonic() - clock, 1),
        aggregate,
        tuple(run.warnings),
    )


def _first_patience(request: Request) -> float:
    """Return for how many seconds the server's first answer is waited for."""
    return _FIRST_SECONDS if request.seconds is None else min(_FIRST_SECONDS, request.seconds)


def prepare(request: Request) -> Prepared:
    """Verify the manifests and the node tool, and return what goes to the nodes. Raises `NotTrusted`, `UsageError`."""
    if not _LABEL.match(request.namespace):
        raise UsageError(f"{visible(request.namespace)} is not a namespace's name.", "Correct -n.")
    trust = load_trust(str(request.keys))
    manifests, described = [], []
    warnings: list[str] = []
    tool = _tool(request, trust)
    version, digest = version_of(tool), hashlib.sha256(tool).hexdigest()
    for name in request.manifests:
        given = verification.read(name)
        if verification.is_tool(given.data):
            raise UsageError(f"{name} is a node tool, not a manifest.", "Name the signed manifest.")
        bindings = Bindings(None, None, request.min_serial, False, verification.name_in(name))
        verified = verification.verify(given, trust, bindings)
        if request.tool is not None:
            require_tool_of(verified.manifest or {}, version, digest)
        manifests.append((given.name, given.data))
        described.append(_describe(given, verified))
        warnings += verified.warnings
    payload = make_payload(tool, manifests)
    about = {"version": version, "sha256": digest}
    return Prepared(payload, tuple(named(manifests)), tuple(described), about, tuple(dict.fromkeys(warnings)))


def dry_run(request: Request) -> dict[str, Any]:
    """Return the objects that a check would create now, as a List (v1) that kubectl takes; creates nothing."""
    prepared, connection = prepare(request), load_connection(request.kubeconfig, request.context, os.environ)
    objects = RunObjects(secrets.token_hex(5), request.namespace, prepared.payload, request.node_seconds)
    aggregate = Aggregate()
    api = Api(connection, patience=_first_patience(request))
    runner = PodRunner(api, objects, aggregate, Settings(image=request.image, role=request.role))
    run = _Run(request, api, objects, runner, aggregate)
    nodes = _list_nodes(run)
    images = _fallback_images(run, nodes)
    pods = []
    for node in nodes:
        image = request.image or node.image or images.get(node.name)
        if node.obstacle is None and image is not None:
            pods.append(objects.pod(node, image, 1, runner.role_of(node)))
    items = [namespace_object(request.namespace), objects.lease(write_time(utc_now())), *objects.config_maps(), *pods]
    return {"apiVersion": "v1", "kind": "List", "items": items}


def scheduled(request: Request, image: str, schedule: str, arguments: Sequence[str]) -> dict[str, Any]:
    """Return what runs this check on a schedule in the cluster itself, as a List (v1). Raises as `prepare`."""
    if request.tool is not None:
        raise UsageError("--tool would be ignored with --print-cronjob.", "Leave it out.")
    prepared = prepare(request)
    versions = [str(manifest["kubernetes"]) for manifest in prepared.manifests]
    keys = {path.name: path.read_bytes() for path in sorted(request.keys.iterdir()) if path.is_file()}
    items = cron_job_objects(request.namespace, image, schedule, keys, dict(prepared.signed), arguments, versions)
    return {"apiVersion": "v1", "kind": "List", "items": items}


def _describe(given: verification.Document, verified: verification.VerifiedDocument) -> dict[str, Any]:
    manifest = verified.manifest or {}
    return {
        "file": visible(given.name),
        "sha256": hashlib.sha256(given.data).hexdigest(),
        "fingerprint": verified.signature.fingerprint,
        "kubernetes": manifest.get("kubernetes"),
        "el": manifest.get("el"),
        "serial": manifest.get("serial"),
        "fips_mode": bool((manifest.get("node") or {}).get("fips_mode", True)),
    }


def _tool(request: Request, trust: Trust) -> bytes:
    """Return the node tool: the published one, verified, or one built with the same keys."""
    if request.tool is None:
        return build_tool(request.keys).data
    given = verification.read(str(request.tool))
    if not verification.is_tool(given.data):
        raise UsageError(f"{request.tool} is not a node tool.", "Name dkp-fips-tool, with its .asc beside it.")
    return verification.verify(given, trust).payload


def _list_nodes(run: _Run) -> list[ClusterNode]:
    """Return the nodes that are asked for. Raises `Incomplete` where they cannot be listed."""
    request = run.request
    query = {"labelSelector": request.selector} if request.selector else {}
    found: dict[str, ClusterNode] = {}
    for attempt in range(3):
        try:
            for page in run.api.pages("/api/v1/nodes", query):
                for item in page.get("items") or []:
                    node = read_node(item)
                    found[node.name] = node
            break
        except ApiError as error:
            # A list that took longer than the API server keeps its state (410) begins again.
            if error.status == 400 and request.selector:
                raise UsageError(f"--selector is refused: {error.message}.", "Correct it.") from error
            if error.status != 410 or attempt == 2:
                raise explain(error, "list", "nodes") from error
            found.clear()
    nodes = [node for node in found.values() if _is_wanted(node, request)]
    for name in set(request.nodes).difference(node.name for node in nodes):
        run.aggregate.add(name, no_answer("not-found", "it has another role" if name in found else ""))
    return sorted(nodes, key=lambda node: node.name)


def _is_wanted(node: ClusterNode, request: Request) -> bool:
    if request.nodes and node.name not in request.nodes:
        return False
    return request.role == "auto" or node.control_plane == (request.role == "control-plane")


def _fallback_images(run: _Run, nodes: Iterable[ClusterNode]) -> dict[str, str]:
    """Return an image of a system pod for each node whose list of images does not show the pause image.

    A kubelet lists its 50 largest images alone, and pause is the smallest.
    """
    if run.request.image is not None or all(node.image or node.obstacle for node in nodes):
        return {}
    images: dict[str, str] = {}
    try:
        for page in run.api.pages("/api/v1/namespaces/kube-system/pods", {"fieldSelector": "status.phase=Running"}):
            for pod in page.get("items") or []:
                image, node = running_image(pod), str((pod.get("spec") or {}).get("nodeName") or "")
                if image and (node not in images or len(image) < len(images[node])):
                    images[node] = image
    except ApiError as error:
        run.warnings.append(f"The pods of kube-system, whose images could be used, cannot be listed: {error.message}")
    return images


def _check(run: _Run, nodes: Sequence[ClusterNode], end: float | None) -> None:
    """Check the nodes, then those that came or were replaced while that went on."""
    runner = run.runner
    pending = list(nodes)
    for last in [False] * (_ROUNDS - 1) + [True]:
        runner.check(pending, end)
        is_late = end is not None and time.monotonic() >= end
        run.api.patience = _LATE_SECONDS if is_late else run.api.patience
        try:
            now = {node.name: node for node in _list_nodes(run)}
        except FipsManifestError as error:
            run.aggregate.unlisted = error.message
            run.warnings.append(f"Nodes that came or were replaced meanwhile are not in the result: {error.message}")
            return
        replaced = [node for name, node in now.items() if runner.checked.get(name, node.uid) != node.uid]
        for node in replaced:
            run.aggregate.forget(node.name)
            run.aggregate.add(node.name, no_answer("node-replaced"))
        added = [node for name, node in now.items() if name not in runner.checked]
        for node in added:
            run.aggregate.add(node.name, no_answer("run-ended"))
        for name, answer in list(run.aggregate.nodes.items()):
            if name not in now and name in runner.checked and answer.verdict == "unknown":
                run.aggregate.add(name, no_answer("node-deleted", answer.detail))
        pending = [*replaced, *added]
        if not pending or last or is_late:
            return


def _log_writer(run: _Run, directory: Path) -> Callable[[str, str], None]:
    """Return what writes a pod's log, which is the node's whole report, into a directory; it is called by threads.

    A report that cannot be fetched or written is a warning: the node's verdict is known already.
    """
    directory.mkdir(parents=True, exist_ok=True)

    def write(node: str, pod: str) -> None:
        name = node if _NODE_NAME.match(node) and len(node) < 200 else hashlib.sha256(node.encode()).hexdigest()
        path = f"/api/v1/namespaces/{run.request.namespace}/pods/{pod}/log"
        try:
            log = run.api.text(path, {"container": CONTAINER, "limitBytes": str(_MAX_REPORT)})
            durable.write(directory / f"{name}.json", log[:_MAX_REPORT], 0o644)
        except (ApiError, FipsManifestError, OSError) as error:
            if len(run.warnings) < _MAX_WARNINGS:
                run.warnings.append(f"The whole report of {visible(node)} could not be fetched: {visible(str(error))}")

    return write


def publish(request: Request, report: document.ClusterReport) -> None:
    """Write the result into the cluster where that is asked for. Raises `Incomplete`, `UsageError`."""
    if request.output_config_map is None and not request.open_reports:
        return
    api = Api(load_connection(request.kubeconfig, request.context, os.environ))
    writers: list[Callable[[], None]] = []
    if request.output_config_map is not None:
        body = document.to_config_map(report, request.output_config_map, request.namespace)
        writers.append(partial(_apply, api, f"/api/v1/namespaces/{request.namespace}", "configmaps", body))
    if request.open_reports:
        writers.append(partial(_write_open_report, api, report))
    failed: list[FipsManifestError] = []
    for write in writers:
        try:
            write()
        except FipsManifestError as error:
            failed.append(error)
    if failed:
        raise failed[0]


def _write_open_report(api: Api, report: document.ClusterReport) -> None:
    try:
        served = {one.get("name") for one in api.get(_OPEN_REPORTS).get("resources") or []}
    except ApiError as error:
        if error.status != 404:
            raise explain(error, "get", "clusterreports", "openreports.io") from error
        served = set()
    if "clusterreports" not in served:
        raise Incomplete("The cluster does not serve openreports.io/v1alpha1.", "Install its definitions.")
    _apply(api, _OPEN_REPORTS, "clusterreports", document.to_open_report(report, "fipsmanifest"), "openreports.io")


def _apply(api: Api, path: str, resource: str, body: dict[str, Any], group: str = "") -> None:
    """Create an object, or replace the one that this program wrote earlier. Raises `Incomplete`, `UsageError`."""
    name = body["metadata"]["name"]
    try:
        found: Mapping[str, Any] = api.get(f"{path}/{resource}/{name}")
    except ApiError as error:
        if error.status != 404:
            raise explain(error, "get", resource, group) from error
        with explained("create", resource, group):
            api.create(f"{path}/{resource}", body)
        return
    metadata = found.get("metadata") or {}
    if any((metadata.get("labels") or {}).get(key) != value for key, value in body["metadata"]["labels"].items()):
        raise UsageError(f"{name} exists, and was not written by fipsmanifest.", "Choose another name.")
    replacement = {**body["metadata"], "resourceVersion": metadata["resourceVersion"]}
    with explained("update", resource, group):
        api.replace(f"{path}/{resource}/{name}", {**body, "metadata": replacement})
