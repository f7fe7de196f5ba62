"""One reader with hostile inputs, in a process of its own with bounded memory and time.

``python -m tests.fuzz.worker TARGET DIRECTORY SEED SECONDS`` passes changes of the files in DIRECTORY to the reader
until the seconds are over; ``... SEED:NUMBER`` in place of the seed repeats one input. Exits with 1 at the first
finding, which it describes, and leaves the input in DIRECTORY as ``finding``.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from fipsmanifest.errors import FipsManifestError

from .mutate import mutated
from .targets import TARGETS

#: What a single input may take: seconds of processor time, and bytes of address space for the whole process.
SECONDS = 2.0
MEMORY = 512 << 20


def main(target: str, directory: Path, seed: str, seconds: float) -> int:
    """Run, and return the exit code."""
    reader = TARGETS[target]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGPROF, _too_slow)
    slowest = 0.0
    done = accepted = 0
    for case, data in _inputs(directory, seed, seconds):
        # Kept before it is read: a reader that takes the process with it leaves its input behind.
        (directory / "finding").write_bytes(data)
        started = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            reader(data)
            accepted += 1
        except FipsManifestError:
            pass
        except Exception:  # noqa: BLE001 - whatever it is, it is a finding
            signal.setitimer(signal.ITIMER_PROF, 0)
            sys.stdout.write(f"finding in {target}: python -m tests.fuzz.worker {target} {directory} {case} 0\n")
            traceback.print_exc(file=sys.stdout)
            return 1
        signal.setitimer(signal.ITIMER_PROF, 0)
        slowest = max(slowest, time.process_time() - started)
        done += 1
    (directory / "finding").unlink(missing_ok=True)
    told = {"target": target, "seed": seed, "inputs": done, "accepted": accepted, "slowest": round(slowest, 3)}
    sys.stdout.write(json.dumps(told) + "\n")
    return 0


def _inputs(directory: Path, seed: str, seconds: float) -> Iterator[tuple[str, bytes]]:
    seeds = [
        (path.read_bytes(), json.loads(path.with_suffix(".hot").read_text()))
        for path in sorted(directory.glob("*.seed"))
    ]
    name, chosen, number = seed.partition(":")
    if chosen:
        data, hot = seeds[int(number) % len(seeds)]
        yield seed, mutated(data, f"{name}:{number}", hot)
        return
    ends = time.monotonic() + seconds
    count = 0
    while time.monotonic() < ends:
        data, hot = seeds[count % len(seeds)]
        yield f"{seed}:{count}", mutated(data, f"{seed}:{count}", hot)
        count += 1


def _too_slow(*_: object) -> None:
    sys.stdout.write(f"an input took more than {SECONDS} s of processor time; it was in:\n")
    traceback.print_stack(file=sys.stdout)
    sys.stdout.flush()
    # An exception could be caught by what is being tested.
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], float(sys.argv[4])))
