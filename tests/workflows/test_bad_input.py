"""Errors in a release, and what is reported to the user: the exit code, the cause, and what to do."""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from examples.upstream.builds import PLAIN

from tests.support import command
from tests.support.worlds import make_world

from .conftest import DEFINITIONS, Site, Upstream


def test_an_unknown_version_names_the_known_ones(site: Site) -> None:
    told = site.release(version="v1.99.0", code=2).stderr
    assert "no definition of v1.99.0" in told
    assert "v1.21.3" in told


def test_an_unknown_el_names_the_known_ones(site: Site) -> None:
    told = site.release("--el", "9", code=2).stderr
    assert "for EL 9" in told
    assert "EL 7, 8" in told


def test_a_definition_with_a_mistake_is_named_with_its_line(site: Site) -> None:
    directory = site.directory / "releases" / "v1.21.3"
    directory.mkdir(parents=True)
    text = (DEFINITIONS / "v1.21.3/rhel8.toml").read_text().replace("kubelet-1.21.3-0", "kubelet-1.21.6-0")
    (directory / "rhel8.toml").write_text(text)
    told = site.release("--definitions", directory.parent, code=2).stderr
    assert f"{directory}/rhel8.toml:" in told
    assert "kubelet-1.21.6-0 is not of version 1.21.3" in told


def test_without_a_lock_a_release_stops_before_it_fetches(site: Site) -> None:
    requests = len(site.upstream.served.requests)
    told = site.run("release", "v1.21.3", *site.upstream.mirrors, "--lock", "none.json", code=5).stderr
    assert "--first-lock" in told
    assert len(site.upstream.served.requests) == requests
    assert not (site.directory / "none.json").exists()


def test_what_differs_from_the_lock_is_refused_with_both_digests(site: Site) -> None:
    site.release("--el", "8")
    path = site.directory / "lock.json"
    lock = json.loads(path.read_text())
    pins = lock["definitions"]["v1.21.3/rhel8"]["artifacts"]
    pin = next(entry for entry in pins if entry["name"].startswith("kubelet-"))
    found, pin["sha256"] = pin["sha256"], "0" * 64
    path.write_text(json.dumps(lock))
    before = path.read_bytes()
    told = site.release("--el", "8", "--to", site.bucket, code=5).stderr
    assert found in told
    assert "0" * 64 in told
    assert not site.bucket.exists()
    assert path.read_bytes() == before
    site.run("definitions", "lock", "v1.21.3", "--el", "8", "--lock", path, "--update", *site.upstream.mirrors)
    site.release("--el", "8")


def test_an_upstream_that_does_not_answer_is_incomplete(site: Site) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        mirror = f"https://kubernetes-fips.s3.us-east-2.amazonaws.com/=http://127.0.0.1:{unused.getsockname()[1]}/"
        words = [word for word in site.upstream.mirrors if "kubernetes-fips" not in word]
        pairs = [item for item in words if item != "--mirror"]
        mirrors = [part for item in pairs for part in ("--mirror", item)]
        lock = ["--lock", "lock.json", "--first-lock"]
        told = site.run("release", "v1.21.3", "--el", "8", *mirrors, "--mirror", mirror, *lock, code=4).stderr
    assert "127.0.0.1" in told
    assert not (site.directory / "lock.json").exists()


def test_a_package_that_upstream_lacks_is_named(site: Site, upstream: Upstream) -> None:
    directory = site.directory / "releases" / "v1.21.3"
    directory.mkdir(parents=True)
    text = (DEFINITIONS / "v1.21.3/rhel8.toml").read_text().replace("cri-tools-1.20.0-0", "cri-tools-1.20.9-0")
    (directory / "rhel8.toml").write_text(text)
    told = site.release("--definitions", directory.parent, code=None)
    assert told.returncode in (4, 5)
    assert "cri-tools-1.20.9-0" in told.stderr


def test_packages_of_a_signer_who_is_not_trusted_are_refused(site: Site, tmp_path: Path) -> None:
    keys = tmp_path / "without-upstream"
    site.run("keys", "init", "--user-id", "Another release <a@example.com>", "--no-passphrase", "--keys", keys)
    told = site.release("--el", "8", "--keys", keys, "--to", site.bucket, code=5).stderr
    assert "keys add" in told
    assert "upstream" in told
    assert not site.bucket.exists()


def test_before_any_key_exists_keys_init_is_named(site: Site, tmp_path: Path) -> None:
    keys = tmp_path / "empty"
    keys.mkdir()
    (keys / "trust.json").write_text('{"schema": "fipsmanifest/trust/v1", "keys": []}\n')
    assert "fipsmanifest keys init" in site.release("--keys", keys, code=5).stderr


def test_a_signing_key_that_is_not_here_is_named(site: Site, tmp_path: Path) -> None:
    elsewhere = Path(tempfile.mkdtemp(prefix="fm"))
    try:
        other = Site(site.directory, site.keys, elsewhere, site.upstream)
        told = other.release("--el", "8", "--to", site.bucket, code=4).stderr
        assert "secret key" in told
    finally:
        shutil.rmtree(elsewhere)
    assert not (site.bucket / "tool").exists()


def test_a_key_past_its_validity_signs_nothing(site: Site, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    shutil.copytree(site.keys, keys)
    document = json.loads((keys / "trust.json").read_text())
    fingerprint = next(key["fingerprint"] for key in document["keys"] if key["role"] == "tool")
    site.run("keys", "retire", fingerprint, "--reason", "its time is over", "--role", "tool", "--keys", keys)
    told = site.release("--el", "8", "--keys", keys, "--signing-key", fingerprint, "--to", site.bucket, code=None)
    assert told.returncode in (3, 4, 5), told.stderr
    assert "retired" in told.stderr or "no secret key that is trusted for the role tool" in told.stderr
    assert not (site.bucket / "tool").exists()


def test_without_gpg_the_missing_program_is_named(site: Site, tmp_path: Path) -> None:
    bare = tmp_path / "bin"
    bare.mkdir()
    other = Site(site.directory, site.keys, site.gnupghome, site.upstream, {"PATH": str(bare)})
    told = other.release("--el", "8", "--to", site.bucket, code=4).stderr
    assert "gpg" in told
    assert not (site.bucket / "tool").exists()


def test_an_s3_bucket_without_credentials_is_incomplete(site: Site) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        environment = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent"}
        other = Site(site.directory, site.keys, site.gnupghome, site.upstream, environment)
        told = other.release("--el", "8", "--to", "s3://kubernetes-fips", "--endpoint-url", endpoint, code=4).stderr
    assert "credentials" in told


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["--endpoint-url", "http://127.0.0.1:1"], "--endpoint-url"),
        (["--dry-run", "--signing-key", "A" * 40], "--signing-key"),
        (["--to", "bucket", "--endpoint-url", "http://127.0.0.1:1"], "endpoint"),
        (["--to", "ftp://bucket"], "ftp://bucket"),
        (["--mirror", "nonsense"], "nonsense"),
    ],
)
def test_an_option_that_cannot_be_meant_is_an_error(site: Site, words: list[str], option: str) -> None:
    assert option in site.release(*words, code=2).stderr


def test_a_disk_that_is_full_is_incomplete_and_leaves_nothing_half_written(site: Site) -> None:
    def small_disk() -> None:
        # The kernel answers EFBIG as a full disk answers ENOSPC: in the middle of a write.
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    ended = site.start(*site.words("--el", "8", "--to", site.bucket), code=4, preexec_fn=small_disk)
    assert "large" in ended.stderr or "space" in ended.stderr.lower()
    assert not site.bucket.exists()
    site.release("--el", "8", "--to", site.bucket)


@pytest.fixture(scope="module")
def impostor(gnupghome: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    """An upstream whose kubelet is a plain build: name, version, release and signature as they must be."""
    directory = tmp_path_factory.mktemp("impostor")
    world = make_world([DEFINITIONS / "v1.21.3/rhel8.toml"], directory, gnupghome, builds={"kubelet": PLAIN})
    with world.serve() as served:
        yield Upstream(world, served)


def test_a_plain_kubelet_under_the_fips_name_is_refused(site: Site, impostor: Upstream) -> None:
    fooled = Site(site.directory, site.keys, site.gnupghome, impostor)
    told = fooled.release("--el", "8", "--to", site.bucket, code=5).stderr
    program = "kubelet (x86_64): /usr/bin/kubelet of kubelet-1.21.3-0.x86_64"
    assert f"{program} is 'plain' (plain-crypto), but 'proven' is required" in told
    assert "FIPS build" in told
    assert not site.bucket.exists()
    assert not list((site.directory / "work").rglob("*.asc"))


def test_no_path_of_the_command_line_ends_in_a_traceback(site: Site) -> None:
    for words in (
        ["verify", "missing.asc"],
        ["verify", "/dev/null"],
        ["inspect", "missing"],
        ["diff", "missing", "missing"],
        ["audit", "missing"],
        ["keys", "list", "--keys", "missing"],
        ["keys", "add", "missing", "--role", "upstream"],
        ["tool", "build", "--keys", "missing"],
        ["definitions", "lint", "missing.toml"],
        ["definitions", "list", "--definitions", "missing"],
        ["bundle", "export", "v1.21.3", "--el", "8"],
        ["modules", "learn", "missing", "--id", "x", "--claimed-by", "me"],
        ["reissue", "v1.21.3", "--el", "8", "--reason", "r", "--to", "missing"],
    ):
        ended = site.run(*words, code=None)
        assert ended.returncode in (1, 2, 3, 4, 5), (words, ended.returncode, ended.stdout + ended.stderr)
        assert ended.stderr.startswith(("error: ", "Usage: ")), (words, ended.stderr, ended.stdout)


def test_help_is_there_for_every_verb() -> None:
    listed = command.run("--help", env={"PATH": os.environ["PATH"], "COLUMNS": "100"}, code=0).stdout
    verbs = [
        "release",
        "collect",
        "generate",
        "sign",
        "publish",
        "inspect",
        "verify",
        "audit",
        "check",
        "diff",
        "reissue",
        "tool",
        "keys",
        "modules",
    ]
    for verb in [*verbs, "definitions", "bundle", "overrides", "schema"]:
        assert f"\n  {verb} " in listed


def test_a_work_directory_that_cannot_be_written_is_incomplete(site: Site, tmp_path: Path) -> None:
    blocked = tmp_path / "a-file"
    blocked.write_text("in the way")
    assert "--work" in site.release("--el", "8", "--work", blocked / "work", code=4).stderr


def test_a_gate_opens_what_is_packed_in_a_directory(site: Site, tmp_path: Path) -> None:
    directory = tmp_path / "dist"
    directory.mkdir()
    (definition,) = [d for d in site.upstream.world.definitions if (d.kubernetes, d.name) == ("v1.21.3", "rhel8")]
    for package in site.upstream.world.packages(definition):
        if package.name.startswith(("kubelet", "cri-tools")):
            shutil.copy(package, directory)
    listed = json.loads(site.run("inspect", directory, "--json").stdout)["files"]
    verdicts = {entry["path"]: entry["crypto"]["verdict"] for entry in listed if "crypto" in entry}
    assert verdicts == {"/usr/bin/kubelet": "proven", "/usr/bin/crictl": "plain"}
    assert "/usr/bin/crictl" in site.run("inspect", "--require", "proven", directory, code=5).stderr
    for package in directory.glob("cri-tools*.rpm"):
        subprocess.run(["tar", "-cf", directory / "nested.tar", "-C", directory, package.name], check=True)
        package.unlink()
    told = site.run("inspect", "--require", "proven", directory, code=5).stderr
    assert f"/usr/bin/crictl in {directory}/nested.tar: /cri-tools" in told


def test_a_directory_without_definitions_is_no_clean_lint(site: Site, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no definition" in site.run("definitions", "lint", "--definitions", tmp_path / "empty", code=2).stderr


def test_an_audit_says_what_must_not_be_trusted(site: Site) -> None:
    site.release("--el", "8", "--to", site.bucket)
    tool = site.bucket / "tool" / "dkp-fips-tool"
    tool.write_bytes(tool.read_bytes() + b"x\n")
    findings = json.loads(site.run("audit", site.bucket, "--wait", "0", "--json", code=3).stdout)["findings"]
    assert ("tool/dkp-fips-tool", 3) in [(finding["key"], finding["exit_code"]) for finding in findings]
