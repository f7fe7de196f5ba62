"""Take the pictures of the documentation from what `make demo` left: ``python -m scripts.screenshots``.

Pages are shown by a real Chromium, the terminal's output by rich. Run it when they look different.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text
from tests.support.browser import Chromium

TOP = Path(__file__).parents[1]
DEMO = TOP / "demo"
IMAGES = TOP / "docs" / "images"

#: Pixels, and characters of the terminal.
_WIDTH, _HEIGHT, _COLUMNS = 1120, 640, 120

#: One that a gate passes, and one that it refuses.
_PROGRAMS = ("demo/root-rhel8/usr/bin/kubelet", "demo/root-rhel8/usr/bin/crictl")

#: Bytes of all pictures together.
MOST = 400_000


def main() -> int:
    """Write the pictures into docs/images."""
    if not (DEMO / "bucket/index.html").exists():
        sys.stderr.write("There is no demo/bucket: run make demo first.\n")
        return 4
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, Chromium() as browser:
        report = Path(scratch, "report.html")
        _run("inspect", "--require", "proven", "--html", str(report), *_PROGRAMS)
        for name, page in (("bucket", DEMO / "bucket/index.html"), ("report", report)):
            browser.open(page, width=_WIDTH, dark=False)
            browser.screenshot(IMAGES / f"{name}.png", height=_HEIGHT)
    manifest = "demo/bucket/tool/manifests/v1.21.3/manifest-rhel8.json.asc"
    commands = (
        ("inspect", "--require", "proven", *_PROGRAMS),
        ("verify", "--no-state", "--keys", "demo/keys", manifest),
    )
    (IMAGES / "terminal.svg").write_text(_terminal(commands))
    sizes = {path.name: path.stat().st_size for path in sorted(IMAGES.iterdir())}
    sys.stdout.write(", ".join(f"{name} {size}" for name, size in sizes.items()) + "\n")
    return 0 if sum(sizes.values()) <= MOST else 1


def _terminal(commands: tuple[tuple[str, ...], ...]) -> str:
    """Return the commands with what they print, as a terminal shows them."""
    console = Console(record=True, width=_COLUMNS, file=io.StringIO(), color_system="truecolor", legacy_windows=False)
    for words in commands:
        console.print(Text.assemble(("$ ", "bold green"), ("fipsmanifest " + " ".join(words), "bold")))
        console.print(Text(_run(*words)))
    svg = console.export_svg(title="fipsmanifest")
    # The documentation asks no other server, which rich's fonts would.
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)


def _run(*words: str) -> str:
    program = Path(sys.executable).with_name("fipsmanifest")
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "COLUMNS": str(_COLUMNS)}
    done = subprocess.run(
        [program, *words],
        cwd=TOP,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
