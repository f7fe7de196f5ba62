"""The formats: one module each, loaded when it is used, with a function ``render(Source, Settings) -> str``."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, cast, get_args

from ..errors import UsageError
from .settings import Settings

# The documents' models need pydantic, which `inspect` imports for an export only.
if TYPE_CHECKING:
    from .documents import Kind, Source

FormatName = Literal[
    "cyclonedx",
    "html",
    "in-toto",
    "junit",
    "oscal",
    "prometheus",
    "sarif",
]
NAMES: tuple[FormatName, ...] = get_args(FormatName)

#: What errors call each kind of document.
_KINDS = {
    "manifest": "a manifest",
    "node": "a node report",
    "cluster": "the report of a cluster",
    "inspection": "an inspection",
}


class Renderer(Protocol):
    """A module of one format."""

    def render(self, source: Source, settings: Settings) -> str:
        """Return the document in this format."""


@dataclass(frozen=True, slots=True)
class Format:
    """A format."""

    name: FormatName
    """As the command line has it."""
    title: str
    """What it is, for help and documentation."""
    module: str
    """The module of this package that writes it."""
    takes: frozenset[Kind]
    """The kinds of documents that it can express."""

    def render(self, source: Source, settings: Settings) -> str:
        """Return the document in this format. Raises `UsageError` if the format cannot express it."""
        if source.kind not in self.takes:
            kinds = " or ".join(_KINDS[kind] for kind in _KINDS if kind in self.takes)
            raise UsageError(
                f"{self.name} cannot express {_KINDS[source.kind]}; it needs {kinds}.",
                f"Export {kinds}, or another format.",
            )
        renderer = cast("Renderer", importlib.import_module(f".{self.module}", __package__))
        return renderer.render(source, settings)


_ALL: frozenset[Kind] = frozenset({"manifest", "node", "inspection"})
_REPORTS: frozenset[Kind] = frozenset({"manifest", "node", "cluster"})
_PROGRAMS: frozenset[Kind] = frozenset({"manifest", "inspection"})

FORMATS: dict[FormatName, Format] = {
    item.name: item
    for item in (
        Format("cyclonedx", "CycloneDX 1.6 or 1.7 with programs, modules, algorithms (CBOM)", "cyclonedx", _PROGRAMS),
        Format("html", "one page for people, without scripts", "html", _ALL | _REPORTS),
        Format("in-toto", "in-toto statement of a manifest; SLSA VSA of a gate's decision", "intoto", _PROGRAMS),
        Format("junit", "JUnit XML, one case for each check, component or program", "junit", _ALL),
        Format(
            "oscal",
            "OSCAL 1.1.3: component-definition of a manifest, assessment-results of the report of a node or a cluster",
            "oscal",
            _REPORTS,
        ),
        Format("prometheus", "Prometheus text format, for the textfile collector", "prometheus", _ALL),
        Format("sarif", "SARIF 2.1.0, a result for each program or check that is not as it should be", "sarif", _ALL),
    )
}
