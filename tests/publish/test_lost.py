"""Published objects that are gone: the audit reports them, and users declare what was removed on purpose."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from fipsmanifest.errors import Conflict, FipsManifestError
from fipsmanifest.publish import index
from fipsmanifest.publish.address import open_bucket
from fipsmanifest.publish.audit import audit
from fipsmanifest.publish.bucket import Bucket
from fipsmanifest.publish.consumer import Consumer
from fipsmanifest.publish.publisher import publish
from fipsmanifest.publish.request import PublishRequest
from tests.support import command
from tests.support.releases import ReleaseKey, everything, wanted_manifest, wanted_release, wanted_tool

POINTER = "tool/manifests/v1.21.3/manifest-rhel8.json.asc"
FIRST, SECOND = (f"tool/manifests/v1.21.3/{serial}/manifest-rhel8.json.asc" for serial in (1, 2))
LATER = "tool/manifests/v1.22.0/1/manifest-rhel8.json.asc"
TOOL = [f"tool/0.1.0/dkp-fips-tool{suffix}" for suffix in ("", ".asc", ".sha256")]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "bucket"


@pytest.fixture
def bucket(root: Path) -> Bucket:
    return open_bucket(str(root))


def later(key: ReleaseKey, **of: Any) -> PublishRequest:
    return PublishRequest((wanted_manifest(key, kubernetes="v1.22.0", **of),), wanted_tool(key))


def lost(bucket: Bucket, consumer: Consumer) -> list[tuple[str, int]]:
    return [(item.key, item.exit_code) for item in audit(bucket, consumer).findings if item.code == "lost"]


def run(root: Path, key: ReleaseKey, *words: str, code: int = 0) -> str:
    environment = {**os.environ, "GNUPGHOME": str(key.home)}
    made = command.run(*words, "--keys", key.trust, env=environment, code=code)
    return made.stdout + made.stderr


def withdraw(root: Path, key: ReleaseKey, *keys: str, code: int = 0) -> str:
    return run(root, key, "publish", *(f"--withdraw={one}" for one in keys), "--to", str(root), code=code)


def test_a_release_that_is_gone_stops_the_next_publication_until_it_is_published_again(
    root: Path, bucket: Bucket, release_key: ReleaseKey, consumer: Consumer
) -> None:
    publish(wanted_release(release_key), bucket, consumer)
    publish(later(release_key), bucket, consumer)
    good = everything(str(root))
    shutil.rmtree(root / "tool/manifests/v1.22.0")
    before = everything(str(root))

    with pytest.raises(Conflict, match=f"{LATER} was published .* and is missing") as caught:
        publish(wanted_release(release_key), bucket, consumer)

    assert f"--withdraw {LATER}" in caught.value.advice
    assert everything(str(root)) == before
    assert lost(bucket, consumer) == [(LATER, 1)]
    assert "Restore the lost objects first" in next(
        item.advice for item in audit(bucket, consumer).findings if item.code == "index"
    )
    publish(later(release_key), bucket, consumer)
    assert everything(str(root)) == good


@pytest.mark.parametrize("gone", [[FIRST], TOOL, TOOL[2:]], ids=["serial", "tool", "sidecar"])
def test_a_lower_serial_and_an_older_tool_are_missed_too(
    root: Path, bucket: Bucket, release_key: ReleaseKey, consumer: Consumer, gone: list[str]
) -> None:
    publish(wanted_release(release_key), bucket, consumer)
    second = wanted_release(release_key, version="0.2.0", serial=2)
    publish(second, bucket, consumer)
    for key in gone:
        (root / key).unlink()

    with pytest.raises(FipsManifestError) as caught:
        publish(second, bucket, consumer)

    assert caught.value.exit_code == 6
    assert all(f"{key} was published" in str(caught.value) for key in gone)
    assert lost(bucket, consumer) == [(key, 1) for key in gone]


def test_several_conflicts_are_told_one_by_one_in_json(
    root: Path, bucket: Bucket, release_key: ReleaseKey, consumer: Consumer
) -> None:
    publish(wanted_release(release_key), bucket, consumer)
    publish(wanted_release(release_key, version="0.2.0", serial=2), bucket, consumer)
    for key in TOOL:
        (root / key).unlink()

    words = ("publish", "--withdraw", TOOL[0], "--to", str(root), "--json", "--keys", str(release_key.trust))
    made = command.run(*words)

    error = json.loads(made.stdout)["error"]
    assert (made.returncode, error["code"]) == (6, 6)
    assert [one["message"].partition(" was published")[0] for one in error["errors"]] == TOOL[1:]
    assert [one["advice"].rpartition(" ")[2] for one in error["errors"]] == TOOL[1:]
    assert all(one["message"] in error["message"] and one["advice"] in error["advice"] for one in error["errors"])


def test_what_was_removed_on_purpose_is_withdrawn_by_name_and_remembered(
    root: Path, bucket: Bucket, release_key: ReleaseKey, consumer: Consumer
) -> None:
    publish(wanted_release(release_key), bucket, consumer)
    publish(later(release_key), bucket, consumer)
    publish(later(release_key, serial=2), bucket, consumer)
    shutil.rmtree(root / "tool/manifests/v1.22.0/1")

    withdraw(root, release_key, LATER)
    once = everything(str(root))
    withdraw(root, release_key, LATER)
    publish(wanted_release(release_key), bucket, consumer)

    assert everything(str(root)) == once
    assert json.loads(once["index.json"])["withdrawn"] == [LATER]
    after = audit(bucket, consumer)
    assert (after.findings, [note.message for note in after.notes]) == ((), [f"{LATER} was published and withdrawn."])
    # Killed between the two files, the run that wrote it is completed by any other one.
    (root / "index.html").write_bytes((root / "index.html").read_bytes() + b"\n")
    publish(wanted_release(release_key), bucket, consumer)
    assert everything(str(root)) == once


def test_a_serial_that_was_withdrawn_is_never_made_anew_and_a_reissue_passes_over_it(
    root: Path, bucket: Bucket, release_key: ReleaseKey, consumer: Consumer
) -> None:
    for serial in (1, 2):
        publish(wanted_release(release_key, serial=serial), bucket, consumer)
    names = ("rhel7", "rhel8")
    shutil.rmtree(root / "tool/manifests/v1.21.3/2")
    for name in names:
        (root / f"tool/manifests/v1.21.3/manifest-{name}.json.asc").unlink()
    withdraw(root, release_key, *(SECOND.replace("rhel8", name) for name in names))

    with pytest.raises(FipsManifestError, match="withdrawn: it cannot be published again") as caught:
        publish(wanted_release(release_key, serial=2, kubelet=b"other"), bucket, consumer)
    words = ("reissue", "v1.21.3", "--el", "8", "--reason", "the second was withdrawn", "--to", str(root), "--json")
    environment = {**os.environ, "GNUPGHOME": str(release_key.home)}
    made = [command.run(*words, "--keys", release_key.trust, env=environment) for _ in range(2)]

    assert caught.value.exit_code == 6
    assert [json.loads(one.stdout)["serial"] for one in made] == [3, 3]
    # Who can write to the bucket can write that into the index.
    said = "Serial 2 was withdrawn, as index.json says, which is not signed: serial 3 has the content of serial 1."
    assert [said in one.stderr for one in made] == [True, False]


def test_a_serial_that_is_gone_is_not_made_with_another_content(
    root: Path, bucket: Bucket, release_key: ReleaseKey, consumer: Consumer
) -> None:
    publish(wanted_release(release_key), bucket, consumer)
    for name in ("rhel7", "rhel8"):
        (root / f"tool/manifests/v1.21.3/manifest-{name}.json.asc").unlink()
    shutil.rmtree(root / "tool/manifests/v1.21.3/1")

    with pytest.raises(FipsManifestError, match="with other content, and is missing") as caught:
        publish(wanted_release(release_key, created="2026-11-21T00:00:00Z"), bucket, consumer)

    assert caught.value.exit_code == 6
    # Another signature of the same content is as good as the one that is gone.
    publish(wanted_release(release_key, at="20261122T100000"), bucket, consumer)
    assert audit(bucket, consumer).findings == ()


def test_a_pointer_to_a_serial_that_is_gone_is_found_and_not_taken_for_a_newer_one(
    root: Path, bucket: Bucket, release_key: ReleaseKey, consumer: Consumer
) -> None:
    for serial in (1, 2):
        publish(wanted_release(release_key, serial=serial), bucket, consumer)
    (root / SECOND).unlink()
    (root / "index.json").unlink()

    with pytest.raises(FipsManifestError, match=f"is of serial 2, and {SECOND} is missing") as caught:
        publish(PublishRequest((wanted_manifest(release_key),), wanted_tool(release_key)), bucket, consumer)
    found = {(item.key, item.code, item.exit_code) for item in audit(bucket, consumer).findings}

    assert caught.value.exit_code == 6
    assert (POINTER, "pointer", 3) in found
    # As the advice says.
    shutil.copyfile(root / POINTER, root / SECOND)
    publish(PublishRequest((wanted_manifest(release_key),), wanted_tool(release_key)), bucket, consumer)
    assert audit(bucket, consumer).findings == ()


def test_only_what_is_missed_can_be_withdrawn(
    root: Path, bucket: Bucket, release_key: ReleaseKey, consumer: Consumer
) -> None:
    publish(wanted_release(release_key), bucket, consumer)
    before = everything(str(root))

    assert "fipsmanifest never removes a published object" in withdraw(root, release_key, FIRST, code=2)
    assert "is not missing" in withdraw(root, release_key, LATER, code=2)
    assert "is not missing" in withdraw(root, release_key, "../etc", code=2)
    run(root, release_key, "publish", "v1.21.3", f"--withdraw={LATER}", "--to", str(root), code=2)
    assert everything(str(root)) == before


def test_what_is_put_back_is_withdrawn_no_more(
    root: Path, bucket: Bucket, release_key: ReleaseKey, consumer: Consumer
) -> None:
    for serial in (1, 2):
        publish(wanted_release(release_key, serial=serial), bucket, consumer)
    good = everything(str(root))
    (root / FIRST).unlink()
    withdraw(root, release_key, FIRST)
    (root / FIRST).write_bytes(good[FIRST])

    publish(PublishRequest(), bucket, consumer)

    assert everything(str(root)) == good


def test_an_index_that_lies_about_what_a_stranger_signed_is_missed_by_nobody(
    root: Path, bucket: Bucket, release_key: ReleaseKey, consumer: Consumer
) -> None:
    publish(wanted_release(release_key), bucket, consumer)
    good = everything(str(root))
    told = index.read(good["index.json"])
    stranger = dataclasses.replace(
        told.manifests[0], key=LATER, kubernetes="v1.22.0", name="rhel8", fingerprint="AB" * 20
    )
    (root / "index.json").write_bytes(index.write(dataclasses.replace(told, manifests=(stranger, *told.manifests))))

    publish(PublishRequest(), bucket, consumer)

    assert everything(str(root)) == good
