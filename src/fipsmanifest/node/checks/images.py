"""Container images: what containerd's content store holds, and what is unpacked from it.

A blob's name is its digest, but containerd does not look again once it has pulled: each blob of a listed image is
hashed here. An image is known by any of its identities, as runtimes name now one, now another: index, platform
manifest, configuration. Its files are compared as a container of it would see them, wherever it is unpacked. Which
containers run, and from what, is told by `containers`.

In a tree that has snapshots and not their database, snapshots are matched by path and digest: of each file that an
image lists, some snapshot must hold a copy that is right. Whose a wrong copy beside it is cannot be told.
"""

import contextlib
import errno
import json
from typing import Any, Dict, FrozenSet, List, NamedTuple, Optional, Sequence, Set, Tuple

from .. import bolt, tree
from ..result import (
    FAIL,
    NOT_APPLICABLE,
    PASS,
    UNKNOWN,
    Listed,
    Node,
    Result,
    is_own_program,
    mode_of,
    of_component,
    wanted_components,
)
from ..text import visible
from . import containers, snapshots
from .platform import architecture_of

ID = "images"

_STORE = "/var/lib/containerd/io.containerd.content.v1.content/blobs/sha256"
_MAX_NAMED = 8
_MAX_BLOB = 8 * 1024 * 1024 * 1024
_MAX_CONFIG = 4 * 1024 * 1024
_PULL = "Remove the image and pull it again, and find out who changed it."
_AGAIN = "Run again when nothing is being pulled."
_Digests = Dict[str, FrozenSet[str]]
_OCI_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}


class Image(NamedTuple):
    """An image that a manifest lists, for the node's architecture."""

    manifest: str
    """Name of the manifest that lists it."""
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


def check(node: Node, manifests: Sequence[Listed]) -> List[Result]:
    """Look for the listed images in the content store and in snapshots; raises nothing."""
    listed = _listed(node, manifests)
    known = _digests(listed)
    unpacked, results = _snapshots(node)
    try:
        tree.resolve(node.root, _STORE)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            return [*results, _unreadable("content-store", error.errno)]
        if not (unpacked.places or unpacked.kept):
            return [*results, node.unless_live(ID, "content-store", "no containerd content store")]
        advice = "Find out who removed it, and pull the images again."
        missing = "missing, and something is unpacked"
        results.append(Result(ID, "content-store", UNKNOWN, "present", missing, {"code": "gone"}, advice))
    with node.digests.workers() as pool:
        found = list(pool.map(lambda image: _check_image(node, image, known, unpacked), listed))
    results += _of_one_release(listed, found)
    if node.live:
        results += containers.check(node, _known(listed, known), unpacked)
    return results


def _snapshots(node: Node) -> Tuple[snapshots.Snapshots, List[Result]]:
    """Give what is unpacked, and what cannot be told of it."""
    unpacked, results = snapshots.Snapshots(b"", {}, None), []
    elsewhere = snapshots.root_elsewhere(node)
    if elsewhere is not None:
        advice = "Only /var/lib/containerd is looked at: make it a link to that folder, or leave this out with --skip."
        told = "containerd keeps its images in {}".format(visible(elsewhere, 200))
        results.append(Result(ID, "root", UNKNOWN, "/var/lib/containerd", told, {"code": "other-root"}, advice))
    try:
        unpacked = snapshots.find(node)
        if unpacked.kept is None and unpacked.places and node.live:
            evidence = {"code": "database"}
            advice = "Find out who removed it; remove the images and pull them again."
            missing = "whose they are cannot be told: their database is missing"
            results.append(Result(ID, "snapshots", UNKNOWN, "a database", missing, evidence, advice))
        others = snapshots.others(node)
        if others:
            named = [visible(one, 40) for one in others[:_MAX_NAMED]]
            found: Dict[str, Any] = {"code": "snapshotter", "snapshotters": named}
            advice = "Only overlayfs snapshots are compared: rely on what runs, or look at the unpacked files yourself."
            told = "others: {}".format(", ".join(named))
            results.append(Result(ID, "snapshots", UNKNOWN, "overlayfs", told, found, advice))
    except OSError as error:
        # The store may be open to everybody where the snapshots are not.
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
    advice = "Run it as root." if denied else "Look into why it cannot be read."
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


def _digests(images: Sequence[Image]) -> _Digests:
    """Give what any listed image may have at a path."""
    digests: Dict[str, Set[str]] = {}
    for image in images:
        for file in image.files:
            digests.setdefault(str(file.get("path")), set()).add(str(file.get("sha256")))
    return {path: frozenset(found) for path, found in digests.items()}


def _known(images: Sequence[Image], digests: _Digests) -> List[containers.Known]:
    """Give what containers are compared with: any listed image's digest of a program will do."""
    found = []
    for image in images:
        own = [str(file["path"]) for file in image.files if is_own_program(file, image.component)]
        identities = frozenset(digest for _, digest in image.identities)
        programs = {path: digests[path] for path in own}
        found.append(containers.Known(image.manifest, image.component, image.reference, identities, programs))
    return found


def _listed(node: Node, manifests: Sequence[Listed]) -> List[Image]:
    found: List[Image] = []
    paths = [str(file.get("path")) for listed in manifests for file in listed.manifest["files"]]
    architecture = architecture_of(node, paths)
    for listed in manifests:
        here = wanted_components(listed, node.role).here
        for image in listed.manifest.get("images") or []:
            one = _image(listed.name, image, image.get("component") in here, architecture)
            if one.identities not in [other.identities for other in found]:
                found.append(one)
    return found


def _image(manifest: str, image: Dict[str, Any], required: bool, architecture: Optional[str]) -> Image:
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
        required,
        tuple((kind, str(digest)) for kind, digest in identities if digest is not None),
        tuple(layers),
        tuple(tuple(platform["diff_ids"]) for platform in platforms if platform.get("diff_ids")),
        tuple(file for platform in platforms for file in platform.get("files") or []),
    )


def _check_image(node: Node, image: Image, known: _Digests, unpacked: snapshots.Snapshots) -> List[Result]:
    """Judge an image by its blobs, and by what is unpacked of it."""
    if not image.diff_ids:
        image = image._replace(diff_ids=_diff_ids(node, image))
    stacks = [stack for diff_ids in image.diff_ids for stack in unpacked.stacks(diff_ids)]
    kept = _kept(node, image, stacks, unpacked)
    if kept is not None and kept.evidence.get("code") == "missing":
        return [kept]
    return ([] if kept is None else [kept]) + _unpacked(node, image, stacks, known, unpacked)


def _diff_ids(node: Node, image: Image) -> Tuple[Tuple[str, ...], ...]:
    """Read from the image's configurations what the manifest does not tell; of those that are there and unchanged."""
    found = []
    for digest in [digest for kind, digest in image.identities if kind == "config"]:
        with contextlib.suppress(OSError, tree.NotRegular, ValueError, AttributeError, RecursionError):
            text = tree.read_small(node.root, _STORE + "/" + digest.partition(":")[2], _MAX_CONFIG)
            if _check_blob(node, digest) is None:
                listed = json.loads(text).get("rootfs").get("diff_ids")
                found.append(tuple(str(one) for one in listed or ()))
    return tuple(one for one in found if one)


def _kept(
    node: Node, image: Image, stacks: Sequence[snapshots.Stack], unpacked: snapshots.Snapshots
) -> Optional[Result]:
    """Judge an image's blobs; None where there are none and none are needed."""
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
    lacking = _lacking(node, image, counted, there)
    if lacking is not None:
        evidence["code"] = "half-pulled"
        advice = "Wait for the pull to end, or pull the image again."
        return Result(ID, image.reference, UNKNOWN, "all blobs", lacking, evidence, advice)
    shown = "{} and all kept blobs match".format(by[0])
    return Result(ID, image.reference, PASS, "digests", shown, evidence)


def _count_documents(node: Node, image: Image, counted: Dict[str, int]) -> Optional[Result]:
    """Count the documents that are as they should be; gives the first that is not."""
    for kind, digest in image.identities:
        problem = _check_blob(node, digest)
        if problem is None:
            counted[kind] = counted.get(kind, 0) + 1
        elif problem.status != NOT_APPLICABLE:
            return _about(problem, image, kind)
    return None


def _count_layers(node: Node, image: Image, counted: Dict[str, int]) -> Optional[Result]:
    """Count the layers that are as they should be, compressed or not; gives the first that is not."""
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


def _lacking(node: Node, image: Image, counted: Dict[str, int], is_unpacked: bool) -> Optional[str]:
    """Say what a complete image would have; layers may all be discarded once they are unpacked, never some."""
    if "config" not in counted:
        return "the configuration is missing"
    present = counted.get("layer", 0)
    if 0 < present < len(image.layers):
        return "{} of {} layers are missing".format(len(image.layers) - present, len(image.layers))
    if not present and image.layers and node.live and not is_unpacked:
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


def _unpacked(
    node: Node, image: Image, stacks: Sequence[snapshots.Stack], known: _Digests, unpacked: snapshots.Snapshots
) -> List[Result]:
    """Compare the image's files wherever it is unpacked; one result, or none where it is not."""
    subject = "{} (unpacked)".format(image.reference)
    by_name = unpacked.kept is not None and bool(image.diff_ids)
    if not (stacks if by_name else unpacked.places):
        return []
    wanted = [file for file in image.files if file.get("path") and (file.get("sha256") or file.get("target"))]
    if not wanted:
        advice = "The manifest lists no files of this image; make one that does."
        return [Result(ID, subject, UNKNOWN, actual="not compared", evidence={"code": "no-files"}, advice=advice)]
    found = _by_name(node, wanted, stacks) if by_name else _by_path(node, image, wanted, known, unpacked)
    if found is None:
        return []
    evidence = of_component(dict(found.evidence, manifest=image.manifest), image.component)
    return [found._replace(subject=subject, evidence=evidence)]


def _by_name(node: Node, wanted: Sequence[Dict[str, Any]], stacks: Sequence[snapshots.Stack]) -> Result:
    """Compare each place that the image is unpacked to; the worst decides."""
    evidence: Dict[str, Any] = {"files": len(wanted), "matched": "name", "snapshots": [one.number for one in stacks]}
    hidden: List[Result] = []
    for stack in stacks:
        if stack.gone:
            told = dict(evidence, code="snapshot-missing", snapshot=stack.number)
            actual = "{} of {} layers are missing".format(len(stack.gone), len(stack.layers) + len(stack.gone))
            hidden.append(Result(ID, "", UNKNOWN, "all layers", actual, told, _PULL))
            continue
        differing = [one for one in (_compare(node, stack.layers, file) for file in wanted) if one is not None]
        wrong = [one for one in differing if one.status == FAIL]
        if wrong:
            told = dict(evidence, snapshot=stack.number, count=len(wrong), **wrong[0].evidence)
            return wrong[0]._replace(evidence=told)
        hidden += [one._replace(evidence=dict(evidence, **one.evidence)) for one in differing]
    return hidden[0] if hidden else Result(ID, "", PASS, "digests", "{} files match".format(len(wanted)), evidence)


def _compare(node: Node, layers: Sequence[bytes], file: Dict[str, Any]) -> Optional[Result]:
    """Compare a file as a container would see it; None where it is right."""
    path = str(file["path"])
    if file.get("type") == "symlink":
        expected, actual = "link to {}".format(visible(str(file.get("target")))), snapshots.look_at_link(layers, path)
        evidence = {"code": "snapshot-file", "path": visible(path)}
        return None if actual == expected else Result(ID, "", FAIL, expected, actual, evidence, _PULL)
    return _judge(file, snapshots.look(node, layers, path))


def _judge(file: Dict[str, Any], found: snapshots.Copy) -> Optional[Result]:
    evidence = {"code": "snapshot-file", "path": visible(str(file["path"]))}
    if found.is_hidden:
        advice = _AGAIN if found.problem == "changing" else "Run it as root."
        return Result(ID, "", UNKNOWN, "readable", found.problem, dict(evidence, code="unreadable"), advice)
    if found.problem is not None or found.sha256 != file.get("sha256"):
        return Result(ID, "", FAIL, "sha256:" + visible(str(file.get("sha256"))), found.shown, evidence, _PULL)
    recorded = mode_of(file)
    if recorded is None or not found.mode & ~recorded:
        return None
    wide, narrow = "mode {:04o}".format(found.mode), "mode {:04o}".format(recorded)
    return Result(ID, "", FAIL, narrow, wide, dict(evidence, code="mode-wider"), _PULL)


def _by_path(
    node: Node, image: Image, wanted: Sequence[Dict[str, Any]], known: _Digests, unpacked: snapshots.Snapshots
) -> Optional[Result]:
    """Look for each file in all snapshots; None where the image is not unpacked."""
    files = [file for file in wanted if file.get("type") != "symlink"]
    found = _sort(node, image, files, known, list(unpacked.places.values()))
    own = {visible(str(file["path"])) for file in files if is_own_program(file, image.component)}
    if not found.right and not found.doubtful and own.isdisjoint(one.evidence["path"] for one in found.wrong):
        # None of its files is anywhere: it is not unpacked, and no container can run from it.
        return None
    evidence: Dict[str, Any] = {"files": len(found.right), "matched": "path and digest"}
    for differing in (found.wrong, found.doubtful):
        if differing:
            return differing[0]._replace(evidence=dict(evidence, count=len(differing), **differing[0].evidence))
    if found.missing:
        evidence.update(code="snapshot-incomplete", path=visible(found.missing[0]), count=len(found.missing))
        return Result(ID, "", UNKNOWN, "all listed files", "some are in no snapshot", evidence, _AGAIN)
    return Result(ID, "", PASS, "digests", "{} files match".format(len(found.right)), evidence)


class _Sorted(NamedTuple):
    right: List[str]
    """Files that have right copies alone."""
    wrong: List[Result]
    """Files of which all copies are wrong."""
    doubtful: List[Result]
    """Files of which some copies are right, or cannot be read."""
    missing: List[str]
    """Files without a copy."""


def _sort(node: Node, image: Image, files: Sequence[Dict[str, Any]], known: _Digests, places: List[bytes]) -> _Sorted:
    sorted_out = _Sorted([], [], [], [])
    for file in files:
        path = str(file["path"])
        is_own = is_own_program(file, image.component)
        right, bad = 0, []
        for place in list(places):
            found = snapshots.look(node, [place], path)
            problem = None if found.problem == "missing" else _judge(file, found)
            if problem is not None and found.sha256 not in known[path] - {file.get("sha256")}:
                bad.append(problem)
            elif problem is None and found.problem is None:
                right += 1
                # An image's files lie in few layers: look there first.
                places.remove(place)
                places.insert(0, place)
                if not is_own:
                    # Other images have their own libraries at such a path.
                    bad = []
                    break
        if bad and (right or bad[0].status != FAIL):
            sorted_out.doubtful.append(_doubtful(bad[0]))
        elif bad:
            sorted_out.wrong.append(bad[0])
        else:
            (sorted_out.right if right else sorted_out.missing).append(path)
    return sorted_out


def _doubtful(wrong: Result) -> Result:
    if wrong.status != FAIL:
        return wrong
    actual = "{}, beside a right copy".format(wrong.actual)
    advice = "Find out which image it is of: a tree without its database of snapshots does not tell."
    evidence = dict(wrong.evidence, code="snapshot-other")
    return wrong._replace(status=UNKNOWN, actual=actual, advice=advice, evidence=evidence)
