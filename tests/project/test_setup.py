"""What a fresh machine needs: pinned requirements, the list of system packages, and their documentation."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.specifiers import SpecifierSet

from tests.support import command

TOP = Path(__file__).parents[2]
SETS = ("release", "demo", "test")


def requirements(name: str) -> str:
    return (TOP / "requirements" / f"{name}.txt").read_text()


def pins(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+) ", requirements(name), re.MULTILINE))


def names(dependencies: list[str]) -> set[str]:
    found = {re.sub(r"[-_.]+", "-", re.split(r"[=<>\[]", dependency)[0].lower()) for dependency in dependencies}
    return found - {"fipsmanifest"}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((TOP / "pyproject.toml").read_text())


SCRIPTS = [path for path in [*(TOP / "scripts").iterdir(), TOP / ".ci/run"] if path.is_file()]


@pytest.mark.parametrize(
    "path", [path for path in SCRIPTS if "bash" in path.read_text().split("\n")[0]], ids=lambda p: p.name
)
def test_no_failure_within_a_script_is_ignored(path: Path) -> None:
    # "set -e" is off in a group or subshell with a command behind "||" or "&&", unless its code is what is asked for.
    lines = path.read_text().splitlines()
    assert any(line.startswith("set -euo pipefail") for line in lines)
    assert not [line for line in lines if re.match(r"\s*[})].*(\|\|(?! code=)|&&)", line)]


def _is_installed(name: str) -> bool:
    """Return whether a pin is installed; some are for other versions of Python."""
    try:
        return bool(metadata(name))
    except PackageNotFoundError:
        return False


class TestRequirements:
    @pytest.mark.parametrize("name", SETS)
    def test_every_pin_has_hashes(self, name: str) -> None:
        logical = re.sub(r"\\\n", " ", re.sub(r"^ *#.*\n", "", requirements(name), flags=re.MULTILINE)).splitlines()
        assert len(logical) == len(pins(name)) > 20
        for line in logical:
            assert re.fullmatch(
                r"[a-z0-9-]+==\S+( ; python_version < \"3\.\d+\")?(\s+--hash=sha256:[0-9a-f]{64})+\s*", line
            ), line

    @pytest.mark.parametrize("name", SETS)
    def test_no_address_of_an_index_and_no_path_of_a_machine_is_in_them(self, name: str) -> None:
        assert not re.search(r"--(?!hash=)|https?:|file:|(?<!\w)/\w", requirements(name))

    def test_everything_installs_with_the_python_of_debian_12(self) -> None:
        # Another Python may have chosen the versions. What is installed here says what it needs.
        needed = {name: metadata(name)["Requires-Python"] for name in pins("test") if _is_installed(name)}
        assert len(needed) > 100
        assert [name for name, versions in needed.items() if not SpecifierSet(versions or "").contains("3.11.2")] == []

    def test_they_hold_what_the_project_depends_on(self, project: dict[str, Any]) -> None:
        extras = project["project"]["optional-dependencies"]
        wanted = names(project["project"]["dependencies"]) | names(project["build-system"]["requires"])
        wanted |= names(extras["s3"])
        assert wanted <= pins("release").keys()
        assert wanted | names(extras["demo"]) <= pins("demo").keys()
        assert wanted | names(extras["demo"]) | names(extras["test"]) <= pins("test").keys()

    def test_what_is_released_with_is_what_was_tested(self) -> None:
        tested = pins("test")
        for name in ("release", "demo"):
            assert {package: tested.get(package) for package in pins(name)} == pins(name)

    def test_contributing_says_of_each_dependency_why_it_is_there(self, project: dict[str, Any]) -> None:
        extras = project["project"]["optional-dependencies"]
        wanted = names(project["project"]["dependencies"])
        for extra in ("cluster", "cosign", "fast", "s3", "demo", "docs", "test"):
            wanted |= names(extras[extra])
        rows = re.findall(r"^\| ([\w., -]+) \| .+ \|$", (TOP / "CONTRIBUTING.md").read_text(), re.MULTILINE)
        told = {re.sub(r"[-_.]+", "-", name.lower()) for row in rows for name in row.split(", ")}
        assert told - {"package", "for the demo", "for the documentation", "for tests"} == wanted


class TestSystemPackages:
    script = TOP / "scripts" / "system-packages"

    def run(self, which: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(path)} if path else None
        bash = shutil.which("bash")
        assert bash
        return subprocess.run([bash, self.script, which], env=environment, capture_output=True, text=True, check=False)

    def test_is_silent_where_everything_is_there(self) -> None:
        run = self.run("test")
        assert (run.returncode, run.stdout, run.stderr) == (0, "", "")

    def test_names_what_is_missing_in_one_line_where_it_cannot_install(self, tmp_path: Path) -> None:
        # A machine with nothing but id, gpg and gcc, and no apt-get.
        for program in ("id", "gpg", "gcc"):
            found = shutil.which(program)
            assert found
            (tmp_path / program).symlink_to(found)
        run = self.run("demo", tmp_path)
        assert run.returncode == 4
        assert run.stdout == ""
        [line] = run.stderr.splitlines()
        named = line.partition(": ")[2].split()
        assert {"gpgv", "docker-registry", "rpm2cpio", "cpio"} <= set(named)
        assert not {"gnupg", "gcc"} & set(named)

    def test_refuses_a_set_that_it_does_not_know(self) -> None:
        run = self.run("everything")
        assert run.returncode == 2
        assert "usage" in run.stderr


class TestMakefile:
    def make(self, *arguments: str) -> str:
        return subprocess.run(["make", *arguments], cwd=TOP, capture_output=True, text=True, check=True).stdout

    def test_help_names_every_target_that_is_meant_for_people(self) -> None:
        told = set(re.findall(r"^  make (\w+)", self.make("--no-print-directory", "help"), re.MULTILINE))
        [phony] = re.findall(r"^\.PHONY: (.+)$", (TOP / "Makefile").read_text(), re.MULTILINE)
        assert told == set(phony.split())
        assert {"demo", "test", "lint", "bench", "fuzz"} <= told

    @pytest.mark.parametrize(("asked", "targets"), [([], "lint test"), (["cluster"], "cluster")])
    def test_what_continuous_integration_runs(self, asked: list[str], targets: str, tmp_path: Path) -> None:
        (tmp_path / "make").write_text('#!/bin/sh\necho "make $@"\nexit 3\n')
        (tmp_path / "make").chmod(0o755)
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
        done = subprocess.run([TOP / ".ci/run", *asked], env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (3, f"make {targets}\n", "")

    def test_it_lints_tests_and_has_a_job_for_the_cluster(self) -> None:
        commands = self.make("--dry-run", "lint", "test")
        for program in ("ruff check", "ruff format --check", "mypy", "zizmor", "check-jsonschema", "pytest"):
            assert program in commands
        assert ".ci/run cluster\n" in (TOP / ".github/workflows/ci.yml").read_text()


class TestDocumentation:
    """Commands that the documents show exist, with the options that they show."""

    groups = ("bundle", "check", "definitions", "keys", "modules", "tool")
    documents = sorted([*TOP.glob("*.md"), *TOP.glob("*/README.md"), *TOP.glob("docs/*.md")])
    commands = sorted(
        {
            command.strip()
            for document in documents
            for command in re.findall(r"(?:^\$ |`)(fipsmanifest [a-z][^`#\n\\]*)", document.read_text(), re.MULTILINE)
        }
    )

    def test_there_are_some(self) -> None:
        assert len(self.commands) > 10

    @pytest.mark.parametrize("shown", commands)
    def test_every_command_that_they_show_exists(self, shown: str) -> None:
        words = shown.split()
        options = {word.partition("=")[0] for word in words if word.startswith("--")}
        verb = words[1 : 3 if words[1] in self.groups else 2]
        run = command.run(*verb, "--help", code=0)
        assert options <= set(re.findall(r"--[a-z-]+", run.stdout)), run.stdout
