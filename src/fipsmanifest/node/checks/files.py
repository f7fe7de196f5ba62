"""The program files that the manifests list: digest, mode, and where links lead.

Programs are required. Configuration and documentation are an administrator's to change, so a difference there is
reported and not judged.
"""

import contextlib
import errno
import os
import posixpath
import stat
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from ...trust.text import visible
from .. import containerd, owners, tree
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
from .platform import architecture_of

ID = "files"

_ADVICE = "Install the package of this release again, and find out who changed the file."
_LATE = "Find out which file system does not answer, or allow more time with --timeout."
# A file of another size is hashed all the same, so that its digest can be looked up, unless it is absurdly large.
_HASH_ANYWAY = 1024 * 1024 * 1024
_TWICE = "Ask its publisher for a manifest that lists one content for the path."
# Where the runtime looks for CNI plugins, which bear everyday names: iproute has a `bridge` of its own.
_CNI_DIRECTORIES = ("/opt/cni/bin", "/usr/libexec/cni")
# Where a login shell, sudo and systemd find programs, and the CNI's directory; containerd has its own.
_DIRECTORIES = (
    ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
    + ("/root/bin", "/opt/bin", "/opt/cni/bin", "/usr/libexec")
)  # fmt: skip


class _Entry(NamedTuple):
    manifest: str
    file: Dict[str, Any]


def check(node: Node, manifests: Sequence[Listed]) -> List[Result]:
    """Compare every listed file with the node's; raises nothing."""
    wanted = compared(node, manifests)
    if not any(_is_program(entries) for entries in wanted.values()):
        advice = "Check that the manifest and --role are the right ones."
        return [Result(ID, "programs", UNKNOWN, actual="none listed for this role", advice=advice)]
    listing = _Listing(node, manifests, wanted)
    with node.digests.workers() as pool:
        # The largest first, or the last one may keep one core busy while the others have nothing left to do.
        largest_first = sorted(wanted, key=lambda path: (-_size(wanted[path]), path))
        asked = {path: pool.submit(_check_path, node, path, wanted[path], listing) for path in largest_first}
        unexpected = pool.submit(_unexpected, node, listing)
        found = [node.result_of(asked[path], late(path, wanted[path][0].file)) for path in sorted(wanted)]
        found.append(node.result_of(unexpected, late("other places", {})))
        return [result for results in found for result in results]


def late(subject: str, file: Dict[str, Any]) -> Result:
    """Return the result of a file that is not read in the time that is left."""
    evidence = of_component({"code": "deadline"}, file.get("component"))
    return Result(ID, subject, UNKNOWN, "readable", "no answer in time", evidence, _LATE)


def compared(node: Node, manifests: Sequence[Listed]) -> Dict[str, List[_Entry]]:
    """Return, for each path, the entries of which one must fit: of several manifests, and of this architecture."""
    by_path: Dict[str, List[_Entry]] = {}
    for listed in manifests:
        components = wanted_components(listed, node.role)
        for file in listed.manifest["files"]:
            if file.get("role") != "ghost" and not components.leaves_out(file.get("component")):
                by_path.setdefault(str(file.get("path")), []).append(_Entry(listed.name, file))
    architecture = architecture_of(node, by_path)
    if architecture is None:
        return by_path
    allowed = (None, "noarch", architecture)
    narrowed = {
        path: [entry for entry in entries if entry.file.get("architecture") in allowed]
        for path, entries in by_path.items()
    }
    return {path: entries for path, entries in narrowed.items() if entries}


def _is_listed_twice(entries: Sequence[_Entry], manifest: str) -> bool:
    """Return whether one manifest lists two contents for a path: which of them the node should have is not known.

    A release's own build never makes such a manifest; of several manifests each has its own edition of a program.
    """
    files = [entry.file for entry in entries if entry.manifest == manifest]
    return len({(file.get("type") == "symlink", file.get("sha256"), file.get("target")) for file in files}) > 1


def _size(entries: Sequence[_Entry]) -> int:
    return max(int(entry.file.get("size") or 0) for entry in entries)


def _is_program(entries: Sequence[_Entry]) -> bool:
    return any(entry.file.get("role") == "program" for entry in entries)


class _Listing:
    """The components' own programs by name, and where the manifests say that they are."""

    def __init__(self, node: Node, manifests: Sequence[Listed], wanted: Dict[str, List[_Entry]]) -> None:
        self.places: Set[bytes] = set()
        self.programs: Dict[str, Dict[str, _Entry]] = {}
        """Name -> digest -> the entry that lists it."""
        self.directories: Dict[str, Set[str]] = {}
        self.components: Dict[str, str] = {}
        self.manifests: Dict[str, Set[str]] = {}
        self.containerd = containerd.read(node.root)
        self.accounts = owners.accounts_of(node)
        for listed in manifests:
            for file in listed.manifest["files"]:
                self.manifests.setdefault(str(file.get("component")), set()).add(listed.name)
        for path, entries in wanted.items():
            with contextlib.suppress(OSError):
                self.places.add(tree.resolve(node.root, path))
            name = posixpath.basename(path)
            for entry in entries:
                if is_own_program(entry.file, entry.file.get("component")):
                    self.programs.setdefault(name, {}).setdefault(str(entry.file["sha256"]), entry)
                    self.directories.setdefault(name, set()).add(posixpath.dirname(path))
                    self.components.setdefault(name, str(entry.file.get("component")))

    def beside(self, node: Node, name: str) -> List[Tuple[str, bytes]]:
        """Return the other places where a shell or systemd would find a program of this name, links followed."""
        found: Dict[bytes, str] = {}
        for directory in self.looked_in(name):
            path = posixpath.join(directory, name)
            with contextlib.suppress(OSError):
                place = tree.resolve(node.root, path)
                mode = os.lstat(place).st_mode
                if place not in self.places and stat.S_ISREG(mode) and mode & 0o111:
                    found.setdefault(place, path)
        return [(path, place) for place, path in found.items()]

    def looked_in(self, name: str) -> Tuple[str, ...]:
        """Return the directories in which another program of this name would be taken for the component's."""
        directories = self.directories.get(name, set())
        return (
            _CNI_DIRECTORIES
            if directories and directories.issubset(_CNI_DIRECTORIES)
            else self.containerd.programs + _DIRECTORIES
        )

    def hidden(self, node: Node) -> List[Result]:
        """Return which of the directories may not be read, and may hold such a program."""
        results = []
        for directory in sorted({directory for name in self.programs for directory in self.looked_in(name)}):
            try:
                # A name in it, as to list a directory is another permission than to find what is in it.
                os.lstat(os.path.join(tree.resolve(node.root, directory), b"."))
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    results.append(_unreadable(directory, error))
        return results


def _unexpected(node: Node, listing: _Listing) -> List[Result]:
    """Find executables of a component beside the listed ones: PATH may find them first."""
    results = listing.hidden(node) + listing.containerd.unread(ID)
    for name in sorted(listing.programs):
        digests = listing.programs[name]
        for path, place in listing.beside(node, name):
            component = listing.components[name]
            evidence = of_component({"code": "unexpected"}, component)
            expected = visible(" or ".join("sha256:" + digest for digest in sorted(digests)), 400)
            try:
                mode = stat.S_IMODE(os.lstat(place).st_mode)
                found = node.digests.of(place, _HASH_ANYWAY)
            except (OSError, tree.NotRegular, tree.Unstable):
                results.append(Result(ID, path, UNKNOWN, expected, "unreadable", evidence, "Run it as root."))
                continue
            actual = "sha256:" + found.sha256 if found.sha256 else "{} bytes".format(found.size)
            if found.sha256 in digests:
                result = _judge_mode(path, actual, mode, digests[found.sha256])
                result = _judge_owners(node, result, listing.accounts) if result.status == PASS else result
                evidence = dict(result.evidence, code=result.evidence.get("code", "another-path"))
                results.append(result._replace(evidence=of_component(evidence, component)))
            else:
                advice = "Remove it: the release's own program is elsewhere, and this one may be found first."
                results.append(Result(ID, path, FAIL, expected, actual, evidence, advice))
    return results


def _check_path(node: Node, path: str, entries: Sequence[_Entry], listing: _Listing) -> List[Result]:
    try:
        result = _compare(node, path, entries)
    except OSError as error:
        result = _elsewhere(node, path, entries, listing) or _unreadable(path, error)
    except tree.NotRegular as error:
        result = Result(ID, path, FAIL, "file", str(error), {"code": "not-a-file"}, _ADVICE)
    except tree.Unstable:
        evidence = {"code": "changed-while-read"}
        result = Result(ID, path, UNKNOWN, evidence=evidence, advice="Run again when nothing is being installed.")
    if result.status == PASS and _is_listed_twice(entries, str(result.evidence.get("manifest"))):
        told = dict(result.evidence, code="listed-twice")
        actual = "{}, one of two that the manifest lists".format(result.actual)
        result = result._replace(status=UNKNOWN, expected=None, actual=actual, evidence=told, advice=_TWICE)
    if result.status == PASS and _is_program(entries):
        result = _judge_owners(node, result, listing.accounts)
    result = result._replace(evidence=of_component(result.evidence, entries[0].file.get("component")))
    if _is_program(entries):
        return [result]
    if result.status == PASS:
        return []
    return [result._replace(status=NOT_APPLICABLE, evidence=dict(result.evidence, role="not-a-program"), advice="")]


def _elsewhere(node: Node, path: str, entries: Sequence[_Entry], listing: _Listing) -> Optional[Result]:
    """Describe what a missing file means where it need not be at this path; None where it must.

    A distribution of containerd puts its programs into /usr/bin, another into /usr/local/bin; and of two manifests
    of a cluster in mid-upgrade only one may know the path.
    """
    with contextlib.suppress(OSError):
        tree.resolve(node.root, path)
        return None
    name = posixpath.basename(path)
    for other, place in listing.beside(node, name):
        with contextlib.suppress(OSError, tree.NotRegular, tree.Unstable):
            entry = listing.programs.get(name, {}).get(node.digests.of(place, _HASH_ANYWAY).sha256)
            if entry is not None:
                # Its mode is judged where it is stored, by _unexpected.
                evidence = {"code": "another-path", "path": visible(other), "manifest": entry.manifest}
                return Result(ID, path, PASS, "present", "at " + visible(other), evidence)
    known = {entry.manifest for entry in entries}
    for entry in entries:
        if not listing.manifests.get(str(entry.file.get("component")), known) <= known:
            evidence = {"code": "not-in-every-manifest"}
            return Result(ID, path, NOT_APPLICABLE, "present", "missing", evidence)
    return None


def _unreadable(path: str, error: OSError) -> Result:
    code = errno.errorcode.get(error.errno or 0, "unknown")
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return Result(ID, path, FAIL, "present", "missing", {"code": code}, "Install the package that brings it.")
    if error.errno == errno.ELOOP:
        return Result(ID, path, FAIL, "file", "symlink loop", {"code": code}, _ADVICE)
    advice = _LATE if error.errno == errno.ETIMEDOUT else "Run it as root."
    return Result(ID, path, UNKNOWN, "readable", "unreadable", {"code": code}, advice)


def _compare(node: Node, path: str, entries: Sequence[_Entry]) -> Result:
    links = [entry for entry in entries if entry.file.get("type") == "symlink"]
    files = [entry for entry in entries if entry.file.get("type") != "symlink"]
    here = tree.resolve(node.root, path, follow_last=False)
    if links:
        found = os.lstat(here)
        if stat.S_ISLNK(found.st_mode):
            result = _compare_link(node, path, os.readlink(here), links)
            # A file reached through a link may be what another manifest lists at this path.
            if result.status == PASS or not files:
                return result
        elif not files:
            kind = tree.kind(found.st_mode)
            return Result(ID, path, FAIL, _target(links[0]), kind, {"code": "not-a-link"}, _ADVICE)
    place = tree.resolve(node.root, path)
    mode = os.lstat(place).st_mode
    if not stat.S_ISREG(mode):
        raise tree.NotRegular(tree.kind(mode))
    limit = max(_size(entries), _HASH_ANYWAY)
    return _compare_file(path, node.digests.of(place, limit), stat.S_IMODE(mode), files)


def _target(entry: _Entry) -> str:
    return "link to {}".format(visible(str(entry.file.get("target"))))


def _compare_link(node: Node, path: str, target: bytes, entries: Sequence[_Entry]) -> Result:
    actual = target.decode("utf-8", "backslashreplace")
    found = "link to {}".format(visible(actual))
    for entry in entries:
        if entry.file.get("target") == actual:
            meant = posixpath.normpath(posixpath.join(posixpath.dirname(path), actual))
            end = _end(node, path)
            if end == _end(node, meant):
                return Result(ID, path, PASS, found, found, {"manifest": entry.manifest})
            # Its own directory is a link to another one, from where the same words lead elsewhere.
            ends = "{}, which ends at {}".format(found, visible(end or "nothing"))
            return Result(ID, path, FAIL, found, ends, {"code": "link-end", "manifest": entry.manifest}, _ADVICE)
    return Result(ID, path, FAIL, _target(entries[0]), found, {"code": "link-target"}, _ADVICE)


def _end(node: Node, path: str) -> Optional[str]:
    """Return the node's path of what ``path``, as it is written, leads to; None where that is nothing."""
    try:
        place = tree.resolve(node.root, path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise
    return tree.path_of(node.root, place)


def _compare_file(path: str, found: tree.Digest, mode: int, entries: Sequence[_Entry]) -> Result:
    actual = "sha256:{}".format(found.sha256) if found.sha256 else "{} bytes".format(found.size)
    fitting = [entry for entry in entries if found.sha256 and entry.file.get("sha256") == found.sha256]
    if not fitting:
        expected = "sha256:{}".format(visible(str(entries[0].file.get("sha256"))))
        return Result(ID, path, FAIL, expected, actual, {"code": "digest"}, _ADVICE)
    return _judge_mode(path, actual, mode, fitting[0])


def _judge_owners(node: Node, result: Result, accounts: Optional[owners.Accounts]) -> Result:
    """Judge a file with the right content by who may replace it, or a directory on the way to it: only root may."""
    replaceable = owners.find_replaceable(node, result.subject, accounts)
    if replaceable.noted:
        told = {"code": "owner-unknown", "path": replaceable.noted}
        result = result._replace(evidence=dict(told, **result.evidence))
    if not replaceable.who:
        return result
    evidence = dict(result.evidence, code="replaceable", path=replaceable.path)
    return result._replace(
        status=FAIL,
        expected="changed by root alone",
        actual=replaceable.shown,
        evidence=evidence,
        advice=replaceable.advice,
    )


def _judge_mode(path: str, actual: str, mode: int, entry: _Entry) -> Result:
    """Judge a file whose bytes are the entry's by who may use it."""
    evidence: Dict[str, Any] = {"manifest": entry.manifest, "mode": "{:04o}".format(mode)}
    recorded = mode_of(entry.file)
    if recorded is None:
        return Result(ID, path, PASS, actual, actual, evidence)
    if mode & ~recorded:
        wide, narrow = "mode {:04o}".format(mode), "mode {:04o}".format(recorded)
        advice = "Take the permissions away: chmod {:04o} {}".format(recorded & mode, visible(path))
        return Result(ID, path, FAIL, narrow, wide, dict(evidence, code="mode-wider"), advice)
    if mode != recorded:
        evidence["code"] = "mode-stricter"
    return Result(ID, path, PASS, actual, actual, evidence)
