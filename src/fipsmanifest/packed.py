"""What is in packages, tarballs and images, and in those that are packed within them.

A gate must not pass what it did not look at. So what can hold programs is opened wherever it stands: on this disk, in
a tarball or package, in a layer of an image, and there again, as far down as `_DEEPEST`; what is deeper is an error.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from .artifact import Artifact, ImagePlatform, LeftOut
from .collect.cache import Cache
from .errors import FipsManifestError, Incomplete
from .inspect.finding import Finding
from .inspect.inspector import Inspector
from .progress import Task
from .unpack.layers import merge, read_layer
from .unpack.member import Joined, Member
from .unpack.open import holds_members, kind_of, members_of

#: An RPM in a tarball in a bundle is real; what goes deeper only keeps somebody busy.
_DEEPEST = 3
#: Bytes of a member by which it is told what it is, and copied at a time.
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Located:
    """A finding and where it was."""

    container: str | None
    """The package, tarball or image that the finding's path is in; None for a file on this disk."""
    architecture: str | None
    """The image platform's, RPM name; None where only the file itself says it."""
    finding: Finding


Outcome = Located | LeftOut | FipsManifestError
_Inspect = Callable[[Member], Finding | None]


def attempt(look: Callable[[], Iterable[Outcome]]) -> Sequence[Outcome]:
    """Give what ``look`` gives, or the error that it raises as the one outcome."""
    try:
        return list(look())
    except FipsManifestError as error:
        return [error]


@dataclass(frozen=True, slots=True)
class Opener:
    """Looks through packages, tarballs and images; may be shared by threads."""

    inspector: Inspector
    """Looks at each file."""
    cache: Cache
    """Takes the parts of images."""
    spool: Path
    """A folder for what is packed within another archive, while it is looked through."""
    meter: Task
    """Told the size of every file."""

    def open(self, path: Path, name: str, depth: int = 1) -> Sequence[Outcome]:
        """Give what is in the file at ``path``, nothing where it is no package, tarball or image archive.

        ``name`` is what it is called, ``depth`` how many containers it stands in, itself among them. Raises what
        reading it raises.
        """
        kind = kind_of(path)
        if kind in ("file", "folder"):
            return []
        if depth > _DEEPEST:
            raise Incomplete(
                f"{name} is packed in too much else to be opened.", "Unpack the outer ones, and name what is in them."
            )
        return self._images(path, name, depth) if kind == "image-archive" else self._members(path, name, depth)

    def platforms(self, image: Artifact, name: str, depth: int = 1) -> Iterator[Outcome]:
        """Yield the programs in the final file system of each of an image's platforms.

        A platform that cannot be read is an error in its place: it must not hide the others.
        """
        for platform in image.platforms:
            yield from attempt(partial(self._platform, image, platform, name, depth))

    def _members(self, path: Path, name: str, depth: int) -> list[Outcome]:
        session = self.inspector.session()
        # Of a path that an archive holds twice, the later entry is what unpacking leaves.
        last: dict[str, Sequence[Outcome]] = {}
        for member in members_of(path, name=name):
            finding, within = self._seen(member, session.inspect, name, depth)
            if member.type == "hardlink":
                # What is packed in a file lives on by its links.
                within = last.get(member.target or "", ())[1:]
            if finding is not None:
                last[finding.path] = [Located(name, None, finding), *within]
        return [outcome for outcomes in last.values() for outcome in outcomes]

    def _images(self, path: Path, name: str, depth: int) -> list[Outcome]:
        from .collect.imagearchive import images_in, open_archive

        archive = open_archive(path, self.cache, name=name)
        contents = images_in(archive, self.cache, name)
        found = [
            outcome for image in contents.images for outcome in self.platforms(image, f"{name}: {image.name}", depth)
        ]
        found += contents.left_out
        # Whoever unpacks the archive gets what no image refers to as well, and whoever loads it by other documents
        # than those that were read here may get layers of it.
        for member in archive.store.others(contents.layers):
            finding, within = self._seen(member, self.inspector.program, name, depth)
            found += [Located(name, None, finding), *within] if finding is not None else within
        return found

    def _platform(self, image: Artifact, platform: ImagePlatform, name: str, depth: int) -> Iterator[Outcome]:
        def look(member: Member) -> tuple[Finding | None, Sequence[Outcome]] | None:
            seen = self._seen(member, self.inspector.program, name, depth)
            return seen if seen[0] or seen[1] else None

        layers = (
            read_layer(layer, diff_id, look, archive=image.name)
            for layer, diff_id in zip(platform.layers, platform.diff_ids, strict=True)
        )
        for place, (finding, within) in merge(layers, image.name):
            if finding is not None:
                yield Located(name, platform.architecture, finding.at(place))
            yield from within

    def _seen(
        self, member: Member, inspect: _Inspect, container: str, depth: int
    ) -> tuple[Finding | None, Sequence[Outcome]]:
        """Give what ``inspect`` sees in a member, and what is packed in it."""
        self.meter.advance(member.size)
        if member.type != "file" or member.content is None:
            return inspect(member), ()
        first = member.content.read(_PIECE)
        if not holds_members(first, whole=len(first) == member.size):
            return inspect(replace(member, content=Joined(first, member.content))), ()
        name = f"{container}: {member.path}"
        try:
            with tempfile.NamedTemporaryFile(dir=self.spool) as kept:
                while first:
                    kept.write(first)
                    first = member.content.read(_PIECE)
                kept.flush()
                kept.seek(0)
                finding = inspect(replace(member, content=kept))
                return finding, attempt(lambda: self.open(Path(kept.name), name, depth + 1))
        except OSError as error:
            raise Incomplete(
                f"{name} could not be kept in {self.spool}: {error.strerror}.", "Free space or choose another folder."
            ) from error
