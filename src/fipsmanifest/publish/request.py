"""What is to be published."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from . import layout


@dataclass(frozen=True, slots=True)
class ManifestToPublish:
    """A signed manifest that is to be published."""

    kubernetes: str
    """``v1.21.3``."""
    name: str
    """``rhel8``."""
    serial: int
    """1, 2, ..."""
    signed: bytes
    """The cleartext-signed file."""

    @property
    def key(self) -> str:
        """Where it is to lie for good."""
        return layout.manifest(self.kubernetes, self.name, self.serial)


@dataclass(frozen=True, slots=True)
class ToolToPublish:
    """A node tool that is to be published."""

    version: str
    """``0.1.0``."""
    data: bytes
    """The single-file tool."""
    signature: bytes
    """Its armored detached signature."""

    @property
    def sha256(self) -> str:
        """The tool's digest, hex."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True, slots=True)
class PublishRequest:
    """What is to be published; with neither, only the index is brought up to date."""

    manifests: tuple[ManifestToPublish, ...] = ()
    """One per name and version."""
    tool: ToolToPublish | None = None
    """None where the published tool stays as it is."""
    withdrawn: tuple[str, ...] = ()
    """Keys of objects that were published, are gone, and are to be missed no more."""
