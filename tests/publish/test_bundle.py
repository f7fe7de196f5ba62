"""A bundle has the manifest and the tool of one release, whatever a bucket serves under their keys."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fipsmanifest.errors import NotTrusted
from fipsmanifest.model.definition_file import load
from fipsmanifest.publish.address import open_bucket
from fipsmanifest.publish.bucket import Entry
from fipsmanifest.publish.publisher import publish
from fipsmanifest.publish.request import PublishRequest
from fipsmanifest.sign import cosign
from fipsmanifest.trust.store import load_trust
from fipsmanifest.workflows.bundle import Parts, ReleaseBundle, from_bucket, pack
from tests.support import command
from tests.support.releases import ReleaseKey, payload, wanted_release, wanted_tool

RHEL8 = Path(__file__).parents[2] / "releases/v1.21.3/rhel8.toml"


@pytest.fixture(scope="module")
def cosign_key(tmp_path_factory: pytest.TempPathFactory) -> cosign.SigningKey:
    directory = tmp_path_factory.mktemp("cosign")
    (directory / "keys").mkdir()
    cosign.create(directory / "cosign.key", directory / "keys", None)
    return cosign.open_key(directory / "cosign.key", None)


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


def test_an_older_serial_than_that_of_the_definition_is_not_bundled(release_key: ReleaseKey) -> None:
    tool = wanted_tool(release_key)
    parts = Parts(release_key.clearsign(payload()), tool.data, tool.signature, "0.1.0")
    definition = load(RHEL8).model_copy(update={"serial": 2})
    with pytest.raises(NotTrusted, match="has serial 1, which is older than serial 2"):
        pack(definition, parts, load_trust(str(release_key.trust)))


@pytest.mark.parametrize("removed", [False, True])
def test_a_pointer_that_was_put_back_is_not_followed(tmp_path: Path, release_key: ReleaseKey, removed: bool) -> None:
    bucket = open_bucket(str(tmp_path / "bucket"))
    for serial in (1, 2):
        publish(wanted_release(release_key, serial=serial), bucket, release_key.consumer)
    assert from_bucket(load(RHEL8), bucket, release_key.consumer).version == "0.1.0"

    below = tmp_path / "bucket/tool/manifests/v1.21.3"
    (below / "manifest-rhel8.json.asc").write_bytes((below / "1/manifest-rhel8.json.asc").read_bytes())
    if removed:
        (below / "2/manifest-rhel8.json.asc").unlink()
    with pytest.raises(NotTrusted, match="has serial 1, and serial 2 is published") as caught:
        from_bucket(load(RHEL8), bucket, release_key.consumer)
    assert caught.value.reason == "rolled-back"


def test_a_newer_serial_that_was_withdrawn_is_named(tmp_path: Path, release_key: ReleaseKey) -> None:
    bucket = open_bucket(str(tmp_path / "bucket"))
    for serial in (1, 2):
        publish(wanted_release(release_key, serial=serial), bucket, release_key.consumer)
    below = tmp_path / "bucket/tool/manifests/v1.21.3"
    (below / "manifest-rhel8.json.asc").write_bytes((below / "1/manifest-rhel8.json.asc").read_bytes())
    (below / "2/manifest-rhel8.json.asc").unlink()
    # Who can write to the bucket can write that into the index, too.
    second = "tool/manifests/v1.21.3/2/manifest-rhel8.json.asc"
    words = ("publish", "--withdraw", second, "--to", tmp_path / "bucket", "--keys", release_key.trust)
    command.run(*words)

    made = pack(load(RHEL8), from_bucket(load(RHEL8), bucket, release_key.consumer), load_trust(str(release_key.trust)))

    assert made.serial == 1
    assert made.warnings == (f"{second} was withdrawn, as index.json says, which is not signed.",)


def test_a_publication_that_ends_meanwhile_is_not_taken_for_a_pointer_that_was_put_back(
    tmp_path: Path, release_key: ReleaseKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = open_bucket(str(tmp_path / "bucket"))
    publish(wanted_release(release_key, serial=1), bucket, release_key.consumer)
    read, waiting = bucket.list, [wanted_release(release_key, serial=2)]

    def list_meanwhile(prefix: str) -> Iterator[Entry]:
        if waiting:
            publish(waiting.pop(), bucket, release_key.consumer)
        return read(prefix)

    monkeypatch.setattr(bucket, "list", list_meanwhile)

    found = from_bucket(load(RHEL8), bucket, release_key.consumer)
    assert release_key.consumer.manifest(found.manifest).manifest["serial"] == 2


@pytest.mark.parametrize("removed", [False, True])
def test_pointers_to_an_older_tool_are_not_followed(tmp_path: Path, release_key: ReleaseKey, removed: bool) -> None:
    bucket = open_bucket(str(tmp_path / "bucket"))
    publish(wanted_release(release_key), bucket, release_key.consumer)
    # A newer tool has other keys, for example one fewer: the manifests stay as they are.
    publish(PublishRequest((), wanted_tool(release_key, "0.2.0")), bucket, release_key.consumer)
    assert from_bucket(load(RHEL8), bucket, release_key.consumer).version == "0.2.0"

    tool = tmp_path / "bucket/tool"
    for suffix in ("", ".sha256", ".asc"):
        (tool / f"dkp-fips-tool{suffix}").write_bytes((tool / f"0.1.0/dkp-fips-tool{suffix}").read_bytes())
        if removed:
            (tool / f"0.2.0/dkp-fips-tool{suffix}").unlink()
    with pytest.raises(NotTrusted, match=r"has version 0\.1\.0, and version 0\.2\.0 is published") as caught:
        from_bucket(load(RHEL8), bucket, release_key.consumer)
    assert caught.value.reason == "rolled-back"


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


@pytest.mark.parametrize(
    ("status", "signs", "held"),
    [("revoked", False, False), ("retired", False, False), ("retired", True, True), ("active", False, True)],
)
def test_gpgv_gets_no_key_that_is_revoked_or_that_was_retired_before(
    tmp_path: Path, release_key: ReleaseKey, other_key: ReleaseKey, status: str, signs: bool, held: bool
) -> None:
    release_key.revoked(tmp_path / "keys", other_key, "active")
    path = tmp_path / "keys/trust.json"
    document = json.loads(path.read_text())
    for entry in document["keys"]:
        if entry["fingerprint"] == release_key.fingerprint:
            entry |= {"status": status, "valid_to": "2099-01-01T00:00:00Z" if status == "retired" else None}
    path.write_text(json.dumps(document))
    key = release_key if signs else other_key
    tool = wanted_tool(key)
    made = pack(
        load(RHEL8),
        Parts(key.clearsign(payload()), tool.data, tool.signature, "0.1.0"),
        load_trust(str(tmp_path / "keys")),
    )

    subprocess.run(["tar", "-x"], input=made.data, cwd=tmp_path, check=True)
    (directory,) = tmp_path.glob("fips-*")
    (tmp_path / "forged").write_bytes(b"forged")
    (tmp_path / "forged.asc").write_bytes(release_key.detach(b"forged"))
    gpgv = ["gpgv", "--keyring", str(directory / "certificates/keyring.gpg"), "forged.asc", "forged"]
    assert (subprocess.run(gpgv, cwd=tmp_path, capture_output=True, check=False).returncode == 0) == held
    assert (directory / f"certificates/{release_key.fingerprint}.asc").exists() == held
    assert (directory / f"certificates/{other_key.fingerprint}.asc").exists()


def test_a_bundle_has_the_sigstore_bundles_that_hold_and_names_the_others(
    release_key: ReleaseKey, cosign_key: cosign.SigningKey
) -> None:
    tool, signed = wanted_tool(release_key), release_key.clearsign(payload())
    parts = Parts(signed, tool.data, tool.signature, "0.1.0", cosign_key.sign(signed), cosign_key.sign(signed))
    made = pack(load(RHEL8), parts, load_trust(str(release_key.trust)), (cosign_key.public,))

    assert made.sigstore == ("manifest-rhel8.json.asc.sigstore.json",)
    (left_out,) = made.warnings
    assert left_out.startswith("dkp-fips-tool.sigstore.json is left out: ")
    with tarfile.open(fileobj=io.BytesIO(made.data)) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {name for name in names if "sigstore" in name} == set(made.sigstore)


def test_a_bundle_of_a_release_without_cosign_does_not_speak_of_it(release_key: ReleaseKey) -> None:
    made = packed(release_key, payload())

    assert (made.sigstore, made.warnings) == ((), ())
    assert b"cosign" not in made.data
