"""Container images from an archive, as air-gapped sites carry them: ``docker save``, OCI layouts, skopeo's ``dir:``.

An archive is a directory or a tar, plain or compressed. Where it is an OCI layout (``index.json``; ``docker save``
since version 25 writes one as well), a reference resolves to the index or manifest of that layout. Older ``docker
save`` archives have only ``manifest.json``, which maps a name to a configuration and its uncompressed layers: no
manifest is invented in place of the registry's; the configuration identifies the image (`image.assemble`).

An archive that has both is read by some tools in one way and by others in the other one: the two must describe the same
images.
"""

from __future__ import annotations

import hashlib
import logging
import posixpath
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ..archive.decompress import reader
from ..archive.limits import DEFAULT, Budget, size_of
from ..archive.open import may_describe_images
from ..archive.paths import shown
from ..errors import FipsManifestError, Incomplete, Refused, UsageError
from ..fetch.address import local_path
from ..fetch.cache import Cache
from ..model.artifact import Artifact, ImagePlatform, SkippedPart
from ..model.definition import Definition, ImageArchive
from ..oci.document import MAX_CONFIG, OCI_INDEX, Descriptor, Index, Manifest, is_config, parse
from ..oci.registry import parse_reference
from ..oci.store import DirectoryStore, Store, TarStore, TransportStore
from ..oci.strictjson import SAVED_IMAGE, check_keys, load_json
from .context import Context
from .image import assemble
from .imageindex import Walk
from .imageparts import Cached, Layout, NotCached, Saved, SavedImage, blob_path, inside, read_document
from .imageplatform import NotForLinux, read_cached

_log = logging.getLogger(__name__)

_INDEX = "/index.json"
_SAVED = "/manifest.json"

_ADVICE = "Do not use this archive; ask those who made it."

#: How deep indexes may be within that of an archive.
_DEEPEST = 3
#: Entries of all of them together: hundreds of images for a dozen platforms each.
_MOST_ENTRIES = 20_000


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
        """Return every name in the archive."""
        listed = [name for entry in (self.index.manifests if self.index else ()) for name in entry.names[:1]]
        return tuple(dict.fromkeys([*listed, *(name for image in self.saved for name in image.names)]))


@dataclass(frozen=True, slots=True)
class Contents:
    """The images of an archive that can be looked through, and how much of it they are."""

    images: tuple[Artifact, ...]
    """In the archive's order, a platform each."""
    left_out: tuple[SkippedPart | FipsManifestError, ...]
    """What else the archive lists: what it is instead of an image for Linux, or why it cannot be looked through."""
    parts: frozenset[str]
    """Where in the archive the configurations and layers are of which all images are among `images`.

    Anything else may be programs: what one image hides in a layer, another one that is left out may show.
    """


def jobs(source: ImageArchive, definition: Definition, context: Context) -> list[Callable[[], Artifact]]:
    """Return one job for each reference of ``source``.

    Fetches and opens the archive, unless the lock and the cache already have every image. Raises `Refused` for a file
    that is not an archive or is hostile, and as `Http.download`; a job raises `Incomplete` for a name that is not in
    the archive, and as `image.assemble`.
    """
    known = [_from_cache(source, reference, definition, context) for reference in source.references]
    if all(artifact is not None for artifact in known):
        return [partial(_given, artifact) for artifact in known if artifact is not None]
    address = context.address(source.url)
    path = local_path(address)
    if path is None or not path.is_dir():
        path = context.http.download(address, name=posixpath.basename(source.url)).path
    name = posixpath.basename(source.url.rstrip("/"))
    budget = Budget(name)
    budget.grow(size_of(path))
    with budget.active():
        archive = open_archive(path, context.cache, name=name)
    return [
        partial(
            budget.run,
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
    """Open the archive at ``path``, a directory or a tar; a compressed one is expanded into ``cache``.

    Raises `Refused` where it is neither an OCI layout nor of ``docker save``, `UsageError` where there is nothing.
    """
    name = name or path.name
    _log.debug("opening the image archive %s", path)
    store: Store = DirectoryStore(path) if path.is_dir() else TarStore(_plain(path, cache, name), name)
    index = None
    if store.has(_INDEX):
        document = parse(read_document(store, _INDEX, single=True), f"{name}: index.json")
        if not isinstance(document, Index):
            raise Refused(f"{name}: index.json is not an image index.", _ADVICE, reason="malformed-image")
        index = document
    elif (found := _transport(store)) is not None:
        return found
    saved = _saved_images(store, name) if store.has(_SAVED) else ()
    if index is None and not saved:
        raise Refused(
            f"{name} is not an image archive: it has neither index.json nor manifest.json.",
            "Make one with 'docker save' or 'skopeo copy'.",
            reason="wrong-format",
        )
    if index is not None:
        _check_same_images(index, saved, store, cache)
    return Archive(store, index, saved)


def _transport(store: Store) -> Archive | None:
    """Return an archive of skopeo's ``dir:``; None for any other, whose ``manifest.json`` is no index or manifest."""
    data = read_document(store, _SAVED, single=True) if store.has(_SAVED) else b""
    if data.lstrip()[:1] != b"{" or not may_describe_images(data):
        return None
    document = parse(data, f"{store.name}: manifest.json")
    digest = hashlib.sha256(data).hexdigest()
    entry = Descriptor(f"sha256:{digest}", len(data), document.media_type)
    return Archive(TransportStore(store, digest), Index(OCI_INDEX, (entry,)), ())


def describes_images(path: Path, cache: Cache, name: str) -> bool:
    """Return whether a tool may load images from the tar at ``path``. Raises as `open_archive` for a bad tar."""
    store = TarStore(_plain(path, cache, name), name)
    for document in (_INDEX, _SAVED):
        if store.has(document):
            with store.open(document) as content:
                if may_describe_images(content.read(MAX_CONFIG + 1)):
                    return True
    return False


def _check_same_images(index: Index, saved: Sequence[SavedImage], store: Store, cache: Cache) -> None:
    """Raise `Refused` where ``manifest.json`` describes another image than ``index.json``, or calls it differently."""
    if not saved:
        return
    layout = Layout(store, cache)
    manifests: dict[str, Manifest] = {}
    named: dict[str, set[str]] = {}
    known: dict[str, dict[str, Manifest]] = {}
    for entry in index.manifests:
        below = {manifest.config.digest: manifest for manifest in _manifests(layout, entry, known).values()}
        manifests |= below
        for name in entry.names:
            named.setdefault(_in_full(name), set()).update(below)
    for image in saved:
        data = read_document(store, inside(image.config, store.name), single=True)
        config = f"sha256:{hashlib.sha256(data).hexdigest()}"
        other = [name for name in image.names if config not in named.get(_in_full(name), {config})]
        if config not in manifests or other:
            called = ", ".join(map(shown, other or image.names)) or "an image"
            raise Refused(
                f"{store.name}: manifest.json says that {called} has the configuration {config}, and index.json says "
                "something else.",
                f"Tools would load different images from it. {_ADVICE}",
                reason="ambiguous-image",
            )
        layers = manifests[config].layers
        paths = [inside(path, store.name) for path in image.layers]
        if paths != [blob_path(layer.digest) for layer in layers]:
            Saved(store, cache, image, data).check()


def _manifests(
    layout: Layout, entry: Descriptor, known: dict[str, dict[str, Manifest]], depth: int = 0
) -> dict[str, Manifest]:
    """Return the manifests that an entry of an index leads to, by their digest.

    ``known`` are those of other entries. `images_in` says what is wrong with what cannot be read.
    """
    if entry.digest in known:
        return known[entry.digest]
    found: dict[str, Manifest] = {}
    try:
        document = parse(layout.document(entry), entry.digest) if depth <= _DEEPEST and layout.has(entry) else None
    except Refused:
        document = None
    if isinstance(document, Manifest):
        found[entry.digest] = document
    for below in document.manifests if isinstance(document, Index) else ():
        found |= _manifests(layout, below, known, depth + 1)
    known[entry.digest] = found
    return found


def image_of(
    archive: Archive, reference: str, architectures: tuple[str, ...], cache: Cache, *, source: str, address: str
) -> Artifact:
    """Return the image that ``archive`` calls ``reference``.

    Raises `Incomplete` with the names that exist if there is no such name, `Refused` if two images have it, and
    as `image.assemble`.
    """
    listed = archive.index.manifests if archive.index else ()
    entries = {entry.digest: entry for entry in listed if _is(entry.names, reference)}
    saved = [image for image in archive.saved if _is(image.names, reference)]
    if len(entries) > 1 or (not entries and len(saved) > 1):
        raise Refused(
            f"{archive.store.name} has several images with the name {reference}.", _ADVICE, reason="ambiguous-image"
        )
    make = partial(assemble, source=source, name=reference, address=address, architectures=architectures, cache=cache)
    if entries:
        (entry,) = entries.values()
        layout = Layout(archive.store, cache)
        return make(layout.document(entry), layout, media_type=entry.media_type)
    if saved:
        data = read_document(archive.store, inside(saved[0].config, archive.store.name), single=True)
        return make(data, Saved(archive.store, cache, saved[0], data), saved=True)
    there = ", ".join(map(shown, archive.names[:20])) or "no names"
    raise Incomplete(
        f"{archive.store.name} has no image with the name {reference}.", f"It has: {there}.", reason="not-found"
    )


def images_in(archive: Archive, cache: Cache, address: str) -> Contents:
    """Return every image of ``archive`` for Linux whose parts are in it, a platform each, to look through.

    An index may name platforms that the archive leaves out. An archive without any such image, or with one that is
    damaged, has that as an error beside the rest. Raises `Refused` for an index that no honest tool makes.
    """
    listed = tuple(
        _indexed_images(archive, cache, address) if archive.index else _saved_contents(archive, cache, address)
    )
    images = [(image, paths) for image, paths in listed if isinstance(image, Artifact)]
    left_out: list[SkippedPart | FipsManifestError] = [item for item, _ in listed if not isinstance(item, Artifact)]
    if not images and not any(isinstance(item, FipsManifestError) for item in left_out):
        left_out.append(
            Refused(
                f"{archive.store.name} has no image for linux.",
                "Check that the archive is complete.",
                reason="wrong-platform",
            )
        )
    judged = frozenset(path for _, paths in images for path in paths)
    artifacts = tuple(image for image, _ in images)
    return Contents(artifacts, tuple(left_out), judged.difference(_other_layers(archive, artifacts, cache)))


def _other_layers(archive: Archive, images: Sequence[Artifact], cache: Cache) -> Iterator[str]:
    """Yield where the layers are of all images that the archive lists and that are not among ``images``."""
    platforms = [platform for image in images for platform in image.platforms]
    manifests = {platform.manifest.digest for platform in platforms}
    configs = {platform.config.digest for platform in platforms}
    layout = Layout(archive.store, cache)
    known: dict[str, dict[str, Manifest]] = {}
    for entry in archive.index.manifests if archive.index else ():
        for digest, manifest in _manifests(layout, entry, known).items():
            if digest not in manifests:
                yield from (blob_path(layer.digest) for layer in manifest.layers)
    for saved in archive.saved:
        try:
            data = read_document(archive.store, inside(saved.config, archive.store.name))
            if f"sha256:{hashlib.sha256(data).hexdigest()}" not in configs:
                yield from (inside(path, archive.store.name) for path in saved.layers)
        except Refused:  # it has no such file, which `_saved_contents` reports
            continue


_Listed = tuple[Artifact | SkippedPart | FipsManifestError, Sequence[str]]


def _indexed_images(archive: Archive, cache: Cache, address: str) -> Iterator[_Listed]:
    """Yield what ``index.json`` lists, images with the paths of their parts."""
    walk = Walk(Layout(archive.store, cache), cache, most=_MOST_ENTRIES, rest_is_read=True)
    for entry in archive.index.manifests if archive.index else ():
        name = entry.names[0] if entry.names else entry.digest
        for part in walk.entry(entry, name):
            if not isinstance(part, ImagePlatform):
                yield replace(part, name=f"{address}: {part.name}") if isinstance(part, SkippedPart) else part, ()
                continue
            manifest = part.manifest
            sha256 = manifest.digest.removeprefix("sha256:")
            image = Artifact("", "image", name, address, sha256, manifest.size, manifest.path, platforms=(part,))
            yield image, [blob_path(blob.digest) for blob in (part.config, *part.layers)]


def _saved_contents(archive: Archive, cache: Cache, address: str) -> Iterator[_Listed]:
    """Yield what ``manifest.json`` lists, images with the paths of their parts."""
    for saved in archive.saved:
        name = saved.names[0] if saved.names else saved.config
        try:
            data = read_document(archive.store, inside(saved.config, archive.store.name), single=True)
            origin = Saved(archive.store, cache, saved, data)
            image = assemble(
                data, origin, source="", name=name, address=address, architectures=None, cache=cache, saved=True
            )
        except NotForLinux as error:
            yield SkippedPart(f"{address}: {name}", error.why), ()
        except FipsManifestError as error:
            yield error, ()
        else:
            yield image, [inside(saved.config, archive.store.name), *origin.layers]


def _from_cache(source: ImageArchive, reference: str, definition: Definition, context: Context) -> Artifact | None:
    pin = context.pinned(source.url, [reference])
    data = read_cached(context.cache, f"sha256:{pin.sha256}", MAX_CONFIG) if pin is not None else None
    if data is None:
        return None
    try:
        return assemble(
            data,
            Cached(context.cache),
            source=source.name,
            name=reference,
            address=source.url,
            architectures=definition.architectures,
            cache=context.cache,
            saved=is_config(data),
        )
    except NotCached:
        return None


def _is(names: tuple[str, ...], reference: str) -> bool:
    """Return whether one of ``names`` is ``reference``, in the short form that docker writes or in full."""
    return any(name == reference or _in_full(name) == _in_full(reference) for name in names)


def _in_full(name: str) -> str:
    try:
        return parse_reference(name).text
    except UsageError:
        return name


def _saved_images(store: Store, name: str) -> tuple[SavedImage, ...]:
    document = load_json(read_document(store, _SAVED, single=True), f"{name}: manifest.json")
    images = []
    for entry in document if isinstance(document, list) else [None]:
        table = entry if isinstance(entry, dict) else {}
        check_keys(table, SAVED_IMAGE, f"{name}: manifest.json")
        config, layers, names = table.get("Config"), table.get("Layers"), table.get("RepoTags") or []
        if (
            not isinstance(config, str)
            or not isinstance(layers, list)
            or not isinstance(names, list)
            or not all(isinstance(text, str) for text in [*layers, *names])
        ):
            raise Refused(
                f"{name}: manifest.json is not in the form of 'docker save'.", _ADVICE, reason="malformed-image"
            )
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
