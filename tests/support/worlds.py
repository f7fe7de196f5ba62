"""Upstreams for tests (`examples.upstream.World`), of which what an earlier run made is kept beside other fixtures."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import examples.upstream
from examples.upstream import World
from examples.upstream.builds import Build
from examples.upstream.goprograms import cache_directory, go_version
from examples.upstream.world import create_upstream_key

from tests.support.gnupg import opened_home

_WEEK = 7 * 24 * 3600.0
_MAKERS = sorted(Path(examples.upstream.__file__).parent.glob("*.py"))


def make_world(
    definitions: Sequence[Path],
    directory: Path,
    gnupghome: Path,
    *,
    builds: Mapping[str, Build] | None = None,
    compilers: Mapping[str, str] | None = None,
) -> World:
    """Do what `World.make` does, with packages, images and a registry's data that an earlier run made of the same.

    All are signed with one key, which comes into ``gnupghome``. The name that they are kept under is made of all that
    decides their bytes, and of the month, so that no key and no signature is near its end.
    """
    month = f"{datetime.now(UTC):%Y-%m}"
    sources = [month, go_version(), repr(builds), repr(compilers), *("/".join(path.parts[-2:]) for path in definitions)]
    sources += [hashlib.sha256(path.read_bytes()).hexdigest() for path in (*_MAKERS, *definitions)]
    with _locked() as cache:
        key = cache / f"world-key-{month}.asc"
        if not key.exists():
            _make_key(key)
        kept = cache / f"world-{hashlib.sha256('|'.join(sources).encode()).hexdigest()[:24]}"
        if not kept.exists():
            with opened_home() as home, tempfile.TemporaryDirectory(dir=cache) as temporary:
                _import(key, home)
                made = Path(temporary, "world")
                with World.make(definitions, made, home, builds=builds, compilers=compilers).serve():
                    pass  # the registry has the images
                made.rename(kept)
            _remove_unused(cache)
        os.utime(kept)
        shutil.copytree(kept, directory, symlinks=True, dirs_exist_ok=True)
        _import(key, gnupghome)
    return World.make(definitions, directory, gnupghome, builds=builds, compilers=compilers)


def _remove_unused(cache: Path) -> None:
    """Remove the upstreams that no run has used for a week; every change of what makes them leaves some behind."""
    for kept in cache.glob("world-*/"):
        if kept.stat().st_mtime < time.time() - _WEEK:
            shutil.rmtree(kept)


@contextlib.contextmanager
def _locked() -> Iterator[Path]:
    cache = cache_directory()
    with (cache / "world.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield cache


def _make_key(path: Path) -> None:
    with opened_home() as home:
        fingerprint = create_upstream_key(home)
        armored = _gpg(home, "--armor", "--export-secret-keys", fingerprint)
    new = path.with_suffix(".new")
    new.write_bytes(armored)
    new.rename(path)


def _import(key: Path, home: Path) -> None:
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    _gpg(home, "--import", str(key))


def _gpg(home: Path, *words: str) -> bytes:
    command = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--no-tty", "--pinentry-mode", "loopback"]
    done = subprocess.run([*command, "--passphrase", "", *words], capture_output=True, check=True, timeout=60)
    return done.stdout
