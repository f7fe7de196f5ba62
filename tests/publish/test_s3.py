"""S3 as it is: what is asked of the server, what it may answer, and what then is said."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from fipsmanifest.errors import Conflict, Incomplete, UsageError
from fipsmanifest.publish.address import open_bucket
from fipsmanifest.publish.bucket import Absent, Bucket, Matches
from fipsmanifest.publish.consumer import Consumer
from fipsmanifest.publish.publisher import publish
from tests.publish.conftest import BUCKET
from tests.publish.faulty_proxy import FaultyProxy
from tests.publish.releases import ReleaseKey, expected_keys, wanted_release
from tests.servers import SeaweedFS


def _honest(method: str, count: int) -> None:
    del method, count


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

    seen = {}
    for key in expected_keys():
        address = s3.client().generate_presigned_url("get_object", {"Bucket": BUCKET, "Key": f"headers/{key}"})
        with urllib.request.urlopen(address, timeout=20) as answer:
            checksum = base64.b64encode(hashlib.sha256(answer.read()).digest()).decode()
            head = s3.client().head_object(Bucket=BUCKET, Key=f"headers/{key}", ChecksumMode="ENABLED")
            assert head["ChecksumSHA256"] == checksum
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


def test_another_s3_client_copies_exactly_what_was_published(
    s3: SeaweedFS, release_key: ReleaseKey, consumer: Consumer, tmp_path: Path
) -> None:
    wanted = wanted_release(release_key)
    publish(wanted, open_bucket(f"s3://{BUCKET}/copied"), consumer)
    key, secret = s3.credentials
    remote = f":s3,provider=Other,endpoint='{s3.endpoint_url}',access_key_id={key},secret_access_key={secret}"
    rclone = [str(Path(sys.executable).with_name("rclone")), "--config", str(tmp_path / "rclone.conf")]

    subprocess.run([*rclone, "copy", f"{remote}:{BUCKET}/copied", str(tmp_path / "copy")], check=True, timeout=60)

    copy = {path.relative_to(tmp_path / "copy").as_posix(): path for path in (tmp_path / "copy").rglob("*.*")}
    assert set(copy) | {"tool/dkp-fips-tool", "tool/0.1.0/dkp-fips-tool"} >= expected_keys()
    for manifest in wanted.manifests:
        assert copy[manifest.key].read_bytes() == manifest.signed
    check = ["sha256sum", "--strict", "-c", "dkp-fips-tool.sha256"]
    subprocess.run(check, cwd=tmp_path / "copy" / "tool", check=True, stdout=subprocess.DEVNULL)


def test_an_unchanged_release_costs_one_listing_and_one_read_a_pointer_and_sends_no_body(
    s3: SeaweedFS, release_key: ReleaseKey, consumer: Consumer
) -> None:
    wanted = wanted_release(release_key)
    publish(wanted, open_bucket(f"s3://{BUCKET}/unchanged"), consumer)

    with FaultyProxy(s3.endpoint_url, _honest) as proxy:
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
        ("501-NotImplemented", "whoever runs the store"),
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
    assert "fresh credentials" in caught.value.advice

    publish(wanted_release(release_key), open_bucket(address), consumer)
    assert {entry.key for entry in open_bucket(address).list("")} == expected_keys()


def test_conditions_hold(bucket: Bucket) -> None:
    put(bucket, "tool/one", b"1", Absent())
    first = bucket.get("tool/one")
    assert first is not None

    with pytest.raises(Conflict):
        put(bucket, "tool/one", b"2", Absent())
    put(bucket, "tool/one", b"3", Matches(first.token))
    with pytest.raises(Conflict):
        put(bucket, "tool/one", b"4", Matches(first.token))
    with pytest.raises(Conflict):
        put(bucket, "tool/absent", b"5", Matches(first.token))

    assert [entry.key for entry in bucket.list("")] == ["tool/one"]
    last = bucket.get("tool/one")
    assert last is not None and last.data == b"3"


@pytest.mark.parametrize(
    "key", ["../x", "tool/../../x", "/etc/passwd", "tool//x", ".hidden", "tool/.x", "tool/a\nb", "tool/ä", "", "tool/"]
)
def test_a_key_cannot_leave_the_bucket(bucket: Bucket, key: str) -> None:
    with pytest.raises(UsageError):
        put(bucket, key, b"x", Absent())
    with pytest.raises(UsageError):
        bucket.get(key)


def test_a_listing_of_more_than_a_page_is_whole(s3: SeaweedFS) -> None:
    client = s3.client()
    for number in range(1005):
        client.put_object(Bucket=BUCKET, Key=f"many/tool/{number:04}", Body=b"")

    assert [entry.key for entry in open_bucket(f"s3://{BUCKET}/many").list("tool/")] == [
        f"tool/{number:04}" for number in range(1005)
    ]


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
    "address", ["https://example.com/bucket", "s3://", "s3://UPPER/x", "s3://ab", "s3://bucket/../x", "gs://bucket"]
)
def test_an_address_that_cannot_be_meant_is_a_usage_error(address: str) -> None:
    with pytest.raises(UsageError):
        open_bucket(address)


def test_an_endpoint_for_a_folder_is_a_usage_error() -> None:
    with pytest.raises(UsageError):
        open_bucket("./bucket", endpoint_url="http://127.0.0.1:1")
