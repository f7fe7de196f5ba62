"""Other readers of the containers that this package opens: what they find must be among what this package judges."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from examples.upstream import goprograms

#: What a reader finds: SHA-256 of content, with its path where the format has one.
Found = set[tuple[str, str]]

_SECONDS = 20


def build() -> Path:
    """Return the program of Go's readers, which is built once."""
    source = Path(__file__).with_name("main.go").read_text()
    return goprograms.build("peers", main=source, boring=False, cgo=False)


class GoReaders:
    """Go's standard library, in one process for all inputs."""

    def __init__(self, program: Path) -> None:
        """Start ``program``, which `build` made."""
        self._process = subprocess.Popen([program, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def read(self, form: str, data: bytes) -> Found:
        """Return what it finds in ``data``, nothing where it refuses."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{form} {len(data)}\n".encode() + data)
        self._process.stdin.flush()
        told = json.loads(self._process.stdout.readline())
        return {(_plain(entry["name"]) if entry["name"] else "", entry["sum"]) for entry in told.get("files", ())}

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=_SECONDS)


def python_zip(data: bytes) -> Found:
    """Return what `zipfile` finds."""
    found: Found = set()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for info in archive.infolist():
                if not info.is_dir():
                    try:
                        content = archive.read(info)
                    except Exception:  # noqa: BLE001, S112 - it does not read this member
                        continue
                    found.add((_plain(info.filename), digest(content)))
    except Exception:  # noqa: BLE001 - as above
        return found
    return found


def unpacked(command: list[str], suffix: str, *, by_pipe: bool = False) -> Callable[[bytes], Found]:
    """Return a reader that unpacks with a tool into an empty directory, and inspects what it left there."""

    def read(data: bytes) -> Found:
        with tempfile.TemporaryDirectory() as scratch:
            archive = Path(scratch, f"archive{suffix}")
            archive.write_bytes(data)
            root = Path(scratch, "root")
            root.mkdir()
            words = [*command] if by_pipe else [*command, str(archive)]
            subprocess.run(
                words,
                cwd=root,
                input=data if by_pipe else b"",
                capture_output=True,
                check=False,
                timeout=_SECONDS,
            )
            return {
                (_plain(str(path.relative_to(root))), digest(path.read_bytes()))
                for path in root.rglob("*")
                if not path.is_symlink() and path.is_file()
            }

    return read


def expanded(command: list[str]) -> Callable[[bytes], Found]:
    """Return a reader that expands one stream with a tool; what it leaves when it ends with an error does not count."""

    def read(data: bytes) -> Found:
        done = subprocess.run(command, input=data, capture_output=True, check=False, timeout=_SECONDS)
        return {("", digest(done.stdout))} if done.returncode == 0 else set()

    return read


def _plain(name: str) -> str:
    return "/" + "/".join(part for part in name.split("/") if part not in ("", "."))


def digest(data: bytes) -> str:
    """Return the SHA-256 of ``data``, hex."""
    return hashlib.sha256(data).hexdigest()
