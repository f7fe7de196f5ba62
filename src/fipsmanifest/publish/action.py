"""The action that a plan takes on one object, and its step. Pure.

The order of the steps makes a kill at any point harmless: first the objects that never change, then those that point at
them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from .bucket import Stored


class Kind(StrEnum):
    """The kind of an action."""

    CREATE = "create"
    """The object does not exist and is written."""
    SAME = "same"
    """The stored object has the same content; nothing is written."""
    MOVE = "move"
    """A pointer or the index is replaced by a newer version."""
    CONFLICT = "conflict"
    """The stored object differs and must not be overwritten."""


class Step(IntEnum):
    """The steps of a publication. Writes of one step may run in parallel; a step begins when the previous one was read
    back."""

    TOOL_FILES = 1
    MANIFESTS = 2
    BUNDLES = 3
    """After what they sign, whose bytes another publisher may have written."""
    TOOL_SIGNATURE_POINTER = 4
    TOOL_SIDECAR_POINTER = 5
    TOOL_POINTER = 6
    MANIFEST_POINTERS = 7
    BUNDLE_POINTERS = 8
    INDEX_JSON = 9
    INDEX_HTML = 10


@dataclass(frozen=True, slots=True)
class Action:
    """One action of a plan."""

    kind: Kind
    """Only ``create`` and ``move`` write."""
    key: str
    """The object's key."""
    step: Step
    """The step in which it is done."""
    data: bytes
    """The object's bytes afterwards."""
    replaces: str | None
    """The token of the version that was read; None if there was no object."""
    detail: str
    """One line for people: ``serial 1 -> 2``; for a conflict, a whole sentence."""
    final: bool = True
    """Whether ``data`` is what will be written; False in a plan for objects that are not signed yet."""
    advice: str = ""
    """What to do about a conflict; empty for the advice of its step."""

    @property
    def sha256(self) -> str:
        """Digest of ``data``, hex."""
        return hashlib.sha256(self.data).hexdigest()


def same(key: str, step: Step, stored: Stored, detail: str = "") -> Action:
    """Return the action that leaves the stored object as it is."""
    return Action(Kind.SAME, key, step, stored.data, stored.token, detail)


def lost(key: str, step: Step, sentence: str, advice: str) -> Action:
    """Return the conflict for a published object that no longer exists."""
    return Action(Kind.CONFLICT, key, step, b"", None, sentence, final=False, advice=advice)


def foreign(key: str, step: Step, stored: Stored, address: str, because: str = "") -> Action:
    """Return the conflict for an object that another program wrote."""
    digest = hashlib.sha256(stored.data).hexdigest()
    sentence = f"{key} in {address} was not written by fipsmanifest (SHA-256 {digest}). {because}".rstrip()
    return Action(Kind.CONFLICT, key, step, stored.data, stored.token, sentence)
