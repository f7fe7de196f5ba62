"""Every reader of hostile bytes under changed real inputs: no crash, no hang, bounded memory.

A test run spends half a second on each, ``make fuzz`` spends ``FIPSMANIFEST_FUZZ_SECONDS``. The inputs follow from
``FIPSMANIFEST_FUZZ_SEED`` alone, which pytest shows with ``-rP`` or in a failure.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fipsmanifest.errors import FipsManifestError

from .seeds import Seed, seeds_of
from .targets import TARGETS

TOP = Path(__file__).parents[2]
SECONDS = float(os.environ.get("FIPSMANIFEST_FUZZ_SECONDS", "0.5"))
SEED = os.environ.get("FIPSMANIFEST_FUZZ_SEED", "1")


@pytest.mark.fuzz
@pytest.mark.timeout(SECONDS * 3 + 120)
@pytest.mark.parametrize("target", TARGETS)
def test_a_reader_refuses_what_it_cannot_read(target: str, tmp_path: Path) -> None:
    write(tmp_path, seeds_of(target, tmp_path))
    done = fuzz(target, tmp_path)
    sys.stdout.write(done.stdout)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\nthe input is {tmp_path / 'finding'}"
    told = json.loads(done.stdout)
    assert told["inputs"] > 0


def test_every_seed_is_read_as_it_is(tmp_path: Path) -> None:
    # Else the changes would only ever test the first refusal.
    for target, reader in TARGETS.items():
        directory = tmp_path / target
        directory.mkdir()
        read = 0
        for seed in seeds_of(target, directory):
            with contextlib.suppress(FipsManifestError):
                reader(seed.data)
                read += 1
        assert read, target


@pytest.mark.parametrize(
    ("reader", "said"),
    [
        ("{}[data]", "KeyError"),
        ("bytes(1 << 30)", "MemoryError"),
        ("all(iter(lambda: True, False))", "more than 2.0 s"),
    ],
)
def test_the_worker_tells_of_what_breaks_and_keeps_the_input(tmp_path: Path, reader: str, said: str) -> None:
    write(tmp_path, [Seed(b"{}", [])])
    code = f"""
import sys
from pathlib import Path
from tests.fuzz import worker
worker.TARGETS["broken"] = lambda data: {reader}
sys.exit(worker.main("broken", Path(sys.argv[1]), "1", 1))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], cwd=TOP, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert said in done.stdout
    assert (tmp_path / "finding").exists()


def write(directory: Path, seeds: list[Seed]) -> None:
    for number, seed in enumerate(seeds):
        (directory / f"{number}.seed").write_bytes(seed.data)
        (directory / f"{number}.hot").write_text(json.dumps(seed.hot))


def fuzz(target: str, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.fuzz.worker", target, directory, SEED, str(SECONDS)],
        cwd=TOP,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS * 2 + 60,
    )
