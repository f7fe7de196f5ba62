"""The gate of ``inspect --require proven``: whether what was found may pass. Pure, except for reading exceptions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import FipsManifestError, Refused, UsageError
from ..model import documents
from ..model.acceptance import (
    PROVEN,
    UNOPENED,
    WITHOUT_CRYPTO,
    Requirement,
    Violation,
    advise,
    find_violation,
    is_started,
)
from ..model.finding import CryptoFacts, Verdict
from .descriptions import ADVICE
from .nested import LocatedFinding, UnopenedContainer
from .verdict import describe_verdict

# See `read_exceptions`.
if TYPE_CHECKING:
    from pydantic import ValidationError

    from ..model.exceptions import VerdictException

_ADVICE = {
    Verdict.UNLISTED: "If you trust the toolchain that it comes from, make a row with 'modules learn' and pass it "
    "with --modules.",
    Verdict.PROVEN: "Accept its module with --module, or leave out --standard, where your rules allow it.",
}
_ACCEPT = "its path, the verdict 'unopened'"
#: How a program gets a module of each family.
_BUILD_WITH = {"boringcrypto": "with GOEXPERIMENT=boringcrypto and CGO_ENABLED=1", "go-native": "with GOFIPS140=v1.0.0"}
#: Programs that one error lists.
_MAX_LISTED = 20


class RefusedProgram(Refused):
    """One program that may not pass."""

    def __init__(self, item: LocatedFinding, rule: str, advice: str, reason: str = "not-proven") -> None:
        """Refuse ``item`` because of ``rule``, a clause."""
        crypto = item.finding.crypto
        self.path = item.finding.path
        self.container = item.container
        self.verdict = str(crypto.verdict) if crypto else "unreadable"
        self.cause = str(crypto.evidence.get("code", "")) if crypto else ""
        self.rule = rule
        self.why = describe_verdict(crypto) if crypto else ""
        super().__init__(f"{self.where} is '{self.verdict}', and {rule}: {self.why}", advice, reason=reason)

    @property
    def where(self) -> str:
        """The program's path, and the container that it is in."""
        return self.path + (f" in {self.container}" if self.container else "")


@dataclass(frozen=True, slots=True)
class AppliedException:
    """A program or unopened container that passes because an exception expects it to be as it is."""

    path: str
    """The file's."""
    container: str | None
    """The container that it is in."""
    verdict: Verdict | Literal["unopened"]
    """The verdict, as expected."""
    reason: str
    """The exception's."""


@dataclass(frozen=True, slots=True)
class GateDecision:
    """The result of the gate."""

    refusals: tuple[Refused, ...]
    """`RefusedProgram` for each program that may not pass; empty if all may."""
    proven: int
    """Programs that are proven."""
    accepted: tuple[AppliedException, ...]
    """Programs and containers that pass because of an exception."""
    unused: tuple[VerdictException, ...]
    """Exceptions that apply to no program or container."""
    requirement: Requirement = PROVEN
    """What was required."""


def group_by_cause(errors: Sequence[FipsManifestError]) -> list[FipsManifestError]:
    """Return the errors, with one for all programs that are refused for the same reason."""
    groups: dict[object, list[FipsManifestError]] = {}
    for error in errors:
        cause: object = id(error)
        if isinstance(error, RefusedProgram):
            cause = (error.verdict, error.rule, error.why, error.advice)
        groups.setdefault(cause, []).append(error)
    return [_combine(group) for group in groups.values()]


def _combine(group: list[FipsManifestError]) -> FipsManifestError:
    refused = [error for error in group if isinstance(error, RefusedProgram)]
    if len(refused) < 2:
        return group[0]
    first, more = refused[0], len(refused) - _MAX_LISTED
    lines = [f"{len(refused)} programs are '{first.verdict}', and {first.rule}: {first.why}"]
    # A path may have line breaks, and must not look like another one.
    lines += ["  " + error.where.replace("\n", "\\n") for error in refused[:_MAX_LISTED]]
    if more > 0:
        lines.append(f"  and {more} more, which --json lists")
    if first.reason == "forbidden":
        return Refused("\n".join(lines), first.advice, reason="forbidden")
    return Refused("\n".join(lines), first.advice, reason="not-proven")


def read_exceptions(path: Path) -> tuple[VerdictException, ...]:
    """Read a file of ``[[exceptions]]`` (`VerdictException`). Raises `UsageError` for anything else."""
    # Only exceptions need pydantic, which takes as long to load as a small program takes to inspect.
    from pydantic import ValidationError

    from ..model.exceptions import VerdictException

    try:
        document = documents.read_toml(path.read_bytes())
    except (OSError, documents.MalformedDocument) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{path} cannot be read: {why}.", "Write TOML with [[exceptions]].") from error
    entries = document.get("exceptions")
    if set(document) != {"exceptions"} or not isinstance(entries, list):
        other = sorted(set(document) - {"exceptions"})
        what = f"unknown key '{other[0]}'; known keys: exceptions" if other else "it has no [[exceptions]]"
        raise UsageError(f"{path}: {what}.", "docs/gate.md has an example.")
    exceptions = []
    for number, entry in enumerate(entries, 1):
        try:
            exceptions.append(VerdictException.model_validate(entry))
        except ValidationError as error:
            raise UsageError(
                f"{path}: {_describe_problem(number, error, sorted(VerdictException.model_fields))}.",
                "An exception has path, verdict and reason, and may have a container and, for 'unopened', a format.",
            ) from error
    return tuple(exceptions)


def _describe_problem(number: int, error: ValidationError, known: list[str]) -> str:
    """Describe what is wrong with an exception. An unknown key comes first: it explains why another one is missing."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    unknown = [str(item["loc"][0]) for item in problems if item["type"] == "extra_forbidden"]
    if unknown:
        return f"unknown key '{unknown[0]}' in exception {number}; known keys: {', '.join(known)}"
    first = problems[0]
    place = ".".join(map(str, first["loc"])) or "entry"
    return f"exception {number} is wrong: {place}: {first['msg'].removeprefix('Value error, ')}"


class Gate:
    """Decides whether the result of a scan may pass.

    It may where every program meets the requirement ``proven`` (`find_violation`), at least one is proven, and every
    container was opened. An exception accepts a program with exactly the verdict that it expects, or a container that
    was not opened. ELF files of other languages pass: a Go module could not be in them.
    """

    def __init__(self, exceptions: Sequence[VerdictException] = (), requirement: Requirement = PROVEN) -> None:
        """Accept programs that meet ``requirement``, or that one of ``exceptions`` accepts."""
        self._exceptions = exceptions
        self._requirement = requirement
        self._refusals: list[Refused] = []
        self._used: set[int] = set()
        self._accepted: list[AppliedException] = []
        self._programs = self._proven = 0

    def add(self, item: LocatedFinding) -> None:
        """Judge one file; it is not kept."""
        path, crypto = item.finding.path, item.finding.crypto
        if crypto is None:
            return
        self._programs += 1
        self._proven += self._requirement.has_module(crypto)
        exception = self._use_exception(path, item.container)
        violation = find_violation(crypto, self._requirement, exception)
        if violation is not None:
            required = violation.kind in ("requirement", "forbidden") or exception is not None
            rule = violation.rule if required else f"'{PROVEN.name}' is required"
            reason = "forbidden" if violation.kind == "forbidden" else "not-proven"
            self._refusals.append(RefusedProgram(item, rule, self._advise(crypto, violation), reason))
        elif exception is not None:
            self._accepted.append(AppliedException(path, item.container, crypto.verdict, exception.reason))

    def add_unopened(self, item: UnopenedContainer) -> bool:
        """Judge a container that was not opened; return whether an exception accepts it."""
        exception = self._use_exception(item.path, item.container, item.format)
        if exception is None:
            named = f', format = "{item.format}"' if is_started(item.format) else ""
            advice = f"{item.advice} Or accept it with --exceptions: {_ACCEPT}{named} and the reason."
            self._refusals.append(Refused(item.message, advice, reason="unopened"))
            return False
        self._accepted.append(AppliedException(item.path, item.container, UNOPENED, exception.reason))
        return True

    def decide(self) -> GateDecision:
        """Return whether everything that was added may pass."""
        refusals = list(self._refusals)
        if not self._proven and not refusals:
            excepted = sum(item.verdict != UNOPENED for item in self._accepted)
            refusals.append(_nothing_proven(self._programs, excepted))
        unused = tuple(item for number, item in enumerate(self._exceptions) if number not in self._used)
        return GateDecision(tuple(refusals), self._proven, tuple(self._accepted), unused, self._requirement)

    def _advise(self, crypto: CryptoFacts, violation: Violation) -> str:
        if violation.kind == "not-acceptable":
            return advise(crypto)
        if violation.kind == "requirement":
            return ADVICE.get(str(crypto.evidence.get("code"))) or _ADVICE.get(crypto.verdict) or self._build_it()
        if violation.kind == "forbidden":
            return "Build it without that, or accept it with --exceptions, the verdict that it has, and the reason."
        if crypto.verdict is Verdict.PROVEN or crypto.verdict in WITHOUT_CRYPTO:
            return "Remove the exception: the program does not need one."
        return "Find out why it is not what the exception expects, before you change the exception."

    def _build_it(self) -> str:
        ways = " or ".join(_BUILD_WITH[family] for family in sorted(self._requirement.families))
        return f"Build it {ways}, or accept it with --exceptions and the reason."

    def _use_exception(self, path: str, container: str | None, unopened: str | None = None) -> VerdictException | None:
        """Return the first exception for a program, or for a container that was not opened, of a format."""
        for number, exception in enumerate(self._exceptions):
            if (exception.verdict == UNOPENED) is (unopened is None):
                continue
            if (unopened is None or exception.accepts(unopened)) and exception.matches(path, container):
                self._used.add(number)
                return exception
        return None


def _nothing_proven(programs: int, excepted: int) -> Refused:
    if excepted:
        message = f"Nothing here is proven: of {_count_programs(programs)}, {excepted} passed by exceptions alone."
    elif programs:
        message = f"Nothing here is proven: {_count_programs(programs)}, without cryptography to prove."
    else:
        message = "There is no program here that has cryptography to prove."
    return Refused(message, "Check that the gate inspects what you build.", reason="nothing-proven")


def _count_programs(programs: int) -> str:
    return f"{programs} program" + ("" if programs == 1 else "s")
