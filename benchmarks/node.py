"""The node tool: its first output against Python's own start, and a node's validation against hashing its files.

The node is a tree of 4 GB: programs, and images' layers packed and unpacked; everything is in the page cache. Layers
are asked for by two images each, and nothing may be read twice.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

from examples.upstream import goprograms
from tests.support import roots
from tests.support.forge import PYTHONS, Forge, opened

from fipsmanifest.generate.tool import build_tool

from .measure import Figure, Run, paired, run

ISOLATED = ("-I", "-S", "-B")
ROUNDS = 25
#: MiB embedded in each program, as in Kubernetes' own.
PADS = (34, 60, 78, 96)
TOTAL = 4_000_000_000
STORE = "var/lib/containerd/io.containerd.content.v1.content/blobs/sha256"
SNAPSHOTS = "var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots"

#: Runs the tool up to its first output; with "names", prints what of the standard library it has imported by then.
_UP_TO_OUTPUT = """
import os, runpy, sys
class FirstOutput:
    def write(self, text):
        names = sorted(name for name in sys.modules if not name.startswith(("fipsmanifest", "__m")))
        os.write(1, " ".join(names).encode() if asked == "names" else b"")
        os._exit(0)
asked = sys.argv[1]
sys.argv[:], sys.stdout = sys.argv[2:], FirstOutput()
runpy.run_path(sys.argv[0], run_name="__main__")
"""
_IMPORT = """
import sys
for name in sys.argv[1].split():
    __import__(name)
print()
"""


def figures() -> Iterator[Figure]:
    """Measure the single file as a node runs it."""
    with opened() as forge, tempfile.TemporaryDirectory(prefix="fm-bench-", dir=os.environ.get("TMPDIR")) as scratch:
        directory = Path(scratch)
        tool = directory / "dkp-fips-tool"
        build_tool(forge.trust_directory, tool)
        yield from _first_output(forge, tool, directory)
        yield from _validation(forge, tool, directory)


def _first_output(forge: Forge, tool: Path, directory: Path) -> Iterator[Figure]:
    root = directory / "small"
    root.mkdir()
    manifest = _sign(forge, roots.make(root), directory / "small.asc")
    for python in PYTHONS[:2]:
        start = [python, *ISOLATED]
        for name, arguments in {"--version": ["--version"], "a report": ["--root", str(root), str(manifest)]}.items():
            ours, naming = ([*start, "-c", _UP_TO_OUTPUT, word, str(tool), *arguments] for word in ("run", "names"))
            imported = subprocess.run(naming, capture_output=True, text=True, check=True).stdout
            theirs = [*start, "-c", _IMPORT, imported]
            # Processor time, and the least of many runs: what the machine does besides is not counted.
            pairs = [(_cpu_seconds(ours), _cpu_seconds(theirs)) for _ in range(ROUNDS)]
            best = [min(column) * 1000 for column in zip(*pairs, strict=True)]
            version = subprocess.run([python, "-V"], capture_output=True, text=True, check=True).stdout.strip()
            detail = f"{version}; at best {best[0]:.0f} ms of CPU, {len(imported.split())} imports {best[1]:.0f} ms"
            yield Figure(f"first output of {name} / the same imports", best[0] / best[1], "x", 2.2, detail)


def _cpu_seconds(command: list[str]) -> float:
    """Return the processor time of a process and of its children."""
    process = os.posix_spawn(
        command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)]
    )
    _, status, used = os.wait4(process, 0)
    assert status == 0
    return used.ru_utime + used.ru_stime


def _validation(forge: Forge, tool: Path, directory: Path) -> Iterator[Figure]:
    root = directory / "root"
    manifest = _sign(forge, _node(root), directory / "manifest.asc")
    files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    size = sum(path.stat().st_size for path in files)
    # Each core hashes its share of the files in one process.
    listed = directory / "files"
    listed.write_bytes(b"".join(os.fsencode(path) + b"\0" for path in files))
    share = -(-len(files) // (os.cpu_count() or 1))
    floor = f"xargs -0 -n {share} -P $(nproc) openssl dgst -sha256 <{shlex.quote(str(listed))}"

    def hashing() -> Run:
        return run(["bash", "-c", floor], os.environ, directory)

    def validating() -> Run:
        return run(["sh", tool, "--json", "--root", root, manifest], os.environ, directory)

    hashing()
    ratio, ours, theirs = paired(validating, hashing, rounds=5)
    detail = (
        f"{size / 1e9:.1f} GB in {len(files)} files; ours {ours.wall:.2f} s ({ours.cpu:.1f} s of CPU), "
        f"openssl {theirs.wall:.2f} s ({theirs.cpu:.1f} s of CPU); load {os.getloadavg()[0]:.1f}"
    )
    yield Figure("validation / openssl dgst -sha256, one process a core", ratio, "x", 1.15, detail)
    yield Figure("CPU of a validation / CPU of openssl", ours.cpu / theirs.cpu, "x", 1.15, detail)
    yield Figure("peak memory of a validation", ours.peak / 2**20, "MiB", 64, detail)
    yield Figure("bytes that a validation reads / bytes of the files", ours.read / size, "x", 1.01, detail)


def _node(root: Path) -> dict[str, Any]:
    """Make a node of real programs: half of the bytes in packages, a quarter each in layers packed and unpacked."""
    manifest = roots.make(root)
    programs = cycle([goprograms.build(f"pad{pad}", pad=pad) for pad in PADS])
    (root / "opt/cni/bin").mkdir(parents=True)
    for directory in (STORE, SNAPSHOTS):
        (root / directory).mkdir(parents=True)
    size = 0
    while size < TOTAL // 2:
        path = f"/opt/cni/bin/program-{len(manifest['files'])}"
        shutil.copyfile(next(programs), root / path[1:])
        manifest["files"].append(roots.file_entry(root, path, component="kubelet"))
        size += manifest["files"][-1]["size"]
    while size < TOTAL:
        number = len(manifest["images"]) // 2 + 1
        program = next(programs)
        layer = _blob(root, program.read_bytes() + b"%d" % number)
        unpacked = root / SNAPSHOTS / str(number) / "fs" / f"program-{number}"
        unpacked.parent.mkdir(parents=True)
        shutil.copyfile(program, unpacked)
        entry = roots.file_entry(unpacked.parent, f"/{unpacked.name}", component="kubelet")
        # Two images of the same layer.
        for tag in "ab":
            documents = [_blob(root, f"{kind} {number} {tag}".encode()) for kind in ("index", "manifest", "config")]
            platform = {"architecture": "x86_64", "manifest": documents[1], "config": documents[2], "files": [entry]}
            image = {"reference": f"example.com/kubelet-{number}:{tag}", "component": "kubelet", "index": documents[0]}
            manifest["images"].append({**image, "platforms": [{**platform, "layers": [layer]}]})
        size += 2 * entry["size"]
    return manifest


def _blob(root: Path, content: bytes) -> str:
    place = root / STORE / "new"
    place.write_bytes(content)
    digest = roots.sha256(place)
    place.rename(root / STORE / digest)
    return f"sha256:{digest}"


def _sign(forge: Forge, manifest: dict[str, Any], path: Path) -> Path:
    path.write_bytes(forge.clearsign(roots.payload_of(manifest)))
    return path
