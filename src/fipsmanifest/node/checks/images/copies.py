"""The files of listed images, wherever they are unpacked, as a container would see them.

In a tree that has snapshots and not their database, snapshots are matched by path and digest: of each file that an
image lists, some snapshot must hold a copy that is right. Whose a wrong copy beside it is cannot be determined.
"""

from typing import Any, Dict, FrozenSet, List, NamedTuple, Optional, Sequence

from ....trust.text import visible
from ...result import FAIL, PASS, UNKNOWN, Node, Result, is_own_program, mode_of, of_component
from . import snapshots
from .listed import AGAIN, ID, PULL, Image

Digests = Dict[str, FrozenSet[str]]
"""Path -> what any listed image may have there."""


def compare(
    node: Node, image: Image, stacks: Sequence[snapshots.Stack], known: Digests, unpacked: snapshots.Snapshots
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
            hidden.append(Result(ID, "", UNKNOWN, "all layers", actual, told, PULL))
            continue
        differing = [one for one in (_compare_file(node, stack.layers, file) for file in wanted) if one is not None]
        wrong = [one for one in differing if one.status == FAIL]
        if wrong:
            told = dict(evidence, snapshot=stack.number, count=len(wrong), **wrong[0].evidence)
            return wrong[0]._replace(evidence=told)
        hidden += [one._replace(evidence=dict(evidence, **one.evidence)) for one in differing]
    return hidden[0] if hidden else Result(ID, "", PASS, "digests", "{} files match".format(len(wanted)), evidence)


def _compare_file(node: Node, layers: Sequence[bytes], file: Dict[str, Any]) -> Optional[Result]:
    """Compare a file as a container would see it; None where it is right."""
    path = str(file["path"])
    if file.get("type") == "symlink":
        link, expected = snapshots.look_at_link(layers, path), snapshots.link_to(str(file.get("target")))
        if link.is_hidden:
            return _hidden(path, link)
        evidence = {"code": "snapshot-file", "path": visible(path)}
        return None if link.shown == expected else Result(ID, "", FAIL, expected, link.shown, evidence, PULL)
    return _judge(file, snapshots.look(node, layers, path))


def _judge(file: Dict[str, Any], found: snapshots.Copy) -> Optional[Result]:
    if found.is_hidden:
        return _hidden(str(file["path"]), found)
    evidence = {"code": "snapshot-file", "path": visible(str(file["path"]))}
    if found.problem is not None or found.sha256 != file.get("sha256"):
        return Result(ID, "", FAIL, "sha256:" + visible(str(file.get("sha256"))), found.shown, evidence, PULL)
    recorded = mode_of(file)
    if recorded is None or not found.mode & ~recorded:
        return None
    wide, narrow = "mode {:04o}".format(found.mode), "mode {:04o}".format(recorded)
    return Result(ID, "", FAIL, narrow, wide, dict(evidence, code="mode-wider"), PULL)


def _hidden(path: str, found: snapshots.Copy) -> Result:
    evidence = {"code": "unreadable", "path": visible(path)}
    return Result(ID, "", UNKNOWN, "readable", found.problem, evidence, found.advice)


def _by_path(
    node: Node, image: Image, wanted: Sequence[Dict[str, Any]], known: Digests, unpacked: snapshots.Snapshots
) -> Optional[Result]:
    """Find each file in all snapshots; None where the image is not unpacked."""
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
        return Result(ID, "", UNKNOWN, "all listed files", "some are in no snapshot", evidence, AGAIN)
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


def _sort(node: Node, image: Image, files: Sequence[Dict[str, Any]], known: Digests, places: List[bytes]) -> _Sorted:
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
                # An image's files are stored in few layers: look there first.
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
