"""Inspect this machine for what the verbs need. Nothing is changed, and nothing is asked of the network."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..environment import for_children
from ..errors import FipsManifestError
from ..fetch.cache import default_root
from ..model.definition_file import find
from ..trust.store import load_trust

_SECONDS = 20
_NO_KEYS = "Make keys with 'fipsmanifest keys init', or add a publisher's with 'fipsmanifest keys add'."

#: The extras of the package: what each is for, and a module that it installs.
_EXTRAS = {
    "s3": ("buckets in S3", "boto3"),
    "cluster": ("'check cluster'", "yaml"),
    "cosign": ("private keys that cosign encrypted", "nacl"),
    "fast": ("faster inspection of large files", "ahocorasick_rs"),
}


@dataclass(frozen=True, slots=True)
class Examined:
    """One thing that was inspected."""

    what: str
    """A program, a directory, a variable."""
    status: Literal["ok", "missing", "note"]
    """``missing`` for what a verb cannot do without, ``note`` for what only some need."""
    found: str
    """What was found."""
    advice: str = ""
    """What to do; empty if there is nothing to do."""


def examine(definitions: Path, keys: Path) -> list[Examined]:
    """Return what was found on this machine and in this project."""
    return [
        Examined("python", "ok", sys.version.split()[0]),
        *_programs(),
        *_extras(),
        _cache(),
        _definitions(definitions),
        _trust(keys),
        _credentials(),
    ]


def _programs() -> Iterator[Examined]:
    for name, needed, advice in (
        ("gpg", True, "Install GnuPG (Debian, Red Hat: gnupg2): signing needs it."),
        ("gpgv", True, "Install GnuPG's gpgv: verifying needs it."),
        (
            "openssl",
            False,
            "Install openssl: --cosign-key needs it.",
        ),
        ("git", False, "Install git to keep definitions, locks and keys under version control."),
    ):
        path = shutil.which(name)
        if path is None:
            yield Examined(name, "missing" if needed else "note", "not installed", advice)
            continue
        version = _version(path)
        if version is None:
            yield Examined(name, "missing" if needed else "note", f"{path} does not run", advice)
        else:
            yield Examined(name, "ok", f"{version} ({path})")


def _extras() -> Iterator[Examined]:
    for name, (purpose, module) in _EXTRAS.items():
        what = f"extra {name}"
        if importlib.util.find_spec(module) is not None:
            yield Examined(what, "ok", "installed")
        else:
            advice = f"Install it for {purpose}: pip install 'fipsmanifest[{name}]'."
            yield Examined(what, "note", "not installed", advice)


def _version(path: str) -> str | None:
    try:
        run = subprocess.run(
            [path, "version" if Path(path).name == "openssl" else "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
            env=for_children(),
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = run.stdout.decode("utf-8", "replace").splitlines()
    return lines[0][:100] if run.returncode == 0 and lines else None


def _cache() -> Examined:
    root = default_root()
    there = next((path for path in (root, *root.parents) if path.is_dir()), Path("/"))
    if not os.access(there, os.W_OK | os.X_OK):
        return Examined("cache", "missing", f"{there} is not writable", "Name another directory with --cache.")
    free = shutil.disk_usage(there).free >> 20
    if free < 2048:
        return Examined("cache", "note", f"{root}, {free} MiB free", "A release takes about 2 GiB of downloads.")
    return Examined("cache", "ok", f"{root}, {free} MiB free")


def _definitions(root: Path) -> Examined:
    try:
        count = sum(len(paths) for paths in find(root).values())
    except FipsManifestError as error:
        return Examined("definitions", "note", error.message, "Start a project with 'fipsmanifest init'.")
    if not count:
        return Examined("definitions", "note", f"none in {root}", "Start a project with 'fipsmanifest init'.")
    return Examined("definitions", "ok", f"{count} in {root}")


def _trust(keys: Path) -> Examined:
    try:
        trust = load_trust(str(keys))
    except FipsManifestError as error:
        return Examined("keys", "note", error.message, _NO_KEYS)
    if not trust.keys:
        return Examined("keys", "note", f"none in {keys}", _NO_KEYS)
    roles = sorted({key.role for key in trust.keys})
    return Examined("keys", "ok", f"{len(trust.keys)} in {keys} ({', '.join(roles)})")


def _credentials() -> Examined:
    names = ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE")
    given = [name for name in names if os.environ.get(name)]
    home = Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")).expanduser()
    if given or home.exists():
        return Examined("S3 credentials", "ok", ", ".join(given) or str(home))
    return Examined("S3 credentials", "note", "none", "Publishing to s3:// needs them; a directory does not.")
