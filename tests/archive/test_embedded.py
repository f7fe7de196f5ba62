"""A program in a file that is something else, such as a script that cuts it off and runs it, is never passed over."""

from __future__ import annotations

import base64
import binascii
import bz2
import gzip
import lzma
import py_compile
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from fipsmanifest.archive import embedded as embedded_module
from fipsmanifest.archive.embedded import Embedded
from fipsmanifest.errors import Refused
from fipsmanifest.inspect.nested import UnopenedContainer
from tests.inspect.test_nested import OUTER, errors, judged, look
from tests.support import edits, programs, upstream
from tests.support.registry import make_layer
from tests.support.zips import Archive, Part

SCRIPT = b'#!/bin/sh\ntail -c +000099 "$0" > /tmp/k; chmod +x /tmp/k; exec /tmp/k "$@"\n'
#: What the kernel checks of a program: the magic, ET_EXEC for x86_64, and one program header. What is before the latter
#: two is not zero: one byte further on, they would be those of a machine of the other byte order.
PROGRAM_HEADER = b"\x7fELF" + b"\1" * 12 + b"\x02\0\x3e\0" + b"\1" * 34 + b"\x38\0\x01\0" + bytes(6)
_Put = Callable[[Path, str, bytes], tuple[Path, str]]


def tar(data: bytes) -> bytes:
    return make_layer({"k": data})


def lz4(data: bytes) -> bytes:
    return subprocess.run(["lz4", "-c"], input=data, capture_output=True, check=True).stdout


def test_lz4_of_the_older_form_is_found() -> None:
    data = subprocess.run(["lz4", "-lc"], input=b"text", capture_output=True, check=True).stdout
    assert found(SCRIPT + data) == "script with lz4 data in it"


def found(data: bytes, piece: int = 1 << 20) -> str | None:
    embedded = Embedded()
    for start in range(0, len(data), piece):
        embedded.show(data[start : start + piece])
    return embedded.finish()


@pytest.mark.parametrize("put", OUTER)
def test_a_script_that_carries_a_program_is_not_passed_over(tmp_path: Path, put: _Put) -> None:
    target, name = put(tmp_path, "kubelet", SCRIPT + programs.plain().read_bytes())
    (error,) = errors(look(tmp_path, target))
    assert isinstance(error, UnopenedContainer)
    assert error.format == "script with a program in it"
    assert f"{error.container}: {error.path}" == name or error.path == name


def test_a_script_that_is_named_itself_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "kubelet").write_bytes(SCRIPT + programs.plain().read_bytes())
    (error,) = errors(look(tmp_path, tmp_path / "kubelet"))
    assert isinstance(error, UnopenedContainer)


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "base64": base64.encodebytes,
    "gzip": gzip.compress,
    "zlib": zlib.compress,
    "xz": lambda data: lzma.compress(data, preset=0),
    "zstd": zstandard.compress,
    "bzip2": lambda data: bz2.compress(data, 1),
    "lz4": lz4,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE, preset=0),
    "ZIP": lambda data: Archive([Part(b"k", data, method=8)]).build() + bytes(1 << 17),
}


@pytest.mark.parametrize("kind", PACKED)
@pytest.mark.parametrize(
    "start",
    [
        SCRIPT,
        b"tail -n +2 $0 | unpack > k; exec ./k\n",
        b"#!/bin/sh \1\n",
        b"#" * 9000 + b"\n",
        # What bash and dash run all the same: control characters, a line that ends nowhere near, and what begins as a
        # picture or as a compiled module does.
        b"\1\2\x1b\x7f\ntail -n +3 $0 | unpack > k; exec ./k\n",
        b"#" * 80 + b"\0\ntail -n +3 $0 | unpack > k; exec ./k\n",
        b"\x89PNG\r\n\x1a\n\0\0\0\ntail -n +4 $0 | unpack > k; exec ./k; exit\n",
        b"\xa7\r\r\n\0\0\0\0\ntail -n +4 $0 | unpack > k; exec ./k; exit\n",
    ],
)
def test_a_script_that_carries_packed_data_is_not_passed_over(kind: str, start: bytes) -> None:
    data = PACKED[kind](programs.plain().read_bytes()[:100_000])
    assert found(start + data) == f"script with {kind} data in it"
    # Data that is no text may hold anything.
    assert found(b"\0" + data) is None


@pytest.mark.parametrize("width", [20, 40, 60, 76, 0])
@pytest.mark.parametrize("pack", [bytes, *(PACKED[kind] for kind in PACKED if kind != "base64")])
def test_base64_is_found_in_lines_of_any_length(width: int, pack: Callable[[bytes], bytes]) -> None:
    text = base64.b64encode(pack(programs.plain().read_bytes()[:20_000]))
    lines = [text[at : at + width] for at in range(0, len(text), width)] if width else [text]
    assert found(SCRIPT + b"\n".join(lines) + b"\n") == "script with base64 data in it"


def cpio(data: bytes) -> bytes:
    archive = subprocess.run(
        ["bsdtar", "-cf", "-", "--format", "newc", "@-"], input=tar(data), capture_output=True, check=True
    )
    return archive.stdout


# What is in front of the program moves it within its group of three bytes.
@pytest.mark.parametrize("pack", [lambda data: tar(data), cpio, *(lambda data, n=n: b"x" * n + data for n in range(3))])
@pytest.mark.parametrize("indent", ["", "\t", "    "])
@pytest.mark.parametrize("width", [1, 40, 76, 0])
def test_a_program_within_base64_is_found(pack: Callable[[bytes], bytes], indent: str, width: int) -> None:
    text = base64.b64encode(pack(programs.plain().read_bytes()[:5000])).decode()
    lines = [text[at : at + width] for at in range(0, len(text), width)] if width else [text]
    script = SCRIPT + "".join(f"{indent}{line}\n" for line in lines).encode()
    assert found(script) == found(script, 1000) == "script with base64 data in it"
    assert found(script.replace(b"#!/bin/sh", b"a text")) == "script with base64 data in it"


@pytest.mark.parametrize("data", [b"\xed\xab\xee\xdb\3\0" + bytes(99), b"!<arch>\ndebian-binary   " + bytes(99)])
def test_a_package_in_base64_is_found(data: bytes) -> None:
    assert found(SCRIPT + base64.encodebytes(data)) == "script with base64 data in it"


def uuencode(data: bytes) -> bytes:
    lines = b"".join(binascii.b2a_uu(data[at : at + 45]) for at in range(0, len(data), 45))
    return b"begin 755 kubelet\n" + lines + b"`\nend\n"


def escape(data: bytes) -> bytes:
    return b"printf '" + b"".join(b"\\%o" % byte for byte in data) + b"'\n"


ENCODED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "uuencode": (uuencode, "uuencoded"),
    "uuencode of a tar": (lambda data: uuencode(tar(data)), "uuencoded"),
    "uuencode of gzip": (lambda data: uuencode(gzip.compress(data)), "uuencoded"),
    "uuencode without its first line": (lambda data: uuencode(data).partition(b"\n")[2], "uuencoded"),
    "hexadecimal": (lambda data: data.hex().encode(), "hexadecimal"),
    "hexadecimal in lines": (lambda data: data.hex(" ", -2).upper().replace(" ", "\n").encode(), "hexadecimal"),
    "hexadecimal for C": (lambda data: b", ".join(b"0x%02x" % byte for byte in data), "hexadecimal"),
    "hexadecimal escapes": (lambda data: b"".join(b"\\x%02x" % byte for byte in data), "hexadecimal"),
    "base85": (base64.b85encode, "base85"),
    "base85 of gzip": (lambda data: base64.b85encode(gzip.compress(data)), "base85"),
    "base85 of a tar in gzip": (lambda data: base64.b85encode(gzip.compress(tar(data))), "base85"),
    "base85 in lines": (lambda data: base64.a85encode(data, wrapcol=72), "base85"),
    "base85 of Adobe": (lambda data: base64.a85encode(data, adobe=True), "base85"),
    "octal escapes": (escape, "escaped"),
    "octal escapes for %b": (lambda data: b"".join(b"\\0%o" % byte for byte in data), "escaped"),
    "escapes of Python": (lambda data: repr(data).encode(), "escaped"),
    "escapes of JavaScript": (lambda data: b"".join(b"\\u%04x" % byte for byte in data), "escaped"),
    "xxd": (lambda data: run(data, "xxd"), "hexadecimal"),
    "od": (lambda data: run(data, "od", "-v", "-tx1"), "hexadecimal"),
    "od with text": (lambda data: run(data, "od", "-v", "-tx1z"), "hexadecimal"),
    "octal od": (lambda data: run(data, "od", "-v", "-b"), "numeric"),
    "decimal": (lambda data: str(list(data)).encode(), "numeric"),
}


def run(data: bytes, *command: str) -> bytes:
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout


@pytest.mark.parametrize("form", ENCODED)
def test_a_program_that_a_script_has_as_text_is_found(form: str) -> None:
    encode, name = ENCODED[form]
    program = programs.plain().read_bytes()[:5000]
    script = SCRIPT + encode(program)
    assert found(script) == found(script, 1000) == f"script with {name} data in it"
    # The magic alone is in many scripts, such as those that register interpreters.
    assert found(SCRIPT + encode(b"\x7fELF\2\1\1" + bytes(200))) is None or name == "uuencoded" or "gzip" in form


@pytest.mark.parametrize("form", [form for form in ENCODED if ENCODED[form][1] not in ("uuencoded", "base85")])
@pytest.mark.parametrize("kind", ["gzip", "xz", "bzip2", "zstd", "ZIP"])
def test_packed_data_that_a_script_has_as_digits_is_found(kind: str, form: str) -> None:
    encode, name = ENCODED[form]
    data = PACKED[kind](programs.plain().read_bytes()[:5000])
    # The magic of bzip2 is text.
    expected = ("script with bzip2 data in it",) if kind == "bzip2" and b"BZh" in encode(data) else ()
    assert found(SCRIPT + b"printf '" + encode(data)) in (f"script with {name} data in it", *expected)
    if expected:
        return
    # Digests begin with any bytes, and code compares magics.
    assert found(SCRIPT + encode(data[:20]) + b"\n" + b"exit 1\n" * 99) is None
    assert found(SCRIPT + b'if data.startswith(b"' + encode(data[:3]) + b'"):\n' + b"    pass\n" * 99) is None


def raw_deflate(data: bytes) -> bytes:
    return zlib.compress(data, wbits=-15)


# A form that is not known by itself: without a header, in another alphabet, encrypted.
@pytest.mark.parametrize(
    "encode",
    [
        raw_deflate,
        lambda data: base64.encodebytes(raw_deflate(data)),
        lambda data: base64.b85encode(lzma.compress(data)),
        lambda data: base64.b32encode(gzip.compress(data)),
        lambda data: raw_deflate(data).hex().encode(),
        lambda data: b"\n".join(line[::-1] for line in base64.encodebytes(data).splitlines()),
    ],
)
def test_a_script_with_data_that_is_too_dense_for_text_is_reported(encode: Callable[[bytes], bytes]) -> None:
    data = programs.plain().read_bytes()
    assert found(SCRIPT + encode(data)) == "script with packed data in it"
    # Certificates and pictures are smaller, and other texts are not run.
    assert found(SCRIPT + encode(data[:60_000])) is None
    assert found(b"a text\n" + encode(data)) is None


def test_a_long_script_is_no_packed_data() -> None:
    source = b"".join(path.read_bytes() for path in sorted(Path(base64.__file__).parent.glob("*.py"))[:100])
    source = source.translate(bytes.maketrans(b"\\", b"/"))
    assert len(source) > 1 << 20
    assert found(SCRIPT + source) is None


def uuencode_in_base64(data: bytes) -> bytes:
    return b"begin-base64 755 kubelet\n" + base64.encodebytes(data) + b"====\n"


# bsdtar unpacks these without a script.
@pytest.mark.parametrize("encode", [uuencode, uuencode_in_base64])
@pytest.mark.parametrize("start", [b"", b"a text\n", SCRIPT])
@pytest.mark.parametrize("pack", [tar, lambda data: gzip.compress(tar(data)), lambda data: lzma.compress(tar(data))])
def test_what_is_uuencoded_is_reported_where_it_holds_a_program(
    tmp_path: Path, pack: Callable[[bytes], bytes], start: bytes, encode: Callable[[bytes], bytes]
) -> None:
    (tmp_path / "data.uu").write_bytes(start + encode(pack(programs.plain().read_bytes()[:5000])))
    told = subprocess.run(["bsdtar", "-tf", tmp_path / "data.uu"], capture_output=True, check=True)
    assert told.stdout == b"k\n"
    assert str(found((tmp_path / "data.uu").read_bytes())).startswith("script with ")
    assert found(start + encode(b"a text " * 99)) is None


# An AppImage whose mark was taken out runs as before: its runtime finds the file system by its own headers.
@pytest.mark.parametrize("kind", ["gzip", "xz", "ZIP"])
def test_a_program_of_go_with_packed_data_right_behind_it_is_not_passed_over(kind: str) -> None:
    # Go's linker puts the headers of sections first.
    program = programs.boring().read_bytes()
    data = PACKED[kind](programs.plain().read_bytes()[:100_000])
    assert found(program + data) == f"program with {kind} data behind it"
    assert found(program) is None


@pytest.mark.parametrize("kind", [*PACKED, "squashfs"])
@pytest.mark.parametrize("piece", [1 << 20, 70_001])
def test_a_program_with_packed_data_right_behind_it_is_not_passed_over(kind: str, piece: int) -> None:
    program = Path("/bin/true").read_bytes()
    data = b"hsqs" + bytes(24) + b"\4\0\0\0" + bytes(99) if kind == "squashfs" else PACKED[kind](program)
    assert found(program + data, piece) == f"program with {kind} data behind it"
    # Without section headers it ends with its last segment.
    end = int.from_bytes(program[40:48], "little")
    bare = bytearray(program[:end])
    bare[40:48], bare[60:62] = bytes(8), bytes(2)
    last = max(
        int.from_bytes(bare[at + 8 : at + 16], "little") + int.from_bytes(bare[at + 32 : at + 40], "little")
        for at in range(64, 64 + 56 * bare[56], 56)
    )
    assert found(bytes(bare[:last]) + data, piece) == f"program with {kind} data behind it"
    assert found(program + b"x" + data, piece) is None
    assert found(program, piece) is None


def in_script(data: bytes) -> bytes:
    return SCRIPT + data


@pytest.mark.parametrize("wrap", [base64.encodebytes, base64.b64encode], ids=["lines", "one line"])
@pytest.mark.parametrize("inner", [bytes, tar, in_script], ids=["program", "tar", "script"])
@pytest.mark.parametrize("kind", ["gzip", "zlib", "xz", "zstd", "bzip2"])
def test_a_script_that_carries_packed_data_as_text_is_not_passed_over(
    kind: str, inner: Callable[[bytes], bytes], wrap: Callable[[bytes], bytes]
) -> None:
    script = b"#!/bin/sh\nbase64 -d <<E | unpack\n"
    packed = PACKED[kind](inner(programs.plain().read_bytes()[:100_000]))
    assert found(script + wrap(packed)) == "script with base64 data in it"


def test_compressed_configuration_in_a_text_is_no_program() -> None:
    # As in a release of helm, and in the source code that describes an API.
    text = base64.b64encode(gzip.compress(b'{"name": "release", "info": {"status": "deployed"}}' * 50))
    assert found(b"data:\n  release: " + text + b"\n") is None
    assert found(b"a word of five letters: H4sIA" + b"A" * 60) is None
    data = zlib.compress(b'{"name": "release", "info": {"status": "deployed"}}' * 50)
    assert found(SCRIPT + data) is None
    assert found(SCRIPT + base64.b64encode(data)) is None


@pytest.mark.parametrize("level", range(1, 10))
def test_zlib_data_of_every_level_is_found(level: int) -> None:
    data = zlib.compress(programs.plain().read_bytes()[:100_000], level)
    assert found(SCRIPT + data) == "script with zlib data in it"
    assert found(SCRIPT + base64.encodebytes(data)) == "script with base64 data in it"


def test_a_program_is_found_wherever_it_begins_and_however_it_is_read() -> None:
    program = programs.plain().read_bytes()[:5000]
    for before in (1, 63, 511, 512, 4093, 4096, 9000):
        for piece in (4096, 1 << 20):
            assert found(b"\0" * before + program, piece) == "data with a program in it"
    assert found(program) is None
    assert found(b"\0" + program[:64]) == "data with a program in it"


@pytest.mark.parametrize("piece", [100, 511, 512, 513, 600, 1024, 1025, 4096])
def test_a_program_on_a_border_of_pieces_is_found_though_the_reader_uses_one_buffer_again(piece: int) -> None:
    header = programs.plain().read_bytes()[:64]
    for start in range(max(piece - 70, 1), 2 * piece + 70, 23):
        data = b"\0" * start + header + b"\0" * 1500
        embedded, buffer = Embedded(), bytearray(piece)
        for at in range(0, len(data), piece):
            part = data[at : at + piece]
            buffer[: len(part)] = part
            embedded.show(buffer if len(part) == piece else part)
        assert embedded.finish() == "data with a program in it", start


def test_a_program_is_one_by_what_the_kernel_checks() -> None:
    # fs/binfmt_elf.c asks neither for the class nor for a version.
    program = programs.plain().read_bytes()[:5000]
    assert found(b"\0" + edits.put(program, 4, bytes(12))) == "data with a program in it"
    # ET_REL is not run.
    assert found(b"\0" + edits.put(program, 16, b"\1\0")) is None


def test_a_program_in_another_program_is_not_passed_over(tmp_path: Path) -> None:
    host = Path("/bin/true").read_bytes()
    assert found(host) is None
    (tmp_path / "kubelet").write_bytes(host + programs.plain().read_bytes())
    (error,) = errors(look(tmp_path, tmp_path / "kubelet"))
    assert isinstance(error, UnopenedContainer)
    assert error.format == "program with a program in it"


@pytest.mark.parametrize(
    "data",
    [
        b"#!/bin/sh\necho hello\n",
        b"#!/usr/bin/python3\nMAGIC = b'\x7fELF'\n" + bytes(99),
        # As in the magic(5) database, in text and compiled.
        b"0\tstring\t\x7fELF\t\tELF\n!:strength *2\n" + b"x" * 99,
        b"#!/bin/sh\n\x1f\x8b\x08 is how gzip begins\n" + b"text\n" * 99,
        b"#!/bin/sh\n# PK\x03\x04 and BZh9, and hsqs; LZIP\n" + b"text\n" * 99,
        b"#!/bin/sh\n# f0VMRg is how a program begins in base64\n",
    ],
)
def test_a_file_that_only_names_a_magic_is_a_file(data: bytes) -> None:
    assert found(data) is None


def test_a_compiled_module_with_a_magic_in_it_is_a_file(tmp_path: Path) -> None:
    empty = gzip.compress(bytes(1024))  # the empty layer of tools for images
    text = f"GZIP = b'\\x1f\\x8b\\x08'\nXZ = b'\\xfd7zXZ\\0'\nZSTD = b'\\x28\\xb5\\x2f\\xfd'\nLAYER = {empty!r}\n"
    (tmp_path / "m.py").write_text(text)
    compiled = py_compile.compile(str(tmp_path / "m.py"), doraise=True)
    assert compiled is not None
    assert found(Path(compiled).read_bytes()) is None


SMALL = b"#!/bin/sh\nexec /opt/other/kubelet\n"
EMPTY = gzip.compress(b"", mtime=0)


@pytest.mark.parametrize(
    "packed",
    [
        gzip.compress(SMALL, mtime=0),
        gzip.compress(PROGRAM_HEADER + bytes(400), mtime=0),
        gzip.compress(b"x" * 30_000, mtime=0),
        gzip.compress(bytes(9000) + SMALL, mtime=0),
        # gunzip joins all members.
        EMPTY + gzip.compress(SMALL, mtime=0),
        EMPTY * 25 + gzip.compress(SMALL, mtime=0),
        # 512 bytes of nothing: 20 each, and a last one with a name of eleven letters.
        EMPTY * 24 + EMPTY[:3] + b"\x08" + EMPTY[4:10] + b"a" * 11 + b"\0" + EMPTY[10:] + gzip.compress(SMALL, mtime=0),
        # gunzip writes the content before it reports a wrong sum or size.
        gzip.compress(SMALL, mtime=0)[:-8] + b"sums" + len(SMALL).to_bytes(4, "little"),
        gzip.compress(SMALL, mtime=0)[:-4] + b"size",
    ],
)
def test_packed_data_is_not_passed_over_because_it_is_small(packed: bytes) -> None:
    unpacked = subprocess.run(["gunzip"], input=packed, capture_output=True, check=False).stdout
    assert unpacked.strip(b"\0")
    program = Path("/bin/true").read_bytes()
    for more in (b"", b"\n" * 600):
        assert found(SCRIPT + packed + more) == "script with gzip data in it"
        assert found(program + packed + more) == "program with gzip data behind it"


def test_packed_data_that_is_nothing_is_passed_over() -> None:
    for packed in (EMPTY, EMPTY * 3, gzip.compress(bytes(10_240), mtime=0)):
        assert found(SCRIPT + packed) is None
        assert found(Path("/bin/true").read_bytes() + packed) is None


def test_a_container_is_judged_by_its_members_alone(tmp_path: Path) -> None:
    program = programs.boring().read_bytes()
    (tmp_path / "a.tar").write_bytes(make_layer({"usr/bin/kubelet": program}))
    assert list(judged(look(tmp_path, tmp_path / "a.tar")).values()) == ["proven"]
    (tmp_path / "root").mkdir()
    (tmp_path / "root/a.zip").write_bytes(SCRIPT + Archive([Part(b"k", program, method=0)]).build())
    assert list(judged(look(tmp_path, tmp_path / "root")).values()) == ["proven"]


def test_a_program_in_front_of_the_members_of_a_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "k.zip"
    path.write_bytes(SCRIPT + programs.plain().read_bytes() + Archive([Part(b"k")]).build())
    (error,) = errors(look(tmp_path, path))
    assert isinstance(error, Refused)
    assert "in front of its members, a script with a program in it" in error.message


#: A script in front of a ZIP archive that has a member of other data with this in the middle.
CARRIED = {
    "in a stored member": lambda packed: Part(b"readme", b"x" * 40 + packed + b"x", method=0),
    "in a block that deflate stores": lambda packed: Part(
        b"readme", b"x" * 40 + packed, data=b"\1" + struct.pack("<HH", 40 + len(packed), ~(40 + len(packed)) & 0xFFFF)
        + b"x" * 40 + packed,
    ),
    "in an extra field": lambda packed: Part(
        b"readme", b"x", local={"extra": b"\xfe\xca" + struct.pack("<H", len(packed)) + packed}
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CARRIED)
def test_what_a_script_in_front_of_a_zip_can_cut_off_is_not_passed_over(tmp_path: Path, case: str) -> None:
    packed, path = gzip.compress(b"#!/bin/sh\necho hidden\n"), tmp_path / "k.zip"
    part = CARRIED[case](packed)
    script = b'#!/bin/sh\ntail -c +%06d "$0" | gzip -dc 2>/dev/null | sh\nexit\n'
    archive = (script % 1) + Archive([part]).build()
    path.write_bytes(archive.replace(script % 1, script % (archive.index(packed) + 1)))
    path.chmod(0o755)
    assert subprocess.run([path], capture_output=True, check=False).stdout == b"hidden\n"
    found = [error for error in errors(look(tmp_path, path)) if isinstance(error, UnopenedContainer)]
    assert [(error.path, error.format) for error in found] == [("/readme", "ZIP member with gzip data in it")]


def test_jars_in_a_jar_that_a_script_starts_are_opened_and_not_more(tmp_path: Path) -> None:
    # As Spring Boot makes them: the jars in it are stored, and what is in those is compressed.
    inner = Archive([Part(b"a.class", b"\xca\xfe\xba\xbe" * 90), Part(b"kubelet", programs.boring().read_bytes())])
    parts = [Part(b"BOOT-INF/lib/a.jar", inner.build(), method=0), Part(b"data.gz", gzip.compress(b"data"), method=0)]
    path = tmp_path / "service.jar"
    path.write_bytes(b"#!/bin/bash\nexec java -jar $0\nexit\n" + Archive(parts).build())
    results = look(tmp_path, path)
    assert [error for error in errors(results) if isinstance(error, UnopenedContainer)] == []
    assert list(judged(results).values()) == ["proven"]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_program_behind_the_end_of_a_tar_is_refused(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    # No unpacker shows it, and `tail -c +10241` has it.
    tar = make_layer({"readme": b"text"})
    for path in (tmp_path / "k", tmp_path / "root/k"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(tar + pack(programs.plain().read_bytes()))
    for target in (tmp_path / "k", tmp_path / "root"):
        (error,) = errors(look(tmp_path, target))
        assert isinstance(error, Refused)
        assert "a tar archive with" in error.message
    (tmp_path / "k").write_bytes(tar + b"padding that means nothing" * 400)
    assert errors(look(tmp_path, tmp_path / "k")) == []


@pytest.mark.parametrize("carried", [True, False])
def test_a_package_whose_scriptlet_carries_a_program_is_not_passed_over(tmp_path: Path, carried: bool) -> None:
    # rpm runs it when the package is installed; a Debian package has such scripts as files.
    script = tmp_path / "script"
    packed = base64.encodebytes(gzip.compress(programs.plain().read_bytes()[:40_000]))
    script.write_bytes(b"base64 -d <<E | gunzip > /usr/bin/k\n" + packed + b"E\n" if carried else b"ldconfig\n")
    package = upstream.nfpm(tmp_path / "rpm", changes={"scripts": {"postinstall": str(script)}})
    found = [error for error in errors(look(tmp_path, package)) if isinstance(error, UnopenedContainer)]
    assert [error.format for error in found] == ["RPM with a script with base64 data in it"] * carried


@given(
    st.lists(st.sampled_from((b"\x7fELF", b"\x7fEL", b"\x7f", b"F", b"\0" * 40, PROGRAM_HEADER))).map(b"".join),
    st.integers(1, 700),
)
def test_the_extension_and_the_expression_find_the_same(data: bytes, piece: int) -> None:
    assert embedded_module._ELF_SEARCHER is not None, "the extra `fast` is missing"
    fast = found(data, piece)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded_module, "_ELF_SEARCHER", None)
        assert found(data, piece) == fast
    # What `bytes.find` finds first is the start of a file or of a program.
    assert (fast is not None) == (data.find(PROGRAM_HEADER, 1) >= 0)


@pytest.mark.parametrize("searcher", [None, embedded_module._ELF_SEARCHER], ids=["expression", "extension"])
def test_a_program_is_found_wherever_pieces_end(searcher: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_module, "_ELF_SEARCHER", searcher)
    assert [at for at in range(1, 1300) if found(b"\1" * at + PROGRAM_HEADER + bytes(1300 - at), 600) is None] == []
