"""A reader of Go's build info, equivalent to ``go version -m``.

The format is that of Go's ``debug/buildinfo`` and ``runtime/debug.ParseBuildInfo``: a 32-byte header that begins
with a magic, on a 16-byte boundary, followed by two length-prefixed strings (from Go 1.18 on) or the addresses of two
Go strings (before).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..model.finding import GoFacts
from .elf import Elf, UnreadableElf
from .relocation import RelocatedData
from .source import ByteSource, find

MAGIC = b"\xff Go buildinf:"
#: The magic with valid values of the pointer size and the flags.
HEADER = re.compile(re.escape(MAGIC) + rb"[\x04\x08][\0-\x03]")
_ALIGN = 16
_HEADER = 32
_INLINE = 2
_BIG_ENDIAN = 1
_MAX_VERSION = 1 << 10
#: Kubernetes' own is 12 KiB.
_MAX_MODULES = 4 << 20
#: The module text is between two 16-byte marks (``runtime/debug.modinfo``).
_MARK = 16

#: Go's escapes in an interpreted string literal.
_ESCAPE = re.compile(r"\\(?:(?=[xuU])[xuU]((?<=x)[0-9a-fA-F]{2}|(?<=u)[0-9a-fA-F]{4}|(?<=U)[0-9a-fA-F]{8})|(.))", re.S)
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def read(source: ByteSource, elf: Elf) -> GoFacts | None:
    """Return a Go program's build info; None where it has none. Raises as `text` does."""
    found = text(source, elf)
    return None if found is None else _parse(*found)


def text(source: ByteSource, elf: Elf) -> tuple[str, str] | None:
    """Return version and module text of a Go program's build info, not parsed; None where it has none.

    It searches ``.go.buildinfo``, then as Go does the first writable segment, then the other ones, in order to read
    files without section headers. Raises `UnreadableElf` if there is build info that cannot be read.
    """
    for start, end in _places(elf):
        for at in find(source, start, end, MAGIC):
            # The linker aligns it in memory, and so in the file. Some of Go's readers require alignment relative to the
            # start of the segment instead, which may not be aligned itself.
            if at % _ALIGN == 0 or (at - start) % _ALIGN == 0:
                return _decode(source, elf, at)
    return None


def _places(elf: Elf) -> Iterator[tuple[int, int]]:
    section = elf.mapped_section(".go.buildinfo")
    if section:
        yield section.offset, section.offset + section.size
    writable = [segment for segment in elf.loads if segment.writable and not segment.executable]
    others = [segment for segment in elf.loads if segment not in writable and not segment.executable]
    for segment in [*writable, *others]:
        yield segment.offset, segment.end


def _decode(source: ByteSource, elf: Elf, at: int) -> tuple[str, str]:
    header = source.read_at(at, _HEADER)
    if len(header) < _HEADER:
        raise UnreadableElf("truncated-build-info")
    if header[15] & _INLINE:
        version, end = _inline(source, at + _HEADER, _MAX_VERSION)
        modules, _ = _inline(source, end, _MAX_MODULES)
    else:
        width = header[14]
        if width * 8 != elf.facts.bits or bool(header[15] & _BIG_ENDIAN) is elf.little:
            raise UnreadableElf("bad-build-info")
        memory = RelocatedData(source, elf)
        start = memory.address_of(at) or 0
        version = _pointed(source, elf, memory, start + 16, _MAX_VERSION)
        modules = _pointed(source, elf, memory, start + 16 + width, _MAX_MODULES)
    if not version:
        raise UnreadableElf("empty-build-info")
    framed = len(modules) >= 2 * _MARK + 1 and modules[-_MARK - 1 : -_MARK] == b"\n"
    return _text(version), _text(modules[_MARK:-_MARK]) if framed else ""


def _inline(source: ByteSource, at: int, limit: int) -> tuple[bytes, int]:
    """Read a varint length (unsigned LEB128) and that many bytes; return them and the offset after them."""
    length = shift = 0
    for byte in source.read_at(at, 10):
        at += 1
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    else:
        raise UnreadableElf("bad-build-info")
    if length > limit:
        raise UnreadableElf("oversized-build-info")
    data = source.read_at(at, length)
    if len(data) < length:
        raise UnreadableElf("truncated-build-info")
    return data, at + length


def _pointed(source: ByteSource, elf: Elf, memory: RelocatedData, pointer: int, limit: int) -> bytes:
    """Read the Go string (address, length) whose address is at ``pointer``."""
    address = memory.word(pointer) or 0
    data_address, length = memory.word(address), memory.word(address + elf.facts.bits // 8)
    data = None if data_address is None or length is None else elf.offset_of(data_address)
    if data is None or length is None:
        return b""
    if length > limit:
        raise UnreadableElf("oversized-build-info")
    return source.read_at(data, length)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _parse(version: str, modules: str) -> GoFacts:
    path = module = None
    settings: dict[str, str] = {}
    for line in modules.split("\n"):
        kind, _, rest = line.partition("\t")
        if kind == "path" and path is None:
            path = rest
        elif kind == "mod" and module is None:
            module = " ".join(rest.split("\t")[:2]).rstrip()
        elif kind == "build":
            key, value = _setting(rest)
            settings[key] = value
    return GoFacts(version, path, module, settings)


def _setting(text: str) -> tuple[str, str]:
    """Split ``KEY=VALUE``, of which each may be quoted as Go quotes strings."""
    if text.startswith('"') and '"=' in text[1:]:
        key, _, value = text.partition('"=')
        return _unquote(key + '"'), _unquote(value)
    key, _, value = text.partition("=")
    return key, _unquote(value)


def _unquote(text: str) -> str:
    """Undo ``strconv.Quote``; return text without quotes unchanged."""
    if len(text) >= 2 and text[0] == text[-1] == "`":
        return text[1:-1]
    if len(text) < 2 or not text[0] == text[-1] == '"':
        return text
    return _ESCAPE.sub(_unescape, text[1:-1])


def _unescape(match: re.Match[str]) -> str:
    digits, letter = match[1], match[2]
    if digits is None:
        return _ESCAPES.get(letter, letter)
    number = int(digits, 16)
    return chr(number) if number <= 0x10FFFF and not 0xD800 <= number < 0xE000 else "\N{REPLACEMENT CHARACTER}"
