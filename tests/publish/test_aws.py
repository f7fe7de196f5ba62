"""The requests that AWS itself would get, and what its documented answers lead to.

Nothing leaves this machine: botocore hands each request, signed and ready, to a stand-in for the network (its event
``before-send``).
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from urllib3.response import HTTPResponse

from fipsmanifest.errors import Conflict, Incomplete
from fipsmanifest.publish.address import open_bucket
from fipsmanifest.publish.bucket import Absent, Condition, Matches, NoConditions, Unchecked
from fipsmanifest.publish.s3 import S3Bucket

Answer = tuple[int, Mapping[str, str], bytes]

FOUND: Answer = (200, {"ETag": '"1"'}, b"data")


def error(status: int, code: str, **headers: str) -> Answer:
    body = f"<Error><Code>{code}</Code><Message>As documented</Message></Error>".encode()
    return status, {"Retry-After": "0", **{name.replace("_", "-"): value for name, value in headers.items()}}, body


class Network:
    """Answers in place of AWS, repeats the last answer, and keeps the requests."""

    def __init__(self, bucket: S3Bucket, *answers: Answer) -> None:
        self.asked: list[AWSPreparedRequest] = []
        self._answers = answers
        bucket._client.meta.events.register("before-send.s3", self._send)

    def _send(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        status, headers, body = self._answers[min(len(self.asked), len(self._answers) - 1)]
        self.asked.append(request)
        if status == 304 or (status == 200 and request.method == "PUT"):
            body = b""
        raw = HTTPResponse(io.BytesIO(body), headers=headers, status=status, preload_content=False)
        return AWSResponse(request.url, status, headers, raw)

    def headers(self, number: int = 0) -> dict[str, str]:
        found = self.asked[number].headers.items()
        return {name.lower(): value.decode() if isinstance(value, bytes) else value for name, value in found}


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Session credentials in the environment, and no configuration of the user."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_SESSION_TOKEN": "session",
        "AWS_DEFAULT_REGION": "us-east-2",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
    }.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def opened(address: str = "s3://my-bucket/fips", **more: Any) -> S3Bucket:
    bucket = open_bucket(address, **more)
    assert isinstance(bucket, S3Bucket)
    return bucket


def put(bucket: S3Bucket, only_if: Condition) -> None:
    bucket.put("tool/x", b"data", only_if=only_if, content_type="text/plain", cache_control="no-cache")


@pytest.mark.parametrize(
    ("environment", "address", "url"),
    [
        ({}, "s3://my-bucket/fips", "https://my-bucket.s3.us-east-2.amazonaws.com/fips/tool/x"),
        # The variable that other SDKs know, too.
        (
            {"AWS_DEFAULT_REGION": "", "AWS_REGION": "eu-west-3"},
            "s3://my-bucket",
            "https://my-bucket.s3.eu-west-3.amazonaws.com/tool/x",
        ),
        ({"AWS_DEFAULT_REGION": ""}, "s3://my-bucket", "https://my-bucket.s3.amazonaws.com/tool/x"),
        # A certificate for *.s3.amazonaws.com does not cover a name with dots.
        ({}, "s3://my.dotted.bucket", "https://s3.us-east-2.amazonaws.com/my.dotted.bucket/tool/x"),
        (
            {"AWS_USE_FIPS_ENDPOINT": "true", "AWS_DEFAULT_REGION": "us-gov-west-1"},
            "s3://my-bucket",
            "https://my-bucket.s3-fips.us-gov-west-1.amazonaws.com/tool/x",
        ),
        (
            {"AWS_USE_DUALSTACK_ENDPOINT": "true"},
            "s3://my-bucket",
            "https://my-bucket.s3.dualstack.us-east-2.amazonaws.com/tool/x",
        ),
        ({"AWS_DEFAULT_REGION": "cn-north-1"}, "s3://my-bucket", "https://my-bucket.s3.cn-north-1.amazonaws.com.cn/tool/x"),
        ({"AWS_DEFAULT_REGION": "us-iso-east-1"}, "s3://my-bucket", "https://my-bucket.s3.us-iso-east-1.c2s.ic.gov/tool/x"),
        # An endpoint that was named is taken as it is; AWS's takes both forms.
        (
            {"AWS_ENDPOINT_URL_S3": "https://s3.eu-central-1.amazonaws.com"},
            "s3://my-bucket",
            "https://s3.eu-central-1.amazonaws.com/my-bucket/tool/x",
        ),
        ({"AWS_ENDPOINT_URL_S3": "https://minio.example.com"}, "s3://my-bucket", "https://minio.example.com/my-bucket/tool/x"),
        ({"AWS_ENDPOINT_URL": "https://minio.example.com:9000"}, "s3://my-bucket", "https://minio.example.com:9000/my-bucket/tool/x"),
        # Not AWS, whatever it looks like.
        ({"AWS_ENDPOINT_URL_S3": "https://amazonaws.com.example.org"}, "s3://my-bucket", "https://amazonaws.com.example.org/my-bucket/tool/x"),
    ],
)  # fmt: skip
def test_aws_is_addressed_by_host_and_any_other_store_by_path(
    aws: pytest.MonkeyPatch, environment: dict[str, str], address: str, url: str
) -> None:
    for name, value in environment.items():
        aws.setenv(name, value) if value else aws.delenv(name)
    bucket = opened(address)
    network = Network(bucket, FOUND)

    stored = bucket.get("tool/x")

    assert stored is not None and (stored.data, stored.token) == (b"data", "1")
    assert [request.url for request in network.asked] == [url]
    assert (" at " in bucket.describe()) == ("example" in url)


@pytest.mark.parametrize("endpoint", [None, "https://minio.example.com"])
def test_a_write_is_one_plain_request_with_its_condition_digest_and_session(endpoint: str | None) -> None:
    bucket = opened(endpoint_url=endpoint)
    network = Network(bucket, FOUND)

    put(bucket, Absent())
    put(bucket, Matches("abc"))

    first, second = network.headers(0), network.headers(1)
    assert [request.method for request in network.asked] == ["PUT", "PUT"]
    assert (first["if-none-match"], second["if-match"]) == ("*", '"abc"')
    assert "if-match" not in first and "if-none-match" not in second
    assert first["x-amz-checksum-sha256"] == base64.b64encode(hashlib.sha256(b"data").digest()).decode()
    assert first["x-amz-content-sha256"] == hashlib.sha256(b"data").hexdigest()
    assert (first["x-amz-security-token"], first["content-length"]) == ("session", "4")
    assert (first["content-type"], first["cache-control"]) == ("text/plain", "no-cache")
    # What broke other stores: a body in signed pieces, with its checksum behind it.
    assert not {"x-amz-trailer", "transfer-encoding", "content-encoding"} & first.keys()
    signed = first["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    assert {"if-none-match", "x-amz-checksum-sha256", "x-amz-security-token"} <= set(signed)


def test_only_aws_is_asked_for_checksums_of_what_it_sends() -> None:
    for endpoint, mode in ((None, "ENABLED"), ("https://minio.example.com", None)):
        bucket = opened(endpoint_url=endpoint)
        network = Network(bucket, FOUND)
        bucket.get("tool/x")
        assert network.headers().get("x-amz-checksum-mode") == mode


def test_an_answer_whose_checksum_is_not_that_of_its_body_is_not_taken() -> None:
    bucket = opened()
    wrong = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    network = Network(bucket, (200, {"ETag": '"1"', "x-amz-checksum-sha256": wrong}, b"data"))

    with pytest.raises(Incomplete, match="checksum"):
        bucket.get("tool/x")

    assert network.asked


def test_a_bucket_of_another_region_is_found_where_it_is() -> None:
    bucket = opened()
    network = Network(bucket, error(301, "PermanentRedirect", x_amz_bucket_region="eu-central-1"), FOUND)

    assert bucket.get("tool/x") is not None

    assert [request.url.split("/")[2] for request in network.asked] == [
        "my-bucket.s3.us-east-2.amazonaws.com",
        "my-bucket.s3.eu-central-1.amazonaws.com",
    ]
    assert "/eu-central-1/s3/" in network.headers(1)["authorization"]


def test_a_redirect_that_says_not_where_ends_in_a_sentence() -> None:
    # botocore asks for the region, is redirected again, and asks for the region.
    bucket = opened()
    Network(bucket, error(301, "PermanentRedirect"))

    with pytest.raises(Incomplete, match="another region") as caught:
        bucket.get("tool/x")

    assert "region" in caught.value.advice


#: "Error responses" of the Amazon S3 API reference, and "How to prevent object overwrites" of its user guide.
TRANSIENT = [
    (503, "SlowDown"),
    (503, "ServiceUnavailable"),
    (500, "InternalError"),
    (409, "ConditionalRequestConflict"),
    (409, "OperationAborted"),
    (400, "RequestTimeout"),
    (400, "IncompleteBody"),
    (429, "TooManyRequests"),
]


@pytest.mark.parametrize(("status", "code"), TRANSIENT)
def test_what_aws_documents_as_passing_is_tried_again(status: int, code: str) -> None:
    bucket = opened()
    network = Network(bucket, error(status, code), error(status, code), FOUND)

    put(bucket, Absent())

    assert len(network.asked) == 3


@pytest.mark.parametrize(
    ("status", "code", "advice"),
    [
        (403, "AccessDenied", "s3:PutObject"),
        (403, "InvalidAccessKeyId", "belong to this endpoint"),
        (403, "SignatureDoesNotMatch", "secret key"),
        (403, "RequestTimeTooSkewed", "clock"),
        (400, "ExpiredToken", "new credentials"),
        (400, "TokenRefreshRequired", "new credentials"),
        (400, "InvalidToken", "new credentials"),
        (404, "NoSuchBucket", "Create the bucket"),
        (400, "AuthorizationHeaderMalformed", "region"),
        (403, "InvalidObjectState", "ask the store's operator"),
        (405, "MethodNotAllowed", "ask the store's operator"),
    ],
)
def test_what_will_not_pass_is_said_at_once_with_what_to_do(status: int, code: str, advice: str) -> None:
    bucket = opened()
    # A region is asked for where an error hints at a wrong one; the answer is the same error.
    network = Network(bucket, error(status, code))

    with pytest.raises(Incomplete) as caught:
        put(bucket, Absent())

    assert code in caught.value.message and advice in caught.value.advice
    assert [request.method for request in network.asked].count("PUT") == 1


@pytest.mark.parametrize(("status", "code"), [(412, "PreconditionFailed"), (404, "NoSuchKey"), (304, "NotModified")])
def test_a_condition_that_does_not_hold_is_a_conflict_and_is_not_tried_again(status: int, code: str) -> None:
    bucket = opened()
    network = Network(bucket, error(status, code))

    with pytest.raises(Conflict):
        put(bucket, Matches("abc"))

    assert len(network.asked) == 1


@pytest.mark.parametrize("only_if", [Absent(), Matches("abc")])
def test_a_store_that_does_not_know_conditions_is_not_asked_again_and_nothing_else_is_taken_for_that(
    only_if: Condition,
) -> None:
    bucket = opened(endpoint_url="https://store.example.com")
    network = Network(bucket, error(501, "NotImplemented"))

    with pytest.raises(NoConditions) as caught:
        put(bucket, only_if)
    assert (
        "s3://my-bucket/fips at https://store.example.com does not support conditional writes" in caught.value.message
    )
    assert "--single-writer" in caught.value.advice
    assert len(network.asked) == 1

    with pytest.raises(Incomplete, match="NotImplemented"):
        put(bucket, Unchecked())
    with pytest.raises(Incomplete, match="NotImplemented"):
        bucket.get("tool/x")


def test_a_single_writers_write_is_the_same_but_for_the_condition() -> None:
    bucket = opened()
    network = Network(bucket, FOUND)

    put(bucket, Unchecked())

    assert not {"if-match", "if-none-match"} & network.headers().keys()
    assert network.headers()["x-amz-meta-sha256"] == hashlib.sha256(b"data").hexdigest()


@pytest.mark.parametrize(
    ("asked", "at_least", "at_most"),
    [
        (lambda: "7", 7, 7),
        (lambda: formatdate(time.time() + 9, usegmt=True), 7, 9),
        (lambda: formatdate(time.time() + 9), 7, 9),
        # Long ago; next year; a number of a thousand digits: never longer than the bound.
        (lambda: "Fri, 01 Jan 2021 00:00:00 GMT", 0, 0),
        (lambda: formatdate(time.time() + 31_536_000, usegmt=True), 30, 30),
        (lambda: "9" * 1000, 30, 30),
        # Nothing that says when: between half of the first pause and all of it.
        (lambda: "soon", 0.2, 0.4),
        (lambda: "-1", 0.2, 0.4),
        (lambda: "Fri, 99 Jan 99999999 00:00:00 GMT", 0.2, 0.4),
    ],
)
def test_a_retry_comes_when_the_server_says_in_either_form_and_within_bounds(
    aws: pytest.MonkeyPatch, asked: Callable[[], str], at_least: float, at_most: float
) -> None:
    bucket = opened()
    status, headers, body = error(503, "SlowDown")
    Network(bucket, (status, {**headers, "Retry-After": asked()}, body), FOUND)
    pauses: list[float] = []
    aws.setattr("fipsmanifest.publish.s3.time.sleep", pauses.append)

    put(bucket, Absent())

    (pause,) = pauses
    assert at_least <= pause <= at_most


@pytest.mark.parametrize(
    ("style", "url"),
    [
        (None, "https://store.example.com/my-bucket/fips/tool/x"),
        ("path", "https://store.example.com/my-bucket/fips/tool/x"),
        ("virtual", "https://my-bucket.store.example.com/fips/tool/x"),
    ],
)
def test_the_users_profile_chooses_how_another_store_is_addressed(
    aws: pytest.MonkeyPatch, style: str | None, url: str
) -> None:
    # As `aws configure set default.s3.addressing_style virtual` writes it.
    text = "[default]\n" + (f"s3 =\n    addressing_style = {style}\n" if style else "")
    Path(os.environ["AWS_CONFIG_FILE"]).write_text(text)
    bucket = opened(endpoint_url="https://store.example.com")
    network = Network(bucket, FOUND)

    bucket.get("tool/x")
    put(bucket, Absent())

    assert [request.url for request in network.asked] == [url, url]
    assert "x-amz-trailer" not in network.headers(1)


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Return an endpoint with a certificate of an unknown authority, and the file with that authority."""
    certificate, key = tmp_path / "ca.pem", tmp_path / "ca.key"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    words += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(words, check=True, capture_output=True)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("ETag", '"1"')
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"data")

        def log_message(self, *arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{server.server_address[1]}", certificate
    server.shutdown()
    server.server_close()
    thread.join()


def test_an_authority_of_ones_own_is_named_by_the_environment(aws: pytest.MonkeyPatch, tls: tuple[str, Path]) -> None:
    endpoint, certificate = tls
    with pytest.raises(Incomplete, match="SSL") as caught:
        opened(endpoint_url=endpoint).get("tool/x")
    assert "AWS_CA_BUNDLE" in caught.value.advice

    aws.setenv("AWS_CA_BUNDLE", str(certificate))
    stored = opened(endpoint_url=endpoint).get("tool/x")

    assert stored is not None and stored.data == b"data"
