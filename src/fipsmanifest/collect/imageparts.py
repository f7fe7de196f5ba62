"""The parts of an image that an archive or an earlier run has: an OCI layout, ``docker save``, the cache."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from ..archive.decompress import reader
from ..archive.limits import DEFAULT
from ..archive.member import Content
from ..archive.paths import normalise, shown
from ..errors import Incomplete, Refused
from ..fetch.cache import BLOCK, Cache, CachedFile
from ..oci.document import DOCKER_LAYER, MAX_CONFIG, MAX_DOCUMENT, UNKNOWN_SIZE, Descriptor, parse_config
from ..oci.store import Store
from .imageplatform import read_cached

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


class Layout:
    """The parts of an image in an OCI layout (OCI image specification, image-layout.md)."""

    def __init__(self, store: Store, cache: Cache) -> None:
        self._store = store
        self._cache = cache

    def has(self, descriptor: Descriptor) -> bool:
        """Return whether the archive has the manifest."""

        return self._store.has(blob_path(descriptor.digest))

    def document(self, descriptor: Descriptor) -> bytes:
        """Return a manifest. Raises as `Origin.document`."""

        data = read_document(self._store, blob_path(descriptor.digest))
        _check(f"sha256:{hashlib.sha256(data).hexdigest()}", len(data), descriptor, self._store.name)
        return data

    def blob(self, descriptor: Descriptor, limit: int | None) -> CachedFile:
        """Return a configuration or layer. Raises as `Origin.blob`."""

        with self._store.open(blob_path(descriptor.digest)) as content:
            bound = descriptor.size if limit is None else min(descriptor.size, limit)
            name = f"{self._store.name}: {descriptor.digest}"
            known = _kept(content, descriptor, self._cache, limit=bound, name=name)
        _check(f"sha256:{known.sha256}", known.size, descriptor, self._store.name)
        return known


class Saved:
    """The layers of an image of ``docker save``, by their diff_ids."""

    def __init__(self, store: Store, cache: Cache, image: SavedImage, config: bytes) -> None:
        self._store = store
        self._cache = cache
        diff_ids = parse_config(config, f"{store.name}: {image.config}").diff_ids
        if len(diff_ids) != len(image.layers):
            raise Refused(
                f"{store.name}: {image.config} has {len(diff_ids)} layers, and manifest.json {len(image.layers)}.",
                _ADVICE,
                reason="malformed-image",
            )
        self._paths = dict(zip(diff_ids, image.layers, strict=True))

    def check(self) -> None:
        """Raise `Refused` where a layer is not the one that the configuration names."""
        for diff_id in self._paths:
            self.blob(Descriptor(diff_id, UNKNOWN_SIZE, DOCKER_LAYER), None)

    @property
    def layers(self) -> tuple[str, ...]:
        """Where the layers are that are read: of two with the same diff_id, one."""
        return tuple(inside(path, self._store.name) for path in self._paths.values())

    def document(self, descriptor: Descriptor) -> bytes:
        """Return a manifest. Raises as `Origin.document`."""

        raise Refused(f"{self._store.name} has no manifest {descriptor.digest}.", _ADVICE, reason="malformed-image")

    def blob(self, descriptor: Descriptor, limit: int | None) -> CachedFile:
        """Return a configuration or layer. Raises as `Origin.blob`."""

        path = self._paths[descriptor.digest]
        bound = DEFAULT.expanded if limit is None else limit
        name = f"{self._store.name}: {shown(path)}"
        with self._store.open(inside(path, self._store.name)) as content:
            # Some tools save layers compressed, though the name of the layer is that of the expanded bytes.
            known = _kept(reader(content, limit=bound, name=name), descriptor, self._cache, limit=bound, name=name)
        _check(f"sha256:{known.sha256}", known.size, descriptor, name)
        return known


class NotCached(Incomplete):
    """A part of an image is not in the cache."""


class Cached:
    """The parts of an image that an earlier run left in the cache."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def document(self, descriptor: Descriptor) -> bytes:
        """Return a manifest. Raises as `Origin.document`."""

        data = read_cached(self._cache, descriptor.digest, MAX_DOCUMENT)
        if data is None:
            raise NotCached(descriptor.digest)
        return data

    def blob(self, descriptor: Descriptor, limit: int | None) -> CachedFile:
        """Return a configuration or layer. Raises as `Origin.blob`."""

        known = self._cache.get(descriptor.digest.removeprefix("sha256:"))
        if known is None or (limit is not None and known.size > limit):
            raise NotCached(descriptor.digest)
        return known


def _kept(content: Content, descriptor: Descriptor, cache: Cache, *, limit: int, name: str) -> CachedFile:
    """Return ``content`` as a file of the cache.

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
        raise Refused(
            f"{name}: the file for {descriptor.digest} has the digest {digest}.", _ADVICE, reason="digest-mismatch"
        )
    if descriptor.size not in (size, UNKNOWN_SIZE):
        raise Refused(
            f"{name}: {descriptor.digest} has {size} bytes; it must have {descriptor.size}.",
            _ADVICE,
            reason="digest-mismatch",
        )


def blob_path(digest: str) -> str:
    """Return where an OCI layout keeps the blob of that digest (image-layout.md)."""
    return f"/blobs/sha256/{digest.removeprefix('sha256:')}"


def inside(name: str, archive: str) -> str:
    """Return the path in an archive that a document of it names. Raises `Refused` for one that leads out."""
    return normalise(name, "/", archive)


def read_document(store: Store, path: str, *, single: bool = False) -> bytes:
    """Return a document; ``single`` refuses one that readers of the archive may take from different members."""
    with store.open(path) as content:
        data = content.read(MAX_CONFIG + 1)
    if single:
        store.require_single(path)
    if len(data) > MAX_CONFIG:
        raise Refused(f"{store.name}: {shown(path)} is longer than {MAX_CONFIG} bytes.", _ADVICE, reason="too-large")
    return data
