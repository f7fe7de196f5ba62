"""Sigstore bundles are published, moved, listed and audited with what they sign."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fipsmanifest.errors import Conflict
from fipsmanifest.publish.audit import audit
from fipsmanifest.publish.bucket import Bucket
from fipsmanifest.publish.consumer import Consumer
from fipsmanifest.publish.publisher import plan_publication, publish
from fipsmanifest.publish.request import PublishRequest
from fipsmanifest.sign import cosign
from tests.support import cosign as real
from tests.support.memory import MemoryBucket
from tests.support.releases import ReleaseKey, wanted_release

MANIFEST = "tool/manifests/v1.21.3/1/manifest-rhel8.json.asc"
POINTER = "tool/manifests/v1.21.3/manifest-rhel8.json.asc"
#: For EL7, EL8 and the tool: each beside what never changes, and beside its pointer.
BUNDLES = {
    "tool/manifests/v1.21.3/1/manifest-rhel7.json.asc.sigstore.json",
    "tool/manifests/v1.21.3/1/manifest-rhel8.json.asc.sigstore.json",
    "tool/manifests/v1.21.3/manifest-rhel7.json.asc.sigstore.json",
    "tool/manifests/v1.21.3/manifest-rhel8.json.asc.sigstore.json",
    "tool/0.1.0/dkp-fips-tool.sigstore.json",
    "tool/dkp-fips-tool.sigstore.json",
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("cosign")
    (made / "keys").mkdir()
    cosign.create(made / "cosign.key", made / "keys", None)
    return made


@pytest.fixture(scope="module")
def cosign_key(directory: Path) -> cosign.SigningKey:
    return cosign.open_key(directory / "cosign.key", None)


@pytest.fixture(scope="module")
def reader(consumer: Consumer, cosign_key: cosign.SigningKey) -> Consumer:
    """A consumer who has the key of cosign, too."""
    return replace(consumer, cosign_keys=(cosign_key.public,))


@pytest.fixture
def store() -> MemoryBucket:
    return MemoryBucket()


def signed_too(request: PublishRequest, key: cosign.SigningKey) -> PublishRequest:
    assert request.tool is not None
    manifests = tuple(replace(one, sigstore=key.sign(one.signed)) for one in request.manifests)
    return replace(request, manifests=manifests, tool=replace(request.tool, sigstore=key.sign(request.tool.data)))


def keys_of(bucket: Bucket) -> set[str]:
    return {entry.key for entry in bucket.list("tool/")}


def get(bucket: Bucket, key: str) -> bytes:
    stored = bucket.get(key)
    assert stored is not None, key
    return stored.data


@real.on_debian_12
def test_what_is_published_verifies_with_cosign_under_every_address(
    bucket: Bucket,
    release_key: ReleaseKey,
    reader: Consumer,
    cosign_key: cosign.SigningKey,
    directory: Path,
    tmp_path: Path,
) -> None:
    publish(signed_too(wanted_release(release_key), cosign_key), bucket, reader)

    assert keys_of(bucket) >= BUNDLES
    for number, key in enumerate(sorted(BUNDLES)):
        file, beside = tmp_path / f"file-{number}", tmp_path / f"bundle-{number}"
        file.write_bytes(get(bucket, key.removesuffix(".sigstore.json")))
        beside.write_bytes(get(bucket, key))
        assert real.verifies(beside, file, directory / "keys/cosign.pub"), key
    result = audit(bucket, reader)
    assert (result.findings, result.notes) == ((), ())


def test_a_second_run_writes_nothing_although_it_would_sign_anew(
    store: MemoryBucket, release_key: ReleaseKey, reader: Consumer, cosign_key: cosign.SigningKey
) -> None:
    publish(signed_too(wanted_release(release_key), cosign_key), store, reader)

    again = publish(signed_too(wanted_release(release_key), cosign_key), store, reader)

    assert again.written == ()


def test_bundles_are_added_to_what_is_published_already(
    store: MemoryBucket, release_key: ReleaseKey, reader: Consumer, cosign_key: cosign.SigningKey
) -> None:
    request = wanted_release(release_key)
    publish(request, store, reader)
    before = keys_of(store)

    added = publish(signed_too(request, cosign_key), store, reader)

    assert keys_of(store) - before == BUNDLES
    assert {action.key for action in added.written} == {*BUNDLES, "index.json", "index.html"}


def test_the_bundle_of_another_publishers_signature_is_not_published(
    store: MemoryBucket, release_key: ReleaseKey, reader: Consumer, cosign_key: cosign.SigningKey
) -> None:
    publish(wanted_release(release_key, at="20261120T100000"), store, reader)

    # The same payload, signed by gpg a second later: the bundle is of other bytes than those that are published.
    publish(signed_too(wanted_release(release_key, at="20261120T100001"), cosign_key), store, reader)

    tool = {key for key in BUNDLES if "manifest" not in key}
    assert keys_of(store) & BUNDLES == tool
    assert audit(store, reader).exit_code == 0


def test_bundles_follow_what_they_sign_and_come_before_the_pointers(
    store: MemoryBucket, release_key: ReleaseKey, reader: Consumer, cosign_key: cosign.SigningKey
) -> None:
    plan = plan_publication(signed_too(wanted_release(release_key), cosign_key), store, reader)

    order = [action.key for action in plan.actions]
    assert order.index(MANIFEST) < order.index(f"{MANIFEST}.sigstore.json") < order.index(POINTER)
    assert order.index(POINTER) < order.index(f"{POINTER}.sigstore.json") < order.index("index.json")


def test_index_and_page_list_them(
    store: MemoryBucket, release_key: ReleaseKey, reader: Consumer, cosign_key: cosign.SigningKey
) -> None:
    publish(signed_too(wanted_release(release_key), cosign_key), store, reader)

    listed = json.loads(get(store, "index.json"))["bundles"]
    assert {record["key"] for record in listed} == {key for key in BUNDLES if "/1/" in key or "0.1.0" in key}
    assert {record["hint"] for record in listed} == {cosign_key.public.hint}
    page = get(store, "index.html").decode()
    assert f'<a href="{MANIFEST}.sigstore.json">' in page
    assert '<a href="tool/0.1.0/dkp-fips-tool.sigstore.json">' in page
    assert "cosign verify-blob --key cosign.pub" in page


def test_a_next_serial_without_cosign_leaves_an_old_copy_that_audit_reports(
    store: MemoryBucket, release_key: ReleaseKey, reader: Consumer, cosign_key: cosign.SigningKey
) -> None:
    publish(signed_too(wanted_release(release_key), cosign_key), store, reader)
    second = wanted_release(release_key, version="0.2.0", serial=2)
    publish(second, store, reader)

    found = {(finding.key, finding.code, finding.exit_code) for finding in audit(store, reader).findings}
    assert (f"{POINTER}.sigstore.json", "pointer", 1) in found

    publish(signed_too(second, cosign_key), store, reader)
    assert audit(store, reader).findings == ()


def test_a_next_serial_and_tool_move_the_copies_beside_the_pointers_at_once(
    store: MemoryBucket, release_key: ReleaseKey, reader: Consumer, cosign_key: cosign.SigningKey
) -> None:
    publish(signed_too(wanted_release(release_key), cosign_key), store, reader)
    publish(signed_too(wanted_release(release_key, version="0.2.0", serial=2), cosign_key), store, reader)

    newest = POINTER.replace("manifest-", "2/manifest-")
    assert get(store, f"{POINTER}.sigstore.json") == get(store, f"{newest}.sigstore.json")
    assert audit(store, reader).findings == ()


def test_a_changed_bundle_is_reported_and_stops_no_publication(
    store: MemoryBucket, release_key: ReleaseKey, reader: Consumer, cosign_key: cosign.SigningKey, tmp_path: Path
) -> None:
    request = signed_too(wanted_release(release_key), cosign_key)
    publish(request, store, reader)
    (tmp_path / "keys").mkdir()
    stranger = cosign.create(tmp_path / "key", tmp_path / "keys", None)
    store.objects[f"{MANIFEST}.sigstore.json"] = stranger.sign(get(store, MANIFEST)) + b" "

    found = {(finding.key, finding.code): finding.exit_code for finding in audit(store, reader).findings}
    assert found[f"{MANIFEST}.sigstore.json", "bundle"] == 3

    publish(wanted_release(release_key, version="0.2.0", serial=2), store, reader)


@pytest.mark.parametrize("data", [b"", b"{}", b"x" * (17 << 20)], ids=["empty", "no bundle", "too large to read"])
def test_anything_else_under_that_name_is_reported(
    data: bytes, store: MemoryBucket, release_key: ReleaseKey, reader: Consumer
) -> None:
    publish(wanted_release(release_key), store, reader)
    store.objects[f"{MANIFEST}.sigstore.json"] = data

    keys = {finding.key for finding in audit(store, reader).findings}

    assert f"{MANIFEST}.sigstore.json" in keys
    publish(wanted_release(release_key), store, reader)


def test_without_a_key_of_cosign_bundles_are_noted_as_not_verified_and_their_digests_compared(
    store: MemoryBucket, release_key: ReleaseKey, reader: Consumer, consumer: Consumer, cosign_key: cosign.SigningKey
) -> None:
    publish(signed_too(wanted_release(release_key), cosign_key), store, reader)

    result = audit(store, consumer)
    assert result.findings == ()
    assert [note.message for note in result.notes] == [
        "3 Sigstore bundles are not verified: the trust directory has no cosign key (*.pub)."
    ]

    store.objects[f"{MANIFEST}.sigstore.json"] = cosign_key.sign(b"other bytes")
    found = {(finding.key, finding.code) for finding in audit(store, consumer).findings}
    assert (f"{MANIFEST}.sigstore.json", "bundle") in found


def test_a_lost_bundle_is_missed_until_it_is_signed_again(
    store: MemoryBucket, release_key: ReleaseKey, reader: Consumer, cosign_key: cosign.SigningKey
) -> None:
    request = wanted_release(release_key)
    publish(signed_too(request, cosign_key), store, reader)
    del store.objects[f"{MANIFEST}.sigstore.json"]

    found = {(finding.key, finding.code) for finding in audit(store, reader).findings}
    assert (f"{MANIFEST}.sigstore.json", "lost") in found
    with pytest.raises(Conflict, match="is missing"):
        publish(request, store, reader)

    publish(signed_too(request, cosign_key), store, reader)
    assert audit(store, reader).findings == ()


def test_a_bundle_without_what_it_signs_is_reported(
    store: MemoryBucket, release_key: ReleaseKey, reader: Consumer, cosign_key: cosign.SigningKey
) -> None:
    publish(wanted_release(release_key), store, reader)
    key = "tool/manifests/v1.21.3/9/manifest-rhel8.json.asc.sigstore.json"
    store.objects[key] = cosign_key.sign(b"nothing")

    assert [(finding.key, finding.code) for finding in audit(store, reader).findings] == [(key, "bundle")]
