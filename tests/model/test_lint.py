"""Mistakes of real releases, found in the definition: links to another version, another EL's packages, orphans."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from fipsmanifest.errors import UsageError
from fipsmanifest.model.definition_file import load
from fipsmanifest.model.lint import load_checked, warnings
from fipsmanifest.workflows.overrides import overrides
from tests.support import command

SHIPPED = Path(__file__).parents[2] / "releases"
RHEL8 = (SHIPPED / "v1.21.3" / "rhel8.toml").read_text()
LATER = (SHIPPED / "v1.22.8" / "rhel8.toml").read_text()


def placed(directory: Path, version: str, text: str, name: str = "rhel8") -> Path:
    path = directory / version / f"{name}.toml"
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
        ('packages = ["kubectl"]', 'packages = ["kubectk"]', "owns kubectk, which no source provides", "kubectk"),
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


def test_a_definition_in_the_directory_of_another_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"v1\.21\.3 is in the directory of v1\.21\.6"):
        load_checked(placed(tmp_path, "v1.21.6", RHEL8))


def test_a_file_named_after_another_el_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="el is 8, but the file is named rhel7"):
        load_checked(placed(tmp_path, "v1.21.3", RHEL8, name="rhel7"))


def test_a_minor_release_of_its_own_is_fine(tmp_path: Path) -> None:
    assert load_checked(placed(tmp_path, "v1.21.3", RHEL8, name="rhel-84")).manifest_name == "manifest-rhel-84.json"


def edited(tmp_path: Path, *changes: tuple[str, str], text: str = RHEL8) -> Path:
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    return placed(tmp_path, "v1.21.3", text)


def test_a_package_version_may_carry_the_build_metadata(tmp_path: Path) -> None:
    assert load_checked(edited(tmp_path, ("kubelet-1.21.3-0", "kubelet-1.21.3+fips.0-0")))


@pytest.mark.parametrize("version", ["1.21.3+fips.1", "1.21.3+", "1.21.6+fips.0", "1.21.3.fips.0"])
def test_other_build_metadata_is_another_version(tmp_path: Path, version: str) -> None:
    with pytest.raises(UsageError, match=r"is not of version 1\.21\.3"):
        load_checked(edited(tmp_path, ("kubelet-1.21.3-0", f"kubelet-{version}-0")))


def test_upstreams_own_tag_is_a_warning_until_the_definition_has_its_form(tmp_path: Path) -> None:
    path = edited(tmp_path, (":v1.21.3_fips.0", ":v1.21.3-fips.0"))
    assert load_checked(path)
    found = warnings(path, [])
    assert len(found) == 4
    assert all('set tag = "{kubernetes}-{build_metadata}"' in line for line in found)
    path.write_text(path.read_text().replace("el = 8", 'el = 8\ntag = "{kubernetes}-{build_metadata}"', 1))
    assert load_checked(path).image_tag == "v1.21.3-fips.0"
    assert warnings(path, []) == []


@pytest.mark.parametrize("tag", ["v1.21.30_fips.0", "v1.21.3-fips.1", "v1.21.3", "v1.21.3_fips.01", "latest"])
def test_the_tag_of_another_build_is_refused(tmp_path: Path, tag: str) -> None:
    with pytest.raises(UsageError, match=r"does not have the tag v1\.21\.3_fips\.0"):
        load_checked(edited(tmp_path, ("kube-proxy:v1.21.3_fips.0", f"kube-proxy:{tag}")))


@pytest.mark.parametrize("tag", ["{version}", "{kubernetes", "a b", ""])
def test_a_template_of_tags_has_two_placeholders(tmp_path: Path, tag: str) -> None:
    with pytest.raises(UsageError, match="tag"):
        load_checked(edited(tmp_path, ("el = 8", f'el = 8\ntag = "{tag}"')))


@pytest.mark.parametrize(
    ("created", "warned"),
    [("2021-04-07", True), ("2021-04-08", False), ("2020-01-01", True), ("2021-08-24", False)],
)
def test_a_date_before_the_minors_first_release_is_a_warning(tmp_path: Path, created: str, warned: bool) -> None:
    path = edited(tmp_path, ("created = 2021-08-24", f"created = {created}"))
    assert load_checked(path)
    assert warnings(path, []) == (
        [f"{path}:9: created is {created}, but Kubernetes v1.21 was released on 2021-04-08"] if warned else []
    )


def test_a_minor_newer_than_the_table_is_not_older_than_the_last_in_it(tmp_path: Path) -> None:
    newer = RHEL8.replace("v1.21.3", "v1.99.0").replace("1.21.3", "1.99.0")
    path = placed(tmp_path, "v1.99.0", newer)
    assert any("Kubernetes v1.99 was released on" in line for line in warnings(path, []))


def test_a_date_that_another_release_has_is_a_warning(tmp_path: Path) -> None:
    path = placed(tmp_path, "v1.22.8", LATER.replace("created = 2022-05-10", "created = 2021-08-24"))
    of_other = load(SHIPPED / "v1.21.3" / "rhel8.toml")
    found = warnings(path, [load(path), of_other])
    assert any("created is also that of v1.21.3 rhel8 serial 1; was it copied?" in line for line in found)
    # Two ELs of one release are cut on the same day.
    assert warnings(SHIPPED / "v1.21.3" / "rhel7.toml", [of_other]) == []


ARCHIVE = """
[[sources]]
kind = "image-archive"
name = "bundle"
url = "{url}"
references = ["example.com/k/kube-apiserver:v1.21.3_fips.0"]
"""


@pytest.mark.parametrize("url", ["/srv/release/images.tar", "file:///srv/release/images.tar"])
def test_an_absolute_path_is_a_warning_and_stays_out_of_what_is_signed(tmp_path: Path, url: str) -> None:
    path = placed(tmp_path, "v1.21.3", RHEL8 + ARCHIVE.replace("{url}", url))
    assert [line for line in warnings(path, []) if "exists on this machine only" in line]
    definition = load(path)
    assert definition.public_address("bundle", url) == "file:images.tar"
    assert definition.public_address("bundle", f"{url}/deep/1.rpm") == "file:images.tar/deep/1.rpm"
    assert definition.public_address("kubernetes", "https://example.com/a") == "https://example.com/a"


def test_a_relative_path_and_an_address_are_named_as_they_are(tmp_path: Path) -> None:
    for url in ("bundles/images.tar", "https://example.com/images.tar"):
        path = placed(tmp_path / url[:5], "v1.21.3", RHEL8 + ARCHIVE.replace("{url}", url))
        assert not [line for line in warnings(path, []) if "this machine" in line]
        assert load(path).public_address("bundle", url) == url


def test_overrides_take_images_from_an_archive_too(tmp_path: Path) -> None:
    text = RHEL8.replace('kind = "image"', 'kind = "image-archive"\nurl = "images.tar"')
    assert text != RHEL8
    path = placed(tmp_path, "v1.21.3", text)
    assert overrides(load(path)) == overrides(load(SHIPPED / "v1.21.3" / "rhel8.toml"))


def test_lint_accepts_versions_as_well_as_paths() -> None:
    def lint(*arguments: str) -> subprocess.CompletedProcess[str]:
        return command.run("definitions", "lint", *arguments, "--definitions", SHIPPED, "--json")

    for version in ("v1.21.3", "1.21.3"):
        checked = json.loads(lint(version).stdout)["checked"]
        assert checked == [str(SHIPPED / "v1.21.3" / name) for name in ("rhel7.toml", "rhel8.toml")]
    missing = lint("v1.29.9")
    assert (missing.returncode, "no definition of v1.29.9" in missing.stdout) == (2, True)
    other = lint("rhel8")
    assert (other.returncode, "neither a definition file nor a version" in other.stdout) == (2, True)
