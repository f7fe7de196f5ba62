"""Go's object files, as the compiler and the assembler leave them in a package's archive.

Layout: ``cmd/internal/goobj/objfile.go`` of Go 1.20 and later (magic ``\\0go120ld``). Kinds of symbols and relocations
are numbers that differ from one release to another, so their names are read from the toolchain's own source.

Input is a trusted toolchain's, so bounds are those of a parser that fails, not of one that resists an attack.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

from ...errors import Incomplete, UsageError

_MAGIC = b"\0go120ld"
_ARCHIVE = b"!<arch>\n"
_MEMBER = 60
#: What stands between the text header of an object and its binary part.
_END_OF_TEXT = b"\n!\n"
_OBJECT = b"go object "

#: Blocks by their number in the header.
_PACKAGES, _SYMBOLS, _HASHED_64, _HASHED, _OTHERS, _REFERENCES, _AFTER_SYMBOLS = 1, 3, 4, 5, 6, 7, 8
_RELOCATION_INDEX, _DATA_INDEX, _RELOCATIONS, _DATA, _NAMES, _END = 11, 13, 14, 16, 17, 18
_SYMBOL = struct.Struct("<IIHBBBII")
_RELOCATION = struct.Struct("<iBHqII")

#: Package indexes with a meaning of their own (``PkgIdxNone`` and those below it).
_NO_PACKAGE = 0x7FFFFFFF
_IN_HASHED_64, _IN_HASHED, _BUILTIN, _SELF = _NO_PACKAGE - 1, _NO_PACKAGE - 2, _NO_PACKAGE - 3, _NO_PACKAGE - 4

STATIC = 0xFFFF
"""The ABI of a symbol that only its own file can name."""
_WEAK = 0x8000
_ADVICE = "Name the root of a Go release (go env GOROOT) of Go 1.24 or later, with its source."


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The names of a toolchain's numbers."""

    relocations: Sequence[str]
    """Names of relocation types, from number 1 on (``R_CALL``)."""
    kinds: Sequence[str]
    """Names of symbol kinds, from number 0 on (``STEXTFIPS``)."""
    builtins: Sequence[tuple[str, int]]
    """The name and ABI of the runtime's symbols that objects refer to by number."""


@dataclass(frozen=True, slots=True)
class SymbolId:
    """What identifies a symbol in a program."""

    name: str
    """Its name."""
    abi: int
    """0 for the assembler's calling convention and for data, 1 for the compiler's, `STATIC` for a file's own."""
    scope: str = ""
    """The package, for a symbol that is `STATIC`; else empty."""


@dataclass(frozen=True, slots=True)
class ObjectRelocation:
    """One relocation of a symbol."""

    offset: int
    """Offset of the field in the symbol."""
    size: int
    """Bytes that the linker writes; 0 where it writes none."""
    type: str
    """``R_CALL`` and so on."""
    weak: bool
    """The linker may leave the target out."""
    addend: int
    """Added to the target's address."""
    target: SymbolId
    """The symbol that it leads to."""


@dataclass(frozen=True, slots=True)
class ObjectSymbol:
    """One symbol that an object defines."""

    id: SymbolId
    """What identifies it."""
    kind: str
    """``STEXTFIPS`` and so on."""
    size: int
    """Bytes in memory."""
    data: bytes
    """Bytes in the file; fewer than ``size`` where the rest is zeros."""
    relocations: tuple[ObjectRelocation, ...]
    """In the order of the file."""


def read_vocabulary(root: Path) -> Vocabulary:
    """Read the names of a toolchain's numbers from its source. Raise `UsageError` where that is not there."""
    source = root / "src" / "cmd" / "internal"
    try:
        types = _constants((source / "objabi/reloctype.go").read_text("utf-8"), "R_")
        kinds = _constants((source / "objabi/symkind.go").read_text("utf-8"), "S")
        listed = (source / "goobj/builtinlist.go").read_text("utf-8")
    except (OSError, IndexError, UnicodeDecodeError) as error:
        raise UsageError(f"{root} does not hold the source of Go's compiler: {error}.", _ADVICE) from error
    builtins = [(name, int(abi)) for name, abi in re.findall(r'\{"([^"]+)", (\d+)\}', listed)]
    return Vocabulary(types, kinds, builtins)


def _constants(text: str, prefix: str) -> list[str]:
    """Return the names of the first block of constants, which iota counts."""
    block = text.split("const (", 1)[1].split("\n)", 1)[0]
    return re.findall(rf"^\s*({prefix}\w+)\b", block, re.MULTILINE)


def objects(archive: Path) -> Iterator[bytes]:
    """Yield the object files of a package's archive. Raise `Incomplete` where it cannot be read as one."""
    try:
        data = archive.read_bytes()
    except OSError as error:
        raise Incomplete(
            f"{archive} cannot be read: {error.strerror}.", "Check the build cache.", reason="not-read"
        ) from error
    if not data.startswith(_ARCHIVE):
        raise Incomplete(f"{archive} is not an archive of Go objects.", _ADVICE)
    at = len(_ARCHIVE)
    while at + _MEMBER <= len(data):
        size = int(data[at + 48 : at + 58])
        member = data[at + _MEMBER : at + _MEMBER + size]
        if member.startswith(_OBJECT) and _END_OF_TEXT in member and data[at : at + 16].strip() != b"__.PKGDEF":
            yield member[member.index(_END_OF_TEXT) + len(_END_OF_TEXT) :]
        at += _MEMBER + size + (size & 1)


class GoObject:
    """One object file of a package."""

    def __init__(self, data: bytes, package: str, vocabulary: Vocabulary) -> None:
        """Read the headers. Raise `Incomplete` for a format of another Go release."""
        if not data.startswith(_MAGIC):
            raise Incomplete(f"The object of {package} has a format that is not known ({data[:8]!r}).", _ADVICE)
        self.package = package
        self._data = data
        self._vocabulary = vocabulary
        self._blocks = struct.unpack_from(f"<{_END + 1}I", data, len(_MAGIC) + 12)
        self._entries = [
            _SYMBOL.unpack_from(data, at)
            for at in range(self._blocks[_SYMBOLS], self._blocks[_AFTER_SYMBOLS], _SYMBOL.size)
        ]

    @property
    def defined(self) -> int:
        """How many symbols it defines; references to others follow them."""
        return int(self._blocks[_REFERENCES] - self._blocks[_SYMBOLS]) // _SYMBOL.size

    def kind(self, number: int) -> str:
        """Return the kind of a symbol."""
        return str(self._vocabulary.kinds[self._entries[number][3]])

    def size(self, number: int) -> int:
        """Return the bytes that a symbol has in memory."""
        return int(self._entries[number][6])

    def id(self, number: int) -> SymbolId:
        """Return what identifies a symbol by its number in this object."""
        length, at, abi = self._entries[number][:3]
        name = self._data[at : at + length].decode("utf-8")
        return SymbolId(name, abi, self.package if abi == STATIC else "")

    def symbol(self, number: int, packages: Mapping[str, GoObject]) -> ObjectSymbol:
        """Return a symbol that this object defines; ``packages`` has the compiler's object of each package."""
        first, behind = self._pair(_DATA_INDEX, number)
        start = self._blocks[_DATA]
        return ObjectSymbol(
            self.id(number),
            self.kind(number),
            self._entries[number][6],
            self._data[start + first : start + behind],
            tuple(self._relocations(number, packages)),
        )

    def _relocations(self, number: int, packages: Mapping[str, GoObject]) -> Iterator[ObjectRelocation]:
        first, behind = self._pair(_RELOCATION_INDEX, number)
        for index in range(first, behind):
            at = self._blocks[_RELOCATIONS] + index * _RELOCATION.size
            offset, size, kind, addend, package, symbol = _RELOCATION.unpack_from(self._data, at)
            name = self._vocabulary.relocations[(kind & ~_WEAK) - 1]
            target = self._target(package, symbol, packages)
            yield ObjectRelocation(offset, size, name, bool(kind & _WEAK), addend, target)

    def _target(self, package: int, symbol: int, packages: Mapping[str, GoObject]) -> SymbolId:
        starts = {_SELF: _SYMBOLS, _IN_HASHED_64: _HASHED_64, _IN_HASHED: _HASHED, _NO_PACKAGE: _OTHERS}
        if package in starts:
            return self.id((self._blocks[starts[package]] - self._blocks[_SYMBOLS]) // _SYMBOL.size + symbol)
        if package == _BUILTIN:
            return SymbolId(*self._vocabulary.builtins[symbol])
        if package == 0:
            return SymbolId("", 0)
        name = self._packages[package]
        if name in packages:
            return packages[name].id(symbol)
        raise Incomplete(f"{self.package} refers to {name}, which was not compiled.", _ADVICE)

    @cached_property
    def _packages(self) -> list[str]:
        first, behind = self._blocks[_PACKAGES], self._blocks[_PACKAGES + 1]
        found = []
        for at in range(first, behind, 8):
            length, place = struct.unpack_from("<II", self._data, at)
            # Dots of the last element are escaped (``objabi.PathToPrefix``).
            found.append(unquote(self._data[place : place + length].decode("utf-8")))
        return found

    def _pair(self, block: int, number: int) -> tuple[int, int]:
        first, behind = struct.unpack_from("<II", self._data, self._blocks[block] + 4 * number)
        return first, behind
