"""Cryptography beside the module, in programs that are built with it; what must be listed is written down by hand.

What each program imports decides that, and ``go tool nm`` shows the same packages.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from examples.upstream import goprograms

from fipsmanifest.inspect.analysis import analyze
from fipsmanifest.inspect.beside import is_meant
from fipsmanifest.inspect.source import Buffer
from fipsmanifest.inspect.table import load
from fipsmanifest.model.finding import CryptoFacts
from tests.support import edits, programs, toolchains

TABLE = load()

#: Go's own TLS has these, whatever module there is.
TLS = {
    "crypto/des",
    "crypto/md5",
    "crypto/rc4",
    "vendor/golang.org/x/crypto/chacha20",
    "vendor/golang.org/x/crypto/chacha20poly1305",
    "vendor/golang.org/x/crypto/internal/poly1305",
}
CALLING_MAIN = """\
package main

import (
	"crypto/md5"
	"os"
)

//go:noinline
func digest(name string) [16]byte { return md5.Sum([]byte(name)) }

func main() { println(digest(os.Args[0])[0]) }
"""
#: Go calls OpenSSL, which is linked in as a shared library without its headers.
OPENSSL_MAIN = """\
package main

// #cgo LDFLAGS: -l:libcrypto.so.3
// extern const void *EVP_md5(void);
import "C"

func main() { println(C.EVP_md5() != nil) }
"""
FORK_MAIN = (
    'package main\n\nimport "fixtures.example/fork/internal/go_blake2b"\n\nfunc main() { println(go_blake2b.Sum()) }\n'
)
FORK = "package go_blake2b\n\n//go:noinline\nfunc Sum() int { return 1 }\n"


def native(name: str, main: str | None, **options: str) -> Path:
    return goprograms.build(
        name,
        main=main,
        root=toolchains.GO_1_26,
        boring=False,
        cgo=False,
        environment={"GOFIPS140": "v1.0.0"},
        **options,  # type: ignore[arg-type]
    )


def judged(made: Path | bytes, *, with_callers: bool = False) -> CryptoFacts:
    data = made if isinstance(made, bytes) else made.read_bytes()
    return analyze(Buffer(data), TABLE, with_callers).crypto


def beside(made: Path | bytes) -> set[str]:
    evidence = judged(made).evidence
    assert "beside_unknown" not in evidence, evidence
    listed = evidence["beside_module"]
    assert isinstance(listed, list)
    assert listed == sorted(set(map(str, listed)))
    return set(map(str, listed))


PROGRAMS: Mapping[str, tuple[Callable[[], Path | bytes], set[str]]] = {
    "BoringCrypto alone": (programs.boring, set()),
    "Ed25519 and MD5 beside BoringCrypto": (
        programs.boring_and_ed25519,
        {"crypto/ed25519", "crypto/internal/edwards25519", "crypto/internal/edwards25519/field", "crypto/md5"},
    ),
    "stripped": (
        lambda: programs.stripped(programs.boring_and_ed25519()),
        {"crypto/ed25519", "crypto/internal/edwards25519", "crypto/internal/edwards25519/field", "crypto/md5"},
    ),
    "the native module alone": (lambda: native("sha", programs.SHA_MAIN), set()),
    "MD5 beside the native module, which has Ed25519": (
        lambda: native("signer", programs.ED25519_MAIN),
        {"crypto/md5"},
    ),
    "TLS with the native module": (lambda: native("kubelet", None), TLS | {"crypto/sha1"}),
    "a fork by its name": (
        lambda: goprograms.build("fork", main=FORK_MAIN, boring=False, files={"internal/go_blake2b/sum.go": FORK}),
        {"fixtures.example/fork/internal/go_blake2b"},
    ),
    "OpenSSL": (lambda: goprograms.build("openssl", main=OPENSSL_MAIN, boring=False), {"libcrypto.so.3", "main"}),
    "no cryptography": (programs.plain_without_crypto, set()),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_is_beside_the_module_is_listed_by_package(name: str) -> None:
    make, packages = PROGRAMS[name]
    assert beside(make()) == packages


def test_without_a_module_all_cryptography_is_beside_it() -> None:
    assert beside(programs.plain()) == {"crypto/sha256"}


def test_what_cannot_be_told_is_unknown_and_not_absent() -> None:
    # As an obfuscator names packages; `main` and what the runtime needs keep their names.
    renamed = programs.boring_and_ed25519().read_bytes().replace(b"\0crypto/md5.", b"\0aZ3kQ_f0x9.")
    found = judged(renamed).evidence
    assert found["beside_unknown"] == "names"
    assert "crypto/md5" not in found["beside_module"]  # type: ignore[operator]


def test_a_file_that_cannot_be_judged_or_is_not_go_has_no_list() -> None:
    assert "beside_module" not in judged(programs.c_program()).evidence
    broken = programs.plain().read_bytes()
    place = edits.build_info(broken)[0]
    assert "beside_module" not in judged(edits.put(broken, place + 32, bytes(2))).evidence


@functools.cache
def calling(goarch: str) -> CryptoFacts:
    program = goprograms.build("calling", main=CALLING_MAIN, boring=False, cgo=False, goarch=goarch)
    return judged(program, with_callers=True)


@pytest.mark.parametrize("goarch", ["amd64", "arm64"])
def test_callers_are_named_from_the_function_table_and_the_code(goarch: str) -> None:
    callers = calling(goarch).callers
    assert callers is not None
    assert callers["crypto/md5"].functions == ("main.digest",)
    assert callers["crypto/md5"].more == 0


def test_callers_are_not_searched_for_unless_asked() -> None:
    assert judged(programs.boring_and_ed25519()).callers is None


def test_callers_beyond_the_first_few_are_counted() -> None:
    functions = "\n".join(
        f"//go:noinline\nfunc digest{number}(b []byte) [16]byte {{ return md5.Sum(b) }}\n" for number in range(11)
    )
    calls = "; ".join(f"println(digest{number}(b)[0])" for number in range(11))
    main = f'package main\n\nimport "crypto/md5"\n\n{functions}\nfunc main() {{ b := []byte("x"); {calls} }}\n'
    program = goprograms.build("many", main=main, boring=False, cgo=False)
    callers = judged(program, with_callers=True).callers
    assert callers is not None
    found = callers["crypto/md5"]
    assert (len(found.functions), found.more) == (8, 3)
    assert all(name.startswith("main.digest") for name in found.functions)


@pytest.mark.parametrize(
    ("path", "glob", "meant"),
    [
        ("crypto/tls", "crypto/tls", True),
        ("crypto/tls", "crypto/*", False),
        ("example.com/secret/store", "example.com/secret/*", True),
        ("app.example/vendor/example.com/secret", "example.com/*", True),
        ("golang.org/x/crypto/cryptobyte", "golang.org/x/crypto/*", False),
        ("golang.org/x/crypto/cryptobyte", "golang.org/x/crypto/cryptobyte", True),
        ("example.com/secret", "example.org/*", False),
    ],
)
def test_what_is_forbidden_is_listed_where_it_is_not_known_for_cryptography(path: str, glob: str, meant: bool) -> None:
    # A gate with --forbid crypto/tls passed programs with it, as that package has no algorithm of its own.
    assert is_meant(path, glob) is meant
