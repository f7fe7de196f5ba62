"""What a store enforces, found out with a scratch object that is removed again."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import Conflict
from . import layout
from .bucket import Absent, Bucket, Condition, Matches, NoConditions, Unchecked

#: Below ``tool/``, which is ours alone, so that a policy can grant removal for this prefix and nothing else.
SCRATCH = f"{layout.ROOT}probe-"

#: A version that no store gives an object: ETags are digests, or longer.
_NO_VERSION = "0" * 32


class Scratch(Bucket, Protocol):
    """A bucket in which a probe can clean up after itself. Publishing never removes anything and does not need this."""

    def remove(self, key: str) -> None:
        """Remove an object; one that is not there is removed already."""

    def refuses_wrong_digest(self, key: str) -> bool | None:
        """Tell whether a body that is not what its SHA-256 says is refused; None where the store takes no digest."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the store does about one thing."""

    name: str
    """``create-only``, ``replace-only``, ``replace-existing``, ``read-back``, ``listing`` or ``digest``."""
    holds: bool | None
    """Whether the store enforces it; None where that cannot be asked."""
    meaning: str
    """What is enforced, in words."""
    needed: bool
    """Whether publishing beside other publishers rests on it."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What was found out."""

    address: str
    """The bucket."""
    answers: tuple[Answer, ...]
    """In the order in which they were asked."""

    @property
    def failing(self) -> tuple[Answer, ...]:
        """The answers that forbid publishing beside others."""
        return tuple(answer for answer in self.answers if answer.needed and not answer.holds)

    def document(self) -> dict[str, Any]:
        """Give the result as JSON."""
        return {
            "bucket": self.address,
            "answers": [
                {"name": item.name, "holds": item.holds, "meaning": item.meaning, "needed": item.needed}
                for item in self.answers
            ],
            "safe_beside_others": not self.failing,
        }


def probe(bucket: Scratch) -> Probe:
    """Ask the store with two scratch objects, and remove them.

    Raises `Incomplete` where it cannot be asked, and where the scratch objects cannot be removed: its message names
    what is left then.
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
    """Tell whether the store refused because the condition does not hold, and not because it takes none."""
    try:
        _put(bucket, key, data, only_if)
    except NoConditions:
        return False
    except Conflict:
        return True
    return False


def _put(bucket: Bucket, key: str, data: bytes, only_if: Condition) -> None:
    bucket.put(key, data, only_if=only_if, content_type="text/plain; charset=utf-8", cache_control="no-store")
