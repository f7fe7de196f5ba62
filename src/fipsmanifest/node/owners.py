"""Who may replace a file of the node: by owners, modes and access control lists, on the whole way to it."""

import contextlib
import os
import re
import stat
import struct
from typing import Dict, FrozenSet, NamedTuple, Optional, Set

from ..trust.text import visible
from . import tree
from .result import Node

_MAX_ACCOUNTS = 4 * 1024 * 1024
# include/uapi/linux/posix_acl_xattr.h: a version, then entries of tag, permissions and number.
_ACL = "system.posix_acl_access"
_ACL_HEADER = 4
_BY_LIST = " (by an access control list)"
_ACL_ENTRY = struct.Struct("<HHI")
_ACL_USER, _ACL_GROUP, _ACL_WRITE = 0x02, 0x08, 0x02
_NUMBER = re.compile(r"[0-9]{1,10}\Z", re.ASCII)

Accounts = FrozenSet[int]
"""The numbers of the node's own accounts."""


class Replaceable(NamedTuple):
    """Who other than root may replace a file, and where."""

    who: str = ""
    """Empty if only root may."""
    path: str = ""
    noted: str = ""
    """A path that belongs to a number without an account, which no user has."""

    @property
    def shown(self) -> str:
        """A sentence for reports."""
        return "{} may change {}".format(self.who, self.path)

    @property
    def advice(self) -> str:
        """What to do about it."""
        return "Give it to root: chown root: {0}; chmod go-w {0}{1}".format(
            self.path, "; setfacl -b {}".format(self.path) if self.who.endswith(_BY_LIST) else ""
        )


def find_replaceable(node: Node, path: str, accounts: Optional[Accounts]) -> Replaceable:
    """Return who other than root may replace a file or a directory or link on the way to it.

    In a tree at rest that a user unpacked, the owner of its root directory counts as root. An owner without an account
    on the node, as a tarball may have, can replace nothing: ``accounts`` are the accounts' numbers, None if not known.
    """
    passed: Dict[bytes, os.stat_result] = {}
    noted = ""
    with contextlib.suppress(OSError):
        first = os.stat(node.root)
        passed[os.fsencode(node.root)] = first
        tree.resolve(node.root, path, passed=passed)
        user, group = (0, 0) if node.live else (first.st_uid, first.st_gid)
        for place, status in passed.items():
            users = {0, user}
            if accounts is not None and status.st_uid not in accounts | users:
                noted = noted or visible(tree.path_of(node.root, place))
                users.add(status.st_uid)
            who = _who_may_replace(status, users, {0, group}) or _who_by_list(place, status, users, {0, group})
            if who is not None:
                return Replaceable(who, visible(tree.path_of(node.root, place)), noted)
    return Replaceable(noted=noted)


def accounts_of(node: Node) -> Optional[Accounts]:
    """Return the numbers of the node's own accounts; None where its list cannot be read whole, or has no root."""
    try:
        text = tree.read_small(node.root, "/etc/passwd", _MAX_ACCOUNTS)
    except (OSError, tree.NotRegular):
        return None
    if len(text) >= _MAX_ACCOUNTS:
        return None
    rows = [row.split(":") for row in text.splitlines()]
    numbers = frozenset(int(row[2]) for row in rows if len(row) > 3 and _NUMBER.match(row[2]))
    return numbers if 0 in numbers else None


def _who_may_replace(status: os.stat_result, users: Set[int], groups: Set[int]) -> Optional[str]:
    if status.st_uid not in users:
        return "user {}".format(status.st_uid)
    # Links have no mode of their own; in a directory with the sticky bit users replace only what they own.
    if _has_no_mode(status.st_mode):
        return None
    if status.st_mode & stat.S_IWOTH:
        return "everybody"
    return "group {}".format(status.st_gid) if status.st_mode & stat.S_IWGRP and status.st_gid not in groups else None


def _has_no_mode(mode: int) -> bool:
    return stat.S_ISLNK(mode) or (stat.S_ISDIR(mode) and bool(mode & stat.S_ISVTX))


def _who_by_list(place: bytes, status: os.stat_result, users: Set[int], groups: Set[int]) -> Optional[str]:
    """Return who may write by the access control list (acl(5)), whose mask the mode has in its group's place."""
    if _has_no_mode(status.st_mode) or not status.st_mode & stat.S_IWGRP:
        return None
    try:
        listed = os.getxattr(place, _ACL, follow_symlinks=False)
    except OSError:
        return None  # there is none, or the file system has none
    if len(listed) % _ACL_ENTRY.size != _ACL_HEADER:
        return None
    for tag, permissions, number in _ACL_ENTRY.iter_unpack(listed[_ACL_HEADER:]):
        named = {_ACL_USER: ("user", users), _ACL_GROUP: ("group", groups)}.get(tag)
        if named is not None and permissions & _ACL_WRITE and number not in named[1]:
            return "{} {}{}".format(named[0], number, _BY_LIST)
    return None
