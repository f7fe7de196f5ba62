"""Which definitions a command line means."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError

if TYPE_CHECKING:
    from ..model.definition import Definition


def version_of(text: str) -> str:
    """Give a Kubernetes version with its ``v``, whichever way the user wrote it."""
    return text if text.startswith("v") else f"v{text}"


def chosen(definitions: Path, version: str, el: list[int] | None) -> list[tuple[Path, Definition]]:
    """Give the definitions of a version for the named ELs, or for all; checked, ordered by name.

    Raises `UsageError` where there is none, or where one of them has a mistake.
    """
    from ..model.definition_file import find
    from ..model.lint import load_checked

    version = version_of(version)
    loaded = [(path, load_checked(path)) for path in find(definitions, version)[version]]
    if not el:
        return loaded
    for number in el:
        if not any(definition.el == number for _, definition in loaded):
            known = ", ".join(sorted({str(definition.el) for _, definition in loaded}))
            raise UsageError(f"There is no definition of {version} for EL {number}.", f"There is one for EL {known}.")
    return [(path, definition) for path, definition in loaded if definition.el in el]


def one_definition(definitions: Path, version: str, el: int) -> Definition:
    """Give the only definition of a version for an EL. Raises `UsageError` where there are several or none."""
    found = chosen(definitions, version, [el])
    if len(found) > 1:
        names = ", ".join(definition.name for _, definition in found)
        raise UsageError(f"{version} has several definitions for EL {el}: {names}.", "Move the others away for now.")
    return found[0][1]
