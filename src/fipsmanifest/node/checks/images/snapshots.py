"""What containerd has unpacked: which snapshots are an image's layers, and what a container made of them would see.

Each snapshotter keeps a database of its snapshots by name, and an image's topmost one bears the layers' chain id. So a
copy of a layer is identified wherever it is stored, and one that no name leads to cannot be run.
"""

import errno
import hashlib
import os
import re
import stat
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from ....trust.text import visible
from ... import containerd, tree
from ...containerd import bolt, overlay
from ...result import Node
from .listed import AGAIN, PULL

_SNAPSHOTTER = "io.containerd.snapshotter.v1."
_DATABASE = "metadata.db"
_BUCKETS = (b"v1", b"snapshots")  # containerd, snapshots/storage/bolt.go
_COMMITTED = 3  # containerd, snapshots/snapshotter.go
_CHAIN = re.compile(r"sha256:[0-9a-f]{64}\Z", re.ASCII)
_MAX_SNAPSHOTS = 20000
_MAX_FILE = 4 * 1024 * 1024 * 1024
_CHANGING = "changing"
_REDIRECTED = "redirected by overlayfs"
_HIDDEN = {_CHANGING: AGAIN, _REDIRECTED: PULL}


class Stack(NamedTuple):
    """The layers of an image as they are unpacked once: each of containerd's namespaces has its own."""

    number: int
    """Of the topmost snapshot."""
    layers: Tuple[bytes, ...]
    """Directories, topmost first."""
    gone: Tuple[int, ...]
    """Numbers of the layers whose directory is not there."""


class Copy(NamedTuple):
    """What a path of an image leads to where it is unpacked."""

    problem: Optional[str] = None
    """``missing``, what it is in place of a file, or where it cannot be determined the error's name."""
    is_hidden: bool = False
    """Whether it is there and cannot be read."""
    place: bytes = b""
    sha256: str = ""
    """Hex."""
    mode: int = 0
    """Permissions."""

    @property
    def shown(self) -> str:
        """What was found, as results say it."""
        return self.problem or "sha256:" + self.sha256

    @property
    def advice(self) -> str:
        """What to do about one that cannot be determined."""
        return _HIDDEN.get(str(self.problem), "Run it as root.")


class _Kept(NamedTuple):
    number: int
    kind: int
    parent: str


class Snapshots(NamedTuple):
    """All that overlayfs has unpacked."""

    directory: bytes
    """The directory of all snapshots."""
    places: Dict[int, bytes]
    """Number -> the directory that a layer is unpacked to."""
    kept: Optional[Dict[str, _Kept]]
    """What the database says of each name; None where there is none."""

    def stacks(self, diff_ids: Sequence[str]) -> List[Stack]:
        """Return the places where these layers are unpacked, upon one another."""
        if self.kept is None or not diff_ids:
            return []
        chain = chain_id(diff_ids)
        names = [name for name, one in self.kept.items() if name.endswith("/" + chain) and one.kind == _COMMITTED]
        return [self._stack(self.kept, name) for name in sorted(names)]

    def _stack(self, kept: Dict[str, _Kept], top: str) -> Stack:
        numbers: List[int] = []
        name = top
        while name in kept and kept[name].number not in numbers:
            numbers.append(kept[name].number)
            name = kept[name].parent
        gone = tuple(number for number in numbers if number not in self.places)
        # A parent that the database does not know is nowhere.
        gone += () if not name else (0,)
        return Stack(numbers[0], tuple(self.places[one] for one in numbers if one in self.places), gone)

    def containers(self, diff_ids: Sequence[Sequence[str]]) -> List[Tuple[int, Tuple[bytes, ...]]]:
        """Return the snapshots that lie on these layers and are written to: their number and layers, own one first."""
        chains = {chain_id(one) for one in diff_ids if one}
        found = []
        for name, one in sorted((self.kept or {}).items()):
            if one.kind != _COMMITTED and one.parent.split("/", 2)[-1] in chains and one.number in self.places:
                stack = self._stack(self.kept or {}, name)
                found.append((one.number, stack.layers))
        return found

    def chains(self, namespace: str) -> Dict[str, str]:
        """Return the chain of the layers below each snapshot of a namespace, by the snapshot's own name there."""
        found = {}
        for name, one in (self.kept or {}).items():
            # containerd names them NAMESPACE/NUMBER/NAME (metadata/snapshot.go).
            chain = one.parent.split("/", 2)[-1]
            if name.startswith(namespace + "/") and _CHAIN.match(chain):
                found[name.split("/", 2)[-1]] = chain
        return found


def chain_id(diff_ids: Sequence[str]) -> str:
    """Return the name of stacked layers (OCI image specification, config.md, Layer ChainID)."""
    chain = diff_ids[0]
    for diff_id in diff_ids[1:]:
        chain = "sha256:" + hashlib.sha256("{} {}".format(chain, diff_id).encode("utf-8", "replace")).hexdigest()
    return chain


def find(node: Node) -> Snapshots:
    """Return what overlayfs has unpacked. Raise `OSError`, `bolt.Malformed` or `bolt.Busy` if that is not known."""
    kept = _kept(node, containerd.OVERLAYFS)
    try:
        directory = tree.resolve(node.root, containerd.OVERLAYFS + "/snapshots")
        listed = tree.list_names(node.root, containerd.OVERLAYFS + "/snapshots")
        numbers = [int(name) for name in listed if os.fsencode(name).isdigit()]
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return Snapshots(b"", {}, kept)
        raise
    places = {}
    for number in sorted(numbers):
        place = os.path.join(directory, b"%d" % number, b"fs")
        try:
            if stat.S_ISDIR(os.lstat(place).st_mode):
                places[number] = place
        except OSError as error:
            # What may not be inspected may be there.
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                raise
    return Snapshots(directory, places, kept)


def others(node: Node) -> List[str]:
    """Return the snapshotters other than overlayfs that have unpacked something; raise as `find` does."""
    try:
        names = tree.list_names(node.root, containerd.ROOT)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return []
        raise
    found = []
    for name in [one for one in names if one.startswith(_SNAPSHOTTER) and one != _SNAPSHOTTER + "overlayfs"]:
        path = "{}/{}".format(containerd.ROOT, name)
        if _kept(node, path) or _holds_something(node, path + "/snapshots"):
            found.append(path.rpartition(".v1.")[2])
    return found


def _holds_something(node: Node, path: str) -> bool:
    try:
        with os.scandir(tree.resolve(node.root, path)) as entries:
            return next(entries, None) is not None
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return False
        raise


def _kept(node: Node, snapshotter: str) -> Optional[Dict[str, _Kept]]:
    try:
        buckets = bolt.read(tree.resolve(node.root, "{}/{}".format(snapshotter, _DATABASE)), _BUCKETS)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise
    if len(buckets) > _MAX_SNAPSHOTS:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return {
        name.decode("utf-8", "backslashreplace"): _Kept(
            _uvarint(one.get(b"id", b"")),
            _uvarint(one.get(b"kind", b"")),
            one.get(b"parent", b"").decode("utf-8", "backslashreplace"),
        )
        for name, one in buckets.items()
    }


def _uvarint(content: bytes) -> int:
    """Read a number as Go's encoding/binary writes it."""
    return sum((byte & 0x7F) << 7 * place for place, byte in enumerate(content[:10]))


def look(node: Node, layers: Sequence[bytes], path: str) -> Copy:
    """Hash what ``path`` leads to in a container made of ``layers``; raises nothing."""
    try:
        place = overlay.resolve(layers, path)
        mode = os.lstat(place).st_mode
        found = node.digests.of(place, _MAX_FILE)
    except OSError as error:
        return _untold(error)
    except tree.NotRegular as error:
        return Copy(str(error))
    except tree.Unstable:
        return Copy(_CHANGING, is_hidden=True)
    return Copy(None if found.sha256 else "{} bytes".format(found.size), False, place, found.sha256, stat.S_IMODE(mode))


def look_at_link(layers: Sequence[bytes], path: str) -> Copy:
    """Describe what ``path`` itself is in a container made of ``layers``, and of a link where to; raises nothing."""
    try:
        place = overlay.resolve(layers, path, follow_last=False)
        mode = os.lstat(place).st_mode
        if not stat.S_ISLNK(mode):
            return Copy(tree.kind(mode))
        return Copy(link_to(os.readlink(place).decode("utf-8", "backslashreplace")))
    except OSError as error:
        return _untold(error)


def link_to(target: str) -> str:
    """Return the description of a link in results."""
    return "link to {}".format(visible(target))


def _untold(error: OSError) -> Copy:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return Copy("missing")
    if error.errno == errno.ELOOP:
        return Copy("symlink loop")
    if error.errno == errno.ENOTSUP:
        return Copy(_REDIRECTED, is_hidden=True)
    return Copy(errno.errorcode.get(error.errno or 0, "unreadable"), is_hidden=True)
