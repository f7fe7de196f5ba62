"""What overlayfs would show of stacked directories, without mounting them.

Rules: Documentation/filesystems/overlayfs.rst of Linux (merged directories, whiteouts and opaque directories).
What is redirected to another name in the layers below (redirect_dir, metacopy) is not followed: where it leads cannot
be determined here. containerd makes none of these.
"""

import contextlib
import errno
import os
import stat
from typing import List, Optional, Sequence, Tuple

_MAX_LINKS = 40
# The kernel reads the second kind of attributes only where that is a mount's option (userxattr).
_UNPRIVILEGED = "user.overlay."
_NAMESPACES = ("trusted.overlay.", _UNPRIVILEGED)
_REDIRECTING = ("redirect", "metacopy", "whiteout")


def resolve(layers: Sequence[bytes], path: str, follow_last: bool = True) -> bytes:
    """Return the real place of ``path`` in the file system that ``layers`` make, topmost first.

    Links are followed as in a container whose root this is: from one layer into another, and never out of them.
    Raise `OSError` as `tree.resolve` does, and ENOTSUP where a layer redirects; what an upper layer deletes is not
    there.
    """
    waiting = _parts(path.encode("utf-8", "surrogateescape"))
    if any(b"\0" in part for part in waiting):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    # The directories that are merged at each level of the path; the next part is looked for in the last ones.
    levels: List[List[bytes]] = [list(layers)]
    links = 0
    while waiting:
        part = waiting.pop()
        if part == b"..":
            levels[1:] = levels[1:-1]
            continue
        place, mode = _topmost(levels[-1], part)
        if stat.S_ISLNK(mode) and (waiting or follow_last):
            links += 1
            if links > _MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            target = os.readlink(place)
            if target.startswith(b"/"):
                del levels[1:]
            waiting.extend(_parts(target))
        elif stat.S_ISDIR(mode):
            levels.append(_merged(levels[-1], part))
        elif waiting:
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        else:
            return place
    return levels[-1][0]


def _topmost(directories: Sequence[bytes], name: bytes) -> Tuple[bytes, int]:
    """Return the entry that is seen of all those with this name, and its mode."""
    for directory in directories:
        place = os.path.join(directory, name)
        try:
            status = os.lstat(place)
        except FileNotFoundError:
            continue
        if _is_whiteout(status):
            break
        if any(_attribute(place, mark) is not None for mark in _REDIRECTING):
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
        return place, status.st_mode
    raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))


def _merged(directories: Sequence[bytes], name: bytes) -> List[bytes]:
    """Return the directories of this name that are merged: down to the first that ends the merge."""
    found = []
    for directory in directories:
        place = os.path.join(directory, name)
        try:
            mode = os.lstat(place).st_mode
        except FileNotFoundError:
            continue
        if not stat.S_ISDIR(mode):
            break
        if _attribute(place, "redirect") is not None or _hides_by_mount(place):
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
        found.append(place)
        if _attribute(place, "opaque") == b"y":
            break
    return found


def _hides_by_mount(place: bytes) -> bool:
    """Return whether the mount decides what a directory hides (userxattr; whiteouts as attributes, since Linux 6.7)."""
    with contextlib.suppress(OSError):
        return os.getxattr(place, _UNPRIVILEGED + "opaque", follow_symlinks=False) is not None
    return _attribute(place, "opaque") not in (None, b"y")


def _is_whiteout(status: os.stat_result) -> bool:
    """Return whether it is a whiteout: a character device of number 0/0, which deletes what lower layers have."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _attribute(place: bytes, name: str) -> Optional[bytes]:
    """Read what overlayfs has noted on a file or directory; None where there is nothing."""
    for namespace in _NAMESPACES:
        with contextlib.suppress(OSError):
            return os.getxattr(place, namespace + name, follow_symlinks=False)
    return None


def _parts(path: bytes) -> List[bytes]:
    return [part for part in reversed(path.split(b"/")) if part not in (b"", b".")]
