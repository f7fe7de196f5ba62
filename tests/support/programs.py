"""The programs of the matrix: real builds by name, and what is made of them. Built once, kept in the shared cache."""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from examples.upstream.goprograms import PLAIN_MAIN, build

from . import edits

#: The smallest program that has cryptography; quicker to build than one with TLS.
SHA_MAIN = """\
package main

import (
	"crypto/sha256"
	"fmt"
)

func main() { fmt.Printf("%x\\n", sha256.Sum256([]byte("abc"))) }
"""

#: The same with C's entry to it, which Go wants of a library.
C_MAIN = SHA_MAIN.replace("import (", 'import "C"\nimport (').replace(
    "func main() {", "//export Digest\nfunc Digest() {"
)
C_MAIN += "\nfunc main() {}\n"

#: Comparing in constant time and combining bytes: a package of that name, and no cryptography.
SUBTLE_MAIN = """\
package main

import (
	"crypto/subtle"
	"os"
)

func main() {
	mask := make([]byte, 8)
	subtle.XORBytes(mask, mask, []byte(os.Args[0]))
	println(subtle.ConstantTimeCompare(mask, []byte("x")))
}
"""

#: The package that only knows what hashes there are; all that is used of it is inlined, and its file is named.
HASHES_MAIN = """\
package main

import "crypto"

func main() { println(crypto.SHA256.Size()) }
"""

#: What Go has no wiring for, so that its own code runs beside the module.
ED25519_MAIN = """\
package main

import (
	"crypto/ed25519"
	"crypto/md5"
)

func main() {
	key := ed25519.NewKeyFromSeed(make([]byte, 32))
	println(ed25519.Sign(key, nil)[0], md5.Sum(nil)[0])
}
"""

#: Functions named as cgo names BoringCrypto's, and nothing behind them.
FORGED_SYMBOLS = """\
package main

import "os"

//go:noinline
func _Cfunc__goboringcrypto_SHA256_Init() { os.Stdout.WriteString("a") }

//go:noinline
func _Cfunc__goboringcrypto_AES_encrypt() { os.Stdout.WriteString("b") }

func main() {
	_Cfunc__goboringcrypto_SHA256_Init()
	_Cfunc__goboringcrypto_AES_encrypt()
}
"""

#: Room in executable memory that nothing calls, on a page, to put a module into.
ROOM_MAIN = """\
package main

// void nothing(void) {}
import "C"

func main() { C.nothing() }
"""
ROOM_SOURCE = '.section .text\n.p2align 12\n.skip 0xC0000, 0xCC\n.section .note.GNU-stack,"",@progbits\n'
ROOM = b"\xcc" * 0x20000

#: C code that calls the module and that nothing calls, in a program that computes with Go's own cryptography.
CALLED_BY_C_MAIN = SHA_MAIN.replace(
    "import (",
    """\
/*
extern int _goboringcrypto_BORINGSSL_bcm_power_on_self_test(void);
extern int _goboringcrypto_FIPS_mode(void);
extern int _goboringcrypto_RAND_bytes(void *, unsigned long);
extern int _goboringcrypto_SHA256_Init(void *);
extern int _goboringcrypto_SHA256_Final(void *, void *);
__attribute__((used)) static int unused(void *where) {
	return _goboringcrypto_BORINGSSL_bcm_power_on_self_test() + _goboringcrypto_FIPS_mode() +
		_goboringcrypto_RAND_bytes(where, 8) + _goboringcrypto_SHA256_Init(where) +
		_goboringcrypto_SHA256_Final(where, where);
}
static int one(void) { return 1; }
*/
import "C"

import (""",
).replace("func main() {", "func main() {\n\tprintln(C.one())\n\t")

FIPS_ONLY = {"fips.go": 'package main\n\nimport _ "crypto/tls/fipsonly"\n'}


def boring() -> Path:
    return build("sha", main=SHA_MAIN)


def boring_tls() -> Path:
    return build("kubelet")


def boring_external() -> Path:
    return build("sha", main=SHA_MAIN, ldflags="-linkmode=external")


def boring_static() -> Path:
    return build("sha", main=SHA_MAIN, ldflags='-linkmode=external -extldflags "-static"')


def boring_pie() -> Path:
    return build("sha", main=SHA_MAIN, buildmode="pie")


def boring_static_pie() -> Path:
    return build("sha", main=SHA_MAIN, buildmode="pie", ldflags='-linkmode=external -extldflags "-static-pie"')


def boring_stripped_by_linker() -> Path:
    return build("sha", main=SHA_MAIN, ldflags="-s -w")


def boring_padded() -> Path:
    """A program with a module, and room in its data."""
    return build("sha", main=SHA_MAIN, pad=2)


def boring_linked_with(options: str) -> bytes:
    """A program linked by the C compiler with further options (``-Wl,...``)."""
    return build("sha", main=SHA_MAIN, ldflags=f'-linkmode=external -extldflags "{options}"').read_bytes()


def with_embedded(program: Path) -> bytes:
    """A program with another one in its data, as ``go:embed`` puts it there."""
    data = boring_padded().read_bytes()
    return edits.put(data, -(-data.index(pad_start("sha")) // 32) * 32, program.read_bytes())


def boring_random_only() -> Path:
    """The smallest program that uses the module."""
    body = "func main() { b := make([]byte, 4); rand.Read(b); println(b[0]) }"
    return build("random", main=f'package main\n\nimport "crypto/rand"\n\n{body}\n')


def boring_c_shared() -> Path:
    """A shared library as Go links it: the module's functions are its own, and called as such."""
    return build("sha", main=C_MAIN, buildmode="c-shared")


def boring_in_a_c_library() -> bytes:
    """A shared library that a C compiler links from Go's archive: its self-test is public, and called by name."""
    archive = build("sha.a", main=C_MAIN, buildmode="c-archive")
    with tempfile.TemporaryDirectory() as directory:
        whole = ["-Wl,--whole-archive", str(archive), "-Wl,--no-whole-archive", "-lpthread"]
        subprocess.run(["cc", "-shared", "-o", f"{directory}/out", *whole], check=True, capture_output=True)
        return Path(directory, "out").read_bytes()


def module_called_by_c(root: Path, goarch: str, cc: str | None = None) -> Path:
    """A plain program with the toolchain's module object linked in, and called from C alone."""
    name = f"goboringcrypto_linux_{goarch}.syso"
    return build(
        "borrowed",
        main=CALLED_BY_C_MAIN,
        boring=False,
        goarch=goarch,
        root=root,
        cc=cc,
        objects={name: root / "src/crypto/internal/boring/syso" / name},
    )


def boring_and_ed25519() -> Path:
    return build("signer", main=ED25519_MAIN)


def boring_without_cgo() -> Path:
    return build("sha", main=SHA_MAIN, cgo=False)


def boring_fipsonly() -> Path:
    return build("kubelet", files=FIPS_ONLY)


def boring_without_crypto() -> Path:
    return build("hello", main=PLAIN_MAIN)


def plain() -> Path:
    return build("sha", main=SHA_MAIN, boring=False)


def plain_without_crypto() -> Path:
    return build("hello", main=PLAIN_MAIN, boring=False)


def plain_with_names_of_hashes() -> Path:
    return build("hashes", main=HASHES_MAIN, boring=False)


def i386() -> Path:
    return build("hello", main=PLAIN_MAIN, boring=False, cgo=False, goarch="386")


def big_endian() -> Path:
    return build("hello", main=PLAIN_MAIN, boring=False, cgo=False, goarch="s390x")


def forged_symbols() -> Path:
    return build("forged", main=FORGED_SYMBOLS, boring=False)


def padded() -> Path:
    return build("hello", main=PLAIN_MAIN, boring=False, pad=2)


def padded_boring() -> Path:
    return build("hello", main=PLAIN_MAIN, pad=2)


def roomy(*, goboring: bool = False) -> Path:
    """A program with room for a module in its code; one with a module of its own, where ``goboring``."""
    main = ROOM_MAIN
    if goboring:
        main = main.replace('import "C"\n', 'import "C"\nimport "crypto/sha256"\n').replace(
            "C.nothing()", "C.nothing(); println(sha256.Sum256(nil)[0])"
        )
    return build("roomy", main=main, boring=goboring, files={"room.S": ROOM_SOURCE})


def c_program() -> Path:
    """A C program that every test run has: the interpreter's own file."""
    return Path(sys.executable).resolve()


def stripped(program: Path) -> bytes:
    """Return a program's bytes after ``strip --strip-all``."""
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(["strip", "--strip-all", "-o", f"{directory}/out", program], check=True)
        return Path(directory, "out").read_bytes()


def debugging_information(program: Path) -> bytes:
    """Return what ``objcopy --only-keep-debug`` keeps of a program."""
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(["objcopy", "--only-keep-debug", program, f"{directory}/out"], check=True)
        return Path(directory, "out").read_bytes()


def with_module_in(program: Path, room: bytes, module: bytes) -> bytes:
    """Write a module into the room that a program has, on a page."""
    data = program.read_bytes()
    at = -(-data.index(room) // 4096) * 4096
    return edits.put(data, at, module)


def genuine_module() -> bytes:
    """Return the module's text with its stored digest, as the toolchain has it."""
    return edits.module_object("amd64")[: edits.AMD64.digest_offset + 64]


def dead_module() -> bytes:
    return with_module_in(roomy(), ROOM, genuine_module())


def module_as_data(program: Callable[[], Path]) -> bytes:
    data = program().read_bytes()
    at = data.index(pad_start("hello"))
    return edits.put(data, at + 4096, genuine_module())


def pad_start(name: str) -> bytes:
    """The beginning of the data that ``pad`` embeds."""
    return random.Random(name).randbytes(4096)
