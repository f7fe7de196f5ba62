"""`not-go` takes the absence of every sign of Go: of its own compiler, of gccgo and of TinyGo."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fipsmanifest.inspect.analysis import analyze
from fipsmanifest.inspect.source import Buffer
from fipsmanifest.inspect.table import load
from tests.support import edits, programs, toolchains

from .forgeries import section_headers_at

TABLE = load()

MESSAGES = (
    b"all goroutines are asleep - deadlock!",
    b"slice bounds out of range",
    b"send on closed channel",
    b"close of nil channel",
    b"invalid memory address or nil pointer dereference",
    b"assignment to entry in nil map",
    b"interface conversion: ",
    b"schedule: holding locks",
)
#: ``_rt0_amd64`` as ``objdump`` prints it: mov (%rsp),%rdi; lea 0x8(%rsp),%rsi; jmp.
ENTRY = bytes.fromhex("488b3c24488d742408e9")


def judged(data: bytes) -> tuple[str, str]:
    crypto = analyze(Buffer(data), TABLE).crypto
    return str(crypto.verdict), str(crypto.evidence["code"])


def without_what_tools_read() -> bytes:
    """A plain program without its build info, its function table's magic, its notes and its sections' names."""
    data = programs.plain().read_bytes()
    table = edits.section(data, ".gopclntab")[0]
    data = data.replace(b"\xff Go buildinf:", bytes(14)).replace(b"\4\0\0\0Go\0\0", b"\4\0\0\0No\0\0")
    data = edits.put(data, table, bytes(4))
    names = section_headers_at(data) + 64 * struct.unpack_from("<H", data, 62)[0]
    offset, size = struct.unpack_from("<QQ", data, names + 24)
    return edits.put(data, offset, bytes(size))


def without(*texts: bytes) -> bytes:
    data = without_what_tools_read()
    for text in texts:
        assert text in data
        data = data.replace(text, bytes(len(text)))
    return data


def test_a_program_whose_tables_were_overwritten_is_go_by_its_messages_and_by_its_first_instructions() -> None:
    assert judged(without_what_tools_read()) == ("unreadable", "no-build-info")
    assert judged(without(ENTRY)) == ("unreadable", "no-build-info")
    assert judged(without(*MESSAGES)) == ("unreadable", "no-build-info")
    # The limit that docs/proof.md names: removing all of them is not detected.
    assert judged(without(ENTRY, *MESSAGES)) == ("not-go", "not-go")


def compiled(directory: Path, source: str, *options: str) -> bytes:
    (directory / "main.c").write_text(source)
    subprocess.run(["cc", *options, "-o", directory / "out", directory / "main.c"], check=True)
    return (directory / "out").read_bytes()


def test_a_program_that_looks_for_build_info_is_not_go(tmp_path: Path) -> None:
    source = '#include <string.h>\n__attribute__((aligned(16))) static const char magic[16] = "\\xff Go buildinf:";\n'
    source += "int main(int n, char **v) { return memcmp(v[0], magic, 14) != 0; }\n"
    data = compiled(tmp_path, source, "-O0")
    assert b"\xff Go buildinf:" in data
    assert judged(data) == ("not-go", "not-go")


def test_a_go_program_whose_build_info_is_broken_is_none_of_those() -> None:
    data = programs.plain().read_bytes()
    place = edits.build_info(data)[0]
    assert judged(edits.put(data, place + 32, bytes(2))) == ("unreadable", "empty-build-info")


def test_a_program_may_quote_one_of_the_runtimes_messages(tmp_path: Path) -> None:
    source = (
        '#include <stdio.h>\nint main(void) { return puts("fatal error: all goroutines are asleep - deadlock!"); }\n'
    )
    assert judged(compiled(tmp_path, source)) == ("not-go", "not-go")


#: What ``strings`` shows of programs of gccgo 12: the runtime as a library, the runtime's files.
GCCGO: dict[str, Callable[[bytes], bytes]] = {
    "dynamic": lambda data: data + b"\0libgo.so.21\0",
    "static": lambda data: data + b"\0../../../src/libgo/runtime/proc.c\0",
}


@pytest.mark.parametrize("kind", GCCGO)
def test_a_program_of_gccgo_is_plain(kind: str) -> None:
    assert judged(edits.hand_made(b"\x90" * 4096, GCCGO[kind](bytes(64)))) == ("plain", "other-compiler")


def test_a_stripped_program_of_gccgo_is_known_by_its_export_data(tmp_path: Path) -> None:
    data = compiled(tmp_path, "int main(void) { return 0; }\n", "-s")
    assert judged(data) == ("not-go", "not-go")
    (tmp_path / "export").write_bytes(b"v3;\npackage main\n")
    program, section = tmp_path / "out", f".go_export={tmp_path / 'export'}"
    subprocess.run(["objcopy", "--add-section", section, program], check=True)
    assert judged(program.read_bytes()) == ("plain", "other-compiler")


#: What Debian builds with gccgo (``scripts/debian-programs``): Go's own tools, and the library that they need.
REAL = ("usr/bin/x86_64-linux-gnu-gofmt-12", "usr/lib/gcc/x86_64-linux-gnu/12/test2json")


@toolchains.on_debian_12
@pytest.mark.parametrize("program", REAL)
def test_a_real_program_of_gccgo_is_plain_with_and_without_its_sections(program: str) -> None:
    path = Path(__file__).parents[2] / ".cache/debian/gccgo-12" / program
    assert path.exists(), f"{path} is missing: run scripts/debian-programs"
    data = path.read_bytes()
    assert judged(data) == ("plain", "other-compiler")
    assert judged(edits.without_sections(data)) == ("plain", "other-compiler")


def test_a_program_of_tinygo_is_plain() -> None:
    # As its runtime has it (src/runtime/panic.go); it has no build info, and none of the tables of Go's linker.
    text = bytes(64) + b"panic: runtime error at : index out of range"
    assert judged(edits.hand_made(b"\x90" * 4096, text)) == ("plain", "other-compiler")
    # The same in Go's own words, which a program in another language may quote.
    assert judged(edits.hand_made(b"\x90" * 4096, text.replace(b" at ", b" is ")))[0] != "plain"


@pytest.mark.parametrize("machine", [62, 183, 21])
def test_a_packed_program_is_packed_whatever_its_packer_kept(machine: int) -> None:
    data = edits.hand_made(b"\x90" * 64 + b"\x17\x2a" * 4000, b"\4\0\0\0\x04\0\0\0\4\0\0\0Go\0\0abcd", machine=machine)
    assert judged(edits.put(data, 0x200, b"UPX!")) == ("unreadable", "packed")
