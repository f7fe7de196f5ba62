"""A reader that polls a bucket, as its readers do, and records each inconsistency."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from fipsmanifest.publish.address import open_bucket
from fipsmanifest.publish.consumer import Consumer
from tests.support.releases import consumer_problems


class Reader:
    """Reads a bucket repeatedly, as its readers do."""

    def __init__(self, address: str, consumer: Consumer, pause: float = 0.0) -> None:
        self.polls = 0
        self.problems: list[str] = []
        self._address, self._consumer, self._pause = address, consumer, pause
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
            self._done.wait(self._pause)
