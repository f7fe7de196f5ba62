"""Container images from their registries, and what images from anywhere have in common: the walk from a reference
over index, manifest and configuration to the layers, every digest and size on the way checked."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from .. import architecture
from ..artifact import Artifact, Blob, ImagePlatform, LeftOut
from ..definition import Definition, Images
from ..errors import Incomplete, Refused
from ..unpack.paths import shown
from .cache import Cache, CachedFile
from .context import Context
from .http import Http
from .imagedocument import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    MANIFESTS,
    MAX_CONFIG,
    MAX_DOCUMENT,
    UNKNOWN_SIZE,
    Descriptor,
    Index,
    Manifest,
    parse,
    parse_config,
)
from .mirror import Mirrors
from .registry import Reference, Registry, mirrored, parse_reference

#: Layers of one image fetched at a time.
_PARALLEL = 3

#: Entries of an index, and of those within it, that are followed; and how deep those may be.
_MOST_ENTRIES = 1000
_DEEPEST = 3

_ADVICE = "Do not use this image; ask those who publish it."


class Origin(Protocol):
    """Where an image's parts come from."""

    def document(self, descriptor: Descriptor) -> bytes:
        """Give a manifest that an index names. Raises `Refused` for another digest or size."""

    def blob(self, descriptor: Descriptor, limit: int | None) -> CachedFile:
        """Give a configuration or layer in the cache. Raises `Refused` for another digest or size."""


def jobs(source: Images, definition: Definition, context: Context) -> list[Callable[[], Artifact]]:
    """Give one job for each reference of ``source``.

    A job raises `Refused` for a document or layer that is not what it must be, `Incomplete` for one that cannot be
    had and for a platform that the image is not made for. Raises `UsageError` for what is no reference.
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
    left_out: tuple[LeftOut, ...]
    """What else its index lists."""


def pull(text: str, http: Http, cache: Cache, mirrors: Mirrors, note: Callable[[str], object] = str) -> Pulled:
    """Give the image that the reference ``text`` names, with all that a node could choose of it, to look through.

    Of an index that is every entry for Linux, whatever its machine, and every one that names no platform. Raises
    `UsageError` for what is no reference, `Refused` for an entry that is no image, and as `jobs`.
    """
    reference = parse_reference(text)
    written = mirrors.rewrite(text)
    served = mirrored(reference, written if written != text else mirrors.rewrite(reference.text))
    registry = Registry(http, note)
    fetched = registry.resolve(served)
    media_type = fetched.headers.get("Content-Type", "").partition(";")[0].strip() or None
    document = parse(fetched.data, text, media_type)
    origin = _Remote(registry, served, cache)
    left_out: list[LeftOut] = []
    if isinstance(document, Index):
        manifests = _Walk(origin, text, left_out).manifests(document)
    else:
        manifests = iter([fetched.data])
    platforms = tuple(_platform(manifest, origin, cache, text) for manifest in manifests)
    if not platforms:
        there = ", ".join(part.why for part in left_out[:20]) or "nothing"
        raise Incomplete(f"{text} is not made for linux.", f"Choose another image; in its index is: {there}.")
    top = keep(cache, fetched.data, text)
    index = f"sha256:{top.sha256}" if isinstance(document, Index) else None
    image = Artifact("", "image", text, text, top.sha256, top.size, top.path, index=index, platforms=platforms)
    return Pulled(image, tuple(left_out))


class _Walk:
    """The walk over an index, and those within it, to every manifest that Linux could choose."""

    def __init__(self, origin: Origin, name: str, left_out: list[LeftOut]) -> None:
        self._origin = origin
        self._name = name
        self._left_out = left_out
        self._entries = 0
        self._followed: set[str] = set()

    def manifests(self, index: Index, depth: int = 0) -> Iterator[bytes]:
        """Give each once; what is left out goes into the list. Raises `Refused` as `pull`."""
        self._entries += len(index.manifests)
        if self._entries > _MOST_ENTRIES or depth > _DEEPEST:
            raise Refused(f"{self._name} has more than {_MOST_ENTRIES} entries, or an index too deep in it.", _ADVICE)
        for entry in index.manifests:
            if why := _other_than_linux(entry):
                self._left_out.append(LeftOut(f"{self._name}@{entry.digest}", why))
            elif entry.digest not in self._followed:
                self._followed.add(entry.digest)
                data = self._origin.document(entry)
                document = parse(data, f"{self._name}: {entry.digest}", entry.media_type)
                if isinstance(document, Index):
                    yield from self.manifests(document, depth + 1)
                else:
                    yield data


def _other_than_linux(entry: Descriptor) -> str:
    """Say what an entry is that no Linux node would choose; nothing for any other.

    As containerd chooses (``platforms.Normalize``): upper case is lower, no system is the node's own.
    """
    system = (entry.os or "linux").lower()
    if system == "unknown" and entry.attests:
        return "an attestation"
    return "" if system in ("linux", "unknown") else f"made for {shown(system)}"


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
    """Give the image whose reference resolves to the document ``data``, with every part of it in the cache.

    ``architectures`` (RPM names) are those that the image must have, None for a single manifest of any of them.
    ``media_type`` is what ``data`` was announced as. ``saved`` says that ``data`` is a configuration: ``docker save``
    keeps no manifest, and its references resolve to configurations (image IDs), which then stand for both; its layers
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
            chosen = [choose(document, wanted, name) for wanted in architectures or ()]
            manifests = [origin.document(descriptor) for descriptor in chosen]
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


def choose(index: Index, wanted: str, name: str) -> Descriptor:
    """Give the entry of ``index`` for Linux on the architecture ``wanted`` (RPM name).

    Raises `Incomplete` that says what there is, where there is none.
    """
    fitting = [
        entry
        for entry in index.manifests
        if entry.os == "linux" and entry.architecture == architecture.to_oci(wanted) and entry.media_type in MANIFESTS
    ]
    if not fitting:
        there = _listed([f"{entry.os}/{entry.architecture}" for entry in index.manifests])
        raise Incomplete(f"{name} is not made for linux/{architecture.to_oci(wanted)}.", f"It is made for: {there}.")
    # containerd takes the plainest for a plain machine: no variant, and v8 for arm64, which is the same.
    return min(fitting, key=lambda entry: entry.variant not in (None, "", "v8"))


def _platform(data: bytes, origin: Origin, cache: Cache, name: str) -> ImagePlatform:
    manifest = parse(data, name)
    if not isinstance(manifest, Manifest):
        raise Refused(f"{name} has an index within its index.", _ADVICE)
    kept = keep(cache, data, name)
    config = origin.blob(manifest.config, MAX_CONFIG)
    return _complete(
        Blob(f"sha256:{kept.sha256}", kept.size, manifest.media_type, kept.path),
        Blob(manifest.config.digest, config.size, manifest.config.media_type, config.path),
        manifest.layers,
        origin,
        name,
    )


def _saved_platform(data: bytes, file: CachedFile, origin: Origin, name: str) -> ImagePlatform:
    config = Blob(f"sha256:{file.sha256}", file.size, DOCKER_CONFIG, file.path)
    diff_ids = parse_config(data, f"{name}: the configuration {config.digest}").diff_ids
    layers = tuple(Descriptor(digest, UNKNOWN_SIZE, DOCKER_LAYER) for digest in diff_ids)
    return _complete(config, config, layers, origin, name)


def _complete(manifest: Blob, config: Blob, layers: tuple[Descriptor, ...], origin: Origin, name: str) -> ImagePlatform:
    said = parse_config(config.path.read_bytes(), f"{name}: the configuration {config.digest}")
    if len(said.diff_ids) != len(layers):
        raise Refused(f"{name} has {len(layers)} layers, and its configuration {len(said.diff_ids)}.", _ADVICE)
    if said.os != "linux":
        raise Incomplete(f"{name} is made for {shown(said.os)}, not for linux.", "Choose another image.")
    # Threads of its own: a job that waited for others of the same pool could wait for ever.
    with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="layers") as pool:
        files = list(pool.map(lambda layer: origin.blob(layer, None), layers))
    return ImagePlatform(
        architecture.from_oci(said.architecture),
        manifest,
        config,
        tuple(
            Blob(layer.digest, file.size, layer.media_type, file.path)
            for layer, file in zip(layers, files, strict=True)
        ),
        said.diff_ids,
    )


def _check_platforms(platforms: tuple[ImagePlatform, ...], architectures: tuple[str, ...], name: str) -> None:
    found = [platform.architecture for platform in platforms]
    missing = [wanted for wanted in architectures if wanted not in found]
    if missing:
        raise Incomplete(f"{name} is not made for {', '.join(missing)}.", f"It is made for: {_listed(found)}.")
    if found != [wanted for wanted in architectures if wanted in found]:
        raise Refused(f"{name} says of its platforms what their configurations deny: {_listed(found)}.", _ADVICE)


def _listed(names: list[str]) -> str:
    return ", ".join(map(shown, names[:20])) or "nothing"


def keep(cache: Cache, data: bytes, name: str) -> CachedFile:
    """Give ``data`` as a file of the cache."""
    known = cache.get(hashlib.sha256(data).hexdigest())
    return known or cache.add(io.BytesIO(data), limit=max(MAX_CONFIG, MAX_DOCUMENT), name=name)


def read_cached(cache: Cache, digest: str, limit: int) -> bytes | None:
    """Give the document with that digest (``sha256:HEX``) where the cache has it and it is no longer than ``limit``."""
    known = cache.get(digest.removeprefix("sha256:"))
    return known.path.read_bytes() if known is not None and known.size <= limit else None
