"""One entry of a package, tarball, layer or directory, as it is streamed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from ..errors import Refused, Several

#: ``special``: a device, FIFO or socket, which has no bytes and so nothing to inspect.
MemberType = Literal["file", "symlink", "hardlink", "directory", "special"]

#: What a package says of a file beyond its bytes: RPM's %config, %doc (and %license), %ghost.
Mark = Literal["config", "doc", "ghost"]

#: Entries of one archive that are refused one by one: a report of half a million reasons is of no use.
_MOST_REJECTED = 1000


class Content(Protocol):
    """A member's bytes; valid only until the next member is requested."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes, none at the end."""


class Damaged(Refused):
    """The content of one member cannot be read; the members after it can."""

    reason = "damaged-archive"


class Joined:
    """Content of which the first bytes were read already."""

    def __init__(self, first: bytes, rest: Content) -> None:
        self._first = first
        self._rest = rest

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes, none at the end."""
        if not self._first:
            return self._rest.read(size)
        size = len(self._first) if size < 0 else size
        data, self._first = self._first[:size], self._first[size:]
        return data


@dataclass(frozen=True, slots=True)
class Member:
    """One entry, named as it will be found on a node."""

    path: str
    """Absolute and normalised (``/usr/bin/kubelet``)."""
    type: MemberType
    """What it is."""
    mode: int
    """Permission bits with setuid, setgid and sticky (``0o755``)."""
    size: int
    """Bytes of content, 0 for all but files."""
    target: str | None = None
    """A symbolic link's text as it is stored; a hard link's absolute, normalised path."""
    mark: Mark | None = None
    """What the package says of it."""
    content: Content | None = None
    """The bytes of a file; None for other types, and for a ``ghost``."""


@dataclass(frozen=True, slots=True)
class Unread:
    """An entry whose content cannot be read, although it is present."""

    path: str
    """Absolute and normalised."""
    format: str
    """What it is (``encrypted ZIP member``)."""
    reason: str
    """Why it cannot be read, as the end of a sentence."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """An entry that is damaged or that unpackers read differently, in an archive whose next entry is certain."""

    error: Refused
    """Names the archive and the entry."""


class Rejections:
    """The reasons why entries of one archive were refused; an archive with too many is refused as a whole."""

    def __init__(self, archive: str) -> None:
        self._archive = archive
        self.errors: list[Refused] = []

    def add(self, error: Refused) -> None:
        """Add a reason. Raises `Refused` for one too many."""
        self.errors.append(error)
        if len(self.errors) > _MOST_REJECTED:
            raise Refused(
                f"{self._archive} has more than {_MOST_REJECTED} entries that are damaged or ambiguous.",
                "Do not use this archive; ask those who publish it.",
                self.errors[0].reason,
            )

    def require_none(self) -> None:
        """Raise the reason, or `Several` of them, if there is one."""
        if self.errors:
            raise self.errors[0] if len(self.errors) == 1 else Several(self.errors)


#: What a reader yields.
Item = Member | Unread | Rejected


def strict(items: Iterable[Member | Rejected]) -> Iterator[Member]:
    """Yield the members of ``items``. Raises the error of the first that is `Rejected`."""
    for item in items:
        if isinstance(item, Rejected):
            raise item.error
        yield item
