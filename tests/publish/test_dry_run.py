"""A dry run says of each conflict what a run would say, before anything is signed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from fipsmanifest.errors import Several
from fipsmanifest.generate.tool import ToolFile
from fipsmanifest.model.definition_file import load
from fipsmanifest.publish.action import Kind
from fipsmanifest.publish.address import open_bucket
from fipsmanifest.publish.publisher import publish
from fipsmanifest.publish.request import PublishRequest
from fipsmanifest.publish.snapshot import read_snapshot
from fipsmanifest.workflows.signing import plan_before_signing
from tests.support.releases import ReleaseKey, payload, tool_bytes, wanted_manifest, wanted_tool

RHEL8 = Path(__file__).parents[2] / "releases" / "v1.21.3" / "rhel8.toml"


def test_a_conflict_keeps_its_sentence_and_names_no_signer_who_has_not_signed(
    tmp_path: Path, release_key: ReleaseKey
) -> None:
    bucket = open_bucket(str(tmp_path / "bucket"))
    publish(
        PublishRequest((wanted_manifest(release_key, serial=2),), wanted_tool(release_key)),
        bucket,
        release_key.consumer,
    )
    other = tool_bytes() + b"exit 0\n"
    tool = ToolFile(other, hashlib.sha256(other).hexdigest(), "0.1.0")

    keys = ["tool/manifests/v1.21.3/1/manifest-rhel8.json.asc"]
    published = read_snapshot(bucket, release_key.consumer, keys, tool.version)

    plan = plan_before_signing([(load(RHEL8), payload(serial=1))], tool, release_key.consumer, published)

    told = {action.key: action.detail for action in plan.actions if action.kind is Kind.CONFLICT}
    assert "Serial 2 of" in told["tool/manifests/v1.21.3/1/manifest-rhel8.json.asc"]
    changed = told["tool/0.1.0/dkp-fips-tool"]
    assert changed.endswith(f"the object to publish has SHA-256 {tool.sha256}.")
    assert f"signed 2026-11-20 10:00:00 UTC by {release_key.fingerprint};" in changed
    with pytest.raises(Several) as caught:
        plan.require_no_conflict()
    assert "to be signed" not in str(caught.value) and "1970" not in str(caught.value)
