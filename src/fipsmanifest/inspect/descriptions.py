"""The meaning of each code in the evidence of a verdict, in one sentence for people.

Evidence has codes and numbers only, so that it does not change with the wording.
"""

from __future__ import annotations

import re

from ..model.finding import Verdict

#: What each verdict means (`docs/proof.md`), and what to do about a program that has it.
VERDICTS = {
    Verdict.PROVEN: (
        "The code of a known validated module is in the program, unchanged, and the program calls it.",
        "Nothing.",
    ),
    Verdict.UNLISTED: (
        "A module whose own integrity digest holds, but which is not in the table of known modules.",
        "If you trust the toolchain that it came from, make a row with `modules learn`.",
    ),
    Verdict.DECLARED: (
        "Only build information or symbol names claim a module.",
        "Build it with GOEXPERIMENT=boringcrypto and CGO_ENABLED=1, or with GOFIPS140 where that module is accepted.",
    ),
    Verdict.CONTRADICTED: (
        "The program claims a module, and its bytes deny it. Do not use it.",
        "Get it again from its publisher, or build it with GOEXPERIMENT=boringcrypto and CGO_ENABLED=1.",
    ),
    Verdict.OTHER_MODULE: (
        "Another FIPS module, which is named; its use is not proven here.",
        "Build it with a module that is accepted, or accept it with an exception and the reason.",
    ),
    Verdict.NO_CRYPTO: ("A Go program without cryptography.", "Nothing."),
    Verdict.PLAIN: (
        "Go's own cryptography, which is not validated.",
        "Build it with GOEXPERIMENT=boringcrypto and CGO_ENABLED=1, or with GOFIPS140 where that module is accepted. "
        "Or accept it with an exception and the reason.",
    ),
    Verdict.NOT_GO: ("A program that is not written in Go.", "Nothing; its cryptography, if any, is not judged."),
    Verdict.UNREADABLE: (
        "Packed, truncated or malformed: nothing is known about it.",
        "Get it again from its publisher, or build it without a packer.",
    ),
}

#: What to do about a program that has Go's native module and is not proven, by the code of its evidence.
ADVICE = {
    "go-native": "Build it with GOFIPS140=v1.0.0 and a Go release and level that 'modules list' names, or make a "
    "reference of its toolchain with 'modules learn --native' and pass it with --references.",
    "native-mode-off": "Build it with GOFIPS140=v1.0.0, and without fips140 in go:debug lines and in go.mod.",
    "native-mode-off-in-image": "Take fips140 out of GODEBUG in the image's configuration.",
    "native-build-flags": "Build it without -race, -msan, -asan, -gcflags, coverage and profiles.",
}

_PLACEHOLDER = re.compile(r"\{(\w+)\}")

#: The sentence for ``plain-crypto`` in a program that is `contradicted`.
CLAIMED_PLAIN = "It claims or holds BoringCrypto, but Go's plain, unvalidated cryptography is linked in."

SENTENCES = {
    "plain-crypto": "A Go program with plain, unvalidated cryptography.",
    "module-proven": "{module} is in this file, byte for byte, and its functions are called.",
    "module-unknown": "A BoringCrypto module with a matching digest is wired in, but the table does not have it.",
    "module-beside": "Besides a known module, it has another one with a matching digest, which is not in the table.",
    "module-changed": "A BoringCrypto module is in this file, but its bytes were changed.",
    "self-test-would-fail": "The module's code is unchanged, but not its stored digest, so its self-test would fail.",
    "module-writable": "A BoringCrypto module is in this file, but in memory that the program can write to.",
    "module-overlaid": "A BoringCrypto module is in this file, but some kernels would map other bytes over it.",
    "module-never-called": "A BoringCrypto module is in this file, but its self-test or functions are not called.",
    "module-not-wrapped": "A BoringCrypto module is in this file and called, but not by the functions of Go's "
    "standard library.",
    "module-unclaimed": "A BoringCrypto module is in this file, but build info does not claim a goboring build.",
    "calls-by-loader": "{module} is in this file, byte for byte, but called by names that another file may define.",
    "interpreter-unusual": "{module} is in this file, byte for byte, but an unusual interpreter decides what runs.",
    "module-not-executable": "A BoringCrypto module is in this file, but in data that is not executable.",
    "cgo-off": "It was built with GOEXPERIMENT=boringcrypto and CGO_ENABLED=0, which silently uses plain crypto.",
    "module-not-found": "It claims to be a goboring build, but no module was found in it.",
    "marker-only": "It has goboring's marker, but no module was found in it.",
    "symbols-only": "It has symbols with goboring's names, but no module and no claim in build info.",
    "no-crypto-packages": "A Go program without functions of cryptographic packages, by their names.",
    "go-native": "Go's native FIPS module {version} is in this file with a matching sum, and FIPS mode is on by build "
    "info; it is not BoringCrypto, and there is no reference of its toolchain to compare it with.",
    "native-proven": "{module} is in this file, each function as its toolchain compiles the published source, it is "
    "called, and FIPS mode is on.",
    "native-instance-unknown": "It has Go's native FIPS module with instances of its generic functions that the "
    "reference of its toolchain lacks ({differing}).",
    "native-function-differs": "It has Go's native FIPS module, but with functions that are not what its toolchain "
    "compiles ({differing}).",
    "native-function-unknown": "It has Go's native FIPS module, but with functions in it that the module does not have "
    "({differing}).",
    "native-target-differs": "It has Go's native FIPS module, but its code leads elsewhere than it should "
    "({differing}).",
    "native-data-differs": "It has Go's native FIPS module, but with other data than it should have ({differing}).",
    "native-mode-unknown": "It has Go's native FIPS module, but the default of GODEBUG that its runtime reads cannot "
    "be determined.",
    "native-mode-differs": "It has Go's native FIPS module, but its runtime has another default of fips140 than build "
    "info says.",
    "native-not-initialized": "It has Go's native FIPS module, but its runtime leaves out functions that initialize it "
    "({differing}), so that FIPS mode stays off or self-tests are not run.",
    "native-initialization-unknown": "It has Go's native FIPS module, but whether its runtime initializes it cannot be "
    "determined.",
    "native-build-flags": "It has Go's native FIPS module, built with options that change its code, so it cannot be "
    "compared.",
    "native-relocations-unknown": "It has Go's native FIPS module, but the addresses that the loader writes are in a "
    "form that is not supported.",
    "native-module-writable": "It has Go's native FIPS module, but the loader is asked to write into code.",
    "native-module-never-called": "It has Go's native FIPS module, but nothing calls it.",
    "native-mode-off": "Go's native FIPS module is in this file, but its FIPS mode is off by default.",
    "native-mode-off-in-image": "Go's native FIPS module is in this file, but its image's configuration turns FIPS "
    "mode off (GODEBUG).",
    "native-module-missing": "It claims Go's native FIPS module {version}, which is not in it.",
    "native-module-changed": "It has Go's native FIPS module, but its integrity sum does not match.",
    "golang-fips": "Built by golang-fips/go: in FIPS mode it uses OpenSSL, loaded at run time, not BoringCrypto.",
    "microsoft-go": "Built by Microsoft's Go: cryptography is OpenSSL's, loaded at run time; it is not BoringCrypto.",
    "not-go": "An ELF file, but not a Go program.",
    "no-code": "An ELF file without code, such as separate debugging information.",
    "debugging-information": "It seems to be separate debugging information by its section headers, which the kernel "
    "ignores, but by its program headers it would run. Exclude it from the inspection.",
    "too-many-modules": "It has more places that begin like a BoringCrypto module than any real program.",
    "no-function-table": "A Go program whose function table cannot be read, so its packages are unknown.",
    "no-build-info": "A Go program without build info, which cannot be judged.",
    "crypto-packages": "A Go program with plain, unvalidated cryptography that is not Go's own ({found}).",
    "crypto-library": "A Go program that names a cryptographic library in another language ({found}).",
    "crypto-tables": "A Go program with the constant tables of cryptographic algorithms ({found}).",
    "other-compiler": "A Go program built by gccgo or TinyGo, which have plain, unvalidated cryptography and no FIPS "
    "module.",
    "packed": "Packed, so the code that it executes cannot be inspected.",
    "truncated-header": "The file ends within its ELF header, so a part of it is missing.",
    "truncated-program-headers": "The file ends within its program headers, so a part of it is missing.",
    "truncated-section-headers": "The file ends before its section headers, so a part of it is missing.",
    "segment-beyond-file": "A segment ends after the end of the file, so a part of the program is missing.",
    "section-beyond-file": "A section ends after the end of the file, so a part of the program is missing.",
    "bad-ident": "The ELF header's class or byte order is not that of its machine.",
    "bad-header": "The ELF header has a version or size that no ELF file has.",
    "bad-program-header-size": "The program headers have a size that no ELF file of this class has.",
    "bad-section-header-size": "The section headers have a size that no ELF file of this class has.",
    "too-many-program-headers": "It has more program headers than any program.",
    "too-many-sections": "It has more sections than any program.",
    "no-load-segments": "A program without a segment to load, which Linux does not execute.",
    "no-section-headers": "A program without section headers and without signs of a language, like packed programs.",
    "segment-larger-than-memory": "A segment has more bytes in the file than in memory, which Linux does not execute.",
    "segment-beyond-memory": "A segment ends after the last address, which Linux does not execute.",
    "misaligned-segment": "A segment's address and file offset differ within a page, so its mapping is unclear.",
    "overlapping-segments": "Some systems would map other bytes over parts of this file, so it is unclear what runs.",
    "segments-of-the-same-bytes": "Two segments map the same bytes of the file, which no linker does.",
    "program-headers-elsewhere": "Some systems would use other program headers than those that the kernel reads.",
    "several-dynamic-sections": "It has several dynamic sections, so it is unclear which one the loader reads.",
    "dynamic-section-elsewhere": "The loader would read another dynamic section than the one in the file.",
    "endless-dynamic-section": "The dynamic section has no end, so what the loader would do is unclear.",
    "truncated-build-info": "A Go program whose build info is cut off.",
    "bad-build-info": "A Go program whose build info cannot be read.",
    "empty-build-info": "A Go program whose build info has no version of Go.",
    "oversized-build-info": "A Go program whose build info is larger than any real one.",
}

#: What keys of the evidence list that are of interest by themselves.
EVIDENCE = {
    "beside_module": "Packages and C libraries with cryptography that the validated module does not provide, linked "
    "into the program; judged where `forbid` or --forbid names them.",
    "beside_unknown": "Why beside_module may not list all: the function table cannot be read, it has too many, or "
    "packages have names that no compiler gives them, as after obfuscation.",
}


def general_sentence(code: str) -> str:
    """Return the sentence of a code without a program that it is about; raises `KeyError` for an unknown code."""
    named = {"module": "The module", "version": "that it names"}
    return _PLACEHOLDER.sub(lambda match: named.get(match[1], "named in the evidence"), SENTENCES[code])
