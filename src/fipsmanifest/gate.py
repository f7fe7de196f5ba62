"""The gate of ``inspect --require proven``: may what was found go on in somebody's pipeline? Pure but for one file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from . import documents
from .errors import Refused, UsageError
from .inspect.finding import Verdict
from .inspect.verdict import sentence
from .packed import Located

if TYPE_CHECKING:
    from .definition import Exemption
    from .packed import Unopened

#: What may pass beside a proven program: there is nothing in it that a Go module would have to do.
_HARMLESS = (Verdict.NO_CRYPTO, Verdict.NOT_GO)

_ADVICE = {
    Verdict.UNLISTED: "Where you trust the toolchain that it came from, make a row with 'modules learn' and name it "
    "with --modules.",
    Verdict.UNREADABLE: "Name the program as it will run: whole and not packed.",
    Verdict.OTHER_MODULE: "Build it with goboring, or accept it with --exceptions and the reason.",
}
_ACCEPT = "its path, the verdict 'unopened' and the reason."
_BUILD_IT = "Build it with GOEXPERIMENT=boringcrypto and CGO_ENABLED=1, or accept it with --exceptions and the reason."


#: What an exception expects of a container that is not opened, in place of a verdict.
_UNOPENED: Literal["unopened"] = "unopened"


@dataclass(frozen=True, slots=True)
class Excuse:
    """A program or unopened container that passes because an exception expects it to be as it is."""

    path: str
    """The file's."""
    container: str | None
    """What it is in."""
    verdict: Verdict | Literal["unopened"]
    """What it is, and was expected to be."""
    reason: str
    """The exception's."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What the gate says."""

    refusals: tuple[Refused, ...]
    """One for each program that may not pass; empty where all may."""
    proven: int
    """Programs that are proven."""
    excuses: tuple[Excuse, ...]
    """Programs that pass because of an exception."""
    unused: tuple[Exemption, ...]
    """Exceptions that no program met."""


def read_exceptions(path: Path) -> tuple[Exemption, ...]:
    """Read ``[[exceptions]]``: path (a glob), verdict, reason, and maybe container (a glob).

    Raises `UsageError` for anything else.
    """
    from pydantic import ValidationError

    from .definition import Exemption

    try:
        document = documents.read_toml(path.read_bytes())
    except (OSError, documents.Unreadable) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{path} cannot be read: {why}.", "Write TOML with [[exceptions]].") from error
    listed = document.get("exceptions")
    if set(document) != {"exceptions"} or not isinstance(listed, list):
        raise UsageError(f"{path} holds something other than [[exceptions]].", "See the README for an example.")
    found = []
    for number, entry in enumerate(listed, 1):
        try:
            found.append(Exemption.model_validate(entry))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "entry"
            raise UsageError(
                f"Exception {number} in {path} is wrong: {place}: {first['msg']}.",
                "An exception has a path, a verdict and a reason, and may have a container.",
            ) from error
    return tuple(found)


class Gate:
    """Lets a survey pass where every Go program is proven or has no cryptography, and one at least is proven.

    A program that an exception names must have the verdict which that expects. ELF files of other languages pass: a
    Go module could not be in them. What cannot be read never does, unless an exception says so, and neither does a
    container that was not opened, whatever is beside it.
    """

    def __init__(self, exceptions: Sequence[Exemption] = ()) -> None:
        self._exceptions = exceptions
        self._refusals: list[Refused] = []
        self._used: set[int] = set()
        self._excuses: list[Excuse] = []
        self._programs = self._proven = 0

    def see(self, item: Located) -> None:
        """Judge one file of the survey; it is not kept."""
        crypto = item.finding.crypto
        if crypto is None:
            return
        self._programs += 1
        self._proven += crypto.verdict is Verdict.PROVEN
        number = self._exception_for(item.finding.path, item.container, unopened=False)
        if number is None:
            if crypto.verdict is not Verdict.PROVEN and crypto.verdict not in _HARMLESS:
                advice = _ADVICE.get(crypto.verdict, _BUILD_IT)
                self._refusals.append(_refusal(item, crypto.verdict, "'proven' is required", advice))
            return
        self._used.add(number)
        expected = self._exceptions[number]
        if crypto.verdict == expected.verdict:
            self._excuses.append(Excuse(item.finding.path, item.container, crypto.verdict, expected.reason))
        else:
            rule = f"the exception for {expected.path} expects '{expected.verdict}'"
            self._refusals.append(_refusal(item, crypto.verdict, rule, _no_longer(crypto.verdict)))

    def see_unopened(self, item: Unopened) -> bool:
        """Judge a container that was not opened; return whether an exception lets it pass."""
        number = self._exception_for(item.path, item.container, unopened=True)
        if number is None:
            self._refusals.append(Refused(item.message, f"{item.advice} Or accept it with --exceptions: {_ACCEPT}"))
            return False
        self._used.add(number)
        self._excuses.append(Excuse(item.path, item.container, _UNOPENED, self._exceptions[number].reason))
        return True

    def _exception_for(self, path: str, container: str | None, *, unopened: bool) -> int | None:
        """Return the number of the first exception that names a file, of those for what it is."""
        return next(
            (
                number
                for number, exception in enumerate(self._exceptions)
                if (exception.verdict == _UNOPENED) is unopened and _names(exception, path, container)
            ),
            None,
        )

    def decide(self) -> Decision:
        """Say whether what was seen may pass."""
        refusals = list(self._refusals)
        if not self._proven and not refusals:
            excused = sum(excuse.verdict != _UNOPENED for excuse in self._excuses)
            refusals.append(_nothing(self._programs, excused))
        unused = tuple(item for number, item in enumerate(self._exceptions) if number not in self._used)
        return Decision(tuple(refusals), self._proven, tuple(self._excuses), unused)


def _names(exception: Exemption, path: str, container: str | None) -> bool:
    if exception.container is not None and not fnmatchcase(container or "", exception.container):
        return False
    # What is named from within its own directory is in a directory all the same.
    beside = not path.startswith("/") and fnmatchcase(f"./{path}", exception.path)
    return beside or fnmatchcase(path, exception.path)


def _no_longer(verdict: Verdict) -> str:
    if verdict is Verdict.PROVEN or verdict in _HARMLESS:
        return "Take the exception out: the program needs none."
    return "Find out why it is not what was excused, before you change the exception."


def _refusal(item: Located, verdict: Verdict, rule: str, advice: str) -> Refused:
    crypto = item.finding.crypto
    where = item.finding.path + (f" in {item.container}" if item.container else "")
    why = sentence(crypto) if crypto else ""
    return Refused(f"{where} is '{verdict}', and {rule}: {why}", advice)


def _nothing(programs: int, excused: int) -> Refused:
    if excused:
        said = f"Nothing here is proven: of {_counted(programs)}, {excused} passed by exceptions alone."
    elif programs:
        said = f"Nothing here is proven: {_counted(programs)}, without cryptography to prove."
    else:
        said = "There is no program here that has cryptography to prove."
    return Refused(said, "Check that the gate looks at what you build.")


def _counted(programs: int) -> str:
    return f"{programs} program" + ("" if programs == 1 else "s")
