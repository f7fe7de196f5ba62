"""A signal ends a command within two seconds, whatever it does or waits for, and nothing half-written is left."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import command

from .conftest import Site

_S3 = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory, site_in: Callable[[Path], Site]) -> dict[str, Path]:
    """Return a site's directory as it is after each stage; the caches that they name stay in the first one."""
    after: dict[str, Path] = {}
    site = site_in(tmp_path_factory.mktemp("stages"))
    for stage in ("collect", "generate", "sign"):
        site.run(stage, *(site.words()[1:] if stage == "collect" else ["v1.21.3"]))
        after[stage] = tmp_path_factory.mktemp("after") / stage
        shutil.copytree(site.directory, after[stage], symlinks=True)
    return after


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        server.settimeout(20)
        yield server


def _words(verb: str, site: Site, server: str) -> list[str | Path]:
    mirrors = [re.sub(r"http://127\.0\.0\.1:\d+", server, word) for word in site.upstream.mirrors]
    lock: list[str | Path] = ["--lock", site.directory / "lock.json", "--first-lock", "--allow-http"]
    there: list[str | Path] = ["s3://bucket", "--endpoint-url", server]
    words: dict[str, list[str | Path]] = {
        "collect": ["collect", "v1.21.3", *mirrors, *lock],
        "release": ["release", "v1.21.3", *mirrors, *lock],
        "publish": ["publish", "v1.21.3", "--to", *there],
        "reissue": ["reissue", "v1.21.3", "--el", "8", "--reason", "test", "--to", *there],
        "audit": ["audit", *there],
        "verify": ["verify", f"{server}/manifest-rhel8.json.asc", "--allow-http", "--no-state"],
        "inspect": ["inspect", f"docker://{server.removeprefix('http://')}/some/image:1", "--allow-http"],
        "bundle": ["bundle", "export", "v1.21.3", "--el", "8", "--from", *there],
    }
    return words[verb]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("verb", ["collect", "release", "publish", "reissue", "audit", "verify", "inspect", "bundle"])
def test_a_signal_ends_what_waits_for_a_silent_server(
    verb: str,
    number: signal.Signals,
    site: Site,
    stages: dict[str, Path],
    silent: socket.socket,
    tmp_path: Path,
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    if verb == "publish":
        _go_on(site, stages["sign"])
    words = _words(verb, site, f"http://127.0.0.1:{silent.getsockname()[1]}")
    environment = {**site.variables(), **_S3, "TMPDIR": str(temporary)}
    with (
        command.start(*words, env=environment, cwd=site.directory) as process,
        silent.accept()[0] as connection,
    ):
        assert connection.recv(1 << 16)
        told, taken = _end(process, number)
    assert process.returncode == 128 + number, told
    # Where unwinding takes longer, a timer ends the process, and it says nothing.
    assert "interrupted: " in told
    assert taken < 2
    assert "Traceback" not in told
    assert os.listdir(temporary) == []  # noqa: PTH208
    assert not [path for path in site.directory.rglob(".*") if path.is_file()]


def _go_on(site: Site, stage: Path) -> None:
    """Write into a site what another one had after a stage."""
    shutil.copytree(stage, site.directory, symlinks=True, dirs_exist_ok=True)


def _end(process: command.Started, number: signal.Signals) -> tuple[str, float]:
    """Send a signal; return what was said on standard error, and how long the end took."""
    process.send_signal(number)
    sent = time.monotonic()
    _, told = process.communicate(timeout=60)
    return told.decode(), time.monotonic() - sent


def _wait_for(directory: Path, pattern: str, process: command.Started) -> None:
    deadline = time.monotonic() + 60
    while process.poll() is None and not list(directory.glob(pattern)):
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("verb", "moment"),
    [("collect", "cache/blobs/sha256/*"), ("generate", "work/findings/*/*"), ("generate", "work/spool/*")],
)
def test_a_signal_ends_a_stage_at_work_and_the_next_run_completes_it(
    verb: str, moment: str, number: signal.Signals, site: Site, stages: dict[str, Path]
) -> None:
    words = site.words(version="v1.21.3")[1:] if verb == "collect" else ["v1.21.3"]
    if verb == "generate":
        _go_on(site, stages["collect"])
    with command.start(verb, *words, env=site.variables(), cwd=site.directory) as process:
        _wait_for(site.directory, moment, process)
        told, taken = _end(process, number)
    # It may have ended by itself before the signal.
    assert process.returncode in (128 + number, 0), told
    assert "Traceback" not in told
    assert taken < 2
    # A file that was being written has a name of its own (`state.durable`), and stays where a timer ends the process.
    written = [path for path in (site.directory / "work").rglob("[!.]*") if path.is_file()]
    assert not [path for path in written if path.stat().st_size == 0]
    site.run(verb, *words)
    if verb == "generate":
        assert len(list((site.directory / "work/v1.21.3").rglob("manifest-*.json"))) == 2


# gpg may wait for a card, a pinentry or an agent for ever; the child must end too.
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_signature_that_gpg_does_not_finish(
    number: signal.Signals, site: Site, stages: dict[str, Path]
) -> None:
    _go_on(site, stages["generate"])
    programs = site.directory / "programs"
    programs.mkdir()
    shim = programs / "gpg"
    real = shutil.which("gpg")
    signs = f'echo $$ >"{programs}/pid"; exec sleep 600'
    shim.write_text(f'#!/bin/sh\ncase "$*" in\n*sign*) {signs} ;;\n*) exec "{real}" "$@" ;;\nesac\n')
    shim.chmod(0o755)
    variables = site.variables()
    environment = {**variables, "PATH": f"{programs}:{variables['PATH']}"}
    with command.start("sign", "v1.21.3", env=environment, cwd=site.directory) as process:
        _wait_for(programs, "pid", process)
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
        told, taken = _end(process, number)
    assert taken < 2
    assert process.returncode == 128 + number, told
    assert "Traceback" not in told
    state = Path("/proc", (programs / "pid").read_text().strip(), "stat")
    # Dead, though perhaps not reaped.
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"
    assert not list(site.directory.rglob("*.asc"))
    site.run("sign", "v1.21.3")
    assert len(list(site.directory.rglob("manifest-*.asc"))) == 2
