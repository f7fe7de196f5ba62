"""Where the paths of a unit lead that has a root or bind mounts of its own (systemd.exec(5))."""

import os
import posixpath
from typing import List, NamedTuple, Optional, Sequence, Tuple

from ... import systemd, tree

_MAX_LINKS = 40
_ROOT = "RootDirectory"
_BINDS = ("BindPaths", "BindReadOnlyPaths")
SETTINGS = (_ROOT, *_BINDS)


class Mounts(NamedTuple):
    """What a unit sees in the place of the node's file tree."""

    root: str
    """The node's file tree, as a path of this machine."""
    own: str
    """The unit's root, as a path of this machine."""
    binds: Tuple[Tuple[str, str], ...]
    """Each path of the unit that something is mounted on, and the node's path of that."""

    def locate(self, path: str) -> Tuple[str, str]:
        """Return a root on this machine and the path below it where a path of the unit leads."""
        found = self.own, path
        for _ in range(_MAX_LINKS):
            path = posixpath.normpath(path)
            over = [one for one in self.binds if path == one[0] or path.startswith(one[0].rstrip("/") + "/")]
            if not over:
                return self.own, path
            where, source = max(over, key=lambda one: len(one[0]))
            found = self.root, posixpath.normpath(source + "/" + path[len(where) :])
            try:
                target = os.readlink(tree.resolve(*found, follow_last=False))
            except OSError:
                return found  # no link
            path = posixpath.join(posixpath.dirname(path), os.fsdecode(target))
        return found


def read(unit: systemd.Unit, root: str) -> Tuple[Optional[Mounts], List[systemd.Entry]]:
    """Return a unit's own mounts, None where it has none, and its settings of which the paths are not known.

    ``root`` is where the node's file tree is. What a template mounts is known of its instances alone.
    """
    unknown: List[systemd.Entry] = []
    own = ""
    for entry in unit.values(_ROOT)[-1:]:
        own, doubt = systemd.expand(entry.value.lstrip("-"), unit.name)
        unknown += [entry] if doubt else []
    binds: List[Tuple[str, str]] = []
    for entry in [entry for key in _BINDS for entry in unit.values(key)]:
        for word in _words(entry.value):
            source, where, doubt = _bind(word, unit.name, own)
            if own.strip("/") or source != where:
                binds.append((where, source))
                unknown += [entry] if doubt else []
    unknown = [] if "@." in unit.name else unknown
    if unknown or not (own.strip("/") or binds):
        return None, unknown
    return Mounts(root, posixpath.join(root, own.strip("/")), tuple(dict.fromkeys(binds))), []


def _words(value: str) -> Sequence[str]:
    try:
        return systemd.split(value)
    except systemd.Malformed:
        return value.split()


def _bind(word: str, unit: str, own: str) -> Tuple[str, str, str]:
    """Return what a word of BindPaths= mounts, and where, and which of its specifiers are not known."""
    source, _, rest = word.lstrip("-").partition(":")
    where = rest.partition(":")[0] or source.lstrip("+")
    (source, first), (where, second) = systemd.expand(source, unit), systemd.expand(where, unit)
    # With a plus sign it is a path of the unit's root.
    source = "{}/{}".format(own, source[1:]) if source.startswith("+") else source
    return posixpath.normpath("/" + source.lstrip("/")), posixpath.normpath("/" + where.lstrip("/")), first + second
