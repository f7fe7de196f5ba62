"""Where references are: those that ship with this product, and directories of one's own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock

from ...errors import UsageError
from .reference import HEADER_BYTES, Origin, Reference, decode, decode_origins

SUFFIX = ".references"
_SHIPPED = Path(__file__).with_name("references")
_ADVICE = "Name a directory with files that 'fipsmanifest modules learn --native' wrote."
_MOST_FILES = 1024

Key = tuple[str, str, str, str, str]


@dataclass(frozen=True, slots=True)
class Place:
    """Where one reference is."""

    path: Path
    """The file."""
    number: int
    """Its number in the file."""
    origin: Origin
    """What it was made of."""
    digest: str
    """The reference's digest."""


class Library:
    """References by what they are of. May be shared by threads."""

    def __init__(self, own: Sequence[Path] = (), shipped: Path = _SHIPPED) -> None:
        """Take the references that ship, and those of the directories ``own``."""
        self._own = tuple(own)
        self._shipped = shipped
        self._lock = Lock()
        self._loaded: dict[Key, Reference] = {}

    def find(self, key: Key) -> Reference | None:
        """Return the reference for a toolchain; None where there is none.

        Raise `UsageError` where its file is damaged.
        """
        place = self.places.get(key)
        if place is None:
            return None
        with self._lock:
            if key not in self._loaded:
                self._loaded[key] = decode(_read(place.path), str(place.path), place.number)
            return self._loaded[key]

    def check(self) -> None:
        """Read what all references are of. Raise `UsageError` as `places` does."""
        self.places  # noqa: B018 - the property is what reads

    @cached_property
    def places(self) -> Mapping[Key, Place]:
        """All references by their keys; one that ships goes before one's own.

        Raise `UsageError` where a directory cannot be read or holds a file that is not one of references.
        """
        found: dict[Key, Place] = {}
        for path in sorted(self._shipped.glob(f"*{SUFFIX}")):
            for place in _places(path):
                found[place.origin.key] = place
        for directory in self._own:
            for path in _files(directory):
                for place in _places(path):
                    if not place.origin.claimed_by.strip():
                        raise UsageError(
                            f"{path} does not say who vouches for its references.",
                            "Make it with 'fipsmanifest modules learn --native --claimed-by WHO'.",
                        )
                    found.setdefault(place.origin.key, place)
        return found

    def claimed_by(self, source: str) -> str | None:
        """Return who vouches for one's own references of a source (hex SHA-256), by name in order."""
        names = {place.origin.claimed_by for place in self.places.values() if place.origin.source == source}
        return ", ".join(sorted(names - {""})) or None

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 of the digests of all references."""
        digests = sorted(place.digest for place in self.places.values())
        return hashlib.sha256("\n".join(digests).encode("ascii", "replace")).hexdigest()


def _files(directory: Path) -> list[Path]:
    try:
        found = sorted(path for path in directory.iterdir() if path.suffix == SUFFIX)
    except OSError as error:
        raise UsageError(f"{directory} cannot be read: {error.strerror}.", _ADVICE) from error
    if not 0 < len(found) <= _MOST_FILES:
        raise UsageError(f"{directory} has no references, or more than {_MOST_FILES} files of them.", _ADVICE)
    return found


def _places(path: Path) -> list[Place]:
    try:
        with path.open("rb") as file:
            start = file.read(HEADER_BYTES)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", _ADVICE) from error
    listed = decode_origins(start, str(path))
    return [Place(path, number, origin, digest) for number, (origin, digest) in enumerate(listed)]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", _ADVICE) from error
