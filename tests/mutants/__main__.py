"""Run the tests against each mutant of `table`; ends with 1 if one is not found, or its text is not in the source.

``python -m tests.mutants [PART...]`` takes those whose name or file contains a part. The working tree is not changed:
each mutant is made in a copy. Only the tests that the chosen mutants name are run; those that fail without a mutant
prove nothing, and are listed first, as are files of tests that do not end in time.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from .table import MUTANTS, Mutant

TOP = Path(__file__).parents[2]
#: The files that tests read, besides the cached builds (`.cache`).
COPIED = (
    *("src", "tests", "examples", "benchmarks", "docs", "releases", "scripts", "requirements", ".github"),
    *("pyproject.toml", "Makefile", "README.md", "CHANGELOG.md", "CONTRIBUTING.md"),
)
#: For the tests of one mutant, and for each file of tests without a mutant.
SECONDS = 1800


def main(parts: list[str]) -> int:
    """Print a line for each mutant, and the count."""
    chosen = [one for one in MUTANTS if not parts or any(part in one.name or part in one.file for part in parts)]
    survivors = 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as directory:
        copy = Path(directory)
        for name in COPIED:
            source = TOP / name
            if source.is_dir():
                shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            elif source.exists():
                shutil.copy(source, copy / name)
        (copy / ".cache").symlink_to((TOP / ".cache").resolve())
        failing: list[str] = []
        usable: set[str] = set()
        for tests in dict.fromkeys(name for mutant in chosen for name in mutant.tests):
            try:
                unmutated = _pytest([tests], copy)
            except subprocess.TimeoutExpired:
                _say(f"does not end without a mutant in {SECONDS} s: {tests}")
                continue
            if unmutated.returncode not in (0, 1):
                sys.stdout.write(unmutated.stdout[-2000:] + unmutated.stderr[-2000:])
                return 1
            usable.add(tests)
            failing += _failed(unmutated.stdout)
        _say(*(f"fails without a mutant: {name}" for name in failing))
        for mutant in chosen:
            begin = time.monotonic()
            outcome = _run(mutant, copy, failing, usable)
            survivors += not outcome.startswith("found")
            _say(f"{mutant.file:<26} {mutant.name:<58} {outcome} ({time.monotonic() - begin:.0f} s)")
    _say(f"{len(chosen) - survivors} of {len(chosen)} mutants found")
    return 1 if survivors or not chosen else 0


def _run(mutant: Mutant, copy: Path, failing: list[str], usable: set[str]) -> str:
    """Return how the tests end with one mutant, which is gone afterwards."""
    path = copy / "src" / "fipsmanifest" / mutant.file
    text = path.read_text() if path.exists() else ""
    if text.count(mutant.before) != 1:
        return f"STALE: its text is {text.count(mutant.before)} times in the file"
    tests = [name for name in mutant.tests if name in usable]
    if not tests:
        return "NOT RUN: none of its tests end in time without it"
    path.write_text(text.replace(mutant.before, mutant.after))
    try:
        ended = _pytest(tests, copy, "-x", *(f"--deselect={name}" for name in failing))
    except subprocess.TimeoutExpired:
        return "found: the tests do not end"
    finally:
        path.write_text(text)
    if ended.returncode == 1:
        return "found by " + next(iter(_failed(ended.stdout))).partition("[")[0].removeprefix("tests/")
    if ended.returncode == 0:
        return "SURVIVES"
    return f"ERROR: pytest ended with {ended.returncode}: {(ended.stdout + ended.stderr)[-300:]!r}"


def _pytest(tests: Iterable[str], copy: Path, *options: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-B", "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *options]
    environment = os.environ | {"PYTHONPATH": str(copy / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [*words, *(f"tests/{name}" for name in tests)],
        cwd=copy,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )


def _failed(output: str) -> list[str]:
    """Return the tests that failed, by pytest's summary."""
    return re.findall(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", output, re.MULTILINE)


def _say(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
