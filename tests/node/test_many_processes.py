"""A node with 50,000 processes: a /proc of directories and links, as no test machine has so many of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fipsmanifest
from tests.node.test_report import HOST
from tests.support import roots, schemas

PROCESSES = 50_000
OWN = range(8, PROCESSES + 1, 8)

#: Checks below that /proc, and prints what it found, with the seconds of processor time and the peak memory in KiB.
RUN = """
import json, sys, time
sys.path[:0] = [sys.argv[1]]
from fipsmanifest.node import report
from fipsmanifest.node.checks import processes, procfs
from fipsmanifest.node.result import Listed, Node, verdict
procfs.PROC = sys.argv[2]
manifest, host = json.loads(sys.argv[3]), json.loads(sys.argv[4])
found = processes.check(Node("/", True, "worker"), [Listed("m.asc", manifest)])
made = report.Report(verdict(found, True), "live", host, [], found, [])
written = [report.to_json(made), report.to_text(made), report.to_junit(made)]
# Not getrusage: what it tells begins at the memory of the process that started this one.
with open("/proc/self/status") as status:
    peak = int(status.read().partition("VmHWM:")[2].split()[0])
used = [time.process_time(), peak]
print(json.dumps(written + used))
"""


@pytest.fixture(scope="module")
def proc() -> Iterator[Path]:
    """Most run something else; every eighth is a kubelet in a container of its own, and one of them another program."""
    # In memory, for there are 120,000 files.
    with tempfile.TemporaryDirectory(dir="/dev/shm") as temporary:
        directory = Path(temporary)
        for program, content in {"other": b"other", "kubelet": b"kubelet", "changed/kubelet": b"changed"}.items():
            (directory / program).parent.mkdir(exist_ok=True)
            (directory / program).write_bytes(content)
        for pid in range(1, PROCESSES + 1):
            one = directory / "proc" / str(pid)
            one.mkdir(parents=True)
            program = "kubelet" if pid in OWN else "other"
            (one / "exe").symlink_to(directory / ("changed/kubelet" if pid == OWN[0] else program))
            if pid in OWN:
                (one / "cgroup").write_text(f"0::/kubepods/pod{'a' * 32}/{pid:064x}\n")
        (directory / "proc/self").mkdir()
        (directory / "proc/self/mountinfo").write_text("")
        yield directory


def test_they_are_checked_in_bounded_time_and_memory_and_failures_come_first(proc: Path) -> None:
    path = str(proc / "kubelet")
    file = {"path": path, "role": "program", "sha256": roots.sha256(proc / "kubelet"), "component": "kubelet"}
    manifest = {"files": [file], "node": {"roles": {"worker": ["kubelet"]}}}
    packages = str(Path(fipsmanifest.__file__).parents[1])
    command = [sys.executable, "-c", RUN, packages, str(proc / "proc"), json.dumps(manifest), json.dumps(HOST)]

    done = subprocess.run(command, capture_output=True, text=True, check=True)

    *written, seconds, peak = json.loads(done.stdout)
    report: dict[str, Any] = json.loads(written[0])
    schemas.validate(report, schemas.NODE)
    first, second, third = report["checks"][:3]
    assert (report["verdict"], first["status"], first["evidence"]["pids"]) == ("invalid", "fail", [OWN[0]])
    # So many different ones run nowhere: the rest is unknown, and never a pass.
    assert (third["subject"], third["status"]) == ("beyond", "unknown")
    assert third["evidence"]["count"] == len(OWN) - 5000
    # No database of containerd's says whose containers these are.
    assert (second["evidence"]["code"], second["evidence"]["count"]) == ("pod-unknown", len(OWN))
    assert report["truncated"] and report["summary"] == {"pass": 4999, "fail": 1, "unknown": 2, "not-applicable": 0}
    assert all(len(text) < 1048576 and "changed/kubelet" in text for text in written)
    assert seconds < 60 and peak < 64 * 1024
