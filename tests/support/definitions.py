"""Small definitions, with the parts that a test is about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fipsmanifest.model.definition import Definition


def definition(source: Mapping[str, Any], component: Mapping[str, Any], **changes: Any) -> Definition:
    """Return the definition of v1.21.3 for EL8 with one source and one component; ``changes`` are keys of it."""
    document = {
        "schema": "fipsmanifest/definition/v1",
        "name": "rhel8",
        "kubernetes": "v1.21.3",
        "build_metadata": "fips.0",
        "el": 8,
        "serial": 1,
        "architectures": ["x86_64"],
        "operating_systems": [{"id": "rhel", "versions": ["8.*"]}],
        "sources": [source],
        "components": [{"requirement": "proven", **component}],
        "node": {"roles": {}},
    }
    return Definition.model_validate(document | changes)
