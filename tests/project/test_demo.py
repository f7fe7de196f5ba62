"""The demo, as `make demo` runs it: twice, and read by a consumer who has only gpg, sha256sum and the tool."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from examples.demo import discard_another_tool

TOP = Path(__file__).parents[2]


def demo(directory: Path) -> subprocess.CompletedProcess[str]:
    # Settings of the user who runs it must have no effect.
    environment = {**os.environ, "FIPSMANIFEST_TO": "s3://elsewhere", "FIPSMANIFEST_KEYS": "/nowhere"}
    command = [sys.executable, "-m", "examples.demo", str(directory)]
    return subprocess.run(
        command, cwd=TOP, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("demo")
    run = demo(directory)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    return directory


def test_it_publishes_both_manifests_at_the_addresses_of_the_first_release(directory: Path) -> None:
    published = contents(directory / "bucket")
    assert {
        "tool/manifests/v1.21.3/manifest-rhel7.json.asc",
        "tool/manifests/v1.21.3/manifest-rhel8.json.asc",
        "tool/dkp-fips-tool",
        "tool/dkp-fips-tool.sha256",
    } <= published.keys()


def test_every_component_that_must_be_is_proven(directory: Path) -> None:
    manifest = json.loads((directory / "work" / "v1.21.3" / "rhel8" / "manifest-rhel8.json").read_text())
    verdicts = {item["name"]: (item["requirement"], item["verdict"]) for item in manifest["components"]}
    assert {name for name, found in verdicts.items() if found == ("proven", "proven")} == {
        "kubelet",
        "kubeadm",
        "kubectl",
        "containerd",
        "runc",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kube-proxy",
        "etcd",
    }
    assert all(requirement == "known" for requirement, verdict in verdicts.values() if verdict != "proven")


def test_the_manifest_names_upstreams_addresses_and_never_the_mirrors(directory: Path) -> None:
    text = (directory / "work" / "v1.21.3" / "rhel8" / "manifest-rhel8.json").read_text()
    assert "https://kubernetes-fips.s3.us-east-2.amazonaws.com/8/x86_64/kubelet-1.21.3-0.x86_64.rpm" in text
    assert "127.0.0.1" not in text


def test_the_tools_report_on_the_good_node_says_valid(directory: Path) -> None:
    report = json.loads((directory / "root-rhel8.json").read_text())
    assert (report["schema"], report["verdict"]) == ("fipsmanifest/node/v1", "valid")


def test_the_node_shows_what_is_unpacked_of_its_images(directory: Path) -> None:
    checks = json.loads((directory / "root-rhel8.json").read_text())["checks"]
    unpacked = [one["status"] for one in checks if one["subject"].endswith("(unpacked)")]
    assert len(unpacked) >= 5 and set(unpacked) == {"pass"}


def test_the_command_of_the_first_users_says_that_this_machine_is_no_such_node(directory: Path) -> None:
    report = json.loads((directory / "this-machine.json").read_text())
    assert (report["verdict"], report["scope"]) == ("invalid", "live")
    signed = [one["status"] for one in report["checks"] if one["id"] == "signature"]
    assert signed == ["pass", "pass"]


def test_the_native_build_is_published_beside_and_its_node_is_valid(directory: Path) -> None:
    assert (directory / "bucket/tool/manifests/v1.34.2/manifest-rhel9.json.asc").exists()
    manifest = json.loads((directory / "work" / "v1.34.2" / "rhel9" / "manifest-rhel9.json").read_text())
    assert [one["number"] for module in manifest["modules"].values() for one in module["certificates"]] == [5247]
    report = json.loads((directory / "root-rhel9.json").read_text())
    assert report["verdict"] == "valid"


def test_run_again_it_reuses_what_is_there_and_ends_the_same(directory: Path) -> None:
    before = contents(directory / "bucket"), contents(directory / "keys")
    run = demo(directory)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    assert (contents(directory / "bucket"), contents(directory / "keys")) == before
    assert "0 packages were downloaded" in run.stdout


def test_what_was_published_with_the_tool_of_another_commit_is_removed(
    directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "demo"
    shutil.copytree(directory, copy, ignore=lambda _, names: {*names} & {"cache", "download", "gnupg", "upstream"})
    discard_another_tool(copy, copy / "keys")
    assert contents(copy / "bucket") == contents(directory / "bucket")

    _change_tool(copy)
    discard_another_tool(copy, copy / "keys")

    assert "starting again" in capsys.readouterr().out
    assert [name for name in ("bucket", "work", "state") if (copy / name).exists()] == []
    assert contents(copy / "keys") == contents(directory / "keys")
    assert sorted(path.name for path in copy.glob("lock*")) == ["lock-native.json", "lock.json"]


# A whole third run. The test before shows with what it begins, and that of a first run how it goes on.
@pytest.mark.nightly
def test_run_again_from_another_commit_it_begins_a_bucket_of_its_own(directory: Path) -> None:
    tool, ours = _change_tool(directory)

    run = demo(directory)

    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    assert "starting again" in run.stdout
    assert tool.read_bytes() == ours


def _change_tool(directory: Path) -> tuple[Path, bytes]:
    """Publish the tool of another commit; return where it is, and this commit's."""
    (tool,) = (directory / "bucket" / "tool").glob("[0-9]*/dkp-fips-tool")
    ours = tool.read_bytes()
    tool.write_bytes(ours + b"# of another commit\n")
    return tool, ours
