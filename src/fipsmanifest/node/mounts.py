"""Mounts that do not answer: a read below one waits forever, so nothing below them is read.

Only file systems with a server (NFS, FUSE, ...) are asked, each in a thread of its own that is left behind.
"""

import contextlib
import os
import re
import threading
import time
from typing import Dict, List

from . import tree

_SERVED = re.compile(r"(?:fuse|nfs|cifs|smb|9p|ceph|lustre|afs|gfs|gluster|ocfs|orangefs|beegfs|virtiofs)")
_ESCAPED = re.compile(rb"\\([0-7]{3})")
_MAX_TABLE = 32 * 1024 * 1024
_MAX_ASKED = 500
_SECONDS = 5.0


def find_unanswering(root: str, seconds: float) -> List[str]:
    """Return the mount points of the tree at ``root`` whose file system does not answer; raises nothing.

    Those that have a server are asked for their root's status; all of them together take ``seconds`` at most, or 5.
    """
    answered: Dict[bytes, bool] = dict.fromkeys(_served(root), False)

    def ask(place: bytes) -> None:
        with contextlib.suppress(OSError):  # an error is an answer
            os.stat(place)
        answered[place] = True

    threads = [threading.Thread(target=ask, args=(place,), daemon=True) for place in answered]
    for thread in threads:
        thread.start()
    end = time.monotonic() + min(seconds, _SECONDS)
    for thread in threads:
        thread.join(max(end - time.monotonic(), 0))
    return [os.fsdecode(place) for place, has_answered in answered.items() if not has_answered]


def _served(root: str) -> List[bytes]:
    """Return the mount points at, below and above ``root`` whose file system has a server (proc(5), mountinfo)."""
    try:
        table = tree.read_small("/", "/proc/self/mountinfo", _MAX_TABLE)
    except (OSError, tree.NotRegular):
        return []
    base = os.path.join(os.path.abspath(os.fsencode(root)), b"")
    found = []
    for line in table.splitlines():
        # ID PARENT MAJOR:MINOR ROOT MOUNTPOINT OPTIONS ... - TYPE SOURCE OPTIONS
        fields, kind = line.split(" "), line.partition(" - ")[2]
        if len(fields) > 4 and _SERVED.match(kind):
            place = _ESCAPED.sub(lambda match: bytes((int(match.group(1), 8),)), os.fsencode(fields[4]))
            if place.startswith(base) or base.startswith(os.path.join(place, b"")):
                found.append(place)
    return found[:_MAX_ASKED]
