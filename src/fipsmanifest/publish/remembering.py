"""A bucket for the length of one run: what never changes is read once."""

from __future__ import annotations

from collections.abc import Iterator

from . import layout
from .bucket import Bucket, Condition, Entry, Stored


class Remembering:
    """A `Bucket` before another one. A release looks before it signs and again when it plans; the second look is free.

    What this run writes is read back from the store.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._known: dict[str, Stored] = {}

    def describe(self) -> str:
        """Give the address, for messages."""
        return self._bucket.describe()

    def get(self, key: str) -> Stored | None:
        """Read an object, or give what was read before of one that never changes."""
        stored = self._known.get(key) or self._bucket.get(key)
        if stored is not None and layout.never_changes(key):
            self._known[key] = stored
        return stored

    def put(self, key: str, data: bytes, *, only_if: Condition, content_type: str, cache_control: str) -> None:
        """Write an object where ``only_if`` holds, else raise `Conflict`."""
        try:
            self._bucket.put(key, data, only_if=only_if, content_type=content_type, cache_control=cache_control)
        finally:
            self._known.pop(key, None)

    def list(self, prefix: str) -> Iterator[Entry]:
        """Name the objects whose key begins with ``prefix``."""
        return self._bucket.list(prefix)

    def sweep(self) -> None:
        """Remove what killed writers left."""
        self._bucket.sweep()
