"""Container images from their registries, and the image that a reference resolves to, wherever it comes from.

On the way from the reference over index (`imageindex`), manifest and configuration to the layers (`imageplatform`),
every digest and size is checked.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ..errors import FipsManifestError, Incomplete, Refused
from ..fetch.cache import Cache, CachedFile
from ..fetch.http import Http
from ..fetch.mirror import Mirrors
from ..model.artifact import Artifact, ImagePlatform, SkippedPart
from ..model.definition import Definition, Images
from ..oci.document import (
    MAX_DOCUMENT,
    Descriptor,
    Index,
    Manifest,
    parse,
)
from ..oci.kind import Origin
from ..oci.registry import Reference, Registry, mirrored, parse_reference
from .context import Context
from .imageindex import Candidates, Walk, list_platforms
from .imageplatform import DO_NOT_USE, keep, read_cached, read_platform, read_saved_platform

_log = logging.getLogger(__name__)


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
        platforms: tuple[ImagePlatform, ...] = (read_platform(fetched.data, origin, cache, text),)
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

    ``architectures`` (RPM names) are those that the image must have, None for a single manifest of any.
    ``media_type`` is what ``data`` was announced as. ``saved`` says that ``data`` is a configuration: ``docker save``
    keeps no manifest, and its references resolve to configurations (image IDs), which then replace both; its layers
    are uncompressed and named by their diff_ids. Raises as `jobs`.
    """
    top = keep(cache, data, name)
    index = None
    if saved:
        platforms: tuple[ImagePlatform, ...] = (read_saved_platform(data, top, origin, name),)
    else:
        document = parse(data, name, media_type)
        manifests = [data]
        if isinstance(document, Index):
            index = f"sha256:{top.sha256}"
            candidates = Candidates(document, origin, name)
            manifests = [origin.document(candidates.choose(wanted)) for wanted in architectures or ()]
        platforms = tuple(read_platform(manifest, origin, cache, name) for manifest in manifests)
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


def _check_platforms(platforms: tuple[ImagePlatform, ...], architectures: tuple[str, ...], name: str) -> None:
    found = [platform.architecture for platform in platforms]
    missing = [wanted for wanted in architectures if wanted not in found]
    if missing:
        raise Incomplete(
            f"{name} is not made for {', '.join(missing)}.",
            f"It is made for: {list_platforms(found)}.",
            reason="wrong-platform",
        )
    if found != [wanted for wanted in architectures if wanted in found]:
        raise Refused(
            f"{name} says of its platforms what their configurations deny: {list_platforms(found)}.",
            DO_NOT_USE,
            reason="ambiguous-image",
        )
