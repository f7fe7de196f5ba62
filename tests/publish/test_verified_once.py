"""A run passes the same signed bytes to gpgv once, and caches neither refusals nor results for other bytes."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import pytest

from fipsmanifest.errors import NotTrusted
from fipsmanifest.model.definition_file import load
from fipsmanifest.publish import consumer as consumers
from fipsmanifest.publish.address import open_bucket
from fipsmanifest.publish.publisher import plan_publication, publish
from fipsmanifest.publish.request import PublishRequest
from fipsmanifest.publish.snapshot import read_snapshot
from fipsmanifest.state.workspace import Workspace
from fipsmanifest.trust.keys import Trust
from fipsmanifest.trust.store import load_trust
from fipsmanifest.trust.verify import VerifiedManifest, verify_cleartext
from fipsmanifest.workflows.signing import Signer, prepare_manifest
from tests.support.releases import ReleaseKey, payload, wanted_manifest, wanted_tool

RHEL8 = Path(__file__).parents[2] / "releases" / "v1.21.3" / "rhel8.toml"


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the verifications of signed files by digest."""
    counts: Counter[str] = Counter()

    def counting(data: bytes, trust: Trust) -> VerifiedManifest:
        counts[hashlib.sha256(data).hexdigest()] += 1
        return verify_cleartext(data, trust)

    monkeypatch.setattr(consumers, "verify_cleartext", counting)
    return counts


def test_signing_planning_and_reading_back_verify_a_file_once(
    tmp_path: Path, release_key: ReleaseKey, verified: Counter[str]
) -> None:
    bucket = open_bucket(str(tmp_path / "bucket"))
    manifest = wanted_manifest(release_key, serial=1)
    publish(PublishRequest((manifest,), wanted_tool(release_key)), bucket, release_key.consumer)
    verified.clear()
    signer = Signer(load_trust(str(release_key.trust)))

    published = read_snapshot(bucket, signer.consumer, [manifest.key], "0.1.0")
    prepared = prepare_manifest(load(RHEL8), payload(serial=1), Workspace(tmp_path / "work"), signer, published)
    plan = plan_publication(PublishRequest((prepared.to_publish,)), bucket, signer.consumer)

    assert prepared.made == "published" and not plan.writes
    assert verified == {hashlib.sha256(manifest.signed).hexdigest(): 1}


def test_a_file_that_was_refused_is_refused_again_and_a_changed_one_is_verified(
    release_key: ReleaseKey, verified: Counter[str]
) -> None:
    consumer, signed = release_key.consumer, wanted_manifest(release_key).signed
    changed = signed.replace(b"kubelet", b"kubelex", 1)

    consumer.manifest(signed)
    for _ in range(2):
        with pytest.raises(NotTrusted):
            consumer.manifest(changed)

    assert sorted(verified.values()) == [1, 2]


def test_more_than_is_kept_is_verified_again(
    release_key: ReleaseKey, verified: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "_MEMO_BYTES", 100)
    consumer, signed = release_key.consumer, wanted_manifest(release_key).signed

    consumer.manifest(signed)
    consumer.manifest(signed)

    assert list(verified.values()) == [2]
