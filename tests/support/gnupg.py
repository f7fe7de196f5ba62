"""GnuPG homes for tests: each with an agent of its own, which ends with it."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from examples.upstream.goprograms import cache_directory

import fipsmanifest

#: The code that decides how the keys of a kept home look: of this project, and of the tests.
_MAKERS = (
    *sorted(Path(fipsmanifest.__file__).parent.glob("sign/*.py")),
    *sorted(Path(fipsmanifest.__file__).parent.glob("trust/*.py")),
    *(Path(__file__).with_name(name) for name in ("forge.py", "gnupg.py", "releases.py", "upstream.py")),
)


def new_home() -> Path:
    """Return a home without keys, which `remove_home` removes.

    Its path is short, not below pytest's directories: the agent's socket is in it, and a socket's path has 107 bytes.
    """
    home = Path(tempfile.mkdtemp(prefix="fm-", dir="/tmp"))
    configure_agent(home)
    return home


def configure_agent(home: Path, *options: str) -> None:
    """Write the options of a home's agent, a line each."""
    # What makes a passphrase costly to guess takes two seconds of processor time a key otherwise.
    (home / "gpg-agent.conf").write_text("\n".join(["s2k-count 65536", *options, ""]))


@contextlib.contextmanager
def opened_home() -> Iterator[Path]:
    """Return a home without keys and remove it afterwards."""
    home = new_home()
    try:
        yield home
    finally:
        remove_home(home)


def remove_home(home: Path) -> None:
    """End the agent of a home, and remove the home."""
    _end_agent(home)
    while home.exists():
        # An agent that ends removes its sockets, possibly at this moment.
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(home)


def copied_home(name: str, make: Callable[[Path], object]) -> Path:
    """Return a new home with what ``make`` puts into one; `remove_home` removes it.

    Making keys takes seconds. They are kept beside the other fixtures, under the name and what decides how they look,
    and made again each month, so that none is near its end.
    """
    kept = cache_directory() / f"gnupg-{name}-{_key()}"
    with (cache_directory() / "gnupg.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            with opened_home() as home, tempfile.TemporaryDirectory(dir=cache_directory()) as directory:
                make(home)
                _end_agent(home)
                shutil.copytree(home, Path(directory, "home"), ignore=_not_kept)
                Path(directory, "home").rename(kept)
    return Path(shutil.copytree(kept, new_home(), dirs_exist_ok=True))


def _not_kept(directory: str, names: list[str]) -> list[str]:
    """Leave out sockets and locks."""
    return [name for name in names if name.startswith((".#", "S.")) or name.endswith(".lock")]


def _end_agent(home: Path) -> None:
    subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False, timeout=60)


@functools.cache
def _key() -> str:
    version = subprocess.run(["gpg", "--version"], capture_output=True, check=True).stdout.splitlines()[0]
    digest = hashlib.sha256(version + f"{datetime.now(UTC):%Y-%m}".encode())
    for path in _MAKERS:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:24]
