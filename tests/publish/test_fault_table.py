"""One row a fault: a release is published through it while a reader watches; the counts are printed at the end.

The reader goes straight to the store. Whatever happens to the publisher, the reader never sees what does not hold, and
the next undisturbed run leaves the bucket as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import botocore.auth
import pytest

from fipsmanifest.errors import FipsManifestError, Incomplete
from fipsmanifest.publish.address import open_bucket
from fipsmanifest.publish.consumer import Consumer
from fipsmanifest.publish.publisher import publish
from fipsmanifest.publish.request import PublishRequest
from tests.publish.conftest import BUCKET
from tests.publish.reader import Reader
from tests.support.faulty_proxy import FaultyProxy, honest
from tests.support.releases import ReleaseKey, consumer_problems, everything, wanted_release
from tests.support.servers import SeaweedFS

Record = Callable[[str, object], None]


#: What a store answers that has too much to do, or is out of order for a moment; 503 comes with Retry-After.
ANSWERS = ("429", "500", "503")


@pytest.fixture(scope="module")
def first(release_key: ReleaseKey) -> PublishRequest:
    return wanted_release(release_key)


@pytest.fixture(scope="module")
def second(release_key: ReleaseKey) -> PublishRequest:
    """Return a release that moves every pointer of the first one."""
    return wanted_release(release_key, version="0.2.0", serial=2)


@pytest.fixture(scope="module")
def undisturbed(
    first: PublishRequest, second: PublishRequest, consumer: Consumer, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    address = str(tmp_path_factory.mktemp("undisturbed"))
    for wanted in (first, second):
        publish(wanted, open_bucket(address), consumer)
    return everything(address)


def every(nth: int, method: str, fault: str) -> Callable[[str, int], str | None]:
    return lambda asked, count: fault if asked == method and count % nth == 0 else None


@pytest.mark.parametrize(
    ("method", "fault", "only", "ends"),
    [
        *(("PUT", fault, "", 0) for fault in ("reset-before", "reset-after", *ANSWERS, "409", "412", "slow")),
        *(("GET", fault, "", 0) for fault in ("reset-before", "reset-after", *ANSWERS, "truncate", "slow")),
        ("PUT", "403-ExpiredToken", "", 4),
        ("PUT", "403-RequestTimeTooSkewed", "", 4),
        # Reports success and keeps nothing; returns something else than was stored.
        ("PUT", "lost", "/2/manifest-rhel8", 4),
        ("GET", "garble", "0.2.0/dkp-fips-tool", 6),
    ],
)
def test_a_fault_never_shows_to_a_reader_and_leaves_no_trace(
    s3: SeaweedFS,
    first: PublishRequest,
    second: PublishRequest,
    undisturbed: dict[str, bytes],
    consumer: Consumer,
    record_property: Record,
    method: str,
    fault: str,
    only: str,
    ends: int,
) -> None:
    address = f"s3://{BUCKET}/table-{method}-{fault}".lower()
    publish(first, open_bucket(address), consumer)
    choose = every(1 if only else 3, method, fault)
    code = 0
    with (
        FaultyProxy(s3.endpoint_url, choose, only=only) as proxy,
        Reader(address, consumer).looking() as reader,
    ):
        try:
            publish(second, open_bucket(address, endpoint_url=proxy.endpoint_url), consumer)
        except FipsManifestError as error:
            code = error.exit_code
    publish(second, open_bucket(address), consumer)

    record_property("fault", (f"{method} {fault}", len(proxy.spoiled), reader.polls, len(reader.problems), code))
    assert proxy.spoiled
    assert reader.problems == []
    assert code == ends
    assert everything(address) == undisturbed


def test_a_store_that_keeps_other_bytes_than_it_is_given_is_given_them_again(
    s3: SeaweedFS,
    first: PublishRequest,
    second: PublishRequest,
    undisturbed: dict[str, bytes],
    consumer: Consumer,
    record_property: Record,
) -> None:
    address = f"s3://{BUCKET}/table-instead"
    publish(first, open_bucket(address), consumer)

    def keep(path: str, body: bytes) -> None:
        s3.client().put_object(Bucket=BUCKET, Key=path.removeprefix(f"/{BUCKET}/"), Body=body[:-1] + b"~")

    def once(method: str, count: int) -> str | None:
        return "instead" if method == "PUT" and count == 1 else None

    with (
        FaultyProxy(s3.endpoint_url, once, only="/2/manifest-rhel8", instead=keep) as proxy,
        Reader(address, consumer).looking() as reader,
    ):
        publish(second, open_bucket(address, endpoint_url=proxy.endpoint_url), consumer)

    record_property("fault", ("PUT keeps something else", len(proxy.spoiled), reader.polls, len(reader.problems), 0))
    assert proxy.spoiled == ["instead"]
    assert reader.problems == []
    assert everything(address) == undisturbed


@pytest.mark.parametrize("minutes", [-30, 30])
def test_a_publisher_whose_clock_is_wrong_is_told_and_changes_nothing(
    s3: SeaweedFS,
    first: PublishRequest,
    second: PublishRequest,
    consumer: Consumer,
    record_property: Record,
    monkeypatch: pytest.MonkeyPatch,
    minutes: int,
) -> None:
    address = f"s3://{BUCKET}/clock{minutes}"
    publish(first, open_bucket(address), consumer)
    before = everything(address)
    now = botocore.auth.get_current_datetime

    # The clock is that of this whole process, so no other request is signed meanwhile.
    publisher = open_bucket(address)
    with monkeypatch.context() as clock, pytest.raises(Incomplete) as caught:
        clock.setattr(botocore.auth, "get_current_datetime", lambda: now() + timedelta(minutes=minutes))
        publish(second, publisher, consumer)
    problems = consumer_problems(everything(address).get, consumer)

    record_property("fault", (f"clock {minutes:+} min", 1, 1, len(problems), 4))
    assert "RequestTimeTooSkewed" in caught.value.message and "clock" in caught.value.advice
    assert problems == []
    assert everything(address) == before


def test_a_server_that_is_killed_after_each_single_write_and_comes_back_is_completed(
    s3: SeaweedFS,
    first: PublishRequest,
    second: PublishRequest,
    undisturbed: dict[str, bytes],
    consumer: Consumer,
    record_property: Record,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    # No server answers until it is started again, so the waiting time is short.
    monkeypatch.setattr("fipsmanifest.publish.s3.ATTEMPTS", 2)
    address = f"s3://{BUCKET}/killed"
    problems: list[str] = []
    codes: set[int] = set()
    kills = 0
    with SeaweedFS(tmp_path / "mortal") as mortal:
        mortal.create_bucket(BUCKET)
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", mortal.endpoint_url)
        publish(first, open_bucket(address), consumer)

        def kill(count: int) -> bool:
            if count == 1:
                mortal.kill()
            return True

        code = -1
        while code != 0 and kills < 20:
            # Each run gets one write further than the one before, or two where they are made at once.
            with FaultyProxy(mortal.endpoint_url, honest, after_write=kill) as proxy:
                try:
                    publish(second, open_bucket(address, endpoint_url=proxy.endpoint_url), consumer)
                    code = 0
                except FipsManifestError as error:
                    code = error.exit_code
            if proxy.spoiled:
                codes.add(code)
                kills += 1
                mortal.start()
            there = everything(address)
            problems += consumer_problems(there.get, consumer)

    record_property("fault", ("server killed -9", kills, kills, len(problems), 4))
    assert problems == []
    assert codes == {4}
    # Twelve objects; the three tool files, the two manifests and the two pointers may be taken together.
    assert 8 <= kills <= 12
    assert there == undisturbed
