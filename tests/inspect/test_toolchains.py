"""One program by every toolchain that links another module: real builds, their verdicts written down beforehand.

Digests and version strings were measured on such programs with openssl, dd and ``go version -m``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
from examples.upstream import goprograms

from fipsmanifest.inspect.inspector import look
from fipsmanifest.inspect.source import Buffer
from fipsmanifest.inspect.table import Table, load

from . import edits, toolchains
from .derive_modules import derive
from .test_buildinfo import as_go_prints_it

TABLE = load()


@dataclass(frozen=True)
class Expected:
    """What must be found in a program."""

    verdict: str
    code: str
    version: str
    """As ``go version -m`` prints it."""
    machine: str = "x86_64"
    module: str | None = None
    digest: str = ""


MODULE_2019 = "18d35ae031f649825a4269d68d2e62583d060a31d359690f97b9c8bf8120cdf7"
MODULE_2022 = "2a218ae635bf1cd56624875de07c6571cde7367369f1d865cb9898158edf8b81"
MODULE_2021_ARM64 = "9302ea1acc555934fa2f5ba8cd60719d913a2662a887a1b233483285f648f44d"
MODULE_2022_ARM64 = "9094627e2bd03d962ba1d0c4420a1da9e1ae55caef8ede7b68028d7a4a71f161"

NATIVE = {"GOFIPS140": "v1.0.0"}

MATRIX: dict[str, tuple[Callable[[], Path], Expected]] = {
    "go1.19": (
        partial(toolchains.build, toolchains.DEBIAN_GO_1_19),
        Expected(
            "proven",
            "module-proven",
            "go1.19.8 X:boringcrypto",
            module="boringcrypto-20190808-x86_64",
            digest=MODULE_2019,
        ),
    ),
    "go1.24 -s -w": (
        partial(toolchains.build, toolchains.GO_1_24, ldflags="-s -w"),
        Expected(
            "proven",
            "module-proven",
            "go1.24.3 X:boringcrypto",
            module="boringcrypto-20220613-x86_64",
            digest=MODULE_2022,
        ),
    ),
    "go1.27": (
        partial(toolchains.build, toolchains.GO_1_27),
        Expected(
            "proven",
            "module-proven",
            "go1.27.3-X:boringcrypto",
            module="boringcrypto-20220613-x86_64",
            digest=MODULE_2022,
        ),
    ),
    "go1.21 arm64": (
        lambda: toolchains.build_arm64(goprograms.goroot()),
        Expected(
            "proven",
            "module-proven",
            "go1.21.13 X:boringcrypto",
            machine="aarch64",
            module="boringcrypto-20210429-aarch64",
            digest=MODULE_2021_ARM64,
        ),
    ),
    "go1.24 arm64": (
        partial(toolchains.build_arm64, toolchains.GO_1_24),
        Expected(
            "proven",
            "module-proven",
            "go1.24.3 X:boringcrypto",
            machine="aarch64",
            module="boringcrypto-20220613-aarch64",
            digest=MODULE_2022_ARM64,
        ),
    ),
    "go1.24 GOFIPS140=v1.0.0": (
        partial(toolchains.build, toolchains.GO_1_24, boring=False, **NATIVE),
        Expected("other-module", "go-native", "go1.24.3"),
    ),
    "go1.24 plain": (
        partial(toolchains.build, toolchains.GO_1_24, boring=False),
        Expected("plain", "plain-crypto", "go1.24.3"),
    ),
}


GO_1_19 = pytest.param("go1.19", marks=toolchains.on_debian_12)


@pytest.mark.parametrize("name", [GO_1_19, *list(MATRIX)[1:]])
def test_a_real_build_of_another_toolchain_gets_its_verdict(name: str) -> None:
    program, expected = MATRIX[name]
    path = program()
    looked = look(Buffer(path.read_bytes()), TABLE)
    assert (str(looked.crypto.verdict), looked.crypto.evidence["code"]) == (expected.verdict, expected.code), looked
    assert looked.elf is not None
    assert looked.elf.machine == expected.machine
    assert looked.go is not None
    assert looked.go.version == expected.version
    assert looked.go == as_go_prints_it(path)
    if expected.module is not None:
        assert looked.crypto.module is not None
        assert looked.crypto.module.id == expected.module
        assert looked.crypto.module.digest.startswith(expected.digest)


def test_the_native_module_is_named_with_its_version() -> None:
    path = MATRIX["go1.24 GOFIPS140=v1.0.0"][0]()
    crypto = look(Buffer(path.read_bytes()), TABLE).crypto
    assert crypto.module is not None
    assert crypto.module.name == "Go Cryptographic Module v1.0.0"
    assert crypto.module.row is None


@pytest.mark.parametrize("name", [GO_1_19, "go1.24 -s -w", "go1.21 arm64", "go1.24 arm64"])
def test_one_changed_bit_denies_each_module(name: str) -> None:
    program, expected = MATRIX[name]
    data = program().read_bytes()
    crypto = look(Buffer(data), TABLE).crypto
    start = crypto.evidence["offset"]
    row = TABLE.row(expected.module or "")
    assert isinstance(start, int)
    assert row is not None
    for place in (0, row.text_length // 2, row.text_length - 1):
        changed = look(Buffer(edits.flip(data, start + place)), TABLE).crypto
        assert (str(changed.verdict), changed.module) == ("contradicted", None), (place, changed)


@pytest.mark.parametrize("name", [GO_1_19, "go1.24 -s -w", "go1.21 arm64", "go1.24 arm64"])
def test_a_module_that_the_table_does_not_know_is_found_by_its_own_bounds(name: str) -> None:
    # No symbols are needed: the program of Go 1.24 has none.
    program, expected = MATRIX[name]
    row = TABLE.row(expected.module or "")
    assert row is not None
    crypto = look(
        Buffer(program().read_bytes()), Table(tuple(item for item in TABLE.rows if item.commit != row.commit))
    ).crypto
    assert (str(crypto.verdict), crypto.evidence["code"]) == ("unlisted", "module-unknown"), crypto
    assert (crypto.evidence["length"], crypto.evidence["algorithm"]) == (row.text_length, row.algorithm)
    assert str(crypto.evidence["digest"]).startswith(expected.digest)


@pytest.mark.parametrize(
    "root",
    [
        pytest.param(toolchains.DEBIAN_GO_1_19, id="go1.19", marks=toolchains.on_debian_12),
        pytest.param(toolchains.GO_1_24, id="go1.24"),
        pytest.param(toolchains.GO_1_27, id="go1.27"),
    ],
)
def test_the_shipped_rows_are_derived_again_exactly(root: Path) -> None:
    derived = derive(root)
    assert derived
    for row in derived:
        shipped = TABLE.row(row.id)
        assert shipped is not None
        assert replace(shipped, seen_in=(), certificates=()) == row
