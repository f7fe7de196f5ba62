"""Running one of the node's own programs: from /usr/bin or /bin alone, with an end to its time and its output."""

import os
import select
import signal
import subprocess
import time
from typing import List, Optional, Sequence

_DIRECTORIES = ("/usr/bin", "/bin")
_ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/bin:/bin"}
_MAX_OUTPUT = 16 * 1024 * 1024


class HelperFailed(Exception):
    """The program could not be run, failed, or did not come to an end; the text says which."""


def find(name: str) -> Optional[str]:
    """Return the path of a program; None where it is in neither directory, whatever PATH says."""
    paths = (os.path.join(directory, name) for directory in _DIRECTORIES)
    return next((path for path in paths if os.path.isfile(path) and os.access(path, os.X_OK)), None)


def run(command: Sequence[str], seconds: float) -> bytes:
    """Run ``command`` and give its standard output; raises `HelperFailed`."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_ENVIRONMENT,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise HelperFailed("cannot be run: {}".format(error.strerror))
    deadline = time.monotonic() + seconds
    try:
        output = _read(process, deadline)
        code = process.wait(max(deadline - time.monotonic(), 0.01))
    except subprocess.TimeoutExpired:
        raise HelperFailed("did not end in {:.0f} seconds".format(seconds))
    finally:
        # What it started in turn may hold the pipe open.
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
        if process.stdout is not None:
            process.stdout.close()
        process.wait()
    if code != 0:
        raise HelperFailed("failed with exit code {}".format(code))
    return output


def _read(process: "subprocess.Popen[bytes]", deadline: float) -> bytes:
    if process.stdout is None:
        return b""
    parts: List[bytes] = []
    size = 0
    while True:
        ready, _, _ = select.select([process.stdout], [], [], max(deadline - time.monotonic(), 0))
        if not ready:
            raise subprocess.TimeoutExpired(process.args, 0)
        part = os.read(process.stdout.fileno(), 65536)
        if not part:
            return b"".join(parts)
        parts.append(part)
        size += len(part)
        if size > _MAX_OUTPUT:
            raise HelperFailed("gives more output than can be true")
