"""What a manifest says of a module, as its document has it."""

from __future__ import annotations

from ..inspect.jsonform import module_to_json
from ..inspect.table import Table
from ..model import manifest
from ..model.finding import SeenModule
from .assemble import Describe


def describer(table: Table) -> Describe:
    """Give what describes a recognised module by ``table``."""

    def describe(seen: SeenModule) -> manifest.Module:
        return manifest.Module.model_validate(module_to_json(seen, table))

    return describe
