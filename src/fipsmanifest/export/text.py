"""JSON as the exports write it. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from typing import Any

# `json.dumps` would make an encoder for each record.
_encode = json.JSONEncoder(sort_keys=True, ensure_ascii=True, allow_nan=False).encode


class Record(str):
    """JSON that is written as it is: of many records, the text needs a fraction of what the objects do."""

    __slots__ = ()


def record(value: Any) -> Record:
    """Return a value as it is written on one line of a document."""
    return Record(_encode(value))


def write_json(document: Any, depth: int = 3) -> str:
    """Return ``document`` as ASCII JSON with sorted keys, the outer ``depth`` levels indented and one value per line.

    What is deeper is written on the line of its value: a long list of records has one record per line. To indent
    everything takes Python's slow encoder, many seconds for ten thousand records.
    """
    return "".join(chain(_pieces(document, depth, "\n"), "\n"))


def _pieces(value: Any, depth: int, newline: str) -> Iterator[str]:
    if isinstance(value, Record):
        yield value
        return
    if depth == 0 or not value or not isinstance(value, dict | list):
        yield _encode(value)
        return
    inner = newline + "  "
    begin, end = "{}" if isinstance(value, dict) else "[]"
    separator = begin
    items = sorted(value.items()) if isinstance(value, dict) else ((None, item) for item in value)
    for key, item in items:
        yield separator + inner
        if key is not None:
            yield json.dumps(key) + ": "
        yield from _pieces(item, depth - 1, inner)
        separator = ","
    yield newline + end
