"""The matrix: every kind of build and every forgery, with its expected verdict.

What each file is was decided by how it was made. The contents of real builds were measured on such programs with other
tools: ``go version -m``, ``nm``, ``objdump``, openssl and dd.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from examples.upstream import goprograms

from tests.support import edits, programs, toolchains
from tests.support.toolchains import build, build_arm64, build_subtle, build_without_crypto

from . import forgeries, oldtables

MODULE_2019 = "boringcrypto-20190808-x86_64"
MODULE_2021 = "boringcrypto-20210429-x86_64"
MODULE_2021_ARM64 = "boringcrypto-20210429-aarch64"
MODULE_2022 = "boringcrypto-20220613-x86_64"
MODULE_2022_ARM64 = "boringcrypto-20220613-aarch64"

GO_1_21 = goprograms.goroot()


@dataclass(frozen=True)
class Row:
    """One file and its expected verdict."""

    make: Callable[[], Path | bytes]
    """Returns a real program's path, or the bytes made of one."""
    verdict: str
    """DESIGN's name for it."""
    code: str
    """Why, as evidence names it."""
    module: str | None = None
    """The known module that must be recognised."""
    claims: tuple[str, ...] = ()
    """What the file says in favour of BoringCrypto."""
    version: str = ""
    """What ``go version`` prints of it; empty where another row has it."""

    @property
    def data(self) -> bytes:
        """The file's bytes."""
        made = self.make()
        return made.read_bytes() if isinstance(made, Path) else made


def _proven(make: Callable[[], Path | bytes], module: str, version: str = "") -> Row:
    return Row(make, "proven", "module-proven", module, ("goexperiment",), version)


def _plain(make: Callable[[], Path | bytes], version: str = "") -> Row:
    return Row(make, "plain", "plain-crypto", version=version)


def _native(make: Callable[[], Path | bytes]) -> Row:
    return Row(make, "other-module", "go-native")


def _no_crypto(make: Callable[[], Path | bytes], *claims: str) -> Row:
    return Row(make, "no-crypto", "no-crypto-packages", claims=claims)


#: The smallest goboring program of each release, as the toolchain links it when nothing else is said.
RELEASES = {
    "go1.19": _proven(partial(build, toolchains.DEBIAN_GO_1_19), MODULE_2019, "go1.19.8 X:boringcrypto"),
    "go1.21": _proven(programs.boring, MODULE_2021, "go1.21.13 X:boringcrypto"),
    "go1.22": _proven(partial(build, toolchains.GO_1_22), MODULE_2021, "go1.22.10 X:boringcrypto"),
    "go1.23": _proven(partial(build, toolchains.GO_1_23), MODULE_2021, "go1.23.9 X:boringcrypto"),
    "go1.24": _proven(partial(build, toolchains.GO_1_24), MODULE_2022, "go1.24.3 X:boringcrypto"),
    "go1.25": _proven(partial(build, toolchains.GO_1_25), MODULE_2022, "go1.25.5 X:boringcrypto"),
    "go1.26": _proven(partial(build, toolchains.GO_1_26), MODULE_2022, "go1.26.6-X:boringcrypto"),
    "go1.27": _proven(partial(build, toolchains.GO_1_27), MODULE_2022, "go1.27.3-X:boringcrypto"),
    "go1.21 arm64": _proven(partial(build_arm64, GO_1_21), MODULE_2021_ARM64, "go1.21.13 X:boringcrypto"),
    "go1.24 arm64": _proven(partial(build_arm64, toolchains.GO_1_24), MODULE_2022_ARM64, "go1.24.3 X:boringcrypto"),
    "go1.27 arm64 -s -w": _proven(
        partial(build_arm64, toolchains.GO_1_27, ldflags="-s -w"), MODULE_2022_ARM64, "go1.27.3-X:boringcrypto"
    ),
}

#: The other ways to link one.
LINKED = {
    "go1.21 TLS": _proven(programs.boring_tls, MODULE_2021),
    "go1.21 crypto/tls/fipsonly": _proven(programs.boring_fipsonly, MODULE_2021),
    "go1.21 random numbers only": _proven(programs.boring_random_only, MODULE_2021),
    # The limit that docs/proof.md names: what Go does not hand to the module is there too, and nothing marks it.
    "go1.21 with Go's own Ed25519 and MD5": _proven(programs.boring_and_ed25519, MODULE_2021),
    "go1.21 external": _proven(programs.boring_external, MODULE_2021),
    "go1.21 static": _proven(programs.boring_static, MODULE_2021),
    "go1.21 PIE": _proven(programs.boring_pie, MODULE_2021),
    "go1.21 static PIE": _proven(programs.boring_static_pie, MODULE_2021),
    "go1.21 c-shared": _proven(programs.boring_c_shared, MODULE_2021),
    "go1.21 -s -w": _proven(programs.boring_stripped_by_linker, MODULE_2021),
    "go1.24 -s -w": _proven(partial(build, toolchains.GO_1_24, ldflags="-s -w"), MODULE_2022),
    "go1.27 PIE": _proven(
        partial(goprograms.build, "sha", main=programs.SHA_MAIN, buildmode="pie", root=toolchains.GO_1_27), MODULE_2022
    ),
    "go1.21 arm64 PIE": _proven(
        partial(
            goprograms.build,
            "sha",
            main=programs.SHA_MAIN,
            buildmode="pie",
            goarch="arm64",
            cc=toolchains.ARM64_COMPILER,
        ),
        MODULE_2021_ARM64,
    ),
    "go1.24 arm64 external": _proven(
        partial(build_arm64, toolchains.GO_1_24, ldflags="-linkmode=external"), MODULE_2022_ARM64
    ),
}

#: Builds that are not goboring, whatever they say.
OTHERS = {
    "go1.21 CGO_ENABLED=0": Row(programs.boring_without_cgo, "contradicted", "cgo-off", claims=("goexperiment",)),
    "go1.21 arm64 CGO_ENABLED=0": Row(
        partial(build_arm64, GO_1_21, cgo=False), "contradicted", "cgo-off", claims=("goexperiment",)
    ),
    "go1.21 no crypto imported": _no_crypto(programs.boring_without_crypto, "goexperiment"),
    "go1.21 plain": _plain(programs.plain, "go1.21.13"),
    "go1.22 plain": _plain(partial(build, toolchains.GO_1_22, boring=False), "go1.22.10"),
    "go1.23 plain": _plain(partial(build, toolchains.GO_1_23, boring=False), "go1.23.9"),
    "go1.24 plain": _plain(partial(build, toolchains.GO_1_24, boring=False), "go1.24.3"),
    "go1.25 plain": _plain(partial(build, toolchains.GO_1_25, boring=False), "go1.25.5"),
    "go1.26 plain": _plain(partial(build, toolchains.GO_1_26, boring=False), "go1.26.6"),
    "go1.27 plain": _plain(partial(build, toolchains.GO_1_27, boring=False), "go1.27.3"),
    "go1.21 arm64 plain": _plain(partial(build_arm64, GO_1_21, boring=False, cgo=False)),
    "go1.21 plain, no crypto imported": _no_crypto(programs.plain_without_crypto),
    "go1.21 plain, names of hashes alone": _no_crypto(programs.plain_with_names_of_hashes),
    "go1.24 GOFIPS140=v1.0.0": Row(
        partial(build, toolchains.GO_1_24, boring=False, GOFIPS140="v1.0.0"),
        "proven",
        "native-proven",
        "go-native-v1.0.0-x86_64",
    ),
    "go1.27 GOFIPS140=v1.0.0": Row(
        partial(build, toolchains.GO_1_27, boring=False, GOFIPS140="v1.0.0"),
        "proven",
        "native-proven",
        "go-native-v1.0.0-c2097c7c-x86_64",
    ),
    "go1.24 GOFIPS140=latest": _native(partial(build, toolchains.GO_1_24, boring=False, GOFIPS140="latest")),
    "go1.26 GOFIPS140=latest": _native(partial(build, toolchains.GO_1_26, boring=False, GOFIPS140="latest")),
    "go1.24 GOFIPS140=latest, fips140=only": _native(
        partial(build, toolchains.GO_1_24, boring=False, GOFIPS140="latest", debug="fips140=only")
    ),
    "go1.24 GOFIPS140=latest, fips140=off": Row(
        partial(build, toolchains.GO_1_24, boring=False, GOFIPS140="latest", debug="fips140=off"),
        "other-module",
        "native-mode-off",
    ),
    "go1.24 GOFIPS140=v1.0.0, no crypto imported": _no_crypto(
        partial(build_without_crypto, toolchains.GO_1_24, GOFIPS140="v1.0.0")
    ),
    "go1.21 crypto/subtle only": _no_crypto(partial(build_subtle, GO_1_21), "goexperiment"),
    "go1.27 crypto/subtle only": _no_crypto(partial(build_subtle, toolchains.GO_1_27), "goexperiment"),
    "go1.27 plain, crypto/subtle only": _no_crypto(partial(build_subtle, toolchains.GO_1_27, boring=False)),
    "go1.27 GOFIPS140=v1.0.0, crypto/subtle only": _no_crypto(
        partial(build_subtle, toolchains.GO_1_27, boring=False, GOFIPS140="v1.0.0")
    ),
    "C": Row(programs.c_program, "not-go", "not-go"),
    "go1.21 386": _no_crypto(programs.i386),
    "go1.21 s390x, big-endian": _no_crypto(programs.big_endian),
}

REAL = RELEASES | LINKED | OTHERS


def _stripped(row: Row) -> Row:
    return _proven(lambda: forgeries.without_symbols(row.make()), row.module or "")


def _without_sections(row: Row) -> Row:
    return _proven(lambda: edits.without_sections(row.data), row.module or "")


_PROVEN = RELEASES | LINKED
#: ``strip`` knows only the machine's own architecture.
STRIPPED = {f"{name}, stripped": _stripped(row) for name, row in _PROVEN.items() if "arm64" not in name}
NO_SECTIONS = {f"{name}, no section headers": _without_sections(row) for name, row in _PROVEN.items()}


#: A program of each module, as real builds have it.
_EACH_MODULE = ("go1.19", "go1.21", "go1.24", "go1.21 arm64", "go1.24 arm64")


def _changed(base: str) -> dict[str, Row]:
    """Return the rows of one release's module with changed bytes."""
    row = RELEASES[base]
    module = row.module or ""
    others = {MODULE_2021: "go1.24", MODULE_2022: "go1.21", MODULE_2019: "go1.21"}.get(module)
    changed = {
        f"{base}, one bit flipped": Row(
            lambda: forgeries.one_bit_flipped(row.data, module), "contradicted", "module-changed", None, row.claims
        ),
        f"{base}, bit flipped, stored digest redone": Row(
            lambda: forgeries.flipped_with_its_digest_redone(row.data, module),
            "unlisted",
            "module-unknown",
            None,
            row.claims,
        ),
    }
    if others is not None:
        other = RELEASES[others]
        changed[f"{base}, spliced with the module of {others}"] = Row(
            lambda: forgeries.spliced(row.data, module, other.data, other.module or ""),
            "contradicted",
            "module-changed",
            None,
            row.claims,
        )
    return changed


_GO = ("goexperiment",)
_LATEST = OTHERS["go1.24 GOFIPS140=latest"]
_PLAIN_1_27 = OTHERS["go1.27 plain"]

FORGED = {
    **{name: row for base in _EACH_MODULE for name, row in _changed(base).items()},
    "forged build info": Row(
        lambda: forgeries.build_info_rewritten(programs.plain(), "go1.21.13", forgeries.GOBORING),
        "contradicted",
        "plain-crypto",
        claims=_GO,
    ),
    "forged version with b7": Row(
        lambda: forgeries.build_info_rewritten(programs.plain(), "go1.16.6b7"),
        "contradicted",
        "plain-crypto",
        claims=("branch-release",),
    ),
    "forged symbols": Row(programs.forged_symbols, "declared", "symbols-only", claims=("symbols",)),
    "pointer-form build info, version with b7": Row(
        forgeries.old_branch, "proven", "module-proven", MODULE_2021, ("branch-release",)
    ),
    "module as data": Row(lambda: programs.module_as_data(programs.padded), "plain", "crypto-tables"),
    "module as data, goboring claimed": Row(
        lambda: programs.module_as_data(programs.padded_boring),
        "contradicted",
        "module-not-executable",
        MODULE_2021,
        _GO,
    ),
    "module as dead code": Row(programs.dead_module, "contradicted", "module-never-called", MODULE_2021),
    "module's whole object as dead code": Row(
        forgeries.whole_object_never_called, "contradicted", "module-never-called", MODULE_2021
    ),
    "unknown module as dead code": Row(forgeries.unknown_module_never_called, "contradicted", "module-never-called"),
    # The module is called, but by no function of the package that Go calls it through.
    "module called by C alone, go1.21": Row(
        lambda: forgeries.marker_broken(programs.module_called_by_c(GO_1_21, "amd64").read_bytes()),
        "contradicted",
        "plain-crypto",
        MODULE_2021,
    ),
    "module called by C alone, go1.21 arm64": Row(
        partial(programs.module_called_by_c, GO_1_21, "arm64", toolchains.ARM64_COMPILER),
        "contradicted",
        "plain-crypto",
        MODULE_2021_ARM64,
    ),
    # From Go 1.24 on, few packages have the plain marker.
    "module called by C alone, go1.27": Row(
        partial(programs.module_called_by_c, toolchains.GO_1_27, "amd64"),
        "contradicted",
        "module-unclaimed",
        MODULE_2022,
    ),
    "module called by C alone, goboring claimed": Row(
        lambda: forgeries.build_info_rewritten(
            programs.module_called_by_c(toolchains.GO_1_27, "amd64"), "go1.27.3-X:boringcrypto", forgeries.GOBORING
        ),
        "contradicted",
        "module-not-wrapped",
        MODULE_2022,
        _GO,
    ),
    "module called by C alone, go1.27 arm64, goboring claimed": Row(
        lambda: forgeries.build_info_rewritten(
            programs.module_called_by_c(toolchains.GO_1_27, "arm64", toolchains.ARM64_COMPILER),
            "go1.27.3-X:boringcrypto",
            forgeries.GOBORING,
        ),
        "contradicted",
        "module-not-wrapped",
        MODULE_2022_ARM64,
        _GO,
    ),
    "goboring, its wrappers renamed": Row(
        lambda: forgeries.name_of_a_function(
            RELEASES["go1.21"].data, b"crypto/internal/boring._Cfunc__g", b"crypto/internal/boring._Cfunc__h"
        ),
        "contradicted",
        "module-not-wrapped",
        MODULE_2021,
        _GO,
    ),
    "goboring, its function table narrowed": Row(
        lambda: forgeries.function_table_narrowed(RELEASES["go1.21"].data),
        "contradicted",
        "module-not-wrapped",
        MODULE_2021,
        _GO,
    ),
    "goboring, nothing claimed": Row(
        lambda: forgeries.build_info_rewritten(programs.boring(), "go1.21.13"),
        "contradicted",
        "module-unclaimed",
        MODULE_2021,
    ),
    "goboring, cgo off claimed": Row(
        lambda: forgeries.build_info_rewritten(
            programs.boring(), "go1.21.13 X:boringcrypto", forgeries.GOBORING.replace("ENABLED=1", "ENABLED=0")
        ),
        "contradicted",
        "cgo-off",
        MODULE_2021,
        _GO,
    ),
    "goboring, its function table erased": Row(
        lambda: forgeries.function_table_erased_of(RELEASES["go1.21"].data),
        "unreadable",
        "no-function-table",
        MODULE_2021,
        _GO,
    ),
    "C library with the module, called by name": Row(
        programs.boring_in_a_c_library, "declared", "calls-by-loader", MODULE_2021, _GO
    ),
    "C library with the module, called by another name": Row(
        forgeries.called_by_another_name, "contradicted", "module-never-called", MODULE_2021, _GO
    ),
    "module erased": Row(forgeries.module_erased, "declared", "module-not-found", claims=(*_GO, "symbols")),
    "stored digest changed": Row(forgeries.stored_digest_changed, "contradicted", "self-test-would-fail", claims=_GO),
    "two modules": _proven(lambda: forgeries.second_module(programs.genuine_module()), MODULE_2021),
    "two modules, one changed": Row(
        forgeries.second_module_changed, "contradicted", "module-changed", MODULE_2021, _GO
    ),
    "two modules, one changed and not on a page": Row(
        lambda: forgeries.second_module_changed_off_its_page(16), "contradicted", "module-changed", MODULE_2021, _GO
    ),
    "two modules, one with its digest redone": Row(
        forgeries.second_module_with_its_digest_redone, "unlisted", "module-beside", claims=_GO
    ),
    "module over two segments": Row(forgeries.module_over_two_segments, "contradicted", "module-changed", claims=_GO),
    "module overlaid where pages are large": Row(
        lambda: forgeries.module_overlaid(RELEASES["go1.21 arm64"].data, MODULE_2021_ARM64),
        "contradicted",
        "module-overlaid",
        MODULE_2021_ARM64,
        _GO,
    ),
    "plain crypto beside the module": Row(
        forgeries.plain_crypto_beside, "contradicted", "plain-crypto", MODULE_2021, _GO
    ),
    "plain crypto behind the code": Row(
        forgeries.plain_marker_behind_the_code, "contradicted", "plain-crypto", MODULE_2021, _GO
    ),
    "plain crypto in a segment of nothing": Row(
        forgeries.plain_marker_in_a_segment_of_nothing, "contradicted", "plain-crypto", MODULE_2021, _GO
    ),
    "changed module in data": _proven(partial(forgeries.changed_module_in_data, executable_stack=False), MODULE_2021),
    "changed module in data that some kernels execute": Row(
        partial(forgeries.changed_module_in_data, executable_stack=True),
        "contradicted",
        "module-changed",
        MODULE_2021,
        _GO,
    ),
    "unusual interpreter": Row(forgeries.another_interpreter, "declared", "interpreter-unusual", MODULE_2021, _GO),
    "code writable": Row(forgeries.code_writable, "contradicted", "module-writable", MODULE_2021, _GO),
    "text relocations": Row(forgeries.text_relocations, "contradicted", "module-writable", MODULE_2021, _GO),
    "text relocations behind the dynamic section": Row(
        forgeries.text_relocations_behind, "contradicted", "module-writable", MODULE_2021, _GO
    ),
    "native module, code changed": Row(
        lambda: forgeries.native_module_changed(_LATEST.data), "contradicted", "native-module-changed"
    ),
    "native module, sum changed": Row(
        lambda: forgeries.native_sum_changed(_LATEST.data), "contradicted", "native-module-changed"
    ),
    "native module, code changed, a sum that fits beside what is mapped": Row(
        lambda: forgeries.native_sum_beside(_LATEST.data), "contradicted", "native-module-changed"
    ),
    "build info beside what is mapped": _plain(forgeries.build_info_beside),
    "native module claimed, missing": Row(
        lambda: forgeries.native_module_missing(_LATEST.data), "contradicted", "native-module-missing"
    ),
    "native module of nothing, sum right": Row(
        forgeries.native_module_of_nothing, "contradicted", "native-module-missing"
    ),
    "native module of other code, sum right": Row(
        lambda: forgeries.native_module_of(".text"), "contradicted", "native-module-missing"
    ),
    "native module of data, sum right": Row(
        lambda: forgeries.native_module_of(".rodata", _LATEST.data), "contradicted", "native-module-changed"
    ),
    "native module, another version claimed": Row(
        lambda: forgeries.native_version_claimed(_LATEST.data, "v1.0.0"), "contradicted", "native-module-missing"
    ),
    "goboring claimed, no function table": Row(
        forgeries.build_info_alone, "unreadable", "no-function-table", claims=_GO
    ),
    "function table narrowed": _plain(lambda: forgeries.function_table_narrowed(programs.plain().read_bytes())),
    "function table narrowed, go1.27": _plain(lambda: forgeries.function_table_narrowed(_PLAIN_1_27.data)),
    "function table narrowed, go1.21 arm64": _plain(
        lambda: forgeries.function_table_narrowed(OTHERS["go1.21 arm64 plain"].data)
    ),
    "function table beside what is mapped": _plain(forgeries.function_table_beside),
    "cryptography named behind a segment": _plain(forgeries.names_behind_a_segment),
    "debugging information alone": Row(lambda: programs.debugging_information(programs.boring()), "not-go", "no-code"),
    "debugging information alone, of a position-independent program": Row(
        lambda: programs.debugging_information(programs.boring_pie()), "not-go", "no-code"
    ),
    # Names and the marker are the only signs of plain cryptography in programs of Go before 1.24.
    "cryptography renamed, go1.27": _plain(lambda: forgeries.cryptography_renamed(_PLAIN_1_27.data)),
}

#: Go's forks by what their programs carry.
FORKS = {
    name: Row(make, "other-module", code)
    for name, make, code in (
        (
            "golang-fips, Go 1.18 and 1.19",
            partial(forgeries.fork, b"golang-fips/openssl-fips/openssl", "go1.19.13"),
            "golang-fips",
        ),
        (
            "golang-fips, Go 1.20 and 1.21",
            partial(forgeries.fork, b"golang-fips/openssl/openssl", "go1.21.13"),
            "golang-fips",
        ),
        ("golang-fips, Go 1.22 to 1.26", partial(forgeries.fork, b"golang-fips/openssl/v2", "go1.25.5"), "golang-fips"),
        ("golang-fips, Go 1.16", forgeries.golang_fips_1_16, "golang-fips"),
        (
            "Microsoft's Go, 1.21 and later",
            partial(
                forgeries.fork,
                b"golang-fips/openssl/v2",
                "go1.23.1 X:systemcrypto",
                "build\tGOEXPERIMENT=systemcrypto\n",
            ),
            "microsoft-go",
        ),
        (
            "Microsoft's Go, before",
            partial(forgeries.fork, b"microsoft/go-crypto-openssl/openssl", "go1.19.13"),
            "microsoft-go",
        ),
    )
}

UNREADABLE = {
    name: Row(make, "unreadable", code)
    for name, make, code in (
        ("packed by UPX", partial(forgeries.packed, magic=True), "packed"),
        ("packed, its magic removed", partial(forgeries.packed, magic=False), "no-section-headers"),
        ("build info erased", forgeries.build_info_erased, "no-build-info"),
        (
            "build info erased, no section headers",
            lambda: edits.without_sections(forgeries.build_info_erased()),
            "no-build-info",
        ),
        ("function table erased", forgeries.function_table_erased, "no-function-table"),
        ("function table of nothing", forgeries.function_table_of_nothing, "no-function-table"),
        ("cut in the file header", partial(forgeries.cut, 63), "truncated-header"),
        ("cut behind the file header", partial(forgeries.cut, 64), "truncated-program-headers"),
        ("cut in the program headers", partial(forgeries.cut, 64 + 56 + 1), "truncated-program-headers"),
        ("cut in the code", partial(forgeries.cut, 0x10000), "segment-beyond-file"),
        ("cut in the section headers", partial(forgeries.cut, -64), "truncated-section-headers"),
        ("cut by one byte", partial(forgeries.cut, -1), "truncated-section-headers"),
        ("overlapping segments", forgeries.overlapping, "overlapping-segments"),
        ("segment of nothing over the module", forgeries.segments_of_nothing_over_the_module, "overlapping-segments"),
        (
            "segment of nothing over the module, behind all others",
            partial(forgeries.segments_of_nothing_over_the_module, at_end=True),
            "overlapping-segments",
        ),
        (
            "program headers elsewhere on older kernels",
            forgeries.other_program_headers_for_older_kernels,
            "overlapping-segments",
        ),
        ("segment beyond the file", partial(forgeries.first_load, 8, (1 << 64) - 0x1000), "segment-beyond-file"),
        ("segment larger than its memory", partial(forgeries.first_load, 40, 1), "segment-larger-than-memory"),
        ("segment not where its page is", partial(forgeries.first_load, 16, 0x400800), "misaligned-segment"),
        ("65,535 program headers", partial(forgeries.header, 56, b"\xff\xff"), "too-many-program-headers"),
        ("65,280 sections", partial(forgeries.header, 60, b"\x00\xff"), "too-many-sections"),
        ("64-bit program that says 32", partial(forgeries.header, 4, b"\x01"), "bad-ident"),
        ("32-bit program that says 64", lambda: forgeries.header(4, b"\x02", programs.i386()), "bad-ident"),
        ("little-endian program that says big", partial(forgeries.header, 5, b"\x02"), "bad-ident"),
        ("32-bit program of EM_486 that says 64", lambda: forgeries.header(18, b"\x06\0"), "bad-ident"),
        ("nine modules, the last one changed", forgeries.nine_modules_the_last_changed, "too-many-modules"),
        ("bytes mapped twice", forgeries.second_module_is_the_same_bytes, "segments-of-the-same-bytes"),
        ("two dynamic sections", forgeries.two_dynamic_sections, "several-dynamic-sections"),
        (
            "debugging information with a program's headers",
            lambda: forgeries.debugging_information_of_other_tools(programs.boring_external()),
            "debugging-information",
        ),
        (
            "debugging information with pages of one byte",
            forgeries.debugging_information_by_the_page,
            "debugging-information",
        ),
        ("dynamic section elsewhere", forgeries.text_relocations_elsewhere, "dynamic-section-elsewhere"),
        ("dynamic section without end", forgeries.endless_dynamic_section, "endless-dynamic-section"),
        ("program headers elsewhere", forgeries.moved_by_its_program_headers, "program-headers-elsewhere"),
    )
}

_BRANCH = ("branch-release",)


def _renamed(form: Callable[[bytes], bytes]) -> bytes:
    return form(programs.boring_pie().read_bytes()).replace(b"._Cfunc__goboringcrypto_", b"._Xfunc__goboringcrypto_")


def _old(
    make: Callable[[], Path],
    form: Callable[..., bytes],
    relocations: bool = False,
    verdict: tuple[str, str] = ("proven", "module-proven"),
    module: str | None = MODULE_2021,
) -> Row:
    return Row(lambda: form(make().read_bytes(), relocations=relocations), *verdict, module, _BRANCH)


#: What toolchains before Go 1.18 linked, those of the dev.boringcrypto branch.
OLD = {
    f"{name} with the table of {release}{', relocated by the loader' if relocations else ''}": _old(
        make, form, relocations
    )
    for release, form in (("go1.16", oldtables.of_go_1_16), ("go1.15", oldtables.of_go_1_2))
    for name, make, relocations in (
        ("go1.21", programs.boring, False),
        ("go1.21 TLS", programs.boring_tls, False),
        ("go1.21 external", programs.boring_external, False),
        ("go1.21 static", programs.boring_static, False),
        ("go1.21 PIE", programs.boring_pie, False),
        ("go1.21 PIE", programs.boring_pie, True),
        ("go1.21 static PIE", programs.boring_static_pie, True),
        ("go1.21 random numbers only", programs.boring_random_only, False),
        ("go1.21 arm64", lambda: build_arm64(GO_1_21), False),
    )
}
OLD = {name: replace(row, module=MODULE_2021_ARM64) if "arm64" in name else row for name, row in OLD.items()} | {
    "plain with the table of go1.16 and a version with b7": _old(
        programs.plain, oldtables.of_go_1_16, verdict=("contradicted", "plain-crypto"), module=None
    ),
    "module called by C alone, with the table of go1.16": Row(
        lambda: forgeries.marker_broken(
            oldtables.of_go_1_16(programs.module_called_by_c(GO_1_21, "amd64").read_bytes())
        ),
        "contradicted",
        "plain-crypto",
        MODULE_2021,
        _BRANCH,
    ),
    # Neither its wrappers nor its marker have the names that they must have.
    **{
        f"wrappers renamed in the table of {release}": Row(
            partial(_renamed, form), "contradicted", "module-not-wrapped", MODULE_2021, _BRANCH
        )
        for release, form in (("go1.16", oldtables.of_go_1_16), ("go1.15", oldtables.of_go_1_2))
    },
}

MATRIX = REAL | STRIPPED | OLD | NO_SECTIONS | FORGED | FORKS | UNREADABLE


def named(names: Iterable[str]) -> list[Any]:
    """Mark those that need a toolchain which only one distribution has."""
    return [pytest.param(name, marks=toolchains.on_debian_12) if "go1.19" in name else name for name in names]
