"""How findings are recorded in a manifest: owners, architectures, order and dates, with hand-made findings."""

from __future__ import annotations

import dataclasses
import itertools
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fipsmanifest.errors import Refused, UsageError
from fipsmanifest.generate.assemble import assemble
from fipsmanifest.inspect.artifacts import InspectedArtifact
from fipsmanifest.model import manifest
from fipsmanifest.model.artifact import Artifact, Blob, ImagePlatform
from fipsmanifest.model.definition import Definition
from fipsmanifest.model.definition_file import load
from fipsmanifest.model.finding import CryptoFacts, DetectedModule, ElfFacts, Finding, Verdict

DEFINITION = """
schema = "fipsmanifest/definition/v1"
kubernetes = "v1.21.3"
build_metadata = "fips.0"
el = 8
serial = 1
{created}
architectures = [{architectures}]
operating_systems = [{{ id = "rhel", versions = ["8.*"] }}]

[[sources]]
kind = "tarball"
name = "some"
url = "https://example.com/some.tar"

[[components]]
name = "kubelet"
requirement = "proven"
files = ["/usr/bin/kubelet"]

[[components]]
name = "etcd"
requirement = "proven"
files = ["/usr/bin/etcd"]
images = ["docker.io/mesosphere/etcd"]

[[components]]
name = "rest"
requirement = "known"
reason = "It is a test."
files = ["/etc/*", "/usr/share/*"]

[node.roles]
worker = ["kubelet"]
"""
CREATED = "created = 2021-08-24T00:00:00Z"
TOOL = manifest.Tool(version="0.1.0", sha256="e" * 64)
#: The digest is arbitrary: the description of modules contains it.
BORING = DetectedModule("boringcrypto", "BoringCrypto", "hmac-sha256", "ab" * 32, "x86_64", "shipped")
ETCD = "docker.io/mesosphere/etcd:v3.4.13"


def describe(seen: DetectedModule) -> manifest.Module:
    return manifest.Module(
        name=seen.name, algorithm=seen.algorithm, digest=seen.digest, architecture=seen.architecture, row="shipped"
    )


def definition(directory: Path, created: str = CREATED, architectures: str = '"x86_64"') -> Definition:
    path = directory / "rhel8.toml"
    path.write_text(DEFINITION.format(created=created, architectures=architectures))
    return load(path)


def with_glob(ours: Definition) -> Definition:
    """Return a definition whose kubelet has every file that begins as it."""
    kubelet, *rest = ours.components
    changed = kubelet.model_copy(update={"files": ("/usr/bin/kubelet*",)})
    return ours.model_copy(update={"components": (changed, *rest)})


def program(path: str, verdict: Verdict = Verdict.PROVEN, machine: str = "x86_64", digest: str = "a" * 64) -> Finding:
    crypto = CryptoFacts(verdict, BORING if verdict is Verdict.PROVEN else None, {"offset": 4096})
    return Finding(path, "file", 0o755, digest, 10, "program", elf=ElfFacts(64, machine, "exec"), crypto=crypto)


def document(path: str) -> Finding:
    return Finding(path, "file", 0o644, "b" * 64, 3, "doc")


def tarball(*findings: Finding, name: str = "some.tar", architecture: str = "x86_64") -> InspectedArtifact:
    artifact = Artifact("some", "tarball", name, f"https://example.com/{name}", "c" * 64, 20, Path("/nowhere"))
    return InspectedArtifact(artifact, architecture, None, findings)


def image(*findings: Finding, architecture: str = "x86_64", reference: str = ETCD) -> InspectedArtifact:
    blob = Blob(f"sha256:{'d' * 64}", 1, "application/vnd.oci.image.manifest.v1+json", Path("/nowhere"))
    platform = ImagePlatform(architecture, blob, blob, (blob,), (blob.digest,))
    artifact = Artifact("some", "image", reference, reference, "d" * 64, 1, Path("/nowhere"), platforms=(platform,))
    return InspectedArtifact(artifact, architecture, platform, findings)


KUBELET_AND_ETCD = (program("/usr/bin/kubelet"), program("/usr/bin/etcd"))
WHOLE = (
    tarball(program("/usr/bin/kubelet"), program("/usr/bin/etcd"), document("/etc/b"), document("/etc/a")),
    tarball(document("/usr/share/z"), name="another.tar"),
    image(program("/usr/local/bin/etcd"), program("/usr/local/bin/a")),
)


def refused(definition: Definition, *inspected: InspectedArtifact) -> str:
    with pytest.raises(Refused) as caught:
        assemble(definition, inspected, describe, TOOL)
    assert caught.value.exit_code == 5
    return str(caught.value)


def test_everything_is_listed_once_and_in_order(tmp_path: Path) -> None:
    made = assemble(definition(tmp_path), WHOLE, describe, TOOL)

    assert [(file.path, file.component, file.source) for file in made.files] == [
        ("/etc/a", "rest", "some.tar"),
        ("/etc/b", "rest", "some.tar"),
        ("/usr/bin/etcd", "etcd", "some.tar"),
        ("/usr/bin/kubelet", "kubelet", "some.tar"),
        ("/usr/share/z", "rest", "another.tar"),
    ]
    assert [(item.name, item.verdict) for item in made.components] == [
        ("kubelet", "proven"),
        ("etcd", "proven"),
        ("rest", "not-go"),
    ]
    (listed,) = made.images
    assert (listed.reference, listed.component) == (ETCD, "etcd")
    assert [file.path for file in listed.platforms[0].files] == ["/usr/local/bin/a", "/usr/local/bin/etcd"]
    assert list(made.modules) == ["boringcrypto"]
    assert [source.name for source in made.sources] == [ETCD, "another.tar", "some.tar"]
    assert made.tool == TOOL
    # The result is accepted by readers.
    assert manifest.parse(json.loads(made.payload())).files == made.files


def test_the_bytes_do_not_depend_on_the_order_of_collection(tmp_path: Path) -> None:
    ours = definition(tmp_path)
    orders = [[dataclasses.replace(one, findings=one.findings[::-1]) for one in WHOLE], *itertools.permutations(WHOLE)]

    assert len({assemble(ours, order, describe, TOOL).payload() for order in orders}) == 1


def test_a_file_without_a_component_is_refused_by_name_with_all_others(tmp_path: Path) -> None:
    said = refused(definition(tmp_path), *WHOLE, tarball(document("/opt/x"), document("/opt/y")), image(reference="a"))

    assert "/opt/x of some.tar belongs to no component" in said
    assert "/opt/y of some.tar belongs to no component" in said


def test_an_image_without_a_component_is_refused(tmp_path: Path) -> None:
    foreign = image(program("/bin/x"), reference="docker.io/library/x:1")

    assert "The image docker.io/library/x:1 belongs to no component" in refused(definition(tmp_path), *WHOLE, foreign)


def test_every_requirement_that_is_not_met_is_named(tmp_path: Path) -> None:
    bad = tarball(program("/usr/bin/kubelet", Verdict.PLAIN), program("/usr/bin/etcd", Verdict.CONTRADICTED))

    said = refused(definition(tmp_path), bad)

    assert "kubelet (x86_64): " in said and "'plain'" in said
    assert "etcd (x86_64): " in said and "'contradicted'" in said


@pytest.mark.parametrize("kept", [0, 1])
def test_a_component_that_has_no_program_is_never_a_pass(tmp_path: Path, kept: int) -> None:
    names = ("kubelet", "etcd")
    lacking = names[1 - kept]

    said = refused(definition(tmp_path), tarball(program(f"/usr/bin/{names[kept]}"), document("/etc/a")))

    assert f"{lacking} (x86_64): none of its 0 programs" in said


def test_an_architecture_that_no_artifact_has_is_refused(tmp_path: Path) -> None:
    both = definition(tmp_path, architectures='"x86_64", "aarch64"')

    said = refused(both, *WHOLE)

    assert "kubelet (aarch64): none of its 0 programs" in said
    assert "(x86_64)" not in said


@pytest.mark.parametrize("source", ["x86_64", "noarch"])
def test_a_program_counts_for_its_own_machine(tmp_path: Path, source: str) -> None:
    files = [program("/usr/bin/kubelet", machine="aarch64"), program("/usr/bin/etcd")]

    assert "kubelet (x86_64): none of its " in refused(definition(tmp_path), tarball(*files, architecture=source))


def test_a_file_of_a_package_has_the_packages_architecture(tmp_path: Path) -> None:
    ours = definition(tmp_path)
    emulator = program("/usr/bin/kubelet-arm", machine="aarch64")

    made = assemble(with_glob(ours), [tarball(*KUBELET_AND_ETCD, emulator, document("/etc/a"))], describe, TOOL)

    assert {file.architecture for file in made.files} == {"x86_64"}


# x86_64 runs programs for 386 as well, and a program whose header cannot be read has no machine.
@pytest.mark.parametrize("machine", ["em-3", "aarch64", None])
@pytest.mark.parametrize("verdict", [Verdict.PLAIN, Verdict.UNREADABLE])
def test_every_program_of_a_source_for_any_architecture_is_judged(
    tmp_path: Path, machine: str | None, verdict: Verdict
) -> None:
    more = program("/usr/bin/kubelet-old", verdict, machine=machine or "")
    more = more if machine else dataclasses.replace(more, elf=None)
    ours = with_glob(definition(tmp_path))

    said = refused(ours, tarball(*KUBELET_AND_ETCD, more, architecture="noarch"))

    assert f"kubelet ({machine or 'noarch'}): /usr/bin/kubelet-old of some.tar is '{verdict}'" in said


def test_a_program_for_every_node_is_refused_once(tmp_path: Path) -> None:
    more = program("/usr/bin/kubelet-old", Verdict.PLAIN, machine="em-3")
    both = with_glob(definition(tmp_path, architectures='"x86_64", "aarch64"'))

    said = refused(both, tarball(*KUBELET_AND_ETCD, more, architecture="noarch"))

    assert said.count("/usr/bin/kubelet-old") == 1


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("machine", [None, "em-3"])
def test_a_source_for_any_architecture_cannot_replace_a_program_of_another_source(
    tmp_path: Path, order: int, machine: str | None
) -> None:
    other = Finding("/usr/bin/kubelet", "file", 0o755, "f" * 64, 10, "program")
    if machine is not None:
        other = program("/usr/bin/kubelet", Verdict.NO_CRYPTO, machine=machine, digest="f" * 64)
    sources = [tarball(*KUBELET_AND_ETCD), tarball(other, name="another.tar", architecture="noarch")]

    assert "/usr/bin/kubelet is in " in refused(definition(tmp_path), *sources[::order])


def test_sources_for_different_architectures_may_have_different_programs(tmp_path: Path) -> None:
    both = definition(tmp_path, architectures='"x86_64", "aarch64"')
    other = [program(f"/usr/bin/{name}", machine="aarch64", digest="f" * 64) for name in ("kubelet", "etcd")]

    made = assemble(
        both, [tarball(*KUBELET_AND_ETCD), tarball(*other, name="b.tar", architecture="aarch64")], describe, TOOL
    )

    assert len(made.files) == 4


@pytest.mark.parametrize("change", [{"sha256": "f" * 64}, {"type": "symlink", "sha256": None, "target": "kubelet-1"}])
def test_two_files_at_one_path_are_refused_unless_they_are_the_same(tmp_path: Path, change: dict[str, str]) -> None:
    ours, first = definition(tmp_path), document("/etc/a")
    programs = [program("/usr/bin/kubelet"), program("/usr/bin/etcd")]
    other = dataclasses.replace(first, **change)  # type: ignore[arg-type]

    said = refused(ours, tarball(*programs, first), tarball(other, name="another.tar"))

    assert "/etc/a is in some.tar and in another.tar, with different content" in said
    # Two packages may differ in times and modes.
    same = assemble(ours, [tarball(*programs, first), tarball(first, name="another.tar")], describe, TOOL)
    assert [file.source for file in same.files if file.path == "/etc/a"] == ["some.tar"]


@pytest.mark.parametrize(
    ("created", "epoch", "expected"),
    [
        (CREATED, None, "2021-08-24T00:00:00Z"),
        # The definition's date is part of the release; the environment is not.
        (CREATED, 0, "2021-08-24T00:00:00Z"),
        ("", 1_600_000_000, "2020-09-13T12:26:40Z"),
        ("", 0, "1970-01-01T00:00:00Z"),
    ],
)
def test_the_date_is_the_definitions_or_else_the_environments(
    tmp_path: Path, created: str, epoch: int | None, expected: str
) -> None:
    assert assemble(definition(tmp_path, created), WHOLE, describe, TOOL, epoch).created == expected


def test_the_current_time_is_never_the_date(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="SOURCE_DATE_EPOCH") as caught:
        assemble(definition(tmp_path, ""), WHOLE, describe, TOOL)

    assert caught.value.exit_code == 2


def test_a_time_is_written_in_utc_to_the_second(tmp_path: Path) -> None:
    made = assemble(definition(tmp_path, "created = 2021-08-24T02:00:00+02:00"), WHOLE, describe, TOOL)

    assert made.created == "2021-08-24T00:00:00Z"
    assert datetime.fromisoformat(made.created) == datetime(2021, 8, 24, tzinfo=UTC)
