"""S3: what is requested from the server, what it may answer, and what is then reported."""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from fipsmanifest.errors import Incomplete, UsageError
from fipsmanifest.publish.address import open_bucket
from fipsmanifest.publish.audit import audit
from fipsmanifest.publish.bucket import Absent, Bucket, Matches
from fipsmanifest.publish.consumer import Consumer
from fipsmanifest.publish.probe import probe
from fipsmanifest.publish.publisher import publish
from fipsmanifest.publish.s3 import S3Bucket
from tests.publish.conftest import BUCKET
from tests.support import loopback
from tests.support.faulty_proxy import FaultyProxy, honest
from tests.support.releases import ReleaseKey, expected_keys, wanted_release
from tests.support.servers import SeaweedFS


def _stalls_once(method: str, count: int) -> str | None:
    del method
    return "stall" if count == 1 else None


def _always(fault: str) -> Callable[[str, int], str | None]:
    def choose(method: str, count: int) -> str:
        del method, count
        return fault

    return choose


def _overloaded(method: str, count: int) -> str:
    del method, count
    return "503"


def put(bucket: Bucket, key: str, data: bytes, only_if: Absent | Matches) -> None:
    bucket.put(key, data, only_if=only_if, content_type="text/plain", cache_control="no-cache")


def test_an_independent_client_sees_types_caching_and_checksum(
    s3: SeaweedFS, release_key: ReleaseKey, consumer: Consumer
) -> None:
    publish(wanted_release(release_key), open_bucket(f"s3://{BUCKET}/headers"), consumer)

    seen, client = {}, s3.client()
    for key in expected_keys():
        address = client.generate_presigned_url("get_object", {"Bucket": BUCKET, "Key": f"headers/{key}"})
        with urllib.request.urlopen(address, timeout=20) as answer:
            checksum = base64.b64encode(hashlib.sha256(answer.read()).digest()).decode()
            head = client.head_object(Bucket=BUCKET, Key=f"headers/{key}", ChecksumMode="ENABLED")
            assert head["ChecksumSHA256"] == checksum
            assert bytes.fromhex(head["Metadata"]["sha256"]) == base64.b64decode(checksum)
            assert answer.headers["x-amz-meta-sha256"] == head["Metadata"]["sha256"]
            seen[key] = (answer.headers["Content-Type"], answer.headers["Cache-Control"])

    forever = "public, max-age=31536000, immutable"
    assert seen["tool/0.1.0/dkp-fips-tool"] == ("application/octet-stream", forever)
    assert seen["tool/0.1.0/dkp-fips-tool.sha256"] == ("text/plain; charset=utf-8", forever)
    assert seen["tool/manifests/v1.21.3/1/manifest-rhel8.json.asc"] == ("text/plain; charset=utf-8", forever)
    assert seen["tool/manifests/v1.21.3/manifest-rhel8.json.asc"] == ("text/plain; charset=utf-8", "no-cache")
    assert seen["tool/dkp-fips-tool.asc"] == ("application/pgp-signature", "no-cache")
    assert seen["tool/dkp-fips-tool"] == ("application/octet-stream", "no-cache")
    assert seen["index.html"] == ("text/html; charset=utf-8", "no-cache")
    assert seen["index.json"] == ("application/json", "no-cache")


def rclone(s3: SeaweedFS, source: str, target: Path) -> None:
    key, secret = s3.credentials
    remote = f":s3,provider=Other,endpoint='{s3.endpoint_url}',access_key_id={key},secret_access_key={secret}"
    program = str(Path(sys.executable).with_name("rclone"))
    config = str(target.with_name("rclone.conf"))
    subprocess.run([program, "--config", config, "copy", f"{remote}:{source}", str(target)], check=True, timeout=60)


def curl(s3: SeaweedFS, source: str, target: Path) -> None:
    """Read every object with plain curl, which signs by itself."""
    for key in expected_keys():
        words = ["--user", ":".join(s3.credentials), "--aws-sigv4", f"aws:amz:{s3.region}:s3", "--fail", "--silent"]
        words += ["--create-dirs", "--output", str(target / key), f"{s3.endpoint_url}/{source}/{key}"]
        subprocess.run(["curl", *words], check=True, timeout=60)


def aws_cli(s3: SeaweedFS, source: str, target: Path) -> None:
    program = str(Path(sys.executable).with_name("aws"))
    words = ["--endpoint-url", s3.endpoint_url, "s3", "cp", "--recursive", "--only-show-errors"]
    subprocess.run([program, *words, f"s3://{source}", str(target)], check=True, timeout=120)


@pytest.mark.parametrize("copy", [rclone, curl, aws_cli])
def test_independent_clients_read_exactly_what_was_published(
    s3: SeaweedFS,
    release_key: ReleaseKey,
    consumer: Consumer,
    tmp_path: Path,
    copy: Callable[[SeaweedFS, str, Path], None],
) -> None:
    wanted = wanted_release(release_key)
    source = f"{BUCKET}/copied-{copy.__name__}"
    publish(wanted, open_bucket(f"s3://{source}"), consumer)
    target = tmp_path / "copy"

    copy(s3, source, target)

    found = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    assert found == expected_keys()
    for manifest in wanted.manifests:
        assert (target / manifest.key).read_bytes() == manifest.signed
    check = ["sha256sum", "--strict", "-c", "dkp-fips-tool.sha256"]
    subprocess.run(check, cwd=target / "tool", check=True, stdout=subprocess.DEVNULL)


#: An IAM action and a resource, or a pattern of resources.
Permission = tuple[str, str]


def _asked(requests: list[str]) -> set[Permission]:
    """Return what each request needs (Amazon S3 API reference, "Permissions" of each operation)."""
    found = set()
    for request in requests:
        method, _, address = request.partition(" ")
        path, _, query = address.partition("?")
        name = path.removeprefix("/").replace(BUCKET, "NAME", 1)
        if method == "GET" and "list-type" in query:
            found.add(("s3:ListBucket", f"arn:aws:s3:::{name.rstrip('/')}"))
        else:
            action = {"GET": "s3:GetObject", "PUT": "s3:PutObject", "DELETE": "s3:DeleteObject"}[method]
            found.add((action, f"arn:aws:s3:::{name}"))
    return found


def _documented(page: str) -> set[Permission]:
    def every(value: str | list[str]) -> list[str]:
        return [value] if isinstance(value, str) else value

    (policy,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    return {
        (action, resource)
        for statement in json.loads(policy)["Statement"]
        for action in every(statement["Action"])
        for resource in every(statement["Resource"])
    }


def _allowed(asked: set[Permission], granted: set[Permission]) -> set[Permission]:
    return {
        (action, name)
        for action, name in asked
        if any(action == one and fnmatch.fnmatchcase(name, pattern) for one, pattern in granted)
    }


def test_the_documented_permissions_are_those_that_are_used_and_no_others(
    s3: SeaweedFS, release_key: ReleaseKey, consumer: Consumer
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "publishing.md").read_text()
    granted = _documented(page)
    removal = ("s3:DeleteObject", "arn:aws:s3:::NAME/fips/tool/probe-*")
    assert f"`{removal[0]}` on `{removal[1]}`" in " ".join(page.split())

    def asked(act: Callable[[S3Bucket], object]) -> set[Permission]:
        with FaultyProxy(s3.endpoint_url, honest) as proxy:
            bucket = open_bucket(f"s3://{BUCKET}/fips", endpoint_url=proxy.endpoint_url)
            assert isinstance(bucket, S3Bucket)
            act(bucket)
        return _asked(proxy.requests)

    first, second = wanted_release(release_key), wanted_release(release_key, version="0.2.0", serial=2)
    publishing = asked(lambda bucket: publish(first, bucket, consumer))
    publishing |= asked(lambda bucket: publish(second, bucket, consumer))
    auditing, probing = asked(lambda bucket: audit(bucket, consumer)), asked(probe)

    assert _allowed(publishing, granted) == publishing
    assert [permission for permission in granted if not _allowed(publishing, {permission})] == []
    reading = {permission for permission in granted if permission[0] != "s3:PutObject"}
    assert _allowed(auditing, reading) == auditing
    assert _allowed(probing, granted | {removal}) == probing
    assert _allowed(probing, {removal})


def test_an_unchanged_release_costs_one_listing_and_one_read_a_pointer_and_sends_no_body(
    s3: SeaweedFS, release_key: ReleaseKey, consumer: Consumer
) -> None:
    wanted = wanted_release(release_key)
    publish(wanted, open_bucket(f"s3://{BUCKET}/unchanged"), consumer)

    with FaultyProxy(s3.endpoint_url, honest) as proxy:
        publish(wanted, open_bucket(f"s3://{BUCKET}/unchanged", endpoint_url=proxy.endpoint_url), consumer)

    reads = [request for request in proxy.requests if "list-type" not in request]
    assert len(proxy.requests) - len(reads) == 1
    assert all(request.startswith("GET ") for request in proxy.requests)
    # Two manifests, the tool's three files, the two index files.
    assert len(reads) == 7


def test_a_server_that_says_when_to_come_back_is_asked_again_then(s3: SeaweedFS) -> None:
    def busy_once(method: str, count: int) -> str | None:
        return "503" if count == 1 else None

    with FaultyProxy(s3.endpoint_url, busy_once, retry_after="2") as proxy:
        assert open_bucket(f"s3://{BUCKET}/nothing", endpoint_url=proxy.endpoint_url).get("tool/x") is None

    first, second = proxy.times
    assert 2.0 <= second - first < 10


def test_a_server_that_stalls_is_asked_again(s3: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fipsmanifest.publish.s3.READ_SECONDS", 1)
    put(open_bucket(f"s3://{BUCKET}/stall"), "tool/x", b"x", Absent())

    with FaultyProxy(s3.endpoint_url, _stalls_once) as proxy:
        stored = open_bucket(f"s3://{BUCKET}/stall", endpoint_url=proxy.endpoint_url).get("tool/x")

    assert stored is not None and stored.data == b"x"
    assert len(proxy.requests) == 2


@pytest.mark.parametrize(
    ("fault", "advice"),
    [
        ("403-RequestTimeTooSkewed", "clock"),
        ("403-SignatureDoesNotMatch", "secret key"),
        ("501-NotImplemented", "ask the store's operator"),
    ],
)
def test_what_will_not_change_by_itself_is_said_at_once(s3: SeaweedFS, fault: str, advice: str) -> None:
    with FaultyProxy(s3.endpoint_url, _always(fault)) as proxy, pytest.raises(Incomplete) as caught:
        open_bucket(f"s3://{BUCKET}", endpoint_url=proxy.endpoint_url).get("tool/x")

    assert fault[4:] in caught.value.message
    assert advice in caught.value.advice
    assert len(proxy.requests) == 1


def test_a_server_that_only_fails_is_given_up_on_within_seconds(s3: SeaweedFS) -> None:
    began = time.monotonic()

    with FaultyProxy(s3.endpoint_url, _overloaded) as proxy:
        bucket = open_bucket(f"s3://{BUCKET}", endpoint_url=proxy.endpoint_url)
        with pytest.raises(Incomplete, match="SlowDown") as caught:
            bucket.get("tool/dkp-fips-tool")

    assert caught.value.exit_code == 4
    assert len(proxy.requests) == 5
    assert time.monotonic() - began < 20


def test_credentials_that_expire_in_the_middle_end_the_run_and_the_next_one_completes_it(
    s3: SeaweedFS, release_key: ReleaseKey, consumer: Consumer
) -> None:
    address = f"s3://{BUCKET}/expired"

    with (
        FaultyProxy(s3.endpoint_url, lambda method, n: "403" if method == "PUT" and n > 6 else None) as proxy,
        pytest.raises(Incomplete, match="ExpiredToken") as caught,
    ):
        publish(wanted_release(release_key), open_bucket(address, endpoint_url=proxy.endpoint_url), consumer)
    assert "new credentials" in caught.value.advice

    publish(wanted_release(release_key), open_bucket(address), consumer)
    assert {entry.key for entry in open_bucket(address).list("")} == expected_keys()


def test_a_listing_of_more_than_a_page_is_whole(s3: SeaweedFS) -> None:
    client = s3.client()
    for number in range(1005):
        client.put_object(Bucket=BUCKET, Key=f"many/tool/{number:04}", Body=b"")

    assert [entry.key for entry in open_bucket(f"s3://{BUCKET}/many").list("tool/")] == [
        f"tool/{number:04}" for number in range(1005)
    ]


#: The first page of Amazon's ListObjects (version 1), as a store answers that does not know the parameter list-type.
_FIRST_PAGE = b"""<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>releases</Name><Prefix>tool/</Prefix>
<Marker></Marker><MaxKeys>1</MaxKeys><IsTruncated>true</IsTruncated>
<Contents><Key>tool/dkp-fips-tool</Key><Size>1</Size><ETag>&quot;0cc175b9c0f1b6a831c399e269772661&quot;</ETag></Contents>
</ListBucketResult>"""


def test_a_listing_that_goes_on_and_does_not_say_where_is_not_taken_for_a_whole_one(
    s3: SeaweedFS, consumer: Consumer
) -> None:
    class Handler(loopback.QuietHandler):
        def do_GET(self) -> None:  # noqa: N802 - the base class's name
            self.answer(_FIRST_PAGE)

    with loopback.serving(Handler) as port:
        bucket = open_bucket("s3://releases", endpoint_url=f"http://127.0.0.1:{port}")
        with pytest.raises(Incomplete, match=r"listing of s3://releases .* is cut short"):
            audit(bucket, consumer)


@pytest.mark.parametrize(
    ("pages", "found"),
    [
        # Each page, by the token of its request: what it has of a next one.
        ({"": "<IsTruncated>true</IsTruncated>", "1": "<IsTruncated>true</IsTruncated>"}, None),
        ({"": "", "1": "<IsTruncated>false</IsTruncated>"}, ["tool/1", "tool/2"]),
    ],
    ids=["tokens in a circle", "a token without IsTruncated"],
)
def test_a_listing_ends_where_its_tokens_end(s3: SeaweedFS, pages: dict[str, str], found: list[str] | None) -> None:
    class Handler(loopback.QuietHandler):
        def do_GET(self) -> None:  # noqa: N802 - the base class's name
            token = parse_qs(urlsplit(self.path).query).get("continuation-token", [""])[0]
            more, following = pages["" if token in ("", "2") else token], {"": "1", "1": "2", "2": "1"}[token]
            number = 1 if token == "" else 2
            body = (
                '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
                f"{more}{'' if 'false' in more else f'<NextContinuationToken>{following}</NextContinuationToken>'}"
                + ("" if found is None else f"<Contents><Key>tool/{number}</Key><Size>1</Size></Contents>")
                + "</ListBucketResult>"
            ).encode()
            self.answer(body)

    with loopback.serving(Handler) as port:
        bucket = open_bucket("s3://releases", endpoint_url=f"http://127.0.0.1:{port}")
        if found is None:
            with pytest.raises(Incomplete, match="does not end"):
                list(bucket.list("tool/"))
        else:
            assert [entry.key for entry in bucket.list("tool/")] == found


def _no_bucket(s3: SeaweedFS, environment: pytest.MonkeyPatch) -> str:
    return "s3://no-such-bucket"


def _no_credentials(s3: SeaweedFS, environment: pytest.MonkeyPatch) -> str:
    environment.delenv("AWS_ACCESS_KEY_ID")
    environment.delenv("AWS_SECRET_ACCESS_KEY")
    return f"s3://{BUCKET}"


def _half_credentials(s3: SeaweedFS, environment: pytest.MonkeyPatch) -> str:
    environment.delenv("AWS_SECRET_ACCESS_KEY")
    return f"s3://{BUCKET}"


def _unknown_key(s3: SeaweedFS, environment: pytest.MonkeyPatch) -> str:
    environment.setenv("AWS_ACCESS_KEY_ID", "nobody")
    return f"s3://{BUCKET}"


def _wrong_secret(s3: SeaweedFS, environment: pytest.MonkeyPatch) -> str:
    environment.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    return f"s3://{BUCKET}"


def _stranger(s3: SeaweedFS, environment: pytest.MonkeyPatch) -> str:
    environment.setenv("AWS_ACCESS_KEY_ID", s3.stranger[0])
    environment.setenv("AWS_SECRET_ACCESS_KEY", s3.stranger[1])
    return f"s3://{BUCKET}"


def _nobody_listens(s3: SeaweedFS, environment: pytest.MonkeyPatch) -> str:
    environment.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    return f"s3://{BUCKET}"


@pytest.mark.parametrize(
    ("arrange", "message", "advice"),
    [
        (_no_bucket, "NoSuchBucket", "Create the bucket"),
        (_no_credentials, "Unable to locate credentials", "AWS_PROFILE"),
        (_half_credentials, "Partial credentials", "AWS_PROFILE"),
        (_unknown_key, "InvalidAccessKeyId", "belong to this endpoint"),
        (_wrong_secret, "SignatureDoesNotMatch", "secret key"),
        (_stranger, "AccessDenied", "s3:PutObject"),
        (_nobody_listens, "Could not connect", "network"),
    ],
)
def test_what_keeps_us_out_is_said_in_one_sentence_with_what_to_do(
    s3: SeaweedFS,
    monkeypatch: pytest.MonkeyPatch,
    release_key: ReleaseKey,
    consumer: Consumer,
    arrange: Callable[[SeaweedFS, pytest.MonkeyPatch], str],
    message: str,
    advice: str,
) -> None:
    address = arrange(s3, monkeypatch)

    with pytest.raises(Incomplete) as caught:
        publish(wanted_release(release_key), open_bucket(address), consumer)

    assert caught.value.exit_code == 4
    assert message in caught.value.message
    assert advice in caught.value.advice
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "address",
    [
        *("https://example.com/bucket", "s3://", "s3://UPPER/x", "s3://ab", "s3://bucket/../x", "gs://bucket"),
        *("", "s3:/bkt/x", "https:/example.com", "file:/tmp/bucket"),
    ],
)
def test_an_address_that_cannot_be_meant_is_a_usage_error(address: str) -> None:
    with pytest.raises(UsageError):
        open_bucket(address)


def test_an_endpoint_for_a_directory_is_a_usage_error() -> None:
    with pytest.raises(UsageError):
        open_bucket("./bucket", endpoint_url="http://127.0.0.1:1")


def test_without_the_extra_a_bucket_in_s3_is_a_usage_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "fipsmanifest.publish.s3", raising=False)
    monkeypatch.setitem(sys.modules, "boto3", None)

    with pytest.raises(UsageError) as caught:
        open_bucket("s3://some-bucket")

    assert "fipsmanifest[s3]" in caught.value.advice
    assert open_bucket("./some-directory")
