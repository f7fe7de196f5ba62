"""What is in an unpacked image, or in a container made of it, and not in the image: programs, libraries, preloading.

A digest of each listed file is no help against a library that was put beside them, and that /etc/ld.so.preload or a
name that the loader looks for brings into every program.
"""

import errno
import os
import time
from typing import Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

from ....trust.text import visible
from ... import tree
from ...containerd import overlay
from ...result import FAIL, UNKNOWN, Node, Result, of_component
from . import snapshots
from .listed import ID, PULL, Image

_PRELOAD = b"/etc/ld.so.preload"  # ld.so(8)
_ELF = b"\x7fELF"
_SMALLEST = 52  # bytes of an ELF header
_MAX_FILE = 1024 * 1024 * 1024
_MAX_ENTRIES = 200000
_SECONDS = 60.0
_MAX_NAMED = 8
_INSIDE = "Find out who put it there, and delete the pod, so that it is made again."


class _Place(NamedTuple):
    subject: str
    layers: Tuple[bytes, ...]
    """All that a container sees, topmost first."""
    own: Tuple[bytes, ...]
    """The layers to look through."""
    advice: str


class Search:
    """Looks through directories, up to a number of entries and seconds for all images together."""

    def __init__(self, node: Node, unpacked: snapshots.Snapshots, workloads: Set[int]) -> None:
        self._node = node
        self._unpacked = unpacked
        self._workloads = workloads
        """Numbers of the snapshots of applications' containers."""
        self._entries = _MAX_ENTRIES
        self._deadline = time.monotonic() + _SECONDS

    def look(self, image: Image, stacks: Sequence[snapshots.Stack]) -> List[Result]:
        """Return what was added where the image is unpacked, and in the containers made of it; raises nothing."""
        if not any(file.get("sha256") for file in image.files):
            return []
        places = [
            _Place("{} (unpacked)".format(image.reference), stack.layers, stack.layers, PULL)
            for stack in stacks
            if not stack.gone
        ]
        for number, layers in self._unpacked.containers(image.diff_ids):
            if number not in self._workloads:
                subject = "{} (container's snapshot {})".format(image.reference, number)
                places.append(_Place(subject, layers, layers[:1], _INSIDE))
        found: List[Result] = []
        for place in places:
            found += self._search(image, place)
        return found

    def _search(self, image: Image, place: _Place) -> List[Result]:
        listed = {str(file.get("path")) for file in image.files}
        digests = {file.get("sha256") for file in image.files}
        added: List[str] = []
        evidence = of_component({"code": "added", "manifest": image.manifest}, image.component)
        try:
            for layer in place.own:
                for path, real in self._files(layer):
                    if os.fsdecode(path) not in listed and self._is_added(place, path, real, digests):
                        added.append(visible(os.fsdecode(path)))
        except OSError as error:
            name = errno.errorcode.get(error.errno or 0, "unreadable")
            advice = "Find out what is in it." if name == "ETIMEDOUT" else "Run it as root."
            actual = "not all of it could be looked through ({})".format(name)
            return [Result(ID, place.subject, UNKNOWN, "listed files", actual, evidence, advice)]
        if not added:
            return []
        evidence.update(paths=added[:_MAX_NAMED], count=len(added))
        actual = "{} in it, and not in the image".format(", ".join(added[:_MAX_NAMED]))
        return [Result(ID, place.subject, FAIL, "listed programs and libraries alone", actual, evidence, place.advice)]

    def _files(self, layer: bytes) -> Iterator[Tuple[bytes, bytes]]:
        """Return each regular file of a layer by its path in the image and its place; raises `OSError`."""
        waiting = [layer]
        while waiting:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    self._entries -= 1
                    if self._entries < 0 or time.monotonic() > self._deadline:
                        raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        yield entry.path[len(layer) :], entry.path

    def _is_added(self, place: _Place, path: bytes, real: bytes, digests: Set[Optional[str]]) -> bool:
        if path != _PRELOAD and not _is_elf(real):
            return False
        try:
            # What an upper layer replaces or deletes is not in the image.
            if overlay.resolve(place.layers, os.fsdecode(path), follow_last=False) != real:
                return False
            if path == _PRELOAD:
                return os.lstat(real).st_size > 0
            return self._node.digests.of(real, _MAX_FILE).sha256 not in digests
        except FileNotFoundError:
            return False
        except (tree.NotRegular, tree.Unstable):
            return True


def _is_elf(path: bytes) -> bool:
    """Return whether a file begins as an ELF file does; raises `OSError`."""
    try:
        descriptor = tree.open_file(path)
    except (FileNotFoundError, tree.NotRegular):
        return False
    try:
        return os.fstat(descriptor).st_size >= _SMALLEST and os.read(descriptor, len(_ELF)) == _ELF
    finally:
        os.close(descriptor)
