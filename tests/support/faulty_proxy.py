"""A proxy in front of a real S3 server that makes chosen requests fail, before or after the server has handled them."""

from __future__ import annotations

import functools
import hashlib
import http.client
import socket
import struct
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

#: Gets the method and the count of that method's requests so far; returns a fault's name, or None.
Choice = Callable[[str, int], str | None]


def honest(method: str, count: int) -> None:
    """Let all requests succeed."""
    del method, count


class FaultyProxy:
    """Faults of a request, chosen by its method and its number among those whose path has ``only`` in it.

    ``reset-before`` and ``reset-after`` the server took it; ``truncate`` half of the answer; ``slow`` in pieces;
    ``stall`` nothing for 3 s; ``lost`` yes without doing it; ``garble`` another last byte; or an HTTP status with an
    error code: ``503``, ``403-AccessDenied``; or ``instead`` is given path and body, and the answer is yes.
    ``before_fault`` is called first. ``after_write`` is given the count of the writes that the server took, and says
    whether the answer to this one is lost. ``no_conditions``: writes on a condition are answered with 501.
    """

    def __init__(
        self,
        endpoint_url: str,
        choose: Choice,
        *,
        only: str = "",
        retry_after: str = "0",
        before_fault: Callable[[], object] = lambda: None,
        after_write: Callable[[int], bool] | None = None,
        instead: Callable[[str, bytes], object] | None = None,
        no_conditions: bool = False,
    ) -> None:
        self.upstream = urlsplit(endpoint_url).netloc
        self.spoiled: list[str] = []
        self.requests: list[str] = []
        self.times: list[float] = []
        self.retry_after = retry_after
        self.before_fault = before_fault
        self.after_write = after_write
        self.instead = instead
        self.no_conditions = no_conditions
        self._written = 0
        self._only = only
        self._choose = choose
        self._counts: dict[str, int] = {}
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Handler, self))
        self._server.daemon_threads = True
        self.endpoint_url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> FaultyProxy:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def fault(self, method: str, path: str) -> str | None:
        """Count a request and choose its fault."""
        with self._lock:
            self.requests.append(f"{method} {path}")
            self.times.append(time.monotonic())
            if self._only not in path:
                return None
            self._counts[method] = self._counts.get(method, 0) + 1
            fault = self._choose(method, self._counts[method])
            if fault:
                self.spoiled.append(fault)
            return fault

    def is_lost(self) -> bool:
        """Count a write that the server accepted, and return whether its answer is to be lost."""
        with self._lock:
            self._written += 1
            lost = self.after_write is not None and self.after_write(self._written)
            if lost:
                self.spoiled.append("after-write")
            return lost


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, proxy: FaultyProxy, *arguments: Any) -> None:
        self._proxy = proxy
        super().__init__(*arguments)

    def handle_any(self) -> None:
        fault = self._proxy.fault(self.command, self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self._proxy.no_conditions and {"If-Match", "If-None-Match"} & set(self.headers.keys()):
            fault = "501-NotImplemented"
        if fault:
            self._proxy.before_fault()
        if fault == "reset-before":
            self._reset()
        elif fault == "instead" and self._proxy.instead is not None:
            self._proxy.instead(self.path, body)
            self._answer(200, {"ETag": f'"{hashlib.md5(body).hexdigest()}"'}, b"")
        elif fault == "lost":
            self._answer(200, {"ETag": f'"{hashlib.md5(body).hexdigest()}"'}, b"")
        elif fault and fault[:3].isdigit():
            self._answer(int(fault[:3]), {"Retry-After": self._proxy.retry_after}, _error(fault))
        else:
            try:
                status, headers, content = self._forward(body)
            except OSError:
                self._reset()
                return
            if fault == "stall":
                time.sleep(3)
            if fault == "garble":
                content = content[:-1] + bytes([content[-1] ^ 1])
            if fault == "reset-after" or (self.command == "PUT" and status == 200 and self._proxy.is_lost()):
                self._reset()
            else:
                self._answer(status, headers, content, whole=fault != "truncate", slowly=fault == "slow")

    do_GET = do_PUT = do_HEAD = do_DELETE = handle_any  # noqa: N815 - the names that http.server calls

    def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self._proxy.upstream, timeout=20)
        connection.request(self.command, self.path, body, dict(self.headers))
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        dropped = {"content-length", "connection", "transfer-encoding", "date", "server"}
        return answer.status, {k: v for k, v in answer.getheaders() if k.lower() not in dropped}, content

    def _answer(
        self, status: int, headers: dict[str, str], content: bytes, *, whole: bool = True, slowly: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        half = len(content) // 2
        self.wfile.write(content[:half])
        if slowly:
            time.sleep(0.5)
        if whole:
            self.wfile.write(content[half:])
        self.close_connection = not whole

    def _reset(self) -> None:
        # Linger 0: the client sees a reset, not an orderly end.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def finish(self) -> None:
        if self.connection.fileno() != -1:
            super().finish()

    def log_message(self, *arguments: Any) -> None:
        pass


def _error(status: str) -> bytes:
    codes = {
        "403": "ExpiredToken",
        "409": "ConditionalRequestConflict",
        "412": "PreconditionFailed",
        "429": "TooManyRequests",
        "503": "SlowDown",
    }
    code = codes.get(status, "InternalError")
    code = status[4:] or code
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>Spoiled by the test</Message></Error>".encode()
