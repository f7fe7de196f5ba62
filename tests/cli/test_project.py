"""`init`, `config show`, `doctor` and `schema --definition`: how a project is started and set up."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from fipsmanifest.workflows.doctor import examine
from tests.support import command, schemas
from tests.support.releases import ReleaseKey

TOP = Path(__file__).parents[2]


def run(directory: Path, *words: str, code: int = 0, **environment: Any) -> subprocess.CompletedProcess[str]:
    known = {name: value for name, value in os.environ.items() if not name.startswith("FIPSMANIFEST_")}
    return command.run(*words, cwd=directory, env=known | environment, code=code)


def test_init_makes_a_project_whose_definition_is_valid_and_prints_the_next_step(tmp_path: Path) -> None:
    done = run(tmp_path, "init", "--kubernetes", "v1.29.9", "--el", "9")

    definition = tomllib.loads((tmp_path / "releases/v1.29.9/rhel9.toml").read_text())
    assert (definition["kubernetes"], definition["el"], definition["serial"]) == ("v1.29.9", 9, 1)
    assert "@" not in (tmp_path / "releases/v1.29.9/rhel9.toml").read_text()
    assert "no problems" in run(tmp_path, "definitions", "lint").stdout
    following = [line.removeprefix("next:  ") for line in done.stdout.splitlines() if line.startswith("next:  ")]
    assert [line.split(" --")[0] for line in following] == [
        "fipsmanifest keys init",
        "fipsmanifest keys add UPSTREAM.asc",
        "fipsmanifest definitions lint v1.29.9",
        "fipsmanifest release v1.29.9",
    ]
    assert "edition 1" in run(tmp_path, "keys", "list").stdout
    # The project's own options are in force, and valid.
    assert "fipsmanifest.toml" in run(tmp_path, "config", "show").stdout


def test_the_next_steps_fit_the_directory_and_what_exists(tmp_path: Path) -> None:
    words = ("init", "--directory", "my project", "--json", "--kubernetes")
    first = json.loads(run(tmp_path, *words, "v1.29.9").stdout)
    second = json.loads(run(tmp_path, *words, "v1.30.1").stdout)

    assert first["next"][0] == "cd 'my project'"
    assert [one for one in second["check"] if "keys-backup" in one] == []
    # The keys of the first are those of the second.
    assert [step for step in second["next"] if " keys " in step] == []


def test_two_definitions_of_one_day_are_not_taken_for_copies(tmp_path: Path) -> None:
    run(tmp_path, "init", "--kubernetes", "v1.29.9")
    time.sleep(1.1)  # dates are of seconds
    run(tmp_path, "init", "--kubernetes", "v1.30.1", "--from", "v1.29.9/rhel8")
    assert run(tmp_path, "definitions", "lint").stderr == ""


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("mine\n")
    run(tmp_path, "init", "--kubernetes", "v1.29.9", "--el", "9")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    assert "exists" in run(tmp_path, "init", "--kubernetes", "v1.29.9", "--el", "9", code=2).stderr
    found = json.loads(run(tmp_path, "init", "--kubernetes", "v1.29.9", "--el", "8", "--json").stdout)

    assert found["written"] == ["releases/v1.29.9/rhel8.toml"]
    assert ".gitignore" in found["kept"]
    # It does not have what must not be committed, the backup of the key above all.
    assert [one for one in found["check"] if "/keys-backup/" in one]
    assert {path: path.read_bytes() for path in before} == before
    assert (tmp_path / ".gitignore").read_text() == "mine\n"


def test_init_that_could_not_be_finished_can_be_run_again(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("in the way\n")
    run(tmp_path, "init", "--kubernetes", "v1.29.9", "--el", "9", code=4)
    (tmp_path / "keys").unlink()

    said = run(tmp_path, "init", "--kubernetes", "v1.29.9", "--el", "9").stdout

    assert (tmp_path / "keys/trust.json").is_file()
    assert "fipsmanifest keys init" in said


def test_git_ignores_the_backup_of_the_key_that_the_next_step_makes(tmp_path: Path) -> None:
    said = run(tmp_path, "init", "--kubernetes", "v1.29.9").stdout
    (backup,) = re.findall(r"--backup (\S+)", said)
    (tmp_path / backup).mkdir()
    (tmp_path / backup / "FPR-secret.asc").write_text("secret\n")
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)

    ended = subprocess.run(["git", "check-ignore", "--quiet", f"{backup}/FPR-secret.asc"], cwd=tmp_path, check=False)
    assert ended.returncode == 0


def test_init_from_a_definition_changes_its_version_and_starts_at_serial_1(tmp_path: Path) -> None:
    old = (TOP / "releases/v1.21.3/rhel8.toml").read_text()
    text = old.replace("serial = 1\n", 'serial = 3\nreason = "a new containerd"\n', 1).replace(
        "1.4.7-3.1", "11.21.30-1"
    )
    (tmp_path / "old/v1.21.3").mkdir(parents=True)
    (tmp_path / "old/v1.21.3/rhel8.toml").write_text(text)

    words = ("init", "--from", "v1.21.3/rhel8", "--definitions", "old", "--kubernetes", "1.29.9")
    run(tmp_path, *words)

    made = tomllib.loads((tmp_path / "releases/v1.29.9/rhel8.toml").read_text())
    assert (made["kubernetes"], made["serial"], "reason" in made) == ("v1.29.9", 1, False)
    assert made["sources"][0]["packages"][0] == "kubelet-1.29.9-0"
    # Another number that has the version's digits in it.
    assert made["sources"][1]["packages"] == ["containerd.io-11.21.30-1.el8"]
    assert "docker.io/mesosphere/kube-proxy:v1.29.9_fips.0" in made["sources"][2]["references"]
    # The registry of before 1.25 has no image of this version.
    assert "registry.k8s.io/pause:3.4.1" in made["sources"][3]["references"]
    assert made["components"] == tomllib.loads(text.replace("k8s.gcr.io", "registry.k8s.io"))["components"]
    run(tmp_path, *words[:-1], "v1.21.3", code=2)


@pytest.mark.parametrize(
    "words",
    [
        ("--kubernetes", "latest"),
        ("--kubernetes", "v1.29.9/../../x"),
        ("--kubernetes", "v1.29.9", "--from", "../../etc/passwd"),
        ("--kubernetes", "v1.29.9", "--from", "v1.0.0/rhel8"),
        ("--kubernetes", "v1.29.9", "--from", "v1.21.3/rhel8", "--el", "9"),
    ],
)
def test_init_refuses_what_is_not_a_version_or_a_definition(words: tuple[str, ...], tmp_path: Path) -> None:
    run(tmp_path, "init", *words, code=2)
    assert list(tmp_path.iterdir()) == []


def test_the_workflow_of_a_new_project_passes_the_checks_of_our_own(tmp_path: Path) -> None:
    run(tmp_path, "init", "--kubernetes", "v1.29.9")
    programs = Path(sys.executable).parent
    workflow = str(tmp_path / ".github/workflows/release.yml")

    subprocess.run([programs / "zizmor", "--offline", "--quiet", workflow], check=True, capture_output=True)
    form = ["--builtin-schema", "vendor.github-workflows", workflow]
    subprocess.run([programs / "check-jsonschema", *form], check=True, capture_output=True)


def test_the_options_of_a_project_come_after_the_command_line_and_the_environment(tmp_path: Path) -> None:
    (tmp_path / "fipsmanifest.toml").write_text(
        'definitions = "mine"\nkeys = "our-keys"\nmirror = ["a/=b/", "c/=d/"]\n'
    )

    def shown(**environment: Any) -> dict[str, tuple[Any, str]]:
        listed = json.loads(run(tmp_path, "config", "show", "--json", **environment).stdout)["options"]
        return {one["option"]: (one["value"], one["source"]) for one in listed}

    assert shown()["definitions"] == ("mine", "fipsmanifest.toml")
    assert shown()["mirror"] == (["a/=b/", "c/=d/"], "fipsmanifest.toml")
    assert shown()["work"] == ("work", "default")
    assert shown(FIPSMANIFEST_KEYS="k")["keys"] == ("k", "environment (FIPSMANIFEST_KEYS)")
    # And they are what a verb uses.
    assert "mine is not a directory" in run(tmp_path, "release", "v1.21.3", code=2).stderr
    assert "mine is not a directory" in run(tmp_path, "definitions", "list", code=2).stderr
    assert "other is not" in run(tmp_path, "release", "v1.21.3", "--definitions", "other", code=2).stderr
    assert "env is not" in run(tmp_path, "release", "v1.21.3", code=2, FIPSMANIFEST_DEFINITIONS="env").stderr


def test_verbs_that_verify_or_inspect_take_nothing_from_a_project(tmp_path: Path) -> None:
    # It is in the inspected directory, and would choose the keys and the modules.
    (tmp_path / "fipsmanifest.toml").write_text('keys = "their-keys"\nmodules = "their-modules.toml"\n')
    (tmp_path / "x.asc").write_text("-----BEGIN PGP SIGNED MESSAGE-----\n")

    assert "their-keys" not in run(tmp_path, "verify", "x.asc", code=2).stderr
    assert "their-modules" not in run(tmp_path, "inspect", "--require", "proven", "x.asc", code=5).stderr
    assert "their-keys" not in run(tmp_path, "export", "junit", "x.asc", code=2).stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("allow-http = true\n", "'allow-http' is not an option"),
        ("keys = 5\n", "'keys' is not text.\n       Write keys = \"...\"."),
        ('mirror = "a=b"\n', "'mirror' is not a list of texts.\n       Write mirror = [\"...\"]."),
        ("keys = \n", "not TOML"),
    ],
)
def test_a_mistake_in_the_options_of_a_project_is_reported(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "fipsmanifest.toml").write_text(text)
    assert message in run(tmp_path, "config", "show", code=2).stderr


def test_the_options_may_be_in_pyproject_or_in_a_file_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.fipsmanifest]\nkeys = "a"\n[tool.other]\nx = 1\n')
    (tmp_path / "ci.toml").write_text('keys = "b"\n')

    assert " a " in run(tmp_path, "config", "show").stdout
    assert " b " in run(tmp_path, "config", "show", FIPSMANIFEST_CONFIG="ci.toml").stdout
    run(tmp_path, "config", "show", code=2, FIPSMANIFEST_CONFIG="missing.toml")


def test_doctor_reports_what_is_missing(tmp_path: Path) -> None:
    done = json.loads(run(tmp_path, "doctor", "--json").stdout)["examined"]
    found = {one["what"]: one["status"] for one in done}
    assert (found["gpg"], found["gpgv"], found["openssl"], found["definitions"]) == ("ok", "ok", "ok", "note")
    assert found["extra s3"] == "ok"

    without = run(tmp_path, "doctor", code=4, PATH=str(tmp_path))
    assert "gpg: Install GnuPG" in without.stdout
    # A trust directory without a key.
    run(tmp_path, "init", "--kubernetes", "v1.29.9")
    assert "keys: Make keys with 'fipsmanifest keys init'" in run(tmp_path, "doctor").stdout


def test_doctor_names_the_extras_that_are_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    advice = [one.advice for one in examine(tmp_path, tmp_path) if one.what.startswith("extra ")]
    assert advice == [
        "Install it for buckets in S3: pip install 'fipsmanifest[s3]'.",
        "Install it for 'check cluster': pip install 'fipsmanifest[cluster]'.",
        "Install it for private keys that cosign encrypted: pip install 'fipsmanifest[cosign]'.",
        "Install it for faster inspection of large files: pip install 'fipsmanifest[fast]'.",
    ]


def test_the_schema_of_a_definition_accepts_the_shipped_ones_and_no_unknown_key(tmp_path: Path) -> None:
    schema = json.loads(run(tmp_path, "schema", "--definition").stdout)
    shipped = sorted((TOP / "releases").glob("*/*.toml"))

    assert len(shipped) >= 3
    for path in shipped:
        document = _as_json(tomllib.loads(path.read_text()))
        schemas.validate(document, schema)
        assert not schemas.is_valid(document | {"kubernets": "v1.21.3"}, schema)
        assert not schemas.is_valid(document | {"el": "8"}, schema)
        assert not schemas.is_valid(document | {"name": "rhel8"}, schema)


def _as_json(value: Any) -> Any:
    """Return TOML as editors give it to a schema: dates as strings."""
    if isinstance(value, dict):
        return {key: _as_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_json(item) for item in value]
    return value.isoformat() if isinstance(value, datetime) else value


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("fipsmanifest rel", ["release"]),
        ("fipsmanifest release v1.2", ["v1.21.3", "v1.22.8"]),
        ("fipsmanifest release --definitions elsewhere v1", []),
        ("fipsmanifest release v1.21.3 --el ", ["7", "8"]),
        ("fipsmanifest release v1.22.8 --el ", ["8"]),
        ("fipsmanifest overrides v1.22.8 --el ", ["8"]),
        ("fipsmanifest export sar", ["sarif"]),
        ("fipsmanifest ci v1.2", ["v1.21.3", "v1.22.8"]),
        ("fipsmanifest ci --stage g", ["generate"]),
        ("fipsmanifest definitions lint v1.2", ["v1.21.3", "v1.22.8"]),
        ("fipsmanifest init --from v1.22", ["v1.22.8/rhel8"]),
        ("fipsmanifest keys add --role m", ["manifest", "modules"]),
        ("fipsmanifest check cluster --role c", ["control-plane"]),
        ("fipsmanifest check node --min", ["--min-serial"]),
        ("fipsmanifest check node --root / --role w", ["worker"]),
        ("fipsmanifest check node --skip fi", ["fips-mode", "files"]),
        ("fipsmanifest check node --skip files,im", ["files,images"]),
        ("fipsmanifest explain no-se", ["no-secret-key", "no-section-headers"]),
    ],
)
def test_a_shell_completes_values(line: str, values: list[str]) -> None:
    words = line.split(" ")
    completing = {"_FIPSMANIFEST_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    assert run(TOP, code=0, **completing).stdout.split() == values


def test_a_shell_completes_what_the_options_of_the_project_name(tmp_path: Path, release_key: ReleaseKey) -> None:
    shutil.copytree(TOP / "releases", tmp_path / "mine")
    (tmp_path / "fipsmanifest.toml").write_text(f'definitions = "mine"\nkeys = "{release_key.trust}"\n')

    def completed(line: str, **environment: Any) -> list[str]:
        words: Any = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
        return run(tmp_path, **words, **environment, _FIPSMANIFEST_COMPLETE="complete_bash").stdout.split()

    assert completed("fipsmanifest release v1.2") == ["v1.21.3", "v1.22.8"]
    assert completed("fipsmanifest release v1.2", FIPSMANIFEST_DEFINITIONS="none") == []
    assert completed("fipsmanifest keys retire ") == [release_key.fingerprint]
    assert completed("fipsmanifest keys revoke X --replaced-by ") == [release_key.fingerprint]
    assert completed("fipsmanifest release --signing-key ") == [release_key.fingerprint]
    assert completed("fipsmanifest verify --fingerprint ") == [release_key.fingerprint]
    # A mistake in the project's file is no reason for a traceback in a shell.
    (tmp_path / "fipsmanifest.toml").write_text("definitions = \n")
    assert completed("fipsmanifest release v1.2") == []


def test_who_has_no_project_is_told_how_to_start_one(tmp_path: Path) -> None:
    assert "'fipsmanifest init'" in run(tmp_path, "release", "v1.29.9", code=2).stderr
    run(tmp_path, "init", "--kubernetes", "v1.29.9")
    assert "`fipsmanifest keys init`" in run(tmp_path, "release", "v1.29.9", code=5).stderr
