"""The analysis of one ELF file: headers, build info, modules, and the verdict on them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from ..model.finding import CryptoFacts, ElfFacts, GoFacts, Verdict
from . import (
    beside,
    boring,
    buildinfo,
    callers,
    compiler,
    dependencies,
    dynamic_calls,
    elf,
    elf_reader,
    fipsinfo,
    function_table,
    functions,
    other_crypto,
    signals,
    verdict,
    wrappers,
)
from .native import proof
from .source import ByteSource
from .sweep import Sweep, sweep
from .table import Table

_UPX = b"UPX!"
_UPX_REACH = 1 << 10


@dataclass(frozen=True, slots=True)
class ElfAnalysis:
    """The result of the analysis of an ELF file."""

    elf: ElfFacts | None
    """Facts of the header; None where it cannot be read."""
    go: GoFacts | None
    """Build info; None where there is none."""
    crypto: CryptoFacts
    """The verdict."""


class ProgramAnalyzer:
    """The analysis of a Go program, which takes the file's bytes as they are read for hashing, or reads them itself."""

    def __init__(
        self,
        source: ByteSource,
        table: Table,
        headers: elf.Elf,
        go: GoFacts | None,
        *,
        with_callers: bool,
        forbidden: Collection[str],
    ) -> None:
        self._with_callers = with_callers
        self._forbidden = forbidden
        self._source = source
        self._table = table
        self._headers = headers
        self._go = go
        # Where a program claims a module, its data is searched only if that is missed: at every byte for BoringCrypto.
        self._in_data = not verdict.claims(go) and (go is None or fipsinfo.version(go) is None)
        self._swept = Sweep(headers, table.of(headers.facts.machine), in_data=self._in_data)

    def feed(self, offset: int, data: bytearray, length: int) -> None:
        """Process the first ``length`` bytes of ``data``, which are at ``offset``. Pieces must be in order."""
        self._swept.feed(offset, data, length)

    def finish(self) -> ElfAnalysis:
        """Return the analysis; reads the program's code and data if `feed` did not get all of the file."""
        if self._swept.fed < self._source.size:
            rows = self._table.of(self._headers.facts.machine)
            self._swept = sweep(self._source, self._headers, rows, in_data=self._in_data)
        try:
            crypto = _judge_crypto(self._source, self._headers, self._go, self._table, self._swept)
            crypto = self._with_beside(crypto)
        except elf.UnreadableElf as error:
            crypto = verdict.unreadable(error.code)
        return ElfAnalysis(self._headers.facts, self._go, crypto)

    def _with_beside(self, crypto: CryptoFacts) -> CryptoFacts:
        """Add what is beside the module to the verdict on a program that can be judged."""
        if self._go is None or crypto.verdict == Verdict.UNREADABLE:
            return crypto
        names = function_table.read(self._source, self._headers)
        found = beside.find(self._source, self._headers, names, self._go, crypto, self._forbidden)
        calling = callers.find(self._source, self._headers, names, found.packages) if self._with_callers else None
        return replace(crypto, evidence={**crypto.evidence, **found.evidence}, callers=calling)


def start_analysis(
    source: ByteSource, table: Table, with_callers: bool = False, forbidden: Collection[str] = ()
) -> ProgramAnalyzer | ElfAnalysis:
    """Read an ELF file's headers and build info; return the analysis if these are enough for a verdict."""
    facts, go = None, None
    try:
        headers = elf_reader.read(source)
        facts = headers.facts
        go = buildinfo.read(source, headers)
    except elf.UnreadableElf as error:
        settled = _judge_without_build_info(source, headers) if facts is not None else None
        if settled in (verdict.not_go(), verdict.other_compiler()):
            # The magic alone, as in a program or library that searches other files for it.
            return ElfAnalysis(facts, None, settled)
        code = "debugging-information" if elf_reader.claims_debug_only(source) else error.code
        return ElfAnalysis(facts, go, verdict.unreadable(code))
    settled = _judge_without_build_info(source, headers) if go is None else None
    if settled is not None:
        return ElfAnalysis(facts, None, settled)
    return ProgramAnalyzer(source, table, headers, go, with_callers=with_callers, forbidden=forbidden)


def analyze(
    source: ByteSource, table: Table, with_callers: bool = False, forbidden: Collection[str] = ()
) -> ElfAnalysis:
    """Analyze an ELF file; ``with_callers`` also finds the callers of what is beside the module.

    ``forbidden`` are globs over packages that are listed as beside it. Its content never causes an exception.
    """
    begun = start_analysis(source, table, with_callers, forbidden)
    return begun.finish() if isinstance(begun, ProgramAnalyzer) else begun


def _judge_without_build_info(source: ByteSource, headers: elf.Elf) -> CryptoFacts | None:
    """Judge a file without build info; return None for a Go program, whose build info is missing."""
    if headers.facts.type not in ("exec", "dyn"):
        return verdict.not_go()
    if _is_packed(source):
        return verdict.unreadable("packed")
    compiler_name = compiler.detect(source, headers)
    if compiler_name is not None:
        # The smallest programs of gccgo have as few pages as debugging information: their runtime is a library.
        if headers.maps_little and (compiler_name == "gc" or elf_reader.claims_debug_only(source)):
            return verdict.not_go("no-code")
        if elf_reader.claims_debug_only(source):
            return verdict.unreadable("debugging-information")
        return None if compiler_name == "gc" else verdict.other_compiler()
    # Without sections and signs of Go, as in a packed program: what runs may not be what is in the file.
    return verdict.not_go() if headers.sections else verdict.unreadable("no-section-headers")


def _judge_crypto(source: ByteSource, headers: elf.Elf, go: GoFacts | None, table: Table, swept: Sweep) -> CryptoFacts:
    """Judge by BoringCrypto's module if there is one, else by everything else that the file shows."""
    claimed = bool(verdict.claims(go))
    symbols = 0 if claimed or swept.heads else signals.symbols(source, headers)
    modules = boring.find_modules(source, headers, table, swept.heads, thorough=claimed or symbols > 0)
    observed = verdict.Observations(
        headers.facts,
        go,
        tuple(modules),
        standard=swept.markers.standard > 0,
        symbols=symbols,
        text_relocations=headers.text_relocations,
        dependencies=dependencies.read(source, headers),
        build_infos=swept.build_infos,
    )
    if modules:
        return _judge_modules(source, headers, observed)
    observed = replace(observed, native=fipsinfo.read(source, headers))
    claimed = claimed or symbols > 0 or go is None or fipsinfo.version(go) is not None
    if swept.markers.standard and not claimed and not swept.markers.boring:
        # Plain cryptography, and no sign of goboring or of a fork that calls its marker.
        return verdict.judge(observed)
    return _judge_without_module(source, headers, table, swept, observed)


def _judge_modules(source: ByteSource, headers: elf.Elf, observed: verdict.Observations) -> CryptoFacts:
    """Judge a program that has something like BoringCrypto's module: whether it is used decides."""
    modules = observed.modules
    whole = next((module for module in modules if module.row and module.stored_at is not None), None)
    if whole and not any(module.wired for module in modules):
        observed = replace(observed, by_loader=dynamic_calls.requested_entry_points(source, headers, whole))
    if any(module.stored_at is not None for module in modules):
        observed = replace(observed, wrappers=wrappers.read(source, headers, modules))
    return verdict.judge(observed)


def _judge_without_module(
    source: ByteSource, headers: elf.Elf, table: Table, swept: Sweep, observed: verdict.Observations
) -> CryptoFacts:
    """Judge by modules in data, by forks and packages in the table of functions, and by Go's native module."""
    go = observed.go
    names = function_table.read(source, headers)
    version = fipsinfo.version(go) if go else None
    symbols = observed.symbols or signals.symbols(source, headers)
    claimed = bool(verdict.claims(go, symbols))
    # What Go's compiler makes for x86_64 is aligned; a forgery need not be.
    everywhere = claimed or headers.facts.machine != "x86_64"
    packages = signals.packages(source, names, version)
    observed = replace(
        observed,
        markers=signals.markers(source, headers) if everywhere else swept.markers,
        packages=packages,
        forks=signals.forks(source, names, boring=packages.boring),
        symbols=symbols,
    )
    if go is not None and version is not None and observed.native is not None and observed.native.is_intact:
        found = proof.examine(source, headers, go, names, observed.native, table.references)
        observed = replace(observed, proof=found)
        judged = verdict.judge(observed)
        if judged.verdict is Verdict.PROVEN:
            return judged
    heads = swept.data_heads
    if version is not None and not claimed:
        heads = sweep(source, headers, table.of(headers.facts.machine)).data_heads
    data = boring.find_in_data(source, headers, table, heads, thorough=claimed)
    observed = replace(observed, data=tuple(data))
    judged = verdict.judge(observed)
    return _judge_other_crypto(source, headers, names, observed) if judged.verdict == Verdict.NO_CRYPTO else judged


def _judge_other_crypto(
    source: ByteSource, headers: elf.Elf, table: function_table.FunctionTable, observed: verdict.Observations
) -> CryptoFacts:
    """Judge a program without cryptography of Go's standard library by evidence of any other."""
    names = functions.function_names(source, headers, table)
    if names is None:
        return verdict.judge(replace(observed, functions=False))
    return verdict.judge(replace(observed, other=other_crypto.detect(source, names, table.memory)))


def _is_packed(source: ByteSource) -> bool:
    """Return whether UPX's magic is near either end of the file, where its headers are."""
    return _UPX in source.read_at(0, _UPX_REACH) or _UPX in source.read_at(max(source.size - _UPX_REACH, 0), _UPX_REACH)
