"""The bucket interface that publishing needs: read, list, and conditional write.

There is no delete. The only unconditional write is for a user who asserts that there is no other publisher. A published
object stays, and a pointer changes only from the state that was read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from ..errors import Conflict, Incomplete, UsageError

#: The size limit for objects that are read: a manifest has at most 16 MiB, and the node tool is far smaller.
MAX_OBJECT = 16 * 1024 * 1024

#: The limit for the keys of a listing; fipsmanifest publishes far fewer.
MAX_KEYS = 200_000

#: Key segments begin with a letter or digit: no ``..``, no hidden files, nothing that needs quoting in a URL or shell.
_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}", re.ASCII)

#: MD5 or SHA-256, hex.
_DIGEST = re.compile(r"[0-9a-f]{32}(?:[0-9a-f]{32})?", re.ASCII)


class NotAnObject(Incomplete):
    """The key does not name a published object, but a directory, a device or a too large file. Not read."""


class TooLarge(NotAnObject):
    """An object of more than `MAX_OBJECT` bytes."""

    def __init__(self, where: str) -> None:
        super().__init__(
            f"{where} is larger than {MAX_OBJECT} bytes.", "It was not written by fipsmanifest; move it away."
        )


class NoConditions(Conflict):
    """The store reports that it does not support conditional writes."""

    reason = "no-conditions"

    def __init__(self, where: str) -> None:
        super().__init__(
            f"{where} does not support conditional writes: two publishers could overwrite each other.",
            "Use another store, or pass --single-writer if there is no other publisher.",
        )


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as it was read."""

    data: bytes
    """The whole object."""
    token: str
    """The version that was read: an ETag, or a digest in a directory. Opaque."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a listing."""

    key: str
    """Relative to the bucket's address."""
    size: int
    """Bytes."""
    token: str
    """The version, as `Stored.token`; empty if the listing does not contain it."""

    @property
    def content(self) -> tuple[str, int] | None:
        """What is equal only for objects with the same bytes: digest and size. None if the token is not a digest.

        An ETag identifies a version of its own object alone (RFC 9110, section 8.8.3). Most stores use MD5; others give
        many objects the same one, as MinIO does for files it did not write (``00000000000000000000000000000000-1``).
        """
        return (self.token, self.size) if _DIGEST.fullmatch(self.token) else None


@dataclass(frozen=True, slots=True)
class Absent:
    """Write only if the object does not exist."""


@dataclass(frozen=True, slots=True)
class Matches:
    """Write only if the object still is the version that was read."""

    token: str
    """That version's token."""


@dataclass(frozen=True, slots=True)
class Unchecked:
    """Write without a condition: for a single writer, on a store that does not support conditional writes."""


Condition = Absent | Matches | Unchecked


class Bucket(Protocol):
    """Where releases are published. Methods may be called from several threads.

    Every method raises `Incomplete` if the store cannot be reached, refuses access or does not exist.
    """

    def get(self, key: str) -> Stored | None:
        """Return an object, or None if it does not exist. Raises `NotAnObject` if the key names something else."""

    def put(self, key: str, data: bytes, *, only_if: Condition, content_type: str, cache_control: str) -> None:
        """Write an object; it is on stable storage when this returns.

        Raises `Conflict` if the condition is not met, `NoConditions` if the store does not support conditions. A retry
        after a lost response can find its own write and raises `Conflict` too: read the object to find out.
        """

    def list(self, prefix: str) -> Iterator[Entry]:
        """Yield the objects whose key begins with ``prefix``, ordered by key."""

    def sweep(self) -> None:
        """Remove the partial writes of killed writers, if the store can contain any."""

    def describe(self) -> str:
        """Return the bucket's address, for messages."""


def check_key(key: str) -> None:
    """Raise `UsageError` for a key that leaves the bucket or names a hidden file."""
    if not all(_SEGMENT.fullmatch(segment) for segment in key.split("/")):
        raise UsageError(f"{key!r} is not a valid object key.", "Use letters, digits, dot, dash and plus.")
