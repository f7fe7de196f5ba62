"""Sources of bytes for inspection: memory, or an open file that is read in windows and never mapped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Protocol

#: Large enough that the calls cost little, small enough to stay in a core's cache.
WINDOW = 1 << 18


class ByteSource(Protocol):
    """Random access to a file's bytes; safe to use from several threads."""

    @property
    def size(self) -> int:
        """Number of bytes."""

    def read_at(self, offset: int, length: int, /) -> bytes:
        """Return ``length`` bytes from ``offset``, fewer only at the end."""


class Buffer:
    """Bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def size(self) -> int:
        """Number of bytes."""
        return len(self._data)

    def read_at(self, offset: int, length: int, /) -> bytes:
        """Return ``length`` bytes from ``offset``, fewer only at the end."""
        if offset < 0 or length <= 0:
            return b""
        return self._data[offset : offset + length]


class OpenFile:
    """A regular file with an open descriptor, which the caller closes."""

    def __init__(self, descriptor: int, size: int | None = None) -> None:
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size if size is None else size

    @property
    def size(self) -> int:
        """Number of bytes when it was opened."""
        return self._size

    def read_at(self, offset: int, length: int, /) -> bytes:
        """Return ``length`` bytes from ``offset``, fewer only at the end. Raises `OSError`."""
        length = min(length, self._size - offset)
        if offset < 0 or length <= 0:
            return b""
        data = os.pread(self._descriptor, length, offset)
        while len(data) < length:
            more = os.pread(self._descriptor, length - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data


def windows(source: ByteSource, start: int, end: int, overlap: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield windows (offset, bytes) that cover ``start`` to ``end``.

    Each window overlaps the next one by ``overlap`` bytes, so that any ``overlap + 1`` bytes are whole in one of them.
    """
    while start < end:
        data = source.read_at(start, min(WINDOW + overlap, end - start))
        yield start, data
        if len(data) <= overlap or start + len(data) >= end:
            return
        start += len(data) - overlap


def find(source: ByteSource, start: int, end: int, needle: bytes) -> Iterator[int]:
    """Yield the offsets of ``needle`` between ``start`` and ``end``, in order."""
    for base, data in windows(source, start, end, len(needle) - 1):
        at = data.find(needle)
        while at >= 0:
            yield base + at
            at = data.find(needle, at + 1)
