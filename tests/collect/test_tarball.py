"""Tarballs from an address and from a path, with and without a digest to compare them with."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from fipsmanifest.collect import tarball
from fipsmanifest.collect.context import Context
from fipsmanifest.errors import Incomplete, Refused
from fipsmanifest.generate.assemble import source_records
from fipsmanifest.model.artifact import Artifact
from fipsmanifest.model.definition import Tarball
from fipsmanifest.state.lock import Pin
from tests.collect.test_image import context, definition
from tests.support.faultyhttp import FaultyServer
from tests.support.servers import SeaweedFS


@pytest.fixture
def web(tmp_path: Path) -> Path:
    tree = tmp_path / "tree/usr/local/bin"
    tree.mkdir(parents=True)
    (tree / "containerd").write_bytes(os.urandom(400_000))
    directory = tmp_path / "web"
    directory.mkdir()
    for name in ("containerd-x86_64.tar.gz", "containerd-aarch64.tar.gz"):
        subprocess.run(["tar", "-C", str(tmp_path / "tree"), "-czf", str(directory / name), "usr"], check=True)
    return directory


def sha256(path: Path) -> str:
    return subprocess.run(["sha256sum", str(path)], check=True, capture_output=True, text=True).stdout[:64]


def fetch(
    url: str, where: Context, *architectures: str, unpack: str = "/", sha256: str | None = None
) -> list[Artifact]:
    source = Tarball(kind="tarball", name="containerd", url=url, unpack=unpack, sha256=sha256)
    with where.http:
        return [job() for job in tarball.jobs(source, definition(*architectures), where)]


def test_there_is_one_artifact_for_each_architecture(web: Path, tmp_path: Path) -> None:
    with FaultyServer(web) as server:
        url = f"{server.url}/containerd-{{arch}}.tar.gz"
        found = fetch(url, context(tmp_path), "x86_64", "aarch64", unpack="/opt")
    names = ["containerd-x86_64.tar.gz", "containerd-aarch64.tar.gz"]
    assert [
        (artifact.name, artifact.address, artifact.sha256, artifact.size, artifact.unpack) for artifact in found
    ] == [(name, f"{server.url}/{name}", sha256(web / name), (web / name).stat().st_size, "/opt") for name in names]
    assert [artifact.architecture for artifact in found] == ["x86_64", "aarch64"]
    assert [sha256(artifact.path) for artifact in found] == [sha256(web / name) for name in names]


def test_an_address_for_all_architectures_is_fetched_once(web: Path, tmp_path: Path) -> None:
    (artifact,) = fetch(str(web / "containerd-x86_64.tar.gz"), context(tmp_path), "x86_64", "aarch64")
    assert artifact.architecture is None


def test_a_mirror_does_not_change_the_address(web: Path, tmp_path: Path) -> None:
    address = "https://downloads.example.com/containerd-x86_64.tar.gz"
    (artifact,) = fetch(address, context(tmp_path, f"https://downloads.example.com={web}"))
    assert artifact.address == address


def test_the_digest_of_the_definition_is_held_against_it(web: Path, tmp_path: Path) -> None:
    path = web / "containerd-x86_64.tar.gz"
    assert fetch(str(path), context(tmp_path), sha256=sha256(path))
    with pytest.raises(Refused, match=f"{sha256(path)}; it must be {'0' * 64}"):
        fetch(str(path), context(tmp_path), sha256="0" * 64)


def test_one_digest_cannot_be_that_of_two_tarballs(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="'containerd' has one sha256 for 2 tarballs"):
        fetch("https://x/{arch}.tar.gz", context(tmp_path), "x86_64", "aarch64", sha256="0" * 64)


def test_nothing_is_fetched_again_that_the_lock_pins_and_the_cache_has(web: Path, tmp_path: Path) -> None:
    with FaultyServer(web) as server:
        (first,) = fetch(f"{server.url}/containerd-x86_64.tar.gz", context(tmp_path))
    pin = Pin(address=first.address, name=first.name, sha256=first.sha256, size=first.size)
    assert fetch(first.address, context(tmp_path, pins=(pin,))) == [first]  # the server is gone


def test_what_upstream_serves_instead_of_the_pinned_is_left_to_the_lock(web: Path, tmp_path: Path) -> None:
    path = web / "containerd-x86_64.tar.gz"
    pin = Pin(address=str(path), name=path.name, sha256=hashlib.sha256(b"old").hexdigest(), size=3)
    (artifact,) = fetch(str(path), context(tmp_path, pins=(pin,)))
    assert artifact.sha256 == sha256(path)


def test_a_tarball_that_is_not_there_is_incomplete(tmp_path: Path) -> None:
    with FaultyServer(tmp_path) as server, pytest.raises(Incomplete, match="404"):
        fetch(f"{server.url}/containerd.tar.gz", context(tmp_path))


# AWS takes a + in a path for a blank, SeaweedFS takes it for a plus, so %2B is right for both. The manifest names the
# address of the definition.
def test_a_plus_in_an_address_is_fetched_from_a_real_s3_server_and_stays_in_the_manifest(
    web: Path, tmp_path: Path
) -> None:
    data = (web / "containerd-x86_64.tar.gz").read_bytes()
    with SeaweedFS() as server:
        server.create_bucket(server.public)
        client = server.client()
        client.put_object(Bucket=server.public, Key="v1.21.3+fips.0/containerd.tar.gz", Body=data)
        client.put_object(Bucket=server.public, Key="v1.21.3 fips.0/containerd.tar.gz", Body=b"another object")
        url = f"{server.endpoint_url}/{server.public}/v1.21.3+fips.0/containerd.tar.gz"
        (artifact,) = fetch(url, context(tmp_path))
    assert artifact.path.read_bytes() == data
    assert artifact.address == url
    (record,) = source_records(definition(), [artifact])
    assert record.address == url
