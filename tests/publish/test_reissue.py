"""A reissue after the release key was revoked: from the bucket alone, by the new key, and reported."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from fipsmanifest.model.identity import ManifestId
from fipsmanifest.publish.address import open_bucket
from fipsmanifest.publish.consumer import Consumer
from fipsmanifest.publish.publisher import publish
from fipsmanifest.publish.request import ManifestToPublish, PublishRequest
from fipsmanifest.trust.store import load_trust
from tests.support import command
from tests.support.releases import ReleaseKey, payload, wanted_release

POINTER = "tool/manifests/v1.21.3/manifest-rhel8.json.asc"


class Office:
    """A release engineer with a bucket, a trust directory and a key of each time."""

    def __init__(self, directory: Path, old: ReleaseKey, new: ReleaseKey) -> None:
        self.bucket, self.keys, self.old, self.new = directory / "bucket", directory / "keys", old, new
        publish(wanted_release(old), open_bucket(str(self.bucket)), old.consumer)
        self.keys.mkdir()
        for name, key in (("old.asc", old), ("new.asc", new)):
            (self.keys / name).write_bytes((key.trust / "release.asc").read_bytes())
        listed = [json.loads((key.trust / "trust.json").read_text())["keys"] for key in (old, new)]
        document = {"schema": "fipsmanifest/trust/v1", "edition": 2, "keys": listed[0] + listed[1]}
        (self.keys / "trust.json").write_text(json.dumps(document))

    def run(self, *arguments: str, code: int = 0, gnupghome: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run in a directory that holds neither definitions nor anything else of this repository."""
        environment = {**os.environ, "GNUPGHOME": str(gnupghome or self.new.home)}
        return command.run(*arguments, "--keys", self.keys, cwd=self.keys, env=environment, code=code)

    def reissue(
        self, *more: str, el: int = 8, code: int = 0, gnupghome: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        words = ("--el", str(el), "--reason", "the release key leaked", "--to", str(self.bucket), "--json")
        return self.run("reissue", "v1.21.3", *words, *more, code=code, gnupghome=gnupghome)

    def audit(self, code: int) -> Any:
        return json.loads(self.run("audit", str(self.bucket), "--json", code=code).stdout)

    def verified(self, path: str) -> Any:
        options = ["--no-state"] if path.endswith(".json.asc") else []
        return json.loads(self.run("verify", str(self.bucket / path), "--json", *options).stdout)

    def everything(self) -> dict[str, bytes]:
        files = (path for path in self.bucket.rglob("*") if path.is_file())
        return {path.relative_to(self.bucket).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def office(tmp_path: Path, release_key: ReleaseKey, other_key: ReleaseKey) -> Office:
    return Office(tmp_path, release_key, other_key)


def test_what_a_revoked_key_signed_is_not_read_unless_that_key_is_named(office: Office) -> None:
    office.run("keys", "revoke", office.old.fingerprint, "--reason", "leaked")
    before = office.everything()

    assert "revoked" in office.reissue(code=3).stderr
    assert "not listed as revoked" in office.reissue("--accept-revoked", office.new.fingerprint, code=2).stderr
    assert office.everything() == before


def test_the_named_key_is_believed_once_and_everything_at_the_well_known_addresses_is_the_new_keys(
    office: Office,
) -> None:
    office.run("keys", "revoke", office.old.fingerprint, "--reason", "leaked")
    before = office.everything()

    made = office.reissue("--accept-revoked", office.old.fingerprint)
    office.reissue("--accept-revoked", office.old.fingerprint, el=7)

    assert "warning" in made.stderr and office.old.fingerprint in made.stderr
    document = json.loads(made.stdout)
    assert (document["serial"], document["accepted_revoked"]) == (2, office.old.fingerprint)
    manifest, tool = office.verified(POINTER), office.verified("tool/dkp-fips-tool")
    assert (manifest["serial"], manifest["reason"]) == (2, "the release key leaked")
    assert manifest["fingerprint"] == tool["fingerprint"] == office.new.fingerprint
    # What never changes did not.
    after = office.everything()
    assert {key: after[key] for key in before if "/1/" in key or "0.1.0/" in key} == {
        key: data for key, data in before.items() if "/1/" in key or "0.1.0/" in key
    }
    signed = after[POINTER].decode()
    document = json.loads(signed[signed.index("{") : signed.index("-----BEGIN PGP SIGNATURE")])
    assert document["files"][0]["path"] == "/usr/bin/kubelet"
    assert document["tool"]["version"] in after["tool/dkp-fips-tool.sha256"].decode()


def test_what_the_revoked_key_signed_fails_the_audit_until_it_is_replaced_and_is_a_note_from_then_on(
    office: Office,
) -> None:
    office.run("keys", "revoke", office.old.fingerprint, "--reason", "leaked")
    revoked = {
        *(f"tool/manifests/v1.21.3/1/manifest-rhel{el}.json.asc" for el in (7, 8)),
        "tool/0.1.0/dkp-fips-tool",
    }
    assert {item["key"] for item in office.audit(3)["findings"] if item["code"] == "signature"} >= revoked

    # EL7 is replaced, EL8 is not: readers of EL8 have nothing good to go to.
    office.reissue("--accept-revoked", office.old.fingerprint, el=7)
    half = office.audit(3)
    assert {item["key"] for item in half["notes"]} == revoked - {"tool/manifests/v1.21.3/1/manifest-rhel8.json.asc"}
    office.reissue("--accept-revoked", office.old.fingerprint, el=8)

    done = office.audit(0)
    assert done["findings"] == []
    assert {item["key"] for item in done["notes"]} == revoked
    notes = {item["key"]: item for item in done["notes"]}
    first = notes["tool/manifests/v1.21.3/1/manifest-rhel8.json.asc"]
    assert first["replaced_by"] == "tool/manifests/v1.21.3/2/manifest-rhel8.json.asc"
    assert f"{office.old.fingerprint} is revoked (leaked)" in first["message"]
    assert "note: tool/0.1.0/dkp-fips-tool is refused" in office.run("audit", str(office.bucket)).stdout
    # Nothing has made the object good again.
    office.run("verify", str(office.bucket / first["key"]), "--no-state", code=3)


def test_a_manifest_of_the_new_key_that_names_the_revoked_keys_tool_is_to_be_reissued_too(office: Office) -> None:
    # Story: a rotation is under way, EL8 is the new key's already, and then the old key leaks.
    office.reissue(el=8)
    office.run("keys", "revoke", office.old.fingerprint, "--reason", "leaked")
    office.reissue("--accept-revoked", office.old.fingerprint, el=7)

    (left,) = office.audit(1)["findings"]
    assert (left["key"], left["code"]) == ("tool/manifests/v1.21.3/2/manifest-rhel8.json.asc", "tool")
    assert (
        f"names the tool 0.1.0, which is refused: The signer is not trusted: key {office.old.fingerprint}"
        in (left["message"])
    )
    assert "--accept-revoked" in left["advice"]

    told = office.reissue("--accept-revoked", office.old.fingerprint, el=8).stderr
    assert f"Serial 2 is signed by {office.new.fingerprint}" in told
    assert "is accepted once: serial" not in told
    assert office.audit(0)["findings"] == []


def test_once_the_revoked_keys_objects_are_taken_away_there_is_nothing_left_to_note(office: Office) -> None:
    office.run("keys", "revoke", office.old.fingerprint, "--reason", "leaked")
    for el in (7, 8):
        office.reissue("--accept-revoked", office.old.fingerprint, el=el)

    # By hand, as docs/publishing.md says: nothing here removes what was published.
    for note in office.audit(0)["notes"]:
        for path in (office.bucket / note["key"]).parent.iterdir():
            path.unlink()

    assert office.audit(0)["notes"] == []


@pytest.mark.parametrize("revoked", [False, True])
def test_a_reissue_that_was_killed_after_its_manifest_is_completed_and_not_made_again(
    office: Office, revoked: bool
) -> None:
    more = ("--accept-revoked", office.old.fingerprint) if revoked else ()
    if revoked:
        office.run("keys", "revoke", office.old.fingerprint, "--reason", "leaked")
    before = office.everything()
    office.reissue(*more)
    complete = office.everything()
    # As it was left: what never changes is written, nothing points at it.
    for key, data in before.items():
        (office.bucket / key).write_bytes(data)

    made = office.reissue(*more)

    assert json.loads(made.stdout)["serial"] == 2
    assert office.everything() == complete
    # Another reason is another serial.
    again = office.reissue(*more, "--reason", "the certificate moved")
    assert json.loads(again.stdout)["serial"] == 3


@pytest.mark.parametrize("revoked", [False, True])
def test_a_dry_run_says_what_would_be_published_and_needs_no_secret_key(
    office: Office, tmp_path: Path, revoked: bool
) -> None:
    more = ("--accept-revoked", office.old.fingerprint) if revoked else ()
    if revoked:
        office.run("keys", "revoke", office.old.fingerprint, "--reason", "leaked")
    before, nobody = office.everything(), tmp_path / "nobody"
    nobody.mkdir(mode=0o700)

    planned = json.loads(office.reissue(*more, "--dry-run", gnupghome=nobody).stdout)
    assert office.everything() == before
    made = json.loads(office.reissue(*more).stdout)

    assert (planned["serial"], planned["published_to"], planned["written"]) == (2, None, [])
    would_write = [item["key"] for item in planned["plan"] if item["action"] in {"create", "move"}]
    assert sorted(would_write) == sorted(made["written"])
    unsigned = next(item for item in planned["plan"] if item["key"].endswith("/2/manifest-rhel8.json.asc"))
    assert (unsigned["sha256"], unsigned["detail"]) == (None, "to be signed")
    # What is there already is not planned again.
    again = json.loads(office.reissue(*more, "--dry-run", gnupghome=nobody).stdout)
    assert (again["serial"], {item["action"] for item in again["plan"]}) == (2, {"same"})


@pytest.mark.parametrize("reason", ["", "one\ntwo"])
def test_a_reason_that_is_none_is_refused(office: Office, reason: str) -> None:
    before = office.everything()

    assert "--reason must be one printable line" in office.reissue("--reason", reason, code=2).stderr
    assert office.everything() == before


def test_of_several_manifests_for_one_el_the_named_one_is_reissued(office: Office) -> None:
    minor = office.new.clearsign(payload(name="rhel-84"))
    bucket = open_bucket(str(office.bucket))
    publish(
        PublishRequest((ManifestToPublish(ManifestId("v1.21.3", "rhel-84", 1), minor),)),
        bucket,
        Consumer.trusting(load_trust(str(office.keys))),
    )

    asked = office.reissue(code=2)
    assert "rhel-84, rhel8" in asked.stderr and "--name" in asked.stderr
    assert json.loads(office.reissue("--name", "rhel-84").stdout)["written"][0] == (
        "tool/manifests/v1.21.3/2/manifest-rhel-84.json.asc"
    )
    # EL 7 is unambiguous; what is missing is reported.
    assert json.loads(office.reissue(el=7).stdout)["name"] == "rhel7"
    assert "Publish it first" in office.reissue(el=9, code=4).stderr
    assert "Publish it first" in office.reissue("--name", "rhel-86", code=4).stderr
    office.reissue("--name", "../evil", code=2)
