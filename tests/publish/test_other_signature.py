"""Signature bytes are never compared (DESIGN section 7): another signature of the same payload is not a conflict."""

from __future__ import annotations

from pathlib import Path

import pytest

from fipsmanifest.errors import Conflict
from fipsmanifest.publish.address import open_bucket
from fipsmanifest.publish.audit import audit
from fipsmanifest.publish.consumer import Consumer
from fipsmanifest.publish.publisher import publish
from fipsmanifest.publish.request import PublishRequest
from tests.support.releases import ReleaseKey, everything, tool_bytes, wanted_manifest, wanted_release

POINTER = "tool/manifests/v1.21.3/manifest-rhel8.json.asc"
LATER = "20261121T110000"


@pytest.mark.parametrize("again", [True, False], ids=["the same release", "another release"])
def test_at_a_well_known_address_it_is_found_and_replaced(
    tmp_path: Path, release_key: ReleaseKey, consumer: Consumer, again: bool
) -> None:
    root, bucket, wanted = tmp_path / "bucket", open_bucket(str(tmp_path / "bucket")), wanted_release(release_key)
    publish(wanted, bucket, consumer)
    good = everything(str(root))
    (root / POINTER).write_bytes(wanted_manifest(release_key, at=LATER).signed)
    (root / "tool/dkp-fips-tool.asc").write_bytes(release_key.detach(tool_bytes(), at=LATER))

    found = audit(bucket, consumer).findings
    publication = publish(wanted if again else PublishRequest(), bucket, consumer)

    assert [(item.key, item.code, item.exit_code) for item in found] == [
        ("tool/dkp-fips-tool.asc", "pointer", 1),
        (POINTER, "pointer", 1),
    ]
    assert [action.detail for action in publication.written] == [
        "another signature of 0.1.0",
        "another signature of serial 1",
    ]
    assert everything(str(root)) == good


def test_a_serial_that_is_gone_is_made_again_though_its_pointer_has_the_signature_of_before(
    tmp_path: Path, release_key: ReleaseKey, consumer: Consumer
) -> None:
    bucket = open_bucket(str(tmp_path / "bucket"))
    publish(wanted_release(release_key), bucket, consumer)
    for name in ("rhel7", "rhel8"):
        (tmp_path / "bucket" / f"tool/manifests/v1.21.3/1/manifest-{name}.json.asc").unlink()

    publish(wanted_release(release_key, at=LATER), bucket, consumer)

    assert audit(bucket, consumer).findings == ()


def test_another_payload_of_the_same_serial_at_the_pointer_stays_a_conflict(
    tmp_path: Path, release_key: ReleaseKey, consumer: Consumer
) -> None:
    root, bucket = tmp_path / "bucket", open_bucket(str(tmp_path / "bucket"))
    publish(wanted_release(release_key), bucket, consumer)
    (root / POINTER).write_bytes(wanted_manifest(release_key, kubelet=b"other", at=LATER).signed)

    found = audit(bucket, consumer).findings
    with pytest.raises(Conflict, match="It differs from the published serial 1"):
        publish(wanted_release(release_key), bucket, consumer)

    assert [(item.key, item.code, item.exit_code) for item in found] == [(POINTER, "pointer", 3)]


def test_a_strangers_signature_of_the_tool_stays_a_conflict(
    tmp_path: Path, release_key: ReleaseKey, other_key: ReleaseKey, consumer: Consumer
) -> None:
    bucket = open_bucket(str(tmp_path / "bucket"))
    publish(wanted_release(release_key), bucket, consumer)
    (tmp_path / "bucket" / "tool/dkp-fips-tool.asc").write_bytes(other_key.detach(tool_bytes(), at=LATER))

    with pytest.raises(Conflict, match=r"tool/dkp-fips-tool\.asc .* was not written by fipsmanifest"):
        publish(wanted_release(release_key), bucket, consumer)
