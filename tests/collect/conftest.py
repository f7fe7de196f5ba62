"""Fixtures for collecting packages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import upstream


@pytest.fixture(scope="session")
def keys() -> Iterator[upstream.Keys]:
    """Upstream's key, which is trusted, and a stranger's."""
    made = upstream.make_keys()
    yield made
    upstream.close_keys(made)
