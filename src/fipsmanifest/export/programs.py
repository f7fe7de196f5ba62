"""What manifests and inspections have in common: programs with verdicts, and modules. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..inspect.verdict import describe_verdict
from ..model.acceptance import UNOPENED, reason_not_acceptable
from ..model.finding import CryptoFacts, DetectedModule, Verdict
from ..model.manifest import ComponentVerdict, Crypto, File, Manifest, Module
from .documents import AppliedException, Failure, InspectedFile, Inspection, Source

#: Verdicts that need no exception: the gate passes them without an exception (`docs/gate.md`).
HARMLESS = frozenset({Verdict.PROVEN, Verdict.NO_CRYPTO, Verdict.NOT_GO})


@dataclass(frozen=True, slots=True)
class Program:
    """A program with its verdict."""

    path: str
    """On the node, in the image, or as it was named."""
    container: str | None
    """The image or container that it is in."""
    component: str | None
    """The component that it belongs to; None in an inspection."""
    architecture: str | None
    """RPM name."""
    sha256: str | None
    """Hex."""
    size: int | None
    """Bytes."""
    go: str | None
    """The version of Go that built it."""
    verdict: Verdict
    """What its bytes say."""
    module: str | None
    """The id of the module that was recognized."""
    sentence: str
    """The verdict in one sentence."""
    evidence: Mapping[str, Any]
    """Codes and numbers."""

    @property
    def code(self) -> str:
        """The code of the verdict's reason."""
        return str(self.evidence.get("code", self.verdict))

    @property
    def region(self) -> tuple[int, int] | None:
        """The offset and length in bytes of the module in the file, or of all of it; None if its size is not known."""
        offset, length = self.evidence.get("offset"), self.evidence.get("length")
        # True is an int as well.
        if type(offset) is int and type(length) is int and offset >= 0 and length > 0:
            return offset, length
        return (0, self.size) if self.size else None

    @property
    def harmless(self) -> bool:
        """Whether the gate passes it without an exception."""
        return self.verdict in HARMLESS

    def exception(self, exceptions: Mapping[tuple[str, str | None, str], AppliedException]) -> AppliedException | None:
        """Return which of an inspection's ``exceptions`` accepts it; None for a changed module, which none accepts."""
        if reason_not_acceptable(CryptoFacts(self.verdict, None, self.evidence)) is not None:
            return None
        return exceptions.get((self.path, self.container, self.verdict))


def programs(source: Source) -> Iterator[Program]:
    """Yield the programs of a manifest or an inspection in the document's order; none for a node report."""
    document = source.document
    if isinstance(document, Manifest):
        for file in document.files:
            yield from _listed(file, document.modules, None, file.component)
        for image in document.images:
            for platform in image.platforms:
                for file in platform.files:
                    yield from _listed(file, document.modules, image.reference, image.component)
    elif isinstance(document, Inspection):
        for inspected in document.files:
            if inspected.crypto is not None:
                yield _program(inspected, inspected.crypto, inspected.container, None, inspected.sentence)


def gate_passed(source: Source) -> bool:
    """Return whether the gate of an inspection passed, and nothing that the inspection lists contradicts that.

    Anyone may have written the document. So a program must be proven, and the others must need no exception or have the
    verdict that one of them accepts; every container must have been opened, or be accepted.
    """
    inspection = source.document
    if not isinstance(inspection, Inspection) or inspection.gate is None or inspection.errors:
        return False
    gate, listed, exceptions = inspection.gate, list(programs(source)), inspection.exceptions
    proven = any(one.verdict is Verdict.PROVEN for one in listed)
    explained = all(one.harmless or one.exception(exceptions) for one in listed)
    opened = all((one.path, one.container, UNOPENED) in exceptions for one in inspection.unopened)
    return gate.passed and gate.proven > 0 and proven and explained and opened


def other_failures(source: Source) -> list[Failure]:
    """Return why an inspection did not end with 0, without what is said of the programs that it lists."""
    if not isinstance(source.document, Inspection):
        return []
    listed = {(program.path, program.container) for program in programs(source)}
    return [one for one in source.document.errors if one.path is None or (one.path, one.container) not in listed]


def is_met(component: ComponentVerdict) -> bool:
    """Return whether a component's verdict is what its requirement asks for (`generate.policy`)."""
    if component.requirement == "proven":
        return component.verdict == "proven"
    if component.requirement == "module":
        return component.verdict in ("proven", "unlisted")
    return component.verdict != "unreadable"


def modules(source: Source) -> Mapping[str, Module]:
    """Return the modules of a manifest or an inspection by id, sorted."""
    document = source.document
    if isinstance(document, Manifest | Inspection):
        return dict(sorted(document.modules.items()))
    return {}


def _listed(file: File, known: Mapping[str, Module], container: str | None, component: str | None) -> Iterator[Program]:
    crypto = file.crypto
    if crypto is None:
        return
    module = known.get(crypto.module) if crypto.module is not None else None
    seen = None
    if crypto.module is not None and module is not None:
        seen = DetectedModule(
            crypto.module,
            module.name,
            module.algorithm,
            module.digest,
            module.architecture,
            module.row,
            module.commit,
        )
    facts = CryptoFacts(Verdict(crypto.verdict), seen, crypto.evidence)
    yield _program(file, crypto, container, component, describe_verdict(facts))


def _program(
    file: File | InspectedFile, crypto: Crypto, container: str | None, component: str | None, said: str
) -> Program:
    return Program(
        path=file.path,
        container=container,
        component=component,
        architecture=file.architecture,
        sha256=file.sha256,
        size=file.size,
        go=file.go.version if file.go else None,
        verdict=Verdict(crypto.verdict),
        module=crypto.module,
        sentence=said,
        evidence=crypto.evidence,
    )
