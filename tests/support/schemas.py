"""Documents and the JSON Schemas that this project publishes, by jsonschema.

It is imported when a document is validated: its grammar of IRIs takes three seconds to make, in each process of a run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fipsmanifest

_PACKAGE = Path(fipsmanifest.__file__).parent

NODE: dict[str, Any] = json.loads((_PACKAGE / "node/schema.json").read_text())
CLUSTER: dict[str, Any] = json.loads((_PACKAGE / "cluster/schema.json").read_text())


def validate(document: Any, schema: dict[str, Any]) -> None:
    """Raise jsonschema's ``ValidationError`` if the document is not valid by the schema, which must be one."""
    import jsonschema

    jsonschema.validate(document, schema, cls=jsonschema.Draft202012Validator)


def is_valid(document: Any, schema: dict[str, Any]) -> bool:
    """Return whether the document is valid by the schema."""
    import jsonschema

    return jsonschema.Draft202012Validator(schema).is_valid(document)
