"""What the pages verifying, nodes, keys and setup state: commands are run as they are written there."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fipsmanifest.cli import project
from fipsmanifest.generate.tool import build_tool
from fipsmanifest.publish import layout
from fipsmanifest.sign import keys
from tests.support import command, roots
from tests.support import forge as forge_module
from tests.support.faultyhttp import FaultyServer
from tests.support.forge import Forge, payload
from tests.support.gnupg import opened_home

TOP = Path(__file__).parents[2]
DOCS = TOP / "docs"


@pytest.fixture(scope="module")
def forge() -> Iterator[Forge]:
    with forge_module.opened() as opened:
        yield opened


def commands() -> str:
    """Return the page's commands, but for the first block, whose values are the reader's own."""
    page = (DOCS / "verifying.md").read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 6
    assert blocks[0].startswith("BUCKET=")
    return "set -euo pipefail\n" + "\n".join(blocks[1:])


class Site:
    """A bucket, a node and an auditor who has neither cache nor keys."""

    def __init__(self, forge: Forge, directory: Path) -> None:
        self.forge, self.directory = forge, directory
        kubelet = directory / "root/usr/bin/kubelet"
        kubelet.parent.mkdir(parents=True)
        kubelet.write_bytes(b"kubelet")
        entry = {"path": "/usr/bin/kubelet", "type": "file", "role": "program", "architecture": os.uname().machine}
        self.manifest = payload(files=[entry | {"sha256": hashlib.sha256(b"kubelet").hexdigest(), "size": 7}])
        tool = build_tool(forge.trust_directory)
        self.files = {
            "tool/manifests/v1.21.3/manifest-rhel8.json.asc": forge.clearsign(self.manifest),
            "tool/dkp-fips-tool": tool.data,
            "tool/dkp-fips-tool.asc": forge.detach(tool.data),
            "tool/dkp-fips-tool.sha256": layout.sidecar(tool.version, tool.sha256),
        }

    def follow(self) -> subprocess.CompletedProcess[str]:
        """Do what the page says."""
        bucket, here = self.directory / "bucket", self.directory / "auditor"
        for name, data in self.files.items():
            (bucket / name).parent.mkdir(parents=True, exist_ok=True)
            (bucket / name).write_bytes(data)
        here.mkdir()
        fingerprints = self.forge.fingerprints
        (here / "release-key.asc").write_bytes(keys.export(self.forge.trust_directory, fingerprints["release"]))
        with FaultyServer(bucket) as server:
            values = {
                "BUCKET": server.url,
                "FINGERPRINT": fingerprints["release"],
                "MANIFEST_KEY": fingerprints["manifest"],
                "TOOL_KEY": fingerprints["tool"],
                "ROOT": str(self.directory / "root"),
            }
            environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(here), "NO_PROXY": "*", **values}
            return subprocess.run(
                ["bash", "-c", commands()], cwd=here, env=environment, capture_output=True, text=True, check=False
            )


@pytest.fixture
def site(forge: Forge, tmp_path: Path) -> Site:
    return Site(forge, tmp_path)


def test_a_release_is_verified_by_the_pages_commands_alone(site: Site) -> None:
    done = site.follow()

    assert done.returncode == 0, done.stdout + done.stderr
    assert '"serial": 2' in done.stdout
    assert (site.directory / "auditor/manifest-rhel8.json").read_bytes() == site.manifest


MANIFEST, TOOL = "tool/manifests/v1.21.3/manifest-rhel8.json.asc", "tool/dkp-fips-tool"


def changed(name: str, make: Callable[[Site], bytes]) -> Callable[[Site], Any]:
    return lambda site: site.files.update({name: make(site)})


@pytest.mark.parametrize(
    "change",
    [
        changed(MANIFEST, lambda site: site.files[MANIFEST].replace(b'"el": 8', b'"el": 9')),
        changed(MANIFEST, lambda site: site.forge.clearsign(site.manifest, "stranger")),
        changed(MANIFEST, lambda site: site.forge.clearsign(site.manifest, "tool")),
        changed(MANIFEST, lambda site: site.forge.clearsign(payload(kubernetes="v1.22.8"))),
        changed(MANIFEST, lambda site: site.forge.clearsign(payload(schema="fipsmanifest/other"))),
        changed(MANIFEST, lambda site: site.forge.clearsign(site.manifest, "manifest", "--digest-algo", "SHA1")),
        changed(MANIFEST, lambda site: site.files[MANIFEST] * 2),
        changed(MANIFEST, lambda site: site.manifest),
        changed(TOOL, lambda site: site.files[TOOL] + b"\n"),
        changed(f"{TOOL}.asc", lambda site: site.forge.detach(site.files[TOOL], "manifest")),
        changed(f"{TOOL}.asc", lambda site: site.forge.detach(site.files[TOOL], "stranger")),
        lambda site: (site.directory / "root/usr/bin/kubelet").write_bytes(b"another"),
        lambda site: (site.directory / "root/usr/bin/kubelet").unlink(),
    ],
    ids=[
        "changed text", "unknown signer", "the tool's key", "another version", "another document", "SHA-1", "twice",
        "not signed", "changed tool", "tool signed by the manifest's key", "tool signed by a stranger", "changed file",
        "missing file",
    ],
)  # fmt: skip
def test_the_pages_commands_stop_at_what_is_wrong(change: Callable[[Site], Any], site: Site) -> None:
    change(site)

    assert site.follow().returncode != 0


class TestRunbook:
    """docs/keys.md, its commands run in their order by a user whose key is made, moved, retired and revoked."""

    #: These need a release, or a passphrase of cosign's: `tests/workflows/test_key_rotation.py`,
    #: `tests/publish/test_reissue.py` and `tests/workflows/test_cosign.py` have them.
    ELSEWHERE = re.compile(r"fipsmanifest (release|reissue) |.* --cosign ")

    @staticmethod
    def commands() -> list[str]:
        return re.findall(r"^ {4,}((?:fipsmanifest|gpg) .+)$", (DOCS / "keys.md").read_text(), re.MULTILINE)

    def test_it_is_followed_as_it_stands(self, tmp_path: Path) -> None:
        with opened_home() as home:
            holder = Holder(home, tmp_path / "keys")
            for line in self.commands():
                if not self.ELSEWHERE.match(line):
                    holder.do(line)
                    holder.seen.append((" ".join(line.split()[:3]), holder.state()))

        # GnuPG marks a primary key without its secret by "#".
        assert holder.seen == [
            ("fipsmanifest keys init", ("+", "active")),
            ("gpg --batch --import", ("+", "active")),
            ("gpg --batch --yes", ("", "active")),
            ("gpg --batch --import", ("#", "active")),
            ("gpg --batch --import", ("+", "active")),
            ("fipsmanifest keys retire", ("+", "retired")),
            ("fipsmanifest keys revoke", ("+", "revoked")),
            ("gpg --batch --import", ("+", "revoked")),
            ("gpg --armor --export", ("+", "revoked")),
        ]
        published = subprocess.run(
            ["gpg", "--batch", "--with-colons", "--show-keys"], input=holder.told, capture_output=True, check=True
        ).stdout
        assert [row.split(b":")[1] for row in published.splitlines() if row.startswith(b"pub:")] == [b"r"]


class Holder:
    """A user with a key, a backup medium and the page."""

    def __init__(self, home: Path, keys_directory: Path) -> None:
        self.home, self.keys_directory, self.media = home, keys_directory, keys_directory.parent / "media"
        self.values = {"/media/backup/release-key": str(self.media), "NEW": "AB" * 20}
        self.seen: list[tuple[str, tuple[str, str]]] = []
        self.told = b""

    def do(self, line: str) -> None:
        """Run one command of the page, with the page's placeholders filled in."""
        for placeholder, value in self.values.items():
            line = line.replace(placeholder, value)
        self.told = self._run(line)
        if "FPR" not in self.values:
            fingerprint = self._keys()[0]["fingerprint"]
            self.values |= {"FPR": fingerprint, "OLD": fingerprint}

    def state(self) -> tuple[str, str]:
        """Return the mark of the primary's secret, as gpg lists it, and the trust file's status of the key."""
        listed = self._run("gpg --batch --with-colons --list-secret-keys").decode().splitlines()
        statuses = {key["status"] for key in self._keys()}
        return "".join(row.split(":")[14] for row in listed if row.startswith("sec:")), "".join(statuses)

    def _keys(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = json.loads(self._run("fipsmanifest keys list --json"))["keys"]
        return listed

    def _run(self, line: str) -> bytes:
        """Run a simple command, as a shell reads it: words, some of them quoted."""
        words = shlex.split(line)
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.home), "GNUPGHOME": str(self.home)}
        environment |= {"FIPSMANIFEST_KEYS": str(self.keys_directory), "FIPSMANIFEST_PASSPHRASE": "correct horse"}
        directory = self.media if self.media.exists() else self.home
        done = (
            command.run_bytes(*words[1:], env=environment, cwd=directory)
            if words[0] == "fipsmanifest"
            else subprocess.run(words, cwd=directory, env=environment, capture_output=True, check=False, timeout=120)
        )
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        return done.stdout


def _commands(page: str) -> list[str]:
    return sorted(set(re.findall(r"\bfipsmanifest ((?:[a-z]+\b ?)+[^`\n]*)", (DOCS / page).read_text())))


@pytest.mark.parametrize("page", ["verifying.md", "keys.md", "nodes.md", "publishing.md", "gate.md", "setup.md"])
def test_each_verb_and_option_that_the_pages_name_exists(page: str) -> None:
    found = _commands(page)
    assert len(found) >= 2
    for line in found:
        words = line.split()
        depth = 2 if words[0] in ("keys", "tool", "bundle", "definitions", "modules", "check") else 1
        told = command.run(*words[:depth], "--help", code=0)
        for option in re.findall(r"--[a-z][a-z-]*", line):
            assert option in told.stdout, line


NODES = (DOCS / "nodes.md").read_text()


@pytest.mark.parametrize("command", sorted(set(re.findall(r"\./dkp-fips-tool [^`\n]*", NODES))))
def test_the_tools_commands_on_the_nodes_page_give_a_verdict(command: str, forge: Forge, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    signed = forge.clearsign(roots.payload_of(roots.make(root)))
    for name in re.findall(r"\S+\.asc", command):
        (tmp_path / Path(name).name).write_bytes(signed)
    build_tool(forge.trust_directory, tmp_path / "dkp-fips-tool")
    here = command.replace("/path/to/", "").replace("/mnt/image", "root")

    # In a view without the processes of this machine, each of whose programs would be read.
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    alone = ["unshare", *user, "--pid", "--fork", "--mount", "--mount-proc", "sh", "-c", here]
    done = subprocess.run(alone, cwd=tmp_path, capture_output=True, text=True, check=False)

    # The machine that runs the tests is no such node; a tree of the release is.
    assert done.returncode == (0 if "--root" in command else 1), done.stdout + done.stderr
    assert ('"verdict": "' if "--json" in command else "Verdict: ") in done.stdout


def test_each_option_that_the_nodes_page_names_is_the_tools(forge: Forge, tmp_path: Path) -> None:
    table = NODES[NODES.index("| you want | use |") : NODES.index("The role comes from")]
    named = set(re.findall(r"--[a-z][a-z-]*", table)) | {"--role", "--kubernetes", "--min-serial"}
    build_tool(forge.trust_directory, tmp_path / "tool")

    told = subprocess.run(["sh", tmp_path / "tool", "--help"], capture_output=True, text=True, check=True).stdout

    assert len(named) >= 9 and named <= set(re.findall(r"--[a-z][a-z-]*", told))


def test_the_nodes_page_tells_of_every_verdict_scope_and_exit_code() -> None:
    schema = json.loads((TOP / "src/fipsmanifest/node/schema.json").read_text())["properties"]
    for value in (*schema["verdict"]["enum"], *schema["scope"]["enum"]):
        assert f"`{value}` |" in NODES, value
    for code in (0, 1, 2, 3, 4, 69, 70, 130):
        assert re.search(rf"^\| (\d+, )*{code}(, \d+)* \|", NODES, re.MULTILINE), code


def test_python_is_all_that_the_page_needs_besides_gpg_curl_and_coreutils() -> None:
    programs = {
        line.split()[0] for line in commands().splitlines() if re.match(r"(gpg|gpgv|curl|python3|sha256sum) ", line)
    }

    assert programs == {"gpg", "gpgv", "curl", "python3", "sha256sum"}
    assert all(shutil.which(program) for program in programs)


SETUP = (DOCS / "setup.md").read_text()


def test_the_setup_page_has_each_extra_for_users_and_each_option_of_a_project() -> None:
    extras = tomllib.loads((DOCS.parent / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.findall(r"^\| `([a-z0-9]+)` \|", SETUP, re.MULTILINE)) == set(extras) - {"demo", "docs", "test"}

    (example,) = re.findall(r"```toml\n(.*?)```", SETUP, re.DOTALL)
    options = tomllib.loads(example)
    assert {name.replace("-", "_"): isinstance(value, list) for name, value in options.items()} == project.OPTIONS
    (hook,) = re.findall(r"- id: (\S+)", SETUP)
    assert f"- id: {hook}\n" in (DOCS.parent / ".pre-commit-hooks.yaml").read_text()


@pytest.mark.parametrize("line", sorted(set(re.findall(r"^ {4}fipsmanifest (.*)", SETUP, re.MULTILINE))))
def test_the_setup_pages_commands_work(line: str, tmp_path: Path) -> None:
    command.run(*line.split(), cwd=tmp_path, code=0)


def test_the_setup_page_names_the_verbs_that_read_no_options_of_a_project(tmp_path: Path) -> None:
    (names,) = re.findall(r"inspect \((`.*?)\) do not read", SETUP)
    assert not {name.strip("` ") for name in names.split(",")} & set(project.VERBS)
