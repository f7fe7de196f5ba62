"""The definitions that a command line selects."""

from __future__ import annotations

from pathlib import Path

from ..errors import UsageError
from ..model.definition import Definition
from ..model.definition_file import find
from ..model.lint import load_checked


def version_of(text: str) -> str:
    """Return a Kubernetes version with its ``v``, which the user may have left out."""
    return text if text.startswith("v") else f"v{text}"


def chosen(definitions: Path, version: str, el: list[int] | None) -> list[tuple[Path, Definition]]:
    """Return the definitions of a version for the given ELs, or for all; checked, ordered by name.

    Raises `UsageError` if there is none, or if one of them is not valid.
    """
    version = version_of(version)
    loaded = [(path, load_checked(path)) for path in find(definitions, version)[version]]
    if not el:
        return loaded
    for number in el:
        if not any(definition.el == number for _, definition in loaded):
            known = ", ".join(sorted({str(definition.el) for _, definition in loaded}))
            raise UsageError(
                f"There is no definition of {version} for EL {number}.",
                f"There are definitions for EL {known}.",
                reason="no-definition",
            )
    return [(path, definition) for path, definition in loaded if definition.el in el]


def one_definition(definitions: Path, version: str, el: int) -> Definition:
    """Return the only definition of a version for an EL. Raises `UsageError` if there are several or none."""
    found = chosen(definitions, version, [el])
    if len(found) > 1:
        names = ", ".join(definition.name for _, definition in found)
        raise UsageError(
            f"{version} has several definitions for EL {el}: {names}.",
            "Pass --definitions with a directory that contains only one of them.",
        )
    return found[0][1]
