"""The node package runs where nothing but an old Python is: checked on its source, whatever Python runs the tests."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import fipsmanifest
from fipsmanifest.generate.tool import build_tool
from tests.support.forge import Forge

PACKAGE = Path(fipsmanifest.__file__).parent
PACKED = ("node", "trust")
SOURCES = [
    PACKAGE / "__init__.py",
    PACKAGE / "errors.py",
    *(path for name in PACKED for path in sorted((PACKAGE / name).rglob("*.py"))),
]

#: What the package itself states.
CONSTANTS = {"__version__", "__released__", "__certificates__"}
VERMIN = Path(sys.executable).with_name("vermin")


def needs(*paths: Path) -> str:
    """Return what in these files needs a newer Python than 3.6, as vermin reports it."""
    command = [str(VERMIN), "--target=3.6", "--no-tips", "--eval-annotations", "--violations", *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Minimum required versions: " in done.stdout, done.stdout + done.stderr
    return "" if done.returncode == 0 else done.stdout


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_each_module_is_written_in_python_3_6(path: Path) -> None:
    ast.parse(path.read_text(), str(path), feature_version=(3, 6))


def test_nothing_is_used_that_python_3_6_has_not(forge: Forge, tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    build_tool(forge.trust_directory, tool)
    with zipfile.ZipFile(tool) as archive:
        main = Path(archive.extract("__main__.py", tmp_path))

    assert not needs(*SOURCES, main)


@pytest.mark.parametrize(
    "newer",
    [
        "import subprocess\nsubprocess.run([], capture_output=True)",
        "import datetime\ndatetime.datetime.fromisoformat('')",
        "import time\ntime.monotonic_ns()",
        "'text'.removeprefix('t')",
        "names: dict[str, int] = {}",
        "from __future__ import annotations",
        "import dataclasses",
        "print(number := 1)",
    ],
)
def test_what_is_newer_is_seen(newer: str, tmp_path: Path) -> None:
    source = tmp_path / "newer.py"
    source.write_text(newer + "\n")

    assert "Target versions not met" in needs(source)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_each_module_imports_the_standard_library_the_tools_own_packages_and_the_errors(path: Path) -> None:
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
                own = (statement.module or "").split(".")[0] in {"errors", *PACKED}
                assert own or (not statement.module and names <= {*CONSTANTS, *PACKED})
            else:
                assert statement.level < depth


def test_the_verifier_itself_imports_nothing_heavy() -> None:
    heavy = {"argparse", "tempfile", "shutil", "ssl", "zipfile", "dataclasses", "concurrent", "urllib", "http"}
    code = "import sys, fipsmanifest.trust.verify; print(*sorted(sys.modules))"
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); {code}"]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    assert heavy.isdisjoint(name.split(".")[0] for name in loaded)
