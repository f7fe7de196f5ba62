"""Requests and credentials, against servers with the faults of real clusters."""

from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fipsmanifest.cluster.api import Api, ApiError, Unreachable
from fipsmanifest.cluster.kubeconfig import Connection, load_connection
from fipsmanifest.errors import Incomplete
from tests.support import loopback

Answer = tuple[int, dict[str, str], Any]


@contextmanager
def serving(answer: Callable[[str, str, dict[str, str]], Answer]) -> Iterator[str]:
    """Serve what ``answer`` gives for a method, path and headers."""

    class Handler(loopback.QuietHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:  # noqa: N802 - the base class's name
            length = int(self.headers.get("Content-Length") or 0)
            self.rfile.read(length)
            status, headers, body = answer(self.command, self.path, dict(self.headers))
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.answer(data, status, headers)

        do_POST = do_DELETE = do_PATCH = do_PUT = do_GET  # noqa: N815 - the base class's names

    with loopback.serving(Handler) as port:
        yield f"http://127.0.0.1:{port}"


def script(
    *answers: Answer,
) -> tuple[Callable[[str, str, dict[str, str]], Answer], list[tuple[str, str, dict[str, str]]]]:
    """Return an answer for each request in turn, the last one again, and the requests."""
    asked: list[tuple[str, str, dict[str, str]]] = []

    def answer(method: str, path: str, headers: dict[str, str]) -> Answer:
        asked.append((method, path, headers))
        return answers[min(len(asked), len(answers)) - 1]

    return answer, asked


def status(code: int, reason: str, message: str = "") -> Answer:
    return code, {}, {"kind": "Status", "code": code, "reason": reason, "message": message}


def test_too_many_requests_are_repeated_when_the_server_wants_it() -> None:
    answer, asked = script((429, {"Retry-After": "1"}, {}), (503, {}, b"<html>"), (200, {}, {"kind": "Node"}))
    with serving(answer) as server:
        began = time.monotonic()
        assert Api(Connection(server, "test")).get("/api/v1/nodes/one") == {"kind": "Node"}

    assert len(asked) == 3 and time.monotonic() - began >= 1.0


def test_what_cannot_change_is_not_repeated() -> None:
    answer, asked = script(status(403, "Forbidden", 'pods is forbidden: User "x" cannot list resource "pods"\x1b[2J'))
    with serving(answer) as server, pytest.raises(ApiError) as raised:
        Api(Connection(server, "test")).get("/api/v1/pods")

    assert len(asked) == 1
    assert (raised.value.status, raised.value.reason, raised.value.retried) == (403, "Forbidden", False)
    assert "\x1b" not in raised.value.message


@pytest.mark.parametrize(("status", "is_read"), [(504, True), (429, False)])
def test_an_object_whose_creation_got_no_answer_is_read(status: int, is_read: bool) -> None:
    # A load balancer gives up, and the API server goes on; what is refused for the number of requests was not done.
    exists = {"kind": "Status", "code": 409, "reason": "AlreadyExists", "message": "it exists"}
    answer, asked = script((status, {}, {}), (409, {}, exists), (200, {}, {"metadata": {"uid": "1"}}))
    with serving(answer) as server:
        api = Api(Connection(server, "test"))
        if is_read:
            assert api.create_named("/pods", "one", {}) == {"metadata": {"uid": "1"}}
        else:
            with pytest.raises(ApiError, match="it exists"):
                api.create_named("/pods", "one", {})
    assert [(method, path) for method, path, _ in asked[2:]] == [("GET", "/pods/one")] * is_read


def test_a_webhook_that_fails_is_asked_a_few_times() -> None:
    answer, asked = script(status(500, "InternalError", "failed calling webhook"))
    with serving(answer) as server, pytest.raises(ApiError, match="failed calling webhook"):
        Api(Connection(server, "test")).create("/api/v1/pods", {})
    assert len(asked) == 4


def test_a_server_that_is_gone_ends_the_waiting_after_a_while() -> None:
    with pytest.raises(Unreachable, match="does not answer"):
        Api(Connection("http://127.0.0.1:9", "test"), patience=0.5).get("/")


def test_something_else_than_an_api_server() -> None:
    answer, _ = script((200, {}, b"<html>hello"))
    with serving(answer) as server, pytest.raises(Unreachable, match="something else than JSON"):
        Api(Connection(server, "test")).get("/")
    deep, _ = script((200, {}, b"[" * 100_000))
    with serving(deep) as server, pytest.raises(Unreachable, match="something else than JSON"):
        Api(Connection(server, "test")).get("/")


def test_pages_go_on_to_the_end() -> None:
    def answer(_: str, path: str, __: dict[str, str]) -> Answer:
        if "continue=next" in path:
            return 200, {}, {"metadata": {}, "items": [2]}
        return 200, {}, {"metadata": {"continue": "next"}, "items": [1]}

    with serving(answer) as server:
        assert [page["items"] for page in Api(Connection(server, "test")).pages("/api/v1/nodes")] == [[1], [2]]


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ({"kind": "Status", "status": "Success"}, "something else than a list"),
        ({"kind": "NodeList", "metadata": {}, "items": {}}, "something else than a list"),
        ({"kind": "NodeList", "metadata": {"remainingItemCount": 3}, "items": [1]}, "before its end"),
    ],
)
def test_a_list_that_is_none_or_is_cut_short_is_an_error(page: dict[str, Any], message: str) -> None:
    answer, _ = script((200, {}, page))
    with serving(answer) as server, pytest.raises(Unreachable, match=message):
        list(Api(Connection(server, "test")).pages("/api/v1/nodes"))


def test_an_empty_list_may_be_null() -> None:
    answer, _ = script((200, {}, {"kind": "NodeList", "metadata": {}, "items": None}))
    with serving(answer) as server:
        assert [page["items"] for page in Api(Connection(server, "test")).pages("/api/v1/nodes")] == [None]


def test_an_expired_watch_is_an_error_of_its_own() -> None:
    event = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}}
    answer, _ = script((200, {}, json.dumps(event).encode() + b"\n"))
    with serving(answer) as server, pytest.raises(ApiError, match="too old") as raised:
        list(Api(Connection(server, "test")).watch("/api/v1/pods", {}, "1"))
    assert raised.value.status == 410


def plugin(directory: Path, version: str = "v1", **more: Any) -> Path:
    """Write a kubeconfig with an exec plugin that prints another token each time, and counts."""
    program = directory / "plugin.py"
    program.write_text(
        "import json, os, pathlib, sys\n"
        "count = pathlib.Path(sys.argv[1])\n"
        "number = int(count.read_text()) + 1 if count.exists() else 1\n"
        "count.write_text(str(number))\n"
        "asked = json.loads(os.environ['KUBERNETES_EXEC_INFO'])\n"
        "status = {'token': 'token-%d' % number, **json.loads(os.environ.get('MORE', '{}'))}\n"
        "print(json.dumps({'kind': 'ExecCredential', 'apiVersion': asked['apiVersion'], 'status': status}))\n"
    )
    described = {
        "apiVersion": f"client.authentication.k8s.io/{version}",
        "command": sys.executable,
        "args": [str(program), str(directory / "count")],
        "env": [{"name": "MORE", "value": json.dumps(more)}],
        "interactiveMode": "Never",
    }
    return kubeconfig(directory, {"exec": described})


def kubeconfig(directory: Path, user: dict[str, Any], server: str = "https://example.org") -> Path:
    path = directory / "config"
    document = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha1"])
def test_an_exec_plugin_gives_tokens_and_another_one_when_the_server_refuses(tmp_path: Path, version: str) -> None:
    path = plugin(tmp_path, version)

    def answer(_: str, __: str, headers: dict[str, str]) -> Answer:
        good = headers["Authorization"] == "Bearer token-2"
        return (200, {}, {"kind": "Node"}) if good else status(401, "Unauthorized")

    with serving(answer) as server:
        path.write_text(path.read_text().replace("https://example.org", server))
        api = Api(load_connection(path, None, {}))
        assert api.get("/api/v1/nodes/one") == {"kind": "Node"}
        assert api.get("/api/v1/nodes/one") == {"kind": "Node"}

    assert (tmp_path / "count").read_text() == "2"


def test_a_token_that_expires_soon_is_replaced_before(tmp_path: Path) -> None:
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 5))
    path = plugin(tmp_path, expirationTimestamp=moment)
    answer, asked = script((200, {}, {}))
    with serving(answer) as server:
        path.write_text(path.read_text().replace("https://example.org", server))
        api = Api(load_connection(path, None, {}))
        api.get("/")
        api.get("/")

    assert [headers["Authorization"] for _, _, headers in asked] == ["Bearer token-1", "Bearer token-2"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"command": "/nonexistent/aws"}, "is not installed"),
        ({"command": "false"}, r"printed no credentials \(exit code 1\)"),
        ({"command": "echo", "args": ["{"]}, "printed no credentials"),
        ({"apiVersion": "client.authentication.k8s.io/v2"}, "uses client.authentication.k8s.io/v2"),
    ],
)
def test_a_plugin_that_gives_no_credentials(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    described = {"apiVersion": "client.authentication.k8s.io/v1", "command": "true", "interactiveMode": "Never"}
    path = kubeconfig(tmp_path, {"exec": {**described, **change}}, "http://127.0.0.1:9")

    with pytest.raises(Incomplete, match=message):
        Api(load_connection(path, None, {}), patience=1).get("/")


def test_a_token_file_is_read_again_when_the_server_refuses(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("old")

    def answer(_: str, __: str, headers: dict[str, str]) -> Answer:
        if headers["Authorization"] == "Bearer old":
            token.write_text("new\n")
            return status(401, "Unauthorized")
        return 200, {}, {"with": headers["Authorization"]}

    with serving(answer) as server:
        path = kubeconfig(tmp_path, {"tokenFile": "token"}, server)
        assert Api(load_connection(path, None, {})).get("/") == {"with": "Bearer new"}


def jwt(end: float) -> str:
    parts = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in ({}, {"exp": end}))
    return ".".join([*parts, "signature"])


def test_an_oidc_identity_is_refreshed(tmp_path: Path) -> None:
    fresh = jwt(time.time() + 3600)

    def answer(method: str, path: str, headers: dict[str, str]) -> Answer:
        if path == "/.well-known/openid-configuration":
            return 200, {}, {"token_endpoint": f"http://{headers['Host']}/token"}
        if path == "/token":
            return (200, {}, {"id_token": fresh}) if method == "POST" else status(405, "")
        return 200, {}, {"with": headers["Authorization"]}

    with serving(answer) as server:
        settings = {"idp-issuer-url": server, "client-id": "kubernetes", "refresh-token": "r", "id-token": jwt(1)}
        path = kubeconfig(tmp_path, {"auth-provider": {"name": "oidc", "config": settings}}, server)
        assert Api(load_connection(path, None, {})).get("/") == {"with": f"Bearer {fresh}"}


def test_several_kubeconfigs_are_one_and_the_first_wins(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    kubeconfig(second, {"token": "t"}, "https://second")
    (first / "config").write_text("clusters: [{name: c, cluster: {server: 'https://first'}}]")
    environment = {"KUBECONFIG": f"{first}/config:{tmp_path}/missing:{second}/config"}

    found = load_connection(None, None, environment)

    assert (found.server, found.token, found.name) == ("https://first", "t", "c")
