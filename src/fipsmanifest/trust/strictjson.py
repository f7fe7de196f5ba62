"""A reader of unambiguous JSON, for signed documents and trust.json."""

import json
import re
from typing import Any, Callable, Dict, List, NoReturn, Set, Tuple

from ..errors import NotTrusted
from .text import visible

Malformed = Callable[[str], NotTrusted]
"""Makes the error for a document, from the reason why it is malformed."""

_MAX_DEPTH = 32
_CONTAINERS = frozenset((dict, list))
_MAX_DIGITS = 18
_PRINTABLE = re.compile(r"[ -~]*\Z")


def parse_object(data: bytes, malformed: Malformed) -> Dict[str, Any]:
    """Read one JSON object. Raises the error that ``malformed`` makes of a reason.

    It refuses duplicate keys, numbers other than integers of at most 18 digits, more than 32 levels, keys with other
    characters than printable ASCII, and text that is not UTF-8.
    """

    def refuse_duplicates(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            names: Set[str] = set()
            duplicate = next(name for name, _ in pairs if name in names or names.add(name))  # type: ignore[func-returns-value]
            raise malformed("an object has the key {} twice".format(visible(repr(duplicate), 60)))
        return result

    def integer(text: str) -> int:
        if len(text) > _MAX_DIGITS:
            raise malformed("it has a number of {} digits".format(len(text)))
        return int(text)

    def refuse_number(text: str) -> NoReturn:
        raise malformed("it has the number {}; only integers are allowed".format(visible(text, 40)))

    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=refuse_duplicates,
            parse_constant=refuse_number,
            parse_float=refuse_number,
            parse_int=integer,
        )
    except RecursionError:
        raise malformed("it is nested too deeply")
    except ValueError as error:
        raise malformed("it is not JSON ({})".format(visible(str(error), 100)))
    if not isinstance(value, dict):
        raise malformed("it is not an object")
    _check_depth(value, malformed)
    return value


def _check_depth(value: Any, malformed: Malformed) -> None:
    level, depth = [value], 0
    names: Set[str] = set()
    while level:
        depth += 1
        if depth > _MAX_DEPTH:
            raise malformed("it is nested more than {} levels deep".format(_MAX_DEPTH))
        inner: List[Any] = []
        for one in level:
            if isinstance(one, dict):
                names.update(one)
                one = one.values()
            if not _CONTAINERS.isdisjoint(map(type, one)):
                inner += [child for child in one if type(child) in _CONTAINERS]
        level = inner
    if not all(map(_PRINTABLE.match, names)):
        raise malformed("a key has other characters than printable ASCII")
