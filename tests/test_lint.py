"""Mistakes of real releases, found in the definition: links to another version, another EL's packages, orphans."""

from __future__ import annotations

from pathlib import Path

import pytest

from fipsmanifest.errors import UsageError
from fipsmanifest.lint import load_checked

SHIPPED = Path(__file__).parents[1] / "releases"
RHEL8 = (SHIPPED / "v1.21.3" / "rhel8.toml").read_text()
LATER = (SHIPPED / "v1.22.8" / "rhel8.toml").read_text()


def placed(folder: Path, version: str, text: str, name: str = "rhel8") -> Path:
    path = folder / version / f"{name}.toml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("v*/*.toml")), ids=str)
def test_what_is_shipped_has_no_mistake(path: Path) -> None:
    assert load_checked(path).kubernetes == path.parent.name


@pytest.mark.parametrize(
    ("before", "after", "message", "there"),
    [
        ("kubelet-1.21.3-0", "kubelet-1.21.6-0", "kubelet-1.21.6-0 is not of version 1.21.3", "kubelet-1.21.6"),
        ("kube-proxy:v1.21.3_fips.0", "kube-proxy:v1.21.6_fips.0", "does not have the tag v1.21.3_fips.0", "v1.21.6"),
        ("kube-proxy:v1.21.3_fips.0", "kube-proxy:v1.21.3", "not have the tag v1.21.3_fips.0", "kube-proxy:v1.21.3"),
        ("amazonaws.com/8/{arch}", "amazonaws.com/7/{arch}", "belongs to EL 7", "amazonaws.com/7/"),
        ("-3.1.el8", "-3.1.el7", "is built for EL 7", "-3.1.el7"),
        ('versions = ["8.*"]', 'versions = ["7.*"]', "rhel 7.* is not EL 8", '["7.*"]'),
        ('packages = ["kubectl"]', 'packages = ["kubectk"]', "owns kubectk, which no source brings", "kubectk"),
        ('packages = ["kubectl"]', 'files = ["/usr/bin/kubectl"]', "kubectl belongs to no component", '"kubectl-1.21'),
        ('images = ["k8s.gcr.io/pause"]', 'files = ["/pause"]', "k8s.gcr.io/pause belongs to no component", "/pause:"),
        ("00:00:00Z", "00:00:00Z\nexpires = 2021-01-01T00:00:00Z", "would expire before", "expires ="),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, before: str, after: str, message: str, there: str) -> None:
    assert before in RHEL8
    path = placed(tmp_path, "v1.21.3", RHEL8.replace(before, after, 1))
    with pytest.raises(UsageError) as caught:
        load_checked(path)
    told = next(line for line in caught.value.message.splitlines() if message in line)
    number = int(told.removeprefix(f"{path}:").partition(":")[0])
    assert there in path.read_text().splitlines()[number - 1]


def test_the_address_of_another_version_is_named(tmp_path: Path) -> None:
    assert "kubernetes-v1.22.8-fips" in LATER
    path = placed(tmp_path, "v1.22.8", LATER.replace("kubernetes-v1.22.8-fips", "kubernetes-v1.22.7-fips"))
    with pytest.raises(UsageError, match=r"belongs to v1\.22\.7, not to v1\.22\.8"):
        load_checked(path)


def test_a_definition_in_the_folder_of_another_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"v1\.21\.3 lies in the folder of v1\.21\.6"):
        load_checked(placed(tmp_path, "v1.21.6", RHEL8))


def test_a_file_named_after_another_el_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="el is 8, but the file is named rhel7"):
        load_checked(placed(tmp_path, "v1.21.3", RHEL8, name="rhel7"))


def test_a_minor_release_of_its_own_is_fine(tmp_path: Path) -> None:
    assert load_checked(placed(tmp_path, "v1.21.3", RHEL8, name="rhel-84")).manifest_name == "manifest-rhel-84.json"
