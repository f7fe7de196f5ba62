"""The workflows: their form and security by outside tools, and `fipsmanifest ci` on a real upstream."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from examples.upstream import Served, World

from tests.support import command
from tests.support.gnupg import configure_agent, remove_home
from tests.support.worlds import make_world

TOP = Path(__file__).parents[2]
WORKFLOWS = sorted((TOP / ".github" / "workflows").glob("*.yml"))
PASSPHRASE = "correct horse battery staple"


def tool(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name(name)
    return subprocess.run([program, *arguments], cwd=TOP, capture_output=True, text=True, check=False)


class TestForm:
    def test_there_is_one_for_each_purpose(self) -> None:
        purposes = ["audit", "ci", "docs", "nightly", "publish", "release"]
        assert [path.name for path in WORKFLOWS] == [f"{purpose}.yml" for purpose in purposes]

    def test_github_would_accept_them(self) -> None:
        run = tool("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *WORKFLOWS)
        assert run.returncode == 0, run.stdout

    def test_zizmor_finds_nothing_even_where_it_is_pedantic(self) -> None:
        run = tool("zizmor", "--offline", "--pedantic", "--format=plain", ".github")
        assert run.returncode == 0, run.stdout
        assert "No findings" in run.stdout + run.stderr

    def test_every_action_is_pinned_to_a_commit_whose_version_is_named(self) -> None:
        uses = [line for path in WORKFLOWS for line in path.read_text().splitlines() if "uses:" in line]
        assert uses
        for line in uses:
            assert re.search(r"uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), line

    def test_what_parses_files_of_strangers_has_no_secret_and_no_credentials(self) -> None:
        text = (TOP / ".github" / "workflows" / "release.yml").read_text()
        before, generate, plan, publish = re.split(r"\n  (?:generate|plan|publish):\n", text)
        assert "permissions: {}" in before and "secrets." not in before
        for forbidden in ("secrets.", "id-token", "environment:", "aws-actions", "vars."):
            assert forbidden not in generate, forbidden
        assert "RELEASE_STAGE: generate" in generate
        # The others take what was generated; they collect nothing.
        for job in (plan, publish):
            assert "RELEASE_STAGE: publish" in job and "name: generated" in job
        assert "needs: generate" in plan and "needs: plan" in publish

    @pytest.mark.parametrize("stage", ["generate", "all"])
    def test_the_process_that_parses_files_of_strangers_is_given_nothing_to_steal(
        self, stage: str, tmp_path: Path
    ) -> None:
        # Every Python that starts writes down what it was given.
        (tmp_path / "sitecustomize.py").write_text(
            "import os, sys\n"
            "with open(os.environ['OUT'] + str(os.getpid()), 'w') as out:\n"
            "    print(sys.orig_argv, os.environ, file=out)\n"
        )
        (tmp_path / "fipsmanifest.toml").write_text('to = "confidential"\nsigning-key = "confidential"\n')
        names = (
            "SIGNING_KEY FIPSMANIFEST_PASSPHRASE FIPSMANIFEST_PASSPHRASE_FD AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY "
            "AWS_SESSION_TOKEN AWS_WEB_IDENTITY_TOKEN_FILE ACTIONS_ID_TOKEN_REQUEST_TOKEN ACTIONS_RUNTIME_TOKEN "
            "GITHUB_TOKEN GH_TOKEN GITHUB_ENV GITHUB_PATH GITHUB_OUTPUT SSH_AUTH_SOCK GNUPGHOME SOME_PASSWORD "
            "COSIGN_PASSWORD FIPSMANIFEST_COSIGN_KEY FIPSMANIFEST_TO INPUT_SIGNING_KEY INPUT_SIGNING_KEY_PASSPHRASE"
        )
        given = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(tmp_path),
            "OUT": str(tmp_path / "out"),
            "RELEASE_STAGE": stage,
            # Otherwise the key would be imported first, and this one is not a key.
            "RELEASE_DRY_RUN": "true",
            **dict.fromkeys(names.split(), "confidential"),
        }
        words = [str(command.PROGRAM), "ci", "release/v1.21.3", "--definitions=none", "--mirror=a=b"]
        done = subprocess.run(words, cwd=tmp_path, env=given, capture_output=True, text=True, check=False)
        assert done.returncode == 2, done.stderr
        ours, its = sorted((path.read_text() for path in tmp_path.glob("out*")), key=lambda text: "'release'" in text)
        assert "confidential" in ours
        assert "confidential" not in its
        for word in ("'--dry-run'", "'--mirror=a=b'", "'--definitions=none'", "'--', 'v1.21.3']"):
            assert word in its

    def test_publishing_waits_for_approval_and_holds_no_lasting_credentials(self) -> None:
        text = (TOP / ".github" / "workflows" / "release.yml").read_text()
        plan, publish = text.split("\n  publish:\n")
        assert "environment: release" in publish and "needs: plan" in publish
        assert "environment: audit" in plan and 'RELEASE_DRY_RUN: "true"' in plan
        assert "secrets." not in plan
        assert (plan.count("fipsmanifest ci\n"), publish.count("fipsmanifest ci\n")) == (2, 1)
        assert "id-token: write" in text
        assert "AWS_SECRET_ACCESS_KEY" not in text
        assert set(re.findall(r"secrets\.(\w+)", text)) == {"SIGNING_KEY", "SIGNING_KEY_PASSPHRASE"}

    def test_runs_of_one_version_wait_for_each_other_and_for_no_other_version(self) -> None:
        text = (TOP / ".github" / "workflows" / "release.yml").read_text()
        (group,) = re.findall(r"^concurrency:\n  group: (.+)\n  cancel-in-progress: false$", text, re.MULTILINE)
        # By hand the version is an input, by a tag it is the tag's own name, which the trigger's pattern fixes.
        assert group == "${{ inputs.version && format('release/{0}', inputs.version) || github.ref_name }}"
        assert 'tags: ["release/v*"]' in text

    def test_the_nightly_audit_shows_everything_that_was_said(self) -> None:
        text = (TOP / ".github" / "workflows" / "audit.yml").read_text()
        # As Markdown that it escapes itself: names in a bucket are arbitrary.
        assert 'fipsmanifest audit "$BUCKET" --summary "$GITHUB_STEP_SUMMARY"' in text

    @pytest.mark.parametrize("name", ["scripts/system-packages", ".ci/run"])
    def test_the_scripts_that_they_run_are_there(self, name: str) -> None:
        assert any(name in path.read_text() for path in WORKFLOWS)
        assert os.access(TOP / name, os.X_OK)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    gnupghome = directory / "gnupg"
    gnupghome.mkdir(0o700)
    configure_agent(gnupghome)
    world = make_world([TOP / "releases" / "v1.21.3" / "rhel8.toml"], directory / "upstream", gnupghome)
    with world.serve() as served:
        yield Site(directory, world, served)


class Site:
    """The surroundings of an unattended release: keys as a workflow's secrets, an upstream, a bucket."""

    def __init__(self, directory: Path, world: World, served: Served) -> None:
        self.directory = directory
        self.temporary = directory
        """Where the last run put temporary files. Each run has its own, since one that was killed leaves some."""
        self.bucket = directory / "bucket"
        self.keys = directory / "keys"
        home = {"GNUPGHOME": str(directory / "gnupg"), "FIPSMANIFEST_PASSPHRASE": PASSPHRASE}
        self._run_cli(home, "keys", "init", "--user-id", "Nightly release <nightly@example.com>")
        self._run_cli({}, "keys", "add", str(world.upstream_certificate), "--role", "upstream")
        loopback = ("--pinentry-mode", "loopback", "--passphrase", PASSPHRASE)
        self.signing_key = subprocess.run(
            ["gpg", "--batch", *loopback, "--armor", "--export-secret-subkeys", "Nightly release"],
            env=os.environ | home,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        self.options = [f"--mirror={mirror}" for mirror in served.mirrors]
        self.options += [
            f"--work={directory / 'work'}",
            f"--keys={self.keys}",
            f"--lock={directory / 'lock.json'}",
            "--el=8",
        ]

    def _run_cli(self, environment: dict[str, str], *arguments: str) -> None:
        command.run(*arguments, f"--keys={self.keys}", env=os.environ | environment, code=0)

    def release(self, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Release with nothing of this session's environment but what finds programs."""
        return command.run("ci", *self.options, *options, env=self.variables() | environment)

    def signed(self) -> dict[str, str]:
        """The secrets of the environment "release"."""
        return {"SIGNING_KEY": self.signing_key, "FIPSMANIFEST_PASSPHRASE": PASSPHRASE}

    def strike(self, pattern: str, directory: Path, *options: str, **environment: str) -> bool:
        """Kill the command and all that it started as soon as a file exists; return whether it was running."""
        process = subprocess.Popen(
            [command.PROGRAM, "ci", *self.options, *options],
            env=self.variables() | self.signed() | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        while process.poll() is None and next(directory.glob(pattern), None) is None:
            time.sleep(0.001)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        killed = process.wait() == -signal.SIGKILL
        # What a lost runner takes with it.
        for home in self.temporary.glob("tmp.*"):
            remove_home(home)
        return killed

    def variables(self) -> dict[str, str]:
        self.temporary = Path(tempfile.mkdtemp(prefix="t", dir=self.directory))
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory / "home"),
            "TMPDIR": str(self.temporary),
            "FIPSMANIFEST_CACHE": str(self.directory / "cache"),
            "FIPSMANIFEST_TO": str(self.bucket),
            "RELEASE_VERSION": "release/v1.21.3",
        }

    def published(self) -> set[str]:
        return {str(path.relative_to(self.bucket)) for path in self.bucket.rglob("*") if path.is_file()}


def _without_signatures(bucket: Path) -> dict[str, bytes]:
    """What is published, but for signatures, of which no two are alike, and the index, which has their digests."""
    files = {path.relative_to(bucket).as_posix(): path for path in bucket.rglob("*") if path.is_file()}
    return {
        name: path.read_bytes().partition(b"-----BEGIN PGP SIGNATURE")[0]
        for name, path in files.items()
        if not name.startswith("index.")
    }


class TestReleaseScript:
    """Three runs on one site: a dry run, the release, the same again."""

    def test_cuts_and_publishes_unattended_and_converges(self, site: Site) -> None:
        dry = site.release("--first-lock", RELEASE_DRY_RUN="true")
        assert dry.returncode == 0, dry.stderr
        assert site.published() == set()

        unlocked = site.release(SIGNING_KEY=site.signing_key, FIPSMANIFEST_PASSPHRASE=PASSPHRASE)
        assert unlocked.returncode == 5, unlocked.stderr
        assert "lock" in unlocked.stderr
        assert site.published() == set()

        first = site.release("--first-lock", SIGNING_KEY=site.signing_key, FIPSMANIFEST_PASSPHRASE=PASSPHRASE)
        assert first.returncode == 0, first.stderr
        names = site.published()
        assert "tool/manifests/v1.21.3/manifest-rhel8.json.asc" in names
        assert {"tool/dkp-fips-tool", "tool/dkp-fips-tool.sha256", "tool/dkp-fips-tool.asc"} <= names

        before = {name: (site.bucket / name).read_bytes() for name in names}
        again = site.release(SIGNING_KEY=site.signing_key, FIPSMANIFEST_PASSPHRASE=PASSPHRASE)
        assert again.returncode == 0, again.stderr
        assert {name: (site.bucket / name).read_bytes() for name in site.published()} == before

    def test_leaves_no_key_behind_and_shows_no_secret(self, site: Site) -> None:
        run = site.release("--first-lock", SIGNING_KEY=site.signing_key, FIPSMANIFEST_PASSPHRASE=PASSPHRASE)
        assert run.returncode == 0, run.stderr
        assert list(site.temporary.iterdir()) == []
        assert PASSPHRASE not in run.stdout + run.stderr
        assert "PRIVATE KEY" not in run.stdout + run.stderr

    def test_its_summary_says_what_was_planned_what_changed_and_what_went_wrong(
        self, site: Site, tmp_path: Path
    ) -> None:
        own = {"FIPSMANIFEST_TO": str(tmp_path / "bucket"), "FIPSMANIFEST_DEFINITIONS": str(tmp_path / "releases")}
        work = f"--work={tmp_path / 'work'}"
        definition = tmp_path / "releases" / "v1.21.3" / "rhel8.toml"
        definition.parent.mkdir(parents=True)
        shipped = (TOP / "releases" / "v1.21.3" / "rhel8.toml").read_text()
        reason = "Upstream fixed <b>kubelet</b>"

        def summary(text: str, *options: str, code: int = 0, plan: bool = False) -> str:
            definition.write_text(text)
            page = tmp_path / "summary"
            page.write_text("of another step\n")
            how = {"RELEASE_DRY_RUN": "true"} if plan else site.signed()
            run = site.release(work, *options, GITHUB_STEP_SUMMARY=str(page), **own, **how)
            assert run.returncode == code, run.stderr
            assert page.read_text().startswith("of another step\n")
            return page.read_text()

        planned = summary(shipped, "--first-lock", plan=True)
        assert "## Kubernetes v1.21.3: planned, nothing signed or published" in planned
        assert "| create | tool/manifests/v1.21.3/1/manifest-rhel8.json.asc | to be signed |" in planned
        assert "No earlier serial is published." in planned

        first = summary(shipped, "--first-lock")
        assert f"published to {tmp_path / 'bucket'}, 10 objects written" in first

        second = shipped.replace("serial = 1", f'serial = 2\nreason = "{reason}"')
        # What was approved is what is then published.
        for made in (summary(second, plan=True), summary(second)):
            assert "Changes since serial 1:" in made
            assert "| - | changed | serial | 1 | 2 |" in made
            assert "| - | added | reason |  | Upstream fixed \\<b\\>kubelet\\</b\\> |" in made
        # A run after a failure says it again.
        assert "Changes since serial 1:" in summary(second)

        older = summary(shipped)
        assert "Note: serial 2 is published and is the current one." in older

        other = shipped.replace("created = 2021-08-24", "created = 2021-08-25")
        failed = summary(other, code=6)
        assert "## Kubernetes v1.21.3: ended with exit code 6" in failed
        assert "    error: manifest-rhel8.json serial 1 of v1.21.3 is published in" in failed
        assert "Run it again" in failed

    def test_a_lost_runner_is_made_good_by_another_run_whatever_the_stage(self, site: Site, tmp_path: Path) -> None:
        # Each run has a work directory of its own, as a new runner has; the cache and the bucket are what is kept.
        kept = {"FIPSMANIFEST_CACHE": str(tmp_path / "cache")}
        undisturbed = {**kept, "FIPSMANIFEST_TO": str(tmp_path / "undisturbed")}
        # Before the first object, that is the cache alone: it is killed when that is begun, and when it is whole. (A
        # release whose work directory is kept is killed at each moment by tests/workflows/test_interrupted.py.)
        strikes = (
            "cache/blobs/sha256/*",
            "work-1/v1.21.3/rhel8/manifest-rhel8.json.asc",
            "bucket/tool/*/dkp-fips-tool*",
            "bucket/tool/manifests/v1.21.3/1/*",
            "bucket/tool/dkp-fips-tool*",
            "bucket/tool/manifests/v1.21.3/*.asc",
        )

        killed = [
            site.strike(
                moment,
                tmp_path,
                "--first-lock",
                f"--work={tmp_path / f'work-{number}'}",
                **kept,
                FIPSMANIFEST_TO=str(tmp_path / "bucket"),
            )
            for number, moment in enumerate(strikes)
        ]
        last = site.release(
            f"--work={tmp_path / 'work'}",
            "--first-lock",
            **kept,
            **site.signed(),
            FIPSMANIFEST_TO=str(tmp_path / "bucket"),
        )
        assert last.returncode == 0, last.stderr
        # On a machine at work a run may be over before its file was seen.
        assert sum(killed) > len(strikes) / 2
        assert site.release(f"--work={tmp_path / 'u'}", "--first-lock", **undisturbed, **site.signed()).returncode == 0

        assert _without_signatures(tmp_path / "bucket") == _without_signatures(tmp_path / "undisturbed")
        site._run_cli({}, "audit", str(tmp_path / "bucket"))

    def test_its_stages_hand_on_what_was_generated_as_the_workflows_jobs_do(self, site: Site, tmp_path: Path) -> None:
        work = {"FIPSMANIFEST_CACHE": str(tmp_path / "cache"), "FIPSMANIFEST_TO": str(tmp_path / "bucket")}
        first, second = tmp_path / "first", tmp_path / "second"
        lock = f"--lock={site.directory / 'lock.json'}"
        secrets = {**site.signed(), "AWS_SECRET_ACCESS_KEY": "not for strangers"}

        made = site.release("--first-lock", f"--work={first}", RELEASE_STAGE="generate", **work, **secrets)
        assert made.returncode == 0, made.stderr
        assert not (tmp_path / "bucket").exists()
        assert not list(first.rglob("*.asc"))

        # Another machine, which has no upstream and no cache, gets the files that the workflow uploads.
        shutil.copytree(first / "v1.21.3", second / "v1.21.3")
        publish = [
            f"--work={second}",
            f"--keys={site.keys}",
            lock,
            "--el=8",
            "--first-lock",
        ]
        stage = site.variables() | work | {"RELEASE_STAGE": "publish", "FIPSMANIFEST_CACHE": str(tmp_path / "none")}

        def run(**environment: str) -> subprocess.CompletedProcess[str]:
            return command.run("ci", *publish, env=stage | environment)

        planned = run(RELEASE_DRY_RUN="true")
        assert planned.returncode == 0, planned.stderr
        assert not (tmp_path / "bucket").exists()

        manifest = second / "v1.21.3/rhel8/manifest-rhel8.json"
        whole = manifest.read_bytes()
        for before, after in ((b'"serial": 1', b'"serial": 2'), (b'"sha256": "', b'"sha256": "0'), (b"{", b"[")):
            manifest.write_bytes(whole.replace(before, after, 1))
            assert manifest.read_bytes() != whole
            refused = run(**site.signed())
            assert refused.returncode == 5, refused.stderr
            assert not (tmp_path / "bucket").exists()
        manifest.write_bytes(whole)

        done = run(**site.signed())
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "bucket/tool/manifests/v1.21.3/manifest-rhel8.json.asc").exists()

    def test_a_stage_that_is_spelt_otherwise_is_none(self, site: Site) -> None:
        run = site.release(RELEASE_STAGE="sign", **site.signed())
        assert (run.returncode, "RELEASE_STAGE is 'sign'" in run.stderr) == (2, True)

    @pytest.mark.parametrize("missing", ["RELEASE_VERSION", "FIPSMANIFEST_TO", "SIGNING_KEY"])
    def test_names_what_it_was_not_given(self, site: Site, missing: str) -> None:
        run = site.release(**{"SIGNING_KEY": site.signing_key, missing: ""})
        assert run.returncode == 2
        assert missing in run.stderr

    @pytest.mark.parametrize("word", ["TRUE", "True", "1", "yes", "false "])
    def test_a_dry_run_that_is_spelt_otherwise_is_no_release(self, site: Site, tmp_path: Path, word: str) -> None:
        own = {"FIPSMANIFEST_TO": str(tmp_path / "bucket"), "RELEASE_DRY_RUN": word}
        run = site.release("--first-lock", **own, **site.signed())
        assert (run.returncode, f"RELEASE_DRY_RUN is '{word}'" in run.stderr) == (2, True)
        assert not (tmp_path / "bucket").exists()

    def test_a_key_that_cannot_be_imported_is_told_on_the_jobs_page(self, site: Site, tmp_path: Path) -> None:
        page = tmp_path / "summary"
        run = site.release(SIGNING_KEY="not a key", GITHUB_STEP_SUMMARY=str(page))
        assert run.returncode == 4
        assert "ended with exit code 4" in page.read_text()
        assert "    error: SIGNING_KEY is no key that gpg can import." in page.read_text()
        assert list(site.temporary.iterdir()) == []

    def test_refuses_a_key_that_the_trust_directory_does_not_have(self, site: Site, tmp_path: Path) -> None:
        stranger = {**os.environ, "GNUPGHOME": str(tmp_path)}
        tmp_path.chmod(0o700)
        make = ["gpg", "--batch", "--passphrase", "", "--quick-generate-key", "Stranger", "rsa3072", "sign", "never"]
        subprocess.run(make, env=stranger, capture_output=True, check=True)
        export = ["gpg", "--batch", "--armor", "--export-secret-keys", "Stranger"]
        key = subprocess.run(export, env=stranger, capture_output=True, text=True, check=True).stdout
        # A bucket and work directory of its own: what is published or signed already would not be signed again.
        own = {"SIGNING_KEY": key, "FIPSMANIFEST_TO": str(tmp_path / "bucket")}
        run = site.release("--first-lock", f"--work={tmp_path / 'work'}", **own)
        assert run.returncode == 4, run.stderr
        assert "trusted" in run.stderr
        assert not list((tmp_path / "bucket").rglob("*.asc"))


class TestAction:
    """The command `ci` of action.yml, in a job for each stage."""

    @staticmethod
    def run(directory: Path, variables: dict[str, str], **inputs: str) -> subprocess.CompletedProcess[str]:
        program = directory / "runner/fipsmanifest/bin/fipsmanifest"
        if not program.exists():
            program.parent.mkdir(parents=True)
            program.symlink_to(command.PROGRAM)
        given = {"command": "ci", "version": "release/v1.21.3", "dry_run": "false"} | inputs
        names = {f"INPUT_{name.upper()}": value for name, value in given.items()}
        environment = variables | names | {"RUNNER_TEMP": str(directory / "runner")}
        return subprocess.run(
            [TOP / "scripts/action"], cwd=TOP, env=environment, capture_output=True, text=True, timeout=300, check=False
        )

    def test_a_job_without_secrets_generates_and_another_one_signs(self, site: Site, tmp_path: Path) -> None:
        bucket = tmp_path / "bucket"
        variables = site.variables() | {"FIPSMANIFEST_EL": "8", "FIPSMANIFEST_LOCK": str(tmp_path / "lock.json")}
        variables |= {"FIPSMANIFEST_WORK": str(tmp_path / "work")}
        mirrors = " ".join(word.removeprefix("--mirror=") for word in site.options if word.startswith("--mirror="))
        site._run_cli(variables | {"FIPSMANIFEST_MIRROR": mirrors}, "definitions", "lock", "v1.21.3")
        del variables["FIPSMANIFEST_TO"]
        secrets = {"signing_key": site.signing_key, "signing_key_passphrase": PASSPHRASE}
        publish = {"keys": str(site.keys), "stage": "publish", "to": str(bucket)}

        made = self.run(tmp_path, variables | {"FIPSMANIFEST_MIRROR": mirrors}, keys=str(site.keys), stage="generate")
        assert made.returncode == 0, made.stderr
        assert not list((tmp_path / "work").rglob("*.asc"))
        planned = self.run(tmp_path, variables, **publish, dry_run="true")
        assert (planned.returncode, bucket.exists()) == (0, False), planned.stderr
        signed = self.run(tmp_path, variables, **publish, **secrets)
        assert signed.returncode == 0, signed.stderr
        assert (bucket / "tool/manifests/v1.21.3/manifest-rhel8.json.asc").exists()
        assert PASSPHRASE not in signed.stdout + signed.stderr

    def test_the_stage_that_parses_untrusted_files_takes_no_key(self, tmp_path: Path) -> None:
        done = self.run(tmp_path, {"PATH": os.environ["PATH"]}, keys="keys", stage="generate", signing_key="secret")
        assert (done.returncode, "leave 'signing-key' out" in done.stderr) == (2, True)

    def test_a_gate_without_paths_leaves_no_report_of_an_earlier_one(self, tmp_path: Path) -> None:
        (tmp_path / "r").mkdir()
        files = [tmp_path / "r" / name for name in ("gate.html", "gate.xml", "gate.sarif")]
        for file in files:
            file.write_text("passed")

        done = self.run(tmp_path, {"PATH": os.environ["PATH"]}, command="gate", paths="\n", reports=str(tmp_path / "r"))

        assert (done.returncode, "names nothing" in done.stderr) == (2, True)
        assert not any(file.exists() for file in files)

    def test_only_ci_sees_the_key(self, tmp_path: Path) -> None:
        program = tmp_path / "runner/fipsmanifest/bin/fipsmanifest"
        program.parent.mkdir(parents=True)
        program.write_text('#!/bin/sh\nenv; echo "$@"\n')
        program.chmod(0o755)
        known = {"PATH": os.environ["PATH"]}
        secrets = {"signing_key": "confidential", "signing_key_passphrase": "confidential", "keys": "keys"}

        gate = self.run(
            tmp_path, known | {"INPUT_PATHS": "x", "INPUT_REPORTS": str(tmp_path / "r")}, command="gate", **secrets
        )
        assert "inspect --require proven" in gate.stdout
        assert "confidential" not in gate.stdout
        ci = self.run(tmp_path, known, **secrets)
        assert "SIGNING_KEY=confidential" in ci.stdout.splitlines()
        assert "FIPSMANIFEST_PASSPHRASE=confidential" in ci.stdout.splitlines()
        assert ci.stdout.count("confidential") == 2
