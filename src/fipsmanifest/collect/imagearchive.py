"""Container images from an archive, as air-gapped sites carry them: ``docker save`` and OCI layouts.

An archive is a folder or a tar, plain or compressed. Where it is an OCI layout (``index.json``; ``docker save`` since
version 25 writes one as well), a reference resolves to the index or manifest of that layout. Older ``docker save``
archives have only ``manifest.json``, which maps a name to a configuration and its uncompressed layers: nothing is made
up in place of the registry's manifest, the configuration stands for it (`image.assemble`).
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ..artifact import Artifact
from ..definition import Definition, ImageArchive
from ..errors import Incomplete, Refused, UsageError
from ..unpack.decompress import reader
from ..unpack.limits import DEFAULT
from ..unpack.member import Content
from ..unpack.paths import normalise, shown
from .cache import BLOCK, Cache, CachedFile
from .context import Context
from .image import assemble, read_cached
from .imagedocument import (
    INDEXES,
    MANIFESTS,
    MAX_CONFIG,
    MAX_DOCUMENT,
    UNKNOWN_SIZE,
    Descriptor,
    Index,
    is_config,
    load_json,
    parse,
    parse_config,
)
from .imagestore import FolderStore, Store, TarStore
from .registry import parse_reference
from .transport import local_path

_INDEX = "/index.json"
_SAVED = "/manifest.json"

_ADVICE = "Do not use this archive; ask those who made it."


@dataclass(frozen=True, slots=True)
class SavedImage:
    """An entry of ``manifest.json``."""

    names: tuple[str, ...]
    """Its names with their tags."""
    config: str
    """Path of its configuration."""
    layers: tuple[str, ...]
    """Paths of its layers, lowest first."""


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive that was opened: what is in it, by name."""

    store: Store
    """Its files."""
    index: Index | None
    """Of an OCI layout, what its ``index.json`` lists."""
    saved: tuple[SavedImage, ...]
    """Of ``docker save``, its entries."""

    @property
    def names(self) -> tuple[str, ...]:
        """Give every name in the archive."""
        listed = [name for entry in (self.index.manifests if self.index else ()) for name in entry.names[:1]]
        return tuple(dict.fromkeys([*listed, *(name for image in self.saved for name in image.names)]))


@dataclass(frozen=True, slots=True)
class Contents:
    """The images of an archive that can be looked through, and how much of it they are."""

    images: tuple[Artifact, ...]
    """In the archive's order, a platform each."""
    layers: frozenset[str]
    """Where in the archive their layers are. Of anything else nobody says what it is, programs maybe."""


def jobs(source: ImageArchive, definition: Definition, context: Context) -> list[Callable[[], Artifact]]:
    """Give one job for each reference of ``source``.

    Fetches and opens the archive, unless the lock and the cache already have every image. Raises `Refused` for an
    archive that is none or hostile, and as `Http.download`; a job raises `Incomplete` for a name that is not in the
    archive, and as `image.assemble`.
    """
    known = [_from_cache(source, reference, definition, context) for reference in source.references]
    if all(artifact is not None for artifact in known):
        return [partial(_given, artifact) for artifact in known if artifact is not None]
    address = context.address(source.url)
    path = local_path(address)
    if path is None or not path.is_dir():
        path = context.http.download(address, name=posixpath.basename(source.url)).path
    archive = open_archive(path, context.cache, name=posixpath.basename(source.url.rstrip("/")))
    return [
        partial(
            image_of,
            archive,
            reference,
            definition.architectures,
            context.cache,
            source=source.name,
            address=source.url,
        )
        for reference in source.references
    ]


def _given(artifact: Artifact) -> Artifact:
    return artifact


def open_archive(path: Path, cache: Cache, *, name: str = "") -> Archive:
    """Open the archive at ``path``, a folder or a tar; a compressed one is expanded into ``cache``.

    Raises `Refused` where it is neither an OCI layout nor of ``docker save``, `UsageError` where there is nothing.
    """
    name = name or path.name
    store: Store = FolderStore(path) if path.is_dir() else TarStore(_plain(path, cache, name), name)
    index = None
    if store.has(_INDEX):
        document = parse(_read(store, _INDEX), f"{name}: index.json")
        if not isinstance(document, Index):
            raise Refused(f"{name}: index.json is no image index.", _ADVICE)
        index = document
    saved = _saved_images(load_json(_read(store, _SAVED), f"{name}: manifest.json"), name) if store.has(_SAVED) else ()
    if index is None and not saved:
        raise Refused(
            f"{name} is no image archive: it has neither index.json nor manifest.json.",
            "Make one with 'docker save' or 'skopeo copy'.",
        )
    return Archive(store, index, saved)


def image_of(
    archive: Archive, reference: str, architectures: tuple[str, ...], cache: Cache, *, source: str, address: str
) -> Artifact:
    """Give the image that ``archive`` calls ``reference``.

    Raises `Incomplete` that says what there is, where there is no such name, `Refused` where two images have it, and
    as `image.assemble`.
    """
    listed = archive.index.manifests if archive.index else ()
    entries = {entry.digest: entry for entry in listed if _is(entry.names, reference)}
    saved = [image for image in archive.saved if _is(image.names, reference)]
    if len(entries) > 1 or (not entries and len(saved) > 1):
        raise Refused(f"{archive.store.name} has several images with the name {reference}.", _ADVICE)
    make = partial(assemble, source=source, name=reference, address=address, architectures=architectures, cache=cache)
    if entries:
        (entry,) = entries.values()
        layout = _Layout(archive.store, cache)
        return make(layout.document(entry), layout, media_type=entry.media_type)
    if saved:
        data = _read(archive.store, _inside(saved[0].config, archive.store.name))
        return make(data, _Saved(archive.store, cache, saved[0], data), saved=True)
    there = ", ".join(map(shown, archive.names[:20])) or "no names"
    raise Incomplete(f"{archive.store.name} has no image with the name {reference}.", f"It has: {there}.")


def images_in(archive: Archive, cache: Cache, address: str) -> Contents:
    """Give every image of ``archive`` for Linux whose parts are in it, a platform each, to look through.

    An index may well name platforms that the archive leaves out. Raises `Refused` where there is none, and as
    `image.assemble`.
    """
    layout = _Layout(archive.store, cache)
    make = partial(assemble, source="", address=address, architectures=None, cache=cache)
    found: list[Artifact] = []
    layers: set[str] = set()
    for entry, name in _present(archive, layout, archive.index, ""):
        image = make(layout.document(entry), layout, name=name)
        found.append(image)
        layers.update(_blob_path(layer.digest) for platform in image.platforms for layer in platform.layers)
    for saved in archive.saved if not found else ():
        data = _read(archive.store, _inside(saved.config, archive.store.name))
        name = saved.names[0] if saved.names else saved.config
        origin = _Saved(archive.store, cache, saved, data)
        found.append(make(data, origin, name=name, saved=True))
        layers.update(origin.layers)
    if not found:
        raise Refused(f"{archive.store.name} has no image for linux.", "Check that the archive is complete.")
    return Contents(tuple(found), frozenset(layers))


def _present(archive: Archive, layout: _Layout, index: Index | None, name: str) -> Iterator[tuple[Descriptor, str]]:
    """Give the manifests for Linux below ``index`` that are in the archive, with the image's name."""
    for entry in index.manifests if index is not None else ():
        called = name or (entry.names[0] if entry.names else entry.digest)
        if entry.os not in (None, "linux") or not archive.store.has(_blob_path(entry.digest)):
            continue
        if entry.media_type in MANIFESTS:
            yield entry, called
        elif entry.media_type in INDEXES and not name:
            document = parse(layout.document(entry), called, entry.media_type)
            yield from _present(archive, layout, document if isinstance(document, Index) else None, called)


class _Layout:
    """The parts of an image in an OCI layout (OCI image specification, image-layout.md)."""

    def __init__(self, store: Store, cache: Cache) -> None:
        self._store = store
        self._cache = cache

    def document(self, descriptor: Descriptor) -> bytes:
        data = _read(self._store, _blob_path(descriptor.digest))
        _check(f"sha256:{hashlib.sha256(data).hexdigest()}", len(data), descriptor, self._store.name)
        return data

    def blob(self, descriptor: Descriptor, limit: int | None) -> CachedFile:
        with self._store.open(_blob_path(descriptor.digest)) as content:
            bound = descriptor.size if limit is None else min(descriptor.size, limit)
            name = f"{self._store.name}: {descriptor.digest}"
            known = _kept(content, descriptor, self._cache, limit=bound, name=name)
        _check(f"sha256:{known.sha256}", known.size, descriptor, self._store.name)
        return known


class _Saved:
    """The layers of an image of ``docker save``, by their diff_ids."""

    def __init__(self, store: Store, cache: Cache, image: SavedImage, config: bytes) -> None:
        self._store = store
        self._cache = cache
        diff_ids = parse_config(config, f"{store.name}: {image.config}").diff_ids
        if len(diff_ids) != len(image.layers):
            raise Refused(
                f"{store.name}: {image.config} has {len(diff_ids)} layers, and manifest.json {len(image.layers)}.",
                _ADVICE,
            )
        self._paths = dict(zip(diff_ids, image.layers, strict=True))

    @property
    def layers(self) -> tuple[str, ...]:
        """Where the layers are that are read: of two with the same diff_id, one."""
        return tuple(_inside(path, self._store.name) for path in self._paths.values())

    def document(self, descriptor: Descriptor) -> bytes:
        raise Refused(f"{self._store.name} has no manifest {descriptor.digest}.", _ADVICE)

    def blob(self, descriptor: Descriptor, limit: int | None) -> CachedFile:
        path = self._paths[descriptor.digest]
        bound = DEFAULT.expanded if limit is None else limit
        name = f"{self._store.name}: {shown(path)}"
        with self._store.open(_inside(path, self._store.name)) as content:
            # Some tools save layers compressed, though the name of the layer is that of the expanded bytes.
            known = _kept(reader(content, limit=bound, name=name), descriptor, self._cache, limit=bound, name=name)
        _check(f"sha256:{known.sha256}", known.size, descriptor, name)
        return known


class _NotCached(Incomplete):
    """A part of an image is not in the cache."""


class _Cached:
    """The parts of an image that an earlier run left in the cache."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def document(self, descriptor: Descriptor) -> bytes:
        data = read_cached(self._cache, descriptor.digest, MAX_DOCUMENT)
        if data is None:
            raise _NotCached(descriptor.digest)
        return data

    def blob(self, descriptor: Descriptor, limit: int | None) -> CachedFile:
        known = self._cache.get(descriptor.digest.removeprefix("sha256:"))
        if known is None or (limit is not None and known.size > limit):
            raise _NotCached(descriptor.digest)
        return known


def _from_cache(source: ImageArchive, reference: str, definition: Definition, context: Context) -> Artifact | None:
    pin = context.pinned(source.url, [reference])
    data = read_cached(context.cache, f"sha256:{pin.sha256}", MAX_CONFIG) if pin is not None else None
    if data is None:
        return None
    try:
        return assemble(
            data,
            _Cached(context.cache),
            source=source.name,
            name=reference,
            address=source.url,
            architectures=definition.architectures,
            cache=context.cache,
            saved=is_config(data),
        )
    except _NotCached:
        return None


def _kept(content: Content, descriptor: Descriptor, cache: Cache, *, limit: int, name: str) -> CachedFile:
    """Give ``content`` as a file of the cache.

    It is read though the cache may have what it should be: of an archive that holds something else, nothing is known.
    """
    known = cache.get(descriptor.digest.removeprefix("sha256:"))
    if known is None:
        return cache.add(content, limit=limit, name=name)
    digest, size = hashlib.sha256(), 0
    while size <= limit and (data := content.read(BLOCK)):
        digest.update(data)
        size += len(data)
    return replace(known, sha256=digest.hexdigest(), size=size)


def _check(digest: str, size: int, descriptor: Descriptor, name: str) -> None:
    if digest != descriptor.digest:
        raise Refused(f"{name}: what is named {descriptor.digest} is {digest}.", _ADVICE)
    if descriptor.size not in (size, UNKNOWN_SIZE):
        raise Refused(f"{name}: {descriptor.digest} has {size} bytes; it must have {descriptor.size}.", _ADVICE)


def _blob_path(digest: str) -> str:
    return f"/blobs/sha256/{digest.removeprefix('sha256:')}"


def _inside(name: str, archive: str) -> str:
    return normalise(name, "/", archive)


def _is(names: tuple[str, ...], reference: str) -> bool:
    """Tell whether one of ``names`` is ``reference``, in the short form that docker writes or in full."""
    return any(name == reference or _in_full(name) == _in_full(reference) for name in names)


def _in_full(name: str) -> str:
    try:
        return parse_reference(name).text
    except UsageError:
        return name


def _read(store: Store, path: str) -> bytes:
    with store.open(path) as content:
        data = content.read(MAX_CONFIG + 1)
    if len(data) > MAX_CONFIG:
        raise Refused(f"{store.name}: {shown(path)} is longer than {MAX_CONFIG} bytes.", _ADVICE)
    return data


def _saved_images(document: object, name: str) -> tuple[SavedImage, ...]:
    images = []
    for entry in document if isinstance(document, list) else [None]:
        table = entry if isinstance(entry, dict) else {}
        config, layers, names = table.get("Config"), table.get("Layers"), table.get("RepoTags") or []
        if (
            not isinstance(config, str)
            or not isinstance(layers, list)
            or not isinstance(names, list)
            or not all(isinstance(text, str) for text in [*layers, *names])
        ):
            raise Refused(f"{name}: manifest.json is not the one of 'docker save'.", _ADVICE)
        images.append(SavedImage(tuple(names), config, tuple(layers)))
    return tuple(images)


def _plain(path: Path, cache: Cache, name: str) -> Path:
    try:
        with path.open("rb") as file:
            stream = reader(file, limit=DEFAULT.expanded, name=name)
            if stream.compression == "none":
                return path
            return cache.add(stream, limit=DEFAULT.expanded, name=name).path
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", "Check the path.") from error
