"""How systemd itself reads unit files: its manager in test mode loads them, starts nothing and prints them."""

from __future__ import annotations

import ctypes
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


def _strings(found: int | None) -> list[bytes]:
    strings = ctypes.cast(found or 0, ctypes.POINTER(ctypes.c_char_p))
    return list(iter(iter(strings).__next__, None)) if found else []


def _library() -> ctypes.CDLL:
    """Return the functions that systemd's manager shares with its other programs."""
    return ctypes.CDLL(str(next(Path("/usr/lib").glob("*/systemd/libsystemd-shared-*.so"))))


def read_environment_file(path: Path) -> list[bytes] | None:
    """Return the variables that systemd reads in a file, in their order; None where it refuses the file."""
    found = ctypes.c_void_p()
    result = _library().load_env_file(None, os.fsencode(path), ctypes.byref(found))
    return None if result < 0 else _strings(found.value)


def replace_variables(words: list[bytes], environment: list[bytes]) -> list[bytes]:
    """Return a command's words with variables replaced."""
    replace = _library().replace_env_argv
    replace.restype = ctypes.c_void_p
    return _strings(replace(*((ctypes.c_char_p * (len(one) + 1))(*one, None) for one in (words, environment))))
