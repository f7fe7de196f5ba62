"""With ``--json`` every verb reports any failure in one form, so that programs need to know only one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fipsmanifest.model.explanations import REASONS
from tests.support import command
from tests.support.command import PROGRAM

#: What makes each verb fail in an empty place: no directory, no key, no definition.
FAILING = {
    "release": "v1.21.3 --definitions nowhere",
    "collect": "v1.21.3 --definitions nowhere",
    "generate": "v1.21.3 --definitions nowhere",
    "sign": "v1.21.3 --definitions nowhere",
    "publish": "v1.21.3 --definitions nowhere --to bucket",
    "ci": "v1.21.3 --definitions nowhere --stage generate",
    "reissue": "v1.21.3 --el 8 --reason leaked --to nowhere",
    "verify": "nowhere",
    "audit": "nowhere",
    "inspect": "nowhere",
    "diff": "nowhere nowhere",
    "check cluster": "nowhere",
    "explain": "nowhere",
    "init": "--kubernetes nowhere",
    "export": "junit nowhere --output nowhere",
    "bundle export": "v1.21.3 --el 8",
    "overrides": "v1.21.3 --el 8",
    "keys init": "--user-id x --keys nowhere",
    "keys add": "nowhere --role manifest",
    "keys list": "--keys nowhere",
    "modules update": "nowhere --keys nowhere",
    "keys retire": "AA --reason old --keys nowhere",
    "keys revoke": "AA --reason old --keys nowhere",
    "keys export": "AA --keys nowhere",
    "modules list": "--modules nowhere",
    "modules learn": "nowhere --id x --claimed-by us",
    "definitions list": "--definitions nowhere",
    "definitions lint": "--definitions nowhere",
    "definitions lock": "v1.21.3 --definitions nowhere",
    "tool build": "--keys nowhere",
}
#: It reads nothing that could be missing.
CANNOT_FAIL = {"schema", "config show", "doctor"}


def run(directory: Path, words: str) -> tuple[int, dict[str, Any], str]:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(directory), "COLUMNS": "80"}
    done = command.run(*words.split(), env=environment, cwd=directory)
    return done.returncode, json.loads(done.stdout), done.stderr


#: Walks the command line's own tree; apart, because typer itself warns at its import.
_VERBS = """
import json, click
from typer.main import get_command
from fipsmanifest.cli import main
found, waiting = [], [("", get_command(main.app))]
while waiting:
    name, command = waiting.pop()
    if isinstance(command, click.Group):
        waiting += [(f"{name} {one}".strip(), sub) for one, sub in command.commands.items()]
    elif any("--json" in parameter.opts for parameter in command.params):
        found.append(name)
print(json.dumps(found))
"""


def test_every_verb_with_json_is_in_the_table() -> None:
    listed = subprocess.run([sys.executable, "-c", _VERBS], capture_output=True, check=True).stdout

    assert set(json.loads(listed)) == set(FAILING) | CANNOT_FAIL


@pytest.mark.parametrize("verb", FAILING)
def test_a_failure_is_one_document_with_code_message_and_advice(verb: str, tmp_path: Path) -> None:
    code, told, spoken = run(tmp_path, f"{verb} {FAILING[verb]} --json")

    assert code in (2, 3, 4, 5)
    assert set(told["error"]) == {"code", "message", "advice", "reason"}
    assert told["error"]["code"] == code
    assert code in {reason.name: reason.codes for reason in REASONS}[told["error"]["reason"]]
    assert told["schema"] == ("fipsmanifest/verify/v1" if verb == "verify" else "fipsmanifest/error/v1")
    assert told["error"]["message"] in spoken and told["error"]["advice"] in spoken


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("release --json", "Missing argument 'VERSION'."),
        ("verify x --nonsense --json", "No such option '--nonsense'."),
        ("keys list --json --keys", "Option '--keys' requires an argument."),
        ("--nonsense keys list --json", "No such option '--nonsense'."),
        ("verify x --el eight --json", "Invalid value for '--el'"),
        ("nonsense --json", "No such command 'nonsense'."),
    ],
)
def test_options_that_cannot_be_read_are_told_alike(words: str, message: str, tmp_path: Path) -> None:
    code, told, spoken = run(tmp_path, words)

    assert (code, told["schema"], told["error"]["code"]) == (2, "fipsmanifest/error/v1", 2)
    assert told["error"]["message"].startswith(message) and "--help" in told["error"]["advice"]
    assert f"Error: {message}" in spoken


def test_a_name_that_looks_like_the_option_asks_for_nothing(tmp_path: Path) -> None:
    done = command.run("inspect", "--", "--json", cwd=tmp_path)

    assert (done.returncode, done.stdout) == (2, "")


def test_a_name_cannot_write_an_error_of_its_own(tmp_path: Path) -> None:
    done = command.run("inspect", "x\nVALID  manifest\x1b[2J", cwd=tmp_path)

    assert [line[:7] for line in done.stderr.splitlines()] == ["error: ", " " * 7, " " * 7]
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_an_interruption_is_told_alike(number: signal.Signals, code: int, tmp_path: Path) -> None:
    (tmp_path / "manifest").touch()
    os.mkfifo(tmp_path / "waiting")
    words: list[str | Path] = [PROGRAM, "diff", "waiting", "waiting", "--json"]
    process = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    _until_it_opens(tmp_path / "waiting", process)
    process.send_signal(number)
    told, spoken = process.communicate(timeout=60)

    assert process.returncode == code
    assert json.loads(told)["error"]["code"] == code
    assert "interrupted" in spoken


def _until_it_opens(fifo: Path, process: subprocess.Popen[str]) -> None:
    """Wait until the program reads the pipe, which stays empty."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"nobody reads {fifo}: {process.communicate()}")


def test_a_thread_that_does_not_end_does_not_hold_the_process(tmp_path: Path) -> None:
    code = """
import sys, time
from concurrent.futures import ThreadPoolExecutor
from fipsmanifest.cli import signals
signals._UNWINDING = 0.2
signals.handle()
with ThreadPoolExecutor() as pool:
    waiting = pool.submit(time.sleep, 600)
    print("ready", flush=True)
    waiting.result()
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    process.stdout.close()


def test_a_signal_while_a_thread_is_started_ends_it(tmp_path: Path) -> None:
    # Starting a process holds a lock at that time, so a handler that starts another one waits for itself.
    code = """
import os, signal, threading
from fipsmanifest.cli import signals
signals._UNWINDING = 0.2
signals.handle()
with threading._active_limbo_lock:
    os.kill(os.getpid(), signal.SIGTERM)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, timeout=60, check=False)
    assert b"KeyboardInterrupt" in done.stderr
