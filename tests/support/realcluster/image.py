"""The image of the Containerfile, made by its steps on this machine, as an archive for ``ctr images import``."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
from pathlib import Path

from tests.support import containerfile

from .release import libraries

REFERENCE = "registry.example/fipsmanifest:1"
_INSTALLED = "opt/fipsmanifest"
#: What the base image has and the steps install with apt-get, as far as a check needs it.
_PROGRAMS = ("/usr/bin/python3", "/usr/bin/gpgv")
_LEFT_OUT = ("__pycache__", "test", "idlelib", "tkinter", "ensurepip", "dist-packages")


def archive(directory: Path) -> Path:
    """Make the archive in a directory, and return its path."""
    done = containerfile.run(directory / "view", f"tar -C $ROOT -c {_INSTALLED} | tar -C {directory} -x")
    assert done.returncode == 0, done.stderr
    layer, path = directory / "layer.tar", directory / "fipsmanifest.tar"
    with tarfile.open(layer, "w") as tar:
        tar.add(directory / _INSTALLED, _INSTALLED)
        tar.dereference = True  # a library's name is a link
        for name in sorted(_base(directory)):
            tar.add(name, name.lstrip("/"), recursive=False)
    digest = hashlib.sha256(layer.read_bytes()).hexdigest()
    configuration = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["PATH=/opt/fipsmanifest/venv/bin:/usr/local/bin:/usr/bin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    listed = [{"Config": "config.json", "RepoTags": [REFERENCE], "Layers": [layer.name]}]
    with tarfile.open(path, "w") as tar:
        tar.add(layer, layer.name)
        for name, document in (("config.json", configuration), ("manifest.json", listed)):
            data = json.dumps(document).encode()
            item = tarfile.TarInfo(name)
            item.size = len(data)
            tar.addfile(item, io.BytesIO(data))
    shutil.rmtree(directory / "opt")
    layer.unlink()
    return path


def _base(directory: Path) -> set[str]:
    """Return this machine's files that replace the base image: Python, gpgv, and the libraries of all."""
    where = [_PROGRAMS[0], "-c", "import sysconfig; print(sysconfig.get_path('stdlib'))"]
    standard = Path(subprocess.run(where, check=True, capture_output=True, text=True).stdout.strip())
    modules = [path for path in standard.rglob("*") if not set(_LEFT_OUT).intersection(path.parts)]
    programs = [*map(Path, _PROGRAMS), *(directory / _INSTALLED).rglob("*.so")]
    programs += [path for path in modules if path.suffix == ".so"]
    needed = [name for program in programs for name in libraries(program)]
    return {*_PROGRAMS, *map(str, modules), *needed}
