"""Go's own wrappers of a module's functions: the path from a Go function to the module's code, step by step.

``crypto/internal/boring`` calls the module by cgo. For each C function that it calls, cgo generates a Go function
(``_Cfunc__goboringcrypto_SHA256_Init``), a variable with the address of a generated C function, and that C function,
which calls the module's. So for each function in use, there is a caller in that package, a wrapper in the function
table, and a call at the end of the path. A call from elsewhere, such as from a C file in a plain Go program, does not
show that Go uses the module.
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
#: Generated C functions read their arguments from a structure and call one function (measured: at most 160 bytes).
_C_FUNCTION = 512
#: Wrappers have about a hundred bytes, the package's other functions up to some thousands.
_MAX_FUNCTION_BYTES = 1 << 16
_MAX_FUNCTIONS = 4096
#: The linker keeps a package together, in some 100 kB.
_MAX_PACKAGE_BYTES = 1 << 20

#: ``mov rel32(%rip), %r64``: REX.W, opcode, ModRM (mod 00, r/m 101), displacement.
_LOAD = re.compile(rb"[\x48\x4c]\x8b[\x05\x0d\x15\x1d\x25\x2d\x35\x3d]", re.DOTALL)
#: ``call rel32`` and ``jmp rel32``.
_CALL = re.compile(rb"[\xe8\xe9]")


SELF_TEST = "BORINGSSL_bcm_power_on_self_test"
"""The first function of the module that the package calls (``boring.go``, ``init``)."""
ENOUGH = 3
"""Functions of the module that wrappers must call, the self-test among them. A program that only generates random
numbers has exactly these: the self-test, ``FIPS_mode`` and ``RAND_bytes`` (measured, Go 1.19 to 1.27)."""


@dataclass(frozen=True, slots=True)
class Wrappers:
    """The functions of ``crypto/internal/boring`` in the function table."""

    table: int | None
    """File offset of the table; None if none can be read."""
    boring: bool
    """Whether it has ``sig.BoringCrypto``, which the package's ``init`` calls if the module is in use."""
    standard: bool
    """Whether it has ``sig.StandardCrypto``, which Go's own cryptography calls if the module is not in use."""
    wired: frozenset[str]
    """The module's functions that wrappers of the same names call; counting ends when they are enough."""

    @property
    def enough(self) -> bool:
        """Whether Go uses the module."""
        return self.boring and len(self.wired) >= ENOUGH and SELF_TEST in self.wired


@dataclass(frozen=True, slots=True)
class Instructions:
    """Readers of a machine's code. Both take code and the address of its first byte."""

    loads: Callable[[bytes, int], Iterator[int]]
    """Yields the addresses of words that the code loads."""
    calls: Callable[[bytes, int], Iterator[int]]
    """Yields the addresses that the code calls or jumps to."""


def read(source: ByteSource, elf: Elf, modules: Sequence[ModuleMatch]) -> Wrappers:
    """Follow the wrappers of a program to the functions of ``modules``."""
    table = function_table.read(source, elf)
    package = functions.functions_with_prefix(source, elf, table, _PACKAGE)
    code = _INSTRUCTIONS.get(elf.facts.machine)
    wired: frozenset[str] = frozenset()
    if code is not None and len(package) <= _MAX_FUNCTIONS:
        wired = frozenset(islice(_wired(RelocatedData(source, elf), code, package, modules), ENOUGH))
    boring, standard = (table.first(source, (name,)) is not None for name in (_BORING, _STANDARD))
    return Wrappers(table.offset, boring, standard, wired)


def _wired(
    memory: RelocatedData, code: Instructions, package: list[Function], modules: Sequence[ModuleMatch]
) -> Iterator[str]:
    bodies = _bodies(memory, package)
    callers = (item for item in package if not item.name.startswith(_WRAPPER))
    called = {target for item in callers for target in code.calls(bodies(item), item.start)}
    entries = [_entry(memory, module) for module in modules if module.stored_at is not None]
    wrappers = {
        item.name.removeprefix(_WRAPPER).removesuffix(".abi0"): item
        for item in package
        if item.name.startswith(_WRAPPER) and item.start in called
    }
    # The self-test comes first, because the caller stops when it has enough.
    for name in sorted(wrappers, key=lambda name: name != SELF_TEST):
        if any(entry(target, name) for target in _targets(memory, code, wrappers[name], bodies) for entry in entries):
            yield name


def _entry(memory: RelocatedData, module: ModuleMatch) -> Callable[[int, str], bool]:
    """Return a predicate: whether an address is the module's function with a name, or anywhere in an unknown module."""
    start = memory.address_of(module.offset)
    row = module.row
    if start is None:
        return lambda _target, _name: False
    if row is None:
        return lambda target, _name: start <= target < start + module.length
    return lambda target, name: row.entry_points.get(name) == target - start


def _targets(
    memory: RelocatedData, code: Instructions, wrapper: Function, bodies: Callable[[Function], bytes]
) -> Iterator[int]:
    """Yield the addresses that C functions call whose addresses a wrapper loads from its variables."""
    for place in code.loads(bodies(wrapper), wrapper.start):
        function = memory.word(place)
        if function is not None and not memory.executable(function):
            # Code for shared linking loads the variable's address from a slot.
            function = memory.word(function)
        if function is not None and memory.executable(function):
            yield from code.calls(memory.bytes_at(function, _C_FUNCTION), function)


def _bodies(memory: RelocatedData, package: list[Function]) -> Callable[[Function], bytes]:
    """Return a reader of the code of functions, which reads that of a whole package at once where it can."""
    first = min((item.start for item in package), default=0)
    size = max((item.end for item in package), default=0) - first
    code = memory.bytes_at(first, size) if 0 < size <= _MAX_PACKAGE_BYTES else b""

    def body(function: Function) -> bytes:
        if not memory.executable(function.start):
            return b""
        size = min(function.end - function.start, _MAX_FUNCTION_BYTES)
        start = function.start - first
        found = code[start : start + size] if start >= 0 and size > 0 else b""
        return found if len(found) == size else memory.bytes_at(function.start, size)

    return body


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
    """Yield what ``LDR Xt, [Xn, #imm]`` loads after ``ADRP Xd`` and ``ADD Xd, Xn, #imm``, in code without branches."""
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
