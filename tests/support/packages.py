"""The built wheel, installed as a user has it: apart from the checkout, with the dependencies that the tests have."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from examples.upstream import goprograms

TOP = Path(__file__).parents[2]

#: Go's objects of the standard library, shared by all tests.
GO_CACHE = goprograms.cache_directory() / "go-build"

_START = """\
#!{python}
import sys
sys.path.insert(0, {place!r})
from fipsmanifest.cli.main import main
sys.exit(main())
"""


def built(directory: Path) -> Path:
    """Return ``directory`` with wheel and sdist in it, as the workflow builds them: twice, and compared."""
    subprocess.run([TOP / "scripts/build-package", directory], check=True, capture_output=True, timeout=300)
    return directory


def installed(wheel: Path, directory: Path, also: Sequence[str] = ()) -> Path:
    """Install a wheel below ``directory``; return a directory for PATH with fipsmanifest and the programs ``also``."""
    place, programs = directory / "packages", directory / "bin"
    installing = [sys.executable, "-m", "pip", "--quiet", "install", "--no-deps", "--no-index", "--target", str(place)]
    subprocess.run([*installing, str(wheel)], check=True, capture_output=True, timeout=120)
    programs.mkdir()
    start = programs / "fipsmanifest"
    start.write_text(_START.format(python=sys.executable, place=str(place)))
    start.chmod(0o755)
    for name in also:
        (programs / name).symlink_to(Path(sys.executable).with_name(name))
    return programs
