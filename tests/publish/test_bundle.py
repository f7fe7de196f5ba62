"""A bundle has the manifest and the tool of one release, whatever a bucket serves under their keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from fipsmanifest.errors import NotTrusted
from fipsmanifest.model.definition_file import load
from fipsmanifest.trust.store import load_trust
from fipsmanifest.workflows.bundle import Parts, ReleaseBundle, pack
from tests.support.releases import ReleaseKey, payload, wanted_tool

RHEL8 = Path(__file__).parents[2] / "releases/v1.21.3/rhel8.toml"


def packed(key: ReleaseKey, manifest: bytes, version: str = "0.1.0", called: str | None = None) -> ReleaseBundle:
    tool = wanted_tool(key, version)
    parts = Parts(key.clearsign(manifest), tool.data, tool.signature, called or version)
    return pack(load(RHEL8), parts, load_trust(str(key.trust)))


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0"])
def test_a_bundle_has_the_tool_of_its_manifest_or_a_newer_one(release_key: ReleaseKey, version: str) -> None:
    assert packed(release_key, payload(serial=3), version).serial == 3


def test_the_manifest_of_another_name_is_not_bundled(release_key: ReleaseKey) -> None:
    with pytest.raises(NotTrusted, match="The manifest is for rhel-84, not rhel8"):
        packed(release_key, payload(name="rhel-84"))


def test_an_older_tool_than_that_of_the_manifest_is_not_bundled(release_key: ReleaseKey) -> None:
    with pytest.raises(NotTrusted, match=r"published with version 0\.2\.0") as caught:
        packed(release_key, payload(tool="0.2.0"))
    assert caught.value.reason == "rolled-back"


def test_another_tool_of_the_same_version_is_not_bundled(release_key: ReleaseKey) -> None:
    ours = wanted_tool(release_key).sha256.encode()
    with pytest.raises(NotTrusted, match="with SHA-256 " + "0" * 64):
        packed(release_key, payload().replace(ours, b"0" * 64))


def test_the_version_of_a_tool_is_what_it_states_itself(release_key: ReleaseKey) -> None:
    with pytest.raises(NotTrusted, match=r"says that it is version 0\.1\.0, not 0\.9\.0"):
        packed(release_key, payload(), called="0.9.0")
