"""The images that manifests list, and what the results about them have in common."""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ....trust.text import visible
from ...result import Listed, Node, wanted_components
from ..platform import architecture_of

ID = "images"

PULL = "Remove the image and pull it again, and find out who changed it."
AGAIN = "Run again when nothing is being pulled."
OCI_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}


class Image(NamedTuple):
    """An image that a manifest lists, for the node's architecture."""

    manifest: str
    """The manifest that lists it, by name."""
    reference: str
    component: str
    required: bool
    """Whether the node's role needs its component; one that it does not need is compared where it is."""
    identities: Tuple[Tuple[str, str], ...]
    """Kind (``index``, ``manifest``, ``config``) and digest."""
    layers: Tuple[Tuple[str, ...], ...]
    """Each layer's digest, compressed and unpacked: an imported image may hold the latter."""
    diff_ids: Tuple[Tuple[str, ...], ...]
    """Each platform's unpacked layers."""
    files: Tuple[Dict[str, Any], ...]


def images_of(node: Node, manifests: Sequence[Listed]) -> List[Image]:
    """Return the images that manifests list for the node's architecture, each once; raises nothing."""
    found: List[Image] = []
    paths = [str(file.get("path")) for listed in manifests for file in listed.manifest["files"]]
    architecture = architecture_of(node, paths)
    for listed in manifests:
        here = wanted_components(listed, node.role).here
        for image in listed.manifest.get("images") or []:
            one = _image_of(listed.name, image, image.get("component") in here, architecture)
            if one.identities not in [other.identities for other in found]:
                found.append(one)
    return found


def _image_of(manifest: str, image: Dict[str, Any], required: bool, architecture: Optional[str]) -> Image:
    platforms = image.get("platforms") or []
    names = (architecture, OCI_NAMES.get(str(architecture)))
    platforms = [one for one in platforms if one.get("architecture") in names] or platforms
    identities = [("index", image.get("index"))]
    layers: List[Tuple[str, ...]] = []
    for platform in platforms:
        identities += [("manifest", platform.get("manifest")), ("config", platform.get("config"))]
        unpacked = platform.get("diff_ids") or []
        for number, layer in enumerate(platform.get("layers") or []):
            layers.append((layer,) + tuple(unpacked[number : number + 1]))
    return Image(
        manifest,
        visible(str(image.get("reference")), 300),
        str(image.get("component")),
        required,
        tuple((kind, str(digest)) for kind, digest in identities if digest is not None),
        tuple(layers),
        tuple(tuple(platform["diff_ids"]) for platform in platforms if platform.get("diff_ids")),
        tuple(file for platform in platforms for file in platform.get("files") or []),
    )
