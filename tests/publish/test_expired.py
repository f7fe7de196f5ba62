"""Every reader refuses a manifest past its ``expires``: so none is published, and the audit reports it in time."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fipsmanifest.errors import NotTrusted, Refused
from fipsmanifest.model.identity import ReleaseId
from fipsmanifest.publish.address import open_bucket
from fipsmanifest.publish.audit import audit
from fipsmanifest.publish.bucket import Absent, Bucket
from fipsmanifest.publish.consumer import Consumer
from fipsmanifest.publish.publisher import publish
from fipsmanifest.publish.request import PublishRequest
from fipsmanifest.trust.store import load_trust
from fipsmanifest.workflows.reissue import reissue
from fipsmanifest.workflows.signing import Signer
from tests.support.releases import ReleaseKey, document, everything, wanted_manifest, wanted_release, wanted_tool

FIRST = "tool/manifests/v1.21.3/1/manifest-rhel8.json.asc"
PAST = "2026-11-21T00:00:00Z"


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    return open_bucket(str(tmp_path / "bucket"))


def _at(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def test_one_that_has_expired_is_not_published(tmp_path: Path, bucket: Bucket, release_key: ReleaseKey) -> None:
    publish(wanted_release(release_key), bucket, release_key.consumer)
    before = everything(str(tmp_path / "bucket"))

    with pytest.raises(Refused, match=f"expired on {PAST}") as caught:
        publish(PublishRequest((wanted_manifest(release_key, serial=2, expires=PAST),)), bucket, release_key.consumer)

    assert (caught.value.exit_code, "later `expires`" in caught.value.advice) == (5, True)
    assert everything(str(tmp_path / "bucket")) == before


def test_one_that_has_expired_since_it_was_published_is_not_reissued(
    tmp_path: Path, bucket: Bucket, release_key: ReleaseKey
) -> None:
    manifest = wanted_manifest(release_key, expires=PAST)
    bucket.put(FIRST, manifest.signed, only_if=Absent(), content_type="", cache_control="")
    signer = Signer(load_trust(str(release_key.trust)), gnupghome=release_key.home)

    for dry_run in (True, False):
        with pytest.raises(Refused, match=f"expired on {PAST}"):
            reissue(ReleaseId("v1.21.3", "rhel8"), "rotation", bucket, signer, dry_run=dry_run)

    assert everything(str(tmp_path / "bucket")).keys() == {FIRST}


def test_an_audit_fails_once_the_newest_serial_has_expired_and_tells_of_it_before(
    tmp_path: Path, bucket: Bucket, release_key: ReleaseKey, consumer: Consumer
) -> None:
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(days=200)
    expiring = PublishRequest((wanted_manifest(release_key, expires=_at(end)),), wanted_tool(release_key))
    publish(expiring, bucket, consumer)

    early, near, late = (audit(bucket, consumer, now=end + timedelta(days=days)) for days in (-91.5, -30.5, 0))

    assert (early.findings, early.notes, near.findings) == ((), (), ())
    assert [note.message.partition(", on ")[0] for note in near.notes] == [f"{FIRST} expires in 30 days"]
    assert [(item.key, item.code, item.exit_code) for item in late.findings] == [(FIRST, "expired", 3)]
    # What a higher serial has replaced may expire.
    publish(PublishRequest((wanted_manifest(release_key, serial=2),)), bucket, consumer)
    replaced = audit(bucket, consumer, now=end + timedelta(days=1))
    assert (replaced.findings, replaced.notes) == ((), ())


def test_index_and_page_say_until_when(tmp_path: Path, bucket: Bucket, release_key: ReleaseKey) -> None:
    publish(wanted_release(release_key, expires="2099-05-06T00:00:00Z"), bucket, release_key.consumer)
    there = everything(str(tmp_path / "bucket"))

    assert {item["expires"] for item in json.loads(there["index.json"])["manifests"]} == {"2099-05-06T00:00:00Z"}
    assert b"<strong>expires 2099-05-06</strong>" in there["index.html"]


def _certificate(since: str) -> dict[str, Any]:
    modules: dict[str, Any] = document()["modules"]
    modules["boringcrypto"]["certificates"][0]["historical_since"] = since
    return {"modules": modules}


@pytest.mark.parametrize(
    "more", [{"expires": "2099-13-01T00:00:00Z"}, _certificate("9999<b>"), _certificate("2026-02-30")], ids=str
)
def test_a_day_that_no_calendar_has_is_refused(bucket: Bucket, release_key: ReleaseKey, more: dict[str, Any]) -> None:
    wanted = PublishRequest((wanted_manifest(release_key, **more),), wanted_tool(release_key))

    with pytest.raises(NotTrusted, match="not well-formed"):
        publish(wanted, bucket, release_key.consumer)


def test_a_serial_without_a_reason_is_found_until_another_one_follows(
    bucket: Bucket, release_key: ReleaseKey, consumer: Consumer
) -> None:
    publish(wanted_release(release_key), bucket, consumer)
    unexplained = wanted_manifest(release_key, serial=2, reason="")
    bucket.put(unexplained.key, unexplained.signed, only_if=Absent(), content_type="", cache_control="")
    publish(PublishRequest(), bucket, consumer)

    found = audit(bucket, consumer)
    publish(PublishRequest((wanted_manifest(release_key, serial=3),)), bucket, consumer)
    after = audit(bucket, consumer)

    assert [(item.key, item.code, item.exit_code) for item in found.findings] == [(unexplained.key, "serial", 1)]
    assert (after.findings, [note.key for note in after.notes]) == ((), [unexplained.key])
