"""Cryptography beside the validated module: packages with algorithms of their own that a Go program has linked in.

They are found by the names of functions, which Go's linker keeps only where the function can be reached from ``main``
or from the initialization of a package. What the program's module provides through Go's own packages is not listed.
Names resist no deceit: this shows what is in a program that was built without any, and changes no verdict.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache

from ..model.acceptance import is_named_by
from ..model.finding import CryptoFacts, Evidence, GoFacts, Verdict
from . import dependencies, fipsinfo, functions, other_crypto
from .elf import Elf
from .function_table import FunctionTable
from .source import ByteSource

#: One or more names of functions of the same package, which are mostly together: its path, and what follows of them.
#: C compilers name parts of a function with a dot, too (``x_cgo_munmap.0``).
_RUN = re.compile(
    rb"\0((?:[^\0/(\[{ ]++/)*+[^\0/.(\[{ ]*+\.(?![0-9]|part\.|cold\b|isra\.|constprop\.|lto_priv\.))[^\0]*+"
    rb"(?:\0\1[^\0]*+)*+"
)
#: Kubernetes' largest programs have 10 MB of names.
_MAX_NAMES = 64 << 20
_MAX_PACKAGES = 256
_MAX_PATH = 256
#: How cgo names a function of C that Go calls, and those of libraries of cryptography: OpenSSL and its forks,
#: libsodium, libgcrypt, Mbed TLS, wolfSSL, GnuTLS, Nettle, PKCS #11.
_CGO = b"._Cfunc_"
_C_FUNCTION = re.compile(
    rb"(?:go_openssl_|_goboringcrypto_|EVP_|OPENSSL_|CRYPTO_|SSL_|RAND_|BN_|PKCS[0-9]|X509_|AES_|RSA_|DSA_|DH_|EC_|ECDSA_"
    rb"|ECDH_|HMAC|CMAC|SHA(?:1|224|256|384|512)|MD5|crypto_(?:aead|auth|box|core|generichash|hash|kdf|kx|onetimeauth"
    rb"|pwhash|scalarmult|secret|shorthash|sign|stream)|gcry_|mbedtls_|wolfSSL_|wc_|gnutls_|nettle_|C_[A-Z][a-z]+)"
)
_BORING_WRAPPERS = "crypto/internal/boring"

#: Packages of Go's standard library that BoringCrypto's release, and Go's native module, stand behind
#: (``crypto/internal/boring``; ``crypto/internal/fips140``). SHA-1 is in the former alone.
_BEHIND_BORING = re.compile(r"crypto/(aes|ecdh|ecdsa|hkdf|hmac|pbkdf2|rsa|sha1|sha256|sha512)")
_BEHIND_NATIVE = re.compile(
    r"crypto/(aes|ecdh|ecdsa|ed25519|hkdf|hmac|hpke|internal/hpke|mldsa|mlkem|pbkdf2|rsa|sha256|sha3|sha512)"
)
_NATIVE = "crypto/internal/fips140/"
_SNAPSHOT = re.compile(r"v[0-9]")
_WILDCARD = re.compile(r"[*?[]")
_FORKS = ("golang-fips", "microsoft-go")

#: The first elements of the import paths of Go's own packages (``go list std cmd``); others begin with a domain.
_STANDARD = frozenset(
    [
        "archive",
        "arena",
        "bufio",
        "builtin",
        "bytes",
        "cmd",
        "cmp",
        "compress",
        "container",
        "context",
        "crypto",
        "database",
        "debug",
        "embed",
        "encoding",
        "errors",
        "expvar",
        "flag",
        "fmt",
        "go",
        "hash",
        "html",
        "image",
        "index",
        "internal",
        "io",
        "iter",
        "log",
        "main",
        "maps",
        "math",
        "mime",
        "net",
        "os",
        "path",
        "plugin",
        "reflect",
        "regexp",
        "runtime",
        "slices",
        "sort",
        "strconv",
        "strings",
        "structs",
        "sync",
        "syscall",
        "testing",
        "text",
        "time",
        "type",
        "unicode",
        "unique",
        "unsafe",
        "vendor",
        "weak",
        "simd",
    ]
)


@dataclass(frozen=True, slots=True)
class Beside:
    """What was found beside the module."""

    packages: tuple[str, ...] = ()
    """Import paths of packages, and names of libraries in C; sorted."""
    unknown: str | None = None
    """Why it may not be all: ``no-function-table``, ``too-many``, or ``names`` where packages have names that Go's
    compiler gives to none, as after obfuscation; None where it is."""

    @property
    def evidence(self) -> Evidence:
        """Its evidence, which lists nothing where nothing was found."""
        found: Evidence = {"beside_module": list(self.packages)}
        return found if self.unknown is None else {**found, "beside_unknown": self.unknown}


def find(
    source: ByteSource,
    elf: Elf,
    table: FunctionTable,
    go: GoFacts,
    crypto: CryptoFacts,
    forbidden: Collection[str] = (),
) -> Beside:
    """Return the cryptography beside the module of a program.

    What the globs ``forbidden`` name is listed, too, whether it is known for cryptography or not: who names a package
    would take a program that has it for one that has not.
    """
    libraries = dependencies.read(source, elf).libraries
    unwanted = {name for name in libraries if any(is_named_by(name, glob) for glob in forbidden)}
    loaded = unwanted.union(filter(other_crypto.is_library, libraries))
    paths, calling = _packages(source, elf, table)
    if paths is None:
        return Beside(tuple(sorted(loaded)), "no-function-table")
    named = {path for path in paths if any(is_meant(path, glob) for glob in forbidden)}
    found = sorted(loaded | calling | {path for path in paths if _is_beside(path, go, crypto, named=path in named)})
    unknown = None if all(_is_named(path, go) for path in paths) else "names"
    return Beside(tuple(found[:_MAX_PACKAGES]), "too-many" if len(found) > _MAX_PACKAGES else unknown)


def _packages(source: ByteSource, elf: Elf, table: FunctionTable) -> tuple[set[str] | None, set[str]]:
    """Return the packages with functions, and those that call cryptography in C; None where that is not known."""
    start, end = table.names[0]
    if table.offset is None or end - start > _MAX_NAMES:
        return None, set()
    if not table.names_apart:
        names = functions.function_names(source, elf, table)
        return names if names is None else {other_crypto.package_path(name) for name in names}, set()
    names_of_all = b"\0" + source.read_at(start, end - start)
    paths = set(map(_path, _RUN.findall(names_of_all)))
    # Programs that call C have that package.
    return paths, set(_calling_c(names_of_all)) if "runtime/cgo" in paths else set()


def _calling_c(names: bytes) -> Iterator[str]:
    at = names.find(_CGO)
    while at >= 0:
        if _C_FUNCTION.match(names, at + len(_CGO)):
            path = _path(names[names.rfind(b"\0", 0, at) + 1 : at + 1])
            if path != _BORING_WRAPPERS:
                yield path
        at = names.find(_CGO, at + 1)


@lru_cache(maxsize=1 << 14)
def _path(run: bytes) -> str:
    return other_crypto.package_path(run.decode("utf-8", "replace"))[:_MAX_PATH]


def is_meant(path: str, glob: str) -> bool:
    """Return whether a glob means a package that is not known for cryptography: by its name, or with all of a domain.

    Of Go's own packages, ``crypto/*`` means those with algorithms.
    """
    if not is_named_by(path, glob):
        return False
    return not _WILDCARD.search(glob) or ("." in path.partition("/")[0] and not other_crypto.only_encodes(path))


def _is_beside(path: str, go: GoFacts, crypto: CryptoFacts, *, named: bool) -> bool:
    if not named and not other_crypto.has_algorithms(path):
        return False
    version = fipsinfo.version(go)
    if version is not None and crypto.verdict in (Verdict.PROVEN, Verdict.OTHER_MODULE):
        own = path.startswith(_NATIVE) and _is_of(path.removeprefix(_NATIVE), version)
        return not own and not _BEHIND_NATIVE.fullmatch(path)
    wired = crypto.module is not None or crypto.evidence.get("code") in _FORKS
    return not (wired and _BEHIND_BORING.fullmatch(path))


def _is_of(path: str, version: str) -> bool:
    """Return whether a package below the native module's path is of a version; the toolchain's own has none in it."""
    return not _SNAPSHOT.match(path) if version == fipsinfo.LATEST else path.startswith(f"{version}/")


def _is_named(path: str, go: GoFacts) -> bool:
    """Return whether a path is one of Go's own packages, of the main module, or begins with a domain."""
    first = path.partition("/")[0]
    own = (go.path or "").partition("/")[0], (go.module or "").partition(" ")[0].partition("/")[0]
    return not path or "." in first or first.startswith(("_", "type:", "go:")) or first in _STANDARD or first in own
