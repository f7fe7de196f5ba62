"""The reader of ELF headers against pyelftools: both read the same segments, sections, dynamic tags and symbols."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile
from examples.upstream import goprograms

from fipsmanifest.inspect import boring, elf_reader
from fipsmanifest.inspect.elf import Elf
from fipsmanifest.inspect.source import Buffer
from tests.support import programs

#: p_type in pyelftools -> the kind here, for those that are read.
KINDS = {
    "PT_LOAD": "load",
    "PT_DYNAMIC": "dynamic",
    "PT_INTERP": "interpreter",
    "PT_NOTE": "note",
    "PT_PHDR": "headers",
    "PT_GNU_STACK": "stack",
}
TYPES = {"ET_REL": "rel", "ET_EXEC": "exec", "ET_DYN": "dyn", "ET_CORE": "core"}
MACHINES = {"EM_X86_64": "x86_64", "EM_AARCH64": "aarch64"}

#: Go's linker and the C compiler's, of every build mode, stripped and not; objects of both machines.
FILES: dict[str, Callable[[], bytes]] = {
    "Go": lambda: programs.boring().read_bytes(),
    "TLS": lambda: programs.boring_tls().read_bytes(),
    "linked by C": lambda: programs.boring_external().read_bytes(),
    "static": lambda: programs.boring_static().read_bytes(),
    "PIE": lambda: programs.boring_pie().read_bytes(),
    "static PIE": lambda: programs.boring_static_pie().read_bytes(),
    "stripped": lambda: programs.boring_stripped_by_linker().read_bytes(),
    "shared library": lambda: programs.boring_c_shared().read_bytes(),
    "C": lambda: programs.c_program().read_bytes(),
    "/bin/true": lambda: Path("/bin/true").read_bytes(),
    "object, x86_64": lambda: module_object("amd64"),
    "object, aarch64": lambda: module_object("arm64"),
}


def module_object(goarch: str) -> bytes:
    directory = goprograms.goroot() / "src/crypto/internal/boring/syso"
    return (directory / f"goboringcrypto_linux_{goarch}.syso").read_bytes()


@pytest.fixture(params=FILES, ids=str)
def data(request: pytest.FixtureRequest) -> bytes:
    return FILES[request.param]()


def second(data: bytes) -> Any:
    return ELFFile(io.BytesIO(data))


def test_facts_and_segments_are_those_of_the_second_reader(data: bytes) -> None:
    ours, theirs = _read(data), second(data)
    machine = MACHINES[theirs["e_machine"]]
    assert (ours.facts.bits, ours.facts.machine, ours.facts.type) == (theirs.elfclass, machine, TYPES[theirs["e_type"]])
    assert ours.little is theirs.little_endian
    keys = ("p_offset", "p_filesz", "p_vaddr", "p_memsz", "p_flags")
    assert [(item.kind, item.offset, item.size, item.address, item.memory, item.flags) for item in ours.segments] == [
        (KINDS[item["p_type"]], *(item[key] for key in keys))
        for item in theirs.iter_segments()
        if item["p_type"] in KINDS
    ]


def test_sections_are_those_of_the_second_reader(data: bytes) -> None:
    expected = [
        (item.name, item["sh_offset"], item["sh_size"], item["sh_addr"], item["sh_link"], number)
        for number, item in enumerate(second(data).iter_sections())
        if item["sh_type"] not in ("SHT_NULL", "SHT_NOBITS")
    ]
    assert expected
    assert [
        (item.name, item.offset, item.size, item.address, item.link, item.index) for item in _read(data).sections
    ] == expected


def test_dynamic_tags_are_those_of_the_second_reader(data: bytes) -> None:
    dynamic = next((item for item in second(data).iter_segments() if item["p_type"] == "PT_DYNAMIC"), None)
    expected = [] if dynamic is None else [(tag.entry["d_val"]) for tag in dynamic.iter_tags()][:-1]
    assert [value for _, value in _read(data).dynamic] == expected


@pytest.mark.parametrize("name", ["Go", "linked by C", "PIE", "shared library", "object, x86_64", "object, aarch64"])
def test_values_of_symbols_are_those_of_the_second_reader(name: str) -> None:
    data = FILES[name]()
    headers, table = _read(data), second(data).get_section_by_name(".symtab")
    symbols = headers.section(".symtab")
    assert symbols is not None
    counts = Counter(symbol["st_name"] for symbol in table.iter_symbols())
    once = [symbol for symbol in table.iter_symbols() if symbol["st_name"] and counts[symbol["st_name"]] == 1]
    compared = 0
    for symbol in once[:: max(len(once) // 40, 1)]:
        value = boring._symbol_value(Buffer(data), headers, symbols.offset, symbols.size, symbol["st_name"])
        assert value == symbol["st_value"], symbol.name
        compared += 1
    assert compared >= 40


def test_some_of_the_files_have_dynamic_tags() -> None:
    # So that their comparison is not one of nothing with nothing.
    assert len(_read(FILES["PIE"]()).dynamic) > 10


def _read(data: bytes) -> Elf:
    return elf_reader.read(Buffer(data))
