"""The shipped rows against the module objects of one trusted toolchain of each release."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fipsmanifest.inspect.analysis import analyze
from fipsmanifest.inspect.source import Buffer
from fipsmanifest.inspect.table import load
from fipsmanifest.inspect.verdict import describe_verdict
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


@pytest.mark.parametrize("version", ["v1.0.0", "latest"])
def test_the_native_module_is_named_with_its_version(version: str) -> None:
    crypto = analyze(Buffer(OTHERS[f"go1.24 GOFIPS140={version}"].data), TABLE).crypto
    # Only the one that is proven is identified.
    named = (crypto.module.name, crypto.module.row) if crypto.module else None
    assert named == ((f"Go Cryptographic Module {version}", "shipped") if version == "v1.0.0" else None)
    assert f"odule {version}" in describe_verdict(crypto)
    assert crypto.evidence["fips140"] == "on"
