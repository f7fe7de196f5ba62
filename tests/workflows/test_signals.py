"""A signal ends whatever waits for a server that takes connections and never answers, at once, with nothing left."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Site

_S3 = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "us-east-1"}


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        server.settimeout(20)
        yield server


def _words(verb: str, site: Site, server: str) -> list[str | Path]:
    mirrors = [re.sub(r"http://127\.0\.0\.1:\d+", server, word) for word in site.upstream.mirrors]
    lock: list[str | Path] = ["--lock", site.folder / "lock.json", "--first-lock", "--allow-http"]
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
    verb: str, number: signal.Signals, site: Site, silent: socket.socket, tmp_path: Path
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    if verb == "publish":
        site.release()  # signs, and publishes nothing
    process = subprocess.Popen(
        site.command(*_words(verb, site, f"http://127.0.0.1:{silent.getsockname()[1]}")),
        env={**site.variables(), **_S3, "TMPDIR": str(temporary)},
        cwd=site.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        with silent.accept()[0] as connection:
            assert connection.recv(1 << 16)
            process.send_signal(number)
            sent = time.monotonic()
            _, told = process.communicate(timeout=60)
            taken = time.monotonic() - sent
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 128 + number, told
    # Where unwinding takes longer, a timer ends the process, and it says nothing.
    assert "interrupted: " in told
    assert taken < 10  # retries and timeouts would take minutes
    assert "Traceback" not in told
    assert os.listdir(temporary) == []  # noqa: PTH208
    assert not [path for path in site.folder.rglob(".*") if path.is_file()]
