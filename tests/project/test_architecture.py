"""Packages import packages below them only: the order in `docs/architecture.md`, checked on the source."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fipsmanifest

PACKAGE = Path(fipsmanifest.__file__).parent
ARCHITECTURE = PACKAGE.parents[1] / "docs" / "architecture.md"

#: From the top down. A package may import those after it, never those before it.
LAYERS = (
    "cli",
    "workflows",
    "export",
    "cluster",
    "publish",
    "sign",
    "generate",
    "inspect",
    "collect",
    "node",
    "state",
    "oci",
    "fetch",
    "archive",
    "model",
    "trust",
)
GROUND = {"__init__", "environment", "errors", "progress"}


def imported(path: Path) -> Iterator[str]:
    """Return the parts of fipsmanifest that a module imports: packages, or modules of the ground floor."""
    package = path.relative_to(PACKAGE).parent.parts
    for statement in ast.walk(ast.parse(path.read_text())):
        if isinstance(statement, ast.ImportFrom) and statement.level:
            base = package[: len(package) - statement.level + 1]
            parts = (*base, *(statement.module or "").split(".")) if statement.module else base
            yield from [parts[0]] if parts else [alias.name for alias in statement.names]


@pytest.mark.parametrize("layer", LAYERS)
def test_a_package_imports_packages_below_it_only(layer: str) -> None:
    above = set(LAYERS[: LAYERS.index(layer)])
    modules = sorted((PACKAGE / layer).rglob("*.py"))
    upward = [(str(path.relative_to(PACKAGE)), name) for path in modules for name in imported(path) if name in above]

    assert modules
    assert upward == []


@pytest.mark.parametrize("name", sorted(GROUND - {"__init__"}))
def test_the_ground_floor_imports_none_of_the_packages(name: str) -> None:
    assert set(imported(PACKAGE / f"{name}.py")) <= GROUND | {"__version__", "__released__", "__certificates__"}


def test_every_package_has_its_place_and_no_other_module_is_loose() -> None:
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    loose = {path.stem for path in PACKAGE.glob("*.py")}

    assert packages == set(LAYERS)
    assert loose == GROUND


def test_an_import_that_is_not_at_the_top_has_its_reason() -> None:
    without = []
    for path in sorted(PACKAGE.rglob("*.py")):
        lines = path.read_text("utf-8").splitlines()
        for node in ast.walk(ast.parse("\n".join(lines))):
            if not isinstance(node, ast.Import | ast.ImportFrom) or node.col_offset == 0:
                continue
            if "#" not in lines[node.lineno - 1] and not _reason(lines, node.lineno - 2):
                without.append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
    assert without == []


def _reason(lines: list[str], number: int) -> bool:
    """Return whether a comment precedes a line, not counting imports, blank lines and the beginning of a block."""
    passed = ("import ", "from ", "try:", "if TYPE_CHECKING:", "if sys.version_info", "else:")
    while not lines[number].strip() or lines[number].strip().startswith(passed):
        number -= 1
    return lines[number].strip().startswith("#")


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("cli.main", "pydantic requests rich.console concurrent.futures"),
        ("cli.verify", "pydantic requests rich.console concurrent.futures"),
        ("cli.inspect", "pydantic requests rich.console jinja2 elftools fipsmanifest.node.checks.startup"),
        ("cli.check", "pydantic requests rich.console yaml urllib3"),
        ("cli.export", "requests rich.console jinja2 elftools"),
        ("cli.release", "requests rich.console jinja2 elftools boto3"),
    ],
)
def test_a_command_that_must_start_quickly_imports_nothing_large(module: str, absent: str) -> None:
    code = f"import sys, fipsmanifest.{module}; print(*sorted(sys.modules.keys() & set({absent.split()!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_the_architecture_page_lists_the_packages_in_this_order() -> None:
    listed = re.findall(r"^    ([a-z]+)/ ", ARCHITECTURE.read_text(), re.MULTILINE)

    assert tuple(listed) == LAYERS


#: What reads only what this package wrote itself, or one text in quotes, and what leaves it to its only caller.
_OWN_JSON = (
    "cli/findings.py",
    "cli/schema.py",
    "node/deadline.py",
    "node/formats/yaml.py",
    "node/checks/images/containers.py",
)


def test_whoever_reads_json_or_toml_handles_too_deep_nesting() -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        reads = {node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and _is_reader(node)}
        handled = {
            node
            for guard in ast.walk(tree)
            if isinstance(guard, ast.Try | ast.With) and "RecursionError" in _catches(guard)
            for node in ast.walk(guard)
        }
        if path.relative_to(PACKAGE).as_posix() not in _OWN_JSON:
            assert not reads - handled, f"{path}: lines {sorted(node.lineno for node in reads - handled)}"


def _is_reader(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id in ("json", "tomllib") and node.attr in ("loads", "load")


def _catches(guard: ast.Try | ast.With) -> str:
    caught = [handler.type for handler in guard.handlers] if isinstance(guard, ast.Try) else guard.items
    return " ".join(ast.unparse(one) for one in caught if one is not None)
