"""Records of published manifests: which are read, which are used as they are, and the sequence that they form."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

import pytest

from fipsmanifest.publish.bucket import Stored
from fipsmanifest.publish.consumer import Consumer
from fipsmanifest.publish.history import gaps, signed_too_early
from fipsmanifest.publish.index import PublishedContents, PublishedManifest
from fipsmanifest.publish.records import THREADS, Recorder, in_parallel
from tests.support.memory import MemoryBucket
from tests.support.releases import ReleaseKey, wanted_manifest

KEYS = [f"tool/manifests/v1.21.3/{serial}/manifest-rhel8.json.asc" for serial in (1, 2, 3, 10)]
FIRST, SECOND, THIRD, TENTH = KEYS


@pytest.fixture(scope="module")
def signed(release_key: ReleaseKey) -> dict[str, bytes]:
    """Serials of one release; the second has another kubelet."""
    made = [
        wanted_manifest(release_key, serial=serial, kubelet=b"%d" % min(serial, 2), at=f"202611{20 + number}T100000")
        for number, serial in enumerate((1, 2, 3, 10))
    ]
    return {manifest.key: manifest.signed for manifest in made}


@pytest.fixture
def bucket(signed: dict[str, bytes]) -> MemoryBucket:
    return MemoryBucket(dict(signed))


def test_records_follow_each_other_by_serial_whatever_the_order_of_the_listing(
    bucket: MemoryBucket, consumer: Consumer, release_key: ReleaseKey
) -> None:
    recorder = Recorder(bucket.get, consumer)

    made = list(recorder.records(sorted(KEYS, reverse=True)))

    assert [(item.serial, item.since) for item in made] == [(1, 0), (2, 1), (3, 2), (10, 3)]
    assert [item.key for item in made] == KEYS
    assert [len(item.changes) for item in made] == [0, 1, 0, 0]
    assert made[1].changes[0].startswith("kubelet: /usr/bin/kubelet")
    assert {item.fingerprint for item in made} == {release_key.fingerprint}
    assert [item.signed_at for item in made] == [f"2026-11-{day}T10:00:00Z" for day in (20, 21, 22, 23)]
    assert [item.size for item in made] == [len(bucket.objects[key]) for key in KEYS]
    assert recorder.refused == []


def test_one_that_does_not_verify_is_named_and_the_next_follows_the_one_before(
    bucket: MemoryBucket, consumer: Consumer
) -> None:
    bucket.objects[SECOND] = bucket.objects[SECOND].replace(b'"0755"', b'"4755"')
    # It is signed, but for another place.
    bucket.objects[THIRD] = bucket.objects[FIRST]
    recorder = Recorder(bucket.get, consumer)

    made = list(recorder.records(KEYS))

    assert [(item.serial, item.since) for item in made] == [(1, 0), (10, 1)]
    assert {key for key, _ in recorder.refused} == {SECOND, THIRD}
    assert made[1].changes and made[1].changes[0].startswith("kubelet: /usr/bin/kubelet")


def test_what_an_index_has_is_not_read_again(bucket: MemoryBucket, consumer: Consumer) -> None:
    before = {item.key: item for item in Recorder(bucket.get, consumer).records(KEYS)}
    bucket.reads.clear()

    again = list(Recorder(bucket.get, consumer, before).records(KEYS))

    assert again == list(before.values())
    assert bucket.reads == []


def test_of_a_new_serial_only_itself_and_the_one_before_are_read(bucket: MemoryBucket, consumer: Consumer) -> None:
    before = {item.key: item for item in Recorder(bucket.get, consumer).records(KEYS[:2])}
    bucket.reads.clear()

    made = list(Recorder(bucket.get, consumer, before).records(KEYS[:3]))

    assert [(item.serial, item.since) for item in made] == [(1, 0), (2, 1), (3, 2)]
    assert sorted(bucket.reads) == [SECOND, THIRD]


def test_a_record_of_the_index_that_follows_another_serial_now_is_made_again(
    bucket: MemoryBucket, consumer: Consumer
) -> None:
    before = {item.key: item for item in Recorder(bucket.get, consumer).records(KEYS)}
    del bucket.objects[SECOND]
    del before[SECOND]

    made = list(Recorder(bucket.get, consumer, before).records([FIRST, THIRD, TENTH]))

    assert [(item.serial, item.since) for item in made] == [(1, 0), (3, 1), (10, 3)]
    assert made[1].changes[0].startswith("kubelet: /usr/bin/kubelet")


def test_a_record_whose_signer_is_trusted_no_more_is_not_believed(
    bucket: MemoryBucket, consumer: Consumer, other_key: ReleaseKey
) -> None:
    before = {item.key: item for item in Recorder(bucket.get, consumer).records(KEYS)}
    recorder = Recorder(bucket.get, other_key.consumer, before)

    assert list(recorder.records(KEYS)) == []
    assert {key for key, _ in recorder.refused} == set(KEYS)


def test_an_index_that_names_a_trusted_signer_for_what_a_stranger_signed_is_not_asked_about_other_keys(
    bucket: MemoryBucket, consumer: Consumer, other_key: ReleaseKey
) -> None:
    bucket.objects = {FIRST: wanted_manifest(other_key).signed}
    recorder = Recorder(bucket.get, consumer, {})

    assert list(recorder.records([FIRST])) == []
    assert [key for key, _ in recorder.refused] == [FIRST]


def test_other_keys_and_objects_that_are_gone_have_no_record(bucket: MemoryBucket, consumer: Consumer) -> None:
    others = ["index.json", "tool/dkp-fips-tool", "tool/manifests/v9.9.9/1/manifest-rhel8.json.asc"]

    assert [item.key for item in Recorder(bucket.get, consumer).records([*others, FIRST])] == [FIRST]


def test_releases_do_not_follow_each_other(consumer: Consumer, release_key: ReleaseKey) -> None:
    made = [
        wanted_manifest(release_key, kubernetes="v1.20.1", serial=3),
        wanted_manifest(release_key, el=7),
        wanted_manifest(release_key, el=8, serial=2),
    ]
    objects = {item.key: Stored(item.signed, "") for item in made}

    records = Recorder(objects.get, consumer).records(objects)

    assert [(item.kubernetes, item.el, item.serial, item.since) for item in records] == [
        ("v1.20.1", 8, 3, 0),
        ("v1.21.3", 7, 1, 0),
        ("v1.21.3", 8, 2, 0),
    ]


@pytest.mark.parametrize("count", [0, 1, 2, 100])
def test_calls_in_parallel_keep_the_order_and_run_ahead_by_a_bounded_number(count: int) -> None:
    started: list[str] = []

    def call(key: str) -> str:
        started.append(key)
        return key.upper()

    keys = [f"k{number}" for number in range(count)]
    for position, (key, result) in enumerate(in_parallel(call, iter(keys))):
        assert (key, result) == (keys[position], keys[position].upper())
        assert len(started) <= position + 2 * THREADS + 1
    assert sorted(started) == sorted(keys)


@pytest.fixture
def record(bucket: MemoryBucket, consumer: Consumer) -> Callable[..., PublishedManifest]:
    (first,) = Recorder(bucket.get, consumer).records([FIRST])
    return lambda serial, at, **more: dataclasses.replace(first, serial=serial, signed_at=at, **more)


def too_early(records: Iterable[PublishedManifest]) -> list[int]:
    return [item.serial for item, _ in signed_too_early(PublishedContents(tuple(records)))]


@pytest.mark.parametrize(
    ("at", "found"),
    [
        ("2026-11-21T10:00:00Z", []),
        # Clocks may be wrong by a day.
        ("2026-11-19T10:00:00Z", []),
        ("2026-11-19T09:59:59Z", [2]),
        ("2020-01-01T00:00:00Z", [2]),
    ],
)
def test_a_serial_that_was_signed_more_than_a_day_before_the_one_it_follows_is_found(
    record: Callable[..., PublishedManifest], at: str, found: list[int]
) -> None:
    pair = [record(1, "2026-11-20T10:00:00Z"), record(2, at)]

    assert too_early(pair) == too_early(pair[::-1]) == found


def test_only_serials_of_one_release_are_compared(record: Callable[..., PublishedManifest]) -> None:
    late, early = "2026-11-20T10:00:00Z", "2020-01-01T00:00:00Z"

    assert too_early([record(1, late), record(2, early, name="rhel7")]) == []
    assert too_early([record(1, late), record(2, early, kubernetes="v1.21.4")]) == []
    # Serials are numbers: 10 follows 9.
    assert too_early([record(9, late), record(10, early)]) == [10]


@pytest.mark.parametrize(
    ("serials", "found"),
    [
        ([], []),
        ([1], []),
        ([3], []),
        ([1, 2, 3], []),
        ([3, 1], ["has no serial 2"]),
        ([1, 2, 10], ["has no serials 3 to 9"]),
        ([1, 3, 6], ["has no serial 2", "has no serials 4 to 5"]),
    ],
)
def test_missing_serials_are_found_between_those_that_are_there(serials: list[int], found: list[str]) -> None:
    keys = [f"tool/manifests/v1.21.3/{serial}/manifest-rhel8.json.asc" for serial in serials]
    others = ["tool/manifests/v1.21.3/7/manifest-rhel7.json.asc", "tool/manifests/v1.21.3/manifest-rhel8.json.asc", "x"]

    pointer = "tool/manifests/v1.21.3/manifest-rhel8.json.asc"
    assert list(gaps([*keys, *others])) == [(pointer, sentence) for sentence in found]
