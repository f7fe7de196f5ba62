"""The command line as users run it, without the time that an interpreter and its imports take for each run.

`run` is `subprocess.run` for ``fipsmanifest``: a process of its own with its own directory, environment and streams,
forked from one that has imported everything already. What depends on the start of an interpreter (the first output,
closed streams, a terminal, a signal at any moment) runs `PROGRAM` itself.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PROGRAM = Path(sys.executable).with_name("fipsmanifest")

_TOP = Path(__file__).parents[2]


def run(
    *words: str | Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: bytes = b"",
    code: int | None = None,
    timeout: float = 240,
) -> subprocess.CompletedProcess[str]:
    """Run the command line with these words; expect no traceback, and the exit code ``code`` if it is given."""
    ended = run_bytes(*words, env=env, cwd=cwd, stdin=stdin, timeout=timeout)
    told = subprocess.CompletedProcess(ended.args, ended.returncode, ended.stdout.decode(), ended.stderr.decode())
    assert "Traceback" not in told.stderr, told.stderr
    if code is not None:
        assert told.returncode == code, told.stdout + told.stderr
    return told


def run_at(home: Path, *words: str | Path, code: int = 0, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user with this home, in it, and without other settings of the environment."""
    env = {"HOME": str(home), "XDG_STATE_HOME": str(home / "state"), "PATH": os.environ["PATH"]}
    return run(*words, env=env, cwd=home, code=code, timeout=timeout)


def run_bytes(
    *words: str | Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: bytes = b"",
    timeout: float = 240,
) -> subprocess.CompletedProcess[bytes]:
    """Run the command line with these words, and return the bytes that it wrote."""
    command = [str(PROGRAM), *map(str, words)]
    request = {
        "words": command,
        "environment": dict(os.environ if env is None else env),
        "directory": str(cwd or Path.cwd()),
    }
    with tempfile.TemporaryFile() as given, ThreadPoolExecutor(2) as readers:
        given.write(stdin)
        given.seek(0)
        stdout, its_stdout = os.pipe()
        stderr, its_stderr = os.pipe()
        ours, theirs = socket.socketpair()
        with ours, ours.makefile("rb") as answers:
            with theirs:
                streams = [theirs.fileno(), given.fileno(), its_stdout, its_stderr]
                socket.send_fds(_server(), [b"run"], streams)
            os.close(its_stdout)
            os.close(its_stderr)
            read = [readers.submit(_read, stream) for stream in (stdout, stderr)]
            ours.sendall(json.dumps(request).encode() + b"\n")
            process = int(answers.readline())
            ours.settimeout(timeout)
            try:
                code = int(answers.readline())
            except TimeoutError:
                os.kill(process, signal.SIGKILL)
                raise subprocess.TimeoutExpired(command, timeout) from None
            told, complained = (reader.result() for reader in read)
    return subprocess.CompletedProcess(command, code, told, complained)


def _read(stream: int) -> bytes:
    with open(stream, "rb") as file:
        return file.read()


@functools.cache
def _server() -> socket.socket:
    """Start the process to fork from; it ends when this one does."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        # Modules must not see the environment that a test has made when they are imported.
        kept = ("PATH", "HOME", "LANG", "LC_ALL", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
        environment = {name: os.environ[name] for name in kept if name in os.environ}
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.support.command_server", str(theirs.fileno())],
            cwd=_TOP,
            env=environment,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
        )
    atexit.register(server.wait)
    atexit.register(ours.close)
    return ours
