"""Sparse files of tar archives: what is stored, and the holes between."""

from __future__ import annotations

from collections.abc import Sequence

from .member import Content
from .tarextended import pairs
from .tarheader import BLOCK, Ambiguous, Malformed, Segment

#: Bytes of a map that precedes the content: Go reads no more of one in pax records (maxSpecialFileSize).
_MAX_MAP = 1 << 20

#: Zeros that are returned at a time.
_ZEROS = bytes(1 << 16)


class SparseContent:
    """A sparse file's bytes, with zeros for the holes."""

    def __init__(self, stored: Content, segments: Sequence[Segment], size: int) -> None:
        self._stored = stored
        self._segments = [*reversed(segments)]
        self._left = size
        self._position = 0

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes, fewer only at the end."""
        wanted = self._left if size < 0 else min(size, self._left)
        parts = []
        while wanted:
            part = self._part(wanted)
            wanted -= len(part)
            self._left -= len(part)
            self._position += len(part)
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _part(self, size: int) -> bytes:
        while self._segments and self._segments[-1].offset + self._segments[-1].length <= self._position:
            self._segments.pop()
        if not self._segments:
            return _ZEROS[:size]
        offset, length = self._segments[-1].offset, self._segments[-1].length
        if self._position < offset:
            return _ZEROS[: min(size, offset - self._position)]
        return self._stored.read(min(size, offset + length - self._position))


def read_map(stored: Content, size: int) -> tuple[Segment, ...]:
    """Return the map at the beginning of ``size`` stored bytes (GNU tar's sparse format 1.0); reads whole blocks.

    Raises `Ambiguous` for one that is not decimal numbers, each on a line, `Malformed` for one that is cut or too
    large.
    """
    blocks: list[bytes] = []
    lines, wanted = 0, 1
    while lines < wanted:
        if (len(blocks) + 1) * BLOCK > min(size, _MAX_MAP):
            raise Malformed("a sparse map is cut or too large")
        blocks.append(stored.read(BLOCK))
        lines += blocks[-1].count(b"\n")
        if wanted == 1 and lines:
            # The first line is the number of pairs.
            first = b"".join(blocks).partition(b"\n")[0]
            wanted = 1 + 2 * pairs([first.decode("latin-1"), "0"])[0].offset
    numbers = b"".join(blocks).decode("latin-1").split("\n")[1:wanted]
    return pairs(numbers)


def check(segments: Sequence[Segment], size: int, stored: int) -> None:
    """Raise `Ambiguous` for a map that unpackers expand differently into a file of ``size`` bytes.

    ``stored`` is how many bytes the archive has for it. GNU tar reads each segment from a new block on, the others
    without padding; it makes the file as long as the last segment says, they as ``size`` does. The last may be empty,
    as GNU tar writes it behind a file's last bytes.
    """
    end = 0
    for segment in segments:
        if segment.offset < end:
            raise Ambiguous("its sparse map is not in order")
        end = segment.offset + segment.length
    if not segments or end != size:
        raise Ambiguous("its sparse map does not end where the file does")
    filled = segments if segments[-1].length else segments[:-1]
    if any(segment.length % BLOCK or not segment.length for segment in filled[:-1]) or not all(
        segment.length for segment in filled[-1:]
    ):
        raise Ambiguous("a segment of its sparse map is not of whole blocks")
    if sum(segment.length for segment in segments) != stored:
        raise Ambiguous("its sparse map describes another number of bytes than are stored")
