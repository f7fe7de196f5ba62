"""A tool is bound to its version: its signature covers its own text and not the address under which it is stored."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fipsmanifest.errors import NotTrusted
from fipsmanifest.publish import index
from fipsmanifest.publish.address import open_bucket
from fipsmanifest.publish.audit import audit
from fipsmanifest.publish.consumer import Consumer
from fipsmanifest.publish.publisher import publish
from fipsmanifest.publish.request import PublishRequest, ToolToPublish
from tests.support.releases import ReleaseKey, everything, tool_bytes, wanted_release, wanted_tool


@pytest.mark.parametrize("alias", ["9.9.9", "0.1.00", "0.1"])
def test_a_copy_under_another_version_is_found_and_no_pointer_follows_it(
    tmp_path: Path, release_key: ReleaseKey, consumer: Consumer, alias: str
) -> None:
    # An attacker with write access to the bucket and without a key could otherwise keep all users on the tool of today.
    root, bucket = tmp_path / "bucket", open_bucket(str(tmp_path / "bucket"))
    publish(wanted_release(release_key), bucket, consumer)
    shutil.copytree(root / "tool/0.1.0", root / "tool" / alias)
    sidecar = root / "tool" / alias / "dkp-fips-tool.sha256"
    sidecar.write_bytes(sidecar.read_bytes().replace(b"tool/0.1.0/", f"tool/{alias}/".encode()))

    found = audit(bucket, consumer)
    again = publish(wanted_release(release_key), bucket, consumer)
    publish(PublishRequest((), wanted_tool(release_key, "0.2.0")), bucket, consumer)

    assert (f"tool/{alias}/dkp-fips-tool", "signature", 3) in {
        (item.key, item.code, item.exit_code) for item in found.findings
    }
    assert again.written == ()
    assert any(f"it is version 0.1.0, not {alias}" in line for line in again.plan.left_out)
    there = everything(str(root))
    assert there["tool/dkp-fips-tool"] == tool_bytes("0.2.0")
    assert [tool.version for tool in index.read(there["index.json"]).tools] == ["0.2.0", "0.1.0"]


@pytest.mark.parametrize(("data", "says"), [(tool_bytes(), "version 0.1.0"), (b"#!/bin/sh\n", "no version at all")])
def test_a_tool_is_not_published_under_a_version_that_it_does_not_say(
    tmp_path: Path, release_key: ReleaseKey, consumer: Consumer, data: bytes, says: str
) -> None:
    bucket = open_bucket(str(tmp_path / "bucket"))
    wanted = PublishRequest((), ToolToPublish("9.9.9", data, release_key.detach(data)))

    with pytest.raises(NotTrusted, match=f"says that it is {says}, not 9.9.9"):
        publish(wanted, bucket, consumer)

    assert everything(str(tmp_path / "bucket")) == {}
