"""Whether Go's native module is proven to be in a program: what is compared, and what follows. The verdict is pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from ...model.finding import GoFacts, Verdict
from .. import fipsinfo
from ..calls import Extent, called_functions
from ..elf import Elf
from ..fipsinfo import NativeModule
from ..function_table import FunctionTable
from ..functions import FunctionIndex, function_index
from ..source import ByteSource, find
from .compare import Comparison, compare
from .library import Key, Library
from .relocations import TRAMPOLINE, TRAMPOLINE_ENDS, trampoline_target

Evidence = dict[str, "str | int | bool | list[str] | list[int]"]

_LEVELS = {"x86_64": "GOAMD64", "aarch64": "GOARM64"}
#: Settings that change what the compiler makes of the module. ``-gcflags`` and ``-asmflags`` may be for other packages
#: only, so they explain a difference and are none by themselves. Of the tags, one matters to the module's source.
_CODE_SETTINGS = ("-race", "-msan", "-asan", "-cover", "-pgo", "-gcflags", "-asmflags", "-linkshared")
_CODE_TAG = "purego"
#: The beginnings of the names of functions that call the module in most programs.
_CALLERS = (b"crypto/sha256.", b"crypto/cipher.", b"crypto/ecdh.", b"crypto/tls.")
_OFF = ("", "false")
#: Problems for which nothing is known to be wrong.
_UNKNOWN = (
    "native-instance-unknown",
    "native-mode-unknown",
    "native-initialization-unknown",
    "native-relocations-unknown",
)


@dataclass(frozen=True, slots=True)
class NativeProof:
    """What was found out about a program's native module beyond its own sum."""

    comparison: Comparison | None
    """With the reference of its toolchain; None where there is none."""
    source: str | None = None
    """Hex SHA-256 of the module's source that the reference was made of."""
    calls: int = 0
    """Functions of the module that are called from outside, as far as was looked."""


def reference_key(go: GoFacts, machine: str) -> Key:
    """Return what a program's build info selects a reference by."""
    release, _, _ = go.version.partition(" X:")
    level = go.settings.get(_LEVELS.get(machine, ""), "")
    return release, machine, level, go.settings.get("GOEXPERIMENT", ""), fipsinfo.version(go) or ""


def examine(
    source: ByteSource, elf: Elf, go: GoFacts, table: FunctionTable, module: NativeModule, library: Library
) -> NativeProof:
    """Compare a program's module with the reference of its toolchain.

    Raise `UsageError` where the reference's file is damaged.
    """
    reference = library.find(reference_key(go, elf.facts.machine))
    if reference is None:
        return NativeProof(None)
    index = function_index(source, elf, table)
    comparison = compare(source, elf, index, module, reference)
    calls: set[str] = set()
    if comparison.problem is None:
        start, end = module.ranges[0]
        likely = _likely_callers(source, table, index) if index is not None else ()
        extent = Extent(start, end, start, end)
        calls = called_functions(source, elf, extent, comparison.addresses, required=None, likely=likely)
        calls |= _called_from_afar(source, elf, module, comparison.addresses)
    return NativeProof(comparison, reference.origin.source, len(calls))


def _likely_callers(source: ByteSource, table: FunctionTable, index: FunctionIndex) -> Iterator[int]:
    """Yield addresses in packages that call the module, as far as their names are in the function table."""
    start, end = table.names[0]
    for package in _CALLERS:
        for place in islice(find(source, start, end, b"\0" + package), 1):
            yield index.address_near(place + 1)


def _called_from_afar(source: ByteSource, elf: Elf, module: NativeModule, addresses: Mapping[int, str]) -> set[str]:
    """Return the functions that trampolines outside of the module lead to: on aarch64, calls from far away need one."""
    start, end = module.ranges[0]
    found: set[str] = set()
    for segment in elf.executable if elf.facts.machine == "aarch64" else ():
        for last in TRAMPOLINE_ENDS:
            for at in find(source, segment.offset, segment.end, last):
                place = at + len(last) - TRAMPOLINE
                address = segment.address + place - segment.offset
                target = trampoline_target(source.read_at(place, TRAMPOLINE), address)
                if target is not None and target in addresses and not start <= address < end:
                    found.add(addresses[target])
    return found


def judge(
    go: GoFacts, module: NativeModule, proof: NativeProof | None, *, text_relocations: bool
) -> tuple[Verdict, str]:
    """Return the verdict on a program with the native module, and its code."""
    if not module.is_intact:
        return Verdict.CONTRADICTED, "native-module-changed"
    if text_relocations:
        return Verdict.CONTRADICTED, "native-module-writable"
    comparison = proof.comparison if proof is not None else None
    if comparison is not None and comparison.problem is not None:
        return _from_problem(go, comparison.problem)
    if comparison is not None and fipsinfo.mode_of(comparison.godebug or "") != fipsinfo.mode(go):
        return Verdict.CONTRADICTED, "native-mode-differs"
    if not fipsinfo.is_mode_on(go):
        return Verdict.OTHER_MODULE, "native-mode-off"
    if proof is None or comparison is None:
        return Verdict.OTHER_MODULE, "go-native"
    if not proof.calls:
        return Verdict.CONTRADICTED, "native-module-never-called"
    return Verdict.PROVEN, "native-proven"


def _from_problem(go: GoFacts, problem: str) -> tuple[Verdict, str]:
    if problem == "no-function-table":
        return Verdict.UNREADABLE, problem
    if problem in _UNKNOWN:
        return Verdict.OTHER_MODULE, problem
    other = any(go.settings.get(name, "") not in _OFF for name in _CODE_SETTINGS)
    if other or _CODE_TAG in go.settings.get("-tags", "").split(","):
        return Verdict.OTHER_MODULE, "native-build-flags"
    return Verdict.CONTRADICTED, problem


def evidence_of(proof: NativeProof | None) -> Evidence:
    """Return the numbers of a comparison."""
    if proof is None or proof.comparison is None:
        return {}
    comparison = proof.comparison
    evidence: Evidence = {
        "reference": comparison.reference,
        "functions": comparison.total,
        "functions_equal": comparison.functions,
        "bytes_compared": comparison.bytes,
        "bytes_masked": comparison.masked,
        "targets": comparison.relocations,
        "constants": comparison.constants,
        "native_calls": proof.calls,
    }
    if comparison.names:
        evidence["differing"] = list(comparison.names)
    return evidence
