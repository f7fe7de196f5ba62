"""Test which guarantees a store enforces, with scratch objects that are removed afterwards."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import Conflict
from . import layout
from .bucket import Absent, Bucket, Condition, Matches, NoConditions, Unchecked

#: Below ``tool/``, which only fipsmanifest uses, so that a policy can grant removal for this prefix alone.
SCRATCH = f"{layout.ROOT}probe-"

#: A token that no object has: ETags are digests, or longer.
_NO_VERSION = "0" * 32


class Scratch(Bucket, Protocol):
    """A bucket that can remove the scratch objects of a probe. Publishing never removes objects."""

    def remove(self, key: str) -> None:
        """Remove an object, if it exists."""

    def refuses_wrong_digest(self, key: str) -> bool | None:
        """Return whether a body with a wrong SHA-256 is refused; None if the store accepts no digest."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of one test."""

    name: str
    """``create-only``, ``replace-only``, ``replace-existing``, ``read-back``, ``listing`` or ``digest``."""
    holds: bool | None
    """Whether the store enforces it; None if that cannot be tested."""
    meaning: str
    """The guarantee, in words."""
    needed: bool
    """Whether concurrent publishers need it."""


@dataclass(frozen=True, slots=True)
class Probe:
    """The results of all tests."""

    address: str
    """The bucket."""
    answers: tuple[Answer, ...]
    """In the order of the tests."""

    @property
    def failing(self) -> tuple[Answer, ...]:
        """The failed guarantees that concurrent publishers need."""
        return tuple(answer for answer in self.answers if answer.needed and not answer.holds)

    def document(self) -> dict[str, Any]:
        """Return the result as JSON."""
        return {
            "bucket": self.address,
            "answers": [
                {"name": item.name, "holds": item.holds, "meaning": item.meaning, "needed": item.needed}
                for item in self.answers
            ],
            "safe_beside_others": not self.failing,
        }


def probe(bucket: Scratch) -> Probe:
    """Test the store with two scratch objects, and remove them.

    Raises `Incomplete` if the store cannot be tested, or a scratch object cannot be removed; the message names it.
    """
    key = SCRATCH + secrets.token_hex(8)
    absent = f"{key}-absent"
    try:
        answers = tuple(_ask(bucket, key, absent))
    finally:
        bucket.remove(key)
        if bucket.get(absent) is not None:
            bucket.remove(absent)
    return Probe(bucket.describe(), answers)


def _ask(bucket: Scratch, key: str, absent: str) -> Iterator[Answer]:
    first, other = b"first\n", b"other\n"
    try:
        _put(bucket, key, first, Absent())
    except NoConditions:
        _put(bucket, key, first, Unchecked())
    stored = bucket.get(key)
    kept = stored is not None and stored.data == first
    yield Answer("read-back", kept, "what was written is read back at once", True)
    listed = any(entry.key == key for entry in bucket.list(key))
    yield Answer("listing", listed, "what was written is listed at once", True)
    for name, only_if, meaning in (
        ("create-only", Absent(), "an object that is there is not written over (If-None-Match)"),
        ("replace-only", Matches(_NO_VERSION), "only the version that was read is replaced (If-Match)"),
    ):
        refused = _refused(bucket, key, other, only_if)
        after = bucket.get(key)
        yield Answer(name, refused and after is not None and after.data == first, meaning, True)
    refused = _refused(bucket, absent, other, Matches(stored.token if stored else _NO_VERSION))
    holds = refused and bucket.get(absent) is None
    yield Answer("replace-existing", holds, "what is gone is not replaced (If-Match without an object)", True)
    digest = bucket.refuses_wrong_digest(key)
    yield Answer("digest", digest, "a body that is not what its SHA-256 says is refused", False)


def _refused(bucket: Bucket, key: str, data: bytes, only_if: Condition) -> bool:
    """Return whether the store refused because the condition is not met, not because it supports none."""
    try:
        _put(bucket, key, data, only_if)
    except NoConditions:
        return False
    except Conflict:
        return True
    return False


def _put(bucket: Bucket, key: str, data: bytes, only_if: Condition) -> None:
    bucket.put(key, data, only_if=only_if, content_type="text/plain; charset=utf-8", cache_control="no-store")
