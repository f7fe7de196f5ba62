"""A publisher that is killed right after its Nth write."""

from __future__ import annotations

import multiprocessing
import os
import signal
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


#: Publishers are forked from a process without threads that has imported what they need.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([__name__, "fipsmanifest.publish.s3"])


def publish_in_process(address: str, release: Path, keys: Path, lives: int) -> int | None:
    """Publish what `save` wrote, in a process that is killed after ``lives`` writes; return its exit code."""
    process = _FORKS.Process(target=_publish, args=(dict(os.environ), address, release, keys, lives))
    process.start()
    process.join(120)
    return process.exitcode


def _publish(environment: dict[str, str], address: str, release: Path, keys: Path, lives: int) -> None:
    # The process to fork from may have been started for a test with another environment.
    os.environ.clear()
    os.environ.update(environment)
    publish(load(release), Mortal(open_bucket(address), lives), Consumer.trusting(load_trust(str(keys))))
