"""What it takes to export 10,000 programs in each format: seconds of processor time, and memory."""

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
        directory = Path(scratch)
        environment = {"PATH": os.environ["PATH"], "HOME": scratch, "XDG_STATE_HOME": scratch}
        for kind, document in {"manifest": _manifest(), "inspection": _inspection()}.items():
            source = directory / f"{kind}.json"
            source.write_text(json.dumps(document, indent=2, sort_keys=True))
            for name, form in FORMATS.items():
                if kind not in form.takes or (kind == "inspection" and name not in _OF_INSPECTIONS):
                    continue
                command: list[str | Path] = [PROGRAM, "export", name, source, "--output", directory / "exported"]
                runs = [run(command, environment, directory) for _ in range(ROUNDS)]
                detail = f"{FILES} files, {(directory / 'exported').stat().st_size / 1e6:.1f} MB"
                # Of the processor: it does not depend on what else runs.
                yield Figure(f"export {name} of the {kind}", min(one.cpu for one in runs), "s", 2, detail)
                peak = max(one.peak for one in runs) / 1e6
                yield Figure(f"export {name} of the {kind}: memory", peak, "MB", 200, detail)


#: The formats that a gate's results are written in.
_OF_INSPECTIONS = ("cyclonedx", "html", "sarif")


def _manifest() -> dict[str, object]:
    """Return a manifest of programs, every second of which is not proven: formats for failures list those alone."""
    made = samples.manifest()
    program = next(file for file in made["files"] if file.get("crypto"))
    proven = {**program["crypto"], "evidence": {**samples.EVIDENCE, "code": "module-proven"}}
    plain = {
        "verdict": "plain",
        "evidence": {"code": "plain-crypto", "beside_module": samples.EVIDENCE["beside_module"]},
    }
    made["files"] = [
        {
            **program,
            "path": f"/usr/bin/{number:06d}",
            "sha256": f"{number:064x}",
            "crypto": plain if number % 2 else proven,
        }
        for number in range(FILES)
    ]
    return made


def _inspection() -> dict[str, object]:
    """Return the result of a gate for the same programs, which refuses each that is not proven."""
    listed = _manifest()["files"]
    assert isinstance(listed, list)
    kept = ("path", "sha256", "size", "architecture", "go", "crypto")
    files = [{key: file[key] for key in kept} | {"sentence": "Described in a sentence."} for file in listed]
    refused = [file for file in files if file["crypto"] is not listed[0]["crypto"]]
    error = {"code": 5, "message": "It is 'plain'.", "advice": "Build it with goboring.", "container": None}
    return samples.inspection(
        files=files, errors=[{**error, "path": file["path"], "verdict": "plain"} for file in refused]
    )
