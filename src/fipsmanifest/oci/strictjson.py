"""JSON of container images that every reader understands in the same way.

Runtimes read it with Go's encoding/json, which takes ``LAYERS`` for ``layers`` and the last of several: a document with
both is one image to them and another one to all other readers. Such documents are refused, whatever they mean.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from ..archive.paths import shown
from ..errors import Refused

_ADVICE = "Do not use this image; ask those who publish it."

#: The keys of each kind of object that decide what an image is, as they are spelled.
INDEX_OR_MANIFEST = frozenset(
    {"schemaVersion", "mediaType", "artifactType", "config", "layers", "manifests", "subject"}
)
DESCRIPTOR = frozenset({"mediaType", "digest", "size", "urls", "annotations", "data", "artifactType", "platform"})
PLATFORM = frozenset({"architecture", "os", "os.version", "os.features", "variant", "features"})
CONFIG = frozenset({"architecture", "os", "os.version", "os.features", "variant", "config", "rootfs", "history"})
ROOTFS = frozenset({"type", "diff_ids"})
SAVED_IMAGE = frozenset({"Config", "RepoTags", "Layers"})


#: An escape of half a character, alone or in a pair (RFC 8259, 7).
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class _Ambiguous(ValueError):
    """A document that two readers may understand differently."""


def load_json(data: bytes, what: str) -> Any:
    """Read a JSON document (RFC 8259) of unknown origin; ``what`` is what errors call it.

    Raises `Refused` for anything else, and where an object has a key twice.
    """
    try:
        # Without this Python would take UTF-16 and UTF-32 as well, which Go does not.
        document = json.loads(data.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_number)
        if _SURROGATE.search(data):
            _check_text(document)
        return document
    except _Ambiguous as error:
        raise Refused(f"{what} {error}, which programs read differently.", _ADVICE, reason="ambiguous-image") from error
    except (ValueError, RecursionError) as error:
        raise Refused(f"{what} is not JSON.", _ADVICE, reason="malformed-image") from error


def check_keys(table: dict[str, Any], known: frozenset[str], what: str) -> None:
    """Raise `Refused` where a key of ``table`` is one of ``known`` in another spelling, as Go would take it."""
    folded = {_fold(key) for key in known}
    for key in table:
        if key not in known and _fold(key) in folded:
            raise Refused(
                f"{what} has the key {shown(key)}, which programs read differently.", _ADVICE, reason="ambiguous-image"
            )


def _fold(key: str) -> str:
    # encoding/json compares as bytes.EqualFold does; the long s and the Kelvin sign fold to s and k in both.
    return key.casefold()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for key, value in pairs:
        if key in table:
            raise _Ambiguous(f"has the key {shown(key)} twice")
        table[key] = value
    return table


def _check_text(document: Any) -> None:
    """Raise `_Ambiguous` for half a character, for which Go reads U+FFFD."""
    try:
        json.dumps(document, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise _Ambiguous("has half a character") from error


def _no_number(name: str) -> NoReturn:
    raise ValueError(name)
