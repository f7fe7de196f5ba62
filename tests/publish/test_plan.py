"""What a publication writes, and what it refuses to write, on a bucket in memory."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fipsmanifest.errors import Conflict, FipsManifestError, NotTrusted, Refused
from fipsmanifest.model.identity import ManifestId, ReleaseId
from fipsmanifest.publish import index
from fipsmanifest.publish.audit import audit
from fipsmanifest.publish.consumer import Consumer
from fipsmanifest.publish.page import render
from fipsmanifest.publish.publisher import plan_publication, publish
from fipsmanifest.publish.request import PublishRequest
from fipsmanifest.publish.snapshot import published_manifest
from tests.support.memory import MemoryBucket
from tests.support.releases import (
    KUBERNETES,
    ReleaseKey,
    consumer_problems,
    document,
    expected_keys,
    payload,
    tool_bytes,
    wanted_manifest,
    wanted_release,
    wanted_tool,
)

POINTER = "tool/manifests/v1.21.3/manifest-rhel8.json.asc"
FIRST = "tool/manifests/v1.21.3/1/manifest-rhel8.json.asc"


@pytest.fixture
def bucket() -> MemoryBucket:
    return MemoryBucket()


def test_another_payload_under_a_published_serial_stops_before_the_first_write(
    bucket: MemoryBucket, release_key: ReleaseKey, consumer: Consumer
) -> None:
    publish(wanted_release(release_key), bucket, consumer)
    before = dict(bucket.objects)
    changed = PublishRequest(
        (wanted_manifest(release_key, kubelet=b"another", at="20261122T120000"), wanted_manifest(release_key, el=7)),
        wanted_tool(release_key, "0.2.0"),
    )

    with pytest.raises(Conflict) as caught:
        publish(changed, bucket, consumer)

    assert caught.value.exit_code == 6
    for expected in (
        hashlib.sha256(payload()).hexdigest(),
        hashlib.sha256(payload(kubelet=b"another")).hexdigest(),
        "2026-11-20 10:00:00",
        "2026-11-22 12:00:00",
        release_key.fingerprint,
    ):
        assert expected in caught.value.message
    assert bucket.objects == before


def test_another_tool_under_a_published_version_is_a_conflict(
    bucket: MemoryBucket, release_key: ReleaseKey, consumer: Consumer
) -> None:
    publish(wanted_release(release_key), bucket, consumer)
    before = dict(bucket.objects)
    other = tool_bytes() + b"exit 0\n"
    tool = wanted_tool(release_key)
    changed = PublishRequest((), type(tool)(tool.version, other, release_key.detach(other)))

    with pytest.raises(FipsManifestError) as caught:
        publish(changed, bucket, consumer)

    assert caught.value.exit_code == 6
    assert hashlib.sha256(other).hexdigest() in str(caught.value)
    assert hashlib.sha256(tool_bytes()).hexdigest() in str(caught.value)
    assert bucket.objects == before


def test_publishing_an_older_release_again_leaves_the_pointers_at_the_newer_one(
    bucket: MemoryBucket, release_key: ReleaseKey, consumer: Consumer
) -> None:
    publish(wanted_release(release_key), bucket, consumer)
    publish(wanted_release(release_key, version="0.2.0", serial=2), bucket, consumer)
    before = dict(bucket.objects)

    publication = publish(wanted_release(release_key), bucket, consumer)

    assert publication.written == ()
    assert bucket.objects == before


def test_a_lower_serial_that_was_never_published_is_a_conflict(
    bucket: MemoryBucket, release_key: ReleaseKey, consumer: Consumer
) -> None:
    publish(wanted_release(release_key, serial=3), bucket, consumer)

    with pytest.raises(FipsManifestError, match=r"Serial 3 .* is published already") as caught:
        publish(wanted_release(release_key, serial=2), bucket, consumer)

    assert caught.value.exit_code == 6


@pytest.mark.parametrize(
    "key", ["index.html", "index.json", POINTER, "tool/dkp-fips-tool", "tool/dkp-fips-tool.sha256", FIRST]
)
def test_a_strangers_object_in_our_place_is_a_conflict_and_stays(
    bucket: MemoryBucket, release_key: ReleaseKey, consumer: Consumer, key: str
) -> None:
    bucket.objects[key] = b"<html>a stranger's</html>"

    with pytest.raises(FipsManifestError) as caught:
        publish(wanted_release(release_key), bucket, consumer)

    assert caught.value.exit_code == 6
    assert key in str(caught.value)
    assert bucket.objects == {key: b"<html>a stranger's</html>"}


def test_other_objects_in_the_bucket_are_left_alone(
    bucket: MemoryBucket, release_key: ReleaseKey, consumer: Consumer
) -> None:
    bucket.objects["README.txt"] = b"ours since 2021"
    bucket.objects["tool/notes/old"] = b"something else"

    publish(wanted_release(release_key), bucket, consumer)

    assert bucket.objects.keys() == expected_keys() | {"README.txt", "tool/notes/old"}
    assert bucket.objects["README.txt"] == b"ours since 2021"


def test_objects_that_a_store_gives_the_same_etag_are_not_taken_for_copies_of_each_other(
    release_key: ReleaseKey, consumer: Consumer
) -> None:
    # MinIO's ETag of each file that it did not write. Signatures of one key have the same size as well.
    store = MemoryBucket(etag=lambda _: "00000000000000000000000000000000-1")

    for serial, version in ((1, "0.1.0"), (2, "0.2.0"), (3, "0.3.0")):
        publish(wanted_release(release_key, serial=serial, version=version), store, consumer)

        assert audit(store, consumer).findings == ()
        assert len(audit(store, consumer).published.tools) == serial


def test_a_manifest_that_names_an_unpublished_tool_is_refused(
    bucket: MemoryBucket, release_key: ReleaseKey, consumer: Consumer
) -> None:
    wanted = PublishRequest((wanted_manifest(release_key, tool="0.9.0"),), wanted_tool(release_key, "0.1.0"))

    with pytest.raises(Refused, match=r"names the tool 0\.9\.0"):
        publish(wanted, bucket, consumer)

    assert bucket.objects == {}


def test_a_manifest_is_not_published_under_another_version_el_or_serial(
    bucket: MemoryBucket, release_key: ReleaseKey, consumer: Consumer
) -> None:
    signed = wanted_manifest(release_key).signed
    manifest = type(wanted_manifest(release_key))
    for kubernetes, name, serial in (("v1.21.4", "rhel8", 1), (KUBERNETES, "rhel7", 1), (KUBERNETES, "rhel8", 2)):
        with pytest.raises(NotTrusted):
            publish(
                PublishRequest((manifest(ManifestId(kubernetes, name, serial), signed),), wanted_tool(release_key)),
                bucket,
                consumer,
            )

    assert bucket.objects == {}


def test_what_the_wrong_key_signed_is_not_published(
    bucket: MemoryBucket, consumer: Consumer, other_key: ReleaseKey
) -> None:
    with pytest.raises(NotTrusted):
        publish(wanted_release(other_key), bucket, consumer)

    assert bucket.objects == {}


def test_a_manifest_that_was_tampered_with_in_the_bucket_is_a_conflict_that_says_so(
    bucket: MemoryBucket, release_key: ReleaseKey, consumer: Consumer
) -> None:
    publish(wanted_release(release_key), bucket, consumer)
    bucket.objects[FIRST] = bucket.objects[FIRST].replace(b'"0755"', b'"4755"')

    with pytest.raises(FipsManifestError, match="does not verify") as caught:
        publish(wanted_release(release_key), bucket, consumer)

    assert caught.value.exit_code == 6


def test_the_pipeline_finds_what_is_published_before_it_signs(
    bucket: MemoryBucket, release_key: ReleaseKey, consumer: Consumer
) -> None:
    assert published_manifest(bucket, ReleaseId(KUBERNETES, "rhel8"), consumer) is None
    publish(wanted_release(release_key), bucket, consumer)
    publish(wanted_release(release_key, serial=2), bucket, consumer)

    newest = published_manifest(bucket, ReleaseId(KUBERNETES, "rhel8"), consumer)
    first = published_manifest(bucket, ManifestId(KUBERNETES, "rhel8", 1), consumer)

    assert newest is not None and newest[1].payload == payload(serial=2)
    assert newest[1].fingerprint == release_key.fingerprint
    assert first is not None and first[1].payload == payload()
    assert published_manifest(bucket, ReleaseId(KUBERNETES, "rhel9"), consumer) is None


def test_an_index_that_was_lost_or_is_stale_is_made_again_from_what_is_there(
    bucket: MemoryBucket, release_key: ReleaseKey, consumer: Consumer
) -> None:
    publish(wanted_release(release_key), bucket, consumer)
    good = dict(bucket.objects)
    bucket.objects["index.json"] = index.write(index.PublishedContents())

    publication = publish(PublishRequest(), bucket, consumer)

    assert [action.key for action in publication.written] == ["index.json"]
    assert bucket.objects == good


def _lie(told: dict[str, Any], field: str, value: Any) -> None:
    told["manifests"][-1][field] = value


def _lie_about_a_verdict(told: dict[str, Any]) -> None:
    told["manifests"][-1]["components"][0]["verdict"] = "trustme"


def _lie_about_a_tool(told: dict[str, Any]) -> None:
    told["tools"][0]["version"] = "9" * 5000


@pytest.mark.parametrize(
    "lie",
    [
        functools.partial(_lie, field="kubernetes", value="v" + "9" * 5000),
        functools.partial(_lie, field="name", value="../evil"),
        functools.partial(_lie, field="reason", value="\ud800"),
        functools.partial(_lie, field="sha256", value="00" * 32),
        functools.partial(_lie, field="el", value=7),
        _lie_about_a_verdict,
        _lie_about_a_tool,
    ],
)
def test_what_somebody_wrote_into_the_index_is_found_by_an_audit_and_made_again_by_the_next_publication(
    bucket: MemoryBucket, release_key: ReleaseKey, consumer: Consumer, lie: Callable[[dict[str, Any]], None]
) -> None:
    publish(wanted_release(release_key), bucket, consumer)
    good = dict(bucket.objects)
    told = json.loads(good["index.json"])
    lie(told)
    bucket.objects["index.json"] = json.dumps(told).encode()

    found = audit(bucket, consumer)
    publish(PublishRequest(), bucket, consumer)

    assert [(finding.key, finding.code, finding.exit_code) for finding in found.findings] == [
        ("index.json", "index", 1),
    ]
    assert bucket.objects == good


def write_index(bucket: MemoryBucket, contents: index.PublishedContents) -> None:
    """Replace the index and its page, as a stranger with write access would."""
    bucket.objects["index.json"] = index.write(contents)
    bucket.objects["index.html"] = render(contents)


def test_an_index_of_an_older_version_is_completed_by_the_next_publication_and_still_names_what_is_lost(
    bucket: MemoryBucket, release_key: ReleaseKey, consumer: Consumer
) -> None:
    publish(wanted_release(release_key), bucket, consumer)
    good = dict(bucket.objects)
    document = json.loads(good["index.json"])
    for record in document["manifests"]:
        del record["signer"]
        for part in record["components"]:
            del part["certificates"], part["reason"]
    older = json.dumps(document, indent=2, sort_keys=True).encode() + b"\n"
    bucket.objects["index.json"] = older
    digest = re.compile(rb'(name="index-sha256" content=")[0-9a-f]{64}')
    bucket.objects["index.html"] = digest.sub(
        rb"\g<1>" + hashlib.sha256(older).hexdigest().encode(), good["index.html"]
    )

    publish(PublishRequest(), bucket, consumer)
    assert bucket.objects == good

    bucket.objects["index.json"] = older
    del bucket.objects[document["manifests"][0]["key"]]
    with pytest.raises(Conflict, match="missing"):
        publish(PublishRequest(), bucket, consumer)


def test_what_is_published_again_is_told_as_it_is_though_index_and_page_lie_alike(
    bucket: MemoryBucket, release_key: ReleaseKey, consumer: Consumer
) -> None:
    wanted = wanted_release(release_key)
    publish(wanted, bucket, consumer)
    good = dict(bucket.objects)
    told = index.read(good["index.json"])
    lies = dataclasses.replace(
        told, manifests=tuple(dataclasses.replace(record, sha256="00" * 32, reason="!") for record in told.manifests)
    )
    write_index(bucket, lies)

    publish(wanted, bucket, consumer)

    assert bucket.objects == good


def test_an_index_and_a_page_that_lie_alike_are_found_and_made_anew_once_one_of_them_is_moved_away(
    bucket: MemoryBucket, release_key: ReleaseKey, consumer: Consumer
) -> None:
    publish(wanted_release(release_key), bucket, consumer)
    good = dict(bucket.objects)
    told = index.read(good["index.json"])
    lies = dataclasses.replace(told, manifests=tuple(dataclasses.replace(item, reason="!") for item in told.manifests))
    write_index(bucket, lies)

    assert {(found.key, found.exit_code) for found in audit(bucket, consumer).findings} == {
        ("index.json", 1),
        ("index.html", 1),
    }
    del bucket.objects["index.html"]
    publish(PublishRequest(), bucket, consumer)

    assert bucket.objects == good


def test_after_a_key_is_revoked_a_reissue_by_another_key_takes_the_pointers_and_the_index(
    bucket: MemoryBucket, release_key: ReleaseKey, consumer: Consumer, other_key: ReleaseKey, tmp_path: Path
) -> None:
    publish(wanted_release(release_key), bucket, consumer)
    today = release_key.revoked(tmp_path / "trust", other_key)
    assert published_problem(bucket, today) == "revoked"

    publish(wanted_release(other_key, version="0.2.0", serial=2), bucket, today)

    there = dict(bucket.objects)
    assert there[POINTER] == there[FIRST.replace("/1/", "/2/")]
    assert there["tool/dkp-fips-tool"] == tool_bytes("0.2.0")
    assert [record.serial for record in index.read(there["index.json"]).manifests] == [2, 2]
    assert consumer_problems(there.get, today) == []


def published_problem(bucket: MemoryBucket, consumer: Consumer) -> str:
    with pytest.raises(NotTrusted) as caught:
        published_manifest(bucket, ReleaseId(KUBERNETES, "rhel8"), consumer)
    return "revoked" if "revoked" in caught.value.message else caught.value.message


def test_a_plan_as_json_says_what_would_be_done_and_with_which_bytes(
    bucket: MemoryBucket, release_key: ReleaseKey, consumer: Consumer
) -> None:
    wanted = wanted_release(release_key)

    actions = plan_publication(wanted, bucket, consumer).document()["actions"]

    assert {action["action"] for action in actions} == {"create"}
    by_key = {action["key"]: action for action in actions}
    assert by_key[FIRST]["sha256"] == hashlib.sha256(wanted.manifests[1].signed).hexdigest()
    assert [action["step"] for action in actions if action["key"].startswith("tool/dkp")] == [
        "tool-signature-pointer",
        "tool-sidecar-pointer",
        "tool-pointer",
    ]


def test_the_index_says_what_changed_since_the_serial_before_and_no_more_than_fits(
    bucket: MemoryBucket, release_key: ReleaseKey, consumer: Consumer
) -> None:
    (kubelet,) = document()["files"]
    many = [{**kubelet, "path": f"/opt/{'x' * 300}/{number}"} for number in range(40)]
    publish(wanted_release(release_key), bucket, consumer)
    publish(wanted_release(release_key, serial=2, files=[kubelet, *many]), bucket, consumer)
    publish(wanted_release(release_key, serial=3, files=[kubelet, *many], kubelet=b"x"), bucket, consumer)

    records = {item.serial: item for item in index.read(bucket.objects["index.json"]).manifests if item.el == 8}

    assert (records[1].since, records[1].changes) == (0, ())
    assert records[2].since == 1
    assert len(records[2].changes) == 13
    assert records[2].changes[0].startswith("kubelet: /opt/xxx")
    assert records[2].changes[-1] == "and 28 more"
    assert max(map(len, records[2].changes)) <= 160
    # `files` was given, so the third says what the second says.
    assert (records[3].since, records[3].changes) == (2, ())


def test_after_a_revocation_changes_are_told_since_a_serial_that_is_still_good(
    bucket: MemoryBucket, release_key: ReleaseKey, other_key: ReleaseKey, tmp_path: Path
) -> None:
    both = release_key.revoked(tmp_path / "both", other_key, "active")
    publish(wanted_release(release_key), bucket, both)
    publish(wanted_release(other_key, version="0.2.0", serial=2, kubelet=b"x"), bucket, both)
    before = [(item.serial, item.since) for item in index.read(bucket.objects["index.json"]).manifests if item.el == 8]
    today = release_key.revoked(tmp_path / "today", other_key)

    publish(PublishRequest(), bucket, today)

    after = index.read(bucket.objects["index.json"])
    assert before == [(2, 1), (1, 0)]
    assert [(item.serial, item.since, item.changes) for item in after.manifests if item.el == 8] == [(2, 0, ())]
    assert [tool.version for tool in after.tools] == ["0.2.0"]
    # The audit, which does not trust the index, has the same result.
    assert audit(bucket, today).findings == ()
