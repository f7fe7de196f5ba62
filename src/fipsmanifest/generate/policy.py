"""Check a component's findings against its requirement. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..model.acceptance import advise, find_violation
from ..model.definition import Component
from ..model.finding import Finding, Verdict

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

_GO_WITHOUT_PROOF = "Use the FIPS build of it, or declare it: requirement 'known', 'module' or an exception."


@dataclass(frozen=True, slots=True)
class Subject:
    """One ELF file of a component."""

    container: str
    """The package, tarball or image that contains it."""
    architecture: str
    """RPM name."""
    finding: Finding

    @property
    def verdict(self) -> Verdict:
        """Its verdict; an ELF file always has one."""
        return self.finding.crypto.verdict if self.finding.crypto else Verdict.UNREADABLE


@dataclass(frozen=True, slots=True)
class Judgement:
    """The result for one component and architecture."""

    verdict: Verdict
    """The component's own."""
    refusals: tuple[str, ...]
    """One sentence for each violation of the requirement; empty if it is met."""


def judge(component: Component, architecture: str, subjects: Sequence[Subject]) -> Judgement:
    """Compare a component's ELF files of one architecture with its requirement (DESIGN section 4).

    The rule is `find_violation`. ``subjects`` may be empty:
    a required module that is in no file is a refusal, never a pass.
    """
    refusals = []
    held = []
    for subject in subjects:
        crypto, requirement = subject.finding.crypto, component.requirement_for(subject.architecture)
        violation = find_violation(crypto, requirement, component.exception_for(subject.finding.path))
        if violation is not None:
            what_to_do = advise(crypto) if violation.kind == "not-acceptable" else _GO_WITHOUT_PROOF
            refusals.append(_sentence(component, subject, violation.rule, what_to_do))
        if requirement.has_module(crypto):
            held.append(subject)
    if component.requirement != "known" and not held:
        refusals.append(
            f"{component.name} ({architecture}): none of its {len(subjects)} programs contains the required module. "
            "Check the component's files, and that the FIPS build was fetched."
        )
    return Judgement(_overall(component, subjects), tuple(refusals))


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
