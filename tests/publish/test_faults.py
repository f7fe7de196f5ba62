"""Faults between two writes: kills, other publishers, stores that break their promises."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fipsmanifest.errors import Conflict, FipsManifestError, Incomplete
from fipsmanifest.publish.address import open_bucket
from fipsmanifest.publish.audit import audit
from fipsmanifest.publish.bucket import Absent, Bucket, Condition, Matches
from fipsmanifest.publish.consumer import Consumer
from fipsmanifest.publish.publisher import publish
from fipsmanifest.publish.request import PublishRequest
from tests.publish.interrupted import publish_in_process
from tests.publish.reader import Reader
from tests.support.releases import (
    ReleaseKey,
    consumer_problems,
    everything,
    expected_keys,
    save,
    wanted_manifest,
    wanted_release,
    wanted_tool,
)

Record = Callable[[str, object], None]


def _store(address: str) -> str:
    return "S3" if address.startswith("s3:") else "directory"


def read(bucket: Bucket, key: str) -> bytes | None:
    stored = bucket.get(key)
    return stored.data if stored else None


def test_killed_after_any_single_write_a_reader_is_never_misled_and_the_next_run_ends_the_same(
    address: str, release_key: ReleaseKey, consumer: Consumer, tmp_path: Path, record_property: Record
) -> None:
    # The second release moves every pointer, so its kills are the hard ones. The conditions probe never
    # succeeds on an honest store and so costs no life.
    first = wanted_release(release_key)
    second = wanted_release(release_key, version="0.2.0", serial=2)
    save(second, tmp_path / "second")
    publish(first, open_bucket(address + "/undisturbed"), consumer)
    before = everything(address + "/undisturbed")
    undisturbed = publish(second, open_bucket(address + "/undisturbed"), consumer)
    expected = everything(address + "/undisturbed")
    writes = len(undisturbed.written)
    assert writes == 12
    polls, problems = 0, list[str]()

    for lives in range(1, writes + 1):
        where = f"{address}/killed-{lives}"
        _put_all(open_bucket(where), before)
        with Reader(where, consumer).looking() as reader:
            code = publish_in_process(where, tmp_path / "second", release_key.trust, lives)
        polls, problems = polls + reader.polls, problems + reader.problems
        assert code == -signal.SIGKILL
        there = everything(where)
        assert consumer_problems(there.get, consumer) == [], f"after write {lives}"

        publish(second, open_bucket(where), consumer)
        assert everything(where) == expected, f"after write {lives}"

    record_property("fault", (f"publisher killed -9 ({_store(address)})", writes, polls, len(problems), -9))
    assert problems == []


def test_a_move_that_was_killed_is_completed_by_a_publisher_of_the_older_release_too(
    address: str, release_key: ReleaseKey, consumer: Consumer
) -> None:
    first = wanted_release(release_key)
    second = wanted_release(release_key, version="0.2.0", serial=2)
    publish(first, open_bucket(address + "/undisturbed"), consumer)
    publish(second, open_bucket(address + "/undisturbed"), consumer)
    bucket = open_bucket(address)
    publish(first, bucket, consumer)
    complete = everything(address + "/undisturbed")
    for suffix in ("", ".asc", ".sha256"):
        key = f"tool/0.2.0/dkp-fips-tool{suffix}"
        _put(bucket, key, complete[key])
    _put(bucket, "tool/dkp-fips-tool.asc", complete["tool/dkp-fips-tool.asc"])

    publish(first, bucket, consumer)

    for suffix in ("", ".asc", ".sha256"):
        key = f"tool/dkp-fips-tool{suffix}"
        assert read(bucket, key) == complete[key]


def test_a_publication_that_was_killed_is_completed_by_whoever_publishes_next_whatever_they_publish(
    address: str, release_key: ReleaseKey, consumer: Consumer
) -> None:
    # By whom: one who publishes something else altogether, with a tool and without; and the older release again.
    first = wanted_release(release_key)
    second = wanted_release(release_key, version="0.2.0", serial=2)
    other = wanted_release(release_key, kubernetes="v1.20.1")
    publish(first, open_bucket(address + "/undisturbed"), consumer)
    before = everything(address + "/undisturbed")
    written = publish(second, open_bucket(address + "/undisturbed"), consumer).written
    cases = [
        (lives, next_one)
        for lives in (3, 5, 6, 8)
        for next_one in (first, PublishRequest(other.manifests), PublishRequest(other.manifests[:1], other.tool))
    ]

    for number, (lives, next_one) in enumerate(cases):
        bucket = open_bucket(f"{address}/{number}")
        _put_all(bucket, before)
        for action in written[:lives]:
            _put(bucket, action.key, action.data)
        publish(next_one, bucket, consumer)

        there = everything(f"{address}/{number}")
        assert consumer_problems(there.get, consumer) == [], f"after write {lives}"
        assert audit(bucket, consumer).findings == (), f"after write {lives}"
        assert publish(next_one, bucket, consumer).written == ()


def test_the_pointer_that_a_killed_first_publication_never_made_is_made_by_the_next_publisher(
    address: str, release_key: ReleaseKey, consumer: Consumer
) -> None:
    release = wanted_release(release_key)
    seven, eight = (PublishRequest((manifest,), release.tool) for manifest in release.manifests)
    bucket = open_bucket(address)
    publish(seven, bucket, consumer)
    _put(bucket, eight.manifests[0].key, eight.manifests[0].signed)

    publish(seven, bucket, consumer)

    assert read(bucket, "tool/manifests/v1.21.3/manifest-rhel8.json.asc") == eight.manifests[0].signed
    assert audit(bucket, consumer).findings == ()


def test_a_strangers_object_at_the_pointer_of_another_release_does_not_stop_this_one(
    address: str, release_key: ReleaseKey, consumer: Consumer
) -> None:
    release = wanted_release(release_key)
    seven, eight = (PublishRequest((manifest,), release.tool) for manifest in release.manifests)
    bucket = open_bucket(address)
    publish(eight, bucket, consumer)
    pointer = "tool/manifests/v1.21.3/manifest-rhel8.json.asc"
    _put(bucket, pointer, b"a stranger's")

    publish(seven, bucket, consumer)

    assert read(bucket, pointer) == b"a stranger's"
    assert read(bucket, "tool/manifests/v1.21.3/manifest-rhel7.json.asc") == seven.manifests[0].signed


@pytest.mark.parametrize("count", [2, 8])
def test_publishers_of_the_same_release_all_succeed_and_readers_never_see_a_mismatch(
    address: str, release_key: ReleaseKey, consumer: Consumer, record_property: Record, count: int
) -> None:
    # Each signs on its own, so no two of them bring the same signature bytes.
    publish(wanted_release(release_key), open_bucket(address), consumer)
    releases = [
        wanted_release(release_key, version="0.2.0", serial=2, at=f"202611{day}T100000")
        for day in range(11, 11 + count)
    ]

    with Reader(address, consumer).looking() as reader, ThreadPoolExecutor(count) as pool:
        runs = [pool.submit(publish, wanted, open_bucket(address), consumer) for wanted in releases]
        written = [action.key for run in runs for action in run.result().written]

    record_property(
        "fault", (f"{count} at once, same ({_store(address)})", len(written), reader.polls, len(reader.problems), 0)
    )
    there = everything(address)
    assert there.keys() == expected_keys() | expected_keys("0.2.0", 2)
    assert consumer_problems(there.get, consumer) == []
    assert reader.problems == []
    assert sorted(written) == sorted(expected_keys("0.2.0", 2))


@pytest.mark.parametrize("count", [2, 8])
def test_of_publishers_with_different_content_one_wins_and_the_others_get_a_conflict(
    address: str, release_key: ReleaseKey, consumer: Consumer, record_property: Record, count: int
) -> None:
    publish(PublishRequest((), wanted_tool(release_key)), open_bucket(address), consumer)
    releases = [PublishRequest((wanted_manifest(release_key, kubelet=bytes([number])),)) for number in range(count)]

    def attempt(wanted: PublishRequest) -> int:
        try:
            publish(wanted, open_bucket(address), consumer)
        except FipsManifestError as error:
            return error.exit_code
        return 0

    with Reader(address, consumer).looking() as reader, ThreadPoolExecutor(count) as pool:
        codes = list(pool.map(attempt, releases))

    record_property(
        "fault", (f"{count} at once, different ({_store(address)})", 1, reader.polls, len(reader.problems), 6)
    )
    assert sorted(codes) == [0, *[6] * (count - 1)]
    winner = releases[codes.index(0)].manifests[0].signed
    assert read(open_bucket(address), "tool/manifests/v1.21.3/manifest-rhel8.json.asc") == winner
    assert reader.problems == []
    assert consumer_problems(everything(address).get, consumer) == []


def test_of_publishers_with_different_content_for_two_els_one_wins_both(
    address: str, release_key: ReleaseKey, consumer: Consumer
) -> None:
    # Each is slow to write another EL: written at once, each would be the first at one of them.
    releases = [wanted_release(release_key, kubelet=bytes([number])) for number in range(2)]
    publish(PublishRequest((), releases[0].tool), open_bucket(address), consumer)

    class Slow(Careless):
        def __init__(self, at: str) -> None:
            super().__init__(open_bucket(address))
            self._at = at

        def put(self, key: str, data: bytes, *, only_if: Condition, **headers: str) -> None:
            if f"/1/manifest-{self._at}" in key:
                time.sleep(0.5)
            self._bucket.put(key, data, only_if=only_if, **headers)

    def attempt(wanted: PublishRequest, slow_at: str) -> int:
        try:
            publish(wanted, Slow(slow_at), consumer)
        except FipsManifestError as error:
            return error.exit_code
        return 0

    with ThreadPoolExecutor(2) as pool:
        codes = list(pool.map(attempt, releases, ("rhel8", "rhel7")))

    assert sorted(codes) == [0, 6]
    there = everything(address)
    winner = releases[codes.index(0)]
    assert all(there[manifest.key] == manifest.signed for manifest in winner.manifests)
    assert audit(open_bucket(address), consumer).findings == ()


def test_writes_of_one_step_are_made_at_once(tmp_path: Path, release_key: ReleaseKey, consumer: Consumer) -> None:
    # A write that waits for another one of its step: made one after the other, they would wait for ever.
    bucket = open_bucket(str(tmp_path / "bucket"))
    publish(PublishRequest((), wanted_tool(release_key)), bucket, consumer)
    wanted = PublishRequest(tuple(wanted_manifest(release_key, el=el) for el in (7, 8, 9)))
    together = threading.Barrier(2, timeout=20)

    class Patient(Careless):
        def put(self, key: str, data: bytes, *, only_if: Condition, **headers: str) -> None:
            # The first manifest goes ahead alone, and no other one waits for it.
            if "/manifest-rhel8" in key or "/manifest-rhel9" in key:
                together.wait()
            bucket.put(key, data, only_if=only_if, **headers)

    made = publish(wanted, Patient(bucket), consumer)

    assert len(made.written) == 8
    assert not together.broken


def test_publishers_of_different_releases_end_with_one_index_of_all(
    address: str, release_key: ReleaseKey, consumer: Consumer
) -> None:
    releases = [wanted_release(release_key, kubernetes=f"v1.21.{patch}") for patch in range(4)]

    with ThreadPoolExecutor(4) as pool:
        for run in [pool.submit(publish, wanted, open_bucket(address), consumer) for wanted in releases]:
            run.result()

    there = everything(address)
    assert there["index.json"].count(b'"key": "tool/manifests/') == 8
    for patch in range(4):
        assert f"v1.21.{patch}".encode() in there["index.html"]


class Careless:
    """A store that ignores conditions and reports success, as some do (`rclone serve s3`)."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self.get, self.list, self.describe, self.sweep = bucket.get, bucket.list, bucket.describe, bucket.sweep

    def put(self, key: str, data: bytes, *, only_if: Condition, **headers: str) -> None:
        del only_if, headers
        _put(self._bucket, key, data)


class Garbling(Careless):
    """A store that reports success and keeps something else."""

    def put(self, key: str, data: bytes, *, only_if: Condition, **headers: str) -> None:
        kept = data[:-1] if key.endswith("rhel8.json.asc") else data
        self._bucket.put(key, kept, only_if=only_if, **headers)


def test_publishing_stops_on_a_store_that_ignores_conditions_unless_nobody_else_writes(
    tmp_path: Path, release_key: ReleaseKey, consumer: Consumer
) -> None:
    bucket = Careless(open_bucket(str(tmp_path / "bucket")))

    with pytest.raises(Conflict, match="ignores conditions") as caught:
        publish(wanted_release(release_key), bucket, consumer)
    assert "--single-writer" in caught.value.advice
    there = everything(str(tmp_path / "bucket"))
    assert there.keys() == {"tool/0.1.0/dkp-fips-tool.asc"}

    publish(wanted_release(release_key), bucket, consumer, single_writer=True)
    assert everything(str(tmp_path / "bucket")).keys() == expected_keys()


def test_a_store_that_keeps_other_bytes_than_it_was_given_is_found_out_before_any_pointer_moves(
    tmp_path: Path, release_key: ReleaseKey, consumer: Consumer
) -> None:
    address = str(tmp_path / "bucket")

    with pytest.raises(FipsManifestError, match="does not verify") as caught:
        publish(wanted_release(release_key), Garbling(open_bucket(address)), consumer)

    assert caught.value.exit_code == 6
    assert not [key for key in everything(address) if key.startswith(("tool/dkp", "index"))]


def test_a_publisher_that_is_killed_while_it_writes_a_file_leaves_nothing_but_objects(tmp_path: Path) -> None:
    root = tmp_path / "bucket"
    root.mkdir()
    (root / ".writing-4711").write_bytes(b"half of someth")
    bucket = open_bucket(str(root))
    assert list(bucket.list("")) == []

    _put(bucket, "tool/notes", b"x", Absent())

    assert [path.name for path in root.rglob("*") if path.is_file()] == ["notes"]


def test_what_a_killed_publisher_leaves_is_never_something_that_must_not_be_trusted(
    tmp_path: Path, release_key: ReleaseKey, consumer: Consumer
) -> None:
    class Mortal(Careless):
        def __init__(self, bucket: Bucket, lives: int) -> None:
            super().__init__(bucket)
            self._lives, self._lock = lives, threading.Lock()

        def put(self, key: str, data: bytes, *, only_if: Condition, **headers: str) -> None:
            with self._lock:
                if self._lives == 0:
                    raise Incomplete("Killed.")
                self._bucket.put(key, data, only_if=only_if, **headers)
                self._lives -= 1

    first, second = wanted_release(release_key), wanted_release(release_key, version="0.2.0", serial=2)
    seen = []
    for before, wanted, kills in ((PublishRequest(), first, (1, 2, 3, 6)), (first, second, (1, 2, 3, 4, 6, 7, 9, 11))):
        for lives in kills:
            bucket = open_bucket(str(tmp_path / f"{wanted is first}-{lives}"))
            publish(before, bucket, consumer)
            with pytest.raises(Incomplete, match="Killed"):
                publish(wanted, Mortal(bucket, lives), consumer)
            seen.append(audit(bucket, consumer).exit_code)

    assert set(seen) == {1}


def test_what_a_killed_publisher_left_is_swept_by_one_who_has_nothing_to_write_and_nobody_elses_is(
    tmp_path: Path, release_key: ReleaseKey, consumer: Consumer
) -> None:
    # Killed between the link and the removal of the temporary name: the last object is there, and so is the rest.
    root, wanted = tmp_path / "bucket", wanted_release(release_key)
    publish(wanted, open_bucket(str(root)), consumer)
    (root / ".writing-4711").write_bytes(b"the whole of index.html")
    (root / ".writing-4712").symlink_to(tmp_path / "elsewhere")
    (root / ".writing-notes").write_bytes(b"somebody's")
    (root / ".writing-4713").mkdir()
    (tmp_path / "elsewhere").write_bytes(b"somebody's")

    # The owner of the lock is alive, and may be writing there.
    alive = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(alive, fcntl.LOCK_EX)
    assert publish(wanted, open_bucket(str(root)), consumer).written == ()
    assert (root / ".writing-4711").exists()
    os.close(alive)
    assert publish(wanted, open_bucket(str(root)), consumer).written == ()

    assert {path.name for path in root.glob(".*")} == {".writing-notes", ".writing-4713"}
    assert (tmp_path / "elsewhere").read_bytes() == b"somebody's"


def _directory_at(path: Path) -> None:
    path.mkdir(parents=True)


def _file_at(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"somebody's")


def _link_at(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to("nowhere")


def _pipe_at(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("where", "put", "says"),
    [
        ("index.html", _directory_at, "index.html is a directory, not an object"),
        ("tool/dkp-fips-tool", _directory_at, "tool/dkp-fips-tool is a directory, not an object"),
        ("tool/dkp-fips-tool.asc", _link_at, "tool/dkp-fips-tool.asc is a symbolic link"),
        ("index.json", _pipe_at, "index.json is not a regular file"),
        ("tool", _file_at, "a parent is a file, not a directory"),
        ("tool/manifests/v1.21.3", _file_at, "a parent is a file, not a directory"),
        ("", _file_at, "a parent is a file, not a directory"),
    ],
)
def test_something_else_in_the_place_of_an_object_or_directory_is_named_with_what_to_do(
    tmp_path: Path, release_key: ReleaseKey, where: str, put: Callable[[Path], None], says: str
) -> None:
    root = tmp_path / "bucket"
    put(root / where)

    with pytest.raises(FipsManifestError) as caught:
        publish(wanted_release(release_key), open_bucket(str(root)), release_key.consumer)

    assert caught.value.exit_code in {4, 6}
    assert says in str(caught.value)
    assert "move it away" in str(caught.value)


def _put_all(bucket: Bucket, objects: dict[str, bytes]) -> None:
    """Make an empty bucket what another one is, whose publication need not be repeated."""
    for key, data in objects.items():
        bucket.put(key, data, only_if=Absent(), content_type="text/plain", cache_control="no-cache")


def _put(bucket: Bucket, key: str, data: bytes, only_if: Condition | None = None) -> None:
    stored = bucket.get(key)
    condition = only_if or (Matches(stored.token) if stored else Absent())
    bucket.put(key, data, only_if=condition, content_type="text/plain", cache_control="no-cache")
