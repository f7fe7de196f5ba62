"""The real cosign, which `scripts/debian-programs` unpacks, and openssl beside it. Nothing here uses the network."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / ".cache/debian/cosign/usr/bin/cosign"
PASSWORD = "correct horse"

#: cosign of version 3 with the bundle of today is in no package of other systems.
on_debian_12 = pytest.mark.skipif(
    platform.freedesktop_os_release().get("VERSION_CODENAME") != "bookworm",
    reason="the real cosign comes from a package of Debian, unpacked on Debian 12",
)


def run(*arguments: str, cwd: Path, password: str = PASSWORD) -> subprocess.CompletedProcess[str]:
    assert PROGRAM.exists(), f"{PROGRAM} is missing: run scripts/debian-programs"
    # A home of its own: cosign keeps what it learns of the public services there.
    environment = {"PATH": os.environ["PATH"], "HOME": str(cwd), "COSIGN_PASSWORD": password}
    return subprocess.run(
        [str(PROGRAM), *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def verifies(bundle: Path, file: Path, public: Path) -> bool:
    """Return whether `cosign verify-blob` accepts a bundle, as the documentation has it."""
    done = run(
        "verify-blob", "--key", str(public), "--bundle", str(bundle), "--insecure-ignore-tlog", str(file),
        cwd=bundle.parent,
    )  # fmt: skip
    assert (done.returncode == 0) == ("Verified OK" in done.stderr), done.stderr
    return done.returncode == 0


def make_key(directory: Path) -> Path:
    """Return a private key in cosign's own form, with cosign.pub beside it."""
    done = run("generate-key-pair", cwd=directory)
    assert done.returncode == 0, done.stderr
    return directory / "cosign.key"


def sign(file: Path, key: Path) -> Path:
    """Return the bundle that cosign makes of a file, without services."""
    config = file.parent / "signing-config.json"
    config.write_text(json.dumps({"mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json"}))
    bundle = file.with_name(f"{file.name}.by-cosign.json")
    done = run(
        "sign-blob", "--yes", "--key", str(key), "--bundle", str(bundle), "--signing-config", str(config), str(file),
        cwd=file.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return bundle


def openssl(*arguments: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["openssl", *arguments], input=data, capture_output=True, timeout=60, check=False)
