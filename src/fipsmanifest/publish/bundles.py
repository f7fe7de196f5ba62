"""The Sigstore bundles beside manifests and tools: their records, and the plan for them.

A bundle is optional, and published after what it signs. It never stops a publication: one that does not verify is left
out of the index, and `audit` reports it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from ..errors import NotTrusted
from ..sign import cosign, sigstore
from . import index, layout
from .action import Action, Kind, Step, foreign, same
from .bucket import Entry, Stored
from .consumer import Consumer
from .index import PublishedBundle, PublishedContents
from .records import in_parallel


def check(data: bytes, sha256: str, consumer: Consumer) -> sigstore.Bundle:
    """Verify the bundle of an object with this digest (hex). Raises `NotTrusted`.

    If no cosign key is trusted here, only what the bundle says of itself is checked.
    """
    digest = bytes.fromhex(sha256)
    if consumer.cosign_keys:
        cosign.verify(data, digest, consumer.cosign_keys)
    bundle = sigstore.read(data)
    cosign.check_digest(bundle, digest)
    return bundle


def describe(key: str, data: bytes, sha256: str, consumer: Consumer) -> PublishedBundle:
    """Return the record of the bundle ``data`` of an object with this digest. Raises as `check`."""
    return PublishedBundle(key, len(data), sha256, check(data, sha256, consumer).hint)


def digests(contents: PublishedContents) -> dict[str, str]:
    """Return the digests (hex) of the objects that may have a bundle and never change, by key."""
    found = {record.key: record.sha256 for record in contents.manifests}
    return found | {layout.tool(record.version): record.sha256 for record in contents.tools}


def records(
    entries: Mapping[str, Entry],
    contents: PublishedContents,
    indexed: Iterable[PublishedBundle],
    read: Callable[[str], Stored | None],
    consumer: Consumer,
) -> tuple[list[PublishedBundle], list[tuple[str, NotTrusted]]]:
    """Return the records of the stored bundles of ``contents``, and why others are refused, each with its key.

    A record of the index is used without reading the bundle again, unless its key is no longer trusted.
    """
    signed = digests(contents)
    hints = {key.hint for key in consumer.cosign_keys}
    known = {record.key: record for record in indexed if not hints or record.hint in hints}
    refused: list[tuple[str, NotTrusted]] = []

    def resolve(key: str) -> PublishedBundle | None:
        of = key.removesuffix(sigstore.SUFFIX)
        record = known.get(key)
        if record is not None and (record.size, record.signs) == (entries[key].size, signed[of]):
            return record
        stored = read(key)
        try:
            return None if stored is None else describe(key, stored.data, signed[of], consumer)
        except NotTrusted as error:
            refused.append((key, error))
            return None

    keys = [key for key in map(layout.sigstore, signed) if key in entries]
    return [record for _, record in in_parallel(resolve, sorted(keys)) if record is not None], refused


def pointers(contents: PublishedContents) -> dict[str, str]:
    """Return the bundle that each pointer's bundle has to be a copy of: the keys of both."""
    published = {record.key for record in contents.bundles}
    return {pointer: target for pointer, target in pointer_keys(contents).items() if target in published}


def pointer_keys(contents: PublishedContents) -> dict[str, str]:
    """Return where each pointer's bundle belongs, and where that of what it is a copy of, published or not."""
    found = {pointer: record.key for pointer, record in index.newest(contents).items()}
    found |= {layout.tool(): layout.tool(tool.version) for tool in contents.tools[:1]}
    return {layout.sigstore(pointer): layout.sigstore(target) for pointer, target in found.items()}


def plan_file(
    signed: Action, ours: bytes | None, objects: Mapping[str, Stored], consumer: Consumer
) -> tuple[Action, PublishedBundle] | None:
    """Plan the bundle of an object that never changes, and return it with its record; None if there is none to publish.

    ``signed`` is the action for that object: its bytes may be those of another publisher, which ``ours`` does not sign.
    """
    key = layout.sigstore(signed.key)
    stored = objects.get(key)
    try:
        if stored is not None:
            return same(key, Step.BUNDLES, stored), describe(key, stored.data, signed.sha256, consumer)
        if ours is not None:
            create = Action(Kind.CREATE, key, Step.BUNDLES, ours, None, f"{len(ours)} bytes")
            return create, describe(key, ours, signed.sha256, consumer)
    except NotTrusted:
        pass
    return None


def plan_pointers(
    contents: PublishedContents,
    planned: Iterable[Action],
    objects: Mapping[str, Stored],
    entries: Collection[str],
    address: str,
) -> Iterator[Action]:
    """Plan the copies of the newest bundles beside the pointers. An object that is no bundle is a conflict."""
    created = {action.key: action.data for action in planned}
    for pointer, target in pointers(contents).items():
        stored = objects.get(target)
        data = created.get(target) or (stored.data if stored is not None else None)
        if data is None or (pointer in entries and pointer not in objects):
            # The listing shows that it is a copy already, or it could not be read.
            continue
        yield _pointer(pointer, data, objects.get(pointer), address)


def _pointer(key: str, data: bytes, stored: Stored | None, address: str) -> Action:
    step = Step.BUNDLE_POINTERS
    if stored is None:
        return Action(Kind.CREATE, key, step, data, None, f"{len(data)} bytes")
    if stored.data == data:
        return same(key, step, stored)
    try:
        sigstore.read(stored.data)
    except NotTrusted as error:
        return foreign(key, step, stored, address, error.message)
    return Action(Kind.MOVE, key, step, data, stored.token, "of the newest")
