"""An S3 bucket through boto3, which supports all usual sources of credentials.

Objects are small, so each write is one PutObject with its condition and its checksum as plain headers. Several stores
do not support trailing checksums, boto3's default since 1.36 (boto/botocore#3352); they are used only with AWS.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import logging
import os
import random
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import urlsplit

import boto3
from botocore import exceptions
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from ..errors import Conflict, FipsManifestError, Incomplete, UsageError
from ..fetch.retry import retry_after
from .bucket import MAX_KEYS, MAX_OBJECT, Absent, Condition, Entry, Matches, NoConditions, Stored, TooLarge, check_key

_log = logging.getLogger(__name__)

T = TypeVar("T")

CONNECT_SECONDS = 10
READ_SECONDS = 60
ATTEMPTS = 5
#: The longest Retry-After that is respected.
MAX_WAIT_SECONDS = 30.0

#: Transient failures. 409 is ConditionalRequestConflict: another conditional write is in progress.
_TRANSIENT_STATUS = frozenset({408, 409, 429, 500, 502, 503, 504})
_TRANSIENT_CODES = frozenset({"RequestTimeout", "SlowDown", "InternalError", "BadDigest", "IncompleteBody"})

#: The DNS suffixes of AWS's partitions (botocore's data/partitions.json).
_AWS = tuple(
    f".{suffix}"
    for suffix in (
        "amazonaws.com",
        "amazonaws.com.cn",
        "amazonaws.eu",
        "api.aws",
        "c2s.ic.gov",
        "sc2s.sgov.gov",
        "cloud.adc-e.uk",
        "csp.hci.ic.gov",
    )
)

#: The response to a header that "implies functionality that is not implemented" (Amazon S3 API reference).
_NOT_IMPLEMENTED = 501

_ADVICE = {
    "NoSuchBucket": "Create the bucket, or correct its name or the endpoint.",
    "AccessDenied": "Grant s3:ListBucket on the bucket, and s3:GetObject and s3:PutObject on its objects.",
    "InvalidAccessKeyId": "Check the credentials and that they belong to this endpoint.",
    "SignatureDoesNotMatch": "Check the secret key and the region.",
    "RequestTimeTooSkewed": "Set this machine's clock.",
    "ExpiredToken": "Get new credentials and run again: objects that are published already are kept.",
    "PermanentRedirect": "Set the bucket's own region.",
    "AuthorizationHeaderMalformed": "Set the bucket's own region.",
}
_CREDENTIALS_ADVICE = (
    "Provide credentials with AWS_PROFILE, with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or with a role."
)
_ADVICE["Forbidden"] = _ADVICE["403"] = _ADVICE["AccessDenied"]
_ADVICE["TokenRefreshRequired"] = _ADVICE["InvalidToken"] = _ADVICE["ExpiredToken"]


class S3Bucket:
    """A `Bucket` on S3 or a compatible store."""

    def __init__(
        self, name: str, prefix: str = "", *, endpoint_url: str | None = None, region: str | None = None
    ) -> None:
        self._name = name
        self._prefix = f"{prefix}/" if prefix else ""
        self._client = _client(endpoint_url, region)
        self._endpoint: str = self._client.meta.endpoint_url

    def describe(self) -> str:
        """Return the bucket's address, with the endpoint if it is not AWS's."""
        where = "" if _is_aws(self._endpoint) else f" at {self._endpoint}"
        return f"s3://{self._name}/{self._prefix}".rstrip("/") + where

    def get(self, key: str) -> Stored | None:
        """Return an object, complete, or None."""

        def read() -> Stored | None:
            try:
                answer = self._client.get_object(Bucket=self._name, Key=self._full(key))
            except ClientError as error:
                if _code(error) in {"NoSuchKey", "404"}:
                    return None
                raise
            # Not `with body`: that returns the raw stream, which does not detect a truncated body.
            with contextlib.closing(answer["Body"]) as body:
                data = bytearray()
                while piece := body.read(MAX_OBJECT + 1 - len(data)):
                    data += piece
                    if len(data) > MAX_OBJECT:
                        raise TooLarge(f"{key} in {self.describe()}")
            return Stored(bytes(data), _token(answer))

        stored = self._with_retries(f"read {key}", read)
        size = "does not exist" if stored is None else f"{len(stored.data)} bytes, version {stored.token}"
        _log.debug("read %s in %s: %s", key, self.describe(), size)
        return stored

    def put(self, key: str, data: bytes, *, only_if: Condition, content_type: str, cache_control: str) -> None:
        """Write an object if ``only_if`` is met, else raise `Conflict`."""
        condition: dict[str, str] = {}
        if isinstance(only_if, Absent):
            condition = {"IfNoneMatch": "*"}
        elif isinstance(only_if, Matches):
            condition = {"IfMatch": f'"{only_if.token}"'}
        digest = hashlib.sha256(data)

        def write() -> None:
            try:
                self._client.put_object(
                    Bucket=self._name,
                    Key=self._full(key),
                    Body=data,
                    ContentType=content_type,
                    CacheControl=cache_control,
                    ChecksumSHA256=base64.b64encode(digest.digest()).decode("ascii"),
                    # For tools that do not read the object: an ETag is not a reliable digest.
                    Metadata={"sha256": digest.hexdigest()},
                    **condition,
                )
            except ClientError as error:
                # Old versions of MinIO respond with 304; AWS responds with 404 to If-Match for a removed key.
                unmet = _status(error) in {304, 412} or _code(error) in {"PreconditionFailed", "NoSuchKey"}
                if condition and _status(error) == _NOT_IMPLEMENTED:
                    raise NoConditions(self.describe()) from error
                if unmet:
                    raise Conflict(
                        f"{key} in {self.describe()} has changed since it was read.",
                        "Run again.",
                        reason="changed-meanwhile",
                    ) from error
                raise

        self._with_retries(f"write {key}", write)
        _log.debug("wrote %s in %s: %d bytes, condition %s", key, self.describe(), len(data), condition or "none")

    def list(self, prefix: str) -> Iterator[Entry]:
        """Yield the objects, ordered by key; not every store lists so (SeaweedFS: ``a/1`` before ``a+``)."""
        entries = sorted(self._pages(prefix), key=lambda entry: entry.key)
        _log.debug("listed %s below %s: %d objects", self.describe(), prefix, len(entries))
        yield from entries

    def _pages(self, prefix: str) -> Iterator[Entry]:
        """Yield the objects as the store lists them, page by page."""
        token: dict[str, str] = {}
        count, seen = 0, {""}
        while True:
            page = self._with_retries("list", functools.partial(self._page, prefix, token))
            for item in page.get("Contents", ()):
                count += 1
                key = str(item.get("Key", ""))
                if not key.startswith(self._prefix + prefix):
                    raise Incomplete(
                        f"{self.describe()} lists {key[:200]!r}, which is outside the requested prefix.",
                        "Check the endpoint.",
                    )
                yield Entry(key[len(self._prefix) :], int(item.get("Size", 0)), _token(item))
            following = page.get("NextContinuationToken")
            if not page.get("IsTruncated", following):
                return
            if not following:
                # A store that does not know version 2 of ListObjects answers in version 1, whose pages have no token.
                raise Incomplete(
                    f"The listing of {self.describe()} is cut short: it goes on, and the store does not say where.",
                    "Use a store that supports ListObjectsV2, or ask the store's operator.",
                )
            if count > MAX_KEYS or following in seen or len(seen) > MAX_KEYS:
                raise Incomplete(
                    f"The listing of {self.describe()} does not end.", "Check the bucket and the endpoint."
                )
            seen.add(following)
            token = {"ContinuationToken": following}

    def sweep(self) -> None:
        """Do nothing: an object is written whole or not at all."""

    def remove(self, key: str) -> None:
        """Remove a scratch object of a probe; in a versioned bucket, older versions stay.

        The only call that needs s3:DeleteObject.
        """
        try:
            self._with_retries(
                f"remove {key}", lambda: self._client.delete_object(Bucket=self._name, Key=self._full(key))
            )
        except Incomplete as error:
            advice = f"Remove it by hand, or grant s3:DeleteObject on {self._full(key).rpartition('-')[0]}-*."
            if isinstance(error.__cause__, ClientError) and _status(error.__cause__) in {401, 403}:
                raise Incomplete(error.message, advice, error.reason) from error
            raise

    def refuses_wrong_digest(self, key: str) -> bool:
        """Return whether the store compares a body with its SHA-256 header."""
        wrong = base64.b64encode(hashlib.sha256(b"right").digest()).decode("ascii")

        def write() -> bool:
            try:
                self._client.put_object(Bucket=self._name, Key=self._full(key), Body=b"wrong", ChecksumSHA256=wrong)
            except ClientError as error:
                if _status(error) == 400:
                    return True
                raise
            return False

        return self._with_retries(f"write {key}", write)

    def _page(self, prefix: str, token: dict[str, str]) -> Any:
        return self._client.list_objects_v2(Bucket=self._name, Prefix=self._prefix + prefix, **token)

    def _full(self, key: str) -> str:
        check_key(key)
        return self._prefix + key

    def _with_retries(self, what: str, call: Callable[[], T]) -> T:
        """Call, retry transient failures, and convert the others to this project's errors."""
        attempt = 1
        while True:
            try:
                return call()
            except (ClientError, BotoCoreError, ResponseParserError) as error:
                if attempt == ATTEMPTS or not _is_transient(error):
                    raise self._explain(what, error) from error
                pause = _pause(error, attempt)
                _log.debug("attempt %d to %s failed, next in %.1f s: %s", attempt, what, pause, error)
                time.sleep(pause)
            except RecursionError as error:
                # botocore recurses while it is redirected without the name of the bucket's region.
                raise Incomplete(
                    f"Could not {what}: {self.describe()} is in another region, which the response does not name.",
                    _ADVICE["PermanentRedirect"],
                ) from error
            attempt += 1

    def _explain(self, what: str, error: Exception) -> FipsManifestError:
        where = self.describe()
        if isinstance(error, exceptions.ClientError):
            code = _code(error)
            said = error.response.get("Error", {}).get("Message") or f"HTTP {_status(error)}"
            return Incomplete(
                f"Could not {what} in {where}: {code}: {said.rstrip('.')[:200]}.",
                _ADVICE.get(code, "Run again; if it fails again, ask the store's operator."),
                reason="bucket-refuses",
            )
        reason = " ".join(str(error).split()).rstrip(".")[:300]
        advice = "Check the endpoint and the network, and run again."
        if _lacks_credentials(error):
            advice = _CREDENTIALS_ADVICE
        if isinstance(error, exceptions.SSLError):
            advice = "Set AWS_CA_BUNDLE to a PEM file with the authority that issued the endpoint's certificate."
        return Incomplete(f"Could not {what} in {where}: {reason}.", advice, reason="bucket-unreachable")


def _client(endpoint_url: str | None, region: str | None) -> Any:
    """Return a client for AWS, or for another endpoint one that uses only widely supported features."""
    # One attempt: `_with_retries` also handles 409 and Retry-After.
    common: dict[str, Any] = {
        "connect_timeout": CONNECT_SECONDS,
        "read_timeout": READ_SECONDS,
        "retries": {"total_max_attempts": 1},
        "max_pool_connections": 16,
    }
    try:
        session = boto3.session.Session(region_name=region)
        # boto3 reads AWS_DEFAULT_REGION and profiles; the other SDKs and many CI runners use AWS_REGION.
        region_name = session.region_name or os.environ.get("AWS_REGION") or "us-east-1"
        client = session.client("s3", endpoint_url=endpoint_url, region_name=region_name, config=Config(**common))
        if not _is_aws(client.meta.endpoint_url):
            # Path-style addresses need no DNS name for the bucket; the user's profile can select another style.
            style = (client.meta.config.s3 or {}).get("addressing_style", "path")
            plain = Config(
                s3={"addressing_style": style},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                **common,
            )
            client = session.client("s3", endpoint_url=endpoint_url, region_name=region_name, config=plain)
    except (BotoCoreError, ValueError) as error:
        if _lacks_credentials(error):
            raise Incomplete(f"{str(error).rstrip('.')}.", _CREDENTIALS_ADVICE, reason="credentials") from error
        raise UsageError(
            f"The S3 client cannot be set up: {str(error).rstrip('.')}.", "Correct the endpoint, profile or region."
        ) from error
    return client


def _is_aws(endpoint: str) -> bool:
    return (urlsplit(endpoint).hostname or "").endswith(_AWS)


def _lacks_credentials(error: Exception) -> bool:
    return isinstance(
        error,
        exceptions.NoCredentialsError
        | exceptions.PartialCredentialsError
        | exceptions.CredentialRetrievalError
        | exceptions.TokenRetrievalError
        | exceptions.UnauthorizedSSOTokenError,
    )


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _is_transient(error: Exception) -> bool:
    if isinstance(error, exceptions.ClientError):
        return _status(error) in _TRANSIENT_STATUS or _code(error) in _TRANSIENT_CODES
    if isinstance(error, exceptions.SSLError | exceptions.ProxyConnectionError):
        return False
    broken = (
        exceptions.ConnectionError,
        exceptions.HTTPClientError,
        exceptions.IncompleteReadError,
        ResponseParserError,
    )
    return isinstance(error, broken)


def _pause(error: Any, attempt: int) -> float:
    """Return the seconds to wait: Retry-After, else doubling from 0.2 s with random jitter of half of it."""
    response = getattr(error, "response", None) or {}
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    asked = retry_after(str(headers.get("retry-after", "")), MAX_WAIT_SECONDS)
    if asked is not None:
        return asked
    longest = 0.2 * 2.0**attempt
    return longest / 2 + random.random() * longest / 2  # noqa: S311 - spreads retries, protects nothing


def _token(answer: Any) -> str:
    """Return an ETag without its quotes, which some listings omit."""
    return str(answer.get("ETag", "")).strip('"')
