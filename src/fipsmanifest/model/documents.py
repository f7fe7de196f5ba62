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


def read_json(data: bytes | str, *, unique: bool = False) -> Any:
    """Return the value of a JSON document. Raises `MalformedDocument`.

    ``unique`` refuses an object that has a key twice: of the two values, readers use different ones (RFC 8259,
    section 4).
    """
    try:
        return json.loads(data, object_pairs_hook=_unique if unique else None)
    except RecursionError as error:
        raise MalformedDocument("it is nested too deeply") from error
    except ValueError as error:
        raise MalformedDocument(str(error)) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has a key twice")
    return found


def read_toml(data: bytes | str) -> dict[str, Any]:
    """Return the value of a TOML document. Raises `MalformedDocument`."""
    try:
        return tomllib.loads(data.decode("utf-8") if isinstance(data, bytes) else data)
    except RecursionError as error:
        raise MalformedDocument("it is nested too deeply") from error
    except ValueError as error:
        raise MalformedDocument(str(error)) from error
