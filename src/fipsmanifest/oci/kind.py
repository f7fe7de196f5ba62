"""What a manifest is: an image that some runtime would run, or another artifact, whatever it calls itself."""

from __future__ import annotations

from typing import Protocol

from ..archive.decompress import reader
from ..archive.limits import DEFAULT
from ..archive.paths import shown
from ..archive.tar import is_header
from ..errors import Refused
from ..fetch.cache import CachedFile
from .document import CONFIGS, LAYERS, Config, Descriptor, Manifest, NotAnImage, parse_config

#: What the types of an image's layers begin with, those included that only extensions of runtimes unpack: encrypted
#: ones, images of file systems.
_OF_IMAGES = ("application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.")

#: Bytes of a tar's first block, by which a tar is recognized.
_BLOCK = 512

_ADVICE = "Do not use this image; ask those who publish it."


class Origin(Protocol):
    """Where an image's parts come from."""

    def document(self, descriptor: Descriptor) -> bytes:
        """Return a manifest that an index names. Raises `Refused` for another digest or size."""

    def blob(self, descriptor: Descriptor, limit: int | None) -> CachedFile:
        """Return a configuration or layer in the cache. Raises `Refused` for another digest or size."""


class Browsable(Origin, Protocol):
    """An origin of whose parts some may be missing, as in an archive of one platform."""

    def has(self, descriptor: Descriptor) -> bool:
        """Return whether the manifest that an index names is there."""


def read_config(data: bytes, manifest: Manifest, name: str) -> Config:
    """Return the configuration of an image.

    The types that a manifest names do not decide what it is: containerd runs any whose configuration has a ``rootfs``
    with a digest for each layer, docker and podman any whose configuration is of a type that they know. Raises
    `NotAnImage` for what neither would run, `Refused` for an image that is damaged.
    """
    other = NotAnImage(name, f"its configuration is {shown(manifest.config.media_type)}")
    is_image = manifest.config.media_type in CONFIGS
    try:
        said = parse_config(data, f"{name}: the configuration {manifest.config.digest}")
    except Refused as error:
        raise error if is_image else other from error
    if len(said.diff_ids) != len(manifest.layers) or not (manifest.layers or is_image):
        if not is_image:
            raise other
        raise Refused(
            f"{name} has {len(manifest.layers)} layers, and its configuration lists {len(said.diff_ids)}.",
            _ADVICE,
            reason="malformed-image",
        )
    return said


def check_layers(document: Manifest, origin: Origin, name: str) -> None:
    """Raise `Refused` for layers that are elsewhere or of another format, `NotAnImage` for what is not an image."""
    for layer in document.layers:
        if layer.is_foreign:
            raise Refused(
                f"{name}: the layer {layer.digest} is not distributed with the image ({shown(layer.media_type)}).",
                "Use an image that has all of its layers, in gzip, zstd or plain tar.",
                reason="foreign-layer",
            )
        if layer.media_type not in LAYERS and not _is_tar(origin.blob(layer, None), name):
            if layer.media_type.startswith(_OF_IMAGES):
                raise Refused(
                    f"{name}: the layer {layer.digest} is in a format that is not supported "
                    f"({shown(layer.media_type)}).",
                    "Use an image that has all of its layers, in gzip, zstd or plain tar.",
                    reason="unsupported-format",
                )
            raise NotAnImage(name, f"it holds {shown(layer.media_type)}")


def _is_tar(file: CachedFile, name: str) -> bool:
    """Return whether a layer of an unknown type can be unpacked for all that: docker and podman try whatever it is.

    As Go's archive/tar reads it, an empty file is an empty archive. Raises `Refused` for one that cannot be expanded.
    """
    with file.path.open("rb") as raw:
        block = reader(raw, limit=DEFAULT.expanded, name=name).read(_BLOCK)
    return not block.strip(b"\0") or is_header(block)
