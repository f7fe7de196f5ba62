"""The files of the node's tree, as the node or a unit with mounts of its own finds them."""

import contextlib
import os
import posixpath
import re
import stat
from typing import Dict, FrozenSet, List, Optional, Set, Tuple

from ... import tree
from ...result import Node
from . import shell
from .own_mounts import Mounts

_OF_THE_KERNEL = re.compile(r"/+(?:proc|dev|sys)/")  # proc(5)
_HEAD = 256  # bytes by which a program is known


class NodeFiles:
    """What paths on the node lead to, what is in directories, and the texts of files."""

    def __init__(self, node: Node, mounts: Optional[Mounts], unexamined: Dict[str, str]) -> None:
        self._node = node
        self._mounts = mounts
        self._listed: Dict[str, FrozenSet[str]] = {}
        self._no_texts: Set[str] = set()
        self._heads: Dict[str, str] = {}
        self.unexamined = unexamined
        """Path of each program or script that was not read to its end -> why."""

    @property
    def root(self) -> str:
        """Where the node's file tree begins on this machine."""
        return self._node.root

    def locate(self, path: str) -> Tuple[str, str]:
        """Return a root on this machine, and the path below it that ``path`` is."""
        return (self._node.root, path) if self._mounts is None else self._mounts.locate(path)

    def resolved(self, path: str) -> str:
        """Return the node's path of what ``path`` leads to; the path itself where that is nothing."""
        try:
            place = tree.resolve(*self.locate(path))
        except OSError:
            return posixpath.normpath(path)
        return tree.path_of(self._node.root, place)

    def is_kernels(self, path: str) -> bool:
        """Return whether a path leads into a file system of the kernel, as to a process's open files (proc(5)).

        At rest there is nothing of it.
        """
        passed: Dict[bytes, os.stat_result] = {}
        root, path = self.locate(path)
        with contextlib.suppress(OSError):
            tree.resolve(root, path, passed=passed)
        ends = [os.path.normpath(os.path.join(os.path.dirname(one), os.readlink(one))) for one in _links(passed)]
        below = os.fsencode(root).rstrip(b"/")
        shown = [path, *(os.fsdecode(one[len(below) :] if one.startswith(below) else one) for one in ends)]
        return any(_OF_THE_KERNEL.match(posixpath.normpath(one)) for one in shown)

    def is_file(self, path: str) -> bool:
        """Return whether a path leads to a regular file."""
        try:
            return stat.S_ISREG(os.lstat(tree.resolve(*self.locate(path))).st_mode)
        except OSError:
            return False

    def is_program(self, path: str) -> bool:
        """Return whether a path leads to a regular file with execution rights."""
        try:
            mode = os.lstat(tree.resolve(*self.locate(path))).st_mode
        except OSError:
            return False
        return stat.S_ISREG(mode) and bool(mode & 0o111)

    def script(self, path: str) -> Optional[str]:
        """Return the text of a script; None for another file, or one that cannot be read."""
        text = self.text(path) if self._head(path).startswith("#!") else None
        return text if text is not None and text.startswith("#!") else None

    def _head(self, path: str) -> str:
        """Return how a file begins; empty where it cannot be read."""
        if path not in self._heads:
            try:
                self._heads[path] = tree.read_small(*self.locate(path), _HEAD)
            except (OSError, tree.NotRegular):
                self._heads[path] = ""
        return self._heads[path]

    def text(self, path: str) -> Optional[str]:
        """Return a text file's content; None for another file. A script that is too large is noted in `unexamined`."""
        if path in self._no_texts:
            return None
        # To decode a program takes long.
        if self._head(path).startswith("\x7fELF") or "\0" in self._head(path).partition("\n")[0]:
            self._no_texts.add(path)
            return None
        try:
            text = tree.read_small(*self.locate(path), shell.MAX_SCRIPT + 1)
        except (OSError, tree.NotRegular):
            text = "\0"
        # A shell runs what has null bytes after its first line.
        if text.startswith("\x7fELF") or "\0" in text.partition("\n")[0]:
            self._no_texts.add(path)
            return None
        if len(text) > shell.MAX_SCRIPT and text.startswith("#!"):
            self.unexamined[path] = "a script larger than {} bytes".format(shell.MAX_SCRIPT)
        return text[: shell.MAX_SCRIPT].replace("\0", "\n")

    def names(self, directory: str) -> FrozenSet[str]:
        """Return the names in a directory, none for anything else and for one that is too large."""
        if directory not in self._listed:
            try:
                self._listed[directory] = frozenset(tree.list_names(*self.locate(directory)))
            except (OSError, ValueError):
                self._listed[directory] = frozenset()
        return self._listed[directory]


def _links(passed: Dict[bytes, os.stat_result]) -> List[bytes]:
    return [place for place, status in passed.items() if stat.S_ISLNK(status.st_mode)]
