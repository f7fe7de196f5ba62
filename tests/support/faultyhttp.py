"""A loopback HTTP server with ranges and validators, and with the faults of real ones, injected by path.

``with FaultyServer(directory) as server:`` serves the files of ``directory``. With
``server.faults["/a.rpm"] = [reset_after(10)]``, the next answers for that path go wrong, one fault each; then the path
is served well again.
"""

from __future__ import annotations

import email.utils
import hashlib
import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from urllib.parse import unquote, urlsplit

Fault = Callable[["Handler", bytes], None]


class Handler(BaseHTTPRequestHandler):
    """Answers GET and POST with files of the server's directory, as RFC 9110 says."""

    protocol_version = "HTTP/1.1"
    server: FaultyServer

    def do_GET(self) -> None:
        directory = self.server.directory
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append((path, dict(self.headers.items())))
        self.server.targets.append(self.path)
        file = directory / path.lstrip("/")
        body = file.read_bytes() if file.is_file() else b""
        with self.server.lock:
            waiting = self.server.faults.get(path, [])
            fault = waiting.pop(0) if waiting else None
        if fault is not None:
            fault(self, body)
        elif not file.is_file():
            self.answer(404, b"not here\n")
        else:
            self.serve(body, file.stat().st_mtime)

    do_POST = do_GET  # noqa: N815 - the name that http.server asks for

    def serve(self, body: bytes, modified: float) -> None:
        validators = {
            "ETag": '"' + hashlib.sha256(body).hexdigest()[:16] + '"',
            "Last-Modified": email.utils.formatdate(modified, usegmt=True),
        }
        headers = {name: value for name, value in validators.items() if name in self.server.validators}
        start = self._range_start(headers)
        if start is None:
            self.answer(200, body, headers)
        elif start >= len(body):
            self.answer(416, b"", {"Content-Range": f"bytes */{len(body)}"})
        else:
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
            self.answer(206, body[start:], headers)

    def _range_start(self, validators: dict[str, str]) -> int | None:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range")
        if asked is None or not self.server.ranges or (condition and condition not in validators.values()):
            return None
        return int(asked.group(1))

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.head(status, {"Content-Length": str(len(body)), **(headers or {})})
        self.wfile.write(body)

    def head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def reset(self) -> None:
        """Break the connection off as a crashed host does (RST)."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            self.close_connection = True

    def finish(self) -> None:
        try:
            super().finish()
        except OSError:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: the tests read `FaultyServer.requests`."""


class FaultyServer(ThreadingHTTPServer):
    """The server; ``url`` has no ``/`` at its end."""

    daemon_threads = True

    def __init__(self, directory: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.directory = directory
        self.faults: dict[str, list[Fault]] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.targets: list[str] = []
        self.ranges = True
        self.validators = {"ETag", "Last-Modified"}
        self.lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> FaultyServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that gives up is what many tests are about."""

    def asked(self, path: str) -> list[dict[str, str]]:
        """Return the headers of each request for ``path``, in order."""
        return [headers for seen, headers in self.requests if seen == path]


def status(code: int, headers: dict[str, str] | None = None, body: bytes = b"no\n") -> Fault:
    """Answer with that status."""
    return lambda handler, _: handler.answer(code, body, headers)


def redirect(target: str, code: int = 302) -> Fault:
    """Redirect the client."""
    return status(code, {"Location": target}, b"")


def reset_after(count: int) -> Fault:
    """Announce the whole body, send ``count`` bytes of it, and reset the connection."""

    def fault(handler: Handler, body: bytes) -> None:
        etag = '"' + hashlib.sha256(body).hexdigest()[:16] + '"'
        handler.head(200, {"Content-Length": str(len(body)), "ETag": etag})
        handler.wfile.write(body[:count])
        # The client must have these bytes before the reset overtakes them.
        handler.wfile.flush()
        time.sleep(0.2)
        handler.reset()

    return fault


def truncate(count: int) -> Fault:
    """Announce the whole body, send ``count`` bytes of it, and close as if that was all."""

    def fault(handler: Handler, body: bytes) -> None:
        handler.head(200, {"Content-Length": str(len(body)), "Connection": "close"})
        handler.wfile.write(body[:count])
        handler.close_connection = True

    return fault


def announce(length: int) -> Fault:
    """Announce a wrong length, send the whole body, and close."""

    def fault(handler: Handler, body: bytes) -> None:
        handler.head(200, {"Content-Length": str(length), "Connection": "close"})
        handler.wfile.write(body)
        handler.close_connection = True

    return fault


def endless(block: bytes = b"x" * 65536) -> Fault:
    """Send for as long as the client takes it (half a gigabyte at most)."""

    def fault(handler: Handler, _: bytes) -> None:
        handler.head(200, {"Connection": "close"})
        for _round in range(8192):
            handler.wfile.write(block)
        handler.close_connection = True

    return fault


def drip(pause: float, most: float = 20.0) -> Fault:
    """Send the body byte by byte, ``pause`` seconds between two."""

    def fault(handler: Handler, body: bytes) -> None:
        handler.head(200, {"Content-Length": str(len(body))})
        end = time.monotonic() + most
        for byte in body:
            if time.monotonic() > end:
                break
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
            time.sleep(pause)
        handler.close_connection = True

    return fault


def instead(other: bytes) -> Fault:
    """Serve other bytes, with a validator of their own."""
    return lambda handler, _: handler.serve(other, 0)
