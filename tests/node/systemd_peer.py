"""How systemd itself reads unit files: its manager in test mode loads them, starts nothing and prints them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

MANAGER = next((path for path in ("/usr/lib/systemd/systemd", "/lib/systemd/systemd") if Path(path).exists()), "")

Dump = dict[str, list[str]]
"""A unit's properties; of a directive such as ``ExecStart`` the command lines, as systemd quotes them."""


def load(directories: Iterable[Path], names: Iterable[str], support: Path) -> dict[str, Dump]:
    """Return what systemd loads of the named units.

    The directories are systemd's search path, the most important one first; ``support`` is an empty directory for the
    targets that each unit refers to. Test mode does not run as root.
    """
    assert MANAGER, "systemd is not installed: scripts/system-packages test"
    wants = " ".join(names)
    for name in ("sysinit", "basic", "shutdown", "wanted"):
        wanted = f"Wants={wants}\n" if name == "wanted" else ""
        (support / f"{name}.target").write_text(f"[Unit]\nDefaultDependencies=no\n{wanted}")
    command = [MANAGER, "--test", "--system", "--unit", "wanted.target"]
    if os.geteuid() == 0:
        command = [str(shutil.which("setpriv")), "--reuid=65534", "--regid=65534", "--clear-groups", *command]
    environment = {"PATH": "/usr/bin:/bin", "SYSTEMD_UNIT_PATH": ":".join(map(str, [*directories, support]))}
    done = subprocess.run(command, env=environment, capture_output=True, timeout=120, check=False)
    text = done.stdout.decode("utf-8", "backslashreplace")
    assert "-> Unit wanted.target:" in text, done.stderr[-2000:]
    found = {}
    for block in re.split(r"^\t?-> Unit ", text, flags=re.MULTILINE)[1:]:
        name, _, rest = block.partition(":\n")
        found[name] = _properties(rest)
    return found


def _properties(block: str) -> Dump:
    found: Dump = {}
    directive = ""
    for line in block.splitlines():
        name, separator, value = line.strip().partition(": ")
        if name.startswith("-> "):
            directive = name.strip("->: ")
        elif name == "Command Line":
            found.setdefault(directive, []).append(value)
        elif separator:
            found.setdefault(name, []).append(value)
    return found
