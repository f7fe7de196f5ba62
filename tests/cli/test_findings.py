"""How ``inspect`` reports what it finds: the same document however long, in constant memory, and live on a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from benchmarks.measure import run

from fipsmanifest.cli import output
from fipsmanifest.cli.findings import JsonRenderer
from fipsmanifest.errors import Incomplete
from fipsmanifest.inspect.nested import LocatedFinding
from fipsmanifest.inspect.table import load
from fipsmanifest.model.finding import CryptoFacts, DetectedModule, Finding, Verdict
from tests.support import programs
from tests.support.command import PROGRAM

from .test_inspect import inspect

#: What moves the cursor and sets colours (ECMA-48, CSI).
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    place = tmp_path / "dist"
    (place / "bin").mkdir(parents=True)
    shutil.copy(programs.boring(), place / "bin/kubelet")
    shutil.copy(programs.plain(), place / "bin/crictl")
    (place / "é\n\udcff").write_text("a name that is no UTF-8 and two lines")
    return place


@pytest.mark.parametrize("gate", [[], ["--require", "proven"]])
def test_the_document_is_what_json_itself_would_write(tmp_path: Path, directory: Path, gate: list[str]) -> None:
    (tmp_path / "empty").mkdir()
    for names in (["empty"], ["dist/bin/kubelet"], ["dist"], ["dist", "dist/bin"]):
        ended = inspect(tmp_path, "--json", *gate, *names)
        assert ended.stdout == json.dumps(ended.document, indent=2, sort_keys=True) + "\n"
        assert len(ended.files) == {"empty": 0, "dist/bin/kubelet": 1}.get(names[0], 1 + 2 * len(names))


def test_a_list_that_went_to_disk_is_written_as_one_that_did_not(capsys: pytest.CaptureFixture[str]) -> None:
    members = [{"path": "x" * 1000, "number": number, "odd": 'quo"te\n  "files": [ é'} for number in range(6000)]
    files = output.LongList()
    for member in members:
        files.add(member)
    document = {"errors": ['\n  "files": []'], "schema": "x"}
    output.write_json({**document, "files": files})
    assert capsys.readouterr().out == json.dumps({**document, "files": members}, indent=2, sort_keys=True) + "\n"


def test_a_disk_without_room_for_the_result_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    aside = output.SpooledText()
    aside.write("short")
    with pytest.raises(Incomplete, match="The result cannot be stored in "):
        aside.write("x" * (8 << 20))


@pytest.mark.parametrize("options", [["--json"], []])
def test_memory_does_not_grow_with_the_number_of_files(tmp_path: Path, options: list[str]) -> None:
    peaks = []
    for count in (10, 12_000):
        root = tmp_path / str(count)
        for number in range(count):
            if number % 500 == 0:
                (root / str(number)).mkdir(parents=True)
                place = root / str(number)
            (place / f"{number}-{'x' * 100}").touch()
        environment = {**os.environ, "FIPSMANIFEST_CACHE": str(tmp_path / "cache")}
        peaks.append(run([PROGRAM, "--quiet", "inspect", *options, root], environment, tmp_path).peak)
    # What was kept of each file took two and a half kilobytes, and there are texts of three megabytes in memory.
    assert peaks[1] - peaks[0] < 14 << 20


def watch(directory: Path, *arguments: str | Path) -> tuple[subprocess.Popen[bytes], int]:
    """Start ``inspect`` on a terminal of 200 columns; return it and the terminal's other end."""
    ours, theirs = pty.openpty()
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "TERM": "xterm", "COLUMNS": "200"}
    process = subprocess.Popen(
        [PROGRAM, "inspect", *map(str, arguments)],
        cwd=directory,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    return process, ours


def read(terminal: int, until: str = "", seconds: float = 60) -> str:
    """Return what the terminal shows up to ``until``, or to the end."""
    shown, ends = "", time.monotonic() + seconds
    while (not until or until not in shown) and time.monotonic() < ends:
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                shown += os.read(terminal, 1 << 16).decode("utf-8", "replace")
            except OSError:  # the other end is closed
                break
    return shown


def test_a_row_is_on_the_terminal_while_the_rest_is_still_looked_at(tmp_path: Path, directory: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        never = f"docker://127.0.0.1:{silent.getsockname()[1]}/never:answers"
        process, terminal = watch(tmp_path, "dist", never)
        try:
            shown = read(terminal, until="functions are called")
            assert process.poll() is None
            rows = [CONTROL.sub("", line) for line in shown.splitlines() if "dist/bin/" in line]
            assert [row.split()[:2] for row in rows] == [["plain", "dist/bin/crictl"], ["proven", "dist/bin/kubelet"]]
            # The bar below them; it may not have been drawn again since the first byte was read.
            assert re.search(r"inspect .*[0-9.]+(/\?)? (MB|bytes)", shown)
        finally:
            process.kill()
            process.wait()
            os.close(terminal)


def test_a_terminal_shows_each_row_once_and_how_many_there_were(tmp_path: Path, directory: Path) -> None:
    process, terminal = watch(tmp_path, "dist", "--require", "proven")
    shown = read(terminal)
    assert process.wait() == 5
    os.close(terminal)
    assert shown.count("A Go program with plain, unvalidated cryptography.") == 2  # the row, and the refusal
    assert shown.count("are called.") == 1
    assert "2 programs, 1 other file." in shown
    assert shown.index("verdict") < shown.index("dist/bin/crictl")


def test_what_goes_to_a_file_is_aligned_though_progress_is_on_a_terminal(tmp_path: Path, directory: Path) -> None:
    ours, theirs = pty.openpty()
    with (tmp_path / "out").open("wb") as out:
        command = [str(PROGRAM), "inspect", "dist"]
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TERM": "xterm"}
        subprocess.run(command, cwd=tmp_path, env=environment, stdout=out, stderr=theirs, check=True)
    os.close(theirs)
    os.close(ours)
    heading, first, second, empty, covered, counted = (tmp_path / "out").read_text().splitlines()
    assert len({line.index(word) for line, word in ((heading, "why"), (first, "A Go"), (second, "BoringC"))}) == 1
    assert covered.startswith("module boringcrypto-20210429-x86_64: ")
    assert (empty, counted) == ("", "2 programs, 1 other file.")


@pytest.mark.parametrize("order", [("shipped", "local"), ("local", "shipped")])
def test_a_module_that_an_own_reference_shows_as_well_claims_no_certificate(
    capsys: pytest.CaptureFixture[str], order: tuple[str, str]
) -> None:
    # The order of a set decided whose certificates the document had for both programs.
    table = load()
    source = next(row.source for row in table.native if row.certificates)
    renderer = JsonRenderer(table)
    for row in order:
        module = DetectedModule("go-native-v1.0.0-x86_64", "Go", "sha256-source", source, "x86_64", row)  # type: ignore[arg-type]
        crypto = CryptoFacts(Verdict.PROVEN, module, {"code": "native-proven"})
        finding = Finding(row, "file", 0o755, "0" * 64, 1, "program", crypto=crypto)
        renderer.add(LocatedFinding(None, None, finding))
    output.write_json(renderer.document((), None))
    (module,) = json.loads(capsys.readouterr().out)["modules"].values()
    assert (module["row"], module.get("certificates", [])) == ("local", [])
