"""Readers of untrusted JSON and TOML, for which a hostile document is a malformed one and never an internal error.

Python's readers raise `RecursionError` for deep nesting, and a plain `ValueError` for a number of thousands of digits.
Signed documents are read by the stricter `fipsmanifest.trust.strictjson`.
"""

from __future__ import annotations

import json
import tomllib
from typing import Any


class MalformedDocument(ValueError):
    """The document cannot be read; the argument says why."""


def read_json(data: bytes | str) -> Any:
    """Return the value of a JSON document. Raises `MalformedDocument`."""
    try:
        return json.loads(data)
    except RecursionError as error:
        raise MalformedDocument("it is nested too deeply") from error
    except ValueError as error:
        raise MalformedDocument(str(error)) from error


def read_toml(data: bytes | str) -> dict[str, Any]:
    """Return the value of a TOML document. Raises `MalformedDocument`."""
    try:
        return tomllib.loads(data.decode("utf-8") if isinstance(data, bytes) else data)
    except RecursionError as error:
        raise MalformedDocument("it is nested too deeply") from error
    except ValueError as error:
        raise MalformedDocument(str(error)) from error
