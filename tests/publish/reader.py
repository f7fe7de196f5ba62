"""A reader that polls a bucket, as its readers do, and records each inconsistency."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from fipsmanifest.publish.address import open_bucket
from fipsmanifest.publish.bucket import Bucket
from fipsmanifest.publish.consumer import Consumer
from tests.support.releases import consumer_problems

#: Seconds between two listings; to read and verify what is listed takes longer.
_PAUSE = 0.02


class Reader:
    """Reads a bucket as its readers do, again and again whenever something in it is another than before."""

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
        bucket, before = open_bucket(self._address), None
        while not (self._done.is_set() and self.polls):
            # What was there before it was read: what is written meanwhile is read the next time.
            there = _versions(bucket)
            if there != before:
                self.problems += consumer_problems(
                    lambda key: stored.data if (stored := bucket.get(key)) else None, self._consumer
                )
                self.polls += 1
            before = there
            self._done.wait(_PAUSE)


def _versions(bucket: Bucket) -> dict[str, object]:
    """Return the version of each object: its token, or the object itself where a listing has none."""
    return {entry.key: entry.token or bucket.get(entry.key) for entry in bucket.list("")}
