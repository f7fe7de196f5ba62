"""Run the benchmarks: ``python -m benchmarks [NAME...]``. Prints each figure beside its bound, and keeps JSON.

Exits with 1 where a figure is beyond its bound. They are not tests: a busy machine is not a defect.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

from .measure import Figure

NAMES = ("startup", "inspect", "verify", "release", "audit", "node", "cluster", "export")
RESULTS = Path(__file__).with_name("results")


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all."""
    unknown = set(names) - set(NAMES)
    if unknown:
        print(f"no benchmark named {', '.join(sorted(unknown))}; there are: {', '.join(NAMES)}", file=sys.stderr)
        return 2
    found: list[Figure] = []
    for name in names or NAMES:
        for figure in importlib.import_module(f"benchmarks.{name}").figures():
            mark = "ok  " if figure.holds else "OVER"
            print(f"{mark} {figure.name}: {figure.value:.2f} {figure.unit} (bound {figure.bound:g}; {figure.detail})")
            found.append(figure)
    RESULTS.mkdir(exist_ok=True)
    document = json.dumps([figure.to_json() for figure in found], indent=2)
    (RESULTS / "latest.json").write_text(document + "\n")
    return 0 if all(figure.holds for figure in found) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
