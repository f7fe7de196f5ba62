"""Programs of Go 1.21 with the table of functions, and the build info, that older releases of Go wrote.

Kubernetes up to 1.23 was built with those (``go1.16.6b7``), which no package registry has. The layouts are those of
Go's own reader (``debug/gosym/pclntab.go``: `ver12`, `ver116`) and of the runtime (``runtime._func`` in Go 1.15 and
1.16); `gosym` asks that reader what it sees.
"""

from __future__ import annotations

import io
import json
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection
from examples.upstream.goprograms import build

from tests.support import edits

_NEW, _MAGIC_1_16, _MAGIC_1_2 = 0xFFFFFFF1, 0xFFFFFFFA, 0xFFFFFFFB
_AARCH64 = 183
_RELATIVE = {62: 8, _AARCH64: 1027}
_PAGE = 0x10000

_READER = """\
package main

import (
	"debug/gosym"
	"encoding/json"
	"os"
	"strconv"
)

func main() {
	data, err := os.ReadFile(os.Args[1])
	if err != nil {
		panic(err)
	}
	text, err := strconv.ParseUint(os.Args[2], 10, 64)
	if err != nil {
		panic(err)
	}
	table, err := gosym.NewTable(nil, gosym.NewLineTable(data, text))
	if err != nil {
		panic(err)
	}
	found := [][]any{}
	for _, item := range table.Funcs {
		found = append(found, []any{item.Name, item.Entry, item.End})
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		panic(err)
	}
}
"""


@dataclass
class _Function:
    entry: int
    name: int
    fixed: tuple[int, ...]
    """args, deferreturn, pcsp, pcfile, pcln."""
    unit: int
    kind: int
    pcdata: tuple[int, ...]
    funcdata: int
    """How many."""


@dataclass
class _Table:
    """What a table of Go 1.20 and later says, and where it is."""

    offset: int
    head: bytes
    files: int
    parts: tuple[bytes, ...]
    """Names of functions, compilation units, names of files, tables by instruction."""
    functions: list[_Function]
    end: int


@dataclass
class _Made:
    """A table that is being written: its bytes, and where addresses are in it."""

    data: bytearray = field(default_factory=bytearray)
    addresses: list[int] = field(default_factory=list)

    def align(self, size: int = 8) -> None:
        self.data += bytes(-len(self.data) % size)

    def address(self, place: int, value: int) -> None:
        struct.pack_into("<Q", self.data, place, value)
        self.addresses.append(place)


def gosym(table: bytes, text: int) -> list[tuple[str, int, int]]:
    """Return the functions (name, first address, address behind) that Go's own reader sees in a table."""
    reader = build("gosym", main=_READER, boring=False, cgo=False)
    with tempfile.NamedTemporaryFile() as file:
        file.write(table)
        file.flush()
        run = subprocess.run([reader, file.name, str(text)], check=True, capture_output=True)
    return [(name, entry, end) for name, entry, end in json.loads(run.stdout)]


def table_of(data: bytes) -> bytes:
    """Return the bytes of a program's table."""
    return data[_place(data) :]


def _place(data: bytes) -> int:
    """Return where the only table begins: not every linker gives it a section of its own."""
    quantum = 4 if struct.unpack_from("<H", data, 18)[0] == _AARCH64 else 1
    heads = (struct.pack("<IHBB", magic, 0, quantum, 8) for magic in (_NEW, _MAGIC_1_16, _MAGIC_1_2))
    (found,) = (data.index(head) for head in heads if head in data)
    return found


def text_of(data: bytes) -> int:
    """Return the address of ``runtime.text``, from which entries count since Go 1.18."""
    symbols = ELFFile(io.BytesIO(data)).get_section_by_name(".symtab")
    assert isinstance(symbols, SymbolTableSection)
    found = symbols.get_symbol_by_name("runtime.text")
    assert found is not None
    return int(found[0]["st_value"])


def of_go_1_16(data: bytes, *, relocations: bool = False, version: str = "go1.16.6b7") -> bytes:
    """Return a program with the table of Go 1.16 and 1.17: addresses of functions as words.

    With ``relocations`` they are zero in the file, and relocations have the values, as C's linkers write them. So are
    the addresses in its build info.
    """
    return _with(data, _form_1_16(_read(data)), relocations=relocations, version=version)


def of_go_1_2(data: bytes, *, relocations: bool = False, version: str = "go1.15.15b5") -> bytes:
    """Return a program with the table of Go 1.2 to 1.15: names among all else."""
    return _with(data, _form_1_2(_read(data)), relocations=relocations, version=version)


def _read(data: bytes) -> _Table:
    offset, table, text = _place(data), table_of(data), text_of(data)
    magic, _, _, width = struct.unpack_from("<IHBB", table)
    assert (magic, width) == (_NEW, 8)
    count, files, _, *places = struct.unpack_from("<8Q", table, 8)
    parts = tuple(table[start:behind] for start, behind in pairwise(places))
    base, functions = places[-1], []
    for number in range(count):
        entry, place = struct.unpack_from("<II", table, base + 8 * number)
        own, name, *fixed, pcdata, unit, _line = struct.unpack_from("<10I", table, base + place)
        kind, funcdata = table[base + place + 40], table[base + place + 43]
        assert own == entry
        values = struct.unpack_from(f"<{pcdata}I", table, base + place + 44)
        functions.append(_Function(text + entry, name, tuple(fixed), unit, kind, values, funcdata))
    (end,) = struct.unpack_from("<I", table, base + 8 * count)
    return _Table(offset, table[4:8], files, parts, functions, text + end)


def _form_1_16(table: _Table) -> _Made:
    made, places = _Made(bytearray(8 + 7 * 8)), []
    for part in table.parts:
        made.align()
        places.append(len(made.data))
        made.data += part
    made.align()
    base = len(made.data)
    header = struct.pack("<I", _MAGIC_1_16) + table.head
    header += struct.pack("<7Q", len(table.functions), table.files, *places, base)
    made.data[: len(header)] = header
    _functions(made, table, base, base, lambda function: function.name)
    return made


def _form_1_2(table: _Table) -> _Made:
    made = _Made(bytearray(struct.pack("<I", _MAGIC_1_2) + table.head + struct.pack("<Q", len(table.functions))))
    written: dict[int, int] = {}
    names, _, files, _ = table.parts

    def name(function: _Function) -> int:
        # Behind the record that is the first to want it.
        if function.name not in written:
            written[function.name] = len(made.data)
            made.data += names[function.name : names.index(b"\0", function.name) + 1]
        return written[function.name]

    count = len(table.functions)
    files_at = 16 + 16 * count + 8
    _functions(made, table, 16, 0, name, room=8)
    made.align(4)
    struct.pack_into("<I", made.data, files_at, len(made.data))
    made.data += struct.pack("<II", 2, len(made.data) + 8) + files[: files.index(b"\0", 1) + 1]
    return made


def _functions(made: _Made, table: _Table, at: int, base: int, name: Callable[[_Function], int], room: int = 0) -> None:
    """Write the list at a place, and records whose places count from ``base`` behind it."""
    count = len(table.functions)
    made.data += bytes(16 * count + 8 + room)
    for number, function in enumerate(table.functions):
        made.align()
        record = len(made.data)
        made.address(at + 16 * number, function.entry)
        struct.pack_into("<Q", made.data, at + 16 * number + 8, record - base)
        made.data += bytes(8) + struct.pack("<I5I", 0, *function.fixed)
        made.data += struct.pack("<IIBxxB", len(function.pcdata), function.unit, function.kind, function.funcdata)
        made.data += struct.pack(f"<{len(function.pcdata)}I", *function.pcdata)
        if function.funcdata:
            made.align()
            made.data += bytes(8 * function.funcdata)
        made.address(record, function.entry)
        struct.pack_into("<I", made.data, record + 8, name(function))
    made.address(at + 16 * count, table.end)


def _with(data: bytes, made: _Made, *, relocations: bool, version: str) -> bytes:
    """Put a table behind all else, in a segment of its own, and erase the one before."""
    old, machine = _place(data), struct.unpack_from("<H", data, 18)[0]
    info = edits.build_info(data)[0]
    data = edits.pointer_build_info(data, version, "path\tx\nmod\tk8s.io/kubernetes\tv1.21.3\t\n")
    data = edits.put(data, old, bytes(8))
    address = -(-max(place + length for _, place, length in edits.loads(data)) // _PAGE) * _PAGE + 16 * _PAGE
    start = -(-len(data) // _PAGE) * _PAGE
    content = bytearray(made.data)
    if relocations:
        moved = [(address + place, struct.unpack_from("<Q", content, place)[0]) for place in made.addresses]
        for place in made.addresses:
            struct.pack_into("<Q", content, place, 0)
        (there,) = (a + info - o for o, a, size in edits.loads(data) if o <= info < o + size)
        for place in (16, 24, 32, 48):
            moved.append((there + place, struct.unpack_from("<Q", data, info + place)[0]))
            data = edits.put(data, info + place, bytes(8))
        before = _relocations(data)
        added = b"".join(struct.pack("<QQQ", where, _RELATIVE[machine], value) for where, value in moved)
        content += bytes(-len(content) % 8)
        data = _with_dynamic(data, {7: address + len(content), 8: len(before) + len(added)})
        content += before + added
    headers = [*edits.program_headers(data), [1, 4, start, address, address, len(content), len(content), _PAGE]]
    data = edits.with_program_headers(data, headers)
    data = _with_section(data, old, address, start, len(made.data))
    return data.ljust(start, b"\0") + bytes(content)


def _dynamic(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield place, tag and value of what the dynamic section says."""
    offset, _, size = edits.section(data, ".dynamic")
    for place in range(offset, offset + size, 16):
        yield place, *struct.unpack_from("<QQ", data, place)


def _relocations(data: bytes) -> bytes:
    values = {tag: value for _, tag, value in _dynamic(data)}
    (start,) = (o + values[7] - a for o, a, size in edits.loads(data) if a <= values[7] < a + size)
    return data[start : start + values[8]]


def _with_dynamic(data: bytes, values: dict[int, int]) -> bytes:
    for place, tag, _ in _dynamic(data):
        if tag in values:
            data = edits.put(data, place + 8, struct.pack("<Q", values[tag]))
    return data


def _with_section(data: bytes, old: int, address: int, start: int, size: int) -> bytes:
    """Let the section header of the old table lead to the new one."""
    at = struct.unpack_from("<Q", data, 40)[0]
    for header in range(at, at + 64 * struct.unpack_from("<H", data, 60)[0], 64):
        if struct.unpack_from("<Q", data, header + 24)[0] == old:
            data = edits.put(data, header + 16, struct.pack("<QQQ", address, start, size))
    return data
