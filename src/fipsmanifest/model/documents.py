"""JSON and TOML of any origin, read so that a hostile document is a malformed one and never an internal error.

Python's readers raise `RecursionError` for deep nesting, and a plain `ValueError` for a number of thousands of digits.
Documents that are signed go through the stricter `fipsmanifest.trust.strictjson` instead.
"""

from __future__ import annotations

import json
import tomllib
from typing import Any


class MalformedDocument(ValueError):
    """The document cannot be read; the argument says why."""


def read_json(data: bytes | str) -> Any:
    """Return what a JSON document holds. Raises `MalformedDocument`."""
    try:
        return json.loads(data)
    except RecursionError as error:
        raise MalformedDocument("it is nested too deeply") from error
    except ValueError as error:
        raise MalformedDocument(str(error)) from error


def read_toml(data: bytes | str) -> dict[str, Any]:
    """Return what a TOML document holds. Raises `MalformedDocument`."""
    try:
        return tomllib.loads(data.decode("utf-8") if isinstance(data, bytes) else data)
    except RecursionError as error:
        raise MalformedDocument("it is nested too deeply") from error
    except ValueError as error:
        raise MalformedDocument(str(error)) from error
