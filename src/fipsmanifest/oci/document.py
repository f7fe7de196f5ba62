"""The documents of a container image: index, manifest and configuration, read strictly.

OCI image specification (image-index.md, manifest.md, config.md) and Docker's image manifest version 2, schema 2. What
is not named there is refused: a document that can be read in two ways means one image here and another one on a node.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import Any

from ..archive.paths import shown
from ..errors import Refused
from . import strictjson as imagejson
from .strictjson import check_keys, load_json

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
#: A layer of ``docker save``: uncompressed, and so named by its diff_id.
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"

INDEXES = (OCI_INDEX, DOCKER_LIST)
MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST)
#: docker 1.10 called a configuration the first of the others; docker takes them all (``distribution/registry.go``).
CONFIGS = (OCI_CONFIG, DOCKER_CONFIG, "application/octet-stream", "application/json", "text/html", "")
LAYERS = (
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    DOCKER_LAYER,
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
)

#: Bytes of an index or manifest (what registries and containerd accept), and of a configuration.
MAX_DOCUMENT = 4 << 20
MAX_CONFIG = 16 << 20

#: The size of a layer of which only the diff_id is known.
UNKNOWN_SIZE = -1

_MAX_ENTRIES = 1000
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_ADVICE = "Do not use this image; ask those who publish it."


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a document says of another one, or of a layer."""

    digest: str
    """``sha256:HEX``."""
    size: int
    """Bytes, or `UNKNOWN_SIZE`."""
    media_type: str
    """As it is stored."""
    os: str | None = None
    """In an index: Go's name of the operating system."""
    architecture: str | None = None
    """In an index: Go's name of the architecture."""
    variant: str | None = None
    """In an index: ``v8`` and the like."""
    names: tuple[str, ...] = ()
    """In the index of a layout: what the image is called there."""
    attests: bool = False
    """In an index: an attestation of another entry, as BuildKit marks them (its ``attestation-storage.md``)."""

    announced: bool = False
    """In an index: whether it says a platform at all."""

    @property
    def is_foreign(self) -> bool:
        """Return whether it is a layer that is distributed apart from its image."""
        return ".foreign." in self.media_type or ".nondistributable." in self.media_type


class NotAnImage(Refused):
    """A manifest of something else than an image: a chart, a signature, a list of components."""

    reason = "not-an-image"

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what} is not a container image: {why}.", _ADVICE)
        self.why = f"not a container image: {why}"


@dataclass(frozen=True, slots=True)
class Index:
    """One image for several platforms."""

    media_type: str
    """OCI index or Docker manifest list."""
    manifests: tuple[Descriptor, ...]
    """Its entries in their order."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image for one platform."""

    media_type: str
    """OCI or Docker schema 2."""
    config: Descriptor
    """Its configuration."""
    layers: tuple[Descriptor, ...]
    """Lowest first."""


@dataclass(frozen=True, slots=True)
class Config:
    """What is needed of an image configuration."""

    os: str
    """Go's name."""
    architecture: str
    """Go's name."""
    diff_ids: tuple[str, ...]
    """Digests of the uncompressed layers (``sha256:HEX``), lowest first."""


def parse(data: bytes, what: str, media_type: str | None = None) -> Index | Manifest:
    """Read an index or a manifest.

    ``what`` is what errors call it, ``media_type`` what it was announced as, if it was. A manifest may be that of
    another artifact than an image: its configuration and layers are of any type. Raises `Refused` for anything that is
    not plainly one of the two.
    """
    document = _object(data, what, imagejson.INDEX_OR_MANIFEST)
    version = document.get("schemaVersion")
    if version == 1 or any(key.casefold() == "fslayers" for key in document):
        raise Refused(
            f"{what} is a Docker schema 1 manifest, which does not name the image's configuration by a digest.",
            "Push the image again with a current tool.",
            reason="unsupported-format",
        )
    if not document.keys() & {"manifests", "layers", "config"}:
        raise NotAnImage(what, "it is neither an image index nor an image manifest")
    if type(version) is not int or version != 2:
        raise Refused(
            f"{what} is of version {shown(str(version))} of its format, not of version 2.",
            _ADVICE,
            reason="unsupported-format",
        )
    is_index = "manifests" in document
    if is_index == ("layers" in document or "config" in document):
        # CVE-2021-41190: a document that is both is one image to one runtime, and another to the next.
        raise Refused(f"{what} is an image index and an image manifest at once.", _ADVICE, reason="ambiguous-image")
    declared = document.get("mediaType", media_type)
    allowed = INDEXES if is_index else MANIFESTS
    if declared is None:
        declared = allowed[0]
    if declared not in allowed or (media_type in INDEXES + MANIFESTS and media_type != declared):
        is_declared = f"its mediaType is {shown(str(declared))}"
        other = f"it is served as {media_type}"
        if declared not in allowed:
            other = f"its content is that of an image {'index' if is_index else 'manifest'}"
        raise Refused(f"{what} is ambiguous: {is_declared}, and {other}.", _ADVICE, reason="ambiguous-image")
    if is_index:
        return Index(declared, _descriptors(document, "manifests", what))
    return Manifest(declared, _descriptor(document.get("config"), what), _descriptors(document, "layers", what))


def parse_config(data: bytes, what: str) -> Config:
    """Read an image configuration. Raises `Refused` where it does not name its layers.

    One that does not say its system is for the node's own, as containerd takes it (``platforms.Normalize``).
    """
    document = _object(data, what, imagejson.CONFIG)
    system, machine = document.get("os", ""), document.get("architecture", "")
    rootfs = document.get("rootfs")
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(rootfs, dict) or not isinstance(diff_ids, list):
        raise Refused(f"{what} is not an image configuration.", _ADVICE, reason="malformed-image")
    check_keys(rootfs, imagejson.ROOTFS, what)
    if not isinstance(system, str) or not isinstance(machine, str):
        raise Refused(f"{what} is not an image configuration.", _ADVICE, reason="malformed-image")
    if not all(isinstance(digest, str) and _DIGEST.fullmatch(digest) for digest in diff_ids):
        raise Refused(
            f"{what} names a layer by something that is not a SHA-256 digest.", _ADVICE, reason="malformed-image"
        )
    return Config(system.lower() or "linux", machine, tuple(diff_ids))


def is_config(data: bytes) -> bool:
    """Return whether a document is a configuration and not one of the others."""
    try:
        return "rootfs" in _object(data, "", imagejson.CONFIG)
    except Refused:
        return False


def _object(data: bytes, what: str, keys: frozenset[str]) -> dict[str, Any]:
    document = load_json(data, what)
    if not isinstance(document, dict):
        raise Refused(f"{what} is not a JSON object.", _ADVICE, reason="malformed-image")
    check_keys(document, keys, what)
    return document


def _descriptors(document: dict[str, Any], key: str, what: str) -> tuple[Descriptor, ...]:
    entries = document.get(key)
    if not isinstance(entries, list) or len(entries) > _MAX_ENTRIES:
        raise Refused(f"{what} has no list of {key}, or one beyond {_MAX_ENTRIES}.", _ADVICE, reason="malformed-image")
    return tuple(_descriptor(entry, what) for entry in entries)


def _descriptor(entry: object, what: str) -> Descriptor:
    if not isinstance(entry, dict):
        raise Refused(f"{what} has an entry that is not a descriptor.", _ADVICE, reason="malformed-image")
    check_keys(entry, imagejson.DESCRIPTOR, what)
    digest, size, media_type = entry.get("digest"), entry.get("size"), entry.get("mediaType")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise Refused(
            f"{what} names something by {shown(str(digest))}, which is not a SHA-256 digest.",
            _ADVICE,
            reason="malformed-image",
        )
    if type(size) is not int or not 0 <= size < 1 << 50 or not isinstance(media_type, str):
        raise Refused(f"{what} has no size or media type for {digest}.", _ADVICE, reason="malformed-image")
    platform = entry.get("platform")
    annotations = entry.get("annotations")
    if isinstance(platform, dict):
        check_keys(platform, imagejson.PLATFORM, what)
    _check_embedded(entry.get("data"), digest, size, what)
    return Descriptor(
        digest,
        size,
        media_type,
        _text(platform, "os"),
        _text(platform, "architecture"),
        _text(platform, "variant"),
        tuple(
            name
            for key in ("io.containerd.image.name", "org.opencontainers.image.ref.name")
            if (name := _text(annotations, key)) is not None
        ),
        _text(annotations, "vnd.docker.reference.type") == "attestation-manifest",
        isinstance(platform, dict),
    )


def _check_embedded(data: object, digest: str, size: int, what: str) -> None:
    """Raise `Refused` where a descriptor embeds other bytes than those it names (descriptor.md, "Embedded Content")."""
    if data is None:
        return
    try:
        embedded = base64.b64decode(data, validate=True) if isinstance(data, str) else b""
    except (binascii.Error, ValueError):
        embedded = b""
    if len(embedded) != size or f"sha256:{hashlib.sha256(embedded).hexdigest()}" != digest:
        raise Refused(f"{what} has embedded data that is not {digest}.", _ADVICE, reason="digest-mismatch")


def _text(table: object, key: str) -> str | None:
    value = table.get(key) if isinstance(table, dict) else None
    return value if isinstance(value, str) else None
