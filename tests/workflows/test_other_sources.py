"""The same release by other ways: from the bundles of an air-gapped site, and for two architectures at once."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from examples.upstream import node_root
from examples.upstream.goprograms import go_version_m

from fipsmanifest.model.definition_file import load
from tests.support.toolchains import ARM64_COMPILER
from tests.support.worlds import make_world

from .conftest import DEFINITIONS, Site, Upstream

RHEL8 = DEFINITIONS / "v1.21.3" / "rhel8.toml"


def definition_with(sources: str, directory: Path, text: str | None = None) -> Path:
    """Place a definition of v1.21.3 for EL8 with other sources below ``directory``."""
    head, _, rest = (text or RHEL8.read_text()).partition("[[sources]]")
    components = rest[rest.index("[[components]]") :]
    path = directory / "v1.21.3" / "rhel8.toml"
    path.parent.mkdir(parents=True)
    path.write_text(head + sources + components)
    return path


def manifest_of(site: Site) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((site.directory / "work/v1.21.3/rhel8/manifest-rhel8.json").read_text())
    return document


def without_source(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in entry.items() if key != "source"} for entry in entries]


def test_bundles_give_the_files_and_images_that_repository_and_registry_give(
    site_in: Callable[[Path], Site], tmp_path: Path
) -> None:
    online = site_in(tmp_path / "online")
    online.directory.mkdir()
    online.release("--el", "8")

    world, served = online.upstream.world, online.upstream.served
    definition = load(RHEL8)
    bundles = tmp_path / "definitions" / "v1.21.3" / "bundles"
    references = [image.reference for image in world.images_of(definition)]
    packages = world.packages(definition)
    names = ", ".join(json.dumps(path.name.removesuffix(".x86_64.rpm")) for path in packages)
    definition_with(
        f"""
[[sources]]
kind = "rpm-folder"
name = "os-packages"
url = "bundles/packages.tar.gz"
packages = [{names}]

[[sources]]
kind = "image-archive"
name = "images"
url = "bundles/images.tar"
references = {json.dumps(references)}

""",
        tmp_path / "definitions",
    )
    bundles.mkdir()
    directories = [word for path in packages for word in ("-C", path.parent, path.name)]
    subprocess.run(["tar", "-czf", bundles / "packages.tar.gz", *directories], check=True)
    layout = tmp_path / "layout"
    registry = served.registry_address.replace("http://", "docker://")
    for reference in references:
        words = ["--all", "--src-tls-verify=false", f"{registry}/{reference}", f"oci:{layout}:{reference}"]
        subprocess.run(["skopeo", "copy", "--quiet", *words], check=True)
    subprocess.run(["tar", "-C", layout, "-cf", bundles / "images.tar", "."], check=True)

    carried = site_in(tmp_path / "carried")
    carried.directory.mkdir()
    # No mirrors and no upstream: everything that it needs is beside the definition.
    carried = replace(carried, environment={"FIPSMANIFEST_DEFINITIONS": str(tmp_path / "definitions")})
    carried.run("release", "v1.21.3", "--lock", carried.directory / "lock.json", "--first-lock")

    one, other = manifest_of(online), manifest_of(carried)
    assert len(one["files"]) > 20
    assert without_source(other["files"]) == without_source(one["files"])
    assert other["components"] == one["components"]
    assert other["modules"] == one["modules"]
    # An OCI layout names an image by another manifest than Docker's; what it is made of is the same.
    assert [image["reference"] for image in other["images"]] == [image["reference"] for image in one["images"]]
    for ours, theirs in zip(other["images"], one["images"], strict=True):
        for mine, yours in zip(ours["platforms"], theirs["platforms"], strict=True):
            assert mine["diff_ids"] == yours["diff_ids"]
            assert mine["files"] == yours["files"]


@pytest.fixture(scope="module")
def two_architectures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One package and one image of v1.21.3, for both architectures."""
    text = re.sub(r'architectures = \["x86_64"\]', 'architectures = ["x86_64", "aarch64"]', RHEL8.read_text())
    components = (
        '[[components]]\nname = "kubelet"\nrequirement = "proven"\npackages = ["kubelet"]\n\n'
        '[[components]]\nname = "kube-proxy"\nrequirement = "proven"\nimages = ["docker.io/mesosphere/kube-proxy"]\n\n'
    )
    node = '[node.roles]\ncontrol-plane = ["kubelet", "kube-proxy"]\nworker = ["kubelet", "kube-proxy"]\n'
    text = text[: text.index("[[components]]")] + components + node
    sources = """
[[sources]]
kind = "rpm-repository"
name = "kubernetes"
url = "https://kubernetes-fips.s3.us-east-2.amazonaws.com/8/{arch}"
packages = ["kubelet-1.21.3-0"]

[[sources]]
kind = "image"
name = "fips-images"
references = ["docker.io/mesosphere/kube-proxy:v1.21.3_fips.0"]

"""
    return definition_with(sources, tmp_path_factory.mktemp("definitions"), text)


def test_one_manifest_holds_both_architectures(
    two_architectures: Path, gnupghome: Path, site: Site, tmp_path: Path
) -> None:
    compilers = {"aarch64": ARM64_COMPILER}
    world = make_world([two_architectures], tmp_path / "upstream", gnupghome, compilers=compilers)
    with world.serve() as served:
        site = replace(
            site,
            upstream=Upstream(world, served),
            environment={"FIPSMANIFEST_DEFINITIONS": str(two_architectures.parents[1])},
        )
        site.release("--to", site.bucket)
    manifest = manifest_of(site)
    programs = {entry["architecture"]: entry for entry in manifest["files"] if entry["path"] == "/usr/bin/kubelet"}
    assert sorted(programs) == ["aarch64", "x86_64"]
    assert len({entry["sha256"] for entry in programs.values()}) == 2
    assert {entry["crypto"]["verdict"] for entry in programs.values()} == {"proven"}
    (image,) = manifest["images"]
    assert sorted(platform["architecture"] for platform in image["platforms"]) == ["aarch64", "x86_64"]
    assert [(item["name"], item["architecture"], item["verdict"]) for item in manifest["components"]] == [
        (name, architecture, "proven") for name in ("kubelet", "kube-proxy") for architecture in ("x86_64", "aarch64")
    ]
    signed = site.bucket / "tool/manifests/v1.21.3/manifest-rhel8.json.asc"
    site.run("verify", signed, "--el", "8")
    for architecture, machine in (("x86_64", "amd64"), ("aarch64", "arm64")):
        root = node_root(world, load(two_architectures), tmp_path / architecture, architecture=architecture)
        assert f"GOARCH={machine}" in go_version_m(root / "usr/bin/kubelet")
        words: list[str | Path] = ["sh", site.bucket / "tool/dkp-fips-tool", "--root", root, "--json", signed]
        ended = subprocess.run(words, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stdout
        (told,) = [one for one in json.loads(ended.stdout)["checks"] if one["subject"] == "architecture"]
        assert told["actual"] == architecture
