"""Check a component's findings against its requirement. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ..inspect.descriptions import ADVICE
from ..inspect.packed import PackedFile
from ..model.acceptance import DEFAULT_FAMILIES, WITHOUT_CRYPTO, Violation, advise, find_violation, is_started
from ..model.definition import Component
from ..model.finding import CryptoFacts, Finding, ModuleFamily, Verdict

#: A component's verdict is the first of these that any of its files has.
_WORST_FIRST = (
    Verdict.CONTRADICTED,
    Verdict.UNREADABLE,
    Verdict.PLAIN,
    Verdict.DECLARED,
    Verdict.OTHER_MODULE,
    Verdict.UNLISTED,
    Verdict.PROVEN,
    Verdict.NO_CRYPTO,
    Verdict.NOT_GO,
)

_GO_WITHOUT_PROOF = "Use the FIPS build of it, or accept it: requirement 'known' or 'module', or an exception."
_ANOTHER_MODULE = "Use the build with that module, or add this one to the definition's 'modules' where it may be."
_WITHOUT_FORBIDDEN = "Build it without that, or accept it with an exception that has its verdict and the reason."
_PACKED = (
    "Ship the program as a file of its own, or accept it with an exception that has its verdict, and the file that it "
    "is packed in as 'container'."
)
_UNOPENED = "Ship what is in it as files, or accept it with an exception with the verdict 'unopened'"


@dataclass(frozen=True, slots=True)
class Subject:
    """One ELF file of a component."""

    container: str
    """The package, tarball or image that contains it."""
    architecture: str
    """RPM name: its source's, or its own if the source is for any."""
    finding: Finding

    @property
    def machine(self) -> str:
        """The architecture that it can run on (RPM name): its own, or its source's if its header does not say."""
        return self.finding.elf.machine if self.finding.elf else self.architecture

    @property
    def verdict(self) -> Verdict:
        """Its verdict; an ELF file always has one."""
        return _verdict(self.finding)


@dataclass(frozen=True, slots=True)
class Judgement:
    """The result for one component and architecture."""

    verdict: Verdict
    """The component's own."""
    refusals: tuple[str, ...]
    """One sentence for each violation of the requirement; empty if it is met."""


def judge(
    component: Component,
    architecture: str,
    subjects: Sequence[Subject],
    families: Collection[ModuleFamily] = DEFAULT_FAMILIES,
    forbidden: Collection[str] = (),
) -> Judgement:
    """Compare a component's ELF files of one architecture with its requirement (DESIGN section 4).

    The rule is `find_violation`; ``families`` are the modules that the definition accepts, ``forbidden`` what it
    forbids beside them. ``subjects`` may be empty: a required module that is in no program for this architecture is a
    refusal, never a pass. Programs for another one, which are on every node as well, must meet the requirement, too.
    """
    refusals = []
    held = []
    for subject in subjects:
        crypto = subject.finding.crypto
        requirement = component.requirement_for(subject.architecture, families, forbidden)
        violation = find_violation(crypto, requirement, component.exception_for(subject.finding.path))
        if violation is not None:
            what_to_do = _advise(crypto, violation)
            refusals.append(_sentence(component, subject, violation.rule, what_to_do))
        if requirement.has_module(crypto) and subject.machine == architecture:
            held.append(subject)
    if component.requirement != "known" and not held:
        refusals.append(
            f"{component.name} ({architecture}): none of its {len(subjects)} programs contains the required module. "
            "Check the component's files, and that the FIPS build was fetched."
        )
    return Judgement(_overall(component, subjects), tuple(refusals))


def judge_packed(
    component: Component,
    architecture: str,
    artifact: str,
    packed: PackedFile,
    families: Collection[ModuleFamily] = DEFAULT_FAMILIES,
    forbidden: Collection[str] = (),
) -> str | None:
    """Return why a component must not have a packed program or an unopened file; None if it may.

    A manifest does not list what is packed in a file. So an exception must accept each packed program that can run,
    whatever its verdict, and each file that was not opened, unless nothing is required of the component. A program that
    `find_violation` never accepts is refused in any case.
    """
    path, container = (packed.outer, None) if packed.path is None else (packed.path, packed.container)
    name = f"{path} in {container}" if container is not None else path
    where = f"{component.name} ({architecture}): {name}" + (f" of {artifact}" if name != artifact else "")
    exception = component.exception_for(path, container, unopened=packed.format)
    if packed.finding is None:
        if exception is not None or component.requirement == "known":
            return None
        what_to_do = _UNOPENED + (f' and format = "{packed.format}".' if is_started(packed.format or "") else ".")
        return f"{where} {packed.problem}, but '{component.requirement}' is required. {what_to_do}"
    crypto = packed.finding.crypto
    violation = find_violation(crypto, component.requirement_for(architecture, families, forbidden), exception)
    verdict = _verdict(packed.finding)
    if violation is not None:
        what_to_do = _advise(crypto, violation, _PACKED)
        return f"{where} is '{verdict}', but {violation.rule}. {what_to_do}"
    if exception is not None or component.requirement == "known" or _cannot_run(packed.finding):
        return None
    return f"{where} is a program ('{verdict}') that the manifest cannot list. {_PACKED}"


def _advise(crypto: CryptoFacts | None, violation: Violation, otherwise: str | None = None) -> str:
    if violation.kind == "not-acceptable":
        return advise(crypto)
    if violation.kind == "forbidden":
        return _WITHOUT_FORBIDDEN
    if crypto is not None and crypto.verdict == Verdict.PROVEN and violation.kind == "requirement":
        return _ANOTHER_MODULE
    if otherwise is not None:
        return otherwise
    return ADVICE.get(str(crypto.evidence.get("code")), _GO_WITHOUT_PROOF) if crypto else _GO_WITHOUT_PROOF


def _cannot_run(finding: Finding) -> bool:
    """Return whether it is object code without Go's cryptography, as in a static library."""
    return finding.elf is not None and finding.elf.type == "rel" and _verdict(finding) in WITHOUT_CRYPTO


def _verdict(finding: Finding) -> Verdict:
    return finding.crypto.verdict if finding.crypto else Verdict.UNREADABLE


def _digest(subject: Subject) -> str | None:
    crypto = subject.finding.crypto
    return crypto.module.digest if crypto and crypto.module else None


def _sentence(component: Component, subject: Subject, rule: str, what_to_do: str) -> str:
    digest = _digest(subject)
    module = f" (module digest {digest})" if digest and subject.verdict == Verdict.UNLISTED else ""
    return (
        f"{component.name} ({subject.architecture}): {subject.finding.path} of {subject.container} is "
        f"'{subject.verdict}'{module}{_because(subject)}, but {rule}. {what_to_do}"
    )


def _because(subject: Subject) -> str:
    code = subject.finding.crypto.evidence.get("code") if subject.finding.crypto else None
    return f" ({code})" if code else ""


def _overall(component: Component, subjects: Sequence[Subject]) -> Verdict:
    present = {subject.verdict for subject in subjects if component.exception_for(subject.finding.path) is None}
    return next((verdict for verdict in _WORST_FIRST if verdict in present), Verdict.NOT_GO)
