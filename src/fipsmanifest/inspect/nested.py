"""What is in packages, tarballs and images, and in those that are packed within them.

A gate must not pass what it did not look at. So what can hold programs is opened wherever it is: on this disk, in a
container, in a layer of an image, and there again, down to `DEEPEST`. What is deeper, or of a format that is not opened
here, is reported as `UnopenedContainer`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ..archive.embedded import Embedded
from ..archive.layers import merge, read_layer
from ..archive.limits import grow, size_of, spend
from ..archive.member import Content, Damaged, Joined, Member, Rejected, Rejections, Unread
from ..archive.open import TAIL, format_of, holds_members, kind_of, members_of, unopened_format
from ..errors import FipsManifestError, Incomplete, Refused
from ..fetch.cache import Cache
from ..model.artifact import Artifact, ImagePlatform, SkippedPart
from ..model.finding import Finding
from ..progress import Task
from .inspector import Inspector

#: A package in an image layer in an image archive in a bundle is real; what is deeper only keeps somebody busy.
DEEPEST = 6
#: Bytes of a member by which it is told what it is, and copied at a time.
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class LocatedFinding:
    """A finding and where it was."""

    container: str | None
    """The package, tarball or image that the finding's path is in; None for a file on this disk."""
    architecture: str | None
    """The image platform's, RPM name; None where only the file itself says it."""
    finding: Finding


class UnopenedContainer(Incomplete):
    """Programs could be in it, and nobody looked: a format that is not opened here, or an encrypted or damaged one."""

    def __init__(self, path: str, container: str | None, format: str, reason: str) -> None:
        """Name the file by its ``path`` in its ``container`` (None on this disk), its format and why it stays shut."""
        where = path + (f" in {container}" if container else "")
        super().__init__(
            f"{where} was not opened ({format}): {reason}.", "Unpack it with its own tool, and inspect what is in it."
        )
        self.path = path
        self.container = container
        self.format = format
        self.reason = reason


Outcome = LocatedFinding | SkippedPart | FipsManifestError
_Inspect = Callable[[Member], Finding | None]


def collect_outcomes(look: Callable[[], Iterable[Outcome]]) -> list[Outcome]:
    """Return what ``look`` yields; an error that it raises is the last of the outcomes."""
    found: list[Outcome] = []
    try:
        for outcome in look():
            found.append(outcome)
    except FipsManifestError as error:
        found.append(error)
    return found


@dataclass(frozen=True, slots=True)
class ContainerInspector:
    """Looks through packages, tarballs and images; may be shared by threads."""

    inspector: Inspector
    """Looks at each file."""
    cache: Cache
    """Takes the parts of images."""
    spool: Path
    """A folder for what is packed within another archive, while it is looked through."""
    meter: Task
    """Told the size of every file."""

    def open(self, path: Path, name: str, depth: int = 1, place: tuple[str, str | None] | None = None) -> list[Outcome]:
        """Return what is in the file at ``path``, nothing where it is no container.

        ``name`` is what it is called, ``depth`` how many containers it is in, itself among them, ``place`` its path and
        the container that this is in (default: on this disk, as it is called). What can be read of a damaged container
        is returned with the error. Raises what recognising it raises.
        """
        where, container = place or (name, None)
        if depth == 1:
            grow(size_of(path))
        kind = kind_of(path)
        if kind in ("file", "folder"):
            return []
        if kind == "unopened":
            raise _unsupported_format(where, container, format_of(path))
        if depth > DEEPEST:
            raise UnopenedContainer(where, container, kind, f"it is in more than {DEEPEST - 1} other containers")
        if kind == "image-archive":
            return self._images(path, name, depth)
        found: list[Outcome] = []
        try:
            for outcome in self._members(path, name, depth):
                found.append(outcome)
        except FipsManifestError as error:
            if kind == "compressed" and isinstance(error, Refused):
                error = UnopenedContainer(where, container, "compressed data", error.message.rstrip("."))
            found.append(error)
        return found

    def platforms(self, image: Artifact, name: str, depth: int = 1) -> Iterator[Outcome]:
        """Yield the programs in the final file system of each of an image's platforms.

        A platform that cannot be read is an error in its place: it must not hide the others.
        """
        if depth == 1:
            grow(sum(layer.size for platform in image.platforms for layer in platform.layers))
        for platform in image.platforms:
            yield from collect_outcomes(partial(self._platform, image, platform, name, depth))

    def inspect_member(
        self, member: Member, inspect: _Inspect, container: str, depth: int
    ) -> tuple[Finding | None, Sequence[Outcome]]:
        """Return what ``inspect`` sees in a member, and what is packed in it.

        ``container`` is what the member's container is called, and ``depth`` is how many containers the member is in.
        Raises as ``inspect`` does, and `Incomplete` where the disk refuses.
        """
        self.meter.advance(member.size)
        spend(members=1)
        if member.type != "file" or member.content is None:
            return inspect(member), ()
        first = member.content.read(_PIECE)
        whole = len(first) == member.size
        content = _ObservedContent(Joined(first, member.content), TAIL)
        if holds_members(first, whole=whole):
            return self._inspect_container(replace(member, content=content), inspect, container, depth)
        kind = unopened_format(first, first[-TAIL:] if whole else b"", member.size)
        finding = inspect(replace(member, content=content))
        if kind is not None:
            return finding, (_unsupported_format(member.path, container, kind),)
        content.finish()
        kind = unopened_format(first, content.tail, member.size)
        if kind is not None:
            return finding, (_unsupported_format(member.path, container, kind),)
        return finding, find_embedded(member.path, container, content.embedded)

    def _members(self, path: Path, name: str, depth: int) -> Iterator[Outcome]:
        """Yield what is in a container. A path that is there twice is judged twice: readers differ in which they take.

        What is packed in a file is not repeated for its hard links.
        """
        session = self.inspector.session()
        rejections = Rejections(name)
        for member in members_of(path, name=name):
            if isinstance(member, Unread):
                yield UnopenedContainer(member.path, name, member.format, member.reason)
            elif isinstance(member, Rejected):
                yield member.error
                rejections.add(member.error)
            elif member.type == "special":
                yield SkippedPart(f"{name}: {member.path}", "a device, FIFO or socket")
            else:
                try:
                    finding, within = self.inspect_member(member, session.inspect, name, depth)
                except Damaged as error:
                    yield error
                    continue
                if finding is not None:
                    yield LocatedFinding(name, None, finding)
                yield from within

    def _images(self, path: Path, name: str, depth: int) -> list[Outcome]:
        from ..collect.imagearchive import images_in, open_archive

        archive = open_archive(path, self.cache, name=name)
        contents = images_in(archive, self.cache, name)
        found = [
            outcome for image in contents.images for outcome in self.platforms(image, f"{name}: {image.name}", depth)
        ]
        found += contents.left_out
        # Whoever unpacks the archive gets what no image refers to as well, and whoever loads it by other documents
        # than those that were read here may get layers of it.
        for member in archive.store.others(contents.layers):
            finding, within = self.inspect_member(member, self.inspector.program, name, depth)
            found += [LocatedFinding(name, None, finding), *within] if finding is not None else within
        return found

    def _platform(self, image: Artifact, platform: ImagePlatform, name: str, depth: int) -> Iterator[Outcome]:
        def look(member: Member) -> tuple[Finding | None, Sequence[Outcome]] | None:
            seen = self.inspect_member(member, self.inspector.program, name, depth)
            return seen if seen[0] or seen[1] else None

        rejections = Rejections(image.name)
        layers = (
            read_layer(layer, diff_id, look, archive=image.name, reject=rejections.add)
            for layer, diff_id in zip(platform.layers, platform.diff_ids, strict=True)
        )
        view = merge(layers, image.name, rejections.add)
        yield from rejections.errors
        for place, (finding, within) in view:
            if finding is not None:
                yield LocatedFinding(name, platform.architecture, finding.at(place))
            yield from within

    def _inspect_container(
        self, member: Member, inspect: _Inspect, container: str, depth: int
    ) -> tuple[Finding | None, Sequence[Outcome]]:
        """Return what ``inspect`` sees in a member that is a container, and what is in it."""
        content = member.content
        name = f"{container}: {member.path}"
        try:
            with tempfile.NamedTemporaryFile(dir=self.spool) as kept:
                embedded = Embedded()
                while content is not None and (data := content.read(_PIECE)):
                    kept.write(data)
                    embedded.show(data)
                kept.flush()
                kept.seek(0)
                finding = inspect(replace(member, content=kept))
                place = member.path, container
                path = Path(kept.name)
                return finding, [
                    *collect_outcomes(lambda: self.open(path, name, depth + 1, place)),
                    *collect_outcomes(lambda: find_embedded(*place, embedded, path)),
                ]
        except OSError as error:
            raise Incomplete(
                f"{name} could not be kept in {self.spool}: {error.strerror}.", "Free space or choose another folder."
            ) from error


def find_embedded(
    path: str, container: str | None, embedded: Embedded, content: Path | None = None
) -> tuple[UnopenedContainer, ...]:
    """Return as unopened a file that is no container and carries a program or packed data all the same.

    ``path`` and ``container`` name it; ``content`` is where it is, if it may be a container. ``embedded`` was shown it.
    """
    kind = embedded.finish()
    if kind is None or (content is not None and not _is_plain(content)):
        return ()
    return (UnopenedContainer(path, container, kind, "what it carries is not looked at"),)


def _is_plain(path: Path) -> bool:
    try:
        return kind_of(path) == "file"
    except FipsManifestError:
        # Whoever opens it is told.
        return False


def _unsupported_format(path: str, container: str | None, format: str) -> UnopenedContainer:
    return UnopenedContainer(path, container, format, "this format is not supported")


class _ObservedContent:
    """Content that is looked at for what is embedded in it while it is read, and remembers its last bytes."""

    def __init__(self, content: Content, size: int) -> None:
        self._content = content
        self._size = size
        self.embedded = Embedded()
        self.tail = b""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes, none at the end."""
        data = self._content.read(size)
        self.embedded.show(data)
        self.tail = (self.tail + data)[-self._size :] if len(data) < self._size else data[-self._size :]
        return data

    def finish(self) -> None:
        """Read what was not read."""
        while self.read(_PIECE):
            pass
