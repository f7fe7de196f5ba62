"""The image of one manifest: its configuration and layers, each digest and size checked, in the cache."""

from __future__ import annotations

import hashlib
import io
from concurrent.futures import ThreadPoolExecutor

from ..archive.paths import shown
from ..errors import Incomplete, Refused
from ..fetch.cache import Cache, CachedFile
from ..model import architecture
from ..model.artifact import Blob, ImagePlatform
from ..oci.document import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    MAX_CONFIG,
    MAX_DOCUMENT,
    UNKNOWN_SIZE,
    Descriptor,
    Manifest,
    NotAnImage,
    parse,
    parse_config,
)
from ..oci.kind import Origin, check_layers, read_config
from ..oci.platform import architecture_of

#: Layers of one image fetched at a time.
_PARALLEL = 3

DO_NOT_USE = "Do not use this image; ask those who publish it."


class NotForLinux(Incomplete):
    """An image whose configuration says another system, and whose index says none."""

    reason = "wrong-platform"

    def __init__(self, name: str, system: str) -> None:
        super().__init__(f"{name} is made for {shown(system)}, not for linux.", "Choose another image.")
        self.why = f"made for {shown(system)}"


def read_platform(
    data: bytes, origin: Origin, cache: Cache, name: str, entry: Descriptor | None = None
) -> ImagePlatform:
    """Return the image of a manifest. ``entry`` is what an index says of it, where every image is wanted."""
    manifest = parse(data, name)
    if not isinstance(manifest, Manifest):
        raise Refused(f"{name} has an index within its index.", DO_NOT_USE, reason="malformed-image")
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


def read_saved_platform(data: bytes, file: CachedFile, origin: Origin, name: str) -> ImagePlatform:
    """Return the image of a configuration that ``docker save`` wrote without a manifest."""
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


def keep(cache: Cache, data: bytes, name: str) -> CachedFile:
    """Return ``data`` as a file of the cache."""
    known = cache.get(hashlib.sha256(data).hexdigest())
    return known or cache.add(io.BytesIO(data), limit=max(MAX_CONFIG, MAX_DOCUMENT), name=name)


def read_cached(cache: Cache, digest: str, limit: int) -> bytes | None:
    """Return the document with that digest (``sha256:HEX``) if the cache has it and it is at most ``limit`` bytes."""
    known = cache.get(digest.removeprefix("sha256:"))
    return known.path.read_bytes() if known is not None and known.size <= limit else None
