"""The definitions that are shipped, compared with upstream's documentation, and their README against the model."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from fipsmanifest.model.definition import Definition, Images, RpmRepository, Tarball
from fipsmanifest.model.definition_file import find, json_schema, load
from fipsmanifest.model.lint import load_checked
from fipsmanifest.model.ownership import owner_of_image

RELEASES = Path(__file__).parents[2] / "releases"
SHIPPED = sorted(RELEASES.glob("v*/*.toml"))
README = (RELEASES / "README.md").read_text()

#: What the original check covered (its `konvoy check fips` output), and kubectl, which comes with kubeadm.
CLAIMED = {
    "kubeadm",
    "kubelet",
    "kubectl",
    "runc",
    "containerd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "etcd",
}


def test_editors_find_the_schema_of_today_by_the_first_line() -> None:
    # Taplo and Even Better TOML read such a line; the path is relative to the file.
    for path in SHIPPED:
        line = path.read_text().partition("\n")[0]
        named = path.parent / line.removeprefix("#:schema ")
        assert json.loads(named.read_text()) == json_schema(), "write it: fipsmanifest schema --definition"


def shipped(name: str) -> Definition:
    return load(RELEASES / f"{name}.toml")


def packages(definition: Definition) -> set[str]:
    return {
        package for source in definition.sources if isinstance(source, RpmRepository) for package in source.packages
    }


def images(definition: Definition) -> set[str]:
    return {reference for source in definition.sources if isinstance(source, Images) for reference in source.references}


def addresses(definition: Definition) -> set[str]:
    return {address for source in definition.sources for _, address in definition.addresses(source)}


def test_both_enterprise_linux_releases_of_the_first_version_and_a_later_one_are_there() -> None:
    assert [str(path.relative_to(RELEASES)) for path in SHIPPED] == [
        "v1.21.3/rhel7.toml",
        "v1.21.3/rhel8.toml",
        "v1.22.8/rhel8.toml",
    ]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}/{path.stem}")
class TestEachShippedDefinition:
    def test_passes_every_rule(self, path: Path) -> None:
        load_checked(path)

    def test_requires_proof_of_all_that_upstream_claims_and_gives_a_reason_for_the_rest(self, path: Path) -> None:
        components = load(path).components
        assert {item.name for item in components if item.requirement == "proven"} == CLAIMED
        assert all(item.requirement == "known" and item.reason for item in components if item.name not in CLAIMED)

    def test_wants_every_claimed_component_on_a_control_plane_node(self, path: Path) -> None:
        definition = load(path)
        assert set(definition.node.roles["control-plane"]) == CLAIMED
        assert set(definition.node.roles["worker"]) <= CLAIMED

    def test_gives_every_image_an_owner(self, path: Path) -> None:
        definition = load(path)
        for reference in images(definition):
            owner_of_image(definition, reference)

    def test_asks_the_services_for_the_suite_that_the_first_release_promised(self, path: Path) -> None:
        services = load(path).node.services
        assert {service.name: service.port for service in services} == {
            "kube-apiserver": 6443,
            "etcd": 2379,
            "kubelet": 10250,
            "kube-controller-manager": 10257,
            "kube-scheduler": 10259,
        }
        for service in services:
            assert service.preferred == "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"
            assert set(service.cipher_suites) == {
                "TLS_RSA_WITH_AES_128_GCM_SHA256",
                "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
                "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
                "TLS_RSA_WITH_AES_256_GCM_SHA384",
            }
            assert service.tls_versions == ("TLSv1.2",)

    def test_has_a_date_of_its_own_so_that_the_manifest_does_not_depend_on_a_clock(self, path: Path) -> None:
        assert load(path).created is not None

    def test_is_for_the_systems_of_its_enterprise_linux(self, path: Path) -> None:
        definition = load(path)
        assert {system.id for system in definition.operating_systems} == {"rhel", "centos"}


def test_the_example_of_a_native_build_passes_every_rule_and_requires_proof_of_the_same_components() -> None:
    definition = load_checked(RELEASES.parent / "examples/releases/v1.34.2/rhel9.toml")
    assert definition.modules == ("go-native",)
    assert {item.name for item in definition.components if item.requirement == "proven"} == CLAIMED
    assert set(definition.node.roles["control-plane"]) == CLAIMED


@pytest.mark.parametrize("el", [7, 8])
def test_the_first_version_is_complete_after_upstreams_documentation(el: int) -> None:
    definition = shipped(f"v1.21.3/rhel{el}")
    assert definition.el == el
    assert packages(definition) == {
        "kubelet-1.21.3-0",
        "kubeadm-1.21.3-0",
        "kubectl-1.21.3-0",
        "kubernetes-cni-0.9.1-0",
        "cri-tools-1.20.0-0",
        f"containerd.io-1.4.7-3.1.el{el}",
    }
    assert addresses(definition) == {
        f"https://kubernetes-fips.s3.us-east-2.amazonaws.com/{el}/x86_64",
        f"https://containerd-fips.s3.us-east-2.amazonaws.com/{el}/x86_64",
    }
    assert images(definition) == {
        "docker.io/mesosphere/kube-apiserver:v1.21.3_fips.0",
        "docker.io/mesosphere/kube-controller-manager:v1.21.3_fips.0",
        "docker.io/mesosphere/kube-scheduler:v1.21.3_fips.0",
        "docker.io/mesosphere/kube-proxy:v1.21.3_fips.0",
        "docker.io/mesosphere/etcd:v3.4.13_fips.0",
        "k8s.gcr.io/coredns/coredns:v1.8.0",
        "k8s.gcr.io/pause:3.4.1",
    }


def test_the_two_definitions_of_the_first_version_differ_in_their_enterprise_linux_alone() -> None:
    seven, eight = ((RELEASES / f"v1.21.3/rhel{el}.toml").read_text() for el in (7, 8))
    assert re.sub(r"(?<![\d.])7(?![\d])", "8", seven.replace("el7", "el8").replace("1.4.7", "#")) == eight.replace(
        "1.4.7", "#"
    )


def test_the_later_version_takes_containerd_and_runc_from_a_tarball() -> None:
    definition = shipped("v1.22.8/rhel8")
    [tarball] = [source for source in definition.sources if isinstance(source, Tarball)]
    assert tarball.unpack == "/"
    assert addresses(definition) == {
        "https://packages.d2iq.com/konvoy/stable/linux/repos/el/kubernetes-v1.22.8-fips/x86_64",
        "https://packages.d2iq.com/dkp/containerd/containerd-1.4.13-d2iq.1-rhel-8.4-x86_64_fips.tar.gz",
    }
    owners = {item.name: (item.sources, item.files) for item in definition.components if item.sources or item.files}
    assert owners == {
        "containerd": (("containerd",), ()),
        "runc": ((), ("/usr/local/bin/runc", "/usr/bin/runc")),
    }


def test_versions_are_found_in_their_own_order() -> None:
    assert list(find(RELEASES)) == ["v1.21.3", "v1.22.8"]


class TestReadme:
    """What releases/README.md shows must be true: its blocks are a definition, and it omits no key."""

    example = "\n".join(re.findall(r"^```toml\n(.*?)^```", README, re.DOTALL | re.MULTILINE))

    def test_its_blocks_are_a_whole_definition(self, tmp_path: Path) -> None:
        path = tmp_path / "v1.25.4" / "rhel8.toml"
        path.parent.mkdir()
        path.write_text(self.example)
        definition = load_checked(path)
        assert {source.kind for source in definition.sources} == {
            "rpm-repository",
            "rpm-folder",
            "tarball",
            "image",
            "image-archive",
        }
        assert {item.requirement for item in definition.components} == {"proven", "module", "known"}

    def test_it_leaves_no_key_out(self) -> None:
        # Keys that exclude others in one definition are shown as comments.
        shown = re.sub(r"^# (?=[a-z0-9_]+ = )", "", self.example, flags=re.MULTILINE)
        schema = Definition.model_json_schema()
        models = [schema, *schema["$defs"].values()]
        missing = {
            name
            for model in models
            for name in set(model.get("properties", {})) - {"name" if model is schema else ""}
            if not re.search(rf"^{name} *=|[\[.]{name}\]", shown, re.MULTILINE)
        }
        assert missing == set()

    def test_it_explains_every_requirement(self) -> None:
        schema: dict[str, Any] = Definition.model_json_schema()["$defs"]["Component"]["properties"]["requirement"]
        assert set(re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE)) == set(schema["enum"])

    def test_it_is_valid_toml_without_the_models_help(self) -> None:
        assert set(tomllib.loads(self.example)) >= {"schema", "sources", "components", "node"}
