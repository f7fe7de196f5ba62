"""Inspection of packages, tarballs and images, and of those that are nested in them.

A gate must not pass what was not inspected. Every file that can contain programs is opened, on this disk, in a
container or in a layer of an image, up to a depth of `MAX_DEPTH`. A container that is deeper, or has a format that is
not supported, is reported as `UnopenedContainer`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..archive import rpmheader
from ..archive.embedded import Embedded
from ..archive.layers import merge, read_layer
from ..archive.limits import grow, size_of, spend
from ..archive.member import Content, Damaged, Joined, Member, Rejected, Rejections, Unread
from ..archive.open import (
    MAX_IMAGE_DOCUMENT,
    TAIL,
    format_of,
    holds_members,
    kind_of,
    may_describe_images,
    members_of,
    unopened_format,
)
from ..errors import FipsManifestError, Incomplete, Refused
from ..fetch.cache import Cache
from ..model.artifact import Artifact, ImagePlatform, SkippedPart
from ..model.finding import Finding
from ..progress import Task
from . import loader_files
from .image_environment import findings_in, script_of
from .inspector import Inspector

# See `_image_archive`.
if TYPE_CHECKING:
    from ..collect.imagearchive import Archive

#: A package in an image layer in an image archive in a bundle is the deepest real case.
MAX_DEPTH = 6
#: Directories of a container that are reported to have an image.
_MAX_PLACES = 100
#: Bytes of a member that are used to recognize its format, and that are copied at a time.
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class LocatedFinding:
    """A finding with its location."""

    container: str | None
    """The package, tarball or image that has the finding's path; None for a file on this disk."""
    architecture: str | None
    """The image platform's architecture (RPM name); None for files that are not in an image."""
    finding: Finding


class UnopenedContainer(Incomplete):
    """A container that was not opened: its format is not supported, it is too deep, encrypted or damaged."""

    reason = "unopened"

    def __init__(self, path: str, container: str | None, format: str, reason: str) -> None:
        """Report the file at ``path`` in ``container`` (None: on this disk), of a format, for a reason."""
        where = path + (f" in {container}" if container else "")
        super().__init__(
            f"{where} was not opened ({format}): {reason}.", "Unpack it with its own tool, and inspect the result."
        )
        self.path = path
        self.container = container
        self.format = format
        self.reason = reason


Outcome = LocatedFinding | SkippedPart | FipsManifestError
_Inspect = Callable[[Member], Finding | None]


def collect_outcomes(inspect: Callable[[], Iterable[Outcome]]) -> list[Outcome]:
    """Return the outcomes that ``inspect`` yields; an error that it raises is the last one."""
    found: list[Outcome] = []
    try:
        for outcome in inspect():
            found.append(outcome)
    except FipsManifestError as error:
        found.append(error)
    return found


@dataclass(frozen=True, slots=True)
class ContainerInspector:
    """Inspects packages, tarballs and images. May be shared by threads."""

    inspector: Inspector
    """Inspects each file."""
    cache: Cache
    """Stores the parts of images."""
    spool: Path
    """A directory for temporary copies of nested containers."""
    meter: Task
    """Advanced by the size of every file."""

    def open(self, path: Path, name: str, depth: int = 1, place: tuple[str, str | None] | None = None) -> list[Outcome]:
        """Return the outcomes of the file at ``path``; none if it is not a container.

        ``name`` is the container's name in findings, ``depth`` the number of nested containers including itself,
        ``place`` its path and the container of this path (default: ``name``, on this disk). The readable part of a
        damaged container is returned with the error. Raises as `kind_of` does.
        """
        where, container = place or (name, None)
        if depth == 1:
            grow(size_of(path))
        kind = kind_of(path)
        if kind in ("file", "directory"):
            return []
        if kind == "unopened":
            raise _unsupported_format(where, container, format_of(path))
        if depth > MAX_DEPTH:
            raise UnopenedContainer(where, container, kind, f"it is in more than {MAX_DEPTH - 1} other containers")
        if kind == "image-archive" and (found_images := self._image_archive(path, name, depth)) is not None:
            return found_images
        found: list[Outcome] = []
        try:
            for outcome in self._members(path, name, depth):
                found.append(outcome)
        except FipsManifestError as error:
            if kind == "compressed" and isinstance(error, Refused):
                error = UnopenedContainer(where, container, "compressed data", error.message.rstrip("."))
            found.append(error)
        return [*found, *carried_by_scriptlets(path, where, container)] if kind == "rpm" else found

    def platforms(self, image: Artifact, name: str, depth: int = 1) -> Iterator[Outcome]:
        """Yield the programs in the final file system of each platform of an image.

        A platform that cannot be read yields its error and does not hide the others.
        """
        if depth == 1:
            grow(sum(layer.size for platform in image.platforms for layer in platform.layers))
        for platform in image.platforms:
            yield from collect_outcomes(partial(self._platform, image, platform, name, depth))

    def inspect_member(
        self, member: Member, inspect: _Inspect, container: str, depth: int
    ) -> tuple[Finding | None, Sequence[Outcome]]:
        """Return the finding of ``inspect`` for a member, and the outcomes of what it contains.

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
        documents = _ImageDocuments()
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
                    finding, within = self.inspect_member(documents.observe(member), session.inspect, name, depth)
                except Damaged as error:
                    yield error
                    continue
                if finding is not None:
                    yield LocatedFinding(name, None, finding)
                yield from within
        tarred = kind_of(path) in ("tar", "image-archive")
        yield from (
            SkippedPart(f"{name}: {place}", "an image that is judged file by file, without its configuration")
            for place in documents.places
            if place or not tarred
        )
        if (documents.found or documents.linked) and tarred:
            # Runtimes load images from a tar whatever its first member is called. Imported here as in `_image_archive`.
            from ..collect.imagearchive import describes_images, open_archive

            if documents.found or describes_images(path, self.cache, name):
                yield from self._images(open_archive(path, self.cache, name=name), name, depth, rest=False)

    def _image_archive(self, path: Path, name: str, depth: int) -> list[Outcome] | None:
        """Return the outcomes of an image archive; None for a tar that only begins like one."""
        # Here, because most files are no images, and the definitions' models that it imports take long to load.
        from ..collect.imagearchive import open_archive

        try:
            archive = open_archive(path, self.cache, name=name)
        except Refused:
            if path.is_dir():
                raise
            return None
        return self._images(archive, name, depth)

    def _images(self, archive: Archive, name: str, depth: int, *, rest: bool = True) -> list[Outcome]:
        """Return the outcomes of the images in an archive, and of the ``rest`` of its files."""
        # Here, as in `_image_archive`.
        from ..collect.imagearchive import images_in

        contents = images_in(archive, self.cache, name)
        found = [
            outcome for image in contents.images for outcome in self.platforms(image, f"{name}: {image.name}", depth)
        ]
        found += contents.left_out
        # Unpacking the archive also yields files that no image refers to, and a runtime that reads other documents
        # may use them as layers.
        for member in archive.store.others(contents.parts) if rest else ():
            finding, within = self.inspect_member(member, self.inspector.program, name, depth)
            found += [LocatedFinding(name, None, finding), *within] if finding is not None else within
        return found

    def _platform(self, image: Artifact, platform: ImagePlatform, name: str, depth: int) -> Iterator[Outcome]:
        def inspect_program(member: Member) -> tuple[Finding | None, Sequence[Outcome], tuple[str, ...]] | None:
            member, loading = loader_files.read(member)
            finding, within = self.inspect_member(member, self.inspector.program, name, depth)
            return (finding, within, loading) if finding or within or loading else None

        rejections = Rejections(image.name)
        layers = (
            read_layer(layer, diff_id, inspect_program, archive=image.name, reject=rejections.add)
            for layer, diff_id in zip(platform.layers, platform.diff_ids, strict=True)
        )
        view = list(merge(layers, image.name, rejections.add))
        yield from rejections.errors
        loading = (code for _, (_, _, codes) in view for code in codes)
        findings = [finding.at(place) for place, (finding, _, _) in view if finding is not None]
        for finding in findings_in(platform, loading, findings):
            yield LocatedFinding(name, platform.architecture, finding)
        for _, (_, within, _) in view:
            yield from within
        yield from carried_by_commands(platform, name)

    def _inspect_container(
        self, member: Member, inspect: _Inspect, container: str, depth: int
    ) -> tuple[Finding | None, Sequence[Outcome]]:
        """Return the finding of ``inspect`` for a member that is a container, and the outcomes of its members."""
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
                f"{name} cannot be written to {self.spool}: {error.strerror}.",
                "Free space there, or choose another directory: --work for a release, TMPDIR for 'inspect'.",
                reason="not-written",
            ) from error


def find_embedded(
    path: str, container: str | None, embedded: Embedded, content: Path | None = None
) -> tuple[UnopenedContainer, ...]:
    """Return as unopened a file that is not a container and still has a program or packed data in it.

    ``path`` and ``container`` are its location, ``embedded`` was fed its content, and ``content`` is the file, if it
    may be a container.
    """
    kind = embedded.finish()
    if kind is None or (content is not None and not _is_plain(content)):
        return ()
    return (UnopenedContainer(path, container, kind, "its content is not inspected"),)


def carried_by_scriptlets(path: Path, where: str, container: str | None) -> tuple[UnopenedContainer, ...]:
    """Return as unopened a package with a program or packed data in a scriptlet, which rpm runs and does not unpack.

    ``path`` is the package, ``where`` its path in ``container``.
    """
    try:
        with path.open("rb") as file:
            header = rpmheader.read(file, where).header.raw
    except (FipsManifestError, OSError):
        # The reader of its members reports the error.
        return ()
    # It has digests of all files.
    embedded = Embedded(text=False)
    embedded.show(b"#!\n" + header)
    kind = embedded.finish()
    if kind is None:
        return ()
    return (UnopenedContainer(where, container, f"RPM with a {kind}", "its scriptlets are not inspected"),)


def carried_by_commands(platform: ImagePlatform, container: str) -> tuple[UnopenedContainer, ...]:
    """Return as unopened an image's configuration with a program or packed data in a command or variable.

    ``container`` is what the image is called. Raises as `findings_in`.
    """
    embedded = Embedded()
    embedded.show(b"#!\n" + script_of(platform).encode("utf-8", "surrogatepass"))
    kind = embedded.finish()
    if kind is None:
        return ()
    digest, format = platform.config.digest, f"image configuration with a {kind}"
    return (UnopenedContainer(digest, container, format, "its commands are not inspected"),)


def _is_plain(path: Path) -> bool:
    try:
        return kind_of(path) == "file"
    except FipsManifestError:
        # The reader that opens it reports the error.
        return False


def _unsupported_format(path: str, container: str | None, format: str) -> UnopenedContainer:
    return UnopenedContainer(path, container, format, "this format is not supported")


class _ImageDocuments:
    """Finds out, while the members of a container stream past, where they may be those of an image archive."""

    _NAMES = ("index.json", "manifest.json")

    def __init__(self) -> None:
        self.linked = False
        self.places: list[str] = []
        """Directories with such documents; that of the container itself is empty."""

    @property
    def found(self) -> bool:
        """Return whether the container itself may be an image archive."""
        return "" in self.places

    def observe(self, member: Member) -> Member:
        """Return ``member``, whose content is whole."""
        place, _, name = member.path.rpartition("/")
        if name not in self._NAMES or place in self.places or (place and len(self.places) > _MAX_PLACES):
            return member
        if member.type != "file" or member.content is None:
            self.linked = self.linked or (not place and member.type in ("symlink", "hardlink"))
            return member
        data = b""
        while len(data) <= MAX_IMAGE_DOCUMENT and (piece := member.content.read(_PIECE)):
            data += piece
        if may_describe_images(data):
            self.places.append(place)
        return replace(member, content=Joined(data, member.content))


class _ObservedContent:
    """Content that is searched for embedded programs while it is read, and keeps its last bytes."""

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
        """Read the rest."""
        while self.read(_PIECE):
            pass
