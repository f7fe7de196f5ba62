"""The request to publish manifests and a tool."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from . import layout


@dataclass(frozen=True, slots=True)
class ManifestToPublish:
    """A signed manifest to publish."""

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
        """The key of the object, which never changes."""
        return layout.manifest(self.kubernetes, self.name, self.serial)


@dataclass(frozen=True, slots=True)
class ToolToPublish:
    """A node tool to publish."""

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
    """The objects to publish; an empty request only updates the index and incomplete pointers."""

    manifests: tuple[ManifestToPublish, ...] = ()
    """One per name and version."""
    tool: ToolToPublish | None = None
    """None to keep the published tool."""
    withdrawn: tuple[str, ...] = ()
    """Keys of missing objects that are to be recorded as withdrawn."""
