"""A release from an upstream whose answers are changed at one step: nothing is published, and the code says why."""

from __future__ import annotations

import re
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from .conftest import Site

#: Changes status and body of an answer.
Change = Callable[[int, bytes], tuple[int, bytes]]


def _flip(status: int, body: bytes) -> tuple[int, bytes]:
    middle = len(body) // 2
    return status, body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]


def _other(_status: int, _body: bytes) -> tuple[int, bytes]:
    return 200, b"something else"


def _half(status: int, body: bytes) -> tuple[int, bytes]:
    return status, body[: len(body) // 2]


def _longer(status: int, body: bytes) -> tuple[int, bytes]:
    return status, body + b" "


def _answer(status: int) -> Change:
    return lambda _status, _body: (status, b"")


class _Proxy(ThreadingHTTPServer):
    """Passes requests on to one server, and changes the answers for paths that match."""

    def __init__(self, upstream: str, pattern: str, change: Change) -> None:
        proxy = self
        self.changed = 0

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                headers = {name: self.headers[name] for name in ("Accept", "Range", "If-Range") if name in self.headers}
                try:
                    with urllib.request.urlopen(urllib.request.Request(upstream + self.path, headers=headers)) as got:
                        status, body, named = got.status, got.read(), dict(got.headers)
                except urllib.error.HTTPError as error:
                    status, body, named = error.code, error.read(), dict(error.headers)
                if re.search(pattern, self.path):
                    proxy.changed += 1
                    status, body = change(status, body)
                self.send_response(status)
                for name in ("Content-Type", "Docker-Content-Digest", "WWW-Authenticate", "Location"):
                    if name in named:
                        self.send_header(name, named[name])
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)


@pytest.fixture
def between(site: Site) -> Iterator[Callable[[str, Change], tuple[list[str], list[_Proxy]]]]:
    """Return the mirrors of a site with proxies between, by what these change."""
    started: list[_Proxy] = []

    def start(pattern: str, change: Change) -> tuple[list[str], list[_Proxy]]:
        mirrors = site.upstream.mirrors
        for address in (site.upstream.served.files_address, site.upstream.served.registry_address):
            proxy = _Proxy(address, pattern, change)
            threading.Thread(target=proxy.serve_forever, daemon=True).start()
            started.append(proxy)
            mirrors = [word.replace(address, f"http://127.0.0.1:{proxy.server_port}") for word in mirrors]
        return mirrors, started

    yield start
    for proxy in started:
        proxy.shutdown()
        proxy.server_close()


REFUSED, INCOMPLETE = 5, 4
STEPS: dict[str, tuple[str, Change, int]] = {
    "metadata is something else": (r"/repomd\.xml$", _other, REFUSED),
    "metadata is cut": (r"/repomd\.xml$", _half, REFUSED),
    "metadata is gone": (r"/repomd\.xml$", _answer(404), INCOMPLETE),
    "metadata is denied": (r"/repomd\.xml$", _answer(403), INCOMPLETE),
    "the package list has another byte": (r"primary\.xml", _flip, REFUSED),
    "a package has another byte": (r"/kubelet[^/]*\.rpm$", _flip, REFUSED),
    "a package is longer": (r"/kubelet[^/]*\.rpm$", _longer, REFUSED),
    "a package is gone": (r"/kubelet[^/]*\.rpm$", _answer(404), INCOMPLETE),
    "an index or manifest has another byte": (r"/manifests/", _flip, REFUSED),
    "an index or manifest is something else": (r"/manifests/", _other, REFUSED),
    "an index or manifest is gone": (r"/manifests/", _answer(404), INCOMPLETE),
    "a configuration or layer has another byte": (r"/blobs/", _flip, REFUSED),
    "a configuration or layer is longer": (r"/blobs/", _longer, REFUSED),
}


@pytest.mark.parametrize("step", STEPS)
def test_nothing_is_published_of_what_an_upstream_changes(
    step: str, site: Site, between: Callable[[str, Change], tuple[list[str], list[_Proxy]]]
) -> None:
    pattern, change, code = STEPS[step]
    mirrors, proxies = between(pattern, change)
    lock = ["--lock", str(site.directory / "lock.json"), "--first-lock"]
    ended = site.run("release", "v1.21.3", "--el", "8", *mirrors, *lock, "--to", site.bucket, code=None)
    assert ended.returncode == code, ended.stderr
    assert sum(proxy.changed for proxy in proxies) > 0
    assert "error: " in ended.stderr
    # Neither a signature, nor a lock that would pin what was served, nor anything in the bucket.
    assert not list(site.directory.rglob("*.asc"))
    assert not (site.directory / "lock.json").exists()
    assert not [path for path in site.bucket.rglob("*") if path.is_file()]
