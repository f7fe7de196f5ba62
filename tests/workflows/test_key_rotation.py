"""A change of keys where everything is published already: the tool of the new keys goes beside the old one."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace

from fipsmanifest import __version__

from .conftest import DEFINITIONS, Site


def test_after_a_rotation_the_new_tool_is_published_and_the_old_one_stays(site: Site) -> None:
    shutil.copytree(site.keys, site.directory / "keys")
    site = replace(site, keys=site.directory / "keys")
    site.release("--to", site.bucket, "--el", "8")
    old = (site.bucket / f"tool/{__version__}/dkp-fips-tool").read_bytes()

    site.run("keys", "init", "--user-id", "The next release key <next@example.com>", "--no-passphrase")
    listed = json.loads(site.run("keys", "list", "--json").stdout)["keys"]
    first, successor = (
        next(key for key in listed if key["role"] == "manifest" and word in key["user_id"])
        for word in ("Test release", "next")
    )
    for role in ("manifest", "tool"):
        words = ["--role", role, "--reason", "rotation", "--replaced-by", successor["fingerprint"]]
        site.run("keys", "retire", first["fingerprint"], *words)
    made = json.loads(
        site.release("--to", site.bucket, "--el", "8", "--signing-key", successor["fingerprint"], "--json").stdout
    )

    # Edition 2 with the new keys, 3 and 4 with each entry of the old one retired.
    version = f"{__version__}.post3"
    assert made["tool"]["version"] == version
    new = (site.bucket / f"tool/{version}/dkp-fips-tool").read_bytes()
    assert hashlib.sha256(new).hexdigest() == made["tool"]["sha256"]
    assert (site.bucket / f"tool/{__version__}/dkp-fips-tool").read_bytes() == old != new
    assert (site.bucket / "tool/dkp-fips-tool").read_bytes() == new
    assert (site.bucket / "tool/dkp-fips-tool.sha256").read_text().startswith(f"# tool/{version}/dkp-fips-tool\n")
    verified = json.loads(site.run("verify", site.bucket / "tool/dkp-fips-tool", "--json").stdout)
    assert verified["fingerprint"] == successor["fingerprint"]
    # What the retired key signed before stays as it is, and stays good.
    assert {item["signature"] for item in made["manifests"]} == {"published"}
    site.run("verify", site.bucket / "tool/manifests/v1.21.3/manifest-rhel8.json.asc")
    site.run("audit", site.bucket)


# Story: the old key leaked. Nothing that it signed is trusted any more, including what is in the bucket; so the release
# is cut again from its upstream, under a new serial, with a new key.
def test_after_a_leak_a_release_with_a_new_serial_replaces_what_the_revoked_key_signed(site: Site) -> None:
    shutil.copytree(site.keys, site.directory / "keys")
    site = replace(site, keys=site.directory / "keys")
    site.release("--to", site.bucket, "--el", "8")
    manifest = site.bucket / "tool/manifests/v1.21.3/manifest-rhel8.json.asc"
    leaked = manifest.read_bytes()

    site.run("keys", "init", "--user-id", "The next release key <next@example.com>", "--no-passphrase")
    listed = json.loads(site.run("keys", "list", "--json").stdout)["keys"]
    old, new = listed[0]["fingerprint"], listed[-1]["fingerprint"]
    site.run("keys", "revoke", old, "--reason", "leaked", "--replaced-by", new)
    refused = site.run("verify", manifest, code=3).stderr
    assert "revoked (leaked)" in refused
    assert new in refused

    shutil.copytree(DEFINITIONS / "v1.21.3", site.directory / "releases/v1.21.3")
    path = site.directory / "releases/v1.21.3/rhel8.toml"
    path.write_text(path.read_text().replace("serial = 1", 'serial = 2\nreason = "the release key leaked"'))
    made = json.loads(site.release("--to", site.bucket, "--el", "8", "--definitions", path.parents[1], "--json").stdout)

    assert [item["signature"] for item in made["manifests"]] == ["signed"]
    verified = json.loads(site.run("verify", manifest, "--json").stdout)
    assert (verified["fingerprint"], verified["serial"]) == (new, 2)
    tool = json.loads(site.run("verify", site.bucket / "tool/dkp-fips-tool", "--json").stdout)
    assert tool["fingerprint"] == new
    # The evidence stays where it was, and is not trusted.
    serial_1 = site.bucket / "tool/manifests/v1.21.3/1/manifest-rhel8.json.asc"
    assert serial_1.read_bytes() == leaked
    site.run("verify", serial_1, "--no-state", code=3)
