"""The identity of a manifest: its version, name and serial."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class ManifestId:
    """What identifies one issue of a manifest."""

    kubernetes: str
    """``v1.21.3``."""
    name: str
    """``rhel8``, in ``manifest-rhel8.json``."""
    serial: int
    """1, 2, ..."""
