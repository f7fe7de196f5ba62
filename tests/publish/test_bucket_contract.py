"""The contract of a bucket: a directory, an S3 server and the bucket of the tests behave alike."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from fipsmanifest.errors import Conflict, UsageError
from fipsmanifest.publish.bucket import MAX_OBJECT, Absent, Bucket, Condition, Matches, Stored, TooLarge, Unchecked

pytestmark = pytest.mark.parametrize("address", ["directory", "s3", "memory"], indirect=True)

KEY = "tool/0.1.0+fips.0/dkp-fips-tool"


def put(bucket: Bucket, key: str, data: bytes, only_if: Condition) -> None:
    bucket.put(key, data, only_if=only_if, content_type="text/plain", cache_control="no-cache")


def read(bucket: Bucket, key: str) -> Stored:
    stored = bucket.get(key)
    assert stored is not None, key
    return stored


def test_an_empty_bucket_has_no_objects(bucket: Bucket) -> None:
    assert list(bucket.list("")) == []
    assert bucket.get(KEY) is None
    bucket.sweep()
    assert list(bucket.list("")) == []


@pytest.mark.parametrize("data", [b"", b"\0\r\n\xff", b"#!/bin/sh\n", b"x" * 70_000])
def test_what_is_written_is_read_byte_for_byte(bucket: Bucket, data: bytes) -> None:
    put(bucket, KEY, data, Absent())

    assert read(bucket, KEY).data == data
    assert [(entry.key, entry.size) for entry in bucket.list("")] == [(KEY, len(data))]


def test_conditions_hold(bucket: Bucket) -> None:
    put(bucket, "tool/one", b"1", Absent())
    first = read(bucket, "tool/one")

    with pytest.raises(Conflict):
        put(bucket, "tool/one", b"2", Absent())
    put(bucket, "tool/one", b"3", Matches(first.token))
    with pytest.raises(Conflict):
        put(bucket, "tool/one", b"4", Matches(first.token))
    with pytest.raises(Conflict):
        put(bucket, "tool/absent", b"5", Matches(first.token))

    assert [entry.key for entry in bucket.list("")] == ["tool/one"]
    assert read(bucket, "tool/one").data == b"3"


def test_the_same_bytes_are_not_written_twice_as_new(bucket: Bucket) -> None:
    put(bucket, KEY, b"same", Absent())

    with pytest.raises(Conflict):
        put(bucket, KEY, b"same", Absent())


def test_a_write_without_a_condition_creates_and_replaces(bucket: Bucket) -> None:
    put(bucket, KEY, b"1", Unchecked())
    put(bucket, KEY, b"2", Unchecked())

    assert read(bucket, KEY).data == b"2"


def test_a_token_changes_with_the_object_and_only_then(bucket: Bucket) -> None:
    put(bucket, KEY, b"1", Absent())
    first = read(bucket, KEY)
    put(bucket, "tool/other", b"1", Absent())
    again = read(bucket, KEY)
    put(bucket, KEY, b"2", Matches(first.token))

    assert again.token == first.token
    assert read(bucket, KEY).token != first.token
    # A listing may omit tokens, but never has another one than a read.
    assert [entry.token for entry in bucket.list("tool/0")] in ([""], [read(bucket, KEY).token])


def test_a_listing_is_ordered_by_key_and_takes_any_prefix(bucket: Bucket) -> None:
    keys = ["tool/a/1", "tool/a-b", "tool/a.b", "tool/B", "index.json", "tool/ab", "tool/a+1"]
    for key in keys:
        put(bucket, key, b"x", Absent())

    assert [entry.key for entry in bucket.list("")] == sorted(keys)
    # A prefix may end in the middle of a segment, as in S3.
    assert [entry.key for entry in bucket.list("tool/a")] == sorted(key for key in keys if key.startswith("tool/a"))
    assert [entry.key for entry in bucket.list("tool/a/")] == ["tool/a/1"]
    assert list(bucket.list("toll/")) == []


@pytest.mark.parametrize(
    "key", ["../x", "tool/../../x", "/etc/passwd", "tool//x", ".hidden", "tool/.x", "tool/a\nb", "tool/ä", "", "tool/"]
)
def test_a_key_cannot_leave_the_bucket(bucket: Bucket, key: str) -> None:
    with pytest.raises(UsageError):
        put(bucket, key, b"x", Absent())
    with pytest.raises(UsageError):
        bucket.get(key)
    assert list(bucket.list("")) == []


def test_an_object_has_at_most_16_mib(bucket: Bucket) -> None:
    put(bucket, "tool/largest", b"x" * MAX_OBJECT, Absent())
    put(bucket, "tool/larger", b"x" * (MAX_OBJECT + 1), Absent())

    assert MAX_OBJECT == 16 * 1024 * 1024
    assert len(read(bucket, "tool/largest").data) == MAX_OBJECT
    with pytest.raises(TooLarge) as caught:
        bucket.get("tool/larger")
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("absent", [True, False], ids=["create", "replace"])
def test_of_writers_at_the_same_time_exactly_one_succeeds(bucket: Bucket, absent: bool) -> None:
    only_if: Condition = Absent()
    if not absent:
        put(bucket, KEY, b"before", Absent())
        only_if = Matches(read(bucket, KEY).token)
    start = threading.Barrier(4)

    def write(number: int) -> bool:
        start.wait(20)
        try:
            put(bucket, KEY, b"%d" % number, only_if)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        succeeded = list(pool.map(write, range(4)))

    assert succeeded.count(True) == 1
    assert read(bucket, KEY).data == b"%d" % succeeded.index(True)
