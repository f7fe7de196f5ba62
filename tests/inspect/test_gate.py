"""The gate's rules, one by one: what passes, what an exception accepts, and that an empty result never passes."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest
from pydantic import ValidationError

from fipsmanifest.inspect.gate import AppliedException, Gate, GateDecision, RefusedProgram, group_by_cause
from fipsmanifest.inspect.nested import LocatedFinding, UnopenedContainer
from fipsmanifest.inspect.table import load
from fipsmanifest.model.acceptance import PROVEN, Requirement
from fipsmanifest.model.exceptions import VerdictException
from fipsmanifest.model.finding import CryptoFacts, DetectedModule, Finding, ModuleFamily, Verdict

#: DESIGN section 6 and the README's section on the gate, by hand.
PASSES = {"proven": True, "no-crypto": True, "not-go": True}


def program(path: str, verdict: str, container: str | None = None, code: str = "not-go") -> LocatedFinding:
    crypto = CryptoFacts(Verdict(verdict), None, {"code": code})
    return LocatedFinding(container, None, Finding(path, "file", 0o755, "0" * 64, 1, "program", crypto=crypto))


def other(path: str) -> LocatedFinding:
    return LocatedFinding(None, None, Finding(path, "file", 0o755, "0" * 64, 1, "program"))


def decide(*items: LocatedFinding, exceptions: tuple[VerdictException, ...] = ()) -> GateDecision:
    gate = Gate(exceptions)
    for item in items:
        gate.add(item)
    return gate.decide()


def excuse(path: str, verdict: str, **more: str) -> VerdictException:
    return VerdictException.model_validate({"path": path, "verdict": verdict, "reason": "r", **more})


@pytest.mark.parametrize("verdict", list(Verdict))
def test_beside_a_proven_program_only_what_is_harmless_passes(verdict: str) -> None:
    decision = decide(program("good", "proven"), program("x", verdict))
    refused = [error.message.split(" ")[0] for error in decision.refusals]
    assert refused == ([] if PASSES.get(verdict) else ["x"])
    assert decision.proven == 1 + (verdict == "proven")


@pytest.mark.parametrize("items", [[], ["no-crypto"], ["not-go"], ["no-crypto", "not-go"]])
def test_nothing_passes_where_nothing_is_proven(items: list[str]) -> None:
    (refusal,) = decide(*(program(verdict, verdict) for verdict in items), other("script")).refusals
    assert "cryptography to prove" in refusal.message
    assert refusal.exit_code == 5
    counted = {0: "There is no program here", 1: "1 program, without", 2: "2 programs, without"}[len(items)]
    assert counted in refusal.message


def test_an_exception_alone_proves_nothing() -> None:
    items = [program("x", "plain"), program("y", "no-crypto")]
    (refusal,) = decide(*items, exceptions=(excuse("x", "plain"),)).refusals
    assert refusal.message == "Nothing here is proven: of 2 programs, 1 passed by exceptions alone."
    assert refusal.exit_code == 5


EXCUSABLE = [verdict for verdict in Verdict if verdict != "unreadable"]


@pytest.mark.parametrize("expected", EXCUSABLE)
@pytest.mark.parametrize("verdict", EXCUSABLE)
def test_an_exception_excuses_exactly_the_verdict_that_it_expects(expected: str, verdict: str) -> None:
    decision = decide(program("good", "proven"), program("x", verdict), exceptions=(excuse("x", expected),))
    assert (not decision.refusals) == (verdict == expected)
    assert (len(decision.accepted), decision.unused) == (int(verdict == expected), ())


#: The codes that say that a module was changed or can be, by hand; the last two are false claims of what was built.
TAMPERED = ["module-changed", "self-test-would-fail", "module-writable", "module-overlaid", "native-module-changed"]


@pytest.mark.parametrize(
    ("verdict", "code", "refused"),
    [
        *(("contradicted", code, True) for code in TAMPERED),
        ("contradicted", "cgo-off", False),
        ("contradicted", "plain-crypto", False),
    ],
)
def test_no_exception_excuses_a_module_that_was_changed(verdict: str, code: str, refused: bool) -> None:
    item = program("x", verdict, code=code)
    decision = decide(program("good", "proven"), item, exceptions=(excuse("x", verdict),))
    assert bool(decision.refusals) == refused
    if refused:
        (refusal,) = decision.refusals
        assert "no exception can excuse a module that was changed" in refusal.message
        assert refusal.advice.startswith("Do not ship it.")
        assert "Build it" not in refusal.advice
        assert (decision.accepted, decision.unused) == ((), ())


def test_a_changed_module_is_not_to_be_built_anew_without_an_exception_either() -> None:
    (refusal,) = decide(program("good", "proven"), program("x", "contradicted", code="module-changed")).refusals
    assert "'proven' is required" in refusal.message
    assert refusal.advice.startswith("Do not ship it.")


@pytest.mark.parametrize("expected", EXCUSABLE)
def test_no_exception_excuses_what_cannot_be_read(expected: str) -> None:
    item = program("x", "unreadable", code="packed")
    (refusal,) = decide(program("good", "proven"), item, exceptions=(excuse("x", expected),)).refusals
    assert "no exception can excuse what cannot be read" in refusal.message


def test_an_exception_cannot_expect_what_cannot_be_read() -> None:
    with pytest.raises(ValidationError, match="'unreadable' cannot be expected: no exception can excuse"):
        excuse("x", "unreadable")


def test_a_refusal_has_what_it_is_about_as_data() -> None:
    refusal = decide(program("good", "proven"), program("/x", "plain", "a.tar", "plain-crypto")).refusals[0]
    assert isinstance(refusal, RefusedProgram)
    assert (refusal.path, refusal.container, refusal.verdict, refusal.cause) == ("/x", "a.tar", "plain", "plain-crypto")


@pytest.mark.parametrize(
    ("glob", "path", "matches"),
    [
        ("/usr/bin/crictl", "/usr/bin/crictl", True),
        ("*/crictl", "/usr/bin/crictl", True),
        ("/usr/bin/*", "/usr/bin/crictl", True),
        ("*/crictl", "crictl", True),
        ("*/crictl", "notcrictl", False),
        ("crictl", "crictl", True),
        ("crictl", "/usr/bin/crictl", False),
        ("/usr/bin/*", "usr/bin/crictl", False),
        ("*/CRICTL", "/usr/bin/crictl", False),
        ("/usr/bin", "/usr/bin/crictl", False),
    ],
)
def test_an_exception_names_paths_by_a_glob(glob: str, path: str, matches: bool) -> None:
    exception = excuse(glob, "plain")
    decision = decide(program("good", "proven"), program(path, "plain"), exceptions=(exception,))
    assert (not decision.refusals, decision.unused) == (matches, () if matches else (exception,))


@pytest.mark.parametrize(
    ("glob", "container", "matches"),
    [
        ("a.tar: docker.io/x/a:1", "a.tar: docker.io/x/a:1", True),
        ("a.tar: docker.io/x/a:1", "a.tar: docker.io/x/b:1", False),
        ("a.tar*", "a.tar: docker.io/x/b:1", True),
        ("a.tar", None, False),
        ("*", "b.tar", True),
        (None, "b.tar", True),
        (None, None, True),
    ],
)
def test_an_exception_may_name_what_the_program_is_in(glob: str | None, container: str | None, matches: bool) -> None:
    exception = excuse("/bin/x", "plain", **({"container": glob} if glob else {}))
    decision = decide(program("good", "proven"), program("/bin/x", "plain", container), exceptions=(exception,))
    assert (not decision.refusals, decision.unused) == (matches, () if matches else (exception,))


@pytest.mark.parametrize(
    ("verdict", "advice"),
    [
        ("proven", "Remove the exception: the program does not need one."),
        ("no-crypto", "Remove the exception: the program does not need one."),
        ("contradicted", "Find out why it is not what the exception expects, before you change the exception."),
    ],
)
def test_a_program_that_is_not_what_was_excused_is_not_to_be_built_anew(verdict: str, advice: str) -> None:
    (refusal,) = decide(program("good", "proven"), program("x", verdict), exceptions=(excuse("x", "plain"),)).refusals
    assert refusal.advice == advice


def test_the_first_exception_that_names_a_program_is_the_one_that_counts() -> None:
    strict, loose = excuse("/a/*", "not-go"), excuse("*", "plain")
    decision = decide(program("/a/x", "plain"), program("/b/y", "plain"), exceptions=(strict, loose))
    (refusal,) = decision.refusals
    assert "the exception for /a/* expects 'not-go'" in refusal.message
    assert (decision.accepted, decision.unused) == ((AppliedException("/b/y", None, Verdict.PLAIN, "r"),), ())


def test_a_refusal_says_in_what_a_program_is() -> None:
    (refusal,) = decide(program("/usr/bin/x", "plain", "dist.tar: /x.rpm")).refusals
    assert refusal.message.startswith("/usr/bin/x in dist.tar: /x.rpm is 'plain', and 'proven' is required: ")
    assert "--exceptions" in refusal.advice


def test_files_that_are_no_programs_use_up_no_exception() -> None:
    exception = excuse("*", "plain")
    decision = decide(program("good", "proven"), exceptions=(excuse("good", "proven"), exception))
    assert decision.unused == (exception,)
    decision = decide(other("script"), exceptions=(exception,))
    assert decision.unused == (exception,)
    assert decision.refusals


@pytest.mark.parametrize(
    "path", ["*", "/*", "**", "*/*", "./*", "[!x]*", "?*", "*.*", "**a**", "*/a*", "*e*", "*a?e*", "[!x]a*"]
)
def test_no_exception_accepts_all_that_is_not_opened(path: str) -> None:
    with pytest.raises(ValidationError, match="names a file or a directory, not every one"):
        excuse(path, "unopened")
    assert excuse(path, "plain").path == path
    for specific in ("*.qcow2", "*.a", "*/db", "d*", "dist/*", "*/test-data/*", "*disk*"):
        assert excuse(specific, "unopened").path == specific


@pytest.mark.parametrize(
    ("format", "named", "passes"),
    [
        ("qcow2 disk image", None, True),
        ("encrypted ZIP member", None, True),
        ("data with a program in it", None, True),
        ("script with gzip data in it", None, False),
        ("program with a program in it", None, False),
        ("RPM with a script with base64 data in it", None, False),
        ("AppImage", None, False),
        ("image configuration with a script with base64 data in it", None, False),
        ("self-extracting shell archive", None, False),
        ("ZIP archive behind other data", None, False),
        ("script with gzip data in it", "script with gzip data in it", True),
        ("script with a program in it", "script with gzip data in it", False),
        ("qcow2 disk image", "VHD disk image", False),
    ],
)
def test_an_exception_that_names_no_format_is_for_data_alone(format: str, named: str | None, passes: bool) -> None:
    # One that was written for a disk image accepted a script with a program in it that later had the image's path.
    gate = Gate([excuse("test/*", "unopened", **({} if named is None else {"format": named}))])
    gate.add(program("good", "proven"))
    assert gate.add_unopened(UnopenedContainer("test/x", None, format, "it is so")) is passes
    refusals = gate.decide().refusals
    assert not refusals if passes else len(refusals) == 1
    if not passes and named is None:
        assert f'format = "{format}"' in (refusals[0].advice or "")


def test_a_format_is_for_what_is_not_opened_alone() -> None:
    with pytest.raises(ValidationError, match="'format' is for the verdict 'unopened'"):
        excuse("x", "plain", format="AppImage")


BORING = DetectedModule(
    "boringcrypto-20210429-x86_64", "BoringCrypto", "hmac-sha512", load().rows[2].digest.hex(), "x86_64", "shipped"
)
#: fips140.sum of Go 1.27.3: the source that certificate 5247 covers, and the one that is in process.
VALIDATED = "daf3614e0406f67ae6323c902db3f953a1effb199142362a039e7526dfb9368b"
IN_PROCESS = "9b28f847fdf1db4a36cb2b2f8ec09443c039383f085630a03ecfaddf6db7ea23"


def native(source: str, row: Literal["shipped", "local"] = "shipped") -> DetectedModule:
    return DetectedModule("go-native-x-x86_64", "Go Cryptographic Module", "sha256-source", source, "x86_64", row)


def required(standard: str | None = None, *families: ModuleFamily) -> Requirement:
    certified = load().certified(f"FIPS {standard}") if standard else None
    return replace(PROVEN, families=families or PROVEN.families, certified=certified)


@pytest.mark.parametrize(
    ("module", "requirement", "passes"),
    [
        (native(VALIDATED), required(), False),
        (native(VALIDATED), required(None, "go-native"), True),
        (native(VALIDATED), required("140-3", "go-native"), True),
        (native(VALIDATED), required("140-2", "go-native"), False),
        (native(IN_PROCESS), required(None, "go-native"), True),
        # It is in process, and has no certificate.
        (native(IN_PROCESS), required("140-3", "go-native"), False),
        # The user made the reference; it has no certificate.
        (native(VALIDATED, "local"), required("140-3", "go-native"), False),
        (BORING, required("140-2"), True),
        (BORING, required(None, "go-native"), False),
    ],
)
def test_the_gate_accepts_the_modules_and_the_standard_that_are_named(
    module: DetectedModule, requirement: Requirement, passes: bool
) -> None:
    gate = Gate((), requirement)
    found = program("x", "proven").finding
    gate.add(LocatedFinding(None, None, replace(found, crypto=CryptoFacts(Verdict.PROVEN, module, {"code": "y"}))))
    decision = gate.decide()
    assert (not decision.refusals) is passes
    assert decision.proven == passes
    # An exception for what is forbidden beside the module accepted another module as well.
    gate = Gate((excuse("x", "proven"),), replace(requirement, forbidden=("crypto/md5",)))
    crypto = CryptoFacts(Verdict.PROVEN, module, {"code": "y", "beside_module": ["crypto/md5"]})
    gate.add(LocatedFinding(None, None, replace(found, crypto=crypto)))
    assert (not gate.decide().refusals) is passes


#: Packages that a program has beside its module, as the evidence lists them.
BESIDE = [
    "app.example/vendor/golang.org/x/crypto/ssh",
    "crypto/md5",
    "libcrypto.so.3",
    "vendor/golang.org/x/crypto/chacha20",
]


@pytest.mark.parametrize(
    ("families", "ways"),
    [
        (("boringcrypto",), "with GOEXPERIMENT=boringcrypto and CGO_ENABLED=1"),
        (("go-native",), "with GOFIPS140=v1.0.0"),
        (("go-native", "boringcrypto"), "with GOEXPERIMENT=boringcrypto and CGO_ENABLED=1 or with GOFIPS140=v1.0.0"),
    ],
)
def test_the_advice_is_to_build_with_a_module_that_is_accepted(families: tuple[ModuleFamily, ...], ways: str) -> None:
    gate = Gate(requirement=required(None, *families))
    gate.add(program("ctr", "plain", code="plain-crypto"))
    (refusal,) = gate.decide().refusals
    assert refusal.advice == f"Build it {ways}, or accept it with --exceptions and the reason."


def with_beside(verdict: str = "proven", **evidence: str | list[str]) -> LocatedFinding:
    found = program("x", verdict).finding
    crypto = CryptoFacts(Verdict(verdict), BORING if verdict == "proven" else None, {"code": "y", **evidence})
    return LocatedFinding(None, None, replace(found, crypto=crypto))


@pytest.mark.parametrize(
    ("pattern", "named"),
    [
        ("crypto/md5", "crypto/md5 beside the module is forbidden"),
        # What a module vendors is that package; what Go itself vendors is named by its own path.
        ("golang.org/x/crypto/*", "app.example/vendor/golang.org/x/crypto/ssh beside the module is forbidden"),
        ("vendor/golang.org/x/crypto/*", "vendor/golang.org/x/crypto/chacha20 beside the module is forbidden"),
        ("lib*", "libcrypto.so.3 beside the module is forbidden"),
        (
            "*crypto/*",
            "app.example/vendor/golang.org/x/crypto/ssh, crypto/md5, vendor/golang.org/x/crypto/chacha20 beside",
        ),
        ("crypto", None),
        ("golang.org/x/crypto", None),
        ("crypto/rc4", None),
    ],
)
def test_the_gate_refuses_what_is_forbidden_beside_the_module(pattern: str, named: str | None) -> None:
    gate = Gate((), replace(PROVEN, forbidden=(pattern,)))
    gate.add(with_beside(beside_module=BESIDE))
    refusals = gate.decide().refusals
    assert len(refusals) == (named is not None)
    for refusal in refusals:
        assert (refusal.exit_code, refusal.reason) == (5, "forbidden")
        assert named is not None and named in refusal.message


def test_a_list_that_may_lack_a_package_does_not_pass_where_one_is_forbidden() -> None:
    unknown = with_beside(beside_module=[], beside_unknown="names")
    unlisted = with_beside()
    for item in (unknown, unlisted):
        gate = Gate((), replace(PROVEN, forbidden=("crypto/md5",)))
        gate.add(item)
        (refusal,) = gate.decide().refusals
        assert (refusal.exit_code, refusal.reason) == (5, "forbidden")
        assert "cannot be compared with what is forbidden" in refusal.message
        # Without forbidden packages, nothing is judged.
        gate = Gate()
        gate.add(item)
        assert gate.decide().refusals == ()


def test_an_exception_accepts_what_is_forbidden_and_programs_in_c_are_not_judged_by_it() -> None:
    gate = Gate((excuse("x", "proven"),), replace(PROVEN, forbidden=("crypto/md5",)))
    gate.add(with_beside(beside_module=BESIDE))
    item = with_beside("not-go")
    gate.add(replace(item, finding=item.finding.at("c")))
    decision = gate.decide()
    assert (decision.refusals, len(decision.accepted)) == ((), 1)


def test_programs_with_the_same_forbidden_packages_are_one_error() -> None:
    gate = Gate((), replace(PROVEN, forbidden=("crypto/*",)))
    for path in ("a", "b"):
        item = with_beside(beside_module=["crypto/md5"])
        gate.add(replace(item, finding=item.finding.at(path)))
    (error,) = group_by_cause(gate.decide().refusals)
    assert error.reason == "forbidden"
    assert "2 programs are 'proven', and crypto/md5 beside the module is forbidden" in error.message
