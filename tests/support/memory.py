"""A bucket in memory, as python-tuf's repository simulator is a repository: for tests of what publishing decides.

`tests/publish/test_bucket_contract.py` shows that it answers as a directory and as an S3 server do.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from fipsmanifest.errors import Conflict
from fipsmanifest.publish.bucket import (
    MAX_OBJECT,
    Absent,
    Condition,
    Entry,
    Matches,
    Stored,
    TooLarge,
    check_key,
)


@dataclass
class MemoryBucket:
    """A `Bucket` that keeps its objects in a dictionary."""

    objects: dict[str, bytes] = field(default_factory=dict)
    """What is stored, by key. Tests may change it, as a stranger with write access would."""
    reads: list[str] = field(default_factory=list)
    """The keys that were read, in order."""
    writes: list[str] = field(default_factory=list)
    """The keys that were written, in order."""
    etag: Callable[[bytes], str] = lambda data: hashlib.sha256(data).hexdigest()
    """Returns the token of an object's bytes."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def describe(self) -> str:
        return "memory"

    def get(self, key: str) -> Stored | None:
        check_key(key)
        with self._lock:
            self.reads.append(key)
            data = self.objects.get(key)
        if data is not None and len(data) > MAX_OBJECT:
            raise TooLarge(key)
        return None if data is None else Stored(data, self.etag(data))

    def put(self, key: str, data: bytes, *, only_if: Condition, content_type: str, cache_control: str) -> None:
        del content_type, cache_control
        check_key(key)
        with self._lock:
            there = self.objects.get(key)
            if isinstance(only_if, Absent) and there is not None:
                raise Conflict(f"{key} exists already.", "Run again.")
            if isinstance(only_if, Matches) and (there is None or self.etag(there) != only_if.token):
                raise Conflict(f"{key} has changed since it was read.", "Run again.")
            self.objects[key] = data
            self.writes.append(key)

    def list(self, prefix: str) -> Iterator[Entry]:
        with self._lock:
            found = [
                Entry(key, len(data), self.etag(data)) for key, data in self.objects.items() if key.startswith(prefix)
            ]
        return iter(sorted(found, key=lambda entry: entry.key))

    def sweep(self) -> None:
        """Do nothing: writes are never partial."""
