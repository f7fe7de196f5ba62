"""A reference of Go's native module: what one toolchain compiles from the module's source, and the file that keeps it.

A reference has a record for each symbol: its size, the digest of its bytes without what the linker writes into them,
and its relocations with their targets. A file holds references of several toolchains, which have most records in
common:

    magic, length of the header, header (JSON: what each reference is of), length and LZMA stream of the body
    body: strings, digests, records, and for each reference the numbers of its records

Numbers are little-endian, in the body variable-length (LEB128). The module's own path is written as one character,
since it contains the module's version.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from typing import Any

from ...errors import UsageError
from ...model import documents
from .prepared import Preparation
from .records import DIGEST, STATIC, Record, Relocation, Symbol
from .relocations import SIZES

MAGIC = b"fipsmanifest native references 1\n"
MODULE_PATH = "crypto/internal/fips140"
"""The packages of the module are below it, a snapshot's below its version."""
_PATH, _ESCAPED_PATH = "\x01", "\x02"

HEADER_BYTES = 1 << 20
"""Enough of a file's start to read what its references are of."""
_MOST_FILE = 16 << 20
_MOST_BODY = 64 << 20
_ADVICE = "Make the file again with 'fipsmanifest modules learn --native'."


@dataclass(frozen=True, slots=True)
class Origin:
    """What a reference was made of."""

    go: str
    """The toolchain's version, as build info has it (``go1.26.6``)."""
    architecture: str
    """RPM name."""
    level: str
    """GOAMD64 or GOARM64 (``v1``, ``v8.0``)."""
    experiments: str
    """GOEXPERIMENT; empty unless set."""
    module: str
    """The module's version, as ``GOFIPS140`` in build info has it (``v1.0.0-c2097c7c``)."""
    source: str
    """Hex SHA-256 of the zip with the module's source."""
    toolchain: str
    """Hex SHA-256 over the toolchain's compiler and assembler."""
    claimed_by: str = ""
    """Who vouches for a reference that does not ship; empty for one that does."""

    @property
    def key(self) -> tuple[str, str, str, str, str]:
        """What a program's build info selects a reference by."""
        return self.go, self.architecture, self.level, self.experiments, self.module


@dataclass(frozen=True)
class Reference:
    """All records of one toolchain, architecture, level and version of the module."""

    origin: Origin
    """What it was made of."""
    records: tuple[Record, ...]
    """In the order of a file."""
    digest: str
    """Hex SHA-256 of the reference: of its file's header and body where it is the only one in it."""

    @cached_property
    def by_name(self) -> Mapping[str, Sequence[Record]]:
        """The records that have a name; several differ by ABI, package, or the package that compiled an instance."""
        found: dict[str, list[Record]] = {}
        for record in self.records:
            found.setdefault(record.symbol.name, []).append(record)
        return found

    @cached_property
    def prepared(self) -> Preparation:
        """Its symbols, prepared for comparisons."""
        return Preparation(self.by_name, self.by_symbol)

    @cached_property
    def by_symbol(self) -> Mapping[Symbol, Sequence[Record]]:
        """The records that describe a symbol."""
        found: dict[Symbol, list[Record]] = {}
        for record in self.records:
            found.setdefault(record.symbol, []).append(record)
        return found


def reference(origin: Origin, records: Sequence[Record]) -> Reference:
    """Return a reference with its digest."""
    header, body = _contents([(origin, records)])
    # In the order of a file, so that it equals what is read from one.
    return Reference(origin, _records(body, origin.module, 0), hashlib.sha256(header + body).hexdigest())


def encode(references: Sequence[Reference]) -> bytes:
    """Write a file of references: the same bytes for the same ones, whatever their order."""
    ordered = sorted(references, key=lambda item: item.origin.key)
    _, body = _contents([(item.origin, item.records) for item in ordered])
    header = _json([{**_origin(item.origin), "digest": item.digest} for item in ordered])
    packed = lzma.compress(body, lzma.FORMAT_XZ, lzma.CHECK_SHA256, preset=9 | lzma.PRESET_EXTREME)
    return MAGIC + struct.pack("<I", len(header)) + header + packed


def decode_origins(data: bytes, name: str) -> list[tuple[Origin, str]]:
    """Return what the references of a file are of, and their digests; ``name`` is what errors call the file.

    Raise `UsageError` where it is no such file.
    """
    header, _ = _header(data, name)
    return header


def decode(data: bytes, name: str, number: int) -> Reference:
    """Return the reference of a file that has a number in it.

    Raise `UsageError` where it is no such file, or damaged.
    """
    header, behind = _header(data, name)
    try:
        unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=256 << 20)
        body = unpacker.decompress(data[behind:], _MOST_BODY)
        if not unpacker.eof or unpacker.unused_data:
            raise ValueError("its body does not end where the file does")
        origin, digest = header[number]
        return Reference(origin, _records(body, origin.module, number), digest)
    except (lzma.LZMAError, ValueError, IndexError, KeyError, struct.error) as error:
        raise UsageError(f"{name} is damaged: {error}.", _ADVICE) from error


def _header(data: bytes, name: str) -> tuple[list[tuple[Origin, str]], int]:
    start = len(MAGIC) + 4
    if not data.startswith(MAGIC) or len(data) > _MOST_FILE:
        raise UsageError(f"{name} is not a file of native references.", _ADVICE)
    length = int.from_bytes(data[start - 4 : start], "little")
    try:
        if length > min(HEADER_BYTES, len(data) - start):
            raise ValueError("its header is cut off")
        entries = documents.read_json(data[start : start + length])
        found = []
        for entry in entries["references"]:
            fields = {key: str(value) for key, value in entry.items()}
            digest = fields.pop("digest")
            found.append((Origin(**fields), digest))
    except (ValueError, TypeError, KeyError, AttributeError, documents.MalformedDocument) as error:
        raise UsageError(f"{name} is damaged: {error}.", _ADVICE) from error
    return found, start + length


def _origin(origin: Origin) -> dict[str, str]:
    return {key: value for key, value in asdict(origin).items() if value or key != "claimed_by"}


def _json(entries: Sequence[Mapping[str, Any]]) -> bytes:
    return json.dumps({"references": list(entries)}, sort_keys=True, separators=(",", ":")).encode("ascii") + b"\n"


def _contents(references: Sequence[tuple[Origin, Sequence[Record]]]) -> tuple[bytes, bytes]:
    """Return the header without digests, and the body."""
    shortened = [_shortened(records, origin.module) for origin, records in references]
    records = sorted({record for listed in shortened for record in listed})
    strings = sorted(set(_strings(records)))
    numbers = {text: number for number, text in enumerate(strings)}
    places = {record: number for number, record in enumerate(records)}
    listed, own = bytearray(), bytearray()
    for record in records:
        entry = bytearray()
        _put_record(entry, record, numbers)
        _put(own, len(entry))
        own += entry
    for entries in shortened:
        chosen = sorted(places[record] for record in entries)
        _put(listed, len(chosen))
        for before, number in zip([-1, *chosen], chosen, strict=False):
            _put(listed, number - before - 1)
    parts = ("\n".join(strings).encode("utf-8"), b"".join(item.digest for item in records), bytes(own), bytes(listed))
    body = struct.pack("<5I", len(records), *map(len, parts)) + b"".join(parts)
    return _json([_origin(origin) for origin, _ in references]), body


def _strings(records: Sequence[Record]) -> Iterator[str]:
    for record in records:
        for symbol in (record.symbol, *(item.target for item in record.relocations)):
            yield symbol.name
            yield symbol.scope


def _paths(module: str) -> tuple[str, str]:
    """Return the path of a version's packages, and the same as it begins symbols of the package itself."""
    return f"{MODULE_PATH}/{module}", f"{MODULE_PATH}/{module.replace('.', '%2e')}"


def _shorten(text: str, module: str) -> str:
    path, escaped = _paths(module)
    return text.replace(path, _PATH).replace(escaped, _ESCAPED_PATH)


def _shortened(records: Sequence[Record], module: str) -> list[Record]:
    """Return records with the names of a module's version shortened."""

    @cache
    def shorten(symbol: Symbol) -> Symbol:
        return Symbol(_shorten(symbol.name, module), symbol.abi, _shorten(symbol.scope, module))

    return [
        record._replace(
            symbol=shorten(record.symbol),
            relocations=tuple(item._replace(target=shorten(item.target)) for item in record.relocations),
        )
        for record in records
    ]


def _put_record(out: bytearray, record: Record, numbers: Mapping[str, int]) -> None:
    _put_symbol(out, record.symbol, numbers)
    _put(out, record.kind)
    _put(out, record.size)
    _put(out, len(record.relocations))
    before = 0
    for item in record.relocations:
        _put(out, item.offset - before)
        before = item.offset
        # Most relocations are strong and have no addend.
        _put(out, item.kind << 2 | item.weak << 1 | (item.addend != 0))
        if item.addend:
            _put(out, item.addend << 1 if item.addend > 0 else ~(item.addend << 1))
        _put_symbol(out, item.target, numbers)


def _put_symbol(out: bytearray, symbol: Symbol, numbers: Mapping[str, int]) -> None:
    _put(out, numbers[symbol.name] << 2 | symbol.abi)
    if symbol.abi == STATIC:
        _put(out, numbers[symbol.scope])


def _put(out: bytearray, number: int) -> None:
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def _records(body: bytes, module: str, number: int) -> tuple[Record, ...]:
    """Read the records of the reference that has a number."""
    count, *lengths = struct.unpack_from("<5I", body)
    at = struct.calcsize("<5I")
    if at + sum(lengths) != len(body) or lengths[1] != count * DIGEST:
        raise ValueError("its parts do not fit into it")
    ends = [at]
    for length in lengths:
        ends.append(ends[-1] + length)
    path, escaped = _paths(module)
    text = body[ends[0] : ends[1]].decode("utf-8").replace(_PATH, path).replace(_ESCAPED_PATH, escaped)
    chosen = _chosen(body[ends[3] : ends[4]], number)
    if chosen and max(chosen) >= count:
        raise ValueError("it names a record that is not there")
    reader, own, found = _Reader(text.split("\n")), body[ends[2] : ends[3]], []
    at = 0
    for index in range(count):
        length, at = _number(own, at)
        if index in chosen:
            digest = body[ends[1] + index * DIGEST : ends[1] + (index + 1) * DIGEST]
            found.append(reader.record(own[at : at + length], digest))
        at += length
    return tuple(found)


def _chosen(data: bytes, number: int) -> set[int]:
    numbers, at = _numbers(data), 0
    for _ in range(number):
        at += 1 + numbers[at]
    found, last = set(), -1
    for distance in numbers[at + 1 : at + 1 + numbers[at]]:
        last += distance + 1
        found.add(last)
    return found


def _number(data: bytes, at: int) -> tuple[int, int]:
    """Return the number at an offset, and the offset behind it."""
    value = shift = 0
    while data[at] > 0x7F:
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return value | data[at] << shift, at + 1


def _numbers(data: bytes) -> list[int]:
    """Return the numbers that follow one another. Raise `ValueError` where the last one is cut off."""
    if data.isascii():
        # All of them are less than 128.
        return list(data)
    found = []
    value = shift = 0
    for byte in data:
        if byte > 0x7F:
            value |= (byte & 0x7F) << shift
            shift += 7
        else:
            found.append(value | byte << shift)
            value = shift = 0
    if shift:
        raise ValueError("a number is cut off")
    return found


class _Reader:
    """Reads records, which share the symbols that they name."""

    def __init__(self, strings: Sequence[str]) -> None:
        self._strings = strings
        self._symbols: dict[tuple[int, int], Symbol] = {}

    def record(self, data: bytes, digest: bytes) -> Record:
        """Read a record. Raise `ValueError` where it is damaged."""
        numbers = iter(_numbers(data))
        try:
            symbol, kind, size = self._symbol(numbers), next(numbers), next(numbers)
            relocations, offset = [], 0
            for _ in range(next(numbers)):
                offset += next(numbers)
                packed = next(numbers)
                addend = next(numbers) if packed & 1 else 0
                if addend:
                    addend = ~(addend >> 1) if addend & 1 else addend >> 1
                relocations.append(Relocation(offset, packed >> 2, packed & 2 != 0, addend, self._symbol(numbers)))
        except StopIteration:
            raise ValueError("a record is cut off") from None
        if any(item.offset + SIZES[item.kind] > size for item in relocations[-1:]):
            raise ValueError("a relocation is outside of its symbol")
        return Record(symbol, kind, size, digest, tuple(relocations))

    def _symbol(self, numbers: Iterator[int]) -> Symbol:
        """Read what identifies a symbol."""
        packed = next(numbers)
        abi = packed & 3
        scope = next(numbers) if abi == STATIC else -1
        found = self._symbols.get((packed, scope))
        if found is None:
            found = Symbol(self._strings[packed >> 2], abi, self._strings[scope] if abi == STATIC else "")
            self._symbols[packed, scope] = found
        return found
