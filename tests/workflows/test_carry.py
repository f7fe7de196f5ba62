"""The files for other machines: a bundle, an override file, a schema; read with other tools."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from .conftest import Site


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory, site_in: object) -> Site:
    assert callable(site_in)
    site: Site = site_in(tmp_path_factory.mktemp("released"))
    site.release("--el", "8", "--to", site.bucket)
    return site


@pytest.mark.parametrize("source", ["work", "bucket"])
def test_a_bundle_verifies_by_its_own_instructions(released: Site, tmp_path: Path, source: str) -> None:
    target = tmp_path / "release.tar"
    words: list[str | Path] = ["--from", released.bucket] if source == "bucket" else []
    released.run("bundle", "export", "v1.21.3", "--el", "8", *words, "--output", target)
    subprocess.run(["tar", "-xf", target], cwd=tmp_path, check=True)
    directory = tmp_path / "fips-v1.21.3-rhel8"
    instructions = (directory / "README.txt").read_text()
    commands = [line.strip() for line in instructions.splitlines() if line.startswith("    ")]
    verifying = [line for line in commands if line.startswith(("gpg", "sha256sum"))]
    assert len(verifying) == 4
    for command in verifying:
        ended = subprocess.run(
            ["sh", "-c", command], cwd=directory, env=released.variables(), capture_output=True, check=False
        )
        assert ended.returncode == 0, (command, ended.stderr)
    tool = subprocess.run([directory / "dkp-fips-tool", "--version"], capture_output=True, text=True, check=True)
    assert "0.1.0" in tool.stdout


def test_the_same_bundle_has_the_same_bytes_and_it_is_said_which_serial_they_are(
    released: Site, tmp_path: Path
) -> None:
    words = ("bundle", "export", "v1.21.3", "--el", "8", "--output")
    told = released.run(*words, tmp_path / "one.tar")
    made = json.loads(released.run(*words, tmp_path / "two.tar", "--json").stdout)
    assert (made["kubernetes"], made["el"], made["serial"]) == ("v1.21.3", 8, 1)
    assert "v1.21.3 EL 8, serial 1, signed 20" in told.stderr and made["fingerprint"] in told.stderr
    # What is on stdout is what sha256sum takes.
    subprocess.run(["sha256sum", "-c"], input=told.stdout, text=True, cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def test_the_manifest_is_valid_by_the_published_schema(released: Site, tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text(released.run("schema").stdout)
    manifest = released.directory / "work/v1.21.3/rhel8/manifest-rhel8.json"
    told = subprocess.run(
        ["check-jsonschema", "--schemafile", schema, manifest],
        env=released.variables() | {"PATH": f"{Path(released.command()[0]).parent}:{released.variables()['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout


def test_the_override_file_names_what_the_manifest_was_cut_from(released: Site) -> None:
    lines = released.run("overrides", "v1.21.3", "--el", "8").stdout.splitlines()
    found = dict(line.split(": ", 1) for line in lines if not line.startswith("#") and ": " in line)
    assert json.loads(found["k8s_image_registry"]) == "docker.io/mesosphere"
    assert json.loads(found["kubernetes_rpm_repository_url"]) == (
        "https://kubernetes-fips.s3.us-east-2.amazonaws.com/8/x86_64"
    )
    assert json.loads(found["docker_rpm_repository_url"]) == (
        "https://containerd-fips.s3.us-east-2.amazonaws.com/8/x86_64"
    )
    assert found["  enabled"] == "true"


def test_a_manifest_does_not_differ_from_its_signed_form(released: Site) -> None:
    plain = released.directory / "work/v1.21.3/rhel8/manifest-rhel8.json"
    signed = released.directory / "work/v1.21.3/rhel8/manifest-rhel8.json.asc"
    assert released.run("diff", plain, signed).stdout == "No differences.\n"


def test_a_difference_is_told_by_component(released: Site, tmp_path: Path) -> None:
    plain = released.directory / "work/v1.21.3/rhel8/manifest-rhel8.json"
    document = json.loads(plain.read_text())
    kubelet = next(entry for entry in document["files"] if entry["path"] == "/usr/bin/kubelet")
    before, kubelet["sha256"] = kubelet["sha256"], "f" * 64
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(document))
    told = json.loads(released.run("diff", plain, changed, "--json").stdout)["differences"]
    assert [(entry["component"], entry["subject"], entry["change"]) for entry in told] == [
        ("kubelet", "/usr/bin/kubelet (x86_64)", "changed")
    ]
    assert before in told[0]["before"]
    assert "| kubelet | changed |" in released.run("diff", plain, changed, "--markdown").stdout


def test_what_a_difference_does_not_show_is_named(released: Site, tmp_path: Path) -> None:
    plain = released.directory / "work/v1.21.3/rhel8/manifest-rhel8.json"
    document = json.loads(plain.read_text())
    document["files"].reverse()
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(document))
    assert released.run("diff", plain, changed).stdout == "No differences but the order of files.\n"
    told = json.loads(released.run("diff", plain, changed, "--json").stdout)
    assert (told["differences"], told["not_listed"]) == ([], ["the order of files"])
