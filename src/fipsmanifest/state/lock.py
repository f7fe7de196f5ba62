"""Lock files: the pinned digest of every artifact of a definition.

``rhel8.lock.json`` beside ``rhel8.toml``. A difference is an error that names both digests; an existing pin changes
only when the user says so. One lock file may hold several definitions, so that ``--lock FILE`` works for a whole
release.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import Refused, UsageError
from ..model.artifact import Artifact
from . import durable

_log = logging.getLogger(__name__)

MAX_BYTES = 16 << 20


class Pin(BaseModel):
    """The pinned properties of one artifact."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: str
    name: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0)
    signed_by: str | None = None


class _Pins(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    artifacts: tuple[Pin, ...]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_: Literal["fipsmanifest/lock/v1"] = Field(alias="schema")
    definitions: dict[str, _Pins]


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock file: the pins of one or more definitions."""

    path: Path
    """The path of the file, which may not exist yet."""
    pins: Mapping[str, tuple[Pin, ...]]
    """By definition (``v1.21.3/rhel8``)."""

    def of(self, definition: str) -> tuple[Pin, ...] | None:
        """Return the pins of a definition, or None if it was never locked."""
        return self.pins.get(definition)


def path_beside(definition: Path) -> Path:
    """Return the default path of a definition file's lock."""
    return definition.with_suffix(".lock.json")


def load(path: Path) -> Lock:
    """Read a lock file; a missing file is a lock without pins. Raises `UsageError` for an invalid one."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        _log.debug("%s does not exist: nothing is pinned", path)
        return Lock(path, {})
    except OSError as error:
        raise UsageError(f"The lock {path} cannot be read: {error.strerror}.", "Name a file with --lock.") from error
    try:
        if len(data) > MAX_BYTES:
            raise ValueError(f"larger than {MAX_BYTES} bytes")
        document = _Document.model_validate_json(data)
    except (ValidationError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise UsageError(
            f"{path} is not a lock: {first}.", "Restore it, or write it again with 'fipsmanifest definitions lock'."
        ) from error
    _log.debug("read %s: pins of %s", path, ", ".join(document.definitions) or "no definition")
    return Lock(path, {name: pins.artifacts for name, pins in document.definitions.items()})


def pins_of(artifacts: Iterable[Artifact]) -> tuple[Pin, ...]:
    """Return the pins of collected artifacts, in the order of their addresses."""
    pins = (
        Pin(address=item.address, name=item.name, sha256=item.sha256, size=item.size, signed_by=item.signed_by)
        for item in artifacts
    )
    return tuple(sorted(pins, key=lambda pin: (pin.address, pin.name)))


def write(lock: Lock, definition: str, pins: tuple[Pin, ...]) -> Lock:
    """Set the pins of one definition and write the file; the other definitions' pins stay."""
    changed = Lock(lock.path, {**lock.pins, definition: pins})
    document: dict[str, Any] = {
        "schema": "fipsmanifest/lock/v1",
        "definitions": {
            name: {"artifacts": [pin.model_dump(exclude_none=True) for pin in entries]}
            for name, entries in changed.pins.items()
        },
    }
    durable.write(lock.path, (json.dumps(document, indent=2, sort_keys=True) + "\n").encode())
    _log.debug("wrote %s: %d pins of %s", lock.path, len(pins), definition)
    return changed


def differences(locked: Iterable[Pin], found: Iterable[Pin]) -> list[str]:
    """Return a sentence for each difference between the pins, with both digests."""
    before = {(pin.address, pin.name): pin for pin in locked}
    after = {(pin.address, pin.name): pin for pin in found}
    sentences = []
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if old is None and new is not None:
            sentences.append(f"{new.name} ({new.address}) is not in the lock; it has sha256 {new.sha256}.")
        elif new is None and old is not None:
            sentences.append(f"{old.name} ({old.address}) is in the lock, but the definition no longer names it.")
        elif old is not None and new is not None and old.sha256 != new.sha256:
            sentences.append(f"{new.name} ({new.address}) has sha256 {new.sha256}; locked is {old.sha256}.")
        elif old is not None and new is not None and old.size != new.size:
            sentences.append(f"{new.name} ({new.address}) has {new.size} bytes; locked are {old.size}.")
        elif old is not None and new is not None and old.signed_by != new.signed_by:
            sentences.append(f"{new.name} ({new.address}) is signed by {new.signed_by}; locked is {old.signed_by}.")
    return sentences


def check(lock: Lock, definition: str, artifacts: Iterable[Artifact]) -> None:
    """Refuse artifacts that are not the locked ones. Raises `Refused` that names every difference."""
    locked = lock.of(definition)
    if locked is None:
        raise Refused(
            f"{definition} has no lock ({lock.path}), so these artifacts cannot be compared with the intended ones.",
            "Write one with 'fipsmanifest definitions lock', or with --first-lock.",
            reason="no-lock",
        )
    wrong = differences(locked, pins_of(artifacts))
    if wrong:
        raise Refused(
            "\n".join([f"{definition} is not what {lock.path} pins.", *wrong]),
            "If upstream changed on purpose, review the change and run 'fipsmanifest definitions lock --update'.",
            reason="lock-differs",
        )
