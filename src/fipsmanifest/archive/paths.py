"""Names inside archives as paths on a node: normalised, inside the root, and resolved through symbolic links.

Names are text as `os.fsdecode` makes it, so that a name which is not UTF-8 survives. The rules are those of
``tar --absolute-names`` being off and of container runtimes: no name leads out of the root, a link that climbs above it
ends there, and an absolute link means the node's own root, wherever that is mounted.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping

from ..errors import Refused

#: Linux's PATH_MAX and NAME_MAX (limits.h), bytes: a longer name cannot exist on a node.
_PATH_MAX = 4096
_NAME_MAX = 255

#: Linux's MAXSYMLINKS: how many links the kernel follows before it says ELOOP (path_resolution(7)).
_MAX_LINKS = 40

_ADVICE = "Do not use this archive; ask those who publish it."


def normalise(name: str, root: str, archive: str) -> str:
    """Return the absolute path on a node of the entry ``name`` of an archive that is unpacked at ``root``.

    ``archive`` is what errors call the archive. Raises `Refused` that names the entry where it has ``..``, a NUL or
    too many bytes, or is absolute though ``root`` is not ``/``.
    """
    if "\0" in name:
        raise Refused(f"{archive}: {shown(name)} has a NUL in its name.", _ADVICE, reason="unsafe-path")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Refused(f"{archive}: {shown(name)} leads out of the archive with '..'.", _ADVICE, reason="unsafe-path")
    if name.startswith("/") and root != "/":
        raise Refused(f"{archive}: {shown(name)} is absolute, and so outside {root}.", _ADVICE, reason="unsafe-path")
    path = posixpath.join(root, *parts)
    if len(os.fsencode(path)) >= _PATH_MAX or any(len(os.fsencode(part)) > _NAME_MAX for part in parts):
        raise Refused(f"{archive}: {shown(name)} is longer than a path can be.", _ADVICE, reason="unsafe-path")
    return path


def check_link(path: str, target: str, archive: str) -> None:
    """Raise `Refused` where the link at ``path`` has a target that no link can have.

    One that climbs above the root leads to the root, as in the kernel and in container runtimes; `resolve` follows it.
    """
    if not is_target(target):
        raise Refused(
            f"{archive}: the link {shown(path)} has a target that is empty, too long, or has a NUL.",
            _ADVICE,
            reason="unsafe-path",
        )


def is_target(text: str) -> bool:
    """Return whether a symbolic link can have this text."""
    return bool(text) and "\0" not in text and len(os.fsencode(text)) < _PATH_MAX


def resolve(path: str, links: Mapping[str, str], archive: str, *, last: bool = True) -> str:
    """Return where ``path`` (absolute) ends when the symbolic ``links`` (path -> target) are followed.

    Without ``last`` the last part is not followed, as for a file about to be made there. ``..`` stops at the root,
    as it does in the kernel. Raises `Refused` where links go in a circle.
    """
    waiting = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    done: list[str] = []
    followed = 0
    while waiting:
        part = waiting.pop()
        if part == "..":
            del done[-1:]
            continue
        done.append(part)
        target = links.get("/" + "/".join(done)) if waiting or last else None
        if target is None:
            continue
        followed += 1
        if followed > _MAX_LINKS:
            raise Refused(f"{archive}: the links at {shown(path)} go in a circle.", _ADVICE, reason="unsafe-path")
        done = [] if target.startswith("/") else done[:-1]
        waiting += [step for step in reversed(target.split("/")) if step not in ("", ".")]
    return "/" + "/".join(done)


def shown(name: str) -> str:
    """Return a name for a message: short, on one line, nothing that a terminal would obey."""
    text = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in name[:201])
    return f"'{text[:200]}...'" if len(name) > 200 else f"'{text}'"
