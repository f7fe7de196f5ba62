"""Files of an image that change what glibc's dynamic loader loads with its programs (ld.so(8), ldconfig(8)).

They are no programs, so they are read while a layer streams past, and what they hold is kept as codes of evidence.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import replace

from ..archive.member import Joined, Member
from ..node.formats.libraries import cached_libraries, is_other_library

PRELOAD, CACHE, DIRECTORY, LIBRARY = (
    "image-preload-file",
    "image-library-cache",
    "image-library-directory",
    "image-library",
)
#: Bytes of a file that are read; more are evidence themselves.
_MOST = 2 << 20
_PRELOAD, _CACHE, _CONFIGURATION = "ld.so.preload", "ld.so.cache", "ld.so.conf"
#: The code of a link that has the name.
_LINKS = {_PRELOAD: PRELOAD, _CACHE: CACHE, _CONFIGURATION: DIRECTORY}
#: Directories that distributions configure: their libraries, and those of administrators.
_USUAL = re.compile(r"/(?:usr/(?:local/)?)?lib[0-9x]*(?:/[^/]+)*\Z")
#: Directories below the system's that the loader searches first on some processors.
_BY_PROCESSOR = re.compile(
    r"/(?:usr/)?lib[0-9x]*/(?:[a-z0-9_]+-linux-gnu[a-z0-9_]*/)?"
    r"(?:glibc-hwcaps|tls|haswell|x86_64|avx512_1|atomics)/"
)


def read(member: Member) -> tuple[Member, tuple[str, ...]]:
    """Return a member of a layer, and the codes of what it has the loader load.

    Its name decides, wherever it is: ``/etc`` may be a link. Of a link, what it leads to is not known, so it counts as
    a file that names something. The content of the member returned is whole.
    """
    directory, name = posixpath.split(member.path)
    if posixpath.basename(directory) == _CONFIGURATION + ".d":
        name = _CONFIGURATION
    if name not in (_PRELOAD, _CACHE, _CONFIGURATION) or member.type in ("directory", "special"):
        return member, ()
    if member.content is None:
        harmless = member.type == "symlink" and member.target == "/dev/null"
        return member, () if harmless else (_LINKS[name],)
    data = b""
    while len(data) <= _MOST and (piece := member.content.read(_MOST + 1 - len(data))):
        data += piece
    return replace(member, content=Joined(data, member.content)), _codes(name, data)


def _codes(name: str, data: bytes) -> tuple[str, ...]:
    text = data.decode("latin-1")
    if name == _CACHE:
        return (CACHE,) if len(data) > _MOST or any(map(is_other_library, cached_libraries(text))) else ()
    words = re.sub(r"#.*", "", text).replace(":", " ").split()
    if name == _PRELOAD:
        return (PRELOAD,) if words or len(data) > _MOST else ()
    directories = (posixpath.normpath(word) for word in re.split(r"[\s,]+", " ".join(words)) if word.startswith("/"))
    unusual = any(_USUAL.match(directory) is None for directory in directories if "*" not in directory)
    return (DIRECTORY,) if unusual or len(data) > _MOST else ()


def replaces_library(path: str) -> bool:
    """Return whether the library at ``path`` is a C library that is loaded in place of another on some processors."""
    return _BY_PROCESSOR.match(path) is not None and is_other_library(path)
