"""The gate of ``inspect --require proven``: may what was found go on in somebody's pipeline? Pure but for one file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import FipsManifestError, Refused, UsageError
from ..model import documents
from ..model.acceptance import advice, inexcusable
from ..model.finding import Verdict
from .nested import LocatedFinding
from .verdict import describe_verdict

if TYPE_CHECKING:
    from pydantic import ValidationError

    from ..model.definition import VerdictException
    from .nested import UnopenedContainer

#: What may pass beside a proven program: there is nothing in it that a Go module would have to do.
_HARMLESS = (Verdict.NO_CRYPTO, Verdict.NOT_GO)

_ADVICE = {
    Verdict.UNLISTED: "Where you trust the toolchain that it came from, make a row with 'modules learn' and name it "
    "with --modules.",
    Verdict.OTHER_MODULE: "Build it with goboring, or accept it with --exceptions and the reason.",
}
_ACCEPT = "its path, the verdict 'unopened' and the reason."
_BUILD_IT = "Build it with GOEXPERIMENT=boringcrypto and CGO_ENABLED=1, or accept it with --exceptions and the reason."


#: What an exception expects of a container that is not opened, in place of a verdict.
_UNOPENED: Literal["unopened"] = "unopened"


class RefusedProgram(Refused):
    """One program that may not pass."""

    def __init__(self, item: LocatedFinding, rule: str, advice: str) -> None:
        """Refuse ``item`` because of ``rule``, a clause."""
        crypto = item.finding.crypto
        self.path = item.finding.path
        self.container = item.container
        self.verdict = str(crypto.verdict) if crypto else "unreadable"
        self.cause = str(crypto.evidence.get("code", "")) if crypto else ""
        self.rule = rule
        self.why = describe_verdict(crypto) if crypto else ""
        super().__init__(f"{self.where} is '{self.verdict}', and {rule}: {self.why}", advice)

    @property
    def where(self) -> str:
        """The program's path, and what it is in."""
        return self.path + (f" in {self.container}" if self.container else "")


@dataclass(frozen=True, slots=True)
class AppliedException:
    """A program or unopened container that passes because an exception expects it to be as it is."""

    path: str
    """The file's."""
    container: str | None
    """What it is in."""
    verdict: Verdict | Literal["unopened"]
    """What it is, and was expected to be."""
    reason: str
    """The exception's."""


_MOST_PATHS = 20


def group_by_cause(errors: Sequence[FipsManifestError]) -> list[FipsManifestError]:
    """Return the errors with those of one cause told together: the reason once, and then the programs."""
    groups: dict[object, list[FipsManifestError]] = {}
    for error in errors:
        cause: object = id(error)
        if isinstance(error, RefusedProgram):
            cause = (error.verdict, error.rule, error.why, error.advice)
        groups.setdefault(cause, []).append(error)
    return [_combine(group) for group in groups.values()]


def _combine(group: list[FipsManifestError]) -> FipsManifestError:
    alike = [error for error in group if isinstance(error, RefusedProgram)]
    if len(alike) < 2:
        return group[0]
    first, left = alike[0], len(alike) - _MOST_PATHS
    lines = [f"{len(alike)} programs are '{first.verdict}', and {first.rule}: {first.why}"]
    # A path may have line breaks, and must not look like another one.
    lines += ["  " + error.where.replace("\n", "\\n") for error in alike[:_MOST_PATHS]]
    if left > 0:
        lines.append(f"  and {left} more, which --json names")
    return Refused("\n".join(lines), first.advice)


@dataclass(frozen=True, slots=True)
class GateDecision:
    """What the gate says."""

    refusals: tuple[Refused, ...]
    """`RefusedProgram` for each program that may not pass; empty where all may."""
    proven: int
    """Programs that are proven."""
    accepted: tuple[AppliedException, ...]
    """Programs that pass because of an exception."""
    unused: tuple[VerdictException, ...]
    """Exceptions that no program met."""


def read_exceptions(path: Path) -> tuple[VerdictException, ...]:
    """Read ``[[exceptions]]``: path (a glob), verdict, reason, and maybe container (a glob).

    Raises `UsageError` for anything else.
    """
    from pydantic import ValidationError

    from ..model.definition import VerdictException

    try:
        document = documents.read_toml(path.read_bytes())
    except (OSError, documents.MalformedDocument) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{path} cannot be read: {why}.", "Write TOML with [[exceptions]].") from error
    listed = document.get("exceptions")
    if set(document) != {"exceptions"} or not isinstance(listed, list):
        other = sorted(set(document) - {"exceptions"})
        what = f"unknown key '{other[0]}'; known keys: exceptions" if other else "it has no [[exceptions]]"
        raise UsageError(f"{path}: {what}.", "docs/gate.md has an example.")
    found = []
    for number, entry in enumerate(listed, 1):
        try:
            found.append(VerdictException.model_validate(entry))
        except ValidationError as error:
            raise UsageError(
                f"{path}: {_describe_problem(number, error, sorted(VerdictException.model_fields))}.",
                "An exception has a path, a verdict and a reason, and may have a container.",
            ) from error
    return tuple(found)


def _describe_problem(number: int, error: ValidationError, known: list[str]) -> str:
    """Describe what is wrong with an exception: a key that is not known explains why another one is missing."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    unknown = [str(item["loc"][0]) for item in problems if item["type"] == "extra_forbidden"]
    if unknown:
        return f"unknown key '{unknown[0]}' in exception {number}; known keys: {', '.join(known)}"
    first = problems[0]
    place = ".".join(map(str, first["loc"])) or "entry"
    return f"exception {number} is wrong: {place}: {first['msg'].removeprefix('Value error, ')}"


class Gate:
    """Lets a survey pass where every Go program is proven or has no cryptography, and one at least is proven.

    A program that an exception names must have the verdict which that expects. ELF files of other languages pass: a
    Go module could not be in them. What is `inexcusable` never does, whatever an exception says, and neither does a
    container that was not opened, whatever is beside it, unless an exception accepts it as that.
    """

    def __init__(self, exceptions: Sequence[VerdictException] = ()) -> None:
        self._exceptions = exceptions
        self._refusals: list[Refused] = []
        self._used: set[int] = set()
        self._accepted: list[AppliedException] = []
        self._programs = self._proven = 0

    def add(self, item: LocatedFinding) -> None:
        """Judge one file of the survey; it is not kept."""
        crypto = item.finding.crypto
        if crypto is None:
            return
        self._programs += 1
        self._proven += crypto.verdict is Verdict.PROVEN
        number = self._exception_for(item.finding.path, item.container, unopened=False)
        expected = None
        if number is not None:
            self._used.add(number)
            expected = self._exceptions[number]
        why = inexcusable(crypto)
        if why is not None:
            rule = "'proven' is required" if expected is None else why
            self._refusals.append(RefusedProgram(item, rule, advice(crypto)))
        elif expected is None:
            if crypto.verdict is not Verdict.PROVEN and crypto.verdict not in _HARMLESS:
                todo = _ADVICE.get(crypto.verdict, _BUILD_IT)
                self._refusals.append(RefusedProgram(item, "'proven' is required", todo))
        elif crypto.verdict == expected.verdict:
            self._accepted.append(AppliedException(item.finding.path, item.container, crypto.verdict, expected.reason))
        else:
            rule = f"the exception for {expected.path} expects '{expected.verdict}'"
            self._refusals.append(RefusedProgram(item, rule, _exception_advice(crypto.verdict)))

    def add_unopened(self, item: UnopenedContainer) -> bool:
        """Judge a container that was not opened; return whether an exception lets it pass."""
        number = self._exception_for(item.path, item.container, unopened=True)
        if number is None:
            self._refusals.append(Refused(item.message, f"{item.advice} Or accept it with --exceptions: {_ACCEPT}"))
            return False
        self._used.add(number)
        self._accepted.append(AppliedException(item.path, item.container, _UNOPENED, self._exceptions[number].reason))
        return True

    def _exception_for(self, path: str, container: str | None, *, unopened: bool) -> int | None:
        """Return the number of the first exception that names a file, of those for what it is."""
        return next(
            (
                number
                for number, exception in enumerate(self._exceptions)
                if (exception.verdict == _UNOPENED) is unopened and _matches(exception, path, container)
            ),
            None,
        )

    def decide(self) -> GateDecision:
        """Say whether what was seen may pass."""
        refusals = list(self._refusals)
        if not self._proven and not refusals:
            excused = sum(item.verdict != _UNOPENED for item in self._accepted)
            refusals.append(_nothing_proven(self._programs, excused))
        unused = tuple(item for number, item in enumerate(self._exceptions) if number not in self._used)
        return GateDecision(tuple(refusals), self._proven, tuple(self._accepted), unused)


def _matches(exception: VerdictException, path: str, container: str | None) -> bool:
    if exception.container is not None and not fnmatchcase(container or "", exception.container):
        return False
    # What is named from within its own directory is in a directory all the same.
    beside = not path.startswith("/") and fnmatchcase(f"./{path}", exception.path)
    return beside or fnmatchcase(path, exception.path)


def _exception_advice(verdict: Verdict) -> str:
    if verdict is Verdict.PROVEN or verdict in _HARMLESS:
        return "Take the exception out: the program needs none."
    return "Find out why it is not what was excused, before you change the exception."


def _nothing_proven(programs: int, excused: int) -> Refused:
    if excused:
        said = f"Nothing here is proven: of {_count_programs(programs)}, {excused} passed by exceptions alone."
    elif programs:
        said = f"Nothing here is proven: {_count_programs(programs)}, without cryptography to prove."
    else:
        said = "There is no program here that has cryptography to prove."
    return Refused(said, "Check that the gate looks at what you build.")


def _count_programs(programs: int) -> str:
    return f"{programs} program" + ("" if programs == 1 else "s")
