"""Real packages of the small upstream: RPMs by nfpm, repositories by createrepo_c, a tarball."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fipsmanifest.errors import Incomplete

from .layout import Entry

#: 2021-08-01T00:00:00Z, the time of all that is made here: the same input, the same bytes.
EPOCH = 1627776000

Compression = Literal["gzip", "xz", "zstd"]


@dataclass(frozen=True, slots=True)
class Packed:
    """A layout entry with the bytes that go into the package."""

    entry: Entry
    program: Path | None
    """The built program, for entries of that kind."""

    def content(self) -> bytes:
        """Return the file's bytes."""
        return self.program.read_bytes() if self.program else self.entry.text.encode()

    @property
    def mode(self) -> int:
        """Permission bits."""
        return 0o755 if self.program else 0o644


@dataclass(frozen=True, slots=True)
class Signer:
    """Upstream's signing key."""

    fingerprint: str
    secret_key: Path
    """Armored, without a passphrase: a throwaway key."""


def write_rpm(
    nvr: str, architecture: str, files: Iterable[Packed], path: Path, compression: Compression, signer: Signer
) -> None:
    """Write the signed RPM ``NVR.ARCHITECTURE`` to ``path``, unless it is there from the same input.

    Raises `Incomplete` where nfpm is missing or fails.
    """
    name, version, release = nvr.rsplit("-", 2)
    files = tuple(files)
    recipe = _recipe(nvr, architecture, compression, signer.fingerprint, files)
    if _is_made(path, recipe):
        return
    scratch = path.parent / f".{path.name}"
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        contents = [_nfpm_content(packed, scratch / str(number)) for number, packed in enumerate(files)]
        config = {
            "name": name,
            "version": version,
            "version_schema": "none",
            "release": release,
            "arch": architecture,
            "platform": "linux",
            "maintainer": "A throwaway upstream <upstream@example.com>",
            "description": f"{name}, a small program built for the demo",
            "license": "Apache-2.0",
            "mtime": "2021-08-01T00:00:00Z",
            "rpm": {
                "buildhost": "localhost",
                "compression": compression,
                "signature": {"key_file": str(signer.secret_key)},
            },
            "contents": contents,
        }
        # JSON is YAML.
        (scratch / "nfpm.yaml").write_text(json.dumps(config))
        made = scratch / "made.rpm"
        run_tool("nfpm", "package", "--packager", "rpm", "--config", scratch / "nfpm.yaml", "--target", made)
        _finish(made, path, recipe)
    finally:
        for leftover in scratch.iterdir():
            leftover.unlink()
        scratch.rmdir()


def write_repository(directory: Path, compression: Compression) -> None:
    """Make ``directory/repodata`` for the RPMs in ``directory``. Raises `Incomplete` where createrepo_c fails."""
    arguments = ["--quiet", "--no-database", "--revision", str(EPOCH), "--set-timestamp-to-revision"]
    suffix = {"gzip": "gz", "xz": "xz", "zstd": "zstd"}[compression]
    run_tool("createrepo_c", *arguments, f"--general-compress-type={suffix}", directory)


def write_tarball(files: Iterable[Packed], path: Path) -> None:
    """Write a ``.tar.gz`` of ``files`` with paths relative to ``/``, unless it is there from the same input."""
    files = tuple(files)
    recipe = _recipe("tarball", "", "gzip", "", files)
    if _is_made(path, recipe):
        return
    made = path.with_name(f".{path.name}")
    made.write_bytes(deterministic_gzip(tar_of(_tar_members(files))))
    _finish(made, path, recipe)


def tar_of(members: Iterable[tuple[str, bytes | str, int]]) -> bytes:
    """Return a tar of (relative path, content, mode); a ``str`` as content is a symbolic link's target."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, content, mode in members:
            member = tarfile.TarInfo(name)
            member.mode, member.mtime = mode, EPOCH
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                tar.addfile(member)
            else:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def deterministic_gzip(data: bytes) -> bytes:
    """Compress, quickly and without a time stamp."""
    return gzip.compress(data, compresslevel=3, mtime=0)


def _tar_members(files: Iterable[Packed]) -> Iterator[tuple[str, bytes | str, int]]:
    for packed in files:
        name = packed.entry.path.lstrip("/")
        if packed.entry.kind == "symlink":
            yield name, packed.entry.text, 0o777
        else:
            yield name, packed.content(), packed.mode


def run_tool(name: str, *arguments: str | Path) -> None:
    """Run a program that the ``demo`` extra installs beside this Python. Raises `Incomplete` where it fails."""
    program = Path(sys.executable).with_name(name)
    try:
        run = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise Incomplete(f"{name} is not installed.", "Install the extra: pip install 'fipsmanifest[demo]'.") from error
    if run.returncode != 0:
        raise Incomplete(f"{name} failed with {run.returncode}: {(run.stderr or run.stdout).strip()}")


def _nfpm_content(packed: Packed, scratch: Path) -> Mapping[str, object]:
    entry = packed.entry
    if entry.kind == "ghost":
        return {"dst": entry.path, "type": "ghost"}
    if entry.kind == "symlink":
        return {"src": entry.text, "dst": entry.path, "type": "symlink"}
    if packed.program is None:
        scratch.write_text(entry.text)
    content: dict[str, object] = {
        "src": str(packed.program or scratch),
        "dst": entry.path,
        "file_info": {"mode": packed.mode, "mtime": "2021-08-01T00:00:00Z"},
    }
    types = {"config": "config|noreplace", "doc": "doc", "license": "license"}
    return {**content, "type": types[entry.kind]} if entry.kind in types else content


def _recipe(what: str, architecture: str, compression: str, fingerprint: str, files: tuple[Packed, ...]) -> str:
    facts = [what, architecture, compression, fingerprint]
    for packed in files:
        digest = hashlib.sha256(packed.content()).hexdigest()
        facts += [packed.entry.path, packed.entry.kind, packed.entry.text, digest]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _stamp(path: Path) -> Path:
    return path.with_name(f".{path.name}.recipe")


def _is_made(path: Path, recipe: str) -> bool:
    stamp = _stamp(path)
    return path.exists() and stamp.exists() and stamp.read_text() == recipe


def _finish(made: Path, path: Path, recipe: str) -> None:
    os.utime(made, (EPOCH, EPOCH))
    _stamp(path).unlink(missing_ok=True)
    made.replace(path)
    _stamp(path).write_text(recipe)
