"""Keys for the tests of the verifier and of signing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.node import forge as forge_module
from tests.node.forge import Forge


@pytest.fixture(scope="session")
def forge() -> Iterator[Forge]:
    """A GNUPGHOME full of throwaway keys."""
    with forge_module.opened() as opened:
        yield opened
