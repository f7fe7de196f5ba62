"""Check the sequence of a release's serials: their numbers and signing dates. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from ..model.identity import ManifestId
from . import layout
from .index import PublishedContents, PublishedManifest

#: The clock skew that the verifier tolerates (DESIGN section 8).
_CLOCKS = timedelta(hours=24)


def signed_too_early(published: PublishedContents) -> Iterator[tuple[PublishedManifest, str]]:
    """Yield each serial that was signed before its predecessor, with a description."""
    releases = sorted(published.manifests, key=lambda record: record.id)
    for before, after in itertools.pairwise(releases):
        if before.id.release != after.id.release:
            continue
        if datetime.fromisoformat(before.signed_at) - datetime.fromisoformat(after.signed_at) > _CLOCKS:
            then = f"was signed on {after.signed_at}, before serial {before.serial}, signed on {before.signed_at}"
            yield after, then


def gaps(keys: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield the pointer of each release with missing serials, and which serials are missing.

    ``keys`` are the keys of all stored manifests, including those that do not verify.
    """
    serials: dict[str, set[int]] = {}
    for key in keys:
        what = layout.read_key(key)
        if isinstance(what, ManifestId):
            serials.setdefault(layout.pointer(what.release), set()).add(what.serial)
    for pointer, there in serials.items():
        for low, high in itertools.pairwise(sorted(there)):
            if high == low + 2:
                yield pointer, f"has no serial {low + 1}"
            elif high > low + 2:
                yield pointer, f"has no serials {low + 1} to {high - 1}"
