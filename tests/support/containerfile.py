"""The steps of the Containerfile, run without a container engine."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path

_TOP = Path(__file__).parents[2]
_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"


def run(view: Path, then: str) -> subprocess.CompletedProcess[str]:
    """Run the steps in a copy-on-write view of this machine, which has a Python as the base image has, then a script.

    In the script, ``run`` runs a command as the image does, ``ENTRYPOINT`` is the image's program, and ``ROOT`` the
    directory where its root is. ``view`` is a directory to make.
    """
    (word, _), *steps = _steps((_TOP / "Containerfile").read_text())
    assert word == "FROM"
    script = ["set -eux", "umask 022", f"mkdir {view}", f"mount -t tmpfs none {view}"]
    script.append(f"mkdir {view}/upper {view}/work {view}/root")
    script.append(f"mount -t overlay none -o lowerdir=/,upperdir={view}/upper,workdir={view}/work {view}/root")
    script += [f"mount --bind /{name} {view}/root/{name}" for name in ("proc", "dev")]
    for word, rest in steps:
        match word:
            case "RUN":
                script.append(f"chroot {view}/root /bin/sh -c {shlex.quote(rest)}")
            case "COPY":
                *sources, target = rest.split()
                script.append(f"mkdir -p {view}/root{target if target.endswith('/') else Path(target).parent}")
                script += [f"cp -r {_TOP / source} {view}/root{target}" for source in sources]
            case "ENV":
                script.append(f"export {rest}")
            case "USER":
                script.append(f'run() {{ chroot --userspec={rest} {view}/root "$@"; }}')
            case "WORKDIR":
                script.append(f"mkdir -p {view}/root{rest}")
            case "ENTRYPOINT":
                script.append(f"ENTRYPOINT={shlex.quote(shlex.join(json.loads(rest)))}")
            case _:
                raise AssertionError(f"unknown step {word}")
    return subprocess.run(
        ["unshare", "--mount", "bash", "-c", "\n".join([*script, f"ROOT={view}/root", then])],
        env=os.environ | {"PATH": _PATH},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def _steps(text: str) -> list[tuple[str, str]]:
    """Return a Containerfile's instructions, each with its arguments."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#")).replace("\\\n", " ")
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in lines.splitlines() if line.strip()]
