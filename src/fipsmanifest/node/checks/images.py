"""Container images: what containerd's content store holds, and what is unpacked from it.

A blob's name is its digest, but containerd does not look again once it has pulled: each blob of a listed image is
hashed here. An image is known by any of its identities, as runtimes name now one, now another: index, platform
manifest, configuration. Which containers run, and from what, is told by `containers`.

Which snapshot belongs to which layer stands in a database that containerd keeps locked, so snapshots are matched by
path and digest: of each file that an image lists, some snapshot must hold a copy that is right. A wrong copy beside a
right one is another image's, an older release's for instance, and judged where a container runs from it.
"""

import errno
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from .. import tree
from ..result import (
    FAIL,
    NOT_APPLICABLE,
    PASS,
    UNKNOWN,
    Listed,
    Node,
    Result,
    is_own_program,
    of_component,
    wanted_components,
)
from ..text import visible
from . import containers
from .platform import architecture_of

ID = "images"

_STORE = "/var/lib/containerd/io.containerd.content.v1.content/blobs/sha256"
_MAX_NAMED = 8
_MAX_BLOB = 8 * 1024 * 1024 * 1024
_PULL = "Remove the image and pull it again, and find out who changed it."
_AGAIN = "Run again when nothing is being pulled."
_OCI_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}


class Image(NamedTuple):
    """An image that the node's role needs, for the node's architecture."""

    manifest: str
    """Name of the manifest that lists it."""
    reference: str
    component: str
    identities: Tuple[Tuple[str, str], ...]
    """Kind (``index``, ``manifest``, ``config``) and digest."""
    layers: Tuple[Tuple[str, ...], ...]
    """Each layer's digest, compressed and unpacked: an imported image may hold the latter."""
    files: Tuple[Dict[str, Any], ...]


def check(node: Node, manifests: Sequence[Listed]) -> List[Result]:
    """Look for the images of the node's role in the content store and in snapshots; raises nothing."""
    wanted = _wanted(node, manifests)
    try:
        tree.resolve(node.root, _STORE)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return [node.unless_live(ID, "content-store", "no containerd content store")]
        return [_unreadable("content-store", error)]
    results: List[Result] = []
    try:
        snapshots = containers.snapshots(node)
        others = [] if snapshots else containers.other_snapshotters(node)
        if others:
            evidence = {"code": "snapshotter", "snapshotters": [visible(one, 40) for one in others[:_MAX_NAMED]]}
            advice = "Only overlayfs snapshots are compared: rely on what runs, or look at the unpacked files yourself."
            results.append(Result(ID, "snapshots", UNKNOWN, "overlayfs", "others", evidence, advice))
    except OSError as error:
        # The store may be open to everybody where the snapshots are not.
        snapshots = []
        results.append(_unreadable("snapshots", error))
    with node.digests.workers() as pool:
        found = list(pool.map(lambda image: _check_image(node, image, snapshots), wanted))
    results += _of_one_release(wanted, found)
    if node.live:
        results += containers.check(node, _known(wanted), snapshots)
    return results


def _unreadable(subject: str, error: OSError) -> Result:
    denied = error.errno in (errno.EACCES, errno.EPERM)
    evidence = {"code": errno.errorcode.get(error.errno or 0, "unknown")}
    advice = "Run it as root." if denied else "Look into why it cannot be read."
    return Result(ID, subject, UNKNOWN, actual="unreadable", evidence=evidence, advice=advice)


def _of_one_release(images: Sequence[Image], found: Sequence[List[Result]]) -> List[Result]:
    """Leave out missing images of components that are there as another manifest lists them."""
    missing = [results[0].evidence.get("code") == "missing" for results in found]
    there = {image.component for image, gone in zip(images, missing) if not gone}  # noqa: B905 - new in Python 3.10
    several = len({image.manifest for image in images}) > 1
    kept: List[Result] = []
    for image, results, gone in zip(images, found, missing):  # noqa: B905
        kept += [] if several and gone and image.component in there else results
    return kept


def _known(images: Sequence[Image]) -> List[containers.Known]:
    """Give what containers are compared with: any listed image's digest of a program will do."""
    digests: Dict[str, Set[str]] = {}
    for image in images:
        for file in image.files:
            digests.setdefault(str(file.get("path")), set()).add(str(file.get("sha256")))
    found = []
    for image in images:
        own = [str(file["path"]) for file in image.files if is_own_program(file, image.component)]
        identities = frozenset(digest for _, digest in image.identities)
        programs = {path: frozenset(digests[path]) for path in own}
        found.append(containers.Known(image.component, image.reference, identities, programs))
    return found


def _wanted(node: Node, manifests: Sequence[Listed]) -> List[Image]:
    found: List[Image] = []
    paths = [str(file.get("path")) for listed in manifests for file in listed.manifest["files"]]
    architecture = architecture_of(node, paths)
    for listed in manifests:
        here = wanted_components(listed, node.role).here
        for image in listed.manifest.get("images") or []:
            if image.get("component") in here:
                one = _image(listed.name, image, architecture)
                if one.identities not in [other.identities for other in found]:
                    found.append(one)
    return found


def _image(manifest: str, image: Dict[str, Any], architecture: Optional[str]) -> Image:
    platforms = image.get("platforms") or []
    names = (architecture, _OCI_NAMES.get(str(architecture)))
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
        tuple((kind, str(digest)) for kind, digest in identities if digest is not None),
        tuple(layers),
        tuple(file for platform in platforms for file in platform.get("files") or []),
    )


def _check_image(node: Node, image: Image, snapshots: Sequence[bytes]) -> List[Result]:
    """Judge an image by its blobs and, where it is there, by what is unpacked of it."""
    counted: Dict[str, int] = {}
    for kind, digest in image.identities:
        problem = _check_blob(node, digest)
        if problem is None:
            counted[kind] = counted.get(kind, 0) + 1
        elif problem.status != NOT_APPLICABLE:
            return [_about(problem, image, kind)]
    for layer in image.layers:
        states = [_check_blob(node, digest) for digest in layer]
        if None in states:
            counted["layer"] = counted.get("layer", 0) + 1
        for problem in states:
            if problem is not None and problem.status != NOT_APPLICABLE:
                return [_about(problem, image, "layer")]
    by = [kind for kind in ("index", "manifest", "config") if kind in counted]
    told = {"manifest": image.manifest, "blobs": counted, "identified_by": by[:1]}
    evidence = of_component(told, image.component)
    if not by:
        # Layers are shared between images and prove nothing alone.
        evidence["code"] = "missing"
        if node.live:
            return [Result(ID, image.reference, FAIL, "present", "missing", evidence, "Pull the image.")]
        return [Result(ID, image.reference, NOT_APPLICABLE, "present", "not pulled yet", evidence)]
    lacking = _lacking(node, image, counted, bool(snapshots))
    if lacking is not None:
        evidence["code"] = "half-pulled"
        advice = "Wait for the pull to end, or pull the image again."
        return [Result(ID, image.reference, UNKNOWN, "all blobs", lacking, evidence, advice)]
    shown = "{} and all kept blobs match".format(by[0])
    return [Result(ID, image.reference, PASS, "digests", shown, evidence)] + _unpacked(node, image, snapshots)


def _about(problem: Result, image: Image, kind: str) -> Result:
    evidence = of_component(dict(problem.evidence, kind=kind, manifest=image.manifest), image.component)
    return problem._replace(subject=image.reference, evidence=evidence)


def _lacking(node: Node, image: Image, counted: Dict[str, int], any_snapshots: bool) -> Optional[str]:
    """Say what a complete image would have; layers may all be discarded once they are unpacked, never some."""
    if "config" not in counted:
        return "the configuration is missing"
    present = counted.get("layer", 0)
    if 0 < present < len(image.layers):
        return "{} of {} layers are missing".format(len(image.layers) - present, len(image.layers))
    if not present and image.layers and node.live and not any_snapshots:
        return "neither layers nor snapshots are there"
    return None


def _check_blob(node: Node, identity: str) -> Optional[Result]:
    """Give None where the blob is what its name says."""
    algorithm, _, value = identity.partition(":")
    if algorithm != "sha256" or len(value) != 64 or not value.isalnum():
        return Result(ID, "", UNKNOWN, visible(identity), advice="The manifest names a digest of another kind.")
    try:
        found = node.digests.of(tree.resolve(node.root, _STORE + "/" + value), _MAX_BLOB)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return Result(ID, "", NOT_APPLICABLE)
        code = errno.errorcode.get(error.errno or 0, "unknown")
        return Result(ID, "", UNKNOWN, identity, "unreadable", {"code": code}, "Run it as root.")
    except tree.NotRegular as error:
        return Result(ID, "", FAIL, identity, str(error), {"code": "not-a-file"}, _PULL)
    except tree.Unstable:
        return Result(ID, "", UNKNOWN, identity, advice=_AGAIN)
    if found.sha256 == value:
        return None
    actual = "sha256:" + found.sha256 if found.sha256 else "{} bytes".format(found.size)
    return Result(ID, "", FAIL, identity, actual, {"code": "digest"}, _PULL)


def _unpacked(node: Node, image: Image, snapshots: Sequence[bytes]) -> List[Result]:
    """Compare the image's files wherever a snapshot holds them; one result, or none where nothing is unpacked."""
    subject = "{} (unpacked)".format(image.reference)
    if not snapshots:
        return []
    wanted = [file for file in image.files if file.get("path") and file.get("sha256") and file.get("type") != "symlink"]
    if not wanted:
        advice = "The manifest lists no files of this image; make one that does."
        return [Result(ID, subject, UNKNOWN, actual="not compared", evidence={"code": "no-files"}, advice=advice)]
    right, wrong, missing = _sort(node, wanted, snapshots)
    own = {str(file["path"]) for file in wanted if is_own_program(file, image.component)}
    if not right and not own.intersection(path for path, _, _ in wrong):
        # None of its files is anywhere: it is not unpacked, and no container can run from it.
        return []
    told = {"manifest": image.manifest, "files": len(right), "matched": "path and digest"}
    evidence = of_component(told, image.component)
    if wrong:
        path, expected, actual = wrong[0]
        evidence.update(code="snapshot-file", path=visible(path), count=len(wrong))
        return [Result(ID, subject, FAIL, expected, actual, evidence, _PULL)]
    if missing:
        evidence.update(code="snapshot-incomplete", path=visible(missing[0]), count=len(missing))
        return [Result(ID, subject, UNKNOWN, "all listed files", "some are in no snapshot", evidence, _AGAIN)]
    return [Result(ID, subject, PASS, "digests", "{} files match".format(len(right)), evidence)]


def _sort(
    node: Node, wanted: Sequence[Dict[str, Any]], snapshots: Sequence[bytes]
) -> Tuple[List[str], List[Tuple[str, str, str]], List[str]]:
    """Give the paths of which a right copy is there, those with wrong copies alone, and those without any."""
    right: List[str] = []
    wrong: List[Tuple[str, str, str]] = []
    missing: List[str] = []
    likely = list(snapshots)
    for file in wanted:
        path, expected = str(file["path"]), str(file["sha256"])
        others: List[str] = []
        for snapshot in likely:
            found = containers.digest_in(node, snapshot, path)
            if found == expected:
                right.append(path)
                # An image's files lie in few layers: look there first, and not at what other images have at the path.
                likely.remove(snapshot)
                likely.insert(0, snapshot)
                break
            if found is not None:
                others.append(found if ":" in found else "sha256:" + found)
        else:
            if others:
                wrong.append((path, "sha256:" + visible(expected), others[0]))
            else:
                missing.append(path)
    return right, wrong, missing
