"""What every kind of source needs to be collected."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ..fetch.cache import Cache
from ..fetch.http import Http
from ..fetch.mirror import Mirrors
from ..progress import SILENT, Progress
from ..state.lock import Pin


class VerifySignature(Protocol):
    """Checks a detached OpenPGP signature against the upstream keys of the trust directory."""

    def __call__(self, data: bytes, signature: bytes, fingerprints: tuple[str, ...] | None, /) -> str:
        """Return the full fingerprint of the key that signed ``data``.

        ``fingerprints`` are those that may sign; None permits every upstream key that is trusted. Raises `Refused`
        where the signature is wrong or its key is not one of them, `Incomplete` where gpg is missing.
        """


@dataclass(frozen=True, slots=True)
class Context:
    """The outside world as collecting sees it; safe to use from several threads."""

    http: Http
    """The downloader; it has `cache` too."""
    cache: Cache
    """Where files land."""
    mirrors: Mirrors
    """Where they are fetched from."""
    verify_signature: VerifySignature
    """Who signed a package or a repository."""
    base: Path
    """The definition's directory: paths in a definition are relative to it."""
    pins: tuple[Pin, ...] = ()
    """What the lock says; what it pins and the cache has is taken from there without a request."""
    progress: Progress = field(default=SILENT)
    """Where to report to."""

    def address(self, url: str) -> str:
        """Return where the definition's ``url`` is fetched from: through the mirrors, a path relative to `base`."""
        fetched = self.mirrors.rewrite(url)
        if fetched == url and "://" not in url:
            return str(self.base / url)
        return fetched

    def pinned(self, address: str, names: Iterable[str]) -> Pin | None:
        """Return the lock's pin of something at or below ``address`` that has one of ``names``."""
        wanted = set(names)
        below = address.rstrip("/") + "/"
        for pin in self.pins:
            if pin.name in wanted and (pin.address == address or pin.address.startswith(below)):
                return pin
        return None
