"""The one place where verdicts are decided: from observations of an ELF file to a verdict with its evidence. Pure.

`docs/proof.md` has the meaning of each verdict and code.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..model.finding import CryptoFacts, DetectedModule, ElfFacts, GoFacts, Verdict, native_module
from . import dependencies, fipsinfo
from .boring import ModuleMatch
from .calls import ENOUGH, SELF_TEST
from .dependencies import Dependencies
from .descriptions import CLAIMED_PLAIN, SENTENCES
from .fipsinfo import NativeModule
from .native import proof
from .native.proof import NativeProof
from .other_crypto import OtherCryptography
from .signals import Forks, Markers, Packages
from .wrappers import Wrappers

#: Releases of the dev.boringcrypto branch, before GOEXPERIMENT: ``go1.16.6b7``.
_BRANCH_RELEASE = re.compile(r"go1\.\d+(\.\d+)?b\d+\b")


_ORDINARY = Dependencies()


@dataclass(frozen=True, slots=True)
class Observations:
    """What was observed in one ELF file that is, or claims to be, a Go program."""

    elf: ElfFacts
    """Class, machine and type."""
    go: GoFacts | None
    """Build info; None where a Go program has none."""
    modules: tuple[ModuleMatch, ...] = ()
    """Modules in executable memory."""
    data: tuple[ModuleMatch, ...] = ()
    """Modules in memory that is not executable."""
    markers: Markers | None = None
    """Counts of the marker functions; None where only the plain-crypto marker was searched for."""
    standard: bool = False
    """Whether the plain-crypto marker is present."""
    packages: Packages | None = None
    """Packages in the function table; None where that was not needed."""
    forks: Forks | None = None
    """Packages of forks of Go; None where that was not needed."""
    symbols: int = 0
    """How many names of BoringCrypto functions the symbol table has."""
    native: NativeModule | None = None
    """Go's own FIPS module."""
    proof: NativeProof | None = None
    """What a comparison of it shows; None where it was not compared."""
    text_relocations: bool = False
    """Whether the file asks the loader to write into code."""
    dependencies: Dependencies = _ORDINARY
    """Interpreter, libraries and dynamic tags that ordinary programs do not have."""
    build_infos: int = 1
    """How many headers of Go's build info are in the file."""
    by_loader: frozenset[str] = frozenset()
    """Functions of the module that code may call through the dynamic linker; empty where that was not needed."""
    other: OtherCryptography | None = None
    """Cryptography that is not of Go's standard library; None where that was not needed."""
    functions: bool = True
    """Whether the function table can be read as the runtime reads it."""
    wrappers: Wrappers | None = None
    """Go's wrappers of the module's functions; None where there is no module."""


_Evidence = dict[str, "str | int | bool | list[str] | list[int]"]


def claims(go: GoFacts | None, symbols: int = 0) -> list[str]:
    """Return the codes of a file's claims to use BoringCrypto."""
    found = []
    if go is not None:
        experiments = go.settings.get("GOEXPERIMENT", "").split(",")
        _, _, suffix = re.sub(r"[ -]X:", "\0", go.version).partition("\0")
        if "boringcrypto" in experiments or "boringcrypto" in suffix.split(","):
            found.append("goexperiment")
        if _BRANCH_RELEASE.match(go.version):
            found.append("branch-release")
    if symbols:
        found.append("symbols")
    return found


def unreadable(code: str) -> CryptoFacts:
    """Return the verdict on a file that cannot be judged."""
    return CryptoFacts(Verdict.UNREADABLE, None, {"code": code})


def not_go(code: str = "not-go") -> CryptoFacts:
    """Return the verdict on an ELF file without any sign of Go, or, with ``no-code``, without any code."""
    return CryptoFacts(Verdict.NOT_GO, None, {"code": code})


def other_compiler() -> CryptoFacts:
    """Return the verdict on a Go program of a compiler that has no FIPS module."""
    return CryptoFacts(Verdict.PLAIN, None, {"code": "other-compiler"})


def judge(observed: Observations) -> CryptoFacts:
    """Return the verdict that follows from observations."""
    verdict, code, module = _from_modules(observed) or _from_other_module(observed) or _from_claims(observed)
    evidence: _Evidence = {"code": code, **_evidence(observed, module)}
    return CryptoFacts(verdict, _detected_module(observed, module, verdict), evidence)


Decision = tuple[Verdict, str, "ModuleMatch | NativeModule | None"]


def _from_modules(observed: Observations) -> Decision | None:
    """Judge by a BoringCrypto module in executable memory; None where there is none."""
    if not observed.modules:
        return None
    changed = [module for module in observed.modules if module.stored_at is None]
    whole = [module for module in observed.modules if module.stored_at is not None]
    # A known module that is called, before others.
    whole.sort(key=lambda module: (module.wired, module.row is not None), reverse=True)
    module = whole[0] if whole else changed[0]
    if denial := _denial_code(observed, changed, whole):
        return Verdict.CONTRADICTED, denial, module
    if not module.wired:
        if _wired_by_loader(module, observed.by_loader):
            return Verdict.DECLARED, "calls-by-loader", module
        return Verdict.CONTRADICTED, "module-never-called", module
    if unproven := _unwrapped_reason(observed):
        return *unproven, module
    if module.row is None:
        return Verdict.UNLISTED, "module-unknown", module
    if unlisted := [item for item in whole if item.row is None]:
        return Verdict.UNLISTED, "module-beside", unlisted[0]
    if observed.dependencies.interpreter is not None:
        # The kernel starts the interpreter, which decides what is loaded of the module.
        return Verdict.DECLARED, "interpreter-unusual", module
    return Verdict.PROVEN, "module-proven", module


def _denial_code(observed: Observations, changed: Sequence[ModuleMatch], whole: Sequence[ModuleMatch]) -> str | None:
    """Return the code of what disqualifies a module, regardless of its calls; None where nothing does."""
    if changed:
        return "self-test-would-fail" if changed[0].row else "module-changed"
    if observed.standard or (observed.wrappers is not None and observed.wrappers.standard):
        return "plain-crypto"
    if any(item.writable for item in whole) or observed.text_relocations:
        return "module-writable"
    return "module-overlaid" if any(item.overlaid for item in whole) else None


def _unwrapped_reason(observed: Observations) -> tuple[Verdict, str] | None:
    """Return why a module that is called is not called by Go's own wrappers; None where it is."""
    if observed.go is None:
        return Verdict.UNREADABLE, "no-build-info"
    if observed.wrappers is None or observed.wrappers.table is None:
        return Verdict.UNREADABLE, "no-function-table"
    if not claims(observed.go):
        return Verdict.CONTRADICTED, "module-unclaimed"
    if observed.go.settings.get("CGO_ENABLED") == "0":
        # Go reaches the module through cgo alone.
        return Verdict.CONTRADICTED, "cgo-off"
    return None if observed.wrappers.enough else (Verdict.CONTRADICTED, "module-not-wrapped")


def _wired_by_loader(module: ModuleMatch, functions: frozenset[str]) -> bool:
    """Return whether a known module would be wired if the dynamic linker resolved the named functions to it."""
    return (
        module.row is not None
        and module.calls + len(functions) >= ENOUGH
        and (module.self_test or SELF_TEST in functions)
    )


def _from_other_module(observed: Observations) -> Decision | None:
    """Judge by evidence of another FIPS module; None where there is none."""
    if observed.go is None:
        return None
    experiments = set(observed.go.settings.get("GOEXPERIMENT", "").split(","))
    microsoft = experiments & {"systemcrypto", "opensslcrypto", "cngcrypto"} or any(
        key.startswith("microsoft_") for key in observed.go.settings
    )
    if observed.forks and (observed.forks.microsoft_go or (microsoft and observed.forks.golang_fips)):
        return Verdict.OTHER_MODULE, "microsoft-go", None
    if observed.forks and observed.forks.golang_fips:
        return Verdict.OTHER_MODULE, "golang-fips", None
    if fipsinfo.version(observed.go) is None:
        return None
    if observed.native is None or not observed.native.linked or not (observed.packages and observed.packages.fips140):
        # The linker omits the module from a program that does not use cryptography.
        return (Verdict.CONTRADICTED, "native-module-missing", None) if _has_crypto(observed) else None
    found, code = proof.judge(observed.go, observed.native, observed.proof, text_relocations=observed.text_relocations)
    if found is Verdict.PROVEN and observed.dependencies.interpreter is not None:
        # The kernel starts the interpreter, which decides what is loaded of the module.
        return Verdict.DECLARED, "interpreter-unusual", observed.native
    return found, code, observed.native


def _has_crypto(observed: Observations) -> bool:
    """Return whether any evidence shows Go's cryptography."""
    native_code = observed.native is not None and observed.native.linked
    return observed.standard or native_code or (observed.packages is not None and observed.packages.crypto)


def _from_claims(observed: Observations) -> Decision:
    """Judge a program in which no FIPS module was found."""
    claimed = claims(observed.go, observed.symbols)
    crypto = _has_crypto(observed)
    if observed.go is None:
        return Verdict.UNREADABLE, "no-build-info", None
    if claimed and observed.data:
        return Verdict.CONTRADICTED, "module-not-executable", observed.data[0]
    if claimed and crypto:
        if observed.go.settings.get("CGO_ENABLED") == "0":
            return Verdict.CONTRADICTED, "cgo-off", None
        if observed.standard or not (observed.packages and observed.packages.boring):
            return Verdict.CONTRADICTED, "plain-crypto", None
        return Verdict.DECLARED, "module-not-found", None
    if crypto:
        if observed.markers and observed.markers.boring and not observed.standard:
            return Verdict.DECLARED, "marker-only", None
        return Verdict.PLAIN, "plain-crypto", None
    if "symbols" in claimed:
        return Verdict.DECLARED, "symbols-only", None
    if observed.packages is None or observed.packages.table is None or not observed.functions:
        # The absence of cryptographic packages could not be established.
        return Verdict.UNREADABLE, "no-function-table", None
    other = next(iter(_other(observed)), None)
    if other is not None:
        return Verdict.PLAIN, other, None
    return Verdict.NO_CRYPTO, "no-crypto-packages", None


#: Code -> the key of its evidence, the strongest first.
_OTHER_CODES = {"crypto-packages": "packages", "crypto-library": "libraries", "crypto-tables": "algorithms"}
_MAX_LISTED = 16


def _other(observed: Observations) -> dict[str, tuple[str, ...]]:
    """Return the evidence of cryptography that is not of Go's standard library, by code."""
    if observed.other is None:
        return {}
    pairs = zip(
        _OTHER_CODES, (observed.other.packages, observed.other.libraries, observed.other.algorithms), strict=True
    )
    return {code: found for code, found in pairs if found}


def _evidence(observed: Observations, module: ModuleMatch | NativeModule | None) -> _Evidence:
    evidence: _Evidence = {}
    claimed = claims(observed.go, observed.symbols)
    if claimed:
        evidence["claims"] = list(claimed)
    if isinstance(module, ModuleMatch):
        evidence |= _module_evidence(module)
        if observed.wrappers is not None and observed.wrappers.table is not None:
            evidence["function_table"] = observed.wrappers.table
            evidence["standard_named"] = observed.wrappers.standard
            evidence["wrappers"] = len(observed.wrappers.wired)
        if observed.by_loader:
            evidence["by_loader"] = sorted(observed.by_loader)
        if len(observed.modules) > 1:
            evidence["modules"] = [_identifier(item) for item in observed.modules]
    evidence |= _native_evidence(observed)
    if observed.elf.machine == "x86_64":
        if observed.markers is not None:
            counts = observed.markers
            evidence["markers"] = [counts.boring, counts.standard, counts.fipsonly]
        else:
            evidence["standard_marker"] = observed.standard
    evidence |= _names_evidence(observed)
    evidence |= observed.dependencies.evidence
    if observed.build_infos > 1:
        evidence["build_infos"] = observed.build_infos
    evidence |= {_OTHER_CODES[code]: list(found[:_MAX_LISTED]) for code, found in _other(observed).items()}
    if observed.symbols:
        evidence["symbols"] = observed.symbols
    if observed.data and not isinstance(module, ModuleMatch):
        evidence["module_in_data"] = [item.offset for item in observed.data]
    return evidence


def _native_evidence(observed: Observations) -> _Evidence:
    """Return the evidence of Go's native module, in the file and in build info."""
    evidence: _Evidence = {}
    if observed.native is not None:
        evidence["fipsinfo_offset"] = observed.native.offset
        evidence["fipsinfo_holds"] = observed.native.is_intact
        evidence["fipsinfo_text"] = observed.native.text
        evidence["fipsinfo_sum"] = observed.native.sum
    evidence |= proof.evidence_of(observed.proof)
    if observed.go is not None and fipsinfo.version(observed.go):
        evidence["gofips140"] = fipsinfo.version(observed.go) or ""
        evidence["fips140"] = fipsinfo.mode(observed.go)
        evidence["fips140_on"] = fipsinfo.is_mode_on(observed.go)
    return evidence


def _names_evidence(observed: Observations) -> _Evidence:
    """Return the evidence of the function table."""
    evidence: _Evidence = {}
    if observed.packages is not None:
        if observed.packages.table is not None:
            evidence["function_table"] = observed.packages.table
        evidence["crypto_packages"] = observed.packages.crypto
        evidence["boring_wrappers"] = observed.packages.boring
    fork = observed.forks.microsoft_go or observed.forks.golang_fips if observed.forks else None
    if fork is not None:
        evidence["fork_package"], evidence["fork_package_at"] = fork.name, fork.offset
    return evidence


def _module_evidence(module: ModuleMatch) -> _Evidence:
    evidence: _Evidence = {
        "offset": module.offset,
        "length": module.length,
        "algorithm": module.algorithm,
        "digest": module.digest,
        "executable": module.executable,
    }
    if module.resembles is not None:
        evidence["resembles"] = module.resembles.id
    if module.stored_at is not None:
        evidence["stored_at"] = module.stored_at
        if module.executable:
            evidence["calls"] = module.calls
            if module.row is not None:
                evidence["self_test_called"] = module.self_test
    if module.writable:
        evidence["writable"] = True
    return evidence


def _identifier(module: ModuleMatch) -> str:
    if module.row is not None:
        return module.row.id
    return f"{'unlisted' if module.stored_at is not None else 'changed'}-{module.digest[:16]}"


def _detected_module(
    observed: Observations, module: ModuleMatch | NativeModule | None, verdict: Verdict
) -> DetectedModule | None:
    """Return the module for the manifest; None for a module whose own digest does not match.

    None also for Go's native module where it is not proven: its sum differs between programs, so it identifies none.
    """
    if isinstance(module, NativeModule):
        return _native_module(observed) if verdict is Verdict.PROVEN else None
    if module is None or module.stored_at is None:
        return None
    known = module.row
    return DetectedModule(
        _identifier(module),
        known.name if known else "BoringCrypto (not in the table)",
        module.algorithm,
        module.digest,
        observed.elf.machine,
        known.row if known else None,
        known.commit or None if known else None,
    )


def _native_module(observed: Observations) -> DetectedModule | None:
    """Return Go's native module; None where it was not compared."""
    found = observed.proof
    version = fipsinfo.version(observed.go) if observed.go is not None else None
    if version is None or found is None or found.comparison is None or found.source is None:
        return None
    return native_module(
        version, found.source, observed.elf.machine, "shipped" if found.comparison.shipped else "local"
    )


def describe_verdict(crypto: CryptoFacts) -> str:
    """Return sentences for people that explain a verdict, with notes on unusual dependencies."""
    code = str(crypto.evidence.get("code", ""))
    if code == "plain-crypto" and crypto.verdict is Verdict.CONTRADICTED:
        template = CLAIMED_PLAIN
    else:
        template = SENTENCES.get(code, "The file cannot be read ({code}).")
    module = crypto.module.name if crypto.module else ""
    if crypto.module and crypto.module.commit:
        module += f" {crypto.module.commit[:8]}"
    found = crypto.evidence.get(_OTHER_CODES.get(code, ""), ())
    text = template.format(
        module=module,
        code=code,
        version=crypto.evidence.get("gofips140", ""),
        found=", ".join(map(str, found)) if isinstance(found, list) else "",
        differing=_first_of(crypto.evidence.get("differing", ())),
    )
    return text + dependencies.describe(crypto.evidence)


def _first_of(names: object) -> str:
    """Return the first of a list of names, and how many more there are."""
    if not isinstance(names, list) or not names:
        return ""
    return str(names[0]) + (f" and {len(names) - 1} more" if len(names) > 1 else "")
