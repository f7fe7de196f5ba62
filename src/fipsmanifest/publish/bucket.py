"""A bucket, as publishing needs one: read, list, and write on a condition.

There is no delete, and no unconditional write but for a user who says that nobody else publishes: what is published
stays, and a pointer moves only from the state that was read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from ..errors import Conflict, Incomplete, UsageError

#: The largest object that is read: manifests are capped at 16 MiB, the node tool is far smaller.
MAX_OBJECT = 16 * 1024 * 1024

#: A listing with more keys than this is not one of ours.
MAX_KEYS = 200_000

#: Key segments begin with a letter or digit: no ``..``, no hidden files, nothing that needs quoting in a URL or shell.
_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}", re.ASCII)


class NotAnObject(Incomplete):
    """What lies under a key was never published: a folder, a device, or what is too large. It was not read."""


class TooLarge(NotAnObject):
    """An object of more than `MAX_OBJECT` bytes."""

    def __init__(self, where: str) -> None:
        super().__init__(f"{where} is larger than {MAX_OBJECT} bytes.", "It is none of ours; move it away.")


class NoConditions(Conflict):
    """The store says that it does not do conditional writes."""

    def __init__(self, where: str) -> None:
        super().__init__(
            f"{where} does not support conditions on writes: two publishers could overwrite each other.",
            "Use another store, or say --single-writer if nobody else publishes there.",
        )


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as it was read."""

    data: bytes
    """All of it."""
    token: str
    """The version that was read: an ETag, or a digest in a folder. Opaque."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a listing."""

    key: str
    """Relative to the bucket's address."""
    size: int
    """Bytes."""
    token: str
    """The version, as `Stored.token`; empty where listing does not tell it."""


@dataclass(frozen=True, slots=True)
class Absent:
    """Write only where there is no such object."""


@dataclass(frozen=True, slots=True)
class Matches:
    """Write only over the version that was read."""

    token: str
    """That version's token."""


@dataclass(frozen=True, slots=True)
class Unchecked:
    """Write whatever is there: for a single writer, on a store that takes no conditions at all."""


Condition = Absent | Matches | Unchecked


class Bucket(Protocol):
    """Where releases are published. Methods may be called from several threads.

    Every method raises `Incomplete` where the store cannot be reached, refuses access or does not exist.
    """

    def get(self, key: str) -> Stored | None:
        """Read an object, or None where there is none. Raises `NotAnObject` for what cannot be one."""

    def put(self, key: str, data: bytes, *, only_if: Condition, content_type: str, cache_control: str) -> None:
        """Write an object, on stable storage when this returns.

        Raises `Conflict` where the condition does not hold, `NoConditions` where the store takes none. After a lost
        answer a retry meets its own write and raises `Conflict` too: look again to tell.
        """

    def list(self, prefix: str) -> Iterator[Entry]:
        """Name the objects whose key begins with ``prefix``, in the keys' order."""

    def sweep(self) -> None:
        """Remove what a writer left half written when it was killed, if the store is one where that can be."""

    def describe(self) -> str:
        """Give the address, for messages."""


def check_key(key: str) -> None:
    """Refuse (`UsageError`) a key that could leave the bucket or hide in it."""
    if not all(_SEGMENT.fullmatch(segment) for segment in key.split("/")):
        raise UsageError(f"{key!r} cannot name a published object.", "Use letters, digits, dot, dash and plus.")
