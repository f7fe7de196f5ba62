"""Container images: what containerd's content store holds, what is unpacked from it, and what containers run from.

A listed image's blobs are hashed (`content`) and its files compared wherever it is unpacked (`snapshots`, `copies`);
which containers run, and from what, is reported by `containers`.
"""

import errno
from typing import Any, Dict, List, Optional, Sequence, Set, Tuple

from ....trust.text import visible
from ... import containerd, tree
from ...containerd import bolt
from ...result import UNKNOWN, Listed, Node, Result, is_own_program, of_component
from . import added, containers, content, copies, names, snapshots
from .listed import ID, Image, images_of

__all__ = ["ID", "check"]

_MAX_NAMED = 8


def check(node: Node, manifests: Sequence[Listed]) -> List[Result]:
    """Find the listed images in the content store and in snapshots; raises nothing."""
    listed = images_of(node, manifests)
    known = _digests(listed)
    unpacked, results = _snapshots(node)
    try:
        tree.resolve(node.root, content.STORE)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            return [*results, _unreadable("content-store", error.errno)]
        if not (unpacked.places or unpacked.kept):
            return [*results, node.unless_live(ID, "content-store", "no containerd content store")]
        advice = "Find out who removed it, and pull the images again."
        missing = "missing, and something is unpacked"
        results.append(Result(ID, "content-store", UNKNOWN, "present", missing, {"code": "gone"}, advice))
    listed = [image if image.diff_ids else image._replace(diff_ids=content.diff_ids(node, image)) for image in listed]
    search = added.Search(node, unpacked, containers.workloads(node, unpacked))
    with node.digests.workers() as pool:
        asked = [pool.submit(_check_image, node, image, known, unpacked, search) for image in listed]
        found = [node.result_of(*one) for one in zip(asked, map(_late, listed))]  # noqa: B905 - new in Python 3.10
    results += _of_one_release(listed, found) + names.check(node, listed)
    if node.live:
        results += containers.check(node, _known(listed, known), unpacked)
    return results


def _late(image: Image) -> Result:
    evidence = of_component({"code": "deadline", "manifest": image.manifest}, image.component)
    advice = "Find out which file system does not answer, or allow more time with --timeout."
    return Result(ID, image.reference, UNKNOWN, "readable", "no answer in time", evidence, advice)


def _snapshots(node: Node) -> Tuple[snapshots.Snapshots, List[Result]]:
    """Return what is unpacked, and what cannot be determined of it."""
    unpacked, results = snapshots.Snapshots(b"", {}, None), []
    configured = containerd.read(node.root)
    for directory in configured.elsewhere[:_MAX_NAMED]:
        actual = "containerd keeps its images in {}".format(directory)
        evidence = {"code": "other-root"}
        results.append(Result(ID, "root", UNKNOWN, containerd.ROOT, actual, evidence, containers.ELSEWHERE))
    results += configured.unread(ID)
    try:
        unpacked = snapshots.find(node)
        if unpacked.kept is None and unpacked.places and node.live:
            evidence = {"code": "database"}
            advice = "Find out who removed it; remove the images and pull them again."
            missing = "whose they are cannot be determined: their database is missing"
            results.append(Result(ID, "snapshots", UNKNOWN, "a database", missing, evidence, advice))
        others = snapshots.others(node)
        if others:
            named = [visible(one, 40) for one in others[:_MAX_NAMED]]
            found: Dict[str, Any] = {"code": "snapshotter", "snapshotters": named}
            advice = "Only overlayfs snapshots are compared: rely on what runs, or inspect the unpacked files yourself."
            told = "others: {}".format(", ".join(named))
            results.append(Result(ID, "snapshots", UNKNOWN, "overlayfs", told, found, advice))
    except OSError as error:
        # All users may be able to read the store, but not the snapshots.
        results.append(_unreadable("snapshots", error.errno))
    except (bolt.Malformed, bolt.Busy) as error:
        evidence = {"code": "database"}
        told = "the database of snapshots cannot be read: {}".format(error or "it changes all the time")
        advice = "Run it again; if it says the same, remove the images and pull them again."
        results.append(Result(ID, "snapshots", UNKNOWN, "a database", told, evidence, advice))
    return unpacked, results


def _unreadable(subject: str, number: Optional[int]) -> Result:
    denied = number in (errno.EACCES, errno.EPERM)
    evidence = {"code": errno.errorcode.get(number or 0, "unknown")}
    advice = "Run it as root." if denied else "Find out why it cannot be read."
    return Result(ID, subject, UNKNOWN, actual="unreadable", evidence=evidence, advice=advice)


def _of_one_release(images: Sequence[Image], found: Sequence[List[Result]]) -> List[Result]:
    """Leave out missing images of components that are there as another manifest lists them."""
    missing = [not results or results[0].evidence.get("code") == "missing" for results in found]
    there = {image.component for image, gone in zip(images, missing) if not gone}  # noqa: B905 - new in Python 3.10
    several = len({image.manifest for image in images}) > 1
    kept: List[Result] = []
    for image, results, gone in zip(images, found, missing):  # noqa: B905
        kept += [] if several and gone and image.component in there else results
    return kept


def _digests(images: Sequence[Image]) -> copies.Digests:
    """Return what any listed image may have at a path."""
    digests: Dict[str, Set[str]] = {}
    for image in images:
        for file in image.files:
            digests.setdefault(str(file.get("path")), set()).add(str(file.get("sha256")))
    return {path: frozenset(found) for path, found in digests.items()}


def _known(images: Sequence[Image], digests: copies.Digests) -> List[containers.Known]:
    """Return what containers are compared with: any listed image's digest of a program is accepted."""
    found = []
    for image in images:
        own = [str(file["path"]) for file in image.files if is_own_program(file, image.component)]
        identities = frozenset(digest for _, digest in image.identities)
        chains = frozenset(snapshots.chain_id(diff_ids) for diff_ids in image.diff_ids)
        programs = {path: digests[path] for path in own}
        found.append(containers.Known(image.manifest, image.component, image.reference, identities, chains, programs))
    return found


def _check_image(
    node: Node, image: Image, known: copies.Digests, unpacked: snapshots.Snapshots, search: added.Search
) -> List[Result]:
    """Judge an image by its blobs, and by what is unpacked of it."""
    stacks = [stack for diff_ids in image.diff_ids for stack in unpacked.stacks(diff_ids)]
    kept = content.kept(node, image, stacks, unpacked)
    if kept is not None and kept.evidence.get("code") == "missing":
        return [kept]
    found = copies.compare(node, image, stacks, known, unpacked)
    return ([] if kept is None else [kept]) + found + search.look(image, stacks)
