"""The one pass over a program's code: what is on borders, in which pieces, and beside what is only alike."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fipsmanifest.errors import Incomplete
from fipsmanifest.inspect import elf_reader, inspector
from fipsmanifest.inspect.analysis import ElfAnalysis, ProgramAnalyzer, start_analysis
from fipsmanifest.inspect.inspector import Inspector
from fipsmanifest.inspect.signals import Markers
from fipsmanifest.inspect.source import WINDOW, Buffer, ByteSource
from fipsmanifest.inspect.sweep import Sweep, sweep
from fipsmanifest.inspect.table import Table, load
from tests.support import edits, programs

TABLE = load()
ROWS = TABLE.of("x86_64")
#: crypto/internal/boring/sig/sig_amd64.s, from a program of Go's own.
STANDARD = bytes.fromhex("EB1DF448F44BF4BAEE4DFA9851CA56A91145E83E99C59CF911CB8E80DAF12FC3")
BORING = bytes.fromhex("EB1DF448F44BF4B332F52813A3B450D441CC2485F001454E92101B1D2F1950C3")
#: Where `edits.hand_made` puts the code.
CODE = 0x1000


def swept(code: bytes, machine: int = 62) -> Sweep:
    source = Buffer(edits.hand_made(code, machine=machine))
    headers = elf_reader.read(source)
    return sweep(source, headers, TABLE.of(headers.facts.machine))


@pytest.mark.parametrize("before", [0, 16, WINDOW - 32, WINDOW - 16, WINDOW, 3 * WINDOW - 16])
def test_a_marker_is_seen_wherever_a_function_can_begin(before: int) -> None:
    code = b"\x90" * before + STANDARD + b"\x90" * 100
    assert swept(code).markers == Markers(0, 1, 0)
    assert not swept(b"\x90" * 8 + code).markers.standard
    assert not swept(code[: before + 31]).markers.standard


def test_markers_are_told_apart_and_need_all_their_bytes() -> None:
    code = BORING + b"\x90" * 32 + STANDARD
    assert swept(code).markers == Markers(1, 1, 0)
    for at in range(32):
        assert not swept(edits.flip(STANDARD, at)).markers.standard
    assert not swept(code, machine=183).markers.standard


@pytest.mark.parametrize("page", [0, 1, WINDOW // 4096 - 1, WINDOW // 4096, 200])
def test_a_module_is_seen_on_whatever_page_it_begins(page: int) -> None:
    head = edits.module_object("amd64")[:64]
    code = b"A" * (4096 * page) + head
    assert swept(code).heads == (CODE + 4096 * page,)
    assert swept(code[:-1]).heads == ()


@pytest.mark.parametrize("before", [16, 4096 + 64, WINDOW - 48, WINDOW - 16, WINDOW + 16])
def test_a_module_is_seen_off_its_page_where_its_code_could_still_run(before: int) -> None:
    head = edits.module_object("amd64")[:64]
    assert swept(b"\x90" * before + head).heads == (CODE + before,)
    assert swept(b"\x90" * (before + 8) + head).heads == ()


@pytest.mark.parametrize("before", [0, 16, WINDOW - 48, WINDOW - 16, WINDOW])
@pytest.mark.parametrize(("machine", "goarch"), [(62, "amd64"), (183, "arm64")])
def test_a_module_in_data_is_seen_where_the_linker_puts_embedded_files(before: int, machine: int, goarch: str) -> None:
    head = edits.module_object(goarch)[:64]

    def found(data: bytes) -> tuple[int, ...]:
        source = Buffer(edits.hand_made(b"\x90" * 64, data, machine=machine))
        headers = elf_reader.read(source)
        return sweep(source, headers, TABLE.of(headers.facts.machine)).data_heads

    assert found(b"A" * before + head) == (0x2000 + before,)
    assert found(b"A" * before + head[:-1]) == ()
    assert found(b"A" * (before + 8) + head) == ()


@pytest.mark.parametrize("before", [0, 4, WINDOW - 60, WINDOW - 4, WINDOW])
def test_an_arm_module_is_seen_wherever_it_begins(before: int) -> None:
    code = b"\x1f\x20\x03\xd5" * (before // 4) + edits.module_object("arm64")[:64]
    assert swept(code, machine=183).heads == (CODE + before,)


@given(st.lists(st.integers(1, 5000), max_size=12), st.integers(0, 1200))
def test_pieces_of_any_size_show_what_the_whole_does(sizes: list[int], place: int) -> None:
    code = bytearray(b"\x90" * 20_000)
    code[16 * place : 16 * place + 32] = STANDARD
    code[8192 : 8192 + 64] = edits.module_object("amd64")[:64]
    data = edits.hand_made(bytes(code))
    headers = elf_reader.read(Buffer(data))
    whole, pieces, at = sweep(Buffer(data), headers, ROWS), Sweep(headers, ROWS), 0
    for size in [*sizes, len(data)]:
        # In a buffer that is larger than what is read into it.
        piece = data[at : at + size]
        pieces.feed(at, bytearray(piece + STANDARD), len(piece))
        at += len(piece)
    assert pieces.fed == len(data)
    assert (pieces.heads, pieces.markers.standard) == (whole.heads, whole.markers.standard)


def test_code_that_looks_like_markers_everywhere_takes_no_longer_and_hides_none() -> None:
    alike = (STANDARD[:7] + b"\x90" * 9) * (1 << 20)
    started = time.process_time()
    assert not swept(alike).markers.standard
    assert swept(alike + STANDARD).markers.standard
    head = edits.module_object("amd64")[:64]
    assert swept((head[:7] + b"\x90" * 9) * (1 << 16) + head).heads == (CODE + (1 << 20),)
    assert not swept(alike + b"\x90" * 8 + STANDARD).markers.standard
    assert time.process_time() - started < 3


@pytest.mark.parametrize("at_first", [5000, 3 << 20, None], ids=["grown", "grown by half", "of one size"])
def test_a_program_that_is_written_to_while_it_is_read_gets_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_first: int | None
) -> None:
    path, data = tmp_path / "kubelet", programs.boring().read_bytes()
    path.write_bytes(data[:at_first])

    def writing(source: ByteSource, table: Table, *options: Any) -> ProgramAnalyzer | ElfAnalysis:
        # Longer than the kernel's clock for files ticks.
        time.sleep(0.05)
        path.write_bytes(data)
        return start_analysis(source, table, *options)

    # The moment between the first read and the last cannot be reached otherwise.
    monkeypatch.setattr(inspector, "start_analysis", writing)
    with pytest.raises(Incomplete, match="changed while it was read"):
        Inspector(TABLE, tmp_path).inspect_path(path)
