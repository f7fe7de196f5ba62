"""Make a release unattended, in two processes: the one that parses untrusted files gets no secret.

The first collects, inspects and generates. Its environment has no key, passphrase, credentials or bucket, and no file
by which a step of a job changes the next ones. The second checks what was generated, signs and publishes, with the key
in a keyring that exists only that long.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from ..environment import for_children
from ..errors import Incomplete
from ..sign import gpg

Stage = Literal["generate", "publish", "all"]

#: Variables that the process that parses untrusted files does not get. DOCKER_AUTH_CONFIG stays: it is for the
#: registries that are read.
_CONFIDENTIAL = re.compile(
    r"FIPSMANIFEST_(?:TO|COSIGN_KEY)|(?:AWS|ACTIONS|GITHUB|GH)_.*|GNUPGHOME|SSH_AUTH_SOCK"
    r"|.*(?:TOKEN|SECRET|PASSWORD|PASSPHRASE|SIGNING_KEY).*"
)

#: Lines of the errors that a summary quotes.
_QUOTED = 40

#: Seconds that a process has to end after the signal; this one exits by itself soon after (`cli.signals`).
_PATIENCE = 1.0


@dataclass(frozen=True, slots=True)
class Job:
    """What to run."""

    stage: Stage
    """``all`` is one after the other."""
    dry_run: bool
    """Sign and publish nothing."""
    generate: tuple[str, ...]
    """The arguments of the command that generates."""
    publish: tuple[str, ...]
    """The arguments of the command that signs and publishes."""
    signing_key: str
    """The armored secret key; empty where nothing is signed."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it ended."""

    code: int
    """The exit code of the last command that ran."""
    printed: bytes
    """What that command wrote to stdout, if it was captured."""
    errors: tuple[str, ...]
    """The last lines that the commands wrote to stderr, if they were captured."""


def environment_without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for a process that parses untrusted files."""
    return {name: value for name, value in environment.items() if not _CONFIDENTIAL.fullmatch(name)}


def run(job: Job, show: Callable[[bytes], None] | None, *, capture: bool) -> Outcome:
    """Run the commands of a job until one fails.

    ``show`` is given what they write to stderr, which is also kept for the outcome; None lets them write there
    themselves. With ``capture`` what the last one writes to stdout is kept instead of written. Raises `Incomplete` for
    a key that gpg does not import, before anything is collected.
    """
    runner = _Runner(show, capture=capture)
    signs = job.stage != "generate" and not job.dry_run
    if signs:
        with _keyring() as home:
            _import_key(job.signing_key, home, "--import-options", "show-only")
    if job.stage != "publish":
        # With another result to follow, this one is no more than progress.
        last = job.stage == "generate"
        code = runner.run(job.generate, environment_without_secrets(os.environ), is_last=last)
        if code or last:
            return runner.outcome(code)
    if not signs:
        return runner.outcome(runner.run(job.publish, dict(os.environ)))
    with _keyring() as home:
        _import_key(job.signing_key, home)
        return runner.outcome(runner.run(job.publish, {**os.environ, "GNUPGHOME": str(home)}))


class _Runner:
    """Runs this program again, with other arguments and another environment."""

    def __init__(self, show: Callable[[bytes], None] | None, *, capture: bool) -> None:
        self._show = show
        self._capture = capture
        self._printed = b""
        self._errors: deque[bytes] = deque(maxlen=_QUOTED)

    def run(self, words: Sequence[str], environment: dict[str, str], *, is_last: bool = True) -> int:
        """Run a command to its end, and return its exit code; an interruption also ends it."""
        # Options of a project are among the words already, those that are for this command.
        environment["FIPSMANIFEST_CONFIG"] = os.devnull
        # Not this directory: a file of the project could be taken for a module of the program (-P).
        command = [sys.executable, "-P", "-m", "fipsmanifest.cli.main", *words]
        with tempfile.TemporaryFile() as printed:
            stdout: IO[bytes] | int | None = printed if self._capture else None if is_last else sys.stderr.fileno()
            stderr = None if self._show is None else subprocess.PIPE
            process = subprocess.Popen(command, env=environment, stdout=stdout, stderr=stderr)
            reader = threading.Thread(target=self._read, args=(process.stderr,), daemon=True)
            reader.start()
            try:
                code = process.wait()
            except BaseException:
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_PATIENCE)
                process.kill()
                raise
            reader.join()
            printed.seek(0)
            self._printed = printed.read()
        return code if code >= 0 else 128 - code

    def outcome(self, code: int) -> Outcome:
        return Outcome(code, self._printed, tuple(line.decode("utf-8", "replace") for line in self._errors))

    def _read(self, errors: IO[bytes] | None) -> None:
        for line in errors or ():
            self._errors.append(line.rstrip(b"\r\n"))
            if self._show is not None:
                self._show(line)


@contextmanager
def _keyring() -> Iterator[Path]:
    """Yield a home directory of gpg that is removed, with its agent, at the end."""
    home = Path(tempfile.mkdtemp(prefix="tmp."))
    try:
        yield home
    finally:
        gpg.stop_agent(home)
        shutil.rmtree(home, ignore_errors=True)


def _import_key(key: str, home: Path, *options: str) -> None:
    """Import a secret key. Raises `Incomplete` if gpg does not import it."""
    command = [gpg.find(), "--homedir", str(home), "--batch", "--quiet", *options, "--import"]
    done = subprocess.run(command, input=key.encode(), env=for_children(), capture_output=True, check=False)
    if done.returncode:
        raise Incomplete(
            "SIGNING_KEY is no key that gpg can import.",
            "Set it to what 'gpg --armor --export-secret-subkeys' prints.",
            reason="no-secret-key",
        )
