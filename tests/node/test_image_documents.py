"""Documents of containerd's store that are not of the form that they should have."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from fipsmanifest.node.checks.images import content, names
from fipsmanifest.node.result import Node


@pytest.mark.parametrize("platform", ["linux/amd64", ["linux"], 1, True])
def test_a_platform_of_another_form_is_one_that_nobody_knows(tmp_path: Path, platform: Any) -> None:
    wanted = "sha256:" + "1" * 64
    data = json.dumps({"manifests": [{"digest": wanted, "platform": platform}]}).encode()
    digest = hashlib.sha256(data).hexdigest()
    path = tmp_path / content.STORE.lstrip("/") / digest
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    assert names._leads(Node(str(tmp_path), False, "worker"), f"sha256:{digest}", frozenset([wanted]), {"amd64"})
