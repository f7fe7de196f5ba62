"""How a figure is made: whole processes in turn, the operating system's own accounting, medians of ratios."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Run:
    """One finished process."""

    wall: float
    """Seconds."""
    cpu: float
    """Seconds of all its threads and children, user and system."""
    peak: int
    """Bytes resident at the most, of its largest process."""
    read: int
    """Bytes that it read itself, from the page cache or anywhere else; its children's are not counted."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One result, beside what it is measured against."""

    name: str
    """What was measured, in words."""
    value: float
    """The ratio or amount."""
    unit: str
    """``x`` for a ratio, ``s``, ``MiB``."""
    bound: float
    """The most that it may be."""
    detail: str
    """The figures behind it."""

    @property
    def holds(self) -> bool:
        """Return whether it is within its bound."""
        return self.value <= self.bound

    def to_json(self) -> dict[str, object]:
        """Return it as a JSON object."""
        return {**asdict(self), "holds": self.holds}


#: Starts a command and reports what it used. A process of its own, because a child's peak memory as the system accounts
#: it begins at its parent's, and a benchmark that has just made half a gigabyte of artifacts is no small parent.
_METER = """
import json, os, subprocess, sys, time
started = time.perf_counter()
process = subprocess.Popen(sys.argv[2:])
os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
wall = time.perf_counter() - started
with open(f"/proc/{process.pid}/io") as file:
    read = int(file.readline().split()[1])
_, status, usage = os.wait4(process.pid, 0)
with open(sys.argv[1], "w") as file:
    used = [usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, read]
    json.dump([os.waitstatus_to_exitcode(status), wall, *used], file)
"""


def run(command: Sequence[str | Path], environment: Mapping[str, str], directory: Path) -> Run:
    """Run a command and wait for it; raises `subprocess.CalledProcessError` where it fails."""
    log, told = directory / "last-run.log", directory / "last-run.json"
    words = [str(word) for word in command]
    with log.open("wb") as output:
        meter = [sys.executable, "-I", "-S", "-c", _METER, str(told), *words]
        subprocess.run(meter, env=dict(environment), cwd=directory, stdout=output, stderr=output, check=True)
    code, *used = json.loads(told.read_text())
    if code != 0:
        raise subprocess.CalledProcessError(code, words, log.read_bytes())
    return Run(*used)


def paired(ours: Callable[[], Run], theirs: Callable[[], Run], rounds: int = 3) -> tuple[float, Run, Run]:
    """Run the two in turn, A B A B, and return the median of the ratios with both medians.

    In turn, so that a machine whose speed drifts slows both.
    """
    pairs = [(ours(), theirs()) for _ in range(rounds)]
    ratio = statistics.median(a.wall / b.wall for a, b in pairs)
    return ratio, _median([a for a, _ in pairs]), _median([b for _, b in pairs])


def _median(runs: Sequence[Run]) -> Run:
    return Run(
        statistics.median(run.wall for run in runs),
        statistics.median(run.cpu for run in runs),
        max(run.peak for run in runs),
        max(run.read for run in runs),
    )
