"""containerd's content store: the blobs of listed images.

A blob's name is its digest, but containerd does not check it again once it has pulled: each blob of a listed image is
hashed here. An image is known by any of its identities, as runtimes name now one, now another: index, platform
manifest, configuration.
"""

import contextlib
import errno
import json
from typing import Dict, Optional, Sequence, Tuple

from ....trust.text import visible
from ... import tree
from ...result import FAIL, NOT_APPLICABLE, PASS, UNKNOWN, Node, Result, of_component
from .listed import AGAIN, ID, PULL, Image
from .snapshots import Snapshots, Stack

STORE = "/var/lib/containerd/io.containerd.content.v1.content/blobs/sha256"
_MAX_BLOB = 8 * 1024 * 1024 * 1024
_MAX_CONFIG = 4 * 1024 * 1024


def diff_ids(node: Node, image: Image) -> Tuple[Tuple[str, ...], ...]:
    """Read from the image's configurations what the manifest does not tell; of those that are there and unchanged."""
    found = []
    for digest in [digest for kind, digest in image.identities if kind == "config"]:
        with contextlib.suppress(OSError, tree.NotRegular, ValueError, AttributeError, RecursionError):
            text = tree.read_small(node.root, STORE + "/" + digest.partition(":")[2], _MAX_CONFIG)
            if _check_blob(node, digest) is None:
                listed = json.loads(text).get("rootfs").get("diff_ids")
                found.append(tuple(str(one) for one in listed or ()))
    return tuple(one for one in found if one)


def is_whole(node: Node, digest: str) -> bool:
    """Return whether a blob is in the store and has the content that its name says."""
    return _check_blob(node, digest) is None


def kept(node: Node, image: Image, stacks: Sequence[Stack], unpacked: Snapshots) -> Optional[Result]:
    """Judge an image's blobs; None where there are none and none are needed. Raises nothing."""
    counted: Dict[str, int] = {}
    problem = _count_documents(node, image, counted)
    by = [kind for kind in ("index", "manifest", "config") if kind in counted]
    # Layers are shared between images and prove nothing alone.
    if problem is None and not by and not stacks and not image.required:
        return None
    problem = problem or _count_layers(node, image, counted)
    if problem is not None:
        return problem
    told = {"manifest": image.manifest, "blobs": counted, "identified_by": by[:1]}
    evidence = of_component(told, image.component)
    if not by and stacks:
        evidence["code"] = "blobs-missing"
        advice = "Remove the image and pull it again."
        return Result(ID, image.reference, UNKNOWN, "present", "unpacked, and not in the store", evidence, advice)
    if not by:
        evidence["code"] = "missing"
        if node.live:
            return Result(ID, image.reference, FAIL, "present", "missing", evidence, "Pull the image.")
        return Result(ID, image.reference, NOT_APPLICABLE, "present", "not pulled yet", evidence)
    there = bool(stacks) if unpacked.kept is not None and image.diff_ids else bool(unpacked.places)
    lacking = _lacking(image, counted, there)
    if lacking is not None:
        evidence["code"] = "half-pulled"
        advice = "Wait for the pull to end, or pull the image again."
        return Result(ID, image.reference, UNKNOWN, "all blobs", lacking, evidence, advice)
    shown = "{} and all kept blobs match".format(by[0])
    return Result(ID, image.reference, PASS, "digests", shown, evidence)


def _count_documents(node: Node, image: Image, counted: Dict[str, int]) -> Optional[Result]:
    """Count the documents that are as they should be; return the first that is not."""
    for kind, digest in image.identities:
        problem = _check_blob(node, digest)
        if problem is None:
            counted[kind] = counted.get(kind, 0) + 1
        elif problem.status != NOT_APPLICABLE:
            return _about(problem, image, kind)
    return None


def _count_layers(node: Node, image: Image, counted: Dict[str, int]) -> Optional[Result]:
    """Count the layers that are as they should be, compressed or not; return the first that is not."""
    for layer in image.layers:
        states = [_check_blob(node, digest) for digest in layer]
        if None in states:
            counted["layer"] = counted.get("layer", 0) + 1
        for problem in states:
            if problem is not None and problem.status != NOT_APPLICABLE:
                return _about(problem, image, "layer")
    return None


def _about(problem: Result, image: Image, kind: str) -> Result:
    evidence = of_component(dict(problem.evidence, kind=kind, manifest=image.manifest), image.component)
    return problem._replace(subject=image.reference, evidence=evidence)


def _lacking(image: Image, counted: Dict[str, int], is_unpacked: bool) -> Optional[str]:
    """Describe what a complete image would have; layers may all be discarded once they are unpacked, never some."""
    if "config" not in counted:
        return "the configuration is missing"
    present = counted.get("layer", 0)
    if 0 < present < len(image.layers):
        return "{} of {} layers are missing".format(len(image.layers) - present, len(image.layers))
    if not present and image.layers and not is_unpacked:
        return "neither layers nor snapshots are there"
    return None


def _check_blob(node: Node, identity: str) -> Optional[Result]:
    """Return None where the blob is what its name says."""
    algorithm, _, value = identity.partition(":")
    if algorithm != "sha256" or len(value) != 64 or not value.isalnum():
        return Result(ID, "", UNKNOWN, visible(identity), advice="The manifest names a digest of another kind.")
    try:
        found = node.digests.of(tree.resolve(node.root, STORE + "/" + value), _MAX_BLOB)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return Result(ID, "", NOT_APPLICABLE)
        code = errno.errorcode.get(error.errno or 0, "unknown")
        return Result(ID, "", UNKNOWN, identity, "unreadable", {"code": code}, "Run it as root.")
    except tree.NotRegular as error:
        return Result(ID, "", FAIL, identity, str(error), {"code": "not-a-file"}, PULL)
    except tree.Unstable:
        return Result(ID, "", UNKNOWN, identity, advice=AGAIN)
    if found.sha256 == value:
        return None
    actual = "sha256:" + found.sha256 if found.sha256 else "{} bytes".format(found.size)
    return Result(ID, "", FAIL, identity, actual, {"code": "digest"}, PULL)
