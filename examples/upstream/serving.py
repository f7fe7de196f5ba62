"""Servers on free loopback ports: plain files over HTTP as S3 serves them, and a container registry."""

from __future__ import annotations

import contextlib
import http.server
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from http import HTTPStatus
from pathlib import Path
from urllib.parse import unquote, urlsplit

from fipsmanifest.errors import Incomplete

_REGISTRY_CONFIG = """\
version: 0.1
log: {{level: info, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {root}}}}}
http: {{addr: "127.0.0.1:0", secret: loopback-only}}
"""

_REGISTRY_START_SECONDS = 30


class _Files(http.server.BaseHTTPRequestHandler):
    """GET and HEAD of files, with ETag and single ranges (RFC 9110)."""

    protocol_version = "HTTP/1.1"
    root: Path
    requests: list[str]

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, format: str, *args: object) -> None:
        """Keep requests in a list, and the terminal quiet."""

    def _answer(self, *, body: bool) -> None:
        path = (self.root / unquote(urlsplit(self.path).path).lstrip("/")).resolve()
        self.requests.append(f"{self.command} {self.path}")
        if not path.is_relative_to(self.root) or not path.is_file():
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        with path.open("rb") as file:
            stat = path.stat()
            etag = f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"'
            start, end = self._range(stat.st_size, etag)
            if start > end and stat.st_size:
                self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
                self.send_header("Content-Range", f"bytes */{stat.st_size}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            partial = end - start + 1 < stat.st_size
            self.send_response(HTTPStatus.PARTIAL_CONTENT if partial else HTTPStatus.OK)
            if partial:
                self.send_header("Content-Range", f"bytes {start}-{end}/{stat.st_size}")
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("ETag", etag)
            self.send_header("Last-Modified", formatdate(stat.st_mtime, usegmt=True))
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(end - start + 1))
            self.end_headers()
            if body and end >= start:
                with contextlib.suppress(ConnectionError):
                    self.connection.sendfile(file, start, end - start + 1)

    def _range(self, size: int, etag: str) -> tuple[int, int]:
        """First and last byte to send; the whole file where no range is asked for or its condition fails."""
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None or self.headers.get("If-Range", etag) != etag:
            return 0, size - 1
        return int(asked[1]), min(int(asked[2] or size - 1), size - 1)


@contextlib.contextmanager
def files(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve ``root``, and return the address (``http://127.0.0.1:PORT``) and the list that requests are added to."""
    requests: list[str] = []
    handler = type("_FilesOfRoot", (_Files,), {"root": root.resolve(), "requests": requests})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", requests
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def registry(directory: Path) -> Iterator[str]:
    """Run a container registry with its data in ``directory``, and return its address (``http://127.0.0.1:PORT``).

    Raises `Incomplete` where ``docker-registry`` is not installed or does not start.
    """
    program = shutil.which("docker-registry")
    if program is None:
        raise Incomplete("docker-registry is not installed.", "On Debian and Ubuntu: apt-get install docker-registry.")
    directory.mkdir(parents=True, exist_ok=True)
    config, log = directory / "config.yml", directory / "log"
    config.write_text(_REGISTRY_CONFIG.format(root=directory.resolve() / "data"))
    with log.open("wb") as output:
        # An environment of its own: the registry takes settings from any variable that starts with REGISTRY_.
        process = subprocess.Popen(
            [program, "serve", config],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={"PATH": "/usr/bin:/bin", "OTEL_TRACES_EXPORTER": "none"},
        )
    try:
        yield _address(process, log)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Wait for the registry to say which port the kernel gave it."""
    deadline = time.monotonic() + _REGISTRY_START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        found = re.search(rb"listening on (127\.0\.0\.1:[1-9]\d*)", log.read_bytes())
        if found:
            return f"http://{found[1].decode()}"
        time.sleep(0.02)
    raise Incomplete(f"docker-registry did not start: {log.read_text(errors='replace')[-500:].strip()}")
