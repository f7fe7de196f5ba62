"""Image layers as changes to a file system, and the file system that they make (OCI image specification, layer.md).

A layer's members stream past before a later layer can hide or replace them. So a layer is read once into changes,
each with what the caller saw in the member's bytes, and changes are merged afterwards; a layer that several images
share is read once for all of them.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from ..errors import Incomplete, Refused
from ..model.artifact import Blob
from .decompress import Reader, reader
from .limits import DEFAULT, Limits, spend
from .member import Member, Rejected
from .paths import shown
from .tar import entries

_PREFIX = ".wh."
_OPAQUE = ".wh..wh..opq"
#: What AUFS keeps for itself in a layer; runtimes pass over it (WhiteoutMetaPrefix of Docker's archive package).
_AUFS = ".wh..wh."

_MAX_LINKS = 40
#: Files and directories of all layers of an image together, those included that members only imply: one name may imply
#: two thousand.
_MOST_NODES = 2 * DEFAULT.members
_AHEAD = 4 << 20

#: Called with the reason why a member is left out.
Reject = Callable[[Refused], object]

_ADVICE = "Do not use this image; ask those who publish it."

Seen = TypeVar("Seen")


@dataclass(frozen=True, slots=True)
class Whiteout:
    """A path of lower layers that is gone from here on."""

    path: str
    """Absolute and normalised."""
    opaque: bool
    """True: the directory stays and what lower layers put into it is gone. False: the path itself is gone."""


@dataclass(frozen=True, slots=True)
class Entry(Generic[Seen]):
    """A member of a layer, with what the caller saw in it."""

    member: Member
    """Without its content."""
    seen: Seen | None
    """What ``look`` returned; of a hard link, in addition to what it returned for the file."""


def _raise(error: Refused) -> None:
    raise error


def layer_members(
    layer: Blob, diff_id: str, *, archive: str = "", limits: Limits = DEFAULT, reject: Reject = _raise
) -> Iterator[Member | Whiteout]:
    """Yield a layer's members and whiteouts in their order, in one pass over its bytes.

    ``diff_id`` (``sha256:HEX``) is the digest that the uncompressed layer must have; it is known only after the last
    member, so nothing seen before the end may be relied on. ``archive`` is what errors call the image. A member that
    `tar.entries` rejects is passed to ``reject``, which raises by default. Raises `Refused` for another digest and
    whatever `tar.entries` refuses, `Incomplete` where the file cannot be read.
    """
    name = f"{archive}: layer {layer.digest}" if archive else f"layer {layer.digest}"
    try:
        raw = layer.path.open("rb")
    except OSError as error:
        raise Incomplete(f"{name} cannot be read: {error.strerror}.", "Collect again.", reason="not-read") from error
    with raw:
        stream = _Hashed(reader(raw, limit=limits.expanded + _AHEAD, name=name))
        for item in entries(stream, root="/", archive=name, limits=limits):
            try:
                change = item.error if isinstance(item, Rejected) else _change(item, name)
            except Refused as error:
                change = error
            if isinstance(change, Refused):
                reject(change)
            elif change is not None:
                yield change
        while stream.read(1 << 20):
            pass
    if stream.digest != diff_id:
        raise Refused(
            f"{name} is {stream.digest} uncompressed; the image's configuration says {diff_id}.",
            "Do not use this image; its layers are not the ones that its configuration names.",
            reason="digest-mismatch",
        )


def read_layer(
    layer: Blob,
    diff_id: str,
    look: Callable[[Member], Seen | None],
    *,
    archive: str = "",
    limits: Limits = DEFAULT,
    reject: Reject = _raise,
) -> tuple[Entry[Seen] | Whiteout, ...]:
    """Return a layer's changes, after its ``diff_id`` was checked; ``look`` sees each member and may read its content.

    Raises as `layer_members`.
    """
    return tuple(
        change if isinstance(change, Whiteout) else Entry(replace(change, content=None), look(change))
        for change in layer_members(layer, diff_id, archive=archive, limits=limits, reject=reject)
    )


class _Hashed:
    """A stream that is hashed while it is read."""

    def __init__(self, stream: Reader) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()

    def read(self, size: int, /) -> bytes:
        data = self._stream.read(size)
        self._hash.update(data)
        return data

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


def _change(member: Member, archive: str) -> Member | Whiteout | None:
    directory, name = posixpath.split(member.path)
    if not name.startswith(_PREFIX):
        return member
    if member.size:
        raise Refused(
            f"{archive}: the whiteout {shown(member.path)} has content, which some unpackers keep.",
            _ADVICE,
            reason="ambiguous-image",
        )
    if name == _OPAQUE:
        return Whiteout(directory, opaque=True)
    if name.startswith(_AUFS):
        return None
    hidden = name.removeprefix(_PREFIX)
    if hidden in ("", ".", ".."):
        raise Refused(
            f"{archive}: the whiteout {shown(member.path)} names no file that it could hide.",
            _ADVICE,
            reason="ambiguous-image",
        )
    return Whiteout(posixpath.join(directory, hidden), opaque=False)


@dataclass(slots=True)
class _Node(Generic[Seen]):
    """A place in the merged file system; ``children`` is None for anything but a directory."""

    layer: int
    children: dict[str, _Node[Seen]] | None
    target: str | None = None
    seen: Seen | None = None
    replaced: list[tuple[str, Seen]] = field(default_factory=list)
    """What was seen in members of the same layer that this one replaced, by path."""


def _directory(layer: int) -> _Node[Seen]:
    return _Node(layer, {})


def _would_be_missed(old: _Node[Seen], new: _Node[Seen] | None = None) -> bool:
    """Return whether something that was seen may be lost with ``old``; a directory over another keeps its content."""
    merged = new is not None and new.children is not None and new.children is old.children
    return old.seen is not None or (bool(old.children) and not merged)


@dataclass
class MergedView(Generic[Seen]):
    """The file system that layers make, lowest first: begin each with `next_layer`, then apply its changes.

    Entries are placed as container runtimes place them: below a symbolic link means below what it points to, inside
    the root; a directory over a directory keeps what is in it, anything else replaces what was there.

    Below a link of a lower layer they differ: one that unpacks each layer into a directory of its own, for an overlay,
    makes a directory in the link's place and leaves alone what it points to. So an entry there replaces and hides
    nothing that was seen, and is yielded by its own path unless it is what the link leads to.

    They also differ if one layer removes a directory and makes it again: in an overlay what lower layers have there is
    visible again. That is refused if something was seen there. And the kernel ignores that the root of a layer is
    opaque, so such a whiteout hides nothing.
    """

    name: str = "image"
    """What errors call the image."""
    _root: _Node[Seen] = field(default_factory=lambda: _directory(0), repr=False)
    _layer: int = 0
    _below_links: dict[str, _Node[Seen]] = field(default_factory=dict, repr=False)
    _nodes: int = 0
    _removed: set[str] = field(default_factory=set, repr=False)
    """Paths, links resolved, that this layer took away or made something else than a directory."""
    _hidden: set[str] = field(default_factory=set, repr=False)
    """Paths, links resolved, of what was seen in lower layers and is hidden by this one."""

    def next_layer(self) -> None:
        """Begin a layer: whiteouts from here on hide only what came before."""
        self._layer += 1
        self._removed.clear()
        self._hidden.clear()

    def apply(self, change: Entry[Seen] | Whiteout) -> None:
        """Apply one change. Raises `Refused` for a place below a file, a link in a circle or a hard link to nothing."""
        if isinstance(change, Whiteout):
            self._hide(change)
        else:
            self._add(change.member, change.seen)

    def __iter__(self) -> Iterator[tuple[str, Seen]]:
        """Yield each path with what was seen in it, where something was, in the order of paths."""
        waiting: list[tuple[str, _Node[Seen]]] = [("", self._root)]
        found: list[tuple[str, Seen]] = []
        while waiting:
            path, node = waiting.pop()
            found += node.replaced
            if node.seen is not None:
                found.append((path or "/", node.seen))
            waiting += [(f"{path}/{name}", child) for name, child in (node.children or {}).items()]
        for path, node in self._below_links.items():
            if self._find(path)[0] is not node:
                found += [*node.replaced, *([(path, node.seen)] if node.seen is not None else [])]
        return iter(sorted(found, key=lambda item: item[0]))

    def _add(self, member: Member, seen: Seen | None) -> None:
        if member.path == "/":
            if member.type != "directory":
                raise Refused(f"{self.name}: the root is a {member.type}.", _ADVICE, reason="damaged-archive")
            return
        directory, name = posixpath.split(member.path)
        place, siblings, below_link = self._directory_at(directory, member.path, make=True)
        if siblings is None:
            raise Refused(
                f"{self.name}: {shown(member.path)} is below something that is not a directory.",
                _ADVICE,
                reason="damaged-archive",
            )
        old = siblings.get(name)
        if member.type == "special" and old is not None and _would_be_missed(old):
            # A runtime in a user namespace cannot make devices: it leaves them out, and what is below stays visible.
            return
        path = f"{place}/{name}"
        new = self._node(member, seen, old)
        if new.children is not None and path in self._removed:
            self._check_made_again(path)
        before = self._below_links.get(member.path) if below_link else None
        if before is not None:
            new.replaced += self._replaced(member.path, path, before, new)
        if below_link:
            self._below_links[member.path] = new
            if old is not None and old is not before and _would_be_missed(old, new):
                return
        if old is not None and old is not before:
            new.replaced += self._replaced(member.path, path, old, new)
        if new.children is None:
            self._removed.add(path)
        siblings[name] = new

    def _check_made_again(self, path: str) -> None:
        """Raise `Refused` if this layer hid something that was seen below ``path``, a directory that it makes again."""
        spend(members=len(self._hidden))
        below = next((hidden for hidden in self._hidden if hidden.startswith(f"{path}/")), None)
        if below is not None:
            raise Refused(
                f"{self.name}: one layer takes the directory {shown(path)} away and makes it again; to some runtimes "
                f"{shown(below)} is still there.",
                _ADVICE,
                reason="ambiguous-image",
            )

    def _count(self) -> None:
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            raise Refused(
                f"{self.name} has more than {_MOST_NODES} files and directories.", _ADVICE, reason="too-large"
            )

    def _node(self, member: Member, seen: Seen | None, old: _Node[Seen] | None) -> _Node[Seen]:
        self._count()
        if member.type == "directory":
            children = old.children if old is not None and old.children is not None else {}
            return _Node(self._layer, children, seen=seen)
        if member.type != "hardlink":
            return _Node(self._layer, None, member.target, seen)
        target = member.target or ""
        linked, below_link = self._find(target)
        if linked is None or linked.children is not None:
            why = "which is not a file there"
        elif below_link and self._below_links.get(target, linked) is not linked:
            why = "which is not the same file to every runtime"
        else:
            return _Node(self._layer, None, linked.target, linked.seen, [] if seen is None else [(member.path, seen)])
        raise Refused(
            f"{self.name}: the hard link {shown(member.path)} points to {shown(target)}, {why}.",
            _ADVICE,
            reason="damaged-archive",
        )

    def _replaced(self, path: str, place: str, old: _Node[Seen], new: _Node[Seen]) -> list[tuple[str, Seen]]:
        """Return what this layer put at ``path`` or below it before ``new`` replaces ``old``.

        ``place`` is the path with its links resolved, by which what was seen in lower layers is now hidden.
        """
        if old.children is not None and old.children is new.children:
            return old.replaced
        found: list[tuple[str, Seen]] = []
        waiting = [("", old)]
        while waiting:
            below, node = waiting.pop()
            spend(members=1)
            if node.layer == self._layer:
                found += node.replaced
                if node.seen is not None and node.seen != new.seen:
                    found.append((path + below, node.seen))
            elif node.seen is not None:
                self._hidden.add(place + below)
            waiting += [(f"{below}/{name}", child) for name, child in (node.children or {}).items()]
        return found

    def _hide(self, whiteout: Whiteout) -> None:
        if whiteout.opaque:
            place, hidden, below_link = self._directory_at(whiteout.path, whiteout.path, make=False)
            if hidden is not None and hidden is not self._root.children and not below_link:
                self._prune(place, hidden)
            return
        directory, name = posixpath.split(whiteout.path)
        place, siblings, below_link = self._directory_at(directory, whiteout.path, make=False)
        before = self._below_links.get(whiteout.path) if below_link else None
        if before is not None and before.layer < self._layer:
            del self._below_links[whiteout.path]
        if siblings is None or name not in siblings:
            return
        node = siblings[name]
        if below_link and node is not before and _would_be_missed(node):
            return
        path = f"{place}/{name}"
        self._removed.add(path)
        if node.children is not None:
            self._prune(path, node.children)
        if node.layer < self._layer and not node.children:
            del siblings[name]
            if node.seen is not None:
                self._hidden.add(path)

    def _prune(self, path: str, children: dict[str, _Node[Seen]]) -> None:
        """Remove what lower layers put there; directories with something of this layer stay."""
        # Of each thing below, the entry that it is in, as a position in this list, since a million paths fill a memory.
        found: list[tuple[int, str, dict[str, _Node[Seen]]]] = []
        waiting = [(-1, children)]
        while waiting:
            parent, below = waiting.pop()
            spend(members=len(below))
            for name, node in below.items():
                found.append((parent, name, below))
                if node.children:
                    waiting.append((len(found) - 1, node.children))
        # A directory precedes what is in it, so backwards it is empty by its turn.
        for parent, name, below in reversed(found):
            node = below[name]
            if node.layer < self._layer and not node.children:
                del below[name]
                if node.seen is not None:
                    steps = [name]
                    while parent >= 0:
                        parent, step, _ = found[parent]
                        steps.append(step)
                    self._hidden.add("/".join([path, *reversed(steps)]))

    def _find(self, path: str) -> tuple[_Node[Seen] | None, bool]:
        directory, name = posixpath.split(path)
        _, siblings, below_link = self._directory_at(directory, path, make=False)
        return (None if siblings is None else siblings.get(name)), below_link

    def _directory_at(
        self, directory: str, path: str, *, make: bool
    ) -> tuple[str, dict[str, _Node[Seen]] | None, bool]:
        """Return where ``directory`` is, what is in it, and whether a link on the way was of a lower layer.

        Links are followed inside the root, whose path is empty; what is in it is None where it is not a directory. With
        ``make``, parts that are missing become directories, as a runtime makes them.
        """
        waiting = [part for part in reversed(directory.split("/")) if part not in ("", ".")]
        trail = [("", self._root)]
        followed, below_link = 0, False
        while waiting:
            part = waiting.pop()
            if part == "..":
                del trail[max(1, len(trail) - 1) :]
                continue
            children = trail[-1][1].children
            if children is None:
                return "", None, below_link
            node = children.get(part)
            if node is None:
                if not make:
                    return "", None, below_link
                self._count()
                node = children[part] = _directory(self._layer)
            if node.target is None:
                trail.append((part, node))
                continue
            spend(members=1)
            followed += 1
            below_link = below_link or node.layer < self._layer
            if followed > _MAX_LINKS:
                raise Refused(f"{self.name}: the links at {shown(path)} go in a circle.", _ADVICE, reason="unsafe-path")
            if node.target.startswith("/"):
                trail = [("", self._root)]
            waiting += [step for step in reversed(node.target.split("/")) if step not in ("", ".")]
        return "/".join(name for name, _ in trail), trail[-1][1].children, below_link


def merge(
    layers: Iterable[Iterable[Entry[Seen] | Whiteout]], name: str = "image", reject: Reject = _raise
) -> MergedView[Seen]:
    """Return the file system that ``layers`` make, lowest first.

    What `MergedView.apply` refuses is passed to ``reject``, which raises by default.
    """
    view: MergedView[Seen] = MergedView(name)
    for changes in layers:
        view.next_layer()
        for change in changes:
            try:
                view.apply(change)
            except Refused as error:
                reject(error)
    return view
