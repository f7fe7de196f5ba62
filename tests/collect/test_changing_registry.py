"""Registries that answer differently from one request to the next, misstate what they serve, or redirect elsewhere."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from fipsmanifest.collect import image
from fipsmanifest.errors import FipsManifestError, Incomplete, Refused
from fipsmanifest.fetch.cache import Cache
from fipsmanifest.fetch.http import Http, Limits
from fipsmanifest.fetch.mirror import Mirrors
from tests.collect.test_image import context, pull
from tests.support.registry import OCI_INDEX, OCI_MANIFEST, make_image, make_layer

#: What answers a request: status, headers, body; None for the object as it is in the layout.
Answer = tuple[int, Mapping[str, str], bytes] | None
#: Returns the answer to a request by its path and Authorization.
_Answers = Callable[[str, str | None], tuple[int, Mapping[str, str], bytes]]


@dataclass
class Scripted:
    """A registry with the images of an OCI layout, whose answers a test changes."""

    layout: Path
    tags: dict[str, list[str]]
    """The digests that a tag names, in the order of the requests; the last stays."""
    change: Callable[[str, int], Answer] = lambda _path, _number: None
    """Returns the answer to the request for a path, counted from 0 for each path."""
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and Authorization of each request."""

    def answer(self, path: str, authorization: str | None) -> tuple[int, Mapping[str, str], bytes]:
        number = sum(other == path for other, _ in self.requests)
        self.requests.append((path, authorization))
        changed = self.change(path, number)
        if changed is not None:
            return changed
        key = path.rpartition("/")[2]
        if key in self.tags:
            key = self.tags[key][min(number, len(self.tags[key]) - 1)]
        place = self.layout / "blobs/sha256" / key.removeprefix("sha256:")
        if not place.is_file():
            return 404, {}, b""
        data = place.read_bytes()
        kind = "application/octet-stream"
        if "/manifests/" in path:
            kind = str(json.loads(data)["mediaType"])
        return 200, {"Content-Type": kind, "Docker-Content-Digest": f"sha256:{hashlib.sha256(data).hexdigest()}"}, data


def _handler(
    answers: _Answers,
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, headers, body = answers(self.path, self.headers.get("Authorization"))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    return Handler


@pytest.fixture
def serve() -> Iterator[Callable[[_Answers], str]]:
    servers = []

    def start(answers: _Answers) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(answers))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


_Serve = Callable[[_Answers], str]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A layout, and the digests of two images in it."""
    layout = tmp_path_factory.mktemp("layout")

    def made(tag: str) -> str:
        return make_image(layout, tag, {name: [make_layer({"a": os.urandom(999)})] for name in ("amd64", "arm64")})

    return layout, made("one"), made("two")


def test_a_tag_that_moves_while_an_image_is_pulled_gives_the_first_image_whole(
    images: tuple[Path, str, str], serve: _Serve, tmp_path: Path
) -> None:
    layout, one, two = images
    registry = Scripted(layout, {"v1": [one, two]})
    address = serve(registry.answer)
    artifact = pull(f"{address}/some/image:v1", context(tmp_path), "x86_64", "aarch64")
    assert artifact.index == one
    listed = json.loads((layout / "blobs/sha256" / one.removeprefix("sha256:")).read_text())["manifests"]
    assert [platform.manifest.digest for platform in artifact.platforms] == [entry["digest"] for entry in listed]
    assert sum(path.endswith("/manifests/v1") for path, _ in registry.requests) == 1


@pytest.mark.parametrize("what", ["tag", "manifest", "config", "layer"])
def test_an_object_that_changes_is_refused_and_named(
    images: tuple[Path, str, str], serve: _Serve, tmp_path: Path, what: str
) -> None:
    layout, one, two = images
    other = (layout / "blobs/sha256" / two.removeprefix("sha256:")).read_bytes()
    index = json.loads((layout / "blobs/sha256" / one.removeprefix("sha256:")).read_text())
    entry = index["manifests"][0]
    manifest = json.loads((layout / "blobs/sha256" / entry["digest"].removeprefix("sha256:")).read_text())
    paths = {
        "tag": "/v2/some/image/manifests/v1",
        "manifest": f"/v2/some/image/manifests/{entry['digest']}",
        "config": f"/v2/some/image/blobs/{manifest['config']['digest']}",
        "layer": f"/v2/some/image/blobs/{manifest['layers'][0]['digest']}",
    }

    def change(path: str, _: int) -> Answer:
        # Another object under the name and with the headers of this one.
        return (200, {"Content-Type": OCI_INDEX, "Docker-Content-Digest": one}, other) if path == paths[what] else None

    address = serve(Scripted(layout, {"v1": [one]}, change).answer)
    # A registry that serves another size may have broken off, which is incomplete; another digest is refused.
    with pytest.raises(FipsManifestError) as failure:
        pull(f"{address}/some/image:v1", context(tmp_path))
    assert isinstance(failure.value, Refused if what in ("tag", "manifest") else (Refused, Incomplete))
    assert (one if what == "tag" else paths[what].rpartition("/")[2]) in failure.value.message
    assert not [path for path in (tmp_path / "cache").rglob(hashlib.sha256(other).hexdigest()) if path.is_file()]


@pytest.mark.parametrize("announced", [OCI_MANIFEST, "application/vnd.docker.distribution.manifest.v2+json"])
def test_a_document_announced_as_another_kind_is_refused(
    images: tuple[Path, str, str], serve: _Serve, tmp_path: Path, announced: str
) -> None:
    layout, one, _ = images
    data = (layout / "blobs/sha256" / one.removeprefix("sha256:")).read_bytes()
    registry = Scripted(layout, {"v1": [one]}, lambda _path, _number: (200, {"Content-Type": announced}, data))
    with pytest.raises(Refused, match="is ambiguous"):
        pull(f"{serve(registry.answer)}/some/image:v1", context(tmp_path))


def test_a_redirect_to_another_host_gets_no_credentials(
    images: tuple[Path, str, str],
    serve: _Serve,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    layout, one, _ = images
    storage = Scripted(layout, {})

    def change(path: str, number: int) -> Answer:
        if number == 0 and path.endswith("/v1"):
            return 401, {"WWW-Authenticate": 'Basic realm="some"'}, b""
        if "/blobs/" in path:
            return 307, {"Location": f"http://{elsewhere}{path}?X-Amz-Signature=0123secret"}, b""
        return None

    def at_storage(path: str, authorization: str | None) -> tuple[int, Mapping[str, str], bytes]:
        return Scripted.answer(storage, path.partition("?")[0], authorization)

    elsewhere = serve(at_storage).replace("127.0.0.1", "localhost")
    registry = Scripted(layout, {"v1": [one]}, change)
    address = serve(registry.answer)
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", json.dumps({"auths": {address: {"auth": "dXNlcjpwYXNzd29yZA=="}}}))
    with caplog.at_level(logging.DEBUG, "fipsmanifest"):
        artifact = pull(f"{address}/some/image:v1", context(tmp_path))
    assert artifact.index == one
    # The log has what was asked for and what came, and neither credentials nor signatures.
    assert f"{elsewhere}/v2/some/image/blobs/" in caplog.text
    assert one in caplog.text
    assert not [word for word in ("0123secret", "password", "dXNlcjpwYXNzd29yZA") if word in caplog.text]
    assert [value for _, value in registry.requests if value] != []
    assert storage.requests
    assert [value for _, value in storage.requests if value] == []


@pytest.mark.parametrize("where", ["/manifests/", "/blobs/"])
def test_redirects_without_end_are_incomplete(
    images: tuple[Path, str, str], serve: _Serve, tmp_path: Path, where: str
) -> None:
    layout, one, _ = images

    def change(path: str, number: int) -> Answer:
        return (302, {"Location": f"{path}x"}, b"") if where in path else None

    registry = Scripted(layout, {"v1": [one]}, change)
    with pytest.raises(Incomplete):
        pull(f"{serve(registry.answer)}/some/image:v1", context(tmp_path))
    assert len(registry.requests) < 100


# An index may name a thousand entries, each of them another index, and so on.
def test_indexes_within_indexes_end(serve: _Serve, tmp_path: Path) -> None:
    blobs = tmp_path / "layout/blobs/sha256"
    blobs.mkdir(parents=True)

    def put(manifests: list[dict[str, Any]]) -> dict[str, Any]:
        data = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}).encode()
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": OCI_INDEX, "digest": f"sha256:{digest}", "size": len(data)}

    entry = put([])
    for number in range(4):
        entry = put([{**entry, "annotations": {"number": f"{number} {copy}"}} for copy in range(900)])
    registry = Scripted(tmp_path / "layout", {"v1": [entry["digest"]]})
    address = serve(registry.answer)
    cache = Cache(tmp_path / "cache")
    with Http(cache, limits=Limits(attempts=2, backoff=0.01)) as http:
        try:
            pulled = image.pull(f"{address}/some/image:v1", http, cache, Mirrors.parse(()))
        except FipsManifestError:
            pass
        else:
            assert [part for part in pulled.left_out if isinstance(part, FipsManifestError)]
    with pytest.raises(FipsManifestError):
        pull(f"{address}/some/image:v1", context(tmp_path))
    assert len(registry.requests) < 3000
