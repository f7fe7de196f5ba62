"""The C library's files by their paths: its own, where the operating system keeps them, and ld.so.cache (ld.so(8))."""

import posixpath
import re
from typing import List

# glibc's own, which every program that is not static loads.
_LIBRARY = re.compile(r"(?:ld-linux[^/]*|lib(?:c|m|dl|rt|pthread|resolv|util|nsl|anl|nss_[a-z]+))\.so[0-9.]*\Z")
_CACHED = re.compile(r"/[\x20-\x7e]*")
# Where the operating system keeps libraries.
SYSTEM = re.compile(
    r"/(?:usr/)?lib[0-9x]*/(?:[a-z0-9_]+-linux-gnu[a-z0-9_]*/|i[3-6]86/|sse2/|nosegneg/|power[0-9]+/)*[^/]*\Z"
)


def cached_libraries(cache: str) -> List[str]:
    """Return the paths in ld.so.cache."""
    return _CACHED.findall(cache)


def is_other_library(path: str) -> bool:
    """Return whether a path is that of a C library which is not the operating system's."""
    return _LIBRARY.match(posixpath.basename(path)) is not None and SYSTEM.match(posixpath.normpath(path)) is None
