"""OSCAL 1.1.3 (NIST): a component-definition of a manifest, assessment-results of a report. Pure."""

from __future__ import annotations

from ..model.manifest import Manifest
from . import oscal_cluster, oscal_components, oscal_results
from .documents import ClusterDocument, NodeReport, Source, unsupported
from .settings import Settings
from .text import write_json


def render(source: Source, settings: Settings) -> str:
    """Return the component-definition of a manifest, or the assessment-results of a node report."""
    if isinstance(source.document, NodeReport):
        return write_json({"assessment-results": oscal_results.build(source, source.document, settings)}, depth=4)
    if isinstance(source.document, ClusterDocument):
        return write_json({"assessment-results": oscal_cluster.build(source, source.document, settings)}, depth=4)
    if isinstance(source.document, Manifest):
        return write_json({"component-definition": oscal_components.build(source, source.document, settings)}, depth=4)
    raise unsupported(source)
