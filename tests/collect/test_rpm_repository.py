"""Repositories made by createrepo_c and served on loopback, whole and broken."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fipsmanifest.collect import package_signature, rpmrepo
from fipsmanifest.collect.context import Context
from fipsmanifest.errors import FipsManifestError, Incomplete, Refused, Several
from fipsmanifest.fetch.cache import Cache
from fipsmanifest.fetch.http import Http, Limits
from fipsmanifest.fetch.mirror import Mirrors
from fipsmanifest.model.artifact import Artifact
from fipsmanifest.model.definition import Definition, RpmRepository
from fipsmanifest.state import lock
from fipsmanifest.state.lock import Pin
from fipsmanifest.trust.store import load_trust
from tests.support import definitions, faultyhttp, upstream
from tests.support.faultyhttp import FaultyServer
from tests.support.upstream import Keys

UPSTREAM = "https://rpms.example.com/8/{arch}"


def definition(*packages: str, **changes: object) -> Definition:
    """A definition with one repository; ``changes`` are keys of that source, or of the definition."""
    source = {"kind": "rpm-repository", "name": "kubernetes", "url": UPSTREAM, "packages": packages}
    own = {key: changes.pop(key) for key in ("el", "architectures") if key in changes}
    component = {"name": "kubelet", "packages": ["kubelet"]}
    return definitions.definition(source | changes, component, node={"roles": {"worker": ["kubelet"]}}, **own)


Collect = Callable[..., list[Artifact]]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory, keys: Keys) -> Path:
    """``8/x86_64`` with two signed packages."""
    served = tmp_path_factory.mktemp("served")
    for name in ("kubelet", "kubeadm"):
        upstream.nfpm(served / "8/x86_64", name, key=keys.secret(keys.upstream))
    upstream.createrepo(served / "8/x86_64", "--general-compress-type=gz")
    return served


@pytest.fixture
def server(tmp_path: Path, prepared: Path) -> Iterator[FaultyServer]:
    shutil.copytree(prepared, tmp_path / "served")
    with FaultyServer(tmp_path / "served") as running:
        yield running


@pytest.fixture
def repository(server: FaultyServer) -> Path:
    return server.directory / "8/x86_64"


@pytest.fixture
def collect(server: FaultyServer, tmp_path: Path, keys: Keys) -> Iterator[Collect]:
    cache = Cache(tmp_path / "cache")
    with Http(cache, limits=Limits(attempts=3, backoff=0.01)) as http:

        def run(wanted: Definition, pins: tuple[Pin, ...] = ()) -> list[Artifact]:
            context = Context(
                http,
                cache,
                Mirrors.parse([f"https://rpms.example.com/={server.url}/"]),
                package_signature.verifier(load_trust(str(keys.trust_directory))),
                tmp_path,
                pins,
            )
            source = wanted.sources[0]
            assert isinstance(source, RpmRepository)
            return [job() for job in rpmrepo.jobs(source, wanted, context)]

        yield run


def sha256sum(path: Path) -> str:
    return subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout.split()[0]


def edit_primary(repository: Path, edit: Callable[[str], str]) -> None:
    """Change the list of packages, with repomd.xml to match, as modifyrepo would."""
    listed = next((repository / "repodata").glob("*primary.xml.gz"))
    plain = listed.with_suffix("")
    plain.write_text(edit(gzip.decompress(listed.read_bytes()).decode()))
    opened, opened_size = sha256sum(plain), plain.stat().st_size
    subprocess.run(["gzip", "-nf", plain], check=True)
    edit_repomd(
        repository,
        lambda text: re.sub(
            r'(<data type="primary">).*?(<location [^>]*>).*?(</data>)',
            rf'\1<checksum type="sha256">{sha256sum(listed)}</checksum><open-checksum type="sha256">{opened}'
            rf"</open-checksum>\2<size>{listed.stat().st_size}</size><open-size>{opened_size}</open-size>\3",
            text,
            flags=re.DOTALL,
        ),
    )


def edit_repomd(repository: Path, edit: Callable[[str], str]) -> None:
    repomd = repository / "repodata/repomd.xml"
    before = repomd.read_text()
    after = edit(before)
    assert after != before
    repomd.write_text(after)


def test_packages_are_found_checked_and_named_by_the_definitions_address(
    collect: Collect, repository: Path, keys: Keys
) -> None:
    found = collect(definition("kubelet-1.21.3-0", "kubeadm-1.21.3-0"))
    assert [artifact.name for artifact in found] == ["kubelet-1.21.3-0.x86_64", "kubeadm-1.21.3-0.x86_64"]
    for artifact in found:
        rpm = repository / f"{artifact.name}.rpm"
        assert artifact.address == f"https://rpms.example.com/8/x86_64/{rpm.name}"
        assert artifact.sha256 == sha256sum(rpm) == sha256sum(artifact.path)
        assert (artifact.size, artifact.signed_by) == (rpm.stat().st_size, keys.upstream)
        assert (artifact.source, artifact.kind) == ("kubernetes", "rpm")


@pytest.mark.parametrize("compression", ["gz", "xz", "zstd", "bz2"])
def test_every_compression_of_repodata_in_use_is_read(collect: Collect, repository: Path, compression: str) -> None:
    shutil.rmtree(repository / "repodata")
    upstream.createrepo(repository, f"--general-compress-type={compression}")
    assert list((repository / "repodata").glob(f"*primary.xml.{compression.replace('zstd', 'zst')}"))
    assert len(collect(definition("kubelet-1.21.3-0"))) == 1


def test_repodata_with_sha512_is_read_and_with_sha1_refused(collect: Collect, repository: Path) -> None:
    shutil.rmtree(repository / "repodata")
    upstream.createrepo(repository, "--checksum=sha512")
    (found,) = collect(definition("kubelet-1.21.3-0"))
    assert found.sha256 == sha256sum(repository / "kubelet-1.21.3-0.x86_64.rpm")
    edit_repomd(repository, lambda text: re.sub(r'type="sha512">[0-9a-f]+', f'type="sha">{"0" * 40}', text))
    with pytest.raises(Refused, match="not a SHA-256"):
        collect(definition("kubelet-1.21.3-0"))


def test_what_the_lock_pins_and_the_cache_has_is_taken_without_a_request(
    collect: Collect, server: FaultyServer, repository: Path
) -> None:
    wanted = definition("kubelet-1.21.3-0", "kubeadm-1.21.3-0")
    first = collect(wanted)
    server.requests.clear()
    assert sorted(collect(wanted, lock.pins_of(first)), key=lambda each: each.name) == sorted(
        first, key=lambda each: each.name
    )
    assert server.requests == []
    first[0].path.write_bytes(b"a damaged cache")
    assert collect(wanted, lock.pins_of(first))[0].sha256 == first[0].sha256
    assert [path for path, _ in server.requests if path.endswith(".rpm")] == [f"/8/x86_64/{first[0].name}.rpm"]


def test_a_second_run_without_a_lock_asks_for_metadata_but_not_for_packages(
    collect: Collect, server: FaultyServer
) -> None:
    collect(definition("kubelet-1.21.3-0"))
    server.requests.clear()
    collect(definition("kubelet-1.21.3-0"))
    assert [path for path, _ in server.requests] == ["/8/x86_64/repodata/repomd.xml"]


def test_a_package_that_is_not_there_is_incomplete_and_the_error_says_what_is(
    collect: Collect, repository: Path, keys: Keys
) -> None:
    with pytest.raises(Incomplete, match=r"has no kubelet-1.21.4-0 for x86_64; it has kubelet-1.21.3-0.x86_64"):
        collect(definition("kubelet-1.21.4-0"))
    with pytest.raises(Several, match="none of that name") as several:
        collect(definition("runc-1.0-1", "cri-tools-1.20.0-0", "kubelet-1.21.3-0"))
    assert several.value.exit_code == 4
    assert len(several.value.errors) == 2


def test_a_repository_that_is_not_there_is_incomplete(collect: Collect, repository: Path) -> None:
    shutil.rmtree(repository)
    with pytest.raises(Incomplete, match=r"repomd\.xml answers 404"):
        collect(definition("kubelet-1.21.3-0"))


def test_a_package_for_every_architecture_is_taken_and_one_for_another_is_not(
    collect: Collect, repository: Path, keys: Keys
) -> None:
    key = keys.secret(keys.upstream)
    upstream.nfpm(repository, "policy", key=key, changes={"arch": "all"})
    upstream.nfpm(repository, "arm", key=key, changes={"arch": "arm64"})
    upstream.createrepo(repository)
    assert collect(definition("policy-1.21.3-0"))[0].name == "policy-1.21.3-0.noarch"
    with pytest.raises(Incomplete, match=r"it has arm-1.21.3-0.aarch64"):
        collect(definition("arm-1.21.3-0"))


def test_a_repository_without_an_architecture_in_its_address_serves_them_all(
    collect: Collect, repository: Path, keys: Keys
) -> None:
    key = keys.secret(keys.upstream)
    upstream.nfpm(repository, key=key, changes={"arch": "arm64"})
    upstream.nfpm(repository, "policy", key=key, changes={"arch": "all"})
    upstream.createrepo(repository)
    url = UPSTREAM.replace("{arch}", "x86_64")
    both = definition("kubelet-1.21.3-0", "policy-1.21.3-0", url=url, architectures=["x86_64", "aarch64"])
    assert sorted(artifact.name for artifact in collect(both)) == [
        "kubelet-1.21.3-0.aarch64",
        "kubelet-1.21.3-0.x86_64",
        "policy-1.21.3-0.noarch",
    ]


def test_an_epoch_is_part_of_the_name_but_not_asked_for(
    collect: Collect, repository: Path, keys: Keys, server: FaultyServer
) -> None:
    changes = {"epoch": "2", "version": "1.0"}
    upstream.nfpm(repository, "containerd.io", key=keys.secret(keys.upstream), changes=changes)
    upstream.createrepo(repository)
    wanted = definition("containerd.io-1.0-0")
    found = collect(wanted)
    query = ["rpm", "-qp", "--nosignature", "--qf", "%{NEVRA}", str(found[0].path)]
    assert found[0].name == subprocess.run(query, capture_output=True, text=True, check=True).stdout
    assert found[0].name == "containerd.io-2:1.0-0.x86_64"
    server.requests.clear()
    assert collect(wanted, lock.pins_of(found)) == found
    assert server.requests == []


def test_two_different_packages_of_one_name_are_refused_naming_both_digests(
    collect: Collect, repository: Path, keys: Keys
) -> None:
    # The FIPS and the plain build have the same NEVRA: it is undefined which one dnf would install.
    plain = upstream.nfpm(repository / "plain", key=keys.secret(keys.upstream), contents=b"\x7fELF plain\n")
    upstream.createrepo(repository)
    with pytest.raises(Refused, match="2 different packages") as refused:
        collect(definition("kubelet-1.21.3-0"))
    assert sha256sum(plain) in refused.value.message
    assert sha256sum(repository / "kubelet-1.21.3-0.x86_64.rpm") in refused.value.message


def test_the_same_package_twice_is_one_package(collect: Collect, repository: Path) -> None:
    (repository / "again").mkdir()
    shutil.copy(repository / "kubelet-1.21.3-0.x86_64.rpm", repository / "again")
    upstream.createrepo(repository)
    assert len(collect(definition("kubelet-1.21.3-0"))) == 1


def test_metadata_that_names_another_digest_than_the_package_has_is_refused_naming_both(
    collect: Collect, repository: Path, keys: Keys
) -> None:
    rpm = repository / "kubelet-1.21.3-0.x86_64.rpm"
    named, size = sha256sum(rpm), rpm.stat().st_size
    other = upstream.nfpm(repository.parent / "other", key=keys.secret(keys.upstream), contents=b"\x7fELF bkubelet\n")
    if other.stat().st_size != size:
        edit_primary(repository, lambda text: re.sub(rf'package="{size}"', f'package="{other.stat().st_size}"', text))
    shutil.copy(other, rpm)
    with pytest.raises(Refused) as refused:
        collect(definition("kubelet-1.21.3-0"))
    assert named in refused.value.message
    assert sha256sum(other) in refused.value.message


def test_metadata_that_names_another_size_than_the_package_has_is_refused(collect: Collect, repository: Path) -> None:
    edit_primary(repository, lambda text: re.sub(r'<size package="\d+"', '<size package="77"', text))
    with pytest.raises(Refused, match="it must have 77"):
        collect(definition("kubelet-1.21.3-0"))


def test_a_package_list_that_is_not_the_named_one_is_refused(collect: Collect, repository: Path) -> None:
    listed = next((repository / "repodata").glob("*primary.xml.gz"))
    data = bytearray(listed.read_bytes())
    data[-1] ^= 1
    listed.write_bytes(data)
    with pytest.raises(Refused, match="digest"):
        collect(definition("kubelet-1.21.3-0"))


def test_a_package_list_that_expands_to_something_else_than_named_is_refused(
    collect: Collect, repository: Path
) -> None:
    edit_repomd(
        repository, lambda text: re.sub(r'(<open-checksum type="sha256">)[0-9a-f]{64}', rf"\g<1>{'0' * 64}", text)
    )
    with pytest.raises(Refused, match="expanded, has the sha256 digest"):
        collect(definition("kubelet-1.21.3-0"))


def test_a_package_list_that_expands_beyond_its_named_size_is_refused(collect: Collect, repository: Path) -> None:
    edit_repomd(repository, lambda text: re.sub(r"<open-size>\d+", "<open-size>100", text))
    with pytest.raises(Refused, match="expands beyond 100 bytes"):
        collect(definition("kubelet-1.21.3-0"))


def test_a_package_that_is_another_than_the_metadata_says_is_refused(collect: Collect, repository: Path) -> None:
    edit_primary(repository, lambda text: text.replace("<name>kubeadm</name>", "<name>runc</name>"))
    with pytest.raises(Refused, match=r"is listed as runc-1.21.3-0.x86_64, but is kubeadm-1.21.3-0.x86_64"):
        collect(definition("runc-1.21.3-0"))


@pytest.mark.parametrize(
    "href", ["../../../etc/passwd", "/etc/passwd", "https://evil.example/k.rpm", "file:///etc/passwd", "a/../b", "k?x"]
)
def test_metadata_that_points_out_of_the_repository_is_refused(collect: Collect, repository: Path, href: str) -> None:
    edit_primary(repository, lambda text: re.sub(r'<location href="kubelet[^"]*"', f'<location href="{href}"', text))
    with pytest.raises(Refused, match="not inside the repository"):
        collect(definition("kubelet-1.21.3-0"))


def test_an_unsigned_and_a_strangers_package_are_refused(collect: Collect, repository: Path, keys: Keys) -> None:
    upstream.nfpm(repository, "unsigned")
    upstream.nfpm(repository, "strange", key=keys.secret(keys.stranger))
    upstream.createrepo(repository)
    with pytest.raises(Refused, match=r"unsigned-1.21.3-0.x86_64 is not signed"):
        collect(definition("unsigned-1.21.3-0"))
    with pytest.raises(Refused, match=keys.stranger[-16:]):
        collect(definition("strange-1.21.3-0"))


def test_signed_metadata_is_checked_where_the_definition_names_a_key(
    collect: Collect, repository: Path, keys: Keys
) -> None:
    signed = definition("kubelet-1.21.3-0", metadata_signed_by=[keys.upstream])
    with pytest.raises(Incomplete, match=r"repomd.xml.asc answers 404"):
        collect(signed)
    repomd = (repository / "repodata/repomd.xml").read_bytes()
    signature = repository / "repodata/repomd.xml.asc"
    signature.write_bytes(keys.detach(repomd, keys.stranger, "--armor"))
    with pytest.raises(Refused, match=r"repomd.xml is not signed as it must be"):
        collect(signed)
    signature.write_bytes(keys.detach(repomd, keys.upstream, "--armor"))
    assert len(collect(signed)) == 1
    edit_repomd(repository, lambda text: text.replace("<revision>", "<revision>1"))
    with pytest.raises(Refused, match=r"repomd.xml is not signed as it must be"):
        collect(signed)


@pytest.mark.parametrize(
    "document",
    [
        "",
        "not xml",
        "<html><body>Log in first</body></html>",
        '<repomd xmlns="http://linux.duke.edu/metadata/repo"></repomd>',
        '<repomd xmlns="http://linux.duke.edu/metadata/repo"><data type="primary"><location href="x"/></data></repomd>',
        '<?xml version="1.0"?><!DOCTYPE r [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><repomd>&b;</repomd>',
        '<?xml version="1.0" encoding="no-such"?><repomd/>',
        '<repomd xmlns="http://linux.duke.edu/metadata/repo">' + "<a>" * 2000,
    ],
)
def test_what_is_no_repomd_is_refused_and_never_an_empty_repository(
    collect: Collect, repository: Path, document: str
) -> None:
    (repository / "repodata/repomd.xml").write_text(document)
    with pytest.raises(Refused, match=r"repomd\.xml"):
        collect(definition("kubelet-1.21.3-0"))


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [
        (r"<name>kubelet</name>", "<name></name>"),
        (r"<name>kubelet</name>", "<name>kubelet</name><name>kubeadm</name>"),
        (r'epoch="0"', 'epoch="x"'),
        (r'<size package="\d+"', '<size package="-1"'),
        (r"</metadata>", ""),
        (r'type="sha256" pkgid', 'type="md5" pkgid'),
        (r"<metadata ", "<!DOCTYPE m><metadata "),
        (r"<location href=", '<location xml:base="https://evil.example/" href='),
        (r"<metadata .*?>", "<other>"),
    ],
)
def test_a_malformed_package_list_is_refused(
    collect: Collect, repository: Path, pattern: str, replacement: str
) -> None:
    edit_primary(repository, lambda text: re.sub(pattern, replacement, text, flags=re.DOTALL))
    with pytest.raises(Refused):
        collect(definition("kubelet-1.21.3-0"))


def test_a_server_in_trouble_during_metadata_and_packages_is_asked_again(
    collect: Collect, server: FaultyServer
) -> None:
    server.faults["/8/x86_64/repodata/repomd.xml"] = [faultyhttp.status(503), faultyhttp.truncate(20)]
    server.faults["/8/x86_64/kubelet-1.21.3-0.x86_64.rpm"] = [faultyhttp.reset_after(500)]
    assert len(collect(definition("kubelet-1.21.3-0"))) == 1


def test_a_directory_serves_as_the_mirror_of_a_repository(tmp_path: Path, repository: Path, keys: Keys) -> None:
    cache = Cache(tmp_path / "other-cache")
    wanted = definition("kubelet-1.21.3-0")
    source = wanted.sources[0]
    assert isinstance(source, RpmRepository)
    with Http(cache) as http:
        mirrors = Mirrors.parse([f"https://rpms.example.com/8/={repository.parent}/"])
        verify = package_signature.verifier(load_trust(str(keys.trust_directory)))
        (job,) = rpmrepo.jobs(source, wanted, Context(http, cache, mirrors, verify, tmp_path))
        found = job()
    assert found.address == "https://rpms.example.com/8/x86_64/kubelet-1.21.3-0.x86_64.rpm"
    assert found.sha256 == sha256sum(repository / "kubelet-1.21.3-0.x86_64.rpm")


def test_random_damage_to_metadata_never_ends_in_anything_but_an_error_of_ours(
    collect: Collect, repository: Path
) -> None:
    repomd = repository / "repodata/repomd.xml"
    good = repomd.read_bytes()
    for position in range(0, len(good), 97):
        for byte in (0x00, 0x3C, 0xFF):
            repomd.write_bytes(good[:position] + bytes([byte]) + good[position + 1 :])
            try:
                collect(definition("kubelet-1.21.3-0"))
            except FipsManifestError as error:
                assert error.exit_code in (4, 5)
