"""Second opinions on archives."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.peers import build


@pytest.fixture(scope="session")
def peers() -> Path:
    """The readers and writers of Go's standard library, as a program."""
    return build()
