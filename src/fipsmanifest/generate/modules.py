"""The manifest's description of a module."""

from __future__ import annotations

from ..inspect.serialization import module_to_json
from ..inspect.table import Table
from ..model import manifest
from ..model.finding import DetectedModule
from .assemble import Describe


def describer(table: Table) -> Describe:
    """Return a function that describes a recognised module from ``table``."""

    def describe(seen: DetectedModule) -> manifest.Module:
        return manifest.Module.model_validate(module_to_json(seen, table))

    return describe
