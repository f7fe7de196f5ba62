"""Other builds of the components' programs, known by the main package in their Go build info, whatever their names."""

import os
from typing import Dict, Optional, Sequence

from ..result import Listed, image_files, is_own_program

LARGEST = 1024 * 1024 * 1024
"""Bytes of the largest program that is searched."""
_MAX_SEARCHED = 4 * 1024 * 1024 * 1024  # of all programs
_CHUNK = 256 * 1024
_LONGEST_LINE = 4096


class TooLarge(Exception):
    """The program is too large to be searched, or too many were; the text says which."""


class Builds:
    """The main packages of the components' own programs, in packages and images."""

    def __init__(self, manifests: Sequence[Listed]) -> None:
        self._packages: Dict[bytes, str] = {}
        self._least = LARGEST
        self._left = _MAX_SEARCHED
        for listed in manifests:
            images = listed.manifest.get("images") or []
            for file in [*listed.manifest["files"], *(file for image in images for file in image_files(image))]:
                package = (file.get("go") or {}).get("path")
                component = str(file.get("component"))
                if package and is_own_program(file, component):
                    # Go's build info has the main package's path in a line of its own (runtime/debug.BuildInfo).
                    self._packages["path\t{}\n".format(package).encode("utf-8", "replace")] = component
                    self._least = min(self._least, int(file.get("size") or 0) // 4)

    def of(self, descriptor: int) -> Optional[str]:
        """Return the component that an open file is a build of; raises `TooLarge` or `OSError`."""
        size = os.fstat(descriptor).st_size
        if not self._packages or size < self._least or os.read(descriptor, 4) != b"\x7fELF":
            return None
        if size > min(LARGEST, self._left):
            raise TooLarge("larger than {} bytes, or all programs than {}".format(LARGEST, _MAX_SEARCHED))
        self._left -= size
        tail = b""
        while True:
            # A writer may append to the file without end.
            part = os.read(descriptor, min(_CHUNK, size))
            size -= len(part)
            content = tail + part
            for line, component in self._packages.items():
                if line in content:
                    return component
            if not part:
                return None
            tail = content[-_LONGEST_LINE:]
