"""One row a fault: a release is published through it while a reader looks on; the counts are printed at the end.

The reader goes straight to the store. Whatever happens to the publisher, the reader never sees what does not hold, and
the next undisturbed run leaves the bucket as if nothing had happened.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fipsmanifest.errors import FipsManifestError
from fipsmanifest.publish.address import open_bucket
from fipsmanifest.publish.consumer import Consumer
from fipsmanifest.publish.plan import Wanted
from fipsmanifest.publish.publisher import publish
from tests.publish.conftest import BUCKET
from tests.publish.faulty_proxy import FaultyProxy
from tests.publish.releases import ReleaseKey, consumer_problems, everything, wanted_release
from tests.servers import SeaweedFS

Record = Callable[[str, object], None]


@pytest.fixture(scope="module")
def first(release_key: ReleaseKey) -> Wanted:
    return wanted_release(release_key)


@pytest.fixture(scope="module")
def second(release_key: ReleaseKey) -> Wanted:
    """Give a release that moves every pointer of the first one."""
    return wanted_release(release_key, version="0.2.0", serial=2)


@pytest.fixture(scope="module")
def undisturbed(
    first: Wanted, second: Wanted, consumer: Consumer, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    address = str(tmp_path_factory.mktemp("undisturbed"))
    for wanted in (first, second):
        publish(wanted, open_bucket(address), consumer)
    return everything(address)


class Reader:
    """Looks at a bucket again and again, as its readers do."""

    def __init__(self, address: str, consumer: Consumer) -> None:
        self.polls = 0
        self.problems: list[str] = []
        self._address, self._consumer = address, consumer
        self._done = threading.Event()

    @contextmanager
    def looking(self) -> Iterator[Reader]:
        thread = threading.Thread(target=self._look)
        thread.start()
        try:
            yield self
        finally:
            self._done.set()
            thread.join()

    def _look(self) -> None:
        bucket = open_bucket(self._address)
        while not (self._done.is_set() and self.polls):
            self.problems += consumer_problems(
                lambda key: stored.data if (stored := bucket.get(key)) else None, self._consumer
            )
            self.polls += 1


def every(nth: int, method: str, fault: str) -> Callable[[str, int], str | None]:
    return lambda asked, count: fault if asked == method and count % nth == 0 else None


@pytest.mark.parametrize(
    ("method", "fault", "only", "ends"),
    [
        *((("PUT", fault, "", 0)) for fault in ("reset-before", "reset-after", "409", "429", "500", "503", "slow")),
        *((("GET", fault, "", 0)) for fault in ("reset-before", "reset-after", "truncate", "500", "slow")),
        ("PUT", "403-ExpiredToken", "", 4),
        ("PUT", "403-RequestTimeTooSkewed", "", 4),
        # Answers yes and keeps nothing; gives back something else than it was given.
        ("PUT", "lost", "/2/manifest-rhel8", 4),
        ("GET", "garble", "0.2.0/dkp-fips-tool", 6),
    ],
)
def test_a_fault_never_shows_to_a_reader_and_leaves_no_trace(
    s3: SeaweedFS,
    first: Wanted,
    second: Wanted,
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


def test_a_server_that_is_killed_after_a_write_and_comes_back_is_completed(
    s3: SeaweedFS,
    first: Wanted,
    second: Wanted,
    undisturbed: dict[str, bytes],
    consumer: Consumer,
    record_property: Record,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    with SeaweedFS(tmp_path / "mortal") as mortal:
        mortal.create_bucket(BUCKET)
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", mortal.endpoint_url)
        problems: list[str] = []
        kills = (3, 9)
        for lives in kills:
            address = f"s3://{BUCKET}/killed-{lives}"
            publish(first, open_bucket(address), consumer)

            def after(method: str, count: int, lives: int = lives) -> str | None:
                return "reset-before" if method == "PUT" and count == lives + 1 else None

            with FaultyProxy(mortal.endpoint_url, after, before_fault=mortal.kill) as proxy:
                with pytest.raises(FipsManifestError) as caught:
                    publish(second, open_bucket(address, endpoint_url=proxy.endpoint_url), consumer)
                assert caught.value.exit_code == 4
            mortal.start()
            problems += consumer_problems(everything(address).get, consumer)
            publish(second, open_bucket(address), consumer)
            assert everything(address) == undisturbed, f"after write {lives}"

    record_property("fault", ("server killed -9", len(kills), len(kills), len(problems), 4))
    assert problems == []
