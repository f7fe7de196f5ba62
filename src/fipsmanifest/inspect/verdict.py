"""From what was seen to what it means: the one place where verdicts are decided.

Pure: takes a record of observations, gives the verdict of DESIGN section 6 with the evidence it rests on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..model.finding import CryptoFacts, ElfFacts, GoFacts, SeenModule, Verdict
from . import dependencies
from .boring import Sighting
from .cryptocode import OtherCryptography
from .dependencies import Dependencies
from .native import integrity as native
from .native.integrity import NativeModule
from .sentences import SENTENCES
from .signals import Forks, Markers, Packages
from .wiring import ENOUGH, SELF_TEST
from .wrappers import Wrappers

#: Releases of the dev.boringcrypto branch, before GOEXPERIMENT: ``go1.16.6b7``.
_BRANCH_RELEASE = re.compile(r"go1\.\d+(\.\d+)?b\d+\b")


_ORDINARY = Dependencies()


@dataclass(frozen=True, slots=True)
class Seen:
    """Everything that was looked at in one ELF file that is, or claims to be, a Go program."""

    elf: ElfFacts
    """Its class, machine, type."""
    go: GoFacts | None
    """Its build info; None where a Go program has none."""
    modules: tuple[Sighting, ...] = ()
    """Modules in executable memory."""
    data: tuple[Sighting, ...] = ()
    """Modules where nothing executes them."""
    markers: Markers | None = None
    """Counts of the marker functions; None where only the plain-crypto one was looked for."""
    standard: bool = False
    """The plain-crypto marker is there."""
    packages: Packages | None = None
    """Packages named; None where that was not needed."""
    forks: Forks | None = None
    """Packages of Go's forks; None where that was not needed."""
    symbols: int = 0
    """Names of BoringCrypto functions in the symbol table."""
    native: NativeModule | None = None
    """Go's own FIPS module."""
    text_relocations: bool = False
    """The loader is told to write into code."""
    dependencies: Dependencies = _ORDINARY
    """What the file asks to be loaded with it, beyond what ordinary programs do."""
    build_infos: int = 1
    """Headers of Go's build info in the file."""
    by_loader: frozenset[str] = frozenset()
    """Functions of the module that code may call through the loader; empty where that was not needed."""
    other: OtherCryptography | None = None
    """Cryptography that is not Go's; None where that was not needed."""
    functions: bool = True
    """The table of functions can be read as the runtime reads it."""
    wrappers: Wrappers | None = None
    """Go's wrappers of the module's functions; None where there is no module to call."""


_Evidence = dict[str, "str | int | bool | list[str] | list[int]"]


def claims(go: GoFacts | None, symbols: int = 0) -> list[str]:
    """Give the codes of what a file says in favour of BoringCrypto."""
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
    """Give the verdict on a file that cannot be judged."""
    return CryptoFacts(Verdict.UNREADABLE, None, {"code": code})


def not_go(code: str = "not-go") -> CryptoFacts:
    """Give the verdict on an ELF file without any sign of Go, or, as ``no-code``, without any code."""
    return CryptoFacts(Verdict.NOT_GO, None, {"code": code})


def other_compiler() -> CryptoFacts:
    """Return the verdict on a Go program of a compiler that has no FIPS module."""
    return CryptoFacts(Verdict.PLAIN, None, {"code": "other-compiler"})


def judge(seen: Seen) -> CryptoFacts:
    """Decide."""
    verdict, code, module = _from_modules(seen) or _from_other_module(seen) or _from_claims(seen)
    evidence: _Evidence = {"code": code, **_evidence(seen, module)}
    return CryptoFacts(verdict, _seen_module(seen, module), evidence)


Decision = tuple[Verdict, str, "Sighting | NativeModule | None"]


def _from_modules(seen: Seen) -> Decision | None:
    """Judge by a BoringCrypto module in executable memory, where there is one."""
    if not seen.modules:
        return None
    changed = [module for module in seen.modules if module.stored_at is None]
    whole = [module for module in seen.modules if module.stored_at is not None]
    # A known module that is called, before others.
    whole.sort(key=lambda module: (module.wired, module.row is not None), reverse=True)
    module = whole[0] if whole else changed[0]
    if denial := _denied(seen, changed, whole):
        return Verdict.CONTRADICTED, denial, module
    if not module.wired:
        if _wired_by_loader(module, seen.by_loader):
            return Verdict.DECLARED, "calls-by-loader", module
        return Verdict.CONTRADICTED, "module-never-called", module
    if unproven := _not_used_by_go(seen):
        return *unproven, module
    if module.row is None:
        return Verdict.UNLISTED, "module-unknown", module
    if unlisted := [item for item in whole if item.row is None]:
        return Verdict.UNLISTED, "module-beside", unlisted[0]
    if seen.dependencies.interpreter is not None:
        # The kernel starts that, and it decides what becomes of the module.
        return Verdict.DECLARED, "interpreter-unusual", module
    return Verdict.PROVEN, "module-proven", module


def _denied(seen: Seen, changed: Sequence[Sighting], whole: Sequence[Sighting]) -> str | None:
    """Return the code of what makes a module worthless, however it is called; None where nothing does."""
    if changed:
        return "self-test-would-fail" if changed[0].row else "module-changed"
    if seen.standard or (seen.wrappers is not None and seen.wrappers.standard):
        return "plain-crypto"
    if any(item.writable for item in whole) or seen.text_relocations:
        return "module-writable"
    return "module-overlaid" if any(item.overlaid for item in whole) else None


def _not_used_by_go(seen: Seen) -> tuple[Verdict, str] | None:
    """Return why it is not Go's own wrappers that call a module which something calls; None where they do."""
    if seen.go is None:
        return Verdict.UNREADABLE, "no-build-info"
    if seen.wrappers is None or seen.wrappers.table is None:
        return Verdict.UNREADABLE, "no-function-table"
    if not claims(seen.go):
        return Verdict.CONTRADICTED, "module-unclaimed"
    if seen.go.settings.get("CGO_ENABLED") == "0":
        # Go reaches the module through cgo alone.
        return Verdict.CONTRADICTED, "cgo-off"
    return None if seen.wrappers.enough else (Verdict.CONTRADICTED, "module-not-wrapped")


def _wired_by_loader(module: Sighting, functions: frozenset[str]) -> bool:
    """Tell whether a known module would be wired if what the loader is asked for by name were called, and were its."""
    return (
        module.row is not None
        and module.calls + len(functions) >= ENOUGH
        and (module.self_test or SELF_TEST in functions)
    )


def _from_other_module(seen: Seen) -> Decision | None:
    """Judge by evidence of another FIPS module."""
    if seen.go is None:
        return None
    experiments = set(seen.go.settings.get("GOEXPERIMENT", "").split(","))
    microsoft = experiments & {"systemcrypto", "opensslcrypto", "cngcrypto"} or any(
        key.startswith("microsoft_") for key in seen.go.settings
    )
    if seen.forks and (seen.forks.microsoft_go or (microsoft and seen.forks.golang_fips)):
        return Verdict.OTHER_MODULE, "microsoft-go", None
    if seen.forks and seen.forks.golang_fips:
        return Verdict.OTHER_MODULE, "golang-fips", None
    if native.version(seen.go) is None:
        return None
    if seen.native is None or not seen.native.linked or not (seen.packages and seen.packages.fips140):
        # Without cryptography there is nothing for the module to do, and the linker leaves it out.
        return (Verdict.CONTRADICTED, "native-module-missing", None) if _has_crypto(seen) else None
    if not seen.native.holds:
        return Verdict.CONTRADICTED, "native-module-changed", seen.native
    if native.mode_is_on(seen.go):
        return Verdict.OTHER_MODULE, "go-native", seen.native
    return Verdict.PLAIN, "native-mode-off", None


def _has_crypto(seen: Seen) -> bool:
    """Tell whether cryptography is linked in, by whatever shows it."""
    native_code = seen.native is not None and seen.native.linked
    return seen.standard or native_code or (seen.packages is not None and seen.packages.crypto)


def _from_claims(seen: Seen) -> Decision:
    """Judge a program in which no FIPS module was found."""
    said = claims(seen.go, seen.symbols)
    crypto = _has_crypto(seen)
    if seen.go is None:
        return Verdict.UNREADABLE, "no-build-info", None
    if said and seen.data:
        return Verdict.CONTRADICTED, "module-not-executable", seen.data[0]
    if said and crypto:
        if seen.go.settings.get("CGO_ENABLED") == "0":
            return Verdict.CONTRADICTED, "cgo-off", None
        if seen.standard or not (seen.packages and seen.packages.boring):
            return Verdict.CONTRADICTED, "plain-crypto", None
        return Verdict.DECLARED, "module-not-found", None
    if crypto:
        if seen.markers and seen.markers.boring and not seen.standard:
            return Verdict.DECLARED, "marker-only", None
        return Verdict.PLAIN, "plain-crypto", None
    if "symbols" in said:
        return Verdict.DECLARED, "symbols-only", None
    if seen.packages is None or seen.packages.table is None or not seen.functions:
        # That it names no cryptography would say nothing.
        return Verdict.UNREADABLE, "no-function-table", None
    other = next(iter(_other(seen)), None)
    if other is not None:
        return Verdict.PLAIN, other, None
    return Verdict.NO_CRYPTO, "no-crypto-packages", None


#: Code -> the evidence that it rests on, the surest first.
_OTHER_CODES = {"crypto-packages": "packages", "crypto-library": "libraries", "crypto-tables": "algorithms"}
_MOST_NAMED = 16


def _other(seen: Seen) -> dict[str, tuple[str, ...]]:
    """Return what shows cryptography that is not Go's, by code."""
    if seen.other is None:
        return {}
    shown = zip(_OTHER_CODES, (seen.other.packages, seen.other.libraries, seen.other.algorithms), strict=True)
    return {code: found for code, found in shown if found}


def _evidence(seen: Seen, module: Sighting | NativeModule | None) -> _Evidence:
    evidence: _Evidence = {}
    said = claims(seen.go, seen.symbols)
    if said:
        evidence["claims"] = list(said)
    if isinstance(module, Sighting):
        evidence |= _module_evidence(module)
        if seen.wrappers is not None and seen.wrappers.table is not None:
            evidence["function_table"] = seen.wrappers.table
            evidence["standard_named"] = seen.wrappers.standard
            evidence["wrappers"] = len(seen.wrappers.wired)
        if seen.by_loader:
            evidence["by_loader"] = sorted(seen.by_loader)
        if len(seen.modules) > 1:
            evidence["modules"] = [_identifier(item) for item in seen.modules]
    evidence |= _native_evidence(seen)
    if seen.elf.machine == "x86_64":
        if seen.markers is not None:
            counts = seen.markers
            evidence["markers"] = [counts.boring, counts.standard, counts.fipsonly]
        else:
            evidence["standard_marker"] = seen.standard
    evidence |= _names_evidence(seen)
    evidence |= seen.dependencies.evidence
    if seen.build_infos > 1:
        evidence["build_infos"] = seen.build_infos
    evidence |= {_OTHER_CODES[code]: list(found[:_MOST_NAMED]) for code, found in _other(seen).items()}
    if seen.symbols:
        evidence["symbols"] = seen.symbols
    if seen.data and not isinstance(module, Sighting):
        evidence["module_in_data"] = [item.offset for item in seen.data]
    return evidence


def _native_evidence(seen: Seen) -> _Evidence:
    """Return what there is of Go's native module, and what build info says of it."""
    evidence: _Evidence = {}
    if seen.native is not None:
        evidence["fipsinfo_offset"] = seen.native.offset
        evidence["fipsinfo_holds"] = seen.native.holds
        evidence["fipsinfo_text"] = seen.native.text
    if seen.go is not None and native.version(seen.go):
        evidence["gofips140"] = native.version(seen.go) or ""
        evidence["fips140"] = native.mode(seen.go)
        evidence["fips140_on"] = native.mode_is_on(seen.go)
    return evidence


def _names_evidence(seen: Seen) -> _Evidence:
    """Give what the table of functions names."""
    evidence: _Evidence = {}
    if seen.packages is not None:
        if seen.packages.table is not None:
            evidence["function_table"] = seen.packages.table
        evidence["crypto_packages"] = seen.packages.crypto
        evidence["boring_wrappers"] = seen.packages.boring
    fork = seen.forks.microsoft_go or seen.forks.golang_fips if seen.forks else None
    if fork is not None:
        evidence["fork_package"], evidence["fork_package_at"] = fork.name, fork.offset
    return evidence


def _module_evidence(module: Sighting) -> _Evidence:
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


def _identifier(module: Sighting) -> str:
    if module.row is not None:
        return module.row.id
    return f"{'unlisted' if module.stored_at is not None else 'changed'}-{module.digest[:16]}"


def _seen_module(seen: Seen, module: Sighting | NativeModule | None) -> SeenModule | None:
    """Name the module for the manifest: what was recognised by its own digest, and nothing that was changed."""
    if isinstance(module, NativeModule):
        if not module.holds or seen.go is None:
            return None
        named = f"Go Cryptographic Module {native.version(seen.go)}"
        identifier = f"go-native-{module.sum[:16]}"
        return SeenModule(identifier, named, "hmac-sha256", module.sum, seen.elf.machine, None)
    if module is None or module.stored_at is None:
        return None
    row = module.row
    return SeenModule(
        _identifier(module),
        row.name if row else "BoringCrypto (not in the table)",
        module.algorithm,
        module.digest,
        seen.elf.machine,
        row.row if row else None,
        row.commit or None if row else None,
    )


def sentence(crypto: CryptoFacts) -> str:
    """Return a verdict in a sentence for people, and what they should know besides."""
    code = str(crypto.evidence.get("code", ""))
    if code == "plain-crypto":
        if crypto.verdict is Verdict.CONTRADICTED:
            template = "It claims or holds BoringCrypto, but Go's plain, unvalidated cryptography is linked in."
        else:
            template = "A Go program with plain, unvalidated cryptography."
    else:
        template = SENTENCES.get(code, "The file cannot be read ({code}).")
    module = crypto.module.name if crypto.module else ""
    if crypto.module and crypto.module.commit:
        module += f" {crypto.module.commit[:8]}"
    found = crypto.evidence.get(_OTHER_CODES.get(code, ""), ())
    said = template.format(
        module=module,
        code=code,
        version=crypto.evidence.get("gofips140", ""),
        found=", ".join(map(str, found)) if isinstance(found, list) else "",
    )
    return said + dependencies.describe(crypto.evidence)
