"""Create the records of published manifests: verify each, and compare it with the serial before it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from ..errors import NotTrusted
from ..model.identity import ManifestId
from . import layout
from .bucket import Stored
from .consumer import Consumer, StoredManifest, read_manifest
from .describe import describe
from .index import PublishedManifest

#: More threads than cores, since small remote objects are limited by latency.
THREADS = 8

T = TypeVar("T")


def in_parallel(call: Callable[[str], T], keys: Iterable[str]) -> Iterator[tuple[str, T]]:
    """Call for each key from several threads; yield keys and results in order, keeping only a few at once."""
    keys = list(keys)
    if len(keys) < 2:
        yield from ((key, call(key)) for key in keys)
        return
    with ThreadPoolExecutor(THREADS) as pool:
        under_way: deque[tuple[str, Future[T]]] = deque()
        for key in keys:
            if len(under_way) == 2 * THREADS:
                first, result = under_way.popleft()
                yield first, result.result()
            under_way.append((key, pool.submit(call, key)))
        for key, result in under_way:
            yield key, result.result()


@dataclass(frozen=True, slots=True)
class _Read:
    """A verified manifest with its signed file."""

    data: bytes
    signed: StoredManifest


class Recorder:
    """Creates the records of manifests; `refused` lists those that do not verify.

    ``indexed`` are the records of an index. They are used without reading the manifests again, unless their signer is
    no longer trusted or they now follow another serial. The index carries no trust, and neither do the results.
    """

    def __init__(
        self,
        read: Callable[[str], Stored | None],
        consumer: Consumer,
        indexed: Mapping[str, PublishedManifest] | None = None,
    ) -> None:
        self._object = read
        self._consumer = consumer
        self._indexed = indexed or {}
        self.refused: list[tuple[str, NotTrusted]] = []

    def records(self, keys: Iterable[str]) -> Iterator[PublishedManifest]:
        """Yield the records of the manifests in ``keys`` that verify, ordered by serial; other keys are skipped."""
        last: PublishedManifest | None = None
        document: StoredManifest | None = None
        manifests = {key: what for key in keys if isinstance(what := layout.read_key(key), ManifestId)}
        for key, found in in_parallel(self._resolve, sorted(manifests, key=lambda key: manifests[key])):
            if found is None:
                continue
            if last is not None and last.id.release != manifests[key].release:
                last = document = None
            if isinstance(found, PublishedManifest) and found.since != (last.serial if last else 0):
                found = self._verified(key)
                if found is None:
                    continue
            if isinstance(found, PublishedManifest):
                last, document = found, None
            else:
                if last is not None and document is None:
                    before = self._verified(last.key)
                    document = before.signed if before else None
                last = describe(key, manifests[key].name, found.data, found.signed, document)
                document = found.signed
            yield last

    def _resolve(self, key: str) -> PublishedManifest | _Read | None:
        indexed = self._indexed.get(key)
        return (
            indexed
            if indexed is not None and self._consumer.trusts(indexed.fingerprint, "manifest")
            else self._verified(key)
        )

    def _verified(self, key: str) -> _Read | None:
        what = layout.read_key(key)
        stored = self._object(key)
        if stored is None or not isinstance(what, ManifestId):
            return None
        try:
            signed = read_manifest(stored.data, self._consumer, what)
        except NotTrusted as error:
            self.refused.append((key, error))
            return None
        return _Read(stored.data, signed)
