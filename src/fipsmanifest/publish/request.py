"""The request to publish manifests and a tool."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from ..model.identity import ManifestId
from . import layout


@dataclass(frozen=True, slots=True)
class ManifestToPublish:
    """A signed manifest to publish."""

    id: ManifestId
    signed: bytes
    """The cleartext-signed file."""
    sigstore: bytes | None = None
    """The Sigstore bundle of these bytes; None if it was not signed for cosign."""

    @property
    def key(self) -> str:
        """The key of the object, which never changes."""
        return layout.manifest(self.id)


@dataclass(frozen=True, slots=True)
class ToolToPublish:
    """A node tool to publish."""

    version: str
    """``0.1.0``."""
    data: bytes
    """The single-file tool."""
    signature: bytes
    """Its armored detached signature."""
    sigstore: bytes | None = None
    """Its Sigstore bundle; None if it was not signed for cosign."""

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
