"""Audit the Sigstore bundles beside manifests and tools."""

from __future__ import annotations

from dataclasses import replace

from .. import bundles, index
from ..layout import SigstoreKey
from .finding import NOT_TRUSTED
from .walk import AuditWalk


def check_bundles(walk: AuditWalk, contents: index.PublishedContents) -> index.PublishedContents:
    """Check each bundle that never changes, then the copies beside the pointers. Return the contents with the bundles.

    A bundle of an object that is refused itself is not reported in addition.
    """
    found, refused = bundles.records(walk.entries, contents, (), walk.read, walk.consumer)
    for key, error in refused:
        walk.found(key, "bundle", f"does not hold: {error.message.rstrip('.')}", NOT_TRUSTED)
    for key, what in walk.parsed.items():
        if isinstance(what, SigstoreKey) and what.of not in walk.entries:
            walk.found(key, "bundle", "is not beside the object that it signs")
    if found and not walk.consumer.cosign_keys:
        count = f"{len(found)} Sigstore bundle{'s are' if len(found) > 1 else ' is'}"
        walk.note(found[0].key, f"{count} not verified: the trust directory has no cosign key (*.pub).")
    contents = replace(contents, bundles=tuple(found))
    _pointers(walk, contents)
    return contents


def _pointers(walk: AuditWalk, contents: index.PublishedContents) -> None:
    """Compare the bundle beside each pointer with that of the newest serial or tool."""
    targets = bundles.pointers(contents)
    for pointer in bundles.pointer_keys(contents):
        target = targets.get(pointer)
        if target is None:
            if pointer in walk.entries:
                walk.found(pointer, "pointer", "is of an older object than the pointer beside it", advice=_SIGN_AGAIN)
            continue
        copy, original = walk.get(pointer), walk.read(target)
        if copy is not None and original is not None and copy.data != original.data:
            walk.found(pointer, "pointer", f"is not a copy of {target}")


_SIGN_AGAIN = "Publish the newest with --cosign-key, or remove it by hand if cosign is no longer used."
