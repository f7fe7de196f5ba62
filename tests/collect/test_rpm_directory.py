"""Directories and tars of RPMs, as air-gapped bundles bring them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fipsmanifest.collect import package_signature, rpmdirectory
from fipsmanifest.collect.context import Context
from fipsmanifest.errors import Incomplete, Refused
from fipsmanifest.fetch.cache import Cache
from fipsmanifest.fetch.http import Http
from fipsmanifest.fetch.mirror import Mirrors
from fipsmanifest.model.artifact import Artifact
from fipsmanifest.model.definition import Definition, RpmFolder
from fipsmanifest.state import lock
from fipsmanifest.state.lock import Pin
from fipsmanifest.trust.store import load_trust
from tests.collect.test_rpm_repository import definition, sha256sum
from tests.support import upstream
from tests.support.faultyhttp import FaultyServer
from tests.support.upstream import Keys

Collect = Callable[..., list[Artifact]]


def directory_definition(url: str, *packages: str, **changes: object) -> Definition:
    return definition(*packages, kind="rpm-folder", url=url, **changes)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, keys: Keys) -> Path:
    """Two packages with arbitrary file names."""
    bundle = tmp_path_factory.mktemp("bundle")
    key = keys.secret(keys.upstream)
    (bundle / "deep").mkdir()
    upstream.nfpm(bundle / "one", "kubelet", key=key).rename(bundle / "deep/1.rpm")
    upstream.nfpm(bundle / "one", "policy", key=key, changes={"arch": "all"}).rename(bundle / "kubelet.rpm")
    upstream.nfpm(bundle / "one", "unwanted").rename(bundle / "unwanted.rpm")
    (bundle / "one").rmdir()
    (bundle / "README").write_text("Install these.\n")
    return bundle


@pytest.fixture
def bundle(tmp_path: Path, made: Path) -> Path:
    """``release/bundle``; the definition's directory is ``release``."""
    return Path(shutil.copytree(made, tmp_path / "release/bundle"))


@pytest.fixture
def collect(tmp_path: Path, keys: Keys) -> Iterator[Collect]:
    cache = Cache(tmp_path / "cache")
    with Http(cache) as http:

        def run(wanted: Definition, pins: tuple[Pin, ...] = (), mirrors: tuple[str, ...] = ()) -> list[Artifact]:
            verify = package_signature.verifier(load_trust(str(keys.trust_directory)))
            context = Context(http, cache, Mirrors.parse(mirrors), verify, tmp_path / "release", pins)
            source = wanted.sources[0]
            assert isinstance(source, RpmFolder)
            return [job() for job in rpmdirectory.jobs(source, wanted, context)]

        yield run


def pack(bundle: Path, compression: str) -> Path:
    """Make a tar of the bundle with the stock tools."""
    path = bundle.with_name(f"bundle.tar{compression}")
    subprocess.run(["tar", "--auto-compress", "-C", bundle, "-cf", path, "."], check=True)
    return path


def test_packages_are_known_by_their_headers_and_not_by_their_file_names(
    collect: Collect, bundle: Path, keys: Keys
) -> None:
    policy, kubelet = sorted(
        collect(directory_definition("bundle", "kubelet-1.21.3-0", "policy-1.21.3-0")), key=lambda each: each.size
    )
    if kubelet.name != "kubelet-1.21.3-0.x86_64":
        policy, kubelet = kubelet, policy
    assert (kubelet.name, kubelet.address) == ("kubelet-1.21.3-0.x86_64", "bundle/deep/1.rpm")
    assert (policy.name, policy.address) == ("policy-1.21.3-0.noarch", "bundle/kubelet.rpm")
    assert kubelet.sha256 == sha256sum(bundle / "deep/1.rpm") == sha256sum(kubelet.path)
    assert kubelet.signed_by == keys.upstream


@pytest.mark.parametrize("compression", ["", ".gz", ".xz", ".zst"])
def test_a_tar_gives_what_the_directory_gives(collect: Collect, bundle: Path, compression: str) -> None:
    packages = ("kubelet-1.21.3-0", "policy-1.21.3-0")
    of_directory = collect(directory_definition("bundle", *packages))
    tar = pack(bundle, compression)
    of_tar = collect(directory_definition(tar.name, *packages))
    assert [(each.name, each.sha256, each.path) for each in of_tar] == [
        (each.name, each.sha256, each.path) for each in of_directory
    ]
    assert {each.address for each in of_tar} == {f"{tar.name}/deep/1.rpm", f"{tar.name}/kubelet.rpm"}


def test_a_tar_may_be_an_address_behind_a_mirror_and_is_named_by_the_definition(collect: Collect, bundle: Path) -> None:
    tar = pack(bundle, ".gz")
    wanted = directory_definition("https://a.example/b.tar.gz", "kubelet-1.21.3-0")
    with FaultyServer(bundle.parent) as server:
        (found,) = collect(wanted, mirrors=(f"https://a.example/b.tar.gz={server.url}/{tar.name}",))
        assert found.address == "https://a.example/b.tar.gz/deep/1.rpm"
        assert found.sha256 == sha256sum(bundle / "deep/1.rpm")
        server.requests.clear()
        assert collect(wanted, lock.pins_of([found])) == [found]
        assert server.requests == []


def test_what_is_pinned_and_cached_does_not_need_the_bundle_any_more(collect: Collect, bundle: Path) -> None:
    wanted = directory_definition("bundle", "kubelet-1.21.3-0")
    first = collect(wanted)
    shutil.rmtree(bundle)
    assert collect(wanted, lock.pins_of(first)) == first
    with pytest.raises(Incomplete):
        collect(wanted)


def test_a_missing_package_is_incomplete_and_the_error_says_what_is_there(collect: Collect, bundle: Path) -> None:
    with pytest.raises(Incomplete, match=r"has no runc-1.0-1 for x86_64; it has kubelet-1.21.3-0.x86_64, policy"):
        collect(directory_definition("bundle", "runc-1.0-1"))


def test_an_unsigned_package_is_refused_only_where_it_is_wanted(collect: Collect, bundle: Path) -> None:
    assert len(collect(directory_definition("bundle", "kubelet-1.21.3-0"))) == 1
    with pytest.raises(Refused, match=r"unwanted-1.21.3-0.x86_64 is not signed"):
        collect(directory_definition("bundle", "unwanted-1.21.3-0"))


def test_two_different_packages_of_one_name_are_refused(collect: Collect, bundle: Path, keys: Keys) -> None:
    upstream.nfpm(bundle / "plain", key=keys.secret(keys.upstream), contents=b"\x7fELF plain\n")
    with pytest.raises(Refused, match="two different packages") as refused:
        collect(directory_definition("bundle", "kubelet-1.21.3-0"))
    assert sha256sum(bundle / "deep/1.rpm") in refused.value.message


def test_a_package_without_architecture_is_one_package_for_both(collect: Collect, bundle: Path) -> None:
    wanted = directory_definition("bundle", "policy-1.21.3-0", architectures=["x86_64", "aarch64"])
    assert [each.name for each in collect(wanted)] == ["policy-1.21.3-0.noarch"]


def test_a_bundle_for_each_architecture_is_asked_for_its_own(collect: Collect, bundle: Path) -> None:
    bundle.rename(bundle.with_name("bundle-x86_64"))
    wanted = directory_definition("bundle-{arch}", "kubelet-1.21.3-0")
    assert [each.address for each in collect(wanted)] == ["bundle-x86_64/deep/1.rpm"]
    with pytest.raises(Incomplete, match=r"bundle-aarch64"):
        collect(directory_definition("bundle-{arch}", "kubelet-1.21.3-0", architectures=["x86_64", "aarch64"]))


def test_something_else_under_the_name_of_a_package_is_refused_by_name(collect: Collect, bundle: Path) -> None:
    (bundle / "page.rpm").write_text("<html>")
    with pytest.raises(Refused, match=r"bundle: page\.rpm"):
        collect(directory_definition("bundle", "kubelet-1.21.3-0"))


def test_a_tar_that_is_cut_or_leads_out_of_itself_is_refused(collect: Collect, bundle: Path, tmp_path: Path) -> None:
    tar = pack(bundle, ".gz")
    good = tar.read_bytes()
    tar.write_bytes(good[: len(good) // 2])
    with pytest.raises(Refused, match="ends in the middle"):
        collect(directory_definition(tar.name, "kubelet-1.21.3-0"))
    subprocess.run(
        ["tar", "-P", "-C", bundle, "--transform", "s,.*/1.rpm,../../1.rpm,", "-czf", tar, "deep/1.rpm"], check=True
    )
    with pytest.raises(Refused, match=r"\.\./\.\./1\.rpm"):
        collect(directory_definition(tar.name, "kubelet-1.21.3-0"))


def test_a_bundle_that_is_not_there_is_incomplete(collect: Collect, bundle: Path) -> None:
    with pytest.raises(Incomplete, match=r"none\.tar"):
        collect(directory_definition("none.tar", "kubelet-1.21.3-0"))
