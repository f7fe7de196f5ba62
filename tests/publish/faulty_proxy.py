"""A proxy before a real S3 server that spoils chosen requests: before or after the server has done its work."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

#: Gets the method and the count of that method's requests so far; gives a fault's name, or None.
Choice = Callable[[str, int], str | None]


class FaultyProxy:
    """Faults: ``reset-before``, ``reset-after``, ``truncate``, or an HTTP status in place of the answer (``503``)."""

    def __init__(self, endpoint_url: str, choose: Choice) -> None:
        upstream = urlsplit(endpoint_url).netloc
        counts: dict[str, int] = {}
        lock = threading.Lock()
        self.spoiled: list[str] = []
        self.requests: list[str] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                with lock:
                    counts[self.command] = counts.get(self.command, 0) + 1
                    fault = choose(self.command, counts[self.command])
                    proxy.requests.append(f"{self.command} {self.path}")
                    if fault:
                        proxy.spoiled.append(fault)
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if fault == "reset-before":
                    return self._reset()
                if fault and fault.isdigit():
                    return self._answer(int(fault), {"Retry-After": "0"}, _error(fault))
                connection = http.client.HTTPConnection(upstream, timeout=20)
                connection.request(self.command, self.path, body, dict(self.headers))
                answer = connection.getresponse()
                content = answer.read()
                connection.close()
                if fault == "reset-after":
                    return self._reset()
                headers = {k: v for k, v in answer.getheaders() if k.lower() not in {"content-length", "connection"}}
                if fault == "truncate":
                    return self._truncated(answer.status, headers, content)
                return self._answer(answer.status, headers, content)

            do_GET = do_PUT = do_HEAD = handle_any  # noqa: N815 - the names that http.server calls

            def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def _truncated(self, status: int, headers: dict[str, str], content: bytes) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) // 2])
                self.close_connection = True

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

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
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


def _error(status: str) -> bytes:
    codes = {"409": "ConditionalRequestConflict", "429": "TooManyRequests", "503": "SlowDown", "403": "ExpiredToken"}
    code = codes.get(status, "InternalError")
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>Spoiled by the test</Message></Error>".encode()
