"""Fixtures for tests of the node tool."""

from __future__ import annotations

from pathlib import Path

import pytest

from fipsmanifest.generate.tool import build_tool
from tests.support.forge import Forge


@pytest.fixture(scope="session")
def tool(forge: Forge, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The single file, with the keys of the forge; tests do not change it."""
    path = tmp_path_factory.mktemp("tool") / "dkp-fips-tool"
    build_tool(forge.trust_directory, path)
    return path
