"""What it takes to export a manifest of 10,000 files in each format: seconds of processor time, and memory."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.export import samples

from fipsmanifest.export.formats import FORMATS

from .measure import Figure, run

PROGRAM = Path(sys.executable).with_name("fipsmanifest")
FILES = 10_000
ROUNDS = 3


def figures() -> Iterator[Figure]:
    """Measure each format by the command line, the start of Python with it."""
    with tempfile.TemporaryDirectory(prefix="fm") as scratch:
        folder = Path(scratch)
        manifest = folder / "manifest-rhel8.json"
        manifest.write_text(json.dumps(_manifest(), indent=2, sort_keys=True))
        environment = {"PATH": os.environ["PATH"], "HOME": scratch, "XDG_STATE_HOME": scratch}
        for name, form in FORMATS.items():
            if "manifest" not in form.takes:
                continue
            command: list[str | Path] = [PROGRAM, "export", name, manifest, "--output", folder / "exported"]
            runs = [run(command, environment, folder) for _ in range(ROUNDS)]
            detail = f"{FILES} files, {(folder / 'exported').stat().st_size / 1e6:.1f} MB"
            # Of the processor: it does not depend on what else runs.
            yield Figure(f"export {name}", min(one.cpu for one in runs), "s", 2, detail)
            yield Figure(f"export {name}: memory", max(one.peak for one in runs) / 1e6, "MB", 200, detail)


def _manifest() -> dict[str, object]:
    """Return a manifest most of whose files are programs, which every format lists one by one."""
    made = samples.manifest()
    program = next(file for file in made["files"] if file.get("crypto"))
    made["files"] = [
        {**program, "path": f"/usr/bin/{number:06d}", "sha256": f"{number:064x}"} for number in range(FILES)
    ]
    return made
