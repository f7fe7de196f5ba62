"""The package, the action and the pre-commit hook, as users get them: outside of the checkout."""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from email.message import Message
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

import fipsmanifest
from tests.support import containerfile, packages, programs
from tests.support.forge import PYENV

TOP = Path(__file__).parents[2]
ACTION = TOP / "action.yml"
HOOKS = TOP / ".pre-commit-hooks.yaml"


def test_two_builds_have_the_same_bytes_and_a_tag_must_be_their_version(built: Path, tmp_path: Path) -> None:
    assert sorted(path.suffix for path in built.iterdir()) == [".gz", ".whl"]

    wrong = [str(TOP / "scripts/build-package"), str(tmp_path), "v99.0.0"]
    done = subprocess.run(wrong, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "not the version of the tag" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_published_package_names_the_repository_that_published_it(built: Path, tmp_path: Path) -> None:
    address = "https://forge.example/owner/repository"
    building = [str(TOP / "scripts/build-package"), str(tmp_path / "dist"), f"v{fipsmanifest.__version__}"]
    subprocess.run(building, env=os.environ | {"PROJECT_URL": address}, check=True, capture_output=True, timeout=120)
    (sdist,) = (tmp_path / "dist").glob("*.tar.gz")
    again = [sys.executable, "-m", "pip", "--quiet", "wheel", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run(
        [*again, "--wheel-dir", str(tmp_path / "again"), str(sdist)], check=True, capture_output=True, timeout=120
    )

    published, rebuilt = (_metadata(next((tmp_path / name).glob("*.whl"))) for name in ("dist", "again"))
    version = f"v{fipsmanifest.__version__}"
    assert dict(line.split(", ") for line in published.get_all("Project-URL", [])) == {
        "Source": address,
        "Documentation": f"{address}/tree/{version}/docs",
        "Changelog": f"{address}/blob/{version}/CHANGELOG.md",
        "Issues": f"{address}/issues",
    }
    assert rebuilt.items() == published.items()
    # The page of a package index has no files beside it.
    links = re.findall(r"\]\(([^)]+)\)", str(published.get_payload()))
    assert f"{address}/blob/{version}/docs/reasons.md" in links
    assert [link for link in links if not link.startswith("https://")] == []
    # This one is not published.
    assert _metadata(next(built.glob("*.whl"))).get_all("Project-URL") is None


@pytest.mark.parametrize("address", ["owner/repository", 'https://forge.example/"\nx = 1', "https://forge.example/#/"])
def test_what_is_not_the_address_of_a_repository_is_not_built(address: str, tmp_path: Path) -> None:
    environment = os.environ | {"PROJECT_URL": address}
    building = [TOP / "scripts/build-package", tmp_path / "dist"]
    done = subprocess.run(building, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, "PROJECT_URL is" in done.stderr) == (2, True)
    assert list((tmp_path / "dist").glob("*")) == []


def _metadata(wheel: Path) -> Message[str, str]:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


def test_the_packages_contain_what_they_need_and_no_more(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        tops = {name.split("/")[1] for name in sdist.getnames()}
    names = set(zipfile.ZipFile(next(built.glob("*.whl"))).namelist())

    assert tops >= {"src", "docs", "releases", "pyproject.toml", "README.md"}
    assert tops.isdisjoint({"tests", ".cache", ".venv", "demo", "benchmarks"})
    data = {
        path.relative_to(TOP / "src").as_posix()
        for path in (TOP / "src").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert data <= names
    # What `init --from` can start from; the directory is a link in the checkout.
    definitions = {
        f"fipsmanifest/workflows/templates/{path.relative_to(TOP)}" for path in TOP.glob("releases/*/*.toml")
    }
    assert definitions and definitions <= names


def test_the_wheel_works_outside_of_the_checkout(built: Path, tmp_path: Path) -> None:
    installed = packages.installed(next(built.glob("*.whl")), tmp_path / "installed")
    project = tmp_path / "project"
    project.mkdir()

    def run(*words: str) -> str:
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
        command = [str(installed / "fipsmanifest"), *words]
        done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("init", "--kubernetes", "v1.29.9", "--el", "9")
    run("init", "--from", "v1.21.3/rhel7", "--kubernetes", "v1.30.1")
    assert "no problems" in run("definitions", "lint")
    assert "boringcrypto" in run("modules", "list")
    assert '"title"' in run("schema", "--definition")


def _run_action(directory: Path, **inputs: str) -> tuple[int, str, str]:
    """Run the step of the action as a runner does: the installed program, the inputs as variables."""
    text = ACTION.read_text()
    temporary = directory / "runner"
    (temporary / "fipsmanifest/bin").mkdir(parents=True, exist_ok=True)
    program = temporary / "fipsmanifest/bin/fipsmanifest"
    if not program.exists():
        program.symlink_to(Path(sys.executable).with_name("fipsmanifest"))
    declared = yaml.safe_load(text)["inputs"]
    values = {name: one.get("default", "") for name, one in declared.items()}
    values |= {name.replace("_", "-"): value for name, value in inputs.items()}
    assert set(values) == set(declared)
    given = dict(re.findall(r"^        (INPUT_[A-Z_]+): \$\{\{ inputs\.([a-z-]+) \}\}$", text, re.M))
    assert set(given.values()) == set(declared)
    environment = {name: values.get(source, "") for name, source in given.items()}
    output = directory / "output"
    output.write_text("")
    known = {"PATH": os.environ["PATH"], "HOME": str(directory), "RUNNER_TEMP": str(temporary)}
    done = subprocess.run(
        [TOP / "scripts/action"],
        cwd=directory,
        env=known | environment | {"GITHUB_OUTPUT": str(output)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, output.read_text(), done.stderr


def test_the_action_is_a_gate_with_reports(tmp_path: Path) -> None:
    (tmp_path / "dist").mkdir()
    shutil.copy(programs.boring(), tmp_path / "dist/kubelet")
    assert _run_action(tmp_path, command="gate", paths="dist\n")[:2] == (0, "exit-code=0\n")
    assert {path.name for path in (tmp_path / "fipsmanifest-reports").iterdir()} == {
        "gate.html",
        "gate.xml",
        "gate.sarif",
    }

    shutil.copy(programs.plain(), tmp_path / "dist/--crictl; touch hacked")
    code, output, said = _run_action(tmp_path, command="gate", paths="dist")
    assert (code, output) == (5, "exit-code=5\n")
    assert "crictl" in said
    assert not (tmp_path / "hacked").exists()


# Each night from nothing. Otherwise pip finds what is pinned among the packages of the tests: the steps of the
# Containerfile install it all, too.
@pytest.mark.parametrize("there", [pytest.param("nothing", marks=pytest.mark.nightly), "what is pinned"])
def test_the_steps_of_the_action_install_and_run_it_in_another_repository(there: str, tmp_path: Path) -> None:
    # What a runner has of the action is what is committed, and it is in no way in the job's own directory.
    action, runner, repository = tmp_path / "action", tmp_path / "runner", tmp_path / "repository"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=TOP, capture_output=True, text=True, check=True).stdout
    for name in listed.split("\0")[:-1]:
        (action / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(TOP / name, action / name, follow_symlinks=False)
    runner.mkdir()
    subprocess.run(["git", "init", "--quiet", repository], check=True)
    shutil.copy(programs.boring(), repository / "kubelet")
    output = tmp_path / "output"
    known = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "RUNNER_TEMP": str(runner)}
    known |= {"GITHUB_OUTPUT": str(output), "PIP_NO_COMPILE": "1"}
    known |= {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    if there == "what is pinned":
        known["PYTHONPATH"] = sysconfig.get_path("purelib")

    for step in yaml.safe_load(ACTION.read_text())["runs"]["steps"]:
        assert step["shell"] == "bash"
        values = {"${{ github.action_path }}": str(action), "${{ inputs.command }}": "gate"}
        values |= {"${{ inputs.paths }}": "kubelet", "${{ inputs.reports }}": "reports"}
        given = {name: values.get(text, "") for name, text in step["env"].items()}
        # As GitHub runs a step of the shell bash.
        script = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        done = subprocess.run(script, cwd=repository, env=known | given, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr

    assert output.read_text() == "exit-code=0\n"
    assert (repository / "reports/gate.sarif").exists()
    (installed,) = (runner / "fipsmanifest").glob("lib/python*/site-packages/fipsmanifest")
    assert (installed / "cli/main.py").exists()
    assert (runner / "fipsmanifest/bin/fipsmanifest").exists()


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"command": "deploy"}, "must be gate, verify, ci or release"),
        ({"command": "gate"}, "names nothing to inspect"),
        ({"command": "verify"}, "'manifest' is missing"),
        ({"command": "release"}, "'version' is missing"),
        ({"command": "release", "version": "v1.21.3", "dry_run": "yes"}, "must be true or false"),
        ({"command": "ci"}, "'version' is missing"),
        ({"command": "ci", "version": "v1.21.3", "dry_run": "no"}, "must be true or false"),
        ({"command": "ci", "version": "v1.21.3", "stage": "sign"}, "must be generate, publish or all"),
        ({"command": "ci", "version": "v1.21.3", "stage": "publish"}, "bucket to publish to is missing"),
        ({"command": "ci", "version": "v1.21.3", "stage": ""}, "must be generate, publish or all"),
        ({"command": "verify", "manifest": "m.asc", "kubernetes": ""}, "'kubernetes' is empty"),
        ({"command": "verify", "manifest": "m.asc", "el": ""}, "'el' is empty"),
        ({"command": "verify", "manifest": "$(touch hacked).asc"}, "error:"),
        ({"command": "gate", "paths": "--help"}, "--help"),
    ],
)
def test_the_action_refuses_what_is_not_an_input(inputs: dict[str, str], message: str, tmp_path: Path) -> None:
    code, output, said = _run_action(tmp_path, **inputs)

    assert (code, output) == (2, "exit-code=2\n")
    assert message in said
    assert not (tmp_path / "hacked").exists()


def test_the_action_has_the_form_of_one_and_no_weakness_that_zizmor_knows() -> None:
    directory = Path(sys.executable).parent
    form = [str(directory / "check-jsonschema"), "--builtin-schema", "vendor.github-actions", str(ACTION)]
    subprocess.run(form, check=True, capture_output=True, timeout=60)
    subprocess.run(
        [directory / "zizmor", "--offline", "--pedantic", ACTION], check=True, capture_output=True, timeout=60
    )


def test_the_pre_commit_hook_checks_the_definitions_that_are_committed(tmp_path: Path) -> None:
    text = HOOKS.read_text()
    (entry,) = re.findall(r"^  entry: (.*)$", text, re.M)
    (pattern,) = re.findall(r"^  files: (.*)$", text, re.M)
    assert re.search(pattern, "releases/v1.21.3/rhel8.toml")
    assert not re.search(pattern, "releases/v1.21.3/rhel8.lock.json")

    # pre-commit puts the hook's environment first in PATH and runs the entry with the files that match.
    shutil.copytree(TOP / "releases", tmp_path / "releases")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = [*entry.split(), "releases/v1.21.3/rhel8.toml"]

    def run() -> int:
        done = subprocess.run(command, cwd=tmp_path, env={"PATH": path}, capture_output=True, timeout=60, check=False)
        return done.returncode

    assert run() == 0
    definition = tmp_path / "releases/v1.21.3/rhel8.toml"
    definition.write_text(definition.read_text().replace("el = 8", "el = 7"))
    assert run() != 0


# It installs what is pinned, which `test_the_steps_of_the_action` does in each run of the tests.
@pytest.mark.nightly
def test_the_rpm_runs_where_it_is_unpacked_and_has_man_pages(wheel: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    subprocess.run([TOP / "scripts/build-rpm", wheel, made], check=True, capture_output=True, timeout=600)
    (package,) = made.glob("*.rpm")
    asked = ["rpm", "--query", "--package", "--queryformat", "[%{REQUIRENAME}\\n]", str(package)]
    required = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.split()
    assert {"gnupg2", f"python3.{sys.version_info.minor}"} <= set(required)

    root = tmp_path / "root"
    root.mkdir()
    unpacking = f"rpm2cpio {package} | cpio --extract --make-directories --quiet"
    subprocess.run(["bash", "-o", "pipefail", "-c", unpacking], cwd=root, check=True, timeout=120)
    environment = {"PATH": f"{Path(sys.executable).resolve().parent}:/usr/bin:/bin", "HOME": str(tmp_path)}
    program = [str(root / "usr/bin/fipsmanifest"), "inspect", "--json", "/bin/true"]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert '"not-go"' in done.stdout
    assert (root / "usr/share/man/man1/fipsmanifest-inspect.1.gz").exists()
    assert list(root.rglob("*.pyc")) == []


# In each run: what runs each night is not root.
@pytest.mark.skipif(os.geteuid() != 0, reason="root alone mounts")
def test_the_steps_of_the_containerfile_make_a_root_in_which_the_entry_point_works(tmp_path: Path) -> None:
    done = containerfile.run(tmp_path / "view", "run $ENTRYPOINT inspect --json /bin/true; run fipsmanifest --version")
    assert done.returncode == 0, done.stderr
    assert '"not-go"' in done.stdout
    assert done.stdout.endswith(f" {fipsmanifest.__version__}\n")


#: Each has a classifier, and is tried every night.
PYTHONS = ("3.11", "3.12", "3.13")


def test_the_package_names_the_pythons_that_are_tried() -> None:
    named = re.findall(r"Programming Language :: Python :: (3\.\d+)", (TOP / "pyproject.toml").read_text())
    assert tuple(named) == PYTHONS


@pytest.mark.nightly
@pytest.mark.parametrize("version", PYTHONS)
def test_the_package_works_with_each_python_that_it_names(version: str, wheel: Path, tmp_path: Path) -> None:
    found = [*PYENV.glob(f"{version}.*/bin/python"), *map(Path, filter(None, [shutil.which(f"python{version}")]))]
    assert found, f"there is no Python {version} here"
    subprocess.run([found[0], "-m", "venv", tmp_path / "venv"], check=True, timeout=120)
    programs_of = tmp_path / "venv/bin"
    install = [str(programs_of / "python"), "-m", "pip", "--quiet", "install", "--no-deps"]
    pinned = ["--require-hashes", "--requirement", str(TOP / "requirements/release.txt")]
    for what in (pinned, [str(wheel)]):
        subprocess.run([*install, *what], check=True, capture_output=True, timeout=600)
    shutil.copy(programs.boring(), tmp_path / "kubelet")
    shutil.copytree(TOP / "releases", tmp_path / "releases")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONWARNINGS": "error"}

    def run(*words: str) -> str:
        command = [str(programs_of / "fipsmanifest"), *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout

    with tarfile.open(tmp_path / "layer.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "kubelet", "usr/bin/kubelet")
    (tmp_path / "found.json").write_text(run("inspect", "--require", "proven", "--json", "kubelet", "layer.tar.gz"))
    for name in ("cyclonedx", "html", "in-toto", "junit", "prometheus", "sarif"):
        assert run("export", name, "found.json")
    run("init", "--from", "v1.21.3/rhel7", "--kubernetes", "v1.30.1")
    assert "no problems" in run("definitions", "lint")
    assert '"title"' in run("schema", "--definition")
