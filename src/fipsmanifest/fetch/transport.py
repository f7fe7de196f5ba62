"""One HTTP request: where it may go, how long it may take, and what its failure means.

https only, except to this machine or when the user allows it; a redirect never leaves https, and never carries
credentials to another host. Proxies are those of the environment, as requests reads them; ``.netrc`` is for the host
that was asked, and never for one that it redirects to. Cookies are not kept.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from .. import __version__
from ..archive.paths import shown as shown_name
from ..errors import Incomplete, Refused, UsageError
from .address import is_loopback, login_for, same_origin, shown, spell_plus, without_query
from .retry import retry_after
from .watchdog import Watchdog, adapter

# Commands that fetch nothing import this module, too, and requests takes longer to import than typer.
if TYPE_CHECKING:
    import requests

_log = logging.getLogger(__name__)

_READ = 256 << 10

#: RFC 9110, 15.3: the whole file; and 14.2 and 15.5.17: what may answer a request with a Range.
_WHOLE = {200, 203}
_RANGE = {206, 416}

#: RFC 9110, 15.4: the redirects that a GET follows.
_REDIRECTS = {301, 302, 303, 307, 308}

#: Answers that may be different next time: RFC 9110, 15.5.9 and 15.6; RFC 8470, 5.2; RFC 6585, 4; nginx's 499, and
#: what CDNs answer for an origin that they cannot reach (Cloudflare's 520 to 530).
_TRANSIENT = {408, 425, 429, 499, 500, 502, 503, 504, *range(520, 531)}
#: RFC 6585, 4: too many requests.
_RATE_LIMITED = 429

#: Bytes of all headers of an answer, of which http.client reads 100 of 64 KiB each. Servers take 8 to 32 KiB.
_MAX_HEADERS = 128 << 10
#: Bytes of one header that is parsed here.
_MAX_HEADER = 8 << 10

#: Bytes of an error's body that are read for its reason, characters of that which are shown, and seconds to wait.
_MAX_REASON = 64 << 10
_SHOWN_REASON = 200
_REASON_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How much, how long and how often; the defaults suit slow links and stop hostile ones."""

    connect: float = 10.0
    """Seconds until a connection must stand."""
    read: float = 30.0
    """Seconds without a byte."""
    headers: float = 120.0
    """Seconds until all headers of an answer must be here."""
    attempts: int = 5
    """Requests for one file, the first included."""
    backoff: float = 0.5
    """Seconds before the second attempt; each further wait is up to twice as long."""
    longest_wait: float = 60.0
    """Seconds to wait at most, whatever Retry-After asks for."""
    slowest: float = 4096.0
    """Bytes per second that a body must keep up, on average over `window`."""
    window: float = 30.0
    """Seconds."""
    total: float = 6 * 3600.0
    """Seconds for one file, all attempts together."""
    size: int = 16 << 30
    """Bytes of a file whose size is not known before."""
    redirects: int = 5
    """Redirects followed for one request."""


class Unauthorized(Incomplete):
    """A server wants credentials (401).

    ``challenge`` is its WWW-Authenticate header, empty where it sent none; ``url`` is the address that sent it, which
    redirects may have led to.
    """

    reason = "unauthorized"

    def __init__(self, message: str, advice: str, challenge: str, url: str) -> None:
        super().__init__(message, advice)
        self.challenge = challenge
        self.url = url


class NotThere(Incomplete):
    """A server does not have what it was asked for (404, 410)."""

    reason = "not-found"


class Transient(Exception):
    """An attempt failed in a way that another may not; never leaves this package."""

    def __init__(self, reason: str, after: float | None = None, *, kind: str = "", advice: str = "") -> None:
        """``after`` are the seconds that the server asks to wait; ``kind`` is the reason without varying numbers."""
        super().__init__(reason)
        self.reason = reason
        self.after = after
        self.kind = kind or reason
        self.advice = advice


class Answer:
    """A response whose body has not been read yet; good inside ``with Transport.open(...)``."""

    def __init__(
        self, response: requests.Response, url: str, limits: Limits, stop: threading.Event, watchdog: Watchdog
    ) -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self.url = url
        self._response = response
        self._limits = limits
        self._stop = stop
        self._watchdog = watchdog

    @property
    def length(self) -> int | None:
        """Bytes of the body as announced, None where nothing sensible was."""
        text = self.headers.get("Content-Length", "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None

    def chunks(self) -> Iterator[bytes]:
        """Yield the body as it comes, not decoded. Raises `Transient` where it breaks off or is too slow."""
        # Here, because it belongs to requests, which is imported when the first request is made.
        import urllib3.exceptions

        raw = self._response.raw
        begin = mark = time.monotonic()
        received = 0
        while True:
            if self._stop.is_set():
                raise Incomplete(f"Stopped while downloading {self.url}.", reason="stopped")
            # read1 gives what is there: read() would wait for all it was asked for, however slowly that comes. What
            # frames chunks of a body is not there until all of it is, which may be as slow as the server likes.
            with self._watchdog.limit(getattr(raw, "watched", None), self._limits.read + self._limits.window) as limit:
                try:
                    chunk = raw.read1(_READ, decode_content=False)
                except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
                    raise Transient(f"the answer broke off ({_plain(error)})") from error
            if limit is not None and limit.expired:
                raise Transient("the answer stopped coming")
            if not chunk:
                return
            yield chunk
            received += len(chunk)
            now = time.monotonic()
            if now - begin > self._limits.total:
                raise Incomplete(
                    f"{shown(self.url)} took more than {self._limits.total:.0f} s.", _CHECK, reason="timeout"
                )
            if now - mark >= self._limits.window:
                if received < self._limits.slowest * (now - mark):
                    raise Transient(f"only {received / (now - mark):.0f} bytes per second came", kind="slow")
                received, mark = 0, now


class Transport:
    """Requests over pooled connections, one pool per thread."""

    def __init__(self, limits: Limits, stop: threading.Event, *, allow_http: bool, ca_bundle: Path | None) -> None:
        """``ca_bundle`` replaces the certificate authorities. Raises `UsageError` where that is not a file."""
        if ca_bundle is not None and not ca_bundle.is_file():
            raise UsageError(f"{ca_bundle} is not a file.", "Name a file of PEM certificates with --ca-bundle.")
        self.limits = limits
        self._stop = stop
        self._allow_http = allow_http
        self._ca_bundle = ca_bundle
        self._watchdog = Watchdog(stop)
        self._local = threading.local()
        self._sessions: list[requests.Session] = []
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            for session in self._sessions:
                session.close()
            self._sessions.clear()
            self._local = threading.local()

    @contextlib.contextmanager
    def open(self, url: str, headers: Mapping[str, str], form: Mapping[str, str] | None = None) -> Iterator[Answer]:
        """Send a GET (or POST ``form``) and follow redirects; return an answer that has the file, or a part asked for.

        Raises `Transient`; `Unauthorized`; `Incomplete` for any other status and where no TLS connection can be made;
        `Refused` for an address that may not be asked.
        """
        response, final = self._follow(url, dict(headers), form)
        try:
            answer = Answer(response, final, self.limits, self._stop, self._watchdog)
            _log.debug("%s answers %d, %s bytes", without_query(final), response.status_code, answer.length)
            if response.status_code not in _WHOLE and not ("Range" in headers and response.status_code in _RANGE):
                raise _failure(response, answer, self.limits)
            yield answer
        finally:
            response.close()

    def _follow(
        self, url: str, headers: dict[str, str], form: Mapping[str, str] | None
    ) -> tuple[requests.Response, str]:
        asked = url
        url = spell_plus(url)
        for _ in range(self.limits.redirects + 1):
            self._permit(url)
            response = self._send(url, headers, form, login=login_for(url) if same_origin(url, asked) else None)
            _check_headers(response, url)
            if response.status_code not in _REDIRECTS or "Location" not in response.headers:
                return response, url
            target = urljoin(url, response.headers["Location"])
            response.close()
            if urlsplit(url).scheme == "https" and urlsplit(target).scheme != "https":
                raise Refused(
                    f"{shown(url)} redirects from https to {shown(target)}.",
                    "Ask those who run that server.",
                    reason="not-https",
                )
            if not same_origin(target, url):
                headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
            url, form = target, None
        raise Incomplete(
            f"{shown(url)} is behind more than {self.limits.redirects} redirects.", _CHECK, reason="server-refuses"
        )

    def _send(
        self, url: str, headers: dict[str, str], form: Mapping[str, str] | None, login: tuple[str, str] | None
    ) -> requests.Response:
        # Here, as in `_session`.
        import requests

        given = any(name.lower() == "authorization" for name in headers)
        # A proxy's loopback is another machine's; None keeps requests from adding the environment's.
        here = is_loopback(urlsplit(url).hostname or "")
        proxies: dict[str, str | None] | None = dict.fromkeys(("http", "https", "all")) if here else None
        try:
            return self._session().request(
                "GET" if form is None else "POST",
                url,
                headers=headers,
                data=form,
                # With nothing here requests would read .netrc itself, for redirects and its default entry as well.
                auth=login if login and not given else (lambda request: request),
                proxies=proxies,  # type: ignore[arg-type]  # the stubs do not know of None
                stream=True,
                allow_redirects=False,
                timeout=(self.limits.connect, self.limits.read),
                verify=str(self._ca_bundle) if self._ca_bundle else True,
            )
        except requests.exceptions.SSLError as error:
            raise Incomplete(
                f"No TLS connection with {urlsplit(url).netloc}: {_plain(error)}.",
                "If your site has its own certificate authority, name its certificate with --ca-bundle.",
                reason="unreachable",
            ) from error
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            raise Transient(_plain(error)) from error
        except (requests.RequestException, OSError, ValueError) as error:
            raise Incomplete(
                f"{shown(url)} could not be requested: {_plain(error)}.", _CHECK, reason="unreachable"
            ) from error

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            # Here, because commands that fetch nothing import this module, too.
            from http.cookiejar import DefaultCookiePolicy

            import requests

            session = requests.Session()
            for scheme in ("http://", "https://"):
                session.mount(scheme, adapter(self._watchdog, self.limits.headers))
            session.cookies.set_policy(DefaultCookiePolicy(netscape=False, rfc2965=False))
            session.headers.update({"User-Agent": f"fipsmanifest/{__version__}", "Accept-Encoding": "identity"})
            self._local.session = session
            with self._lock:
                self._sessions.append(session)
        return session

    def _permit(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            host, credentials = parts.hostname or "", parts.username is not None
        except ValueError as error:
            raise UsageError(f"{shown(url)} is not an address: {error}.", _CHECK) from error
        if credentials:
            raise UsageError(f"The address {shown(url)} has credentials in it.", "Put them into ~/.netrc.")
        if parts.scheme == "http" and not self._allow_http and not is_loopback(host):
            raise Refused(
                f"{shown(url)} is not https.", "Use https, or allow plain http with --allow-http.", reason="not-https"
            )
        if parts.scheme not in ("http", "https") or not host:
            raise UsageError(f"{shown(url)} is not an address that can be fetched.", "Use https, file, or a path.")


_CHECK = "Check the address, and whether it can be reached from here."


def _check_headers(response: requests.Response, url: str) -> None:
    """Raise `Refused` for more headers than any honest server sends, before anything is looked for in them."""
    if sum(len(name) + len(value) for name, value in response.headers.items()) > _MAX_HEADERS:
        response.close()
        raise Refused(
            f"{shown(url)} answers with more than {_MAX_HEADERS} bytes of headers.", _CHECK, reason="too-large"
        )


def _failure(response: requests.Response, answer: Answer, limits: Limits) -> Exception:
    status = response.status_code
    phrase = shown_name((response.reason or "")[:100])[1:-1]
    reason = _reason(answer)
    said = " ".join(part for part in (str(status), phrase, f"({reason})" if reason else "") if part)
    message = f"{shown(answer.url)} answers {said}."
    if status in _TRANSIENT:
        after = retry_after(header(answer.headers, "Retry-After"), limits.longest_wait)
        return Transient(said, after, advice=_LIMITED if status == _RATE_LIMITED else "")
    if status == 401:
        advice = "Give credentials: a docker login for a registry, ~/.netrc for anything else."
        return Unauthorized(message, advice, header(answer.headers, "WWW-Authenticate"), answer.url)
    if status == 403:
        return Incomplete(
            message, "It needs other credentials, or is not there: S3 answers both alike.", reason="unauthorized"
        )
    if status in (404, 410):
        return NotThere(
            message, "It may have moved: check the address; where a definition names it, --mirror points elsewhere."
        )
    return Incomplete(message, _CHECK, reason="server-refuses")


_LIMITED = (
    "The server limits how often it may be asked: wait and try again, or log in, since many registries allow more to "
    "users that they know."
)


def header(headers: Mapping[str, str], name: str) -> str:
    """Return a header of an answer, nothing where it is missing or longer than any that is parsed here."""
    value = headers.get(name, "")
    return value if len(value) <= _MAX_HEADER else ""


def _reason(answer: Answer) -> str:
    """Return what a registry says of an error, made harmless; nothing where it says nothing that can be read.

    OCI distribution specification, "Error codes"; token servers send ``details`` and OAuth 2 ``error_description``.
    """
    data, end = b"", time.monotonic() + _REASON_SECONDS
    try:
        for chunk in answer.chunks():
            data += chunk
            if len(data) > _MAX_REASON or time.monotonic() > end:
                return ""
        document = json.loads(data)
    except (Transient, ValueError, RecursionError):
        return ""
    if not isinstance(document, dict):
        return ""
    errors = document.get("errors")
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else document
    parts = (first.get(key) for key in ("code", "message", "error_description", "details"))
    words = ": ".join(text for text in parts if isinstance(text, str) and text)
    return shown_name(words[:_SHOWN_REASON])[1:-1]


_CONNECTION = re.compile(r"\A\w+\(host=.*?, port=\d+\): ")


def _plain(error: BaseException) -> str:
    """Return the innermost reason in one line: requests and urllib3 wrap it several times."""
    reason = getattr(error, "reason", None)
    while isinstance(reason, BaseException) or (error.args and isinstance(error.args[0], BaseException)):
        error = reason if isinstance(reason, BaseException) else error.args[0]
        reason = getattr(error, "reason", None)
    text = str(error.args[-1] if len(error.args) > 1 else error) or type(error).__name__
    # urllib3 begins with the class of its connection; the address is in the message already.
    text = _CONNECTION.sub("", text)
    return shown_name(text.splitlines()[0].rstrip(".")[:200])[1:-1]
