"""The identity of a manifest: its version, name and serial."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class ReleaseId:
    """What identifies a release for one operating system: all serials of one manifest."""

    kubernetes: str
    """``v1.21.3``."""
    name: str
    """``rhel8``, in ``manifest-rhel8.json``."""

    def __str__(self) -> str:
        """Return its form in messages and files: ``v1.21.3/rhel8``."""
        return f"{self.kubernetes}/{self.name}"

    def issue(self, serial: int) -> ManifestId:
        """Return the identity of the manifest with this serial."""
        return ManifestId(self.kubernetes, self.name, serial)


@dataclass(frozen=True, slots=True, order=True)
class ManifestId:
    """What identifies one issue of a manifest."""

    kubernetes: str
    """``v1.21.3``."""
    name: str
    """``rhel8``, in ``manifest-rhel8.json``."""
    serial: int
    """1, 2, ..."""

    @property
    def release(self) -> ReleaseId:
        """What it is an issue of."""
        return ReleaseId(self.kubernetes, self.name)
