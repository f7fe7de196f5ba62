"""Which symbolic links on the way to a file that is written are followed: one rule for every file that is written."""

import errno
import os
import stat


def refuse_links(path: str) -> None:
    """Raise `OSError` (ELOOP) if a link on the way to ``path``, itself included, is another user's to set.

    The rule is that of Linux (``fs.protected_symlinks``, proc_sys_fs(5)), which not every machine has switched on: in a
    directory that others can write to, only links of this user and of the directory's owner are followed.
    """
    place = os.path.abspath(path)
    places = [place]
    while os.path.dirname(place) != place:
        place = os.path.dirname(place)
        places.append(place)
    for place in reversed(places):
        try:
            found = os.lstat(place)
        except OSError:
            return  # making or opening it says why
        if stat.S_ISLNK(found.st_mode):
            directory = os.stat(os.path.dirname(place))
            if others_write(directory) and found.st_uid not in (os.geteuid(), directory.st_uid):
                raise OSError(errno.ELOOP, "{} is another user's link".format(place), place)


def others_write(directory: os.stat_result) -> bool:
    """Return whether group or others can write to a directory."""
    return bool(directory.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
