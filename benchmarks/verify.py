"""What a verification takes beyond the gpgv call inside it: for the command line, and for the node tool's verifier."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.support.forge import PYTHONS, Forge, opened, payload

from fipsmanifest.generate.tool import build_tool

from .measure import Figure, run

PROGRAM = Path(sys.executable).with_name("fipsmanifest")
ROUNDS = 15

#: Verifies in one process, as the node tool does, and prints the seconds of each round: all of it, and gpgv's part.
_IN_PROCESS = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
from fipsmanifest.trust import gpgv, store, verify
with open(sys.argv[3], "rb") as file:
    data = file.read()
keys, run, inside, rounds = store.load_trust(sys.argv[2]), gpgv.run, [], []
def timed(*words):
    begin = time.perf_counter()
    try:
        return run(*words)
    finally:
        inside.append(time.perf_counter() - begin)
gpgv.run = timed
for _ in range(int(sys.argv[4])):
    begin = time.perf_counter()
    verify.verify_cleartext(data, keys)
    rounds.append((time.perf_counter() - begin, inside[-1]))
print(sys.version.split()[0], json.dumps(rounds))
"""


def figures() -> Iterator[Figure]:
    """Measure a manifest of 1 MB."""
    with opened() as forge, tempfile.TemporaryDirectory(prefix="fm") as scratch:
        directory = Path(scratch)
        manifest = directory / "manifest-rhel8.json.asc"
        manifest.write_bytes(forge.clearsign(_manifest()))
        size = f"{manifest.stat().st_size / 1e6:.1f} MB"
        yield _command_line(forge, manifest, size)
        yield _node_tool(forge, manifest, size)


def _manifest() -> bytes:
    files = [
        {
            "path": f"/usr/share/doc/kubernetes/{number:06d}",
            "type": "file",
            "role": "doc",
            "sha256": f"{number:064x}",
            "size": number,
            "mode": "0644",
            "component": "kubelet",
            "architecture": "x86_64",
        }
        for number in range(3500)
    ]
    return payload(files=files)


def _command_line(forge: Forge, manifest: Path, size: str) -> Figure:
    directory = manifest.parent
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "XDG_STATE_HOME": str(directory)}
    keyring = directory / "keyring.gpg"
    keyring.write_bytes(forge.trust().keyring())
    pairs = [
        (
            run([PROGRAM, "verify", manifest, "--keys", forge.trust_directory], environment, directory).wall,
            run(["gpgv", "--keyring", keyring, "--output", os.devnull, manifest], environment, directory).wall,
        )
        for _ in range(ROUNDS)
    ]
    return _figure("fipsmanifest verify, beyond gpgv", pairs, 150, size)


def _node_tool(forge: Forge, manifest: Path, size: str) -> Figure:
    tool = manifest.parent / "dkp-fips-tool"
    build_tool(forge.trust_directory, tool)
    oldest = next((python for python in PYTHONS if "/3.6." in python), sys.executable)
    words = [oldest, "-I", "-S", "-B", "-c", _IN_PROCESS, str(tool), str(forge.trust_directory), str(manifest)]
    said = subprocess.run([*words, str(ROUNDS)], capture_output=True, text=True, check=True).stdout
    version, _, rounds = said.partition(" ")
    return _figure("the node tool's verification, beyond gpgv", json.loads(rounds), 100, f"{size}, Python {version}")


def _figure(name: str, pairs: list[tuple[float, float]], bound: float, what: str) -> Figure:
    """Return the median of the differences, in milliseconds; the two were taken in turn, so that both drift alike."""
    ours, gpgv = (statistics.median(column) * 1000 for column in zip(*pairs, strict=True))
    more = statistics.median(a - b for a, b in pairs) * 1000
    return Figure(name, more, "ms", bound, f"{what}; ours {ours:.0f} ms, gpgv {gpgv:.0f} ms")
