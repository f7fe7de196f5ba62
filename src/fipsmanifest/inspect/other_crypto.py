"""Detection of cryptography other than Go's standard library: by packages, libraries in C, and algorithms' constants.

`no-crypto` lets a program pass, so it requires that none of these is found: import paths of packages (also below
``vendor`` and in a fork under another name), libraries that C code could use for cryptography, and tables that every
implementation of an algorithm needs, regardless of names.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from .source import ByteSource, windows

#: Prefixes of the import paths of modules whose purpose is cryptography, from pkg.go.dev.
_MODULES = (
    "filippo.io/",
    "git.schwanenlied.me/yawning",
    "github.com/ProtonMail/go-crypto",
    "github.com/ProtonMail/gopenpgp",
    "github.com/aead/",
    "github.com/agl/ed25519",
    "github.com/bwesterb/go-ristretto",
    "github.com/btcsuite/btcd/btcec",
    "github.com/cloudflare/bn256",
    "github.com/cloudflare/circl",
    "github.com/consensys/gnark-crypto",
    "github.com/coinbase/kryptology",
    "github.com/dchest/bcrypt_pbkdf",
    "github.com/decred/dcrd/dcrec",
    "github.com/emmansun/gmsm",
    "github.com/ethereum/go-ethereum/crypto",
    "github.com/flynn/noise",
    "github.com/golang-fips/openssl",
    "github.com/google/tink",
    "github.com/gtank/",
    "github.com/herumi/bls",
    "github.com/jedisct1/go-minisign",
    "github.com/jedisct1/xsecretbox",
    "github.com/kevinburke/nacl",
    "github.com/libp2p/go-openssl",
    "github.com/microsoft/go-crypto-",
    "github.com/miekg/pkcs11",
    "github.com/minio/sio",
    "github.com/oasisprotocol/curve25519-voi",
    "github.com/oasisprotocol/deoxysii",
    "github.com/pedroalbanese/",
    "github.com/spacemonkeygo/openssl",
    "github.com/supranational/blst",
    "github.com/tink-crypto/",
    "github.com/tjfoc/gmsm",
    "gitlab.com/yawning/",
    "go.dedis.ch/kyber",
    "golang.zx2c4.com/wireguard",
)
#: Algorithms and schemes after which packages are named: FIPS 180, 186, 197, 202 to 205, SP 800-38, RFC 7693, 7748,
#: 7914, 8032, 8439, 9106, GM/T 0002 to 0004, and those that they replaced. Names with other meanings are not included
#: (``nacl``, ``vrf``).
_ALGORITHMS = (
    r"aes|aescbc|aesccm|aescfb|aesctr|aesgcm|aeskw|aesni|argon2|ascon|bcrypt|bip32|blake2|blake256|blake2b|"
    r"blake2s|blake3|blake512|blowfish|bls12381|bn256|btcec|camellia|cast5|chacha|chacha20|chacha20poly1305|"
    r"cmac|curve25519|curve448|decaf448|dilithium|ecdh|ecdsa|ecies|ecvrf|ed25519|ed25519consensus|ed448|eddsa|"
    r"edwards25519|edwards448|elgamal|fernet|gcmsiv|ghash|gost28147|gost3410|gost34112012256|groestl|hkdf|hmac|"
    r"hpke|keccak|kyber|md4|md5|mldsa|mldsa44|mldsa65|mldsa87|mlkem|mlkem1024|mlkem512|mlkem768|ntru|openpgp|"
    r"pbkdf2|pkcs12|pkcs7|pkcs8|poly1305|rc2|rc4|rc5|rc6|rijndael|ripemd160|ristretto255|rsa|salsa20|schnorr|"
    r"schnorrkel|scrypt|secp256k1|secretbox|sha1|sha2|sha256|sha3|sha512|shacal|skein|slhdsa|sm2|sm3|sm4|"
    r"sphincs|streebog|threefish|twofish|whirlpool|x25519|x448|xchacha20|xchacha20poly1305|xsalsa20|xtea|xts|"
    r"xxtea"
)
#: An algorithm's name, or that of a fork or a faster implementation (``sha256-simd``).
_SEGMENT = re.compile(rf"(?:go-?)?(?:{_ALGORITHMS})(?:-?(?:simd|go|asm|x|x4|x8|block|arx|v[0-9]+))?")
#: golang.org/x/crypto, also copied to another path.
_X_CRYPTO = re.compile(r"(?:^|/)x/crypto(?:/|$)")
#: Packages of Go's own with algorithms that are not named after them.
_OWN = re.compile(r"crypto/(des|dsa|internal/(fips140/)?nistec)")
#: Packages below ``x/crypto`` that encode, or read from a terminal.
_WITHOUT_ALGORITHMS = re.compile(r"(?:^|/)x/crypto/(?:cryptobyte(?:/asn1)?|openpgp/errors|ssh/terminal)$")
_SUBTLE = re.compile(r"(?:^|/)crypto/(?:internal/)?(?:fips140/)?(?:subtle|alias|constanttime)$")

#: Libraries of cryptography: file names for the loader or ``dlopen``, and strings in the libraries' own code.
_LIBRARIES = (
    b"libcrypto.so",
    b"libssl.so",
    b"libgcrypt.so",
    b"libsodium.so",
    b"libmbedcrypto.so",
    b"libwolfssl.so",
    b"libnettle.so",
    b"libhogweed.so",
    b"libgnutls.so",
    b"libnss3.so",
    b"libfreebl",
    b"libbotan",
    b"libtomcrypt.so",
    b"libaws-lc",
    b"libpkcs11",
    b"libsofthsm2",
    b"part of OpenSSL",
    b"OpenSSL 1.",
    b"OpenSSL 3.",
    b"BoringSSL",
    b"AWS-LC",
    b"wolfSSL",
    b"mbed TLS",
    b"Mbed TLS",
    b"libsodium",
    b"_goboringcrypto_",
)


def _little(size: str, *words: int) -> bytes:
    return struct.pack(f"<{len(words)}{size}", *words)


def _both(size: str, *words: int) -> tuple[bytes, bytes]:
    return struct.pack(f"<{len(words)}{size}", *words), struct.pack(f">{len(words)}{size}", *words)


#: Algorithm -> the beginning of a table that it needs, by FIPS 180-4, 197, 46-3, 202 and RFC 1321, 7693. ChaCha20's
#: constant is not included: every program has it for the runtime's random numbers (``internal/chacha8rand``).
_TABLES = {
    "aes": (
        bytes.fromhex("637c777bf26b6fc53001672bfed7ab76"),
        bytes.fromhex("52096ad53036a538bf40a39e81f3d7fb"),
        *_both("I", 0xC66363A5, 0xF87C7C84, 0xEE777799),
    ),
    "sha256": _both("I", 0x428A2F98, 0x71374491, 0xB5C0FBCF),
    "sha512": _both("Q", 0x428A2F98D728AE22, 0x7137449123EF65CD),
    "sha3": (_little("Q", 0x1, 0x8082, 0x800000000000808A),),
    "md5": _both("I", 0xD76AA478, 0xE8C7B756, 0x242070DB),
    "blake2b": (_little("Q", 0x6A09E667F3BCC908, 0xBB67AE8584CAA73B),),
    "blake2s": (_little("I", 0x6A09E667, 0xBB67AE85, 0x3C6EF372),),
    "blowfish": _both("I", 0x243F6A88, 0x85A308D3, 0x13198A2E),
    "des": (bytes((14, 4, 13, 1, 2, 15, 11, 8, 3, 10, 6, 12, 5, 9, 0, 7)),),
    "sm4": (bytes.fromhex("d690e9fecce13db716b614c228fb2c05"),),
}
_LONGEST = 32


@dataclass(frozen=True, slots=True)
class OtherCryptography:
    """Evidence of cryptography other than Go's standard library."""

    packages: tuple[str, ...]
    """Import paths of packages of known cryptographic modules, or named after an algorithm."""
    libraries: tuple[str, ...]
    """Names of libraries in C."""
    algorithms: tuple[str, ...]
    """Algorithms whose tables were found."""


def detect(source: ByteSource, functions: Iterable[str], memory: Sequence[tuple[int, int]]) -> OtherCryptography:
    """Return evidence in the names of functions and in ``memory``, the ranges of the file that are mapped."""
    return OtherCryptography(
        tuple(packages(functions)), tuple(libraries(source, memory)), tuple(algorithms(source, memory))
    )


def package_path(function: str) -> str:
    """Return the import path of the package of a function in the function table; empty if it has none."""
    # Functions that the compiler generates for a type of the package.
    for prefix in ("type:.eq.", "type:.hash.", "type..eq.", "type..hash.", "go:struct {"):
        function = function.removeprefix(prefix)
    path = re.split(r"[(\[{ ]", function, maxsplit=1)[0]
    directory, slash, name = path.rpartition("/")
    first, dot, _ = name.partition(".")
    return (directory + slash + first).replace("%2e", ".") if dot else ""


def packages(functions: Iterable[str]) -> list[str]:
    """Return the cryptographic packages among those of ``functions``, sorted, without Go's own."""
    return sorted({path for path in {package_path(name) for name in functions} if _is_cryptography(path)})


def _is_cryptography(path: str) -> bool:
    within = path.rpartition("/vendor/")[2].removeprefix("vendor/")
    named = (
        within.startswith(_MODULES)
        or any(map(_is_algorithm, within.split("/")))
        or ("x/crypto" in path and _X_CRYPTO.search(path) is not None)
    )
    return named and not _SUBTLE.search(path)


#: The paths of a program, and those of several, have most elements in common.
@lru_cache(maxsize=1 << 14)
def _is_algorithm(segment: str) -> bool:
    return _SEGMENT.fullmatch(segment.lower().replace("_", "-")) is not None


@lru_cache(maxsize=1 << 14)
def has_algorithms(path: str) -> bool:
    """Return whether a package has algorithms of cryptography, by its import path; Go's own packages may have, too."""
    named = _is_cryptography(path) or _OWN.fullmatch(path) is not None
    return named and not _WITHOUT_ALGORITHMS.search(path)


def only_encodes(path: str) -> bool:
    """Return whether a package is one without algorithms in a module of cryptography."""
    return _WITHOUT_ALGORITHMS.search(path) is not None


def is_library(name: str) -> bool:
    """Return whether a shared library is known for cryptography, by its name."""
    return any(text in name.encode() for text in _LIBRARIES)


def libraries(source: ByteSource, ranges: Iterable[tuple[int, int]]) -> list[str]:
    """Return the cryptographic libraries whose names are in ranges of a file."""
    return sorted({text.decode() for text in _search(source, ranges, _LIBRARIES)})


def algorithms(source: ByteSource, ranges: Iterable[tuple[int, int]]) -> list[str]:
    """Return the algorithms whose tables are in ranges of a file."""
    found = set(_search(source, ranges, [table for tables in _TABLES.values() for table in tables]))
    return sorted(name for name, tables in _TABLES.items() if found.intersection(tables))


def _search(source: ByteSource, ranges: Iterable[tuple[int, int]], texts: Iterable[bytes]) -> Iterator[bytes]:
    missing = set(texts)
    for start, end in ranges:
        for _, data in windows(source, start, end, _LONGEST):
            found = {text for text in missing if text in data}
            missing -= found
            yield from found
