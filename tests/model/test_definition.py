"""Reading release definitions: the form, and how a mistake is reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from fipsmanifest.errors import UsageError
from fipsmanifest.model.definition import Definition
from fipsmanifest.model.definition_file import find, line_of, load
from fipsmanifest.model.version import is_version

SHIPPED = Path(__file__).parents[2] / "releases"

GOOD = """\
schema = "fipsmanifest/definition/v1"
kubernetes = "v1.21.3"
build_metadata = "fips.0"
el = 8
serial = 1
created = 2021-08-24T00:00:00Z
architectures = ["x86_64"]

[[operating_systems]]
id = "rhel"
versions = ["8.*"]

[[sources]]
kind = "rpm-repository"
name = "kubernetes"
url = "https://packages.example/8/{arch}"
packages = ["kubelet-1.21.3-0"]

[[sources]]
kind = "image"
name = "images"
references = ["docker.io/mesosphere/etcd:v3.4.13_fips.0"]

[[components]]
name = "kubelet"
requirement = "proven"
packages = ["kubelet"]

[[components]]
name = "etcd"
requirement = "proven"
images = ["docker.io/mesosphere/etcd"]

[node]
fips_mode = true

[node.roles]
worker = ["kubelet"]
"""


def written(directory: Path, text: str) -> Path:
    path = directory / "rhel8.toml"
    path.write_text(text)
    return path


def test_a_definition_is_named_by_its_file(tmp_path: Path) -> None:
    definition = load(written(tmp_path, GOOD))
    assert (definition.name, definition.manifest_name) == ("rhel8", "manifest-rhel8.json")
    assert [component.name for component in definition.components] == ["kubelet", "etcd"]


def test_an_address_stands_for_each_architecture(tmp_path: Path) -> None:
    definition = load(written(tmp_path, GOOD.replace('["x86_64"]', '["x86_64", "aarch64"]')))
    assert list(definition.addresses(definition.sources[0])) == [
        ("x86_64", "https://packages.example/8/x86_64"),
        ("aarch64", "https://packages.example/8/aarch64"),
    ]
    assert list(definition.addresses(definition.sources[1])) == []


@pytest.mark.parametrize(
    ("before", "after", "line", "message"),
    [
        ('requirement = "proven"\npackages', 'requirment = "proven"\npackages', 26, "this key is not known"),
        ('url = "https', 'uri = "https', 16, "this key is not known"),
        ("serial = 1", "serial = 2", 1, "serial 2 needs a reason"),
        ("serial = 1", 'serial = 1\nreason = "x"', 1, "a reason is allowed from serial 2 on"),
        ("el = 8", "el = 6", 4, "el: "),
        ('kubernetes = "v1.21.3"', 'kubernetes = "1.21"', 2, "kubernetes: "),
        ("2021-08-24T00:00:00Z", "2021-08-24T00:00:00", 6, "time zone"),
        ('worker = ["kubelet"]', 'worker = ["kublet"]', 1, "node role 'worker' requires 'kublet'"),
        ('name = "etcd"', 'name = "kubelet"', 1, "component 'kubelet' is defined twice"),
        ('requirement = "proven"\nimages', 'requirement = "known"\nimages', 29, "needs a reason"),
        (
            'requirement = "proven"\nimages',
            'requirement = "module"\nreason = "r"\nimages',
            29,
            "are for the requirement",
        ),
        ('images = ["docker.io/mesosphere/etcd"]', "", 29, "owns nothing"),
        ('references = ["docker.io/mesosphere/etcd:v3.4.13_fips.0"]', 'references = [" "]', 22, "it is blank"),
        ("[node]", 'colour = "x"\n[node]', 34, "this key is not known"),
    ],
)
def test_a_mistake_is_named_with_file_and_line(
    tmp_path: Path, before: str, after: str, line: int, message: str
) -> None:
    assert before in GOOD
    path = written(tmp_path, GOOD.replace(before, after, 1))
    with pytest.raises(UsageError) as caught:
        load(path)
    assert f"{path}:{line}:" in caught.value.message
    assert message in caught.value.message


def test_broken_toml_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not TOML"):
        load(written(tmp_path, GOOD + "\n[[["))


def test_bytes_that_are_not_text_are_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "rhel8.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not TOML"):
        load(path)


def test_a_file_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load(tmp_path / "rhel8.toml")


def test_a_name_inside_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the file's name is the definition's"):
        load(written(tmp_path, 'name = "rhel9"\n' + GOOD))


def test_line_of_finds_the_second_table_of_an_array() -> None:
    assert line_of(GOOD, ("components", 1, "images")) == 32
    assert line_of(GOOD, ("node", "roles", "worker")) == 38


def test_the_versions_that_have_definitions_are_ordered_as_numbers() -> None:
    assert list(find(SHIPPED))[:1] == ["v1.21.3"]
    with pytest.raises(UsageError, match=r"no definition of v9\.9\.9"):
        find(SHIPPED, "v9.9.9")


def test_every_shipped_definition_loads() -> None:
    loaded = [load(path) for paths in find(SHIPPED).values() for path in paths]
    assert len(loaded) >= 3
    assert all(isinstance(definition, Definition) for definition in loaded)


def test_an_exception_is_for_files_for_what_is_packed_in_them_or_for_what_is_not_opened(tmp_path: Path) -> None:
    exceptions = "".join(
        f'[[components.exceptions]]\npath = "/usr/*"\nreason = "r"\n{lines}\n'
        for lines in (
            'verdict = "unopened"',
            'verdict = "plain"',
            'verdict = "not-go"\ncontainer = "/usr/*.tar"',
            'verdict = "unopened"\ncontainer = "/usr/*.tar"',
        )
    )
    definition = load(written(tmp_path, GOOD.replace("[node]", f"{exceptions}\n[node]")))
    component = definition.components[-1]

    def verdict(path: str, container: str | None = None, *, unopened: str | None = None) -> str | None:
        exception = component.exception_for(path, container, unopened=unopened)
        return f"{exception.verdict} {exception.container}" if exception else None

    assert verdict("/usr/bin/x") == "plain None"
    assert verdict("/usr/bin/x", unopened="7z archive") == "unopened None"
    assert verdict("/usr/bin/x", "/usr/a.tar") == "not-go /usr/*.tar"
    assert verdict("/usr/bin/x", "/usr/a.tar", unopened="7z archive") == "unopened /usr/*.tar"
    assert verdict("/usr/bin/x", "/opt/a.tar") is None
    assert verdict("/opt/x") is None


@pytest.mark.parametrize(
    ("text", "valid"),
    [("v1.21.3", True), ("1.21.3", False), ("v1.21", False), ("v1.21.3\n", False), ("v1.21.٣", False)],
)
def test_a_version_has_three_numbers_in_ascii_digits(text: str, valid: bool) -> None:
    assert is_version(text) is valid
