"""Container images, by what containerd's content store holds.

A blob's name is its digest, but containerd does not look again once it has pulled: each blob of a listed image is
hashed here. What is unpacked in snapshots is not compared yet, and said to be unknown.
"""

import errno
import os
from typing import Any, Dict, List, Optional, Sequence

from .. import tree
from ..result import FAIL, NOT_APPLICABLE, PASS, UNKNOWN, Listed, Node, Result, wanted_components
from ..text import visible

ID = "images"

_STORE = "/var/lib/containerd/io.containerd.content.v1.content/blobs/sha256"
_SNAPSHOTS = "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots"
_MAX_BLOB = 8 * 1024 * 1024 * 1024


def check(node: Node, manifests: Sequence[Listed]) -> List[Result]:
    """Look for the images of the node's role in the content store; raises nothing."""
    try:
        tree.resolve(node.root, _STORE)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return [node.unless_live(ID, "content-store", "no containerd content store")]
        code = errno.errorcode.get(error.errno or 0, "unknown")
        return [Result(ID, "content-store", UNKNOWN, evidence={"code": code}, advice="Run it as root.")]
    results = []
    for listed in manifests:
        wanted = wanted_components(listed, node.role)
        for image in listed.manifest.get("images") or []:
            if image.get("component") in wanted.here:
                results.append(_check_image(node, listed, image))
    return results + _snapshots(node)


def _check_image(node: Node, listed: Listed, image: Dict[str, Any]) -> Result:
    reference = visible(str(image.get("reference")), 300)
    identities = [("index", image.get("index"))]
    for platform in image.get("platforms") or []:
        identities += [("manifest", platform.get("manifest")), ("config", platform.get("config"))]
        identities += [("layer", layer) for layer in platform.get("layers") or []]
    present: List[str] = []
    for kind, identity in identities:
        if identity is None:
            continue
        problem = _check_blob(node, str(identity))
        if problem is None:
            present.append(kind)
        elif problem.status != NOT_APPLICABLE:
            return problem._replace(subject=reference, evidence=dict(problem.evidence, kind=kind))
    # Layers are shared between images and prove nothing alone.
    if not {"index", "manifest", "config"}.intersection(present):
        if node.live:
            return Result(ID, reference, FAIL, "present", "missing", {"manifest": listed.name}, "Pull the image.")
        return Result(ID, reference, NOT_APPLICABLE, "present", "not pulled yet")
    counted = {kind: present.count(kind) for kind in sorted(set(present))}
    return Result(ID, reference, PASS, "digests", "match", {"manifest": listed.name, "blobs": counted})


def _check_blob(node: Node, identity: str) -> Optional[Result]:
    """Give None where the blob is what its name says."""
    algorithm, _, value = identity.partition(":")
    if algorithm != "sha256" or len(value) != 64 or not value.isalnum():
        return Result(ID, "", UNKNOWN, visible(identity), advice="The manifest names a digest of another kind.")
    try:
        found = tree.digest(tree.resolve(node.root, _STORE + "/" + value), _MAX_BLOB)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return Result(ID, "", NOT_APPLICABLE)
        code = errno.errorcode.get(error.errno or 0, "unknown")
        return Result(ID, "", UNKNOWN, identity, "unreadable", {"code": code}, "Run it as root.")
    except tree.NotRegular as error:
        return Result(ID, "", FAIL, identity, str(error), {"code": "not-a-file"}, "Remove the image and pull it again.")
    except tree.Unstable:
        return Result(ID, "", UNKNOWN, identity, advice="Run again when nothing is being pulled.")
    if found.sha256 == value:
        return None
    advice = "Remove the image and pull it again, and find out who changed it."
    return Result(ID, "", FAIL, identity, "sha256:" + found.sha256, {"code": "digest"}, advice)


def _snapshots(node: Node) -> List[Result]:
    try:
        unpacked = len(os.listdir(tree.resolve(node.root, _SNAPSHOTS)))
    except OSError:
        unpacked = 0
    if not unpacked:
        return []
    advice = "Files in unpacked images are not compared by this version of the tool."
    return [Result(ID, "snapshots", UNKNOWN, actual="not compared", evidence={"count": unpacked}, advice=advice)]
