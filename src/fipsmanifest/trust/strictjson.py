"""JSON that no two readers can read differently: what is signed, and what says who may sign."""

import json
import re
from typing import Any, Callable, Dict, List, NoReturn, Set, Tuple

from ..errors import NotTrusted
from .text import visible

Malformed = Callable[[str], NotTrusted]
"""Makes the error of a document from the reason why it cannot be read."""

_MAX_DEPTH = 32
_CONTAINERS = frozenset((dict, list))
_MAX_DIGITS = 18
_PRINTABLE = re.compile(r"[ -~]*\Z")


def parse_object(data: bytes, malformed: Malformed) -> Dict[str, Any]:
    """Read one JSON object; raises what ``malformed`` makes of a reason.

    Refused are a key that stands twice, numbers other than whole ones of at most 18 digits, more than 32 levels, keys
    with other characters than printable ASCII, and what is not UTF-8.
    """

    def keep_all(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            seen: Set[str] = set()
            twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
            raise malformed("the key {} stands twice in one object".format(visible(repr(twice), 60)))
        return result

    def integer(text: str) -> int:
        if len(text) > _MAX_DIGITS:
            raise malformed("it holds a number of {} digits".format(len(text)))
        return int(text)

    def refuse_number(text: str) -> NoReturn:
        raise malformed("it holds the number {}; only whole numbers are used".format(visible(text, 40)))

    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=keep_all,
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
        raise malformed("a key holds other characters than printable ASCII")
