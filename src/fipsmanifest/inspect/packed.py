"""What is packed in the files of an artifact: programs in an archive within a package, and what was not opened.

A manifest lists the files that a node has, and so nothing of what is packed in one of them. A release must know of it
all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from ..errors import FipsManifestError, Incomplete
from ..model.finding import Finding
from .nested import LocatedFinding, Outcome, UnopenedContainer

#: The format of a container that is damaged, or that tools read differently.
_UNREAD = "damaged or ambiguous archive"


@dataclass(frozen=True, slots=True)
class PackedFile:
    """A program that is packed in a file of an artifact, or a file in which programs may be."""

    outer: str
    """The path of the artifact's file; the artifact's name for what is in a package's scriptlets."""
    inner: str
    """In what of it the path is, for archives within archives (``: /inner.zip``); mostly empty."""
    path: str | None
    """The path in there; None for the artifact's file itself."""
    finding: Finding | None
    """The program; None for what was not opened."""
    problem: str | None
    """Why it was not opened, a clause (``was not opened (7z): ...``); None for a program."""
    format: str | None = None
    """The format of what was not opened; None for a program."""

    @property
    def container(self) -> str | None:
        """What the path is in; None for the artifact's file itself."""
        return None if self.path is None else self.outer + self.inner

    def at(self, outer: str) -> PackedFile:
        """Return the same in another file of the artifact."""
        return self if outer == self.outer else replace(self, outer=outer)


def packed_files(outcomes: Iterable[Outcome], artifact: str, outer: str) -> Iterator[PackedFile]:
    """Yield what is packed in the file at ``outer``, by what inspecting it as a member of ``artifact`` returned.

    Raises what left the inspection incomplete: an interruption, a used-up budget, a full disk.
    """
    member = f"{artifact}: {outer}"
    for outcome in outcomes:
        if isinstance(outcome, LocatedFinding):
            if outcome.finding.crypto is not None:
                inner = (outcome.container or "").removeprefix(member)
                yield PackedFile(outer, inner, outcome.finding.path, outcome.finding, None)
        elif isinstance(outcome, UnopenedContainer):
            problem = f"was not opened ({outcome.format}): {outcome.reason}"
            if outcome.container == artifact:
                yield PackedFile(outer, "", None, None, problem, outcome.format)
            else:
                inner = (outcome.container or "").removeprefix(member)
                yield PackedFile(outer, inner, outcome.path, None, problem, outcome.format)
        elif isinstance(outcome, Incomplete):
            raise outcome
        elif isinstance(outcome, FipsManifestError):
            # Layers are shared by images, so the artifact's name must not be in what is kept of one.
            reason = outcome.message.replace(member, outer).rstrip(".")
            yield PackedFile(outer, "", None, None, f"was not opened to its end: {reason}", _UNREAD)
