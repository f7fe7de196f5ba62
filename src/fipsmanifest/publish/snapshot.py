"""Read a bucket: one listing, and only those objects that a plan needs.

The order matters with concurrent publishers: the index is read before the listing. If another publisher adds an object
after the listing, it also replaces the index, and the index token that was read here is no longer current.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from ..errors import Conflict, NotTrusted, ValidationFailed
from ..model.identity import ManifestId, ReleaseId
from . import bundles, index, layout
from .bucket import Bucket, Entry, NotAnObject, Stored
from .consumer import Consumer, StoredManifest, VerifiedSignature, read_manifest, read_tool, tool_signer
from .index import Published, PublishedBundle, PublishedManifest
from .layout import ToolKey
from .page import is_written_with
from .records import Recorder, in_parallel

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a bucket when it was read."""

    address: str
    """The bucket's address, for messages."""
    entries: Mapping[str, Entry]
    """The listing of ``tool/``, by key."""
    objects: Mapping[str, Stored]
    """The objects that were read, by key."""
    published: index.PublishedContents
    """The published objects that verify, or did when the index was written."""
    gone: Mapping[str, Published]
    """The records of objects that the index lists, that are not stored and were not withdrawn, by key."""
    left_out: tuple[str, ...]
    """Sentences about objects with a manifest's or tool's key that are not valid."""

    def serials(self, release: ReleaseId) -> tuple[int, ...]:
        """Return the stored and the withdrawn serials of a release, the highest first."""
        return _serials([*self.entries, *self.published.withdrawn], release)

    def manifest(self, wanted: ManifestId, consumer: Consumer) -> tuple[bytes, StoredManifest] | None:
        """Return a manifest, signed file and content, if its object was read, else None.

        Raises `NotTrusted` if it does not verify.
        """
        key = layout.manifest(wanted)
        stored = self.objects.get(key)
        if stored is None:
            return None
        return stored.data, _verified(stored, key, self.address, consumer)


def read_snapshot(
    bucket: Bucket, consumer: Consumer, manifests: Iterable[str] = (), tool_version: str | None = None
) -> Snapshot:
    """Read what a plan for these manifests (keys with serial) and this tool version needs.

    Raises `Incomplete` if the bucket cannot be read.
    """
    objects: dict[str, Stored] = {}
    for key in (layout.INDEX_JSON, layout.INDEX_HTML):
        if (stored := bucket.get(key)) is not None:
            objects[key] = stored
    entries = {entry.key: entry for entry in bucket.list(layout.ROOT)}
    reader = _Reader(bucket, entries, objects)
    pointers = {key: _pointer(key) for key in manifests}
    reader.read([*pointers, *pointers.values()])
    for key, pointer in pointers.items():
        if key not in objects or pointer not in objects or objects[key].data != objects[pointer].data:
            reader.read(_serial_keys(entries, pointer))
    if tool_version is not None:
        # Of two objects with the same content the first is read, so the versioned files come first.
        reader.read(_tool_files(tool_version, None))
        reader.read(_tool_files(_pointed_version(objects)))
    published, left_out = _contents(bucket, consumer, entries, objects)
    # Another publisher may have been stopped before it moved the pointers: they are read in any case.
    for pointer, record in index.newest(published).items():
        try:
            reader.read(_behind(entries, {pointer: record.key}))
        except NotAnObject as error:
            if pointer in pointers.values():
                raise
            left_out += (f"{pointer}: {error.message}",)
    if published.tools:
        version = published.tools[0].version
        reader.read(_behind(entries, dict(zip(_tool_files(None), _tool_files(version), strict=True))))
    if not _tool_pointers_are_known(objects):
        reader.read(key for key in entries if isinstance(layout.read_key(key), ToolKey))
    requested = pointers if tool_version is None else {**pointers, layout.tool(tool_version): layout.tool()}
    left_out += tuple(_read_bundles(reader, _bundle_keys(entries, requested, published)))
    gone, withdrawn = missed(objects.get(layout.INDEX_JSON), entries, consumer)
    published = replace(published, withdrawn=withdrawn)
    _log.debug("snapshot of %s: %d objects, %d of them read", bucket.describe(), len(entries), len(objects))
    return Snapshot(bucket.describe(), entries, objects, published, gone, left_out)


def missed(
    indexed: Stored | None, entries: Collection[str], consumer: Consumer
) -> tuple[dict[str, Published], tuple[str, ...]]:
    """Return the records of missing objects by key, and the keys of withdrawn objects that are not stored.

    An object is missing if ``index.json`` lists it and it is not stored, also if the page was not written with that
    index. Objects that a revoked key signed are not missed, nor are bundles without the object that they sign.
    """
    remembered = _remembered(indexed)
    withdrawn = tuple(key for key in remembered.withdrawn if key not in entries)
    gone = {
        key: record
        for key, record in index.objects(remembered).items()
        if key not in entries and key not in withdrawn and _is_missed(record, entries, consumer)
    }
    return gone, withdrawn


def _is_missed(record: Published, entries: Collection[str], consumer: Consumer) -> bool:
    if isinstance(record, PublishedBundle):
        return record.of in entries
    return consumer.trusts(record.fingerprint, "manifest" if isinstance(record, PublishedManifest) else "tool")


def _remembered(indexed: Stored | None) -> index.PublishedContents:
    try:
        return index.read(indexed.data) if indexed is not None else index.PublishedContents()
    except Conflict:
        return index.PublishedContents()


def published_manifest(
    bucket: Bucket, wanted: ManifestId | ReleaseId, consumer: Consumer
) -> tuple[bytes, StoredManifest] | None:
    """Return a manifest, or the newest of a release, as signed file and verified manifest; None if it is not published.

    Raises `NotTrusted` if it does not verify, `Incomplete` if the bucket cannot be read.
    """
    if isinstance(wanted, ReleaseId):
        layout.pointer(wanted)
        keys = [entry.key for entry in bucket.list(layout.manifests(wanted.kubernetes))]
        serials = _serials(keys, wanted)
        if not serials:
            return None
        wanted = wanted.issue(serials[0])
    key = layout.manifest(wanted)
    stored = bucket.get(key)
    if stored is None:
        return None
    return stored.data, _verified(stored, key, bucket.describe(), consumer)


def _verified(stored: Stored, key: str, address: str, consumer: Consumer) -> StoredManifest:
    """Verify the manifest under ``key``. Raises `NotTrusted` that names key and bucket."""
    what = layout.read_key(key)
    if not isinstance(what, ManifestId | ReleaseId):
        raise NotTrusted(
            f"{key} in {address} is not the key of a manifest.", "Run `fipsmanifest audit` to see what is published."
        )
    try:
        return read_manifest(stored.data, consumer, what)
    except NotTrusted as error:
        raise NotTrusted(f"{key} in {address}: {error.message}", error.advice, error.reason) from error


def withdrawn_from(bucket: Bucket) -> frozenset[str]:
    """Return the keys of withdrawn objects from ``index.json``; they cannot be published again."""
    return frozenset(_remembered(bucket.get(layout.INDEX_JSON)).withdrawn)


def published_tool_signer(version: str, there: Snapshot, consumer: Consumer) -> VerifiedSignature | None:
    """Return the signer of a published tool, if its files were read and its signature is valid, else None."""
    data, signature = (there.objects.get(layout.tool(version, suffix)) for suffix in ("", ".asc"))
    return tool_signer(data.data, signature.data, consumer, version) if data and signature else None


class _Reader:
    """Reads listed objects in parallel, and only one of several objects with the same bytes."""

    def __init__(self, bucket: Bucket, entries: Mapping[str, Entry], objects: dict[str, Stored]) -> None:
        self._bucket = bucket
        self._entries = entries
        self._objects = objects
        self._by_content: dict[tuple[str, int], Stored] = {}

    def read(self, keys: Iterable[str]) -> None:
        """Read the objects in ``keys`` that are listed and were not read yet."""
        unread = [key for key in dict.fromkeys(keys) if key in self._entries and key not in self._objects]
        first = {self._content(key): key for key in reversed(unread) if self._content(key) not in self._by_content}
        for key, stored in in_parallel(self._bucket.get, first.values()):
            if stored is not None:
                self._by_content[self._content(key)] = stored
        for key in unread:
            if (stored := self._by_content.get(self._content(key))) is not None:
                self._objects[key] = stored

    def _content(self, key: str) -> tuple[str, int]:
        return self._entries[key].content or (key, -1)


def _behind(entries: Mapping[str, Entry], targets: Mapping[str, str]) -> list[str]:
    """Return the pointers and their targets, unless the listing shows that every pointer is a copy of its target."""

    def is_copy(pointer: str, target: str) -> bool:
        stored = entries.get(pointer)
        return stored is not None and stored.content is not None and stored.content == entries[target].content

    if all(is_copy(pointer, target) for pointer, target in targets.items()):
        return []
    return [*targets, *targets.values()]


def _read_bundles(reader: _Reader, groups: Iterable[list[str]]) -> Iterator[str]:
    """Read bundles, and yield a sentence about each that cannot be read: none stops a publication."""
    for keys in groups:
        try:
            reader.read(keys)
        except NotAnObject as error:
            yield f"{keys[0]}: {error.message}"


def _bundle_keys(
    entries: Mapping[str, Entry], requested: Mapping[str, str], published: index.PublishedContents
) -> Iterator[list[str]]:
    """Yield the bundles to read: those of ``requested`` objects, and copies beside pointers that are not up to date.

    ``requested`` has the pointer that each object gets.
    """
    signed = {layout.sigstore(key): layout.sigstore(pointer) for key, pointer in requested.items()}
    yield from ([bundle] for bundle in signed)
    # A copy is of the object before, where that of the requested one is not stored yet.
    yield from ([copy] for bundle, copy in signed.items() if bundle not in entries)
    pointers = bundles.pointers(published)
    yield from (_behind(entries, {pointer: target}) for pointer, target in pointers.items())
    # A copy without a bundle that it is a copy of: what a plan may still create.
    yield from ([pointer] for pointer in bundles.pointer_keys(published) if pointer not in pointers)


def _pointer(key: str) -> str:
    what = layout.read_key(key)
    return layout.pointer(what.release) if isinstance(what, ManifestId) else key


def _serial_keys(entries: Mapping[str, Entry], pointer: str) -> list[str]:
    return [key for key in entries if key != pointer and _pointer(key) == pointer]


def _tool_files(*versions: str | None) -> list[str]:
    return [layout.tool(version, suffix) for version in versions for suffix in layout.TOOL_SUFFIXES]


def _pointed_version(objects: Mapping[str, Stored]) -> str | None:
    """Return the version in the sidecar pointer; None if it was not read or is malformed."""
    try:
        return layout.read_sidecar(objects[layout.tool(None, ".sha256")].data).version
    except (KeyError, ValidationFailed):
        return None


def _tool_pointers_are_known(objects: Mapping[str, Stored]) -> bool:
    """Return whether every tool pointer is a copy of a file that was read."""
    for suffix in layout.TOOL_SUFFIXES:
        pointer = objects.get(layout.tool(None, suffix))
        if pointer is not None and not any(
            stored.data == pointer.data
            for key, stored in objects.items()
            if isinstance(parsed := layout.read_key(key), ToolKey) and parsed.version and parsed.suffix == suffix
        ):
            return False
    return True


def _serials(keys: Iterable[str], release: ReleaseId) -> tuple[int, ...]:
    parsed = map(layout.read_key, keys)
    serials = (what.serial for what in parsed if isinstance(what, ManifestId) and what.release == release)
    return tuple(sorted(serials, reverse=True))


def _contents(
    bucket: Bucket, consumer: Consumer, entries: Mapping[str, Entry], objects: Mapping[str, Stored]
) -> tuple[index.PublishedContents, tuple[str, ...]]:
    """Return the published contents, and sentences about objects that do not verify.

    Objects that never change are not read again if the index lists them.
    """
    indexed = _indexed(objects)
    left_out: list[str] = []

    def read(key: str) -> Stored | None:
        try:
            return objects.get(key) or bucket.get(key)
        except NotAnObject as error:
            left_out.append(f"{key}: {error.message}")
            return None

    def tool(version: str) -> index.PublishedTool | None:
        if not all(key in entries for key in _tool_files(version)):
            return None
        size = entries[layout.tool(version)].size
        for record in indexed.tools:
            if (record.version, record.size) == (version, size) and consumer.trusts(record.fingerprint, "tool"):
                return record
        data, sidecar, signature = (
            stored.data if (stored := read(layout.tool(version, suffix))) else b"" for suffix in ("", ".sha256", ".asc")
        )
        sha256 = hashlib.sha256(data).hexdigest()
        try:
            signer = read_tool(data, signature, consumer, version)
        except NotTrusted as error:
            left_out.append(f"{layout.tool(version)}: {error.message}")
            return None
        if sidecar != layout.sidecar(version, sha256):
            left_out.append(f"{layout.tool(version, '.sha256')}: it is not the tool's SHA-256 file.")
            return None
        return index.PublishedTool(version, sha256, size, signer.fingerprint)

    parsed = {key: layout.read_key(key) for key in entries}
    keys = [key for key, what in parsed.items() if isinstance(what, ManifestId)]
    versions = {what.version for what in parsed.values() if isinstance(what, ToolKey) and what.version}
    listed = {
        item.key: item
        for item in indexed.manifests
        if item.key in entries and item.key not in indexed.outdated and _agrees(item, entries, objects)
    }
    recorder = Recorder(read, consumer, listed)
    manifests = list(recorder.records(keys))
    tools = [record for _, record in in_parallel(tool, sorted(versions)) if record is not None]
    signed = index.contents(manifests, tools)
    found, refused = bundles.records(entries, signed, indexed.bundles, read, consumer)
    left_out += [f"{key}: {error.message}" for key, error in (*recorder.refused, *refused)]
    return replace(signed, bundles=tuple(found)), tuple(sorted(set(left_out)))


def _agrees(record: index.PublishedManifest, entries: Mapping[str, Entry], objects: Mapping[str, Stored]) -> bool:
    """Return whether a record matches the stored object, by size, and by digest if it was read."""
    stored = objects.get(record.key)
    read = stored is None or hashlib.sha256(stored.data).hexdigest() == record.sha256
    return read and entries[record.key].size == record.size


def _indexed(objects: Mapping[str, Stored]) -> index.PublishedContents:
    """Return the contents of the index; empty if the page was not written with it.

    Then one of the two files was changed, or their publisher was stopped between them.
    """
    indexed, page = objects.get(layout.INDEX_JSON), objects.get(layout.INDEX_HTML)
    if indexed is None or page is None or not is_written_with(page.data, indexed.data):
        return index.PublishedContents()
    return _remembered(indexed)
