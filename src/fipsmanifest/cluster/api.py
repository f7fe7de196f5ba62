"""The Kubernetes API, as far as the check needs it: get, paged list, watch, create, patch, delete.

Objects are plain dictionaries. Requests are repeated while the API server restarts, refuses for a while (429 with
Retry-After) or fails (5xx); credentials that expired are renewed once for each refusal.
"""

from __future__ import annotations

import json
import logging
import os
import random
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3

from .. import __version__
from ..errors import Incomplete, UsageError
from ..fetch.retry import retry_after
from ..model.documents import MalformedDocument, read_json
from ..trust.text import visible
from .credentials import Credential, Credentials
from .kubeconfig import Connection

_log = logging.getLogger(__name__)

#: Objects in one page of a list; what kubectl asks for.
PAGE = 500
#: Bytes of one answer: a page of 500 nodes with 50 images each has about 10 MB.
MAX_BYTES = 128 << 20
#: Seconds that a watch lasts before it is opened again, and without a byte until it counts as broken.
WATCH_SECONDS = 45
#: Seconds for which a request is repeated.
PATIENCE = 300.0
_CONNECT, _READ = 10.0, 60.0
#: Seconds before a request is repeated: the first time, and at most.
_FIRST_WAIT, _LONGEST_WAIT = 0.25, 15.0
_TOO_MANY = 429
#: What may be different the next time; a webhook that cannot be reached makes the API server answer 500.
_TRANSIENT = {_TOO_MANY, 500, 502, 503, 504}
_MAX_500 = 3


class ApiError(Exception):
    """The API server refused a request (meta/v1 Status)."""

    def __init__(self, status: int, reason: str, message: str, retried: bool) -> None:
        super().__init__(message)
        self.status = status
        """The HTTP status."""
        self.reason = reason
        """The API's code for it, such as ``Forbidden``."""
        self.message = message
        """The API's sentence, made printable."""
        self.retried = retried
        """Whether an earlier attempt of the same request may have been carried out."""


class Unreachable(Incomplete):
    """The API server did not answer for as long as requests are repeated."""


@dataclass(frozen=True)
class _Request:
    """What is asked of the server."""

    method: str
    """HTTP's."""
    path: str
    """The resource."""
    query: Mapping[str, str] | None = None
    """Parameters."""
    body: Mapping[str, Any] | bytes | None = None
    """What is sent; a mapping as JSON."""
    content_type: str = "application/json"
    """The body's type."""
    accept: str = "application/json"
    """The answer's type."""
    absent: type[Exception] | None = None
    """What is raised for 404 instead of `ApiError`."""


class Api:
    """Requests to one API server. May be used by several threads."""

    def __init__(
        self,
        connection: Connection,
        *,
        threads: int = 16,
        patience: float = PATIENCE,
        stop: threading.Event | None = None,
    ) -> None:
        """``patience`` are the seconds for which a request is repeated; ``stop`` ends all waiting."""
        self._connection = connection
        self._server = connection.server.rstrip("/")
        self._credentials = Credentials(connection)
        self._threads = threads
        self._pools: dict[tuple[bytes, bytes] | None, urllib3.PoolManager] = {}
        self._pool_lock = threading.Lock()
        self._streams: set[urllib3.BaseHTTPResponse] = set()
        self.patience = patience
        self.stop = stop or threading.Event()
        self.requests = 0
        """How many were sent; a repeated one counts again."""
        if urlsplit(self._server).scheme not in ("https", "http"):
            raise UsageError(f"{visible(self._server)} is not an address of an API server.", "Correct the kubeconfig.")

    def end(self) -> None:
        """End all waiting: repeated requests are given up, watches end."""
        self.stop.set()
        for stream in list(self._streams):
            # One that has just ended by itself has no connection any more.
            with suppress(RuntimeError, ValueError, OSError):
                stream.shutdown()

    def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return one object. Raises `ApiError`, `Unreachable`."""
        return self._send(_Request("GET", path, query))

    def text(self, path: str, query: Mapping[str, str]) -> bytes:
        """Return a text, such as a log. Raises as `get`."""
        return self._exchange(_Request("GET", path, query, accept="*/*"))

    def create(self, path: str, body: Mapping[str, Any] | bytes) -> dict[str, Any]:
        """Create an object and return it as it is stored. Raises as `get`."""
        return self._send(_Request("POST", path, body=body))

    def create_named(self, path: str, name: str, body: Mapping[str, Any] | bytes) -> dict[str, Any]:
        """Create an object that no other client creates, whose ``name`` is in ``body``, and return it as it is stored.

        It is read where the answer to an earlier attempt of this request was lost. Raises as `get`.
        """
        try:
            return self.create(path, body)
        except ApiError as error:
            if error.status != 409 or not error.retried:
                raise
            return self.get(f"{path}/{name}")

    def replace(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Replace an object and return it. Raises as `get`."""
        return self._send(_Request("PUT", path, body=body))

    def patch(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Merge into an object (RFC 7396) and return it. Raises as `get`."""
        return self._send(_Request("PATCH", path, body=body, content_type="application/merge-patch+json"))

    def delete(self, path: str, query: Mapping[str, str] | None = None, seconds: int | None = None) -> None:
        """Delete an object, or those that a query selects; ``seconds`` is the grace period. Raises as `get`."""
        options: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        options |= {} if seconds is None else {"gracePeriodSeconds": seconds}
        with suppress(_Absent):
            self._send(_Request("DELETE", path, query, options, absent=_Absent))

    def pages(self, path: str, query: Mapping[str, str] | None = None, *, metadata: bool = False) -> Iterator[Any]:
        """Yield a list in pages of at most `PAGE` objects; ``metadata`` asks for nothing else of them.

        Raises as `get`; a list that takes so long that its state expires (410) is an `ApiError`. An answer that is no
        list, and a last page that counts more objects, are `Unreachable`: what they leave out must not be missed.
        """
        accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"
        asked = {**(query or {}), "limit": str(PAGE)}
        while True:
            page = self._send(_Request("GET", path, asked, accept=accept if metadata else "application/json"))
            # Some servers write an empty list as null.
            if "items" not in page or not isinstance(page["items"], list | None):
                raise Unreachable(f"{self._server} answers with something else than a list.", "Check its address.")
            yield page
            about = page.get("metadata") or {}
            following = about.get("continue")
            if not following:
                if about.get("remainingItemCount"):
                    raise Unreachable(f"{self._server} ends a list before its end.", "Run again.")
                return
            asked["continue"] = str(following)

    def watch(self, path: str, query: Mapping[str, str], version: str) -> Iterator[dict[str, Any]]:
        """Yield the events after a resource version until the server ends the watch.

        Raises `ApiError` (410 where the version is too old), `Unreachable` where the connection breaks.
        """
        asked = {**query, "watch": "1", "allowWatchBookmarks": "true", "resourceVersion": version}
        asked["timeoutSeconds"] = str(WATCH_SECONDS)
        credential = self._credentials.current()
        try:
            response = self._open(_Request("GET", path, asked), None, credential, stream=True)
            if response.status == 401:
                response.drain_conn()
                self._credentials.refused(credential)
                return
            if response.status != 200:
                raise _refusal(response.status, response.read(MAX_BYTES), retried=False)
            self._streams.add(response)
            try:
                for line in _lines(response):
                    if self.stop.is_set():
                        return
                    event = read_json(line)
                    if isinstance(event, dict):
                        if event.get("type") == "ERROR":
                            raise _refusal(0, line, retried=False)
                        yield event
            finally:
                self._streams.discard(response)
                response.close()
        except (urllib3.exceptions.HTTPError, OSError, MalformedDocument) as error:
            raise Unreachable(f"The watch of {self._server} broke: {visible(str(error))}.", "Run again.") from error

    def _send(self, request: _Request) -> dict[str, Any]:
        """Send a request and return the object in its answer."""
        return _document(self._exchange(request), self._server)

    def _exchange(self, request: _Request) -> bytes:
        """Send a request, again while that may help, and return the body of its answer."""
        data = request.body if isinstance(request.body, bytes | None) else json.dumps(request.body).encode("ascii")
        deadline = time.monotonic() + self.patience
        wait, retried, failures, renewed = _FIRST_WAIT, False, 0, False
        credential = self._credentials.current()
        while True:
            try:
                response = self._open(request, data, credential)
                status, content = response.status, response.data
            except (urllib3.exceptions.HTTPError, OSError) as error:
                _check_certificate(error, self._server)
                status, content, why = 0, b"", visible(str(error))
                after = None
                retried = True
            else:
                why = f"HTTP {status}"
                after = retry_after(response.headers.get("Retry-After", "") or "", _LONGEST_WAIT * 4)
            if status in (200, 201, 202):
                return content
            if status == 401 and not renewed:
                renewed, credential = True, self._credentials.refused(credential)
                continue
            if status == 404 and request.absent is not None:
                raise request.absent
            failures += status == 500
            if status and (status not in _TRANSIENT or failures > _MAX_500):
                raise _refusal(status, content, retried)
            # Too many requests is refused before anything is done; a proxy's error may come after it.
            retried = retried or status != _TOO_MANY
            delay = max(after or 0.0, wait * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load
            if time.monotonic() + delay > deadline or self.stop.wait(delay):
                raise Unreachable(
                    f"The API server {self._server} does not answer: {why}.", "Check the network and the kubeconfig."
                )
            _log.debug("%s %s: %s, repeated after %.1f s", request.method, request.path, why, delay)
            wait = min(wait * 2, _LONGEST_WAIT)

    def _open(
        self, request: _Request, data: bytes | None, credential: Credential, *, stream: bool = False
    ) -> urllib3.BaseHTTPResponse:
        """Send one request and return its response."""
        headers = {"Accept": request.accept, "User-Agent": f"fipsmanifest/{__version__}", **credential.headers}
        headers |= {"Content-Type": request.content_type} if data is not None else {}
        self.requests += 1
        return self._pool(credential.certificate).request(
            request.method,
            self._server + request.path + (f"?{urlencode(request.query)}" if request.query else ""),
            body=data,
            headers=headers,
            preload_content=not stream,
            redirect=False,
            retries=False,
            timeout=urllib3.Timeout(connect=_CONNECT, read=WATCH_SECONDS + 15.0 if stream else _READ),
        )

    def _pool(self, certificate: tuple[bytes, bytes] | None) -> urllib3.PoolManager:
        with self._pool_lock:
            if certificate not in self._pools:
                self._pools = {certificate: self._make_pool(certificate)}
            return self._pools[certificate]

    def _make_pool(self, certificate: tuple[bytes, bytes] | None) -> urllib3.PoolManager:
        asked = self._connection
        options: dict[str, Any] = {"num_pools": 2, "maxsize": self._threads + 4, "block": False}
        if asked.server.startswith("https"):
            options["ssl_context"] = _tls_context(asked, certificate)
            if asked.server_name:
                options |= {"server_hostname": asked.server_name, "assert_hostname": asked.server_name}
        proxy = asked.proxy or _proxy_of_environment(asked.server)
        if proxy is None:
            return urllib3.PoolManager(**options)
        if urlsplit(proxy).scheme not in ("http", "https"):
            raise UsageError(f"The proxy {visible(proxy)} is not an HTTP proxy.", "Name an HTTP proxy.")
        return urllib3.ProxyManager(proxy, **options)


class _Absent(Exception):
    """What is to be deleted does not exist."""


def _document(content: bytes, server: str) -> dict[str, Any]:
    try:
        document = read_json(content) if len(content) <= MAX_BYTES else None
    except MalformedDocument:
        document = None
    if not isinstance(document, dict):
        raise Unreachable(f"{server} answers with something else than JSON objects.", "Check the server's address.")
    return document


def _refusal(http: int, content: bytes, retried: bool) -> ApiError:
    """Return the error of an answer (meta/v1 Status), or of a watch's event with one."""
    try:
        document = read_json(content)
    except MalformedDocument:
        document = None
    status = document if isinstance(document, dict) else {}
    if isinstance(status.get("object"), dict):
        status = status["object"]
    code = status.get("code")
    message = status.get("message") or content[:300].decode("utf-8", "replace")
    reason = visible(str(status.get("reason") or ""), 60)
    return ApiError(code if isinstance(code, int) else http, reason, visible(str(message), 500), retried)


def _lines(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """Yield the lines of a response as they arrive."""
    kept = b""
    for chunk in response.stream(1 << 16):
        *lines, kept = (kept + chunk).split(b"\n")
        yield from (line for line in lines if line)
        if len(kept) > MAX_BYTES:
            raise OSError("an event is too long")


def _proxy_of_environment(server: str) -> str | None:
    parts = urlsplit(server)
    return None if proxy_bypass(parts.netloc) else getproxies().get(parts.scheme)


def _check_certificate(error: Exception, server: str) -> None:
    """Raise `Incomplete` where trying again cannot help: the server's certificate is not trusted."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise Incomplete(
                f"The certificate of {server} is not trusted: {visible(cause.verify_message)}.",
                "Correct certificate-authority in the kubeconfig.",
            ) from error
        cause = cause.__cause__ or cause.__context__


def _tls_context(asked: Connection, certificate: tuple[bytes, bytes] | None) -> ssl.SSLContext:
    try:
        authority = asked.authority.decode("ascii") if asked.authority else None
        context = ssl.create_default_context(cadata=authority)
        if certificate is not None:
            _load_certificate(context, *certificate)
    except (ssl.SSLError, ValueError, OSError) as error:
        raise UsageError(
            f"The certificates of the context {asked.name} cannot be used: {visible(str(error))}.",
            "Correct the kubeconfig.",
        ) from error
    # Clusters' own certificates often lack what the strict profile of later Pythons asks for.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if asked.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _load_certificate(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Load a client certificate, which Python reads from a file only: here one in memory, so that no key is on disk."""
    descriptor = os.memfd_create("client-certificate", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, certificate + b"\n" + key)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
