"""The options of a project: ``fipsmanifest.toml``, or ``[tool.fipsmanifest]`` of ``pyproject.toml``.

Only verbs that make and publish releases read them. Verbs that verify or inspect do not: the author of the directory
that is verified would choose the keys, and the modules that a gate believes in.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError

#: The file that is read instead of those in the current directory.
VARIABLE = "FIPSMANIFEST_CONFIG"

_MAX_BYTES = 1 << 20

#: The options, by their parameter's name; True for those that take a list.
OPTIONS = {
    "definitions": False,
    "keys": False,
    "work": False,
    "cache": False,
    "to": False,
    "endpoint_url": False,
    "public_url": False,
    "signing_key": False,
    "cosign_key": False,
    "mirror": True,
    "ca_bundle": False,
    "modules": False,
}

_RELEASE = frozenset(OPTIONS)
#: Which options each verb takes from the project. ``keys export --to`` and the like mean something else.
VERBS: Mapping[str, frozenset[str]] = {
    "release": _RELEASE,
    "ci": _RELEASE,
    "collect": _RELEASE,
    "generate": _RELEASE,
    "sign": _RELEASE,
    "publish": _RELEASE,
    "reissue": _RELEASE,
    "definitions": frozenset({"definitions", "keys", "mirror", "ca_bundle", "cache"}),
    "overrides": frozenset({"definitions"}),
    "bundle": frozenset({"definitions", "keys", "work"}),
    "tool": frozenset({"keys"}),
    "keys": frozenset({"keys"}),
    "init": frozenset({"definitions"}),
    "doctor": frozenset({"definitions", "keys"}),
}
#: Verbs with verbs of their own, which all take the same options.
_GROUPS = frozenset({"definitions", "bundle", "tool", "keys"})


@dataclass(frozen=True, slots=True)
class ProjectOptions:
    """The options of a project."""

    path: Path | None
    """The file; None if there is none."""
    values: Mapping[str, str | list[str]]
    """The values by the parameter's name."""


class _ForAll(dict[str, Any]):
    """The defaults of a group: each of its verbs has the same."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__()
        self._values = values

    def get(self, _name: str, _default: Any = None) -> Any:
        return self._values


def read() -> ProjectOptions:
    """Return the options of the project in the current directory.

    Raises `UsageError` if the file is not valid, or has an option that a project cannot set.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return _parsed(Path(named), named.endswith("pyproject.toml"))
    if Path("fipsmanifest.toml").is_file():
        return _parsed(Path("fipsmanifest.toml"), False)
    if Path("pyproject.toml").is_file():
        return _parsed(Path("pyproject.toml"), True)
    return ProjectOptions(None, {})


def default_map(verb: str | None) -> dict[str, Any]:
    """Return click's ``default_map`` for a verb; nothing is read for a verb that takes no options of a project."""
    taken = VERBS.get(verb or "", frozenset())
    if not taken:
        return {}
    values = {name: value for name, value in read().values.items() if name in taken}
    return {str(verb): _ForAll(values) if verb in _GROUPS else values}


def _parsed(path: Path, in_tool: bool) -> ProjectOptions:
    # Not at the top: every run imports this module, and most have nothing to read.
    from ..model import documents

    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise UsageError(f"{path} is larger than {_MAX_BYTES} bytes.", "Options are a short TOML file.")
        document = documents.read_toml(data)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", f"Correct it, or unset {VARIABLE}.") from error
    except documents.MalformedDocument as error:
        raise UsageError(f"{path}: not TOML: {error}.", "Correct it.") from error
    if in_tool:
        tool = document.get("tool")
        own = tool.get("fipsmanifest") if isinstance(tool, dict) else None
        if own is None:
            return ProjectOptions(None, {})
        if not isinstance(own, dict):
            raise UsageError(f"{path}: tool.fipsmanifest is not a table.", "Write [tool.fipsmanifest].")
        document = own
    values: dict[str, str | list[str]] = {}
    for key, value in document.items():
        name = key.replace("-", "_")
        if name not in OPTIONS:
            known = ", ".join(option.replace("_", "-") for option in OPTIONS)
            raise UsageError(f"{path}: '{key}' is not an option of a project.", f"It may have: {known}.")
        if not _is_valid(value, is_list=OPTIONS[name]):
            kind = "a list of texts" if OPTIONS[name] else "text"
            form = '["..."]' if OPTIONS[name] else '"..."'
            raise UsageError(f"{path}: '{key}' is not {kind}.", f"Write {key} = {form}.")
        values[name] = value
    return ProjectOptions(path, values)


def _is_valid(value: object, *, is_list: bool) -> bool:
    if is_list:
        return isinstance(value, list) and all(isinstance(one, str) and one for one in value)
    return isinstance(value, str) and value != ""
