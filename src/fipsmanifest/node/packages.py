"""What the operating system's package database says of a file: its digest, as rpm itself reads the database.

The database is not signed: it shows a library that was replaced, not an attacker who changed the database as well.
"""

import os
import posixpath
from typing import Dict, Optional, Sequence

from . import helper

_SECONDS = 20.0
_MAX_ASKED = 200  # files; components load some ten
_FORMAT = "[%{=FILEDIGESTALGO}\t%{FILENAMES}\t%{FILEDIGESTS}\n]"
_SHA256 = "8"  # RFC 4880, 9.4, as rpm's FILEDIGESTALGO


class Unanswered(Exception):
    """The database cannot be asked, or no longer; the text says why."""


class Packages:
    """The package database of the machine that this runs on."""

    def __init__(self, root: str, program: Optional[Sequence[str]] = None) -> None:
        found = helper.find("rpm") if root == "/" else None
        self._program = list(program or ([found] if found else []))
        self._packages: Dict[str, Dict[str, str]] = {}
        """Path that was asked for -> path -> digest of all files of its package."""
        self._is_used: Optional[bool] = None

    def digest(self, path: str) -> Optional[str]:
        """Return the SHA-256 of a file as its package has it, None if no package has it. Raise `Unanswered`.

        A database that does not have rpm itself is not the operating system's, as on Debian.
        """
        if self._is_used is None:
            self._is_used = bool(self._program and self._files(self._program[0]))
        if not self._is_used:
            raise Unanswered("there is no package database")
        names = {path, os.path.realpath(path)}
        for name, digest in self._files(path).items():
            # Directories of one file may have two names: /lib64 and /usr/lib64.
            if name in names or (posixpath.basename(name) == posixpath.basename(path) and _is_same(name, path)):
                return digest or None
        return None

    def _files(self, path: str) -> Dict[str, str]:
        if path not in self._packages:
            if len(self._packages) >= _MAX_ASKED:
                raise Unanswered("more than {} files were asked for".format(_MAX_ASKED))
            self._packages[path] = self._query(path)
        return self._packages[path]

    def _query(self, path: str) -> Dict[str, str]:
        try:
            output = helper.run([*self._program, "-qf", "--qf", _FORMAT, path], _SECONDS)
        except helper.HelperFailed:
            return {}  # as for a file of no package
        rows = [line.split("\t") for line in output.decode("utf-8", "backslashreplace").splitlines()]
        return {row[1]: row[2] for row in rows if len(row) == 3 and row[0] == _SHA256}


def _is_same(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False
