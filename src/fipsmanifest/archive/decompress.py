"""Decompress a stream of any of the compressions in use, recognized by its magic, in bounded memory.

gzip (RFC 1952), bzip2, xz (the .xz file format) and zstd (RFC 8878), each with several members, streams or frames one
after the other, and .lzma (the LZMA_Alone format), which has one; anything else passes as it is. Blocks are large, so
that the libraries work without the interpreter's lock and several archives are decompressed at once.
"""

from __future__ import annotations

import bz2
import lzma
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

# In the standard library from Python 3.14 on.
if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from ..errors import Incomplete, Refused
from . import signatures
from .limits import spend
from .member import Content, Joined
from .tarheader import BLOCK, is_header

Compression = Literal["none", "gzip", "bzip2", "xz", "lzma", "zstd"]

#: Bytes read at a time, and the most given by one call into a decompressor.
_INPUT = 256 << 10
#: Bytes that are read first of each stream.
_FIRST_INPUT = 1 << 10
_OUTPUT = 1 << 20
#: The most that is expanded to see whether data is what its magic says.
_FIRST_OUTPUT = 1 << 16

_GZIP = b"\x1f\x8b\x08"
_XZ = b"\xfd7zXZ\x00"
_ZSTD = b"\x28\xb5\x2f\xfd"
#: The level, and the magic of a first block or of the end (bzip2's ``decompress.c``).
_BZIP2 = re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)")
#: .lzma has no magic: properties, dictionary's and expanded size (liblzma's ``alone_decoder.c``).
_LZMA_HEADER = 13
_LZMA_PROPERTIES = 9 * 5 * 5
_LZMA_DICTIONARY = 1 << 12
_LZMA_UNKNOWN_SIZE = (1 << 64) - 1
_LZMA_SIZE = 1 << 38
#: Sizes to expand the start of .lzma with: a dictionary that is large enough, and no size that is known.
_LZMA_SMALL = (1 << 16).to_bytes(4, "little") + b"\xff" * 8
#: How programs and archives other than tar begin: ELF, scripts, cpio, ar, RPM and ZIP.
_PACKED = (b"\x7fELF", b"#!", b"0707", b"!<arch>\n", b"\xed\xab\xee\xdb", b"PK\x03\x04")
#: RFC 8878, 3.1.2: skippable frames are numbered 0x184D2A50 to 0x184D2A5F, little-endian.
_ZSTD_SKIPPABLE = b"\x2a\x4d\x18"

#: ``xz -9`` asks for 65 MiB to decompress; this is twice that.
_LZMA_MEMORY = 128 << 20
#: The window (a power of two) up to which zstd decompresses by default (ZSTD_WINDOWLOG_LIMIT_DEFAULT).
_ZSTD_WINDOW_LOG = 27

#: Streams in one file: bgzip makes one for each 64 KiB, so this is twice what an archive of the largest size needs.
_STREAMS = 500_000

_AGAIN = "Fetch it again; if it stays so, ask those who publish it."


class TooDemanding(Refused):
    """Decompressing takes more memory or time than an archive may require."""

    reason = "too-large"


class Reader:
    """The expanded bytes of a stream; made by `reader`."""

    def __init__(self, chunks: Iterator[bytes], *, compression: Compression, limit: int, name: str) -> None:
        self.compression = compression
        self.position = 0
        self._chunks = chunks
        self._limit = limit
        self._name = name
        self._chunk = b""
        self._offset = 0
        self._expanded = 0

    def read(self, size: int = -1, /) -> bytes:
        """Return ``size`` bytes, fewer only where the stream ends, all that is left for a negative ``size``.

        Raises `Refused` for a stream that is truncated, corrupt or longer than the limit, `TooDemanding` for one that
        takes too much memory, and `Incomplete` where the file below cannot be read.
        """
        parts: list[bytes] = []
        while size and (self._offset < len(self._chunk) or self._refill()):
            end = len(self._chunk) if size < 0 else self._offset + size
            part = self._chunk[self._offset : end]
            self._offset += len(part)
            self.position += len(part)
            size -= len(part) if size > 0 else 0
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _refill(self) -> bool:
        self._chunk, self._offset = next(self._chunks, b""), 0
        self._expanded += len(self._chunk)
        spend(len(self._chunk))
        if self._expanded > self._limit:
            raise Refused(
                f"{self._name} expands beyond {self._limit} bytes.",
                "Nothing that belongs in a release is that large.",
                reason="too-large",
            )
        return bool(self._chunk)


def reader(raw: Content, *, limit: int, name: str) -> Reader:
    """Return the expanded bytes of ``raw``, from its current position to its end.

    ``limit`` bounds the expanded size in bytes; ``name`` is what errors call the archive. Raises as `Reader.read`, and
    `Refused` where the compressed bytes begin with a header of tar.
    """
    source = _Source(raw, name)
    compression = compression_of(source.peek(_FIRST_INPUT))
    if compression != "none" and is_header(source.peek(BLOCK)):
        # The header may be in an extra field of gzip or a skippable frame of zstd, and all that it lists as well.
        raise source.also_tar(compression)
    return Reader(_EXPAND[compression](source), compression=compression, limit=limit, name=name)


def plain(raw: Content, *, limit: int, name: str) -> Reader:
    """Return the bytes of ``raw`` as they are, whatever they look like, within ``limit`` as `reader` does."""
    return Reader(_plain(_Source(raw, name)), compression="none", limit=limit, name=name)


def lzma_of(raw: Content, header: bytes, *, limit: int, name: str) -> Reader:
    """Return the expanded bytes of raw LZMA that has no header of its own: ``header`` is that of the .lzma format."""
    return Reader(_lzma(_Source(Joined(header, raw), name)), compression="lzma", limit=limit, name=name)


def compression_of(head: bytes) -> Compression:
    """Return how a stream is compressed, by its first bytes, a thousand or all of them."""
    if head.startswith(_GZIP):
        return "gzip"
    if _BZIP2.match(head):
        return "bzip2"
    if head.startswith(_XZ):
        return "xz"
    if head.startswith(_ZSTD) or (head[1:4] == _ZSTD_SKIPPABLE and head[0] >> 4 == 5):
        return "zstd"
    return "lzma" if _is_lzma(head) else "none"


def _is_lzma(head: bytes) -> bool:
    """Return whether it is .lzma, by sizes that its tools write, as they do: otherwise many files would be.

    dpkg and the kernel take any sizes, so what has others is .lzma where it expands to a program or an archive.
    """
    if len(head) < _LZMA_HEADER or head[0] >= _LZMA_PROPERTIES:
        return False
    dictionary, size = int.from_bytes(head[1:5], "little"), int.from_bytes(head[5:13], "little")
    # A power of two, or the sum of two that follow one another.
    usual = dictionary >= _LZMA_DICTIONARY and dictionary // (dictionary & -dictionary) in (1, 3)
    usual = (usual or dictionary == 0xFFFFFFFF) and (size < _LZMA_SIZE or size == _LZMA_UNKNOWN_SIZE)
    return usual or begins_lzma(head)


def begins_lzma(head: bytes) -> bool:
    """Return whether ``head`` begins a program or an archive that is compressed as .lzma, whatever its sizes.

    It may have the start alone.
    """
    # The first byte of the compressed data is always zero.
    if head[_LZMA_HEADER : _LZMA_HEADER + 1] != b"\0":
        return False
    try:
        start = lzma.LZMADecompressor(lzma.FORMAT_ALONE).decompress(
            head[:1] + _LZMA_SMALL + head[_LZMA_HEADER:_FIRST_INPUT], BLOCK
        )
    except lzma.LZMAError:
        return False
    return is_header(start) or start.startswith(_PACKED)


class _Source:
    """Compressed bytes, of which the last that were read can be put back.

    Reads grow from `_FIRST_INPUT` to `_INPUT` in each stream: what a decompressor leaves over is copied, and a file may
    have hundreds of thousands of tiny streams.
    """

    def __init__(self, raw: Content, name: str) -> None:
        self.name = name
        self._raw = raw
        self._buffer = b""
        self._position = 0
        self._size = _FIRST_INPUT

    def begin_stream(self) -> None:
        """Begin with small reads again."""
        self._size = _FIRST_INPUT

    def read(self, size: int = 0) -> bytes:
        """Return at most ``size`` bytes, or as many as suit a decompressor for 0; none at the end."""
        if not size:
            size, self._size = self._size, min(self._size * 2, _INPUT)
        if self._position == len(self._buffer):
            try:
                self._buffer, self._position = self._raw.read(max(size, _INPUT)), 0
            except OSError as error:
                raise Incomplete(
                    f"{self.name} could not be read: {error.strerror}.", "Check the disk.", reason="not-read"
                ) from error
        part = self._buffer[self._position : self._position + size]
        self._position += len(part)
        return part

    def exactly(self, size: int) -> bytes:
        """Return ``size`` bytes, fewer only at the end."""
        parts: list[bytes] = []
        while size > 0 and (part := self.read(size)):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def put_back(self, data: bytes) -> None:
        """Put back ``data``, the last bytes that were read."""
        if len(data) <= self._position:
            self._position -= len(data)
        else:
            self._buffer, self._position = data + self._buffer[self._position :], 0

    def peek(self, size: int) -> bytes:
        data = self.exactly(size)
        self.put_back(data)
        return data

    def truncated(self, compression: str) -> Refused:
        return Refused(f"{self.name} ends in the middle of its {compression} data.", _AGAIN, reason="damaged-archive")

    def corrupt(self, compression: str, why: object) -> Refused:
        return Refused(f"{self.name} is not valid {compression} data: {why}.", _AGAIN, reason="damaged-archive")

    def other_format(self, head: bytes) -> Refused:
        """Return the error for what begins with a frame that zstd skips, as lz4 does, and goes on with ``head``."""
        what = signatures.format_of(head, b"") or "something else"
        return Refused(
            f"{self.name} is not zstd data: its skippable frame is followed by {what}.",
            _AGAIN,
            reason="damaged-archive",
        )

    def also_tar(self, compression: str) -> Refused:
        """Return the error for data that GNU tar takes for a tar, and tools that look for compression first do not."""
        return Refused(
            f"{self.name} begins as {compression} data and as a tar archive, and unpackers differ on which it is.",
            "Do not use it; ask those who publish it.",
            reason="ambiguous-archive",
        )

    def too_demanding(self, compression: str, what: str) -> TooDemanding:
        return TooDemanding(
            f"{self.name} needs {what} for its {compression} data.", "Compress it again with usual settings."
        )


def _plain(source: _Source) -> Iterator[bytes]:
    while data := source.read(_OUTPUT):
        yield data


def _streams(source: _Source, compression: Compression) -> Iterator[int]:
    """Count the streams that follow one another; millions of tiny ones are refused."""
    count = 0
    while source.peek(1):
        if count == _STREAMS:
            raise source.too_demanding(compression, f"more than {_STREAMS} streams")
        source.begin_stream()
        yield count
        count += 1


def _gzip(source: _Source) -> Iterator[bytes]:
    for _ in _streams(source, "gzip"):
        member = zlib.decompressobj(wbits=31)
        data = b""
        while not member.eof:
            data = member.unconsumed_tail or source.read()
            if not data:
                raise source.truncated("gzip")
            try:
                expanded = member.decompress(data, _OUTPUT)
            except zlib.error as error:
                raise source.corrupt("gzip", error) from error
            if expanded:
                yield expanded
        source.put_back(member.unused_data)
        _end_at_zeros(source, "gzip")


def _bzip2(source: _Source) -> Iterator[bytes]:
    for _ in _streams(source, "bzip2"):
        yield from _stream(source, "bzip2", bz2.BZ2Decompressor())
        _end_at_zeros(source, "bzip2")


def _xz(source: _Source) -> Iterator[bytes]:
    for _ in _streams(source, "xz"):
        yield from _stream(source, "xz", lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_LZMA_MEMORY))
        # The .xz file format, 2.2: stream padding, behind which another stream may follow.
        if _skip_zeros(source) % 4:
            raise source.corrupt("xz", "its padding is not a multiple of four bytes")


def _lzma(source: _Source) -> Iterator[bytes]:
    yield from _stream(source, "lzma", lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_LZMA_MEMORY))
    if source.peek(1):
        raise source.corrupt("lzma", "something follows its end")


def _stream(
    source: _Source,
    compression: Compression,
    stream: lzma.LZMADecompressor | bz2.BZ2Decompressor | zstd.ZstdDecompressor,
) -> Iterator[bytes]:
    """Yield what one stream expands to, and leave ``source`` behind it."""
    while not stream.eof:
        data = source.read() if stream.needs_input else b""
        if stream.needs_input and not data:
            raise source.truncated(compression)
        try:
            expanded = stream.decompress(data, _OUTPUT)
        except zstd.ZstdError as error:
            if _needs_too_much(error):
                raise source.too_demanding("zstd", f"a window of more than {1 << _ZSTD_WINDOW_LOG} bytes") from error
            raise source.corrupt("zstd", error) from error
        except (lzma.LZMAError, OSError) as error:
            if "Memory usage limit" in str(error):  # liblzma's LZMA_MEMLIMIT_ERROR has no class of its own here
                raise source.too_demanding(compression, f"more than {_LZMA_MEMORY} bytes") from error
            raise source.corrupt(compression, error) from error
        if expanded:
            yield expanded
    source.put_back(stream.unused_data)


def _end_at_zeros(source: _Source, compression: str) -> None:
    """Skip zeros to the end of the file, which tapes and tools leave there.

    gzip and bzip2 ignore whatever follows such zeros, and other readers take it for the next member, so it is refused.
    """
    if _skip_zeros(source) and source.peek(1):
        raise source.corrupt(compression, "something follows the zeros behind its end")


def _skip_zeros(source: _Source) -> int:
    """Skip zeros and return how many they were."""
    skipped = 0
    while data := source.read():
        rest = data.lstrip(b"\0")
        skipped += len(data) - len(rest)
        if rest:
            source.put_back(rest)
            break
    return skipped


def begins_zstd(data: bytes) -> bool:
    """Return whether ``data`` begins with a zstd frame (RFC 8878), of which it may have the start alone."""
    try:
        zstd.ZstdDecompressor().decompress(data, _FIRST_OUTPUT)
    except zstd.ZstdError as error:
        return _needs_too_much(error)
    return True


def _needs_too_much(error: Exception) -> bool:
    # ZSTD_error_frameParameter_windowTooLarge has no class of its own.
    return "too much memory" in str(error)


def _zstd(source: _Source) -> Iterator[bytes]:
    skipped = True
    for _ in _streams(source, "zstd"):
        head = source.peek(len(_ZSTD))
        # libzstd may be built to read frames of its versions before 1.0 too, which other readers do not.
        if compression_of(head) != "zstd":
            raise source.other_format(head) if skipped else source.corrupt("zstd", "something follows its end")
        skipped = skipped and not head.startswith(_ZSTD)
        options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
        yield from _stream(source, "zstd", zstd.ZstdDecompressor(options=options))


_EXPAND: Mapping[Compression, Callable[[_Source], Iterator[bytes]]] = {
    "none": _plain,
    "gzip": _gzip,
    "bzip2": _bzip2,
    "xz": _xz,
    "lzma": _lzma,
    "zstd": _zstd,
}
