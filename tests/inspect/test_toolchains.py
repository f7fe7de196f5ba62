"""The shipped rows against the module objects of one trusted toolchain of each release."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fipsmanifest.inspect.inspector import analyze
from fipsmanifest.inspect.source import Buffer
from fipsmanifest.inspect.table import load
from tests.support import toolchains

from .derive_modules import derive
from .matrix import GO_1_21, OTHERS

TABLE = load()
FROM_PYPI = (
    GO_1_21,
    toolchains.GO_1_22,
    toolchains.GO_1_23,
    toolchains.GO_1_24,
    toolchains.GO_1_25,
    toolchains.GO_1_26,
    toolchains.GO_1_27,
)


def test_the_shipped_rows_and_the_releases_they_name_are_derived_again_exactly() -> None:
    derived = derive(FROM_PYPI)
    assert len(derived) == 4
    assert derived == [replace(row, certificates=()) for row in TABLE.rows if row.tag != "fips-20190808"]


@toolchains.on_debian_12
def test_the_row_of_2019_is_derived_again_exactly() -> None:
    derived = derive([toolchains.DEBIAN_GO_1_19])
    assert derived == [replace(row, certificates=()) for row in TABLE.rows if row.tag == "fips-20190808"]


@pytest.mark.parametrize(("version", "row"), [("v1.0.0", "shipped"), ("latest", None)])
def test_the_native_module_is_named_with_its_version(version: str, row: str | None) -> None:
    crypto = analyze(Buffer(OTHERS[f"go1.24 GOFIPS140={version}"].data), TABLE).crypto
    assert crypto.module is not None
    assert crypto.module.name == f"Go Cryptographic Module {version}"
    assert crypto.module.row == row
    assert crypto.evidence["fips140"] == "on"
