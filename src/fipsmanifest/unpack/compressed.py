"""A compressed file that is no archive: one member, as gzip, bzip2, xz and zstd expand it."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from pathlib import Path

from ..errors import Incomplete
from .decompress import reader
from .limits import DEFAULT, Limits
from .member import Member

#: What the tools take off a name when they expand a file.
_SUFFIXES = (".gz", ".xz", ".zst", ".bz2", ".lzma", ".z", ".Z")
_PIECE = 1 << 20


def members(path: Path, name: str = "", limits: Limits = DEFAULT) -> Iterator[Member]:
    """Yield what the file at ``path`` expands to, named as it is without the suffix of its compression.

    The size is known only at the end, so the file is expanded twice; a copy on disk could fill it. Raises `Refused` for
    damaged data and more bytes than ``limits`` allow, `Incomplete` where the file cannot be read.
    """
    name = name or path.name
    inner = posixpath.basename(name)
    suffix = next((suffix for suffix in _SUFFIXES if inner.endswith(suffix) and inner != suffix), "")
    try:
        with path.open("rb") as file:
            stream = reader(file, limit=limits.expanded, name=name)
            while stream.read(_PIECE):
                pass
            size = stream.position
            file.seek(0)
            content = reader(file, limit=limits.expanded, name=name)
            yield Member(f"/{inner.removesuffix(suffix)}", "file", path.stat().st_mode & 0o777, size, content=content)
    except OSError as error:
        raise Incomplete(f"{path} cannot be read: {error.strerror}.", "Check the path.") from error
