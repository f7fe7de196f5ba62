"""What other readers unpack of changed containers is among what this package judges (see `differential`).

A test run spends two seconds on each format; ``make fuzz`` spends ``FIPSMANIFEST_FUZZ_SECONDS``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from . import differential
from .peers import Found

TOP = Path(__file__).parents[2]
SECONDS = float(os.environ.get("FIPSMANIFEST_FUZZ_SECONDS", "2"))
SEED = os.environ.get("FIPSMANIFEST_FUZZ_SEED", "1")


@pytest.mark.fuzz
@pytest.mark.timeout(SECONDS * 3 + 180)
@pytest.mark.parametrize("form", ["zip", "cpio", "rpm", "ar", "gzip", "bzip2", "xz", "zstd"])
def test_no_peer_unpacks_what_was_not_judged(form: str) -> None:
    words = [sys.executable, "-m", "tests.fuzz.differential", form, SEED, str(SECONDS)]
    done = subprocess.run(words, cwd=TOP, capture_output=True, text=True, check=False)
    sys.stdout.write(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["compared"] > 0


@pytest.mark.parametrize("blind", ["names", "content"])
def test_a_reader_that_misses_something_is_found_out(blind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seeing = differential._read_zip

    def read(data: bytes) -> Found | None:
        found = seeing(data)
        if found is None:
            return None
        return {("/x", content) if blind == "names" else (name, "0" * 64) for name, content in found}

    monkeypatch.setattr(differential, "_read_zip", read)
    assert differential.main("zip", "1", 20) == 1
