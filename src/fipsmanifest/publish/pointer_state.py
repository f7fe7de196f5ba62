"""The state of a pointer: what a published copy is a copy of. Pure.

A plan moves a pointer, keeps it or reports a conflict according to this state, and an audit reports what a plan that
publishes nothing would still do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from ..errors import NotTrusted
from ..model.identity import ManifestId
from .consumer import Consumer, read_manifest, tool_signer


class State(Enum):
    """The relation of a manifest pointer to the newest serial of its release."""

    CURRENT = "current"
    """It is a copy of the newest serial."""
    RESIGNED = "resigned"
    """It has the payload of the newest serial, with another signature."""
    BEHIND = "behind"
    """It verifies, and has a lower serial."""
    AHEAD = "ahead"
    """It verifies, and has a higher serial, which is not stored or does not verify under its own key."""
    DIFFERENT = "different"
    """It verifies, and has the newest serial with another payload."""
    REFUSED_COPY = "refused copy"
    """It does not verify, and is a copy of a stored serial: its key was revoked later."""
    UNKNOWN = "unknown"
    """It does not verify, and is not a copy of a stored serial."""


@dataclass(frozen=True, slots=True)
class ManifestPointer:
    """A manifest pointer, as it was read."""

    state: State
    serial: int | None
    """The serial that it is a copy of, or states; None if unknown."""
    error: NotTrusted | None = None
    """Why it does not verify."""


@dataclass(frozen=True, slots=True)
class NewestSerial:
    """The serial that a pointer has to be a copy of."""

    id: ManifestId
    sha256: str
    """Digest of the signed file, hex."""
    payload: Callable[[], bytes | None]
    """Returns the signed bytes, or None if they cannot be read."""


def manifest_pointer(
    data: bytes, newest: NewestSerial, consumer: Consumer, stored: Callable[[], Iterable[tuple[int, bytes]]]
) -> ManifestPointer:
    """Return the state of the pointer with the bytes ``data``.

    ``stored`` returns the signed files of the release, by serial; it is called only if the pointer does not verify.
    """
    if hashlib.sha256(data).hexdigest() == newest.sha256:
        return ManifestPointer(State.CURRENT, newest.id.serial)
    try:
        signed = read_manifest(data, consumer, newest.id.release)
    except NotTrusted as error:
        serial = max((serial for serial, copy in stored() if copy == data), default=None)
        return ManifestPointer(State.UNKNOWN if serial is None else State.REFUSED_COPY, serial, error)
    serial = signed.document.serial
    if serial != newest.id.serial:
        return ManifestPointer(State.BEHIND if serial < newest.id.serial else State.AHEAD, serial)
    return ManifestPointer(State.RESIGNED if signed.payload == newest.payload() else State.DIFFERENT, serial)


def tool_versions(
    suffix: str, data: bytes, versions: Mapping[str, Mapping[str, bytes]], consumer: Consumer
) -> Iterator[str]:
    """Yield the versions of which the tool pointer ``suffix`` with the bytes ``data`` is a copy.

    ``versions`` are the files of each version, by suffix. A valid signature of that tool is a copy, too.
    """
    for version, files in versions.items():
        if files.get(suffix) == data or (
            suffix == ".asc" and "" in files and tool_signer(files[""], data, consumer, version) is not None
        ):
            yield version
