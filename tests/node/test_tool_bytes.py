"""The same commit and keys give the same tool: wherever, whenever, by whomever and with whatever Python it is built."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fipsmanifest
from fipsmanifest.generate.tool import build_tool, without_comments
from tests.support.forge import PYENV, Forge

PACKAGE = Path(fipsmanifest.__file__).parent
PACKED = [path for name in ("node", "trust") for path in sorted((PACKAGE / name).rglob("*.py"))]
#: Those that the package runs on, where the machine has them; the tests' own always.
BUILDERS = [sys.executable, *(str(path) for v in ("3.12", "3.13", "3.14") for path in PYENV.glob(f"{v}.*/bin/python"))]
BUILD = "import sys, pathlib, fipsmanifest.generate.tool as tool; tool.build_tool(*map(pathlib.Path, sys.argv[1:]))"


@pytest.mark.parametrize("python", BUILDERS)
def test_a_copy_of_the_source_elsewhere_gives_the_same_bytes(python: str, forge: Forge, tmp_path: Path) -> None:
    here = build_tool(forge.trust_folder).data
    source, keys = tmp_path / "another place" / "source", tmp_path / "keys"
    shutil.copytree(PACKAGE, source / "fipsmanifest", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(forge.trust_folder, keys)
    for path in sorted(source.rglob("*.py")):
        path.chmod(0o600)
        os.utime(path, (1e9, 1e9))
    shutil.rmtree(source / "fipsmanifest" / "cli")
    # What a build leaves, and an editor, is no part of the commit.
    (source / "fipsmanifest" / "node" / "__pycache__").mkdir()
    (source / "fipsmanifest" / "node" / "__pycache__" / "main.cpython-311.pyc").write_bytes(b"")
    environment = {"PATH": "/usr/bin", "PYTHONPATH": str(source), "TZ": "Pacific/Kiritimati", "LC_ALL": "C"}
    environment |= {"PYTHONHASHSEED": "4711", "SOURCE_DATE_EPOCH": "1", "PYTHONDONTWRITEBYTECODE": "1"}

    command = [python, "-c", BUILD, str(keys), str(tmp_path / "built")]
    subprocess.run(command, cwd=tmp_path, env=environment, umask=0o077, check=True)

    assert (tmp_path / "built").read_bytes() == here
    assert (tmp_path / "built").stat().st_mode & 0o777 == 0o755


def test_the_order_of_the_keys_is_that_of_the_trust_file_and_not_of_the_folder(forge: Forge, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    shutil.copytree(forge.trust_folder, keys)
    for number, path in enumerate(sorted(keys.glob("*.asc"), reverse=True)):
        path.rename(keys / f"{number}.asc")

    assert build_tool(keys).data == build_tool(forge.trust_folder).data


class _Stripped(ast.NodeTransformer):
    """A module without the strings that stand alone, which do nothing."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        body = getattr(node, "body", None)
        if isinstance(body, list) and len(body) > 1:
            kept = [one for one in body if not (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))]
            setattr(node, "body", kept)  # noqa: B010 - not each node has one
        return node


@pytest.mark.parametrize(
    "path",
    [path for name in ("node", "trust") for path in sorted((PACKAGE / name).rglob("*.py"))],
    ids=lambda path: path.name,
)
def test_what_is_packed_is_the_source_but_for_comments_and_docstrings(path: Path) -> None:
    packed = ast.parse(without_comments(path), feature_version=(3, 6))

    assert ast.dump(packed) == ast.dump(_Stripped().visit(ast.parse(path.read_text())))


def test_the_tool_stays_small(forge: Forge) -> None:
    # A ConfigMap holds 1,048,576 bytes: in base64 the tool takes at most 613,336, and leaves 435,240 to a manifest.
    assert len(build_tool(forge.trust_folder).data) <= 460_000
