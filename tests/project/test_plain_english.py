"""The lint for plain English: it reports planted words with file and line, and the packages and documents pass it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "scripts" / "plain-english"


def lint(*paths: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, PROGRAM, *paths], capture_output=True, text=True, check=False, timeout=120)


def test_the_listed_packages_and_the_documents_pass() -> None:
    done = lint()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("source", "line", "words"),
    [
        ('def f():\n    """Give the name."""\n', 2, "Give"),
        ('x = 1\n"""Tells whether it is so."""\n', 2, "Tells"),
        ("x = 1  # one folder a key\n", 1, "folder"),
        ('raise OSError(f"{x} is none of ours.")\n', 1, "is none of ours"),
        ('advice = (\n    "Remove it, and make "\n    "it anew."\n)\n', 2, "anew"),
    ],
)
def test_a_planted_word_is_reported(tmp_path: Path, source: str, line: int, words: str) -> None:
    module = tmp_path / "module.py"
    module.write_text(source)
    done = lint(tmp_path)
    assert done.returncode == 1
    assert done.stdout.startswith(f"{module}:{line}: {words!r}: write ")


@pytest.mark.parametrize(
    "source",
    [
        'def f(folder):\n    """Return the name of ``directory``."""\n    return folder.name\n',
        'advice = "Give the serial."\n',
        'kinds = ["folder", "anew"]\n',
        '# plain-english: skip\ntext = "in the trust folder"\n',
    ],
)
def test_identifiers_imperatives_of_advice_and_skipped_literals_are_accepted(tmp_path: Path, source: str) -> None:
    module = tmp_path / "module.py"
    module.write_text(source)
    assert (lint(module).returncode, lint(module).stdout) == (0, "")


@pytest.mark.parametrize(
    ("document", "line", "words"),
    [
        ("# Title\n\nIt is made\nanew.\n", 3, "anew"),
        ("- one\n- a folder\n", 2, "folder"),
        ("| a | b |\n|---|---|\n| x | a folder |\n", 3, "folder"),
        ("```sh\ndirectory\n```\nNobody knows.\n", 4, "Nobody"),
    ],
)
def test_a_planted_word_in_a_document_is_reported(tmp_path: Path, document: str, line: int, words: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(document)
    done = lint(tmp_path)
    assert done.returncode == 1
    assert done.stdout.startswith(f"{page}:{line}: {words!r}: write ")


@pytest.mark.parametrize("document", ["`directory`\n", "```text\nanew\n```\n", "Text:\n\n    mkdir folder\n"])
def test_code_in_a_document_is_accepted(tmp_path: Path, document: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(document)
    assert (lint(page).returncode, lint(page).stdout) == (0, "")


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("rhel8.toml", 'name = "a folder"\n# one folder\n', 2),
        ("rhel8.toml", 'name = "#1"  # made anew\n', 1),
        ("script", "#!/usr/bin/env bash\necho folder\nmake  # anew\n", 3),
        ("script", '#!/usr/bin/env python3\n"""Give the name."""\n', 2),
    ],
)
def test_comments_of_definitions_and_scripts_are_checked(tmp_path: Path, name: str, text: str, line: int) -> None:
    file = tmp_path / name
    file.write_text(text)
    done = lint(tmp_path)
    assert done.returncode == 1
    assert [report.startswith(f"{file}:{line}: ") for report in done.stdout.splitlines()] == [True]


def test_a_missing_path_is_an_error(tmp_path: Path) -> None:
    assert lint(tmp_path / "missing").returncode == 2
