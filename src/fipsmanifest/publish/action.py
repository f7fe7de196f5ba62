"""What is to be done with one object, and when: the words in which a plan is written. Pure.

The order of steps is what makes a kill at any point harmless: first what never changes, then what points at it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from .bucket import Stored


class Kind(StrEnum):
    """What is to be done with an object."""

    CREATE = "create"
    """It is not there."""
    SAME = "same"
    """It is there and says the same; nothing is written."""
    MOVE = "move"
    """A pointer or the index is to say something newer."""
    CONFLICT = "conflict"
    """It is there and must not be overwritten."""


class Step(IntEnum):
    """Writes of one step may be made at once; a step begins when the one before has been read back."""

    TOOL_FILES = 1
    MANIFESTS = 2
    TOOL_SIGNATURE_POINTER = 3
    TOOL_SIDECAR_POINTER = 4
    TOOL_POINTER = 5
    MANIFEST_POINTERS = 6
    INDEX_JSON = 7
    INDEX_HTML = 8


@dataclass(frozen=True, slots=True)
class Action:
    """What is to be done with one object."""

    kind: Kind
    """Only ``create`` and ``move`` write."""
    key: str
    """The object."""
    step: Step
    """When."""
    data: bytes
    """What is to be there afterwards, or is there (``same``)."""
    replaces: str | None
    """The token of the version that was read; None where there was none."""
    detail: str
    """One line for people: ``serial 1 -> 2``; the whole sentence of a conflict."""
    final: bool = True
    """Whether ``data`` is what will be written; False in the plan of what nobody signed yet."""
    advice: str = ""
    """What to do about a conflict, where its step does not say that."""

    @property
    def sha256(self) -> str:
        """Digest of ``data``, hex."""
        return hashlib.sha256(self.data).hexdigest()


def same(key: str, step: Step, stored: Stored, detail: str = "") -> Action:
    """Leave what is there as it is."""
    return Action(Kind.SAME, key, step, stored.data, stored.token, detail)


def lost(key: str, step: Step, sentence: str, advice: str) -> Action:
    """Refuse to go on where something that was published is gone."""
    return Action(Kind.CONFLICT, key, step, b"", None, sentence, final=False, advice=advice)


def foreign(key: str, step: Step, stored: Stored, address: str, because: str = "") -> Action:
    """Refuse to write over what somebody else wrote."""
    digest = hashlib.sha256(stored.data).hexdigest()
    sentence = f"{key} in {address} is none of ours (SHA-256 {digest}). {because}".rstrip()
    return Action(Kind.CONFLICT, key, step, stored.data, stored.token, sentence)
