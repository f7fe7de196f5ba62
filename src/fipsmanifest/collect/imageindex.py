"""Indexes: every image in one that a Linux node could take, and the image that a given node takes."""

from __future__ import annotations

from collections.abc import Iterator

from ..archive.paths import shown
from ..errors import FipsManifestError, Incomplete, Refused
from ..fetch.cache import Cache
from ..fetch.transport import NotThere
from ..model import architecture
from ..model.artifact import ImagePlatform, SkippedPart
from ..oci.document import (
    INDEXES,
    MANIFESTS,
    MAX_CONFIG,
    MAX_DOCUMENT,
    Descriptor,
    Index,
    Manifest,
    NotAnImage,
    parse,
)
from ..oci.kind import Browsable, Origin, read_config
from ..oci.platform import architecture_of, is_for, is_plain, other_than_linux, system_of
from .imageplatform import DO_NOT_USE, NotForLinux, read_platform

#: Entries of an index, and of those within it, that are followed; and how deep those may be.
_MOST_ENTRIES = 1000
_DEEPEST = 3


class Walk:
    """The walk over an index, and those within it, to every image that a Linux node could take, each once."""

    def __init__(
        self, origin: Browsable, cache: Cache, *, most: int = _MOST_ENTRIES, rest_is_read: bool = False
    ) -> None:
        """Follow at most ``most`` entries; ``rest_is_read`` says that what is left out is inspected in another way."""
        self._origin = origin
        self._cache = cache
        self._rest_is_read = rest_is_read
        self._most = self._left = most
        self._judged: dict[str, str] = {}

    def images(
        self, index: Index, name: str, depth: int = 0
    ) -> Iterator[ImagePlatform | SkippedPart | FipsManifestError]:
        """Yield each image once, and for every other entry what it is instead, or why it cannot be inspected.

        ``name`` is what the image is called. Raises `Refused` for more entries than any image has.
        """
        self._left -= len(index.manifests)
        if self._left < 0 or depth > _DEEPEST:
            raise Refused(
                f"{name} has more than {self._most} entries, or an index too deep in it.",
                DO_NOT_USE,
                reason="too-large",
            )
        for entry in index.manifests:
            yield from self.entry(entry, name, depth)

    def entry(
        self, entry: Descriptor, name: str, depth: int = 0
    ) -> Iterator[ImagePlatform | SkippedPart | FipsManifestError]:
        """Yield the image that one entry of an index names, those of an index that it names, or what it is instead."""
        called = f"{name}@{entry.digest}"
        if why := other_than_linux(entry):
            yield SkippedPart(called, why)
        elif not self._origin.has(entry):
            yield SkippedPart(called, "not in the archive")
        elif first := self._judged.get(entry.digest):
            # Inspecting it again for each of a thousand names would take too long.
            if first != name:
                yield SkippedPart(called, f"the same image as {shown(first)}")
        else:
            try:
                data, document = self._document(entry, name)
                if isinstance(document, Manifest):
                    yield read_platform(data, self._origin, self._cache, name, entry)
                    self._judged[entry.digest] = name
            except NotAnImage as error:
                yield SkippedPart(called, error.why)
            except NotForLinux as error:
                # containerd and podman may run it all the same where nothing but its configuration says so.
                yield SkippedPart(called, error.why) if self._rest_is_read else error
            except FipsManifestError as error:
                yield error
            else:
                if isinstance(document, Index):
                    yield from self.images(document, name, depth + 1)

    def _document(self, entry: Descriptor, name: str) -> tuple[bytes, Index | Manifest]:
        if entry.media_type in INDEXES + MANIFESTS:
            data = self._origin.document(entry)
            return data, parse(data, f"{name}: {entry.digest}", entry.media_type)
        # A cache of BuildKit lists layers here. podman uses a manifest as one, whatever its type says.
        other = NotAnImage(name, f"it is {shown(entry.media_type)}")
        if entry.size > MAX_DOCUMENT:
            raise other
        try:
            data = self._origin.document(entry)
        except Incomplete as error:
            return self._as_blob(entry, name, error)
        if not data.lstrip().startswith(b"{"):
            raise other
        return data, parse(data, f"{name}: {entry.digest}")

    def _as_blob(self, entry: Descriptor, name: str, error: Incomplete) -> tuple[bytes, Index | Manifest]:
        """Return an entry of an unknown type, such as a layer, that the registry does not serve as a manifest.

        Asked for a manifest, some registries answer 404 then and some 500. Raises `NotAnImage` for what is not an
        image, and ``error`` if it cannot be fetched as a blob either and may be one.
        """
        other = NotAnImage(name, f"it is {shown(entry.media_type)}")
        try:
            data = self._origin.blob(entry, MAX_DOCUMENT).path.read_bytes()
        except (FipsManifestError, OSError):
            raise (other if isinstance(error, NotThere) else error) from None
        try:
            return data, parse(data, f"{name}: {entry.digest}")
        except Refused:
            raise other from None


class Candidates:
    """The entries of an index, and of those within it, that a node may choose from."""

    def __init__(self, index: Index, origin: Origin, name: str) -> None:
        self._origin = origin
        self._name = name
        self._entries = list(self._flat(index, 0))

    def choose(self, wanted: str) -> Descriptor:
        """Return the entry for Linux on the architecture ``wanted`` (RPM name), as containerd chooses it.

        An entry without a platform is for that of its configuration, and is chosen after those with one. Raises
        `Incomplete` with the platforms that exist if there is none, and as reading such an entry does.
        """
        machine = architecture.to_oci(wanted)
        said = [entry for entry in self._entries if entry.announced and is_for(entry, machine)]
        if said:
            # The plainest for a plain machine.
            return min(said, key=lambda entry: not is_plain(entry))
        there = []
        for entry in self._entries:
            system, found = self._platform(entry)
            if system == "linux" and architecture_of(found) == machine and not entry.announced:
                return entry
            there.append(f"{system}/{found}")
        raise Incomplete(
            f"{self._name} is not made for linux/{machine}.",
            f"It is made for: {list_platforms(there)}.",
            reason="wrong-platform",
        )

    def _platform(self, entry: Descriptor) -> tuple[str, str]:
        if entry.announced:
            return system_of(entry.os), str(entry.architecture)
        try:
            manifest = parse(self._origin.document(entry), f"{self._name}: {entry.digest}", entry.media_type)
            if not isinstance(manifest, Manifest):  # `_flat` has opened it
                raise NotAnImage(self._name, "it is an index")
            config = self._origin.blob(manifest.config, MAX_CONFIG).path.read_bytes()
            said = read_config(config, manifest, f"{self._name}: {entry.digest}")
        except NotAnImage as error:
            return "none", error.why
        return said.os, said.architecture

    def _flat(self, index: Index, depth: int) -> Iterator[Descriptor]:
        if len(index.manifests) > _MOST_ENTRIES or depth > _DEEPEST:
            raise Refused(
                f"{self._name} has more than {_MOST_ENTRIES} entries, or an index too deep in it.",
                DO_NOT_USE,
                reason="too-large",
            )
        for entry in index.manifests:
            if entry.media_type in MANIFESTS:
                yield entry
            elif entry.media_type in INDEXES and not other_than_linux(entry):
                document = parse(self._origin.document(entry), f"{self._name}: {entry.digest}", entry.media_type)
                if isinstance(document, Index):
                    yield from self._flat(document, depth + 1)


def list_platforms(names: list[str]) -> str:
    """Return platforms for a message."""
    return ", ".join(map(shown, names[:20])) or "nothing"
