"""What the serials of a release say together: the numbers follow one another, and so do the days of signing. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from . import layout
from .index import PublishedContents, PublishedManifest
from .layout import ManifestKey

#: What the verifier allows for clocks (DESIGN section 8), between two of which nobody knows which one is wrong.
_CLOCKS = timedelta(hours=24)


def signed_too_early(published: PublishedContents) -> Iterator[tuple[PublishedManifest, str]]:
    """Give each serial that was signed before the serial which it follows, and say so."""
    releases = sorted(published.manifests, key=lambda record: (record.kubernetes, record.name, record.serial))
    for before, after in itertools.pairwise(releases):
        if (before.kubernetes, before.name) != (after.kubernetes, after.name):
            continue
        if datetime.fromisoformat(before.signed_at) - datetime.fromisoformat(after.signed_at) > _CLOCKS:
            then = f"was signed on {after.signed_at}, before serial {before.serial}, signed on {before.signed_at}"
            yield after, then


def gaps(keys: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Give the pointers of releases between whose serials some are not there, and say which.

    ``keys`` are those of the manifests that are there, whether they verify or not.
    """
    serials: dict[str, set[int]] = {}
    for key in keys:
        what = layout.read_key(key)
        if isinstance(what, ManifestKey) and what.serial is not None:
            serials.setdefault(layout.manifest(what.kubernetes, what.name), set()).add(what.serial)
    for pointer, there in serials.items():
        for low, high in itertools.pairwise(sorted(there)):
            if high == low + 2:
                yield pointer, f"has no serial {low + 1}"
            elif high > low + 2:
                yield pointer, f"has no serials {low + 1} to {high - 1}"
