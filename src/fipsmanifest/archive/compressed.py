"""A compressed file that is not an archive: one member, as gzip, bzip2, xz and zstd expand it."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from typing import BinaryIO

from .decompress import reader
from .limits import DEFAULT, Limits
from .member import Member

#: What the tools take off a name when they expand a file.
_SUFFIXES = (".gz", ".xz", ".zst", ".bz2", ".lzma", ".z", ".Z")
_PIECE = 1 << 20


def read_members(file: BinaryIO, name: str, limits: Limits = DEFAULT) -> Iterator[Member]:
    """Yield what ``file`` expands to, named as it is without the suffix of its compression.

    The size is known only at the end, so the file is expanded twice; a copy on disk could fill it. Raises `Refused` for
    damaged data and more bytes than ``limits`` allow.
    """
    inner = posixpath.basename(name)
    suffix = next((suffix for suffix in _SUFFIXES if inner.endswith(suffix) and inner != suffix), "")
    stream = reader(file, limit=limits.expanded, name=name)
    while stream.read(_PIECE):
        pass
    file.seek(0)
    content = reader(file, limit=limits.expanded, name=name)
    mode = os.fstat(file.fileno()).st_mode & 0o777
    yield Member(f"/{inner.removesuffix(suffix)}", "file", mode, stream.position, content=content)
