"""Downloads: in parallel, resumed, retried where that can help, bounded, hashed as they arrive, into the cache."""

from __future__ import annotations

import hashlib
import logging
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import TypeVar
from urllib.parse import urlsplit

from ..errors import FipsManifestError, Incomplete, Refused, UsageError
from ..progress import SILENT, Progress, Task
from .address import local_path, shown, without_query
from .cache import BLOCK, Cache, CachedFile, Partial, hash_into
from .transport import Answer, Limits, Transient, Transport, Unauthorized, header

__all__ = ["Fetched", "Http", "Limits", "Unauthorized"]

_log = logging.getLogger(__name__)

_Result = TypeVar("_Result")

#: What may name a file here; SHA-1 and MD5 may not.
_ALGORITHMS = {"sha256": 64, "sha384": 96, "sha512": 128}

#: RFC 9110, 14.4: first and last byte, and the size of the whole.
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")


@dataclass(frozen=True, slots=True)
class Fetched:
    """A small document."""

    data: bytes
    """Its bytes."""
    url: str
    """Where it came from, after redirects."""
    headers: Mapping[str, str]
    """The answer's; names in any case. Empty for a local file."""


class Http:
    """The downloader; safe to use from several threads. ``with Http(cache) as http:`` closes its connections."""

    def __init__(
        self,
        cache: Cache,
        *,
        limits: Limits | None = None,
        allow_http: bool = False,
        ca_bundle: Path | None = None,
        progress: Progress = SILENT,
    ) -> None:
        """``ca_bundle`` (PEM) replaces the certificate authorities. Raises `UsageError` where it is not a file."""
        self.limits = limits or Limits()
        self._cache = cache
        self._progress = progress
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._noted: set[tuple[tuple[str, str], str]] = set()
        self._transport = Transport(self.limits, self._stop, allow_http=allow_http, ca_bundle=ca_bundle)

    def __enter__(self) -> Http:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._transport.close()

    def stop(self) -> None:
        """Make every download under way give up with `Incomplete` soon; what they have is kept for the next run."""
        self._stop.set()
        self._cache.stop()

    def fetch_bytes(
        self,
        url: str,
        limit: int,
        headers: Mapping[str, str] | None = None,
        *,
        form: Mapping[str, str] | None = None,
    ) -> Fetched:
        """Return a document of at most ``limit`` bytes; with ``form`` it is requested by POST.

        ``url`` may be a path. Raises `Incomplete` if it cannot be fetched (`Unauthorized` for a 401), `Refused` if
        it is longer.
        """
        path = local_path(url)
        if path is not None:
            return Fetched(_take(_read_local(path), limit, url), url, {})

        def attempt() -> Fetched:
            with self._transport.open(url, headers or {}, form) as answer:
                data = _take(answer.chunks(), limit, url)
                _log.debug("received %s: %d bytes", without_query(url), len(data))
                if answer.length is not None and len(data) < answer.length:
                    raise Transient(f"{len(data)} of {answer.length} bytes came", kind="short")
                return Fetched(data, answer.url, answer.headers)

        return self._retrying(url, attempt)

    def download(
        self,
        url: str,
        *,
        expected: str | None = None,
        size: int | None = None,
        limit: int | None = None,
        headers: Mapping[str, str] | None = None,
        name: str | None = None,
    ) -> CachedFile:
        """Return a file of any size in the cache.

        ``expected`` (``sha256:HEX``, or sha384 or sha512) and ``size`` (bytes) are what it must be; with a SHA-256
        that the cache has, nothing is asked. ``limit`` caps a file whose size is not known, bytes. ``name`` is what
        progress calls it. ``url`` may be a path.

        Raises `Refused` where it is not what it must be, naming both, or too large; `Incomplete` if it cannot be
        fetched (`Unauthorized` for a 401) or the disk refuses. A part that arrived is kept and resumed.
        """
        want = _Want(url, expected, size, min(limit or self.limits.size, self.limits.size))
        known = self._known(want)
        if known is not None:
            _log.debug("%s is in the cache: %s", without_query(url), known.path)
            return known
        with self._cache.partial(expected or url) as partial:
            known = self._known(want)
            if known is not None:
                return known
            task = self._progress.task(name or url.rpartition("/")[2] or url, size)
            meter = _Meter(task)
            try:
                path = local_path(url)
                if path is not None:
                    return self._copy(path, want, partial, meter)
                return self._retrying(url, lambda: self._receive(want, headers or {}, partial, meter))
            except Refused:
                partial.discard()
                raise
            finally:
                task.done()

    def _known(self, want: _Want) -> CachedFile | None:
        return self._cache.get(want.value) if want.algorithm == "sha256" else None

    def _copy(self, path: Path, want: _Want, partial: Partial, meter: _Meter) -> CachedFile:
        partial.begin({})
        hashes = _Hashes(want)
        try:
            partial.append(_counted(_read_local(path), want, hashes, meter))
            return self._cache.adopt(partial, hashes.checked(want))
        finally:
            partial.discard()

    def _receive(self, want: _Want, headers: Mapping[str, str], partial: Partial, meter: _Meter) -> CachedFile:
        """One attempt: ask for what is missing, write and hash it, check the whole."""
        hashes = _Hashes(want)
        resume = _resume_headers(want, partial)
        if resume and partial.size == want.size:
            start = self._rehash(partial, hashes)
        else:
            start = self._receive_rest(want, {**headers, **resume}, partial, hashes, meter)
        try:
            sha256 = hashes.checked(want)
        except Refused:
            if not start:
                raise
            # The part may be of another file, or damaged by a power cut: only a fresh copy accuses upstream.
            partial.discard()
            raise Transient("what was resumed did not fit together") from None
        return self._cache.adopt(partial, sha256)

    def _receive_rest(
        self, want: _Want, headers: Mapping[str, str], partial: Partial, hashes: _Hashes, meter: _Meter
    ) -> int:
        """Write and hash what was missing; give how many bytes were here before."""
        with self._transport.open(want.url, headers) as answer:
            start = self._rehash(partial, hashes) if self._continues(answer, want, partial) else 0
            announced = None if answer.length is None else start + answer.length
            _check_announced(announced, want)
            if announced is not None:
                meter.total(announced)
            partial.append(_counted(answer.chunks(), want, hashes, meter))
        missing = want.size if want.size is not None else announced
        if missing is not None and hashes.size < missing:
            raise Transient(f"{hashes.size} of {missing} bytes came", kind="short")
        return start

    def _rehash(self, partial: Partial, hashes: _Hashes) -> int:
        hash_into(partial.path, hashes.update)
        hashes.size = partial.size
        return hashes.size

    def _continues(self, answer: Answer, want: _Want, partial: Partial) -> bool:
        """Return whether ``answer`` is the rest of ``partial``; where it is the whole file, make room for that."""
        if answer.status == 206:
            found = _CONTENT_RANGE.fullmatch(header(answer.headers, "Content-Range").strip())
            if found and int(found.group(1)) == partial.size and _reaches_the_end(found, answer.length, want):
                return True
        if answer.status in (206, 416):
            partial.discard()
            raise Transient("the rest could not be fetched")
        partial.begin({"url": want.url, "validator": _strong_validator(answer.headers)})
        return False

    def _retrying(self, url: str, attempt: Callable[[], _Result]) -> _Result:
        """Return what ``attempt`` returns, made again while it raises `Transient`. Raises `Incomplete`."""
        deadline = time.monotonic() + self.limits.total
        for number in range(1, self.limits.attempts + 1):
            _log.debug("requesting %s, attempt %d", without_query(url), number)
            try:
                return attempt()
            except Transient as error:
                _log.debug("attempt %d of %s failed: %s", number, without_query(url), error.reason)
                last = error
                wait = error.after if error.after is not None else self._backoff(number)
            if number == self.limits.attempts or time.monotonic() + wait > deadline:
                break
            if not self._stop.is_set():
                self._note_retry(url, last, wait)
            if self._stop.wait(wait):
                raise Incomplete(f"Stopped while downloading {shown(url)}.", reason="stopped")
        raise Incomplete(
            f"{shown(url)} could not be fetched in {number} attempts: {last.reason}.",
            last.advice or "Check the network and try again; what arrived is kept and resumed.",
            reason="unreachable",
        )

    def _note_retry(self, url: str, error: Transient, wait: float) -> None:
        """Report the first retry of a host for a cause; a network that is down would fill the screen with the same."""
        cause = (urlsplit(url)[:2], error.kind)
        with self._lock:
            if cause in self._noted:
                return
            self._noted.add(cause)
        text = f"{shown(url)}: {error.reason}; trying again in {wait:.1f} s"
        self._progress.note(f"{text} (further retries for this cause are not listed)")

    def _backoff(self, number: int) -> float:
        # Half fixed, half random, so that many clients of a server that came back do not return together.
        longest: float = min(self.limits.backoff * 2.0 ** (number - 1), self.limits.longest_wait)
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing


class _Want:
    """What a download must be."""

    def __init__(self, url: str, expected: str | None, size: int | None, limit: int) -> None:
        self.url = url
        self.algorithm, _, self.value = (expected or "").partition(":")
        self.size = size
        self.limit = limit if size is None else min(limit, size)
        if size is not None and size > limit:
            raise Refused(
                f"{shown(url)} is listed with {size} bytes; at most {limit} are accepted.",
                "Check the address, or ask upstream.",
                reason="too-large",
            )
        if expected is not None and (
            len(self.value) != _ALGORITHMS.get(self.algorithm, 0) or not re.fullmatch("[0-9a-f]+", self.value)
        ):
            raise Refused(
                f"{shown(url)} is identified by '{expected[:150]}', which is not a SHA-256, SHA-384 or SHA-512 digest.",
                "Ask upstream for one: weaker digests do not identify a file.",
                reason="weak-digest",
            )


class _Hashes:
    """The digests of a file while it arrives: SHA-256 for the cache, and the expected one where that is another."""

    def __init__(self, want: _Want) -> None:
        self.size = 0
        self._sha256 = hashlib.sha256()
        other = want.algorithm not in ("", "sha256")
        self._other = hashlib.new(want.algorithm) if other else None

    def update(self, data: bytes) -> None:
        self._sha256.update(data)
        if self._other is not None:
            self._other.update(data)

    def checked(self, want: _Want) -> str:
        """Return the SHA-256 of a file after checking it."""
        found = (self._other or self._sha256).hexdigest()
        if want.value and found != want.value:
            raise Refused(
                f"{shown(want.url)} has the {want.algorithm} digest {found}; it must be {want.value}.",
                "Do not use it: ask upstream, or check what the mirror serves.",
                reason="digest-mismatch",
            )
        if want.size is not None and self.size != want.size:
            raise _wrong_size(want, self.size)
        return self._sha256.hexdigest()


class _Meter:
    """Reports a download's furthest position, so that what is sent again is not counted again."""

    def __init__(self, task: Task) -> None:
        self.total = task.total
        self._task = task
        self._reported = 0

    def at(self, position: int) -> None:
        if position > self._reported:
            self._task.advance(position - self._reported)
            self._reported = position


def _counted(chunks: Iterator[bytes], want: _Want, hashes: _Hashes, meter: _Meter) -> Iterator[bytes]:
    for chunk in chunks:
        hashes.size += len(chunk)
        if hashes.size > want.limit:
            raise _wrong_size(want, None)
        hashes.update(chunk)
        meter.at(hashes.size)
        yield chunk


def _reaches_the_end(content_range: re.Match[str], length: int | None, want: _Want) -> bool:
    """Return whether a part is all that was missing, and as long as it says: half a file must not pass for one.

    A server may send less than it was asked for. Where it does not say how long the whole is, only a size or digest
    that is known otherwise decides.
    """
    first, last, size = content_range.groups()
    if length is not None and length != int(last) - int(first) + 1:
        return False
    if size == "*":
        return want.size is not None or bool(want.value)
    return int(last) == int(size) - 1


def _check_announced(announced: int | None, want: _Want) -> None:
    if announced is None:
        return
    if announced > want.limit or (want.size is not None and announced != want.size):
        raise _wrong_size(want, announced)


def _wrong_size(want: _Want, found: int | None) -> FipsManifestError:
    has = "more" if found is None else f"{found} bytes"
    if want.size is None:
        return Refused(
            f"{shown(want.url)} has {has}; at most {want.limit} are accepted.", "Check the address.", reason="too-large"
        )
    return Refused(
        f"{shown(want.url)} has {has}; it must have {want.size}.",
        "Do not use it: ask upstream, or check what the mirror serves.",
        reason="digest-mismatch",
    )


def _resume_headers(want: _Want, partial: Partial) -> dict[str, str]:
    """Return the headers that request the rest of ``partial``; none if no part can be continued."""
    size = partial.size
    if not size or size > want.limit:
        return {}
    facts = partial.facts()
    validator = facts.get("validator", "") if facts.get("url") == want.url else ""
    if validator:
        return {"Range": f"bytes={size}-", "If-Range": validator}
    # With a digest to check, pieces of different files cannot pass for one.
    return {"Range": f"bytes={size}-"} if want.value else {}


def _strong_validator(headers: Mapping[str, str]) -> str:
    """Return the validator of exactly these bytes (RFC 9110, 13.1.5): a strong ETag, or a date well before the
    answer's."""
    etag = header(headers, "ETag")
    if etag:
        return etag if etag.startswith('"') else ""
    try:
        modified = parsedate_to_datetime(header(headers, "Last-Modified"))
        # RFC 9110, 8.8.2.2: a date is strong only where no second change can have followed within its resolution.
        settled = (parsedate_to_datetime(header(headers, "Date")) - modified).total_seconds() >= 60
    except (KeyError, ValueError, TypeError):
        return ""
    return headers["Last-Modified"] if settled else ""


def _take(chunks: Iterator[bytes], limit: int, url: str) -> bytes:
    parts, size = [], 0
    for chunk in chunks:
        size += len(chunk)
        if size > limit:
            raise Refused(f"{shown(url)} is longer than {limit} bytes.", "Check the address.", reason="too-large")
        parts.append(chunk)
    return b"".join(parts)


def _read_local(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file of the user's. Raises `UsageError` for anything else, `Incomplete` where it is gone."""
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is not a regular file.", "Check the path.")
    try:
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(BLOCK):
                yield chunk
    except OSError as error:
        raise Incomplete(
            f"{path} cannot be read: {error.strerror}.",
            "Check the path, or the directory that the mirror names.",
            reason="not-read",
        ) from error
