"""Whether Go's own wrappers lead into a module: the way from a Go function to the module's code, step by step.

``crypto/internal/boring`` reaches the module by cgo. For each C function that it calls, cgo writes a Go function
(``_Cfunc__goboringcrypto_SHA256_Init``), a variable with the address of a C function of its own, and that C function,
which calls the module's. So a module that is in use has, for each function in use, a caller in that package, a wrapper
in the function table, and a call at the end of the way. A call from anywhere else, such as a C file beside a plain Go
program, shows nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from . import function_table, functions
from .boring import ModuleMatch
from .elf import Elf
from .functions import Function
from .relocation import RelocatedData
from .source import ByteSource

_PACKAGE = b"crypto/internal/boring."
_BORING, _STANDARD = b"\0crypto/internal/boring/sig.BoringCrypto", b"\0crypto/internal/boring/sig.StandardCrypto"
_WRAPPER = "crypto/internal/boring._Cfunc__goboringcrypto_"
#: cgo's C functions take their arguments out of a structure and call one function (measured: at most 160 bytes).
_C_FUNCTION = 512
#: Wrappers have about a hundred bytes, the package's other functions up to some thousand.
_LONGEST_FUNCTION = 1 << 16
_MOST_FUNCTIONS = 4096

#: ``mov rel32(%rip), %r64``: REX.W, opcode, ModRM (mod 00, r/m 101), displacement.
_LOAD = re.compile(rb"[\x48\x4c]\x8b[\x05\x0d\x15\x1d\x25\x2d\x35\x3d]", re.DOTALL)
#: ``call rel32`` and ``jmp rel32``.
_CALL = re.compile(rb"[\xe8\xe9]")


SELF_TEST = "BORINGSSL_bcm_power_on_self_test"
"""The first function of the module that the package calls (``boring.go``, ``init``)."""
ENOUGH = 3
"""Functions of the module that wrappers must lead to, the self-test among them. A program that draws random numbers
alone has just as many: the self-test, ``FIPS_mode`` and ``RAND_bytes`` (measured, Go 1.19 to 1.27)."""


@dataclass(frozen=True, slots=True)
class Wrappers:
    """What the function table shows of ``crypto/internal/boring``."""

    table: int | None
    """File offset of the table; None where there is none that can be read."""
    boring: bool
    """It has ``sig.BoringCrypto``, which the package's ``init`` calls where the module is in use."""
    standard: bool
    """It has ``sig.StandardCrypto``, which Go's own cryptography calls where the module is not in use."""
    wired: frozenset[str]
    """The module's functions that wrappers of the same names lead to; counting ends where they are enough."""

    @property
    def enough(self) -> bool:
        """Return whether Go uses the module."""
        return self.boring and len(self.wired) >= ENOUGH and SELF_TEST in self.wired


@dataclass(frozen=True, slots=True)
class Instructions:
    """What is read of a machine's code: both take bytes and the address of the first."""

    loads: Callable[[bytes, int], Iterator[int]]
    """Addresses of the words that it loads."""
    calls: Callable[[bytes, int], Iterator[int]]
    """Addresses that it calls or jumps to."""


def read(source: ByteSource, elf: Elf, modules: Sequence[ModuleMatch]) -> Wrappers:
    """Follow the wrappers of a program to the functions of ``modules``."""
    table = function_table.read(source, elf)
    package = functions.functions_with_prefix(source, elf, table, _PACKAGE)
    code = _INSTRUCTIONS.get(elf.facts.machine)
    wired: frozenset[str] = frozenset()
    if code is not None and len(package) <= _MOST_FUNCTIONS:
        wired = frozenset(islice(_wired(RelocatedData(source, elf), code, package, modules), ENOUGH))
    boring, standard = (table.first(source, (name,)) is not None for name in (_BORING, _STANDARD))
    return Wrappers(table.offset, boring, standard, wired)


def _wired(
    memory: RelocatedData, code: Instructions, package: list[Function], modules: Sequence[ModuleMatch]
) -> Iterator[str]:
    callers = (item for item in package if not item.name.startswith(_WRAPPER))
    called = {target for item in callers for target in code.calls(_body(memory, item), item.start)}
    entries = [_entry(memory, module) for module in modules if module.stored_at is not None]
    wrappers = {
        item.name.removeprefix(_WRAPPER).removesuffix(".abi0"): item
        for item in package
        if item.name.startswith(_WRAPPER) and item.start in called
    }
    # What is required comes first, so that little is followed of a program that has it all.
    for name in sorted(wrappers, key=lambda name: name != SELF_TEST):
        if any(entry(target, name) for target in _targets(memory, code, wrappers[name]) for entry in entries):
            yield name


def _entry(memory: RelocatedData, module: ModuleMatch) -> Callable[[int, str], bool]:
    """Return what tells whether a module has the function of a name at an address; unknown ones have any anywhere."""
    start = memory.address_of(module.offset)
    row = module.row
    if start is None:
        return lambda _target, _name: False
    if row is None:
        return lambda target, _name: start <= target < start + module.length
    return lambda target, name: row.entry_points.get(name) == target - start


def _targets(memory: RelocatedData, code: Instructions, wrapper: Function) -> Iterator[int]:
    """Yield what the C functions call whose addresses a wrapper loads from its variables."""
    for place in code.loads(_body(memory, wrapper), wrapper.start):
        function = memory.word(place)
        if function is not None and not memory.executable(function):
            # Code for shared linking has the variable's address in a slot.
            function = memory.word(function)
        if function is not None and memory.executable(function):
            yield from code.calls(memory.bytes_at(function, _C_FUNCTION), function)


def _body(memory: RelocatedData, function: Function) -> bytes:
    if not memory.executable(function.start):
        return b""
    return memory.bytes_at(function.start, min(function.end - function.start, _LONGEST_FUNCTION))


def _x86_loads(data: bytes, address: int) -> Iterator[int]:
    for match in _LOAD.finditer(data):
        yield _relative(data, match.end(), address)


def _x86_calls(data: bytes, address: int) -> Iterator[int]:
    for match in _CALL.finditer(data):
        yield _relative(data, match.end(), address)


def _relative(data: bytes, at: int, address: int) -> int:
    return address + at + 4 + int.from_bytes(data[at : at + 4], "little", signed=True)


def _arm_words(data: bytes) -> Iterator[tuple[int, int]]:
    for at in range(0, len(data) - 3, 4):
        yield at, int.from_bytes(data[at : at + 4], "little")


def _arm_loads(data: bytes, address: int) -> Iterator[int]:
    """Follow ``ADRP Xd``, ``ADD Xd, Xn, #imm`` and ``LDR Xt, [Xn, #imm]`` through straight code."""
    registers: dict[int, int] = {}
    for at, word in _arm_words(data):
        target, base = word & 31, word >> 5 & 31
        if word & 0x9F000000 == 0x90000000:
            pages = (word >> 5 & 0x7FFFF) << 2 | word >> 29 & 3
            pages -= (pages & 0x100000) << 1
            registers[target] = (address + at & ~0xFFF) + (pages << 12)
        elif word & 0xFFC00000 == 0x91000000 and base in registers:
            registers[target] = registers[base] + (word >> 10 & 0xFFF)
        elif word & 0xFFC00000 == 0xF9400000 and base in registers:
            yield registers[base] + 8 * (word >> 10 & 0xFFF)


def _arm_calls(data: bytes, address: int) -> Iterator[int]:
    for at, word in _arm_words(data):
        if word & 0x7C000000 == 0x14000000:
            words = word & 0x03FFFFFF
            yield address + at + 4 * (words - ((words & 0x02000000) << 1))


_INSTRUCTIONS = {"x86_64": Instructions(_x86_loads, _x86_calls), "aarch64": Instructions(_arm_loads, _arm_calls)}
