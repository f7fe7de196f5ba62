"""GnuPG homes for tests: each with an agent of its own, which ends with it."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def opened_home() -> Iterator[Path]:
    """Return an empty home and remove it afterwards.

    Its path is short, not below pytest's directories: the agent's socket is in it, and a socket's path has 107 bytes.
    """
    home = Path(tempfile.mkdtemp(prefix="fm-", dir="/tmp"))
    try:
        yield home
    finally:
        remove_home(home)


def remove_home(home: Path) -> None:
    """End the agent of a home, and remove the home."""
    subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False, timeout=60)
    while home.exists():
        # An agent that ends removes its sockets, possibly at this moment.
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(home)
