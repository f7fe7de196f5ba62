"""The whole line on real artifacts: what is published, that it verifies, and that a re-run changes nothing."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import DEFINITIONS, Site

MANIFEST = "tool/manifests/v1.21.3/manifest-rhel8.json.asc"


def tree(directory: Path) -> dict[str, tuple[str, int]]:
    """Every file with its digest and the time of its last change."""
    return {
        str(path.relative_to(directory)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(directory.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def payload(site: Site, name: str = "rhel8", version: str = "v1.21.3") -> dict[str, Any]:
    document = json.loads((site.directory / "work" / version / name / f"manifest-{name}.json").read_text())
    assert isinstance(document, dict)
    return document


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory, site_in: Callable[[Path], Site]) -> Site:
    """Return a site with a release for both ELs, which tests leave as it is; its output is in ``released.json``."""
    site = site_in(tmp_path_factory.mktemp("released"))
    told = site.release("--to", site.bucket, "--json").stdout
    (site.directory / "released.json").write_text(told)
    return site


@pytest.fixture
def with_release(released: Site, site: Site) -> None:
    """Write that release into a site of its own, to go on from."""
    shutil.copytree(released.directory, site.directory, symlinks=True, dirs_exist_ok=True)


def test_a_release_for_both_els_is_published_in_the_agreed_layout(released: Site) -> None:
    made = json.loads((released.directory / "released.json").read_text())
    assert [(item["name"], item["serial"]) for item in made["manifests"]] == [("rhel7", 1), ("rhel8", 1)]
    assert sorted(tree(released.bucket)) == [
        "index.html",
        "index.json",
        "tool/0.1.0/dkp-fips-tool",
        "tool/0.1.0/dkp-fips-tool.asc",
        "tool/0.1.0/dkp-fips-tool.sha256",
        "tool/dkp-fips-tool",
        "tool/dkp-fips-tool.asc",
        "tool/dkp-fips-tool.sha256",
        "tool/manifests/v1.21.3/1/manifest-rhel7.json.asc",
        "tool/manifests/v1.21.3/1/manifest-rhel8.json.asc",
        "tool/manifests/v1.21.3/manifest-rhel7.json.asc",
        "tool/manifests/v1.21.3/manifest-rhel8.json.asc",
    ]


def test_what_is_published_verifies_with_plain_gpg_and_with_ours(released: Site) -> None:
    manifest = released.bucket / MANIFEST
    verified = json.loads(released.run("verify", manifest, "--kubernetes", "v1.21.3", "--el", "8", "--json").stdout)
    assert (verified["valid"], verified["serial"], verified["el"]) == (True, 1, 8)
    gpg = subprocess.run(["gpg", "--verify", manifest], env=released.variables(), capture_output=True, check=False)
    assert gpg.returncode == 0, gpg.stderr
    released.run("verify", manifest, "--el", "7", code=3)
    assert json.loads(released.run("verify", released.bucket / "tool/dkp-fips-tool", "--json").stdout)["kind"] == "tool"
    sidecar = subprocess.run(
        ["sha256sum", "--check", "--strict", "dkp-fips-tool.sha256"], cwd=released.bucket / "tool", check=False
    )
    assert sidecar.returncode == 0


def test_the_digests_are_those_of_the_files_that_other_tools_unpack(released: Site, tmp_path: Path) -> None:
    document = payload(released)
    root = tmp_path / "root"
    root.mkdir()
    (definition,) = [
        one for one in released.upstream.world.definitions if (one.kubernetes, one.name) == ("v1.21.3", "rhel8")
    ]
    for package in released.upstream.world.packages(definition):
        unpack = f"rpm2cpio {package} | cpio -idmu --quiet"
        subprocess.run(["bash", "-o", "pipefail", "-c", unpack], cwd=root, check=True)
    regular = [entry for entry in document["files"] if entry["type"] == "file" and entry["role"] != "ghost"]
    assert len(regular) > 15
    for entry in regular:
        told = subprocess.run(
            ["sha256sum", root / entry["path"].lstrip("/")], capture_output=True, text=True, check=True
        ).stdout
        assert entry["sha256"] == told.split()[0], entry["path"]
        assert int(entry["mode"], 8) == (root / entry["path"].lstrip("/")).stat().st_mode & 0o7777
    unpacked = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and not path.is_symlink()}
    assert {entry["path"].lstrip("/") for entry in regular} == unpacked


def test_the_images_are_those_that_skopeo_and_umoci_see(released: Site, tmp_path: Path) -> None:
    registry = released.upstream.served.registry_address.removeprefix("http://")
    images = payload(released)["images"]
    assert len(images) == 7
    image = next(entry for entry in images if entry["component"] == "etcd")
    source = f"docker://{registry}/{image['reference']}"
    raw = subprocess.run(
        ["skopeo", "inspect", "--tls-verify=false", "--raw", source], capture_output=True, check=True
    ).stdout
    assert image["index"] == f"sha256:{hashlib.sha256(raw).hexdigest()}"
    layout = tmp_path / "layout"
    subprocess.run(
        ["skopeo", "copy", "-q", "--src-tls-verify=false", "--override-arch=amd64", source, f"oci:{layout}:x"],
        check=True,
    )
    subprocess.run(["umoci", "unpack", "--rootless", "--image", f"{layout}:x", tmp_path / "unpacked"], check=True)
    (platform,) = image["platforms"]
    assert platform["files"]
    for entry in platform["files"]:
        data = (tmp_path / "unpacked" / "rootfs" / entry["path"].lstrip("/")).read_bytes()
        assert entry["sha256"] == hashlib.sha256(data).hexdigest()
        assert entry["crypto"]["verdict"] == "proven"


def test_a_second_run_downloads_signs_and_publishes_nothing(released: Site) -> None:
    before, requests = tree(released.bucket), len(released.upstream.served.requests)
    signed = tree(released.directory / "work")
    made = json.loads(released.release("--to", released.bucket, "--json").stdout)
    assert made["written"] == []
    assert {item["signature"] for item in made["manifests"]} == {"published"}
    assert tree(released.bucket) == before
    fetched = [line for line in released.upstream.served.requests[requests:] if ".rpm" in line]
    assert fetched == []
    assert {name: digest for name, (digest, _) in tree(released.directory / "work").items()} == {
        name: digest for name, (digest, _) in signed.items()
    }


def test_another_machine_gets_the_same_bytes(released: Site, tmp_path: Path) -> None:
    other = tmp_path / "another place"
    other.mkdir()
    environment = {"TZ": "Asia/Kathmandu", "LC_ALL": "C", "PYTHONHASHSEED": "7", "PYTHONUTF8": "0", "COLUMNS": "40"}
    there = Site(other, released.keys, released.gnupghome, released.upstream, environment)
    there.start(*there.words("--el", "8"), code=0, umask=0o077)
    assert (other / "work/v1.21.3/rhel8/manifest-rhel8.json").read_bytes() == (
        released.directory / "work/v1.21.3/rhel8/manifest-rhel8.json"
    ).read_bytes()


def test_the_published_tool_validates_a_node_and_finds_a_changed_byte(released: Site, tmp_path: Path) -> None:
    from examples.upstream import node_root

    (definition,) = [
        one for one in released.upstream.world.definitions if (one.kubernetes, one.name) == ("v1.21.3", "rhel8")
    ]
    root = node_root(released.upstream.world, definition, tmp_path / "root")
    tool, manifest = released.bucket / "tool/dkp-fips-tool", released.bucket / MANIFEST
    good = subprocess.run(["sh", tool, "--root", root, "--json", manifest], capture_output=True, check=False)
    assert good.returncode == 0, good.stdout
    report = json.loads(good.stdout)
    assert (report["schema"], report["verdict"], report["scope"]) == ("fipsmanifest/node/v1", "valid", "at-rest")
    kubelet = root / "usr/bin/kubelet"
    data = bytearray(kubelet.read_bytes())
    data[len(data) // 2] ^= 1
    kubelet.write_bytes(data)
    bad = subprocess.run(["sh", tool, "--root", root, "--json", manifest], capture_output=True, check=False)
    assert bad.returncode == 1
    (failed,) = [check for check in json.loads(bad.stdout)["checks"] if check["status"] == "fail"]
    assert (failed["subject"], failed["id"]) == ("/usr/bin/kubelet", "files")
    assert failed["actual"] == hashlib.sha256(data).hexdigest() or hashlib.sha256(data).hexdigest() in str(failed)


def test_a_release_with_containerd_as_a_tarball_is_only_another_file(site: Site) -> None:
    site.release("--to", site.bucket, version="v1.22.8")
    document = payload(site, version="v1.22.8")
    paths = {entry["path"]: entry for entry in document["files"]}
    assert paths["/usr/local/bin/containerd"]["crypto"]["verdict"] == "proven"
    assert paths["/usr/bin/containerd"]["type"] == "symlink"
    assert {item["kind"] for item in document["sources"]} == {"rpm", "tarball", "image"}


def test_a_dry_run_shows_the_plan_and_touches_nothing(site: Site, released: Site) -> None:
    made = json.loads(site.release("--to", site.bucket, "--dry-run", "--json").stdout)
    assert {entry["action"] for entry in made["plan"]} == {"create"}
    # Signatures, and what names them, are not known yet.
    known = {entry["key"] for entry in made["plan"] if entry["sha256"] is not None}
    assert {key.rpartition("/")[2] for key in known} == {"dkp-fips-tool", "dkp-fips-tool.sha256"}
    assert not site.bucket.exists() or tree(site.bucket) == {}
    assert not list((site.directory / "work").rglob("*.asc"))
    assert not (site.directory / "lock.json").exists()
    before = tree(released.bucket)
    again = json.loads(released.release("--to", released.bucket, "--dry-run", "--json").stdout)
    assert {entry["action"] for entry in again["plan"]} == {"same"}
    assert tree(released.bucket) == before


def test_without_to_nothing_is_published_and_the_rest_is_there(site: Site) -> None:
    told = site.release("--el", "8").stdout
    assert "Not published: --to was not given." in told
    assert (site.directory / "work/v1.21.3/rhel8/manifest-rhel8.json.asc").exists()
    assert (site.directory / "work/tool/dkp-fips-tool.asc").exists()


def test_the_single_stages_end_where_the_whole_way_ends(site: Site, released: Site) -> None:
    lock: list[str | Path] = ["--lock", site.directory / "lock.json", "--first-lock"]
    site.run("collect", "v1.21.3", "--el", "8", *site.upstream.mirrors, *lock)
    site.run("generate", "v1.21.3", "--el", "8")
    site.run("sign", "v1.21.3", "--el", "8")
    site.run("publish", "v1.21.3", "--el", "8", code=2)
    site.run("publish", "v1.21.3", "--el", "8", "--to", site.bucket)
    site.run("verify", site.bucket / MANIFEST)
    assert payload(site) == payload(released)


def test_a_manifest_of_another_definition_or_serial_is_not_signed(site: Site) -> None:
    lock: list[str | Path] = ["--lock", site.directory / "lock.json", "--first-lock"]
    site.run("collect", "v1.21.3", *site.upstream.mirrors, *lock)
    site.run("generate", "v1.21.3")
    work = site.directory / "work/v1.21.3"
    made = (work / "rhel8/manifest-rhel8.json").read_bytes()
    (work / "rhel7/manifest-rhel7.json").write_bytes(made)
    (work / "rhel8/manifest-rhel8.json").write_bytes(made.replace(b'"serial": 1', b'"serial": 7'))

    for el, found, wanted in (
        ("7", "v1.21.3/rhel8 for EL8, serial 1", "v1.21.3/rhel7 for EL7, serial 1"),
        ("8", "v1.21.3/rhel8 for EL8, serial 7", "v1.21.3/rhel8 for EL8, serial 1"),
    ):
        told = site.run("sign", "v1.21.3", "--el", el, code=5).stderr
        assert f"The manifest to sign is {found}, and the definition is of {wanted}." in told
    assert list(work.glob("*/*.asc")) == []


def test_a_stage_without_the_one_before_it_names_that(site: Site) -> None:
    assert "fipsmanifest collect v1.21.3" in site.run("generate", "v1.21.3", "--el", "8", code=4).stderr
    assert "fipsmanifest generate v1.21.3" in site.run("sign", "v1.21.3", "--el", "8", code=4).stderr
    assert "fipsmanifest sign v1.21.3" in site.run("publish", "v1.21.3", "--to", site.bucket, code=4).stderr


@pytest.mark.usefixtures("with_release")
def test_a_changed_definition_under_the_same_serial_is_a_conflict_that_says_what_to_do(site: Site) -> None:
    definitions = site.directory / "releases" / "v1.21.3"
    definitions.mkdir(parents=True)
    text = (DEFINITIONS / "v1.21.3/rhel8.toml").read_text()
    (definitions / "rhel8.toml").write_text(text.replace('id = "centos"', 'id = "rocky"'))
    ended = site.release("--to", site.bucket, "--el", "8", "--definitions", definitions.parent, code=6)
    assert "node" in ended.stderr
    assert "new serial and a reason" in ended.stderr
    (definitions / "rhel8.toml").write_text(
        text.replace('id = "centos"', 'id = "rocky"').replace("serial = 1", 'serial = 2\nreason = "Rocky is supported"')
    )
    site.release("--to", site.bucket, "--el", "8", "--definitions", definitions.parent)
    verified = json.loads(site.run("verify", site.bucket / MANIFEST, "--json").stdout)
    assert (verified["serial"], verified["reason"]) == (2, "Rocky is supported")
    old = site.bucket / "tool/manifests/v1.21.3/1/manifest-rhel8.json.asc"
    assert "serial 2 was seen" in site.run("verify", old, code=3).stderr
    site.run("verify", old, "--no-state")


@pytest.mark.usefixtures("with_release")
def test_what_stands_as_it_was_published_is_reported_as_that(site: Site, tmp_path: Path) -> None:
    first = json.loads(site.release("--to", site.bucket, "--el", "8", "--json").stdout)["manifests"][0]
    # Another manifest key changes the tool, and so what would be generated; what is published stays.
    keys = tmp_path / "keys"
    shutil.copytree(site.keys, keys)
    home = Path(tempfile.mkdtemp(prefix="fm"))
    other = Site(site.directory, site.keys, home, site.upstream)
    other.run("keys", "init", "--user-id", "Second release <s@example.com>", "--no-passphrase", "--keys", keys)
    shutil.rmtree(home, ignore_errors=True)
    made = json.loads(site.release("--to", site.bucket, "--el", "8", "--keys", keys, "--json").stdout)["manifests"][0]
    assert made["note"].startswith("published as it was; a new serial would add")
    assert made["sha256"] == first["sha256"] == hashlib.sha256(Path(made["path"]).read_bytes()).hexdigest()
    assert made["addresses"][1].endswith(MANIFEST)


@pytest.mark.usefixtures("with_release")
def test_reissue_needs_nothing_but_the_bucket(site: Site) -> None:
    before = payload(site)
    site.run("reissue", "v1.21.3", "--el", "8", "--reason", "key rotation", "--to", site.bucket)
    verified = json.loads(site.run("verify", site.bucket / MANIFEST, "--json").stdout)
    assert (verified["serial"], verified["reason"]) == (2, "key rotation")
    difference = json.loads(
        site.run(
            "diff", site.bucket / "tool/manifests/v1.21.3/1/manifest-rhel8.json.asc", site.bucket / MANIFEST, "--json"
        ).stdout
    )
    assert {item["subject"] for item in difference["differences"]} == {"serial", "reason", "created"}
    assert before["serial"] == 1
