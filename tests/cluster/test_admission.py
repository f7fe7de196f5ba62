"""A mutating webhook that a real API server asks: what it makes of a run's ConfigMaps is no answer of any node."""

from __future__ import annotations

import base64
import json
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from fipsmanifest.cluster import document
from tests.cluster.conftest import World
from tests.cluster.test_lifecycle import valid, wait_until
from tests.support import loopback
from tests.support.fakekubelet import node

WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
Patch = list[dict[str, object]]


@contextmanager
def webhook(world: World, patch: Patch, folder: Path) -> Iterator[None]:
    """Let the API server apply a patch (RFC 6902) to each ConfigMap that is created in the namespace of checks."""

    asked: list[str] = []

    class Handler(loopback.QuietHandler):
        def do_POST(self) -> None:  # noqa: N802 - the base class's name
            review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(review["request"]["uid"])
            response = {"uid": asked[-1], "allowed": True, "patchType": "JSONPatch"}
            response["patch"] = base64.b64encode(json.dumps(patch).encode()).decode()
            data = json.dumps({"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response})
            self.answer(data.encode())

    certificate, key = folder / "webhook.crt", folder / "webhook.key"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=webhook", "-days", "2"]
    made += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(made, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        Thread(target=server.serve_forever, daemon=True).start()
        client = {"url": f"https://127.0.0.1:{server.server_port}/"}
        client["caBundle"] = base64.b64encode(certificate.read_bytes()).decode()
        hook = {"name": "test.example.com", "clientConfig": client, "rules": [rule], "failurePolicy": "Fail"}
        hook |= {"sideEffects": "None", "admissionReviewVersions": ["v1"]}
        hook["namespaceSelector"] = {"matchLabels": {"app.kubernetes.io/managed-by": "fipsmanifest"}}
        world.api.create(WEBHOOKS, {"metadata": {"name": "test"}, "webhooks": [hook]})
        try:
            _wait(world, asked)
            yield
        finally:
            world.api.delete(f"{WEBHOOKS}/test")
            server.shutdown()


def _wait(world: World, asked: list[str]) -> None:
    """Wait until the API server asks the webhook, which takes it a moment."""
    path = f"/api/v1/namespaces/{world.request.namespace}/configmaps?dryRun=All"
    probe = {"metadata": {"generateName": "probe-", "labels": {"a": "b"}}, "immutable": True}

    def is_asked() -> bool:
        world.api.create(path, probe | {"binaryData": {"dkp-fips-tool": ""}})
        return bool(asked)

    wait_until(is_asked)


REPLACED = base64.b64encode(b"#!/bin/sh\necho valid\n").decode()
CHANGES: dict[str, tuple[Patch, str]] = {
    "the node tool": ([{"op": "replace", "path": "/binaryData/dkp-fips-tool", "value": REPLACED}], "dkp-fips-tool"),
    "a manifest that is added": ([{"op": "add", "path": "/binaryData/more.asc", "value": REPLACED}], "more.asc"),
    "a text that is added": ([{"op": "add", "path": "/data", "value": {"x": "y"}}], "data"),
    "that it may be changed later": ([{"op": "remove", "path": "/immutable"}], "immutable"),
}


@pytest.mark.parametrize("how", CHANGES)
def test_nodes_that_would_run_another_tool_or_read_other_manifests_have_no_answer(
    how: str, world: World, tmp_path: Path
) -> None:
    patch, changed = CHANGES[how]
    asked: list[str] = []

    def behave(name: str, pod: Any, reports: Any) -> Any:
        asked.append(name)
        return valid(name, pod, reports)

    with webhook(world, patch, tmp_path):
        report = world.check([node("one"), node("two")], behave)

    answers = {(answer.verdict, answer.reason) for answer in report.aggregate.nodes.values()}
    assert answers == {("unknown", "payload-changed")} and document.exit_code(report) == 4
    assert len(report.aggregate.nodes) == 2 and asked == [] and world.left() == []
    assert all(answer.detail.endswith(f": {changed}") for answer in report.aggregate.nodes.values())


def test_labels_that_a_webhook_adds_change_nothing(world: World, tmp_path: Path) -> None:
    label: Patch = [{"op": "add", "path": "/metadata/labels/example.com~1team", "value": "site"}]

    with webhook(world, label, tmp_path):
        report = world.check([node("one")], valid)

    assert report.aggregate.verdict == "valid"
