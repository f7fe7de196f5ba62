"""A publisher that is killed right after its Nth write; the arguments are address, release, keys, N."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from fipsmanifest.publish.address import open_bucket
from fipsmanifest.publish.bucket import Bucket, Condition
from fipsmanifest.publish.consumer import Consumer
from fipsmanifest.publish.publisher import publish
from fipsmanifest.trust.store import load_trust
from tests.support.releases import load


class Mortal:
    """A bucket that kills its process after ``lives`` writes."""

    def __init__(self, bucket: Bucket, lives: int) -> None:
        self.get, self.list, self.describe, self.sweep = bucket.get, bucket.list, bucket.describe, bucket.sweep
        self._put = bucket.put
        self._lives = lives
        self._lock = threading.Lock()

    def put(self, key: str, data: bytes, *, only_if: Condition, content_type: str, cache_control: str) -> None:
        with self._lock:
            self._put(key, data, only_if=only_if, content_type=content_type, cache_control=cache_control)
            self._lives -= 1
            if self._lives == 0:
                os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    address, release, keys, lives = sys.argv[1:]
    mortal = Mortal(open_bucket(address), int(lives))
    publish(load(Path(release)), mortal, Consumer.trusting(load_trust(keys)))
