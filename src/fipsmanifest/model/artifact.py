"""The result of collection: files on this disk with known digests and authenticated origins."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["rpm", "tarball", "image"]


@dataclass(frozen=True, slots=True)
class Blob:
    """One content-addressed piece of an image."""

    digest: str
    """``sha256:HEX``, as in the image; the file was hashed and matches."""
    size: int
    """Bytes."""
    media_type: str
    """As in the image's manifest; for a layer, it includes the compression."""
    path: Path
    """Its file in the cache."""


@dataclass(frozen=True, slots=True)
class ImagePlatform:
    """One platform of an image, with all that is needed to identify and unpack it."""

    architecture: str
    """RPM name (``x86_64``)."""
    manifest: Blob
    """The manifest document of the platform."""
    config: Blob
    """The image configuration document."""
    layers: tuple[Blob, ...]
    """Compressed layers, lowest first."""
    diff_ids: tuple[str, ...]
    """Digests of the uncompressed layers (``sha256:HEX``), lowest first, as the configuration states them; they are
    checked when a layer is decompressed."""


@dataclass(frozen=True, slots=True)
class SkippedPart:
    """A part of an image that is not inspected, because it is not for Linux, or not as what it is."""

    name: str
    """The image's reference with the part's digest."""
    why: str
    """What it is."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """One downloaded and authenticated package, tarball or image."""

    source: str
    """The name of its source in the definition."""
    kind: Kind
    """Its kind."""
    name: str
    """NEVRA of a package, reference of an image, file name of a tarball."""
    address: str
    """The address in the definition, not of a mirror: a URL, or an image reference."""
    sha256: str
    """Hex digest of the file, or of the document that an image's reference resolves to."""
    size: int
    """Bytes of that file or document."""
    path: Path
    """The file or document in the cache."""
    architecture: str | None = None
    """RPM name; ``noarch`` for packages of any architecture, None for images, whose platforms have it."""
    signed_by: str | None = None
    """Full fingerprint of the upstream key whose signature was verified; None if upstream does not sign."""
    unpack: str = "/"
    """The directory on a node into which a tarball is unpacked."""
    index: str | None = None
    """``sha256:HEX`` of an image's index, if its reference resolves to one."""
    platforms: tuple[ImagePlatform, ...] = ()
    """An image's chosen platforms; empty for anything else."""
