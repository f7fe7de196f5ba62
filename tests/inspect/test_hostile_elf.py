"""Headers that are wrong, cut short, or ask for too much: always a code, never an exception, never a pass."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fipsmanifest.inspect.analysis import analyze
from fipsmanifest.inspect.bounds import candidate_bounds
from fipsmanifest.inspect.elf_reader import read
from fipsmanifest.inspect.inspector import Inspector
from fipsmanifest.inspect.source import Buffer
from fipsmanifest.inspect.table import load
from fipsmanifest.model.finding import Verdict
from tests.support import edits, programs

TABLE = load()


def code_of(data: bytes) -> str:
    crypto = analyze(Buffer(data), TABLE).crypto
    assert crypto.verdict is Verdict.UNREADABLE, crypto
    return str(crypto.evidence["code"])


@pytest.fixture(scope="module")
def program() -> bytes:
    return programs.boring().read_bytes()


def test_a_program_cut_at_any_header_boundary_is_unreadable() -> None:
    # The C linker puts the section headers at the end, Go's own right behind the program headers.
    program = programs.boring_external().read_bytes()
    program_headers = struct.unpack_from("<H", program, 56)[0]
    sections_at, sections = struct.unpack_from("<Q", program, 40)[0], struct.unpack_from("<H", program, 60)[0]
    assert sections_at > len(program) // 2
    boundaries = [4, 5, 15, 16, 20, 32, 63, 64, 65]
    boundaries += [64 + 56 * index for index in range(1, program_headers + 1)]
    boundaries += [4096, len(program) // 2, sections_at, sections_at + 63]
    boundaries += [sections_at + 64 * index for index in range(1, sections)]
    boundaries += [len(program) - 1]
    for length in boundaries:
        code_of(program[:length])


@pytest.mark.parametrize(
    ("offset", "value", "code"),
    [
        (4, b"\x07", "bad-ident"),
        (4, b"\x01", "bad-ident"),
        (5, b"\x02", "bad-ident"),
        (6, b"\x00", "bad-ident"),
        (20, b"\x02\0\0\0", "bad-header"),
        (32, b"\xff" * 8, "truncated-program-headers"),
        (40, b"\xff" * 8, "truncated-section-headers"),
        (52, b"\x00\x01", "bad-header"),
        (54, b"\x20\x00", "bad-program-header-size"),
        (56, b"\xff\xff", "too-many-program-headers"),
        (56, b"\x00\x04", "segment-beyond-file"),
        (56, b"\x00\x00", "no-load-segments"),
        (58, b"\x28\x00", "bad-section-header-size"),
        (60, b"\x00\xff", "too-many-sections"),
        (60, b"\x00\x00", "too-many-sections"),
        (60, b"\x00\x40", "section-beyond-file"),
    ],
)
def test_a_lying_file_header_is_named(program: bytes, offset: int, value: bytes, code: str) -> None:
    assert code_of(edits.put(program, offset, value)) == code


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        (8, 0xFFFFFFFFFFFFF000, "segment-beyond-file"),
        (16, 0xFFFFFFFFFFFFF000, "segment-beyond-memory"),
        (32, 0xFFFFFFFFFFFFFFFF, "segment-beyond-file"),
        (40, 1, "segment-larger-than-memory"),
        (40, 0x10000000, "overlapping-segments"),
        (16, 0x400800, "misaligned-segment"),
    ],
)
def test_a_lying_program_header_is_named(program: bytes, field: int, value: int, code: str) -> None:
    first = edits.load_indexes(program)[0]
    at = edits.program_header(program, first) + field
    assert code_of(edits.put(program, at, struct.pack("<Q", value))) == code


def test_two_segments_in_the_same_memory_leave_open_what_runs(program: bytes) -> None:
    # The module stays where it is in the file, but the second segment is mapped over the first.
    first, second, *_ = edits.load_indexes(program)
    address = program[edits.program_header(program, first) + 16 :][:8]
    moved = edits.put(program, edits.program_header(program, second) + 16, address)
    assert code_of(moved) == "overlapping-segments"


def test_loading_that_writes_into_code_denies_the_module() -> None:
    data = programs.boring_pie().read_bytes()
    at = next(
        offset
        for offset in (edits.program_header(data, index) for index in range(struct.unpack_from("<H", data, 56)[0]))
        if struct.unpack_from("<I", data, offset)[0] == 2
    )
    dynamic = struct.unpack_from("<Q", data, at + 8)[0]
    text_relocation = edits.put(data, dynamic, struct.pack("<QQ", 22, 0))
    crypto = analyze(Buffer(text_relocation), TABLE).crypto
    assert (crypto.verdict, crypto.evidence["code"]) == (Verdict.CONTRADICTED, "module-writable")


@pytest.mark.parametrize(
    ("bits", "order", "machine", "name"),
    [(32, "<", 3, "em-3"), (32, ">", 8, "em-8"), (64, ">", 22, "em-22"), (64, "<", 243, "em-243")],
)
def test_other_classes_byte_orders_and_machines_are_recognised(bits: int, order: str, machine: int, name: str) -> None:
    looked = analyze(Buffer(edits.hand_made(b"\0" * 64, machine=machine, bits=bits, order=order)), TABLE)
    assert looked.elf is not None
    assert (looked.elf.bits, looked.elf.machine, looked.elf.type) == (bits, name, "exec")
    assert looked.crypto.verdict is Verdict.UNREADABLE


@pytest.mark.parametrize("tail", [b"", b"\x02", b"\x08\x02" + bytes(15), b"\x08\x02" + bytes(16) + b"\xff" * 12])
def test_build_info_that_is_cut_short_is_unreadable(tail: bytes) -> None:
    data = edits.hand_made(b"\x90", edits.BUILD_INFO + tail)
    assert code_of(data) in ("truncated-build-info", "bad-build-info", "empty-build-info")


@pytest.mark.parametrize(
    ("info", "code"),
    [
        (bytes([8, 2]) + bytes(16) + b"\xff\xff\xff\x7f", "oversized-build-info"),
        (bytes([8, 2]) + bytes(16) + b"\x00\x00", "empty-build-info"),
        (bytes([7, 0]) + bytes(16), "bad-build-info"),
        (bytes([8, 0]) + b"\xff" * 16, "empty-build-info"),
    ],
)
def test_build_info_that_lies_is_unreadable(info: bytes, code: str) -> None:
    assert code_of(edits.hand_made(b"\x90", edits.BUILD_INFO + info)) == code


def test_a_file_full_of_decoys_takes_no_longer_than_two_seconds() -> None:
    head = edits.module_object("amd64")[:4096]
    info = edits.inline_build_info("go1.21.13 X:boringcrypto", "path\tx\n")
    started = time.process_time()
    crypto = analyze(Buffer(edits.hand_made(head * 4096, info)), TABLE).crypto
    assert time.process_time() - started < 2
    assert (crypto.verdict, crypto.evidence["code"]) == (Verdict.UNREADABLE, "too-many-modules")


#: ``lea rbx, [rip - 0x80007]; lea rcx, [rip + 0x3fff2]; nop; nop``: each pair, and any two of them, bound a stretch.
_PAIR = b"\x48\x8d\x1d" + struct.pack("<i", -0x80007) + b"\x48\x8d\x0d" + struct.pack("<i", 0x3FFF2) + b"\x90\x90"


@pytest.mark.parametrize(
    "code", [_PAIR, b"\x8d\x05\x00\x00\xf0\xff", b"\x8d\x05\x8d\x05\xff\xff"], ids=["pairs", "back only", "dense"]
)
def test_a_file_full_of_stated_bounds_takes_no_longer_than_two_seconds(code: bytes) -> None:
    info = edits.inline_build_info("go1.21.13 X:boringcrypto", "path\tx\n")
    data = Buffer(edits.hand_made(b"\x90" * 0x90000 + code * ((64 << 20) // len(code)), info))
    assert bool(candidate_bounds(data, read(data))) == (code == _PAIR)
    started = time.process_time()
    crypto = analyze(data, TABLE).crypto
    assert time.process_time() - started < 2
    assert crypto.verdict is Verdict.UNREADABLE


#: What names of functions, and tables of them, begin with; real ones are followed by something else.
SEEMING = {
    "names": b"\0crypto/",
    "names of the runtime": struct.pack("<IHBB7Q", 0xFFFFFFF1, 0, 1, 8, 1, 1, 0, 72, 32 << 20, 0, 0) + b"\0runtime.",
    "tables": struct.pack("<IH", 0xFFFFFFF1, 0),
    "tables of right sizes": struct.pack("<IHBB", 0xFFFFFFF1, 0, 1, 8),
    "tables of the oldest kind": struct.pack("<IHBB", 0xFFFFFFFB, 0, 1, 8) + b"\0runtime.",
}


@pytest.mark.parametrize("name", SEEMING)
def test_a_file_full_of_what_seems_a_table_of_functions_takes_no_longer_than_two_seconds(name: str) -> None:
    info = edits.inline_build_info("go1.21.13 X:boringcrypto", "path\tx\n")
    seeming = SEEMING[name]
    data = edits.hand_made(b"\x90" * 4096, info.ljust(4096, b"\0") + seeming * ((16 << 20) // len(seeming)))
    started = time.process_time()
    crypto = analyze(Buffer(data), TABLE).crypto
    assert time.process_time() - started < 2
    assert (crypto.verdict, crypto.evidence["code"]) == (Verdict.UNREADABLE, "no-function-table")


@pytest.mark.parametrize("machine", [3, 62, 183])
def test_a_thousand_segments_of_the_same_bytes_take_no_longer_than_two_seconds(machine: int) -> None:
    bits, size, step = (32, 4 << 20, 1 << 12) if machine == 3 else (64, 4 << 20, 8 << 20)
    data = edits.hand_made(bytes(0x1000), bytes(size), machine=machine, bits=bits)
    form, entry, table = ("<IIIIIIII", 32, 52) if bits == 32 else ("<IIQQQQQQ", 56, 64)
    first, behind = data[: table + entry], data[0x2000:]
    segments = b"".join(
        struct.pack(form, 1, 0x10000, place, place, size, size, 4, 0x1000)
        if bits == 32
        else struct.pack(form, 1, 4, 0x10000, place, place, size, size, 0x1000)
        for place in range(0x1000000, 0x1000000 + 1000 * step, step)
    )
    data = edits.put((first + segments).ljust(0x10000, b"\0"), 44 if bits == 32 else 56, b"\xe9\x03") + behind
    started = time.process_time()
    assert code_of(data) == "segments-of-the-same-bytes"
    assert time.process_time() - started < 2


def test_a_thousand_segments_of_a_byte_on_the_same_pages_are_looked_through_once() -> None:
    # Pages of aarch64 may have 64 KiB, all of which are mapped for one byte.
    info = edits.inline_build_info("go1.21.13 X:boringcrypto", "path\tx\n")
    first, page = edits.hand_made(b"", machine=183)[:120], info.ljust(2048, b"\0") + b"\0crypto/" * 7936
    places = [(0x10000, 2048), *((0x11000 + 0x10000 * number, 1) for number in range(1, 1000))]
    segments = b"".join(
        struct.pack("<IIQQQQQQ", 1, 4, 0x10000 + place % 0x10000, place, place, size, size, 0x1000)
        for place, size in places
    )
    data = edits.put((first + segments).ljust(0x10000, b"\0"), 56, struct.pack("<H", 1001)) + page
    started = time.process_time()
    assert code_of(data) == "no-function-table"
    assert time.process_time() - started < 0.5


@pytest.mark.parametrize("goarch", ["amd64", "arm64"])
def test_a_file_full_of_calls_into_the_module_takes_no_longer_than_two_seconds(goarch: str) -> None:
    module = edits.module_object(goarch)
    code = bytearray(module + bytes(-len(module) % 4096))
    while len(code) < 32 << 20:
        # Into the module's first quarter, where the self-test is not.
        back = 0x1000 - len(code)
        branch = 0x94000000 | back // 4 & 0x03FFFFFF
        one = b"\xe8" + struct.pack("<i", back) if goarch == "amd64" else struct.pack("<I", branch)
        code += one * ((1 << 16) // len(one))
    info = edits.inline_build_info("go1.21.13 X:boringcrypto", "path\tx\n")
    data = edits.hand_made(bytes(code), info, machine=62 if goarch == "amd64" else 183)
    started = time.process_time()
    crypto = analyze(Buffer(data), TABLE).crypto
    assert time.process_time() - started < 2
    assert (crypto.verdict, crypto.evidence["code"]) == (Verdict.CONTRADICTED, "module-never-called")


def test_a_shell_script_named_kubelet_is_a_program_without_a_verdict(tmp_path: Path) -> None:
    script = tmp_path / "kubelet"
    script.write_text("#!/bin/sh\necho Kubernetes v1.21.3\n")
    finding = Inspector(TABLE, tmp_path).inspect_path(script, "/usr/bin/kubelet")
    assert (finding.role, finding.elf, finding.crypto) == ("program", None, None)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places=st.lists(st.tuples(st.integers(0, 1023), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4))
def test_any_damage_to_the_headers_gives_a_verdict_and_no_exception(
    program: bytes, places: list[tuple[int, bytes]]
) -> None:
    damaged = program
    for offset, value in places:
        damaged = edits.put(damaged, offset, value)
    if damaged[:4] == b"\x7fELF":
        analyze(Buffer(damaged), TABLE)
