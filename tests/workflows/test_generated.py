"""What a compromised job that generates could pass to the job that signs, which reads no artifact."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fipsmanifest.errors import Refused
from fipsmanifest.generate.tool import build_tool
from fipsmanifest.model.definition_file import load
from fipsmanifest.model.manifest import canonical
from fipsmanifest.state.workspace import Workspace
from fipsmanifest.workflows import stages

from .conftest import DEFINITIONS, Site

Json = Any


@dataclass(frozen=True)
class Generated:
    """The work directory of a release, as it is passed on."""

    site: stages.Site
    lock: Path
    manifest: Path
    artifacts: Path

    def check(self) -> bytes:
        definition = load(DEFINITIONS / "v1.21.3" / "rhel8.toml")
        rule = stages.LockRule(self.lock, write=False)
        return stages.generated(definition, self.site, rule, build_tool(self.site.keys))


@pytest.fixture(scope="module")
def released(site_in: Callable[[Path], Site], tmp_path_factory: pytest.TempPathFactory) -> Generated:
    machine = site_in(tmp_path_factory.mktemp("generated"))
    machine.release("--el", "8")
    directory = machine.directory / "work/v1.21.3/rhel8"
    return Generated(
        stages.Site(Workspace(machine.directory / "work"), machine.keys),
        machine.directory / "lock.json",
        directory / "manifest-rhel8.json",
        directory / "artifacts.json",
    )


@pytest.fixture
def generated(released: Generated) -> Iterator[Generated]:
    """Put back, after each test, what it changed."""
    before = [(path, path.read_bytes()) for path in (released.manifest, released.artifacts)]
    yield released
    for path, data in before:
        path.write_bytes(data)


def first_program(document: Json) -> Json:
    return next(entry for entry in document["files"] if entry.get("crypto", {}).get("verdict") == "proven")


def another_verdict(document: Json, _: Json) -> None:
    for entry in document["files"]:
        if "crypto" in entry:
            entry["crypto"]["verdict"] = "plain"


def another_component_verdict(document: Json, _: Json) -> None:
    next(entry for entry in document["components"] if entry["verdict"] == "proven")["verdict"] = "plain"


def no_component(document: Json, _: Json) -> None:
    document["components"] = []


def another_reason(document: Json, _: Json) -> None:
    document["components"][0]["reason"] = "said by nobody"


def another_owner(document: Json, _: Json) -> None:
    first_program(document)["component"] = document["components"][-1]["name"]


def another_source(document: Json, _: Json) -> None:
    first_program(document)["source"] = "invented-1.0-1.x86_64"


def another_architecture(document: Json, _: Json) -> None:
    first_program(document)["architecture"] = "aarch64"


def no_fips_mode(document: Json, _: Json) -> None:
    document["node"]["fips_mode"] = False


def weak_service(document: Json, _: Json) -> None:
    document["node"]["services"][0]["cipher_suites"] = ["TLS_RSA_WITH_3DES_EDE_CBC_SHA"]


def no_service(document: Json, _: Json) -> None:
    document["node"]["services"] = []


def another_expiry(document: Json, _: Json) -> None:
    document["expires"] = "2099-01-01T00:00:00Z"


def another_date(document: Json, _: Json) -> None:
    document["created"] = "2020-01-01T00:00:00Z"


def another_certificate(document: Json, _: Json) -> None:
    module = next(entry for entry in document["modules"].values() if entry.get("certificates"))
    module["certificates"][0]["number"] = 9999


def another_module_digest(document: Json, _: Json) -> None:
    module = next(entry for entry in document["modules"].values() if entry.get("certificates"))
    module["digest"] = "0" * len(module["digest"])


def unused_module(document: Json, _: Json) -> None:
    known = next(iter(document["modules"].values()))
    document["modules"]["of-nobody"] = {**known, "name": "Of nobody"}


def another_index(document: Json, _: Json) -> None:
    document["images"][0]["index"] = "sha256:" + "1" * 64


def another_index_everywhere(document: Json, artifacts: Json) -> None:
    artifact = next(entry for entry in artifacts if entry["name"] == document["images"][0]["reference"])
    document["images"][0]["index"] = artifact["index"] = "sha256:" + "1" * 64


def no_index_everywhere(document: Json, artifacts: Json) -> None:
    artifact = next(entry for entry in artifacts if entry["name"] == document["images"][0]["reference"])
    del document["images"][0]["index"]
    artifact["index"] = None


def another_layer(document: Json, _: Json) -> None:
    document["images"][0]["platforms"][0]["layers"][0] = "sha256:" + "1" * 64


def no_image(document: Json, _: Json) -> None:
    document["images"].pop()


def another_image_owner(document: Json, _: Json) -> None:
    document["images"][0]["component"] = document["images"][-1]["component"]


def a_package_left_out(document: Json, artifacts: Json) -> None:
    gone = next(entry for entry in artifacts if entry["kind"] == "rpm")["name"]
    artifacts[:] = [entry for entry in artifacts if entry["name"] != gone]
    document["files"] = [entry for entry in document["files"] if entry["source"] != gone]
    document["sources"] = [entry for entry in document["sources"] if entry["name"] != gone]


def another_package(document: Json, artifacts: Json) -> None:
    package = next(entry for entry in artifacts if entry["kind"] == "rpm")
    record = next(entry for entry in document["sources"] if entry["name"] == package["name"])
    package["sha256"] = record["sha256"] = "1" * 64


def another_size(document: Json, artifacts: Json) -> None:
    package = next(entry for entry in artifacts if entry["kind"] == "rpm")
    record = next(entry for entry in document["sources"] if entry["name"] == package["name"])
    package["size"] = record["size"] = 1


def another_kind(document: Json, artifacts: Json) -> None:
    package = next(entry for entry in artifacts if entry["kind"] == "rpm")
    record = next(entry for entry in document["sources"] if entry["name"] == package["name"])
    package["kind"] = record["kind"] = "tarball"


def another_source_of_the_definition(_: Json, artifacts: Json) -> None:
    for entry in artifacts:
        entry["source"] = "invented"


TAMPERED = (
    another_verdict,
    another_component_verdict,
    no_component,
    another_reason,
    another_owner,
    another_source,
    another_architecture,
    no_fips_mode,
    weak_service,
    no_service,
    another_expiry,
    another_date,
    another_certificate,
    another_module_digest,
    unused_module,
    another_index,
    another_index_everywhere,
    no_index_everywhere,
    another_layer,
    no_image,
    another_image_owner,
    a_package_left_out,
    another_package,
    another_size,
    another_kind,
    another_source_of_the_definition,
)


@pytest.mark.parametrize("tamper", TAMPERED, ids=lambda tamper: str(tamper.__name__))
def test_what_does_not_follow_from_definition_lock_and_table_is_not_signed(
    tamper: Callable[[Json, Json], None], generated: Generated
) -> None:
    document, artifacts = json.loads(generated.manifest.read_bytes()), json.loads(generated.artifacts.read_bytes())
    tamper(document, artifacts)
    generated.manifest.write_bytes(canonical(document))
    generated.artifacts.write_text(json.dumps(artifacts))
    with pytest.raises(Refused):
        generated.check()


def test_what_was_generated_is_taken_as_it_is(generated: Generated) -> None:
    assert generated.check() == generated.manifest.read_bytes()
