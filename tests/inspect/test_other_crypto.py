"""Cryptography that is not Go's own: by names as the function table has them, by libraries, by tables.

The names are as ``go tool nm`` prints them of programs with such packages; the tables are computed or taken from other
implementations.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable

import pytest
from examples.upstream import goprograms

from fipsmanifest.inspect import other_crypto
from fipsmanifest.inspect.analysis import ElfAnalysis, analyze
from fipsmanifest.inspect.source import Buffer
from fipsmanifest.inspect.table import load

TABLE = load()


@pytest.mark.parametrize(
    ("function", "package"),
    [
        ("golang.org/x/crypto/chacha20poly1305.(*chacha20poly1305).Seal", "golang.org/x/crypto/chacha20poly1305"),
        ("example.com/app/vendor/golang.org/x/crypto/ssh.Dial", "example.com/app/vendor/golang.org/x/crypto/ssh"),
        ("example.com/fork/x/crypto/ssh.init.0", "example.com/fork/x/crypto/ssh"),
        ("github.com/cloudflare/circl/sign/ed448.Sign", "github.com/cloudflare/circl/sign/ed448"),
        ("filippo.io/age.Encrypt", "filippo.io/age"),
        ("github.com/minio/sha256-simd.Sum256", "github.com/minio/sha256-simd"),
        ("example.com/internal/third_party/go_blake2b.New", "example.com/internal/third_party/go_blake2b"),
        ("lukechampine.com/blake3.(*Hasher).Write", "lukechampine.com/blake3"),
        ("github.com/tjfoc/gmsm/sm4.NewCipher", "github.com/tjfoc/gmsm/sm4"),
        ("type:.eq.example.com/mine/aes.block", "example.com/mine/aes"),
        ("github.com/btcsuite/btcd/btcec/v2.Sign", "github.com/btcsuite/btcd/btcec/v2"),
        ("example.com/mine/secp256k1.Sum[go.shape.int]", "example.com/mine/secp256k1"),
    ],
)
def test_a_package_of_cryptography_is_known_by_its_path(function: str, package: str) -> None:
    assert other_crypto.packages([function, "main.main"]) == [package]


@pytest.mark.parametrize(
    "function",
    [
        "main.main",
        "runtime.memhash",
        "internal/chacha8rand.block",
        "hash/crc32.Update",
        "hash/maphash.(*Hash).Write",
        "math/rand/v2.(*ChaCha8).Uint64",
        "github.com/cespare/xxhash/v2.Sum64",
        "github.com/dgryski/go-rendezvous.New",
        "github.com/vishvananda/netlink/vrf.Add",
        "github.com/charmbracelet/bubbletea.(*Program).Run",
        "crypto/subtle.ConstantTimeCompare",
        "crypto/internal/fips140/subtle.xorBytes",
        "gopkg.in/yaml%2ev3.(*parser).parse",
        "SHA256",
        "",
    ],
)
def test_other_packages_are_not(function: str) -> None:
    assert other_crypto.packages([function]) == []


def rijndael_substitutions() -> bytes:
    """Compute the S-box as FIPS 197, 5.1.1, defines it: the inverse in GF(2^8), and an affine transformation."""

    def times(a: int, b: int) -> int:
        product = 0
        for _ in range(8):
            product ^= a if b & 1 else 0
            a, b = (a << 1 ^ 0x11B if a & 0x80 else a << 1), b >> 1
        return product

    inverses = [next((b for b in range(256) if times(a, b) == 1), 0) for a in range(256)]

    def rotated(value: int, by: int) -> int:
        return (value << by | value >> (8 - by)) & 0xFF

    return bytes(b ^ rotated(b, 1) ^ rotated(b, 2) ^ rotated(b, 3) ^ rotated(b, 4) ^ 0x63 for b in inverses)


def fractional_bits_of_cube_roots(bits: int) -> list[int]:
    """Compute the constants of SHA-2 as FIPS 180-4, 4.2.2 and 4.2.3, define them: from the first primes."""
    primes = (n for n in itertools.count(2) if all(n % d for d in range(2, n)))
    roots = []
    for prime in itertools.islice(primes, 8):
        wanted, root = prime << 3 * bits, 0
        for bit in reversed(range(bits + 3)):
            if (root | 1 << bit) ** 3 <= wanted:
                root |= 1 << bit
        roots.append(root & (1 << bits) - 1)
    return roots


@pytest.mark.parametrize(
    ("algorithm", "table"),
    [
        ("aes", rijndael_substitutions),
        ("sha256", lambda: struct.pack("<8I", *fractional_bits_of_cube_roots(32))),
        ("sha256", lambda: struct.pack(">8I", *fractional_bits_of_cube_roots(32))),
        ("sha512", lambda: struct.pack("<8Q", *fractional_bits_of_cube_roots(64))),
    ],
)
def test_an_algorithm_is_known_by_its_table(algorithm: str, table: Callable[[], bytes]) -> None:
    data = bytes(100_003) + table() + bytes(1000)
    assert other_crypto.algorithms(Buffer(data), [(0, len(data))]) == [algorithm]
    assert other_crypto.algorithms(Buffer(data), [(0, 100_000)]) == []


def built(main: str, **files: str) -> ElfAnalysis:
    program = goprograms.build(
        "other", main=main, boring=False, files={k.replace("__", "/"): v for k, v in files.items()}
    )
    return analyze(Buffer(program.read_bytes()), TABLE)


SUBSTITUTIONS = ", ".join(map(str, rijndael_substitutions()))


def test_a_cipher_under_another_name_is_no_program_without_cryptography() -> None:
    table = f"var table = [256]byte{{{SUBSTITUTIONS}}}"
    main = f'package main\n\nimport "os"\n\n{table}\n\nfunc main() {{ println(table[len(os.Args)]) }}\n'
    crypto = built(main).crypto
    assert (str(crypto.verdict), crypto.evidence["code"]) == ("plain", "crypto-tables")
    assert crypto.evidence["algorithms"] == ["aes"]


def test_a_program_that_loads_openssl_is_no_program_without_cryptography() -> None:
    library = "libcrypto.so.3"
    main = f'package main\n\nimport "os"\n\nfunc main() {{ println("{library}"[len(os.Args):]) }}\n'
    crypto = built(main).crypto
    assert (str(crypto.verdict), crypto.evidence["code"]) == ("plain", "crypto-library")


def test_a_copied_package_is_no_program_without_cryptography() -> None:
    package = 'package blake3\n\nimport "os"\n\n//go:noinline\nfunc Sum() int { return len(os.Args) }\n'
    main = 'package main\n\nimport "fixtures.example/other/blake3"\n\nfunc main() { println(blake3.Sum()) }\n'
    crypto = built(main, **{"blake3__b.go": package}).crypto
    assert (str(crypto.verdict), crypto.evidence["code"]) == ("plain", "crypto-packages")
    assert crypto.evidence["packages"] == ["fixtures.example/other/blake3"]
