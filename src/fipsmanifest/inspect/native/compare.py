"""A program's native module against a reference: function by function, with what they refer to.

Each function of the module's range must have a record of its name whose digest its bytes have, without what the linker
writes, and every address that the linker wrote must be that of the symbol which the record names: for a function, one
of that name; for data of the module, constants and types, bytes that are theirs; for a variable, memory that is zero at
first and no other variable's, the same everywhere. So code can differ from the reference in where it is, and in
nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, compress
from operator import ne

from ..elf import Elf
from ..fipsinfo import FIRST_WORD, NativeModule
from ..functions import Function, FunctionIndex
from ..source import ByteSource
from .initialization import UnknownInitialization, left_out
from .loaded import LoadedData
from .matching import START, Differs, Matches, is_trampoline, match
from .prepared import OTHER, UNKNOWN, Code, Link, Target
from .records import Record, SymbolKind, digest_of
from .reference import MODULE_PATH, Reference
from .relocations import SHIFTS, TLS_LOAD_BEFORE, TRAMPOLINE, Kind, target, trampoline_target

#: Where variables must be. Constants need not be in the module's range: the linker makes one of those that are equal.
_RANGES = {int(SymbolKind.NOPTRDATA): 2, int(SymbolKind.DATA): 3}
_END = "go:textfipsend"
_BESIDE = 1 << 12
"""Bytes on either side of the module's code in which there may be no function with a name of the module."""
#: What the linker writes where a function may be left out (``cmd/link/internal/ld``).
_LEFT_OUT = ("runtime.unreachableMethod", "runtime.mapinitnoop")
_FIPSINFO, _DEFAULT_GODEBUG = "go:fipsinfo", "runtime.godebugDefault"
_READER = "runtime.godebugNotify"

# As plain numbers, which are compared a thousand times a program.
_TEXT, _VARIABLE = int(SymbolKind.TEXT), int(SymbolKind.VARIABLE)
_FUNCTIONS = frozenset(map(int, (SymbolKind.FUNCTION, SymbolKind.READER)))
_ADDRESS, _BRANCH = int(Kind.ADDRESS), int(Kind.BRANCH)
#: What a field of these leads to is its target; a branch may lead to a trampoline.
_DIRECT = frozenset(map(int, (Kind.RELATIVE, *SHIFTS)))
_LAST_ADDRESS = (1 << 64) - 1
_THREAD_LOCAL = frozenset(map(int, (Kind.TLS_OFFSET, Kind.TLS_LOAD)))

#: The module has some 1,200 functions; a table with more than this in its range is none that Go made.
_MOST_FUNCTIONS = 1 << 14
_LARGEST_TEXT = 16 << 20
_MOST_NAMED = 16


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of comparing a program's module with a reference."""

    reference: str
    """The reference's digest."""
    shipped: bool
    """The reference ships with this product; else its maker vouches for it."""
    problem: str | None = None
    """The code of what is wrong; None where all is equal."""
    names: tuple[str, ...] = ()
    """Symbols that are wrong, the first few."""
    functions: int = 0
    """Functions that are equal."""
    total: int = 0
    """Functions in the module's range."""
    bytes: int = 0
    """Bytes of code compared."""
    masked: int = 0
    """Bytes among them that the linker writes, in whole or in part."""
    relocations: int = 0
    """Addresses in code that lead where the reference says."""
    constants: int = 0
    """Symbols of data that are equal, the module's own and others."""
    godebug: str | None = None
    """The program's default of GODEBUG, as its runtime reads it; None where that cannot be determined."""
    addresses: Mapping[int, str] = field(default_factory=dict)
    """Where the functions are that are equal, with their names."""


@dataclass
class _Bindings:
    """Which symbol is at which address."""

    addresses: dict[Target, int] = field(default_factory=dict)
    targets: dict[int, Target] = field(default_factory=dict)
    sizes: dict[int, int] = field(default_factory=dict)

    def bind(self, target: Target, address: int, size: int = 1) -> None:
        """Note that a symbol is at an address. Raise `Differs` where it was elsewhere, or another one is there."""
        if self.addresses.setdefault(target, address) != address:
            raise Differs("native-target-differs", target.symbol.name)
        if self.targets.setdefault(address, target) is not target:
            raise Differs("native-target-differs", target.symbol.name)
        self.sizes[address] = size

    def check_overlaps(self) -> None:
        """Raise `Differs` where one variable begins within another."""
        behind = 0
        for address, size in sorted(self.sizes.items()):
            if address < behind:
                raise Differs("native-target-differs", self.targets[address].symbol.name)
            behind = address + size


def compare(
    source: ByteSource, elf: Elf, functions: FunctionIndex | None, module: NativeModule, reference: Reference
) -> Comparison:
    """Compare a program's module with a reference; ``functions`` is None where the function table cannot be read.

    Never raises for what is in the program.
    """
    work = _Work(source, elf, functions, module, reference)
    try:
        return work.run()
    except Differs as error:
        return work.result(error.code, (error.name,))


class _Work:
    """One comparison."""

    def __init__(
        self, source: ByteSource, elf: Elf, functions: FunctionIndex | None, module: NativeModule, reference: Reference
    ) -> None:
        self._elf = elf
        self._functions = functions
        self._module = module
        self._reference = reference
        self._bindings = _Bindings()
        self._data = LoadedData(source, elf)
        self._prepared = reference.prepared
        self._matches = Matches()
        #: The module's code, and its address.
        self._text, self._start = b"", module.ranges[0][0]
        #: Number of a target -> an address that is its own.
        self._known: list[int] = []
        self._checked: dict[tuple[Target, int], None] = {}
        #: Where thread-local data is, by how code finds it.
        self._thread_local: dict[str, int] = {}
        self._functions_equal = self._relocations = 0
        self._constants: set[int] = set()
        self._godebug: str | None = None

    def result(self, problem: str | None, names: Sequence[str] = ()) -> Comparison:
        return Comparison(
            self._reference.digest,
            not self._reference.origin.claimed_by,
            problem,
            tuple(names[:_MOST_NAMED]),
            functions=self._functions_equal,
            total=self._matches.total,
            bytes=self._matches.size,
            masked=self._matches.masked,
            relocations=self._relocations,
            constants=len(self._constants),
            godebug=self._godebug,
            addresses={address: codes[0][0].name for address, codes in self._matches.equal.items()},
        )

    def run(self) -> Comparison:
        if self._functions is None:
            return self.result("no-function-table")
        if not self._data.supported:
            return self.result("native-relocations-unknown")
        start, end = self._module.ranges[0]
        functions = self._functions.between(start, end)
        if functions is None or len(functions) > _MOST_FUNCTIONS or end - start > _LARGEST_TEXT:
            return self.result("native-function-differs")
        self._text = self._data.read(start, end - start)
        if len(self._text) < end - start:
            return self.result("native-function-differs", (START,))
        matches = self._matches = match(functions, self._text, start, self._elf.facts.machine, self._prepared)
        if matches.differing:
            return self.result(self._kind_of_difference(matches.differing), matches.differing)
        self._known = matches.known(self._prepared.count)
        for address, codes in matches.equal.items():
            self._check_function(address, codes)
        self._bindings.check_overlaps()
        self._check_bounds(start, end)
        self._check_fipsinfo()
        self._check_default_godebug()
        self._check_initialization(self._functions, functions)
        self._functions_equal = len(matches.equal)
        return self.result(None)

    def _end_of_call(self, address: int) -> int:
        """Return where a call to an address ends; a trampoline may also be near the module, made for other code."""
        found = self._matches.trampolines.get(address)
        if found is None and self._elf.facts.machine == "aarch64":
            name = self._functions.name_at(address) if self._functions is not None else None
            code = (load for load in self._elf.executable if not load.writable)
            runs = any(load.address <= address < load.address + load.size for load in code)
            if name is not None and is_trampoline(name) and runs:
                found = trampoline_target(self._data.read(address, TRAMPOLINE), address)
        return address if found is None else found

    def _kind_of_difference(self, names: Sequence[str]) -> str:
        """Return the code for functions without an equal record; instances of generic ones may be compiled anywhere."""
        generic = {name.partition("[")[0] for name in self._reference.by_name if "[" in name}
        instances = all("[" in name and name.partition("[")[0] in generic for name in names)
        if instances:
            return "native-instance-unknown"
        unknown = any(name not in self._reference.by_name for name in names)
        return "native-function-unknown" if unknown else "native-function-differs"

    def _check_function(self, address: int, codes: Sequence[tuple[Code, Sequence[int]]]) -> None:
        """Check where the code of a function leads. Raise `Differs` where no record has it right."""
        if len(codes) == 1:
            self._check_code(*codes[0], address)
            self._relocations += len(codes[0][0].numbers)
            return
        error: Differs | None = None
        for code, fields in codes:
            try:
                self._check_code(code, fields, address)
            except Differs as found:
                error = error or found
            else:
                self._relocations += len(code.numbers)
                return
        raise error or Differs("native-function-differs", codes[0][0].name)

    def _check_code(self, code: Code, fields: Sequence[int], address: int) -> None:
        known = self._known
        leads_to = code.targets(fields, address)
        expected = list(code.choose(known))
        if leads_to == expected:
            return
        data = self._text[address - self._start : address - self._start + code.size]
        for number, value, link in compress(
            zip(code.numbers, leads_to, code.links, strict=True), map(ne, leads_to, expected)
        ):
            if number != OTHER and link.kind in _DIRECT and 0 <= value <= _LAST_ADDRESS:
                self._check_once(link.target, value)
            else:
                self._check_link(link, address, data)
            if number != OTHER and value != UNKNOWN:
                known[number] = value

    def _check_link(self, link: Link, address: int, data: bytes) -> None:
        """Check where one relocation leads. Raise `Differs` where that is not its target."""
        offset, kind, weak, addend, wanted = link
        if kind in _THREAD_LOCAL:
            self._check_thread_local(data, offset, kind, address)
            return
        value = self._data.word(address + offset) if kind == _ADDRESS else target(data, offset, kind, address)
        if value is None:
            raise Differs("native-target-differs", wanted.symbol.name)
        if kind == _BRANCH:
            value = self._end_of_call(value)
        if weak and self._left_out(value):
            return
        self._check_once(wanted, value - addend)

    def _check_once(self, wanted: Target, address: int) -> None:
        """Check that a symbol is at an address, unless that was done. Raise `Differs` where it is not."""
        key = wanted, address
        if key not in self._checked:
            # Noted first: symbols may refer to each other.
            self._checked[key] = None
            try:
                self._check_target(wanted, address)
            except Differs:
                # With all that was noted since, which may rest on this.
                while self._checked.popitem()[0] != key:
                    pass
                raise

    def _left_out(self, value: int) -> bool:
        return value == 0 or (self._functions is not None and self._functions.name_at(value) in _LEFT_OUT)

    def _check_thread_local(self, data: bytes, offset: int, kind: int, address: int) -> None:
        """Check that all thread-local data is at one place: the runtime's only such variable."""
        value = int.from_bytes(data[offset : offset + 4], "little", signed=True)
        name = "offset"
        if kind == Kind.TLS_LOAD and data[offset - TLS_LOAD_BEFORE + 1] == 0x8B:
            name, value = "slot", address + offset + 4 + value
        if self._thread_local.setdefault(name, value) != value:
            raise Differs("native-target-differs", "runtime.tlsg")

    def _check_target(self, target: Target, address: int) -> None:
        """Check that a symbol is at an address, as far as possible. Raise `Differs` where it is not."""
        kind = target.kind
        if target.symbol.name == _FIPSINFO:
            if address != self._module.address:
                raise Differs("native-target-differs", target.symbol.name)
        elif not target.records:
            self._bindings.bind(target, address)
        elif kind == _TEXT:
            if not any(code.itself is target for code, _ in self._matches.equal.get(address, ())):
                raise Differs("native-target-differs", target.symbol.name)
        elif kind in _FUNCTIONS:
            if self._functions is None or self._functions.name_at(address) != target.symbol.name:
                raise Differs("native-target-differs", target.symbol.name)
        elif kind == _VARIABLE:
            size = target.records[0].size
            if not self._data.is_zero(address, size) or self._data.is_written(address, size):
                raise Differs("native-target-differs", target.symbol.name)
            self._bindings.bind(target, address, size)
        else:
            if kind in _RANGES:
                self._bindings.bind(target, address, target.records[0].size)
            self._check_data(target, address)

    def _check_data(self, target: Target, address: int) -> None:
        """Check that data is what the reference says. Raise `Differs` where it is not."""
        error: Differs | None = None
        for datum in self._prepared.data(target):
            size = datum.size
            if self._data.is_written(address, size, datum.words):
                continue
            part = _RANGES.get(datum.kind)
            if part is not None:
                start, end = self._module.ranges[part]
                if not start <= address <= address + size <= end:
                    continue
            data = self._data.read(address, size)
            if len(data) < size or not datum.match(data):
                continue
            try:
                for link in datum.links:
                    self._check_link(link, address, data)
            except Differs as found:
                error = found
            else:
                self._constants.add(address)
                return
        raise error or Differs("native-data-differs", target.symbol.name)

    def _check_bounds(self, start: int, end: int) -> None:
        """Check that the range is all of the module's code, from the linker's symbol to its other one.

        The sum covers what the range says, so a smaller one would leave functions out of all that is compared. Raise
        `Differs` where it is another one.
        """
        functions = self._functions
        if functions is None or functions.name_at(start) != START or functions.name_at(end) != _END:
            raise Differs("native-function-differs", _END)
        path = f"{MODULE_PATH}/{self._reference.origin.module}"
        around = [functions.between(max(start - _BESIDE, 0), start), functions.between(end, end + _BESIDE)]
        for item in chain.from_iterable(found or () for found in around):
            if item.name.startswith((f"{path}/", f"{path}.")):
                raise Differs("native-function-differs", item.name)

    def _check_fipsinfo(self) -> None:
        """Check that the table was read where the module's code reads it, and as the loader leaves it.

        Raise `Differs` where it was not.
        """
        address = self._module.address
        words = [address, *chain.from_iterable(self._module.ranges)]
        places = range(FIRST_WORD, FIRST_WORD + 8 * len(words), 8)
        if (
            self._elf.offset_of(address) != self._module.offset
            or self._data.is_written(address, FIRST_WORD)
            or [self._data.word(address + place) for place in places] != words
        ):
            raise Differs("native-data-differs", _FIPSINFO)

    def _check_default_godebug(self) -> None:
        """Read the default of GODEBUG from where the runtime's own functions read it.

        Raise `Differs` where none of them is as the reference has it.
        """
        # The one that hands it to the module's settings first; one is enough, for all read the same variable.
        for records in sorted(self._prepared.readers, key=lambda records: records[0].symbol.name != _READER):
            name = records[0].symbol.name
            item = self._functions.named(name) if self._functions is not None else None
            if item is not None:
                place = self._reads_from(records, item)
                self._godebug = self._data.string(place) if place is not None else None
                if self._godebug is None:
                    raise Differs("native-mode-unknown", name)
                return
        raise Differs("native-mode-unknown", _DEFAULT_GODEBUG)

    def _check_initialization(self, index: FunctionIndex, functions: Sequence[Function]) -> None:
        """Check that the runtime initializes the module's packages. Raise `Differs` where it leaves one out."""
        origin = self._reference.origin
        try:
            name = left_out(self._data, index, functions, origin.module, origin.go)
        except UnknownInitialization:
            raise Differs("native-initialization-unknown", origin.go) from None
        if name is not None:
            raise Differs("native-not-initialized", name)

    def _reads_from(self, records: Sequence[Record], function: Function) -> int | None:
        """Return the address that a function of the runtime reads the default from; None where it is another one."""
        for record in records:
            data = self._data.read(function.start, record.size)
            if len(data) < record.size or function.start + record.size > function.end:
                continue
            if digest_of(data, record.relocations) != record.digest:
                continue
            places = {
                (target(data, item.offset, item.kind, function.start) or 0) - item.addend
                for item in record.relocations
                if item.target.name == _DEFAULT_GODEBUG
            }
            return places.pop() if len(places) == 1 else None
        return None
