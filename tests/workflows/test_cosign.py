"""A release that is signed for cosign as well, from `release` and from the single stages."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from fipsmanifest.sign import cosign
from fipsmanifest.sign.gpg import Passphrase
from tests.support import cosign as real

from .conftest import Site

MANIFEST = "tool/manifests/v1.21.3/manifest-rhel8.json.asc"
BUNDLES = [
    "tool/0.1.0/dkp-fips-tool.sigstore.json",
    "tool/dkp-fips-tool.sigstore.json",
    "tool/manifests/v1.21.3/1/manifest-rhel8.json.asc.sigstore.json",
    "tool/manifests/v1.21.3/manifest-rhel8.json.asc.sigstore.json",
]


@pytest.fixture
def engineer(site: Site) -> Site:
    """A release engineer with a key for cosign, and a trust directory that has its public half."""
    keys = shutil.copytree(site.keys, site.directory / "keys")
    cosign.create(site.directory / "cosign.key", keys, Passphrase(real.PASSWORD))
    return replace(site, keys=keys, environment={"COSIGN_PASSWORD": real.PASSWORD})


def bundles(site: Site) -> list[str]:
    return sorted(str(path.relative_to(site.bucket)) for path in site.bucket.rglob("*.sigstore.json"))


@real.on_debian_12
def test_a_release_is_published_with_bundles_and_a_second_run_changes_nothing(engineer: Site) -> None:
    public = engineer.keys / "cosign.pub"
    words = ("--to", engineer.bucket, "--el", "8", "--cosign-key", "cosign.key", "--json")
    made = json.loads(engineer.release(*words).stdout)

    assert bundles(engineer) == BUNDLES
    for name in BUNDLES:
        bundle = engineer.bucket / name
        assert real.verifies(bundle, bundle.with_name(bundle.name.removesuffix(".sigstore.json")), public)
    kept = engineer.directory / made["manifests"][0]["sigstore"]
    assert kept.read_bytes() == (engineer.bucket / BUNDLES[2]).read_bytes()
    assert json.loads(engineer.release(*words).stdout)["written"] == []
    engineer.run("audit", engineer.bucket)
    engineer.run("verify", engineer.bucket / MANIFEST, "--cosign-key", public, "--keys", engineer.keys)

    # Behind the air gap, what was carried verifies by that key alone: ours, cosign's, and by the instructions.
    sources: list[list[str | Path]] = [["--from", engineer.bucket], []]
    for source in sources:
        carried = json.loads(engineer.run("bundle", "export", "v1.21.3", "--el", "8", *source, "--json").stdout)
        assert carried["sigstore"] == ["manifest-rhel8.json.asc.sigstore.json", "dkp-fips-tool.sigstore.json"]
        subprocess.run(["tar", "-xf", carried["path"]], cwd=engineer.directory, check=True)
        place = engineer.directory / "fips-v1.21.3-rhel8"
        for name in carried["sigstore"]:
            signed = place / name.removesuffix(".sigstore.json")
            engineer.run("verify", signed, "--cosign-key", public)
            assert real.verifies(place / name, signed, public)
            assert f"--bundle {name} " in (place / "README.txt").read_text()

    # A reissue moves manifest and bundle.
    engineer.run(
        "reissue", "v1.21.3", "--el", "8", "--reason", "again", "--to", engineer.bucket, "--cosign-key", "cosign.key"
    )
    assert real.verifies(engineer.bucket / BUNDLES[3], engineer.bucket / MANIFEST, public)
    engineer.run("audit", engineer.bucket)


def test_the_stages_hand_bundles_on_and_refuse_one_that_does_not_belong(engineer: Site) -> None:
    engineer.release("--el", "8")
    listed = json.loads(engineer.run("sign", "v1.21.3", "--el", "8", "--cosign-key", "cosign.key", "--json").stdout)[
        "files"
    ]
    paths = {file["of"]: engineer.directory / file["path"] for file in listed}
    assert list(paths) == [
        "v1.21.3/rhel8", "v1.21.3/rhel8 for cosign", "tool 0.1.0", "tool 0.1.0 for cosign",
    ]  # fmt: skip

    kept = paths["v1.21.3/rhel8 for cosign"].read_bytes()
    paths["v1.21.3/rhel8 for cosign"].write_bytes(paths["tool 0.1.0 for cosign"].read_bytes())
    refused = engineer.run("publish", "v1.21.3", "--el", "8", "--to", engineer.bucket, code=3)
    assert "is of a file with SHA-256" in refused.stderr

    # Signing again without the key keeps what holds and removes what does not.
    engineer.run("sign", "v1.21.3", "--el", "8")
    assert not paths["v1.21.3/rhel8 for cosign"].exists()
    paths["v1.21.3/rhel8 for cosign"].write_bytes(kept)
    engineer.run("sign", "v1.21.3", "--el", "8")
    engineer.run("publish", "v1.21.3", "--el", "8", "--to", engineer.bucket)
    assert bundles(engineer) == BUNDLES
    engineer.run("audit", engineer.bucket)


def test_a_key_that_cannot_sign_stops_the_release_before_anything_is_fetched(engineer: Site) -> None:
    other = engineer.directory / "other"
    other.mkdir()
    cosign.create(other / "cosign.key", other / "keys-of-another", None)

    cases: tuple[tuple[dict[str, str], str, int, str], ...] = (
        ({"COSIGN_PASSWORD": "wrong"}, "cosign.key", 4, "is not the passphrase"),
        ({}, "cosign.key", 4, "is not the passphrase"),
        (engineer.environment, "missing.key", 2, "cannot be read"),
        (engineer.environment, "other/cosign.key", 3, "openssl pkey"),
    )
    for environment, key, code, said in cases:
        site = replace(engineer, environment=environment)
        ended = site.release("--el", "8", "--cosign-key", key, code=code)
        assert said in ended.stderr
    assert not (engineer.directory / "work" / "v1.21.3").exists()
    assert "no effect" in engineer.release("--dry-run", "--cosign-key", "cosign.key", code=2).stderr
