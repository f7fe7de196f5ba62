"""The same commit and keys give the same tool: on any machine, at any time, by any user and with any Python."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import fipsmanifest
from fipsmanifest.generate.tool import build_tool
from tests.support.forge import PYENV, Forge

PACKAGE = Path(fipsmanifest.__file__).parent
PACKED = [path for name in ("node", "trust") for path in sorted((PACKAGE / name).rglob("*.py"))]
#: Those that the package runs on, where the machine has them; the tests' own always.
BUILDERS = [sys.executable, *(str(path) for v in ("3.12", "3.13", "3.14") for path in PYENV.glob(f"{v}.*/bin/python"))]
BUILD = "import sys, pathlib, fipsmanifest.generate.tool as tool; tool.build_tool(*map(pathlib.Path, sys.argv[1:]))"


@pytest.mark.parametrize("python", BUILDERS)
def test_a_copy_of_the_source_elsewhere_gives_the_same_bytes(python: str, forge: Forge, tmp_path: Path) -> None:
    here = build_tool(forge.trust_directory).data
    source, keys = tmp_path / "another place" / "source", tmp_path / "keys"
    shutil.copytree(PACKAGE, source / "fipsmanifest", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(forge.trust_directory, keys)
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


def test_the_order_of_the_keys_is_that_of_the_trust_file_and_not_of_the_directory(forge: Forge, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    shutil.copytree(forge.trust_directory, keys)
    for number, path in enumerate(sorted(keys.glob("*.asc"), reverse=True)):
        path.rename(keys / f"{number}.asc")

    assert build_tool(keys).data == build_tool(forge.trust_directory).data


def test_what_is_packed_is_the_source_itself(forge: Forge) -> None:
    files = {"__init__.py", "errors.py", *(path.relative_to(PACKAGE).as_posix() for path in PACKED)}
    with zipfile.ZipFile(io.BytesIO(build_tool(forge.trust_directory).data)) as archive:
        packed = {name: archive.read(name) for name in archive.namelist() if name.endswith(".py")}

    del packed["__main__.py"]
    assert packed == {f"fipsmanifest/{name}": (PACKAGE / name).read_bytes() for name in files}


def test_the_tool_stays_small(forge: Forge) -> None:
    # A ConfigMap holds 1,048,576 bytes: in base64 the tool takes at most 440,000, and leaves 608,576 to a manifest.
    assert len(build_tool(forge.trust_directory).data) <= 330_000
