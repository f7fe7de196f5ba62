"""The command line as users run it, without the time that an interpreter and its imports take for each run.

`run` is `subprocess.run` for ``fipsmanifest``, and `start` its `subprocess.Popen`: a process of its own with its own
directory, environment and streams, forked from one that has imported everything already. What depends on the start of
an interpreter (the first output, closed streams, a terminal, a signal while it imports) runs `PROGRAM` itself.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

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
    with start(*words, env=env, cwd=cwd, stdin=stdin) as started:
        told, complained = started.communicate(timeout)
        return subprocess.CompletedProcess(started.args, started.wait(), told, complained)


@contextlib.contextmanager
def start(
    *words: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None, stdin: bytes = b""
) -> Iterator[Started]:
    """Start the command line with these words; it is killed at the end if it still runs."""
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
            started = Started(command, int(answers.readline()), ours, answers, read)
            try:
                yield started
            finally:
                started.send_signal(signal.SIGKILL)


@dataclass
class Started:
    """A run of the command line, as `subprocess.Popen` has it."""

    args: list[str]
    pid: int
    _ours: socket.socket
    _answers: BinaryIO
    _read: list[Future[bytes]]
    returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, or None if it still runs."""
        if self.returncode is None and select.select([self._ours], [], [], 0)[0]:
            self.returncode = int(self._answers.readline())
        return self.returncode

    def wait(self, timeout: float = 240) -> int:
        """Return the exit code. Raises `subprocess.TimeoutExpired`, and kills it before."""
        if self.returncode is None:
            if not select.select([self._ours], [], [], timeout)[0]:
                os.kill(self.pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(self.args, timeout)
            self.returncode = int(self._answers.readline())
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal if it still runs."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # its end is not told yet
                os.kill(self.pid, number)

    def communicate(self, timeout: float = 240) -> tuple[bytes, bytes]:
        """Return what it wrote once it has ended; raises as `wait`."""
        self.wait(timeout)
        stdout, stderr = (one.result() for one in self._read)
        return stdout, stderr


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
