"""The node package runs where nothing but an old Python is: checked on its source, whatever Python runs the tests."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

import fipsmanifest
from fipsmanifest import node

PACKAGE = Path(fipsmanifest.__file__).parent
SOURCES = [PACKAGE / "__init__.py", PACKAGE / "errors.py", *sorted(Path(node.__file__).parent.rglob("*.py"))]

# What the standard library got after 3.6, of what one might reach for.
TOO_NEW = {
    "dataclasses", "contextvars", "graphlib", "zoneinfo", "tomllib", "importlib.resources", "importlib.metadata",
    "capture_output", "fromisoformat", "removeprefix", "removesuffix", "file_digest", "missing_ok", "monotonic_ns",
    "is_relative_to", "text=True", "functools.cache", "cached_property", "Protocol", "Final", "Literal", "TypedDict",
}  # fmt: skip


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_each_module_is_python_3_6(path: Path) -> None:
    source = path.read_text()

    ast.parse(source, str(path), feature_version=(3, 6))
    found = {word for word in TOO_NEW if re.search(rf"(?<!\w){re.escape(word)}\b", source)}
    assert not found
    assert "from __future__" not in source


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_each_module_imports_the_standard_library_itself_and_the_errors(path: Path) -> None:
    depth = len(path.relative_to(PACKAGE).parts)
    for statement in ast.walk(ast.parse(path.read_text())):
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                assert alias.name.split(".")[0] in sys.stdlib_module_names
        elif isinstance(statement, ast.ImportFrom):
            if statement.level == 0:
                assert str(statement.module).split(".")[0] in sys.stdlib_module_names
            elif statement.level == depth:
                names = {alias.name for alias in statement.names}
                assert statement.module == "errors" or (
                    not statement.module and names <= {"__version__", "__released__"}
                )
            else:
                assert statement.level < depth


def test_the_verifier_itself_imports_nothing_heavy() -> None:
    heavy = {"argparse", "tempfile", "shutil", "ssl", "zipfile", "dataclasses", "concurrent", "urllib", "http"}
    import subprocess

    code = "import sys, fipsmanifest.node.verify; print(*sorted(sys.modules))"
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); {code}"]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    assert heavy.isdisjoint(name.split(".")[0] for name in loaded)
