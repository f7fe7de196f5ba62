"""What a Go program says of its cryptography beside the module: marker functions, package names, symbols.

None of these is a proof; each can deny a claim or name what is in use instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from .elf import Elf
from .source import ByteSource, find

#: The bodies of the functions of ``crypto/internal/boring/sig`` on amd64 (``sig_amd64.s``): jumps over bytes that
#: mean nothing, made to be found in a binary. Other architectures have a bare return there.
MARKERS = {
    "boring": bytes.fromhex("EB1DF448F44BF4B332F52813A3B450D441CC2485F001454E92101B1D2F1950C3"),
    "standard": bytes.fromhex("EB1DF448F44BF4BAEE4DFA9851CA56A91145E83E99C59CF911CB8E80DAF12FC3"),
    "fipsonly": bytes.fromhex("EB1DF448F44BF4363CB9CE9D68047D31F28D325D5CA5873F5D80CAF6D6151BC3"),
}

#: cgo's own names for the C functions that Go calls (symbol table of a file that is not stripped).
_SYMBOL = b"_Cfunc__goboringcrypto_"
_MOST_SYMBOLS = 4096

#: The first bytes of the runtime's table of functions, one for each of its versions (Go's ``debug/gosym``).
_PCLNTAB = tuple(number.to_bytes(4, "little") + b"\0\0" for number in (0xFFFFFFF1, 0xFFFFFFF0, 0xFFFFFFFA, 0xFFFFFFFB))
#: Behind it: the size of an instruction and of a pointer.
_PCLNTAB_SIZES = {bytes((quantum, pointer)) for quantum in (1, 2, 4) for pointer in (4, 8)}

#: In that table, names of functions stand one after another, each ended by a zero byte.
_FUNCTION = re.compile(rb"[A-Za-z0-9_/.-]*\.[A-Za-z_(]")
_CRYPTO = (b"\0crypto/", b"\0vendor/golang.org/x/crypto/", b"\0golang.org/x/crypto/")
_BORING = (b"\0crypto/internal/boring._Cfunc__goboringcrypto_",)
#: The second is how golang-fips/go reached OpenSSL before it had a package for it.
_GOLANG_FIPS = (
    b"\0vendor/github.com/golang-fips/openssl",
    b"\0crypto/internal/boring._Cfunc__goboringcrypto_DLOPEN_OPENSSL",
)
_MICROSOFT = (
    b"\0vendor/github.com/microsoft/go-crypto-openssl",
    b"\0crypto/internal/backend/internal/opensslsetup.",
)


@dataclass(frozen=True, slots=True)
class Markers:
    """How often each marker function stands in executable memory."""

    boring: int
    """BoringCrypto."""
    standard: int
    """StandardCrypto: Go's own, unvalidated implementation is linked."""
    fipsonly: int
    """FIPSOnly: crypto/tls/fipsonly is imported."""


@dataclass(frozen=True, slots=True)
class Packages:
    """Which packages the table of functions names."""

    crypto: bool
    """Any of Go's cryptographic packages."""
    boring: bool
    """Go's wrappers of BoringCrypto's functions."""


@dataclass(frozen=True, slots=True)
class Named:
    """A function's name in that table."""

    name: str
    """The part of it that was looked for."""
    offset: int
    """Where it stands in the file."""


@dataclass(frozen=True, slots=True)
class Forks:
    """Which forks of Go the table of functions gives away by packages that only they have."""

    golang_fips: Named | None
    """The OpenSSL backend of golang-fips/go (also used by Microsoft's Go on Linux)."""
    microsoft_go: Named | None
    """What only Microsoft's Go has."""


def markers(source: ByteSource, elf: Elf) -> Markers:
    """Count the marker functions, in three passes."""
    return Markers(**{name: sum(1 for _ in _executable(source, elf, body)) for name, body in MARKERS.items()})


def packages(source: ByteSource, elf: Elf) -> Packages:
    """Look for the names of packages among those of functions, which stripping leaves in place."""
    return Packages(
        _first_function(source, elf, _CRYPTO) is not None, _first_function(source, elf, _BORING) is not None
    )


def forks(source: ByteSource, elf: Elf) -> Forks:
    """Look for the packages of golang-fips/go and of Microsoft's Go."""
    return Forks(_first_function(source, elf, _GOLANG_FIPS), _first_function(source, elf, _MICROSOFT))


def symbols(source: ByteSource, elf: Elf) -> int:
    """Count the names of cgo's BoringCrypto functions in the symbol table's strings."""
    strings = elf.section(".strtab")
    if strings is None:
        return 0
    count = 0
    for _ in find(source, strings.offset, strings.offset + strings.size, _SYMBOL):
        count += 1
        if count == _MOST_SYMBOLS:
            break
    return count


def looks_like_go(source: ByteSource, elf: Elf) -> bool:
    """Tell a Go program whose build info is missing: by its sections, its build ID note, its table of functions."""
    if elf.section(".gopclntab") or elf.section(".note.go.buildid"):
        return True
    if any(
        source.read_at(segment.offset, 16)[8:] == b"\4\0\0\0Go\0\0"
        for segment in elf.segments
        if segment.kind == "note"
    ):
        return True
    return any(
        source.read_at(at + len(magic), 2) in _PCLNTAB_SIZES
        for segment in elf.loads
        for magic in (_PCLNTAB if elf.little else [item[3::-1] + b"\0\0" for item in _PCLNTAB])
        for at in find(source, segment.offset, segment.end, magic)
    )


def _executable(source: ByteSource, elf: Elf, needle: bytes) -> Iterator[int]:
    for segment in elf.executable:
        yield from find(source, segment.offset, segment.end, needle)


def _first_function(source: ByteSource, elf: Elf, prefixes: tuple[bytes, ...]) -> Named | None:
    """Find a function whose name begins with one of ``prefixes``, a zero byte before each."""
    table = elf.section(".gopclntab") or elf.section(".data.rel.ro.gopclntab")
    places = [(table.offset, table.offset + table.size)] if table else []
    places = places or [(segment.offset, segment.end) for segment in elf.loads if not segment.executable]
    return next(
        (
            Named(prefix[1:].decode(), at + 1)
            for prefix in prefixes
            for start, end in places
            for at in find(source, start, end, prefix)
            if _FUNCTION.match(source.read_at(at + 1, 256))
        ),
        None,
    )
