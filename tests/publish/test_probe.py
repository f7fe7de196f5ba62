"""The conditions that a store enforces: a real server, a directory, and stores that break their promises."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fipsmanifest.errors import Conflict, Incomplete
from fipsmanifest.publish.address import open_bucket
from fipsmanifest.publish.audit import audit
from fipsmanifest.publish.bucket import Bucket, Condition
from fipsmanifest.publish.consumer import Consumer
from fipsmanifest.publish.directory import DirectoryBucket
from fipsmanifest.publish.probe import probe
from fipsmanifest.publish.publisher import publish
from tests.publish.conftest import BUCKET
from tests.support import command
from tests.support.faulty_proxy import FaultyProxy, honest
from tests.support.releases import ReleaseKey, expected_keys, wanted_release
from tests.support.servers import RcloneS3, SeaweedFS

CONDITIONS = ["create-only", "replace-only", "replace-existing"]


def test_a_store_that_keeps_conditions_is_found_to_and_nothing_is_left_behind(address: str) -> None:
    bucket = open_bucket(address)

    found = probe(bucket)

    assert {answer.name: answer.holds for answer in found.answers} == {
        "read-back": True,
        "listing": True,
        **dict.fromkeys(CONDITIONS, True),
        # A directory is given no digest.
        "digest": True if address.startswith("s3:") else None,
    }
    assert found.document()["safe_beside_others"] is True
    assert list(bucket.list("")) == []
    if not address.startswith("s3:"):
        assert list(Path(address).iterdir()) == []


@pytest.fixture
def rclone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[RcloneS3]:
    """A real store that ignores conditions, below ``served``, with its credentials in the environment."""
    with RcloneS3(tmp_path / "served") as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        yield server


def test_a_real_store_that_ignores_conditions_is_found_out_and_cleaned(rclone: RcloneS3, tmp_path: Path) -> None:
    found = probe(open_bucket("s3://careless"))

    failing = [answer.name for answer in found.failing]
    assert "create-only" in failing
    assert set(failing) <= set(CONDITIONS)
    # rclone puts its own temporary files away in its own time.
    left = [path for path in (tmp_path / "served").rglob("*") if path.is_file()]
    assert [path for path in left if not path.name.startswith(".rclone_temp_put_")] == []


def test_a_real_store_that_ignores_conditions_is_not_published_to(
    rclone: RcloneS3, release_key: ReleaseKey, consumer: Consumer
) -> None:
    bucket = open_bucket("s3://careless/fips")

    with pytest.raises(Conflict, match="ignores conditions") as caught:
        publish(wanted_release(release_key), bucket, consumer)

    assert "--single-writer" in caught.value.advice
    assert [entry.key for entry in bucket.list("")] == ["tool/0.1.0/dkp-fips-tool.asc"]


def test_it_is_published_to_for_one_who_says_that_nobody_else_does(
    rclone: RcloneS3, tmp_path: Path, release_key: ReleaseKey, consumer: Consumer
) -> None:
    careless, careful = open_bucket("s3://careless/fips"), open_bucket(str(tmp_path / "directory"))
    release = wanted_release(release_key)

    publish(release, careless, consumer, single_writer=True)
    publish(release, careful, consumer)

    def contents(bucket: Bucket) -> dict[str, bytes]:
        return {entry.key: stored.data for entry in bucket.list("") if (stored := bucket.get(entry.key))}

    assert "tool/manifests/v1.21.3/manifest-rhel8.json.asc" in contents(careful)
    assert contents(careless) == contents(careful)


class Forgetful(DirectoryBucket):
    """A store that reports a condition as failed, and writes in spite of it."""

    def put(self, key: str, data: bytes, *, only_if: Condition, content_type: str, cache_control: str) -> None:
        try:
            super().put(key, data, only_if=only_if, content_type=content_type, cache_control=cache_control)
        finally:
            (self._root / key).write_bytes(data)


def test_a_store_that_refuses_and_writes_all_the_same_is_found_out(tmp_path: Path) -> None:
    found = probe(Forgetful(tmp_path / "bucket"))

    assert [answer.name for answer in found.failing] == CONDITIONS


def test_a_store_that_takes_no_conditions_at_all_is_found_out_and_published_to_by_a_single_writer_alone(
    s3: SeaweedFS, release_key: ReleaseKey
) -> None:
    wanted, address = wanted_release(release_key), f"s3://{BUCKET}/no-conditions"
    with FaultyProxy(s3.endpoint_url, honest, no_conditions=True) as proxy:
        bucket = open_bucket(address, endpoint_url=proxy.endpoint_url)
        assert [answer.name for answer in probe(bucket).failing] == CONDITIONS
        assert list(bucket.list("")) == []
        with pytest.raises(Conflict, match="does not support conditional writes") as caught:
            publish(wanted, bucket, release_key.consumer)
        assert "--single-writer" in caught.value.advice
        assert list(bucket.list("")) == []

        made = publish(wanted, bucket, release_key.consumer, single_writer=True)
        second = wanted_release(release_key, version="0.2.0", serial=2)
        publish(second, bucket, release_key.consumer, single_writer=True)

    assert len(made.written) == 12
    assert {entry.key for entry in open_bucket(address).list("")} == expected_keys() | expected_keys("0.2.0", 2)
    assert audit(open_bucket(address), release_key.consumer).findings == ()


def test_what_cannot_be_removed_is_named_with_what_to_grant(s3: SeaweedFS) -> None:
    def no_removal(method: str, count: int) -> str | None:
        return "403-AccessDenied" if method == "DELETE" else None

    with FaultyProxy(s3.endpoint_url, no_removal) as proxy, pytest.raises(Incomplete) as caught:
        probe(open_bucket(f"s3://{BUCKET}/no-removal", endpoint_url=proxy.endpoint_url))

    (left,) = [entry.key for entry in open_bucket(f"s3://{BUCKET}/no-removal").list("")]
    assert left in caught.value.message
    assert "s3:DeleteObject on no-removal/tool/probe-*" in caught.value.advice


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return command.run("publish", *arguments)


def test_the_command_says_it_in_json_and_in_words(tmp_path: Path) -> None:
    asked = ("--probe", "--to", str(tmp_path / "bucket"))

    document = json.loads(run(*asked, "--json").stdout)
    words = run(*asked)

    assert document["schema"] == "fipsmanifest/probe/v1"
    assert document["safe_beside_others"] is True
    assert {answer["name"] for answer in document["answers"]} > set(CONDITIONS)
    assert words.returncode == 0
    assert words.stdout.count("enforced") == 5


@pytest.mark.parametrize("extra", [["v1.21.3"], ["--el", "8"], ["--dry-run"], ["--public-url", "https://example.com"]])
def test_what_a_probe_would_ignore_is_refused(tmp_path: Path, extra: list[str]) -> None:
    made = run("--probe", "--to", str(tmp_path / "bucket"), *extra)

    assert made.returncode == 2
    assert "has no effect" in made.stderr
    assert not (tmp_path / "bucket").exists()
