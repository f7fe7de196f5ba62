"""What collecting gives: files on this disk whose digest is known and whose origin was checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["rpm", "tarball", "image"]


@dataclass(frozen=True, slots=True)
class Blob:
    """One content-addressed piece of an image."""

    digest: str
    """``sha256:HEX``, as the image names it; the file has been hashed and agrees."""
    size: int
    """Bytes."""
    media_type: str
    """As the image's manifest names it; says how a layer is compressed."""
    path: Path
    """Where it lies in the cache."""


@dataclass(frozen=True, slots=True)
class ImagePlatform:
    """One platform of an image: everything needed to name it and to unpack it."""

    architecture: str
    """RPM name (``x86_64``)."""
    manifest: Blob
    """The platform's own manifest document."""
    config: Blob
    """The image configuration document."""
    layers: tuple[Blob, ...]
    """Compressed layers, lowest first."""
    diff_ids: tuple[str, ...]
    """Digests of the uncompressed layers (``sha256:HEX``), lowest first, as the configuration claims them; whoever
    decompresses a layer checks them."""


@dataclass(frozen=True, slots=True)
class SkippedPart:
    """A part of an image that is not for Linux, so that nobody looks at it."""

    name: str
    """The image's reference with the part's digest."""
    why: str
    """What it is instead."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """One downloaded, authenticated thing: an RPM, a tarball or an image."""

    source: str
    """The definition's name of the source it came from."""
    kind: Kind
    """What it is."""
    name: str
    """NEVRA of a package, reference of an image, file name of a tarball."""
    address: str
    """Where the definition says it is, before any mirror: a URL, or an image reference."""
    sha256: str
    """Hex digest of the file; of an image, of the document that its reference resolves to."""
    size: int
    """Bytes of that file or document."""
    path: Path
    """That file or document in the cache."""
    architecture: str | None = None
    """RPM name; ``noarch`` packages are for any. None for images, whose platforms say it."""
    signed_by: str | None = None
    """Full fingerprint of the upstream key whose signature was checked, or None where upstream signs nothing."""
    unpack: str = "/"
    """Where on a node a tarball is unpacked."""
    index: str | None = None
    """``sha256:HEX`` of an image's index where its reference resolves to one."""
    platforms: tuple[ImagePlatform, ...] = ()
    """An image's chosen platforms; empty for anything else."""
