"""Signs of a Go program's cryptography other than the module: marker functions, names of packages, symbols.

None of them is a proof. Each can contradict a claim, or show what is used instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from . import fipsinfo
from .elf import Elf
from .function_table import FunctionTable, NamedFunction
from .source import ByteSource, find

#: The bodies of the functions of ``crypto/internal/boring/sig`` on amd64 (``sig_amd64.s``): jumps over bytes without
#: meaning that can be found in a program. On other architectures they are a single return instruction.
MARKERS = {
    "boring": bytes.fromhex("EB1DF448F44BF4B332F52813A3B450D441CC2485F001454E92101B1D2F1950C3"),
    "standard": bytes.fromhex("EB1DF448F44BF4BAEE4DFA9851CA56A91145E83E99C59CF911CB8E80DAF12FC3"),
    "fipsonly": bytes.fromhex("EB1DF448F44BF4363CB9CE9D68047D31F28D325D5CA5873F5D80CAF6D6151BC3"),
}

#: cgo's own names for the C functions that Go calls (symbol table of a file that is not stripped).
_SYMBOL = b"_Cfunc__goboringcrypto_"
_MAX_SYMBOLS = 4096

_CRYPTO = (b"\0crypto/", b"\0vendor/golang.org/x/crypto/", b"\0golang.org/x/crypto/")
#: Packages that compare, copy and combine bytes and have no cryptography.
_NEUTRAL = re.compile(rb"crypto/(internal/(fips140/(v[0-9][A-Za-z0-9.-]*/)?)?)?(subtle|alias|constanttime)[./]")
#: Go's native module of the toolchain's own version, and of one of its snapshots.
_FIPS140 = b"\0crypto/internal/fips140/"
_VERSION = re.compile(r"v[0-9][A-Za-z0-9.-]{0,60}")
_SNAPSHOT = re.compile(_FIPS140[1:] + rb"v[0-9]|" + _NEUTRAL.pattern)
_BORING = (b"\0crypto/internal/boring._Cfunc__goboringcrypto_",)
#: ``_OPENED`` is how golang-fips/go reached OpenSSL before it had a package for it.
_GOLANG_FIPS = (b"\0vendor/github.com/golang-fips/openssl",)
_OPENED = (_BORING[0] + b"DLOPEN_OPENSSL",)
_MICROSOFT = (
    b"\0vendor/github.com/microsoft/go-crypto-openssl",
    b"\0crypto/internal/backend/internal/opensslsetup.",
)


@dataclass(frozen=True, slots=True)
class Markers:
    """How often each marker function is in executable memory."""

    boring: int
    """BoringCrypto."""
    standard: int
    """StandardCrypto: Go's own, unvalidated implementation is linked in."""
    fipsonly: int
    """FIPSOnly: crypto/tls/fipsonly is imported."""


@dataclass(frozen=True, slots=True)
class Packages:
    """Which packages the function table has functions of."""

    table: int | None
    """File offset of the table; None if it cannot be read, in which case the absence of a package shows nothing."""
    crypto: bool
    """Any of Go's cryptographic packages."""
    boring: bool
    """Go's wrappers of BoringCrypto's functions."""
    fips140: bool
    """Go's native module, in the version of build info."""


@dataclass(frozen=True, slots=True)
class Forks:
    """Forks of Go that are recognized by packages that only they have."""

    golang_fips: NamedFunction | None
    """The OpenSSL backend of golang-fips/go (also used by Microsoft's Go on Linux)."""
    microsoft_go: NamedFunction | None
    """Packages of Microsoft's Go alone."""


def markers(source: ByteSource, elf: Elf) -> Markers:
    """Count the marker functions, in three passes."""
    return Markers(**{name: sum(1 for _ in _executable(source, elf, body)) for name, body in MARKERS.items()})


def packages(source: ByteSource, table: FunctionTable, fips140: str | None) -> Packages:
    """Return the packages that functions are of; ``fips140`` is the version of the native module, if any.

    The packages of a snapshot have its version in their paths; those of the toolchain itself (``latest``) do not
    (``cmd/go``).
    """
    native = None
    if fips140 == fipsinfo.LATEST:
        native = table.first(source, (_FIPS140,), _SNAPSHOT)
    elif fips140 is not None and _VERSION.fullmatch(fips140):
        native = table.first(source, (_FIPS140 + fips140.encode() + b"/",))
    return Packages(
        table.offset,
        table.first_anywhere(source, _CRYPTO, _NEUTRAL) is not None,
        table.first(source, _BORING) is not None,
        native is not None,
    )


def forks(source: ByteSource, table: FunctionTable, *, boring: bool) -> Forks:
    """Return the packages of golang-fips/go and of Microsoft's Go; ``boring`` is that of `packages`."""
    golang_fips = table.first(source, _GOLANG_FIPS)
    if golang_fips is None and boring:
        golang_fips = table.first(source, _OPENED)
    return Forks(golang_fips, table.first(source, _MICROSOFT))


def symbols(source: ByteSource, elf: Elf) -> int:
    """Count the names of cgo's BoringCrypto functions in the symbol table's strings."""
    strings = elf.section(".strtab")
    if strings is None:
        return 0
    count = 0
    for _ in find(source, strings.offset, strings.offset + strings.size, _SYMBOL):
        count += 1
        if count == _MAX_SYMBOLS:
            break
    return count


def _executable(source: ByteSource, elf: Elf, needle: bytes) -> Iterator[int]:
    for segment in elf.runnable:
        yield from find(source, segment.offset, segment.end, needle)
