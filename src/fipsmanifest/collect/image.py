"""Container images from their registries, and what images from anywhere have in common: the walk from a reference
over index, manifest and configuration to the layers, every digest and size on the way checked."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from ..archive.paths import shown
from ..errors import FipsManifestError, Incomplete, Refused
from ..fetch.cache import Cache, CachedFile
from ..fetch.http import Http
from ..fetch.mirror import Mirrors
from ..fetch.transport import NotThere
from ..model import architecture
from ..model.artifact import Artifact, Blob, ImagePlatform, SkippedPart
from ..model.definition import Definition, Images
from ..oci.document import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    INDEXES,
    MANIFESTS,
    MAX_CONFIG,
    MAX_DOCUMENT,
    UNKNOWN_SIZE,
    Descriptor,
    Index,
    Manifest,
    NotAnImage,
    parse,
    parse_config,
)
from ..oci.kind import Browsable, Origin, check_layers, read_config
from ..oci.platform import architecture_of, is_for, is_plain, other_than_linux, system_of
from ..oci.registry import Reference, Registry, mirrored, parse_reference
from .context import Context

_log = logging.getLogger(__name__)

#: Layers of one image fetched at a time.
_PARALLEL = 3

#: Entries of an index, and of those within it, that are followed; and how deep those may be.
_MOST_ENTRIES = 1000
_DEEPEST = 3

_ADVICE = "Do not use this image; ask those who publish it."


def jobs(source: Images, definition: Definition, context: Context) -> list[Callable[[], Artifact]]:
    """Return one job for each reference of ``source``.

    A job raises `Refused` for a document or layer that is not what it must be, `Incomplete` for one that cannot be
    fetched and for a platform that the image is not made for. Raises `UsageError` for an invalid reference.
    """
    registry = Registry(context.http, context.progress.note)
    parsed = [(text, parse_reference(text)) for text in source.references]
    return [partial(_fetch, source, text, reference, definition, context, registry) for text, reference in parsed]


class _Remote:
    """An image in a registry."""

    def __init__(self, registry: Registry, reference: Reference, cache: Cache) -> None:
        self._registry = registry
        self._reference = reference
        self._cache = cache

    def document(self, descriptor: Descriptor) -> bytes:
        known = read_cached(self._cache, descriptor.digest, MAX_DOCUMENT)
        if known is not None and len(known) == descriptor.size:
            return known
        return self._registry.manifest(self._reference, descriptor).data

    def blob(self, descriptor: Descriptor, limit: int | None) -> CachedFile:
        return self._registry.blob(self._reference, descriptor, limit)

    def has(self, descriptor: Descriptor) -> bool:  # noqa: ARG002 - the protocol's parameter
        return True


def _fetch(
    source: Images, text: str, reference: Reference, definition: Definition, context: Context, registry: Registry
) -> Artifact:
    written = context.mirrors.rewrite(text)
    served = mirrored(reference, written if written != text else context.mirrors.rewrite(reference.text))
    origin = _Remote(registry, served, context.cache)
    pin = context.pinned(text, [text])
    known = reference.digest or (f"sha256:{pin.sha256}" if pin is not None else None)
    data = read_cached(context.cache, known, MAX_DOCUMENT) if known is not None else None
    media_type = None
    if data is None:
        _log.debug("resolving %s at %s", text, served.text)
        fetched = registry.resolve(served)
        data, media_type = fetched.data, fetched.headers.get("Content-Type", "").partition(";")[0].strip() or None
    return assemble(
        data,
        origin,
        source=source.name,
        name=text,
        address=text,
        architectures=definition.architectures,
        cache=context.cache,
        media_type=media_type,
    )


@dataclass(frozen=True, slots=True)
class Pulled:
    """An image with all of it that Linux could run."""

    image: Artifact
    """It, with a platform for each manifest."""
    left_out: tuple[SkippedPart | FipsManifestError, ...]
    """What else its index lists: what it is instead, or why it cannot be inspected."""


def pull(text: str, http: Http, cache: Cache, mirrors: Mirrors, note: Callable[[str], object] = str) -> Pulled:
    """Return the image that the reference ``text`` names, with all parts that a node could choose, to inspect.

    Of an index that is every entry for Linux, whatever its machine, and every one that names no platform. Raises
    `UsageError` for an invalid reference, `Refused` for an entry that is not an image, and as `jobs`.
    """
    reference = parse_reference(text)
    written = mirrors.rewrite(text)
    served = mirrored(reference, written if written != text else mirrors.rewrite(reference.text))
    registry = Registry(http, note)
    fetched = registry.resolve(served)
    media_type = fetched.headers.get("Content-Type", "").partition(";")[0].strip() or None
    origin = _Remote(registry, served, cache)
    document = parse(fetched.data, text, media_type)
    if isinstance(document, Manifest):
        platforms: tuple[ImagePlatform, ...] = (_platform(fetched.data, origin, cache, text),)
        left_out: tuple[SkippedPart | FipsManifestError, ...] = ()
    else:
        found = tuple(Walk(origin, cache).images(document, text))
        platforms = tuple(part for part in found if isinstance(part, ImagePlatform))
        left_out = tuple(part for part in found if not isinstance(part, ImagePlatform))
    if not platforms and not any(isinstance(part, FipsManifestError) for part in left_out):
        there = ", ".join(part.why for part in left_out[:20] if isinstance(part, SkippedPart)) or "nothing"
        raise Incomplete(
            f"{text} is not made for linux.",
            f"Choose another image; in its index is: {there}.",
            reason="wrong-platform",
        )
    top = keep(cache, fetched.data, text)
    index = f"sha256:{top.sha256}" if isinstance(document, Index) else None
    image = Artifact("", "image", text, text, top.sha256, top.size, top.path, index=index, platforms=platforms)
    return Pulled(image, left_out)


class NotForLinux(Incomplete):
    """An image whose configuration says another system, and whose index says none."""

    reason = "wrong-platform"

    def __init__(self, name: str, system: str) -> None:
        super().__init__(f"{name} is made for {shown(system)}, not for linux.", "Choose another image.")
        self.why = f"made for {shown(system)}"


class Walk:
    """The walk over an index, and those within it, to every image that a Linux node could take, each once."""

    def __init__(
        self, origin: Browsable, cache: Cache, *, most: int = _MOST_ENTRIES, rest_is_read: bool = False
    ) -> None:
        """``most`` entries are followed; ``rest_is_read`` says that what is left out is inspected otherwise."""
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
                f"{name} has more than {self._most} entries, or an index too deep in it.", _ADVICE, reason="too-large"
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
                    yield _platform(data, self._origin, self._cache, name, entry)
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
        # A cache of BuildKit's lists layers here. podman takes what is a manifest for one, whatever it is called.
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


def assemble(
    data: bytes,
    origin: Origin,
    *,
    source: str,
    name: str,
    address: str,
    architectures: tuple[str, ...] | None,
    cache: Cache,
    media_type: str | None = None,
    saved: bool = False,
) -> Artifact:
    """Return the image whose reference resolves to the document ``data``, with every part of it in the cache.

    ``architectures`` (RPM names) are those that the image must have, None for a single manifest of any of them.
    ``media_type`` is what ``data`` was announced as. ``saved`` says that ``data`` is a configuration: ``docker save``
    keeps no manifest, and its references resolve to configurations (image IDs), which then replace both; its layers
    are uncompressed and named by their diff_ids. Raises as `jobs`.
    """
    top = keep(cache, data, name)
    index = None
    if saved:
        platforms: tuple[ImagePlatform, ...] = (_saved_platform(data, top, origin, name),)
    else:
        document = parse(data, name, media_type)
        manifests = [data]
        if isinstance(document, Index):
            index = f"sha256:{top.sha256}"
            candidates = _Candidates(document, origin, name)
            manifests = [origin.document(candidates.choose(wanted)) for wanted in architectures or ()]
        platforms = tuple(_platform(manifest, origin, cache, name) for manifest in manifests)
    if architectures is not None:
        _check_platforms(platforms, architectures, name)
    return Artifact(
        source=source,
        kind="image",
        name=name,
        address=address,
        sha256=top.sha256,
        size=top.size,
        path=top.path,
        index=index,
        platforms=platforms,
    )


class _Candidates:
    """The entries of an index, and of those within it, that a node may choose from."""

    def __init__(self, index: Index, origin: Origin, name: str) -> None:
        self._origin = origin
        self._name = name
        self._entries = list(self._flat(index, 0))

    def choose(self, wanted: str) -> Descriptor:
        """Return the entry for Linux on the architecture ``wanted`` (RPM name), as containerd chooses it.

        An entry that says no platform is for what its configuration says, and comes after those that do. Raises
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
            f"It is made for: {_listed(there)}.",
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
                _ADVICE,
                reason="too-large",
            )
        for entry in index.manifests:
            if entry.media_type in MANIFESTS:
                yield entry
            elif entry.media_type in INDEXES and not other_than_linux(entry):
                document = parse(self._origin.document(entry), f"{self._name}: {entry.digest}", entry.media_type)
                if isinstance(document, Index):
                    yield from self._flat(document, depth + 1)


def _platform(data: bytes, origin: Origin, cache: Cache, name: str, entry: Descriptor | None = None) -> ImagePlatform:
    """Return the image of a manifest. ``entry`` is what an index says of it, where every image is wanted."""
    manifest = parse(data, name)
    if not isinstance(manifest, Manifest):
        raise Refused(f"{name} has an index within its index.", _ADVICE, reason="malformed-image")
    kept = keep(cache, data, name)
    config = origin.blob(manifest.config, MAX_CONFIG)
    return _complete(
        Blob(f"sha256:{kept.sha256}", kept.size, manifest.media_type, kept.path),
        Blob(manifest.config.digest, config.size, manifest.config.media_type, config.path),
        manifest,
        origin,
        name,
        entry,
    )


def _saved_platform(data: bytes, file: CachedFile, origin: Origin, name: str) -> ImagePlatform:
    config = Blob(f"sha256:{file.sha256}", file.size, DOCKER_CONFIG, file.path)
    diff_ids = parse_config(data, f"{name}: the configuration {config.digest}").diff_ids
    layers = tuple(Descriptor(digest, UNKNOWN_SIZE, DOCKER_LAYER) for digest in diff_ids)
    said = Manifest(DOCKER_CONFIG, Descriptor(config.digest, config.size, DOCKER_CONFIG), layers)
    return _complete(config, config, said, origin, name, None)


def _complete(
    manifest: Blob, config: Blob, document: Manifest, origin: Origin, name: str, entry: Descriptor | None
) -> ImagePlatform:
    try:
        said = read_config(config.path.read_bytes(), document, name)
    except NotAnImage:
        raise
    except Refused:
        check_layers(document, origin, name)
        raise
    # A runtime may heed what the index says and not what the configuration does, or neither.
    if said.os != "linux" and (entry is None or not entry.announced):
        raise NotForLinux(name, said.os)
    check_layers(document, origin, name)
    # Threads of its own: a job that waited for others of the same pool could deadlock.
    with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="layers") as pool:
        files = list(pool.map(lambda layer: origin.blob(layer, None), document.layers))
    return ImagePlatform(
        architecture.from_oci(architecture_of(said.architecture)),
        manifest,
        config,
        tuple(
            Blob(layer.digest, file.size, layer.media_type, file.path)
            for layer, file in zip(document.layers, files, strict=True)
        ),
        said.diff_ids,
    )


def _check_platforms(platforms: tuple[ImagePlatform, ...], architectures: tuple[str, ...], name: str) -> None:
    found = [platform.architecture for platform in platforms]
    missing = [wanted for wanted in architectures if wanted not in found]
    if missing:
        raise Incomplete(
            f"{name} is not made for {', '.join(missing)}.",
            f"It is made for: {_listed(found)}.",
            reason="wrong-platform",
        )
    if found != [wanted for wanted in architectures if wanted in found]:
        raise Refused(
            f"{name} says of its platforms what their configurations deny: {_listed(found)}.",
            _ADVICE,
            reason="ambiguous-image",
        )


def _listed(names: list[str]) -> str:
    return ", ".join(map(shown, names[:20])) or "nothing"


def keep(cache: Cache, data: bytes, name: str) -> CachedFile:
    """Return ``data`` as a file of the cache."""
    known = cache.get(hashlib.sha256(data).hexdigest())
    return known or cache.add(io.BytesIO(data), limit=max(MAX_CONFIG, MAX_DOCUMENT), name=name)


def read_cached(cache: Cache, digest: str, limit: int) -> bytes | None:
    """Return the document with that digest (``sha256:HEX``) if the cache has it and it is at most ``limit`` bytes."""
    known = cache.get(digest.removeprefix("sha256:"))
    return known.path.read_bytes() if known is not None and known.size <= limit else None
