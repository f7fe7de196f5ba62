"""How much of an archive is read before it is taken for an attack."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on one archive; the defaults are some ten times what Kubernetes packages and images need."""

    expanded: int = 16 << 30
    """Bytes after decompression, headers and padding included."""
    members: int = 500_000
    """Entries of any type."""


DEFAULT = Limits()
