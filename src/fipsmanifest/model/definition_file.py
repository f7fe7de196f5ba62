"""Files of release definitions: read one, with errors that name file, line and key; find those of a project."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..errors import UsageError
from . import documents
from .definition import Definition
from .version import is_version, version_key

#: The most bytes of a definition; the largest shipped one has less than 10 kB.
MAX_BYTES = 1 << 20


def load(path: Path) -> Definition:
    """Read a definition. Raises `UsageError` that names file, line and key of each mistake."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", "See 'fipsmanifest definitions list'.") from error
    if len(data) > MAX_BYTES:
        raise UsageError(f"{path} is larger than {MAX_BYTES} bytes.", "A release definition is a short TOML file.")
    try:
        document = documents.read_toml(data)
    except documents.MalformedDocument as error:
        raise UsageError(
            f"{path}: not TOML: {error}.", "See releases/README.md for the format.", reason="definition"
        ) from error
    text = data.decode("utf-8")
    if "name" in document:
        raise UsageError(f"{path}: the key 'name' is not known.", "Remove it: the file's name is the definition's.")
    try:
        return Definition.model_validate({**document, "name": path.stem})
    except ValidationError as error:
        problems = [
            f"{path}:{line_of(text, tuple(item['loc']))}: {_dotted(item['loc'])}{_plain(item['msg'])}"
            for item in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        raise UsageError(
            ";\n".join(problems) + ".", "See releases/README.md for the format.", reason="definition"
        ) from error


_KINDS = {"rpm-repository", "rpm-folder", "tarball", "image", "image-archive"}


def _dotted(location: tuple[int | str, ...]) -> str:
    parts = [str(part) for part in location if part not in _KINDS]
    return ".".join(parts) + ": " if parts else ""


def _plain(message: str) -> str:
    known = {"Extra inputs are not permitted": "this key is not known", "Field required": "is missing"}
    return known.get(message, message.removeprefix("Value error, "))


def line_of(text: str, location: tuple[int | str, ...]) -> int:
    """Return the line (from 1) of ``location`` (keys and list positions), or of its list or table.

    tomllib keeps no positions, so this follows table headers, keys and lists of strings as definitions are written. It
    is for error messages only.
    """
    parts = [part for part in location if part not in _KINDS]
    lines = text.splitlines()
    best, best_depth = 1, 0
    counts: dict[str, int] = {}
    table: list[int | str] = []
    for number, line in enumerate(lines, 1):
        stripped = line.strip()
        header = re.match(r"(\[\[?)\s*([A-Za-z0-9_.-]+)\s*\]\]?", stripped)
        if header:
            table = _table_path(header.group(2).split("."), array=header.group(1) == "[[", counts=counts)
            here = table
        else:
            key = re.match(r"([A-Za-z0-9_-]+)\s*=", stripped)
            if not key:
                continue
            here = [*table, key.group(1)]
        if len(here) > best_depth and parts[: len(here)] == here:
            best, best_depth = number, len(here)
    match parts[best_depth:]:
        case [int(position)]:
            return best + _lines_before_string(lines[best - 1 :], position)
    return best


def _lines_before_string(lines: list[str], position: int) -> int:
    """Return how many lines below its key a string of a list begins; 0 where there is no such string."""
    seen = 0
    for below, line in enumerate(lines):
        for mark in re.findall(r'"(?:[^"\\]|\\.)*"|\'[^\']*\'|#|\]', line):
            if mark == "]":
                return 0
            if mark == "#":
                break
            if seen == position:
                return below
            seen += 1
    return 0


def _table_path(parts: list[str], *, array: bool, counts: dict[str, int]) -> list[int | str]:
    path: list[int | str] = []
    for depth, part in enumerate(parts):
        path.append(part)
        prefix = ".".join(str(step) for step in path)
        if array and depth == len(parts) - 1:
            counts[prefix] = counts.get(prefix, -1) + 1
        if prefix in counts:
            path.append(counts[prefix])
    return path


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a definition's file, for editors; dates of TOML are strings there.

    It has the keys and their forms. What depends on several keys is checked by `lint`.
    """
    schema = Definition.model_json_schema(by_alias=True)
    # The file's name is the definition's.
    del schema["properties"]["name"]
    schema["required"] = [key for key in schema["required"] if key != "name"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def find(root: Path, kubernetes: str | None = None) -> dict[str, list[Path]]:
    """Return the definition files under ``root`` by Kubernetes version, or only those of one version.

    Raises `UsageError` where ``root`` is not a directory or has no definition of that version.
    """
    if not root.is_dir():
        raise UsageError(
            f"{root} is not a directory.",
            "Name the directory of definitions with --definitions, or start a project with 'fipsmanifest init'.",
        )
    found = {
        directory.name: sorted(directory.glob("*.toml"))
        for directory in sorted(root.iterdir(), key=lambda directory: version_key(directory.name))
        if directory.is_dir() and is_version(directory.name)
    }
    if kubernetes is None:
        return found
    if not found.get(kubernetes):
        known = ", ".join(version for version, files in found.items() if files) or "none"
        raise UsageError(
            f"There is no definition of {kubernetes} in {root}.", f"It has: {known}.", reason="no-definition"
        )
    return {kubernetes: found[kubernetes]}
