"""Fixtures for tests of packages and of the tutorial."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import packages


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with wheel and sdist."""
    return packages.built(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="session")
def wheel(built: Path) -> Path:
    """Return the wheel."""
    return next(built.glob("*.whl"))
