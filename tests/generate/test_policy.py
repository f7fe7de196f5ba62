"""The requirements of components: the requirement table of the design, case by case."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fipsmanifest.generate.policy import Subject, judge, judge_packed
from fipsmanifest.inspect.packed import PackedFile
from fipsmanifest.model.definition import Component
from fipsmanifest.model.finding import CryptoFacts, DetectedModule, ElfFacts, Finding, ModuleFamily, Verdict

DIGEST = "d" * 64


def subject(verdict: Verdict, path: str = "/usr/bin/x", digest: str | None = None, code: str = "not-go") -> Subject:
    module = None
    if digest is not None:
        module = DetectedModule("m", "m", "hmac-sha256", digest, "x86_64", "shipped" if verdict == "proven" else None)
    finding = Finding(
        path=path,
        type="file",
        mode=0o755,
        sha256="0" * 64,
        size=1,
        role="program",
        elf=ElfFacts(64, "x86_64", "exec"),
        crypto=CryptoFacts(verdict, module, {"code": code}),
    )
    return Subject("pkg", "x86_64", finding)


def component(requirement: str, **more: object) -> Component:
    base: dict[str, object] = {"name": "c", "requirement": requirement, "files": ["/usr/bin/*"]}
    if requirement != "proven":
        base["reason"] = "because"
    if requirement == "module":
        base |= {"modules": {"x86_64": DIGEST}, "claimed_by": "its maker"}
    return Component.model_validate(base | more)


PROVEN = subject(Verdict.PROVEN, digest="a" * 64)


@pytest.mark.parametrize(
    ("requirement", "subjects", "verdict", "refusals"),
    [
        ("proven", [PROVEN], "proven", 0),
        ("proven", [PROVEN, subject(Verdict.NO_CRYPTO), subject(Verdict.NOT_GO)], "proven", 0),
        ("proven", [], "not-go", 1),
        ("proven", [subject(Verdict.NO_CRYPTO)], "no-crypto", 1),
        ("proven", [subject(Verdict.NOT_GO)], "not-go", 1),
        ("proven", [PROVEN, subject(Verdict.PLAIN)], "plain", 1),
        ("proven", [PROVEN, subject(Verdict.UNREADABLE)], "unreadable", 1),
        ("proven", [subject(Verdict.DECLARED)], "declared", 2),
        ("proven", [subject(Verdict.CONTRADICTED)], "contradicted", 2),
        ("proven", [subject(Verdict.OTHER_MODULE)], "other-module", 2),
        ("proven", [subject(Verdict.UNLISTED, digest=DIGEST)], "unlisted", 2),
        ("module", [subject(Verdict.UNLISTED, digest=DIGEST)], "unlisted", 0),
        ("module", [subject(Verdict.UNLISTED, digest="e" * 64)], "unlisted", 2),
        ("module", [PROVEN], "proven", 0),
        ("module", [subject(Verdict.PLAIN)], "plain", 2),
        ("known", [subject(Verdict.PLAIN)], "plain", 0),
        ("known", [], "not-go", 0),
    ],
)
def test_a_requirement_is_met_or_refused(
    requirement: str, subjects: list[Subject], verdict: str, refusals: int
) -> None:
    judgement = judge(component(requirement), "x86_64", subjects)
    assert (judgement.verdict, len(judgement.refusals)) == (verdict, refusals)


def test_a_refusal_names_component_file_verdict_and_the_way_out() -> None:
    (sentence,) = judge(component("proven"), "x86_64", [PROVEN, subject(Verdict.PLAIN, "/usr/bin/kubelet")]).refusals
    for word in ("c (x86_64)", "/usr/bin/kubelet", "'plain'", "'proven' is required", "FIPS build"):
        assert word in sentence


def test_an_unlisted_module_is_named_by_its_digest_so_that_a_definition_can_take_it_up() -> None:
    refusals = judge(component("proven"), "x86_64", [subject(Verdict.UNLISTED, digest=DIGEST)]).refusals
    assert DIGEST in refusals[0]


def test_an_exception_takes_exactly_the_verdict_it_names() -> None:
    exceptions = [{"path": "/usr/bin/helper*", "verdict": "plain", "reason": "talks to nobody"}]
    own = component("proven", exceptions=exceptions)
    assert judge(own, "x86_64", [PROVEN, subject(Verdict.PLAIN, "/usr/bin/helper1")]).refusals == ()
    (sentence,) = judge(own, "x86_64", [PROVEN, subject(Verdict.DECLARED, "/usr/bin/helper1")]).refusals
    assert "the exception for /usr/bin/helper* expects 'plain'" in sentence


def test_an_exception_never_stands_in_for_the_proof() -> None:
    exceptions = [{"path": "/usr/bin/x", "verdict": "plain", "reason": "r"}]
    judgement = judge(component("proven", exceptions=exceptions), "x86_64", [subject(Verdict.PLAIN)])
    assert len(judgement.refusals) == 1


@pytest.mark.parametrize("requirement", ["proven", "module", "known"])
@pytest.mark.parametrize(
    ("verdict", "code", "said"),
    [
        (Verdict.CONTRADICTED, "module-changed", "a module that was changed"),
        (Verdict.CONTRADICTED, "self-test-would-fail", "a module that was changed"),
        (Verdict.CONTRADICTED, "module-writable", "a module that was changed"),
        (Verdict.CONTRADICTED, "module-overlaid", "a module that was changed"),
        (Verdict.CONTRADICTED, "native-module-changed", "a module that was changed"),
        (Verdict.UNREADABLE, "packed", "what cannot be read"),
    ],
)
@pytest.mark.parametrize("excepted", [False, True])
def test_tampering_is_refused_whatever_is_required_and_excepted(
    requirement: str, verdict: Verdict, code: str, said: str, excepted: bool
) -> None:
    exceptions = [{"path": "/usr/bin/x", "verdict": "contradicted", "reason": "r"}] if excepted else []
    own = component(requirement, exceptions=exceptions)
    good = subject(Verdict.PROVEN, "/usr/bin/good", "a" * 64)
    (sentence,) = judge(own, "x86_64", [good, subject(verdict, code=code)]).refusals
    assert f"no exception can excuse {said}" in sentence
    assert ("Do not ship it." in sentence) == (verdict == "contradicted")


def test_a_false_claim_can_be_known() -> None:
    assert judge(component("known"), "x86_64", [subject(Verdict.CONTRADICTED, code="cgo-off")]).refusals == ()


def native() -> Subject:
    """A program with Go's native module, proven."""
    module = DetectedModule(
        "go-native-v1.0.0-c2097c7c-x86_64", "Go Cryptographic Module", "sha256-source", "c" * 64, "x86_64", "shipped"
    )
    crypto = CryptoFacts(Verdict.PROVEN, module, {"code": "native-proven"})
    return Subject("pkg", "x86_64", replace(subject(Verdict.PROVEN).finding, crypto=crypto))


@pytest.mark.parametrize(
    ("families", "subjects", "refusals"),
    [
        # Without a list it is BoringCrypto alone, as before there was another one.
        (None, [PROVEN], 0),
        (None, [native()], 2),
        (None, [PROVEN, native()], 1),
        (("go-native",), [native()], 0),
        (("go-native",), [PROVEN], 2),
        (("boringcrypto", "go-native"), [PROVEN, native()], 0),
    ],
)
def test_a_module_is_accepted_where_its_family_is_named(
    families: tuple[ModuleFamily, ...] | None, subjects: list[Subject], refusals: int
) -> None:
    named = {} if families is None else {"families": families}
    judgement = judge(component("proven"), "x86_64", subjects, **named)
    assert len(judgement.refusals) == refusals, judgement.refusals
    if families is None and subjects == [native()]:
        assert "the module has to be boringcrypto, not go-native" in judgement.refusals[0]
        assert "the definition's 'modules'" in judgement.refusals[0]


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("go-native", "modules learn --native"),
        ("native-mode-off", "go:debug"),
        ("native-mode-off-in-image", "the image's configuration"),
        ("native-build-flags", "-race"),
    ],
)
def test_a_refused_native_build_is_told_what_to_change(code: str, change: str) -> None:
    refused = subject(Verdict.OTHER_MODULE, "/usr/bin/etcd", code=code)
    accepted: tuple[ModuleFamily, ...] = ("go-native",)
    (sentence,) = judge(component("proven"), "x86_64", [native(), refused], accepted).refusals
    assert f"/usr/bin/etcd of pkg is 'other-module' ({code}), but 'proven' is required" in sentence
    assert change in sentence


@pytest.mark.parametrize(
    ("requirement", "exceptions", "refusals"),
    [
        ("proven", [], 1),
        ("proven", [{"path": "/usr/bin/x", "verdict": "proven", "reason": "MD5 names files"}], 0),
        # Nothing is required of it.
        ("known", [], 0),
    ],
)
def test_what_a_definition_forbids_beside_the_module_is_refused(
    requirement: str, exceptions: list[dict[str, str]], refusals: int
) -> None:
    crypto = PROVEN.finding.crypto
    assert crypto is not None
    found = replace(crypto, evidence={**crypto.evidence, "beside_module": ["crypto/md5"]})
    subjects = [replace(PROVEN, finding=replace(PROVEN.finding, crypto=found))]
    own = component(requirement, exceptions=exceptions)
    judgement = judge(own, "x86_64", subjects, forbidden=("crypto/md5",))
    assert len(judgement.refusals) == refusals
    for sentence in judgement.refusals:
        assert "crypto/md5 beside the module is forbidden" in sentence
    assert judge(own, "x86_64", subjects, forbidden=("crypto/des",)).refusals == ()
    assert judge(own, "x86_64", subjects).refusals == ()


# Every packed program needs an exception, also a proven one; that said nothing of its module.
@pytest.mark.parametrize(("families", "passes"), [(("boringcrypto",), False), (("boringcrypto", "go-native"), True)])
def test_an_exception_for_a_packed_program_accepts_no_other_module(
    families: tuple[ModuleFamily, ...], passes: bool
) -> None:
    exception = {"path": "/bin/x", "container": "/opt/a.tar", "verdict": "proven", "reason": "r"}
    module = DetectedModule("go-native-v1.0.0-x86_64", "Go", "sha256-source", "a" * 64, "x86_64", "shipped")
    finding = replace(PROVEN.finding, path="/bin/x", crypto=CryptoFacts(Verdict.PROVEN, module, {"code": "y"}))
    own, packed = component("proven", exceptions=[exception]), PackedFile("/opt/a.tar", "", "/bin/x", finding, None)
    refusal = judge_packed(own, "x86_64", "pkg", packed, families)
    assert (refusal is None) is passes
    assert passes or "the module has to be boringcrypto, not go-native" in str(refusal)
