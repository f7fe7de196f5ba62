"""Build info agrees with ``go version -m`` on every real program."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from examples.upstream import goprograms

from fipsmanifest.inspect import elf_reader
from fipsmanifest.inspect.analysis import analyze
from fipsmanifest.inspect.buildinfo import text
from fipsmanifest.inspect.source import Buffer
from fipsmanifest.inspect.table import load
from fipsmanifest.model.finding import GoFacts, Verdict
from tests.support import edits, programs, toolchains

from .matrix import REAL, named

TABLE = load()
GO_PROGRAMS = [name for name, row in REAL.items() if row.verdict != "not-go"]


def read(data: bytes) -> GoFacts:
    go = analyze(Buffer(data), TABLE).go
    assert go is not None
    return go


def as_go_prints_it(path: Path) -> GoFacts:
    """Parse the output of ``go version -m``; the quotes that Go prints around some values are JSON's here."""
    first, *lines = goprograms.go_version_m(path).splitlines()
    fields = [line.removeprefix("\t").split("\t") for line in lines if line.strip()]
    settings = {}
    for kind, rest, *_ in fields:
        if kind == "build":
            key, _, value = rest.partition("=")
            settings[key] = json.loads(value) if value.startswith('"') else value
    module = next((" ".join(rest[:2]).strip() for kind, *rest in fields if kind == "mod"), None)
    path_of_main = next((rest[0] for kind, *rest in fields if kind == "path"), None)
    return GoFacts(first.partition(": ")[2], path_of_main, module, settings)


@pytest.mark.parametrize("name", named(GO_PROGRAMS))
def test_every_field_agrees_with_the_toolchain(name: str) -> None:
    path = REAL[name].make()
    assert isinstance(path, Path)
    assert read(path.read_bytes()) == as_go_prints_it(path)
    check_text(path)


@pytest.mark.parametrize("program", [goprograms.goroot() / "bin/go", goprograms.goroot() / "bin/gofmt"])
def test_the_toolchains_own_programs_agree(program: Path) -> None:
    assert read(program.read_bytes()) == as_go_prints_it(program)


def check_text(path: Path) -> None:
    """Compare line by line: dependencies with their sums and replacements are there, too."""
    data = Buffer(path.read_bytes())
    found = text(data, elf_reader.read(data))
    assert found is not None
    first, *lines = goprograms.go_version_m(path).splitlines()
    assert found[0] == first.partition(": ")[2]
    assert found[1].splitlines() == [line.removeprefix("\t") for line in lines if line.strip()]


def check_distributed(path: Path) -> None:
    looked = analyze(Buffer(path.read_bytes()), TABLE)
    assert looked.go == as_go_prints_it(path)
    assert looked.crypto.verdict is Verdict.PLAIN
    check_text(path)


@pytest.mark.parametrize(
    "name",
    [
        "docker-registry",
        "skopeo",
        "umoci",
        "containerd",
        "containerd-shim-runc-v2",
        "ctr",
        "runc",
    ],
)
def test_programs_that_a_distribution_built_agree(name: str) -> None:
    # By other toolchains, flags and strippers than these tests use; all of them plain builds.
    found = shutil.which(name, path=f"{os.defpath}:/usr/sbin:/sbin")
    assert found
    check_distributed(Path(found))


@pytest.mark.parametrize("program", ["etcd-server/usr/bin/etcd", "kubernetes-client/usr/bin/kubectl"])
@toolchains.on_debian_12
def test_kubernetes_programs_that_a_distribution_built_agree(program: str) -> None:
    path = Path(__file__).parents[2] / ".cache" / "debian" / program
    assert path.exists(), f"{path} is missing: run scripts/debian-programs"
    check_distributed(path)


def test_a_program_without_section_headers_agrees(tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.write_bytes(edits.without_sections(programs.boring().read_bytes()))
    bare.chmod(0o755)
    assert read(bare.read_bytes()) == as_go_prints_it(bare)


def test_pointer_form_agrees(tmp_path: Path) -> None:
    old = tmp_path / "old"
    text = "path\tk8s.io/kubernetes/cmd/kubelet\nmod\tk8s.io/kubernetes\tv1.21.3\t\n"
    old.write_bytes(edits.pointer_build_info(programs.boring().read_bytes(), "go1.16.6b7", text))
    old.chmod(0o755)
    go = read(old.read_bytes())
    assert go == as_go_prints_it(old)
    assert go == GoFacts("go1.16.6b7", "k8s.io/kubernetes/cmd/kubelet", "k8s.io/kubernetes v1.21.3", {})


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ('-ldflags="-s -w"', "-ldflags", "-s -w"),
        ("-tags=`a b`", "-tags", "a b"),
        (r'"odd key"="tab\tquote\"\x41\u00e9"', "odd key", 'tab\tquote"A\u00e9'),
        ("vcs.revision=", "vcs.revision", ""),
        ("DefaultGODEBUG=a=1,b=2", "DefaultGODEBUG", "a=1,b=2"),
    ],
)
def test_settings_are_unquoted_as_go_quotes_them(line: str, key: str, value: str) -> None:
    info = edits.inline_build_info("go1.21.13", f"path\tx\nbuild\t{line}\n")
    assert read(edits.hand_made(b"\x90", info)).settings == {key: value}
